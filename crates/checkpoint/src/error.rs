//! Everything that can go wrong between a file and a variable.

use crate::bytes::sums::Checksum;
use crate::directory::older_than;
use crate::formats::safetensors::FormatError;
use crate::formats::tensorflow::BundleError;
use crate::printable::printable;
use crate::restore::report::RestoreReport;
use crate::restore::rules::Rule;
use crate::tensor::FileDType;
use std::path::{Path, PathBuf};
use std::{fmt, io};
use warmstart_gpu::{Origin, SessionError};
use warmstart_graph::words::{counted_as, first_few, first_few_between};

warmstart_graph::debug_as_display!(CheckpointError);

/// Why a checkpoint could not be opened, restored or saved.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// There is neither a file nor a directory of this name.
    #[error("there is no checkpoint `{}`: check the path; a directory opens its newest checkpoint", .path.display())]
    NotFound {
        /// The path.
        path: PathBuf,
    },
    /// The directory that should hold checkpoints does not exist.
    #[error("the checkpoint directory `{}` does not exist: check the path, or save into it first, which creates it", .directory.display())]
    NoDirectory {
        /// The directory.
        directory: PathBuf,
    },
    /// The directory holds no checkpoint.
    #[error("the directory `{}` holds no checkpoint{}", .directory.display(), instead_of_directory(.directory, .files))]
    NoCheckpoint {
        /// The directory.
        directory: PathBuf,
        /// Files in it that may be checkpoints, but have names of which none is looked for.
        files: Vec<PathBuf>,
    },
    /// The directory holds checkpoints of which none is the newest.
    #[error("the directory `{}` holds several checkpoints, and nothing says which is meant: name one of {}", .directory.display(), quoted(.names))]
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
    #[error("cannot {operation} `{}`: {source}. {}", .path.display(), advice(.operation, .source))]
    Storage {
        /// What was being done, as a verb.
        operation: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A checkpoint was written and has its name, but the directory could not be synced.
    #[error("checkpoint `{}` is written, but syncing its directory failed: {source}. It may be lost if the machine stops now: save again, or check the disk", .file.display())]
    NotDurable {
        /// The checkpoint.
        file: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The file is not a well-formed checkpoint.
    #[error("cannot read checkpoint `{}`: {source}", .file.display())]
    Malformed {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        source: FormatError,
    },
    /// One of warmstart's own entries in `__metadata__` makes no sense.
    #[error("checkpoint `{}`: metadata key `{key}`: {problem}. Remove the key, or save the checkpoint again", .file.display(), key = printable(.key), problem = printable(.problem))]
    Metadata {
        /// The file.
        file: PathBuf,
        /// The key.
        key: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A graph was asked for that was not saved with the weights.
    #[error("checkpoint `{}` holds no graph: save it with `SaveOptions::graph`, or build the graph in code", .file.display())]
    NoGraph {
        /// The file.
        file: PathBuf,
    },
    /// The header is not as it was written.
    #[error("checkpoint `{}`: its header has checksum {found:08x}, but {} was written: the file is damaged, or another program changed it. {}; if the change was meant, remove the metadata keys `warmstart.version` and `warmstart.checksums`", .file.display(), .expected.map_or("another".to_owned(), |crc| format!("{crc:08x}")), instead(.older))]
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
    #[error("checkpoint `{}`: tensor `{tensor}` at file offset {offset} has checksum {found}, but {expected} was written: its bytes are damaged. {}", .file.display(), instead(.older), tensor = printable(.tensor))]
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
    #[error("checkpoint `{}` has warmstart's format {found}, but this version knows formats up to {known}: update warmstart", .file.display())]
    NewerVersion {
        /// The file.
        file: PathBuf,
        /// The format of the file.
        found: u32,
        /// The newest format known here.
        known: u32,
    },
    /// Checkpoint and variables do not match; the report says where, and displays in full.
    #[error("{0}")]
    Mismatch(Box<RestoreReport>),
    /// There is nothing to restore into.
    #[error("checkpoint `{}` was to be restored into a session without variables. Compile the plans first, or declare the variables: only then is it known what is to be restored. `.allow_unexpected()` says that nothing is meant to be", .file.display())]
    NoVariables {
        /// The file.
        file: PathBuf,
    },
    /// The session's variables are others than those that the plan was made for.
    #[error("the plan to restore `{}` was made for other variables than the session has now: some were declared since this plan was made, or have another role or initializer (`{variable}` differs). Nothing was changed: make the plan again, after all variables are declared", .file.display(), variable = printable(.variable))]
    OutdatedPlan {
        /// The file.
        file: PathBuf,
        /// The first variable that differs.
        variable: String,
    },
    /// The file became shorter after it was opened.
    #[error("checkpoint `{}`: tensor `{tensor}` at file offset {offset} should have {expected} bytes, but the file ends after {found} of them. No variable was changed: the file was cut short since it was opened; use another checkpoint", .file.display(), tensor = printable(.tensor))]
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
    /// The weights could not be read.
    #[error("checkpoint `{}`: cannot read tensor `{tensor}` at file offset {offset}: {source}. No variable was changed: check the disk, or use another checkpoint", .file.display(), tensor = printable(.tensor))]
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
    #[error("checkpoint `{}`: tensor `{tensor}` lies in a compressed entry that cannot be inflated from offset {offset} in the entry on ({source}): its bytes are damaged. No variable was changed: copy the file again, or use another checkpoint", .file.display(), tensor = printable(.tensor))]
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
    #[error("checkpoint `{}`: {source}", .file.display())]
    Session {
        /// The checkpoint that was being restored or saved.
        file: PathBuf,
        /// What the session said.
        source: Box<SessionError>,
    },
    /// A save was asked for while variables have no value.
    #[error("cannot save `{}`: {} no value: {}. Nothing was written: call `initialize_missing(seed)` or restore them first", .file.display(), have(.variables.len()), uninitialized(.variables))]
    Uninitialized {
        /// The checkpoint that would have been written.
        file: PathBuf,
        /// The variables, each with why it has no value.
        variables: Vec<(String, Origin)>,
    },
    /// A save was asked for in a session without variables.
    #[error("cannot save `{}`: the session has no variables. Nothing was written: compile a graph or declare variables first", .file.display())]
    NothingToSave {
        /// The checkpoint that would have been written.
        file: PathBuf,
    },
    /// What should say which variables are saved is no glob.
    #[error("cannot save `{}`: `only({glob:?})`: {problem}. Nothing was written: correct the glob", .file.display())]
    SaveGlob {
        /// The checkpoint that would have been written.
        file: PathBuf,
        /// The glob, as it was given.
        glob: String,
        /// What is wrong with it.
        problem: String,
    },
    /// No variable has a name that is to be saved.
    #[error("cannot save `{}`: no variable of the session matches {}. Nothing was written: `session.variables()` lists the names there are", .file.display(), .globs.iter().map(|glob| format!("`only({glob:?})`")).collect::<Vec<_>>().join(" or "))]
    NothingChosen {
        /// The checkpoint that would have been written.
        file: PathBuf,
        /// The globs.
        globs: Vec<String>,
    },
    /// A variable has a name that the format keeps for itself.
    #[error("cannot save `{}`: the name `{name}` is reserved by the safetensors format. Nothing was written: give the variable another name", .file.display())]
    ReservedName {
        /// The checkpoint that would have been written.
        file: PathBuf,
        /// The name.
        name: String,
    },
    /// An extra metadata entry has a key that warmstart keeps for itself.
    #[error("cannot save `{}`: metadata keys that begin with `warmstart.` are reserved, and `{key}` does. Nothing was written: choose another key", .file.display(), key = printable(.key))]
    ReservedKey {
        /// The checkpoint that would have been written.
        file: PathBuf,
        /// The key.
        key: String,
    },
    /// The metadata could not be written as JSON.
    #[error("cannot save `{}`: its header could not be made: {problem}. Nothing was written: check the metadata given", .file.display())]
    Header {
        /// The checkpoint that would have been written.
        file: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The header would be longer than readers of the format take.
    #[error("cannot save `{}`: its header would have {length} bytes, but the format allows 100000000. Nothing was written: save less metadata or without the graph", .file.display())]
    HeaderTooLarge {
        /// The checkpoint that would have been written.
        file: PathBuf,
        /// Bytes of the header.
        length: u64,
    },
    /// A save would have replaced a file that is no checkpoint.
    #[error("cannot save `{}`: a file of this name exists and is not a checkpoint. It was not touched: remove it, or choose another name", .file.display())]
    WouldReplace {
        /// The file.
        file: PathBuf,
    },
    /// A save would have written safetensors under a name by which programs look for another format.
    #[error("cannot save `{}`: what is written is safetensors, and whatever reads `.{extension}` expects another format. Nothing was written: call it `{}`", .file.display(), .file.with_extension("safetensors").display())]
    OtherFormat {
        /// The file.
        file: PathBuf,
        /// What its name ends with.
        extension: String,
    },
    /// A checkpoint cannot be written anew as it was asked for.
    #[error("cannot convert into `{}`: {problem}. Nothing was written", .file.display())]
    Convert {
        /// The file that would have been written.
        file: PathBuf,
        /// Why.
        problem: String,
    },
    /// A tensor has a dtype that no safetensors file can hold.
    #[error("cannot convert into `{}`: safetensors files cannot hold tensor `{tensor}`, which is {dtype}: leave it out. Nothing was written", .file.display(), tensor = printable(.tensor))]
    ConvertDType {
        /// The file that would have been written.
        file: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its dtype.
        dtype: FileDType,
    },
    /// A rule cannot be followed where a checkpoint is written anew.
    #[error("cannot convert into `{}`: `{rule}` {problem}. Nothing was written", .file.display())]
    ConvertRule {
        /// The file that would have been written.
        file: PathBuf,
        /// The rule.
        rule: Rule,
        /// What is wrong with it, as the rest of a sentence.
        problem: String,
    },
    /// A file exists that was not to be replaced.
    #[error("`{}` exists. Nothing was written: choose another name", .file.display())]
    Exists {
        /// The file.
        file: PathBuf,
    },
    /// A save in the background failed after it had been asked for.
    #[error("saving `{}` in the background failed: {source}", .file.display())]
    Background {
        /// The checkpoint that was being saved.
        file: PathBuf,
        /// Why.
        source: Box<CheckpointError>,
    },
    /// A save was given a directory where it needs a file.
    #[error("cannot save to `{}`: it is a directory. Give a file's name in it, or use `Saver::new` to save by steps", .path.display())]
    IsADirectory {
        /// The directory.
        path: PathBuf,
    },
}

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
                file.display()
            ),
            error => {
                write!(f, "a newer checkpoint is damaged, and an older one was opened: {error}")
            }
        }
    }
}

impl CheckpointError {
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

    /// With the checkpoint to use in place of one that was opened by its name and is damaged.
    pub(crate) fn naming_older(mut self) -> CheckpointError {
        if let CheckpointError::HeaderChecksum { file, older, .. } = &mut self {
            *older = older_than(file);
        }
        self
    }

    pub(crate) fn session(file: &Path, source: SessionError) -> CheckpointError {
        CheckpointError::Session { file: file.to_owned(), source: Box::new(source) }
    }
}

/// What to do about a failed file operation.
fn advice(operation: &str, error: &io::Error) -> &'static str {
    // EMFILE and ENFILE, and ERROR_TOO_MANY_OPEN_FILES, which have no kind.
    let too_many: &[i32] = if cfg!(windows) { &[4] } else { &[24, 23] };
    if error.raw_os_error().is_some_and(|code| too_many.contains(&code)) {
        return "This process has too many files open: raise the limit (`ulimit -n`), or convert the checkpoint into fewer files where the limit is higher";
    }
    // ERROR_SHARING_VIOLATION and ERROR_LOCK_VIOLATION, which have no kind either.
    if cfg!(windows) && matches!(error.raw_os_error(), Some(32 | 33)) {
        return "Another program has it open: close it there, and try again";
    }
    match error.kind() {
        io::ErrorKind::NotFound if operation == "create a file in" => {
            "Make this directory, or choose another"
        }
        io::ErrorKind::NotFound => "Check that its directory exists",
        // What is open can neither be replaced nor removed there on some file systems.
        io::ErrorKind::PermissionDenied if cfg!(windows) => {
            "Check the permissions of the file and its directory, and that no program has it open"
        }
        io::ErrorKind::PermissionDenied => "Check the permissions of the file and its directory",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "Free space there, or choose another directory"
        }
        io::ErrorKind::ReadOnlyFilesystem => "Choose a directory that can be written",
        io::ErrorKind::NotADirectory if operation.starts_with("list") => {
            "It is a file: name the folder that it is in"
        }
        io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => {
            "A file has this name: choose another directory"
        }
        io::ErrorKind::InvalidFilename => "Choose a shorter or plainer name",
        _ => "Check the disk and try again; existing checkpoints are untouched",
    }
}

/// What to use in place of a damaged checkpoint.
fn instead(older: &Option<PathBuf>) -> String {
    match older {
        Some(older) => format!("Restore the checkpoint before it, `{}`", older.display()),
        None => "Restore it from a backup, or copy the file again".to_owned(),
    }
}

/// What to open in place of a directory in which nothing was looked for by name.
fn instead_of_directory(directory: &Path, files: &[PathBuf]) -> String {
    let names = "those of a run are named `step-<n>.safetensors`, others `model.safetensors` or \
        `<name>.safetensors.index.json`";
    match files {
        [] => format!(": {names}; name a file, or save into it first"),
        files => {
            let paths: Vec<PathBuf> = files.iter().map(|file| directory.join(file)).collect();
            format!(" of a name that is looked for ({names}): name the file, {}", quoted(&paths))
        }
    }
}

/// Which checkpoints of a directory are damaged, and how each is, in lines of their own.
fn told(directory: &Path, damaged: &[Damaged], which: &str) -> String {
    let (all, are) = match damaged.len() {
        1 => ("the only checkpoint".to_owned(), "is"),
        n => (format!("all {n} checkpoints"), "are"),
    };
    let name = |path: &Path| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        name.unwrap_or_else(|| path.display().to_string())
    };
    let line = |one: &Damaged| {
        // It may be another file of the checkpoint that is damaged, or not there.
        let other = match &one.error {
            CheckpointError::Malformed { file, .. } if *file != one.path => {
                format!("`{}`: ", name(file))
            }
            _ => String::new(),
        };
        format!("\n  `{}`: {other}{}", name(&one.path), damage(&one.error))
    };
    let lines: String = damaged.iter().take(LISTED).map(line).collect();
    let more = match damaged.len().saturating_sub(LISTED) {
        0 => String::new(),
        n => format!("\n  … and {n} more"),
    };
    format!("{all} in `{}`{which} {are} damaged:{lines}{more}", directory.display())
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

fn recorded(damaged: &[Damaged], metric: &str) -> String {
    format!(" that {} recorded `{metric}`", if damaged.len() == 1 { "has" } else { "have" })
}

fn one_of(damaged: &[Damaged]) -> &'static str {
    if damaged.len() == 1 { "it" } else { "one of them" }
}

/// What can still be had of damaged checkpoints.
fn partly(damaged: &[Damaged]) -> &'static str {
    match damaged.iter().any(|one| matches!(one.error, CheckpointError::Checksum { .. })) {
        true => "; or restore the tensors that are whole from a file named by itself",
        false => "",
    }
}

fn quoted(names: &[PathBuf]) -> String {
    first_few(names.iter().map(|name| format!("`{}`", name.display())), LISTED)
}

fn have(n: usize) -> String {
    counted_as(n, "variable has", "variables have")
}

/// Files that are listed.
const LISTED: usize = 10;

/// Variables that are listed in one line.
const SHOWN: usize = 5;

fn uninitialized(variables: &[(String, Origin)]) -> String {
    let one = |(name, origin): &(String, Origin)| format!("`{}`, {origin}", printable(name));
    first_few_between(variables.iter().map(one), SHOWN, "; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use warmstart_gpu::Missing;

    #[test]
    fn a_refused_save_of_a_large_model_is_told_shortly() {
        let never = || Origin::Uninitialized(Missing::NeverInitialized);
        let refused = |n: usize| {
            let variables = (0..n).map(|at| (format!("layer_{at}/w"), never())).collect();
            CheckpointError::Uninitialized { file: "m".into(), variables }.to_string()
        };
        let text = refused(5000);
        assert!(text.len() < 600, "{text}");
        assert!(text.contains("5000 variables have no value: `layer_0/w`, uninit"), "{text}");
        assert!(text.contains("; `layer_4/w`, uninitialized (never initialized) and 4995 more."));
        assert!(!refused(5).contains(" more."), "{}", refused(5));
    }

    #[test]
    fn of_many_files_the_first_few_are_named() {
        let files = |n: usize| (0..n).map(|at| format!("f{at}.safetensors").into()).collect();
        let several =
            |n| CheckpointError::Several { directory: "runs".into(), names: files(n) }.to_string();
        let text = several(5000);
        assert!(text.ends_with("`f8.safetensors`, `f9.safetensors` and 4990 more"), "{text}");
        assert!(several(10).ends_with("`f8.safetensors`, `f9.safetensors`"), "{}", several(10));
        let none = CheckpointError::NoCheckpoint { directory: "runs".into(), files: files(5000) };
        let text = none.to_string();
        assert!(text.len() < 600 && text.ends_with("f9.safetensors` and 4990 more"), "{text}");
    }

    #[test]
    fn a_plan_for_other_variables_names_the_first_that_differs() {
        let variable = "w\n\u{1b}[2K".to_owned();
        let text = CheckpointError::OutdatedPlan { file: "m".into(), variable }.to_string();
        assert_eq!(
            text,
            "the plan to restore `m` was made for other variables than the session has now: some were \
             declared since this plan was made, or have another role or initializer \
             (`w\\n\\u{1b}[2K` differs). Nothing was changed: make the plan again, after all variables \
             are declared"
        );
    }
}
