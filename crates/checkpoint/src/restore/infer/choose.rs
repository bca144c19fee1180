//! Which of several trials is suggested.

use super::names::{CLEARLY, Name, digits, parts_alike};
use super::search::effort;
use super::trial::{Trial, Trials};
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
pub(super) fn choose(trials: &Trials<'_>, all: Vec<Trial>) -> Vec<Trial> {
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
