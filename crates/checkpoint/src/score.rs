//! Which of two checkpoints is the better, by a metric.

use crate::metadata::Metadata;
use std::cmp::Ordering;

/// Which values of a metric are better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// Higher ones, as of an accuracy.
    Higher,
    /// Lower ones, as of a loss.
    Lower,
}

impl Better {
    /// Worse values first. Neither may be NaN.
    fn order(self, a: f64, b: f64) -> Ordering {
        let ascending = a.partial_cmp(&b).unwrap_or(Ordering::Equal);
        match self {
            Better::Higher => ascending,
            Better::Lower => ascending.reverse(),
        }
    }

    /// From the worst to the best. Of equals the one with the lower loss is better, then the
    /// earlier: what trained on without getting better has only learned its rows by heart. What is not
    /// a number is never good.
    pub(crate) fn rank(self, values: impl Iterator<Item = (Score, u64)>) -> Vec<(Score, u64)> {
        let mut ranked: Vec<(Score, u64)> =
            values.filter(|(score, _)| !score.value.is_nan()).collect();
        ranked.sort_by(|(a, first), (b, second)| {
            let losses = Better::Lower.order(a.loss, b.loss);
            self.order(a.value, b.value).then(losses).then(second.cmp(first))
        });
        ranked
    }
}

/// What decides which of two checkpoints is the better.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Score {
    /// The metric's.
    pub value: f64,
    /// That of the loss among the same metrics, such as `validation/loss` beside
    /// `validation/accuracy`; infinite where there is none.
    loss: f64,
}

impl Score {
    /// `None` of a checkpoint that has not recorded the metric.
    pub fn of(metadata: &Metadata, metric: &str) -> Option<Score> {
        let value = metadata.metric(metric)?;
        let loss = match metric.rsplit_once('/') {
            Some((scope, _)) => metadata.metric(&format!("{scope}/loss")),
            None => metadata.metric("loss"),
        };
        let loss = loss.filter(|loss| !loss.is_nan()).unwrap_or(f64::INFINITY);
        Some(Score { value, loss })
    }
}
