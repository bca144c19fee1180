//! What a checkpoint has for a set of variables, under rules. No weight is read here.

use crate::close_names::CloseNames;
use crate::file::OpenFile;
use crate::infer::{infer, is_pytorch, lacks};
use crate::matching::{Matching, Outcome};
use crate::options::RestoreOptions;
use crate::report::{RestoreReport, VariableOutcome};
use crate::restore::bytes_read;
use crate::saved::SavedVariables;
use crate::tensor::TensorEntry;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use warmstart_graph::Variable;

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
        let Matching { mut outcomes, unexpected, rules } =
            Matching::new(&file.tensors, &variables, &options.rules);
        let unexpected = unexpected.into_iter().map(|index| &file.tensors[index]);
        let (left_out, unexpected): (Vec<&TensorEntry>, Vec<&TensorEntry>) =
            unexpected.partition(|tensor| options.left_out.contains(&tensor.name));
        let mut search = CloseNames::among(&unexpected);
        for (variable, outcome) in variables.iter().zip(&mut outcomes) {
            if let Outcome::Missing { close } = outcome {
                *close = search.find(variable);
            }
        }
        let saved = SavedVariables::new(&file.metadata, &file.tensors);
        let suggestions = match outcomes.iter().any(lacks) {
            true => {
                let (rules, pytorch) = (&options.rules, is_pytorch(file));
                infer(&file.tensors, &variables, rules, &outcomes, saved.all(), pytorch)
            }
            false => Vec::new(),
        };
        let bytes_read = variables.iter().zip(&outcomes).map(|(variable, outcome)| match outcome {
            Outcome::Restored { tensor, changes } => {
                file.tensor(tensor).map_or(0, |tensor| bytes_read(variable, changes, tensor))
            }
            _ => 0,
        });
        let bytes_read = bytes_read.fold(0, u64::saturating_add);
        let variables = variables.into_iter().cloned().zip(outcomes);
        let report = RestoreReport {
            file: file.path.clone(),
            step: file.metadata.step(),
            rules,
            variables: variables
                .map(|(variable, outcome)| VariableOutcome { variable, outcome })
                .collect(),
            bytes_read,
            unexpected: unexpected.into_iter().cloned().collect(),
            suggestions,
            saved,
            allow_missing: options.allow_missing,
            allow_unexpected: options.allow_unexpected,
            allow_mismatched_shape: options.allow_mismatched_shape,
            left_out: left_out.into_iter().map(|tensor| tensor.name.clone()).collect(),
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

#[cfg(test)]
#[path = "counters_tests.rs"]
mod counters_tests;
#[cfg(test)]
#[path = "plan_pytorch_tests.rs"]
mod pytorch_tests;
#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
