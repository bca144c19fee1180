//! Rules about names, applied to the names of a search.

use super::names::Name;
use crate::rules::{Rule, rename_component, rename_scope};
use regex::Regex;
use std::rc::Rc;

/// The names under a rule, and whether it changes any.
pub(super) fn rename_all(names: &[Rc<Name>], rule: &Renaming<'_>) -> (Vec<Rc<Name>>, bool) {
    let mut changed = false;
    let names = names.iter().map(|name| match rule.rename(&name.text) {
        Some(new) if new != name.text => {
            changed = true;
            Rc::new(Name::new(new))
        }
        _ => name.clone(),
    });
    (names.collect(), changed)
}

/// A rule about names, ready to be applied to many.
pub(super) enum Renaming<'a> {
    Rule(&'a Rule),
    Regex(Regex, &'a str),
}

impl<'a> Renaming<'a> {
    pub fn new(rule: &'a Rule) -> Option<Renaming<'a>> {
        match rule {
            Rule::RenameRegex { pattern, replacement } => {
                Some(Renaming::Regex(Regex::new(pattern).ok()?, replacement))
            }
            rule => Some(Renaming::Rule(rule)),
        }
    }

    pub fn rename(&self, name: &str) -> Option<String> {
        match self {
            Renaming::Regex(regex, replacement) => {
                regex.is_match(name).then(|| regex.replace_all(name, *replacement).into_owned())
            }
            Renaming::Rule(Rule::Rename { from, to }) => (name == from).then(|| to.clone()),
            Renaming::Rule(Rule::RenameScope { from, to }) => rename_scope(name, from, to),
            Renaming::Rule(Rule::RenameComponent { from, to }) => rename_component(name, from, to),
            Renaming::Rule(Rule::StripPrefix(prefix)) => {
                name.strip_prefix(prefix.as_str()).map(str::to_owned)
            }
            Renaming::Rule(Rule::AddPrefix(prefix)) => Some(format!("{prefix}{name}")),
            Renaming::Rule(Rule::Separator { from, to }) => {
                name.contains(*from).then(|| name.replace(*from, to.encode_utf8(&mut [0; 4])))
            }
            Renaming::Rule(_) => None,
        }
    }
}
