//! How a training loop is set up. How it begins: `begin.rs`.

use crate::OnNonFinite;
use crate::losses::Curve;
#[cfg(doc)]
use crate::{Run, TrainingError};
use std::path::PathBuf;
use warmstart_checkpoint::{Better, RestoreOptions, Saver};
#[cfg(doc)]
use {warmstart_gpu::Session, warmstart_graph::Optimizer};

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
    pub(crate) directory: PathBuf,
    pub(crate) steps: u64,
    pub(crate) seed: Option<u64>,
    pub(crate) save_every: u64,
    keep: usize,
    pub(crate) log_every: u64,
    pub(crate) metrics: Vec<String>,
    pub(crate) curves: Vec<Curve>,
    pub(crate) on_non_finite: OnNonFinite,
    pub(crate) quiet: bool,
    pub(crate) interruptible: bool,
    pub(crate) restore: RestoreOptions,
    keep_every_steps: u64,
    keep_best: Vec<(String, Better, usize)>,
    pub(crate) background: bool,
    pub(crate) extra: Vec<(String, String)>,
}

impl Training {
    /// Training whose checkpoints and metrics are in a directory, which is made if need be.
    pub fn new(directory: impl Into<PathBuf>) -> Training {
        Training {
            directory: directory.into(),
            steps: 1000,
            seed: None,
            save_every: 0,
            keep: 3,
            log_every: 10,
            metrics: Vec::new(),
            curves: Vec::new(),
            on_non_finite: OnNonFinite::Stop,
            quiet: false,
            interruptible: false,
            restore: RestoreOptions::new(),
            keep_every_steps: 0,
            keep_best: Vec::new(),
            background: false,
            extra: Vec::new(),
        }
    }

    /// The saver with the rules that were said.
    pub(crate) fn saver(&self) -> Saver {
        let saver =
            Saver::new(&self.directory).keep(self.keep).keep_every_steps(self.keep_every_steps);
        self.keep_best.iter().fold(saver, |saver, (metric, better, checkpoints)| {
            saver.keep_best(metric, *better, *checkpoints)
        })
    }

    /// The metrics of which the best are kept.
    pub(crate) fn keep_best_of(&self) -> impl Iterator<Item = &str> {
        self.keep_best.iter().map(|(metric, ..)| metric.as_str())
    }

    /// Train until so many steps are done, those of earlier runs included; 1,000 if not said. A
    /// run whose checkpoint is there already, or further, does no step, and says so.
    ///
    /// A step is a run of the plan, with one batch. Under
    /// [gradient accumulation](Optimizer::gradient_accumulation_steps) an update is several steps, and
    /// everything here counts steps; only the learning rate's schedule counts updates. Saves may fall
    /// between the batches of an update: what is accumulated is in the checkpoint.
    #[must_use]
    pub fn steps(mut self, steps: u64) -> Training {
        self.steps = steps;
        self
    }

    /// The seed of the run: of a first initialization, and of what the program draws from
    /// [`Run::seed`]. If not said, a run that goes on keeps its checkpoint's, and a first one has
    /// seed 0. Every checkpoint says its run's seed, and another one is refused.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Training {
        self.seed = Some(seed);
        self
    }

    /// Save after so many steps, besides at the end; 0 saves only then.
    #[must_use]
    pub fn save_every(mut self, steps: u64) -> Training {
        self.save_every = steps;
        self
    }

    /// How many of the newest checkpoints to keep, 3 if not said; 0 is no such rule, and without any
    /// rule all are kept. The checkpoint that the run went on from is kept beside them as long as the
    /// run lasts: it is where its weights came from.
    #[must_use]
    pub fn keep(mut self, checkpoints: usize) -> Training {
        self.keep = checkpoints;
        self
    }

    /// Keep also each checkpoint whose step is a multiple of this; 0 takes the rule back.
    #[must_use]
    pub fn keep_every_steps(mut self, steps: u64) -> Training {
        self.keep_every_steps = steps;
        self
    }

    /// Keep also so many checkpoints with the best values of a metric: the `loss` or one of the run's
    /// [metrics](Training::metrics) that is [noted](Run::metric) for the step that is saved. A checkpoint without the metric is never a
    /// best one.
    #[must_use]
    pub fn keep_best(mut self, metric: &str, better: Better, checkpoints: usize) -> Training {
        self.keep_best.push((metric.to_owned(), better, checkpoints));
        self
    }

    /// Save behind the training: the device copies the variables, which takes
    /// [`Session::snapshot_bytes`] of memory more, and a thread writes them while training goes on.
    /// A save waits for the one before; its failure is told by the next one or by [`Run::finish`].
    ///
    /// How much memory that is can be asked for as soon as the training is compiled. It is taken by the
    /// first save, and kept for those that follow.
    ///
    /// ```
    /// use warmstart::prelude::*;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let directory = directory.path();
    /// let graph = Graph::new();
    /// let x = graph.placeholder("x", [8, 4], DType::F32);
    /// let loss = graph.scope("fc").linear(x, 2).square().mean_all();
    /// let optimizer = Optimizer::adam(0.01);
    /// let step = optimizer.minimize(loss);
    /// let mut session = Session::new(&Gpu::new()?);
    /// session.compile(&graph, &[loss], &[step.update])?;
    /// println!("saves will take {} bytes more", session.snapshot_bytes());
    /// # assert!(session.snapshot_bytes() >= 3 * (4 * 2 + 2) * 4);
    /// let training = Training::new(directory).steps(100).save_in_background();
    /// let run = training.begin(&mut session, &graph, &optimizer)?;
    /// # drop(run);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn save_in_background(mut self) -> Training {
        self.background = true;
        self
    }

    /// An entry of the program's own in the metadata of each checkpoint, such as the names of its
    /// classes; [`Metadata::get`](warmstart_checkpoint::Metadata::get) reads it. Keys that begin with
    /// `warmstart.` are refused when saving.
    #[must_use]
    pub fn extra(mut self, key: impl Into<String>, value: impl Into<String>) -> Training {
        self.extra.push((key.into(), value.into()));
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

    /// Draws a [metric](Training::metrics) in `loss.svg` too, beside the loss of the training, under a
    /// name for the legend. `value` makes of the metric what can be held against that loss.
    ///
    /// ```
    /// use warmstart::prelude::*;
    /// let training = Training::new("runs/digits")
    ///     .metrics(&["test/loss"])
    ///     .curve("test/loss", "test", |loss| loss);
    /// # let _ = training;
    /// ```
    #[must_use]
    pub fn curve(mut self, metric: &str, name: &str, value: fn(f64) -> f64) -> Training {
        self.curves.push(Curve { metric: metric.to_owned(), name: name.to_owned(), value });
        self
    }

    /// What to do about a loss that is not finite, or weights that are not when they are to be
    /// saved; training stops if not said. Such weights are never saved, whatever is said here.
    #[must_use]
    pub fn on_non_finite(mut self, what: OnNonFinite) -> Training {
        self.on_non_finite = what;
        self
    }

    /// Show no progress, and say nothing else on standard error either: what [`Run::accumulated_batches`]
    /// tells is for the program to ask.
    #[must_use]
    pub fn quiet(mut self) -> Training {
        self.quiet = true;
        self
    }

    /// Stop at Ctrl-C, or at the signal SIGTERM, as when the step under way were the last:
    /// [`Run::next_step`] and [`Run::next_steps`] give no more, and [`Run::finish`] saves and says
    /// so, with [`TrainingError::Interrupted`]. Begun again, the run goes on from there. A second
    /// Ctrl-C ends the process at once, with the exit code 130 and without saving. A run that has done
    /// its last step finishes: there is nothing left to stop.
    ///
    /// This is of the whole process, from the first such run on: while none is under way, a signal
    /// ends the process. What was ignored when the process began, as Ctrl-C is by a script's
    /// `program &`, stays so, where the system tells (on Linux). Where the system does not let a
    /// program listen, nothing changes.
    #[must_use]
    pub fn stop_on_interrupt(mut self) -> Training {
        self.interruptible = true;
        self
    }

    /// How the newest checkpoint may differ from the session's variables, strictly not at all if
    /// not said: what the report of a restore that was refused asks for. Variables that get no value
    /// from the checkpoint and have none are initialized from the seed.
    ///
    /// Rules are for a checkpoint of another model that lies in the directory. A run notes them in
    /// the checkpoints that it saves, and does not follow them again when it goes on from one of
    /// those, so a program keeps its rules from run to run. Where the first of its rules were noted, or
    /// none, it follows the rest. Where others were noted, it follows all of its own, unless the
    /// checkpoint fits as it is too: then there is no telling whose it is, and that is
    /// [an error](TrainingError::OtherRules). Whenever it fits as it is and not under the rules, it is
    /// restored as it is, and [`Run::begun`] says so, unless the rules leave out, move or turn variables and
    /// not their optimizer's slots: that is an error. What is allowed is allowed of any checkpoint.
    ///
    /// ```
    /// use warmstart::prelude::*;
    /// let options = RestoreOptions::new().rename_scope("encoder", "body").ignore("head/**");
    /// let training = Training::new("runs/finetuned").restore_options(options.allow_missing());
    /// # let _ = training;
    /// ```
    #[must_use]
    pub fn restore_options(mut self, options: RestoreOptions) -> Training {
        self.restore = options;
        self
    }
}
