//! The checkpoints of a run: saved by step in one directory, the newest kept.

use crate::atomic;
use crate::directory::{self, Latest, step_file_name, step_of};
use crate::error::CheckpointError;
use crate::save::{Contents, SaveOptions, write};
use crate::storage::Disk;
use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use warmstart_gpu::{Origin, Session};

/// Saves a run's checkpoints as `step-<n>.safetensors` in one directory and keeps the newest.
///
/// Saving a step that exists replaces it: a run that was taken up at an older step passes the same
/// steps again, and what it computes now is what it must find later.
#[derive(Clone, Debug)]
pub struct Saver {
    directory: PathBuf,
    keep: Option<NonZeroUsize>,
}

impl Saver {
    /// A saver that keeps every checkpoint. The directory is created by the first save.
    pub fn new(directory: impl Into<PathBuf>) -> Saver {
        Saver { directory: directory.into(), keep: None }
    }

    /// Keep only the newest `keep` checkpoints, by step; 0 keeps all. The file just written and
    /// those that the session's variables were restored from stay in any case.
    pub fn keep(mut self, keep: usize) -> Saver {
        self.keep = NonZeroUsize::new(keep);
        self
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The newest whole checkpoint. `None` also if the directory does not exist yet.
    ///
    /// # Errors
    /// As [`crate::latest`], but for the directory that does not exist.
    pub fn latest(&self) -> Result<Option<Latest>, CheckpointError> {
        match directory::latest(&self.directory) {
            Err(CheckpointError::NoDirectory { .. }) => Ok(None),
            result => result,
        }
    }

    /// Saves all variables as the checkpoint of a step, then removes older checkpoints as
    /// [`Saver::keep`] says. Returns the file.
    ///
    /// # Errors
    /// As [`crate::save`]. A failure to remove an older checkpoint is a [`CheckpointError::Storage`] that
    /// names it; the new one is then saved nevertheless.
    pub fn save(
        &self,
        session: &Session,
        step: u64,
        options: &SaveOptions,
    ) -> Result<PathBuf, CheckpointError> {
        let file = self.directory.join(step_file_name(step));
        let header = Contents::of(session, &file, &options.clone().step(step))?;
        atomic::create_directories(&Disk, &self.directory)?;
        atomic::remove_leftovers(&Disk, &self.directory, |target| step_of(target).is_some());
        write(&Disk, session, &file, &header)?;
        if let Some(keep) = self.keep {
            let origins: Vec<PathBuf> = session
                .variables()
                .iter()
                .filter_map(|info| restored_from(&info.origin))
                .map(Path::to_owned)
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect();
            let mut protect: Vec<&Path> = origins.iter().map(PathBuf::as_path).collect();
            protect.push(&file);
            directory::retain_on(&Disk, &self.directory, keep, &protect)?;
        }
        Ok(file)
    }
}

/// The file that a value came from, if it came from one.
fn restored_from(origin: &Origin) -> Option<&Path> {
    match origin {
        Origin::Restored { file, .. } => Some(file),
        Origin::Trained { from } => restored_from(from),
        _ => None,
    }
}
