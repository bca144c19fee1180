//! The command `warmstart`: what is in a checkpoint, whether it is whole, whether it fits; and
//! training and using a model without code.
//!
//! Each subcommand has a file of its own, with its arguments and what it prints.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

mod arguments;
mod bench;
mod convert;
mod data;
mod description;
mod devices;
mod diff;
mod drawing;
mod elements;
mod error;
mod flags;
mod graph;
mod inference;
mod inspect;
mod latest;
mod manual;
mod output;
mod plan;
mod predict;
mod rules;
mod size;
mod stats;
mod text;
mod train;
mod verify;
mod wording;
mod wrapping;

use arguments::{Arguments, Command};
use clap::Parser;
use error::Failure;
use std::io::{ErrorKind, Write};
use std::process::ExitCode;

/// What a subcommand found, when nothing failed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// Same, whole, fits.
    Yes,
    /// Different, damaged, does not fit.
    No,
}

impl From<bool> for Answer {
    fn from(yes: bool) -> Answer {
        if yes { Answer::Yes } else { Answer::No }
    }
}

fn main() -> ExitCode {
    wrapping::install();
    let arguments = Arguments::try_parse().unwrap_or_else(|error| {
        // Whoever asks for help gets what was asked for.
        if error.use_stderr() && asks_for_json() {
            tell(&Failure::from(&error), &mut anstream::stdout());
        }
        // It ends with 2 where the arguments are wrong.
        error.exit()
    });
    // Colours are taken out again where the output is no terminal, and where NO_COLOR asks.
    let mut out = anstream::stdout().lock();
    let answer = run(arguments.command, &mut out).and_then(|answer| match out.flush() {
        // What was found is known, read or not.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(answer),
        flushed => Ok(flushed.map(|()| answer)?),
    });
    match answer {
        Ok(Answer::Yes) => ExitCode::SUCCESS,
        Ok(Answer::No) => ExitCode::from(1),
        Err(failure) => {
            let code = ExitCode::from(failure.code());
            if !failure.is_broken_pipe() {
                if asks_for_json() {
                    tell(&failure, &mut out);
                }
                text::say(format_args!("{:?}", miette::Report::new(failure)));
            }
            code
        }
    }
}

/// Whether JSON is asked for: known too where the arguments make no sense.
fn asks_for_json() -> bool {
    std::env::args_os().skip(1).take_while(|word| word != "--").any(|word| word == "--json")
}

/// Prints a failure as a line of JSON, beside what the standard error gets. If that fails, there is
/// nobody to tell.
fn tell(failure: &Failure, out: &mut dyn Write) {
    if let Some(value) = failure.json() {
        let _ = writeln!(out, "{value}").and_then(|()| out.flush());
    }
}

fn run(command: Command, out: &mut dyn Write) -> Result<Answer, Failure> {
    match command {
        Command::Inspect(arguments) => inspect::run(&arguments, out),
        Command::Verify(arguments) => verify::run(&arguments, out),
        Command::Plan(arguments) => plan::run(&arguments, out),
        Command::Latest(arguments) => latest::run(&arguments, out),
        Command::Diff(arguments) => diff::run(&arguments, out),
        Command::Devices(arguments) => devices::run(&arguments, out),
        Command::Graph(arguments) => graph::run(&arguments, out),
        Command::Convert(arguments) => convert::run(&arguments, out),
        Command::Train(arguments) => train::run(&arguments, out),
        Command::Predict(arguments) => predict::run(&arguments, out),
        Command::Bench(arguments) => bench::run(&arguments, out),
        Command::Completions(arguments) => manual::completions(&arguments, out),
        Command::Man(arguments) => manual::man(&arguments, out),
    }
}
