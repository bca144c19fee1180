//! `warmstart convert`: a checkpoint written anew.

use crate::Answer;
use crate::error::Failure;
use crate::flags::{RuleFlags, flag_of, is_about_variables};
use crate::latest::open_verified;
use crate::size;
use crate::text::{self, counted};
use clap::ValueEnum;
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use warmstart_checkpoint::{
    Checkpoint, CheckpointError, ConvertOptions, FloatDType, Glob, OutOfRange, Rule, TensorEntry,
    printable,
};
use warmstart_graph::words::{first_few, printable_path};

/// Tensors that are named of those with infinities, or zeros that were none; and files.
const SHOWN: usize = 8;

/// Write a checkpoint anew: under other names, with floats of another dtype, transposed, or a part
///
/// Writes safetensors with checksums: one file, which is whole or not there, or several and their
/// index. Several are all written under other names, then renamed, the index last, so that until
/// then both old and new need space. Memory is that of a piece of one tensor; of a matrix that is
/// transposed, 64 MiB at most. Graph and optimizer come along only if all tensors keep names, dtypes
/// and shapes; step, metrics and the time of the save are those of IN.
///
/// Takes rules about names and about which tensors take part, and --transpose; those that go by the
/// shapes of a model's variables are for restoring. In FROM=TO a backslash before `=`, `,` or a
/// backslash takes it as it is. A file of rules is as for `plan`; what it allows means nothing here.
#[derive(clap::Args)]
// Hidden, not unknown: whoever gives one is told why not.
#[command(mut_args(|arg| { let hide = is_about_variables(arg.get_id().as_str()); arg.hide(hide) }))]
#[command(after_help = "\
Examples:
  warmstart convert runs/digits small.safetensors --only 'fc*/{weight,bias}' --dtype bf16
  warmstart convert pytorch.pt mine.safetensors --strip-prefix module. --separator .=/ \\
      --transpose '**/weight'
  warmstart convert large.gguf out/model.safetensors --max-shard-size 2GiB

Exit codes: 0 written, 2 error; then OUT is as it was, unless several files with --force fail while they are being renamed, all written by then: what is left of the old has no index")]
pub struct Arguments {
    /// A file, or a directory, of which the newest checkpoint is taken whose weights are whole
    #[arg(value_name = "IN")]
    input: PathBuf,
    /// The file to write, NAME.safetensors
    #[arg(value_name = "OUT")]
    output: PathBuf,
    /// The dtype of all floats, rounded to the nearest; whole numbers stay what they are
    #[arg(long)]
    dtype: Option<Floats>,
    /// Let numbers that the new dtype does not reach become infinite, rather than refuse them
    #[arg(long)]
    allow_infinite: bool,
    /// Write NAME-00001-of-00003.safetensors and so on, and NAME.safetensors.index.json, where the
    /// tensors take more than SIZE: 500MB, 2GiB; a tensor that alone takes more has its own file
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    max_shard_size: Option<u64>,
    /// Replace OUT, and whatever else is to be written, if it exists. Several files also take the
    /// place of a single OUT, and one file that of an index
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
    let file = &arguments.output;
    check_name(file)?;
    let (rules, _) = arguments.rules.read()?;
    let mut options = rules.into_iter().fold(ConvertOptions::new(), ConvertOptions::rule);
    if let Some(floats) = arguments.dtype {
        options = options.floats(floats.into());
    }
    if let Some(size) = arguments.max_shard_size {
        options = options.max_shard_bytes(size);
    }
    if arguments.allow_infinite {
        options = options.allow_infinite();
    }
    if !arguments.force {
        options = options.keep_existing();
    }
    let checkpoint = open_verified(&arguments.input)?;
    // One of several files is never written over: what is read would change while it is.
    let read = checkpoint.file().canonicalize().ok();
    let written = checkpoint.convert(file, &options).map_err(|error| {
        let help = match &error {
            CheckpointError::ConvertDType { .. } => held_by_no_safetensors(&checkpoint),
            _ => None,
        };
        let failure = Failure::from(error);
        match help {
            Some(help) => failure.help(help),
            None => failure,
        }
    })?;
    let in_place = read.is_some() && read == file.canonicalize().ok();
    let paths = |files: &[PathBuf]| -> Vec<String> {
        files.iter().map(|file| file.to_string_lossy().into_owned()).collect()
    };
    let file = written.index.as_deref().unwrap_or(file);
    if arguments.json {
        let one = |found: &OutOfRange| {
            json!({
                "tensor": found.tensor,
                "elements": found.elements,
                "first": found.first,
                "value": found.value,
            })
        };
        let all = |found: &[OutOfRange]| found.iter().map(one).collect::<Vec<Value>>();
        let value = json!({
            "from": checkpoint.file().to_string_lossy(),
            "file": file.to_string_lossy(),
            "files": paths(&written.files),
            "in_place": in_place,
            "tensors": written.tensors,
            "bytes": written.bytes,
            "cast": written.cast,
            "overflowed": written.overflowed,
            "overflows": all(&written.overflows),
            "underflowed": written.underflowed,
            "underflows": all(&written.underflows),
            "transposed": written.transposed,
            "left_out": written.left_out,
            "description_left_out": written.description_left_out,
            "left_behind": paths(&written.left_behind),
            "removed": paths(&written.removed),
        });
        text::print_json(out, &value)?;
        return Ok(Answer::Yes);
    }
    let (tensors, bytes) = (counted(written.tensors, "tensor"), text::bytes(written.bytes));
    let mut line = format!("wrote {}: {tensors}, {bytes}", printable_path(file));
    for (n, what) in
        [(written.cast, "cast"), (written.transposed, "transposed"), (written.left_out, "left out")]
    {
        if n > 0 {
            line.push_str(&format!(", {n} {what}"));
        }
    }
    if let (Some(first), Some(last), Some(_)) =
        (written.files.first(), written.files.last(), &written.index)
    {
        let count = counted(written.files.len(), "file");
        let (first, last) = (printable_path(first), printable_path(last));
        line.push_str(&format!(", in {count}:\n  {first}\n  … {last}"));
    }
    writeln!(out, "{line}")?;
    if in_place {
        writeln!(out, "note: this took the place of the checkpoint that was read")?;
    }
    let infinite = "became infinite: beyond the largest number of the new dtype:";
    out_of_range(out, written.overflowed, infinite, &written.overflows)?;
    let zero = "became zero: too small for the new dtype:";
    out_of_range(out, written.underflowed, zero, &written.underflows)?;
    if written.description_left_out {
        let graph = match checkpoint.metadata().graph() {
            Some(_) if in_place => {
                "; `warmstart predict` needs them, and they went with the checkpoint that was read"
            }
            Some(_) => {
                "; `warmstart predict` needs them, and takes the checkpoint that was read, not this"
            }
            None => "",
        };
        writeln!(
            out,
            "note: without graph and optimizer, which speak of the tensors as they were{graph}"
        )?;
    }
    if !written.removed.is_empty() {
        let removed = first_few(written.removed.iter().map(printable_path), SHOWN);
        writeln!(out, "note: removed, since this takes its place: {removed}")?;
    }
    if !written.left_behind.is_empty() {
        let left = first_few(written.left_behind.iter().map(printable_path), SHOWN);
        writeln!(out, "note: of an earlier conversion, and no longer part of it: {left}")?;
    }
    Ok(Answer::Yes)
}

/// Says what the new dtype does not reach.
fn out_of_range(
    out: &mut dyn Write,
    elements: u64,
    became: &str,
    found: &[OutOfRange],
) -> Result<(), Failure> {
    if elements == 0 {
        return Ok(());
    }
    let elements = counted(usize::try_from(elements).unwrap_or(usize::MAX), "element");
    writeln!(out, "note: {elements} {became}")?;
    for OutOfRange { tensor, elements, first, value, .. } in found.iter().take(SHOWN) {
        let (tensor, value) = (printable(tensor), text::short(*value));
        writeln!(out, "  {tensor}: {elements}, the first at {first:?}, which was {value}")?;
    }
    if let more @ 1.. = found.len().saturating_sub(SHOWN) {
        writeln!(out, "  and in {}", counted(more, "more tensor"))?;
    }
    Ok(())
}

/// How to leave out what has a dtype that safetensors does not, if there is such: by a glob that
/// matches nothing else, or a name at a time.
fn held_by_no_safetensors(checkpoint: &Checkpoint) -> Option<String> {
    const SHOWN: usize = 4;
    let tensors = checkpoint.tensors();
    let strange = |tensor: &&TensorEntry| tensor.dtype.safetensors_name().is_none();
    let names: Vec<&str> =
        tensors.iter().filter(strange).map(|tensor| tensor.name.as_str()).collect();
    let ignore = |glob: String| flag_of(&Rule::Ignore(glob));
    let (first, rest) = names.split_first()?;
    let part = |separator: char| Some(Glob::escape(first.rsplit_once(separator)?.1));
    let scope = first.split_once('/').map(|(scope, _)| format!("{}/**", Glob::escape(scope)));
    let globs = [
        part('/').map(|name| format!("**/{name}")),
        part('.').map(|name| format!("**.{name}")),
        scope,
    ];
    let all = globs.into_iter().flatten().find(|glob| {
        Glob::new(glob).is_ok_and(|glob| {
            tensors.iter().all(|tensor| glob.is_match(&tensor.name) == strange(&tensor))
        })
    });
    if let Some(flag) = all.filter(|_| !rest.is_empty()).and_then(ignore) {
        return Some(format!("`{flag}` leaves out all that safetensors cannot hold"));
    }
    let flags: Vec<String> =
        names.iter().take(SHOWN).filter_map(|name| ignore(Glob::escape(name))).collect();
    let flags = flags.join(" ");
    Some(match names.len().saturating_sub(SHOWN) {
        0 => format!("`{flags}` leaves out all that safetensors cannot hold"),
        more => format!(
            "`{flags}` leaves out the first of what safetensors cannot hold; there are {more} more, and `--ignore` takes globs"
        ),
    })
}

/// Refuses names by which nobody would look for safetensors.
fn check_name(file: &Path) -> Result<(), Failure> {
    if file.extension().is_some_and(|extension| extension == "safetensors") {
        return Ok(());
    }
    let shown = printable_path(file);
    if file.is_dir() || file.file_name().is_none() {
        let name = file.join("model.safetensors");
        return Err(Failure::new(format!("`{shown}` is a directory; nothing was written"))
            .help(format!("give a file's name in it, such as `{}`", printable_path(name))));
    }
    let name = file.with_extension("safetensors");
    Err(Failure::new(format!("safetensors is what is written, and `{shown}` is no name of it"))
        .help(format!("call it `{}`", printable_path(name))))
}
