//! Gradient accumulation: several batches make one update.

use crate::{Problem, VariableId};
use serde::{Deserialize, Serialize};

/// The most batches of one update: a device counts them in `f32`, where whole numbers are exact up to
/// 2²⁴.
const MOST: u32 = 1 << 24;

/// The gradient accumulation of an [`OptimizerUpdate`](crate::ops::OptimizerUpdate). See
/// [`Optimizer::gradient_accumulation_steps`](crate::Optimizer::gradient_accumulation_steps).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accumulation {
    /// Of how many runs, each with a batch of its own, an update is made.
    pub steps: u32,
    /// Of how many runs the accumulators hold gradients before a run, a `u32` scalar.
    pub accumulated: VariableId,
}

impl Accumulation {
    /// The name of the slot that holds the sum of a parameter's gradients.
    pub const SLOT: &'static str = "gradient_accumulator";

    /// The name of the optimizer's slot that says of how many runs those are the sums.
    pub const COUNT: &'static str = "accumulated_batches";

    /// That there are as many steps as can be counted.
    ///
    /// # Errors
    /// [`Problem::Range`].
    pub fn check(steps: u32) -> Result<(), Problem> {
        match steps {
            1..=MOST => Ok(()),
            _ => Err(Problem::Range {
                what: "the number of gradient accumulation steps".to_owned(),
                value: steps.into(),
                range: format!("from 1 to {MOST}"),
            }),
        }
    }

    /// Whether a run makes the update, whose own gradients are the last of those of so many batches. It
    /// may be more than the steps say, where a run goes on with fewer than its accumulators hold.
    pub fn updates(&self, batches: f64) -> bool {
        batches >= f64::from(self.steps)
    }
}
