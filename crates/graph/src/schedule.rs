//! Learning-rate schedules, as data; evaluated on the device from the global step.

use crate::{DType, Location, Problem, Tensor};
use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

/// The learning rate as a function of the global step, counted from 0; of the updates made where
/// [several steps make one](crate::Optimizer::gradient_accumulation_steps).
///
/// ```
/// use warmstart_graph::Schedule;
/// let schedule = Schedule::cosine(0.1, 0.0, 900).warm_up(100);
/// assert!((schedule.at(0) - 0.001).abs() < 1e-9);
/// assert!((schedule.at(99) - 0.1).abs() < 1e-8);
/// assert!(schedule.at(1000).abs() < 1e-8);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// Always the same.
    Constant(f32),
    /// `initial · factor^⌊step / every⌋`, as `torch.optim.lr_scheduler.StepLR`.
    Step {
        /// At step 0.
        initial: f32,
        /// Steps between changes.
        every: u64,
        /// What each change multiplies by.
        factor: f32,
    },
    /// `initial · factor^(step / every)`, as `tf.keras.optimizers.schedules.ExponentialDecay`.
    Exponential {
        /// At step 0.
        initial: f32,
        /// Steps after which `factor` has been applied once.
        every: u64,
        /// What `every` steps multiply by.
        factor: f32,
    },
    /// `last + (initial − last)(1 + cos(π step / steps)) / 2`, then `last`: Loshchilov and Hutter
    /// 2016 without restarts.
    Cosine {
        /// At step 0.
        initial: f32,
        /// From `steps` on.
        last: f32,
        /// Length.
        steps: u64,
    },
    /// For `steps` steps `(step + 1) / steps` of what `then` begins with; after that `then`, which
    /// counts its steps from there.
    WarmUp {
        /// Length of the warm-up.
        steps: u64,
        /// What follows.
        then: Box<Schedule>,
    },
    /// One schedule before step `at`, another from there on, which counts its steps from there.
    Chain {
        /// Before `at`.
        first: Box<Schedule>,
        /// The step at which `then` takes over.
        at: u64,
        /// From `at` on.
        then: Box<Schedule>,
    },
}

impl From<f32> for Schedule {
    fn from(rate: f32) -> Schedule {
        Schedule::Constant(rate)
    }
}

impl Schedule {
    /// See [`Schedule::Step`].
    pub fn step(initial: f32, every: u64, factor: f32) -> Schedule {
        Schedule::Step { initial, every, factor }
    }

    /// See [`Schedule::Exponential`].
    pub fn exponential(initial: f32, every: u64, factor: f32) -> Schedule {
        Schedule::Exponential { initial, every, factor }
    }

    /// See [`Schedule::Cosine`].
    pub fn cosine(initial: f32, last: f32, steps: u64) -> Schedule {
        Schedule::Cosine { initial, last, steps }
    }

    /// This schedule after a linear warm-up.
    #[must_use]
    pub fn warm_up(self, steps: u64) -> Schedule {
        Schedule::WarmUp { steps, then: Box::new(self) }
    }

    /// This schedule before step `at`, and `then` from there on.
    #[must_use]
    pub fn then(self, at: u64, then: impl Into<Schedule>) -> Schedule {
        Schedule::Chain { first: Box::new(self), at, then: Box::new(then.into()) }
    }

    /// Whether all learning rates and factors are finite and at least 0, and no number of steps is beyond
    /// 2²⁴.
    ///
    /// # Errors
    /// [`Problem::Range`] for the first that is not so.
    pub fn check(&self) -> Result<(), Problem> {
        let rate = |what: &str, value: f32| {
            let range = "finite and at least 0".to_owned();
            let problem = Problem::Range { what: what.to_owned(), value: value.into(), range };
            if value.is_finite() && value >= 0.0 { Ok(()) } else { Err(problem) }
        };
        let counted = |steps: u64| {
            // Devices compute the rate in `f32`, which has no more whole numbers in a row.
            const MOST: u64 = 1 << 24;
            if steps <= MOST {
                return Ok(());
            }
            let what = "a number of steps in the schedule of the learning rate".to_owned();
            let range = format!("at most {MOST}, up to which devices compute with whole numbers");
            Err(Problem::Range { what, value: steps as f64, range })
        };
        match *self {
            Schedule::Constant(constant) => rate("the learning rate", constant),
            Schedule::Step { initial, every, factor }
            | Schedule::Exponential { initial, every, factor } => {
                rate("the initial learning rate", initial)?;
                rate("the factor of the learning rate", factor)?;
                counted(every)
            }
            Schedule::Cosine { initial, last, steps } => {
                rate("the initial learning rate", initial)?;
                rate("the last learning rate", last)?;
                counted(steps)
            }
            Schedule::WarmUp { steps, ref then } => counted(steps).and_then(|()| then.check()),
            Schedule::Chain { ref first, at, ref then } => {
                counted(at)?;
                first.check()?;
                then.check()
            }
        }
    }

    /// The learning rate at a step, on the host.
    pub fn at(&self, step: u64) -> f64 {
        match self {
            Schedule::Constant(rate) => f64::from(*rate),
            Schedule::Step { initial, every, factor } => {
                f64::from(*initial) * f64::from(*factor).powf((step / (*every).max(1)) as f64)
            }
            Schedule::Exponential { initial, every, factor } => {
                let decays = step as f64 / (*every).max(1) as f64;
                f64::from(*initial) * f64::from(*factor).powf(decays)
            }
            Schedule::Cosine { initial, last, steps } => {
                let (initial, last) = (f64::from(*initial), f64::from(*last));
                let done = (step as f64 / (*steps).max(1) as f64).min(1.0);
                last + (initial - last) * 0.5 * (1.0 + (PI * done).cos())
            }
            Schedule::WarmUp { steps, then } if step < *steps => {
                then.at(0) * (step as f64 + 1.0) / *steps as f64
            }
            Schedule::WarmUp { steps, then } => then.at(step - steps),
            Schedule::Chain { first, at, .. } if step < *at => first.at(step),
            Schedule::Chain { at, then, .. } => then.at(step - at),
        }
    }

    /// The learning rate in a graph, from the global step. The graph refuses a schedule that does not
    /// [`check`](Schedule::check).
    #[track_caller]
    pub fn build<'g>(&self, global_step: Tensor<'g>) -> Tensor<'g> {
        if let Err(problem) = self.check() {
            return global_step.graph().refuse("schedule", "", problem);
        }
        let line = Location::caller();
        global_step.graph().at_line(line, || self.build_at(global_step.cast(DType::F32)))
    }

    fn build_at<'g>(&self, step: Tensor<'g>) -> Tensor<'g> {
        let number = |value: f32| step.number(value);
        let power = |factor: f32, exponent: Tensor<'g>| {
            if factor == 0.0 {
                // 0⁰ is 1; its logarithm is not finite.
                return exponent.equal(number(0.0));
            }
            // The logarithm is taken here, in f64: a device's own power is less exact.
            (exponent * f64::from(factor).ln() as f32).exp()
        };
        match self {
            Schedule::Constant(rate) => number(*rate),
            Schedule::Step { initial, every, factor } => {
                // A device's quotient may be a little off on either side of a whole number, and
                // products of whole numbers are exact: so the floor is put right afterwards.
                let every = (*every).max(1) as f32;
                let near = ((step + 0.5) / every).floor();
                let near = near - (near * every).greater(step);
                let decays = near + 1.0 - ((near + 1.0) * every).greater(step);
                power(*factor, decays) * *initial
            }
            Schedule::Exponential { initial, every, factor } => {
                power(*factor, step / (*every).max(1) as f32) * *initial
            }
            Schedule::Cosine { initial, last, steps } => {
                let done = (step / (*steps).max(1) as f32).min(number(1.0));
                ((done * PI as f32).cos() + 1.0) * (0.5 * (initial - last)) + *last
            }
            Schedule::WarmUp { steps: 0, then } => then.build_at(step),
            Schedule::WarmUp { steps, then } => {
                let rising = (step + 1.0) * (then.at(0) / *steps as f64) as f32;
                let after = then.build_at((step - *steps as f32).max(number(0.0)));
                number(*steps as f32).greater(step).select(rising, after)
            }
            Schedule::Chain { first, at, then } => {
                let after = then.build_at((step - *at as f32).max(number(0.0)));
                number(*at as f32).greater(step).select(first.build_at(step), after)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::Reference;
    use crate::{Graph, TensorData};

    /// A device counts by `u32`, and would never come to them.
    #[test]
    fn steps_that_no_device_counts_to_are_refused() {
        let (last, beyond) = (1 << 24, (1 << 24) + 1);
        let of = |steps| {
            [
                Schedule::step(0.1, steps, 0.5),
                Schedule::exponential(0.1, steps, 0.5),
                Schedule::cosine(0.1, 0.0, steps),
                Schedule::from(0.1).warm_up(steps),
                Schedule::from(0.1).then(steps, 0.2),
                Schedule::from(0.1).then(5, Schedule::cosine(0.1, 0.0, steps).warm_up(5)),
            ]
        };
        assert!(of(last).iter().all(|schedule| schedule.check().is_ok()));
        for schedule in of(beyond) {
            let problem = schedule.check().unwrap_err().to_string();
            assert!(problem.ends_with(" is 16777217, and must be at most 16777216, up to which devices compute with whole numbers"), "{schedule:?}: {problem}");
            let graph = Graph::new();
            schedule.build(graph.global_step());
            assert!(graph.finish().is_err(), "{schedule:?}");
        }
        assert_eq!(Schedule::cosine(0.5, 0.1, 10).at(u64::MAX), f64::from(0.1f32));
    }

    #[test]
    fn the_graph_computes_what_the_host_says() {
        let schedules = [
            Schedule::from(0.1),
            Schedule::step(0.1, 7, 0.5),
            Schedule::step(0.1, 7, 0.0),
            Schedule::step(0.1, 1, 0.9),
            Schedule::exponential(0.2, 10, 0.9),
            Schedule::cosine(0.3, 0.01, 25),
            Schedule::cosine(0.3, 0.0, 20).warm_up(5),
            Schedule::from(0.4).then(6, Schedule::step(0.1, 3, 0.1)).then(20, 0.01).warm_up(4),
        ];
        for schedule in schedules {
            let graph = Graph::new();
            let rate = schedule.build(graph.global_step());
            let def = graph.finish().unwrap();
            for step in 0..40 {
                let mut reference = Reference::new(&def);
                reference.assign("global_step", &TensorData::from(step as u32));
                let found = reference.run(&[rate.id()]).unwrap()[0].elements[0];
                let expected = schedule.at(step);
                let close = (found - expected).abs() <= 1e-6 * expected.abs() + 1e-9;
                assert!(close, "{schedule:?} at {step}: {found} is not {expected}");
            }
        }
    }
}
