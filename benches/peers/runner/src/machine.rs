//! Which machine this is, and how busy.

use std::fmt;
use std::fs;
use std::process::Command;
use std::thread;
use std::time::Duration;

/// What the report says about the machine.
pub struct Machine {
    processor: String,
    cores: usize,
    rustc: String,
    commit: String,
    /// The share of the processors' time that others took, just before the pass.
    busy: Option<f64>,
    load_before: Option<[f64; 3]>,
    load_after: Option<[f64; 3]>,
}

/// How long it is watched before the pass. Load averages still tell of the build before it.
const WATCHED: Duration = Duration::from_secs(3);

/// Of a machine that has nothing else to do.
const BUSY: f64 = 0.1;

impl Machine {
    /// Looks, before the pass.
    pub fn look() -> Machine {
        Machine {
            processor: processor(),
            cores: crate::arms::threads(),
            rustc: first_line("rustc", &["--version"]),
            commit: first_line("git", &["describe", "--always", "--dirty"]),
            busy: busy(),
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
        match self.busy {
            None => Ok(()),
            Some(busy) => {
                write!(f, ". Of all processors others used {:.0} % just before it", busy * 100.0)?;
                match busy > BUSY {
                    true => write!(f, ". **It was busy: do not rely on these figures.**"),
                    false => Ok(()),
                }
            }
        }
    }
}

/// The share of the processors' time that was used while nothing was done here.
fn busy() -> Option<f64> {
    let before = ticks()?;
    thread::sleep(WATCHED);
    let after = ticks()?;
    let (all, idle) = (after.0.checked_sub(before.0)?, after.1.checked_sub(before.1)?);
    (all > 0).then(|| 1.0 - idle as f64 / all as f64)
}

/// All ticks of all processors, and those in which they had nothing to do or waited for a disk.
fn ticks() -> Option<(u64, u64)> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<u64> = line.split_whitespace().map_while(|word| word.parse().ok()).collect();
    // user, nice, system, idle, iowait, irq, softirq, steal: those after it are parts of user's.
    let ticks = ticks.get(..8)?;
    Some((ticks.iter().sum(), ticks[3] + ticks[4]))
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
