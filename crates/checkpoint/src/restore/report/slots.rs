//! What a [`RestoreReport`] says of optimizer slots whose variables are not restored: those would
//! begin anew, and train on with the averages of others.

use crate::printable::printable;
use crate::restore::matching::{Change, Outcome};
use crate::restore::report::text::slot_groups;
use crate::restore::report::{RestoreReport, VariableOutcome};
use crate::restore::rules::{EVERYTHING, Rule, SEPARATORS};
use crate::restore::slots::{numbered_in, pytorch_optimizer};
use crate::restore::suggestion::Allowance;
use crate::restore::wording::{SHOWN, Wording, one_of};
use std::collections::{BTreeSet, HashSet};
use warmstart_graph::words::first_few;
use warmstart_graph::{Accumulation, Glob, Role, Variable};

impl RestoreReport {
    /// Which slots these are, if they may not be.
    pub(crate) fn told_of_slots_alone(&self) -> Option<String> {
        let groups = slot_groups(self.slots_alone().filter(|_| !self.allow_slots_alone))?;
        Some(format!("{groups} would be restored, though what they belong to is not"))
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

    /// Whether a suggestion or a cast may restore just what slots lack.
    pub(crate) fn may_be_mended(&self) -> bool {
        !self.suggestions.is_empty() || self.has_other_dtypes()
    }

    /// Whether all slots that are left are of parameters that have only numbers, and by whom such are kept.
    pub(crate) fn only_numbered_slots(&self) -> Option<Option<&'static str>> {
        let slots =
            self.unexpected.iter().filter_map(|tensor| match &self.saved.get(&tensor.name)?.role {
                Role::Slot { variable, slot, .. } => Some((variable.as_deref(), slot.as_str())),
                _ => None,
            });
        let numbered = |(owner, slot): (Option<&str>, &str)| {
            owner.is_some_and(|owner| numbered_in(owner, slot).is_some())
        };
        let all = slots.clone().next().is_some() && slots.clone().all(numbered);
        all.then(|| pytorch_optimizer(slots.map(|(_, slot)| slot)))
    }

    /// How such slots are left out, or are not.
    pub(crate) fn help_with_slots_alone(&self, words: &dyn Wording) -> Option<String> {
        let told = self.told_of_slots_alone()?;
        let is_error = self.lets_owners_be();
        if self.only_counters().is_some() || (self.may_be_mended() && !is_error) {
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

    /// Slots, or rows of them, that begin anew while the count of updates goes on, by which Adam takes them
    /// for old ones.
    pub(crate) fn notes_of_slots_anew(&self, words: &dyn Wording) -> Vec<String> {
        let has_new_rows = |v: &&VariableOutcome| {
            let rows = v.variable.shape.first();
            let adds = |change: &Change| match change {
                Change::ResizedRows { from, .. } => rows.is_some_and(|rows| rows > from),
                _ => false,
            };
            matches!(&v.outcome, Outcome::Restored { changes, .. } if changes.iter().any(adds))
        };
        let counts = self.counts_of_updates().filter(|(_, v)| is_restored(v));
        let notes = counts.flat_map(|(optimizer, count)| {
            let is_gone = |v: &&VariableOutcome| !is_restored(v);
            let gone = slot_groups(self.averages(optimizer).filter(is_gone).map(|v| &*v.variable));
            let rows = self.averages(optimizer).filter(has_new_rows).map(|v| &*v.variable);
            let rows = slot_groups(rows);
            let anew = self.beginning_anew(optimizer, words);
            let count = printable(&count.variable.name);
            let gone = gone.map(|gone| {
                format!(
                    "{gone} are not restored, and `{count}` is: Adam takes them for as old as that, so \
                     that where they begin anew its next updates are several times as long as the \
                     learning rate says{anew}"
                )
            });
            let rows = rows.map(|rows| {
                format!(
                    "{rows} get new rows, and `{count}` is restored: Adam takes these rows for as old as \
                     that, so that their next updates are several times as long as the learning rate \
                     says{anew}"
                )
            });
            [gone, rows].into_iter().flatten().collect::<Vec<_>>()
        });
        notes.collect()
    }

    /// That all moments are there, if there are any, and only what an accumulation of gradients or a scaling of the loss keeps
    /// is missing, which loses nothing where it begins anew.
    pub(crate) fn told_of_what_begins(&self, missing: &[&Variable]) -> Option<String> {
        const SCALING: [&str; 2] = ["loss_scale", "good_steps"];
        let (mut accumulates, mut scales) = (BTreeSet::new(), BTreeSet::new());
        for variable in missing {
            let Role::Slot { variable: owner, optimizer, slot } = &variable.role else {
                return None;
            };
            match (owner, slot.as_str()) {
                (Some(_), Accumulation::SLOT) | (None, Accumulation::COUNT) => {
                    accumulates.insert(optimizer.as_str())
                }
                (None, slot) if SCALING.contains(&slot) => scales.insert(optimizer.as_str()),
                _ => return None,
            };
        }
        // Else moments would restart, or sums lie beside a count that is not theirs.
        let is_as_told = |v: &VariableOutcome| match &v.variable.role {
            Role::Slot { optimizer, slot, .. } => match slot.as_str() {
                Accumulation::SLOT | Accumulation::COUNT => {
                    !accumulates.contains(optimizer.as_str()) || !is_restored(&v)
                }
                slot if SCALING.contains(&slot) => true,
                _ => {
                    let named = [&accumulates, &scales].map(|all| all.contains(optimizer.as_str()));
                    !named.contains(&true) || is_restored(&v)
                }
            },
            _ => true,
        };
        if !self.variables.iter().all(is_as_told) {
            return None;
        }
        let by = |names: BTreeSet<&str>| printable(&first_few(names.iter(), SHOWN)).into_owned();
        let sums = (!accumulates.is_empty()).then(|| {
            format!("the sums and the count of {}'s accumulation begin at 0", by(accumulates))
        });
        let scale = (!scales.is_empty())
            .then(|| format!("the loss scale of {} begins as it is declared", by(scales)));
        let begin: Vec<String> = [sums, scale].into_iter().flatten().collect();
        let begin = begin.join(", and ");
        (!begin.is_empty()).then(|| {
            format!(
                "the checkpoint was saved without what is missing, and has all other slots: {begin}, and \
                 nothing is lost"
            )
        })
    }

    /// Slots that go on while the count of updates begins anew, by which Adam takes them for new ones.
    pub(crate) fn notes_of_counts_anew(&self, words: &dyn Wording) -> Vec<String> {
        let counts = self.counts_of_updates().filter(|(_, v)| !is_restored(v));
        let notes = counts.filter_map(|(optimizer, count)| {
            let kept =
                slot_groups(self.averages(optimizer).filter(is_restored).map(|v| &*v.variable))?;
            Some(format!(
                "{kept} are restored, and `{}` is not: where that begins anew, Adam takes them for new \
                 ones, and its next updates are several times shorter than the learning rate says{}",
                printable(&count.variable.name),
                self.beginning_anew(optimizer, words)
            ))
        });
        notes.collect()
    }

    /// Optimizers that correct averages by how many updates there were, and where each counts them.
    fn counts_of_updates(&self) -> impl Iterator<Item = (&str, &VariableOutcome)> {
        self.variables.iter().filter_map(|v| match &v.variable.role {
            Role::Slot { variable: None, optimizer, slot } if slot == "step" => {
                Some((optimizer.as_str(), v))
            }
            _ => None,
        })
    }

    /// The averages of an optimizer that are corrected. Momentum may begin at any time.
    fn averages(&self, of: &str) -> impl Iterator<Item = &VariableOutcome> {
        self.variables.iter().filter(move |v| match &v.variable.role {
            Role::Slot { variable: Some(_), optimizer, slot } => {
                optimizer == of && matches!(slot.as_str(), "m" | "v")
            }
            _ => false,
        })
    }

    /// How to begin all slots of an optimizer anew, as the end of a sentence.
    fn beginning_anew(&self, of: &str, words: &dyn Wording) -> String {
        // Where gradients are accumulated, schedules follow the count of updates.
        let counts_updates = self.variables.iter().any(|v| match &v.variable.role {
            Role::Slot { variable: None, optimizer, slot } => {
                optimizer == of && slot == Accumulation::COUNT
            }
            _ => false,
        });
        let schedule = if counts_updates { ", and its schedule" } else { "" };
        let rule = self.rule_for_all_slots(of).and_then(|rule| words.rule(&rule));
        rule.map_or_else(String::new, |rule| {
            format!("; `{rule}` begins all slots of {of}{schedule} anew")
        })
    }

    /// A rule that leaves out all slots of an optimizer, and nothing else.
    pub(super) fn rule_for_all_slots(&self, of: &str) -> Option<Rule> {
        let text = format!("{EVERYTHING}/{}/*", Glob::escape(of));
        let glob = Glob::new(&text).ok()?;
        let mut matched = self.variables.iter().map(|v| &*v.variable);
        let is_own = |variable: &Variable| matches!(&variable.role, Role::Slot { optimizer, .. } if optimizer == of);
        let fits = matched.all(|variable| is_own(variable) == glob.is_match(&variable.name));
        fits.then_some(Rule::Ignore(text))
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

fn is_restored(v: &&VariableOutcome) -> bool {
    matches!(v.outcome, Outcome::Restored { .. })
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
