//! What to do where numbers became too large for a training to go on.

use super::Job;
use crate::error::Failure;
use crate::flags::quoted;
use warmstart::TrainingError;
use warmstart::checkpoint::latest;

/// By what a learning rate is divided that was too high.
const LOWER: f64 = 10.0;

impl Job {
    /// A training that cannot go on, with the lines that mend it where its loss or its weights are
    /// no numbers any more.
    pub fn failed(&self, error: TrainingError) -> Failure {
        let message = match &error {
            TrainingError::NonFinite(found) => {
                format!("the loss of step {} is {}; training stopped there", found.step, found.loss)
            }
            TrainingError::NonFiniteVariables(found) => {
                let text = found.to_string();
                // What it advises is for programs.
                text.split("; ").next().unwrap_or(&text).to_owned()
            }
            _ => return error.into(),
        };
        let optimizer = &self.settings.optimizer;
        let mut lines = format!("    learning_rate = {:?}", lower(optimizer.learning_rate));
        match optimizer.clip_global_norm {
            None => lines.push_str("\n    clip_global_norm = 1.0"),
            Some(norm) if norm > 1.0 => lines.push_str("\n    clip_global_norm = 1.0"),
            // It is clipped already.
            Some(_) => {}
        }
        let newest = latest(&self.directory).ok().flatten();
        let file = quoted(&self.source.file.display().to_string());
        let again = match newest {
            Some(newest) => {
                format!("`warmstart train {file}` then goes on from `{}`", newest.path.display())
            }
            None => format!("`warmstart train {file}` then begins anew"),
        };
        self.source.failure(&["optimizer", "learning_rate"], message, "perhaps too high").help(
            format!("under [optimizer] say, instead of what these keys say now,\n{lines}\n{again}"),
        )
    }
}

/// A learning rate that may do, with few digits.
fn lower(rate: f32) -> f64 {
    // As it is written, and not as `f32` has it.
    let written: f64 = rate.to_string().parse().unwrap_or(f64::from(rate));
    let lower = written / LOWER;
    format!("{lower:.5e}").parse().unwrap_or(lower)
}

#[cfg(test)]
mod tests {
    use super::lower;

    #[test]
    fn a_lower_rate_has_as_few_digits() {
        let lines = [0.001, 0.7, 0.05, 3e-7, 1000.0].map(|rate| format!("{:?}", lower(rate)));
        assert_eq!(lines, ["0.0001", "0.07", "0.005", "3e-8", "100.0"]);
    }
}
