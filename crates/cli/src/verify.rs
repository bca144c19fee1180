//! `warmstart verify`: whether checkpoints are as they were written.

use crate::Answer;
use crate::error::{CHECKPOINTS, Failure};
use crate::text::{self, BAD, GOOD, counted, styled};
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::slice;
use warmstart_checkpoint::{
    Checkpoint, CheckpointError, Damaged, FormatError, PyTorchError, Verification,
};
use warmstart_graph::words::printable_path;

/// Read checkpoints wholly, and hold them against their checksums
///
/// Reports every damaged tensor with its place in the file. Without checksums, as in files of other
/// programs, it is only known that the structure is sound and that everything can be read.
///
/// A file that is known to be something else, such as text or a web page, is no checkpoint, whatever
/// it is called. One that is empty, cut short or makes no sense is a damaged checkpoint if its name
/// ends with `.safetensors`, `.pt`, `.pth`, `.npz`, `.npy`, `.gguf` or `.index`.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  warmstart verify runs/digits/step-500.safetensors
  warmstart verify runs/digits/*.safetensors && echo all is well

Exit codes: 0 all are whole, 1 at least one is damaged or was written to meanwhile, 2 at least one
could not be read, or is no checkpoint")]
pub struct Arguments {
    /// Files, or directories, of which the newest checkpoint is read that is whole by its header, and
    /// newer ones are told as damaged
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<Answer, Failure> {
    let mut whole = true;
    let mut failures = Vec::new();
    let mut values = Vec::new();
    for path in &arguments.paths {
        match look(path) {
            Ok(Looked { file, found, newer }) => {
                let newer = newer.iter().map(|damaged| (&*damaged.path, Err(&damaged.error)));
                for (file, found) in [(&*file, found.as_ref())].into_iter().chain(newer) {
                    whole &= damage(found).is_empty();
                    if arguments.json {
                        values.push(json_of(file, found));
                    } else {
                        print(out, file, found)?;
                    }
                }
            }
            // The others are still looked at: one file that is missing says nothing about them.
            Err(error) => {
                values.push(json!({
                    "file": path.to_string_lossy(),
                    "whole": null,
                    "error": error.to_string(),
                }));
                failures.push(error);
            }
        }
    }
    if arguments.json {
        text::print_json(out, &Value::Array(values))?;
    }
    let mut failures = failures.into_iter();
    let failure = match (failures.next(), failures.len()) {
        (None, _) => return Ok(whole.into()),
        (Some(first), 0) => Failure::from(first),
        (Some(first), more) => {
            let others: Vec<String> = failures.map(|error| error.to_string()).collect();
            let others = format!("{} more could not be read:\n{}", more, others.join("\n"));
            Failure::from(first).help(others)
        }
    };
    // The array has an entry for each.
    Err(if arguments.json { failure.told() } else { failure })
}

/// What was found in a file. One whose header is damaged could not be looked into.
type Found<'a> = Result<&'a Verification, &'a CheckpointError>;

/// What was looked at, and what is newer in its directory and damaged.
struct Looked {
    file: PathBuf,
    found: Result<Verification, CheckpointError>,
    newer: Vec<Damaged>,
}

fn look(path: &Path) -> Result<Looked, CheckpointError> {
    match Checkpoint::open(path) {
        Ok(checkpoint) => Ok(Looked {
            file: checkpoint.file().to_owned(),
            found: Ok(checkpoint.verify()),
            newer: checkpoint.into_damaged(),
        }),
        // The file is there, and that it is damaged is the answer.
        Err(error) if is_damage(&error) && was_checkpoint(path, &error) => {
            Ok(Looked { file: path.to_owned(), found: Err(error), newer: Vec::new() })
        }
        Err(error) => Err(error),
    }
}

/// Whether an error says that a file is damaged, and not that it is none of ours or cannot be read.
fn is_damage(error: &CheckpointError) -> bool {
    match error {
        CheckpointError::HeaderChecksum { .. }
        | CheckpointError::Metadata { .. }
        | CheckpointError::AllDamaged { .. } => true,
        // Its bytes may well be those that were written; what they ask for is not done.
        CheckpointError::Malformed {
            source: FormatError::PyTorch(PyTorchError::Global { .. } | PyTorchError::Opcode { .. }),
            ..
        } => false,
        // What is known to be something else is no checkpoint, whatever it is called.
        CheckpointError::Malformed { source, .. } => {
            !matches!(source, FormatError::Recognised { .. })
        }
        _ => false,
    }
}

/// Whether a file that makes no sense is to be taken for a checkpoint that has been damaged: if not
/// even its first bytes do, only if its name says that it is one.
fn was_checkpoint(path: &Path, error: &CheckpointError) -> bool {
    use FormatError::{Empty, HeaderBeyondEnd, HeaderTooLarge, TooShort};
    // `.bin`, `.json` and `.ckpt` are names of much else.
    let said_so = |end: &str| CHECKPOINTS.contains(&end) && !["bin", "json", "ckpt"].contains(&end);
    let nothing = matches!(
        error,
        CheckpointError::Malformed {
            source: Empty | TooShort { .. } | HeaderTooLarge { .. } | HeaderBeyondEnd { .. },
            ..
        }
    );
    let extension = path.extension().and_then(|extension| extension.to_str());
    // A directory's checkpoints have their names.
    !nothing || path.is_dir() || extension.is_some_and(said_so)
}

fn damage<'a>(found: Found<'a>) -> &'a [CheckpointError] {
    match found {
        Ok(found) => &found.damaged,
        Err(error) => slice::from_ref(error),
    }
}

fn print(out: &mut dyn Write, file: &Path, found: Found<'_>) -> Result<(), Failure> {
    let file = printable_path(file);
    let found = match found {
        Ok(found) if found.is_whole() => found,
        _ => {
            // What was written over meanwhile may be whole.
            let changed =
                |error: &CheckpointError| matches!(error, CheckpointError::Changed { .. });
            let what = if damage(found).iter().all(changed) { "changed" } else { "damaged" };
            writeln!(out, "{} {file}", styled(BAD, what))?;
            for error in damage(found) {
                writeln!(out, "  {error}")?;
            }
            return Ok(());
        }
    };
    let how = match found.checksums {
        true => "as written",
        false => "readable; the file has no checksums to tell more by",
    };
    let (tensors, bytes) = (counted(found.tensors, "tensor"), text::bytes(found.bytes));
    Ok(writeln!(out, "{} {file}: {tensors}, {bytes}, {how}", styled(GOOD, "whole"))?)
}

fn json_of(file: &Path, found: Found<'_>) -> Value {
    let damaged = damage(found).iter().map(|error| {
        let mut value = json!({ "problem": error.to_string() });
        if let CheckpointError::Checksum { tensor, offset, .. }
        | CheckpointError::CutShort { tensor, offset, .. }
        | CheckpointError::Read { tensor, offset, .. }
        | CheckpointError::Inflate { tensor, offset, .. } = error
        {
            value["tensor"] = json!(tensor);
            value["offset"] = json!(offset);
        }
        value
    });
    let known = found.ok();
    json!({
        "file": file.to_string_lossy(),
        "whole": damage(found).is_empty(),
        "checksums": known.map(|found| found.checksums),
        "tensors": known.map(|found| found.tensors),
        "bytes": known.map(|found| found.bytes),
        "damaged": damaged.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Only what is not as it was written is called damaged.
    #[test]
    fn a_file_that_was_written_over_meanwhile_is_not_called_damaged() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("m.safetensors");
        std::fs::write(&file, *b"\x02\0\0\0\0\0\0\0{}").unwrap();
        let changed = || CheckpointError::Changed { file: file.clone() };
        let cut_short = CheckpointError::CutShort {
            file: file.clone(),
            tensor: "w".to_owned(),
            offset: 0,
            expected: 8,
            found: 4,
        };
        let printed = |damaged: Vec<CheckpointError>| {
            let mut found = Checkpoint::open(&file).unwrap().verify();
            found.damaged = damaged;
            let mut out = Vec::new();
            print(&mut out, &file, Ok(&found)).unwrap();
            String::from_utf8(out).unwrap()
        };
        let text = printed(vec![changed()]);
        assert!(text.contains("changed") && !text.contains("damaged"), "{text}");
        assert!(text.contains("was written to since it was opened"), "{text}");
        let text = printed(vec![cut_short, changed()]);
        assert!(text.contains("damaged"), "{text}");
    }
}
