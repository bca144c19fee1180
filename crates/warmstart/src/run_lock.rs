//! One run at a time in a directory.
//!
//! The lock is on `run.lock`, and the system lets go of it when the process ends.

use crate::TrainingError;
use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;

/// The file that is locked. It holds nothing and stays: removing it could take it away from
/// another run that has just opened it.
const NAME: &str = "run.lock";

/// A directory held by a run. Two runs in one directory would write each other's checkpoints and
/// metrics. The operating system lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct RunLock {
    /// None where the file system has no locks, or nothing can be written.
    _file: Option<File>,
}

impl RunLock {
    /// Takes a directory, which exists.
    pub fn take(directory: &Path) -> Result<RunLock, TrainingError> {
        let file = directory.join(NAME);
        let opened = OpenOptions::new().create(true).truncate(false).write(true).open(&file);
        // Whether the directory can be written is for those to say who have something to write.
        // One that another user's run made can be locked all the same.
        let Ok(held) = opened.or_else(|_| File::open(&file)) else {
            return Ok(RunLock { _file: None });
        };
        match held.try_lock() {
            Ok(()) => Ok(RunLock { _file: Some(held) }),
            Err(TryLockError::WouldBlock) => Err(TrainingError::AlreadyRunning(file)),
            // Some network file systems have no locks; training there is no worse than before.
            Err(TryLockError::Error(_)) => Ok(RunLock { _file: None }),
        }
    }
}
