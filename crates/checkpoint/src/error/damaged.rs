//! Checkpoints that were left out because they are damaged, and what is said of them.

use super::CheckpointError;
use crate::formats::safetensors::FormatError;
use crate::formats::tensorflow::BundleError;
use crate::printable::printable;
use std::fmt;
use std::path::PathBuf;
use warmstart_graph::words::{counted_as, printable_path};

/// Damaged checkpoints that are told one by one.
const TOLD: usize = 5;

/// A checkpoint that was left out because it is damaged. It displays as a note about that.
#[derive(Debug)]
pub struct Damaged {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub error: CheckpointError,
}

impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.error {
            // It is no checkpoint itself.
            CheckpointError::Malformed {
                file,
                source: FormatError::TensorFlow(BundleError::State { problem }),
            } => write!(
                f,
                "`{}` should name the newest checkpoint, but {problem}; so the newest was opened \
                 that is whole, by the numbers that names end with. Correct that file or remove \
                 it, or let TensorFlow save again",
                printable_path(file)
            ),
            _ => write!(
                f,
                "a newer checkpoint is damaged, and an older one was opened: {}",
                self.what()
            ),
        }
    }
}

impl Damaged {
    /// What is wrong with it, and not what to take in its place: whoever left it out has taken that.
    #[doc(hidden)]
    pub fn what(&self) -> String {
        match &self.error {
            error @ (CheckpointError::HeaderChecksum { file, .. }
            | CheckpointError::Checksum { file, .. }) => {
                format!("checkpoint `{}`: {}", printable_path(file), damage(error))
            }
            error => error.to_string(),
        }
    }

    /// Notes about damaged checkpoints: the first few, and of how many more there is none.
    #[doc(hidden)]
    pub fn first_notes<T: fmt::Display>(notes: impl ExactSizeIterator<Item = T>) -> Vec<String> {
        let more = notes.len().saturating_sub(TOLD);
        let more = (more > 0).then(|| {
            let are = counted_as(more, "more checkpoint is", "more checkpoints are");
            format!("{are} damaged")
        });
        notes.take(TOLD).map(|note| note.to_string()).chain(more).collect()
    }
}

/// What is wrong with a checkpoint that is damaged, and what to do where that is not what is told of all.
pub(crate) fn damage(error: &CheckpointError) -> String {
    match error {
        CheckpointError::Malformed { source, .. } => source.to_string(),
        CheckpointError::Metadata { key, problem, .. } => {
            format!("metadata key `{}`: {}", printable(key), printable(problem))
        }
        CheckpointError::HeaderChecksum { .. } => "its header is not as it was written; if the \
            change was meant, take its metadata keys `warmstart.version` and `warmstart.checksums` out"
            .to_owned(),
        CheckpointError::Checksum { tensor, offset, .. } => {
            let tensor = printable(tensor);
            format!(
                "the bytes of tensor `{tensor}` at file offset {offset} are not as they were written"
            )
        }
        other => other.to_string(),
    }
}

/// Whether a failure says that the file is not the whole checkpoint that was saved, and not that
/// it could not be read, does not fit, or is whole and of a kind that is not read here: going on
/// from an older one would hide that.
pub(crate) fn is_damage(error: &CheckpointError) -> bool {
    use CheckpointError::{Checksum, CutShort, HeaderChecksum, Malformed, Metadata};
    if let Malformed { source: FormatError::TensorFlow(source), .. } = error {
        return !matches!(
            source,
            BundleError::Unsupported { .. } | BundleError::Compression { .. }
        );
    }
    matches!(
        error,
        Malformed { .. }
            | Metadata { .. }
            | HeaderChecksum { .. }
            | CutShort { .. }
            | Checksum { .. }
    )
}
