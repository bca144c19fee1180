//! How a training loop is set up and how it begins: from the newest checkpoint, or from a seed.

use crate::{OnNonFinite, Run, TrainingError};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use warmstart_checkpoint::{Checkpoint, RestoreOptions, RestoreReport, SaveOptions, Saver};
use warmstart_gpu::Session;
use warmstart_graph::{Graph, GraphDef, Op, Optimizer};

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
    seed: Option<u64>,
    pub(crate) save_every: u64,
    keep: usize,
    pub(crate) log_every: u64,
    pub(crate) metrics: Vec<String>,
    pub(crate) on_non_finite: OnNonFinite,
    pub(crate) quiet: bool,
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
            Begun::Restored(report) => report.fmt(f),
        }
    }
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
            on_non_finite: OnNonFinite::Stop,
            quiet: false,
        }
    }

    /// Train until so many steps are done, those of earlier runs included; 1,000 if not said. A
    /// run whose checkpoint is there already, or further, does no step, and says so.
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

    /// What to do about a loss that is not finite, or weights that are not when they are to be
    /// saved; training stops if not said. Such weights are never saved, whatever is said here.
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
    /// [`TrainingError::Checkpoint`] if there is a checkpoint that does not fit or is damaged,
    /// [`TrainingError::OtherSeed`] or [`TrainingError::OtherGraphSeed`] if it is of a run with
    /// another seed; then nothing was changed. The other variants if initializing or opening the
    /// metrics fails.
    pub fn begin(
        &self,
        session: &mut Session,
        graph: &Graph,
        optimizer: &Optimizer,
    ) -> Result<Run, TrainingError> {
        let def = graph.finish()?;
        let options = SaveOptions::new()
            .graph(serde_json::to_string(&def)?)
            .optimizer(serde_json::to_string(optimizer)?);
        let saver = Saver::new(&self.directory).keep(self.keep);
        let (first, seed, begun) = match saver.latest()? {
            Some(latest) => {
                // Opened as a directory, it also reports newer checkpoints that are damaged.
                let checkpoint = Checkpoint::open(&self.directory)?;
                let Some(step) = checkpoint.step() else {
                    return Err(TrainingError::NoStep(latest.path));
                };
                let seed = self.seed_after(&checkpoint)?;
                check_graph_seeds(&checkpoint, &def)?;
                let report = checkpoint.plan(session, &RestoreOptions::new()).restore(session)?;
                (step, seed, Begun::Restored(Box::new(report)))
            }
            None => {
                let seed = self.seed.unwrap_or_default();
                let variables = session.initialize_missing(seed)?;
                (0, seed, Begun::Initialized { variables, seed })
            }
        };
        Run::new(self, (saver, options.seed(seed)), begun, seed, first)
    }

    /// The seed of a run that goes on from a checkpoint.
    fn seed_after(&self, checkpoint: &Checkpoint) -> Result<u64, TrainingError> {
        match (checkpoint.metadata().seed(), self.seed) {
            (Some(found), Some(given)) if found != given => {
                Err(TrainingError::OtherSeed { file: checkpoint.file().to_owned(), found, given })
            }
            (found, given) => Ok(found.or(given).unwrap_or_default()),
        }
    }
}

/// Refuses a graph whose random numbers have other seeds than in the checkpoint's graph.
fn check_graph_seeds(checkpoint: &Checkpoint, def: &GraphDef) -> Result<(), TrainingError> {
    let text = checkpoint.metadata().graph();
    // Whoever saved it may have stored the graph in another form; then there is nothing to compare.
    let Some(stored) = text.and_then(|text| serde_json::from_str::<GraphDef>(text).ok()) else {
        return Ok(());
    };
    let before = random_seeds(&stored);
    for (stream, given) in random_seeds(def) {
        if let Some(&found) = before.get(stream)
            && found != given
        {
            let (file, stream) = (checkpoint.file().to_owned(), stream.to_owned());
            return Err(TrainingError::OtherGraphSeed { file, stream, found, given });
        }
    }
    Ok(())
}

/// The seed of each stream of random numbers that a graph draws.
fn random_seeds(def: &GraphDef) -> BTreeMap<&str, u64> {
    def.nodes
        .iter()
        .filter_map(|node| match &node.op {
            Op::RandomUniform { seed, stream, .. } => Some((stream.as_str(), *seed)),
            _ => None,
        })
        .collect()
}
