//! The loop around a training step: begin from the newest checkpoint or from a seed, count steps,
//! watch the loss, write metrics, save.

use crate::metrics::{Axis, LossCurve, MetricsError, MetricsTable, MetricsWriter};
use crate::{LossWatch, NonFiniteLoss, OnNonFinite, Progress};
use std::fmt;
use std::path::{Path, PathBuf};
use thiserror::Error;
use warmstart_checkpoint::{
    Checkpoint, CheckpointError, RestoreOptions, RestoreReport, SaveOptions, Saver,
};
use warmstart_gpu::{Outputs, RunError, Session, SessionError};
use warmstart_graph::{Graph, GraphErrors, Optimizer, Tensor};

/// How a model is trained: where its checkpoints are, how many steps, what is saved when.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let directory = directory.path();
/// use warmstart::prelude::*;
///
/// let graph = Graph::new();
/// let x = graph.placeholder("x", [4, 2], DType::F32);
/// let y = graph.placeholder("y", [4, 1], DType::F32);
/// let loss = graph.scope("fc").linear(x, 1).mean_squared_error(y);
/// let optimizer = Optimizer::sgd(0.1);
/// let step = optimizer.minimize(loss);
///
/// let mut session = Session::new(&Gpu::new()?);
/// let train = session.compile(&graph, &[loss], &[step.update])?;
///
/// let mut run = Training::new(directory)
///     .steps(20)
///     .quiet()
///     .begin(&mut session, &graph, &optimizer)?;
/// while let Some(_step) = run.next_step() {
///     let inputs = [0.0f32, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0];
///     let sums = [0.0f32, 1.0, 1.0, 2.0];
///     let outputs = session.run(&train, &[("x", (&inputs).into()), ("y", (&sums).into())])?;
///     run.record(&session, &outputs, loss)?;
/// }
/// let saved = run.finish(&session)?;
/// assert!(saved.ends_with("step-20.safetensors"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Training {
    directory: PathBuf,
    steps: u64,
    seed: u64,
    save_every: u64,
    keep: usize,
    log_every: u64,
    metrics: Vec<String>,
    on_non_finite: OnNonFinite,
    quiet: bool,
}

/// Why training stopped.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TrainingError {
    /// A checkpoint could not be found, restored or saved.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Variables could not be initialized.
    #[error(transparent)]
    Session(Box<SessionError>),
    /// A loss could not be read.
    #[error(transparent)]
    Run(#[from] RunError),
    /// Metrics could not be written.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// The graph has mistakes.
    #[error(transparent)]
    Graph(#[from] GraphErrors),
    /// The loss is no longer a number, and training was to stop then.
    #[error(transparent)]
    NonFinite(#[from] NonFiniteLoss),
    /// The graph or the optimizer could not be written as JSON.
    #[error("the graph could not be stored in the checkpoint: {0}. Nothing was saved")]
    Json(#[from] serde_json::Error),
    /// The newest checkpoint does not say at which step it was saved.
    #[error(
        "checkpoint {} does not say its step, so there is no telling where to go on; restore it with `Checkpoint::open` and train in a new directory", .0.display()
    )]
    NoStep(PathBuf),
}

impl From<SessionError> for TrainingError {
    fn from(error: SessionError) -> TrainingError {
        TrainingError::Session(Box::new(error))
    }
}

/// What a run began with.
#[derive(Debug)]
pub enum Begun {
    /// No checkpoint was there: these variables were initialized from the seed.
    Initialized {
        /// The variables.
        variables: Vec<String>,
        /// The seed.
        seed: u64,
    },
    /// The newest checkpoint was restored.
    Restored(Box<RestoreReport>),
}

impl fmt::Display for Begun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Begun::Initialized { variables, seed } => {
                write!(
                    f,
                    "no checkpoint yet: {} variables initialized, seed {seed}",
                    variables.len()
                )
            }
            Begun::Restored(report) => f.write_str(report.to_string().trim_end()),
        }
    }
}

impl Training {
    /// Training whose checkpoints and metrics are in a directory, which is made if need be.
    pub fn new(directory: impl Into<PathBuf>) -> Training {
        Training {
            directory: directory.into(),
            steps: 1000,
            seed: 0,
            save_every: 0,
            keep: 3,
            log_every: 10,
            metrics: Vec::new(),
            on_non_finite: OnNonFinite::Stop,
            quiet: false,
        }
    }

    /// Steps to do from where the run begins; 1,000 if not said.
    #[must_use]
    pub fn steps(mut self, steps: u64) -> Training {
        self.steps = steps;
        self
    }

    /// The seed of a first initialization.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Training {
        self.seed = seed;
        self
    }

    /// Save after so many steps, besides at the end; 0 saves only then.
    #[must_use]
    pub fn save_every(mut self, steps: u64) -> Training {
        self.save_every = steps;
        self
    }

    /// How many checkpoints to keep, 3 if not said; 0 keeps all.
    #[must_use]
    pub fn keep(mut self, checkpoints: usize) -> Training {
        self.keep = checkpoints;
        self
    }

    /// Read the loss after so many steps, 10 if not said. In between, no step waits for the device.
    #[must_use]
    pub fn log_every(mut self, steps: u64) -> Training {
        self.log_every = steps.max(1);
        self
    }

    /// Names of metrics besides `loss` that will be [recorded](Run::metric).
    #[must_use]
    pub fn metrics(mut self, names: &[&str]) -> Training {
        self.metrics = names.iter().map(|&name| name.to_owned()).collect();
        self
    }

    /// What to do about a loss that is not finite; training stops if not said.
    #[must_use]
    pub fn on_non_finite(mut self, what: OnNonFinite) -> Training {
        self.on_non_finite = what;
        self
    }

    /// Show no progress.
    #[must_use]
    pub fn quiet(mut self) -> Training {
        self.quiet = true;
        self
    }

    /// Begins: restores the newest checkpoint of the directory (all variables of the session,
    /// strictly), or initializes the variables that have no value.
    ///
    /// # Errors
    /// [`TrainingError::Checkpoint`] if there is a checkpoint that does not fit or is damaged; then
    /// nothing was changed. The other variants if initializing or opening the metrics fails.
    pub fn begin(
        &self,
        session: &mut Session,
        graph: &Graph,
        optimizer: &Optimizer,
    ) -> Result<Run, TrainingError> {
        let options = SaveOptions::new()
            .graph(serde_json::to_string(&graph.finish()?)?)
            .optimizer(serde_json::to_string(optimizer)?);
        let saver = Saver::new(&self.directory).keep(self.keep);
        let (first, begun) = match saver.latest()? {
            Some(latest) => {
                // Opened as a directory, it also reports newer checkpoints that are damaged.
                let checkpoint = Checkpoint::open(&self.directory)?;
                let Some(step) = checkpoint.step() else {
                    return Err(TrainingError::NoStep(latest.path));
                };
                let report = checkpoint.plan(session, &RestoreOptions::new()).restore(session)?;
                (step, Begun::Restored(Box::new(report)))
            }
            None => {
                let variables = session.initialize_missing(self.seed)?;
                (0, Begun::Initialized { variables, seed: self.seed })
            }
        };
        let mut columns = vec!["loss"];
        columns.extend(self.metrics.iter().map(String::as_str));
        // Rows count steps done, from 1.
        let metrics = MetricsWriter::open(&self.directory, &columns, first + 1)?;
        let last = first.saturating_add(self.steps);
        let progress =
            if self.quiet { Progress::hidden(first, last) } else { Progress::new(first, last) };
        Ok(Run {
            training: self.clone(),
            saver,
            options,
            begun,
            done: first,
            last,
            saved: None,
            metrics,
            pending: Vec::new(),
            progress,
            watch: LossWatch::new(self.on_non_finite),
        })
    }
}

/// A run of training steps, from [`Training::begin`].
pub struct Run {
    training: Training,
    saver: Saver,
    options: SaveOptions,
    begun: Begun,
    /// Steps done since the very first, resumed ones included.
    done: u64,
    last: u64,
    /// The step and file of the last save of this run.
    saved: Option<(u64, PathBuf)>,
    metrics: MetricsWriter,
    /// Metrics of the step under way.
    pending: Vec<(String, f64)>,
    progress: Progress,
    watch: LossWatch,
}

impl Run {
    /// What the run began with.
    pub fn begun(&self) -> &Begun {
        &self.begun
    }

    /// The step to do next, counted from 0 over all runs; `None` when all are done.
    pub fn next_step(&self) -> Option<u64> {
        (self.done < self.last).then_some(self.done)
    }

    /// Notes a metric, to be written with the step that is recorded next.
    pub fn metric(&mut self, name: &str, value: f64) {
        self.pending.push((name.to_owned(), value));
    }

    /// Notes that a step was run. Every so many steps the loss is read, shown and written, and a
    /// checkpoint is saved. The plan must fetch `loss`.
    ///
    /// # Errors
    /// [`TrainingError::NonFinite`] if the loss is not finite (nothing is saved then, so the newest
    /// checkpoint is one with a finite loss); the other variants if reading or writing fails.
    pub fn record(
        &mut self,
        session: &Session,
        outputs: &Outputs,
        loss: Tensor<'_>,
    ) -> Result<(), TrainingError> {
        let step = self.done;
        self.done += 1;
        let save = self.done.is_multiple_of(self.training.save_every);
        let log = self.done.is_multiple_of(self.training.log_every) || self.done == self.last;
        let mut shown = None;
        if log || save || !self.pending.is_empty() {
            let value = outputs.scalar(loss)?;
            if let Some(warning) = self.watch.check(step, value)? {
                self.progress.say(warning);
            }
            shown = Some(value);
            let mut row = vec![("loss", f64::from(value))];
            row.extend(self.pending.iter().map(|(name, value)| (name.as_str(), *value)));
            self.metrics.write(self.done, &row)?;
            self.pending.clear();
        }
        self.progress.update(self.done, shown);
        if save {
            self.save(session)?;
        }
        Ok(())
    }

    /// Shows a line without disturbing the progress.
    pub fn say(&mut self, text: impl fmt::Display) {
        self.progress.say(text);
    }

    /// Saves now, whatever the plan of saves.
    ///
    /// # Errors
    /// [`TrainingError::Checkpoint`]; what was saved before is untouched then.
    pub fn save(&mut self, session: &Session) -> Result<&Path, TrainingError> {
        let file = self.saver.save(session, self.done, &self.options)?;
        self.metrics.flush()?;
        Ok(&self.saved.insert((self.done, file)).1)
    }

    /// Ends the run: saves, unless this step was saved already, and draws the losses of all runs as
    /// `loss.svg`. Returns the newest checkpoint.
    ///
    /// # Errors
    /// [`TrainingError::Checkpoint`] or [`TrainingError::Metrics`].
    pub fn finish(mut self, session: &Session) -> Result<PathBuf, TrainingError> {
        if self.saved.as_ref().is_none_or(|(step, _)| *step != self.done) {
            self.save(session)?;
        }
        self.metrics.flush()?;
        self.progress.finish();
        let table = MetricsTable::read(&self.training.directory.join("metrics.csv"))?;
        let series = table.series("loss");
        if series.len() > 1 {
            LossCurve::new("Training loss")
                .axis(Axis::Logarithmic)
                .series("loss", series)
                .write_svg(&self.training.directory.join("loss.svg"))?;
        }
        Ok(self.saved.map(|(_, file)| file).unwrap_or_default())
    }
}
