//! Which tensor each variable gets its value from, and what has to change about it. No weight is
//! read here, and no text is made.

use crate::restore::rules::{
    Allowed, Applied, EVERYTHING, Names, Rule, RuleUse, apply, other_output,
};
use crate::tensor::{FileDType, TensorEntry};
use crate::tensor_name::TensorName;
use foldhash::HashMap;
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use std::hash::BuildHasher;
use warmstart_graph::{DType, Shape, Variable};

/// What a checkpoint has for one variable.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// Its value.
    Restored {
        /// The tensor's name in the file.
        tensor: TensorName,
        /// What is done to the value on its way, as rules allowed; empty if the very bytes are
        /// taken.
        changes: Vec<Change>,
    },
    /// A rule leaves the variable out: it keeps what it has.
    Ignored,
    /// No value.
    Missing {
        /// Leftover names in the file that are close, closest first.
        close: Vec<String>,
    },
    /// Several tensors have its name once rules are applied.
    Ambiguous {
        /// Their names in the file.
        tensors: Vec<String>,
    },
    /// A value of another shape.
    ShapeMismatch {
        /// The tensor's name in the file.
        tensor: TensorName,
        /// Its shape in the file.
        shape: Shape,
    },
    /// A value of another dtype, and perhaps another shape.
    DTypeMismatch {
        /// The tensor's name in the file.
        tensor: TensorName,
        /// Its dtype in the file.
        dtype: FileDType,
        /// Its shape in the file.
        shape: Shape,
    },
}

impl Outcome {
    /// The one tensor that is meant for the variable, whether it fits or not.
    pub(crate) fn tensor(&self) -> Option<&str> {
        match self {
            Outcome::Restored { tensor, .. }
            | Outcome::ShapeMismatch { tensor, .. }
            | Outcome::DTypeMismatch { tensor, .. } => Some(tensor),
            Outcome::Ignored | Outcome::Missing { .. } | Outcome::Ambiguous { .. } => None,
        }
    }
}

/// Whether a variable is missing or mismatched.
pub(crate) fn lacks(outcome: &Outcome) -> bool {
    matches!(
        outcome,
        Outcome::Missing { .. } | Outcome::ShapeMismatch { .. } | Outcome::DTypeMismatch { .. }
    )
}

/// What is done to a value on its way from the file into a variable.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// Its elements are cast.
    Cast {
        /// The dtype in the file.
        from: FileDType,
    },
    /// Rows become columns.
    Transposed {
        /// The shape in the file.
        from: Shape,
    },
    /// The same elements in the same order, under another shape.
    Reshaped {
        /// The shape in the file.
        from: Shape,
    },
    /// There are more or fewer rows in the file: those that both have are taken.
    ResizedRows {
        /// The rows in the file.
        from: usize,
        /// The seed that rows which the file lacks are initialized with.
        seed: u64,
    },
}

/// Tensors and variables, matched.
#[derive(Debug)]
pub(crate) struct Matching {
    /// One for each variable. Missing ones have no close names yet.
    pub outcomes: Vec<Outcome>,
    /// For each variable the index of the only tensor that has its name.
    pub sources: Vec<Option<usize>>,
    /// Indices of the tensors that belong to no variable and that no rule leaves out.
    pub unexpected: Vec<usize>,
    /// Tensors that rules leave out, in the order of the file, each with its rule's place.
    pub left_out: Vec<(usize, usize)>,
    /// What became of each rule.
    pub rules: Vec<RuleUse>,
}

impl Matching {
    pub fn new(tensors: &[TensorEntry], variables: &[&Variable], rules: &[Rule]) -> Matching {
        let names = tensors.iter().map(|tensor| tensor.name.as_str());
        Matching::of(tensors, variables, &apply(rules, names, variables))
    }

    /// The same of rules that were applied to these tensors and variables.
    pub fn of(tensors: &[TensorEntry], variables: &[&Variable], applied: &Applied<'_>) -> Matching {
        let by_name = ByName::new(&applied.names);
        let mut used = vec![false; tensors.len()];
        let mut found: Vec<&[usize]> = Vec::with_capacity(variables.len());
        for variable in variables {
            // The variables of thousands mostly follow one another as their tensors do.
            let likely = found.last().and_then(|found| found.last()).map_or(0, |last| last + 1);
            found.push(by_name.find(&variable.name, likely));
        }
        for (&index, allowed) in found
            .iter()
            .zip(&applied.allowed)
            .flat_map(|(f, a)| f.iter().map(move |index| (index, a)))
        {
            used[index] |= !allowed.ignored;
        }
        // The name of a variable of TensorFlow 1 ends with `:0`, the first output of an operation;
        // that of its value in a checkpoint does not. Exact names go first.
        for ((variable, found), allowed) in variables.iter().zip(&mut found).zip(&applied.allowed) {
            if !found.is_empty() || allowed.ignored {
                continue;
            }
            let candidates = by_name.find(&other_output(&variable.name), usize::MAX);
            if candidates.iter().all(|&index| !used[index]) {
                candidates.iter().for_each(|&index| used[index] = true);
                *found = candidates;
            }
        }
        let outcome = |((variable, candidates), allowed): ((&&Variable, &[usize]), &Allowed)| {
            match candidates {
                _ if allowed.ignored => Outcome::Ignored,
                [] => Outcome::Missing { close: Vec::new() },
                [index] => compare(variable, &tensors[*index], allowed),
                many => Outcome::Ambiguous {
                    tensors: many.iter().map(|&index| tensors[index].name.to_string()).collect(),
                },
            }
        };
        let only = |candidates: &&[usize]| match candidates {
            [index] => Some(*index),
            _ => None,
        };
        let sources: Vec<Option<usize>> = found.iter().map(only).collect();
        let outcomes = variables.iter().zip(found).zip(&applied.allowed).map(outcome).collect();
        let unexpected = (0..tensors.len())
            .filter(|&index| !used[index] && !applied.names[index].is_empty())
            .collect();
        let value = |index: usize| {
            let variable: &Variable = variables[index];
            let source = sources[index].map(|source: usize| {
                let TensorEntry { shape, dtype, .. } = &tensors[source];
                (shape, dtype.variable() == Some(variable.dtype))
            });
            (&variable.shape, source)
        };
        let rules = uses(applied, value);
        // What a rule that cannot be applied has begun with is of no account.
        let is_sound = |(_, rule): &&(usize, usize)| rules[*rule].problem.is_none();
        let mut left_out: Vec<_> = applied.left_out.iter().filter(is_sound).copied().collect();
        left_out.sort_unstable();
        Matching { outcomes, sources, unexpected, left_out, rules }
    }
}

/// The tensors that have each name, once rules are applied.
struct ByName<'a, 'names> {
    names: &'a [Names<'names>],
    /// The first tensor that has a name, and which of that tensor's names it is. The name itself is not
    /// here: a table of thousands is then small enough for the processor's cache.
    first: HashTable<(usize, usize)>,
    /// The tensors that share a name; mostly there are none.
    shared: HashMap<&'a str, Vec<usize>>,
    hasher: RandomState,
    /// Every tensor, for a name that only one has.
    all: Vec<usize>,
}

impl<'a, 'names> ByName<'a, 'names> {
    fn new(names: &'a [Names<'names>]) -> ByName<'a, 'names> {
        let mut first = HashTable::with_capacity(names.len());
        let mut shared: HashMap<&str, Vec<usize>> = HashMap::default();
        let hasher = RandomState::default();
        let hash = |&(tensor, which): &(usize, usize)| hasher.hash_one(&*names[tensor][which]);
        for (index, own) in names.iter().enumerate() {
            for (which, name) in own.iter().enumerate() {
                let same = |&(tensor, which): &(usize, usize)| names[tensor][which] == *name;
                match first.entry(hash(&(index, which)), same, hash) {
                    Entry::Vacant(slot) => drop(slot.insert((index, which))),
                    // A pair that is said twice gives a tensor the same name twice.
                    Entry::Occupied(slot) if slot.get().0 == index => {}
                    Entry::Occupied(slot) => {
                        let all = shared.entry(name).or_insert_with(|| vec![slot.get().0]);
                        if all.last() != Some(&index) {
                            all.push(index);
                        }
                    }
                }
            }
        }
        ByName { names, first, shared, hasher, all: (0..names.len()).collect() }
    }

    /// The tensors that have a name; the one at `likely` is looked at first.
    fn find(&self, name: &str, likely: usize) -> &[usize] {
        let here = |names: &Names<'_>| matches!(&names[..], [only] if *only == name);
        let tensor = match self.names.get(likely).is_some_and(here) {
            true => likely,
            false => {
                let same = |&(tensor, which): &(usize, usize)| self.names[tensor][which] == name;
                match self.first.find(self.hasher.hash_one(name), same) {
                    Some(&(tensor, _)) => tensor,
                    None => return &[],
                }
            }
        };
        self.shared.get(name).map_or(&self.all[tensor..=tensor], Vec::as_slice)
    }
}

/// What became of each rule, with how many variables each of those about values concerns. `value` says of
/// a variable its shape and, of the only tensor that may be its value, the shape and whether that has its
/// dtype.
pub(crate) fn uses<'s>(
    applied: &Applied<'_>,
    value: impl Fn(usize) -> (&'s Shape, Option<(&'s Shape, bool)>),
) -> Vec<RuleUse> {
    let mut uses = applied.uses.clone();
    for (at, matched) in &applied.of_values {
        let rule = &uses[*at].rule;
        // One for whatever needs it was not written for what is not there.
        let wherever = rule.glob_of_values() == Some(EVERYTHING);
        let counts = |&&index: &&usize| {
            let (shape, source) = value(index);
            !(wherever && source.is_none())
                && concerns(rule, shape, source, &applied.allowed[index])
        };
        uses[*at].touched = matched.iter().filter(counts).count();
    }
    uses
}

/// Whether a rule about values says something about a variable of this shape that it matches, for
/// which not the very bytes of the file would do. `source` is as in [`uses`].
fn concerns(rule: &Rule, shape: &Shape, source: Option<(&Shape, bool)>, allowed: &Allowed) -> bool {
    if allowed.ignored {
        return false;
    }
    // What is not there may well be of another dtype or shape where it is.
    let Some((saved, same_dtype)) = source else { return true };
    let change = change_of_shape(shape, saved, allowed);
    let made = |is_made: fn(&Change) -> bool| match &change {
        Ok(change) => change.as_ref().is_some_and(is_made),
        Err(()) => shape != saved,
    };
    match rule {
        Rule::Transpose(_) => shape.rank() == 2,
        Rule::Cast(_) => !same_dtype,
        Rule::Reshape(_) => made(|change| matches!(change, Change::Reshaped { .. })),
        Rule::ResizeRows { .. } => made(|change| matches!(change, Change::ResizedRows { .. })),
        _ => true,
    }
}

/// Whether a tensor's value can be a variable's, with the changes that are allowed.
pub(crate) fn compare(variable: &Variable, tensor: &TensorEntry, allowed: &Allowed) -> Outcome {
    let mut changes = Vec::new();
    if tensor.dtype.variable() != Some(variable.dtype) {
        if !allowed.cast || !casts(tensor.dtype, variable.dtype) {
            return Outcome::DTypeMismatch {
                tensor: tensor.name.clone(),
                dtype: tensor.dtype,
                shape: tensor.shape.clone(),
            };
        }
        changes.push(Change::Cast { from: tensor.dtype });
    }
    match change_of_shape(&variable.shape, &tensor.shape, allowed) {
        Ok(change) => {
            changes.extend(change);
            Outcome::Restored { tensor: tensor.name.clone(), changes }
        }
        Err(()) => {
            Outcome::ShapeMismatch { tensor: tensor.name.clone(), shape: tensor.shape.clone() }
        }
    }
}

/// What is done to a value so that it gets a shape: nothing, one of the changes that are allowed, or
/// that none of them does it.
pub(crate) fn change_of_shape(
    shape: &Shape,
    saved: &Shape,
    allowed: &Allowed,
) -> Result<Option<Change>, ()> {
    let from = || saved.clone();
    // A square matrix is transposed too where a rule asks for it: its shape cannot tell.
    if allowed.transpose && transposed(shape, saved) {
        return Ok(Some(Change::Transposed { from: from() }));
    }
    if allowed.transpose && shape.rank() == 2 {
        return Err(());
    }
    if shape == saved {
        return Ok(None);
    }
    if allowed.reshape && shape.checked_elements() == saved.checked_elements() {
        return Ok(Some(Change::Reshaped { from: from() }));
    }
    match (allowed.resize_rows, shape.split_first(), saved.split_first()) {
        (Some(seed), Some((_, row)), Some((&rows, file_row))) if row == file_row => {
            Ok(Some(Change::ResizedRows { from: rows, seed }))
        }
        _ => Err(()),
    }
}

pub(crate) fn transposed(a: &Shape, b: &Shape) -> bool {
    matches!((&a[..], &b[..]), ([m, n], [p, q]) if (m, n) == (q, p))
}

/// Whether a restore can cast elements of a file to those of a variable.
pub(crate) fn casts(from: FileDType, to: DType) -> bool {
    from.source().is_some_and(|from| from.casts_to(to))
}
