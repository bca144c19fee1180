//! Everything that can go wrong between a file and a variable. How it is told: `error/told.rs`.

mod damaged;
#[cfg(test)]
mod names_tests;
mod told;

use crate::bytes::sums::Checksum;
use crate::formats::safetensors::FormatError;
use crate::printable::printable;
use crate::restore::report::RestoreReport;
use crate::restore::rules::Rule;
use crate::tensor::FileDType;
pub use damaged::Damaged;
pub(crate) use damaged::{damage, is_damage};
use std::io;
use std::path::{Path, PathBuf};
use told::{
    advice, apart, chosen, have, instead, instead_of_directory, instead_of_infinite, one_of,
    partly, quoted, recorded, told, uninitialized,
};
use warmstart_gpu::{Origin, SessionError};
use warmstart_graph::words::printable_path;

warmstart_graph::debug_as_display!(CheckpointError);

/// Why a checkpoint could not be opened, restored or saved.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// There is neither a file nor a directory of this name.
    #[error("there is no checkpoint `{}`: check the path; a directory opens its newest checkpoint", printable_path(.path))]
    NotFound {
        /// The path.
        path: PathBuf,
    },
    /// The directory that should hold checkpoints does not exist.
    #[error("the checkpoint directory `{}` does not exist: check the path, or save into it first, which creates it", printable_path(.directory))]
    NoDirectory {
        /// The directory.
        directory: PathBuf,
    },
    /// The directory holds no checkpoint.
    #[error("the directory `{}` holds no checkpoint{}", printable_path(.directory), instead_of_directory(.directory, .files))]
    NoCheckpoint {
        /// The directory.
        directory: PathBuf,
        /// Files in it that may be checkpoints, but have names of which none is looked for.
        files: Vec<PathBuf>,
    },
    /// The directory holds checkpoints of which none is the newest.
    #[error("the directory `{}` holds several checkpoints, and nothing says which is meant: name one of {}", printable_path(.directory), quoted(.names))]
    Several {
        /// The directory.
        directory: PathBuf,
        /// The names of the files.
        names: Vec<PathBuf>,
    },
    /// The directory holds checkpoints, and each of them is damaged.
    #[error("{}\nRestore {} from a backup, or name another directory{}", told(.directory, .damaged, ""), one_of(.damaged), partly(.damaged))]
    AllDamaged {
        /// The directory.
        directory: PathBuf,
        /// The checkpoints, newest first.
        damaged: Vec<Damaged>,
    },
    /// The best by a metric was asked for, and all that have recorded it are damaged.
    #[error("{}\nTake the newest that is whole instead of the best, or restore {} from a backup", told(.directory, .damaged, &recorded(.damaged, .metric)), one_of(.damaged))]
    BestDamaged {
        /// The directory.
        directory: PathBuf,
        /// The metric.
        metric: String,
        /// The checkpoints, the best first.
        damaged: Vec<Damaged>,
    },
    /// A file operation failed.
    #[error("cannot {operation} `{}`: {source}. {}", printable_path(.path), advice(.operation, .source))]
    Storage {
        /// What was being done, as a verb.
        operation: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A checkpoint was written and has its name, but the directory could not be synced.
    #[error("checkpoint `{}` is written, but syncing its directory failed: {source}. It may be lost if the machine stops now: save again, or check the disk", printable_path(.file))]
    NotDurable {
        /// The checkpoint.
        file: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The file is not a well-formed checkpoint.
    #[error("cannot read checkpoint `{}`: {source}", printable_path(.file))]
    Malformed {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        source: FormatError,
    },
    /// One of warmstart's own entries in `__metadata__` makes no sense.
    #[error("checkpoint `{}`: metadata key `{key}`: {problem}. Remove the key, or save the checkpoint again", printable_path(.file), key = printable(.key), problem = printable(.problem))]
    Metadata {
        /// The file.
        file: PathBuf,
        /// The key.
        key: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A graph was asked for that was not saved with the weights.
    #[error("checkpoint `{}` holds no graph: save it with `SaveOptions::graph`, or build the graph in code", printable_path(.file))]
    NoGraph {
        /// The file.
        file: PathBuf,
    },
    /// The header is not as it was written.
    #[error("checkpoint `{}`: its header has checksum {found:08x}, but {} was written: the file is damaged, or another program changed it. {}; if the change was meant, remove the metadata keys `warmstart.version` and `warmstart.checksums`", printable_path(.file), .expected.map_or("another".to_owned(), |crc| format!("{crc:08x}")), instead(.older))]
    HeaderChecksum {
        /// The file.
        file: PathBuf,
        /// The crc32c that was written, if it can still be read.
        expected: Option<u32>,
        /// The crc32c that the header has.
        found: u32,
        /// The next older checkpoint of the same run, if the file was opened by its name and there is one.
        older: Option<PathBuf>,
    },
    /// A tensor's bytes are not as they were written.
    #[error("checkpoint `{}`: tensor `{tensor}` at file offset {offset} has checksum {found}, but {expected} was written: its bytes are damaged. No variable was changed. {}", printable_path(.file), instead(.older), tensor = printable(.tensor))]
    Checksum {
        /// The file.
        file: PathBuf,
        /// The tensor.
        tensor: String,
        /// Where it begins in the file.
        offset: u64,
        /// The checksum that was written.
        expected: Checksum,
        /// The one that its bytes have.
        found: Checksum,
        /// The next older checkpoint of the same run, if there is one.
        older: Option<PathBuf>,
    },
    /// The file was written by a warmstart whose format this one does not know.
    #[error("checkpoint `{}` has warmstart's format {found}, but this version knows formats up to {known}: update warmstart", printable_path(.file))]
    NewerVersion {
        /// The file.
        file: PathBuf,
        /// The format of the file.
        found: u32,
        /// The newest format known here.
        known: u32,
    },
    /// The file was written by a warmstart from before its first release.
    #[error("checkpoint `{}` has warmstart's format {found}, which no release wrote, and this version reads {known}: save it again with the version that wrote it, or remove the metadata keys `warmstart.version` and `warmstart.checksums`, without which it is read as any other safetensors file, unchecked", printable_path(.file))]
    OlderVersion {
        /// The file.
        file: PathBuf,
        /// The format of the file.
        found: u32,
        /// The format that is read here.
        known: u32,
    },
    /// Checkpoint and variables do not match; the report says where, and displays in full.
    #[error("{0}")]
    Mismatch(Box<RestoreReport>),
    /// There is nothing to restore into.
    #[error("checkpoint `{}` was to be restored into a session without variables. Compile the plans first, or declare the variables: only then is it known what is to be restored. `.allow_unexpected()` says that nothing is meant to be", printable_path(.file))]
    NoVariables {
        /// The file.
        file: PathBuf,
    },
    /// The session's variables are others than those that the plan was made for.
    #[error("the plan to restore `{}` was made for other variables than the session has now: some were declared since this plan was made, or have another role or initializer (`{variable}` differs). Nothing was changed: make the plan again, after all variables are declared", printable_path(.file), variable = printable(.variable))]
    OutdatedPlan {
        /// The file.
        file: PathBuf,
        /// The first variable that differs.
        variable: String,
    },
    /// The file became shorter after it was opened.
    #[error("checkpoint `{}`: tensor `{tensor}` at file offset {offset} should have {expected} bytes, but the file ends after {found} of them. No variable was changed: the file was cut short since it was opened; use another checkpoint", printable_path(.file), tensor = printable(.tensor))]
    CutShort {
        /// The file.
        file: PathBuf,
        /// The tensor.
        tensor: String,
        /// Where it begins in the file.
        offset: u64,
        /// Bytes it should have.
        expected: u64,
        /// Bytes there are.
        found: u64,
    },
    /// The file was written to after it was opened, or its time was set, and what was read of it is held against
    /// no checksum: it has none, or they are skipped.
    #[error("checkpoint `{}` was written to since it was opened, and no checksum says that what was read is what it holds. Nothing was changed: when whoever writes the file is done, open it again", printable_path(.file))]
    Changed {
        /// The file.
        file: PathBuf,
    },
    /// The weights could not be read.
    #[error("checkpoint `{}`: cannot read tensor `{tensor}` at file offset {offset}: {source}. No variable was changed: check the disk, or use another checkpoint", printable_path(.file), tensor = printable(.tensor))]
    Read {
        /// The file.
        file: PathBuf,
        /// The tensor.
        tensor: String,
        /// Where the failing read began in the file.
        offset: u64,
        /// What the operating system said.
        source: io::Error,
    },
    /// A compressed entry of an archive is no longer what was compressed.
    #[error("checkpoint `{}`: tensor `{tensor}` lies in a compressed entry that cannot be inflated from offset {offset} in the entry on ({source}): its bytes are damaged. No variable was changed: copy the file again, or use another checkpoint", printable_path(.file), tensor = printable(.tensor))]
    Inflate {
        /// The file.
        file: PathBuf,
        /// The tensor.
        tensor: String,
        /// Where the failing read began in the entry, in inflated bytes.
        offset: u64,
        /// What is wrong with the bytes.
        source: io::Error,
    },
    /// The session refused.
    #[error("checkpoint `{}`: {source}", printable_path(.file))]
    Session {
        /// The checkpoint that was being restored or saved.
        file: PathBuf,
        /// What the session said.
        source: Box<SessionError>,
    },
    /// A save was asked for while variables have no value.
    #[error("cannot save `{}`: {} no value: {}. Nothing was written: call `initialize_missing(seed)` or restore them first", printable_path(.file), have(.variables.len()), uninitialized(.variables))]
    Uninitialized {
        /// The checkpoint that would have been written.
        file: PathBuf,
        /// The variables, each with why it has no value.
        variables: Vec<(String, Origin)>,
    },
    /// A save was asked for in a session without variables.
    #[error("cannot save `{}`: the session has no variables. Nothing was written: compile a graph or declare variables first", printable_path(.file))]
    NothingToSave {
        /// The checkpoint that would have been written.
        file: PathBuf,
    },
    /// What should say which variables are saved is no glob.
    #[error("cannot save `{}`: `only({glob:?})`: {problem}. Nothing was written: correct the glob", printable_path(.file), problem = printable(.problem))]
    SaveGlob {
        /// The checkpoint that would have been written.
        file: PathBuf,
        /// The glob, as it was given.
        glob: String,
        /// What is wrong with it.
        problem: String,
    },
    /// No variable has a name that is to be saved.
    #[error("cannot save `{}`: no variable of the session matches {}. Nothing was written: `session.variables()` lists the names there are", printable_path(.file), chosen(.globs))]
    NothingChosen {
        /// The checkpoint that would have been written.
        file: PathBuf,
        /// The globs.
        globs: Vec<String>,
    },
    /// A variable has a name that the format keeps for itself.
    #[error("cannot save `{}`: the name `{name}` is reserved by the safetensors format. Nothing was written: give the variable another name", printable_path(.file), name = printable(.name))]
    ReservedName {
        /// The checkpoint that would have been written.
        file: PathBuf,
        /// The name.
        name: String,
    },
    /// An extra metadata entry has a key that warmstart keeps for itself.
    #[error("cannot save `{}`: metadata keys that begin with `warmstart.` are reserved, and `{key}` does. Nothing was written: choose another key", printable_path(.file), key = printable(.key))]
    ReservedKey {
        /// The checkpoint that would have been written.
        file: PathBuf,
        /// The key.
        key: String,
    },
    /// The metadata could not be written as JSON.
    #[error("cannot save `{}`: its header could not be made: {problem}. Nothing was written: check the metadata given", printable_path(.file), problem = printable(.problem))]
    Header {
        /// The checkpoint that would have been written.
        file: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The header would be longer than readers of the format take.
    #[error("cannot save `{}`: its header would have {length} bytes, but the format allows 100000000. Nothing was written: save less metadata or without the graph", printable_path(.file))]
    HeaderTooLarge {
        /// The checkpoint that would have been written.
        file: PathBuf,
        /// Bytes of the header.
        length: u64,
    },
    /// A save would have replaced a file that is no checkpoint.
    #[error("cannot save `{}`: a file of this name exists and is not a checkpoint. It was not touched: remove it, or choose another name", printable_path(.file))]
    WouldReplace {
        /// The file.
        file: PathBuf,
    },
    /// A save would have written safetensors under a name by which programs look for another format.
    #[error("cannot save `{}`: what is written is safetensors, and whatever reads `.{extension}` expects another format. Nothing was written: call it `{}`", printable_path(.file), printable_path(.file.with_extension("safetensors")), extension = printable(.extension))]
    OtherFormat {
        /// The file.
        file: PathBuf,
        /// What its name ends with.
        extension: String,
    },
    /// A checkpoint cannot be written anew as it was asked for.
    #[error("cannot convert into `{}`: {problem}. Nothing was written", printable_path(.file), problem = printable(.problem))]
    Convert {
        /// The file that would have been written.
        file: PathBuf,
        /// Why.
        problem: String,
    },
    /// A tensor has a dtype that no safetensors file can hold.
    #[error("cannot convert into `{}`: safetensors files cannot hold tensor `{tensor}`, which is {dtype}: leave it out. Nothing was written", printable_path(.file), tensor = printable(.tensor))]
    ConvertDType {
        /// The file that would have been written.
        file: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its dtype.
        dtype: FileDType,
    },
    /// A number is beyond the largest of the dtype that it would be written as.
    #[error("{}. Nothing was written: {}", self.what(), instead_of_infinite(*.dtype, *.value))]
    ConvertInfinite {
        /// The file that would have been written.
        file: PathBuf,
        /// The tensor, as it would be called there.
        tensor: String,
        /// Where the first such element is: an index for each dimension.
        first: Vec<usize>,
        /// What it is.
        value: f64,
        /// The dtype that it would have.
        dtype: FileDType,
        /// The largest number of that dtype.
        largest: f64,
    },
    /// A rule cannot be followed where a checkpoint is written anew.
    #[error("cannot convert into `{}`: `{rule}` {problem}. Nothing was written", printable_path(.file), problem = printable(.problem))]
    ConvertRule {
        /// The file that would have been written.
        file: PathBuf,
        /// The rule.
        rule: Rule,
        /// What is wrong with it, as the rest of a sentence.
        problem: String,
    },
    /// A file exists that was not to be replaced.
    #[error("`{}` exists. Nothing was written: choose another name", printable_path(.file))]
    Exists {
        /// The file.
        file: PathBuf,
    },
    /// A save in the background failed after it had been asked for.
    #[error("saving `{}` in the background failed: {source}", printable_path(.file))]
    Background {
        /// The checkpoint that was being saved.
        file: PathBuf,
        /// Why.
        source: Box<CheckpointError>,
    },
    /// A save was given a directory where it needs a file.
    #[error("cannot save to `{}`: it is a directory. Give a file's name in it, or use `Saver::new` to save by steps", printable_path(.path))]
    IsADirectory {
        /// The directory.
        path: PathBuf,
    },
}

impl CheckpointError {
    /// What is wrong: the message, and where advice for programs stands at its end by itself, without that.
    #[doc(hidden)]
    pub fn what(&self) -> String {
        match self {
            CheckpointError::AllDamaged { directory, damaged } => told(directory, damaged, ""),
            CheckpointError::ConvertInfinite { file, tensor, first, value, dtype, largest } => {
                format!(
                    "cannot convert into `{}`: tensor `{}` is {} at {first:?}, which would be infinite as {dtype}, whose largest number is {}",
                    printable_path(file),
                    printable(tensor),
                    apart(*value, *largest),
                    apart(*largest, *value),
                )
            }
            error => error.to_string(),
        }
    }

    pub(crate) fn storage(
        operation: &'static str,
        path: &Path,
        source: io::Error,
    ) -> CheckpointError {
        CheckpointError::Storage { operation, path: path.to_owned(), source }
    }

    pub(crate) fn malformed(file: &Path, source: impl Into<FormatError>) -> CheckpointError {
        CheckpointError::Malformed { file: file.to_owned(), source: source.into() }
    }

    pub(crate) fn session(file: &Path, source: SessionError) -> CheckpointError {
        CheckpointError::Session { file: file.to_owned(), source: Box::new(source) }
    }
}
