//! Inference: the fewest rules that would restore more of a model.
//!
//! A search over rules about names (`infer/search.rs`) works on a sample (`infer/problem.rs`, `infer/sample.rs`) with
//! candidates from names that are alike (`infer/names.rs`). What it finds is completed by rules
//! about values (`infer/values.rs`) and by single renames (`infer/singles.rs`), and only what a
//! whole plan then confirms is suggested (`infer/trial.rs`).

mod arbitrary;
mod doubts;
mod names;
mod problem;
mod renaming;
mod roles;
mod sample;
mod search;
mod singles;
mod trial;
mod values;

use crate::matching::Outcome;
use crate::report::Saved;
use crate::rules::Rule;
use crate::tensor::TensorEntry;
use problem::{Given, Problem};
use roles::{Kind, SlotNames};
use std::collections::BTreeMap;
use trial::{Trial, Trials, choose};
use warmstart_graph::Variable;

/// Rules that would restore more variables. They were tried out by planning again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suggestion {
    /// The rules, to be added after those there are, in this order.
    pub rules: Vec<Rule>,
    /// How many variables they would restore that are missing or mismatched now.
    pub restores: usize,
    /// Of how many that are missing or mismatched now.
    pub of: usize,
    /// What the rules take for granted because nothing in the file or the graph shows it.
    pub notes: Vec<String>,
}

/// Characters of names, and names (each counted as many), that planning again may go through, over
/// all trials: a file of a million names is not searched for what it might have meant.
const BUDGET: usize = 40_000_000;
const EACH: usize = 64;

/// Searches this often for more, each time after the rules found so far.
const ROUNDS: usize = 4;

/// What is missing or mismatched under `rules`, and rules to add that would restore more of it.
/// Several suggestions are alternatives.
pub(crate) fn infer(
    tensors: &[TensorEntry],
    variables: &[&Variable],
    rules: &[Rule],
    outcomes: &[Outcome],
    saved: &BTreeMap<String, Saved>,
) -> Vec<Suggestion> {
    infer_within(BUDGET, tensors, variables, rules, outcomes, saved).0
}

/// Within a budget; also says how often it planned again.
fn infer_within(
    budget: usize,
    tensors: &[TensorEntry],
    variables: &[&Variable],
    rules: &[Rule],
    outcomes: &[Outcome],
    saved: &BTreeMap<String, Saved>,
) -> (Vec<Suggestion>, usize) {
    let wanted = outcomes.iter().filter(|outcome| lacks(outcome)).count();
    if wanted == 0 || tensors.is_empty() {
        return (Vec::new(), 0);
    }
    let names = tensors.iter().map(|tensor| tensor.name.len());
    let names = names.chain(variables.iter().map(|variable| variable.name.len()));
    let pass: usize = names.map(|length| length + EACH).sum();
    if pass > budget / 4 {
        return (Vec::new(), 0);
    }
    let slots = SlotNames::of(variables);
    let tensor_kinds: Vec<Kind> = tensors.iter().map(|tensor| slots.kind(tensor, saved)).collect();
    let variable_kinds: Vec<Kind> =
        variables.iter().map(|variable| Kind::of_role(&variable.role)).collect();
    let mut trials = Trials {
        tensors,
        variables,
        rules,
        outcomes,
        saved,
        tensor_kinds: &tensor_kinds,
        variable_kinds: &variable_kinds,
        passes: 0,
        most: budget / pass.max(1),
    };
    let all = rounds(&mut trials);
    let suggestions = choose(&trials, all);
    let suggestion = |trial: Trial| Suggestion {
        rules: trials.in_usual_order(trial.rules),
        restores: trial.restored,
        of: wanted,
        notes: trial.notes,
    };
    let suggestions = suggestions.into_iter().map(suggestion).collect();
    (suggestions, trials.passes)
}

/// Searches, tries out what it finds, and goes on from the best of it while there is more.
fn rounds(trials: &mut Trials<'_>) -> Vec<Trial> {
    let mut all: Vec<Trial> = Vec::new();
    let mut so_far: Vec<Rule> = Vec::new();
    for _ in 0..ROUNDS {
        let Some(state) = trials.plan(&so_far) else { break };
        let given = Given {
            tensors: trials.tensors,
            variables: trials.variables,
            outcomes: &state.matching.outcomes,
            allowed: &state.allowed,
            names: &state.names,
            unexpected: &state.matching.unexpected,
            tensor_kinds: trials.tensor_kinds,
            variable_kinds: trials.variable_kinds,
        };
        let problem = Problem::new(&given);
        let found = search::search(&problem);
        let mut sets = found.sets;
        if so_far.is_empty() {
            sets.push(Vec::new());
        }
        let best = |all: &[Trial]| all.iter().map(Trial::gain).max().unwrap_or(0);
        let before = best(&all);
        for set in sets {
            all.extend(completed(trials, &so_far, set));
        }
        let after = best(&all);
        let more = found.unfinished || problem.thinned;
        if !more || after <= before {
            break;
        }
        match all.iter().filter(|trial| trial.gain() == after).min_by_key(|t| t.rules.len()) {
            Some(trial) => so_far = trial.name_rules.clone(),
            None => break,
        }
    }
    all
}

/// What becomes of a set of rules: if something speaks against it, of the set without its last rules, or
/// without one of them.
fn completed(trials: &mut Trials<'_>, so_far: &[Rule], set: Vec<Rule>) -> Vec<Trial> {
    let mut of = |rules: Vec<Rule>| trials.complete([so_far, &rules].concat());
    let whole = of(set.clone());
    if !whole.is_empty() {
        return whole;
    }
    for left_out in (0..set.len()).rev() {
        let mut fewer = set.clone();
        fewer.remove(left_out);
        let found = of(fewer);
        if !found.is_empty() {
            return found;
        }
    }
    for length in (1..set.len().saturating_sub(1)).rev() {
        let found = of(set[..length].to_vec());
        if !found.is_empty() {
            return found;
        }
    }
    Vec::new()
}

/// Whether a variable is missing or mismatched.
fn lacks(outcome: &Outcome) -> bool {
    matches!(
        outcome,
        Outcome::Missing { .. } | Outcome::ShapeMismatch { .. } | Outcome::DTypeMismatch { .. }
    )
}

#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod program_tests;
#[cfg(test)]
mod property_tests;
#[cfg(test)]
#[path = "infer_tests.rs"]
mod tests;
