//! Whether rules pair scopes that have no more to do with each other than with many others.

use super::names::{Name, parts_alike};
use crate::rules::SEPARATORS;
use std::collections::{BTreeSet, HashMap};

/// A tensor's or a variable's name and shape.
pub(super) type Entry<'a> = (&'a str, &'a [usize]);

/// What a scope holds: names within it, and shapes.
type Content<'a> = BTreeSet<Entry<'a>>;

/// With as many left that would fit as well, nothing speaks for one of them.
const MANY: usize = 4;

fn split(name: &str) -> (&str, &str) {
    name.rsplit_once(SEPARATORS).unwrap_or(("", name))
}

fn scopes<'a>(entries: impl Iterator<Item = Entry<'a>>) -> HashMap<&'a str, Content<'a>> {
    let mut scopes: HashMap<&str, Content<'_>> = HashMap::new();
    for (name, shape) in entries {
        let (scope, last) = split(name);
        scopes.entry(scope).or_default().insert((last, shape));
    }
    scopes
}

/// Whether a variable's scope and that of its tensor have no part of a name in common, and many
/// scopes are left that hold the same as one of the two.
///
/// `pairs` are a variable and its tensor each; `tensors` and `variables` are left without the other.
pub(super) fn is_arbitrary<'a>(
    pairs: &[(Entry<'a>, Entry<'a>)],
    tensors: impl ExactSizeIterator<Item = Entry<'a>>,
    variables: impl ExactSizeIterator<Item = Entry<'a>>,
) -> bool {
    if tensors.len().max(variables.len()) < MANY {
        return false;
    }
    let together: BTreeSet<(&str, &str)> = pairs
        .iter()
        .map(|((variable, _), (tensor, _))| (split(variable).0, split(tensor).0))
        .collect();
    let unlike: Vec<(&str, &str)> = together
        .into_iter()
        .filter(|(to, from)| {
            // Words that are not alike count as nothing.
            parts_alike(&Name::new((*from).to_owned()), &Name::new((*to).to_owned())) == 0.0
        })
        .collect();
    if unlike.is_empty() {
        return false;
    }
    let held = (scopes(pairs.iter().map(|pair| pair.0)), scopes(pairs.iter().map(|pair| pair.1)));
    let count = |scopes: HashMap<&'a str, Content<'a>>| {
        let mut counts: HashMap<Content<'_>, usize> = HashMap::new();
        scopes.into_values().for_each(|content| *counts.entry(content).or_default() += 1);
        counts
    };
    let left = (count(scopes(variables)), count(scopes(tensors)));
    unlike.iter().any(|(to, from)| {
        left.0.get(&held.0[to]).is_some_and(|count| *count >= MANY)
            || left.1.get(&held.1[from]).is_some_and(|count| *count >= MANY)
    })
}
