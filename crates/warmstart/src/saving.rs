//! Saving a run's checkpoints: at once, or behind the training.

use std::path::PathBuf;
use warmstart_checkpoint::{BackgroundSaver, CheckpointError, SaveOptions, Saver, step_file_name};
use warmstart_gpu::Session;

/// How a run saves.
pub(crate) enum Saving {
    /// A save returns when the file is durable, as far as the file system can make it.
    AtOnce(Saver),
    /// A save returns when the device has been told to copy.
    Behind(BackgroundSaver),
}

impl Saving {
    pub fn new(saver: Saver, background: bool) -> Saving {
        if background { Saving::Behind(saver.in_background()) } else { Saving::AtOnce(saver) }
    }

    /// Saves, or begins to. Returns the file, which is there at the latest after
    /// [`Saving::wait`].
    pub fn save(
        &mut self,
        session: &Session,
        step: u64,
        options: &SaveOptions,
    ) -> Result<PathBuf, CheckpointError> {
        match self {
            Saving::AtOnce(saver) => saver.save(session, step, options),
            Saving::Behind(saver) => {
                saver.save(session, step, options)?;
                Ok(saver.saver().directory().join(step_file_name(step)))
            }
        }
    }

    /// Waits until nothing is being written.
    pub fn wait(&mut self) -> Result<(), CheckpointError> {
        match self {
            Saving::AtOnce(_) => Ok(()),
            Saving::Behind(saver) => saver.wait().map(|_| ()),
        }
    }
}
