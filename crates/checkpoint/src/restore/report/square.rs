//! What a [`RestoreReport`] says of square matrices that come from PyTorch by their names and are taken
//! as they lie: no shape tells which way that is.

use crate::printable::printable;
use crate::restore::infer::{glob_of, is_table};
use crate::restore::matching::{Change, Outcome};
use crate::restore::report::{RestoreReport, VariableOutcome};
use crate::restore::rules::Rule;
use crate::restore::wording::Wording;
use std::collections::HashSet;
use warmstart_graph::{Role, Variable};

impl RestoreReport {
    /// That such matrices may have to be transposed, where no other matrix shows which way they lie.
    pub(crate) fn note_of_square_matrices(&self, words: &dyn Wording) -> Option<String> {
        let as_they_lie = |v: &&VariableOutcome| match &v.outcome {
            Outcome::Restored { changes, .. } => {
                let is_another = |change: &Change| !matches!(change, Change::Cast { .. });
                v.variable.shape.rank() == 2 && !changes.iter().any(is_another)
            }
            _ => false,
        };
        let is_square = |v: &VariableOutcome| v.variable.shape[0] == v.variable.shape[1];
        let matrices = || self.variables.iter().filter(as_they_lie);
        let weights = || matrices().filter(|v| !matches!(v.variable.role, Role::Slot { .. }));
        // Tables of rows lie the same way everywhere.
        let is_table = |v: &VariableOutcome| is_table(&v.variable.name, v.outcome.tensor());
        let shows_it = |v: &VariableOutcome| !is_square(v) && !is_table(v);
        let named: Vec<(&Variable, &str)> = weights()
            .filter(|v| is_square(v) && !is_table(v))
            .filter_map(|v| Some((&*v.variable, self.name_of_pytorch(v)?)))
            .collect();
        let (variable, tensor) = *named.first()?;
        if weights().any(shows_it) {
            return None;
        }
        let names: HashSet<&str> =
            named.iter().map(|(variable, _)| variable.name.as_str()).collect();
        let (wanted, mut spared): (Vec<&Variable>, Vec<&Variable>) =
            matrices().map(|v| &*v.variable).partition(|variable| match &variable.role {
                Role::Slot { variable: Some(owner), .. } => names.contains(owner.as_str()),
                _ => names.contains(variable.name.as_str()),
            });
        // What a rule reshapes or resizes would fit no more if it were transposed.
        let is_fixed = |v: &&VariableOutcome| match &v.outcome {
            Outcome::Restored { changes, .. } => changes.iter().any(|change| {
                matches!(change, Change::Reshaped { .. } | Change::ResizedRows { .. })
            }),
            _ => false,
        };
        spared.extend(self.variables.iter().filter(is_fixed).map(|v| &*v.variable));
        let rule = glob_of(&wanted, &spared).and_then(|glob| words.rule(&Rule::Transpose(glob)));
        let (name, tensor) = (printable(&variable.name), printable(tensor));
        let (told, they) = match named.len() - 1 {
            0 => (
                format!(
                    "`{name}` is square, comes from `{tensor}` and is taken as it lies: its shape cannot \
                     tell whether it is transposed"
                ),
                "it has",
            ),
            n => (
                format!(
                    "`{name}` and {n} more are square, come from names such as `{tensor}` and are taken as \
                     they lie: their shapes cannot tell whether they are transposed"
                ),
                "they have",
            ),
        };
        let add = match rule {
            Some(rule) => format!("add `{rule}`"),
            None => format!("{they} to be transposed"),
        };
        Some(format!(
            "{told}. PyTorch has `[out, in]` where most models here have `[in, out]`: if the values come \
             from there, {add}"
        ))
    }

    /// The name of a variable's tensor, if PyTorch gives such names, the variable's is none of them, and
    /// the file none of ours.
    fn name_of_pytorch<'a>(&self, v: &'a VariableOutcome) -> Option<&'a str> {
        let Outcome::Restored { tensor, .. } = &v.outcome else { return None };
        let ours = || self.saved.get(tensor).is_some_and(|saved| saved.initializer.is_some());
        let named = tensor.ends_with(".weight") && !tensor.contains('/');
        (named && !v.variable.name.contains('.') && !ours()).then_some(tensor)
    }
}
