//! What a model that was trained here takes and gives: it rides in the checkpoint as JSON, so that
//! predicting needs nothing else.
//!
//! It is in the checkpoint's metadata under `data`: columns, and names of classes. It also has the
//! rows' checksum: a run that goes on with other rows would validate on what it was trained on, and
//! is refused.

use crate::data::{Table, listed};
use crate::error::Failure;
use crate::text::counted;
use serde::{Deserialize, Serialize};
use warmstart::checkpoint::Checkpoint;
use warmstart_checkpoint::printable;
use warmstart_graph::words::{nearest, printable_path};

/// The key in the checkpoint's metadata.
pub const KEY: &str = "data";

/// What the model is about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Description {
    pub inputs: Columns,
    pub output: Output,
    pub rows: Rows,
}

/// Names that only a checkpoint has, or only the data of a run; None if there are none.
fn names_apart(checkpoint: &[String], data: &[String]) -> Option<String> {
    let only = |of: &[String], other: &[String]| -> Vec<String> {
        of.iter().filter(|name| !other.contains(name)).cloned().collect()
    };
    let mut parts = Vec::new();
    for (names, place) in
        [(only(checkpoint, data), "in the checkpoint"), (only(data, checkpoint), "in the data")]
    {
        if !names.is_empty() {
            parts.push(format!("only {place}: {}", listed(&names)));
        }
    }
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// What the model says of each row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Output {
    /// Which of these classes it is.
    Classes(Vec<String>),
    /// These values.
    Values(Vec<String>),
}

/// The rows that a run trains and validates on. A run that goes on needs the same: with others,
/// it would validate on rows that it was trained on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rows {
    pub training: usize,
    pub validation: usize,
    /// Of all inputs and targets, in their order.
    pub checksum: u32,
}

/// Columns of a file, to be found again in another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Columns {
    /// How many columns the file has.
    of: usize,
    /// Which of them these are, from 0; none is all.
    #[serde(skip_serializing_if = "Option::is_none")]
    places: Option<Vec<usize>>,
    /// Their names, if the file has some.
    #[serde(skip_serializing_if = "Option::is_none")]
    names: Option<Vec<String>>,
}

impl Columns {
    pub fn new(table: &Table, places: &[usize]) -> Columns {
        let all = places.iter().copied().eq(0..table.width);
        let name = |header: &Vec<String>| places.iter().map(|&at| header[at].clone()).collect();
        Columns {
            of: table.width,
            places: (!all).then(|| places.to_vec()),
            names: table.header.as_ref().map(name),
        }
    }

    /// Whether these are the same inputs as others, in whichever files they stand.
    pub fn are(&self, others: &Columns) -> bool {
        self == others || self.names.is_some() && self.names == others.names
    }

    /// Whether the file names them.
    pub fn are_named(&self) -> bool {
        self.names.is_some()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.places.as_ref().map_or(self.of, Vec::len)
    }

    /// How those of a checkpoint differ from these of the data, in a few words.
    pub fn told_apart(&self, now: &Columns) -> String {
        match (&self.names, &now.names) {
            (Some(before), Some(names)) => names_apart(before, names)
                .unwrap_or_else(|| "the same columns, in another order or among others".to_owned()),
            (Some(_), None) => "the data does not name its columns now".to_owned(),
            (None, Some(_)) => "the data did not name its columns then".to_owned(),
            (None, None) if self.count() == now.count() => "other columns of the data".to_owned(),
            (None, None) => {
                let (before, now) = (counted(self.count(), "column"), now.count());
                format!("{before} in the checkpoint, {now} in the data")
            }
        }
    }

    /// Where they are in another file.
    pub fn locate(&self, table: &Table) -> Result<Vec<usize>, Failure> {
        if let Some(names) = &self.names {
            if table.header.is_none() {
                let file = printable_path(&table.file);
                let which = if table.is_array() { "is an array, which " } else { "" };
                return Err(Failure::new(format!(
                    "`{file}` {which}does not name its columns, and the model finds its own by name: {}",
                    listed(names)
                ))
                .help(self.unnamed(table)));
            }
            return names.iter().map(|name| self.locate_name(table, name)).collect();
        }
        self.locate_by_place(table)
    }

    /// Where the column is that the model knows by a name. It is the file's column that has another.
    fn locate_name(&self, table: &Table, name: &str) -> Result<usize, Failure> {
        let header = table.header.as_deref().unwrap_or_default();
        if header.iter().any(|column| column == name) {
            return table.find_name(name).map_err(|failure| {
                failure.help("rename one in the file: the model finds its columns by their names")
            });
        }
        // What the model takes under its own name is not meant.
        let known = self.names.iter().flatten();
        let known: Vec<&String> = known.collect();
        let others = header.iter().filter(|column| !known.contains(column));
        let called = printable(name);
        let help = match nearest(name, others.map(String::as_str)) {
            Some(near) => {
                format!("if its column `{}` is that one, call it `{called}`", printable(near))
            }
            None => {
                format!("its columns are {}; call the one that is meant `{called}`", listed(header))
            }
        };
        let file = printable_path(&table.file);
        Err(Failure::new(format!("`{file}` has no column `{called}`, which the model takes"))
            .help(help))
    }

    /// What is to be known of names that a file gives its columns and the model does not have, since
    /// it was trained on a file without names.
    pub fn unknown_names(&self, table: &Table) -> Option<String> {
        let header = table.header.as_ref().filter(|_| self.names.is_none())?;
        let places = self.locate_by_place(table).ok()?;
        let names: Vec<String> = places.iter().map(|&at| header[at].clone()).collect();
        Some(format!(
            "the model was trained on columns without names, so those of `{}` are taken by their places, in this order: {}",
            printable_path(&table.file),
            listed(&names)
        ))
    }

    /// What to do about a file without names.
    fn unnamed(&self, table: &Table) -> String {
        if table.is_array() {
            return match table.help.by_place {
                Some(plain) if self.fits(table) => {
                    format!("if its columns have the order of those, say {plain}")
                }
                Some(plain) => {
                    let (found, count) = (counted(table.width, "column"), self.count());
                    format!(
                        "it has {found}: give the {count} that the model takes, in their order, and say {plain}"
                    )
                }
                None => "give a file that names them, such as CSV".to_owned(),
            };
        }
        let named = table.help.header[0];
        let names =
            format!("give the file a first line with the names; if it has one, say {named}");
        match table.help.by_place.filter(|_| self.fits(table)) {
            Some(plain) => format!("{names}; if its columns have the order of those, say {plain}"),
            None => names,
        }
    }

    /// Whether a file has as many columns as the model takes, or as the file it was trained on.
    fn fits(&self, table: &Table) -> bool {
        [self.of, self.count()].contains(&table.width)
    }

    /// Where they are in another file whose columns have the same order, whatever they are called.
    pub fn locate_by_place(&self, table: &Table) -> Result<Vec<usize>, Failure> {
        if table.width == self.of {
            return Ok(self.places.clone().unwrap_or_else(|| (0..self.of).collect()));
        }
        if table.width == self.count() {
            return Ok((0..table.width).collect());
        }
        let (file, width) = (printable_path(&table.file), counted(table.width, "column"));
        let or = if self.of == self.count() {
            String::new()
        } else {
            format!(", or all {} of the file that it was trained on", self.of)
        };
        Err(Failure::new(format!("`{file}` has {width}, and the model takes {}{or}", self.count()))
            .help("give a file with these columns in the same order"))
    }
}

impl Description {
    /// What a checkpoint says, if it was made by `warmstart train`.
    pub fn of(checkpoint: &Checkpoint) -> Result<Option<Description>, Failure> {
        let Some(text) = checkpoint.metadata().get(KEY) else { return Ok(None) };
        let malformed = |problem: &str| {
            let file = printable_path(checkpoint.file());
            Failure::new(format!(
                "`{file}`: what `{KEY}` says of the model is malformed: {problem}"
            ))
            .help("use a checkpoint that `warmstart train` saved")
        };
        let description: Description =
            serde_json::from_str(text).map_err(|error| malformed(&error.to_string()))?;
        let Columns { of, places, names } = &description.inputs;
        let inside = places.iter().flatten().all(|place| place < of);
        let named = names.as_ref().is_none_or(|names| names.len() == description.inputs.count());
        match inside && named {
            true => Ok(Some(description)),
            false => Err(malformed("its columns contradict each other")),
        }
    }
}

/// The first place at which two lists of as many names differ, as `1 was `a`, and is `b` here`.
fn first_other(before: &[String], now: &[String]) -> Option<String> {
    if before.len() != now.len() {
        return None;
    }
    let (at, (was, is)) = before.iter().zip(now).enumerate().find(|(_, (was, is))| was != is)?;
    let (was, is) = (printable(was), printable(is));
    Some(format!("{} was `{was}` there, and is `{is}` here", at + 1))
}

impl Columns {
    /// Where columns of as many inputs first have another name, if both have names.
    pub fn differs(&self, now: &Columns) -> Option<String> {
        first_other(self.names.as_ref()?, now.names.as_ref()?)
    }
}

impl Output {
    /// Where as many classes or values first have another name.
    pub fn differs(&self, now: &Output) -> Option<String> {
        let differs = first_other(self.names(), now.names())?;
        match (self, now) {
            (Output::Classes(_), Output::Classes(_)) => Some(format!("class {differs}")),
            (Output::Values(_), Output::Values(_)) => Some(format!("target {differs}")),
            _ => None,
        }
    }

    /// What one of two has and the other has not, in a few words.
    pub fn told_apart(&self, now: &Output) -> String {
        // Or the same names, in another order or of another task.
        names_apart(self.names(), now.names())
            .or_else(|| self.differs(now))
            .unwrap_or_else(|| "another task".to_owned())
    }

    /// Names of what the model gives.
    pub fn names(&self) -> &[String] {
        match self {
            Output::Classes(names) | Output::Values(names) => names,
        }
    }
}
