//! A file of inputs with its targets, and which of its columns and rows are used.

use super::one_hot::{left_out, under_data};
use super::settings::{DataSettings, Missing};
use super::source::Source;
use crate::data::{self, CsvOptions, Help, ReadOptions, Table};
use crate::error::Failure;
use std::path::{Path, PathBuf};
use warmstart_graph::words::{first_few, printable_path};

/// How to say more about files of data.
pub const DATA_HELP: Help = Help {
    header: ["`header = true` under [data]", "`header = false` under [data]"],
    by_place: None,
    array: "`array`, and `labels_array` for the labels, under [data]",
    missing: "fill in the cell; or leave out the rows without a value (`missing = \"skip\"` under [data]) or the column (`ignore`)",
    no_number: "correct the cell; or leave the column out with `ignore` under [data], or write the column's kinds as numbers",
    too_large: "correct the cell, or leave the column out with `ignore` under [data]",
    finite: "training needs finite numbers",
};

/// The same of targets, which cannot be left out.
pub const TARGET_HELP: Help = Help {
    missing: "fill in the cell, or leave out the rows without a value: `missing = \"skip\"` under [data]",
    no_number: "correct the cell, or leave the row out",
    too_large: "correct the cell, or leave the row out",
    ..DATA_HELP
};

/// A file of inputs, and where their targets are.
pub struct Part {
    pub inputs: Table,
    /// The file of their own that the targets have.
    pub labels: Option<Table>,
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
    pub fn of_training(source: &Source, data: &DataSettings) -> Result<Part, Failure> {
        let labels = labels(&data.file, &data.labels, &data.labels_array);
        Part::read(source, data, (&data.file, &data.array), labels)
    }

    /// Reads the rows to validate on, if they are not set aside of those.
    pub fn of_validation(source: &Source, data: &DataSettings) -> Result<Option<Part>, Failure> {
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
            let array = array.clone();
            data::read(&source.path(file), &ReadOptions { csv, array, help: &DATA_HELP })
        };
        let (inputs, labels) = (read(inputs)?, labels.map(read).transpose()?);
        if let Some(labels) = &labels
            && labels.rows() != inputs.rows()
        {
            let (file, of) = (labels.name(), inputs.name());
            let (found, rows) = (labels.rows(), inputs.rows());
            let header = match labels.is_array() && inputs.is_array() {
                true => "",
                false => "; `header` under [data] says whether first lines are names",
            };
            return Err(Failure::new(format!(
                "{file} has labels for {found} rows, and {of} has {rows} rows"
            ))
            .help(format!("give the labels of these rows, one for each{header}")));
        }
        Ok(Part { inputs, labels })
    }

    pub fn targets(&self) -> &Table {
        self.labels.as_ref().unwrap_or(&self.inputs)
    }

    /// The rows to use.
    pub fn rows(&self, columns: &[usize], targets: &[usize], missing: Missing) -> Vec<usize> {
        let whole = |&row: &usize| {
            columns.iter().all(|&column| !self.inputs.is_missing(row, column))
                && targets.iter().all(|&column| !self.targets().is_missing(row, column))
        };
        let all = 0..self.inputs.rows();
        if missing == Missing::Skip { all.filter(whole).collect() } else { all.collect() }
    }
}

/// Notes rows without a value that were skipped; fails if all were.
pub fn note_skipped(notes: &mut Vec<String>, part: &Part, rows: &[usize]) -> Result<(), Failure> {
    let (all, file) = (part.inputs.rows(), printable_path(&part.inputs.file));
    if rows.is_empty() {
        return Err(Failure::new(format!("every row of `{file}` has a cell without a value"))
            .help("leave out the columns that are to blame with `ignore` under [data]"));
    }
    let skipped = all - rows.len();
    if skipped > 0 {
        let (have, were) = if skipped == 1 { ("has", "was") } else { ("have", "were") };
        notes.push(format!(
            "{skipped} of {all} rows of {file} {have} no value somewhere and {were} skipped"
        ));
    }
    Ok(())
}

/// The columns that are to be left out.
pub fn ignored(data: &DataSettings, table: &Table) -> Result<Vec<usize>, Failure> {
    data.ignore.iter().map(|choice| table.find(choice)).collect()
}

/// The columns that are neither targets nor to be ignored.
pub fn input_columns(
    data: &DataSettings,
    part: &Part,
    targets: &[usize],
) -> Result<Vec<usize>, Failure> {
    let table = &part.inputs;
    let ignored = ignored(data, table)?;
    let used = |column: &usize| {
        !ignored.contains(column) && (part.labels.is_some() || !targets.contains(column))
    };
    let columns: Vec<usize> = (0..table.width).filter(used).collect();
    if columns.is_empty() {
        let file = table.name();
        let failure = Failure::new(format!("no column of {file} is left as an input"));
        return Err(match separator_of(table) {
            Some(separator) => failure.help(format!(
                "each line of the file was read as one cell; if `{separator}` stands between its cells, say `separator = \"{separator}\"` under [data]"
            )),
            None => failure.help("an input is each column that is neither the target nor in `ignore`"),
        });
    }
    Ok(columns)
}

/// What may separate cells in a text that was read as one column.
fn separator_of(table: &Table) -> Option<char> {
    if table.width != 1 || table.is_array() {
        return None;
    }
    let first = table.word(0, 0);
    ['|', ':', ' '].into_iter().find(|&separator| first.contains(separator))
}

/// Refuses columns in which no row has a value. Each row would be refused for them, or skipped.
pub fn refuse_empty(
    data: &DataSettings,
    part: &Part,
    (columns, targets): (&[usize], &[usize]),
) -> Result<(), Failure> {
    let empty = |table: &Table, columns: &[usize]| -> Vec<usize> {
        columns.iter().copied().filter(|&column| table.is_empty_column(column)).collect()
    };
    let of_labels = part.labels.as_ref().map(|labels| (labels, empty(labels, targets)));
    if let Some((labels, empty)) = &of_labels
        && let Some(&column) = empty.first()
    {
        let (file, name) = (labels.name(), labels.column_name(column));
        let help = match labels.width {
            1 => "fill in the labels, or give a file that has them",
            _ => "name another column of labels with `target` under [data]",
        };
        return Err(Failure::new(format!("{file}, {name} has no value in any row")).help(help));
    }
    let table = &part.inputs;
    let own = if part.labels.is_some() { &[][..] } else { targets };
    let last = table.width - 1;
    let has_name = table.header.as_ref().is_some_and(|header| !header[last].is_empty());
    let ended = !has_name && !table.is_array();
    // What nobody named and has no name itself may be no column at all.
    let is_meant = |column: &usize| data.target.is_some() || !ended || *column != last;
    if let Some(column) = empty(table, own).into_iter().find(is_meant) {
        let (file, name) = (table.name(), table.column_name(column));
        let since = if data.target.is_none() { " since it is the last" } else { "" };
        return Err(Failure::new(format!(
            "{file}, {name}, the target{since}, has no value in any row"
        ))
        .help("fill it in, or name another with `target` under [data]"));
    }
    let mut found = [empty(table, columns), empty(table, own)].concat();
    found.sort_unstable();
    if found.is_empty() {
        return Ok(());
    }
    let (file, all) = (table.name(), left_out(table, data, &found));
    let names = first_few(found.iter().map(|&column| table.column_name(column)), 5);
    let has = if found.len() == 1 { "has" } else { "have" };
    let under = under_data(data);
    let why = match ended && found.contains(&last) {
        true => "; a separator at the end of each line makes such a last column",
        false => "",
    };
    let them = if found.len() == 1 { "the column" } else { "these columns" };
    Err(Failure::new(format!("{file}, {names} {has} no value in any row"))
        .help(format!("leave {them} out, by this line {under}{why}:\n    ignore = [{all}]")))
}
