//! Text with a row in each line.

use super::table::{Cells, Help, Table, are_written_alike, how_to_write, says_nothing, truth};
use crate::error::Failure;
use crate::text::counted;
use ::csv::{ErrorKind, Position, ReaderBuilder, StringRecord, Trim};
use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;
use warmstart_graph::words::printable_path;

/// How a text is to be read where looking at it could be wrong.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    /// Whether the first line names the columns.
    pub header: Option<bool>,
    /// What stands between cells.
    pub separator: Option<char>,
}

/// Reads all rows. The first line is a header if none of its cells is a number, unless it is said.
pub fn read(
    file: &Path,
    mut reader: impl Read,
    options: &Options,
    help: &'static Help,
) -> Result<Table, Failure> {
    let mut text = Vec::new();
    reader.read_to_end(&mut text).map_err(|error| Failure::file("read", file, &error))?;
    if text.starts_with(b"\xff\xfe") || text.starts_with(b"\xfe\xff") {
        let file = printable_path(file);
        return Err(Failure::new(format!("`{file}` is text in UTF-16, and text is read in UTF-8"))
            .help("save the file as UTF-8, which Excel calls `CSV UTF-8`"));
    }
    let separator = match options.separator {
        Some(separator) => u8::try_from(separator).map_err(|_| {
            Failure::new(format!("`{separator}` cannot separate the cells of a line"))
                .help("give one plain character such as \";\" or a tab, \"\\t\"")
        })?,
        None => separator_in(&text),
    };
    let mut records = ReaderBuilder::new()
        .delimiter(separator)
        .has_headers(false)
        .flexible(true)
        .trim(Trim::All)
        .from_reader(&text[..]);
    let mut lines = Lines { text: &text, at: 0, line: 1 };
    let mut rows: Vec<(u64, StringRecord)> = Vec::new();
    for record in records.records() {
        let record = record.map_err(|error| {
            let line = lines.of(error.position());
            failure(file, line, error)
        })?;
        let line = lines.of(record.position());
        let cells = rows.first().map_or(record.len(), |(_, first)| first.len());
        // A line of blanks is as good as an empty one, which the reader passes over.
        let blank = record.len() == 1 && record[0].is_empty();
        if blank && (cells > 1 || rows.is_empty()) {
            continue;
        }
        if record.len() != cells {
            let is_open = record.iter().any(|cell| cell.contains('\n'));
            return Err(unequal(file, (line, record.len()), (rows[0].0, cells), is_open));
        }
        rows.push((line, record));
    }
    let width = rows.first().map_or(0, |(_, record)| record.len());
    let mut header = None;
    if let Some(((line, first), others)) = rows.split_first() {
        let named = match options.header {
            Some(named) => named,
            None if first.iter().all(|cell| !is_number(cell)) => {
                refuse_values(file, (line, first), others, help)?;
                true
            }
            None if !others.is_empty() && counts(first) => {
                let file = printable_path(file);
                return Err(Failure::new(format!("`{file}`, line {line} counts its cells from 0: these may be names of the columns, as pandas writes them"))
                    .help(names_or_row(help)));
            }
            None => match unsure(first, others) {
                None => false,
                Some((column, why)) => {
                    let (file, cell) = (printable_path(file), &first[column]);
                    let column = column + 1;
                    return Err(Failure::new(format!("`{file}`, line {line} has numbers as a row would, but `{cell}` in column {column} may be a name: {why}"))
                        .help(names_or_row(help)));
                }
            },
        };
        if named {
            header = Some(first.iter().map(str::to_owned).collect());
            rows.remove(0);
        }
    }
    let cells = Cells::Text(rows);
    Ok(Table { file: file.to_owned(), array: None, header, width, cells, help })
}

/// What says whether a first line is names or a row.
fn names_or_row(help: &Help) -> String {
    let [names, row] = help.header;
    format!("if the line names the columns, say {names}; if it is a row, say {row}")
}

/// Refuses a first line that would be taken for names, though it has a value of the same writing as
/// the one below it.
fn refuse_values(
    file: &Path,
    (line, first): (&u64, &StringRecord),
    others: &[(u64, StringRecord)],
    help: &Help,
) -> Result<(), Failure> {
    let Some((_, second)) = others.first() else { return Ok(()) };
    let mut pairs = first.iter().zip(second).enumerate();
    let is_value = |a: &str, b: &str| are_written_alike(a, b) || are_truths(a, b);
    let Some((column, (cell, _))) = pairs.find(|(_, (a, b))| is_value(a, b)) else {
        return Ok(());
    };
    let (file, column) = (printable_path(file), column + 1);
    // `True` and `False` are read as they are.
    let either = match how_to_write(cell) {
        Some(how) => format!("{how}; or if these are names, say {}", help.header[0]),
        None => names_or_row(help),
    };
    Err(Failure::new(format!("`{file}`, line {line} has no number and would name the columns, but `{cell}` in column {column} is written as the value below it"))
        .help(either))
}

/// Whether two cells are both `True` or `False`.
fn are_truths(first: &str, second: &str) -> bool {
    truth(first).is_some() && truth(second).is_some()
}

fn is_number(cell: &str) -> bool {
    cell.parse::<f64>().is_ok()
}

/// Whether a line is 0, 1, 2 and so on: what pandas writes for columns without names. Two cells may
/// well be values. It leaves the cell empty that stands above the numbers of rows.
fn counts(first: &StringRecord) -> bool {
    let above_rows = usize::from(first.get(0).is_some_and(str::is_empty));
    let names = || first.iter().skip(above_rows).enumerate();
    names().count() > 2 && names().all(|(at, cell)| cell == at.to_string())
}

/// Where a first line with numbers in it has a word that may be a column's name, and why: numbers
/// stand below, or only other words, and those again and again, as classes do.
fn unsure(first: &StringRecord, others: &[(u64, StringRecord)]) -> Option<(usize, &'static str)> {
    let is_word = |cell: &str| !is_number(cell) && !says_nothing(cell);
    first.iter().enumerate().filter(|(_, cell)| is_word(cell)).find_map(|(column, name)| {
        let below = || others.iter().filter_map(|(_, record)| record.get(column));
        if below().next().is_some_and(|cell| are_truths(name, cell)) {
            return None;
        }
        if below().next().is_some_and(|cell| is_number(cell) && !says_nothing(cell)) {
            return Some((column, "a number follows it"));
        }
        let kinds: BTreeSet<&str> = below().collect();
        (!kinds.contains(name) && kinds.len() < others.len())
            .then_some((column, "no other row has it, and what they have comes again"))
    })
}

/// Where records are. The `csv` crate counts lines too, but places a record before the empty lines
/// that it follows.
struct Lines<'a> {
    text: &'a [u8],
    /// Counted up to here.
    at: usize,
    /// The line there, from 1.
    line: u64,
}

impl Lines<'_> {
    /// The line of a record; records come in their order.
    fn of(&mut self, position: Option<&Position>) -> u64 {
        let begin = position.map_or(0, |position| position.byte() as usize).min(self.text.len());
        let empty = self.text[begin..].iter().take_while(|byte| b"\r\n".contains(byte)).count();
        let passed = self.text.get(self.at..begin + empty).unwrap_or_default();
        self.line += passed.iter().filter(|&&byte| byte == b'\n').count() as u64;
        self.at = self.at.max(begin + empty);
        self.line
    }
}

/// What separates the cells of the first line, outside of quotes. Commas come last: where there is
/// something else, they belong to decimal numbers.
fn separator_in(text: &[u8]) -> u8 {
    let line = text.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let outside: Vec<&[u8]> = line.split(|&byte| byte == b'"').step_by(2).collect();
    let stands = |wanted: &u8| outside.iter().any(|part| part.contains(wanted));
    [b'\t', b';'].into_iter().find(stands).unwrap_or(b',')
}

/// A line and how many cells it has, and the first line and how many it has; and whether a quote in the line
/// goes on below it.
fn unequal(
    file: &Path,
    (line, cells): (u64, usize),
    (first, expected): (u64, usize),
    is_open: bool,
) -> Failure {
    let file = printable_path(file);
    let cells_of_line = counted(cells, "cell");
    let help = match (expected, is_open) {
        (_, true) => format!(
            "a quote that opens in line {line} is not closed in that line: close or remove the quote, or, if the text does go on below, give the line as many cells as the others"
        ),
        (1, _) => format!(
            "if line {first} is a title or a remark, remove the line: the first line has the names of the columns, or is a row"
        ),
        _ => "give each line as many cells, and put quotes around text that holds the separator"
            .to_owned(),
    };
    Failure::new(format!(
        "`{file}`, line {line} has {cells_of_line} where line {first} has {expected}"
    ))
    .help(help)
}

fn failure(file: &Path, line: u64, error: ::csv::Error) -> Failure {
    let file_name = printable_path(file);
    match error.into_kind() {
        ErrorKind::Io(error) => Failure::file("read", file, &error),
        ErrorKind::Utf8 { .. } => {
            Failure::new(format!("`{file_name}`, line {line} is no text in UTF-8"))
                .help("save the file as UTF-8, which Excel calls `CSV UTF-8`; data may also be IDX, `.npy` or `.npz`")
        }
        kind => Failure::new(format!("`{file_name}`, line {line} cannot be read: {kind:?}"))
            .help("correct the line"),
    }
}

#[cfg(test)]
#[path = "csv_tests.rs"]
mod tests;
