//! Restore rules as TOML: those of a training file's `[warm_start]`, and those of a file of their
//! own, which `--rules` reads.

use crate::error::Failure;
use crate::train::{Kind, Source};
use serde::Deserialize;
use std::path::Path;
use warmstart_checkpoint::{Argument, RestoreOptions, Rule};

/// Rules, and how strict a restore is.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RulesFile {
    pub rules: Vec<RuleSetting>,
    pub allow_missing: bool,
    pub allow_unexpected: bool,
    pub allow_mismatched_shape: bool,
}

impl RulesFile {
    /// Allows what another one allows, too.
    pub fn allow(&mut self, other: &RulesFile) {
        self.allow_missing |= other.allow_missing;
        self.allow_unexpected |= other.allow_unexpected;
        self.allow_mismatched_shape |= other.allow_mismatched_shape;
    }

    /// Options that allow what this allows.
    pub fn apply(&self, mut options: RestoreOptions) -> RestoreOptions {
        if self.allow_missing {
            options = options.allow_missing();
        }
        if self.allow_unexpected {
            options = options.allow_unexpected();
        }
        if self.allow_mismatched_shape {
            options = options.allow_mismatched_shape();
        }
        options
    }
}

/// Reads a file of rules.
pub fn read(file: &Path) -> Result<RulesFile, Failure> {
    Source::open(file, Kind::Rules)?.parse()
}

/// One restore rule: a table with one key.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleSetting {
    Rename(String, String),
    RenameScope(String, String),
    RenameComponent(String, String),
    RenameRegex(String, String),
    StripPrefix(String),
    AddPrefix(String),
    Separator(char, char),
    AssignmentMap(Vec<(String, String)>),
    Only(String),
    Ignore(String),
    Transpose(String),
    Cast(String),
    Reshape(String),
    ResizeRows(String, u64),
}

/// A rule as it is written in such a file.
pub fn toml_of(rule: &Rule) -> String {
    let text = |text: &str| toml::Value::from(text).to_string();
    let list = |values: &[String]| format!("[{}]", values.join(", "));
    let value = |argument: &Argument| match argument {
        Argument::Text(argument) => text(argument),
        Argument::Character(character) => text(&character.to_string()),
        Argument::Seed(seed) => seed.to_string(),
        Argument::Pairs(pairs) => {
            let pairs = pairs.iter().map(|(from, to)| list(&[text(from), text(to)]));
            list(&pairs.collect::<Vec<_>>())
        }
    };
    let (key, arguments) = rule.parts();
    let values: Vec<String> = arguments.iter().map(value).collect();
    let value = if let [one] = values.as_slice() { one.clone() } else { list(&values) };
    format!("{{ {key} = {value} }}")
}

impl From<RuleSetting> for Rule {
    fn from(rule: RuleSetting) -> Rule {
        match rule {
            RuleSetting::Rename(from, to) => Rule::Rename { from, to },
            RuleSetting::RenameScope(from, to) => Rule::RenameScope { from, to },
            RuleSetting::RenameComponent(from, to) => Rule::RenameComponent { from, to },
            RuleSetting::RenameRegex(pattern, replacement) => {
                Rule::RenameRegex { pattern, replacement }
            }
            RuleSetting::StripPrefix(prefix) => Rule::StripPrefix(prefix),
            RuleSetting::AddPrefix(prefix) => Rule::AddPrefix(prefix),
            RuleSetting::Separator(from, to) => Rule::Separator { from, to },
            RuleSetting::AssignmentMap(pairs) => Rule::AssignmentMap(pairs),
            RuleSetting::Only(glob) => Rule::Only(glob),
            RuleSetting::Ignore(glob) => Rule::Ignore(glob),
            RuleSetting::Transpose(glob) => Rule::Transpose(glob),
            RuleSetting::Cast(glob) => Rule::Cast(glob),
            RuleSetting::Reshape(glob) => Rule::Reshape(glob),
            RuleSetting::ResizeRows(glob, seed) => Rule::ResizeRows { glob, seed },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize)]
    struct Written {
        rules: Vec<RuleSetting>,
    }

    /// What a report suggests can be pasted, whatever is in the names.
    #[test]
    fn every_rule_comes_back_from_a_file() {
        let odd = || "a \"b\"\\ ä\t'c'".to_owned();
        let plain = || "fc1/**".to_owned();
        let rules = vec![
            Rule::Rename { from: odd(), to: plain() },
            Rule::RenameScope { from: String::new(), to: odd() },
            Rule::RenameComponent { from: plain(), to: odd() },
            Rule::RenameRegex { pattern: r"^(\w+)\.\d".to_owned(), replacement: "$1".to_owned() },
            Rule::StripPrefix(odd()),
            Rule::AddPrefix(odd()),
            Rule::Separator { from: '.', to: '\\' },
            Rule::AssignmentMap(vec![(odd(), plain()), (plain(), odd())]),
            Rule::Only(odd()),
            Rule::Ignore(plain()),
            Rule::Transpose(odd()),
            Rule::Cast(plain()),
            Rule::Reshape(odd()),
            Rule::ResizeRows { glob: odd(), seed: 7 },
        ];
        let lines: Vec<String> = rules.iter().map(toml_of).collect();
        let text = format!("rules = [\n{}\n]\n", lines.join(",\n"));
        let written: Written =
            toml::from_str(&text).unwrap_or_else(|error| panic!("{error}{text}"));
        let back: Vec<Rule> = written.rules.into_iter().map(Rule::from).collect();
        assert_eq!(back, rules, "{text}");
    }
}
