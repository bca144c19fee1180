//! The checkpoints of a run by the steps in their names.

use crate::error::CheckpointError;
use crate::file::OpenFile;
use crate::format::folder_of;
use crate::save::storage::{Disk, Storage};
use std::io;
use std::path::{Path, PathBuf};

const BEFORE: &str = "step-";
const AFTER: &str = ".safetensors";

/// A checkpoint of a run, by its name alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepFile {
    /// The step in its name.
    pub step: u64,
    /// The file.
    pub path: PathBuf,
}

/// The name of the checkpoint of a step: `step-500.safetensors`.
pub fn step_file_name(step: u64) -> String {
    format!("{BEFORE}{step}{AFTER}")
}

/// The step of a name; only the way that [`step_file_name`] writes it, so that no two names mean
/// one step.
pub(crate) fn step_of(name: &str) -> Option<u64> {
    let step = name.strip_prefix(BEFORE)?.strip_suffix(AFTER)?.parse().ok()?;
    (step_file_name(step) == name).then_some(step)
}

/// The current directory where the path is empty, as [`Path::parent`] gives of a bare file name: files are
/// written there under an empty path too, but it cannot be listed.
pub(crate) fn or_here(directory: &Path) -> &Path {
    if directory.as_os_str().is_empty() { Path::new(".") } else { directory }
}

/// The checkpoints in a directory, by step. No file is opened. An empty path is the current directory.
///
/// # Errors
/// [`CheckpointError::NoDirectory`] if it does not exist, [`CheckpointError::Storage`] if it cannot
/// be listed.
pub fn list(directory: impl AsRef<Path>) -> Result<Vec<StepFile>, CheckpointError> {
    list_on(&Disk, directory.as_ref())
}

pub(crate) fn list_on(
    storage: &dyn Storage,
    directory: &Path,
) -> Result<Vec<StepFile>, CheckpointError> {
    let directory = or_here(directory);
    let names = storage.names(directory).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => CheckpointError::NoDirectory { directory: directory.to_owned() },
        _ => CheckpointError::storage("list directory", directory, error),
    })?;
    let mut files: Vec<StepFile> = names
        .iter()
        .filter_map(|name| {
            Some(StepFile { step: step_of(name.to_str()?)?, path: directory.join(name) })
        })
        .filter(|file| !file.path.is_dir())
        .collect();
    files.sort_by_key(|file| file.step);
    Ok(files)
}

/// The newest checkpoint of the same run that is older than this one and whole by its header.
pub(crate) fn older_than(file: &Path) -> Option<PathBuf> {
    let step = step_of(file.file_name()?.to_str()?)?;
    let files = list(folder_of(file)).ok()?;
    let older = files.into_iter().rev().filter(|other| other.step < step);
    older.map(|other| other.path).find(|path| OpenFile::open(path).is_ok())
}
