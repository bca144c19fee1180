//! Saving behind the training: the device copies the variables at the step that is asked for, and a
//! thread writes the copy while the session goes on.
//!
//! The device copies in one submission (`Session::snapshot`). The buffers are reused, and a save
//! waits for the one before, so there is never more than one copy. The threads share one queue and
//! each polls: `wgpu` maps buffers under a lock that every poll takes, but calls back after it, so
//! only what comes through a callback may be late (`Mapping::finish` of `warmstart-gpu` waits for
//! it).

use crate::error::CheckpointError;
use crate::printable::printable;
use crate::save::saver::{PlannedSave, Saver};
use crate::save::storage::{Disk, Storage};
use crate::save::write::SaveOptions;
use std::any::Any;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use warmstart_gpu::{Session, Snapshot};

/// A [`Saver`] that writes behind the training, from [`Saver::in_background`].
///
/// A save returns once the copy of the variables is queued on the device, which does not wait for
/// it. The file holds the bits of that step, whatever is trained meanwhile. As with any save, until
/// it is whole and durable its name holds what it held before, and older checkpoints are removed
/// only after that.
///
/// The copy takes [`Session::snapshot_bytes`] of memory that the host can read, from the first save
/// to the end of this value; there is never a second one, since a save waits for the one before.
///
/// An error of the writing is told by the next [`save`](BackgroundSaver::save) or
/// [`wait`](BackgroundSaver::wait), or by [`close`](BackgroundSaver::close): end with that. Dropping
/// waits for the writing too, but can only print the error.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use warmstart_gpu::{Gpu, Session};
/// # use warmstart_graph::{DType, Initializer, Location, Role, Shape, TensorData, Variable};
/// # let directory = tempfile::tempdir()?;
/// # let directory = directory.path();
/// # let weight = Variable {
/// #     name: "weight".into(),
/// #     shape: Shape::scalar(),
/// #     dtype: DType::F32,
/// #     initializer: Initializer::Zeros,
/// #     role: Role::Trainable,
/// #     location: Location::caller(),
/// # };
/// # let mut session = Session::new(&Gpu::new()?);
/// # session.declare(&[weight])?;
/// # session.initialize_missing(7)?;
/// use warmstart_checkpoint::{SaveOptions, Saver};
///
/// println!("saving will take {} bytes more", session.snapshot_bytes());
/// let mut saver = Saver::new(directory).keep(2).in_background();
/// for step in 1..=30 {
///     // Train here.
///     # session.assign("weight", &TensorData::from(step as f32))?;
///     if step % 10 == 0 {
///         saver.save(&session, step, &SaveOptions::new())?;
///     }
/// }
/// let newest = saver.close()?.expect("three checkpoints were saved");
/// assert!(newest.ends_with("step-30.safetensors"));
/// # Ok(())
/// # }
/// ```
pub struct BackgroundSaver {
    saver: Saver,
    storage: Arc<dyn Storage + Send + Sync>,
    /// The memory of the last copy, while no thread reads from it.
    snapshot: Option<Snapshot>,
    writing: Option<Writing>,
    /// The last file that is known to be whole and durable.
    written: Option<PathBuf>,
    /// That an older checkpoint could not be removed, until it is told.
    removal: Option<Box<CheckpointError>>,
}

/// How the removal of older checkpoints fared after a save.
type Removed = Result<(), CheckpointError>;

/// A save under way.
struct Writing {
    file: PathBuf,
    thread: JoinHandle<(Snapshot, Result<Removed, CheckpointError>)>,
}

impl Saver {
    /// A saver that writes behind the training.
    pub fn in_background(self) -> BackgroundSaver {
        BackgroundSaver::on(Arc::new(Disk), self)
    }
}

impl BackgroundSaver {
    pub(crate) fn on(storage: Arc<dyn Storage + Send + Sync>, saver: Saver) -> BackgroundSaver {
        BackgroundSaver {
            saver,
            storage,
            snapshot: None,
            writing: None,
            written: None,
            removal: None,
        }
    }

    /// The saver, to look for checkpoints and to restore.
    pub fn saver(&self) -> &Saver {
        &self.saver
    }

    /// Saves all variables, as the runs submitted so far leave them, as the checkpoint of a step.
    /// Waits only for the save before this one, if that is still being written.
    ///
    /// # Errors
    /// As [`BackgroundSaver::wait`], if the save before this one failed; this one has not begun
    /// then, and can be asked for again. If that failed only to remove an older checkpoint, this one has
    /// begun nevertheless. What [`Saver::save`] refuses before it touches the disk; such a failure to
    /// remove is then told by the next call that is not refused.
    /// [`CheckpointError::Session`] if the device has no memory for the copy: then nothing was
    /// changed or begun, and [`Saver::save`], which needs none, can save.
    pub fn save(
        &mut self,
        session: &Session,
        step: u64,
        options: &SaveOptions,
    ) -> Result<(), CheckpointError> {
        self.join()?;
        let mut save = PlannedSave::new(&self.saver, session, step, options)?;
        let mut snapshot = match self.snapshot.take() {
            None => session.snapshot(),
            Some(mut snapshot) => session.snapshot_into(&mut snapshot).map(|()| snapshot),
        }
        .map_err(|error| CheckpointError::session(&save.file, error))?;
        let file = save.file.clone();
        let (saver, storage) = (self.saver.clone(), self.storage.clone());
        let thread = thread::Builder::new()
            .name("warmstart saver".to_owned())
            .spawn(move || {
                let written = save.write(&*storage, &saver, &mut snapshot);
                let result = written.map(|()| save.retain(&*storage, &saver));
                (snapshot, result)
            })
            .map_err(|error| CheckpointError::storage("start a thread to write", &file, error))?;
        self.writing = Some(Writing { file, thread });
        self.tell_removal()
    }

    /// Waits until nothing is being written. Returns the file of the last save that succeeded.
    ///
    /// # Errors
    /// [`CheckpointError::Background`] if the save under way failed; it is told once. So is a failure
    /// to remove an older checkpoint, a [`CheckpointError::Storage`] that names it; the new one is then
    /// saved nevertheless.
    pub fn wait(&mut self) -> Result<Option<&Path>, CheckpointError> {
        self.join()?;
        self.tell_removal()?;
        Ok(self.written.as_deref())
    }

    /// Tells once that an older checkpoint could not be removed.
    fn tell_removal(&mut self) -> Result<(), CheckpointError> {
        self.removal.take().map_or(Ok(()), |removal| Err(*removal))
    }

    /// Waits until nothing is being written. That older checkpoints could not be removed is kept, since
    /// whoever called may yet have something else to say.
    fn join(&mut self) -> Result<(), CheckpointError> {
        if let Some(Writing { file, thread }) = self.writing.take() {
            let result = match thread.join() {
                Ok((snapshot, result)) => {
                    self.snapshot = Some(snapshot);
                    result
                }
                Err(panic) => {
                    let error = io::Error::other(told(&*panic));
                    Err(CheckpointError::storage("write", &file, error))
                }
            };
            let removed = match result {
                Ok(removed) => removed,
                Err(error) => {
                    return Err(CheckpointError::Background { file, source: Box::new(error) });
                }
            };
            // Whole and durable, whatever became of the older ones.
            self.written = Some(file);
            self.removal = removed.err().map(Box::new);
        }
        Ok(())
    }

    /// Waits until nothing is being written, and gives the memory of the copy back. Returns the
    /// file of the last save that succeeded.
    ///
    /// # Errors
    /// As [`BackgroundSaver::wait`].
    pub fn close(mut self) -> Result<Option<PathBuf>, CheckpointError> {
        self.wait()?;
        Ok(self.written.take())
    }
}

/// What a thread said when it panicked.
fn told(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    let text = text.map(|text| format!(": {}", printable(text)));
    format!("the thread that wrote it panicked{}", text.unwrap_or_default())
}

impl Drop for BackgroundSaver {
    fn drop(&mut self) {
        if let Err(error) = self.wait() {
            // Nobody is left to return it to, and a checkpoint that is not there must not go unsaid.
            let _ = writeln!(io::stderr(), "warmstart: {error}");
        }
    }
}

#[cfg(test)]
#[path = "background_tests.rs"]
mod tests;
