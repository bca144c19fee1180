//! What a [`RestoreReport`] says where nothing would be restored.

use crate::printable::printable;
use crate::restore::infer::Suggestion;
use crate::restore::matching::Outcome;
use crate::restore::report::shapes::extents;
use crate::restore::report::{RestoreReport, VariableOutcome};
use crate::restore::rules::Rule;
use crate::restore::wording::Wording;
use std::collections::HashMap;
use warmstart_graph::{GLOBAL_STEP, Role, Variable};

impl RestoreReport {
    /// Whether a value of another shape or dtype is what nobody has allowed.
    pub(crate) fn refuses_mismatches(&self) -> bool {
        let dtypes = |v: &VariableOutcome| matches!(v.outcome, Outcome::DTypeMismatch { .. });
        self.variables.iter().any(dtypes)
            || (self.mismatched().next().is_some() && !self.allow_mismatched_shape)
    }

    /// Whether nothing would be restored, and nothing else says why not.
    pub(crate) fn lets_nothing_be_restored(&self) -> bool {
        self.has_nothing()
            && self.lets_values_be_missing()
            && !self.refuses_mismatches()
            && self.ambiguous().next().is_none()
    }

    /// An assignment map that speaks of scopes without the `/` that they end with.
    pub(crate) fn help_with_maps(&self, words: &dyn Wording) -> Option<String> {
        let is_scope = |name: &str| {
            let within = |v: &VariableOutcome| {
                v.variable.name.strip_prefix(name).is_some_and(|rest| rest.starts_with('/'))
            };
            !name.is_empty() && !name.ends_with('/') && self.variables.iter().any(within)
        };
        let ended = |name: &str| format!("{}/", name.trim_end_matches('/'));
        self.rules.iter().filter(|used| used.touched == 0).find_map(|used| {
            let Rule::AssignmentMap(pairs) = &used.rule else { return None };
            if !pairs.iter().any(|(_, to)| is_scope(to)) {
                return None;
            }
            let pair = |(from, to): &(String, String)| match is_scope(to) {
                true => (ended(from), ended(to)),
                false => (from.clone(), to.clone()),
            };
            let map = words.rule(&Rule::AssignmentMap(pairs.iter().map(pair).collect()))?;
            Some(format!("a scope ends with `/` in an assignment map: `{map}`"))
        })
    }

    /// What to do where nothing fits, and no name is like another.
    pub(crate) fn help_with_strangers(&self, words: &dyn Wording) -> Option<String> {
        let writable = |suggestion: &Suggestion| {
            suggestion.rules.iter().all(|rule| words.rule(rule).is_some())
        };
        let counters = self.only_counters().is_some();
        let told = |v: &VariableOutcome| match &v.outcome {
            Outcome::Missing { close } => !close.is_empty(),
            Outcome::Restored { .. } => !counters,
            Outcome::Ignored => false,
            _ => true,
        };
        if (self.allow_missing && !self.lets_nothing_be_restored())
            || self.unexpected.is_empty()
            || self.missing().next().is_none()
            || self.suggestions.iter().any(writable)
            || self.variables.iter().any(told)
        {
            return None;
        }
        // The first of each shape, and of each up to extents of 1 and their order.
        let (mut same, mut turned) = (HashMap::new(), HashMap::new());
        for tensor in &self.unexpected {
            same.entry((&tensor.shape, tensor.dtype.variable())).or_insert(tensor);
            turned.entry((extents(&tensor.shape), tensor.dtype.variable())).or_insert(tensor);
        }
        // Counters and slots are no model's.
        let weights = || {
            let weight =
                |v: &&Variable| !matches!(v.role, Role::Slot { .. }) && v.name != GLOBAL_STEP;
            self.missing().filter(weight)
        };
        let pair = weights()
            .find_map(|v| Some((v, *same.get(&(&v.shape, Some(v.dtype)))?)))
            .or_else(|| {
                weights().find_map(|v| Some((v, *turned.get(&(extents(&v.shape), Some(v.dtype)))?)))
            });
        let Some((variable, tensor)) = pair else {
            return Some(
                "no tensor has the shape and dtype of a weight: this checkpoint is of another model, or of \
                 one of another size"
                    .to_owned(),
            );
        };
        let rule = Rule::Rename { from: tensor.name.clone(), to: variable.name.clone() };
        let rule = words.rule(&rule)?;
        let (from, to) = (printable(&tensor.name), printable(&variable.name));
        Some(format!(
            "no name is like another, and nothing says which tensor is meant for which variable: `{rule}` \
             takes `{from}` {} for `{to}` {}, if that is meant",
            tensor.shape, variable.shape
        ))
    }
}
