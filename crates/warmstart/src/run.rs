//! A run of training steps: what is done around each of them. How it saves and ends: `run/saves.rs`.
//!
//! Losses are read one submission late (`Run::record_steps`), so that the device is never waited
//! for while it has nothing to do. Steps are counted from the very first, and wherever they are
//! told as in `metrics.csv`: the steps done, from 1.

#[cfg(doc)]
use crate::OnNonFinite;
use crate::counted::Counted;
use crate::interrupt::{Interrupt, Listening};
use crate::losses;
use crate::metrics::{MetricsError, MetricsWriter};
use crate::run_lock::RunLock;
use crate::saving::Saving;
use crate::{Begun, LossWatch, Progress, Training, TrainingError};
use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use warmstart_checkpoint::{SaveOptions, Saver};
use warmstart_gpu::{Outputs, Session, StepOutputs, StepScalars};
use warmstart_graph::Tensor;
use warmstart_graph::words::printable_path;

mod saves;

/// A run of training steps, from [`Training::begin`].
pub struct Run {
    training: Training,
    saving: Saving,
    options: SaveOptions,
    begun: Begun,
    seed: u64,
    /// Steps done since the very first, resumed ones included.
    done: u64,
    /// Steps that were done when it began.
    first: u64,
    /// What optimizers count.
    counted: Counted,
    /// The newest checkpoint with its step: restored or saved by this run.
    newest: Option<(u64, PathBuf)>,
    /// None as long as a run has nothing to write.
    metrics: Option<MetricsWriter>,
    /// Metrics of the step under way.
    pending: Vec<(String, f64)>,
    /// Those of the last step, the loss too if it was read: they go with its checkpoint.
    noted: Vec<(String, f64)>,
    /// Steps whose losses are not read yet, the earliest first.
    late: VecDeque<Late>,
    /// Why metrics could not be written, until it is told.
    unwritten: Option<MetricsError>,
    progress: Progress,
    watch: LossWatch,
    /// Whether it was said that checkpoints are left out.
    warned: bool,
    /// How often the next step was asked for since a step was recorded.
    asked: AtomicU32,
    /// Whom Ctrl-C tells.
    listening: Option<Listening>,
    /// Whether it was said that the run stops.
    stops: bool,
    /// The last, so that it is let go last.
    _lock: RunLock,
}

/// Steps that were submitted together and are perhaps not done.
struct Late {
    /// Steps done before them.
    before: u64,
    losses: StepScalars,
    /// Metrics of the last of them.
    metrics: Vec<(String, f64)>,
    /// Whether the last of them is saved.
    save: bool,
}

/// How often the same step may be asked for: whoever looks ahead does so a few times.
const MOST_ASKED: u32 = 1000;

impl Run {
    /// A run that is about to do the step after `first`.
    pub(crate) fn new(
        training: &Training,
        (saver, options): (Saver, SaveOptions),
        begun: Begun,
        (seed, first): (u64, u64),
        (lock, counted): (RunLock, Counted),
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
                printable_path(&training.directory)
            ));
        }
        let newest = match &begun {
            Begun::Restored { report, .. } => Some((first, report.file().to_owned())),
            Begun::Initialized { .. } => None,
        };
        let metrics = if complete { None } else { Some(losses::open(training, first)?) };
        Ok(Run {
            training: training.clone(),
            saving: Saving::new(saver, training.background),
            options,
            begun,
            seed,
            done: first,
            first,
            counted,
            newest,
            metrics,
            pending: Vec::new(),
            noted: Vec::new(),
            late: VecDeque::new(),
            unwritten: None,
            progress,
            watch: LossWatch::new(training.on_non_finite),
            warned: false,
            asked: AtomicU32::new(0),
            listening: (training.interruptible && !complete).then(Listening::begin).flatten(),
            stops: false,
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

    /// The step to do next, counted from 0 over all runs; `None` when all are done, or the run
    /// [is to stop](Run::interrupted). It is the same until the step is [recorded](Run::record): a
    /// loop that records none would go on for ever, and is ended with `None` after a thousand calls,
    /// of which [`Run::finish`] tells.
    pub fn next_step(&self) -> Option<u64> {
        let to_do = self.done < self.training.steps && self.interrupted().is_none();
        let asked = self.asked.fetch_add(u32::from(to_do), Ordering::Relaxed);
        (to_do && asked < MOST_ASKED).then_some(self.done)
    }

    /// Whether the loop records no step, as far as its calls of [`Run::next_step`] tell.
    fn records_nothing(&self) -> bool {
        self.asked.load(Ordering::Relaxed) >= MOST_ASKED
    }

    /// What asked the run to stop before all steps are done, if anything did: only a run that is to
    /// [stop at Ctrl-C](Training::stop_on_interrupt) can be asked.
    pub fn interrupted(&self) -> Option<Interrupt> {
        let listening = self.listening.as_ref().filter(|_| self.done < self.training.steps)?;
        listening.asked()
    }

    /// Says once that the run stops. The steps under way may take a while yet, and so may the save.
    fn say_stops(&mut self) {
        if let Some(by) = self.interrupted().filter(|_| !self.stops) {
            self.stops = true;
            let again = match by {
                Interrupt::CtrlC => "\nCtrl-C again ends it at once, without saving",
                Interrupt::Terminate => "",
            };
            let (done, steps) = (self.done, self.training.steps);
            self.progress.stop(format_args!(
                "{by}: stopping after step {done} of {steps}, to save it{again}"
            ));
        }
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
    /// The first records are held against the count that the optimizer raises, and so is what was
    /// recorded when a checkpoint is due: a loop that trains nothing, or more than it records, is told so
    /// at once, and one that does so later once its weights are saved. Where the program restores the count
    /// meanwhile, as from an earlier checkpoint, nothing is compared any more.
    ///
    /// # Errors
    /// [`TrainingError::OtherCount`]. Under [`OnNonFinite::Stop`], [`TrainingError::NonFinite`] if the
    /// loss is not finite, and
    /// [`TrainingError::NonFiniteVariables`] if it is a step to be saved and a weight or slot is
    /// not finite; nothing is saved then. The other variants if reading or writing fails: what is due
    /// is saved before metrics that cannot be written are told.
    pub fn record(
        &mut self,
        session: &Session,
        outputs: &Outputs,
        loss: Tensor<'_>,
    ) -> Result<(), TrainingError> {
        // The device has done it, whatever is found out now.
        self.done += 1;
        *self.asked.get_mut() = 0;
        self.check_count(session)?;
        let metrics = std::mem::take(&mut self.pending);
        self.catch_up()?;
        let save = self.done.is_multiple_of(self.training.save_every);
        let log = self.logs(self.done);
        let mut shown = None;
        self.noted.clear();
        if log || save || !metrics.is_empty() {
            let value = outputs.scalar(loss)?;
            self.watch_loss(self.done, value)?;
            shown = Some(value);
            self.noted = metrics;
            self.write_row(self.done, value);
        }
        self.progress.update(self.done, shown);
        self.say_stops();
        self.save_if(save, session)
    }

    /// Whether what was recorded was trained, as far as the first few records tell.
    fn check_count(&mut self, session: &Session) -> Result<(), TrainingError> {
        let recorded = self.done - self.first;
        self.counted.check(recorded, session)
    }

    /// Whether what was recorded was trained.
    fn compare_counts(&self, session: &Session) -> Result<(), TrainingError> {
        self.counted.compare(self.done - self.first, session)
    }

    /// The steps to do next in one submission, at most so many (but at least one), counted and
    /// ended as by [`Run::next_step`]. They end where a checkpoint is to be saved.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let directory = directory.path();
    /// use warmstart::prelude::*;
    ///
    /// let graph = Graph::new();
    /// let x = graph.placeholder("x", [2, 1], DType::F32);
    /// let y = graph.placeholder("y", [2, 1], DType::F32);
    /// let loss = graph.scope("line").linear(x, 1).mean_squared_error(y);
    /// let optimizer = Optimizer::adam(0.1);
    /// let step = optimizer.minimize(loss);
    /// let mut session = Session::new(&Gpu::new()?);
    /// let train = session.compile(&graph, &[loss], &[step.update])?;
    ///
    /// let examples = Dataset::with_targets(vec![0., 1., 2., 3.], 1, vec![1., 3., 5., 7.], 1)?;
    /// let data = examples.upload(session.gpu(), "x", "y")?;
    /// let training = Training::new(directory).steps(100).save_every(40).quiet();
    /// let mut run = training.begin(&mut session, &graph, &optimizer)?;
    /// let mut batches = Batches::new(examples.len(), 2, run.seed())?;
    /// while let Some(steps) = run.next_steps(32) {
    ///     let rows = batches.indices_of(steps);
    ///     let outputs = session.run_steps(&train, &Steps::rows(&data, &rows))?;
    ///     run.record_steps(&session, &outputs, loss)?;
    /// }
    /// run.finish(&session)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn next_steps(&self, most: u64) -> Option<Range<u64>> {
        let first = self.next_step()?;
        let saved = match self.training.save_every {
            0 => u64::MAX,
            every => (first / every + 1).saturating_mul(every),
        };
        Some(first..first.saturating_add(most.max(1)).min(self.training.steps).min(saved))
    }

    /// Notes that several steps were run in one submission: what [`Run::record`] does for each of
    /// them, with the same rows of metrics and the same checkpoints. Each loss is looked at, so that
    /// one that is not finite is told with its step.
    ///
    /// Losses are read when the steps after them have been submitted, so that the device does not
    /// run dry meanwhile; before a save and after the last step, all are. A [metric](Run::metric)
    /// goes with the last of the steps.
    ///
    /// # Errors
    /// As [`Run::record`], perhaps one submission late.
    pub fn record_steps(
        &mut self,
        session: &Session,
        outputs: &StepOutputs,
        loss: Tensor<'_>,
    ) -> Result<(), TrainingError> {
        let losses = outputs.scalars_later(loss)?;
        let before = self.done;
        self.done += losses.len() as u64;
        *self.asked.get_mut() = 0;
        self.check_count(session)?;
        // Steps of the caller's own choice may go beyond the step to save at: better late than never.
        let save =
            (before + 1..=self.done).any(|step| step.is_multiple_of(self.training.save_every));
        let metrics = std::mem::take(&mut self.pending);
        let now = save || !metrics.is_empty() || self.next_step().is_none();
        self.late.push_back(Late { before, losses, metrics, save });
        self.say_stops();
        self.read_late(if now { 0 } else { 1 })?;
        self.save_if(save, session)
    }

    /// Reads what was left to be read.
    fn catch_up(&mut self) -> Result<(), TrainingError> {
        self.read_late(0)
    }

    /// Reads what was left to be read, up to the last so many submissions.
    fn read_late(&mut self, left: usize) -> Result<(), TrainingError> {
        while self.late.len() > left {
            if let Err(error) = self.read_first() {
                // They are of an earlier step than what may be saved now.
                self.noted.clear();
                return Err(error);
            }
        }
        Ok(())
    }

    fn read_first(&mut self) -> Result<(), TrainingError> {
        let Some(first) = self.late.front() else { return Ok(()) };
        // What cannot be read now may be read later.
        let losses = first.losses.read()?;
        let Some(late) = self.late.pop_front() else { return Ok(()) };
        let last = late.before + losses.len() as u64;
        let mut metrics = late.metrics;
        for (step, &loss) in (late.before + 1..).zip(&losses) {
            self.watch_loss(step, loss)?;
            self.noted.clear();
            let is_told = step == last && (late.save || !metrics.is_empty());
            if step == last {
                self.noted.append(&mut metrics);
            }
            if is_told || self.logs(step) {
                self.write_row(step, loss);
            }
        }
        self.progress.update(last, losses.last().copied());
        Ok(())
    }

    /// Whether the loss of this step is written, whatever else happens.
    fn logs(&self, step: u64) -> bool {
        step.is_multiple_of(self.training.log_every) || step == self.training.steps
    }

    fn watch_loss(&mut self, step: u64, loss: f32) -> Result<(), TrainingError> {
        if let Some(warning) = self.watch.check(step, loss)? {
            self.progress.say(warning);
        }
        Ok(())
    }

    /// Writes the loss of a step, and notes it before the metrics that are noted. An error waits until
    /// what is due has been saved.
    fn write_row(&mut self, step: u64, loss: f32) {
        if let Err(error) = self.try_write_row(step, loss) {
            self.unwritten.get_or_insert(error);
        }
    }

    fn try_write_row(&mut self, step: u64, loss: f32) -> Result<(), MetricsError> {
        self.noted.insert(0, ("loss".to_owned(), f64::from(loss)));
        let row: Vec<(&str, f64)> =
            self.noted.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        let metrics = match &mut self.metrics {
            Some(metrics) => metrics,
            // The program goes on although all steps are done.
            none => none.insert(losses::open(&self.training, step - 1)?),
        };
        metrics.write(step, &row)
    }

    /// Shows a line without disturbing the progress.
    pub fn say(&mut self, text: impl fmt::Display) {
        self.progress.say(text);
    }
}
