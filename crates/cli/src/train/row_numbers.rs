//! Inputs that only number the rows, as the first column of a file does that pandas wrote with its index. A
//! network learns from them where a row stood in the file, which no other row will tell it.

use crate::data::Table;
use crate::text::counted;
use warmstart_graph::words::first_few;

/// Fewer rows may be numbered by chance.
const FEW: usize = 10;

/// Columns that are named in one sentence.
const NAMED: usize = 5;

/// The inputs that number the rows from 0 or 1. What is the only input is meant.
pub fn find(table: &Table, inputs: &[usize], rows: &[usize]) -> Vec<usize> {
    if rows.len() < FEW || inputs.len() < 2 {
        return Vec::new();
    }
    let numbers = |&column: &usize| {
        [0.0, 1.0].iter().any(|first| {
            let is_next =
                |&row: &usize| table.exact_number(row, column) == Some(first + row as f64);
            rows.iter().all(is_next)
        })
    };
    inputs.iter().copied().filter(numbers).collect()
}

/// What is not to be overlooked of inputs that were found, and what is done about them.
pub fn note(table: &Table, found: &[usize], rows: &[usize], advice: &str) -> String {
    let has_no_name =
        |&column: &usize| table.header.as_ref().is_some_and(|header| header[column].is_empty());
    let names = first_few(found.iter().map(|&column| table.column_name(column)), NAMED);
    let number = match found {
        [_] => "is an input and numbers",
        _ => "are inputs and number",
    };
    let written = match found.iter().all(has_no_name) {
        true => ", as the index does that pandas writes if `to_csv` is not told `index=False`",
        false => "",
    };
    let rows = counted(rows.len(), "row");
    format!("{names} {number} these {rows} in their order{written}. {advice}")
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
        // As if some rows were skipped.
        let rows: Vec<usize> = (0..rows).filter(|at| at % 7 != 3).collect();
        let found = find(&table, &[0, 1], &rows);
        (!found.is_empty()).then(|| note(&table, &found, &rows, "Advice."))
    }

    #[test]
    fn what_numbers_the_rows_is_told() {
        let numbered = |first: usize| {
            move |at: usize| [(first + at).to_string(), "5".to_owned(), "x".to_owned()]
        };
        let said = told(["", "x", "class"], numbered(0), 20).unwrap();
        let expected = "column 1 (without a name) is an input and numbers these 17 rows in their order, as \
                        the index does that pandas writes if `to_csv` is not told `index=False`. Advice.";
        assert_eq!(said, expected);
        let twice = |at: usize| [at.to_string(), (at + 1).to_string(), "x".to_owned()];
        let said = told(["", "id", "class"], twice, 20).unwrap();
        let expected = "column 1 (without a name), column `id` are inputs and number these 17 rows in their \
                        order. Advice.";
        assert_eq!(said, expected);
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
