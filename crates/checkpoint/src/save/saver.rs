//! The checkpoints of a run: saved by step in one directory, kept by rules, found again.

use crate::checkpoint::Checkpoint;
use crate::directory::{self, Best, Latest, Search};
use crate::error::{CheckpointError, Damaged, is_damage};
use crate::restore::options::RestoreOptions;
use crate::restore::plan::RestorePlan;
use crate::restore::report::RestoreReport;
use crate::save::atomic;
use crate::save::retention::{self, KeepBest, Retention};
use crate::save::storage::{Disk, Storage};
use crate::save::write::{Contents, SaveOptions, Values, write};
use crate::score::Better;
use crate::steps::{or_here, step_file_name, step_of};
use std::collections::BTreeSet;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};
use warmstart_gpu::{Origin, Session};

/// Saves a run's checkpoints as `step-<n>.safetensors` in one directory and keeps some of them.
///
/// Saving a step that exists replaces it: a run that was taken up at an older step passes the same
/// steps again, and what it computes now is what it must find later.
///
/// Without a rule every checkpoint is kept. With several, those are kept that any of them keeps;
/// whatever the rules, also the newest, the one just written and those that the session's variables
/// were restored from when the save began. Checkpoints that are damaged by their header or length never
/// count: they stay, for a person to look at, until as many newer ones are whole as [`Saver::keep`] says,
/// or for good where their step is a multiple that is kept.
/// Weights are not read for it, so one with damaged weights counts like any other. Files that
/// cannot be judged, such as those of a newer warmstart, stay.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use warmstart_gpu::{Gpu, Session};
/// # use warmstart_graph::{DType, Initializer, Location, Role, Shape, Variable};
/// # let directory = tempfile::tempdir()?;
/// # let directory = directory.path();
/// # let weight = Variable {
/// #     name: "weight".into(),
/// #     shape: Shape::from([4, 3]),
/// #     dtype: DType::F32,
/// #     initializer: Initializer::GlorotUniform,
/// #     role: Role::Trainable,
/// #     location: Location::caller(),
/// # };
/// # let mut session = Session::new(&Gpu::new()?);
/// # session.declare(&[weight])?;
/// use std::time::Duration;
/// use warmstart_checkpoint::{Better, RestoreOptions, SaveOptions, Saver};
///
/// let saver = Saver::new(directory)
///     .keep(3)
///     .keep_every_steps(10_000)
///     .keep_every(Duration::from_secs(60 * 60))
///     .keep_best("accuracy", Better::Higher, 1);
/// let step = match saver.restore_latest(&mut session, &RestoreOptions::new())? {
///     Some(restored) => restored.step,
///     None => {
///         session.initialize_missing(7)?;
///         0
///     }
/// };
/// # assert_eq!(step, 0);
/// saver.save(&session, step + 1, &SaveOptions::new().metric("accuracy", 0.93))?;
/// let best = saver.best("accuracy", Better::Higher)?.expect("one has just been saved");
/// assert_eq!((best.step, best.value), (1, 0.93));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Saver {
    directory: PathBuf,
    retention: Retention,
    /// Whether the directory's own name is durable, as far as this saver and its copies know.
    durable: Arc<AtomicBool>,
}

/// What [`Saver::restore_latest`] restored.
#[derive(Debug)]
pub struct RestoredLatest {
    /// The step in the checkpoint's name.
    pub step: u64,
    /// What was restored from which file; it also tells of the damaged ones.
    pub report: RestoreReport,
    /// Newer checkpoints that were passed over because they are damaged, newest first.
    pub damaged: Vec<Damaged>,
}

impl Saver {
    /// A saver that keeps every checkpoint. The directory is created by the first save. An empty path, as
    /// [`Path::parent`] gives of a bare file name, is the current directory.
    pub fn new(directory: impl Into<PathBuf>) -> Saver {
        let directory: PathBuf = directory.into();
        Saver {
            directory: or_here(&directory).to_owned(),
            retention: Retention::default(),
            durable: Arc::default(),
        }
    }

    /// Keep the newest so many checkpoints, by step; 0 takes the rule back. Those that the session's
    /// variables were restored from are kept beside them.
    pub fn keep(mut self, checkpoints: usize) -> Saver {
        self.retention.newest = NonZeroUsize::new(checkpoints);
        self
    }

    /// Keep those whose step is a multiple of this; 0 takes the rule back.
    pub fn keep_every_steps(mut self, steps: u64) -> Saver {
        self.retention.every_steps = NonZeroU64::new(steps);
        self
    }

    /// Keep the oldest, and from then on each that was saved at least this long after the last that
    /// this rule keeps; zero takes the rule back. The time is the one that was recorded when
    /// saving, not that of the file, which changes when it is copied.
    pub fn keep_every(mut self, time: Duration) -> Saver {
        self.retention.every = (!time.is_zero()).then_some(time);
        self
    }

    /// Keep so many checkpoints with the best values of a metric that [`SaveOptions::metric`]
    /// recorded; 0 takes the rule for this metric back. Of equal values that with the lower loss is
    /// the better (of the metric `loss` of the same scope: `validation/loss` for
    /// `validation/accuracy`), then the earlier, and NaN is never good.
    pub fn keep_best(
        mut self,
        metric: impl Into<String>,
        better: Better,
        checkpoints: usize,
    ) -> Saver {
        let metric = metric.into();
        self.retention.best.retain(|best| best.metric != metric);
        if checkpoints > 0 {
            self.retention.best.push(KeepBest { metric, better, count: checkpoints });
        }
        self
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Creates the directory and its missing parents now, for other files of the run, so that they
    /// outlast a loss of power as the checkpoints in them do, [as far as the file
    /// system](crate::save) can make names durable.
    ///
    /// # Errors
    /// [`CheckpointError::Storage`].
    pub fn create_directory(&self) -> Result<(), CheckpointError> {
        self.create_directory_on(&Disk)
    }

    fn create_directory_on(&self, storage: &dyn Storage) -> Result<(), CheckpointError> {
        if !self.durable.load(Ordering::Relaxed) || !self.directory.is_dir() {
            atomic::create_directories(storage, &self.directory)?;
            self.durable.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// The newest checkpoint that is whole by its header and its length: weights are not read.
    /// [`Saver::latest_verified`] reads them, and [`Saver::restore_latest`] verifies what it restores.
    /// `None` also if the directory does not exist yet.
    ///
    /// # Errors
    /// As [`crate::latest`], but for the directory that does not exist.
    pub fn latest(&self) -> Result<Option<Latest>, CheckpointError> {
        if_there(directory::latest(&self.directory))
    }

    /// As [`Saver::latest`], of those whose weights are as they were saved, too: they are read, and
    /// held against their checksums.
    ///
    /// # Errors
    /// As [`crate::latest_verified`], but for the directory that does not exist.
    pub fn latest_verified(&self) -> Result<Option<Latest>, CheckpointError> {
        if_there(directory::latest_verified(&self.directory))
    }

    /// The checkpoint with the best value of a metric, of equals as [`Saver::keep_best`] judges, among
    /// those that are whole by their header and their length. `None` if no whole one has recorded a
    /// number for it, or the directory does not exist yet.
    ///
    /// # Errors
    /// As [`crate::best`], but for the directory that does not exist.
    pub fn best(&self, metric: &str, better: Better) -> Result<Option<Best>, CheckpointError> {
        if_there(directory::best(&self.directory, metric, better))
    }

    /// As [`Saver::best`], of those whose weights are as they were saved, too: those of the best are
    /// read, and where they are damaged those of the next best.
    ///
    /// # Errors
    /// As [`crate::best_verified`], but for the directory that does not exist.
    pub fn best_verified(
        &self,
        metric: &str,
        better: Better,
    ) -> Result<Option<Best>, CheckpointError> {
        if_there(directory::best_verified(&self.directory, metric, better))
    }

    /// Restores the newest checkpoint that verifies. One that turns out to be damaged only when its
    /// weights are read is passed over too, and then the next older one is restored. `None` if
    /// there is no checkpoint yet; the session is then as before.
    ///
    /// # Errors
    /// As [`crate::latest`] and [`RestorePlan::restore`](crate::RestorePlan::restore). A checkpoint
    /// that does not fit the session, or cannot be read although it is not damaged, is an error,
    /// and nothing older is tried.
    pub fn restore_latest(
        &self,
        session: &mut Session,
        options: &RestoreOptions,
    ) -> Result<Option<RestoredLatest>, CheckpointError> {
        self.restore_latest_by(session, |checkpoint, session| Ok(checkpoint.plan(session, options)))
    }

    /// As [`Saver::restore_latest`], with a plan made for each checkpoint that is tried; an error
    /// of it is the answer.
    ///
    /// # Errors
    /// Those of [`Saver::restore_latest`], and whatever `plan` says.
    pub fn restore_latest_by<E: From<CheckpointError>>(
        &self,
        session: &mut Session,
        mut plan: impl FnMut(&Checkpoint, &Session) -> Result<RestorePlan, E>,
    ) -> Result<Option<RestoredLatest>, E> {
        let Some(mut search) = if_there(Search::new(&self.directory).map(Some))? else {
            return Ok(None);
        };
        while let Some((file, step)) = search.next()? {
            let path = file.path.clone();
            let checkpoint = Checkpoint::found(file, search.newer_than(step));
            let restored = plan(&checkpoint, session)?.restore(session);
            let damaged = checkpoint.into_damaged();
            match restored {
                Ok(report) => return Ok(Some(RestoredLatest { step, report, damaged })),
                Err(error) if is_damage(&error) => {
                    search.damaged.extend(damaged);
                    search.damaged.push(Damaged { path, error });
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(search.nothing()?)
    }

    /// Saves all variables as the checkpoint of a step, then removes the checkpoints that no rule
    /// keeps. Returns the file.
    ///
    /// # Errors
    /// As [`crate::save`]. A failure to remove an older checkpoint is a
    /// [`CheckpointError::Storage`] that names it; the new one is then saved nevertheless.
    pub fn save(
        &self,
        session: &Session,
        step: u64,
        options: &SaveOptions,
    ) -> Result<PathBuf, CheckpointError> {
        let mut save = PlannedSave::new(self, session, step, options)?;
        save.write(&Disk, self, &mut { session })?;
        save.retain(&Disk, self)?;
        Ok(save.file)
    }

    /// Removes the checkpoints that no rule keeps, but for those in `protect`, and returns what was
    /// removed. Every save does it.
    ///
    /// # Errors
    /// As [`crate::list`], and [`CheckpointError::Storage`] if a file cannot be removed, or what stays
    /// cannot be made durable before that.
    pub fn retain(&self, protect: &[&Path]) -> Result<Vec<PathBuf>, CheckpointError> {
        self.retain_on(&Disk, protect)
    }

    pub(crate) fn retain_on(
        &self,
        storage: &dyn Storage,
        protect: &[&Path],
    ) -> Result<Vec<PathBuf>, CheckpointError> {
        let directory = &self.directory;
        let surplus = self.retention.surplus(storage, directory, protect)?;
        if !surplus.is_empty() {
            // What stays may have its name from a writer that was killed before that was durable.
            storage
                .sync_directory(directory)
                .map_err(|error| CheckpointError::storage("make durable", directory, error))?;
        }
        retention::remove(storage, surplus)
    }
}

/// A save that has been found possible, with all that it takes from the session but the values.
pub(crate) struct PlannedSave {
    pub file: PathBuf,
    contents: Contents,
    /// Files that stay whatever the rules.
    protect: BTreeSet<PathBuf>,
}

impl PlannedSave {
    /// Refuses what can be refused before the disk is touched.
    pub fn new(
        saver: &Saver,
        session: &Session,
        step: u64,
        options: &SaveOptions,
    ) -> Result<PlannedSave, CheckpointError> {
        let file = saver.directory.join(step_file_name(step));
        let options = options.clone().step(step).time_if_unset(SystemTime::now());
        let contents = Contents::of(session, &file, &options)?;
        let mut protect = origins(session);
        protect.insert(file.clone());
        Ok(PlannedSave { file, contents, protect })
    }

    /// Writes the file.
    pub fn write(
        &mut self,
        storage: &dyn Storage,
        saver: &Saver,
        values: &mut dyn Values,
    ) -> Result<(), CheckpointError> {
        let directory = &saver.directory;
        saver.create_directory_on(storage)?;
        atomic::remove_leftovers(storage, directory, |target| step_of(target).is_some());
        write(storage, values, &self.file, &mut self.contents)
    }

    /// Removes what the saver's rules do not keep, now that the file is written.
    pub fn retain(&self, storage: &dyn Storage, saver: &Saver) -> Result<(), CheckpointError> {
        let protect: Vec<&Path> = self.protect.iter().map(PathBuf::as_path).collect();
        let surplus = saver.retention.surplus(storage, &saver.directory, &protect)?;
        retention::remove(storage, surplus)?;
        Ok(())
    }
}

/// A directory that is not there yet holds nothing.
fn if_there<T>(result: Result<Option<T>, CheckpointError>) -> Result<Option<T>, CheckpointError> {
    match result {
        Err(CheckpointError::NoDirectory { .. }) => Ok(None),
        result => result,
    }
}

/// The files that the session's values came from.
fn origins(session: &Session) -> BTreeSet<PathBuf> {
    let variables = session.variables();
    variables.iter().filter_map(|info| restored_from(&info.origin)).map(Path::to_owned).collect()
}

/// The file that a value came from, if it came from one.
fn restored_from(origin: &Origin) -> Option<&Path> {
    match origin.before_runs() {
        Origin::Restored { file, .. } | Origin::PartlyRestored { file, .. } => Some(file),
        _ => None,
    }
}
