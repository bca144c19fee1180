//! Which of several trials is suggested.

use super::names::{CLEARLY, Name, digits, parts_alike};
use super::search::effort;
use super::trial::{Trial, Trials};
use crate::restore::rules::Rule;
use crate::restore::suggestion::ALTERNATIVES;
use std::collections::HashMap;

/// How many more rules a trial may have than another whose names are less alike.
const MORE_RULES: usize = 2;
/// Trials that are compared by their names at most.
const COMPARED: usize = 16;

/// The best trials: one, or alternatives if nothing says which is meant.
///
/// Of those that restore as much, names that are clearly more alike go before fewer rules: three
/// rules that give every tensor to its neighbour are no mending. So do those that give more variables
/// the tables that are theirs but for the number of rows.
pub(super) fn choose(trials: &Trials<'_>, mut all: Vec<Trial>) -> Vec<Trial> {
    if all.iter().any(|trial| !trial.misplaced) {
        all.retain(|trial| !trial.misplaced);
    }
    let rank =
        |trial: &Trial| (-trial.gain(), usize::MAX - trial.restored, usize::MAX - trial.grown);
    let Some(best) = all.iter().map(rank).min() else { return Vec::new() };
    let mut best: Vec<Trial> = all.into_iter().filter(|trial| rank(trial) == best).collect();
    best.sort_by_cached_key(|trial| (trial.rules.len(), effort(&trial.rules)));
    let fewest = best[0].rules.len();
    best.retain(|trial| trial.rules.len() <= fewest + MORE_RULES);
    let mut distinct: Vec<Trial> = Vec::new();
    for trial in best {
        if distinct.len() < COMPARED && !distinct.iter().any(|other| other.pairs == trial.pairs) {
            distinct.push(trial);
        }
    }
    let names: HashMap<usize, Name> = distinct
        .iter()
        .flat_map(|trial| trial.pairs.values())
        .map(|&tensor| (tensor, Name::new(trials.asked.tensors[tensor].name.to_string())))
        .collect();
    let clearly_worse: Vec<bool> = distinct
        .iter()
        .map(|trial| {
            distinct.iter().any(|other| {
                likeness_where_different(trials, &names, other, trial)
                    > likeness_where_different(trials, &names, trial, other) + CLEARLY
            })
        })
        .collect();
    let mut kept = clearly_worse.iter();
    if clearly_worse.iter().any(|worse| !worse) {
        distinct.retain(|_| kept.next() == Some(&false));
    }
    let fewest = distinct.iter().map(|trial| trial.rules.len()).min().unwrap_or(0);
    distinct.retain(|trial| trial.rules.len() == fewest);
    distinct.sort_by_key(|trial| trial.doubts);
    distinct.truncate(ALTERNATIVES);
    distinct
}

/// Trials, and after them those that restore as much by as few rules with the targets of two renames exchanged,
/// where nothing says which of them is which: both ways can be taken.
pub(super) fn with_exchanged(trials: &mut Trials<'_>, best: Vec<Trial>) -> Vec<Trial> {
    let mut all = best.clone();
    for trial in best {
        if !trial.exchangeable || all.len() >= ALTERNATIVES {
            continue;
        }
        let of_names = trial.rules.iter().filter(|rule| rule.is_about_names());
        let of_names: Vec<Rule> = of_names.cloned().collect();
        for second in 1..of_names.len() {
            for first in 0..second {
                let Some(rules) = exchanged(&of_names, first, second) else { continue };
                let as_good = |other: &Trial| {
                    other.restored == trial.restored
                        && other.gain() == trial.gain()
                        && other.rules.len() <= trial.rules.len()
                        && other.doubts <= trial.doubts
                        && other.by_shape <= trial.by_shape
                        && other.misplaced <= trial.misplaced
                };
                for other in trials.complete(&rules).into_iter().filter(as_good) {
                    if !all.iter().any(|known| known.pairs == other.pairs) {
                        all.push(other);
                    }
                }
            }
        }
    }
    all.truncate(ALTERNATIVES);
    all
}

/// Rules with the targets of two exchanged, if both are renames of one kind.
fn exchanged(rules: &[Rule], first: usize, second: usize) -> Option<Vec<Rule>> {
    let mut rules = rules.to_vec();
    let (before, after) = rules.split_at_mut(second);
    let targets = match (before.get_mut(first)?, after.first_mut()?) {
        (Rule::Rename { to, .. }, Rule::Rename { to: other, .. })
        | (Rule::RenameScope { to, .. }, Rule::RenameScope { to: other, .. })
        | (Rule::RenameComponent { to, .. }, Rule::RenameComponent { to: other, .. })
        | (
            Rule::RenameRegex { replacement: to, .. },
            Rule::RenameRegex { replacement: other, .. },
        ) => (to, other),
        _ => return None,
    };
    std::mem::swap(targets.0, targets.1);
    Some(rules)
}

/// How like the names of `trial`'s pairs are where `other` has other pairs.
fn likeness_where_different(
    trials: &Trials<'_>,
    names: &HashMap<usize, Name>,
    trial: &Trial,
    other: &Trial,
) -> f64 {
    let different: Vec<(usize, usize)> = trial
        .pairs
        .iter()
        .filter(|(variable, tensor)| other.pairs.get(variable) != Some(tensor))
        .map(|(variable, tensor)| (*variable, *tensor))
        .collect();
    let variable = |index: usize| &trials.asked.variables[index].name;
    let alike = |&(v, tensor): &(usize, usize)| {
        names.get(&tensor).map_or(0.0, |name| parts_alike(name, &Name::new(variable(v).clone())))
    };
    let numbers = |&(v, tensor): &(usize, usize)| {
        names.get(&tensor).is_some_and(|name| digits(&name.text) == digits(variable(v)))
    };
    // Numbers say something only if they agree everywhere: `dense_1` is not `fc1` beside `dense`.
    let numbered = different.iter().any(|(v, _)| !digits(variable(*v)).is_empty())
        && different.iter().all(numbers);
    let total: f64 = different.iter().take(200).map(alike).sum();
    total / different.len().clamp(1, 200) as f64 + if numbered { 0.5 } else { 0.0 }
}

#[cfg(test)]
#[path = "choose_tests.rs"]
mod tests;
