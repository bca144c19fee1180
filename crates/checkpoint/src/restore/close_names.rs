//! Names that are close to a missing variable's.

use crate::restore::rules::{SEPARATORS, without_output};
use crate::tensor::TensorEntry;
use warmstart_graph::Variable;

/// Looks for names that are close to a variable's, within a budget: a file with a million long
/// names must not make an error message take minutes.
pub(crate) struct CloseNames<'a> {
    among: &'a [&'a TensorEntry],
    budget: usize,
}

impl<'a> CloseNames<'a> {
    /// Pairs of characters to compare, over all variables.
    const BUDGET: usize = 20_000_000;
    /// Below this, names have little in common.
    const SIMILAR: f64 = 0.6;

    pub fn among(tensors: &'a [&'a TensorEntry]) -> CloseNames<'a> {
        CloseNames { among: tensors, budget: CloseNames::BUDGET }
    }

    /// Up to three names: those of tensors of the variable's shape first, then the closest.
    pub fn find(&mut self, variable: &Variable) -> Vec<String> {
        let mut close = Vec::new();
        for tensor in self.among {
            let cost = variable.name.len().saturating_mul(tensor.name.len());
            if cost > self.budget {
                break;
            }
            self.budget -= cost;
            let similarity = strsim::normalized_levenshtein(&variable.name, &tensor.name);
            let within = || {
                is_within(&variable.name, &tensor.name) || is_within(&tensor.name, &variable.name)
            };
            if similarity >= CloseNames::SIMILAR || within() {
                close.push((tensor.shape == variable.shape, similarity, &tensor.name));
            }
        }
        close.sort_by(|a, b| b.0.cmp(&a.0).then(b.1.total_cmp(&a.1)));
        close.into_iter().take(3).map(|(_, _, name)| name.to_string()).collect()
    }
}

/// Whether a name is the other one in a scope.
pub(crate) fn is_within(name: &str, other: &str) -> bool {
    let scope = without_output(name).strip_suffix(without_output(other));
    scope.is_some_and(|scope| scope.ends_with(SEPARATORS))
}
