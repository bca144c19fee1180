//! Text with a row in each line.

use super::table::{Cells, Table};
use crate::error::Failure;
use ::csv::{ErrorKind, ReaderBuilder, StringRecord, Trim};
use std::io::Read;
use std::path::Path;

/// How a text is to be read where looking at it could be wrong.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    /// Whether the first line names the columns.
    pub header: Option<bool>,
    /// What stands between cells.
    pub separator: Option<char>,
}

/// Reads all rows. The first line is a header if none of its cells is a number, unless it is said.
/// `begin` is what the reader begins with.
pub fn read(
    file: &Path,
    begin: &[u8],
    reader: impl Read,
    options: &Options,
) -> Result<Table, Failure> {
    let separator = match options.separator {
        Some(separator) => u8::try_from(separator).map_err(|_| {
            Failure::new(format!("`{separator}` cannot separate the cells of a line"))
                .help("give one plain character such as \";\" or a tab, \"\\t\"")
        })?,
        None => separator_in(begin),
    };
    let mut rows: Vec<(u64, StringRecord)> = Vec::new();
    let mut lines = ReaderBuilder::new()
        .delimiter(separator)
        .has_headers(false)
        .trim(Trim::All)
        .from_reader(reader);
    for record in lines.records() {
        let record = record.map_err(|error| failure(file, error, rows.first()))?;
        let line = record.position().map_or(0, ::csv::Position::line);
        rows.push((line, record));
    }
    let named = |record: &StringRecord| record.iter().all(|cell| cell.parse::<f64>().is_err());
    let width = rows.first().map_or(0, |(_, record)| record.len());
    let mut header = None;
    if let Some((_, first)) = rows.first()
        && options.header.unwrap_or_else(|| named(first))
    {
        header = Some(first.iter().map(str::to_owned).collect());
        rows.remove(0);
    }
    Ok(Table { file: file.to_owned(), header, width, cells: Cells::Text(rows) })
}

/// What separates the cells of the first line: the most frequent of the usual ones outside of
/// quotes. Where commas are as frequent they belong to decimal numbers.
fn separator_in(begin: &[u8]) -> u8 {
    let line = begin.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let outside = line.split(|&byte| byte == b'"').step_by(2);
    let outside: Vec<u8> = outside.flatten().copied().collect();
    let count = |wanted| outside.iter().filter(|&&byte| byte == wanted).count();
    let (frequent, separator) = [b',', b'\t', b';']
        .map(|separator| (count(separator), separator))
        .into_iter()
        .max_by_key(|(count, _)| *count)
        .unwrap_or((0, b','));
    if frequent == 0 { b',' } else { separator }
}

fn failure(file: &Path, error: ::csv::Error, first: Option<&(u64, StringRecord)>) -> Failure {
    let file_name = file.display();
    let line = error.position().map_or(0, ::csv::Position::line);
    match error.into_kind() {
        ErrorKind::Io(error) => Failure::file("read", file, &error),
        ErrorKind::UnequalLengths { expected_len, len, .. } => {
            let first = first.map_or(1, |(line, _)| *line);
            Failure::new(format!(
                "`{file_name}`, line {line} has {len} cells where line {first} has {expected_len}"
            ))
            .help(
                "give each line as many cells, and put quotes around text that holds the separator",
            )
        }
        ErrorKind::Utf8 { .. } => {
            Failure::new(format!("`{file_name}`, line {line} is no text in UTF-8"))
                .help("save the file as UTF-8; data may also be IDX, `.npy` or `.npz`")
        }
        kind => Failure::new(format!("`{file_name}`, line {line} cannot be read: {kind:?}"))
            .help("correct the line"),
    }
}
