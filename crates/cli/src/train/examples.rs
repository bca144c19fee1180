//! From tables to rows with targets: which columns are what, which classes there are, and the split.

use super::settings::{DataSettings, Loss, Missing, Settings, Targets, Task};
use super::source::Source;
use crate::data::{self, Cells, ColumnChoice, CsvOptions, ReadOptions, Table};
use crate::description::{Columns, Description, Output, Rows};
use crate::error::Failure;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use warmstart::Dataset;

/// Rows with what a model is to make of them.
pub enum Examples {
    Classes(Dataset),
    Values(Dataset<f32>),
}

/// All that a run learns from.
pub struct Data {
    pub training: Examples,
    pub validation: Option<Examples>,
    pub description: Description,
    /// Whether the inputs are bytes, as those of pictures are.
    pub bytes: bool,
    /// What is not to be overlooked.
    pub notes: Vec<String>,
}

/// A file of inputs, and where their targets are.
struct Part {
    inputs: Table,
    /// The file of their own that the targets have.
    labels: Option<Table>,
}

/// A file, and the array in it where it holds several.
type Place<'a> = (&'a Path, &'a Option<String>);

/// Where labels are, if they have a file or an array of their own.
fn labels<'a>(
    inputs: &'a Path,
    file: &'a Option<PathBuf>,
    array: &'a Option<String>,
) -> Option<Place<'a>> {
    match (file, array) {
        (None, None) => None,
        (file, array) => Some((file.as_deref().unwrap_or(inputs), array)),
    }
}

impl Part {
    /// Reads the rows to train on.
    fn of_training(source: &Source, data: &DataSettings) -> Result<Part, Failure> {
        let labels = labels(&data.file, &data.labels, &data.labels_array);
        Part::read(source, data, (&data.file, &data.array), labels)
    }

    /// Reads the rows to validate on, if they are not set aside of those.
    fn of_validation(source: &Source, data: &DataSettings) -> Result<Option<Part>, Failure> {
        if data.validation_file.is_none() && data.validation_array.is_none() {
            return Ok(None);
        }
        let file = data.validation_file.as_ref().unwrap_or(&data.file);
        let labels = labels(file, &data.validation_labels, &data.validation_labels_array);
        Part::read(source, data, (file, &data.validation_array), labels).map(Some)
    }

    fn read(
        source: &Source,
        data: &DataSettings,
        inputs: Place<'_>,
        labels: Option<Place<'_>>,
    ) -> Result<Part, Failure> {
        let read = |(file, array): Place<'_>| {
            let csv = CsvOptions { header: data.header, separator: data.separator };
            data::read(&source.path(file), &ReadOptions { csv, array: array.clone() })
        };
        let (inputs, labels) = (read(inputs)?, labels.map(read).transpose()?);
        if let Some(labels) = &labels
            && labels.rows() != inputs.rows()
        {
            let (file, of) = (labels.file.display(), inputs.file.display());
            let (found, rows) = (labels.rows(), inputs.rows());
            return Err(Failure::new(format!(
                "`{file}` has labels for {found} rows, and `{of}` has {rows} rows"
            ))
            .help("give the labels of these rows, one for each"));
        }
        Ok(Part { inputs, labels })
    }

    fn targets(&self) -> &Table {
        self.labels.as_ref().unwrap_or(&self.inputs)
    }

    /// The rows to use; `skipped` counts the others.
    fn rows(&self, columns: &[usize], targets: &[usize], missing: Missing) -> Vec<usize> {
        let whole = |&row: &usize| {
            columns.iter().all(|&column| !self.inputs.is_missing(row, column))
                && targets.iter().all(|&column| !self.targets().is_missing(row, column))
        };
        let all = 0..self.inputs.rows();
        if missing == Missing::Skip { all.filter(whole).collect() } else { all.collect() }
    }
}

impl Data {
    pub fn read(source: &Source, settings: &Settings) -> Result<Data, Failure> {
        let data = &settings.data;
        let part = Part::of_training(source, data)?;
        let targets = target_columns(source, data, &part)?;
        let columns = input_columns(data, &part, &targets)?;
        let rows = part.rows(&columns, &targets, data.missing);
        let mut notes = Vec::new();
        note_skipped(&mut notes, &part, &rows)?;
        let output = output(source, settings, &part, &targets, &rows)?;
        let all = examples(&part, (&columns, &targets), &rows, &output)?;
        let (inputs, target) =
            (Columns::new(&part.inputs, &columns), Columns::new(part.targets(), &targets));
        let (training, validation) = match Part::of_validation(source, data)? {
            Some(part) => {
                let columns = inputs.locate(&part.inputs)?;
                let targets = target.locate(part.targets())?;
                let rows = part.rows(&columns, &targets, data.missing);
                note_skipped(&mut notes, &part, &rows)?;
                (all, Some(examples(&part, (&columns, &targets), &rows, &output)?))
            }
            None => split(source, data, all, settings.seed)?,
        };
        if let (Output::Classes(classes), Examples::Classes(training)) = (&output, &training) {
            note_unseen(&mut notes, classes, training.labels());
        }
        let bytes = matches!(part.inputs.cells, Cells::Numbers { bytes: true, .. });
        let checksum = validation.iter().fold(training.checksum(0), |sum, part| part.checksum(sum));
        let validated = validation.as_ref().map_or(0, Examples::len);
        let rows = Rows { training: training.len(), validation: validated, checksum };
        let description = Description { inputs, output, rows };
        Ok(Data { training, validation, description, bytes, notes })
    }
}

/// The columns of the targets: those that are said, else the last.
fn target_columns(
    source: &Source,
    data: &DataSettings,
    part: &Part,
) -> Result<Vec<usize>, Failure> {
    let table = part.targets();
    let last = [ColumnChoice::Number(-1)];
    let choices = match &data.target {
        Some(Targets::One(choice)) => std::slice::from_ref(choice),
        Some(Targets::Several(choices)) => choices,
        None if part.labels.is_some() && table.width > 1 => {
            let (file, width) = (table.file.display(), table.width);
            return Err(Failure::new(format!("`{file}` has {width} columns of labels")).help(
                "say which are the targets with `target` under [data]: a column, or a list of them",
            ));
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
    choices.iter().map(|choice| table.find(choice)).collect()
}

fn input_columns(
    data: &DataSettings,
    part: &Part,
    targets: &[usize],
) -> Result<Vec<usize>, Failure> {
    let table = &part.inputs;
    let ignored: Vec<usize> =
        data.ignore.iter().map(|choice| table.find(choice)).collect::<Result<_, _>>()?;
    let used = |column: &usize| {
        !ignored.contains(column) && (part.labels.is_some() || !targets.contains(column))
    };
    let columns: Vec<usize> = (0..table.width).filter(used).collect();
    if columns.is_empty() {
        let file = table.file.display();
        return Err(Failure::new(format!("no column of `{file}` is left as an input"))
            .help("an input is each column that is neither the target nor in `ignore`"));
    }
    Ok(columns)
}

fn note_skipped(notes: &mut Vec<String>, part: &Part, rows: &[usize]) -> Result<(), Failure> {
    let (all, file) = (part.inputs.rows(), part.inputs.file.display());
    if rows.is_empty() {
        return Err(Failure::new(format!("every row of `{file}` has a cell without a value"))
            .help("leave out the columns that are to blame with `ignore` under [data]"));
    }
    if rows.len() < all {
        notes.push(format!(
            "{} of {all} rows of {file} have no value somewhere and were skipped",
            all - rows.len()
        ));
    }
    Ok(())
}

/// Classes or values, and which.
fn output(
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
            let plain = |&column: &usize| match &table.header {
                Some(header) => header[column].clone(),
                None if targets.len() == 1 => "prediction".to_owned(),
                None => format!("prediction {}", column + 1),
            };
            Ok(Output::Values(targets.iter().map(plain).collect()))
        }
        Task::Classification if targets.len() > 1 => Err(source
            .failure(&["data", "target"], "a classification has one column of classes", "several")
            .help("name one column, or `task = \"regression\"`")),
        Task::Classification => {
            if let Cells::Numbers { whole: false, .. } = table.cells {
                let file = table.file.display();
                return Err(Failure::new(format!("`{file}`, {name} holds numbers that are no classes: not whole, or of more than 24 bits"))
                    .help("number the classes from 0, or say `task = \"regression\"` under [data]"));
            }
            let mut classes = BTreeMap::new();
            for &row in rows {
                if table.is_missing(row, targets[0]) {
                    return Err(table.missing(row, targets[0]));
                }
                classes.insert(table.word(row, targets[0]), ());
            }
            let mut classes: Vec<String> = classes.into_keys().collect();
            let numbers: Option<Vec<f64>> =
                classes.iter().map(|class| class.parse().ok()).collect();
            if numbers.is_some() {
                let number = |class: &String| class.parse::<f64>().unwrap_or_default();
                classes.sort_by(|a, b| number(a).total_cmp(&number(b)));
            }
            let file = table.file.display();
            if let [only] = &classes[..] {
                return Err(Failure::new(format!("`{file}`, {name}: all rows are of one class, `{only}`"))
                    .help("there is nothing to tell apart; give rows of another class, or another `target` under [data]"));
            }
            if classes.len() == rows.len() && rows.len() > 2 {
                return Err(Failure::new(format!("`{file}`, {name}: each of the {} rows is a class of its own", rows.len()))
                    .help("say which column is the class with `target` under [data], or `task = \"regression\"`"));
            }
            Ok(Output::Classes(classes))
        }
    }
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
    let number = |row: usize| table.word(row, targets[0]).parse::<f64>().ok();
    let numbers: Option<Vec<f64>> = match &table.cells {
        Cells::Numbers { bytes: true, .. } => return Ok(Task::Classification),
        _ => rows.iter().map(|&row| number(row)).collect(),
    };
    match numbers {
        None => Ok(Task::Classification),
        Some(numbers) if numbers.iter().any(|number| number.fract() != 0.0) => Ok(Task::Regression),
        Some(_) if part.labels.is_some() => Ok(Task::Classification),
        Some(_) => {
            let (file, name) = (table.file.display(), table.column_name(targets[0]));
            Err(Failure::new(format!(
                "`{file}`, {name}, the target, holds whole numbers: they may be classes or values"
            ))
            .help("say which: `task = \"classification\"` or `task = \"regression\"` under [data]"))
        }
    }
}

/// Reads the cells.
fn examples(
    part: &Part,
    (columns, targets): (&[usize], &[usize]),
    rows: &[usize],
    output: &Output,
) -> Result<Examples, Failure> {
    let mut inputs = Vec::with_capacity(rows.len() * columns.len());
    for &row in rows {
        for &column in columns {
            inputs.push(part.inputs.number(row, column)?);
        }
    }
    let table = part.targets();
    match output {
        Output::Values(_) => {
            let mut values = Vec::with_capacity(rows.len() * targets.len());
            for &row in rows {
                for &column in targets {
                    values.push(table.number(row, column)?);
                }
            }
            let width = targets.len();
            Ok(Examples::Values(Dataset::with_targets(inputs, columns.len(), values, width)?))
        }
        Output::Classes(classes) => {
            let places: BTreeMap<&str, i32> = classes.iter().map(String::as_str).zip(0..).collect();
            let label = |&row: &usize| {
                let word = table.word(row, targets[0]);
                places.get(word.as_str()).copied().ok_or_else(|| {
                    let (file, row) = (table.file.display(), table.row_name(row));
                    Failure::new(format!(
                        "`{file}`, {row}: the class `{word}` is in no row to train on"
                    ))
                    .help("correct it, or add rows of this class to train on")
                })
            };
            let labels = rows.iter().map(label).collect::<Result<_, _>>()?;
            Ok(Examples::Classes(Dataset::new(inputs, columns.len(), labels)?))
        }
    }
}

/// Sets rows aside to validate on.
fn split(
    source: &Source,
    data: &DataSettings,
    all: Examples,
    seed: u64,
) -> Result<(Examples, Option<Examples>), Failure> {
    let share = data.validation.unwrap_or(0.2);
    if share == 0.0 {
        return Ok((all, None));
    }
    let (rows, validated) = (all.len(), (all.len() as f64 * share).round());
    if validated < 1.0 || validated >= rows as f64 {
        let which = if validated < 1.0 { "to validate on" } else { "to train on" };
        let message = format!("a share of {share} of {rows} rows leaves none {which}");
        return Err(source
            .failure(&["data", "validation"], message, "this share")
            .help("give another share, or more rows; `validation = 0` under [data] trains on all and validates on none"));
    }
    Ok(match all {
        Examples::Classes(all) => {
            let (training, validation) = all.split(share, seed)?;
            (Examples::Classes(training), Some(Examples::Classes(validation)))
        }
        Examples::Values(all) => {
            let (training, validation) = all.split(share, seed)?;
            (Examples::Values(training), Some(Examples::Values(validation)))
        }
    })
}

fn note_unseen(notes: &mut Vec<String>, classes: &[String], labels: &[i32]) {
    let mut seen = vec![false; classes.len()];
    for &label in labels {
        seen[label as usize] = true;
    }
    let unseen: Vec<String> = classes
        .iter()
        .zip(seen)
        .filter(|(_, seen)| !seen)
        .map(|(class, _)| class.clone())
        .collect();
    if !unseen.is_empty() {
        notes.push(format!(
            "no row to train on is of class {}: the split set them all aside",
            data::listed(&unseen)
        ));
    }
}

impl Examples {
    pub fn len(&self) -> usize {
        match self {
            Examples::Classes(data) => data.len(),
            Examples::Values(data) => data.len(),
        }
    }

    pub fn width(&self) -> usize {
        match self {
            Examples::Classes(data) => data.width(),
            Examples::Values(data) => data.width(),
        }
    }

    pub fn inputs(&self) -> &[f32] {
        match self {
            Examples::Classes(data) => data.inputs(),
            Examples::Values(data) => data.inputs(),
        }
    }

    fn checksum(&self, sum: u32) -> u32 {
        let add = |sum, bytes: &[u8]| crc32c::crc32c_append(sum, bytes);
        let sum = self.inputs().iter().fold(sum, |sum, value| add(sum, &value.to_le_bytes()));
        match self {
            Examples::Classes(data) => {
                data.labels().iter().fold(sum, |sum, label| add(sum, &label.to_le_bytes()))
            }
            Examples::Values(data) => {
                data.targets().iter().fold(sum, |sum, value| add(sum, &value.to_le_bytes()))
            }
        }
    }
}
