//! The clock that measuring goes by, and the time that there is for it.

use std::time::{Duration, Instant};

/// Tells how much time has passed since some moment.
pub(super) struct Clock(Box<dyn Fn() -> Duration + Send>);

impl Default for Clock {
    /// The one that people go by.
    fn default() -> Clock {
        let begun = Instant::now();
        Clock(Box::new(move || begun.elapsed()))
    }
}

impl Clock {
    /// One that says what a function says.
    #[cfg(test)]
    pub fn by(now: impl Fn() -> Duration + Send + 'static) -> Clock {
        Clock(Box::new(now))
    }

    /// So much time from now on, which may be as good as all of a budget.
    pub fn time(&self, left: Duration, whole: Option<Duration>) -> Time<'_> {
        Time { clock: self, begun: (self.0)(), left, whole }
    }
}

/// The time that there is for measuring.
pub(super) struct Time<'a> {
    clock: &'a Clock,
    begun: Duration,
    left: Duration,
    /// All that a process gets, if as good as all of that is left.
    pub whole: Option<Duration>,
}

impl Time<'_> {
    /// How much of it has passed.
    pub fn spent(&self) -> Duration {
        (self.clock.0)().saturating_sub(self.begun)
    }

    /// Whether none of it is left.
    pub fn is_up(&self) -> bool {
        !self.is_endless() && self.spent() >= self.left
    }

    /// Whether it has no end.
    pub fn is_endless(&self) -> bool {
        self.left == Duration::MAX
    }
}
