//! Notices a loss that is no longer a finite number.

warmstart_graph::debug_as_display!(NonFiniteLoss);

/// What to do about a loss that is NaN or infinite.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnNonFinite {
    /// Stop training: the weights are lost from here on, and every further step is wasted.
    #[default]
    Stop,
    /// Say so once and go on.
    WarnOnce,
    /// Go on without a word.
    Ignore,
}

/// A loss that is NaN or infinite.
#[derive(Clone, Copy, PartialEq, thiserror::Error)]
#[error(
    "the loss of step {step} is {loss}, and that of a step before it may have been, where not each is \
     read. Look for NaN in what was fed, labels that are no class (the first is 0), or a log or a \
     division by zero; or begin again, from the newest checkpoint before it if there is one, with a \
     lower learning rate or gradients clipped by their global norm"
)]
pub struct NonFiniteLoss {
    /// The step.
    pub step: u64,
    /// Its loss: NaN or an infinity.
    pub loss: f32,
}

/// Watches losses as they come in, and reports the first that is not a finite number.
///
/// ```
/// use warmstart::{LossWatch, OnNonFinite};
/// let mut watch = LossWatch::new(OnNonFinite::Stop);
/// assert!(watch.check(0, 2.3).is_ok());
/// let stopped = watch.check(1, f32::NAN).unwrap_err();
/// assert!(stopped.to_string().starts_with("the loss of step 1 is NaN"));
/// ```
#[derive(Clone, Debug, Default)]
pub struct LossWatch {
    on_non_finite: OnNonFinite,
    first: Option<NonFiniteLoss>,
}

impl LossWatch {
    /// A watch that does as told when a loss is not finite.
    pub fn new(on_non_finite: OnNonFinite) -> LossWatch {
        LossWatch { on_non_finite, first: None }
    }

    /// Looks at the loss of a step. Returns what is to be said to the user: under
    /// [`OnNonFinite::WarnOnce`] the first non-finite loss, and nothing ever after.
    ///
    /// # Errors
    /// Under [`OnNonFinite::Stop`], if the loss is not finite.
    pub fn check(&mut self, step: u64, loss: f32) -> Result<Option<NonFiniteLoss>, NonFiniteLoss> {
        if loss.is_finite() {
            return Ok(None);
        }
        let found = NonFiniteLoss { step, loss };
        let is_first = self.first.is_none();
        self.first.get_or_insert(found);
        match self.on_non_finite {
            OnNonFinite::Stop => Err(found),
            OnNonFinite::WarnOnce => Ok(is_first.then_some(found)),
            OnNonFinite::Ignore => Ok(None),
        }
    }

    /// The first loss that was not finite, if there was one.
    pub fn first(&self) -> Option<NonFiniteLoss> {
        self.first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_is_given_once() {
        let mut watch = LossWatch::new(OnNonFinite::WarnOnce);
        let losses = [1.0, f32::INFINITY, f32::NAN, 0.5, f32::NAN];
        let warned: Vec<u64> = (0u64..)
            .zip(losses)
            .filter_map(|(step, loss)| watch.check(step, loss).unwrap())
            .map(|warning| warning.step)
            .collect();
        assert_eq!(warned, [1]);
        assert_eq!(watch.first(), Some(NonFiniteLoss { step: 1, loss: f32::INFINITY }));
    }

    #[test]
    fn stopping_names_the_step() {
        let mut watch = LossWatch::default();
        assert_eq!(watch.check(41, f32::MAX), Ok(None));
        let stopped = watch.check(42, f32::NEG_INFINITY).unwrap_err();
        assert_eq!((stopped.step, stopped.loss), (42, f32::NEG_INFINITY));
        assert!(stopped.to_string().starts_with("the loss of step 42 is -inf, "));
        assert!(watch.check(43, f32::NAN).is_err(), "a caller that goes on is told again");
    }

    #[test]
    fn ignored_losses_are_remembered() {
        let mut watch = LossWatch::new(OnNonFinite::Ignore);
        assert!(watch.check(3, f32::NAN).unwrap().is_none());
        assert_eq!(watch.first().map(|first| first.step), Some(3));
    }
}
