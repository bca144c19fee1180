//! The text of a training file, or of one with rules: read, understood, and shown where it is
//! wrong.

use super::settings::Settings;
use crate::data::nearest;
use crate::error::Failure;
use serde::de::DeserializeOwned;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};
use toml::de::{DeTable, Error};
use warmstart::graph::Location;

/// A file that a person wrote.
pub struct Source {
    pub file: PathBuf,
    text: String,
}

impl Source {
    pub fn open(file: &Path) -> Result<Source, Failure> {
        let bytes = std::fs::read(file).map_err(|error| Failure::file("read", file, &error))?;
        match String::from_utf8(bytes) {
            Ok(text) if !text.contains('\0') => Ok(Source { file: file.to_owned(), text }),
            _ => {
                let name = file.display();
                let message = format!("`{name}` is no text, and what is read here is TOML");
                Err(Failure::new(message).help(format!("{}; {HELP}", data_belongs(file))))
            }
        }
    }

    /// The settings, checked by themselves; the data may still contradict them.
    pub fn settings(&self) -> Result<Settings, Failure> {
        let settings: Settings = self.parse(HELP)?;
        super::check::check(self, &settings)?;
        Ok(settings)
    }

    /// What the text says; `help` is said where it cannot be understood.
    pub fn parse<T: DeserializeOwned>(&self, help: &str) -> Result<T, Failure> {
        toml::from_str(&self.text).map_err(|error| self.malformed(&error, help))
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

    /// A failure about the value of a key, which is shown. Where the key is not written, its
    /// table is, or nothing.
    pub fn failure(&self, keys: &[&str], message: impl Into<String>, label: &str) -> Failure {
        let file = self.file.display();
        let failure = Failure::new(format!("`{file}`, {}: {}", dotted(keys), message.into()));
        match self.place(keys) {
            Some(place) => failure.at(&self.file, &self.text, place, label),
            None => failure,
        }
    }

    /// The line on which a table begins, or else the first.
    pub fn line(&self, table: &str) -> Location {
        let before = self.place(&[table]).map_or("", |place| &self.text[..place.start]);
        let line = 1 + before.matches('\n').count();
        Location { file: self.file.display().to_string(), line: line as u32 }
    }

    /// Where the value of a key is.
    fn place(&self, keys: &[&str]) -> Option<Range<usize>> {
        let table = DeTable::parse(&self.text).ok()?;
        let (first, rest) = keys.split_first()?;
        let mut value = table.get_ref().get(*first)?;
        for &key in rest {
            value = value.get_ref().as_table()?.get(key)?;
        }
        Some(value.span())
    }

    fn malformed(&self, error: &Error, help: &str) -> Failure {
        let file = self.file.display();
        let (message, label, help) = explained(error.message(), help);
        // Whoever names the data itself is told where its name belongs.
        let is_toml = self.file.extension().is_none_or(|extension| extension == "toml");
        let help = if is_toml { help } else { format!("{}; {help}", data_belongs(&self.file)) };
        let failure = Failure::new(format!("`{file}`: {message}")).help(help);
        match error.span() {
            // A key that is missing from the top is missing everywhere.
            Some(place) if place != (0..self.text.len()) => {
                failure.at(&self.file, &self.text, place, &label)
            }
            _ => failure,
        }
    }
}

const HELP: &str = "`warmstart train --example` prints a file with every key and what it means";

fn data_belongs(file: &Path) -> String {
    format!("data is named in a TOML file, as `file = \"{}\"` under [data]", file.display())
}

fn dotted(keys: &[&str]) -> String {
    format!("`{}`", keys.join("."))
}

/// What serde says, in our words: message, label and help.
fn explained(said: &str, help: &str) -> (String, String, String) {
    let mut quoted = said.split('`').skip(1).step_by(2);
    let word = quoted.next().unwrap_or_default().to_owned();
    let (what, label) = if said.starts_with("unknown field") {
        (format!("there is no key `{word}` here"), "no such key")
    } else if said.starts_with("unknown variant") {
        (format!("`{word}` is none of the choices here"), "no such choice")
    } else {
        let first = said.lines().next().unwrap_or_default();
        let here = |what: String, help: String| (what, "here".to_owned(), help);
        if first.starts_with("missing field") {
            return here(format!("the key `{word}` is missing"), help.to_owned());
        }
        if first.starts_with("invalid boolean") {
            let what = "this is no number, and neither `true` nor `false`";
            return here(what.to_owned(), "text stands in quotes".to_owned());
        }
        return another_kind(first, help)
            .unwrap_or_else(|| (first.to_owned(), "here".to_owned(), help.to_owned()));
    };
    let known: Vec<&str> = quoted.collect();
    let help = match nearest(&word, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`? {help}"),
        None => format!("there are {}; {help}", known.join(", ")),
    };
    (what, label.to_owned(), help)
}

/// What serde says of a value that is text where a number is meant, and the like.
fn another_kind(said: &str, help: &str) -> Option<(String, String, String)> {
    let (problem, found) = said.split_once(": ")?;
    let (found, expected) = found.rsplit_once(", expected ")?;
    let meant = match expected {
        "a boolean" => "`true` or `false`",
        "a string" | "path string" | "a path" => "text in quotes",
        "a sequence" => "a list",
        number if number.starts_with('f') => "a number",
        whole if whole.starts_with(['u', 'i']) => "a whole number",
        other => other,
    };
    if problem == "invalid value" && expected.starts_with(['u', 'i']) {
        let whole = found.strip_prefix("integer ")?;
        let wrong = if whole.starts_with("`-") { "below 0" } else { "too large" };
        return Some((format!("{whole} is {wrong}"), wrong.to_owned(), help.to_owned()));
    }
    if problem != "invalid type" {
        return None;
    }
    let value = |kind: &str| found.strip_prefix(kind).map(|value| value.trim_matches('`'));
    let (shown, kind) = if let Some(text) = value("string ") {
        (text, "text")
    } else if let Some(whole) = value("integer ") {
        (whole, "a whole number")
    } else if let Some(number) = value("floating point ") {
        (number, "a number with a point")
    } else if let Some(truth) = value("boolean ") {
        (truth, "a truth value")
    } else {
        let is = if found == "map" { "a table" } else { "a list" };
        return Some((
            format!("{is} stands where {meant} is meant"),
            is.to_owned(),
            help.to_owned(),
        ));
    };
    let plain = shown.trim_matches('"');
    let help = match expected {
        "a boolean" if ["true", "false"].contains(&plain) => {
            format!("write {plain} without quotes")
        }
        "a string" | "path string" | "a path" => format!("write \"{plain}\" in quotes"),
        "a sequence" => format!("write [{shown}]"),
        _ if kind == "text" && plain.parse::<f64>().is_ok() => {
            format!("write {plain} without quotes")
        }
        _ => help.to_owned(),
    };
    Some((format!("`{shown}` is {kind}, and {meant} is meant"), kind.to_owned(), help))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_another_kind_is_shown() {
        for (text, message, help) in [
            (
                "[training]\nsteps = \"90\"",
                "`\"90\"` is text, and a whole number is meant",
                "write 90 without quotes",
            ),
            (
                "[training]\nsteps = 1.5",
                "`1.5` is a number with a point, and a whole number is meant",
                HELP,
            ),
            ("[training]\nhuber_delta = \"big\"", "`\"big\"` is text, and a number is meant", HELP),
            ("[model]\ndropout = true", "`true` is a truth value, and a number is meant", HELP),
            (
                "[checkpoints]\nbackground = \"true\"",
                "`\"true\"` is text, and `true` or `false` is meant",
                "write true without quotes",
            ),
            ("[model]\nhidden = 64", "`64` is a whole number, and a list is meant", "write [64]"),
            ("[training]\nsteps = -5", "`-5` is below 0", HELP),
            ("[schedule]\nwarm_up = 99999999999", "`99999999999` is too large", HELP),
            (
                "[model]\ninitializer = f.csv",
                "this is no number, and neither `true` nor `false`",
                "text stands in quotes",
            ),
            ("seed = [1]", "a list stands where a whole number is meant", HELP),
        ] {
            let source = source(&format!("{text}\n[data]\nfile = \"a.csv\"\n"));
            let failure = source.settings().err().unwrap();
            assert_eq!(failure.to_string(), format!("`runs/a.toml`: {message}"));
            let said = miette::Diagnostic::help(&failure).unwrap().to_string();
            assert_eq!(said, help);
        }
        let named = another_kind("invalid type: integer `5`, expected path string", HELP).unwrap();
        assert_eq!(
            (named.0.as_str(), named.2.as_str()),
            ("`5` is a whole number, and text in quotes is meant", "write \"5\" in quotes")
        );
    }

    fn source(text: &str) -> Source {
        Source { file: PathBuf::from("runs/a.toml"), text: text.to_owned() }
    }

    const EXAMPLE: &str = include_str!("example.toml");

    #[test]
    fn the_example_says_what_holds_where_nothing_is_said() {
        let least = "[data]\nfile = \"data.csv\"\n";
        assert_eq!(source(EXAMPLE).settings().unwrap(), source(least).settings().unwrap());
    }

    /// Behind each `#` without a space is a key with a value that may stand there.
    #[test]
    fn the_example_has_every_other_key() {
        let (keys, warm_start) = EXAMPLE.split_once("#[warm_start]").unwrap();
        let parsed = |text: &str| -> Settings {
            toml::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
        };
        let plain = parsed(keys);
        let lines: Vec<&str> = keys.lines().collect();
        let mut tried = 0;
        for at in 0..lines.len() {
            if lines[at].starts_with('#') && !lines[at].starts_with("# ") {
                let mut lines = lines.clone();
                lines[at] = &lines[at][1..];
                assert_ne!(parsed(&lines.join("\n")), plain, "{}", lines[at]);
                tried += 1;
            }
        }
        assert!(tried > 25, "{tried}");
        let warm_start = warm_start.replace("\n#", "\n");
        let settings = parsed(&format!("{keys}[warm_start]{warm_start}"));
        assert_eq!(settings.warm_start.unwrap().rules.len(), 2);
    }

    #[test]
    fn the_digits_can_be_trained() {
        source(include_str!("../../../../examples/digits.toml")).settings().unwrap();
    }

    #[test]
    fn paths_are_relative_to_the_file() {
        let source = source("");
        assert_eq!(source.path(Path::new("b.csv")), Path::new("runs/b.csv"));
        assert_eq!(source.path(Path::new("/b.csv")), Path::new("/b.csv"));
        assert_eq!(source.path(Path::new("../data/b.csv")), Path::new("data/b.csv"));
        assert_eq!(source.path(Path::new("../../b.csv")), Path::new("../b.csv"));
    }
}
