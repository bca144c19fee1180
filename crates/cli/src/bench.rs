//! `warmstart bench`: how fast it is here, beside what this machine can do.

mod chart;
mod compute;
mod folder;
mod kernels;
mod linear;
mod profile;
mod restore;
mod save;
mod train;
mod weights;

use crate::Answer;
use crate::error::Failure;
use crate::text::{HEADING, styled};
use clap::Subcommand;
use serde_json::{Value, json};
use std::io::{IsTerminal, Write};
use warmstart_gpu::{AdapterChoice, AdapterSummary, GpuOptions};
use warmstart_measure::Machine;

/// Measure how fast it is on this machine, beside what the machine can do
///
/// Each benchmark but `kernels` measures its ceilings in the same run and in turn with the rest: what
/// the same machine does without warmstart, at best. Figures are the median of several rounds, with the
/// slowest and the fastest; they are true for a machine that has nothing else to do.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  warmstart bench restore
  warmstart bench save --size 1GiB --dir /mnt/disk
  warmstart bench train --profile
  warmstart bench restore --json >> measurements.jsonl

Exit codes: 0 measured, 2 error")]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    Restore(restore::Arguments),
    Save(save::Arguments),
    Linear(linear::Arguments),
    Train(train::Arguments),
    Kernels(kernels::Arguments),
}

pub fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<Answer, Failure> {
    match &arguments.what {
        What::Restore(arguments) => restore::run(arguments, out),
        What::Save(arguments) => save::run(arguments, out),
        What::Linear(arguments) => linear::run(arguments, out),
        What::Train(arguments) => train::run(arguments, out),
        What::Kernels(arguments) => kernels::run(arguments, out),
    }
}

/// What all benchmarks can be told.
#[derive(clap::Args)]
pub struct Common {
    /// The adapter, by its number in `warmstart devices` or by a part of its name
    #[arg(long, value_name = "ADAPTER")]
    adapter: Option<String>,
    /// Print a line of JSON for each measurement
    #[arg(long)]
    json: bool,
}

impl Common {
    fn options(&self) -> GpuOptions {
        let adapter = self.adapter.as_ref().map(|wanted| match wanted.parse() {
            Ok(index) => AdapterChoice::Index(index),
            Err(_) => AdapterChoice::Name(wanted.clone()),
        });
        GpuOptions { adapter, ..GpuOptions::default() }
    }
}

/// What was measured on, which every figure depends on.
pub struct Place {
    adapter: AdapterSummary,
    machine: Machine,
}

impl Place {
    /// On this adapter, here and now.
    fn of(adapter: AdapterSummary) -> Place {
        Place { adapter, machine: Machine::here() }
    }

    /// Prints a title, the adapter, the machine and more such lines.
    fn print(
        &self,
        out: &mut dyn Write,
        title: &str,
        more: &[(&str, String)],
    ) -> Result<(), Failure> {
        writeln!(out, "{}", styled(HEADING, title))?;
        let mut machine = self.machine.to_string();
        if let Some(load) = self.machine.load_average {
            machine += &format!(", load average {load:.1} before");
        }
        let own = [("adapter", self.adapter.to_string()), ("machine", machine)];
        for (label, text) in own.iter().chain(more) {
            writeln!(out, "  {label:<8} {text}")?;
        }
        if self.machine.is_busy() {
            let note = styled(HEADING, "note:");
            writeln!(out, "{note} the machine has other work, and every figure suffers from it")?;
        }
        Ok(())
    }

    /// A measurement as a line of JSON: `fields`, and where it was measured.
    fn print_json(
        &self,
        out: &mut dyn Write,
        benchmark: &str,
        fields: Value,
    ) -> Result<(), Failure> {
        let mut line = json!({
            "benchmark": benchmark,
            "adapter": self.adapter.name,
            "backend": format!("{:?}", self.adapter.backend).to_lowercase(),
            "adapter_type": format!("{:?}", self.adapter.device_type),
            "driver": self.adapter.driver,
            "processor": self.machine.processor,
            "cores": self.machine.cores,
            "system": self.machine.system,
            "load_average": self.machine.load_average,
            "version": env!("CARGO_PKG_VERSION"),
        });
        if let (Value::Object(line), Value::Object(fields)) = (&mut line, fields) {
            line.extend(fields);
        }
        serde_json::to_writer(&mut *out, &line)?;
        Ok(writeln!(out)?)
    }
}

/// Tells people that wait how far it is, on a line that is written over.
struct Progress {
    shown: bool,
}

impl Progress {
    fn new() -> Progress {
        Progress { shown: std::io::stderr().is_terminal() }
    }

    fn show(&self, text: &str) {
        if self.shown {
            // Whether it can be written does not matter to anything.
            let _ = write!(std::io::stderr(), "\r\x1b[K{text}");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.show("");
    }
}

/// A share of a ceiling for people.
fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "-".to_owned(), |share| format!("{:.0} %", share * 100.0))
}
