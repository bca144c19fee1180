//! What a [`RestoreReport`] says of optimizer slots whose variables are not restored: those would
//! begin anew, and train on with the averages of others.

use crate::globs::Glob;
use crate::matching::Outcome;
use crate::report::{RestoreReport, VariableOutcome};
use crate::report_advice::SHOWN;
use crate::report_text::slot_groups;
use crate::rules::{EVERYTHING, Rule, SEPARATORS};
use crate::wording::{Allowance, Wording};
use std::collections::{BTreeSet, HashSet};
use warmstart_graph::{Role, Variable};

impl RestoreReport {
    /// Which slots these are, if they may not be.
    pub(crate) fn told_of_slots_alone(&self) -> Option<String> {
        let groups = slot_groups(self.slots_alone().filter(|_| !self.allow_slots_alone));
        let told =
            format!("{} would be restored, though what they belong to is not", groups.join("; "));
        (!groups.is_empty()).then_some(told)
    }

    /// Whether the variables that get no value may get none.
    pub(crate) fn lets_owners_be(&self) -> bool {
        self.lets_values_be_missing()
            && !self.has_other_dtypes()
            && self.ambiguous().next().is_none()
            && (self.allow_mismatched_shape || self.mismatched().next().is_none())
    }

    /// What a cast would mend.
    fn has_other_dtypes(&self) -> bool {
        let other = |v: &VariableOutcome| matches!(v.outcome, Outcome::DTypeMismatch { .. });
        self.variables.iter().any(other)
    }

    /// How such slots are left out, or are not.
    pub(crate) fn help_with_slots_alone(&self, words: &dyn Wording) -> Option<String> {
        let told = self.told_of_slots_alone()?;
        let is_error = self.lets_owners_be();
        // What a suggestion or a cast restores may be just what they belong to.
        let may_be_mended = !self.suggestions.is_empty() || self.has_other_dtypes();
        if self.only_counters().is_some() || (may_be_mended && !is_error) {
            return None;
        }
        let rule = self.rule_for_slots_alone().and_then(|rule| words.rule(&rule));
        let rule = rule.map(|rule| {
            let them = if is_error { "these slots" } else { "them" };
            format!(
                "`{rule}` leaves {them} out, too, so that they begin anew with what they belong to"
            )
        });
        let allow = words.allow(&[Allowance::SlotsAlone]);
        let allow = allow
            .map(|allow| format!("`{allow}` restores them beside values that are from elsewhere"));
        let ways: Vec<String> = [rule, allow].into_iter().flatten().collect();
        let ways = Some(ways.join("; ")).filter(|ways| !ways.is_empty())?;
        Some(if is_error { ways } else { format!("{told}: {ways}") })
    }

    /// A rule that leaves out these slots, and nothing else that takes part.
    fn rule_for_slots_alone(&self) -> Option<Rule> {
        let slots: Vec<&str> = self.slots_alone().map(|slot| slot.name.as_str()).collect();
        let owner = |slot: &'_ Variable| match &slot.role {
            Role::Slot { variable, .. } => variable.clone(),
            _ => None,
        };
        let owners: BTreeSet<String> = self.slots_alone().filter_map(owner).collect();
        let owners: Vec<&str> = owners.iter().map(String::as_str).collect();
        let names: HashSet<&str> = slots.iter().copied().collect();
        let others: Vec<&str> = self
            .variables
            .iter()
            .filter(|v| v.outcome != Outcome::Ignored)
            .map(|v| v.variable.name.as_str())
            .filter(|name| !names.contains(name))
            .collect();
        let of_scope = common_scope(&owners)
            .map(|(scope, separator)| format!("{}{separator}{EVERYTHING}", Glob::escape(scope)));
        let of_owners = || {
            let separator = owners.first()?.chars().find(|c| SEPARATORS.contains(c));
            let separator = separator.unwrap_or(SEPARATORS[0]);
            Some(format!("{}{separator}{EVERYTHING}", one_of(&owners)))
        };
        let of_owners = (owners.len() <= SHOWN).then(of_owners).flatten();
        let of_slots = (slots.len() <= 2 * SHOWN).then(|| one_of(&slots));
        let fits = |text: &String| {
            Glob::new(text).is_ok_and(|glob| {
                slots.iter().all(|name| glob.is_match(name))
                    && !others.iter().any(|name| glob.is_match(name))
            })
        };
        [of_scope, of_owners, of_slots].into_iter().flatten().find(fits).map(Rule::Ignore)
    }
}

/// The glob of these names.
fn one_of(names: &[&str]) -> String {
    let escaped: Vec<String> = names.iter().map(|name| Glob::escape(name)).collect();
    match escaped.as_slice() {
        [one] => one.clone(),
        many => format!("{{{}}}", many.join(",")),
    }
}

/// The innermost scope that all of these names are in, and the separator behind it.
fn common_scope<'a>(names: &[&'a str]) -> Option<(&'a str, char)> {
    let first = *names.first()?;
    let separators = first.char_indices().filter(|(_, c)| SEPARATORS.contains(c));
    let common = separators
        .take_while(|(at, _)| names.iter().all(|name| name.starts_with(&first[..at + 1])));
    common.last().map(|(at, separator)| (&first[..at], separator))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scope_that_names_have_in_common() {
        assert_eq!(common_scope(&["a/b/w", "a/b/c/w"]), Some(("a/b", '/')));
        assert_eq!(common_scope(&["a.b.w"]), Some(("a.b", '.')));
        assert_eq!(common_scope(&["ab/w", "a/w"]), None);
        assert_eq!(common_scope(&["w"]), None);
        assert_eq!(common_scope(&[]), None);
    }
}
