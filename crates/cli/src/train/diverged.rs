//! What to do where numbers became too large for a training to go on, or for its weights to be of
//! use.

use super::Job;
use super::changed::schedule_of;
use super::examples::Examples;
use super::settings::Scaling;
use crate::error::Failure;
use crate::flags::quoted;
use crate::text::short;
use std::path::PathBuf;
use warmstart::TrainingError;
use warmstart::checkpoint::{Checkpoint, latest, list};
use warmstart::graph::Schedule;
use warmstart_graph::words::printable_path;

/// By what a learning rate is divided that was too high.
const LOWER: f64 = 10.0;
/// What is not more than usual, however high it was.
const USUAL: f64 = 0.01;
/// Values beyond this are large for a network that takes them as they are.
const LARGE: f32 = 10.0;

impl Job {
    /// A training that cannot go on, with the lines that mend it where its loss or its weights are
    /// no numbers any more.
    pub fn failed(&self, error: TrainingError) -> Failure {
        let message = match &error {
            TrainingError::NonFinite(found) => {
                format!("the loss of step {} is {}; training stopped there", found.step, found.loss)
            }
            TrainingError::NonFiniteVariables(found) => format!(
                "after {} steps {}. No checkpoint was made of them, and older ones are as they were",
                found.step,
                found.listed()
            ),
            _ => return error.into(),
        };
        let newest = latest(&self.directory).ok().flatten();
        let ruined = newest.as_ref().is_some_and(|newest| {
            Checkpoint::open(&newest.path).is_ok_and(|it| self.is_ruined(&it))
        });
        let file = quoted(&printable_path(&self.source.file));
        // Scaling is kept from when a run began.
        let again = match newest {
            None => format!("`warmstart train {file}` then begins anew"),
            Some(newest) if ruined || !self.unscaled().is_empty() => {
                let why = match ruined {
                    true => "has ruined weights already",
                    false => "keeps the scaling it began with",
                };
                format!(
                    "`{}` {why}: begin another run, by this line{}",
                    printable_path(&newest.path),
                    self.another_directory()
                )
            }
            Some(newest) => {
                format!(
                    "`warmstart train {file}` then goes on from `{}`",
                    printable_path(&newest.path)
                )
            }
        };
        let (keys, label) = match self.unscaled().first() {
            Some(unscaled) => (["data", unscaled.key], unscaled.described()),
            None => (["optimizer", "learning_rate"], "perhaps too high".to_owned()),
        };
        let (_, mend) = self.why_too_large();
        self.source.failure(&keys, message, &label).help(format!("{mend}\n{again}"))
    }

    /// What probably made numbers too large, and the lines that mend it.
    pub fn why_too_large(&self) -> (String, String) {
        let optimizer = &self.settings.optimizer;
        let worked = self.trained_well(|rate| rate < optimizer.learning_rate);
        let rate =
            worked.as_ref().map_or_else(|| lower(optimizer.learning_rate), |(rate, _)| *rate);
        let mut lines = format!("    learning_rate = {rate:?}");
        // A rate that worked did so without, and what is clipped already need not be told.
        if worked.is_none() && optimizer.clip_global_norm.is_none_or(|norm| norm > 1.0) {
            lines.push_str("\n    clip_global_norm = 1.0");
        }
        let known =
            worked.map(|(_, file)| format!(", as `{}` was trained with", printable_path(file)));
        let unscaled = self.unscaled();
        if unscaled.is_empty() {
            let why =
                format!("A learning rate of {} is probably too high", optimizer.learning_rate);
            let instead = ", instead of what these keys say now".to_owned();
            let as_known = known.unwrap_or(instead);
            return (why, format!("under [optimizer] say{as_known},\n{lines}"));
        }
        let described: Vec<String> = unscaled.iter().map(Unscaled::described).collect();
        let scaled: Vec<String> =
            unscaled.iter().map(|it| format!("    {} = {}", it.key, it.mended)).collect();
        (
            format!("Probably because {}", described.join(", and ")),
            format!(
                "under [data] say\n{}\nor, if values must stay as they are, under [optimizer]{}\n{lines}",
                scaled.join("\n"),
                known.unwrap_or_default()
            ),
        )
    }

    /// What is taken as it is, though it is large.
    fn unscaled(&self) -> Vec<Unscaled> {
        let largest =
            |values: &[f32]| values.iter().fold(0f32, |most, value| most.max(value.abs()));
        let data = &self.settings.data;
        let mut found = Vec::new();
        if data.scaling == Some(Scaling::None) {
            let largest = largest(self.data.training.inputs());
            let mended = "\"standardize\"";
            found.push(Unscaled { key: "scaling", what: "inputs", mended, largest });
        }
        if let (false, Examples::Values(rows)) = (data.scale_targets, &self.data.training) {
            let largest = largest(rows.targets());
            found.push(Unscaled { key: "scale_targets", what: "targets", mended: "true", largest });
        }
        found.retain(|it| it.largest > LARGE);
        found
    }

    /// The newest checkpoint that was trained without harm by a learning rate that can be trusted, and
    /// that rate.
    pub fn trained_well(&self, is_trusted: impl Fn(f32) -> bool) -> Option<(f64, PathBuf)> {
        let files = list(&self.directory).ok()?;
        files.iter().rev().find_map(|file| {
            let checkpoint = Checkpoint::open(&file.path).ok()?;
            let rate = first_rate(&schedule_of(&checkpoint)?);
            let worked = is_trusted(rate) && !self.is_ruined(&checkpoint);
            worked.then(|| (written(rate), file.path.clone()))
        })
    }
}

/// Values of a kind that no key scales, and the key that would.
struct Unscaled {
    key: &'static str,
    what: &'static str,
    mended: &'static str,
    largest: f32,
}

impl Unscaled {
    fn described(&self) -> String {
        format!("{} reach {} and are taken as they are", self.what, short(self.largest.into()))
    }
}

/// The rate that a file gives a schedule as `learning_rate`.
fn first_rate(schedule: &Schedule) -> f32 {
    match schedule {
        Schedule::Constant(rate) => *rate,
        Schedule::Step { initial, .. }
        | Schedule::Exponential { initial, .. }
        | Schedule::Cosine { initial, .. } => *initial,
        Schedule::WarmUp { then, .. } => first_rate(then),
        Schedule::Chain { first, .. } => first_rate(first),
    }
}

/// As it is written, and not as `f32` has it.
fn written(rate: f32) -> f64 {
    rate.to_string().parse().unwrap_or(f64::from(rate))
}

/// A learning rate that may do, with few digits.
fn lower(rate: f32) -> f64 {
    let lower = (written(rate) / LOWER).min(USUAL);
    format!("{lower:.5e}").parse().unwrap_or(lower)
}

#[cfg(test)]
mod tests {
    use super::{first_rate, lower};
    use warmstart::graph::Schedule;

    #[test]
    fn a_lower_rate_has_as_few_digits() {
        let lines = [0.001, 0.07, 0.05, 3e-7, 1000.0].map(|rate| format!("{:?}", lower(rate)));
        assert_eq!(lines, ["0.0001", "0.007", "0.005", "3e-8", "0.01"]);
    }

    #[test]
    fn the_rate_of_a_schedule_is_that_of_the_file() {
        assert_eq!(first_rate(&Schedule::cosine(0.5, 0.0, 9).warm_up(3)), 0.5);
    }
}
