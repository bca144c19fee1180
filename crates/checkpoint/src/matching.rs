//! Which tensor each variable gets its value from, and what has to change about it. No weight is
//! read here, and no text is made.

use crate::rules::{Allowed, Rule, RuleUse, apply, other_output};
use crate::tensor::{FileDType, TensorEntry};
use foldhash::HashMap;
use smallvec::SmallVec;
use warmstart_graph::{DType, Shape, Variable};

/// What a checkpoint has for one variable.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// Its value.
    Restored {
        /// The tensor's name in the file.
        tensor: String,
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
        tensor: String,
        /// Its shape in the file.
        shape: Shape,
    },
    /// A value of another dtype, and perhaps another shape.
    DTypeMismatch {
        /// The tensor's name in the file.
        tensor: String,
        /// Its dtype in the file.
        dtype: FileDType,
        /// Its shape in the file.
        shape: Shape,
    },
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
    /// What became of each rule.
    pub rules: Vec<RuleUse>,
}

impl Matching {
    pub fn new(tensors: &[TensorEntry], variables: &[&Variable], rules: &[Rule]) -> Matching {
        let applied = apply(rules, tensors.iter().map(|t| t.name.as_str()), variables);
        let mut by_name: HashMap<&str, SmallVec<[usize; 1]>> = HashMap::default();
        by_name.reserve(tensors.len());
        for (index, names) in applied.names.iter().enumerate() {
            for name in names {
                let candidates = by_name.entry(name).or_default();
                if candidates.last() != Some(&index) {
                    candidates.push(index);
                }
            }
        }
        let mut used = vec![false; tensors.len()];
        let mut found: Vec<&[usize]> = variables
            .iter()
            .map(|variable| by_name.get(variable.name.as_str()).map_or(&[][..], SmallVec::as_slice))
            .collect();
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
            let other = by_name.get(&*other_output(&variable.name));
            if let Some(candidates) = other.filter(|c| c.iter().all(|&index| !used[index])) {
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
                    tensors: many.iter().map(|&index| tensors[index].name.clone()).collect(),
                },
            }
        };
        let only = |candidates: &&[usize]| match candidates {
            [index] => Some(*index),
            _ => None,
        };
        let sources = found.iter().map(only).collect();
        let outcomes = variables.iter().zip(found).zip(&applied.allowed).map(outcome).collect();
        let unexpected = (0..tensors.len())
            .filter(|&index| !used[index] && !applied.names[index].is_empty())
            .collect();
        let mut matching = Matching { outcomes, sources, unexpected, rules: applied.uses };
        for (rule, matched) in applied.of_values {
            let concerned = |&index: &usize| {
                matching.concerns(&matching.rules[rule].rule, index, variables[index], tensors)
            };
            matching.rules[rule].touched = matched.iter().filter(|index| concerned(index)).count();
        }
        matching
    }

    /// Whether a rule about values says something about a variable that it matches, for which not
    /// the very bytes of the file would do.
    fn concerns(
        &self,
        rule: &Rule,
        index: usize,
        variable: &Variable,
        tensors: &[TensorEntry],
    ) -> bool {
        let outcome = &self.outcomes[index];
        if matches!(outcome, Outcome::Ignored) {
            return false;
        }
        // What is not there may well be of another dtype or shape where it is.
        let Some(tensor) = self.sources[index].map(|source| &tensors[source]) else { return true };
        let made = |is_made: fn(&Change) -> bool| match outcome {
            Outcome::Restored { changes, .. } => changes.iter().any(is_made),
            _ => tensor.shape != variable.shape,
        };
        match rule {
            Rule::Transpose(_) => variable.shape.rank() == 2,
            Rule::Cast(_) => tensor.dtype.variable() != Some(variable.dtype),
            Rule::Reshape(_) => made(|change| matches!(change, Change::Reshaped { .. })),
            Rule::ResizeRows { .. } => made(|change| matches!(change, Change::ResizedRows { .. })),
            _ => true,
        }
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
    match change_of_shape(variable, tensor, allowed) {
        Ok(change) => {
            changes.extend(change);
            Outcome::Restored { tensor: tensor.name.clone(), changes }
        }
        Err(()) => {
            Outcome::ShapeMismatch { tensor: tensor.name.clone(), shape: tensor.shape.clone() }
        }
    }
}

fn change_of_shape(
    variable: &Variable,
    tensor: &TensorEntry,
    allowed: &Allowed,
) -> Result<Option<Change>, ()> {
    let from = || tensor.shape.clone();
    // A square matrix is transposed too where a rule asks for it: its shape cannot tell.
    if allowed.transpose && transposed(&variable.shape, &tensor.shape) {
        return Ok(Some(Change::Transposed { from: from() }));
    }
    if allowed.transpose && variable.shape.rank() == 2 {
        return Err(());
    }
    if variable.shape == tensor.shape {
        return Ok(None);
    }
    if allowed.reshape && variable.shape.checked_elements() == tensor.shape.checked_elements() {
        return Ok(Some(Change::Reshaped { from: from() }));
    }
    match (allowed.resize_rows, variable.shape.split_first(), tensor.shape.split_first()) {
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
