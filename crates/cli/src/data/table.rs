//! What a file of data holds, before anybody said what it is for.

use crate::error::Failure;
use crate::text::counted;
use ::csv::StringRecord;
use serde::Deserialize;
use std::fmt;
use std::path::PathBuf;
use warmstart_checkpoint::printable;
use warmstart_graph::words::{first_few, nearest, printable_path};

/// Rows of cells.
#[derive(Debug)]
pub struct Table {
    pub file: PathBuf,
    /// The name of the array, in a file that may hold several.
    pub array: Option<String>,
    /// The names of the columns, if the file has some.
    pub header: Option<Vec<String>>,
    /// How many columns there are.
    pub width: usize,
    pub cells: Cells,
    /// How whoever had it read can say more.
    pub help: &'static Help,
}

/// How to say more about a file: with keys of a training file, or with flags.
#[derive(Debug)]
pub struct Help {
    /// What says that the first line names the columns, and what that it does not.
    pub header: [&'static str; 2],
    /// What says that columns without names are in the order in which a model takes them.
    pub by_place: Option<&'static str>,
    /// What says which array is meant.
    pub array: &'static str,
    /// What to do about a cell without a value.
    pub missing: &'static str,
    /// About one that is text.
    pub no_number: &'static str,
    /// About one beyond `f32`.
    pub too_large: &'static str,
    /// Why numbers have to be finite.
    pub finite: &'static str,
}

/// The cells of a table, row by row.
#[derive(Debug)]
pub enum Cells {
    /// As a text has them, each row with its line from 1.
    Text(Vec<(u64, StringRecord)>),
    /// As an array has them.
    Numbers {
        values: Vec<f32>,
        /// Whether they are bytes, as in pictures.
        bytes: bool,
    },
}

/// A column as a user names it: by its name, or by its number from 1, or from the end from -1.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(
    untagged,
    expecting = "a column's name in quotes, or its number (1 is the first, -1 the last)"
)]
pub enum ColumnChoice {
    Name(String),
    Number(i64),
}

/// As a training file has it.
impl fmt::Display for ColumnChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ColumnChoice::Name(name) => toml::Value::from(name.as_str()).fmt(f),
            ColumnChoice::Number(number) => number.fmt(f),
        }
    }
}

impl Table {
    pub fn rows(&self) -> usize {
        match &self.cells {
            Cells::Text(rows) => rows.len(),
            Cells::Numbers { values, .. } => values.len() / self.width.max(1),
        }
    }

    /// The file as errors speak of it, with the array if it may hold several.
    pub fn name(&self) -> String {
        let file = printable_path(&self.file);
        match &self.array {
            Some(array) => format!("`{file}`, array `{}`", printable(array)),
            None => format!("`{file}`"),
        }
    }

    /// A column as errors speak of it.
    pub fn column_name(&self, column: usize) -> String {
        match self.header.as_ref().and_then(|header| header.get(column)) {
            Some(name) if name.is_empty() => format!("column {} (without a name)", column + 1),
            Some(name) => format!("column `{name}`"),
            None => format!("column {}", column + 1),
        }
    }

    /// Whether this is an array, which has neither lines nor names of columns.
    pub fn is_array(&self) -> bool {
        matches!(self.cells, Cells::Numbers { .. })
    }

    /// A row as errors speak of it.
    pub fn row_name(&self, row: usize) -> String {
        format!("{} {}", self.counts(), self.row_number(row))
    }

    /// What rows are counted by.
    pub fn counts(&self) -> &'static str {
        if self.is_array() { "row" } else { "line" }
    }

    /// The line of a row in the file, or its place in the array, from 1.
    pub fn row_number(&self, row: usize) -> u64 {
        match &self.cells {
            Cells::Text(rows) => rows[row].0,
            Cells::Numbers { .. } => row as u64 + 1,
        }
    }

    /// The column that a user means.
    pub fn find(&self, choice: &ColumnChoice) -> Result<usize, Failure> {
        match choice {
            ColumnChoice::Name(name) => self.find_name(name),
            ColumnChoice::Number(number) => {
                let width = i64::try_from(self.width).unwrap_or(i64::MAX);
                let place = if *number > 0 { number - 1 } else { number.saturating_add(width) };
                let inside = *number != 0 && (0..width).contains(&place);
                usize::try_from(place).ok().filter(|_| inside).ok_or_else(|| {
                    let file = self.name();
                    let columns = counted(self.width, "column");
                    Failure::new(format!(
                        "there is no column {number} in {file}, which has {columns}"
                    ))
                    .help("columns are counted from 1, or from the end: -1 is the last")
                })
            }
        }
    }

    /// The one column of this name.
    pub fn find_name(&self, name: &str) -> Result<usize, Failure> {
        let file = self.name();
        let Some(header) = &self.header else {
            let number = "give the column's number: 1 is the first, -1 the last";
            let help = match self.is_array() {
                true => number.to_owned(),
                false => format!(
                    "{number}; or, if the first line does have the names, say {}",
                    self.help.header[0]
                ),
            };
            return Err(Failure::new(format!(
                "{file} does not name its columns, so none is `{}`",
                printable(name)
            ))
            .help(help));
        };
        let places: Vec<usize> = (0..header.len()).filter(|&at| header[at] == name).collect();
        match places[..] {
            [place] => Ok(place),
            [] => {
                let help = match nearest(name, header.iter().map(String::as_str)) {
                    Some(near) => format!("did you mean `{}`?", printable(near)),
                    None => format!("its columns are {}", listed(header)),
                };
                let name = printable(name);
                Err(Failure::new(format!("{file} has no column `{name}`")).help(help))
            }
            [first, second, ..] => Err(Failure::new(format!(
                "columns {} and {} of {file} are both called `{}`",
                first + 1,
                second + 1,
                printable(name)
            ))
            .help("give the number of the one that is meant, or rename one")),
        }
    }

    /// What names a column and no other: its name if it alone has it, else its number.
    pub fn choice(&self, column: usize) -> ColumnChoice {
        let name = self.header.as_ref().and_then(|header| header.get(column));
        match name {
            Some(name) if !name.is_empty() && self.find_name(name).is_ok() => {
                ColumnChoice::Name(name.clone())
            }
            _ => ColumnChoice::Number(i64::try_from(column + 1).unwrap_or(i64::MAX)),
        }
    }

    /// What a cell says; arrays say numbers.
    pub fn word(&self, row: usize, column: usize) -> String {
        match &self.cells {
            Cells::Text(rows) => rows[row].1.get(column).unwrap_or_default().to_owned(),
            // -0 is 0.
            Cells::Numbers { values, .. } => (values[row * self.width + column] + 0.0).to_string(),
        }
    }

    /// What a cell says that is 0 or 1.
    pub fn bit(&self, row: usize, column: usize) -> Option<bool> {
        let value = self.exact_number(row, column)?;
        (value == 0.0 || value == 1.0).then_some(value == 1.0)
    }

    /// Whether a column begins with `True` or `False`.
    pub fn is_truth(&self, column: usize) -> bool {
        match &self.cells {
            Cells::Text(rows) => {
                let first = rows.first().and_then(|(_, record)| record.get(column));
                first.is_some_and(|text| truth(text).is_some())
            }
            Cells::Numbers { .. } => false,
        }
    }

    /// A cell as a finite number, as exactly as it is there.
    pub fn exact_number(&self, row: usize, column: usize) -> Option<f64> {
        let value = match &self.cells {
            Cells::Text(rows) => {
                let text = rows[row].1.get(column)?;
                text.parse().ok().or_else(|| truth(text).map(f64::from))?
            }
            Cells::Numbers { values, .. } => f64::from(values[row * self.width + column]),
        };
        value.is_finite().then_some(value)
    }

    /// Whether no row has a value in a column.
    pub fn is_empty_column(&self, column: usize) -> bool {
        (0..self.rows()).all(|row| self.is_missing(row, column))
    }

    /// Whether two rows have the same in a column, be it as text or as a number.
    pub fn same(&self, first: usize, second: usize, column: usize) -> bool {
        let same_text = match &self.cells {
            Cells::Text(rows) => rows[first].1.get(column) == rows[second].1.get(column),
            Cells::Numbers { .. } => false,
        };
        let number = |row: usize| self.exact_number(row, column);
        same_text || number(first).is_some_and(|value| number(second) == Some(value))
    }

    /// Whether a cell can be a class: text can, and numbers that are whole and exact in `f32`.
    pub fn is_class(&self, row: usize, column: usize) -> bool {
        // Beyond that, neighbours are one `f32`, and so would be two classes.
        const EXACT: f32 = (1u32 << 24) as f32;
        match &self.cells {
            Cells::Text(_) => true,
            Cells::Numbers { values, .. } => {
                let value = values[row * self.width + column];
                value.fract() == 0.0 && value.abs() < EXACT
            }
        }
    }

    /// Whether a cell has no value.
    pub fn is_missing(&self, row: usize, column: usize) -> bool {
        match &self.cells {
            Cells::Text(rows) => says_nothing(rows[row].1.get(column).unwrap_or_default()),
            Cells::Numbers { values, .. } => values[row * self.width + column].is_nan(),
        }
    }

    /// Whether a cell has a value that is neither a number nor `True` or `False`.
    pub fn is_text(&self, row: usize, column: usize) -> bool {
        match &self.cells {
            Cells::Text(rows) => {
                let text = rows[row].1.get(column).unwrap_or_default();
                !says_nothing(text) && text.parse::<f32>().is_err() && truth(text).is_none()
            }
            Cells::Numbers { .. } => false,
        }
    }

    /// A cell as a finite number; `True` is 1, and `False` is 0.
    pub fn number(&self, row: usize, column: usize) -> Result<f32, Failure> {
        self.number_or(row, column, self.help)
    }

    /// The same of a column with help of its own.
    pub fn number_or(&self, row: usize, column: usize, help: &Help) -> Result<f32, Failure> {
        let value = match &self.cells {
            Cells::Text(rows) => {
                let text = rows[row].1.get(column).unwrap_or_default();
                let truth = || truth(text).map(f32::from);
                let number = text.parse().ok().or_else(truth);
                number.ok_or_else(|| self.no_number(row, column, text, help))?
            }
            Cells::Numbers { values, .. } => values[row * self.width + column],
        };
        if value.is_finite() {
            return Ok(value);
        }
        if self.is_missing(row, column) {
            return Err(self.missing(row, column, help));
        }
        let (place, word) = (self.place(row, column), self.word(row, column));
        // An array may have held a number that is too large: it was rounded when it was read. A text may
        // spell one that no `f64` holds either.
        let is_number = word.parse::<f64>().is_ok() && word.contains(|c: char| c.is_ascii_digit());
        let why = match is_number {
            true => ", which no `f32` holds".to_owned(),
            false if self.is_array() => format!(" as `f32`, and {}", help.finite),
            false => format!(", and {}", help.finite),
        };
        Err(Failure::new(format!("{place} is {word}{why}")).help(help.too_large))
    }

    /// By how much `f32` rounds the numbers of a column in these rows at most, and how far they lie
    /// apart. Arrays were rounded when they were read.
    pub fn rounding(&self, column: usize, rows: &[usize]) -> Option<(f64, f64)> {
        let Cells::Text(lines) = &self.cells else { return None };
        let numbers =
            || rows.iter().filter_map(|&row| lines[row].1.get(column)?.parse::<f64>().ok());
        let (low, high) = numbers().fold((f64::MAX, f64::MIN), |(l, h), x| (l.min(x), h.max(x)));
        let rounded = numbers().map(|x| (x - f64::from(x as f32)).abs()).fold(0.0, f64::max);
        Some((rounded, high - low))
    }

    /// The failure that a cell has no value.
    pub fn missing(&self, row: usize, column: usize, help: &Help) -> Failure {
        let place = self.place(row, column);
        Failure::new(format!("{place} has no value")).help(help.missing)
    }

    /// The failure that a number is no byte, where the model takes only those.
    pub fn no_byte(&self, row: usize, column: usize) -> Failure {
        let (place, word) = (self.place(row, column), self.word(row, column));
        Failure::new(format!("{place} is {word}, and the model takes bytes"))
            .help("give whole numbers from 0 to 255, as they are in an image: what the model makes of them is in it")
    }

    fn no_number(&self, row: usize, column: usize, text: &str, help: &Help) -> Failure {
        if self.is_missing(row, column) {
            return self.missing(row, column, help);
        }
        let shown: String = text.chars().take(40).collect();
        let help = how_to_write(text).unwrap_or_else(|| help.no_number.to_owned());
        Failure::new(format!("{} is `{shown}`, not a number", self.place(row, column))).help(help)
    }

    /// Where a cell is: file, line and column.
    fn place(&self, row: usize, column: usize) -> String {
        format!("{}, {}, {}", self.name(), self.row_name(row), self.column_name(column))
    }
}

/// How a number is to be written that is written as people do.
pub fn how_to_write(cell: &str) -> Option<String> {
    if has_thousands(cell) {
        // `1,000` may be one or a thousand.
        return Some(
            "write numbers with a decimal point and with nothing between thousands, as in `1234.5`"
                .to_owned(),
        );
    }
    if has_decimal_comma(cell) {
        return Some("write numbers with a decimal point, not a comma".to_owned());
    }
    if let Some(unit) = currency_of(cell).filter(|_| cell.contains(',')) {
        return Some(format!(
            "write numbers without their unit, here `{unit}`, and with nothing between thousands, as in `1234.5`: name the unit in the first line"
        ));
    }
    let unit = unit_of(cell).or_else(|| currency_of(cell))?;
    Some(format!("write numbers without their unit, here `{unit}`: name it in the first line"))
}

/// Whether a text is a number as it is written in many countries: `3,14`.
fn has_decimal_comma(text: &str) -> bool {
    text.split_once(',').is_some_and(|(whole, rest)| {
        !rest.contains(',') && format!("{whole}.{rest}").parse::<f32>().is_ok()
    })
}

/// Whether commas may stand between the thousands of a number: `1,000` or `1,234,567.5`.
fn has_thousands(text: &str) -> bool {
    let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let mut groups = whole.trim_start_matches(['-', '+']).split(',');
    let first = groups.next().unwrap_or_default();
    let mut groups = groups.peekable();
    let begins = (1..=3).contains(&first.len()) && digits(first) && !first.starts_with('0');
    begins && groups.peek().is_some() && groups.all(|g| g.len() == 3 && digits(g)) && digits(rest)
}

/// What stands before a number, if it is the sign of a currency: `$` in `$1,000`.
fn currency_of(text: &str) -> Option<&str> {
    let end = text.chars().next().filter(|c| "$€£¥".contains(*c))?.len_utf8();
    let number = text[end..].trim_start().replace(',', "");
    number.parse::<f32>().is_ok().then_some(&text[..end])
}

/// What stands behind a number, if it may be a unit: `cm` in `3.5 cm`.
fn unit_of(text: &str) -> Option<&str> {
    let number = |c: char| c.is_ascii_digit() || ".,+-".contains(c);
    let unit = text.trim_start_matches(number);
    let before = text[..text.len() - unit.len()].parse::<f32>();
    let unit = unit.trim_start();
    let of_unit = |c: char| c.is_alphabetic() || "%°€$£/²³".contains(c);
    (before.is_ok() && !unit.is_empty() && unit.chars().all(of_unit)).then_some(unit)
}

/// Whether two cells that are no numbers are numbers as people write them, and both alike: of each way that
/// `how_to_write` knows.
pub fn are_written_alike(first: &str, second: &str) -> bool {
    let both = |has: fn(&str) -> bool| has(first) && has(second);
    let unit = |cell| unit_of(cell).or_else(|| currency_of(cell));
    both(has_decimal_comma)
        || both(has_thousands)
        || unit(first).is_some_and(|of_first| unit(second) == Some(of_first))
}

/// What a cell says that is `True` or `False`, as programs write what is 1 or 0.
pub fn truth(cell: &str) -> Option<bool> {
    let says = |word| cell.eq_ignore_ascii_case(word);
    says("true").then_some(true).or_else(|| says("false").then_some(false))
}

/// Whether a cell of a text has no value.
pub fn says_nothing(cell: &str) -> bool {
    // C's `printf` puts a sign before what is no number.
    const MISSING: [&str; 8] = ["", "?", "na", "n/a", "nan", "-nan", "+nan", "null"];
    MISSING.iter().any(|missing| cell.eq_ignore_ascii_case(missing))
}

/// The first few names.
pub fn listed(names: &[String]) -> String {
    first_few(names.iter().map(|name| format!("`{}`", printable(name))), 12)
}
