//! The command line as a whole. The arguments of each subcommand are in its own file.

use crate::{
    bench, convert, devices, diff, graph, inspect, latest, manual, plan, predict, train, verify,
};
use clap::builder::styling::{AnsiColor, Styles};
use clap::{Parser, Subcommand};

const EXIT_CODES: &str = "\
Exit codes:
    0  yes: whole, the same, fits; or done
    1  no: damaged, different, does not fit
    2  the question could not be answered, or the arguments are wrong
  130  stopped by Ctrl-C, or 143 by SIGTERM; a training says which checkpoint it saved, if not
       stopped at once
  141  nobody read the answer to its end, as behind `| head`; a training goes on all the same

With --json, an error is a line on the standard output too:
    {\"error\":{\"code\":2,\"message\":\"...\",\"help\":\"...\"}}
with `causes`, `file`, `line` and `column` where there are such. `code` is the exit code. `verify`
has its errors among its answers.";

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

/// Answers questions about checkpoints: what is in them, whether they are whole, and whether they
/// fit a model; and trains and uses models without code.
///
/// A path is a safetensors file or an index of several, one of the files or the prefix of a
/// TensorFlow checkpoint, a file of PyTorch (`.pt`, `.pth`, `.bin`), NumPy (`.npy`, `.npz`) or GGUF, or a
/// directory, which opens the newest checkpoint in it that is whole by its header. Weights stay in
/// the file unless a question is about their values, and then pass through in small pieces.
/// `warmstart man` prints a manual page.
#[derive(Parser)]
#[command(name = "warmstart", version, styles = STYLES, after_help = EXIT_CODES)]
#[command(max_term_width = 100, propagate_version = true)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    Inspect(inspect::Arguments),
    Verify(verify::Arguments),
    Plan(plan::Arguments),
    Latest(latest::Arguments),
    Diff(diff::Arguments),
    Devices(devices::Arguments),
    Graph(graph::Arguments),
    Convert(convert::Arguments),
    Train(train::Arguments),
    Predict(predict::Arguments),
    Bench(bench::Arguments),
    Completions(manual::CompletionsArguments),
    #[command(hide = true)]
    Man(manual::ManArguments),
}
