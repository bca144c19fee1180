//! Single renames, the last resort: a variable and a tensor that are left and are the best for each
//! other. Slots that an optimizer keeps below the tensor's name go along. A matrix may lie the other way
//! round, if names say that it is the same one, or all others lie so.

use super::names::{ALIKE, Name, name_likeness};
use super::roles::Kind;
use super::slot_rules::Below;
use super::trial::{Planned, Trials};
use super::values::is_table;
use crate::restore::matching::{Change, Outcome, transposed};
use crate::restore::rules::Rule;
use std::collections::{HashMap, HashSet};
use warmstart_graph::DType;

/// Renames suggested at most.
const MOST: usize = 8;
/// Left over on either side of one shape, beyond which names say too little.
const LEFT: usize = 40;
/// Pairs of names compared at most.
const PAIRS: usize = 8_000;
/// Alternatives for one variable.
const ALTERNATIVES: usize = 4;
/// Two names are equally alike within this.
const EQUALLY: f64 = 0.05;

/// Lists of renames to try after a plan; the first is empty.
pub(super) fn singles(trials: &Trials<'_>, planned: &Planned<'_>) -> Vec<Vec<Rule>> {
    let groups = left_over(trials, planned);
    let all_turned = are_all_turned(trials, planned);
    let mut renames: Vec<(usize, Rule)> = Vec::new();
    let mut pairs = PAIRS;
    let mut open: Option<Vec<(usize, Rule)>> = None;
    for LeftOver { variables, tensors, turned } in groups {
        let (Some(first), Some(only)) = (variables.first(), tensors.first()) else { continue };
        // A single number fits anything, and its shape says nothing.
        let shape = &trials.asked.variables[first.0].shape;
        let says =
            (!turned || all_turned) && shape.checked_elements().is_none_or(|elements| elements > 1);
        if variables.len() == 1 && tensors.len() == 1 && says {
            renames.push((first.0, rename(only, first)));
            continue;
        }
        let Some(left) = pairs.checked_sub(variables.len() * tensors.len()) else { continue };
        pairs = left;
        let alike: Vec<Vec<f64>> = variables
            .iter()
            .map(|(_, variable)| tensors.iter().map(|(_, t)| name_likeness(t, variable)).collect())
            .collect();
        let best_of = |likes: &mut dyn Iterator<Item = f64>| likes.fold(0.0, f64::max);
        for (row, variable) in variables.iter().enumerate() {
            let best = best_of(&mut alike[row].iter().copied());
            if best < ALIKE {
                continue;
            }
            let near: Vec<usize> =
                (0..tensors.len()).filter(|&t| alike[row][t] >= best - EQUALLY).collect();
            // None of them may be as near to another variable.
            let mutual = near.iter().all(|&t| {
                let others = (0..variables.len()).filter(|&other| other != row);
                best_of(&mut others.map(|other| alike[other][t])) < best - EQUALLY
            });
            match near.as_slice() {
                _ if !mutual => {}
                [one] => renames.push((variable.0, rename(&tensors[*one], variable))),
                many if open.is_none() && many.len() <= ALTERNATIVES => {
                    let each = many.iter().map(|&t| (variable.0, rename(&tensors[t], variable)));
                    open = Some(each.collect());
                }
                _ => {}
            }
        }
    }
    let mut lists = vec![Vec::new()];
    if renames.is_empty() && open.is_none() {
        return lists;
    }
    renames.sort_by_key(|(variable, _)| *variable);
    renames.truncate(MOST);
    let below = Below::of(trials, planned);
    let with_slots = |(_, rule): &(usize, Rule)| {
        let slots = match rule {
            Rule::Rename { from, to } => below.rule(from, to),
            _ => None,
        };
        [rule.clone()].into_iter().chain(slots)
    };
    let renames: Vec<Rule> = renames.iter().flat_map(with_slots).collect();
    match open {
        None => lists.push(renames),
        Some(open) => lists.extend(
            open.iter().map(|one| renames.iter().cloned().chain(with_slots(one)).collect()),
        ),
    }
    lists
}

/// Whether matrices that names say are the same lie the other way round in the file, some and all but tables:
/// then the only one that fits so is no worse than one which fits as it lies.
fn are_all_turned(trials: &Trials<'_>, planned: &Planned<'_>) -> bool {
    let mut some = false;
    for (variable, outcome) in trials.asked.variables.iter().zip(&planned.matching.outcomes) {
        let [rows, columns] = variable.shape[..] else { continue };
        let is_turned = match outcome {
            Outcome::ShapeMismatch { shape, .. } => transposed(&variable.shape, shape),
            Outcome::Restored { changes, .. } => {
                changes.iter().any(|change| matches!(change, Change::Transposed { .. }))
            }
            _ => continue,
        };
        if rows != columns && !is_table(&variable.name, outcome.tensor()) {
            if !is_turned {
                return false;
            }
            some = true;
        }
    }
    some
}

type Named = (usize, Name);

/// What is left of one shape and dtype.
struct LeftOver {
    variables: Vec<Named>,
    tensors: Vec<Named>,
    /// Whether the tensors are matrices that lie the other way round.
    turned: bool,
}

fn rename((_, from): &Named, (_, to): &Named) -> Rule {
    Rule::Rename { from: from.text.clone(), to: to.text.clone() }
}

/// Weights that are missing and tensors that are left, by shape and dtype. Where none has a matrix's shape,
/// those that have it once they are transposed, but for tables, which lie the same way everywhere.
fn left_over(trials: &Trials<'_>, planned: &Planned<'_>) -> Vec<LeftOver> {
    let Trials { asked, kinds, .. } = trials;
    let mut all: Vec<(Vec<usize>, Vec<usize>, bool)> = Vec::new();
    let mut groups: HashMap<(&[usize], DType), usize> = HashMap::new();
    let mut taken = HashSet::new();
    for (index, variable) in asked.variables.iter().enumerate() {
        let missing = matches!(planned.matching.outcomes[index], Outcome::Missing { .. });
        if missing && kinds.variables[index] == Kind::Weight {
            let group = *groups.entry((&variable.shape, variable.dtype)).or_insert(all.len());
            if group == all.len() {
                all.push(Default::default());
            }
            all[group].0.push(index);
        }
    }
    for turned in [false, true] {
        for &index in &planned.matching.unexpected {
            let tensor = &asked.tensors[index];
            let other_way = match tensor.shape[..] {
                [rows, columns] if rows != columns => Some([columns, rows]),
                _ => None,
            };
            let shape = match (turned, &other_way) {
                (false, _) => &tensor.shape[..],
                (true, Some(shape)) if !is_table("", Some(&tensor.name)) => shape,
                (true, _) => continue,
            };
            let Some(dtype) = tensor.dtype.variable() else { continue };
            let Some(&group) = groups.get(&(shape, dtype)) else { continue };
            let (_, tensors, is_turned) = &mut all[group];
            let is_free = tensors.is_empty() || turned == *is_turned;
            if is_free && kinds.tensors[index] == Kind::Weight && taken.insert(index) {
                tensors.push(index);
                *is_turned = turned;
            }
        }
    }
    let named = |index: usize, text: &str| (index, Name::new(text.to_owned()));
    all.into_iter()
        .filter(|(v, t, _)| v.len() <= LEFT && t.len() <= LEFT && !t.is_empty())
        .map(|(variables, tensors, turned)| {
            let names = variables.into_iter().map(|v| (v, &asked.variables[v].name));
            let names = names.filter(|(_, name)| !turned || !is_table(name, None));
            let variables = names.map(|(v, name)| named(v, name)).collect();
            let tensors = tensors
                .into_iter()
                .filter_map(|t| Some(named(t, planned.applied.names[t].first()?)))
                .collect();
            LeftOver { variables, tensors, turned }
        })
        .collect()
}
