//! `warmstart bench save`.

use super::weights::{Load, Section, Shown};
use super::{Common, Place};
use crate::Answer;
use crate::error::Failure;
use clap::ValueEnum;
use std::io::Write;
use warmstart_measure::{Arm, Memory, Work};

/// Measure how fast variables become a checkpoint that is durable
///
/// A save has to write a new file, sync it, rename it over the old one and sync the folder. The
/// ceiling is doing just that with the same bytes from the host's memory; how fast that is, only
/// the disk says, and it may say something else each time.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  warmstart bench save
  warmstart bench save --size 1GiB --dir /mnt/disk --rounds 9
  warmstart bench save --strategy save --json >> measurements.jsonl

Exit codes: 0 measured, 2 error")]
pub struct Arguments {
    #[command(flatten)]
    load: Load,
    /// How to save; without it, in both ways
    #[arg(long, value_enum, value_delimiter = ',', value_name = "STRATEGY")]
    strategy: Vec<Strategy>,
    #[command(flatten)]
    common: Common,
}

/// A way to save.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Strategy {
    /// As programs do: atomic, durable, with checksums
    Save,
    /// The control: each variable read by itself and written, and one sync at the end
    Naive,
}

pub fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<Answer, Failure> {
    let setting = arguments.load.prepare(&arguments.common.options(), false)?;
    let wanted = |strategy| arguments.strategy.is_empty() || arguments.strategy.contains(&strategy);
    let arm = |name, work| Arm { name, work, memory: Memory::Initialized, cold: false };
    let mut shown = vec![Shown::machine(arm("write, sync, rename", Work::Write))];
    if wanted(Strategy::Save) {
        shown.push(Shown::own(arm("save", Work::Save)));
    }
    if wanted(Strategy::Naive) {
        shown.push(Shown::control(arm("naive", Work::NaiveSave)));
    }
    let sections = [Section { title: "from the device until it is durable", shown }];
    let title = format!("save of {}", setting.load());
    let place = Place::of(setting.devices.own.summary());
    let more = [("files", setting.files()), ("rounds", setting.rounds_in_words())];
    setting.measure(out, &place, &arguments.common, "save", &title, &more, &sections)?;
    Ok(Answer::Yes)
}
