//! What restoring and saving have in common: a checkpoint of some size, its folder, and how
//! measurements are shown.

use super::chart::{self, Bar};
use super::folder::{self, Folder};
use super::{Common, Place, Progress, percent};
use crate::error::Failure;
use crate::size;
use crate::text::{self, HEADING, counted, styled};
use clap::builder::RangedU64ValueParser;
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use warmstart_gpu::GpuOptions;
use warmstart_graph::words::printable_path;
use warmstart_measure::{
    Arm, Devices, Measured, Memory, Workload, available_memory, ceiling, free_space, rounds,
};

/// The checkpoint to measure with.
#[derive(clap::Args)]
pub struct Load {
    /// The size of the checkpoint: bytes, or with a unit (KiB, MiB, GiB; KB, MB, GB)
    #[arg(long, default_value = "256MiB", value_parser = size::parse)]
    size: u64,
    /// How many tensors share that size
    #[arg(long, value_name = "N", default_value = "64", value_parser = at_least_one())]
    tensors: usize,
    /// How often everything is measured, in turn; without it 5 times, fewer if that takes longer
    /// than half a minute
    #[arg(long, value_name = "N", value_parser = at_least_one())]
    rounds: Option<usize>,
    /// The folder for temporary files, which are removed afterwards, as are those that benchmarks left
    /// there that were interrupted
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
}

fn at_least_one() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..=1_000_000)
}

/// Everything that measuring needs.
pub struct Setting {
    pub devices: Devices,
    directory: Folder,
    count: usize,
    each: u64,
    rounds: Option<usize>,
    /// Whether files are read, or written.
    reads: bool,
}

/// How many rounds there are if nothing is said, and how long they take at most if there is more
/// than one.
const ROUNDS: usize = 5;
const AT_MOST: Duration = Duration::from_secs(30);

/// How often the checkpoint has to fit into memory: twice for the ceilings, in the variables, and
/// once more while a strategy copies.
const IN_MEMORY: u64 = 4;

impl Load {
    /// Opens the adapter and a temporary folder, where there is room for the checkpoint, and if it
    /// does not only read for those that are written.
    pub fn prepare(&self, options: &GpuOptions, reads: bool) -> Result<Setting, Failure> {
        let each = self.size / self.tensors as u64 / 4 * 4;
        if each == 0 {
            let message = format!(
                "--size {} for {} leaves no element of 4 bytes for each",
                text::bytes(self.size),
                counted(self.tensors, "tensor")
            );
            return Err(Failure::new(message).help("a larger --size, or fewer --tensors"));
        }
        let bytes = each * self.tensors as u64;
        let within = self.dir.clone().unwrap_or_else(std::env::temp_dir);
        within.metadata().map_err(|error| Failure::file("use the folder", &within, &error))?;
        folder::remove_abandoned(&within);
        // Every tensor has a line in the header, and ours has checksums.
        let file = bytes.saturating_add(self.tensors as u64 * 512 + (1 << 20));
        // The checkpoint, one of each strategy, one of the ceiling, and one that is being written.
        let needed = file.saturating_mul(if reads { 1 } else { 5 });
        enough(
            needed,
            free_space(&within),
            &format!("free in `{}`", printable_path(&within)),
            "dir",
        )?;
        let needed = bytes.saturating_mul(IN_MEMORY);
        enough(needed, available_memory(), "of memory left on this machine", "size")?;
        let devices = Devices::open(options)?;
        let most = devices.own.limits().max_storage_buffer_binding_size;
        if each > most {
            let message = format!(
                "a tensor of {} is larger than {}, the most that one binding of this adapter holds",
                text::bytes(each),
                text::bytes(most)
            );
            let tensors = bytes.div_ceil(most / 4 * 4);
            return Err(Failure::new(message).help(format!("--tensors {tensors}, or more")));
        }
        let directory = folder::make(&within)
            .map_err(|error| Failure::file("make a folder in", &within, &error))?;
        let (count, rounds) = (self.tensors, self.rounds);
        Ok(Setting { devices, directory, count, each, rounds, reads })
    }
}

/// Whether there is as much as is needed, where that is known.
fn enough(needed: u64, there: Option<u64>, place: &str, option: &str) -> Result<(), Failure> {
    match there {
        Some(there) if there < needed => {
            let (needed, there) = (text::bytes(needed), text::bytes(there));
            let help = match option {
                "dir" => "a smaller --size, or a --dir with more room",
                _ => "a smaller --size",
            };
            let message = format!("this needs {needed}, and {there} are {place}");
            Err(Failure::new(message).help(help))
        }
        _ => Ok(()),
    }
}

/// What an arm is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// What the machine does without us, of which the ceilings are.
    Machine,
    Strategy,
    Control,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Role::Machine => "ceiling",
            Role::Strategy => "strategy",
            Role::Control => "control",
        }
    }
}

/// An arm and what it is shown as.
pub struct Shown {
    arm: Arm,
    role: Role,
    /// What people read who have not read the code.
    name: &'static str,
}

impl Shown {
    fn new(arm: Arm, role: Role) -> Shown {
        Shown { arm, role, name: arm.name }
    }

    /// What the machine does without us.
    pub fn machine(arm: Arm) -> Shown {
        Shown::new(arm, Role::Machine)
    }

    /// The same, under a name that says what is done.
    pub fn called(self, name: &'static str) -> Shown {
        Shown { name, ..self }
    }

    /// What is to be measured.
    pub fn own(arm: Arm) -> Shown {
        Shown::new(arm, Role::Strategy)
    }

    /// The simple way.
    pub fn control(arm: Arm) -> Shown {
        Shown::new(arm, Role::Control)
    }
}

/// A chart.
pub struct Section {
    pub title: &'static str,
    pub shown: Vec<Shown>,
}

impl Setting {
    /// `64 tensors of 4.0 MiB (256.0 MiB)`
    pub fn load(&self) -> String {
        let (each, all) = (text::bytes(self.each), text::bytes(self.each * self.count as u64));
        format!("{} of {each} ({all})", counted(self.count, "tensor"))
    }

    /// The folder of the files.
    pub fn files(&self) -> String {
        let within = self.directory.path().parent().unwrap_or(Path::new("."));
        format!("in {}, removed afterwards", printable_path(within))
    }

    pub fn rounds_in_words(&self) -> String {
        let up_to = if self.rounds.is_some() { "" } else { "up to " };
        let rounds = self.rounds.unwrap_or(ROUNDS);
        format!("{up_to}{rounds} of all in turn, after one that does not count")
    }

    /// Measures all sections and prints them.
    #[allow(clippy::too_many_arguments, reason = "each is a part of what is printed")]
    pub fn measure(
        &self,
        out: &mut dyn Write,
        place: &Place,
        common: &Common,
        benchmark: &str,
        title: &str,
        more: &[(&str, String)],
        sections: &[Section],
    ) -> Result<(), Failure> {
        if !common.json {
            place.print(out, title, more)?;
            out.flush()?;
        }
        let progress = Progress::new();
        progress.show("writing a checkpoint");
        let directory = self.directory.path();
        let mut workload = Workload::new(&self.devices.own, directory, self.count, self.each)?;
        // What several sections show is measured once.
        let mut arms: Vec<Arm> = Vec::new();
        for Shown { arm, .. } in sections.iter().flat_map(|section| &section.shown) {
            if !arms.iter().any(|other| same(other, arm)) {
                arms.push(*arm);
            }
        }
        let (count, start) = (self.rounds.unwrap_or(ROUNDS), Instant::now());
        let mut begin = |round: usize| {
            progress.show(&format!("round {round} of {count}"));
            // With as much time again as a round took until now.
            let ends = start.elapsed().mul_f64(1.0 + 1.0 / round.max(1) as f64);
            self.rounds.is_some() || ends < AT_MOST
        };
        let all = rounds(&mut workload, &arms, &self.devices, count, &mut begin)?;
        drop(progress);
        let done = all.first().map_or(0, |measured| measured.samples.len());
        if done < count && !common.json {
            let (note, done) = (styled(HEADING, "note:"), counted(done, "round"));
            writeln!(out, "{note} {done}, as they take long; --rounds {count} takes its time")?;
        }
        let mut printed: Vec<&Measured> = Vec::new();
        for section in sections {
            let find = |shown: &Shown| {
                let measured = all.iter().find(|measured| same(&measured.arm, &shown.arm));
                Some(Line { measured: measured?, name: shown.name, role: shown.role })
            };
            let lines: Vec<Line> = section.shown.iter().filter_map(find).collect();
            if !common.json {
                print(out, section.title, &lines, &all)?;
                continue;
            }
            for line in lines {
                if !printed.iter().any(|other| std::ptr::eq(*other, line.measured)) {
                    printed.push(line.measured);
                    place.print_json(out, benchmark, self.json(&line, &all))?;
                }
            }
        }
        Ok(())
    }

    fn json(&self, line: &Line<'_>, all: &[Measured]) -> Value {
        let Line { measured, role, .. } = line;
        let (seconds, rates) = (measured.seconds(), measured.rates());
        let ceiling = ceiling(all, measured, |rates| rates.median);
        json!({
            "strategy": measured.arm.name,
            "role": role.name(),
            "memory": memory_word(measured.arm.memory),
            "cache": self.reads.then_some(if measured.arm.cold { "cold" } else { "warm" }),
            "tensors": self.count,
            "bytes": measured.bytes,
            "rounds": measured.samples.len(),
            "threads": self.reads.then(warmstart_measure::threads),
            "seconds": seconds.map(|seconds| seconds.median),
            "fastest_seconds": seconds.map(|seconds| seconds.least),
            "slowest_seconds": seconds.map(|seconds| seconds.most),
            "gigabytes_per_second": rates.map(|rates| rates.median),
            "ceiling": ceiling.map(|ceiling| ceiling.of.arm.name),
            "ceiling_gigabytes_per_second": ceiling.map(|ceiling| ceiling.rate),
            "share_of_ceiling": line.share(all),
            "cpu_seconds": measured.cpu_seconds(),
            "peak_memory_bytes": measured.peak_bytes(),
            "submissions": measured.submissions(),
        })
    }
}

/// A measurement as it is shown in a section.
struct Line<'a> {
    measured: &'a Measured,
    name: &'static str,
    role: Role,
}

impl Line<'_> {
    /// Its share of its ceiling, by the median rounds of both.
    fn share(&self, all: &[Measured]) -> Option<f64> {
        let rates = self.measured.rates()?;
        Some(rates.median / ceiling(all, self.measured, |rates| rates.median)?.rate)
    }

    /// A line for people; `is_ceiling` says whether shares of others are of it.
    fn bar(&self, all: &[Measured], is_ceiling: bool) -> Bar {
        let rates = self.measured.rates();
        let dash = || "-".to_owned();
        let name = match self.role {
            Role::Strategy => self.name.to_owned(),
            Role::Machine if is_ceiling => format!("ceiling: {}", self.name),
            Role::Machine => format!("machine: {}", self.name),
            Role::Control => format!("control: {}", self.name),
        };
        let number = |value: Option<f64>| value.map_or_else(dash, |value| format!("{value:.2}"));
        let cells = vec![
            name,
            number(rates.map(|rates| rates.median)),
            rates.map_or_else(dash, |rates| format!("{:.2}-{:.2}", rates.least, rates.most)),
            percent(self.share(all)),
            self.measured.cpu_seconds().map_or_else(dash, |seconds| format!("{seconds:.3}")),
            self.measured.peak_bytes().map_or_else(dash, |bytes| (bytes >> 20).to_string()),
            self.measured.submissions().map_or_else(dash, |count| count.to_string()),
        ];
        Bar { cells, value: rates.map_or(0.0, |rates| rates.median) }
    }
}

fn print(
    out: &mut dyn Write,
    title: &str,
    lines: &[Line<'_>],
    all: &[Measured],
) -> Result<(), Failure> {
    writeln!(out, "\n{}", styled(HEADING, title))?;
    let header = ["", "GB/s", "range", "of ceiling", "CPU s", "MiB", "submits"];
    // What shares are of, with the lines whose shares they are.
    let mut ceilings: Vec<(&Line<'_>, Vec<&str>)> = Vec::new();
    for line in lines {
        let Some(of) = ceiling(all, line.measured, |rates| rates.median) else { continue };
        let is = |other: &&Line<'_>| same(&other.measured.arm, &of.of.arm);
        let Some(of) = lines.iter().find(is) else { continue };
        match ceilings.iter_mut().find(|(known, _)| std::ptr::eq(*known, of)) {
            Some((_, names)) => names.push(line.name),
            None => ceilings.push((of, vec![line.name])),
        }
    }
    let is_ceiling = |line: &Line<'_>| ceilings.iter().any(|(of, _)| std::ptr::eq(*of, line));
    let bars: Vec<Bar> = lines.iter().map(|line| line.bar(all, is_ceiling(line))).collect();
    for line in chart::chart(&header, 4, &bars, chart::width()) {
        writeln!(out, "{line}")?;
    }
    if ceilings.len() > 1 {
        let of =
            |(of, names): &(&Line<'_>, Vec<&str>)| format!("{}: {}", names.join(", "), of.name);
        let of: Vec<String> = ceilings.iter().map(of).collect();
        writeln!(out, "{} of ceiling: {}", styled(HEADING, "note:"), of.join("; "))?;
    }
    if lines.iter().filter_map(|line| line.share(all)).any(|share| share > 1.1) {
        let note = styled(HEADING, "note:");
        writeln!(
            out,
            "{note} more than 100 % says that the ceiling had it harder (a busy machine, recycled \
             memory): try a larger --size"
        )?;
    }
    Ok(())
}

fn same(one: &Arm, other: &Arm) -> bool {
    (one.work, one.memory, one.cold) == (other.work, other.memory, other.cold)
}

fn memory_word(memory: Memory) -> &'static str {
    match memory {
        Memory::Touched => "touched",
        Memory::Fresh => "fresh",
        Memory::Huge => "huge pages",
        Memory::Initialized => "initialized",
        Memory::Live => "live",
    }
}
