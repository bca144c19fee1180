//! Gradients that an optimizer has accumulated for its next update: they are restored all together, with
//! the number of batches that they are of, or not at all. A sum without its batches would be divided by
//! them all the same.
//!
//! So a plan that would bring some accumulators of an optimizer, or all without the count of their
//! batches, does not close if that count is not 0. It is the one number that a plan reads from the
//! file, and only there. One that is damaged, or no whole number, is not known; damage is told.

use crate::error::{CheckpointError, damage};
use crate::file::OpenFile;
use crate::printable::first_quoted;
use crate::read::summed::Summed;
use crate::restore::matching::Outcome;
use crate::restore::report::advice::SHOWN;
use crate::restore::report::slots::one_of;
use crate::restore::report::{RestoreReport, VariableOutcome};
use crate::restore::rules::{EVERYTHING, Rule};
use crate::restore::wording::{Allowance, Wording};
use crate::tensor::{FileDType, TensorEntry};
use std::collections::BTreeMap;
use warmstart_graph::Glob;
use warmstart_graph::words::counted_as;
use warmstart_graph::{Accumulation, Role};

/// What an optimizer has accumulated, where only a part of it would be restored.
#[derive(Clone, Debug)]
pub(crate) struct PartOfSums {
    optimizer: String,
    /// Of how many batches the sums are, if the file says it.
    batches: Option<u64>,
    /// What is wrong with that number, if it cannot be read.
    damage: Option<String>,
    /// The variable that this number belongs in.
    count: String,
    /// Variables whose sums would not be restored; none where it is the number that would not be.
    without: Vec<String>,
    /// The accumulators.
    sums: Vec<String>,
}

/// The variables of one optimizer's accumulation.
#[derive(Default)]
struct Accumulated<'a> {
    count: Option<&'a VariableOutcome>,
    /// The file's tensor that belongs in it.
    source: Option<usize>,
    /// Accumulators, each with the variable whose gradients it sums up.
    sums: Vec<(&'a str, &'a VariableOutcome)>,
}

/// What would be restored in part. Only where something would, the number of batches is read.
pub(crate) fn parts_of_sums(
    file: &OpenFile,
    variables: &[VariableOutcome],
    sources: &[Option<usize>],
    skip_checksums: bool,
) -> Vec<PartOfSums> {
    let mut optimizers: BTreeMap<&str, Accumulated<'_>> = BTreeMap::new();
    for (outcome, &source) in variables.iter().zip(sources) {
        let Role::Slot { variable, optimizer, slot } = &outcome.variable.role else { continue };
        match variable {
            Some(owner) if slot == Accumulation::SLOT => {
                let of_optimizer = optimizers.entry(optimizer).or_default();
                of_optimizer.sums.push((owner, outcome));
            }
            None if slot == Accumulation::COUNT => {
                let of_optimizer = optimizers.entry(optimizer).or_default();
                (of_optimizer.count, of_optimizer.source) = (Some(outcome), source);
            }
            _ => {}
        }
    }
    let is_restored = |v: &VariableOutcome| matches!(v.outcome, Outcome::Restored { .. });
    let parts = optimizers.into_iter().filter_map(|(optimizer, accumulated)| {
        let count = accumulated.count?;
        let sums = &accumulated.sums;
        let without = sums.iter().filter(|(_, sum)| !is_restored(sum));
        let without: Vec<String> = without.map(|(owner, _)| (*owner).to_owned()).collect();
        let is_whole = match is_restored(count) {
            true => without.is_empty(),
            false => without.len() == sums.len(),
        };
        if is_whole {
            return None;
        }
        let name = &count.variable.name;
        let tensor = accumulated.source.and_then(|source| file.tensors.get(source));
        let tensor = tensor.or_else(|| file.tensor(name));
        let number = tensor.map(|tensor| number(file, tensor, skip_checksums)).transpose();
        let (batches, damage) = match number {
            Ok(number) => (number.flatten(), None),
            Err(error) => (None, Some(damage(&error))),
        };
        // Sums of nothing are what they begin as.
        (batches != Some(0)).then(|| PartOfSums {
            optimizer: optimizer.to_owned(),
            batches,
            damage,
            count: name.clone(),
            without: if is_restored(count) { without } else { Vec::new() },
            sums: sums.iter().map(|(_, sum)| sum.variable.name.clone()).collect(),
        })
    });
    parts.collect()
}

/// A whole number of the file, if it is one and is not below zero; an error if it is not as it was saved.
fn number(
    file: &OpenFile,
    tensor: &TensorEntry,
    skip_checksums: bool,
) -> Result<Option<u64>, CheckpointError> {
    use FileDType::*;
    // What is no number is not read.
    let is_number = matches!(tensor.dtype, U8 | U16 | U32 | U64 | I8 | I16 | I32 | I64 | F32 | F64);
    if !is_number || tensor.shape.checked_elements() != Some(1) {
        return Ok(None);
    }
    let mut bytes = [0; 8];
    // As long as its dtype says.
    let length = bytes.len().min(tensor.bytes() as usize);
    let read = &mut bytes[..length];
    if skip_checksums {
        file.read_tensor(tensor, tensor.range.start, read)?;
    } else {
        let summed = Summed::new(file, tensor);
        summed.read_at(tensor.range.start, read)?;
        summed.finish()?;
    }
    let is_negative = read.last().is_some_and(|byte| byte & 0x80 != 0);
    let whole = u64::from_le_bytes(bytes);
    let of_float = |value: f64| {
        (value >= 0.0 && value.fract() == 0.0 && value < 2f64.powi(64)).then_some(value as u64)
    };
    Ok(match tensor.dtype {
        U8 | U16 | U32 | U64 => Some(whole),
        I8 | I16 | I32 | I64 => (!is_negative).then_some(whole),
        F32 => of_float(f64::from(f32::from_bits(whole as u32))),
        F64 => of_float(f64::from_bits(whole)),
        _ => None,
    })
}

impl PartOfSums {
    fn what(&self) -> String {
        let optimizer = &self.optimizer;
        match (self.batches, &self.damage) {
            (Some(batches), _) => {
                let batches = counted_as(batches as usize, "batch", "batches");
                format!("the gradients of {batches} that {optimizer} has accumulated")
            }
            (None, Some(damage)) => format!(
                "the gradients that {optimizer} has accumulated (of how many batches is not known: \
                 {damage})"
            ),
            (None, None) => format!("the gradients that {optimizer} has accumulated"),
        }
    }

    fn lacking(&self) -> String {
        if self.without.is_empty() {
            return format!("the number of these batches, `{}`", self.count);
        }
        let shown = first_quoted(&self.without, SHOWN);
        format!("those of {shown}, and divided by as many batches all the same")
    }

    /// A rule that leaves out all of it, and nothing else that takes part.
    fn rule(&self, report: &RestoreReport) -> Option<Rule> {
        let (optimizer, slot) = (Glob::escape(&self.optimizer), Accumulation::SLOT);
        let count = Glob::escape(&self.count);
        let of_names = format!("{{{count},{EVERYTHING}/{optimizer}/{slot}}}");
        let all: Vec<&str> = self.sums.iter().chain([&self.count]).map(String::as_str).collect();
        let listed = (all.len() <= 2 * SHOWN).then(|| one_of(&all));
        let fits = |text: &String| {
            Glob::new(text).is_ok_and(|glob| {
                let names = report.variables.iter().map(|v| v.variable.name.as_str());
                let mut names = names.filter(|name| glob.is_match(name));
                all.iter().all(|name| glob.is_match(name)) && names.all(|name| all.contains(&name))
            })
        };
        [Some(of_names), listed].into_iter().flatten().find(fits).map(Rule::Ignore)
    }
}

impl RestoreReport {
    /// What was accumulated and would be restored in part, if it may not be.
    pub(crate) fn told_of_parts_of_sums(&self) -> Vec<String> {
        let told = |part: &PartOfSums| {
            format!("{} would be restored without {}", part.what(), part.lacking())
        };
        self.parts_of_sums.iter().filter(|_| !self.allow_slots_alone).map(told).collect()
    }

    /// The same where that is allowed.
    pub(crate) fn notes_of_parts_of_sums(&self) -> Vec<String> {
        let told =
            |part: &PartOfSums| format!("{}: restored without {}", part.what(), part.lacking());
        self.parts_of_sums.iter().map(told).collect()
    }

    /// How it is left out, or is not.
    pub(crate) fn help_with_parts_of_sums(&self, words: &dyn Wording) -> Vec<String> {
        let is_error = self.lets_owners_be();
        if self.only_counters().is_some() || (!is_error && self.may_be_mended()) {
            return Vec::new();
        }
        let allow = words.allow(&[Allowance::SlotsAlone]);
        let allow = allow
            .map(|allow| format!("`{allow}` restores them beside values that are from elsewhere"));
        let told = self.told_of_parts_of_sums();
        let helps = self.parts_of_sums.iter().zip(told).filter_map(|(part, told)| {
            let rule = part.rule(self).and_then(|rule| words.rule(&rule)).map(|rule| {
                format!(
                    "`{rule}` leaves out all of them, so that the next update begins anew, without \
                     these batches"
                )
            });
            let ways: Vec<String> = rule.into_iter().chain(allow.clone()).collect();
            let ways = Some(ways.join("; ")).filter(|ways| !ways.is_empty())?;
            Some(if is_error { ways } else { format!("{told}: {ways}") })
        });
        helps.collect()
    }
}

#[cfg(test)]
#[path = "accumulated_tests.rs"]
mod tests;
