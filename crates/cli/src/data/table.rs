//! What a file of data holds, before anybody said what it is for.

use crate::error::Failure;
use crate::text::counted;
use ::csv::StringRecord;
use serde::Deserialize;
use std::path::PathBuf;

/// Rows of cells.
#[derive(Debug)]
pub struct Table {
    pub file: PathBuf,
    /// The names of the columns, if the file has some.
    pub header: Option<Vec<String>>,
    /// How many columns there are.
    pub width: usize,
    pub cells: Cells,
}

/// The cells of a table, row by row.
#[derive(Debug)]
pub enum Cells {
    /// As a text has them, each row with its line from 1.
    Text(Vec<(u64, StringRecord)>),
    /// As an array has them.
    Numbers {
        values: Vec<f32>,
        /// Whether all are whole numbers that are exact in `f32`.
        whole: bool,
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

impl Cells {
    /// The elements of an array; `bytes` if they were bytes.
    pub fn numbers(values: Vec<f32>, bytes: bool) -> Cells {
        // Beyond that, neighbours are one `f32`, and so would be two classes.
        const EXACT: f32 = (1u32 << 24) as f32;
        let whole = values.iter().all(|value| value.fract() == 0.0 && value.abs() < EXACT);
        Cells::Numbers { values, whole, bytes }
    }
}

impl Table {
    pub fn rows(&self) -> usize {
        match &self.cells {
            Cells::Text(rows) => rows.len(),
            Cells::Numbers { values, .. } => values.len() / self.width.max(1),
        }
    }

    /// A column as errors speak of it.
    pub fn column_name(&self, column: usize) -> String {
        match self.header.as_ref().and_then(|header| header.get(column)) {
            Some(name) => format!("column `{name}`"),
            None => format!("column {}", column + 1),
        }
    }

    /// A row as errors speak of it.
    pub fn row_name(&self, row: usize) -> String {
        match &self.cells {
            Cells::Text(rows) => format!("line {}", rows[row].0),
            Cells::Numbers { .. } => format!("row {}", row + 1),
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
                    let file = self.file.display();
                    let columns = counted(self.width, "column");
                    Failure::new(format!(
                        "there is no column {number} in `{file}`, which has {columns}"
                    ))
                    .help("columns are counted from 1, or from the end: -1 is the last")
                })
            }
        }
    }

    fn find_name(&self, name: &str) -> Result<usize, Failure> {
        let file = self.file.display();
        let Some(header) = &self.header else {
            return Err(Failure::new(format!("`{file}` does not name its columns, so none is `{name}`"))
                .help("give the column's number: 1 is the first, -1 the last; or, if the first line does have the names, `header = true` under [data]"));
        };
        let places: Vec<usize> = (0..header.len()).filter(|&at| header[at] == name).collect();
        match places[..] {
            [place] => Ok(place),
            [] => {
                let help = match nearest(name, header.iter().map(String::as_str)) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("its columns are {}", listed(header)),
                };
                Err(Failure::new(format!("`{file}` has no column `{name}`")).help(help))
            }
            [first, second, ..] => Err(Failure::new(format!(
                "columns {} and {} of `{file}` are both called `{name}`",
                first + 1,
                second + 1
            ))
            .help("give the number of the one that is meant, or rename one")),
        }
    }

    /// What a cell says; arrays say numbers.
    pub fn word(&self, row: usize, column: usize) -> String {
        match &self.cells {
            Cells::Text(rows) => rows[row].1.get(column).unwrap_or_default().to_owned(),
            Cells::Numbers { values, .. } => values[row * self.width + column].to_string(),
        }
    }

    /// Whether a cell has no value.
    pub fn is_missing(&self, row: usize, column: usize) -> bool {
        const MISSING: [&str; 6] = ["", "?", "na", "n/a", "nan", "null"];
        match &self.cells {
            Cells::Text(rows) => {
                let text = rows[row].1.get(column).unwrap_or_default();
                MISSING.iter().any(|missing| text.eq_ignore_ascii_case(missing))
            }
            Cells::Numbers { values, .. } => values[row * self.width + column].is_nan(),
        }
    }

    /// A cell as a finite number.
    pub fn number(&self, row: usize, column: usize) -> Result<f32, Failure> {
        let value = match &self.cells {
            Cells::Text(rows) => {
                let text = rows[row].1.get(column).unwrap_or_default();
                text.parse::<f32>().map_err(|_| self.no_number(row, column, text))?
            }
            Cells::Numbers { values, .. } => values[row * self.width + column],
        };
        if value.is_finite() {
            return Ok(value);
        }
        let place = self.place(row, column);
        Err(if self.is_missing(row, column) {
            self.missing(row, column)
        } else {
            Failure::new(format!("{place} is {}, which no `f32` holds", self.word(row, column)))
                .help("correct it, or leave the column out")
        })
    }

    /// The failure that a cell has no value.
    pub fn missing(&self, row: usize, column: usize) -> Failure {
        let place = self.place(row, column);
        Failure::new(format!("{place} has no value"))
            .help("fill it in; or leave out the rows without a value (`missing = \"skip\"` under [data]) or the column (`ignore`)")
    }

    fn no_number(&self, row: usize, column: usize, text: &str) -> Failure {
        if self.is_missing(row, column) {
            return self.missing(row, column);
        }
        let shown: String = text.chars().take(40).collect();
        Failure::new(format!("{} is `{shown}`, not a number", self.place(row, column)))
            .help("correct it; or leave the column out with `ignore` under [data], or write its kinds as numbers")
    }

    /// Where a cell is: file, line and column.
    fn place(&self, row: usize, column: usize) -> String {
        let (file, row) = (self.file.display(), self.row_name(row));
        format!("`{file}`, {row}, {}", self.column_name(column))
    }
}

/// The name that a mistyped one was probably meant to be.
pub fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let distance =
        |other: &str| strsim::damerau_levenshtein(&name.to_lowercase(), &other.to_lowercase());
    let (far, near) = names.map(|other| (distance(other), other)).min_by_key(|(far, _)| *far)?;
    (far <= name.chars().count().max(near.chars().count()) / 3).then_some(near)
}

/// The first few names.
pub fn listed(names: &[String]) -> String {
    const SHOWN: usize = 12;
    let first: Vec<String> = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect();
    match names.len().saturating_sub(SHOWN) {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}
