//! What a [`RestoreReport`] says of optimizer slots that do not go with the value of their variable: rules
//! gave it another tensor, or turned it, and left its slots where they were. By shape alone such slots fit
//! wherever two variables have the same, and a square matrix always.

use crate::printable::printable;
use crate::restore::matching::{Change, Outcome};
use crate::restore::report::text::slot_groups;
use crate::restore::report::{RestoreReport, VariableOutcome};
use crate::restore::rules::{Rule, without_output as bare};
use crate::restore::suggestion::Allowance;
use crate::restore::wording::{Wording, one_of};
use foldhash::{HashMap, HashSet};
use std::cell::OnceCell;
use warmstart_graph::{Role, Variable};

/// Slots are listed in the rule that mends them if they are at most so many.
const LISTED: usize = 10;

/// A slot, and its variable, and what each of them gets.
struct Pair<'a> {
    slot: &'a Variable,
    owner: &'a Variable,
    /// The tensors of both.
    of_slot: &'a str,
    of_owner: &'a str,
    apart: Apart<'a>,
}

enum Apart<'a> {
    /// The slot is the checkpoint's for this tensor, and its variable gets another one.
    Other(&'a str),
    /// The variable is transposed, and its slot is not.
    OwnerTurned,
    /// The slot is transposed, and its variable is not.
    SlotTurned,
}

impl RestoreReport {
    /// The optimizer slots that get what the checkpoint has for another variable than the one whose value
    /// their own variable gets, or have it in another layout: one of the two is transposed.
    ///
    /// Where a file of another program does not say which slots belong to what, only the latter are found.
    pub fn slots_of_others(&self) -> impl Iterator<Item = &Variable> {
        self.apart().into_iter().map(|pair| pair.slot)
    }

    fn apart(&self) -> Vec<Pair<'_>> {
        // Without rules, a variable and its slots have the names of the file.
        if self.rules.is_empty() {
            return Vec::new();
        }
        let restored = || {
            self.variables.iter().filter_map(
                |VariableOutcome { variable, outcome }| match outcome {
                    Outcome::Restored { tensor, changes } => {
                        Some((&**variable, tensor.as_str(), changes))
                    }
                    _ => None,
                },
            )
        };
        let is_slot = |variable: &Variable| matches!(variable.role, Role::Slot { .. });
        let owners: HashMap<&str, _> = restored()
            .filter(|(variable, ..)| !is_slot(variable))
            .map(|one| (one.0.name.as_str(), one))
            .collect();
        // Looked up only where names do not tell already.
        let names = OnceCell::new();
        let in_file = |owner: &str| {
            let tensors = || self.saved.tensors().iter().map(|tensor| bare(&tensor.name));
            names.get_or_init(|| tensors().collect::<HashSet<&str>>()).contains(bare(owner))
        };
        let pairs = restored().filter_map(|(slot, of_slot, changes)| {
            let Role::Slot { variable: Some(owner), .. } = &slot.role else { return None };
            let &(owner, of_owner, changes_of_owner) = owners.get(owner.as_str())?;
            let apart = if !goes_with((slot, of_slot), (owner, of_owner))
                && let Some(other) = self.owner_in_file(of_slot)
                && bare(other) != bare(of_owner)
                && in_file(other)
            {
                Apart::Other(other)
            } else {
                match [is_turned(changes_of_owner), is_turned(changes)] {
                    // Of all others the shape tells whether they are turned.
                    _ if !matches!(&owner.shape[..], [a, b] if a == b && *a > 1) => return None,
                    [true, false] => Apart::OwnerTurned,
                    [false, true] => Apart::SlotTurned,
                    _ => return None,
                }
            };
            Some(Pair { slot, owner, of_slot, of_owner, apart })
        });
        pairs.collect()
    }

    /// What a slot belongs to in the checkpoint, if it says so.
    fn owner_in_file(&self, slot: &str) -> Option<&str> {
        match &self.saved.get(slot)?.role {
            Role::Slot { variable, .. } => variable.as_deref(),
            _ => None,
        }
    }

    /// Which slots these are, if they may not be, with what the first one and its variable get.
    pub(crate) fn told_of_slots_of_others(&self) -> Option<String> {
        if self.allow_slots_alone { None } else { self.slots_of_others_in_words() }
    }

    fn slots_of_others_in_words(&self) -> Option<String> {
        let pairs = self.apart();
        let Pair { slot, owner, of_slot, of_owner, apart } = pairs.first()?;
        let groups = slot_groups(pairs.iter().map(|pair| pair.slot))?;
        let [slot, owner] = [slot, owner].map(|variable| printable(&variable.name));
        let [of_slot, of_owner] = [of_slot, of_owner].map(|tensor| printable(tensor));
        let how = match apart {
            Apart::Other(other) => format!(
                "`{owner}` gets `{of_owner}`, and `{slot}` gets `{of_slot}`, which goes with `{}`",
                printable(other)
            ),
            Apart::OwnerTurned => format!("`{owner}` is transposed, and `{slot}` is not"),
            Apart::SlotTurned => format!("`{slot}` is transposed, and `{owner}` is not"),
        };
        Some(format!("{groups} would not go with the values of their variables: {how}"))
    }

    /// That they are restored all the same.
    pub(crate) fn note_of_slots_of_others(&self) -> Option<String> {
        self.slots_of_others_in_words().map(|told| format!("{told}; restored all the same"))
    }

    /// How such slots get what goes with their variables, or nothing.
    pub(crate) fn help_with_slots_of_others(&self, words: &dyn Wording) -> Option<String> {
        let told = self.told_of_slots_of_others()?;
        let pairs = self.apart();
        let Pair { slot, apart, .. } = pairs.first()?;
        let few = (pairs.len() <= LISTED).then(|| {
            let names: Vec<&str> = pairs.iter().map(|pair| pair.slot.name.as_str()).collect();
            one_of(&names)
        });
        let mend = match apart {
            Apart::Other(_) => Some(
                "rename slots as what they belong to: a rule that renames a scope moves both"
                    .to_owned(),
            ),
            Apart::OwnerTurned => {
                let rule = few.clone().and_then(|names| words.rule(&Rule::Transpose(names)));
                rule.map(|rule| format!("`{rule}` turns them, too"))
            }
            Apart::SlotTurned => None,
        };
        let all = || match &slot.role {
            Role::Slot { optimizer, .. } => self.rule_for_all_slots(optimizer),
            _ => None,
        };
        let leave = few.map(Rule::Ignore).or_else(all).and_then(|rule| words.rule(&rule));
        let leave = leave.map(|rule| format!("`{rule}` leaves them out, so that they begin anew"));
        let allow = words.allow(&[Allowance::SlotsAlone]);
        let allow = allow.map(|allow| format!("`{allow}` restores them all the same"));
        let ways: Vec<String> = [mend, leave, allow].into_iter().flatten().collect();
        let ways = Some(ways.join("; ")).filter(|ways| !ways.is_empty())?;
        // Else it is among the errors.
        Some(if self.lets_owners_be() { ways } else { format!("{told}: {ways}") })
    }
}

/// Whether names tell that a slot's tensor is that of its variable's: both are what the slot's and the
/// variable's names are to each other.
fn goes_with((slot, of_slot): (&Variable, &str), (owner, of_owner): (&Variable, &str)) -> bool {
    match (slot.name.strip_prefix(&*owner.name), of_slot.strip_prefix(of_owner)) {
        (Some(declared), Some(in_file)) => declared == in_file,
        _ => false,
    }
}

fn is_turned(changes: &[Change]) -> bool {
    changes.iter().any(|change| matches!(change, Change::Transposed { .. }))
}
