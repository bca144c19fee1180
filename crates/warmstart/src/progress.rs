//! What a terminal or a log shows while a run goes on: step, loss, rate and time left.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// Shows how far a run is: a bar on a terminal, now and then a line anywhere else, so that a log
/// stays readable.
///
/// A log gets a line for the first step, whenever another tenth of the steps is done, and
/// otherwise every half minute:
///
/// ```text
/// step   400/2,000   20%  loss 0.2231  812.5 steps/s  2s left
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
    Bar(ProgressBar),
    Log(Log),
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

/// The longest that a log stays silent.
const SILENCE: Duration = Duration::from_secs(30);

impl Progress {
    /// Shows on standard error how a run goes on from step `first` (0, or the step restored) until
    /// `last` steps are done. A bar if that is a terminal, else lines.
    pub fn new(first: u64, last: u64) -> Progress {
        if io::stderr().is_terminal() {
            Progress::bar(first, last, ProgressDrawTarget::stderr())
        } else {
            Progress::log(first, last, io::stderr())
        }
    }

    /// Shows nothing.
    pub fn hidden(first: u64, last: u64) -> Progress {
        Progress::bar(first, last, ProgressDrawTarget::hidden())
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

    fn bar(first: u64, last: u64, target: ProgressDrawTarget) -> Progress {
        let bar = ProgressBar::with_draw_target(Some(last), target);
        // The template is a constant, which a test draws; were it wrong, the default bar serves.
        if let Ok(style) = ProgressStyle::with_template(
            "{percent:>3}% {bar:30.cyan/dim} {human_pos}/{human_len}{msg}  {per_sec}  {eta} left",
        ) {
            let rate = |state: &indicatif::ProgressState, out: &mut dyn fmt::Write| {
                // Nothing can be done about a line that cannot be formatted.
                let _ = write!(out, "{}", Rate(state.per_sec()));
            };
            bar.set_style(style.with_key("per_sec", rate).progress_chars("━╸─"));
        }
        bar.set_position(first);
        // The steps before a resume were not done in this run's time.
        bar.reset_eta();
        Progress { first, last, loss: None, sink: Sink::Bar(bar) }
    }

    /// Shows that `step` steps are done, those before a resume included. `loss` is the newest
    /// loss if one was read; without one the last stays.
    pub fn update(&mut self, step: u64, loss: Option<f32>) {
        let loss_changed = loss.is_some() && loss != self.loss;
        self.loss = loss.or(self.loss);
        match &mut self.sink {
            Sink::Bar(bar) => {
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
                        || now.saturating_sub(when) >= SILENCE
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
            Sink::Bar(bar) => bar.println(text.to_string()),
            Sink::Log(log) => log.line(format_args!("{text}")),
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
            Sink::Bar(bar) => bar.abandon(),
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
        let last = Grouped(self.last).to_string();
        let percent = u128::from(self.step) * 100 / u128::from(self.last.max(1));
        let step = Grouped(self.step).to_string();
        write!(f, "step {step:>width$}/{last}  {percent:>3}%", width = last.len())?;
        if let Some(loss) = self.loss {
            write!(f, "  loss {}", Loss(loss))?;
        }
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

/// A whole number such as 12,500.
pub(crate) struct Grouped(pub(crate) u64);

impl fmt::Display for Grouped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        let mut text = String::with_capacity(digits.len() * 4 / 3);
        for (place, digit) in digits.chars().enumerate() {
            if place > 0 && (digits.len() - place).is_multiple_of(3) {
                text.push(',');
            }
            text.push(digit);
        }
        f.write_str(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use indicatif::TermLike;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Debug, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Shared {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl TermLike for Shared {
        fn width(&self) -> u16 {
            120
        }
        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn write_line(&self, text: &str) -> io::Result<()> {
            self.write_str(text)
        }
        fn write_str(&self, text: &str) -> io::Result<()> {
            self.0.lock().unwrap().write_all(text.as_bytes())
        }
        fn clear_line(&self) -> io::Result<()> {
            Ok(())
        }
        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A log whose every step takes `milliseconds`.
    fn run(first: u64, last: u64, milliseconds: u64) -> String {
        let (log, time) = (Shared::default(), Arc::new(AtomicU64::new(0)));
        let clock = Arc::clone(&time);
        let clock = move || Duration::from_millis(clock.load(Ordering::Relaxed));
        let mut progress = Progress::log_by(first, last, Box::new(log.clone()), Box::new(clock));
        for step in first..last {
            time.fetch_add(milliseconds, Ordering::Relaxed);
            progress.update(step + 1, (step % 2 == 0).then_some(1.0 / (step + 1) as f32));
        }
        progress.finish();
        log.text()
    }

    #[test]
    fn a_short_run_logs_each_tenth() {
        let text = run(0, 2000, 1);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 11);
        assert_eq!(lines[0], "step     1/2,000    0%  loss 1.000");
        assert_eq!(lines[1], "step   200/2,000   10%  loss 0.005025  1000.0 steps/s  2s left");
        assert_eq!(lines[10], "step 2,000/2,000  100%  loss 0.0005003  1000.0 steps/s");
    }

    #[test]
    fn a_resumed_run_counts_only_its_own_steps() {
        let text = run(1500, 2000, 10);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4, "the first step, then each tenth: {text}");
        assert_eq!(lines[1], "step 1,600/2,000   80%  loss 0.0006254  100.0 steps/s  4s left");
    }

    #[test]
    fn a_slow_run_is_not_silent_for_long() {
        let text = run(0, 100, 7_000);
        // Every fifth step passes half a minute, and each tenth is one of those or falls between.
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[1], "step   6/100    6%  loss 0.2000  7.0 s/step  10m 58s left");
        assert!(lines.len() >= 20 && lines.len() <= 30, "{text}");
    }

    #[test]
    fn a_run_that_ends_early_shows_where() {
        let log = Shared::default();
        let mut progress = Progress::log(0, 1000, log.clone());
        progress.update(1, None);
        progress.update(42, Some(f32::NAN));
        progress.say("the loss is not finite");
        drop(progress);
        let text = log.text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[..2], ["step     1/1,000    0%", "the loss is not finite"]);
        assert!(lines[2].starts_with("step    42/1,000    4%  loss NaN"), "{text}");
        drop(Progress::log(5, 5, log.clone()));
        assert_eq!(log.text(), text, "a run without a step has nothing to say");
    }

    #[test]
    fn a_terminal_gets_a_bar() {
        let terminal = Shared::default();
        let target = ProgressDrawTarget::term_like(Box::new(terminal.clone()));
        let mut progress = Progress::bar(500, 2000, target);
        progress.update(1000, Some(0.25));
        progress.say("saved");
        progress.update(1200, None);
        progress.finish();
        let text = terminal.text();
        for part in [" 50%", "1,200/2,000  loss 0.2500", "steps/s", " left", "saved", "━"] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }

    #[test]
    fn a_log_that_cannot_be_written_stops_nothing() {
        struct Broken;
        impl Write for Broken {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
        }
        let mut progress = Progress::log(0, 0, Broken);
        progress.update(u64::MAX, Some(1.0));
        progress.say("heard by no one");
        progress.finish();
    }

    #[test]
    fn numbers_are_short() {
        let losses = [0.0, 2.3032, 12.3456, 1234.5, 0.01, 1e-7, 3e9, f32::INFINITY, -0.5];
        assert_eq!(
            losses.map(|loss| Loss(loss).to_string()),
            ["0", "2.303", "12.35", "1234", "0.01000", "1.000e-7", "3.000e9", "inf", "-0.5000"]
        );
        let counts = [0, 999, 1000, 1_234_567];
        assert_eq!(counts.map(|n| Grouped(n).to_string()), ["0", "999", "1,000", "1,234,567"]);
        let times = [0.2, 59.0, 61.0, 3600.0, 90_000.0, 1e30];
        assert_eq!(
            times.map(|time| Left(time).to_string())[..5],
            ["1s", "59s", "1m 1s", "1h 0m", "1d 1h"]
        );
    }
}
