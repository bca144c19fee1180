use super::super::part::DATA_HELP;
use super::*;
use crate::data::Cells;
use csv::StringRecord;

fn numbers(rows: &[&[f32]]) -> Table {
    let cells = Cells::Numbers { values: rows.concat(), bytes: false };
    let (width, file) = (rows[0].len(), "a.npy".into());
    Table { file, array: None, header: None, width, cells, help: &DATA_HELP }
}

/// A table as it is in a file of CSV, its columns separated by spaces, with a row of names.
fn text(header: &str, rows: &[&str]) -> Table {
    let header: Vec<String> = header.split(' ').map(str::to_owned).collect();
    let row = |row: &&str| row.split(' ').collect::<StringRecord>();
    let cells = Cells::Text((2..).zip(rows.iter().map(row)).collect());
    let (width, file) = (header.len(), "a.csv".into());
    Table { file, array: None, header: Some(header), width, cells, help: &DATA_HELP }
}

/// The columns that are one-hot together, the inputs of them, and whether they are neighbours.
fn one_hot(
    table: &Table,
    targets: &[usize],
    inputs: &[usize],
) -> Option<(Vec<usize>, Vec<usize>, bool)> {
    let rows: Vec<usize> = (0..table.rows()).collect();
    let found = GivenAway::find(table, targets, inputs, &rows)?;
    match found.how {
        How::OneHot { columns, neighbours, .. } => Some((columns, found.inputs, neighbours)),
        How::Same => panic!("{:?} are the same as {targets:?}", found.inputs),
    }
}

/// What is told of a table whose columns are all used, or ignored, in all rows.
fn note(table: &Table, targets: &[usize], ignored: &[usize]) -> Option<String> {
    let ignore: Vec<usize> = ignored.iter().map(|column| column + 1).collect();
    let data = toml::from_str(&format!("file = \"a.csv\"\nignore = {ignore:?}")).unwrap();
    let inputs = |column: &usize| !targets.contains(column) && !ignored.contains(column);
    let inputs: Vec<usize> = (0..table.width).filter(inputs).collect();
    let rows: Vec<usize> = (0..table.rows()).collect();
    let found = GivenAway::find(table, targets, &inputs, &rows)?;
    Some(found.note(table, targets, &data, &[]))
}

#[test]
fn columns_that_give_a_target_away_are_found() {
    // A number, three classes, a flag, and what is 1 where the second class is not.
    let table = numbers(&[
        &[0.5, 1.0, 0.0, 0.0, 1.0, 1.0],
        &[0.1, 0.0, 1.0, 0.0, 0.0, 0.0],
        &[0.2, 0.0, 0.0, 1.0, 1.0, 1.0],
        &[0.7, 0.0, 1.0, 0.0, 1.0, 0.0],
    ]);
    let find = |targets: &[usize], inputs: &[usize]| one_hot(&table, targets, inputs);
    let classes = || vec![1, 2, 3];
    assert_eq!(find(&[1], &[0, 2, 3, 4]), Some((classes(), vec![2, 3], true)));
    assert_eq!(find(&[3], &[0, 1, 4]), Some((classes(), vec![1], true)));
    assert_eq!(find(&[3, 1], &[0, 2, 4]), Some((classes(), vec![2], true)));
    // What is left out of the inputs gives nothing away; nor is a flag a class, or a number.
    assert_eq!(find(&[1], &[0, 4, 5]), None);
    assert_eq!(find(&[4], &[0, 1, 2, 3, 5]), None);
    assert_eq!(find(&[0], &[1, 2, 3, 4, 5]), None);
    // All of them as targets.
    assert_eq!(find(&[1, 2, 3], &[0, 4, 5]), None);
    // The other of two, wherever it is, though classes that are left out are one-hot as well.
    assert_eq!(find(&[2], &[0, 5]), Some((vec![2, 5], vec![5], false)));
    assert_eq!(find(&[5], &[0, 2]), Some((vec![2, 5], vec![2], false)));
}

#[test]
fn classes_whose_target_was_moved_are_found() {
    let table = text("x y a z", &["1 0 5 0", "0 1 6 0", "0 0 7 1", "0 1 8 0"]);
    assert_eq!(one_hot(&table, &[3], &[0, 1, 2]), Some((vec![0, 1, 3], vec![0, 1], false)));
    assert_eq!(one_hot(&table, &[0], &[1, 2, 3]), Some((vec![0, 1, 3], vec![1, 3], false)));
    // A flag among them that has no row in common with the target: all that follow each other are none.
    let table = text("x f y z", &["1 0 0 0", "1 0 0 0", "0 0 1 0", "0 1 1 0", "0 0 0 1"]);
    assert_eq!(one_hot(&table, &[3], &[0, 1, 2]), Some((vec![0, 2, 3], vec![0, 2], false)));
    // Of two such groups that of neighbours, though the other is smaller.
    let table = text("other a x y z", &["1 5 1 0 0", "1 6 0 1 0", "0 7 0 0 1"]);
    assert_eq!(one_hot(&table, &[4], &[0, 1, 2, 3]), Some((vec![2, 3, 4], vec![2, 3], true)));
}

/// A column of one value says nothing, and one-hot columns have no other column between them.
#[test]
fn constants_give_nothing_away() {
    let table = numbers(&[&[1.0, 0.0, 0.0], &[1.0, 0.0, 1.0]]);
    assert_eq!(one_hot(&table, &[1], &[0, 2]), None);
    assert_eq!(one_hot(&table, &[0], &[1, 2]), None);
    // A class that no row is of belongs to its neighbours, and to nothing else.
    let table = text("n x y z", &["0 1 0 0", "0 0 0 1"]);
    assert_eq!(one_hot(&table, &[3], &[0, 1, 2]), Some((vec![1, 2, 3], vec![1, 2], true)));
    assert_eq!(one_hot(&table, &[3], &[0, 2]), None);
}

#[test]
fn rows_without_a_target_are_not_looked_at_and_inputs_without_a_value_are_not_of_bits() {
    let table = text("a x y", &["1 1 0", "2 0 1", "3 0 ?", "4 1 "]);
    assert_eq!(one_hot(&table, &[2], &[0, 1]), Some((vec![1, 2], vec![1], true)));
    assert_eq!(one_hot(&table, &[1], &[0, 2]), None);
    let none = text("x y", &["0 ?", "1 ?"]);
    assert_eq!(one_hot(&none, &[1], &[0]), None);
    assert!(!is_one_hot(&table, &[1, 2], &[0, 1, 2]) && is_one_hot(&table, &[1, 2], &[0, 1]));
}

/// More rows than one word has, with the last in the next.
#[test]
fn each_row_counts() {
    let rows = |last: &str| {
        let mut rows: Vec<&str> = ["1 0 0", "0 1 0", "0 0 1"].repeat(22)[..64].to_vec();
        rows.push(if last.is_empty() { "0 1 0" } else { last });
        text("x y z", &rows)
    };
    assert_eq!(one_hot(&rows(""), &[2], &[0, 1]), Some((vec![0, 1, 2], vec![0, 1], true)));
    for last in ["0 0 0", "1 1 0", "1 0 1", "0 0.5 1"] {
        assert_eq!(one_hot(&rows(last), &[2], &[0, 1]), None, "{last}");
    }
}

#[test]
fn few_rows_are_only_noted() {
    let refused = |rows: usize| {
        let cells = ["5 1 0", "6 0 1"].repeat(rows.div_ceil(2));
        let (table, rows) = (text("a x y", &cells[..rows]), (0..rows).collect::<Vec<_>>());
        let found = GivenAway::find(&table, &[2], &[0, 1], &rows).unwrap();
        found.refuse(&table, 2, true).is_err()
    };
    assert_eq!([refused(FEW - 1), refused(FEW)], [false, true]);
}

#[test]
fn what_is_the_same_as_a_target_is_noted() {
    let table = text("a copy c z again", &["5 1 1 1 1", "6 0 1 0 0", "7 1 0 1 1.0"]);
    let said = note(&table, &[3], &[2]).unwrap();
    let expected = "column `z`, the target, may be given away by column `copy`, column `again`, which equal the \
                    target in these 3 rows, which in so few rows may be chance. Leave out of the inputs what \
                    is not known when the model is used, with `ignore = [3, \"copy\", \"again\"]` in place of \
                    `ignore` under [data], and with another `directory` at the top if a run has begun, as it cannot go on \
                    with other inputs";
    assert_eq!(said, expected);
    assert!(note(&table, &[3], &[1, 4]).is_none());
    // One row that is set in both may be so in many rows, and a tenth of them is not.
    for (every, expected) in [
        (
            50,
            "`z`, the target, may be given away by column `copy`, which equals the target in these 50 rows, which \
              with so few of a kind may be chance. Leave",
        ),
        (
            10,
            "`z`, the target, is given away by column `copy`, which equals the target in these 50 rows. Leave",
        ),
    ] {
        let row = |at: usize| {
            let is = u8::from(at.is_multiple_of(every));
            format!("{at}.5 {is} {is}")
        };
        let rows: Vec<String> = (0..50).map(row).collect();
        let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
        let said = note(&text("a copy z", &rows), &[2], &[]).unwrap();
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn what_is_given_away_in_part_is_told_so_and_no_run_without_inputs_is_advised() {
    let table = text("x y a z", &["1 0 5 0", "0 1 6 0", "0 0 7 1", "0 1 8 0"]);
    let said = note(&table, &[3], &[0]).unwrap();
    let partly = "column `z`, the target, is partly given away by column `y`: in these 4 rows together with \
                  column `x` they look one-hot (each row has";
    assert!(said.starts_with(partly), "{said}");
    assert!(
        said.contains("`ignore = [1, \"y\"]` in place of `ignore` under [data], and"),
        "{said}"
    );
    let said = note(&table, &[3], &[2]).unwrap();
    assert!(
        said.contains(
            "is given away by column `x`, column `y`: in these 4 rows together they look"
        ),
        "{said}"
    );
    let columns = "There is no other input: add columns to learn from, and write the classes in one column, \
                   for example with pandas: `frame[[\"x\", \"y\", \"z\"]].idxmax(axis=1)`";
    assert!(said.contains(columns) && !said.contains("`ignore"), "{said}");
}

#[test]
fn columns_are_called_as_pandas_calls_them() {
    let table = text("x y x x", &["1 0 0 0"]);
    assert!(one_column(&table, &[0, 2, 3]).contains("frame[[\"x\", \"x.1\", \"x.2\"]]"));
    assert!(one_column(&numbers(&[&[1.0, 0.0]]), &[0, 1]).contains("frame[[0, 1]]"));
}
