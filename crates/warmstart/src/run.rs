//! A run of training steps: what is done around each of them.

use crate::metrics::{Axis, LossCurve, MetricsError, MetricsTable, MetricsWriter};
use crate::run_lock::RunLock;
use crate::saving::Saving;
use crate::{Begun, LossWatch, NonFiniteVariables, OnNonFinite, Progress, Training, TrainingError};
use std::fmt;
use std::path::{Path, PathBuf};
use warmstart_checkpoint::{SaveOptions, Saver};
use warmstart_gpu::{Outputs, Session};
use warmstart_graph::{Role, Tensor};

/// A run of training steps, from [`Training::begin`].
pub struct Run {
    training: Training,
    saving: Saving,
    options: SaveOptions,
    begun: Begun,
    seed: u64,
    /// Steps done since the very first, resumed ones included.
    done: u64,
    /// The newest checkpoint with its step: restored or saved by this run.
    newest: Option<(u64, PathBuf)>,
    /// None as long as a run has nothing to write.
    metrics: Option<MetricsWriter>,
    /// Metrics of the step under way.
    pending: Vec<(String, f64)>,
    /// Those of the last step, the loss too if it was read: they go with its checkpoint.
    noted: Vec<(String, f64)>,
    progress: Progress,
    watch: LossWatch,
    /// Whether it was said that checkpoints are left out.
    warned: bool,
    /// The last, so that it is let go last.
    _lock: RunLock,
}

impl Run {
    /// A run that is about to do the step after `first`.
    pub(crate) fn new(
        training: &Training,
        (saver, options): (Saver, SaveOptions),
        begun: Begun,
        (seed, first): (u64, u64),
        lock: RunLock,
    ) -> Result<Run, TrainingError> {
        let last = training.steps;
        let complete = first >= last;
        let mut progress = match (training.quiet, complete) {
            (true, _) => Progress::hidden(first, last),
            (false, false) => Progress::new(first, last),
            // A bar for nothing would only puzzle.
            (false, true) => Progress::log(first, last, std::io::stderr()),
        };
        if complete {
            progress.say(format_args!(
                "nothing is left to train: {last} steps were asked for, and {} is at step {first}; ask for more to go on",
                training.directory.display()
            ));
        }
        let newest = match &begun {
            Begun::Restored { report, .. } => Some((first, report.file().to_owned())),
            Begun::Initialized { .. } => None,
        };
        let metrics = if complete { None } else { Some(open_metrics(training, first)?) };
        Ok(Run {
            training: training.clone(),
            saving: Saving::new(saver, training.background),
            options,
            begun,
            seed,
            done: first,
            newest,
            metrics,
            pending: Vec::new(),
            noted: Vec::new(),
            progress,
            watch: LossWatch::new(training.on_non_finite),
            warned: false,
            _lock: lock,
        })
    }

    /// What the run began with.
    pub fn begun(&self) -> &Begun {
        &self.begun
    }

    /// The seed of the run: that of the checkpoint it began with, else the one
    /// [given](Training::seed). What is to go on exactly after a resume, such as the order of
    /// [`Batches`](crate::Batches), is drawn from it.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The step to do next, counted from 0 over all runs; `None` when all are done.
    pub fn next_step(&self) -> Option<u64> {
        (self.done < self.training.steps).then_some(self.done)
    }

    /// Notes a metric, to be written with the step that is recorded next.
    pub fn metric(&mut self, name: &str, value: f64) {
        self.pending.push((name.to_owned(), value));
    }

    /// Notes that a step was run. Every so many steps the loss is read, shown and written, and a
    /// checkpoint is saved. The plan must fetch `loss`.
    ///
    /// The loss is that of before the step's update, so it cannot tell what the update made of the
    /// weights. They are looked at too before they are saved: see [`Run::save`]. Under
    /// [`OnNonFinite::WarnOnce`] and [`OnNonFinite::Ignore`] a checkpoint that would hold NaN or
    /// infinities is left out, and training goes on.
    ///
    /// # Errors
    /// Under [`OnNonFinite::Stop`], [`TrainingError::NonFinite`] if the loss is not finite, and
    /// [`TrainingError::NonFiniteVariables`] if it is a step to be saved and a weight or slot is
    /// not finite; nothing is saved then. The other variants if reading or writing fails.
    pub fn record(
        &mut self,
        session: &Session,
        outputs: &Outputs,
        loss: Tensor<'_>,
    ) -> Result<(), TrainingError> {
        self.done += 1;
        let save = self.done.is_multiple_of(self.training.save_every);
        let last = self.done == self.training.steps;
        let log = self.done.is_multiple_of(self.training.log_every) || last;
        let mut shown = None;
        self.noted.clear();
        if log || save || !self.pending.is_empty() {
            let value = outputs.scalar(loss)?;
            if let Some(warning) = self.watch.check(self.done, value)? {
                self.progress.say(warning);
            }
            shown = Some(value);
            self.noted.push(("loss".to_owned(), f64::from(value)));
            self.noted.append(&mut self.pending);
            let row: Vec<(&str, f64)> =
                self.noted.iter().map(|(name, value)| (name.as_str(), *value)).collect();
            let metrics = match &mut self.metrics {
                Some(metrics) => metrics,
                // The program goes on although all steps are done.
                none => none.insert(open_metrics(&self.training, self.done - 1)?),
            };
            metrics.write(self.done, &row)?;
        }
        self.progress.update(self.done, shown);
        if save {
            let saved = self.save(session).map(|_| ());
            match (saved, self.training.on_non_finite) {
                (saved, OnNonFinite::Stop) => saved?,
                (Err(TrainingError::NonFiniteVariables(found)), what) => {
                    if what == OnNonFinite::WarnOnce && !self.warned {
                        self.progress.say(found);
                    }
                    self.warned = true;
                }
                (saved, _) => saved?,
            }
        }
        Ok(())
    }

    /// Shows a line without disturbing the progress.
    pub fn say(&mut self, text: impl fmt::Display) {
        self.progress.say(text);
    }

    /// Saves now, whatever the plan of saves. Before that, the device looks at every trainable
    /// variable and every slot: weights that are NaN or infinite are never saved, whatever
    /// [`Training::on_non_finite`] says, and so never push out an older checkpoint either. Other
    /// variables are not looked at, since a mask of −∞ is a value like any other.
    ///
    /// [Behind the training](Training::save_in_background), the file is whole when the next save or
    /// [`Run::finish`] returns.
    ///
    /// # Errors
    /// [`TrainingError::NonFiniteVariables`] or [`TrainingError::Checkpoint`]; what was saved
    /// before is untouched then.
    pub fn save(&mut self, session: &Session) -> Result<&Path, TrainingError> {
        let (file, flushed) = self.save_weights(session)?;
        flushed?;
        Ok(file)
    }

    /// Saves. How the metrics fared, which are written first, is apart: no metrics are worth a
    /// checkpoint.
    fn save_weights(
        &mut self,
        session: &Session,
    ) -> Result<(&Path, Result<(), MetricsError>), TrainingError> {
        self.refuse_non_finite(session)?;
        // First, since a run that goes on from this checkpoint does not write its rows again.
        let flushed = self.metrics.as_mut().map_or(Ok(()), MetricsWriter::flush);
        let options = self
            .noted
            .iter()
            .fold(self.options.clone(), |options, (name, value)| options.metric(name, *value));
        // Behind the training, a failure is that of the save before: what it was to write is not
        // there.
        self.newest = None;
        let file = self.saving.save(session, self.done, &options)?;
        Ok((&self.newest.insert((self.done, file)).1, flushed))
    }

    /// A look at the values themselves, which costs the device one pass over memory that the save
    /// is about to copy anyway. A finite loss or gradient would not do: an update can overflow.
    fn refuse_non_finite(&self, session: &Session) -> Result<(), TrainingError> {
        let table = session.variables();
        let names: Vec<&str> = table
            .iter()
            // Those without a value are the saver's to refuse, all by name.
            .filter(|info| info.variable.role != Role::State && info.origin.has_value())
            .map(|info| info.name())
            .collect();
        let variables = session.non_finite(&names)?;
        if variables.is_empty() {
            return Ok(());
        }
        Err(NonFiniteVariables { step: self.done, variables }.into())
    }

    /// Ends the run: saves, unless the newest checkpoint is of this step, and draws the losses of
    /// all runs as `loss.svg`. Returns the newest checkpoint, which is of the last step.
    ///
    /// Metrics that cannot be written, read or drawn are said, but are no error: the training is
    /// done, and its weights are saved.
    ///
    /// # Errors
    /// As [`Run::save`], after the losses were drawn.
    pub fn finish(mut self, session: &Session) -> Result<PathBuf, TrainingError> {
        // What failed behind the training is tried once more.
        if let Err(error) = self.saving.wait() {
            self.progress.say(error);
            self.newest = None;
        }
        let newest = self.newest.take_if(|(step, _)| *step == self.done);
        let (saved, flushed) = match newest {
            Some((_, file)) => (Ok(file), Ok(())),
            None => match self.save_weights(session) {
                Ok((file, flushed)) => (Ok(file.to_owned()), flushed),
                Err(error) => (Err(error), Ok(())),
            },
        };
        if let Err(error) = flushed.and_then(|()| self.draw()) {
            self.progress.say(format_args!("the losses were not drawn: {error}"));
        }
        self.progress.finish();
        let file = saved?;
        self.saving.wait()?;
        Ok(file)
    }

    fn draw(&mut self) -> Result<(), MetricsError> {
        // What was written since the last save.
        self.metrics.as_mut().map_or(Ok(()), MetricsWriter::flush)?;
        let file = self.training.directory.join("metrics.csv");
        if !file.exists() {
            return Ok(());
        }
        let series = MetricsTable::read(&file)?.series("loss");
        if series.len() > 1 {
            LossCurve::new("Training loss")
                .axis(Axis::Logarithmic)
                .series("loss", series)
                .write_svg(&self.training.directory.join("loss.svg"))?;
        }
        Ok(())
    }
}

/// Opens the metrics for the steps after `done`; rows count steps done, from 1.
fn open_metrics(training: &Training, done: u64) -> Result<MetricsWriter, TrainingError> {
    let mut columns = vec!["loss"];
    columns.extend(training.metrics.iter().map(String::as_str));
    Ok(MetricsWriter::open(&training.directory, &columns, done + 1)?)
}
