//! Weights that are numbers and of no use: a loss that has grown beyond all measure without becoming
//! infinite.
//!
//! That is where the median of the last five losses is more than ten times that of guessing.

use super::Job;
use super::examples::Examples;
use super::scaling::Scale;
use super::settings::{Loss, Settings};
use crate::text::short;
use warmstart::checkpoint::Checkpoint;
use warmstart::gpu::Session;
use warmstart::metrics::MetricsTable;
use warmstart_graph::words::printable_path;

/// A loss so many times as large as that of guessing is no longer a matter of training on: guessing
/// is no better than the first weights, which know nothing.
const FAR: f64 = 10.0;
/// The newest losses that are looked at. Their median is that of no single strange batch.
const NEWEST: usize = 5;

/// What is known of losses that are far worse than guessing.
pub struct Ruined {
    /// About what they are.
    loss: f64,
    guessing: Guessing,
}

/// The loss of a model that says the same of every row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Guessing {
    loss: f64,
    model: &'static str,
}

impl Guessing {
    /// Of these rows, whose targets are learned scaled like this.
    pub fn of(
        rows: &Examples,
        classes: usize,
        scale: Option<&Scale>,
        settings: &Settings,
    ) -> Guessing {
        match (rows, scale) {
            (Examples::Values(data), Some(scale)) => {
                let huber = (settings.training.loss == Some(Loss::Huber))
                    .then(|| f64::from(settings.training.huber_delta));
                let loss =
                    |said: fn(f64, f64) -> f64| of_saying(data.targets(), scale, huber, said);
                let (mean, first) = (loss(|_, mean| mean), loss(|offset, _| offset));
                // The offset of scaled targets is their mean, but for its rounding.
                match first > 1.01 * mean {
                    true => Guessing { loss: first, model: "that has learned nothing yet" },
                    false => {
                        Guessing { loss: mean, model: "that always says the mean of the targets" }
                    }
                }
            }
            _ => Guessing {
                loss: (classes as f64).ln(),
                model: "that gives each class the same chance",
            },
        }
    }

    /// Whether a loss is far worse than guessing. Where all rows are alike, there is nothing to guess.
    fn is_far_below(self, loss: f64) -> bool {
        self.loss > 0.0 && loss > FAR * self.loss
    }
}

/// The loss of saying the same of every row. What is said of a column goes by its offset, which is
/// what the first weights say, about 0 in the model's own output, and by its mean.
fn of_saying(
    targets: &[f32],
    Scale { offset, scale, .. }: &Scale,
    huber: Option<f64>,
    said: fn(f64, f64) -> f64,
) -> f64 {
    let (width, rows) = (scale.len(), (targets.len() / scale.len()) as f64);
    let mut sum = 0.0;
    for (column, (&offset, &scale)) in offset.iter().zip(scale).enumerate() {
        let values = || targets.iter().skip(column).step_by(width).map(|&value| f64::from(value));
        let said = said(f64::from(offset), values().sum::<f64>() / rows);
        for value in values() {
            let error = ((value - said) / f64::from(scale)).abs();
            sum += match huber {
                Some(delta) if error > delta => delta * (error - 0.5 * delta),
                Some(_) => 0.5 * error * error,
                None => error * error,
            };
        }
    }
    sum / (rows * width as f64)
}

impl Job {
    /// What guessing loses in a run that may scale its targets as its first checkpoint did, whatever
    /// the file says now.
    pub fn learn_guessing(&mut self, session: &Session) {
        let read = |name: &str| Some(session.read(name).ok()?.as_f32()?.to_vec());
        let scale = read("output/offset").zip(read("output/scale"));
        let scale = scale.map(|(offset, scale)| Scale { offset, scale, constant: Vec::new() });
        let classes = self.shape.outputs;
        self.guessing = Guessing::of(&self.data.training, classes, scale.as_ref(), &self.settings);
    }

    /// Whether the newest losses up to a step are far worse than guessing.
    pub fn ruined(&self, step: u64) -> Option<Ruined> {
        let table = MetricsTable::read(&self.directory.join("metrics.csv")).ok()?;
        let losses = table.series("loss");
        let until = losses.partition_point(|&(at, _)| at <= step);
        let newest = &losses[until.saturating_sub(NEWEST)..until];
        let mut newest: Vec<f64> = newest.iter().map(|&(_, loss)| loss).collect();
        newest.sort_by(f64::total_cmp);
        let loss = *newest.get(newest.len() / 2)?;
        self.guessing.is_far_below(loss).then_some(Ruined { loss, guessing: self.guessing })
    }

    /// Whether a checkpoint was saved with a loss that is far worse than guessing.
    pub fn is_ruined(&self, checkpoint: &Checkpoint) -> bool {
        let loss = checkpoint.metadata().metric("loss");
        loss.is_some_and(|loss| !loss.is_finite() || self.guessing.is_far_below(loss))
    }

    /// What is said before a run that goes on from such weights.
    pub fn begins_ruined(&self, ruined: &Ruined) -> String {
        format!(
            "the weights that this run goes on from are ruined: {}. Training on hardly mends that, and a setting that was changed has effect only from here on. {}",
            ruined.described(),
            self.way_out(true)
        )
    }

    /// What is said after a run that ends with such weights, and began with such or not.
    pub fn ends_ruined(&self, ruined: &Ruined, began_so: bool) -> String {
        let described = ruined.described();
        if began_so {
            return format!("the weights are still ruined: {described}. {}", self.way_out(true));
        }
        let (why, mend) = self.why_too_large();
        format!(
            "the weights are ruined: {described}. {why}:\n{mend}\nIn this directory, a run goes on from these weights. {}",
            self.way_out(false)
        )
    }

    /// How to go on from something else. A run that began ruined has not ruined anything by its rate.
    fn way_out(&self, began_so: bool) -> String {
        let now = self.settings.optimizer.learning_rate;
        match self.trained_well(|rate| rate < now || began_so && rate == now) {
            Some((_, file)) => format!(
                "Begin another run with those of `{}`, by these lines{}",
                printable_path(&file),
                self.another_run(&file)
            ),
            None => format!(
                "Begin anew: remove `{}`, or{}",
                printable_path(&self.directory),
                self.another_directory()
            ),
        }
    }
}

impl Ruined {
    fn described(&self) -> String {
        let Guessing { loss, model } = self.guessing;
        format!(
            "the last losses are about {}, and a model {model} has {}",
            short(self.loss),
            short(loss)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::settings::Scaling;
    use warmstart::Dataset;

    #[test]
    fn guessing_is_measured_as_the_training_measures() {
        let settings = |keys: &str| -> Settings {
            toml::from_str(&format!("[data]\nfile = \"a.csv\"\n{keys}")).unwrap()
        };
        let targets = vec![1.0, 10.0, 3.0, 10.0, 5.0, 40.0];
        let rows =
            |targets| Examples::Values(Dataset::with_targets(vec![0.0; 3], 1, targets, 2).unwrap());
        let guessing = |targets: &[f32], scaling, keys: &str| {
            let scale = Scale::learn(targets, 2, scaling);
            Guessing::of(&rows(targets.to_vec()), 2, Some(&scale), &settings(keys))
        };
        // By the standard deviation, each target has a variance of 1.
        let scaled = guessing(&targets, Scaling::Standardize, "");
        assert!((scaled.loss - 1.0).abs() < 1e-6);
        assert_eq!(scaled.model, "that always says the mean of the targets");
        // As they are, these are nearer to their mean than to the 0 that the first weights say.
        let plain = guessing(&targets, Scaling::None, "");
        let squares: f64 = [1.0, 100.0, 9.0, 100.0, 25.0, 1600.0].iter().sum();
        assert!((plain.loss - squares / 6.0).abs() < 1e-6);
        assert_eq!(plain.model, "that has learned nothing yet");
        // And these are about 0.
        let centred = [-2.0, -10.0, 0.0, -10.0, 2.0, 20.0];
        let plain = guessing(&centred, Scaling::None, "");
        let squares: f64 = [4.0, 0.0, 4.0, 100.0, 100.0, 400.0].iter().sum();
        assert!((plain.loss - squares / 6.0).abs() < 1e-6);
        assert_eq!(plain.model, "that always says the mean of the targets");
        let huber = "[training]\nloss = \"huber\"\nhuber_delta = 4.0\n";
        let huber = guessing(&centred, Scaling::None, huber).loss;
        let expected = (2.0 + 0.0 + 2.0 + 4.0 * 8.0 + 4.0 * 8.0 + 4.0 * 18.0) / 6.0;
        assert!((huber - expected).abs() < 1e-6, "{huber}");
        // Temperatures in Kelvin: a short run that learns well is still far from their mean.
        let kelvin = [289.0, 290.0, 290.0, 291.0, 291.0, 289.0];
        let guessing = guessing(&kelvin, Scaling::None, "");
        assert!((guessing.loss - (84_100.0 + 2.0 / 3.0)).abs() < 1e-6, "{guessing:?}");
        assert!(!guessing.is_far_below(84_000.0) && guessing.is_far_below(1e6));
        let classes = Examples::Classes(Dataset::new(vec![0.0; 3], 1, vec![0, 1, 2]).unwrap());
        let guessing = Guessing::of(&classes, 3, None, &settings(""));
        assert!((guessing.loss - 3f64.ln()).abs() < 1e-12);
        assert!(!guessing.is_far_below(10.9) && guessing.is_far_below(11.0));
        // Targets that are all the same.
        assert!(!Guessing { loss: 0.0, model: "" }.is_far_below(1e30));
    }
}
