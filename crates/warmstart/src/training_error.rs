//! Why training stopped.

use crate::counted::advice;
use crate::metrics::MetricsError;
use crate::{Interrupt, NonFiniteLoss};
use std::path::PathBuf;
use thiserror::Error;
use warmstart_checkpoint::{Allowance, CheckpointError, InCode, RestoreReport, Rule, Wording};
use warmstart_gpu::{NonFinite, RunError, SessionError};
use warmstart_graph::words::{self, printable, printable_path};
use warmstart_graph::{GraphErrors, Location};

warmstart_graph::debug_as_display!(TrainingError, NonFiniteVariables);

/// As programs write it whose variables a run initializes.
pub(crate) struct InTraining;

impl Wording for InTraining {
    fn rule(&self, rule: &Rule) -> Option<String> {
        InCode.rule(rule)
    }

    fn allow(&self, what: &[Allowance]) -> Option<String> {
        InCode.allow(what)
    }

    fn fill(&self) -> Option<String> {
        Some("`Training`".to_owned())
    }

    fn asks_to_fill(&self) -> bool {
        false
    }
}

/// Why training stopped.
#[derive(Error)]
#[non_exhaustive]
pub enum TrainingError {
    /// A checkpoint could not be found, restored or saved.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The newest checkpoint does not fit the session's variables; the report says where.
    #[error(
        "{}\nhelp: what mends it goes to `Training::restore_options(RestoreOptions::new()...)`; to train this model from its initial values, begin in another directory", .0.worded(&InTraining)
    )]
    Mismatch(Box<RestoreReport>),
    /// Variables could not be initialized, or looked at before they are saved.
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
    /// Weights or slots are no longer numbers, so that no checkpoint was made of them.
    #[error(transparent)]
    NonFiniteVariables(#[from] NonFiniteVariables),
    /// The graph or the optimizer could not be written as JSON.
    #[error("the graph could not be stored in the checkpoint: {0}. Nothing was saved")]
    Json(#[from] serde_json::Error),
    /// The session has no variables.
    #[error(
        "the session has no variables: compile the plan that trains before the run begins, with `Session::compile`. Nothing was restored or initialized"
    )]
    NothingCompiled,
    /// The session has no plan with the graph's training in it.
    #[error(
        "{location}: no plan of the session has the update that is built here, so that nothing would be trained. Give `&[step.update]` to `Session::compile` before the run begins. Nothing was restored or initialized"
    )]
    NothingTrains {
        /// Where the training was built.
        location: Location,
    },
    /// The training was built by another optimizer than the one that the run was given.
    #[error(
        "{location}: the update that is built here is not by the optimizer that `Training::begin` was given: it has another name, rule, accumulation or loss scaling, or other settings of its rule, and checkpoints would name settings that the training does not have. Give the optimizer whose `minimize` was called. Nothing was restored or initialized"
    )]
    OtherOptimizer {
        /// Where the training was built.
        location: Location,
    },
    /// The best of a metric is to be kept, or its curve to be drawn, that is not declared.
    #[error(
        "`{asked_by}` asks for the metric `{metric}`, which this run does not have: it has {declared}. `Training::metrics` declares others, and `Run::metric` records them. Nothing was restored or initialized", metric = printable(.metric), declared = printable(.declared)
    )]
    NoSuchMetric {
        /// What asks for it.
        asked_by: &'static str,
        /// Its name.
        metric: String,
        /// The metrics that the run has, each in quotes.
        declared: String,
    },
    /// What was recorded is not what was trained. What was saved since is named by what was recorded.
    #[error(
        "the run has recorded {}, and `{name}` rose by {counted}. Schedules follow that count, and checkpoints are named by the run's. {}",
        words::counted(*recorded as usize, "step"), advice(*recorded, *counted), name = printable(.name)
    )]
    OtherCount {
        /// The variable that counts.
        name: String,
        /// Steps that were recorded since the run began.
        recorded: u64,
        /// Steps that it was raised by.
        counted: u64,
    },
    /// The loop asked for a step again and again, and did not do it.
    #[error(
        "the step after {step} was asked for a thousand times and not recorded, so the loop was ended; what was trained is saved as {}. Call `run.record(&session, &outputs, loss)` after each step, and `Run::next_step` only to do one", printable_path(.file)
    )]
    NothingRecorded {
        /// The steps that are done.
        step: u64,
        /// The checkpoint, which is of the last step done.
        file: PathBuf,
    },
    /// Another run is under way in the directory.
    #[error(
        "another run trains in this directory and holds {}. Nothing was changed: wait until it has ended, stop it, or train in another directory", printable_path(.0)
    )]
    AlreadyRunning(PathBuf),
    /// The run was asked to stop, and has saved what there was.
    #[error(
        "stopped by {by} after {step} of {steps} steps, and saved as {}. Begin the run again to go on from there", printable_path(.file)
    )]
    Interrupted {
        /// What asked for it.
        by: Interrupt,
        /// Steps done.
        step: u64,
        /// Steps that were to be done.
        steps: u64,
        /// The checkpoint, which is of the last step done.
        file: PathBuf,
    },
    /// The newest checkpoint does not say at which step it was saved.
    #[error(
        "checkpoint {} does not say its step, so there is no telling where to go on; restore it with `Checkpoint::open` and train in a new directory", printable_path(.0)
    )]
    NoStep(PathBuf),
    /// The newest checkpoint has the name of another step than it says.
    #[error(
        "checkpoint {} is named as that of another step: it was saved at step {found}. Nothing was restored: give it back its name, `step-{found}.safetensors`, or move it away", printable_path(.file)
    )]
    OtherStep {
        /// The file.
        file: PathBuf,
        /// The step at which it was saved.
        found: u64,
    },
    /// The newest checkpoint is one of a run with another seed.
    #[error(
        "checkpoint {} is of a run with seed {found}, but seed {given} was given. Nothing was restored: a run that goes on with another seed sees its examples in another order, and ends where no run from either seed would. Give `.seed({found})`, or leave the seed out, to go on with that run; train in another directory to begin one with seed {given}", printable_path(.file)
    )]
    OtherSeed {
        /// The checkpoint.
        file: PathBuf,
        /// The seed it was saved with.
        found: u64,
        /// The seed given to `Training::seed`.
        given: u64,
    },
    /// The graph draws the random numbers of a dropout from another seed than the graph in the
    /// newest checkpoint does.
    #[error(
        "checkpoint {} is of a run whose random numbers `{stream}` have seed {found}, but in this graph they have seed {given}. Nothing was restored: a run that goes on with another seed drops other elements, and ends where no run from either seed would. Call `set_seed({found})` on the graph before this is built to go on with that run; train in another directory to begin one with seed {given}", printable_path(.file), stream = printable(.stream)
    )]
    OtherGraphSeed {
        /// The checkpoint.
        file: PathBuf,
        /// What the random numbers are for, such as `dropout/hidden`.
        stream: String,
        /// Their seed in the checkpoint's graph.
        found: u64,
        /// Their seed in the graph that is to be trained.
        given: u64,
    },
    /// The newest checkpoint holds accumulated gradients that are not finite. It was saved under loss
    /// scaling, which would leave out their update, and this run has none.
    #[error(
        "checkpoint {} was saved under loss scaling in the middle of an update that it would leave out: {}. Nothing was restored: without loss scaling all weights would be NaN from that update on. Go on with `Optimizer::loss_scaling` until that update is over, or begin it anew, without these batches, by `{rule}` added to the `RestoreOptions` of `Training::restore_options`", printable_path(.file), listed(.variables), rule = printable(.rule)
    )]
    NonFiniteAccumulators {
        /// The checkpoint.
        file: PathBuf,
        /// Of how many batches the gradients are.
        batches: u32,
        /// The accumulators, in the order in which the graph's optimizer has them.
        variables: Vec<NonFinite>,
        /// A rule that leaves them out, as code.
        rule: String,
    },
    /// The newest checkpoint notes rules that are not the first of those given, and fits with those
    /// and without.
    #[error(
        "checkpoint {} was saved by a run with the rules `{noted}`, and fits both as it is and under the rules `{given}`, so there is no telling whether these were followed already. Nothing was restored: give `{noted}`, with others after them if need be, or no rules, to go on with that run; if it is another model's, write it anew with `warmstart convert`, which leaves the note out", printable_path(.file), noted = printable(.noted), given = printable(.given)
    )]
    OtherRules {
        /// The checkpoint.
        file: PathBuf,
        /// The rules it notes, as code.
        noted: String,
        /// The rules given to `Training::restore_options`, as code.
        given: String,
    },
}

impl From<SessionError> for TrainingError {
    fn from(error: SessionError) -> TrainingError {
        TrainingError::Session(Box::new(error))
    }
}

/// Trainable variables or slots hold NaN or infinities, so that no checkpoint was made of them.
#[derive(Clone, PartialEq, Eq, Error)]
#[error(
    "after {step} steps {}. No checkpoint was made of them, and older ones, if there are any, are as they were; go on from the newest, or begin anew, with a lower learning rate or gradients clipped by their global norm, or look for a log or a division by zero",
    listed(.variables)
)]
pub struct NonFiniteVariables {
    /// Steps done.
    pub step: u64,
    /// The variables, in the order of their declaration; at least one.
    pub variables: Vec<NonFinite>,
}

impl NonFiniteVariables {
    /// Which variables hold what, without what to do about it.
    ///
    /// ```
    /// use warmstart::NonFiniteVariables;
    /// use warmstart::gpu::NonFinite;
    /// let found = NonFinite { name: "fc/weight".to_owned(), count: 3, elements: 8 };
    /// let found = NonFiniteVariables { step: 20, variables: vec![found] };
    /// assert_eq!(found.listed(), "1 variable holds NaN or infinity: `fc/weight` (3 of 8 elements)");
    /// ```
    pub fn listed(&self) -> String {
        listed(&self.variables)
    }
}

/// Variables listed before the message says how many more there are.
const LISTED: usize = 3;

fn listed(variables: &[NonFinite]) -> String {
    let verb = if variables.len() == 1 { "variable holds" } else { "variables hold" };
    let (count, first) = (variables.len(), words::first_few(variables.iter(), LISTED));
    format!("{count} {verb} NaN or infinity: {first}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Begun;
    use crate::changes::Change;
    use crate::metrics::MetricsError;

    /// Each text that has a path, or a name that a file may have given.
    fn all(name: &str) -> Vec<String> {
        let text = || name.to_owned();
        let file = || PathBuf::from("runs").join(name);
        let found = NonFinite { name: text(), count: 1, elements: 2 };
        let errors = [
            TrainingError::NothingTrains { location: Location { file: text().into(), line: 1 } },
            TrainingError::OtherCount { name: text(), recorded: 2, counted: 1 },
            TrainingError::NothingRecorded { step: 1, file: file() },
            TrainingError::AlreadyRunning(file()),
            TrainingError::Interrupted { by: Interrupt::CtrlC, step: 1, steps: 2, file: file() },
            TrainingError::NoStep(file()),
            TrainingError::OtherStep { file: file(), found: 1 },
            TrainingError::OtherSeed { file: file(), found: 1, given: 2 },
            TrainingError::OtherGraphSeed { file: file(), stream: text(), found: 1, given: 2 },
            TrainingError::NonFiniteAccumulators {
                file: file(),
                batches: 1,
                variables: vec![found.clone()],
                rule: text(),
            },
            TrainingError::OtherRules { file: file(), noted: text(), given: text() },
            NonFiniteVariables { step: 1, variables: vec![found] }.into(),
            MetricsError::Malformed { file: file(), line: 1, what: text() }.into(),
        ];
        let variables = Vec::new();
        let begun = Begun::Initialized { variables, seed: 1, passed_over: vec![file()] };
        let changed = Change::Optimizer(text());
        let told = [begun.to_string(), changed.to_string()];
        errors.iter().map(ToString::to_string).chain(told).collect()
    }

    #[test]
    fn no_name_moves_the_cursor() {
        for (text, plain) in all("w\n\u{1b}[2K\u{202e}").iter().zip(all("w")) {
            assert_eq!(text.lines().count(), plain.lines().count(), "{text:?}");
            let moves = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
            assert!(!text.contains(moves), "{text:?}");
            assert!(text.contains(r"w\n\u{1b}[2K\u{202e}"), "it names nothing: {text:?}");
        }
    }
}
