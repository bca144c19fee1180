//! `warmstart convert`: a checkpoint written anew.

use crate::Answer;
use crate::error::Failure;
use crate::flags::{RuleFlags, is_about_values};
use crate::text::{self, counted};
use clap::ValueEnum;
use serde_json::json;
use std::io::Write;
use std::path::PathBuf;
use warmstart_checkpoint::{Checkpoint, FloatDType};

/// Write a checkpoint anew: under other names, with floats of another dtype, or only a part of it
///
/// Writes one safetensors file with checksums; it is whole, or not there. Memory is that of a piece
/// of one tensor. Graph and optimizer come along only if all tensors keep names and dtypes.
///
/// Takes rules about names and about which tensors take part, and none about values. In FROM=TO a
/// backslash before `=`, `,` or a backslash takes it as it is.
#[derive(clap::Args)]
// Hidden, not unknown: whoever gives one is told why not.
#[command(mut_args(|arg| { let hide = is_about_values(arg.get_id().as_str()); arg.hide(hide) }))]
#[command(after_help = "\
Examples:
  warmstart convert runs/digits small.safetensors --only 'fc*/{weight,bias}' --dtype bf16
  warmstart convert pytorch.safetensors mine.safetensors --strip-prefix module. --separator .=/

Exit codes: 0 written, 2 error; then OUT is as it was")]
pub struct Arguments {
    /// A file, or a directory, which opens its newest whole checkpoint
    #[arg(value_name = "IN")]
    input: PathBuf,
    /// The file to write
    #[arg(value_name = "OUT")]
    output: PathBuf,
    /// The dtype of all floats, rounded to the nearest; whole numbers stay what they are
    #[arg(long)]
    dtype: Option<Floats>,
    /// Replace OUT if it exists
    #[arg(long)]
    force: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    rules: RuleFlags,
}

#[derive(Clone, Copy, ValueEnum)]
enum Floats {
    F32,
    F16,
    Bf16,
}

impl From<Floats> for FloatDType {
    fn from(floats: Floats) -> FloatDType {
        match floats {
            Floats::F32 => FloatDType::F32,
            Floats::F16 => FloatDType::F16,
            Floats::Bf16 => FloatDType::Bf16,
        }
    }
}

pub fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<Answer, Failure> {
    let checkpoint = Checkpoint::open(&arguments.input)?;
    let file = &arguments.output;
    if file.is_file() && !arguments.force {
        return Err(Failure::new(format!("`{}` exists; nothing was written", file.display()))
            .help("choose another name, or replace it: --force"));
    }
    let (rules, floats) = (&arguments.rules.rules, arguments.dtype.map(FloatDType::from));
    let written = checkpoint.convert(file, rules, floats)?;
    if arguments.json {
        let value = json!({
            "from": checkpoint.file().display().to_string(),
            "file": file.display().to_string(),
            "tensors": written.tensors,
            "bytes": written.bytes,
            "cast": written.cast,
            "left_out": written.left_out,
            "description_left_out": written.description_left_out,
        });
        text::print_json(out, &value)?;
        return Ok(Answer::Yes);
    }
    let (tensors, bytes) = (counted(written.tensors, "tensor"), text::bytes(written.bytes));
    let mut line = format!("wrote {}: {tensors}, {bytes}", file.display());
    for (n, what) in [(written.cast, "cast"), (written.left_out, "left out")] {
        if n > 0 {
            line.push_str(&format!(", {n} {what}"));
        }
    }
    writeln!(out, "{line}")?;
    if written.description_left_out {
        writeln!(
            out,
            "note: without graph and optimizer, which speak of the tensors as they were"
        )?;
    }
    Ok(Answer::Yes)
}
