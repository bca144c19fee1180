//! What a [`RestoreReport`] says where nothing would be restored, or next to nothing.

use crate::printable::{first_quoted, printable};
use crate::restore::close_names::is_within;
use crate::restore::matching::Outcome;
use crate::restore::report::shapes::extents;
use crate::restore::report::{RestoreReport, VariableOutcome, is_weight};
use crate::restore::rules::{Rule, RuleUse};
use crate::restore::suggestion::{Allowance, Suggestion};
use crate::restore::wording::{SHOWN, Wording, one_of};
use crate::tensor::TensorEntry;
use std::collections::HashMap;
use warmstart_graph::{GLOBAL_STEP, Role, Variable};

/// Whether a variable is what scales inputs, say: neither trained nor counted.
pub(crate) fn is_constant(variable: &Variable) -> bool {
    variable.role == Role::State && variable.name != GLOBAL_STEP && variable.shape.rank() > 0
}

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

    /// Whether variables may be missing, since weights are restored beside them.
    pub(crate) fn may_lack_some(&self) -> bool {
        self.allow_missing && !self.lets_nothing_be_restored() && self.only_counters().is_none()
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
        let is_wrong = |used: &&RuleUse| used.touched == 0 || used.problem.is_some();
        self.rules.iter().filter(is_wrong).find_map(|used| {
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

    /// What several rules that say what is to be restored have in common, where that is nothing.
    pub(crate) fn help_with_only(&self, words: &dyn Wording) -> Option<String> {
        let only = |used: &RuleUse| match &used.rule {
            Rule::Only(glob) => Some(glob.clone()),
            _ => None,
        };
        let globs: Vec<String> = self.rules.iter().filter_map(only).collect();
        if !self.leaves_nothing() || globs.len() < 2 {
            return None;
        }
        let all = words.rule(&Rule::Only(format!("{{{}}}", globs.join(","))))?;
        Some(format!(
            "of several such rules, what all of them name is left; one has several: `{all}`"
        ))
    }

    /// Whether rules are suggested that can be written.
    pub(crate) fn has_suggestions(&self, words: &dyn Wording) -> bool {
        let writable = |suggestion: &Suggestion| {
            suggestion.rules.iter().all(|rule| words.rule(rule).is_some())
        };
        self.suggestions.iter().any(writable)
    }

    /// The weights of the file that belong to no variable, without steps, counters and slots.
    pub(crate) fn weights_left(&self) -> impl Iterator<Item = &TensorEntry> {
        self.unexpected.iter().filter(|tensor| {
            let is_slot = || {
                let role = self.saved.get(&tensor.name).map(|saved| &saved.role);
                matches!(role, Some(Role::Slot { .. }))
            };
            tensor.shape.checked_elements() != Some(1) && tensor.name != GLOBAL_STEP && !is_slot()
        })
    }

    /// That the checkpoint is another model's: next to none of the weights that are asked for is there by
    /// its name, or may be there by its shape, and next to none of the file's is asked for.
    pub(crate) fn help_with_another_model(&self) -> Option<String> {
        let mut left: HashMap<_, usize> = HashMap::new();
        for TensorEntry { shape, .. } in self.weights_left() {
            *left.entry(extents(shape)).or_default() += 1;
        }
        let in_file: usize = left.values().sum();
        let wanted = self.variables.iter().filter(|v| v.outcome != Outcome::Ignored);
        let wanted: Vec<&VariableOutcome> = wanted.filter(|v| is_weight(&v.variable)).collect();
        let is_there = |v: &&VariableOutcome| match &v.outcome {
            Outcome::Missing { close } => close
                .iter()
                .any(|name| is_within(name, &v.variable.name) || is_within(&v.variable.name, name)),
            _ => true,
        };
        let asked = wanted.len();
        let (there, others): (Vec<&VariableOutcome>, Vec<&VariableOutcome>) =
            wanted.into_iter().partition(is_there);
        let may_be_there = others.iter().filter(|v| {
            let count = left.get_mut(&extents(&v.variable.shape)).filter(|count| **count > 0);
            count.map(|count| *count -= 1).is_some()
        });
        let suggested = self.suggestions.iter().map(|suggestion| suggestion.restores).max();
        let matching = there.len() + may_be_there.count().max(suggested.unwrap_or(0));
        // A part of a model that was taken over is most of the file, or of what is asked for.
        let few = 4 * matching <= asked.min(in_file + there.len());
        (few && in_file > 0 && asked > 0).then(|| {
            let found = match (asked, matching) {
                (1, _) => "the only weight that is asked for is not there".to_owned(),
                (n, 0) => format!("of the {n} weights that are asked for, none is there"),
                (n, some) => {
                    format!("of the {n} weights that are asked for, at most {some} may be there")
                }
            };
            format!(
                "this looks like the checkpoint of another model, or of one of another size: {found}, by \
                 its name or by its shape. Name the checkpoint of this model, or build the model that \
                 was saved"
            )
        })
    }

    /// What to do where counters are restored and no weight. That they are meant is no help where the file
    /// has weights.
    pub(crate) fn help_with_counters(
        &self,
        counters: &[&Variable],
        words: &dyn Wording,
    ) -> Option<String> {
        if self.refuses_mismatches() {
            return None;
        }
        if self.mismatched().next().is_some() {
            let fits = self.what_fits_shapes(words).map(|fits| format!("; {fits}"));
            let fits = fits.unwrap_or_default();
            return Some(format!("give the variables the shapes of the file{fits}"));
        }
        if self.weights_left().next().is_some() || counters.len() > SHOWN {
            return None;
        }
        let names: Vec<&str> = counters.iter().map(|v| v.name.as_str()).collect();
        let rule = words.rule(&Rule::Only(one_of(&names)))?;
        let alone = self.slots_alone().next().is_some() && !self.allow_slots_alone;
        let (and, say) = match alone {
            true => (format!(" and `{}`", words.allow(&[Allowance::SlotsAlone])?), "say"),
            false => (String::new(), "says"),
        };
        let from = match counters.iter().all(|v| is_constant(v)) {
            true => "begin beside them",
            false => "go on from that step",
        };
        Some(format!(
            "training would {from} with weights that were not trained so far: \
             `{rule}`{and} {say} that this is meant"
        ))
    }

    /// What to do where nothing fits, and no name is like another.
    pub(crate) fn help_with_strangers(&self, words: &dyn Wording) -> Option<String> {
        let counters = self.only_counters().is_some();
        let told = |v: &VariableOutcome| match &v.outcome {
            Outcome::Missing { close } => !close.is_empty(),
            Outcome::Restored { .. } => !counters,
            Outcome::Ignored => false,
            _ => true,
        };
        if self.may_lack_some()
            || self.unexpected.is_empty()
            || self.missing().next().is_none()
            || self.has_suggestions(words)
            || self.corrected.is_some()
            || self.variables.iter().any(told)
        {
            return None;
        }
        // The first of each shape, and of each up to extents of 1 and their order.
        let (mut same, mut turned) = (HashMap::new(), HashMap::new());
        for tensor in &self.unexpected {
            same.entry((&tensor.shape, tensor.dtype.variable())).or_insert(tensor);
            // No rule gives more than two extents another order.
            let extents = extents(&tensor.shape);
            if extents.len() <= 2 {
                turned.entry((extents, tensor.dtype.variable())).or_insert(tensor);
            }
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
            let lacks = weights().next().is_some() && self.weights_left().next().is_none();
            // Rules may have left them out.
            let is_plain = self.rules.is_empty() && !counters;
            return (lacks && is_plain).then(|| self.told_of_no_weight());
        };
        let rule = Rule::Rename { from: tensor.name.to_string(), to: variable.name.clone() };
        let rule = words.rule(&rule)?;
        let (from, to) = (printable(&tensor.name), printable(&variable.name));
        Some(format!(
            "no name is like another, and nothing says which tensor is meant for which variable: `{rule}` \
             takes `{from}` {} for `{to}` {}, if that is meant",
            tensor.shape, variable.shape
        ))
    }

    /// That the file has nothing but steps, counters and slots.
    fn told_of_no_weight(&self) -> String {
        let names: Vec<&str> = self.unexpected.iter().map(|tensor| tensor.name.as_str()).collect();
        format!(
            "no weight is in this checkpoint, only {}: name the checkpoint that holds the weights",
            first_quoted(&names, SHOWN)
        )
    }
}
