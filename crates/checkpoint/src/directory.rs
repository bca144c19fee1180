//! The checkpoints of a run: files `step-<n>.safetensors` in one directory.
//!
//! There is no pointer file that says which is the newest: the names say it, and each candidate's
//! header is read before it is believed.

use crate::error::{CheckpointError, Damaged};
use crate::file::OpenFile;
use crate::storage::{Disk, Storage};
use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::{fs, io};

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

/// The newest checkpoint of a run that is whole.
#[derive(Debug)]
pub struct Latest {
    /// The step in its name.
    pub step: u64,
    /// The file.
    pub path: PathBuf,
    /// Newer checkpoints that are damaged, newest first. Whoever goes on from an older checkpoint
    /// than there seems to be should say so; a [`RestoreReport`](crate::RestoreReport) does.
    pub damaged: Vec<Damaged>,
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

/// The checkpoints in a directory, by step. No file is opened.
///
/// # Errors
/// [`CheckpointError::NoDirectory`] if it does not exist, [`CheckpointError::Storage`] if it cannot
/// be listed.
pub fn list(directory: impl AsRef<Path>) -> Result<Vec<StepFile>, CheckpointError> {
    list_on(&Disk, directory.as_ref())
}

fn list_on(storage: &dyn Storage, directory: &Path) -> Result<Vec<StepFile>, CheckpointError> {
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

/// The newest checkpoint in a directory whose header is whole and whose length fits it. `None` if
/// there are no checkpoints at all.
///
/// Damaged checkpoints that are newer are listed in the answer, never passed over in silence. A
/// checkpoint that cannot be read for another reason, such as permissions, is an error: going on
/// from an older one would hide it.
///
/// # Errors
/// [`CheckpointError::NoDirectory`], [`CheckpointError::AllDamaged`] if there are checkpoints and
/// none is whole, [`CheckpointError::Storage`], [`CheckpointError::NewerVersion`].
pub fn latest(directory: impl AsRef<Path>) -> Result<Option<Latest>, CheckpointError> {
    let opened = open_latest(directory.as_ref())?;
    Ok(opened.map(|(file, step, damaged)| Latest { step, path: file.path, damaged }))
}

/// The newest whole checkpoint, opened, with its step and the damaged ones that are newer.
pub(crate) fn open_latest(
    directory: &Path,
) -> Result<Option<(OpenFile, u64, Vec<Damaged>)>, CheckpointError> {
    let mut damaged = Vec::new();
    for StepFile { step, path } in list(directory)?.into_iter().rev() {
        match OpenFile::open(&path) {
            Ok(file) => return Ok(Some((file, step, damaged))),
            Err(error) if is_damage(&error) => damaged.push(Damaged { path, error }),
            // Another process's retention took it since it was listed.
            Err(CheckpointError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    if damaged.is_empty() {
        return Ok(None);
    }
    Err(CheckpointError::AllDamaged { directory: directory.to_owned(), damaged })
}

fn is_damage(error: &CheckpointError) -> bool {
    matches!(
        error,
        CheckpointError::Malformed { .. }
            | CheckpointError::Metadata { .. }
            | CheckpointError::HeaderChecksum { .. }
    )
}

/// Removes all but the newest `keep` whole checkpoints of a directory, and returns what was
/// removed.
///
/// Damaged checkpoints do not count, so that they never push out a whole one; those newer than the
/// oldest that is kept stay where they are, for a person to look at. Files in `protect` stay too.
///
/// # Errors
/// As [`list`], and [`CheckpointError::Storage`] if a file cannot be removed.
pub fn retain(
    directory: impl AsRef<Path>,
    keep: NonZeroUsize,
    protect: &[&Path],
) -> Result<Vec<PathBuf>, CheckpointError> {
    retain_on(&Disk, directory.as_ref(), keep, protect)
}

pub(crate) fn retain_on(
    storage: &dyn Storage,
    directory: &Path,
    keep: NonZeroUsize,
    protect: &[&Path],
) -> Result<Vec<PathBuf>, CheckpointError> {
    // Compared in their one absolute form: the same file has many names.
    let protect: HashSet<PathBuf> =
        protect.iter().filter_map(|path| fs::canonicalize(path).ok()).collect();
    let mut kept = 0;
    let mut removed = Vec::new();
    for StepFile { path, .. } in list_on(storage, directory)?.into_iter().rev() {
        if kept < keep.get() {
            if OpenFile::open(&path).is_ok() {
                kept += 1;
            }
            continue;
        }
        if fs::canonicalize(&path).is_ok_and(|path| protect.contains(&path)) {
            continue;
        }
        match storage.remove(&path) {
            Ok(()) => removed.push(path),
            // Two runs may share a directory.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(CheckpointError::storage("remove", &path, error)),
        }
    }
    Ok(removed)
}
