//! Whether rules pair scopes that have no more to do with each other than with many others.

use super::names::{Name, parts_alike};
use crate::restore::rules::SEPARATORS;
use std::collections::{BTreeSet, HashMap};

/// A tensor's or a variable's name and shape.
pub(super) type Entry<'a> = (&'a str, &'a [usize]);

/// What a scope holds: names within it, and shapes.
type Content<'a> = BTreeSet<Entry<'a>>;

/// With as many left that would fit as well, nothing speaks for one of them.
const MANY: usize = 4;

/// Pairs of scopes that are looked at, at most.
const LOOKED_AT: usize = 64;

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
/// scopes are left that hold as much as one of the two.
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
    let left = (scopes(variables), scopes(tensors));
    // Most scopes hold the same: a few contents tell.
    let contents: BTreeSet<_> =
        unlike.iter().map(|(to, from)| (&held.0[to], &held.1[from])).take(LOOKED_AT).collect();
    let many = |left: &HashMap<&str, Content<'_>>, content: &Content<'_>| {
        left.values().filter(|other| content.is_subset(other)).take(MANY).count() == MANY
    };
    contents.iter().any(|(to, from)| many(&left.0, to) || many(&left.1, from))
}
