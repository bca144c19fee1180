//! Inference: the fewest rules that would restore more of a model.
//!
//! A search over rules about names (`infer/search.rs`) works on a sample (`infer/problem.rs`,
//! `infer/sample.rs`) with candidates from names that are alike (`infer/names.rs`). What it finds is
//! completed by rules about values (`infer/values.rs`) and by single renames (`infer/singles.rs`), and only what a
//! whole plan then confirms is suggested (`infer/trial.rs`).
//!
//! The search follows the most promising sets of rules. A rule that takes a matrix away from the
//! variable that it would fit once transposed counts as a loss. It is bounded by what it looks at
//! and how often it plans again, not by time: a file of a million names gets no suggestion, and no
//! search plans more than 300 times, nor its end more than 40. Sets of rules that one search finds
//! differ by little, so a plan that was made is not made again, and of what something speaks
//! against only 48 weaker sets are tried in all; a note says so where that cut a search short.
//!
//! After the best ways that were found it searches again, as if their rules were the user's: what one leaves out
//! is found then, and ways that leave out different parts become one.
//!
//! Sets of rules that restore as much by giving variables other tensors are alternatives, unless
//! names clearly favour one; numbers in names count only where they agree everywhere. A single
//! number fits anything, so its shape is no reason to pair it. What is suggested is no guess: not
//! two like names crossed, and no scope of another name where many would do (`infer/arbitrary.rs`).
//! Names that the model has for something else are moved out of the way first (`infer/aside.rs`). Where
//! fewer rules do the same as many renames, those are suggested (`infer/fewest.rs`).
//! A weight never gets a slot's value, nor one slot another's: ours say in their metadata what is a
//! slot, and of other programs' checkpoints `slots.rs` knows how each names them (only where the
//! variable that a slot would belong to is there too).

mod alike;
mod arbitrary;
mod aside;
mod asked;
mod choose;
mod doubts;
mod fewest;
mod known;
mod lacking;
mod names;
mod numbering;
mod optimizers;
mod order;
mod origin;
mod problem;
mod renaming;
mod roles;
mod sample;
mod search;
mod singles;
mod slot_rules;
mod told;
mod trial;
mod values;

use crate::restore::matching::lacks;
use crate::restore::rules::{Rule, SEPARATORS};
use crate::restore::suggestion::{ALTERNATIVES, Suggestion};
use crate::tensor::TensorEntry;
use aside::Move;
pub(crate) use asked::Asked;
use choose::choose;
pub(crate) use known::is_adapter;
use optimizers::Renamed;
pub(crate) use origin::is_pytorch;
use problem::{Given, Problem};
use roles::{Kind, Kinds, SlotNames};
use std::collections::HashMap;
use trial::{Limits, Trial, Trials};
pub(crate) use values::{glob_of, is_table};
use warmstart_graph::Glob;

/// Characters of names, and names (each counted as many), that planning again may go through, over
/// all trials: a file of a million names is not searched for what it might have meant.
const BUDGET: usize = 40_000_000;
const EACH: usize = 64;

/// Names that searches look at in all, and as many again where layers are renumbered, and where names are
/// moved out of the way.
const NAMES: usize = 400_000;

/// How often it plans again at most, however small the file: while it searches, and after that to compare
/// and to order what it found: up to three times to straighten a suggestion, two to shorten it, two to
/// transpose it or not, and three to order it. Random models of a dozen variables take up to 200.
const SEARCHING: usize = 300;
const FINISHING: usize = 10 * ALTERNATIVES;

/// Sets of rules that something speaks against, and that are tried without some of their rules, in all.
/// Those of one search have much in common, and what speaks against one mostly does against the others.
const WEAKER: usize = 48;

/// Searches this often for more, each time after the rules found so far.
const ROUNDS: usize = 4;

/// What is missing or mismatched under the user's rules, and rules to add that would restore more of it.
/// Several suggestions are alternatives.
pub(crate) fn infer(asked: Asked<'_>) -> Vec<Suggestion> {
    infer_within(BUDGET, asked).0
}

/// What is said of suggestions if not all that was worth it was tried.
const ENDED: &str = "the search for rules was cut short: others may restore as much or more; with a rule \
                     for what you know, such as a scope's new name, a search goes on from there";

/// Within a budget; also says how often it planned again.
fn infer_within(budget: usize, asked: Asked<'_>) -> (Vec<Suggestion>, usize) {
    let Asked { tensors, variables, saved, .. } = asked;
    let wanted = asked.outcomes.iter().filter(|outcome| lacks(outcome)).count();
    if wanted == 0 || tensors.is_empty() {
        return (Vec::new(), 0);
    }
    let names = tensors.iter().map(|tensor| tensor.name.len());
    let names = names.chain(variables.iter().map(|variable| variable.name.len()));
    let pass: usize = names.map(|length| length + EACH).sum();
    if pass > budget / 4 {
        return (Vec::new(), 0);
    }
    let ends = SlotNames::of(variables);
    let optimizer = Renamed::of(tensors, saved, variables);
    let kind = |tensor: &TensorEntry| {
        let kind = ends.kind(tensor, saved);
        match &optimizer {
            Some(renamed) => renamed.kind(kind),
            None => kind,
        }
    };
    let kinds = Kinds {
        tensors: tensors.iter().map(kind).collect(),
        variables: variables.iter().map(|variable| Kind::of_role(&variable.role)).collect(),
    };
    let affordable = budget / pass.max(1);
    let most = affordable.min(SEARCHING);
    let limits = Limits { names: NAMES, weaker: WEAKER, passes: 0, most, ended: false };
    let mut trials = Trials::new(asked, &kinds, limits);
    let mut slots = slot_rules::slot_rules(&trials);
    slots.extend(optimizer.as_ref().map(Renamed::rule));
    let mut all = rounds(&mut trials, slots.clone());
    let closes = |all: &[Trial]| all.iter().any(|one| !one.misplaced && one.restored == wanted);
    if !slots.is_empty() && !closes(&all) {
        all.extend(rounds(&mut trials, Vec::new()));
    }
    if !closes(&all) {
        let renumbered = renumbered(&mut trials, &all);
        all.extend(renumbered);
    }
    if !closes(&all) {
        let moved = moved_aside(&mut trials, &all);
        all.extend(moved);
    }
    let suggestions = further(&mut trials, all, wanted);
    let ended = trials.limits.ended.then(|| ENDED.to_owned());
    trials.limits.most = affordable.min(SEARCHING + FINISHING);
    let stays = optimizer.as_ref().map(Renamed::rule);
    let by_fewest = |trial| {
        let straightened = aside::straightened(&mut trials, trial);
        fewest::shortened(&mut trials, straightened, stays.as_ref())
    };
    let suggestions: Vec<Trial> = suggestions.into_iter().map(by_fewest).collect();
    let suggestions = choose::with_exchanged(&mut trials, suggestions);
    let mut suggestions: Vec<Trial> =
        suggestions.into_iter().flat_map(|trial| turned_and_not(&mut trials, trial)).collect();
    suggestions.truncate(ALTERNATIVES);
    let suggestion = |mut trial: Trial| {
        trial.notes.extend(trial.tie.take());
        trial.notes.extend(aside::note(&trials, &trial));
        trial.notes.extend(known::notes(&trials, &trial));
        let renamed = optimizer.iter().filter(|optimizer| trial.rules.contains(&optimizer.rule()));
        trial.notes.extend(renamed.map(Renamed::note));
        trial.notes.extend(ended.clone());
        Suggestion {
            rules: trials.in_usual_order(trial.rules),
            restores: trial.restored,
            of: wanted,
            notes: trial.notes,
            // Known once it is planned again.
            allow: None,
        }
    };
    let suggestions = suggestions.into_iter().map(suggestion).collect();
    (suggestions, trials.limits.passes)
}

/// The best of all trials, and what a search finds after each of them, as if its rules were the user's: ways that
/// leave out different parts become one.
fn further(trials: &mut Trials<'_>, mut all: Vec<Trial>, wanted: usize) -> Vec<Trial> {
    let rank = |trials: &[Trial]| trials.iter().map(|one| (!one.misplaced, one.gain())).max();
    let mut best = choose(trials, all.clone());
    for _ in 0..ROUNDS {
        if best.iter().any(|trial| trial.restored == wanted) {
            break;
        }
        let before = rank(&best);
        trials.limits.names = NAMES;
        for trial in best.clone() {
            // What is found last is mostly what names say least of: it is not worth more that only shapes say.
            let more = rounds(trials, trial.name_rules).into_iter();
            let worth =
                |more: &Trial| more.by_shape <= trial.by_shape && more.misplaced <= trial.misplaced;
            all.extend(more.filter(worth));
        }
        if rank(&all) <= before {
            break;
        }
        best = choose(trials, all.clone());
    }
    best
}

/// A trial; and before it, if its square matrices may as well be transposed, the same with a rule that
/// does so.
fn turned_and_not(trials: &mut Trials<'_>, trial: Trial) -> Vec<Trial> {
    let Some(turning) = trial.turning.clone() else { return vec![trial] };
    let reaches = |glob: Glob| {
        let names = trial.pairs.keys().map(|&index| &trials.asked.variables[index].name);
        names.into_iter().any(|name| glob.is_match(name))
    };
    if !Glob::new(&turning.glob).is_ok_and(reaches) {
        return vec![trial];
    }
    let mut other = trial.clone();
    other.rules.push(Rule::Transpose(turning.glob));
    for note in other.notes.iter_mut().filter(|note| **note == turning.left) {
        note.clone_from(&turning.turned);
    }
    match trials.restores(&other.rules) {
        same if same.is_some() && same == trials.restores(&trial.rules) => vec![other, trial],
        _ => vec![trial],
    }
}

/// Sets of rules to begin with, each once.
fn distinct<const N: usize>(sets: [Option<Vec<Rule>>; N]) -> Vec<Vec<Rule>> {
    let mut all: Vec<Vec<Rule>> = Vec::new();
    for set in sets.into_iter().flatten() {
        if !all.contains(&set) {
            all.push(set);
        }
    }
    all
}

/// The rules about names of the trial that restores most, by the fewest rules.
fn best_of(trials: &[Trial]) -> Option<Vec<Rule>> {
    let better = |trial: &&Trial| (!trial.misplaced, trial.gain(), usize::MAX - trial.rules.len());
    let best = trials.iter().max_by_key(better)?;
    Some(best.name_rules.clone())
}

/// What comes of renaming layers by their order first, and searching for the rest.
fn renumbered(trials: &mut Trials<'_>, before: &[Trial]) -> Vec<Trial> {
    let starts = distinct([Some(separator(trials)), best_of(before)]);
    let mut all = Vec::new();
    (trials.renumbers, trials.limits.names) = (true, NAMES);
    for mut start in starts {
        let unnumbered = start.len();
        // Layers may be counted within layers.
        for _ in 0..ROUNDS {
            let Some(planned) = trials.plan(&start) else { break };
            let rules = numbering::numbering(trials, &planned);
            if rules.is_empty() {
                break;
            }
            start.extend(rules);
        }
        if start.len() > unnumbered {
            all.extend(rounds(trials, start));
        }
    }
    trials.renumbers = false;
    all
}

/// What comes of moving names out of the way that the model has for something else.
fn moved_aside(trials: &mut Trials<'_>, before: &[Trial]) -> Vec<Trial> {
    let separator = separator(trials);
    let both = [prefix(trials), separator.clone()].concat();
    let best = best_of(before);
    // Renames of scopes may have done to some names of a scope what has to be done to all of it.
    let parts =
        best.clone().map(|best| best.into_iter().filter(|rule| !fewest::is_move(rule)).collect());
    let starts = distinct([Some(both), Some(separator), Some(Vec::new()), best, parts]);
    let mut all = Vec::new();
    trials.limits.names = NAMES;
    for mut start in starts {
        let Some(planned) = trials.plan(&start) else { break };
        let asides = aside::asides(trials, &planned);
        if asides.is_empty() {
            continue;
        }
        for (tensor, misfit) in aside::set_aside(trials, &planned, &asides) {
            trials.aside.tensors.entry(tensor).or_insert(misfit);
        }
        start.extend(asides.iter().map(Move::rule));
        trials.aside.moves.extend(asides);
        all.extend(rounds(trials, start));
    }
    all
}

/// The rule that takes away scopes in which all names of the file stand, and none of the model.
fn prefix(trials: &Trials<'_>) -> Vec<Rule> {
    let mut names = trials.asked.tensors.iter().map(|tensor| tensor.name.as_str());
    let Some(first) = names.next() else { return Vec::new() };
    let common = |end: usize| names.clone().all(|name| name.starts_with(&first[..end]));
    let ends: Vec<usize> = first.match_indices(SEPARATORS).map(|(at, _)| at + 1).collect();
    let Some(end) = ends.into_iter().rev().find(|&end| common(end)) else { return Vec::new() };
    let top = first.split(SEPARATORS).next();
    let is_there = trials.asked.variables.iter().any(|v| v.name.split(SEPARATORS).next() == top);
    if is_there { Vec::new() } else { vec![Rule::StripPrefix(first[..end].to_owned())] }
}

/// The rule for separators, if all names have one on one side and the other on the other.
fn separator(trials: &Trials<'_>) -> Vec<Rule> {
    let only = |names: &mut dyn Iterator<Item = &str>| {
        let mut found = SEPARATORS.map(|_| false);
        for name in names {
            for (found, separator) in found.iter_mut().zip(SEPARATORS) {
                *found |= name.contains(separator);
            }
        }
        match found {
            [true, false] => Some(SEPARATORS[0]),
            [false, true] => Some(SEPARATORS[1]),
            _ => None,
        }
    };
    let from = only(&mut trials.asked.tensors.iter().map(|tensor| tensor.name.as_str()));
    let to = only(&mut trials.asked.variables.iter().map(|variable| variable.name.as_str()));
    match (from, to) {
        (Some(from), Some(to)) if from != to => vec![Rule::Separator { from, to }],
        _ => Vec::new(),
    }
}

/// Searches after some rules, tries out what it finds, and goes on from the best of it while there is
/// more.
fn rounds(trials: &mut Trials<'_>, start: Vec<Rule>) -> Vec<Trial> {
    let mut all: Vec<Trial> = Vec::new();
    let mut so_far = start.clone();
    // Sets of one search have most of their rules in common, and so have what is left without some.
    let mut tried: HashMap<Vec<Rule>, bool> = HashMap::new();
    for _ in 0..ROUNDS {
        let Some(state) = trials.plan(&so_far) else { break };
        let given = Given {
            tensors: trials.asked.tensors,
            variables: trials.asked.variables,
            outcomes: &state.matching.outcomes,
            allowed: &state.applied.allowed,
            names: state.applied.names.iter().map(|names| &names[..]).collect(),
            unexpected: &state.matching.unexpected,
            kinds: trials.kinds,
        };
        let problem = Problem::new(&given);
        let found = search::search(&problem, &mut trials.limits.names);
        let mut sets = found.sets;
        sets.extend(found.evident);
        if so_far == start {
            sets.push(Vec::new());
        }
        let best = |all: &[Trial]| {
            let placed = all.iter().filter(|trial| !trial.misplaced);
            placed.map(Trial::gain).max().unwrap_or(0)
        };
        let before = best(&all);
        // Whole sets first: they do not wait for what may become of those that something speaks against.
        sets.retain(|set| !completed(trials, &so_far, set, &mut tried, &mut all));
        for set in sets {
            for fewer in weaker(&set) {
                let known = tried.contains_key(&[&so_far, &fewer[..]].concat());
                if !known && !trials.may_weaken() {
                    break;
                }
                if completed(trials, &so_far, &fewer, &mut tried, &mut all) {
                    break;
                }
            }
        }
        let after = best(&all);
        let more = found.unfinished || problem.thinned;
        if !more || after <= before {
            break;
        }
        match all.iter().filter(|t| !t.misplaced && t.gain() == after).min_by_key(|t| t.rules.len())
        {
            Some(trial) => so_far = trial.name_rules.clone(),
            None => break,
        }
    }
    all
}

/// Whether anything comes of a set of rules, which then is with `all`. What was tried is not tried again.
fn completed(
    trials: &mut Trials<'_>,
    so_far: &[Rule],
    set: &[Rule],
    tried: &mut HashMap<Vec<Rule>, bool>,
    all: &mut Vec<Trial>,
) -> bool {
    let rules = [so_far, set].concat();
    if let Some(&sound) = tried.get(&rules) {
        return sound;
    }
    let found = trials.complete(&rules);
    let sound = found.iter().any(|trial| !trial.misplaced);
    tried.insert(rules, sound);
    all.extend(found);
    sound
}

/// A set without one of its rules, the last first, and then without its last rules.
fn weaker(set: &[Rule]) -> impl Iterator<Item = Vec<Rule>> {
    let without = |at: usize| [&set[..at], &set[at + 1..]].concat();
    let shorter = (1..set.len().saturating_sub(1)).rev().map(|length| set[..length].to_vec());
    (0..set.len()).rev().map(without).chain(shorter)
}

#[cfg(test)]
mod aside_tests;
#[cfg(test)]
mod combined_tests;
#[cfg(test)]
mod fewest_tests;
#[cfg(test)]
mod layer_tests;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod numbering_tests;
#[cfg(test)]
mod program_tests;
#[cfg(test)]
mod property_tests;
#[cfg(test)]
mod random_models;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod told_tests;
#[cfg(test)]
mod whose_tests;
#[cfg(test)]
mod wild_tests;
