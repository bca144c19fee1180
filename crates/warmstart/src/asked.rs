//! What is asked of a run and cannot come true, which is told before it begins and not after hours.

use crate::{Training, TrainingError};
use warmstart_graph::{GraphDef, Op, Optimizer};

/// The metric that every run records.
const LOSS: &str = "loss";

impl Training {
    /// Refuses metrics that are not [declared](Training::metrics), of which the best could never be kept.
    ///
    /// # Errors
    /// [`TrainingError::NoSuchMetric`].
    pub(crate) fn check_metrics(&self) -> Result<(), TrainingError> {
        let best = self.keep_best_of().map(|metric| ("keep_best", metric));
        let curves = self.curves.iter().map(|curve| ("curve", curve.metric.as_str()));
        let is_declared =
            |metric: &str| metric == LOSS || self.metrics.iter().any(|declared| declared == metric);
        let unknown = best.chain(curves).find(|(_, metric)| !is_declared(metric));
        unknown.map_or(Ok(()), |(asked_by, metric)| {
            let declared = [LOSS].into_iter().chain(self.metrics.iter().map(String::as_str));
            let declared: Vec<String> = declared.map(|metric| format!("`{metric}`")).collect();
            let (metric, declared) = (metric.to_owned(), declared.join(", "));
            Err(TrainingError::NoSuchMetric { asked_by, metric, declared })
        })
    }
}

/// Refuses an optimizer that has built none of the graph's updates: checkpoints would name settings that
/// the training does not have.
///
/// # Errors
/// [`TrainingError::OtherOptimizer`].
pub(crate) fn check_optimizer(def: &GraphDef, optimizer: &Optimizer) -> Result<(), TrainingError> {
    let updates = || {
        def.nodes.iter().filter_map(|node| match &node.op {
            Op::OptimizerUpdate(update) => Some((update, &node.location)),
            _ => None,
        })
    };
    match updates().next() {
        Some((_, location)) if !updates().any(|(update, _)| optimizer.built(def, update)) => {
            Err(TrainingError::OtherOptimizer { location: location.clone() })
        }
        _ => Ok(()),
    }
}
