//! Gradients that an optimizer has accumulated for its next update: they are restored all together, with
//! the number of batches that they are of, or not at all. A sum without its batches would be divided by
//! them all the same.
//!
//! So a plan that would bring some accumulators of an optimizer, or all without the count of their
//! batches, does not close if that count is not 0. It is the one number that a plan reads from the
//! file, and only there. One that is damaged, or no whole number, is not known; damage is told.

use crate::error::damage;
use crate::file::OpenFile;
use crate::read::number::number;
use crate::restore::matching::Outcome;
use crate::restore::report::VariableOutcome;
use crate::restore::report::parts_of_sums::PartOfSums;
use std::collections::BTreeMap;
use warmstart_graph::{Accumulation, Role};

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

#[cfg(test)]
#[path = "accumulated_tests.rs"]
mod tests;
