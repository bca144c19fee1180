//! What a conversion takes the place of.

use crate::error::CheckpointError;
use crate::save::atomic;
use crate::save::storage::Storage;
use crate::save::write::replaceable;
use std::path::{Path, PathBuf};

pub(super) const EXTENSION: &str = ".safetensors";
/// Digits of a file's number.
pub(super) const DIGITS: usize = 5;

/// The index of several files under a name.
pub(super) fn index_of(file: &Path) -> PathBuf {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".index.json");
    file.with_file_name(name)
}

/// Files that belong, or belonged, to a checkpoint in several files of this name, but for those that
/// have just been written.
pub(super) fn left_behind(storage: &dyn Storage, file: &Path, written: &[PathBuf]) -> Vec<PathBuf> {
    let name = file.file_name().and_then(|name| name.to_str());
    let Some(stem) = name.and_then(|name| name.strip_suffix(EXTENSION)) else {
        return Vec::new();
    };
    let digits = |text: &str| text.len() == DIGITS && text.bytes().all(|b| b.is_ascii_digit());
    let is_shard = |name: &str| {
        let rest = name.strip_prefix(stem)?.strip_prefix('-')?.strip_suffix(EXTENSION)?;
        let (number, of) = rest.split_once("-of-")?;
        (digits(number) && digits(of)).then_some(())
    };
    let names = storage.names(&atomic::directory_of(file)).unwrap_or_default();
    let mut files: Vec<PathBuf> = names
        .into_iter()
        .filter(|name| name.to_str().and_then(is_shard).is_some())
        .map(|name| file.with_file_name(name))
        .filter(|file| !written.contains(file))
        .collect();
    files.sort();
    files
}

/// How files that are there already are treated.
pub(super) struct Replacing<'a> {
    pub storage: &'a dyn Storage,
    pub keep_existing: bool,
}

impl Replacing<'_> {
    /// Before anything is written: refuses a name that something has, if it is to stay.
    pub fn look(&self, file: &Path) -> Result<(), CheckpointError> {
        match self.keep_existing && file.symlink_metadata().is_ok() {
            true => Err(CheckpointError::Exists { file: file.to_owned() }),
            false => Ok(()),
        }
    }

    /// Whether a file may go that has the name of one of tensors, be it that it came meanwhile.
    pub fn may_go(&self, file: &Path) -> Result<(), CheckpointError> {
        match self.keep_existing {
            true => Err(CheckpointError::Exists { file: file.to_owned() }),
            false => replaceable(file),
        }
    }

    /// As [`Replacing::may_go`], of an index. It has its name from us, and no other file is named
    /// so.
    pub fn index_may_go(&self, file: &Path) -> Result<(), CheckpointError> {
        match file.is_dir() {
            _ if self.keep_existing => Err(CheckpointError::Exists { file: file.to_owned() }),
            true => Err(CheckpointError::IsADirectory { path: file.to_owned() }),
            false => Ok(()),
        }
    }

    /// Removes a file, if it is there and may go; tells what was removed.
    pub fn remove_if_there(&self, file: PathBuf) -> Result<Vec<PathBuf>, CheckpointError> {
        if self.keep_existing || !file.is_file() {
            return Ok(Vec::new());
        }
        self.remove(&file)?;
        Ok(vec![file])
    }

    /// Removes a file, durably.
    pub fn remove(&self, file: &Path) -> Result<(), CheckpointError> {
        let directory = atomic::directory_of(file);
        self.storage
            .remove(file)
            .map_err(|error| CheckpointError::storage("remove", file, error))?;
        let synced = self.storage.sync_directory(&directory);
        synced.map_err(|error| CheckpointError::storage("make durable", &directory, error))
    }
}
