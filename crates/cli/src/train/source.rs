//! The text of a training file, or of one with rules: read, understood, and shown where it is
//! wrong.

use super::explained::{Explained, about_rule, explained, value_at};
use super::settings::Settings;
use crate::data::json;
use crate::error::{DATA, Failure};
use serde::de::DeserializeOwned;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};
use toml::de::{DeTable, DeValue, Error};
use warmstart::graph::Location;
use warmstart_graph::words::printable_path;

/// A file that a person wrote.
pub struct Source {
    pub file: PathBuf,
    kind: Kind,
    text: String,
}

/// What a file is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Training,
    Rules,
}

impl Kind {
    /// What is said where the text cannot be understood.
    fn help(self) -> &'static str {
        match self {
            Kind::Training => HELP,
            Kind::Rules => {
                "a file of rules has the keys of [warm_start], such as `rules = [{ strip_prefix = \"module.\" }]` and `allow_missing = true`"
            }
        }
    }
}

impl Source {
    pub fn open(file: &Path, kind: Kind) -> Result<Source, Failure> {
        let bytes = std::fs::read(file).map_err(|error| Failure::file("read", file, &error))?;
        Source::of(file, kind, bytes)
    }

    fn of(file: &Path, kind: Kind, bytes: Vec<u8>) -> Result<Source, Failure> {
        let name = printable_path(file);
        if bytes.contains(&0) || has_name_of_data(file) && str::from_utf8(&bytes).is_err() {
            let message = format!("`{name}` is no text, and what is read here is TOML");
            let is_data = has_name_of_data(file) || begins_as_data(&bytes);
            return Err(Failure::new(message).help(help(file, kind, is_data)));
        }
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Source { file: file.to_owned(), kind, text }),
            Err(error) => {
                let (at, bytes) = (error.utf8_error().valid_up_to(), error.as_bytes());
                let line = 1 + bytes[..at].iter().filter(|&&byte| byte == b'\n').count();
                let message =
                    format!("`{name}`, line {line}: the byte {:#04x} is no UTF-8", bytes[at]);
                Err(Failure::new(message).help("save the file as UTF-8, which TOML is written in"))
            }
        }
    }

    /// The settings, checked by themselves; the data may still contradict them.
    pub fn settings(&self) -> Result<Settings, Failure> {
        let settings: Settings = self.parse()?;
        super::check::check(self, &settings)?;
        Ok(settings)
    }

    /// What the text says.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        toml::from_str(&self.text).map_err(|error| self.malformed(&error))
    }

    /// A path in the file is relative to the file.
    pub fn path(&self, path: &Path) -> PathBuf {
        let (mut base, mut path) = (self.file.parent().unwrap_or(Path::new("")), path);
        // `examples/../runs` is read more easily as `runs`; but behind a link, `..` is elsewhere.
        while let Ok(rest) = path.strip_prefix("..")
            && matches!(base.components().next_back(), Some(Component::Normal(_)))
            && !base.is_symlink()
        {
            (base, path) = (base.parent().unwrap_or(Path::new("")), rest);
        }
        base.join(path)
    }

    /// A path as it is written in the file for what is there.
    pub fn written(&self, path: &Path) -> String {
        let folder = self.file.parent().filter(|folder| !folder.as_os_str().is_empty());
        let relative = folder.map_or(Some(path), |folder| path.strip_prefix(folder).ok());
        match (relative, std::path::absolute(path)) {
            (Some(relative), _) => quoted(relative),
            (None, Ok(absolute)) => quoted(&absolute),
            (None, Err(_)) => quoted(path),
        }
    }

    /// A failure about the value of a key, which is shown if it is written. A number names an
    /// element of a list.
    pub fn failure(&self, keys: &[&str], message: impl Into<String>, label: &str) -> Failure {
        let file = printable_path(&self.file);
        let failure = Failure::new(format!("`{file}`, {}: {}", dotted(keys), message.into()));
        match self.place(keys) {
            Some(place) => failure.at(&self.file, &self.text, place, label),
            None => failure,
        }
    }

    /// Whether a key is written.
    pub fn says(&self, keys: &[&str]) -> bool {
        self.place(keys).is_some()
    }

    /// The line on which a table begins, or else the first.
    pub fn line(&self, table: &str) -> Location {
        let before = self.place(&[table]).map_or("", |place| &self.text[..place.start]);
        let line = 1 + before.matches('\n').count();
        Location { file: self.file.to_string_lossy().into_owned().into(), line: line as u32 }
    }

    /// Where the value of a key is.
    fn place(&self, keys: &[&str]) -> Option<Range<usize>> {
        let table = DeTable::parse(&self.text).ok()?;
        let (first, rest) = keys.split_first()?;
        let mut value = table.get_ref().get(*first)?;
        for &key in rest {
            value = match (value.get_ref(), key.parse::<usize>()) {
                (DeValue::Array(list), Ok(at)) => list.get(at)?,
                (value, _) => value.as_table()?.get(key)?,
            };
        }
        Some(value.span())
    }

    fn malformed(&self, error: &Error) -> Failure {
        let file = printable_path(&self.file);
        if let Some((what, to_csv)) = json(&self.file, &self.text) {
            let failure =
                Failure::new(format!("`{file}` is {what}, and what is read here is TOML"));
            let data = match self.kind {
                Kind::Training => format!(
                    "; if this is the data, {to_csv}, and name that file as `file` under [data]"
                ),
                Kind::Rules => String::new(),
            };
            return failure.help(format!("{}{data}", self.kind.help()));
        }
        let place = error.span().filter(|place| self.text.get(place.clone()).is_some());
        let written = place.clone().map_or("", |place| &self.text[place]);
        let value = place.as_ref().map_or("", |place| value_at(&self.text, place.start));
        // Whoever names the data itself is told where its name belongs.
        let plain = !self.text.contains(['=', '[', '#']) && !self.text.trim().is_empty();
        let help = help(&self.file, self.kind, has_name_of_data(&self.file) || plain);
        let of_rule =
            place.as_ref().and_then(|place| about_rule(error.message(), &self.text, place.start));
        let Explained { message, label, help } = of_rule
            .unwrap_or_else(|| explained(error.message(), (written, value), self.kind, &help));
        let failure = Failure::new(format!("`{file}`: {message}")).help(help);
        match place {
            // A key that is missing from the top is missing everywhere.
            Some(place) if place != (0..self.text.len()) => {
                failure.at(&self.file, &self.text, place, &label)
            }
            _ => failure,
        }
    }
}

const HELP: &str = "`warmstart train --example` prints a file with every key and what it means";

/// What is said of a file that cannot be understood; where a training file was meant, and this is
/// the data, where data belongs.
fn help(file: &Path, kind: Kind, is_data: bool) -> String {
    let help = kind.help();
    if kind != Kind::Training || !is_data {
        return help.to_owned();
    }
    let file = quoted(file);
    format!("data is named in a TOML file, as `file = {file}` under [data]; {help}")
}

/// A path as TOML writes it.
fn quoted(path: &Path) -> String {
    toml::Value::from(&*path.to_string_lossy()).to_string()
}

fn has_name_of_data(file: &Path) -> bool {
    let extension = file.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| DATA.contains(&extension.to_ascii_lowercase().as_str()))
}

/// Whether these are the first bytes of a binary format that data is read from.
fn begins_as_data(bytes: &[u8]) -> bool {
    // gzip, NumPy's array and archive, and IDX of bytes.
    [&b"\x1f\x8b"[..], b"\x93NUMPY", b"PK\x03\x04", &[0, 0, 8]]
        .iter()
        .any(|begins| bytes.starts_with(begins))
}

fn dotted(keys: &[&str]) -> String {
    let named = |key: &&&str| key.parse::<usize>().is_err();
    let keys: Vec<&str> = keys.iter().filter(named).copied().collect();
    format!("`{}`", keys.join("."))
}

#[cfg(test)]
#[path = "source_tests.rs"]
mod tests;
