use super::*;
use indicatif::TermLike;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

#[derive(Clone, Debug)]
struct Shared {
    bytes: Arc<Mutex<Vec<u8>>>,
    /// What a bar has drawn, line by line.
    drawn: Arc<Mutex<Vec<String>>>,
    width: u16,
}

impl Default for Shared {
    fn default() -> Shared {
        Shared { bytes: Arc::default(), drawn: Arc::default(), width: 120 }
    }
}

impl Shared {
    fn text(&self) -> String {
        String::from_utf8(self.bytes.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl TermLike for Shared {
    fn width(&self) -> u16 {
        self.width
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
        self.drawn.lock().unwrap().push(text.to_owned());
        self.bytes.lock().unwrap().write_all(text.as_bytes())
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
    assert_eq!(lines[0], "step    1/2000    0%  loss 1.000");
    assert_eq!(lines[1], "step  200/2000   10%  loss 0.005025  1000.0 steps/s  2s left");
    assert_eq!(lines[10], "step 2000/2000  100%  loss 0.0005003  1000.0 steps/s");
}

#[test]
fn a_resumed_run_counts_only_its_own_steps() {
    let text = run(1500, 2000, 10);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 4, "the first step, then each tenth: {text}");
    assert_eq!(lines[1], "step 1600/2000   80%  loss 0.0006254  100.0 steps/s  4s left");
}

#[test]
fn a_slow_run_is_not_silent_for_long() {
    let text = run(0, 100, 1_000);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[1], "step   6/100    6%  loss 0.2000  1.0 steps/s  1m 34s left");
    // Steps 1, 6, 10, 15, 20 and so on until 50, then somewhat more rarely.
    assert_eq!(lines.len(), 20, "{text}");
}

#[test]
fn a_long_run_becomes_silent_but_never_wholly() {
    let hours = 10;
    let text = run(0, hours * 3600, 1_000);
    let mut lines = text.lines().map(|line| {
        let step = line.trim_start_matches("step").trim_start().split('/').next().unwrap();
        step.parse::<u64>().unwrap()
    });
    let mut before = lines.next().unwrap();
    for step in lines {
        let longest = if before < 45 { 5 } else { 60 };
        assert!(step > before && step - before <= longest, "{step} after {before}");
        before = step;
    }
    assert_eq!(before, hours * 3600);
    // About one a minute, and those of the first minutes.
    let count = text.lines().count() as u64;
    assert!((hours * 60..hours * 60 + 60).contains(&count), "{count}");
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
    assert_eq!(lines[..2], ["step    1/1000    0%", "the loss is not finite"]);
    assert!(lines[2].starts_with("step   42/1000    4%  loss NaN"), "{text}");
    drop(Progress::log(5, 5, log.clone()));
    assert_eq!(log.text(), text, "a run without a step has nothing to say");
}

#[test]
fn a_terminal_gets_a_bar() {
    let terminal = Shared::default();
    let target = ProgressDrawTarget::term_like(Box::new(terminal.clone()));
    let mut progress = Progress::bar(500, 2000, target, Box::new(terminal.clone()));
    progress.say("nothing is drawn yet");
    assert_eq!(terminal.text(), "nothing is drawn yet\n");
    progress.update(1000, Some(0.25));
    progress.say("saved");
    progress.update(1200, None);
    progress.finish();
    let text = terminal.text();
    for part in [" 50%", "1200/2000  loss 0.2500", "steps/s", " left", "saved", "━"] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    assert!(text.ends_with('\n'), "{text}");
    assert!(!text.contains("500/"), "the bar stood before the first step: {text}");
}

/// What goes on in the next line would stay on the screen.
#[test]
fn a_bar_fits_into_its_line() {
    for width in [80, 100] {
        let terminal = Shared { width, ..Shared::default() };
        let target = ProgressDrawTarget::term_like(Box::new(terminal.clone()));
        let mut progress = Progress::bar(0, 1_000_000, target, Box::new(terminal.clone()));
        progress.update(1, Some(1.25e-9));
        progress.update(100_000, Some(2.25e-9));
        progress.finish();
        let drawn = terminal.drawn.lock().unwrap();
        let wide = |line: &&String| line.chars().count() > width.into();
        assert_eq!(drawn.iter().find(wide), None);
        let last = drawn.iter().rfind(|line| line.contains("100000/1000000")).unwrap();
        assert!(last.contains("steps/s") && last.contains(" left"), "{last}");
        assert!(last.contains('━'), "{last}");
    }
}

#[test]
fn a_bar_that_is_stopped_goes() {
    let terminal = Shared::default();
    let target = ProgressDrawTarget::term_like(Box::new(terminal.clone()));
    let mut progress = Progress::bar(0, 2000, target, Box::new(terminal.clone()));
    progress.update(10, Some(0.5));
    progress.stop("stopping");
    let (text, drawn) = (terminal.text(), terminal.drawn.lock().unwrap().len());
    assert!(text.contains("10/2000") && text.contains("stopping"), "{text}");
    progress.update(11, Some(0.25));
    progress.say("saved");
    progress.finish();
    assert_eq!(terminal.drawn.lock().unwrap().len(), drawn);
    assert_eq!(terminal.text(), format!("{text}saved\n"));
}

#[test]
fn a_terminal_gets_no_bar_for_a_run_without_a_step() {
    let terminal = Shared::default();
    let target = ProgressDrawTarget::term_like(Box::new(terminal.clone()));
    drop(Progress::bar(5, 9, target, Box::new(terminal.clone())));
    assert_eq!(terminal.text(), "");
}

#[test]
fn the_pace_is_that_of_this_runs_steps() {
    let elapsed = Duration::from_secs(10);
    let pace = Pace { first: 900, step: 1000, last: 1100, elapsed };
    assert_eq!(pace.to_string(), "  10.0 steps/s  10s left");
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
    let times = [0.2, 59.0, 61.0, 3600.0, 90_000.0, 1e30];
    assert_eq!(
        times.map(|time| Left(time).to_string())[..5],
        ["1s", "59s", "1m 1s", "1h 0m", "1d 1h"]
    );
}
