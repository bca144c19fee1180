//! Dynamic loss scaling: what keeps small gradients of half-precision products from becoming zero.

use crate::{Problem, VariableId};
use serde::{Deserialize, Serialize};

/// The smallest normal `f32`, 2⁻¹²⁶. Devices may take what is smaller for 0, and 1 divided by it is not
/// finite from 2⁻¹²⁸ down.
const SMALLEST_SCALE: f64 = f32::MIN_POSITIVE as f64;

/// How the loss is scaled before its gradient is taken, and how that scale follows from the
/// gradients (Micikevicius et al. 2017, "Mixed precision training", section 3.2). The rule and its
/// numbers are those of `torch.amp.GradScaler`:
///
/// - The gradients of the scaled loss are divided by the scale before they are used.
/// - A step whose gradients are not all finite changes no parameter and no slot, and the scale is
///   multiplied by the backoff factor, 0.5, though it never falls below 2⁻¹²⁶. Here `GradScaler`
///   differs, whose scale comes down to 0 after enough such steps; no gradient divided by that is a
///   number, so it stays there.
/// - After 2,000 steps in a row that were applied, it is multiplied by the growth factor, 2.
///
/// All of it happens on the device, and the scale is a variable like any slot, so a run that goes on
/// from a checkpoint goes on with its scale. See
/// [`Optimizer::loss_scaling`](crate::Optimizer::loss_scaling).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LossScaling {
    initial_scale: f32,
    growth_factor: f32,
    backoff_factor: f32,
    growth_interval: u32,
}

impl Default for LossScaling {
    fn default() -> LossScaling {
        LossScaling::new()
    }
}

impl LossScaling {
    /// `GradScaler`'s numbers: an initial scale of 65,536, factors of 2 and 0.5, and an interval of
    /// 2,000 steps.
    pub fn new() -> LossScaling {
        LossScaling {
            initial_scale: 65_536.0,
            growth_factor: 2.0,
            backoff_factor: 0.5,
            growth_interval: 2000,
        }
    }

    /// The scale to begin with. With powers of two for this and the factors, scaling rounds nothing.
    #[must_use]
    pub fn initial_scale(mut self, scale: f32) -> LossScaling {
        self.initial_scale = scale;
        self
    }

    /// What the scale is multiplied by after enough steps that were applied.
    #[must_use]
    pub fn growth_factor(mut self, factor: f32) -> LossScaling {
        self.growth_factor = factor;
        self
    }

    /// What the scale is multiplied by after a step that was left out.
    #[must_use]
    pub fn backoff_factor(mut self, factor: f32) -> LossScaling {
        self.backoff_factor = factor;
        self
    }

    /// How many steps in a row must have been applied for the scale to grow.
    #[must_use]
    pub fn growth_interval(mut self, steps: u32) -> LossScaling {
        self.growth_interval = steps;
        self
    }

    pub(crate) fn initial(&self) -> f32 {
        self.initial_scale
    }

    /// Growth factor, backoff factor and growth interval.
    pub fn numbers(&self) -> (f32, f32, u32) {
        (self.growth_factor, self.backoff_factor, self.growth_interval)
    }

    /// That every number is one the rule is defined for.
    ///
    /// # Errors
    /// The first that is not.
    pub fn check(&self) -> Result<(), Problem> {
        let within = |what: &str, value: f32, fits: bool, range: &str| {
            let (what, range) = (format!("loss scaling's {what}"), range.to_owned());
            if fits { Ok(()) } else { Err(Problem::Range { what, value: value.into(), range }) }
        };
        let (initial, growth, backoff) =
            (self.initial_scale, self.growth_factor, self.backoff_factor);
        let normal = initial.is_normal() && initial > 0.0;
        within("initial scale", initial, normal, "a normal number above 0")?;
        let grows = growth.is_finite() && growth > 1.0;
        within("growth factor", growth, grows, "finite and above 1")?;
        let backs_off = backoff > 0.0 && backoff < 1.0;
        within("backoff factor", backoff, backs_off, "between 0 and 1")?;
        let interval = self.growth_interval;
        within("growth interval", interval as f32, interval > 0, "at least 1")
    }

    /// The plain CPU twin of what follows a step: the next scale, and how many steps in a row have
    /// been applied since it changed.
    pub fn evaluate(&self, scale: f64, good_steps: u32, applied: bool) -> (f64, u32) {
        let good_steps = good_steps.saturating_add(1);
        if !applied {
            ((scale * f64::from(self.backoff_factor)).max(SMALLEST_SCALE), 0)
        } else if good_steps < self.growth_interval {
            (scale, good_steps)
        } else {
            let grown = scale * f64::from(self.growth_factor);
            (if (grown as f32).is_finite() { grown } else { scale }, 0)
        }
    }
}

/// The loss scaling of an [`OptimizerUpdate`](crate::ops::OptimizerUpdate).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LossScale {
    /// The scale, an `f32` scalar.
    pub scale: VariableId,
    /// How many steps in a row have been applied since it changed, a `u32` scalar.
    pub good_steps: VariableId,
    /// How the two go on.
    pub scaling: LossScaling,
}
