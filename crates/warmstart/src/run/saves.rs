//! How a run saves and ends. Weights that are not finite are never saved, and what is due is saved before
//! metrics that could not be written are told.

use super::Run;
#[cfg(doc)]
use crate::Training;
use crate::accumulated::{left_over, scales_loss};
use crate::losses;
use crate::metrics::{MetricsError, MetricsWriter};
use crate::{NonFiniteVariables, OnNonFinite, TrainingError};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use warmstart_checkpoint::CheckpointError;
use warmstart_gpu::Session;
use warmstart_graph::{Accumulation, Role};

impl Run {
    /// Saves if a save is due, and then tells of metrics that could not be written.
    pub(super) fn save_if(&mut self, due: bool, session: &Session) -> Result<(), TrainingError> {
        if due {
            self.save_as_planned(session)?;
        }
        self.unwritten.take().map_or(Ok(()), |error| Err(error.into()))
    }

    /// Saves, except what must not be saved and is no reason to stop.
    fn save_as_planned(&mut self, session: &Session) -> Result<(), TrainingError> {
        let saved = self.save(session).map(|_| ());
        // No weight is lost for it.
        let saved = saved.and_then(|()| self.compare_counts(session));
        match (saved, self.training.on_non_finite) {
            (saved, OnNonFinite::Stop) => saved,
            (Err(TrainingError::NonFiniteVariables(found)), what) => {
                if what == OnNonFinite::WarnOnce && !self.warned {
                    self.progress.say(found);
                }
                self.warned = true;
                Ok(())
            }
            (saved, _) => saved,
        }
    }

    /// Saves now, whatever the plan of saves. Before that, the device looks at every trainable
    /// variable and every slot: weights that are NaN or infinite are never saved, whatever
    /// [`Training::on_non_finite`] says, and so never push out an older checkpoint either. Other
    /// variables are not looked at, since a mask of −∞ is a value like any other; nor are gradients
    /// that are [accumulated](warmstart_graph::Optimizer::gradient_accumulation_steps) under loss
    /// scaling, which leaves out the update that they would spoil.
    ///
    /// [Behind the training](Training::save_in_background), the file is whole when the next save or
    /// [`Run::finish`] returns.
    ///
    /// # Errors
    /// [`TrainingError::NonFiniteVariables`] or [`TrainingError::Checkpoint`]; what was saved
    /// before is untouched then.
    pub fn save(&mut self, session: &Session) -> Result<&Path, TrainingError> {
        let (file, flushed) = self.save_weights(session)?;
        flushed?;
        Ok(file)
    }

    /// Saves. How the metrics fared, which are written first, is apart: no metrics are worth a
    /// checkpoint.
    fn save_weights(
        &mut self,
        session: &Session,
    ) -> Result<(&Path, Result<(), MetricsError>), TrainingError> {
        self.catch_up()?;
        self.refuse_non_finite(session)?;
        // First, since a run that goes on from this checkpoint does not write its rows again.
        let synced = self.metrics.as_mut().map_or(Ok(()), MetricsWriter::sync);
        let options = self
            .noted
            .iter()
            .fold(self.options.clone(), |options, (name, value)| options.metric(name, *value));
        // Behind the training, a failure is that of the save before, whose file may not be there.
        self.newest = None;
        let file = self.saving.save(session, self.done, &options)?;
        let flushed = self.unwritten.take().map_or(synced, Err);
        Ok((&self.newest.insert((self.done, file)).1, flushed))
    }

    /// A look at the values themselves, which costs the device one pass over memory that the save
    /// is about to copy anyway. A finite loss or gradient would not do: an update can overflow.
    fn refuse_non_finite(&self, session: &Session) -> Result<(), TrainingError> {
        let table = session.variables();
        let roles = table.iter().map(|info| &info.variable.role);
        let scaled: BTreeSet<&str> = roles.filter_map(scales_loss).collect();
        let names: Vec<&str> = table
            .iter()
            // Those without a value are the saver's to refuse, all by name.
            .filter(|info| is_looked_at(&info.variable.role, &scaled) && info.origin.has_value())
            .map(|info| info.name())
            .collect();
        let variables = session.non_finite(&names)?;
        if variables.is_empty() {
            return Ok(());
        }
        Err(NonFiniteVariables { step: self.done, variables }.into())
    }

    /// Ends the run: saves, unless the newest checkpoint is of this step, and draws the losses of
    /// all runs as `loss.svg`, and the [curves](Training::curve) beside them. Returns the newest
    /// checkpoint, which is of the last step done.
    ///
    /// Metrics that cannot be written, read or drawn are said, but are no error: the training is
    /// done, and its weights are saved. So is it said where the last batches are
    /// [accumulated](warmstart_graph::Optimizer::gradient_accumulation_steps) and in no weight yet:
    /// [`Run::accumulated_batches`] tells it a program.
    ///
    /// # Errors
    /// [`TrainingError::OtherCount`] if another number of steps was trained than recorded. Where none was
    /// recorded, or the loop asked for one step [again and again](Run::next_step), nothing is saved then.
    /// As [`Run::save`], after the losses were drawn; [`TrainingError::NothingRecorded`] if
    /// the loop asked again and again, and no more was trained than recorded; and
    /// [`TrainingError::Interrupted`] after all
    /// this, if the run [was asked to stop](Training::stop_on_interrupt) before its last step.
    pub fn finish(mut self, session: &Session) -> Result<PathBuf, TrainingError> {
        // What was never recorded may have been trained.
        if self.done == self.first || self.records_nothing() {
            self.compare_counts(session)?;
        }
        let records_nothing = self.records_nothing();
        // What failed behind the training is tried once more.
        if let Err(error) = self.saving.wait() {
            // But for older checkpoints that cannot be removed: the newest is whole then.
            if !matches!(error, CheckpointError::Storage { .. }) {
                self.newest = None;
            }
            self.progress.say(error);
        }
        // A signal may have come since the last record.
        self.say_stops();
        let newest = self.newest.take_if(|(step, _)| *step == self.done);
        let (saved, flushed) = match newest {
            Some((_, file)) => (Ok(file), Ok(())),
            None => match self.save_weights(session) {
                Ok((file, flushed)) => (Ok(file.to_owned()), flushed),
                Err(error) => (Err(error), Ok(())),
            },
        };
        // What was written since the last save is drawn too.
        let flushed =
            flushed.and_then(|()| self.metrics.as_mut().map_or(Ok(()), MetricsWriter::flush));
        if let Err(error) = flushed.and_then(|()| losses::draw(&self.training)) {
            self.progress.say(format_args!("the losses were not drawn: {error}"));
        }
        let interrupted = self.interrupted();
        if interrupted.is_none() {
            left_over(session).into_iter().for_each(|left| self.progress.say(left));
        }
        let counted = self.compare_counts(session);
        self.progress.finish();
        let file = saved?;
        self.saving.wait()?;
        counted?;
        match interrupted {
            None if records_nothing => {
                Err(TrainingError::NothingRecorded { step: self.done, file })
            }
            None => Ok(file),
            Some(by) => {
                let (step, steps) = (self.done, self.training.steps);
                Err(TrainingError::Interrupted { by, step, steps, file })
            }
        }
    }
}

/// Whether what is not finite there must not be saved. `scaled` are the optimizers with loss scaling.
fn is_looked_at(role: &Role, scaled: &BTreeSet<&str>) -> bool {
    match role {
        Role::State => false,
        Role::Slot { variable: Some(_), optimizer, slot } => {
            slot != Accumulation::SLOT || !scaled.contains(optimizer.as_str())
        }
        _ => true,
    }
}
