//! How a run begins: from the newest checkpoint, or from a seed.
//!
//! Rules of restoring are noted in the run's checkpoints, so that they are followed when a
//! checkpoint of another model is taken over, and not again when the run goes on, but for those
//! added since. A checkpoint with other seeds is refused.

use crate::accumulated::{check_finite, lost};
use crate::asked::check_optimizer;
use crate::changes::{Change, changes};
use crate::counted::{Counted, counts};
use crate::run_lock::RunLock;
use crate::training_error::InTraining;
use crate::{Run, Training, TrainingError};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use warmstart_checkpoint::{
    Checkpoint, CheckpointError, RestoreOptions, RestorePlan, RestoreReport, RestoredLatest,
    SaveOptions, step_file_name,
};
use warmstart_gpu::Session;
use warmstart_graph::words::{counted, printable_path};
use warmstart_graph::{Graph, GraphDef, Op, Optimizer};

/// What a run began with.
#[derive(Debug)]
#[non_exhaustive]
pub enum Begun {
    /// No checkpoint was there: these variables were initialized from the seed.
    Initialized {
        /// The variables.
        variables: Vec<String>,
        /// The seed.
        seed: u64,
        /// Files of the directory that may hold weights, but are not named as checkpoints of a run
        /// are.
        passed_over: Vec<PathBuf>,
    },
    /// The newest checkpoint was restored.
    Restored {
        /// What was restored.
        report: Box<RestoreReport>,
        /// What this run does otherwise than the one that saved the checkpoint. No error, but not to
        /// be overlooked.
        changes: Vec<Change>,
        /// Variables that got no value from the checkpoint and had none, and were initialized from
        /// the seed. Only [`Training::restore_options`] lead to any.
        initialized: Vec<String>,
        /// The seed.
        seed: u64,
    },
}

impl fmt::Display for Begun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Begun::Initialized { variables, seed, passed_over } => {
                let count = counted(variables.len(), "variable");
                write!(f, "no checkpoint yet: {count} initialized, seed {seed}")?;
                passed_over.iter().try_for_each(|file| {
                    write!(
                        f,
                        "\nnote: {} was left alone, since a run goes on from files named `step-<n>.safetensors` only; `Checkpoint::open` restores it by itself",
                        printable_path(file)
                    )
                })
            }
            Begun::Restored { report, changes, initialized, seed } => {
                write!(f, "{}", report.worded(&InTraining))?;
                changes.iter().try_for_each(|change| write!(f, "\nnote: {change}"))?;
                match initialized.len() {
                    0 => Ok(()),
                    count => write!(f, "\n{} initialized, seed {seed}", counted(count, "variable")),
                }
            }
        }
    }
}

impl Training {
    /// Begins: restores the newest whole checkpoint of the directory (all variables of the session,
    /// strictly unless [said otherwise](Training::restore_options)), or initializes the variables
    /// that have no value. A newer one that is damaged, be it cut short or in its weights, is passed
    /// over, and [`Run::begun`] says so. The directory is the run's until the run is dropped.
    ///
    /// # Errors
    /// [`TrainingError::NothingCompiled`] or [`TrainingError::NothingTrains`] if the session has no
    /// plan that trains the graph, [`TrainingError::OtherOptimizer`] if another optimizer than this one
    /// built the training, [`TrainingError::NoSuchMetric`] if the best of a metric is to be kept, or
    /// its curve drawn, that is not declared, [`TrainingError::AlreadyRunning`] if another run is under way in the
    /// directory,
    /// [`TrainingError::Mismatch`] if there is a checkpoint that does not fit,
    /// [`TrainingError::Checkpoint`] if all are damaged,
    /// [`TrainingError::OtherSeed`] or [`TrainingError::OtherGraphSeed`] if it is of a run with
    /// another seed, [`TrainingError::OtherRules`] if it is one that other rules were noted in,
    /// [`TrainingError::NonFiniteAccumulators`] if it was saved in the middle of an update that only loss
    /// scaling would leave out; then nothing was changed. The other variants if initializing or opening the
    /// metrics fails.
    pub fn begin(
        &self,
        session: &mut Session,
        graph: &Graph,
        optimizer: &Optimizer,
    ) -> Result<Run, TrainingError> {
        let def = graph.finish()?;
        let counts = counts(&def, session)?;
        check_optimizer(&def, optimizer)?;
        self.check_metrics()?;
        let optimizer = serde_json::to_string(optimizer)?;
        let options = SaveOptions::new().graph(&def).optimizer(optimizer.as_str());
        let options =
            self.extra.iter().fold(options, |options, (key, value)| options.extra(key, value));
        let saver = self.saver();
        saver.create_directory()?;
        let lock = RunLock::take(&self.directory)?;
        // What there is to know of the checkpoint that is being tried.
        let mut tried = None;
        let restored = saver.restore_latest_by(session, |checkpoint, session| {
            let file = checkpoint.file();
            let Some(step) = checkpoint.step() else {
                return Err(TrainingError::NoStep(file.to_owned()));
            };
            if file.file_name() != Some(step_file_name(step).as_ref()) {
                return Err(TrainingError::OtherStep { file: file.to_owned(), found: step });
            }
            let (plan, note) = self.plan(checkpoint, session)?;
            // What does not fit is told first: another model most often has another seed too.
            if !plan.closes() {
                return Ok(plan);
            }
            let seed = self.seed_after(checkpoint)?;
            // Whoever saved it may have stored none, or another form of it; then there is
            // nothing to compare.
            let before = checkpoint.graph().ok().and_then(|graph| graph.finish().ok());
            if let Some(before) = &before {
                check_graph_seeds(checkpoint, before, &def)?;
            }
            let mut changes = changes(checkpoint, before.as_ref(), &plan, &def, &optimizer);
            check_finite(checkpoint, &plan, &def)?;
            changes
                .extend(note.into_iter().chain(lost(checkpoint, &plan).map(Change::Accumulated)));
            tried = Some((seed, changes));
            Ok(plan)
        });
        let restored = restored.map_err(|error| match error {
            TrainingError::Checkpoint(CheckpointError::Mismatch(report)) => {
                TrainingError::Mismatch(report)
            }
            other => other,
        })?;
        let (first, seed, begun) = match restored.zip(tried) {
            Some((RestoredLatest { step, report, .. }, (seed, changes))) => {
                let initialized = session.initialize_missing(seed)?;
                let report = Box::new(report);
                (step, seed, Begun::Restored { report, changes, initialized, seed })
            }
            None => {
                let seed = self.seed.unwrap_or_default();
                let variables = session.initialize_missing(seed)?;
                let passed_over = other_files(&self.directory);
                (0, seed, Begun::Initialized { variables, seed, passed_over })
            }
        };
        let options = options.rules(self.restore.rules()).seed(seed);
        let counted = Counted::begin(counts, session)?;
        Run::new(self, (saver, options), begun, (seed, first), (lock, counted))
    }

    /// How a checkpoint is restored, and what is to be said about the rules.
    fn plan(
        &self,
        checkpoint: &Checkpoint,
        session: &Session,
    ) -> Result<(RestorePlan, Option<Change>), TrainingError> {
        if self.restore.rules().is_empty() {
            return Ok((checkpoint.plan(session, &self.restore), None));
        }
        let given: Vec<String> = self.restore.rules().iter().map(ToString::to_string).collect();
        let noted: Vec<&str> =
            checkpoint.metadata().rules().into_iter().flat_map(str::lines).collect();
        let noted_come_first =
            given.len() >= noted.len() && given.iter().zip(&noted).all(|(a, b)| a == b);
        // What was noted has made the values what they are. What follows it has not.
        let rest = if noted_come_first {
            &self.restore.rules()[noted.len()..]
        } else {
            self.restore.rules()
        };
        let as_it_is = checkpoint.plan(session, &self.restore.without_rules());
        if rest.is_empty() {
            return Ok((as_it_is, None));
        }
        let options = rest.iter().cloned().fold(self.restore.without_rules(), RestoreOptions::rule);
        let plan = checkpoint.plan(session, &options);
        match (plan.closes(), as_it_is.closes()) {
            // Rules that were followed may be among the given, and would undo what they did.
            (true, true) if !noted_come_first => Err(TrainingError::OtherRules {
                file: checkpoint.file().to_owned(),
                noted: noted.join(""),
                given: given.join(""),
            }),
            // Which rules leave out a part of what they speak of is to be mended, not passed over.
            (false, true) if !checkpoint.plan(session, &options.allow_slots_alone()).closes() => {
                let note =
                    "no rule was followed, since the checkpoint fits as it is and not under them";
                Ok((as_it_is, Some(Change::Rules(note.to_owned()))))
            }
            _ => Ok((plan, None)),
        }
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
fn check_graph_seeds(
    checkpoint: &Checkpoint,
    before: &GraphDef,
    def: &GraphDef,
) -> Result<(), TrainingError> {
    let before = random_seeds(before);
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

/// Files that someone may have taken for checkpoints, sorted, a few at most. Called where there is
/// no checkpoint, so none of them is one.
fn other_files(directory: &Path) -> Vec<PathBuf> {
    const SHOWN: usize = 3;
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let paths = entries.flatten().map(|entry| entry.path());
    let hidden = |path: &Path| {
        path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
    };
    let mut files: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|ext| ext == "safetensors") && !hidden(path))
        .collect();
    files.sort();
    files.truncate(SHOWN);
    files
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
