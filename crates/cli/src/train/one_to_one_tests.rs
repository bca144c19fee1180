use super::super::part::DATA_HELP;
use super::*;
use crate::data::Cells;
use ::csv::StringRecord;

/// A table with these names of columns, and the cells of each row.
fn table(header: &str, row: impl Fn(usize) -> String, rows: usize) -> Table {
    let header: Vec<String> = header.split(' ').map(str::to_owned).collect();
    let record = |at: usize| row(at).split(' ').collect::<StringRecord>();
    let cells = Cells::Text((0..rows).map(|at| (at as u64 + 2, record(at))).collect());
    let (width, file) = (header.len(), "a.csv".into());
    Table { file, array: None, header: Some(header), width, cells, help: &DATA_HELP }
}

/// What is found where the last column is the target.
fn of_classes(table: &Table) -> Option<Told> {
    let rows: Vec<usize> = (0..table.rows()).collect();
    let inputs: Vec<usize> = (0..table.width - 1).collect();
    Told::classes(table, table.width - 1, &inputs, &rows)
}

fn of_values(table: &Table) -> Option<Told> {
    let rows: Vec<usize> = (0..table.rows()).collect();
    let inputs: Vec<usize> = (0..table.width - 1).collect();
    Told::values(table, &[table.width - 1], &inputs, &rows)
}

fn found(told: Option<Told>) -> Option<(Vec<usize>, How, bool)> {
    told.map(|told| (told.inputs, told.how, told.certain))
}

const NAMES: [&str; 3] = ["setosa", "versicolor", "virginica"];

/// Something that differs in each row.
fn measured(row: usize) -> f64 {
    ((row * 7919 + 13) % 1009) as f64 / 8.0
}

#[test]
fn columns_that_say_the_class_are_found_in_each_spelling() {
    let row = |at: usize| {
        let class = at % 3;
        let hot = |of: usize| if class == of { "True" } else { "False" };
        // As one number it is written in two ways.
        let code = if at < 30 { format!("{}", class * 10) } else { format!("{}.0", class * 10) };
        format!("{at} {} {code} {} {} {}", measured(at), hot(0), hot(2), NAMES[class])
    };
    let all = table("id x code hot other species", row, 60);
    let told = of_classes(&all);
    assert_eq!(found(told), Some((vec![2, 3, 4], How::Together, true)));
    // The number alone, and beside it one of the columns of True and False, which says one class only.
    let rows: Vec<usize> = (0..60).collect();
    let with = |inputs: &[usize]| found(Told::classes(&all, 5, inputs, &rows));
    assert_eq!(with(&[0, 1, 2, 3]), Some((vec![2], How::Each, true)));
    assert_eq!(with(&[0, 1, 3, 4]), Some((vec![3, 4], How::Together, true)));
    assert_eq!(with(&[0, 1, 3]), None);
    // And the other way round, if the number is the target.
    let turned = Told::classes(&all, 2, &[0, 1, 5], &rows);
    assert_eq!(found(turned), None, "two spellings are told by `target::classes`");
    let yes = |at: usize| format!("{} {} {}", at % 2, measured(at), ["no", "yes"][at % 2]);
    let told = of_classes(&table("bought x answer", yes, 40));
    assert_eq!(found(told), Some((vec![0], How::Each, true)));
}

#[test]
fn what_differs_in_one_row_or_in_each_says_no_class() {
    for wrong in [0, 31, 59] {
        let row = |at: usize| {
            let code = if at == wrong { (at + 1) % 3 } else { at % 3 };
            format!("{at} {} {code} 5 {}", measured(at), NAMES[at % 3])
        };
        assert_eq!(of_classes(&table("id x code constant species", row, 60)), None, "{wrong}");
    }
    // Nor what has the same value for two classes, or rows of which each is a class of its own.
    let row = |at: usize| format!("{} {}", usize::from(at % 3 == 1), NAMES[at % 3]);
    assert_eq!(of_classes(&table("is_versicolor species", row, 60)), None);
    let row = |at: usize| format!("{at} {} name-{at}", measured(at));
    assert_eq!(of_classes(&table("id x name", row, 60)), None);
}

/// By chance a flag says the class of few rows, and one that is rarely set that of the only row of a class.
#[test]
fn what_may_be_chance_is_no_fact() {
    let row = |at: usize| format!("{} {} {}", at % 2, measured(at), NAMES[at % 2]);
    let few = table("flag x species", row, 6);
    assert_eq!(found(of_classes(&few)), Some((vec![0], How::Each, false)));
    let data = toml::from_str("file = \"a.csv\"\n").unwrap();
    let note = of_classes(&few).unwrap().note(&few, &data, &[]);
    let expected = "column `species`, the target, may be given away by column `flag`: in these 6 rows each \
                    class has a value of its own there; in so few rows that may be chance. Leave out of the inputs what \
                    is not known when the model is used, with `ignore = [\"flag\"]` under [data], and \
                    with another `directory` at the top if a run has begun, as it cannot go on with other inputs";
    assert_eq!(note, expected);
    assert!(of_classes(&few).unwrap().refuse(&few, &data).is_ok());
    let rare = |at: usize| {
        let is = at == 50;
        format!("{} {} {}", u8::from(is), measured(at), NAMES[usize::from(is)])
    };
    assert_eq!(of_classes(&table("flag x species", rare, 100)), None);
    let more = |at: usize| {
        let is = at.is_multiple_of(20);
        format!("{} {} {}", u8::from(is), measured(at), NAMES[usize::from(is)])
    };
    let told = of_classes(&table("flag x species", more, 100));
    assert_eq!(found(told), Some((vec![0], How::Each, true)));
}

#[test]
fn copies_of_values_are_found_also_in_another_unit() {
    let price = |at: usize| measured(at) + 1.0;
    let row = |at: usize| {
        let price = price(at);
        let other = (at * at) % 17;
        let (cents, log) = (price * 100.0, price.ln());
        format!("{other} {price:.3} {cents} {log:.4} {} {price}", -price / 3.0)
    };
    let all = table("x copy cents log turned price", row, 200);
    assert_eq!(found(of_values(&all)), Some((vec![1], How::Equal, true)));
    let rows: Vec<usize> = (0..200).collect();
    let with = |inputs: &[usize]| found(Told::values(&all, &[5], inputs, &rows));
    assert_eq!(with(&[0, 2, 3, 4]), Some((vec![2, 3, 4], How::Sorted, true)));
    assert_eq!(with(&[0]), None);
    // What is all that there is to learn from is no copy, unless it is the same.
    assert_eq!(with(&[2]), None);
    assert_eq!(with(&[1]), Some((vec![1], How::Equal, true)));
    // Nor is what tells values apart less finely, or more so, or goes the other way in one row.
    let stepped = |at: usize| format!("0 {} {}", (price(at) / 60.0).floor(), price(at));
    assert_eq!(of_values(&table("x step price", stepped, 200)), None);
    let rated = |at: usize| format!("0 {} {}", price(at), (price(at) / 60.0).floor());
    assert_eq!(of_values(&table("x price rating", rated, 200)), None);
    let once = |at: usize| {
        let cents = if at == 100 { 0.0 } else { price(at) * 100.0 };
        format!("{} {cents} {}", at % 5, price(at))
    };
    assert_eq!(of_values(&table("x cents price", once, 200)), None);
    // A few rows are sorted by something sooner or later.
    assert_eq!(of_values(&table("x copy cents log turned price", row, 5)).unwrap().how, How::Equal);
    let few = table("x cents price", |at| format!("{} {at}1 {at}", at % 2), RISES);
    assert_eq!(of_values(&few), None);
    let enough = table("x cents price", |at| format!("{} {at}1 {at}", at % 2), RISES + 1);
    assert_eq!(found(of_values(&enough)), Some((vec![1], How::Sorted, true)));
}

#[test]
fn what_was_rounded_is_a_copy_still() {
    let celsius = |at: usize| (measured(at) * 8.0).round() / 25.0;
    let row = |at: usize| {
        let celsius = celsius(at);
        format!("{} {:.1} {celsius}", at % 7, celsius * 1.8 + 32.0)
    };
    let told = of_values(&table("x fahrenheit celsius", row, 300));
    assert_eq!(found(told), Some((vec![1], How::Sorted, true)));
}
