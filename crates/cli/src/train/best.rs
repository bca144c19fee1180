//! The best checkpoint of a run, where it is not the newest: training on has made it worse.

use super::score::{self, Scores};
use super::settings::Missing;
use super::{Job, Outcome};
use crate::flags::quoted;
use crate::text;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use warmstart::checkpoint::{Better, Checkpoint, best_verified};
use warmstart_graph::words::printable_path;

/// A checkpoint that is better than the newest.
pub struct BestCheckpoint {
    step: u64,
    file: PathBuf,
    /// Those that it has of the newest's.
    scores: Scores,
}

impl Job {
    /// The best checkpoint in the directory, if the newest, which has these scores, is not as good.
    pub fn best(&self, newest: &Path, scores: &Scores) -> Option<BestCheckpoint> {
        let (_, (metric, better)) = score::metrics(self.data.validation.as_ref()?);
        // The training is done: what cannot be found out now is no reason to fail.
        let found = best_verified(&self.directory, metric, better).ok()??;
        if found.path == newest {
            return None;
        }
        let checkpoint = Checkpoint::open(&found.path).ok()?;
        let metadata = checkpoint.metadata();
        let recorded = scores.iter().filter_map(|&(name, _)| Some((name, metadata.metric(name)?)));
        let best =
            BestCheckpoint { step: found.step, file: found.path, scores: recorded.collect() };
        // What was saved on Ctrl-C has recorded none, and may be better for all that.
        let is_better = scores.iter().find_map(|&(name, last)| {
            let best = best.of(name)?;
            let is_higher = better == Better::Higher && name == metric;
            (best != last).then_some(if is_higher { best > last } else { best < last })
        });
        is_better?.then_some(best)
    }

    /// The command that predicts with a checkpoint, on the rows that are there.
    fn predicts(&self, checkpoint: &Path) -> String {
        let data = &self.settings.data;
        let (file, array) = match (&data.validation_file, &data.validation_array) {
            (Some(file), array) => (file, array),
            (None, Some(array)) => (&data.file, &Some(array.clone())),
            (None, None) => (&data.file, &data.array),
        };
        let word = |path: &Path| quoted(&printable_path(path));
        let mut line = format!(
            "warmstart predict {} --data {}",
            word(checkpoint),
            word(&self.source.path(file))
        );
        let flags = [
            ("array", array.clone()),
            ("missing", (data.missing == Missing::Skip).then(|| "skip".to_owned())),
            ("header", data.header.map(|header| header.to_string())),
            // A tab would not come through a terminal, and is found without.
            ("separator", data.separator.filter(|&it| it != '\t').map(String::from)),
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
        let pairs: Vec<_> = outcome
            .scores
            .iter()
            .filter_map(|&(name, last)| Some((name, best.of(name)?, last)))
            .collect();
        // Where the metric is the same, the loss has decided.
        let shown = pairs.iter().position(|(_, best, last)| best != last).map_or(1, |at| at + 1);
        let pairs = pairs.into_iter().take(shown);
        let (bests, lasts): (Vec<_>, Vec<_>) = pairs
            .map(|(name, best, last)| (score::one(name, best), score::one(name, last)))
            .unzip();
        let named = |(name, value): &(&str, String)| format!("{name} {value}");
        let bests = bests.iter().map(named).collect::<Vec<_>>().join(", ");
        let lasts: Vec<String> = match &lasts[..] {
            [(_, value)] => vec![value.clone()],
            several => several.iter().map(named).collect(),
        };
        let (step, lasts, command) = (best.step, lasts.join(", "), self.predicts(&best.file));
        Some(format!("step {step}, {bests} (last: {lasts}); to predict with it:\n  {command}"))
    }
}

impl BestCheckpoint {
    fn of(&self, metric: &str) -> Option<f64> {
        Some(self.scores.iter().find(|(name, _)| *name == metric)?.1)
    }

    pub fn json(&self) -> Value {
        let metrics: serde_json::Map<String, Value> = self
            .scores
            .iter()
            .map(|&(name, value)| (name.to_owned(), text::number(value)))
            .collect();
        json!({
            "checkpoint": self.file.to_string_lossy(),
            "step": self.step,
            "metrics": metrics,
        })
    }
}
