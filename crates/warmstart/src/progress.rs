//! What a terminal or a log shows while a run goes on: step, loss, rate and time left.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// Shows how far a run is: a bar on a terminal, now and then a line anywhere else, so that a log
/// stays readable.
///
/// A log gets a line for the first step and whenever another tenth of the steps is done. In between
/// it gets one every five seconds at first, and then ever more rarely, up to one a minute:
///
/// ```text
/// step  400/2000   20%  loss 0.2231  812.5 steps/s  2s left
/// ```
///
/// Nothing it shows can stop a run: a terminal or log that cannot be written is ignored.
pub struct Progress {
    first: u64,
    last: u64,
    loss: Option<f32>,
    sink: Sink,
}

enum Sink {
    Bar(Bar),
    Log(Log),
    /// A bar that has gone: what is still said.
    Stopped(Box<dyn Write + Send>),
    Hidden,
}

struct Bar {
    bar: ProgressBar,
    /// Where to draw from the first step on: a bar that stands before it says nothing, and is in
    /// the way of what the program prints until then.
    target: Option<ProgressDrawTarget>,
    /// Where lines go when no bar is drawn.
    terminal: Box<dyn Write + Send>,
}

struct Log {
    writer: Box<dyn Write + Send>,
    /// The time since the run began.
    clock: Box<dyn Fn() -> Duration + Send>,
    /// The last step shown, and when.
    shown: Option<(u64, Duration)>,
    /// The newest step heard of.
    newest: u64,
}

/// How long a log may stay silent after so much time: a tenth of it, so that whoever has just
/// started a run sees it move, and a run of days does not fill its log.
fn silence(elapsed: Duration) -> Duration {
    (elapsed / 10).clamp(Duration::from_secs(5), Duration::from_secs(60))
}

impl Progress {
    /// Shows on standard error how a run goes on from step `first` (0, or the step restored) until
    /// `last` steps are done. A bar if that is a terminal that can draw one, else lines.
    pub fn new(first: u64, last: u64) -> Progress {
        let target = ProgressDrawTarget::stderr();
        // It is hidden too on a terminal that knows no more than lines (`TERM=dumb`), where it would
        // swallow what is said.
        if io::stderr().is_terminal() && !target.is_hidden() {
            Progress::bar(first, last, target, Box::new(io::stderr()))
        } else {
            Progress::log(first, last, io::stderr())
        }
    }

    /// Shows nothing.
    pub fn hidden(first: u64, last: u64) -> Progress {
        Progress { first, last, loss: None, sink: Sink::Hidden }
    }

    /// Writes lines to a log.
    pub fn log(first: u64, last: u64, writer: impl Write + Send + 'static) -> Progress {
        let start = Instant::now();
        Progress::log_by(first, last, Box::new(writer), Box::new(move || start.elapsed()))
    }

    fn log_by(
        first: u64,
        last: u64,
        writer: Box<dyn Write + Send>,
        clock: Box<dyn Fn() -> Duration + Send>,
    ) -> Progress {
        let log = Log { writer, clock, shown: None, newest: first };
        Progress { first, last, loss: None, sink: Sink::Log(log) }
    }

    fn bar(
        first: u64,
        last: u64,
        target: ProgressDrawTarget,
        terminal: Box<dyn Write + Send>,
    ) -> Progress {
        let bar = ProgressBar::with_draw_target(Some(last), ProgressDrawTarget::hidden());
        // The template is a constant, which a test draws; were it wrong, the default bar serves.
        if let Ok(style) = ProgressStyle::with_template(
            // The bar has what the rest leaves of the line: one that goes on in the next would stay.
            "{percent:>3}% {wide_bar:.cyan/dim} {pos}/{len}{msg}{pace}",
        ) {
            // The bar's own rate counts the steps before a resume too.
            let pace = move |state: &ProgressState, out: &mut dyn fmt::Write| {
                let pace = Pace { first, step: state.pos(), last, elapsed: state.elapsed() };
                // Nothing can be done about a line that cannot be formatted.
                let _ = write!(out, "{pace}");
            };
            bar.set_style(style.with_key("pace", pace).progress_chars("━╸─"));
        }
        let sink = Sink::Bar(Bar { bar, target: Some(target), terminal });
        Progress { first, last, loss: None, sink }
    }

    /// Shows that `step` steps are done, those before a resume included. `loss` is the newest
    /// loss if one was read; without one the last stays.
    pub fn update(&mut self, step: u64, loss: Option<f32>) {
        let loss_changed = loss.is_some() && loss != self.loss;
        self.loss = loss.or(self.loss);
        match &mut self.sink {
            Sink::Hidden | Sink::Stopped(_) => {}
            Sink::Bar(Bar { bar, target, .. }) => {
                if let Some(target) = target.take() {
                    bar.set_draw_target(target);
                }
                if let Some(loss) = self.loss.filter(|_| loss_changed) {
                    bar.set_message(format!("  loss {}", Loss(loss)));
                }
                bar.set_position(step);
            }
            Sink::Log(log) => {
                log.newest = step;
                let now = (log.clock)();
                let due = log.shown.is_none_or(|(shown, when)| {
                    tenth(step, self.last) > tenth(shown, self.last)
                        || now.saturating_sub(when) >= silence(now)
                });
                if due {
                    log.show(self.first, self.last, self.loss, now);
                }
            }
        }
    }

    /// Shows a line of text, above the bar if there is one.
    pub fn say(&mut self, text: impl fmt::Display) {
        match &mut self.sink {
            Sink::Hidden => {}
            Sink::Bar(Bar { bar, target: None, .. }) => bar.println(text.to_string()),
            Sink::Bar(Bar { terminal, .. }) | Sink::Stopped(terminal) => {
                // As with a log.
                let _ = writeln!(terminal, "{text}");
            }
            Sink::Log(log) => log.line(format_args!("{text}")),
        }
    }

    /// Shows a line of text as the last, in place of the bar if there is one: a terminal that shows
    /// `^C` has pushed it up a line, where it would stay beside the next.
    pub(crate) fn stop(&mut self, text: impl fmt::Display) {
        self.say(text);
        match std::mem::replace(&mut self.sink, Sink::Hidden) {
            Sink::Bar(Bar { bar, terminal, .. }) => {
                bar.finish_and_clear();
                self.sink = Sink::Stopped(terminal);
            }
            other => self.sink = other,
        }
    }

    /// Shows the state as it is and ends the bar, done or not.
    pub fn finish(self) {
        // Dropping does it.
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        match &mut self.sink {
            Sink::Hidden | Sink::Stopped(_) => {}
            Sink::Bar(Bar { bar, target, terminal }) => {
                bar.abandon();
                if target.is_none() {
                    // The bar leaves the cursor at its end.
                    let _ = writeln!(terminal).and_then(|()| terminal.flush());
                }
            }
            Sink::Log(log) => {
                if log.newest > self.first && log.shown.is_none_or(|(step, _)| step < log.newest) {
                    let now = (log.clock)();
                    log.show(self.first, self.last, self.loss, now);
                }
            }
        }
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Progress")
            .field("first", &self.first)
            .field("last", &self.last)
            .field("loss", &self.loss)
            .finish_non_exhaustive()
    }
}

impl Log {
    fn show(&mut self, first: u64, last: u64, loss: Option<f32>, now: Duration) {
        let step = self.newest;
        self.shown = Some((step, now));
        self.line(format_args!("{}", Line { first, step, last, loss, elapsed: now }));
    }

    fn line(&mut self, text: fmt::Arguments<'_>) {
        // A log that cannot be written must not stop the training it tells of.
        let _ = writeln!(self.writer, "{text}").and_then(|()| self.writer.flush());
    }
}

/// How many tenths of all steps are done.
fn tenth(step: u64, last: u64) -> u128 {
    u128::from(step) * 10 / u128::from(last.max(1))
}

/// One line of a log.
struct Line {
    first: u64,
    step: u64,
    last: u64,
    loss: Option<f32>,
    elapsed: Duration,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (step, last) = (self.step, self.last.to_string());
        let percent = u128::from(step) * 100 / u128::from(self.last.max(1));
        write!(f, "step {step:>width$}/{last}  {percent:>3}%", width = last.len())?;
        if let Some(loss) = self.loss {
            write!(f, "  loss {}", Loss(loss))?;
        }
        let Line { first, step, last, elapsed, .. } = *self;
        Pace { first, step, last, elapsed }.fmt(f)
    }
}

/// How fast the steps of this run are done, and how long the others take; begins with two spaces.
struct Pace {
    first: u64,
    step: u64,
    last: u64,
    elapsed: Duration,
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let done = self.step.saturating_sub(self.first);
        let rate = done as f64 / self.elapsed.as_secs_f64();
        // The first steps build pipelines and fill caches: their rate says nothing of the rest.
        if done > 1 && rate.is_finite() {
            let left = self.last.saturating_sub(self.step) as f64 / rate;
            write!(f, "  {}", Rate(rate))?;
            if left > 0.0 {
                write!(f, "  {} left", Left(left))?;
            }
        }
        Ok(())
    }
}

/// A loss with four significant digits.
struct Loss(f32);

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = self.0.abs();
        if size == 0.0 || !size.is_finite() {
            return write!(f, "{}", self.0);
        }
        if !(1e-4..1e5).contains(&size) {
            return write!(f, "{:.3e}", self.0);
        }
        let decimals = 3 - size.log10().floor() as i32;
        write!(f, "{:.*}", usize::try_from(decimals).unwrap_or(0), self.0)
    }
}

/// Steps in a second, or seconds in a step if those are more.
struct Rate(f64);

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            rate if rate > 0.0 && rate < 1.0 => write!(f, "{:.1} s/step", 1.0 / rate),
            rate => write!(f, "{rate:.1} steps/s"),
        }
    }
}

/// A time in its two largest units, from seconds.
struct Left(f64);

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.ceil() as u64;
        let (days, hours) = (seconds / 86_400, seconds / 3600 % 24);
        let (minutes, rest) = (seconds / 60 % 60, seconds % 60);
        match seconds {
            0..60 => write!(f, "{rest}s"),
            60..3600 => write!(f, "{minutes}m {rest}s"),
            3600..86_400 => write!(f, "{hours}h {minutes}m"),
            _ => write!(f, "{days}d {hours}h"),
        }
    }
}

#[cfg(test)]
#[path = "progress_tests.rs"]
mod tests;
