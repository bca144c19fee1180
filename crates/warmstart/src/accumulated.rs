//! Gradients that wait for the rest of an update when a run begins and ends.

use crate::TrainingError;
use warmstart_checkpoint::{Checkpoint, CheckpointError, FileDType, Glob, Outcome, RestorePlan};
use warmstart_gpu::{NonFinite, Session};
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
    let tensor = checkpoint.tensor(tensor).filter(|tensor| tensor.bytes() == 4)?;
    let mut bytes = [0; 4];
    checkpoint.read(tensor, 0, &mut bytes).ok()?;
    Some(u32::from_le_bytes(bytes))
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

/// What is said of batches that are in no weight when a run ends.
pub(crate) fn left_over(session: &Session) -> Option<String> {
    let table = session.variables();
    let is_count = |role: &Role| match role {
        Role::Slot { variable: None, slot, .. } => slot == Accumulation::COUNT,
        _ => false,
    };
    let mut counts = table.iter().filter(|info| is_count(&info.variable.role));
    counts.find_map(|info| {
        let name = info.name();
        // A count without a value is told where it is saved.
        let batches = session.read(name).ok()?.as_u32()?.first().copied()?;
        let last = match batches {
            0 => return None,
            1 => "the last batch is in no weight, since its update".to_owned(),
            batches => format!("the last {batches} batches are in no weight, since their update"),
        };
        Some(format!("{last} is of more (`{name}`); ask for more steps to go on"))
    })
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
            Some("the last batch is in no weight, since its update is of more"),
            Some("the last 2 batches are in no weight, since their update is of more"),
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
