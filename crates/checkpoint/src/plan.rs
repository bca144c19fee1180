//! Matching the tensors of a checkpoint with variables. No weight is read here.

use crate::file::OpenFile;
use crate::report::{Outcome, RestoreReport, VariableOutcome};
use crate::tensor::TensorEntry;
use std::collections::HashSet;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use warmstart_graph::Variable;

/// Under which rules a checkpoint may differ from the variables. By default it may not: every
/// variable needs a tensor, and every tensor a variable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RestoreOptions {
    allow_missing: bool,
    allow_unexpected: bool,
    skip_checksums: bool,
}

impl RestoreOptions {
    /// Strict both ways.
    pub fn new() -> RestoreOptions {
        RestoreOptions::default()
    }

    /// Variables that the checkpoint does not hold keep what they have. Those that have nothing
    /// stay uninitialized, and remember which file did not hold them.
    pub fn allow_missing(mut self) -> RestoreOptions {
        self.allow_missing = true;
        self
    }

    /// Tensors that belong to no variable stay in the file.
    pub fn allow_unexpected(mut self) -> RestoreOptions {
        self.allow_unexpected = true;
        self
    }

    /// Weights are not held against the checksums they were saved with: for measuring what that
    /// costs, and for getting what can be got out of a damaged file.
    pub fn skip_checksums(mut self) -> RestoreOptions {
        self.skip_checksums = true;
        self
    }
}

/// A checkpoint matched with variables: what [`RestorePlan::restore`] will do. Prints as its
/// [`RestoreReport`], whose methods it has.
#[derive(Clone, Debug)]
pub struct RestorePlan {
    pub(crate) file: Arc<OpenFile>,
    pub(crate) report: RestoreReport,
    pub(crate) skip_checksums: bool,
}

impl RestorePlan {
    pub(crate) fn new<'a>(
        file: &Arc<OpenFile>,
        damaged: Vec<String>,
        variables: impl Iterator<Item = &'a Variable>,
        options: &RestoreOptions,
    ) -> RestorePlan {
        let variables: Vec<&Variable> = variables.collect();
        let found = find(file, &variables);
        let used: HashSet<&str> = found.iter().flatten().map(|t| t.name.as_str()).collect();
        let unexpected: Vec<&TensorEntry> =
            file.tensors.iter().filter(|t| !used.contains(t.name.as_str())).collect();
        let mut search = CloseNames { among: &unexpected, budget: CloseNames::BUDGET };
        let outcomes = variables.iter().zip(found).map(|(&variable, tensor)| VariableOutcome {
            variable: variable.clone(),
            outcome: match tensor {
                None => Outcome::Missing { close: search.find(variable) },
                Some(tensor) => compare(variable, tensor),
            },
        });
        let report = RestoreReport {
            file: file.path.clone(),
            step: file.metadata.step(),
            variables: outcomes.collect(),
            unexpected: unexpected.iter().copied().cloned().collect(),
            allow_missing: options.allow_missing,
            allow_unexpected: options.allow_unexpected,
            damaged,
        };
        RestorePlan { file: file.clone(), report, skip_checksums: options.skip_checksums }
    }

    /// Every variable with its outcome, as a value of its own.
    pub fn report(&self) -> &RestoreReport {
        &self.report
    }
}

impl Deref for RestorePlan {
    type Target = RestoreReport;
    fn deref(&self) -> &RestoreReport {
        &self.report
    }
}

impl fmt::Display for RestorePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.report.fmt(f)
    }
}

/// The tensor of each variable: that of the same name, or else one whose name differs only by the
/// `:0` that TensorFlow adds to the first output of an operation.
fn find<'f>(file: &'f OpenFile, variables: &[&Variable]) -> Vec<Option<&'f TensorEntry>> {
    let mut found: Vec<_> = variables.iter().map(|v| file.tensor(&v.name)).collect();
    let mut used: HashSet<&str> = found.iter().flatten().map(|t| t.name.as_str()).collect();
    for (variable, found) in variables.iter().zip(&mut found).filter(|(_, found)| found.is_none()) {
        let other = match variable.name.strip_suffix(":0") {
            Some(stripped) => file.tensor(stripped),
            None => file.tensor(&format!("{}:0", variable.name)),
        };
        *found = other.filter(|tensor| used.insert(&tensor.name));
    }
    found
}

fn compare(variable: &Variable, tensor: &TensorEntry) -> Outcome {
    let TensorEntry { name, dtype, shape, .. } = tensor;
    if dtype.variable() != Some(variable.dtype) {
        let (tensor, shape) = (name.clone(), shape.clone());
        Outcome::DTypeMismatch { tensor, dtype: *dtype, shape }
    } else if *shape != variable.shape {
        Outcome::ShapeMismatch { tensor: name.clone(), shape: shape.clone() }
    } else {
        Outcome::Restored { tensor: name.clone() }
    }
}

/// Looks for names that are close to a variable's, within a budget: a file with a million long
/// names must not make an error message take minutes.
struct CloseNames<'a> {
    among: &'a [&'a TensorEntry],
    budget: usize,
}

impl CloseNames<'_> {
    /// Pairs of characters to compare, over all variables.
    const BUDGET: usize = 20_000_000;
    /// Below this, names have little in common.
    const SIMILAR: f64 = 0.6;

    fn find(&mut self, variable: &Variable) -> Vec<String> {
        let mut close = Vec::new();
        for tensor in self.among {
            let cost = variable.name.len().saturating_mul(tensor.name.len());
            if cost > self.budget {
                break;
            }
            self.budget -= cost;
            let similarity = strsim::normalized_levenshtein(&variable.name, &tensor.name);
            if similarity >= CloseNames::SIMILAR {
                close.push((tensor.shape == variable.shape, similarity, &tensor.name));
            }
        }
        close.sort_by(|a, b| b.0.cmp(&a.0).then(b.1.total_cmp(&a.1)));
        close.into_iter().take(3).map(|(_, _, name)| name.clone()).collect()
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
