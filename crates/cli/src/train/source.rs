//! The text of a training file, or of one with rules: read, understood, and shown where it is
//! wrong.

use super::explained::{Explained, explained, value_at};
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
        let Explained { message, label, help } =
            explained(error.message(), (written, value), self.kind, &help);
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
                "`f.csv` is text without quotes",
                "write \"f.csv\" in quotes",
            ),
            (
                "directory = ../runs",
                "`../runs` is text without quotes",
                "write \"../runs\" in quotes",
            ),
            (
                "directory = inner # x",
                "`inner` is text without quotes",
                "write \"inner\" in quotes",
            ),
            (
                "seed = 1\nseed = 2",
                "`seed` is there twice",
                "keep one of the two, with all that belongs there",
            ),
            (
                "directory = \"runs",
                "a quote that opens in this line is not closed",
                "close the quote",
            ),
            (
                "directory = \"C:\\Users\"",
                "in double quotes, a backslash begins an escape",
                "write `/` between folders, or put the text into single quotes",
            ),
            (
                "directory = \"C:\\data\"",
                "in double quotes, a backslash begins an escape",
                "write `/` between folders, or put the text into single quotes",
            ),
            ("seed = [1]", "a list stands where a whole number is meant", HELP),
            (
                "optimizer = \"adam\"",
                "`\"adam\"` is text, and a table `[optimizer]` is meant",
                "write a line `[optimizer]`, and below it its keys, such as `name = \"adam\"`",
            ),
            (
                "model = 3",
                "`3` is a whole number, and a table `[model]` is meant",
                "write a line `[model]`, and below it its keys, such as `hidden = [64]`",
            ),
            (
                "[[model]]\nhidden = [3]",
                "`[[model]]` is a list of tables, and one table is meant",
                "write `[model]`",
            ),
            ("seed = 99999999999999999999", "`99999999999999999999` is too large", HELP),
            ("seed = -99999999999999999999", "`-99999999999999999999` is below 0", HELP),
            (
                "seed = 9999999999999999999999999999999999999999",
                "`9999999999999999999999999999999999999999` is too large",
                HELP,
            ),
            ("[model]\nhidden = \"64\"", "`\"64\"` is text, and a list is meant", "write [64]"),
            (
                "[model]\nhidden = \"64, 32\"",
                "`\"64, 32\"` is text, and a list is meant",
                "write [64, 32]",
            ),
            ("[model]\nhidden = { a = 1 }", "a table stands where a list is meant", HELP),
            (
                "seed = 2020-01-01",
                "`2020-01-01` is a date or a time, and a whole number is meant",
                HELP,
            ),
            (
                "directory = 2020-01-01",
                "`2020-01-01` is a date or a time, and text in quotes is meant",
                "write \"2020-01-01\" in quotes",
            ),
            (
                "directory = 5",
                "`5` is a whole number, and text in quotes is meant",
                "write \"5\" in quotes",
            ),
            (
                "[optimizer]\nname = 5",
                "`5` is a whole number, and one of the choices is meant",
                &format!("choices are words in quotes; {HELP}"),
            ),
            (
                "[model]\ninitializer = 07:30:00",
                "`07:30:00` is a date or a time, and one of the choices is meant",
                &format!("choices are words in quotes; {HELP}"),
            ),
            (
                "[schedule]\nkind = [\"cosine\"]",
                "a list stands where one of the choices is meant",
                &format!("choices are words in quotes; {HELP}"),
            ),
            (
                "[training]\nsteps = 1e3",
                "`1e3` is a number with an exponent, and a whole number is meant",
                "write all its digits, without exponent",
            ),
            (
                "[training]\nsteps = inf",
                "`inf` is no finite number, and a whole number is meant",
                HELP,
            ),
            (
                "[optimizer]\nbetas = 0.9",
                "`0.9` is a number with a point, and a list of 2 values is meant",
                HELP,
            ),
            (
                "[optimizer]\nbetas = [0.9]",
                "`[0.9]` is not a list of 2 values, which is meant",
                HELP,
            ),
            (
                "[warm_start]\ncheckpoint = \"a\"\nrules = [{ separator = [\"::\", \"/\"] }]",
                "`\"::\"` is not one character",
                "give a single one in quotes, such as `\";\"`",
            ),
            (
                "[warm_start]\ncheckpoint = \"a\"\nrules = [{ rename = \"a\" }]",
                "`\"a\"` is not what is meant",
                HELP,
            ),
            (
                "[warm_start]\ncheckpoint = \"a\"\nrules = [{}]",
                "`{}` does not hold one key, and one in each pair of braces is meant",
                HELP,
            ),
        ] {
            let source = source(&format!("{text}\n[data]\nfile = \"a.csv\"\n"));
            let failure = source.settings().err().unwrap();
            assert_eq!(failure.to_string(), format!("`runs/a.toml`: {message}"));
            let said = miette::Diagnostic::help(&failure).unwrap().to_string();
            assert_eq!(said, help);
        }
    }

    #[test]
    fn a_key_of_another_table_is_told_where_it_belongs() {
        for (text, says) in [
            ("[training]\nlearning_rate = 0.1", "`learning_rate` is a key of [optimizer]; "),
            ("[model]\nfile = \"a.csv\"", "`file` is a key of [data]; "),
            ("[model]\nmemory_limit = 3", "`memory_limit` is a key of [training]; "),
            ("[model]\nallow_missing = true", "`allow_missing` is a key of [warm_start]; "),
            ("[model]\nseed = 3", "`seed` is a key of the top, before all tables; "),
            ("[model]\nhiden = [3]", "did you mean `hidden`? "),
            ("[model]\nxyzzy = [3]", "there are hidden, "),
        ] {
            let failure = source(text).settings().err().unwrap();
            let said = miette::Diagnostic::help(&failure).unwrap().to_string();
            assert!(said.starts_with(says), "{said}");
        }
    }

    fn source(text: &str) -> Source {
        Source { file: PathBuf::from("runs/a.toml"), kind: Kind::Training, text: text.to_owned() }
    }

    #[test]
    fn only_data_in_place_of_a_training_file_is_told_where_it_belongs() {
        let said = |name: &str, kind, bytes: &[u8]| {
            let source = Source::of(Path::new(name), kind, bytes.to_owned());
            let failure = source.and_then(|source| source.settings()).err().unwrap();
            let help = miette::Diagnostic::help(&failure).unwrap().to_string();
            (failure.to_string(), help.contains("data is named in a TOML file"))
        };
        let no_text = |name: &str| format!("`{name}` is no text, and what is read here is TOML");
        use Kind::{Rules, Training};
        for (name, kind, bytes, message, belongs) in [
            ("a.npy", Training, &b"\x93NUMPY\x01\0"[..], no_text("a.npy"), true),
            ("images", Training, &[0, 0, 8, 3], no_text("images"), true),
            ("images", Rules, &[0, 0, 8, 3], no_text("images"), false),
            ("a.png", Training, b"\x89PNG\r\n\0", no_text("a.png"), false),
            ("rules.txt", Rules, b"\0\xff", no_text("rules.txt"), false),
            (
                "a.toml",
                Training,
                b"# one\ndirectory = \"Z\xfcrich\"\n",
                "`a.toml`, line 2: the byte 0xfc is no UTF-8".to_owned(),
                false,
            ),
        ] {
            assert_eq!(said(name, kind, bytes), (message, belongs), "{name}");
        }
        for (name, text, belongs) in [
            ("a.csv", "a = 1", true),
            ("a.txt", "1,2,x\n3,4,y\n", true),
            ("a.txt", "[modle]\nhidden = [3]\n", false),
            ("a.toml", "", false),
        ] {
            assert_eq!(said(name, Training, text.as_bytes()).1, belongs, "{name} {text}");
        }
        for (text, what) in [
            ("{\"a\": 1}\n{\"a\": 2}\n", "JSON, an object in each line"),
            ("{\n  \"data\": { \"file\": \"a.csv\" }\n}", "JSON"),
            ("[[1, 2], [3, 4]]", "JSON, a list of rows"),
        ] {
            for kind in [Training, Rules] {
                let message = format!("`a.txt` is {what}, and what is read here is TOML");
                assert_eq!(said("a.txt", kind, text.as_bytes()).0, message);
            }
        }
        // These are mistakes in TOML.
        for text in ["[[model]\n", "{ hidden = [3] }", "[\"data\"\nfile = 3"] {
            let message = said("a.toml", Training, text.as_bytes()).0;
            assert!(!message.contains("JSON"), "{message}");
        }
        let rules = Source::of(Path::new("rules.txt"), Rules, b"rulse = []".to_vec()).unwrap();
        let failure = rules.parse::<crate::rules::RulesFile>().unwrap_err();
        let help = miette::Diagnostic::help(&failure).unwrap().to_string();
        assert!(help.contains("did you mean `rules`? a file of rules has the keys"), "{help}");
        assert!(!help.contains("data"), "{help}");
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
