//! How well a model does on rows that it was not trained on.

use super::examples::Examples;
use super::settings::{self, Settings};
use warmstart::Dataset;
use warmstart::checkpoint::Better;

/// Metrics by name.
pub type Scores = Vec<(&'static str, f64)>;

pub const ACCURACY: &str = "validation/accuracy";
pub const LOSS: &str = "validation/loss";
pub const RMSE: &str = "validation/rmse";
pub const R2: &str = "validation/r2";

/// The metrics that there will be, and which of them tells the best model.
pub fn metrics(examples: &Examples) -> ([&'static str; 2], (&'static str, Better)) {
    match examples {
        Examples::Classes(_) => ([ACCURACY, LOSS], (ACCURACY, Better::Higher)),
        Examples::Values(_) => ([RMSE, R2], (RMSE, Better::Lower)),
    }
}

/// A metric that can be drawn beside the loss of the training.
pub struct Curve {
    pub metric: &'static str,
    /// What the legend calls it.
    pub name: &'static str,
    /// What is drawn of a value.
    pub value: fn(f64) -> f64,
}

/// The metric that can be held against the loss of the training, if there is one.
pub fn curve(examples: &Examples, settings: &Settings) -> Option<Curve> {
    let (metric, name, value): (_, _, fn(f64) -> f64) = match examples {
        Examples::Classes(_) => (LOSS, "validation", |loss| loss),
        // Its scale is that of squares within `huber_delta` alone.
        Examples::Values(_) if settings.training.loss == Some(settings::Loss::Huber) => {
            return None;
        }
        // Of standardized targets, what is not explained of their variance.
        Examples::Values(_) if settings.data.scale_targets => {
            (R2, "validation, 1 − R²", |r2| 1.0 - r2)
        }
        Examples::Values(_) => (RMSE, "validation", |rmse| rmse * rmse),
    };
    Some(Curve { metric, name, value })
}

/// The metrics of what a model says: logits of classes, or values.
pub fn score(examples: &Examples, outputs: &[f32]) -> Scores {
    match examples {
        Examples::Classes(data) => of_classes(data, outputs),
        Examples::Values(data) => of_values(data, outputs),
    }
}

/// The share of rows whose largest logit is that of their class, and the mean cross-entropy.
fn of_classes(data: &Dataset, logits: &[f32]) -> Scores {
    let classes = logits.len() / data.len();
    let (mut right, mut loss) = (0u32, 0.0);
    for (logits, &label) in logits.chunks(classes).zip(data.labels()) {
        let label = label as usize;
        right += u32::from(largest(logits) == label);
        let most = f64::from(logits[largest(logits)]);
        let sum: f64 = logits.iter().map(|&logit| (f64::from(logit) - most).exp()).sum();
        loss += most + sum.ln() - f64::from(logits[label]);
    }
    let rows = data.len() as f64;
    vec![(ACCURACY, f64::from(right) / rows), (LOSS, loss / rows)]
}

/// The root of the mean squared error over all targets, and the share of their variance that is
/// explained (R²), averaged over targets. Targets that do not vary have none.
fn of_values(data: &Dataset<f32>, values: &[f32]) -> Scores {
    let (width, rows) = (data.target_width(), data.len() as f64);
    let (mut squares, mut shares) = (0.0, Vec::new());
    for column in 0..width {
        let of = |values: &[f32]| -> Vec<f64> {
            values.iter().skip(column).step_by(width).map(|&value| f64::from(value)).collect()
        };
        let (values, targets) = (of(values), of(data.targets()));
        let mean = targets.iter().sum::<f64>() / rows;
        let varied: f64 = targets.iter().map(|target| (target - mean).powi(2)).sum();
        let missed: f64 =
            values.iter().zip(&targets).map(|(value, target)| (value - target).powi(2)).sum();
        squares += missed;
        if varied > 0.0 {
            shares.push(1.0 - missed / varied);
        }
    }
    let mut scores = vec![(RMSE, (squares / (rows * width as f64)).sqrt())];
    if !shares.is_empty() {
        scores.push((R2, shares.iter().sum::<f64>() / shares.len() as f64));
    }
    scores
}

/// The index of the largest value, the first of equal ones.
pub fn largest(values: &[f32]) -> usize {
    let first = |best: usize, at: usize| if values[at] > values[best] { at } else { best };
    (0..values.len()).fold(0, first)
}

/// A metric as people call it, and its value.
pub fn one(name: &'static str, value: f64) -> (&'static str, String) {
    match name.trim_start_matches("validation/") {
        "accuracy" => ("accuracy", format!("{:.1} %", 100.0 * value)),
        "r2" => ("R²", format!("{value:.3}")),
        "rmse" => ("RMSE", crate::text::short(value)),
        name => (name, crate::text::short(value)),
    }
}

/// Metrics as a line.
pub fn described(scores: &Scores) -> String {
    let text = |&(name, value): &(&'static str, f64)| {
        let (name, value) = one(name, value);
        format!("{name} {value}")
    };
    scores.iter().map(text).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_scored_by_their_largest_logit() {
        let data = Dataset::new(vec![0.0; 3], 1, vec![0, 1, 1]).unwrap();
        let logits = [2.0, 2.0, 0.0, 1000.0, 3.0, 1.0];
        let scores = score(&Examples::Classes(data), &logits);
        // A tie is the first class; logits of any size have a finite loss.
        assert_eq!(scores[0], (ACCURACY, 2.0 / 3.0));
        let expected = (2f64.ln() + 0.0 + 2.0 + (1.0 + (-2f64).exp()).ln()) / 3.0;
        assert!((scores[1].1 - expected).abs() < 1e-12, "{scores:?}");
    }

    #[test]
    fn values_are_scored_by_what_they_miss() {
        let targets = vec![1.0, 5.0, 3.0, 5.0];
        let data = Dataset::with_targets(vec![0.0; 2], 1, targets, 2).unwrap();
        let scores = score(&Examples::Values(data), &[2.0, 5.0, 3.0, 5.0]);
        // The second target does not vary, so it has no share that could be explained.
        assert_eq!(scores, [(RMSE, 0.5), (R2, 0.5)]);
    }
}
