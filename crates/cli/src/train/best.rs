//! The best checkpoint of a run, where it is not the newest: training on has made it worse.

use super::score::{self, Scores};
use super::{Job, Outcome};
use crate::flags::quoted;
use crate::text;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use warmstart::checkpoint::{Checkpoint, best};

/// A checkpoint that is better than the newest.
pub struct BestCheckpoint {
    step: u64,
    file: PathBuf,
    /// Those that it has of the newest's.
    scores: Scores,
}

impl Job {
    /// The best checkpoint in the directory, unless it is the newest or nothing says which is best.
    pub fn best(&self, newest: &Path, scores: &Scores) -> Option<BestCheckpoint> {
        let (_, (metric, better)) = score::metrics(self.data.validation.as_ref()?);
        // The training is done: what cannot be found out now is no reason to fail.
        let found = best(&self.directory, metric, better).ok()??;
        if found.path == newest {
            return None;
        }
        let checkpoint = Checkpoint::open(&found.path).ok()?;
        let metadata = checkpoint.metadata();
        let scores = scores.iter().filter_map(|&(name, _)| Some((name, metadata.metric(name)?)));
        Some(BestCheckpoint { step: found.step, file: found.path, scores: scores.collect() })
    }

    /// The command that predicts with a checkpoint, on the rows that are there.
    fn predicts(&self, checkpoint: &Path) -> String {
        let data = &self.settings.data;
        let (file, array) = match (&data.validation_file, &data.validation_array) {
            (Some(file), array) => (file, array),
            (None, Some(array)) => (&data.file, &Some(array.clone())),
            (None, None) => (&data.file, &data.array),
        };
        let word = |path: &Path| quoted(&path.display().to_string());
        let mut line = format!(
            "warmstart predict {} --data {}",
            word(checkpoint),
            word(&self.source.path(file))
        );
        let flags = [
            ("array", array.clone()),
            ("header", data.header.map(|header| header.to_string())),
            ("separator", data.separator.map(String::from)),
        ];
        for (flag, value) in flags {
            if let Some(value) = value {
                line.push_str(&format!(" --{flag} {}", quoted(&value)));
            }
        }
        line
    }

    /// Which checkpoint is better than the newest, and how to use it.
    pub fn better(&self, outcome: &Outcome) -> Option<String> {
        let best = outcome.best.as_ref()?;
        let pairs = outcome.scores.iter().filter_map(|&(name, last)| {
            let best = best.scores.iter().find(|(other, _)| *other == name)?.1;
            Some((score::one(name, best), score::one(name, last)))
        });
        let pairs: Vec<_> = pairs.collect();
        // Where the metric is the same, the loss has decided.
        let shown = pairs.iter().position(|(best, last)| best != last).map_or(1, |at| at + 1);
        let (bests, lasts): (Vec<_>, Vec<_>) = pairs.into_iter().take(shown).unzip();
        let named = |(name, value): &(&str, String)| format!("{name} {value}");
        let bests = bests.iter().map(named).collect::<Vec<_>>().join(", ");
        let lasts: Vec<String> = match &lasts[..] {
            [(_, value)] => vec![value.clone()],
            several => several.iter().map(named).collect(),
        };
        Some(format!(
            "step {}, {bests} (last: {}); to predict with it:\n  {}",
            best.step,
            lasts.join(", "),
            self.predicts(&best.file)
        ))
    }
}

impl BestCheckpoint {
    pub fn json(&self) -> Value {
        let metrics: serde_json::Map<String, Value> = self
            .scores
            .iter()
            .map(|&(name, value)| (name.to_owned(), text::number(value)))
            .collect();
        json!({
            "checkpoint": self.file.display().to_string(),
            "step": self.step,
            "metrics": metrics,
        })
    }
}
