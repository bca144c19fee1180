//! What a model is to tell: which columns hold it, and whether it is classes or values.
//!
//! Where the data does not say (whole numbers that are no bytes, a first line of names and
//! numbers), the user must.

use super::one_hot::{HOT, is_one_hot, one_column};
use super::part::{self, Part, TARGET_HELP};
use super::settings::{DataSettings, Loss, Settings, Targets, Task};
use super::source::Source;
use crate::data::{Cells, ColumnChoice, Table};
use crate::description::Output;
use crate::error::Failure;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

/// The columns of the targets: those that are said, else the last that is not to be ignored.
pub fn columns(source: &Source, data: &DataSettings, part: &Part) -> Result<Vec<usize>, Failure> {
    let table = part.targets();
    // Labels in a file of their own are not what is ignored.
    let ignored = match &part.labels {
        None => part::ignored(data, table)?,
        Some(_) => Vec::new(),
    };
    let last = (0..table.width).rev().find(|column| !ignored.contains(column));
    let last = [last.map_or(ColumnChoice::Number(-1), |column| table.choice(column))];
    let choices = match &data.target {
        Some(Targets::One(choice)) => std::slice::from_ref(choice),
        Some(Targets::Several(choices)) => choices,
        None if part.labels.is_some() && table.width > 1 => {
            let (file, width) = (table.name(), table.width);
            let message = format!("{file} has {width} columns of labels");
            let columns: Vec<usize> = (0..width).collect();
            let rows: Vec<usize> = (0..table.rows()).collect();
            return Err(match is_one_hot(table, &columns, &rows) {
                true => Failure::new(format!("{message}, one-hot: {HOT}"))
                    .help(one_column(table, &columns)),
                false => Failure::new(message).help(
                    "say which are the targets with `target` under [data]: a column, or a list of them",
                ),
            });
        }
        None if matches!(&part.inputs.cells, Cells::Numbers { bytes: true, .. })
            && part.labels.is_none() =>
        {
            let message = "a file of pictures has no classes in it";
            return Err(source
                .failure(&["data", "file"], message, "this file")
                .help("give the file of their labels: `labels = \"...\"` under [data]"));
        }
        None => &last,
    };
    if choices.is_empty() {
        return Err(source.failure(&["data", "target"], "give at least one column", "empty"));
    }
    let places: Vec<usize> =
        choices.iter().map(|choice| table.find(choice)).collect::<Result<_, _>>()?;
    let again = places.iter().enumerate().find(|(at, place)| places[..*at].contains(place));
    if let Some((_, &place)) = again {
        let message = format!("{} is there twice", table.column_name(place));
        return Err(source
            .failure(&["data", "target"], message, "these columns")
            .help("name each column once"));
    }
    if let Some(&place) = places.iter().find(|place| ignored.contains(place)) {
        let message = format!("{} is a target, and to be ignored", table.column_name(place));
        return Err(source
            .failure(&["data", "ignore"], message, "these columns")
            .help("leave the column out of `ignore`, or name another column with `target`"));
    }
    Ok(places)
}

/// Classes or values, and which.
pub fn output(
    source: &Source,
    settings: &Settings,
    part: &Part,
    targets: &[usize],
    rows: &[usize],
) -> Result<Output, Failure> {
    let table = part.targets();
    let name = table.column_name(targets[0]);
    match task(source, settings, part, targets, rows)? {
        Task::Regression => {
            refuse_words(settings, table, targets, rows)?;
            let plain = |&column: &usize| match &table.header {
                Some(header) => header[column].clone(),
                None if targets.len() == 1 => "prediction".to_owned(),
                None => format!("prediction {}", column + 1),
            };
            Ok(Output::Values(targets.iter().map(plain).collect()))
        }
        Task::Classification if targets.len() > 1 => {
            let failure = source.failure(
                &["data", "target"],
                "a classification has one column of classes",
                "several",
            );
            Err(match is_one_hot(table, targets, rows) {
                true => failure
                    .help(format!("these are one-hot, {HOT}: {}", one_column(table, targets))),
                false => failure.help("name one column, or `task = \"regression\"`"),
            })
        }
        Task::Classification => {
            // Cells without a value are refused below.
            let class =
                |row: usize| table.is_missing(row, targets[0]) || table.is_class(row, targets[0]);
            if let Some(&row) = rows.iter().find(|&&row| !class(row)) {
                let (file, row_name) = (table.name(), table.row_name(row));
                let word = table.word(row, targets[0]);
                return Err(Failure::new(format!("{file}, {row_name}, {name} holds {word}, which is no class: a class is a whole number of at most 24 bits"))
                    .help("number the classes from 0, or say `task = \"regression\"` under [data]"));
            }
            let classes = classes(table, targets[0], rows)?;
            let file = table.name();
            if let [only] = &classes[..] {
                return Err(Failure::new(format!("{file}, {name}: all rows are of one class, `{only}`"))
                    .help("there is nothing to tell apart; give rows of another class, or another `target` under [data]"));
            }
            if classes.len() == rows.len() && rows.len() > 2 {
                return Err(Failure::new(format!("{file}, {name}: each of the {} rows is a class of its own", rows.len()))
                    .help("say which column is the class with `target` under [data], or `task = \"regression\"`"));
            }
            if settings.data.task.is_none() {
                refuse_values(table, targets[0], &classes, rows.len())?;
            }
            Ok(Output::Classes(classes))
        }
    }
}

/// What is not to be overlooked of the classes or values: what will be learned as something else than
/// it looks like.
pub fn note(
    notes: &mut Vec<String>,
    table: &Table,
    targets: &[usize],
    rows: &[usize],
    output: &Output,
) {
    match output {
        Output::Values(_) if is_one_hot(table, targets, rows) => notes.push(format!(
            "the targets are learned as values, and look one-hot: {HOT}. To learn classes, {}",
            one_column(table, targets)
        )),
        Output::Classes(classes) if 2 * classes.len() > rows.len() && rows.len() > MANY => {
            let (name, count, rows) = (table.column_name(targets[0]), classes.len(), rows.len());
            let meant = match classes.iter().all(|class| class.parse::<f64>().is_ok()) {
                true => "if these are measured values, say `task = \"regression\"` under [data]",
                false => {
                    "if these name the rows, say which column is the class with `target` under [data]"
                }
            };
            notes.push(format!(
                "{name} has {count} classes in {rows} rows, on average fewer than two of each, from which little can be learned: {meant}"
            ));
        }
        _ => {}
    }
}

/// Rows of which so many may well be of as many classes.
const MANY: usize = 10;

/// Refuses classes that are measured values: numbers, not all whole, nearly each of them another.
fn refuse_values(
    table: &Table,
    column: usize,
    classes: &[String],
    rows: usize,
) -> Result<(), Failure> {
    let numbers: Option<Vec<f64>> = classes.iter().map(|class| class.parse().ok()).collect();
    let measured = |numbers: &[f64]| numbers.iter().any(|number| number.fract() != 0.0);
    if 2 * classes.len() <= rows || !numbers.is_some_and(|numbers| measured(&numbers)) {
        return Ok(());
    }
    let (file, name, count) = (table.name(), table.column_name(column), classes.len());
    Err(Failure::new(format!(
        "{file}, {name}: {count} different numbers in {rows} rows are values, and no classes"
    ))
    .help("say `task = \"regression\"` under [data], and no `loss` or one of values, such as \"mean_squared_error\"; or say which column is the class with `target`, or `task = \"classification\"` if these are classes"))
}

/// Refuses a regression of what is no number, with what it may be meant to be.
fn refuse_words(
    settings: &Settings,
    table: &Table,
    targets: &[usize],
    rows: &[usize],
) -> Result<(), Failure> {
    let word = |column: usize, row: usize| {
        table.is_text(row, column).then(|| (column, row, table.word(row, column)))
    };
    let found = targets.iter().find_map(|&column| rows.iter().find_map(|&row| word(column, row)));
    let Some((column, row, word)) = found else { return Ok(()) };
    let (file, name, row) = (table.name(), table.column_name(column), table.row_name(row));
    let asked = match (settings.data.task, settings.training.loss) {
        (None, Some(loss)) => {
            let name = if loss == Loss::Huber { "huber" } else { "mean_squared_error" };
            format!("the loss `{name}` is of a regression, which predicts numbers: leave `loss` under [training] out, if these are classes")
        }
        (Some(_), _) => "a regression predicts numbers: say `task = \"classification\"` under [data], if these are classes".to_owned(),
        (None, None) => "several targets are a regression, which predicts numbers: name one column, if these are classes".to_owned(),
    };
    Err(Failure::new(format!(
        "{file}, {row}, {name}, the target, holds `{word}`, which is no number"
    ))
    .help(format!("{asked}; or say which column holds the numbers to predict with `target`")))
}

/// The classes in a column: by number if all are numbers, else by name.
fn classes(table: &Table, column: usize, rows: &[usize]) -> Result<Vec<String>, Failure> {
    // Larger numbers may differ and be one `f64`.
    const EXACT: f64 = (1u64 << 53) as f64;
    let mut classes = BTreeSet::new();
    // Where each number is first, by its bits.
    let mut spellings: BTreeMap<u64, (usize, String)> = BTreeMap::new();
    for &row in rows {
        if table.is_missing(row, column) {
            return Err(table.missing(row, column, &TARGET_HELP));
        }
        let word = table.word(row, column);
        if classes.contains(&word) {
            continue;
        }
        if let Ok(value) = word.parse::<f64>()
            && value.abs() < EXACT
        {
            // -0 is 0.
            let before = spellings.entry((value + 0.0).to_bits()).or_insert((row, word.clone()));
            if before.1 != word {
                let (file, name) = (table.name(), table.column_name(column));
                let (first, other) = (table.row_name(before.0), table.row_name(row));
                return Err(Failure::new(format!("{file}, {name}: `{}` in {first} and `{word}` in {other} are one number, but would be two classes", before.1))
                    .help("write each class in one way"));
            }
        }
        classes.insert(word);
    }
    let mut classes: Vec<String> = classes.into_iter().collect();
    let number = |class: &String| class.parse::<f64>().ok();
    if classes.iter().all(|class| number(class).is_some()) {
        classes.sort_by(|a, b| number(a).partial_cmp(&number(b)).unwrap_or(Ordering::Equal));
    }
    Ok(classes)
}

/// What is said, or what the targets look like.
fn task(
    source: &Source,
    settings: &Settings,
    part: &Part,
    targets: &[usize],
    rows: &[usize],
) -> Result<Task, Failure> {
    let of_loss = settings.training.loss.map(|loss| match loss {
        Loss::CrossEntropy => Task::Classification,
        Loss::MeanSquaredError | Loss::Huber => Task::Regression,
    });
    match (settings.data.task, of_loss) {
        (Some(task), Some(of_loss)) if task != of_loss => {
            return Err(source
                .failure(&["training", "loss"], "this loss is not one of the task", "this loss")
                .help("`cross_entropy` is for classification, `mean_squared_error` and `huber` are for regression; remove the key, or change `task` under [data]"));
        }
        (Some(task), _) | (None, Some(task)) => return Ok(task),
        (None, None) => {}
    }
    if targets.len() > 1 {
        return Ok(Task::Regression);
    }
    let table = part.targets();
    if let Cells::Numbers { bytes: true, .. } = &table.cells {
        return Ok(Task::Classification);
    }
    // Cells without a value are refused later, and say nothing of the others.
    let whole: Vec<usize> =
        rows.iter().copied().filter(|&row| !table.is_missing(row, targets[0])).collect();
    let number = |row: usize| table.word(row, targets[0]).parse::<f64>();
    let is_word = |row: &usize| number(*row).is_err();
    let (file, name) = (table.name(), table.column_name(targets[0]));
    let unsure = |what: &str, first: &str| {
        Err(Failure::new(format!(
            "{file}, {name}, the target, holds {what}: they may be classes or values"
        ))
        .help(format!(
            "{first}say which: `task = \"classification\"` or `task = \"regression\"` under [data]"
        )))
    };
    match whole.iter().copied().find(|row| is_word(row)) {
        Some(_) if whole.iter().all(is_word) => Ok(Task::Classification),
        Some(row) => {
            let (place, word) = (table.row_name(row), table.word(row, targets[0]));
            unsure(&format!("numbers, but `{word}` in {place}"), "correct that cell, or ")
        }
        None if whole.iter().any(|&row| number(row).is_ok_and(|value| value.fract() != 0.0)) => {
            Ok(Task::Regression)
        }
        None => unsure("whole numbers", ""),
    }
}
