//! Whose names are taken: a tensor that by its name belongs to one variable is not another's because
//! its shape coincides.

use super::names::bare;
use crate::restore::rules::SEPARATORS;
use std::collections::HashSet;

/// The names of variables that lack a value, under one separator.
#[derive(Debug, Default)]
pub(super) struct Lacking {
    whole: HashSet<String>,
    /// What they end with: two parts or more.
    ends: HashSet<String>,
}

impl Lacking {
    pub fn of<'a>(names: impl Iterator<Item = &'a str>) -> Lacking {
        let mut lacking = Lacking::default();
        for name in names.map(joined) {
            lacking.ends.extend(ends(&name).map(str::to_owned));
            lacking.whole.insert(name);
        }
        lacking
    }

    /// Whether a tensor's name is that of a variable, within another scope or none, but not that of the
    /// one given.
    pub fn has_another(&self, tensor: &str, variable: &str) -> bool {
        let (tensor, variable) = (joined(tensor), joined(variable));
        let own = ends(&tensor).any(|end| end == variable) || ends(&variable).any(|e| e == tensor);
        !own && (self.ends.contains(&tensor) || ends(&tensor).any(|e| self.whole.contains(e)))
    }
}

fn joined(name: &str) -> String {
    bare(name).replace(SEPARATORS, "/")
}

/// A name and what it ends with, as long as that has two parts.
fn ends(name: &str) -> impl Iterator<Item = &str> {
    let after = name.match_indices('/').map(|(at, _)| &name[at + 1..]);
    std::iter::once(name).chain(after).filter(|end| end.contains('/'))
}
