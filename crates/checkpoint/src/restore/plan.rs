//! What a checkpoint has for a set of variables, under rules. No weight is read here.

use crate::file::OpenFile;
use crate::restore::accumulated::parts_of_sums;
use crate::restore::close_names::CloseNames;
use crate::restore::infer::{Asked, infer, is_pytorch};
use crate::restore::matching::{Change, Matching, Outcome, lacks};
use crate::restore::options::RestoreOptions;
use crate::restore::report::{RestoreReport, VariableOutcome};
use crate::restore::rules::{Rule, RuleUse};
use crate::restore::saved::SavedVariables;
use crate::restore::suggestion::Allowance;
use crate::restore::wording::Planned;
use crate::tensor::TensorEntry;
use std::collections::HashSet;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use warmstart_graph::Variable;

/// A checkpoint matched with variables: what [`RestorePlan::restore`] will do. Prints as its
/// [`RestoreReport`], whose methods it has.
#[derive(Clone)]
pub struct RestorePlan {
    pub(crate) file: Arc<OpenFile>,
    pub(crate) report: RestoreReport,
    /// For each variable the index of the only tensor that has its name.
    pub(crate) sources: Vec<Option<usize>>,
    pub(crate) skip_checksums: bool,
}

impl RestorePlan {
    pub(crate) fn new(
        file: &Arc<OpenFile>,
        damaged: Vec<String>,
        declared: &[Arc<Variable>],
        options: &RestoreOptions,
    ) -> RestorePlan {
        let variables: Vec<&Variable> = declared.iter().map(Arc::as_ref).collect();
        let Matching { mut outcomes, sources, unexpected, left_out, rules } =
            Matching::new(&file.tensors, &variables, &options.rules);
        let left = unexpected.iter().map(|&index| &file.tensors[index]);
        let left: Vec<&TensorEntry> =
            left.filter(|tensor| !options.left_out.contains(tensor.name.as_str())).collect();
        let mut search = CloseNames::among(&left);
        for (variable, outcome) in variables.iter().zip(&mut outcomes) {
            if let Outcome::Missing { close } = outcome {
                *close = search.find(variable);
            }
        }
        let saved = SavedVariables::new(file.metadata.shared(), &file.tensors);
        let mut suggestions = match outcomes.iter().any(lacks) {
            true => infer(Asked {
                tensors: &file.tensors,
                variables: &variables,
                rules: &options.rules,
                outcomes: &outcomes,
                saved: saved.all(),
                pytorch: is_pytorch(file),
            }),
            false => Vec::new(),
        };
        let sources_of = sources.clone();
        let matching = Matching { outcomes, sources: sources_of, unexpected, left_out, rules };
        let mut report = report(file, declared, matching, options, saved);
        // Rules that are mistakes are to be taken away first, and nothing fits with them.
        let is_sound =
            |used: &&RuleUse| !used.does_nothing() && (used.problem.is_none() || used.touched > 0);
        let sound = report.rules.iter().filter(is_sound).map(|used| used.rule.clone()).collect();
        let sound = RestoreOptions { rules: sound, ..options.clone() };
        suggestions.retain_mut(|suggestion| {
            let mut then = after(&report, file, declared, &suggestion.rules, &sound);
            if let Some((tables, note)) = then.rules_for_tables() {
                let rules = [&suggestion.rules[..], &tables].concat();
                let resized = after(&report, file, declared, &rules, &sound);
                let more = resized.restored().count().saturating_sub(then.restored().count());
                if more > 0 {
                    suggestion.rules = rules;
                    suggestion.restores += more;
                    suggestion.notes.push(note);
                    then = resized;
                }
            }
            let adapters = then.note_of_adapters().filter(|_| report.note_of_adapters().is_none());
            suggestion.notes.extend(adapters);
            suggestion.allow = allowances(&report, &then);
            then.restores_a_part()
        });
        // What was mistyped is mended where it stands, and not by more rules.
        if let Some(rules) = report.corrected_rules() {
            let corrected = RestoreOptions { rules: rules.clone(), ..options.clone() };
            let then = after(&report, file, declared, &[], &corrected);
            let restored: HashSet<&str> = then.restored().map(|v| v.name.as_str()).collect();
            let now = report.restored().count();
            if suggestions.iter().all(|one| now + one.restores <= restored.len()) {
                suggestions.clear();
            }
            let loses_none = report.restored().all(|v| restored.contains(v.name.as_str()));
            report.corrected = loses_none.then_some(rules);
        }
        report.suggestions = suggestions;
        report.damaged = damaged;
        let skip_checksums = options.skip_checksums;
        RestorePlan { file: file.clone(), report, sources, skip_checksums }
    }
}

/// The report of a matching; nothing is suggested in it yet.
fn report(
    file: &OpenFile,
    declared: &[Arc<Variable>],
    matching: Matching,
    options: &RestoreOptions,
    saved: SavedVariables,
) -> RestoreReport {
    let Matching { outcomes, sources, unexpected, left_out: by_rules, rules } = matching;
    let unexpected = unexpected.into_iter().map(|index| &file.tensors[index]);
    let (left_out, unexpected): (Vec<&TensorEntry>, Vec<&TensorEntry>) =
        unexpected.partition(|tensor| options.left_out.contains(tensor.name.as_str()));
    let bytes_read =
        declared.iter().zip(&outcomes).zip(&sources).map(|((variable, outcome), &source)| {
            match (outcome, source) {
                (Outcome::Restored { changes, .. }, Some(index)) => {
                    bytes_read(variable, changes, &file.tensors[index])
                }
                _ => 0,
            }
        });
    let bytes_read = bytes_read.fold(0, u64::saturating_add);
    let variables = declared.iter().cloned().zip(outcomes);
    let variables: Arc<[VariableOutcome]> =
        variables.map(|(variable, outcome)| VariableOutcome { variable, outcome }).collect();
    RestoreReport {
        file: file.path.clone(),
        step: file.metadata.step(),
        rules,
        left_out_by_rules: by_rules
            .into_iter()
            .map(|(tensor, rule)| (file.tensors[tensor].clone(), rule))
            .collect(),
        parts_of_sums: parts_of_sums(file, &variables, &sources, options.skip_checksums),
        variables,
        bytes_read,
        unexpected: unexpected.into_iter().cloned().collect(),
        suggestions: Vec::new(),
        saved,
        allow_missing: options.allow_missing,
        allow_unexpected: options.allow_unexpected,
        allow_mismatched_shape: options.allow_mismatched_shape,
        allow_slots_alone: options.allow_slots_alone,
        left_out: left_out.into_iter().map(|tensor| tensor.name.to_string()).collect(),
        damaged: Vec::new(),
        corrected: None,
        submissions: None,
    }
}

/// How many bytes of a tensor are read: of one with too many rows, only those that are taken.
fn bytes_read(variable: &Variable, changes: &[Change], tensor: &TensorEntry) -> u64 {
    let rows = changes.iter().find_map(|change| match change {
        Change::ResizedRows { from, .. } => Some(*from as u64),
        _ => None,
    });
    match (rows, variable.shape.first()) {
        (Some(from), Some(&of)) => (tensor.bytes() / from.max(1)) * from.min(of as u64),
        _ => tensor.bytes(),
    }
}

/// The report under rules that are added, whatever is left.
fn after(
    before: &RestoreReport,
    file: &OpenFile,
    declared: &[Arc<Variable>],
    rules: &[Rule],
    options: &RestoreOptions,
) -> RestoreReport {
    let variables: Vec<&Variable> = declared.iter().map(Arc::as_ref).collect();
    let options = rules.iter().cloned().fold(options.clone(), RestoreOptions::rule);
    let matching = Matching::new(&file.tensors, &variables, &options.rules);
    let options = options.allow_missing().allow_unexpected().allow_mismatched_shape();
    report(file, declared, matching, &options, before.saved.clone())
}

/// What has to be allowed beside what is, so that a checkpoint fits under such rules.
fn allowances(before: &RestoreReport, after: &RestoreReport) -> Option<Vec<Allowance>> {
    if !after.closes() {
        return None;
    }
    let shapes = after.mismatched().next().is_some();
    let asked = [
        (Allowance::Missing, !before.allow_missing && after.missing().next().is_some()),
        (Allowance::Unexpected, !before.allow_unexpected && !after.unexpected.is_empty()),
        (Allowance::MismatchedShape, !before.allow_mismatched_shape && shapes),
    ];
    Some(asked.into_iter().filter_map(|(what, asked)| asked.then_some(what)).collect())
}

impl Deref for RestorePlan {
    type Target = RestoreReport;
    fn deref(&self) -> &RestoreReport {
        &self.report
    }
}

/// As its report, in short.
impl fmt::Debug for RestorePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut plan = f.debug_struct("RestorePlan");
        plan.field("report", &self.report).field("skip_checksums", &self.skip_checksums);
        plan.finish_non_exhaustive()
    }
}

impl fmt::Display for RestorePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What it says of variables is to come: nothing is restored yet.
        match self.report.closes() {
            true => write!(f, "{}", self.report.worded(&Planned)),
            false => self.report.fmt(f),
        }
    }
}

#[cfg(test)]
mod allowed_tests;
#[cfg(test)]
mod counted_from_tests;
#[cfg(test)]
mod counters_tests;
#[cfg(test)]
mod help_tests;
#[cfg(test)]
mod idle_rules_tests;
#[cfg(test)]
mod length_tests;
#[cfg(test)]
mod offers_tests;
#[cfg(test)]
mod pytorch_tests;
#[cfg(test)]
mod refused_tests;
#[cfg(test)]
mod slots_alone_tests;
#[cfg(test)]
mod slots_of_others_tests;
#[cfg(test)]
mod tests;
