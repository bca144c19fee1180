//! What a restore will do or did, variable by variable. How it is told: `report/text.rs`.

mod adapters;
mod advice;
mod counted_from;
mod dtypes;
mod missing;
mod nothing;
pub(crate) mod parts_of_sums;
mod shapes;
mod slots;
mod slots_of_others;
mod square;
pub(crate) mod text;

use crate::restore::matching::{Change, Outcome};
use crate::restore::rules::{Rule, RuleUse};
use crate::restore::saved::SavedVariables;
use crate::restore::suggestion::Suggestion;
use crate::restore::wording::{InCode, Wording};
use crate::tensor::TensorEntry;
use foldhash::HashSet;
use parts_of_sums::PartOfSums;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use warmstart_graph::{Role, Variable};

/// A variable and what a checkpoint has for it.
#[derive(Clone, Debug, PartialEq)]
pub struct VariableOutcome {
    /// The variable.
    pub variable: Arc<Variable>,
    /// What the checkpoint has for it.
    pub outcome: Outcome,
}

/// What a restore will do, or did: every variable with its outcome, and every tensor of the
/// checkpoint that belongs to no variable. Prints as a report that says what is wrong and what to
/// do.
#[derive(Clone)]
pub struct RestoreReport {
    pub(crate) file: PathBuf,
    pub(crate) step: Option<u64>,
    pub(crate) rules: Vec<RuleUse>,
    /// Shared by all copies of the report.
    pub(crate) variables: Arc<[VariableOutcome]>,
    pub(crate) bytes_read: u64,
    pub(crate) unexpected: Vec<TensorEntry>,
    /// Tensors that rules leave out, each with its rule's place.
    pub(crate) left_out_by_rules: Vec<(TensorEntry, usize)>,
    pub(crate) suggestions: Vec<Suggestion>,
    pub(crate) allow_missing: bool,
    pub(crate) allow_unexpected: bool,
    pub(crate) allow_mismatched_shape: bool,
    pub(crate) allow_slots_alone: bool,
    /// What optimizers have accumulated, where not all of it takes part.
    pub(crate) parts_of_sums: Vec<PartOfSums>,
    /// Tensors that may belong to no variable, of those that do not.
    pub(crate) left_out: Vec<String>,
    /// How many times work was submitted to the device, once it was.
    pub(crate) submissions: Option<u64>,
    /// What the checkpoint says about the variables that it holds.
    pub(crate) saved: SavedVariables,
    /// Newer checkpoints that were passed over, with why.
    pub(crate) damaged: Vec<String>,
    /// The rules with those that touch no name as they were probably meant, if nothing is lost by that.
    pub(crate) corrected: Option<Vec<Rule>>,
}

/// In short: a report is printed to be read, and may be as long as the model is large.
impl fmt::Debug for RestoreReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RestoreReport")
            .field("file", &self.file)
            .field("step", &self.step)
            .field("closes", &self.closes())
            .field("restored", &self.restored().count())
            .field("ignored", &self.ignored().count())
            .field("missing", &self.missing().count())
            .field("ambiguous", &self.ambiguous().count())
            .field("mismatched", &self.mismatched().count())
            .field("unexpected", &self.unexpected.len())
            .field("left_out_by_rules", &self.left_out_by_rules.len())
            .field("damaged", &self.damaged.len())
            .finish_non_exhaustive()
    }
}

impl RestoreReport {
    /// The checkpoint's file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The step at which the checkpoint was saved, if it says so.
    pub fn step(&self) -> Option<u64> {
        self.step
    }

    /// The rules, in the order in which they were applied, each with what it touched.
    pub fn rules(&self) -> &[RuleUse] {
        &self.rules
    }

    /// Every variable with its outcome, in the order of the variables.
    pub fn variables(&self) -> &[VariableOutcome] {
        &self.variables
    }

    /// The variables that get a value.
    pub fn restored(&self) -> impl Iterator<Item = &Variable> {
        self.of(|outcome| matches!(outcome, Outcome::Restored { .. }))
    }

    /// The variables that a rule leaves out.
    pub fn ignored(&self) -> impl Iterator<Item = &Variable> {
        self.of(|outcome| matches!(outcome, Outcome::Ignored))
    }

    /// The variables for which the checkpoint has nothing.
    pub fn missing(&self) -> impl Iterator<Item = &Variable> {
        self.of(|outcome| matches!(outcome, Outcome::Missing { .. }))
    }

    /// The variables for which the checkpoint has a value of another shape or dtype.
    pub fn mismatched(&self) -> impl Iterator<Item = &Variable> {
        self.of(|outcome| {
            matches!(outcome, Outcome::ShapeMismatch { .. } | Outcome::DTypeMismatch { .. })
        })
    }

    /// The variables for which the checkpoint has several tensors.
    pub fn ambiguous(&self) -> impl Iterator<Item = &Variable> {
        self.of(|outcome| matches!(outcome, Outcome::Ambiguous { .. }))
    }

    /// The optimizer slots that get a value though the variable that each belongs to gets none.
    pub fn slots_alone(&self) -> impl Iterator<Item = &Variable> {
        let is_restored = |v: &&VariableOutcome| matches!(v.outcome, Outcome::Restored { .. });
        let others = self.variables.iter().filter(move |v| !is_restored(v));
        let others: HashSet<&str> = others.map(|v| v.variable.name.as_str()).collect();
        self.restored().filter(move |variable| match &variable.role {
            Role::Slot { variable: Some(owner), .. } => others.contains(owner.as_str()),
            _ => false,
        })
    }

    /// The tensors of the checkpoint that belong to no variable, in the order of the file.
    pub fn unexpected(&self) -> &[TensorEntry] {
        &self.unexpected
    }

    /// The tensors of the checkpoint that a rule leaves out, in the order of the file, each with that
    /// rule: what `ignore` names, `only` does not name, or no pair of an assignment map speaks of.
    pub fn left_out_by_rules(&self) -> impl Iterator<Item = (&TensorEntry, &Rule)> {
        let left = self.left_out_by_rules.iter();
        left.filter_map(|(tensor, rule)| Some((tensor, &self.rules.get(*rule)?.rule)))
    }

    /// Rules that would restore more variables, each tried out by planning again. Several are
    /// alternatives: nothing in the file or the graph says which of them is meant. There are four at
    /// most, even where there are more ways.
    pub fn suggestions(&self) -> &[Suggestion] {
        &self.suggestions
    }

    /// Bytes that the restored variables have on the device.
    pub fn bytes(&self) -> u64 {
        self.restored().map(Variable::bytes).fold(0, u64::saturating_add)
    }

    /// Bytes that are read from the file for them: twice as many where an `f64` becomes an `f32`, and
    /// fewer where rows are initialized. Rows that are left out do not count, though they are read where
    /// there is a checksum, which is of them too.
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    /// How many times work was submitted to the device for the restore; nothing before it is done.
    pub fn submissions(&self) -> Option<u64> {
        self.submissions
    }

    /// Whether the checkpoint fits the variables under the options given, so that it can be
    /// restored. One that has nothing for any of them does not, whatever is allowed, nor one that has
    /// only counters and slots where there are weights to restore: that is how weights stay random
    /// unnoticed. Nor does one that has slots of an optimizer for variables that are not restored, or
    /// [other slots](RestoreReport::slots_of_others) than those that go with their values, or
    /// of which only a part of the gradients would be restored that an optimizer has accumulated, as
    /// long as [that is not allowed](crate::RestoreOptions::allow_slots_alone).
    pub fn closes(&self) -> bool {
        self.rules.iter().all(|used| used.problem.is_none() && !used.does_nothing())
            && (self.allow_slots_alone
                || (self.slots_alone().next().is_none()
                    && self.slots_of_others().next().is_none()
                    && self.parts_of_sums.is_empty()))
            && !self.has_nothing()
            && self.only_counters().is_none()
            && self.variables.iter().all(|v| match v.outcome {
                Outcome::Restored { .. } | Outcome::Ignored => true,
                Outcome::Missing { .. } => self.allow_missing,
                Outcome::ShapeMismatch { .. } => self.allow_mismatched_shape,
                Outcome::DTypeMismatch { .. } | Outcome::Ambiguous { .. } => false,
            })
            && (self.allow_unexpected || self.unexpected.is_empty())
    }

    /// The report as JSON: `file`, `step`, `closes`, `bytes_read` from the file, `bytes_of_variables`
    /// on the device, `counts`, `allow_missing`, `allow_unexpected`, `allow_mismatched_shape`,
    /// `allow_slots_alone`, `rules`, `variables`, `unexpected`, `left_out` (names of tensors without a
    /// variable that [`RestoreOptions::leave_out`](crate::RestoreOptions::leave_out) named),
    /// `left_out_by_rules` (tensors that a rule leaves out, with that rule), `shared` (tensors that are
    /// the value of several variables), `slots_alone` (slots that get a value though their variables
    /// get none), `slots_of_others` (slots that do not go with the value that their variables get),
    /// `damaged` (newer checkpoints that were passed over, with why), `suggestions`, and
    /// `notes`, `errors` and `helps` as the text has them. A suggestion with `alternatives` is one of
    /// several ways, of which nothing says which is meant, and with `may_be_more` of at least so many, as
    /// the search for them stopped; `allow` is what has to be allowed beside its
    /// rules (`allow_missing`, say), and `null` if it would not do then either.
    ///
    /// ```
    /// # use warmstart_checkpoint::{Checkpoint, RestoreOptions};
    /// # let directory = tempfile::tempdir()?;
    /// # let file = directory.path().join("empty.safetensors");
    /// # std::fs::write(&file, *b"\x02\0\0\0\0\0\0\0{}")?;
    /// let plan = Checkpoint::open(&file)?.plan_for(&[], &RestoreOptions::new());
    /// assert_eq!(plan.to_json()["counts"]["restored"], 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn to_json(&self) -> Value {
        self.to_json_worded(&InCode)
    }

    /// The same with `notes`, `errors` and `helps` in the words of whoever reads it.
    pub fn to_json_worded(&self, words: &dyn Wording) -> Value {
        let rules = self.rules.iter().map(|used| {
            let RuleUse { rule, touched, problem, .. } = used;
            let rule = rule.to_string();
            let idle = used.does_nothing();
            json!({ "rule": rule, "touched": touched, "does_nothing": idle, "problem": problem })
        });
        let tensor_json = |tensor: &TensorEntry| {
            let TensorEntry { name, dtype, shape, .. } = tensor;
            let bytes = tensor.bytes();
            json!({ "name": name, "dtype": dtype.name(), "shape": shape, "bytes": bytes })
        };
        let unexpected = self.unexpected.iter().map(tensor_json);
        let left_out_by_rules = self.left_out_by_rules().map(|(tensor, rule)| {
            let mut value = tensor_json(tensor);
            value["rule"] = json!(rule.to_string());
            value
        });
        let others = self.suggestions.len().saturating_sub(1);
        let more = Suggestion::may_be_more(&self.suggestions);
        let suggestions = self.suggestions.iter().map(|suggestion| {
            let rules: Vec<String> = suggestion.rules.iter().map(ToString::to_string).collect();
            let Suggestion { restores, of, notes, allow, .. } = suggestion;
            let allow = allow.as_ref();
            let allow: Option<Vec<&str>> =
                allow.map(|allow| allow.iter().map(|what| what.key()).collect());
            json!({
                "rules": rules, "restores": restores, "of": of, "notes": notes, "allow": allow,
                "alternatives": others, "may_be_more": more,
            })
        });
        let shared = self
            .shared()
            .into_iter()
            .map(|(tensor, variables)| json!({ "tensor": tensor, "variables": variables }));
        json!({
            "file": self.file.to_string_lossy(),
            "step": self.step,
            "closes": self.closes(),
            "bytes_read": self.bytes_read,
            "bytes_of_variables": self.bytes(),
            "counts": {
                "restored": self.restored().count(),
                "ignored": self.ignored().count(),
                "missing": self.missing().count(),
                "ambiguous": self.ambiguous().count(),
                "mismatched": self.mismatched().count(),
                "unexpected": self.unexpected.len(),
                "left_out_by_rules": self.left_out_by_rules.len(),
            },
            "allow_missing": self.allow_missing,
            "allow_unexpected": self.allow_unexpected,
            "allow_mismatched_shape": self.allow_mismatched_shape,
            "allow_slots_alone": self.allow_slots_alone,
            "rules": rules.collect::<Vec<_>>(),
            "variables": self.variables.iter().map(VariableOutcome::to_json).collect::<Vec<_>>(),
            "unexpected": unexpected.collect::<Vec<_>>(),
            "left_out": self.left_out,
            "left_out_by_rules": left_out_by_rules.collect::<Vec<_>>(),
            "shared": shared.collect::<Vec<_>>(),
            "slots_alone": self.slots_alone().map(|slot| &slot.name).collect::<Vec<_>>(),
            "slots_of_others": self.slots_of_others().map(|slot| &slot.name).collect::<Vec<_>>(),
            "damaged": self.damaged,
            "suggestions": suggestions.collect::<Vec<_>>(),
            "notes": self.notes(words),
            "errors": self.errors(words),
            "helps": self.helps(words),
        })
    }

    /// Tensors that are the value of several variables, by name.
    pub(crate) fn shared(&self) -> BTreeMap<&str, Vec<&str>> {
        let mut served: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for VariableOutcome { variable, outcome } in self.variables.iter() {
            if let Outcome::Restored { tensor, .. } = outcome {
                served.entry(tensor).or_default().push(&variable.name);
            }
        }
        served.retain(|_, variables| variables.len() > 1);
        served
    }

    /// Whether there are variables to restore, and the checkpoint has a fitting value for none, or what
    /// rules leave of it is nothing though they say that only this and that is to be restored.
    pub(crate) fn has_nothing(&self) -> bool {
        let wanted = self.variables.iter().any(|v| v.outcome != Outcome::Ignored);
        let left = !self.variables.is_empty() && !self.unexpected.is_empty();
        self.restored().next().is_none() && (wanted || left || self.leaves_nothing())
    }

    /// Whether rules leave out all variables, one of which says what is to be restored.
    pub(crate) fn leaves_nothing(&self) -> bool {
        let only = |used: &RuleUse| matches!(used.rule, Rule::Only(_));
        !self.variables.is_empty()
            && self.variables.iter().all(|v| v.outcome == Outcome::Ignored)
            && self.rules.iter().any(only)
    }

    /// The variables that get a value, if all of them merely go with weights (steps, slots) and no
    /// trainable variable gets one though some want it: training would go on from there with random
    /// weights. Weights that rules leave out want none.
    pub(crate) fn only_counters(&self) -> Option<Vec<&Variable>> {
        let trainable = |v: &&VariableOutcome| v.variable.role == Role::Trainable;
        let wanted = |v: &VariableOutcome| v.outcome != Outcome::Ignored;
        if !self.variables.iter().filter(trainable).any(wanted) {
            return None;
        }
        let restored: Vec<&Variable> = self.restored().collect();
        (!restored.is_empty() && !restored.iter().any(|v| is_weight(v))).then_some(restored)
    }

    /// Whether what is restored may be a part of a model: of another one, a bias and its slots may fit by
    /// their shapes, or a count.
    pub(crate) fn restores_a_part(&self) -> bool {
        let wanted = self.variables.iter().filter(|v| v.outcome != Outcome::Ignored);
        let weights: Vec<&VariableOutcome> = wanted.filter(|v| is_weight(&v.variable)).collect();
        let restored: Vec<&Variable> = self.restored().filter(|v| is_weight(v)).collect();
        let is_matrix = |variable: &Variable| variable.shape.rank() > 1;
        restored.iter().any(|v| is_matrix(v))
            || !weights.iter().any(|v| is_matrix(&v.variable))
            || 4 * restored.len() > weights.len()
    }

    fn of(&self, wanted: impl Fn(&Outcome) -> bool) -> impl Iterator<Item = &Variable> {
        self.variables.iter().filter(move |v| wanted(&v.outcome)).map(|v| &*v.variable)
    }
}

/// Whether a variable is worth a restore by itself, and no step, counter or slot that goes with others.
pub(crate) fn is_weight(variable: &Variable) -> bool {
    match variable.role {
        Role::Trainable => true,
        // A frozen weight. A vector alone is what scales inputs, say: that of another model fits, too.
        Role::State => variable.shape.iter().filter(|extent| **extent != 1).count() > 1,
        Role::Slot { .. } => false,
    }
}

impl VariableOutcome {
    fn to_json(&self) -> Value {
        let mut value = match &self.outcome {
            Outcome::Restored { tensor, changes } => {
                let changes: Vec<Value> = changes.iter().map(Change::to_json).collect();
                json!({ "outcome": "restored", "tensor": tensor, "changes": changes })
            }
            Outcome::Ignored => json!({ "outcome": "ignored" }),
            Outcome::Missing { close } => json!({ "outcome": "missing", "close": close }),
            Outcome::Ambiguous { tensors } => json!({ "outcome": "ambiguous", "tensors": tensors }),
            Outcome::ShapeMismatch { tensor, shape } => {
                json!({ "outcome": "shape_mismatch", "tensor": tensor, "file_shape": shape })
            }
            Outcome::DTypeMismatch { tensor, dtype, shape } => json!({
                "outcome": "dtype_mismatch",
                "tensor": tensor,
                "file_dtype": dtype.name(),
                "file_shape": shape,
            }),
        };
        let Variable { name, dtype, shape, .. } = &*self.variable;
        value["name"] = json!(name);
        value["dtype"] = json!(dtype.to_string());
        value["shape"] = json!(shape);
        value
    }
}

impl Change {
    fn to_json(&self) -> Value {
        match self {
            Change::Cast { from } => json!({ "change": "cast", "from": from.name() }),
            Change::Transposed { from } => json!({ "change": "transposed", "from": from }),
            Change::Reshaped { from } => json!({ "change": "reshaped", "from": from }),
            Change::ResizedRows { from, seed } => {
                json!({ "change": "resized_rows", "from": from, "seed": seed })
            }
        }
    }
}

#[cfg(test)]
mod tests;
