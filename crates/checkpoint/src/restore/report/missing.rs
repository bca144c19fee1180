//! What a [`RestoreReport`] says of values that the checkpoint does not have: what allows that, and
//! what it means where optimizers differ.

use crate::printable::{first_quoted, printable};
use crate::restore::matching::Outcome;
use crate::restore::report::{RestoreReport, VariableOutcome};
use crate::restore::slots::{UNNAMED, canonical};
use crate::restore::suggestion::{Allowance, Suggestion};
use crate::restore::wording::{SHOWN, Wording};
use std::collections::BTreeSet;
use warmstart_graph::words::first_few;
use warmstart_graph::{GLOBAL_STEP, Role, Variable};

impl RestoreReport {
    /// Whether nothing is missing but what may be.
    pub(crate) fn lets_values_be_missing(&self) -> bool {
        self.allow_missing || self.missing().next().is_none()
    }

    /// What allows values to be missing, and what becomes of them then; and all that is allowed by it.
    pub(super) fn help_with_missing(
        &self,
        words: &dyn Wording,
    ) -> Option<(String, Vec<Allowance>)> {
        let missing: Vec<&Variable> = self.missing().collect();
        // Slots of what is missing are told by themselves.
        let alone = if self.allow_slots_alone { 0 } else { self.slots_alone().count() };
        let restored = self.restored().count() - alone;
        if missing.is_empty() || self.allow_missing || restored == 0 {
            return None;
        }
        // Without weights, the others are no restore; and what is of another dtype may not be left.
        let dtypes = |v: &VariableOutcome| matches!(v.outcome, Outcome::DTypeMismatch { .. });
        if self.only_counters().is_some() || self.variables.iter().any(dtypes) {
            return None;
        }
        let optimizer = |role: &Role| match role {
            Role::Slot { optimizer, .. } => Some(optimizer.clone()),
            _ => None,
        };
        let wanted: BTreeSet<String> = missing.iter().filter_map(|v| optimizer(&v.role)).collect();
        let left: BTreeSet<String> = self
            .unexpected
            .iter()
            .filter_map(|t| optimizer(&self.saved.get(&t.name)?.role))
            .collect();
        let (missing_allowed, fill) = (words.allow(&[Allowance::Missing])?, words.fill());
        // Steps are counted only where there is an optimizer.
        let slot = |v: &&Variable| matches!(v.role, Role::Slot { .. }) || v.name == GLOBAL_STEP;
        if wanted.is_empty() || !missing.iter().all(slot) {
            // What rules mend need not be missing.
            let mended = |suggestion: &Suggestion| suggestion.restores == suggestion.of;
            if self.suggestions.iter().any(mended) {
                return None;
            }
            let others = match restored {
                1 => "one other variable".to_owned(),
                n => format!("the other {n} variables"),
            };
            let then = fill.map_or_else(String::new, |fill| {
                format!("; then {fill} fills those without a value")
            });
            // One alone would not do.
            let mut allowed = vec![Allowance::Missing];
            if self.mismatched().next().is_some() && !self.allow_mismatched_shape {
                allowed.push(Allowance::MismatchedShape);
            }
            let mut and = "";
            if self.asks_to_leave_tensors() {
                allowed.push(Allowance::Unexpected);
                and = " and leaves the unexpected tensors in the file";
            }
            let allow = words.allow(&allowed)?;
            return Some((format!("`{allow}` restores {others}{and}{then}"), allowed));
        }
        let join =
            |names: BTreeSet<String>| printable(&first_few(names.iter(), SHOWN)).into_owned();
        // One subject or two.
        let (then, s) = match fill.filter(|_| words.asks_to_fill()) {
            Some(fill) => (format!(" and then {fill}"), ""),
            None => (String::new(), "s"),
        };
        if let Some(told) = self.told_of_what_begins(&missing) {
            let mut allowed = vec![Allowance::Missing];
            allowed.extend(self.asks_to_leave_tensors().then_some(Allowance::Unexpected));
            let allow = words.allow(&allowed)?;
            let help = format!("{told}: `{allow}`{then} say{s} that this is meant");
            return Some((help, allowed));
        }
        if left.is_empty() {
            let help = format!(
                "the checkpoint holds weights without the slots of {}, and training would restart \
                 its moments: `{missing_allowed}`{then} say{s} that this is meant",
                join(wanted)
            );
            return Some((help, vec![Allowance::Missing]));
        }
        let allowed = vec![Allowance::Missing, Allowance::Unexpected];
        let both = words.allow(&allowed)?;
        let some = self.variables.iter().any(|v| {
            matches!(v.outcome, Outcome::Restored { .. })
                && optimizer(&v.variable.role).is_some_and(|name| wanted.contains(&name))
        });
        if some {
            let names: Vec<&String> = missing.iter().map(|variable| &variable.name).collect();
            let help = format!(
                "a part of the slots of {} is restored: `{both}`{then} begin{s} the others anew \
                 beside them ({}); a count of steps then begins at 0, and Adam takes its averages \
                 for new ones",
                join(wanted),
                first_quoted(&names, SHOWN)
            );
            return Some((help, allowed));
        }
        let kinds = |names: &BTreeSet<String>| -> BTreeSet<String> {
            names.iter().map(|name| canonical(name, "").0).collect()
        };
        let trained = if let Some(kept_by) = self.only_numbered_slots() {
            let kept_by = kept_by.map_or_else(String::new, |kept_by| format!(" (of {kept_by})"));
            format!(
                "has the state of a PyTorch optimizer{kept_by}, which numbers its parameters, so that \
                 no name says whose it is, and this graph trains with {}",
                join(wanted)
            )
        } else if kinds(&left) == kinds(&wanted) {
            format!("has slots of {} under other names than this graph", join(left))
        } else {
            // PyTorch's do not say of which optimizer they are.
            let left: BTreeSet<String> =
                left.into_iter().filter(|name| canonical(name, "").0 != UNNAMED).collect();
            let with = if left.is_empty() { "another optimizer".to_owned() } else { join(left) };
            format!("was trained with {with}, and this graph trains with {}", join(wanted))
        };
        let help = format!(
            "the checkpoint {trained}: `{both}`{then} begin{s} with the restored weights and fresh \
             slots"
        );
        Some((help, allowed))
    }
}
