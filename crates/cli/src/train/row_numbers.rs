//! Inputs that only number the rows, as the first column of a file does that pandas wrote with its index. A
//! network learns from them where a row stood in the file, which no other row will tell it.

use super::one_hot::leave_out;
use super::settings::DataSettings;
use crate::data::Table;
use crate::text::counted;

/// Fewer rows may be numbered by chance.
const FEW: usize = 10;

/// What is not to be overlooked of inputs that number the rows from 0 or 1. What is the only input is meant.
pub fn note(
    table: &Table,
    data: &DataSettings,
    inputs: &[usize],
    rows: &[usize],
) -> Option<String> {
    if rows.len() < FEW || inputs.len() < 2 {
        return None;
    }
    let numbers = |&column: &usize| {
        [0.0, 1.0].iter().any(|first| {
            let is_next =
                |&row: &usize| table.exact_number(row, column) == Some(first + row as f64);
            rows.iter().all(is_next)
        })
    };
    let found = inputs.iter().copied().find(|column| numbers(column))?;
    let has_no_name = table.header.as_ref().is_some_and(|header| header[found].is_empty());
    let name = table.column_name(found);
    let written = match has_no_name {
        true => ", as the index does that pandas writes if `to_csv` is not told `index=False`",
        false => "",
    };
    let rows = counted(rows.len(), "row");
    Some(format!(
        "{name} is an input and numbers these {rows} in their order{written}. {}",
        leave_out(table, data, &[found], true)
    ))
}

#[cfg(test)]
mod tests {
    use super::super::part::DATA_HELP;
    use super::*;
    use crate::data::Cells;

    fn told(names: [&str; 3], row: impl Fn(usize) -> [String; 3], rows: usize) -> Option<String> {
        let cells = (0..rows).map(|at| (at as u64 + 2, row(at).iter().collect())).collect();
        let (file, header) = ("a.csv".into(), Some(names.map(str::to_owned).to_vec()));
        let cells = Cells::Text(cells);
        let table = Table { file, array: None, header, width: 3, cells, help: &DATA_HELP };
        let data = toml::from_str("file = \"a.csv\"\n").unwrap();
        // As if some rows were skipped.
        let rows: Vec<usize> = (0..rows).filter(|at| at % 7 != 3).collect();
        note(&table, &data, &[0, 1], &rows)
    }

    #[test]
    fn what_numbers_the_rows_is_told() {
        let numbered = |first: usize| {
            move |at: usize| [(first + at).to_string(), "5".to_owned(), "x".to_owned()]
        };
        let said = told(["", "x", "class"], numbered(0), 20).unwrap();
        let expected = "column 1 (without a name) is an input and numbers these 17 rows in their order, as \
                        the index does that pandas writes if `to_csv` is not told `index=False`. Leave out of \
                        the inputs what is not known when the model is used, with `ignore = [1]` under";
        assert!(said.starts_with(expected), "{said}");
        let said = told(["id", "x", "class"], numbered(1), 20).unwrap();
        assert!(said.starts_with("column `id` is an input and numbers these 17 rows"), "{said}");
        // Years, few rows, and a number that is another.
        assert_eq!(told(["year", "x", "class"], numbered(1990), 20), None);
        assert_eq!(told(["id", "x", "class"], numbered(1), 11), None);
        let off = |at: usize| {
            let number = if at == 12 { 0 } else { at };
            [number.to_string(), "5".to_owned(), "x".to_owned()]
        };
        assert_eq!(told(["id", "x", "class"], off, 20), None);
    }
}
