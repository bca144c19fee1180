//! Gradients that wait for the rest of an update when a run begins and ends.

use crate::{Run, TrainingError};
use warmstart_checkpoint::{Checkpoint, CheckpointError, FileDType, Glob, Outcome, RestorePlan};
use warmstart_gpu::{NonFinite, Session, SessionError};
use warmstart_graph::{Accumulation, GraphDef, Op, Role, VariableId};

/// Refuses accumulated gradients that are not finite where no loss scaling leaves out their update. Only
/// with loss scaling are such saved, so without it in the checkpoint none is read.
///
/// # Errors
/// [`TrainingError::NonFiniteAccumulators`]. What cannot be read is told by the restore.
pub(crate) fn check_finite(
    checkpoint: &Checkpoint,
    plan: &RestorePlan,
    def: &GraphDef,
) -> Result<(), TrainingError> {
    let updates = def.nodes.iter().filter_map(|node| match &node.op {
        Op::OptimizerUpdate(update) if update.loss_scale.is_none() => Some(update),
        _ => None,
    });
    let updates = updates.filter_map(|update| Some((update, update.accumulation.as_ref()?)));
    let updates: Vec<_> = updates.collect();
    let scaled = || checkpoint.variables().unwrap_or_default();
    if updates.is_empty() || !scaled().iter().any(|variable| scales_loss(&variable.role).is_some())
    {
        return Ok(());
    }
    let source = |id: VariableId| {
        let name = &def.variable(id).name;
        let found = plan.variables().iter().find(|found| found.variable.name == *name)?;
        match &found.outcome {
            Outcome::Restored { tensor, .. } => Some((name, tensor.as_str())),
            _ => None,
        }
    };
    for (update, accumulation) in updates {
        let count = source(accumulation.accumulated);
        let batches = count.and_then(|(_, tensor)| number(checkpoint, tensor));
        if batches == Some(0) {
            continue;
        }
        let slots = update.parameters.iter().filter_map(|parameter| parameter.slots.last());
        let mut variables = Vec::new();
        for (name, tensor) in slots.filter_map(|&slot| source(slot)) {
            match non_finite(checkpoint, tensor) {
                Ok(None | Some((0, _))) => {}
                Ok(Some((count, elements))) => {
                    variables.push(NonFinite { name: name.clone(), count, elements });
                }
                Err(_) => return Ok(()),
            }
        }
        if !variables.is_empty() {
            let file = checkpoint.file().to_owned();
            let batches = batches.unwrap_or_default();
            let rule = rule(def, accumulation);
            return Err(TrainingError::NonFiniteAccumulators { file, batches, variables, rule });
        }
    }
    Ok(())
}

/// The rule that leaves out what an optimizer has accumulated, as code.
fn rule(def: &GraphDef, accumulation: &Accumulation) -> String {
    let count = def.variable(accumulation.accumulated);
    let optimizer = match &count.role {
        Role::Slot { optimizer, .. } => Glob::escape(optimizer),
        _ => "*".to_owned(),
    };
    let (count, slot) = (Glob::escape(&count.name), Accumulation::SLOT);
    format!(".ignore({:?})", format!("{{{count},**/{optimizer}/{slot}}}"))
}

/// A `u32` of the checkpoint.
fn number(checkpoint: &Checkpoint, tensor: &str) -> Option<u32> {
    u32::try_from(checkpoint.number(tensor)?).ok()
}

/// How many elements of a tensor are NaN or infinite, of how many; nothing of another dtype than `f32`.
fn non_finite(
    checkpoint: &Checkpoint,
    tensor: &str,
) -> Result<Option<(usize, usize)>, CheckpointError> {
    let Some(mut reader) = checkpoint.reader(tensor) else { return Ok(None) };
    if reader.tensor().dtype != FileDType::F32 {
        return Ok(None);
    }
    let (mut bytes, mut found, mut elements) = (vec![0; 64 << 10], 0, 0);
    loop {
        let read = reader.read(&mut bytes)?;
        if read == 0 {
            return Ok(Some((found, elements)));
        }
        let (values, _) = bytes[..read].as_chunks();
        found += values.iter().filter(|value| !f32::from_le_bytes(**value).is_finite()).count();
        elements += values.len();
    }
}

/// The optimizer that keeps a scale of the loss there.
pub(crate) fn scales_loss(role: &Role) -> Option<&str> {
    match role {
        Role::Slot { variable: None, optimizer, slot } if slot == "loss_scale" => Some(optimizer),
        _ => None,
    }
}

/// Whether a variable is the count of batches that an optimizer has accumulated.
fn is_count(role: &Role) -> bool {
    matches!(role, Role::Slot { variable: None, slot, .. } if slot == Accumulation::COUNT)
}

/// What is said of batches that a checkpoint has accumulated and that a run does not restore.
pub(crate) fn lost(checkpoint: &Checkpoint, plan: &RestorePlan) -> Option<String> {
    let is_restored = |name: &str| {
        plan.variables().iter().any(
            |found| matches!(&found.outcome, Outcome::Restored { tensor, .. } if tensor == name),
        )
    };
    let variables = checkpoint.variables().unwrap_or_default();
    let counts = variables.iter().filter(|v| is_count(&v.role) && !is_restored(&v.name));
    let mut waiting = counts.filter_map(|v| Some((&v.name, number(checkpoint, &v.name)?)));
    let (name, batches) = waiting.find(|(_, batches)| *batches > 0)?;
    let last = match batches {
        1 => "the batch since the last update is".to_owned(),
        batches => format!("the {batches} batches since the last update are"),
    };
    Some(format!(
        "{last} in no weight, since `{name}` and the gradients of it are not restored; with the optimizer's `gradient_accumulation_steps` as before, and no rule that leaves them out, none are lost"
    ))
}

/// The batches that an optimizer has accumulated since its last update, with the variable that counts them,
/// if there are any.
fn waiting(session: &Session) -> Result<Option<(String, u32)>, SessionError> {
    let table = session.variables();
    let counts =
        table.iter().filter(|info| is_count(&info.variable.role) && info.origin.has_value());
    for info in counts {
        let batches = session.read(info.name())?.as_u32().and_then(|count| count.first().copied());
        if let Some(batches) = batches.filter(|&batches| batches > 0) {
            return Ok(Some((info.name().to_owned(), batches)));
        }
    }
    Ok(None)
}

/// What is said of batches that are in no weight when a run ends.
pub(crate) fn left_over(session: &Session) -> Option<String> {
    // What cannot be read is told where it is saved.
    let (name, batches) = waiting(session).ok()??;
    let last = match batches {
        1 => "the last batch has changed no weight: its update waits".to_owned(),
        batches => format!("the last {batches} batches have changed no weight: their update waits"),
    };
    Some(format!("{last} for more batches (`{name}`); ask for more steps to go on"))
}

impl Run {
    /// How many batches are [accumulated](warmstart_graph::Optimizer::gradient_accumulation_steps) and in
    /// no weight yet: those since the last update, of the first optimizer that has any. After the last
    /// step, [`Run::finish`] says so by itself, but not where the run is [quiet](crate::Training::quiet).
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let directory = directory.path();
    /// use warmstart::prelude::*;
    ///
    /// let graph = Graph::new();
    /// let x = graph.placeholder("x", [2, 1], DType::F32);
    /// let loss = graph.scope("line").linear(x, 1).square().mean_all();
    /// let optimizer = Optimizer::sgd(0.1).gradient_accumulation_steps(4);
    /// let step = optimizer.minimize(loss);
    /// let mut session = Session::new(&Gpu::new()?);
    /// let train = session.compile(&graph, &[loss], &[step.update])?;
    ///
    /// let training = Training::new(directory).steps(6).quiet();
    /// let mut run = training.begin(&mut session, &graph, &optimizer)?;
    /// while run.next_step().is_some() {
    ///     let outputs = session.run(&train, &[("x", (&[1.0f32, 2.0]).into())])?;
    ///     run.record(&session, &outputs, loss)?;
    /// }
    /// assert_eq!(run.accumulated_batches(&session)?, 2);
    /// run.finish(&session)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`TrainingError::Session`] if the count cannot be read.
    pub fn accumulated_batches(&self, session: &Session) -> Result<u32, TrainingError> {
        Ok(waiting(session)?.map_or(0, |(_, batches)| batches))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use warmstart_gpu::{Gpu, Session};
    use warmstart_graph::{Graph, Initializer, Optimizer};

    #[test]
    fn batches_that_are_in_no_weight_are_told() {
        let graph = Graph::new();
        let loss = graph.variable("a", [2], Initializer::Ones).square().sum_all();
        let step = Optimizer::sgd(0.1).gradient_accumulation_steps(3).minimize(loss);
        let mut session = Session::new(&Gpu::new().unwrap());
        let plan = session.compile(&graph, &[loss], &[step.update]).unwrap();
        assert_eq!(left_over(&session), None);
        session.initialize_missing(0).unwrap();
        let expected = [
            None,
            Some("the last batch has changed no weight: its update waits for more batches"),
            Some("the last 2 batches have changed no weight: their update waits for more batches"),
            None,
        ];
        for expected in expected {
            let told = left_over(&session);
            let rest = " (`sgd/accumulated_batches`); ask for more steps to go on";
            assert_eq!(told, expected.map(|text| format!("{text}{rest}")));
            session.run(&plan, &[]).unwrap();
        }
    }
}
