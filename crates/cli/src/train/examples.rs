//! From tables to rows with targets, to train and to validate on.

use super::check::check_task;
use super::one_hot::{GivenAway, NO_OTHER, joined, leave_out, left_out, under_data};
use super::one_to_one::Told;
use super::part::{DATA_HELP, Part, TARGET_HELP, input_columns, note_skipped, refuse_empty};
use super::row_numbers;
use super::settings::{DataSettings, Settings};
use super::source::Source;
use super::target;
use crate::data::{self, Cells, Table, how_to_write};
use crate::description::{Columns, Description, Output, Rows};
use crate::error::Failure;
use crate::text::short;
use std::collections::BTreeMap;
use std::path::PathBuf;
use warmstart::Dataset;
use warmstart_graph::words::printable_path;

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

impl Data {
    pub fn read(source: &Source, settings: &Settings) -> Result<Data, Failure> {
        let data = &settings.data;
        let part = Part::of_training(source, data)?;
        let targets = target::columns(source, data, &part)?;
        let columns = input_columns(data, &part, &targets)?;
        refuse_empty(data, &part, (&columns, &targets))?;
        let rows = part.rows(&columns, &targets, data.missing);
        let mut notes = Vec::new();
        note_skipped(&mut notes, &part, &rows)?;
        let away = given_away(settings, &part, (&columns, &targets), &rows)?;
        let numbered = row_numbers::find(&part.inputs, &columns, &rows);
        let output = target::output(source, settings, &part, &targets, &rows)?;
        check_task(source, settings, &output)?;
        let told = told(data, &part, (&columns, &targets, &numbered), &rows, &output)?;
        let leaks = match (&away, &told) {
            (Some(away), _) => &away.inputs[..],
            (None, Some(told)) => &told.inputs,
            (None, None) => &[],
        };
        // One line leaves all of them out: the next would be a second `ignore`.
        let all = joined(leaks, &numbered);
        let also = if all.len() < columns.len() { &numbered[..] } else { &[] };
        let table = &part.inputs;
        let away = match (away, told) {
            (Some(away), _) => Some(away.note(table, &targets, data, also)),
            (None, told) => told.map(|told| told.note(table, data, also)),
        };
        notes.extend(away.clone());
        if !numbered.is_empty() {
            let advice = match (&away, all.len() < columns.len()) {
                (None, others) => leave_out(table, data, &numbered, others),
                (Some(_), true) => "The `ignore` above leaves such columns out too".to_owned(),
                (Some(_), false) => NO_OTHER.to_owned(),
            };
            notes.push(row_numbers::note(table, &numbered, &rows, &advice));
        }
        target::note(&mut notes, part.targets(), &targets, &rows, &output);
        let all = examples(&part, (&columns, &targets), &rows, &output).map_err(|error| {
            let failure = texts(data, &part, (&columns, &targets), &rows).unwrap_or(error);
            match &away {
                // Whoever writes as numbers what says the target has not won much.
                Some(note) => failure.also(note),
                None => failure,
            }
        })?;
        let (inputs, target) =
            (Columns::new(&part.inputs, &columns), Columns::new(part.targets(), &targets));
        // Two columns of one name would only be noticed when predicting.
        inputs.locate(&part.inputs)?;
        note_rounded(&mut notes, &part.inputs, &columns, &rows);
        if let Output::Values(_) = output {
            note_rounded(&mut notes, part.targets(), &targets, &rows);
        }
        let training_place = place(&part.inputs);
        let (training, validation) = match Part::of_validation(source, data)? {
            Some(part) => {
                notes.extend(note_same(&training_place, &part.inputs));
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

/// Refuses a guessed target that together with columns of the inputs is one-hot, and finds one that was
/// named.
fn given_away(
    settings: &Settings,
    part: &Part,
    (columns, targets): (&[usize], &[usize]),
    rows: &[usize],
) -> Result<Option<GivenAway>, Failure> {
    let (data, table) = (&settings.data, &part.inputs);
    // Labels that have a file of their own are one column, or several that were named: who writes them
    // apart does not encode them among the inputs as well.
    if part.labels.is_some() {
        return Ok(None);
    }
    let Some(found) = GivenAway::find(table, targets, columns, rows) else { return Ok(None) };
    if data.target.is_none() {
        let says_task = data.task.is_some() || settings.training.loss.is_some();
        found.refuse(table, targets[0], says_task)?;
    }
    Ok(Some(found))
}

/// Refuses a guessed target that columns of the inputs say in other words, and finds one that was named. What
/// numbers the rows rises with all that rises with time, and is told of by itself.
fn told(
    data: &DataSettings,
    part: &Part,
    (columns, targets, numbered): (&[usize], &[usize], &[usize]),
    rows: &[usize],
    output: &Output,
) -> Result<Option<Told>, Failure> {
    let table = &part.inputs;
    if part.labels.is_some() {
        return Ok(None);
    }
    let found = match output {
        Output::Classes(_) => Told::classes(table, targets[0], columns, rows),
        Output::Values(_) => {
            let columns = columns.iter().copied().filter(|column| !numbered.contains(column));
            Told::values(table, targets, &columns.collect::<Vec<_>>(), rows)
        }
    };
    let Some(found) = found else { return Ok(None) };
    if data.target.is_none() {
        found.refuse(table, data)?;
    }
    Ok(Some(found))
}

/// The file of a table, however it is named, and the array in it.
fn place(table: &Table) -> (PathBuf, Option<String>) {
    let file = table.file.canonicalize().unwrap_or_else(|_| table.file.clone());
    (file, table.array.clone())
}

/// That rows to validate on are those to train on.
fn note_same(training: &(PathBuf, Option<String>), validation: &Table) -> Option<String> {
    (*training == place(validation)).then(|| {
        let name = validation.name();
        format!(
            "{name} holds both the rows to train on and those to validate on, so the scores say nothing of other rows: name other rows to validate on, or leave `validation_file` and `validation_array` out, so that a part of the rows is set aside"
        )
    })
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
                    values.push(table.number_or(row, column, &TARGET_HELP)?);
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
                    let (file, row) = (table.name(), table.row_name(row));
                    Failure::new(format!(
                        "{file}, {row}: the class `{word}` is in no row to train on"
                    ))
                    .help("correct the cell, or add rows of this class to train on")
                })
            };
            let labels = rows.iter().map(label).collect::<Result<_, _>>()?;
            Ok(Examples::Classes(Dataset::new(inputs, columns.len(), labels)?))
        }
    }
}

/// The failure that columns of inputs hold text, so that one run tells them all.
fn texts(
    data: &DataSettings,
    part: &Part,
    (columns, targets): (&[usize], &[usize]),
    rows: &[usize],
) -> Option<Failure> {
    const SHOWN: usize = 8;
    let table = &part.inputs;
    let text = |&column: &usize| {
        let first = rows.iter().find(|&&row| table.is_text(row, column));
        first.map(|&row| (column, row))
    };
    let found: Vec<(usize, usize)> = columns.iter().filter_map(text).collect();
    let &(column, row) = found.first()?;
    // Whose classes stand elsewhere may not know that the last column, of numbers, is taken for the target.
    let guessed = data.target.is_none() && part.labels.is_none();
    let guessed = guessed && !rows.iter().any(|&row| table.is_text(row, targets[0]));
    let target = match targets {
        [target] if guessed => format!(
            "\n{} is what is predicted, being the last; to predict another, such as the text here, by this line under [data]:\n    target = {}",
            table.column_name(*target),
            table.choice(column)
        ),
        _ => String::new(),
    };
    if found.len() < 2 {
        let failure = table.number(row, column).err()?;
        let written = how_to_write(&table.word(row, column));
        let help = written.unwrap_or_else(|| format!("{}{target}", DATA_HELP.no_number));
        return Some(failure.help(help));
    }
    let shown = |&(column, row): &(usize, usize)| {
        let word: String = table.word(row, column).chars().take(40).collect();
        format!("{}: `{word}` in {}", table.column_name(column), table.row_name(row))
    };
    let mut lines: Vec<String> = found.iter().take(SHOWN).map(shown).collect();
    if found.len() > SHOWN {
        lines.push(format!("and {} more", found.len() - SHOWN));
    }
    let text: Vec<usize> = found.iter().map(|&(column, _)| column).collect();
    let (all, under) = (left_out(table, data, &text), under_data(data));
    let (file, count) = (printable_path(&table.file), found.len());
    let message = format!(
        "`{file}` has text in {count} of the {} columns that are inputs, which take numbers:\n{}",
        columns.len(),
        lines.join("\n")
    );
    let ignored = format!("leave them out, by this line {under}:\n    ignore = [{all}]\nor ");
    let mut written = found.iter().map(|&(column, row)| how_to_write(&table.word(row, column)));
    let first_written = written.next().flatten();
    let help = match (first_written, found.len() < columns.len()) {
        (Some(how), _) if written.all(|how| how.is_some()) => how,
        (_, true) => format!("{ignored}write the kinds of text in them as numbers{target}"),
        // Without them there would be no input.
        (_, false) => format!("write the kinds of text in them as numbers{target}"),
    };
    Some(Failure::new(message).help(help))
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

/// The share of a column's range that rounding may take without a word.
const ROUNDED: f64 = 1e-4;

/// Tells of columns whose rows differ by less than `f32` can tell, as times in milliseconds do.
fn note_rounded(notes: &mut Vec<String>, table: &Table, columns: &[usize], rows: &[usize]) {
    for &column in columns {
        let Some((rounded, range)) = table.rounding(column, rows) else { continue };
        if rounded > range * ROUNDED && range > 0.0 {
            notes.push(format!(
                "{} is rounded by up to {} to fit `f32`, and its values lie within {} only: subtract what they have in common from them",
                table.column_name(column), short(rounded), short(range)
            ));
        }
    }
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
