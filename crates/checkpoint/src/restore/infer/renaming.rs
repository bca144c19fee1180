//! Rules about names, applied to the names of a search.

use super::names::Name;
use crate::restore::rules::{Rule, rename_component, rename_scope};
use regex::Regex;
use std::cell::RefCell;
use std::collections::HashMap;
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

/// Expressions that were compiled before: a search tries the same ones often.
#[derive(Default)]
pub(super) struct Compiled(RefCell<HashMap<String, Regex>>);

impl Compiled {
    /// A rule, ready; nothing if its expression is malformed.
    pub fn renaming<'a>(&self, rule: &'a Rule) -> Option<Renaming<'a>> {
        let Rule::RenameRegex { pattern, replacement } = rule else {
            return Some(Renaming::Rule(rule));
        };
        let mut known = self.0.borrow_mut();
        let regex = match known.get(pattern) {
            Some(regex) => regex.clone(),
            None => {
                let regex = Regex::new(pattern).ok()?;
                known.insert(pattern.clone(), regex.clone());
                regex
            }
        };
        Some(Renaming::Regex(regex, replacement))
    }
}

impl Renaming<'_> {
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
