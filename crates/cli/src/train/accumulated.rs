//! Updates of several batches: where they end in a run, and how many of them a schedule is for.
//!
//! How many batches make one may change while a run goes on, also in the middle of an update. What is
//! known then, the checkpoint says: its steps, the updates made, the batches that wait for the next one.
//!
//! The updates made, the batches that wait, and what is left of the steps say where updates end. From
//! that follow the length of a cosine, which steps are refused, and how epochs are rounded. All of it
//! is in one number, by how many batches the updates are ahead of the steps: 0 unless the number has
//! changed, constant while it does not, and then noted in the run's checkpoints. So a run that goes on
//! as before has the schedule that it had, also where loss scaling has left out updates, which the
//! optimizer does not count.

use super::Job;
use super::changed::{self, together};
use super::settings::Settings;
use super::source::Source;
use crate::error::Failure;
use serde_json::{Map, Value};
use std::path::Path;
use warmstart::checkpoint::{Checkpoint, list};
use warmstart::gpu::NonFinite;
use warmstart::graph::Accumulation;
use warmstart_graph::words::printable_path;

/// The updates of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Updates {
    /// Batches of one.
    together: u64,
    /// Steps that are done.
    done: u64,
    /// Batches of those that wait for the next update.
    waiting: u64,
    /// By how much the batches of all updates, were each of as many as now, are more than the steps: 0
    /// in a run that had no other number. It stays the same as long as the number does, whatever loss
    /// scaling leaves out.
    ahead: i64,
    /// Whether the newest checkpoint, if there is one, could be read.
    known: bool,
}

/// Under which the checkpoints of a run that had another number keep `ahead`.
const AHEAD: &str = "batches_ahead";

impl Updates {
    /// Those of the run in a directory, which may not have begun yet.
    pub fn of(directory: &Path, settings: &Settings) -> Updates {
        let together = u64::from(settings.training.gradient_accumulation_steps);
        let begins = Updates { together, done: 0, waiting: 0, ahead: 0, known: true };
        let goes_on = together > 1 && list(directory).is_ok_and(|files| !files.is_empty());
        // What is wrong with it is told where it is restored; which is the newest whole one, too.
        let newest = goes_on.then(|| Checkpoint::open_verified(directory).ok()).flatten();
        let known = !goes_on || newest.is_some();
        let after = newest.and_then(|newest| Updates::after(&newest, together));
        after.unwrap_or(Updates { known, ..begins })
    }

    fn after(checkpoint: &Checkpoint, now: u64) -> Option<Updates> {
        let done = checkpoint.step()?;
        let waiting = waiting(checkpoint);
        let ahead = if together(&changed::optimizer_of(checkpoint)?) == now {
            let text = checkpoint.metadata().get(changed::KEY);
            let noted: Option<Value> = text.and_then(|text| serde_json::from_str(text).ok());
            noted.and_then(|noted| noted[AHEAD].as_i64()).unwrap_or(0)
        } else {
            // An update of no more than wait already is made with the next batch.
            let batches = updates(checkpoint)? * now + waiting.min(now - 1);
            batches as i64 - done as i64
        };
        Some(Updates { together: now, done, waiting, ahead, known: true })
    }

    /// How many are made, or left out, by the end of so many steps.
    pub fn by(&self, steps: u64) -> u64 {
        self.batches(steps) / self.together
    }

    /// So many steps, and those that the last update lacks.
    pub fn whole(&self, steps: u64) -> u64 {
        steps.checked_add(self.lacking(steps)).unwrap_or(steps)
    }

    fn batches(&self, steps: u64) -> u64 {
        steps.saturating_add_signed(self.ahead)
    }

    fn lacking(&self, steps: u64) -> u64 {
        (self.together - self.batches(steps) % self.together) % self.together
    }

    /// Whether there is a checkpoint to go on from.
    pub fn goes_on(&self) -> bool {
        self.done > 0
    }

    /// Refuses a number of steps after which batches would be in no weight.
    pub fn check(&self, source: &Source, steps: u64) -> Result<(), Failure> {
        let lacking = self.lacking(steps);
        // Nothing is trained that could be left, or what is wrong is told where it is restored.
        if !self.known || steps < self.done || lacking == 0 {
            return Ok(());
        }
        let together = self.together;
        let left = if steps == self.done { self.waiting } else { together - lacking };
        let more = steps.saturating_add(lacking);
        let such = match steps.checked_sub(together - lacking).filter(|&less| less > self.done) {
            Some(less) => format!("{less} or {more}"),
            None => more.to_string(),
        };
        let (so_far, give) = match self.ahead {
            0 => ("", format!("a multiple of it, such as {such}")),
            _ => (", and was of others before", such),
        };
        let message = format!(
            "an update is made of {together} batches by `gradient_accumulation_steps`{so_far}, and the last {left} of these would be of none; give {give}"
        );
        Err(source.failure(&["training", "steps"], message, "this value"))
    }

    /// Notes what a run needs that goes on from a checkpoint of this one.
    pub fn note(&self, keys: &mut Map<String, Value>) {
        if self.ahead != 0 {
            keys.insert(AHEAD.to_owned(), self.ahead.into());
        }
    }
}

/// How many updates an optimizer has made.
pub fn updates(checkpoint: &Checkpoint) -> Option<u64> {
    number(checkpoint, "step")
}

/// How many batches wait for the next update.
fn waiting(checkpoint: &Checkpoint) -> u64 {
    number(checkpoint, Accumulation::COUNT).unwrap_or(0)
}

/// That batches which wait will be in no weight, where each batch makes an update from now on.
pub fn lost(checkpoint: &Checkpoint) -> Option<String> {
    let batches = match waiting(checkpoint) {
        0 => return None,
        1 => "the batch after the last update is".to_owned(),
        many => format!("the {many} batches after the last update are"),
    };
    let before = together(&changed::optimizer_of(checkpoint)?);
    let whole = checkpoint.step()?.saturating_add(before.saturating_sub(waiting(checkpoint)));
    Some(format!(
        "{batches} in no weight; with `gradient_accumulation_steps = {before}` until step {whole} none would be lost (with `steps` under [schedule] as before, if it is a cosine)"
    ))
}

/// A number that the optimizer of a checkpoint counts.
fn number(checkpoint: &Checkpoint, slot: &str) -> Option<u64> {
    let optimizer = changed::optimizer_of(checkpoint)?;
    checkpoint.number(&format!("{}/{slot}", optimizer["name"].as_str()?))
}

impl Job {
    /// A run that cannot go on without loss scaling from where its checkpoint is: how it can.
    pub fn without_loss_scaling(&self, file: &Path, found: &[NonFinite]) -> Failure {
        let keys = ["optimizer", "loss_scaling"];
        let first = found.first().map(|first| format!(", such as {first}")).unwrap_or_default();
        let message = format!(
            "`{}` was saved in the middle of an update that loss scaling would leave out, since gradients of it are not finite{first}; nothing was trained",
            printable_path(file)
        );
        let failure = self.source.failure(&keys, message, "off");
        let whole = self.updates.whole(self.updates.done + 1);
        let (back, another) = (self.back(&keys, "true"), self.another_run(file));
        failure.help(format!(
            "{back} until step {whole} (`steps = {whole}`, and no `epochs`), where that update is over, or begin another run with these weights, by these lines{another}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use warmstart::checkpoint::{SaveOptions, save};
    use warmstart::gpu::{Gpu, Session};
    use warmstart::graph::{Graph, Initializer, Optimizer, TensorData};

    /// Batch after batch, whatever is changed when: a number of steps is whole where none waits, updates
    /// are as many as were made, and what is known at the beginning of a run holds within it.
    #[test]
    fn updates_end_where_they_are_made() {
        for (first, second) in [(1, 4), (2, 3), (3, 2), (4, 3), (5, 2), (3, 7), (4, 4)] {
            for changed_at in 0..12 {
                let (mut made, mut waiting) = (0, 0);
                let mut updates =
                    Updates { together: second, done: 0, waiting: 0, ahead: 0, known: true };
                for done in 0..40_u64 {
                    if done == changed_at && first != second {
                        let ahead = (made * second + waiting.min(second - 1)) as i64 - done as i64;
                        updates = Updates { together: second, done, waiting, ahead, known: true };
                    }
                    if done >= changed_at && (done > changed_at || waiting < second) {
                        let what = format!("{first} to {second} at {changed_at}, after {done}");
                        assert_eq!(updates.lacking(done) == 0, waiting == 0, "{what}");
                        assert_eq!(updates.by(done), made, "{what}");
                        let whole = updates.whole(done);
                        let lacking = if waiting == 0 { 0 } else { second - waiting };
                        assert_eq!(whole, done + lacking, "{what}");
                    }
                    waiting += 1;
                    if waiting >= if done < changed_at { first } else { second } {
                        (made, waiting) = (made + 1, 0);
                    }
                }
            }
        }
    }

    /// A checkpoint of a run with updates of so many batches each.
    fn saved(together: u32, counts: [(&str, u32); 2], noted: Option<i64>) -> Checkpoint {
        let graph = Graph::new();
        let loss = graph.variable("a", [2], Initializer::Ones).square().sum_all();
        let optimizer = Optimizer::adam(0.1).gradient_accumulation_steps(together);
        let step = optimizer.minimize(loss);
        let mut session = Session::new(&Gpu::new().unwrap());
        session.compile(&graph, &[loss], &[step.update]).unwrap();
        session.initialize_missing(0).unwrap();
        for (name, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
            session.assign(name, &TensorData::from(count)).unwrap();
        }
        let options =
            SaveOptions::new().step(10).optimizer(serde_json::to_string(&optimizer).unwrap());
        let mut keys = Map::new();
        let ahead = noted.unwrap_or(0);
        Updates { together: 1, done: 0, waiting: 0, ahead, known: true }.note(&mut keys);
        let options = options.extra(changed::KEY, serde_json::to_string(&keys).unwrap());
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("step-10.safetensors");
        save(&session, &file, &options).unwrap();
        Checkpoint::open(&file).unwrap()
    }

    #[test]
    fn what_is_done_is_read_from_the_checkpoint() {
        let saved = |together, step, waiting, noted| {
            saved(together, [("adam/step", step), ("adam/accumulated_batches", waiting)], noted)
        };
        let after = |checkpoint: &Checkpoint, now| {
            let Updates { done, waiting, ahead, .. } = Updates::after(checkpoint, now).unwrap();
            assert_eq!(done, 10);
            (waiting, ahead)
        };
        // Two updates of four batches, and two batches.
        let checkpoint = saved(4, 2, 2, None);
        assert_eq!(after(&checkpoint, 4), (2, 0));
        assert_eq!(after(&checkpoint, 3), (2, -2));
        assert_eq!(after(&checkpoint, 2), (2, -5));
        let lost = "the 2 batches after the last update are in no weight; with \
                    `gradient_accumulation_steps = 4` until step 12 none would be lost (with \
                    `steps` under [schedule] as before, if it is a cosine)";
        assert_eq!(super::lost(&checkpoint).as_deref(), Some(lost));
        // Of an update that was left out, a run that goes on as before knows nothing: its schedule ends
        // where it was to end. Where the number is another, those count that were made.
        let checkpoint = saved(4, 1, 2, None);
        assert_eq!(after(&checkpoint, 4), (2, 0));
        assert_eq!(after(&checkpoint, 5), (2, -3));
        // What was noted when the number changed.
        let checkpoint = saved(3, 2, 2, Some(-2));
        assert_eq!(after(&checkpoint, 3), (2, -2));
        assert_eq!(after(&checkpoint, 4), (2, 0));
        // Every step was an update.
        assert_eq!(after(&saved(1, 10, 0, None), 4), (0, 30));
    }
}
