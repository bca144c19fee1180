//! An optimizer's slots go with their variables, and together: half of them is no state that any
//! optimizer was in.

use super::names::bare;
use super::roles::Kind;
use super::trial::{Planned, Trial, Trials};
use crate::restore::matching::{Outcome, lacks};
use crate::restore::rules::{Rule, SEPARATORS};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use warmstart_graph::Role;

/// Rules for what slots are called below their variables, on one side and on the other: `Adam_1` becomes
/// `adam/v`, wherever it stands.
pub(super) fn slot_rules(trials: &Trials<'_>) -> Vec<Rule> {
    let mut called: BTreeMap<&Kind, (BTreeSet<&str>, BTreeSet<&str>)> = BTreeMap::new();
    for (tensor, kind) in trials.asked.tensors.iter().zip(&trials.kinds.tensors) {
        if let Some(Role::Slot { variable: Some(owner), .. }) =
            trials.asked.saved.get(tensor.name.as_str()).map(|saved| &saved.role)
        {
            called.entry(kind).or_default().0.extend(below(&tensor.name, bare(owner)));
        }
    }
    for (variable, kind) in trials.asked.variables.iter().zip(&trials.kinds.variables) {
        if let Role::Slot { variable: Some(owner), .. } = &variable.role {
            called.entry(kind).or_default().1.extend(below(&variable.name, owner));
        }
    }
    let one = |names: BTreeSet<&str>| {
        names.first().filter(|_| names.len() == 1).map(|name| (*name).to_owned())
    };
    let rule = |(from, to): (BTreeSet<&str>, BTreeSet<&str>)| {
        let (from, to) = (one(from)?, one(to)?);
        let part = from != to && !from.contains(SEPARATORS);
        part.then_some(Rule::RenameComponent { from, to })
    };
    called.into_values().filter_map(rule).chain(turned(trials)).collect()
}

/// A rule for slots that stand in scopes of their own in front of what they belong to, as those of Keras 2
/// (`Adam/m/fc1/kernel`), where the model has its slots behind that (`fc1/kernel/adam/m`). Nothing if they
/// are in several such scopes, or if one of them is called otherwise on the two sides.
fn turned(trials: &Trials<'_>) -> Option<Rule> {
    // By what they are: the scope, the separator behind it, and the slot.
    let (mut file, mut model) = (BTreeMap::new(), BTreeMap::new());
    for (tensor, kind) in trials.asked.tensors.iter().zip(&trials.kinds.tensors) {
        if let Some(Role::Slot { variable: Some(owner), .. }) =
            trials.asked.saved.get(tensor.name.as_str()).map(|saved| &saved.role)
            && let Some(front) = bare(&tensor.name).strip_suffix(bare(owner))
        {
            let parts = in_two(front.strip_suffix(SEPARATORS)?)?;
            file.insert(kind, parts);
        }
    }
    for (variable, kind) in trials.asked.variables.iter().zip(&trials.kinds.variables) {
        if let Role::Slot { variable: Some(owner), .. } = &variable.role
            && file.contains_key(kind)
        {
            model.insert(kind, in_two(below(&variable.name, owner)?)?);
        }
    }
    let ((from, between, _), (to, behind, _)) = (*file.values().next()?, *model.values().next()?);
    let same = |(kind, (scope, separator, slot)): (&&Kind, &(&str, char, &str))| {
        let of_file =
            file.get(kind).filter(|(other, apart, _)| (*other, *apart) == (from, between));
        (*scope, *separator) == (to, behind) && of_file.is_some_and(|(.., other)| other == slot)
    };
    if !model.iter().all(same) {
        return None;
    }
    let slots: Vec<String> = model.values().map(|(.., slot)| regex::escape(slot)).collect();
    let (scope, between) = (regex::escape(from), regex::escape(&between.to_string()));
    let pattern = format!("^{scope}{between}({}){between}(.+)$", slots.join("|"));
    let replacement = format!("${{2}}{behind}{}{behind}${{1}}", to.replace('$', "$$"));
    Some(Rule::RenameRegex { pattern, replacement })
}

/// What stands before the last separator, that, and what stands behind it.
fn in_two(name: &str) -> Option<(&str, char, &str)> {
    let at = name.rfind(SEPARATORS)?;
    Some((&name[..at], name[at..].chars().next()?, &name[at + 1..]))
}

/// What a name adds to that of a scope.
fn below<'a>(name: &'a str, scope: &str) -> Option<&'a str> {
    name.strip_prefix(scope)?.strip_prefix(SEPARATORS)
}

/// Slots that stand below their variables' names, and so go where a scope of that name goes.
pub(super) struct Below<'a> {
    /// What the model's add to their variables' names, by these.
    wanted: HashMap<&'a str, Vec<(&'a str, &'a Kind)>>,
    /// Those of the file, by name.
    there: HashMap<&'a str, &'a Kind>,
}

impl<'a> Below<'a> {
    pub fn of<'t: 'a>(trials: &Trials<'t>, planned: &'a Planned<'_>) -> Below<'a> {
        let mut below = Below { wanted: HashMap::new(), there: HashMap::new() };
        for (&variable, kind) in trials.asked.variables.iter().zip(&trials.kinds.variables) {
            if let Role::Slot { variable: Some(owner), .. } = &variable.role
                && let Some(end) = variable.name.strip_prefix(owner.as_str())
            {
                below.wanted.entry(owner).or_default().push((end, kind));
            }
        }
        for (names, kind) in planned.applied.names.iter().zip(&trials.kinds.tensors) {
            if let ([name], Kind::Slot(..)) = (names.as_slice(), kind) {
                below.there.insert(name, kind);
            }
        }
        below
    }

    /// A rule that moves slots from below one variable's name to below another's, if there are any.
    pub fn rule(&self, from: &str, to: &str) -> Option<Rule> {
        let mut wanted = self.wanted.get(to)?.iter();
        let is_there = |name: String, kind: &Kind| self.there.get(name.as_str()) == Some(&kind);
        let moves = wanted.any(|(end, kind)| is_there(format!("{from}{end}"), kind));
        moves.then(|| Rule::RenameScope { from: from.to_owned(), to: to.to_owned() })
    }
}

/// What is said of rules that restore some of a variable's slots and leave others without a value.
pub(super) fn half(trials: &Trials<'_>, trial: &Trial, outcomes: &[Outcome]) -> Option<String> {
    type Slots<'a> = (Vec<&'a str>, Vec<&'a str>);
    let mut slots: BTreeMap<(&str, &str), Slots<'_>> = BTreeMap::new();
    for (index, variable) in trials.asked.variables.iter().enumerate() {
        let Role::Slot { variable: Some(owner), optimizer, slot } = &variable.role else {
            continue;
        };
        let (found, lost) = slots.entry((owner, optimizer)).or_default();
        if trial.pairs.contains_key(&index) {
            found.push(slot);
        } else if lacks(&outcomes[index]) {
            lost.push(slot);
        }
    }
    slots.retain(|_, (found, lost)| !found.is_empty() && !lost.is_empty());
    let ((owner, optimizer), (found, lost)) = slots.first_key_value()?;
    let more = match slots.len() - 1 {
        0 => String::new(),
        n => format!("; so it is with {n} more"),
    };
    Some(format!(
        "`{owner}` gets a part of {optimizer}'s slots only, {} without {}, which is no state that the \
         optimizer was in{more}",
        found.join(", "),
        lost.join(", ")
    ))
}
