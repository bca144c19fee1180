use super::*;
use crate::data::ColumnChoice;

fn table(text: &[u8], options: &Options) -> Result<Table, Failure> {
    read(Path::new("a.csv"), text, options, &crate::train::part::DATA_HELP)
}

/// Header and cells of a text.
fn cells(text: &str) -> (Option<Vec<String>>, Vec<Vec<String>>) {
    let table = table(text.as_bytes(), &Options::default()).unwrap();
    let row = |row| (0..table.width).map(|column| table.word(row, column)).collect();
    (table.header.clone(), (0..table.rows()).map(row).collect())
}

#[test]
fn a_first_line_without_numbers_is_a_header() {
    let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
    let (header, rows) = cells("a,b\n1,x\n");
    assert_eq!((header.unwrap(), rows), (words(&["a", "b"]), vec![words(&["1", "x"])]));
    assert_eq!(cells("1,x\n2,y\n"), (None, vec![words(&["1", "x"]), words(&["2", "y"])]));
    let said = |header| {
        let options = Options { header: Some(header), separator: None };
        table(b"2001,2002\n1,2\n", &options).unwrap().rows()
    };
    assert_eq!([said(true), said(false)], [1, 2]);
    // What editors on Windows put before everything else is not part of a name.
    assert_eq!(cells("\u{feff}a,b\r\n1,2\r\n").0.unwrap(), ["a", "b"]);
}

/// Names that are numbers, as pandas gives them, among names that are not.
#[test]
fn a_first_line_that_may_be_names_or_a_row_is_asked_about() {
    let said = |text: &str| table(text.as_bytes(), &Options::default()).map(|table| table.rows());
    for (text, expected) in [
        ("0,1,species\n1,2,x\n3,4,y\n5,6,x\n", "`species` in column 3 may be a name: no other row"),
        ("\n2019,total\n1,2\n", "line 2 has numbers as a row would, but `total` in column 2"),
        (
            ",0,1,2\n0,5.1,3.5,x\n1,4.9,3.0,y\n",
            "line 1 counts its cells from 0: these may be names",
        ),
        ("0,total\n1,2\n3,4\n", "may be a name: a number follows it"),
    ] {
        let error = said(text).unwrap_err();
        assert!(error.to_string().contains(expected), "{text}{error}");
        let help = miette::Diagnostic::help(&error).unwrap().to_string();
        let either = "if the line names the columns, say `header = true` under [data]; if it is a row, say \
                      `header = false` under [data]";
        assert_eq!(help, either);
        for (header, rows) in [(true, 1), (false, 0)] {
            let options = Options { header: Some(header), separator: None };
            let lines = text.trim().lines().count();
            assert_eq!(table(text.as_bytes(), &options).unwrap().rows(), lines - rows);
        }
    }
    let error = said("0,1,2\n5.1,3.5,0\n").unwrap_err().to_string();
    assert!(error.contains("line 1 counts its cells from 0: these may be names"), "{error}");
    for (text, header, rows) in
        [("0,1,2\n3,4,5\n", Some(false), 2), ("0,1\n2,3\n", None, 2), ("0,1,2\n", None, 1)]
    {
        let options = Options { header, separator: None };
        assert_eq!(table(text.as_bytes(), &options).unwrap().rows(), rows, "{text}");
    }
    // Words that come again, gaps, and names of rows.
    for text in ["1,x\n2,y\n3,x\n", "1,?\n2,3\n", "1,nan\n2,3\n", "1,ann\n2,bob\n3,cy\n", "1,x\n"] {
        assert_eq!(said(text).unwrap(), text.lines().count(), "{text}");
    }
}

#[test]
fn lines_of_blanks_are_passed_over() {
    let (header, rows) = cells("  \na,b\n \n1,2\n\t\n3,4\n  \n");
    assert_eq!((header.unwrap().len(), rows.len()), (2, 2));
    // In a file of one column such a line is a cell without a value.
    assert_eq!(cells("a\nx\n \ny\n").1.len(), 3);
}

#[test]
fn the_separator_is_looked_up_in_the_first_line() {
    for (text, expected) in [
        ("a,b,c\n", 3),
        ("a;b\n", 2),
        ("1,5;2,5;3,5\n", 3),
        ("a\tb\tc\n", 3),
        ("\"a;b;c\",d\n1,2\n", 2),
        ("alone\n", 1),
    ] {
        let (header, rows) = cells(text);
        assert_eq!(header.unwrap_or_else(|| rows[0].clone()).len(), expected, "{text}");
    }
    let options = Options { header: None, separator: Some('|') };
    assert_eq!(table(b"a|b\n", &options).unwrap().width, 2);
    let options = Options { header: None, separator: Some('→') };
    assert!(table(b"a|b\n", &options).unwrap_err().to_string().contains("`→` cannot separate"));
}

#[test]
fn rows_know_their_lines() {
    for end in ["\n", "\r\n"] {
        let text = ["a,b", "", "1,\"x", "y\"", "", "", "2,z", "3", ""].join(end);
        let error = table(text.as_bytes(), &Options::default()).unwrap_err().to_string();
        assert!(error.contains("line 8 has 1 cell where line 1 has 2"), "{error}");
        let whole = text.replace(&format!("3{end}"), "");
        let table = table(whole.as_bytes(), &Options::default()).unwrap();
        let lines: Vec<String> = (0..table.rows()).map(|row| table.row_name(row)).collect();
        assert_eq!(lines, ["line 3", "line 7"]);
    }
    let error = table(b"a,b,c\n1,\"x\ny\"\n", &Options::default()).unwrap_err();
    let help = miette::Diagnostic::help(&error).unwrap().to_string();
    let advice = "a quote that opens in line 2 is not closed in that line: close or remove the quote, or, if the \
                  text does go on below, give the line as many cells as the others";
    assert_eq!(help, advice);
    let error = table(b"a,b\n1,\xff\n", &Options::default()).unwrap_err().to_string();
    assert_eq!(error, "`a.csv`, line 2 is no text in UTF-8");
}

#[test]
fn columns_are_found_by_name_and_by_number() {
    let named = table(b"a,b,a\n1,2,3\n", &Options::default()).unwrap();
    let plain = table(b"1,2,3\n", &Options::default()).unwrap();
    let name = |table: &Table, name: &str| table.find(&ColumnChoice::Name(name.to_owned()));
    let number = |number| named.find(&ColumnChoice::Number(number));
    assert_eq!(name(&named, "b").unwrap(), 1);
    let error = name(&named, "a").unwrap_err().to_string();
    assert_eq!(error, "columns 1 and 3 of `a.csv` are both called `a`");
    let error = name(&plain, "a").unwrap_err().to_string();
    assert!(error.contains("does not name its columns"), "{error}");
    assert_eq!([1, 3, -1, -3].map(|at| number(at).unwrap()), [0, 2, 2, 0]);
    for wrong in [0, 4, -4, i64::MIN, i64::MAX] {
        let error = number(wrong).unwrap_err().to_string();
        assert!(
            error.contains(&format!("there is no column {wrong} in `a.csv`, which has 3 columns"))
        );
    }
}

/// Numbers as people write them are no numbers to a program, and a line of them would be taken for
/// names.
#[test]
fn a_first_line_of_values_is_not_taken_for_names() {
    let said = |text: &str| {
        let error = table(text.as_bytes(), &Options::default()).unwrap_err();
        (error.to_string(), miette::Diagnostic::help(&error).unwrap().to_string())
    };
    let (error, help) = said("x;5,1;a\ny;4,9;b\n");
    assert!(
        error.contains("line 1 has no number and would name the columns, but `5,1` in column 2")
    );
    assert!(help.starts_with("write numbers with a decimal point, not a comma; or if"), "{help}");
    let (error, help) = said("5.1 cm,a\n4.9 cm,b\n");
    assert!(error.contains("`5.1 cm` in column 1 is written as the value below it"), "{error}");
    assert!(help.starts_with("write numbers without their unit, here `cm`"), "{help}");
    let (error, help) = said("$1,a\n$2,b\n");
    assert!(error.contains("`$1` in column 1 is written as the value below it"), "{error}");
    assert!(help.starts_with("write numbers without their unit, here `$`: name it"), "{help}");
    let (error, help) = said("\"1,234,567\",a\n\"7,654,321\",b\n");
    assert!(error.contains("`1,234,567` in column 1 is written as the value below"), "{error}");
    assert!(help.contains("nothing between thousands, as in `1234.5`; or if"), "{help}");
    let (_, help) = said("\"$1,000\",a\n$900,b\n");
    let both = "write numbers without their unit, here `$`, and with nothing between thousands, as in `1234.5`: name";
    assert!(help.starts_with(both), "{help}");
    // Names may look like that, if what is below does not.
    for text in ["length cm,b\n4.9,x\n", "2nd,b\n3,x\n", "1st,b\n2nd,x\n", "10m,b\n4.9,x\n"] {
        let names = table(text.as_bytes(), &Options::default()).unwrap().header;
        assert_eq!(names.unwrap().join(","), text.lines().next().unwrap(), "{text}");
    }
    // What is read as 1 and 0 is as good as a number.
    let (error, help) = said("True,False,cat\nFALSE,true,dog\n");
    let named = "line 1 has no number and would name the columns, but `True` in column 1 is written as the value";
    assert!(error.contains(named), "{error}");
    assert!(help.starts_with("if the line names the columns, say `header = true`"), "{help}");
    assert!(help.ends_with("if it is a row, say `header = false` under [data]"), "{help}");
    for (text, rows) in [("true,name\n5,x\n", 1), ("True,5,x\nFalse,6,y\nFalse,7,x\n", 3)] {
        assert_eq!(table(text.as_bytes(), &Options::default()).unwrap().rows(), rows, "{text}");
    }
    let options = Options { header: Some(true), separator: None };
    assert_eq!(table(b"1m,b\n2m,c\n", &options).unwrap().rows(), 1);
    // The same where a number is missed.
    let table = table("a;b\n3,5;x\n".as_bytes(), &Options::default()).unwrap();
    let error = table.number(0, 0).unwrap_err();
    let help = miette::Diagnostic::help(&error).unwrap().to_string();
    assert_eq!(help, "write numbers with a decimal point, not a comma");
}
