//! `warmstart bench restore`.

use super::weights::{Load, Section, Shown};
use super::{Common, Place};
use crate::Answer;
use crate::devices::memory_name;
use crate::error::Failure;
use crate::text::counted;
use clap::ValueEnum;
use std::io::Write;
use warmstart_gpu::MemoryKind;
use warmstart_measure::{Arm, Memory, Way, Work, threads};

/// Measure how fast a checkpoint gets into the memory of variables
///
/// A checkpoint is written to a temporary folder and restored in several ways. The ceiling is the
/// faster of two ways to read the same file into the same kind of memory with as many threads and
/// no device: pread, and a copy out of a mapping of the file. Where bytes go through staging
/// buffers, it is the copy out of those, if that is slower. What the shares are of is marked as
/// the ceiling; the other lines of the machine are to compare with. Before each round it is made
/// sure that the file is in the system's cache, or with --cold that no page of it is. CPU s is the
/// processor time of all threads; MiB the peak of resident memory above the variables' own, in which
/// pages of a mapped file count.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  warmstart bench restore
  warmstart bench restore --size 1GiB --tensors 16 --dir /mnt/disk --cold
  warmstart bench restore --strategy checkpoint,naive --memory live
  warmstart bench restore --adapter 1 --json >> measurements.jsonl

Exit codes: 0 measured, 2 error")]
pub struct Arguments {
    #[command(flatten)]
    load: Load,
    /// Read from the disk: put the file out of the system's cache before each round, and prove it
    /// (Linux only)
    #[arg(long)]
    cold: bool,
    /// How to restore; without it, in every way that the adapter has
    #[arg(long, value_enum, value_delimiter = ',', value_name = "STRATEGY")]
    strategy: Vec<Strategy>,
    /// Into which memory, separated by commas; each kind has a chart of its own
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        value_name = "MEMORY",
        default_values = ["touched", "fresh"]
    )]
    memory: Vec<Target>,
    #[command(flatten)]
    common: Common,
}

/// A way to restore.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Strategy {
    /// As programs do: open, plan and restore, by what suits the adapter, checksums compared
    Checkpoint,
    /// The bytes alone, straight into mapped variables, where the adapter shares the host's memory
    Mapped,
    /// The bytes alone, through staging buffers
    Staged,
    /// The control: each tensor read into a Vec and given to write_buffer
    Naive,
}

/// The memory that bytes go to.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Target {
    /// Variables without a value, whose memory was written before
    Touched,
    /// Variables that are made in the measured section, as when a program starts
    Fresh,
    /// Variables with values that their initializers can make again
    Initialized,
    /// Variables with values from elsewhere, which are copied aside first
    Live,
}

impl Target {
    fn memory(self) -> Memory {
        match self {
            Target::Touched => Memory::Touched,
            Target::Fresh => Memory::Fresh,
            Target::Initialized => Memory::Initialized,
            Target::Live => Memory::Live,
        }
    }

    fn title(self) -> &'static str {
        match self {
            Target::Touched => "into memory that was written before",
            Target::Fresh => "into new memory, allocated while it is measured",
            Target::Initialized => "over values that initializers can make again",
            Target::Live => "over values from elsewhere, which are first copied aside",
        }
    }
}

pub fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<Answer, Failure> {
    let setting = arguments.load.prepare(&arguments.common.options(), true)?;
    let own = setting.devices.own.memory();
    let strategies = strategies(&arguments.strategy, own)?;
    let sections: Vec<Section> = arguments
        .memory
        .iter()
        .map(|&target| Section {
            title: target.title(),
            shown: section(target.memory(), &strategies, own, arguments.cold),
        })
        .collect();
    let cache = if arguments.cold { "cold" } else { "warm" };
    let title = format!("restore of {}, {cache}", setting.load());
    let place = Place::of(setting.devices.own.summary());
    let more = [
        ("memory", memory_name(own).to_owned()),
        ("files", setting.files()),
        (
            "rounds",
            format!("{}, read by {}", setting.rounds_in_words(), counted(threads(), "thread")),
        ),
    ];
    setting.measure(out, &place, &arguments.common, "restore", &title, &more, &sections)?;
    Ok(Answer::Yes)
}

/// Those that were asked for, or all that the adapter has.
fn strategies(asked: &[Strategy], own: MemoryKind) -> Result<Vec<Strategy>, Failure> {
    use Strategy::{Checkpoint, Mapped, Naive, Staged};
    let mappable = own == MemoryKind::Mappable;
    if asked.contains(&Mapped) && !mappable {
        let message = "this adapter cannot map its variables, so nothing can be restored straight \
                       into them";
        return Err(Failure::new(message)
            .help("--strategy staged; `warmstart devices` says what each adapter has"));
    }
    let all = [Checkpoint, Mapped, Staged, Naive];
    let wanted = |strategy: &Strategy| {
        if asked.is_empty() { mappable || *strategy != Mapped } else { asked.contains(strategy) }
    };
    Ok(all.into_iter().filter(wanted).collect())
}

/// What is measured of one kind of memory, ceilings first.
fn section(memory: Memory, strategies: &[Strategy], own: MemoryKind, cold: bool) -> Vec<Shown> {
    let fresh = memory == Memory::Fresh;
    // Where variables are in memory of the device's own, the system makes no pages for them.
    let plain = match own {
        MemoryKind::Mappable if fresh => Memory::Fresh,
        _ => Memory::Touched,
    };
    let machine = |name, work, memory, cold| Shown::machine(Arm { name, work, memory, cold });
    let mut shown = vec![
        machine("memcpy", Work::Memcpy, plain, false).called("memory, by memcpy"),
        machine("pread", Work::Plain(Way::Read), plain, cold).called("file, by pread"),
        machine("mmap + copy", Work::Plain(Way::Map), plain, cold).called("file, by mmap + copy"),
    ];
    if plain == Memory::Fresh && cfg!(target_os = "linux") {
        let huge = machine("pread", Work::Plain(Way::Read), Memory::Huge, cold);
        shown.push(huge.called("the same by pread, huge pages"));
    }
    let stages = |&strategy: &Strategy| match strategy {
        Strategy::Staged => true,
        Strategy::Checkpoint => own == MemoryKind::Staged,
        Strategy::Mapped | Strategy::Naive => false,
    };
    if strategies.iter().any(stages) {
        let copy = machine("staging copy", Work::StagingCopy, Memory::Touched, false);
        shown.push(copy.called("staging, by the device"));
    }
    shown.extend(strategies.iter().map(|strategy| {
        let arm = |name, work, memory| Arm { name, work, memory, cold };
        let naive = if fresh { Memory::Fresh } else { Memory::Touched };
        match strategy {
            Strategy::Checkpoint => Shown::own(arm("checkpoint", Work::Checkpoint, memory)),
            Strategy::Mapped => {
                let work = Work::Restore(Way::Read, MemoryKind::Mappable);
                Shown::own(arm("mapped", work, memory))
            }
            Strategy::Staged => {
                let work = Work::Restore(Way::Read, MemoryKind::Staged);
                Shown::own(arm("staged", work, memory))
            }
            Strategy::Naive => Shown::control(arm("naive", Work::Naive, naive)),
        }
    }));
    shown
}
