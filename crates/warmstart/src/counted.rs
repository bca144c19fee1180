//! Whether the steps that a run records are steps of training.
//!
//! A run begins only where a plan of the session trains the graph, and holds its first records
//! against the count that the optimizer raises: a loop that runs the wrong plan, or two that train
//! in turn, is told before anything is saved. Later it does so where it saves, and says it after that, since
//! the weights may be all there is of a long training (not where weights are also assigned by hand).

use crate::TrainingError;
use std::sync::Arc;
use warmstart_gpu::{Origin, Session};
use warmstart_graph::{GraphDef, Op, Role, VariableId};

/// The counts that the optimizers of a graph raise, as they were when a run began.
#[derive(Debug)]
pub(crate) struct Counted {
    counts: Vec<Count>,
    /// How many records are still held against them.
    looks: u32,
}

/// A variable that an optimizer counts its steps by.
#[derive(Debug)]
struct Count {
    name: String,
    before: u32,
    /// Where its value came from.
    origin: Origin,
}

/// How many records are held against the counts, besides those at which weights are saved. A loop that
/// records something else than its training does so from its first turn on; after that, the device is not
/// waited for.
const LOOKS: u32 = 2;

/// The variables that the optimizers of a graph count their steps by, as far as the session has them;
/// none where weights are also assigned by hand.
///
/// # Errors
/// [`TrainingError::NothingCompiled`] or [`TrainingError::NothingTrains`] if the session has no plan
/// that trains the graph.
pub(crate) fn counts(def: &GraphDef, session: &Session) -> Result<Vec<String>, TrainingError> {
    let table = session.variables();
    if table.is_empty() {
        return Err(TrainingError::NothingCompiled);
    }
    let name = |id: VariableId| def.variables[id.0].name.as_str();
    let known = |id: VariableId| table.iter().any(|info| info.name() == name(id));
    let optimizers = def.nodes.iter().filter_map(|node| match &node.op {
        Op::OptimizerUpdate(update) => Some((update, &node.location)),
        _ => None,
    });
    let optimizers: Vec<_> = optimizers.collect();
    // Who computes new weights by hand need not run what an optimizer counts.
    let by_hand = def.nodes.iter().any(|node| match node.op {
        Op::Assign(id) => def.variables[id.0].role == Role::Trainable && known(id),
        _ => false,
    });
    if by_hand {
        return Ok(Vec::new());
    }
    let trains = optimizers.iter().any(|(update, _)| known(update.step));
    if let (false, Some((_, location))) = (trains, optimizers.first()) {
        return Err(TrainingError::NothingTrains { location: (*location).clone() });
    }
    let compiled = optimizers.iter().filter(|(update, _)| known(update.step));
    let mut counts: Vec<String> =
        compiled.map(|(update, _)| name(update.global_step).to_owned()).collect();
    counts.sort();
    counts.dedup();
    Ok(counts)
}

impl Counted {
    /// These counts, once they have values.
    pub fn begin(names: Vec<String>, session: &Session) -> Result<Counted, TrainingError> {
        let counts = names.into_iter().map(|name| {
            let before = value(&name, session)?;
            let origin = origin(&name, session).cloned().unwrap_or(Origin::Assigned);
            Ok(Count { name, before, origin })
        });
        Ok(Counted { counts: counts.collect::<Result<_, TrainingError>>()?, looks: LOOKS })
    }

    /// After a record: holds the first few against the counts. One that is raised once for each step
    /// that is recorded is enough: others may be of plans that run more often, or not in this run.
    ///
    /// # Errors
    /// [`TrainingError::OtherCount`] if none rose by as many steps as were recorded.
    pub fn check(&mut self, recorded: u64, session: &Session) -> Result<(), TrainingError> {
        match self.looks.checked_sub(1) {
            None => Ok(()),
            Some(left) => {
                self.looks = left;
                self.compare(recorded, session)
            }
        }
    }

    /// Holds what was recorded against the counts, whatever was looked at so far. Where the program restored
    /// one meanwhile, as from an earlier checkpoint, it says nothing any more. What a graph's own update made of
    /// one cannot be told from what training did.
    ///
    /// # Errors
    /// As [`Counted::check`].
    pub fn compare(&self, recorded: u64, session: &Session) -> Result<(), TrainingError> {
        let mut most: Option<(u32, &str)> = None;
        for Count { name, before, origin: since } in &self.counts {
            // It is a `u32`, which begins again after its last.
            let rose = value(name, session)?.wrapping_sub(*before);
            let was_set = || origin(name, session).is_none_or(|now| !is_same_value(now, since));
            // One that has fallen was set by the program, too.
            if rose == recorded as u32 || rose > u32::MAX / 2 || was_set() {
                return Ok(());
            }
            most = most.max(Some((rose, name)));
        }
        most.map_or(Ok(()), |(rose, name)| {
            let (name, counted) = (name.to_owned(), rose.into());
            Err(TrainingError::OtherCount { name, recorded, counted })
        })
    }
}

/// Where the value of a count came from, before runs raised it.
fn origin<'s>(name: &str, session: &'s Session) -> Option<&'s Origin> {
    let table = session.variables();
    let info = table.iter().find(|info| info.name() == name)?;
    Some(info.origin.before_runs())
}

/// Whether values of these origins are one that was set once, as far as can be told: what one restore gives
/// shares its file's path, and what is assigned or initialized alike twice looks like once.
fn is_same_value(one: &Origin, other: &Origin) -> bool {
    match (one, other) {
        (Origin::Restored { file: a, .. }, Origin::Restored { file: b, .. }) => Arc::ptr_eq(a, b),
        _ => one == other,
    }
}

fn value(name: &str, session: &Session) -> Result<u32, TrainingError> {
    // Its graph declares it as one `u32`, and the session has it so.
    Ok(session.read(name)?.as_u32().and_then(|steps| steps.first().copied()).unwrap_or_default())
}

/// What is wrong with a loop whose training is counted otherwise than it is recorded.
pub(crate) fn advice(recorded: u64, counted: u64) -> &'static str {
    if counted == 0 {
        "The plan that was run does not train: compile it with `&[step.update]`, and run that one"
    } else if counted < recorded {
        "Record each run of the plan that trains once, and no run of another plan"
    } else {
        "Record each run of the plan that trains; where one step is runs of several plans that train, \
         give the optimizers of all but one a count of their own, with `Optimizer::global_step`"
    }
}
