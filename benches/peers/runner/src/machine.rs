//! Which machine this is, and how busy.

use std::fmt;
use std::fs;
use std::process::Command;

/// What the report says about the machine.
pub struct Machine {
    processor: String,
    cores: usize,
    rustc: String,
    commit: String,
    load_before: Option<[f64; 3]>,
    load_after: Option<[f64; 3]>,
}

impl Machine {
    /// Looks, before the pass.
    pub fn look() -> Machine {
        Machine {
            processor: processor(),
            cores: crate::arms::threads(),
            rustc: first_line("rustc", &["--version"]),
            commit: first_line("git", &["describe", "--always", "--dirty"]),
            load_before: load(),
            load_after: None,
        }
    }

    /// Looks how busy it is after the pass.
    pub fn look_again(&mut self) {
        self.load_after = load();
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Machine { processor, cores, rustc, commit, .. } = self;
        let system = std::env::consts::OS;
        writeln!(f, "- Machine: {cores} cores of {processor}, {system}; {rustc}; commit {commit}")?;
        let load = |load: Option<[f64; 3]>| match load {
            Some([one, five, fifteen]) => format!("{one} / {five} / {fifteen}"),
            None => "not told by the system".to_owned(),
        };
        write!(
            f,
            "- Load average over 1 / 5 / 15 minutes before the pass: {}",
            load(self.load_before)
        )?;
        if self.load_after.is_some() {
            write!(f, "; after it (its own work included): {}", load(self.load_after))?;
        }
        let busy = self.load_before.is_some_and(|load| load[0] > 0.3 * *cores as f64);
        if busy {
            write!(f, ". **The machine was busy: do not rely on these figures.**")
        } else {
            Ok(())
        }
    }
}

fn load() -> Option<[f64; 3]> {
    let text = fs::read_to_string("/proc/loadavg").ok()?;
    let mut words = text.split_whitespace().map(str::parse);
    let mut next = || words.next()?.ok();
    Some([next()?, next()?, next()?])
}

fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name"));
    let model = model.and_then(|line| line.split_once(':'));
    model.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.trim().to_owned())
}

/// What a program says about itself, or that it does not.
fn first_line(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let line = text.ok().and_then(|text| text.lines().next().map(str::to_owned));
    line.unwrap_or_else(|| format!("{program}: not told"))
}
