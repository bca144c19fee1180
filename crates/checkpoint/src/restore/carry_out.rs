//! Carrying out a plan: bytes go from the file straight into device memory.

use crate::error::CheckpointError;
use crate::read::summed::Summed;
use crate::restore::matching::{Change, Outcome};
use crate::restore::plan::RestorePlan;
use crate::restore::report::{RestoreReport, VariableOutcome};
use crate::tensor::TensorEntry;
use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use warmstart_gpu::{
    ByteSource, Conversion, Fill, LeadingRows, Missing, Origin, Session, SessionError,
};
use warmstart_graph::Variable;

impl RestorePlan {
    /// Moves the weights into the session's variables: all that the plan says, or none. Afterwards
    /// each variable's origin says file, name and step.
    ///
    /// # Errors
    /// [`CheckpointError::NoVariables`] if the session had none and that was not allowed,
    /// [`CheckpointError::Mismatch`] if the
    /// plan does not close, [`CheckpointError::OutdatedPlan`]
    /// if the session's variables have changed since, [`CheckpointError::CutShort`] or
    /// [`CheckpointError::Read`] if the file cannot be read, [`CheckpointError::Changed`] if it was
    /// written to since it was opened and has no checksums or they are skipped, [`CheckpointError::Inflate`] if what
    /// is compressed in it is damaged, [`CheckpointError::Checksum`] if a tensor is not as
    /// it was saved, [`CheckpointError::Session`] if the device fails, or with
    /// [`SessionError::OutOfRange`] if a number is cast to a dtype that cannot hold it. Every variable
    /// and its origin is then as before.
    pub fn restore(&self, session: &mut Session) -> Result<RestoreReport, CheckpointError> {
        self.restore_with(session, &|_, _| {})
    }

    /// As [`RestorePlan::restore`]; `progress` is told how many bytes have been moved, of how many.
    /// It may be called from several threads.
    ///
    /// # Errors
    /// As [`RestorePlan::restore`].
    pub fn restore_with(
        &self,
        session: &mut Session,
        progress: &(dyn Fn(u64, u64) + Sync),
    ) -> Result<RestoreReport, CheckpointError> {
        // What could be allowed is no help to who has forgotten to compile.
        let strict = !self.report.allow_unexpected;
        if strict && self.report.variables.is_empty() && !self.file.tensors.is_empty() {
            return Err(CheckpointError::NoVariables { file: self.report.file.clone() });
        }
        if !self.report.closes() {
            return Err(CheckpointError::Mismatch(Box::new(self.report.clone())));
        }
        self.check_current(session)?;
        self.file.forget_sums();
        let (failure, looked) = (Mutex::new(None), AtomicBool::new(false));
        let outcomes = self.report.variables.iter();
        let mut planned: Vec<(&VariableOutcome, TensorSource<'_>)> =
            Vec::with_capacity(outcomes.len());
        for (of, source) in outcomes.zip(&self.sources) {
            let tensor = source.and_then(|source| self.file.tensors.get(source));
            if let (Outcome::Restored { .. }, Some(tensor)) = (&of.outcome, tensor) {
                planned.push((of, self.source(tensor, &failure, &looked)));
            }
        }
        let file: Arc<Path> = self.report.file.as_path().into();
        let fills = planned.iter().map(|(of, source)| self.fill(&file, of, source));
        let total = self.report.bytes_read();
        let restored = session.restore(fills, &|done| progress(done, total));
        let restored = restored.map_err(|error| {
            let known = failure.into_inner().unwrap_or_else(PoisonError::into_inner);
            told(&self.report.file, error, known)
        })?;
        for VariableOutcome { variable, outcome } in self.report.variables.iter() {
            let file = || self.report.file.clone();
            let why = match outcome {
                Outcome::Missing { close } => {
                    Missing::AbsentFromCheckpoint { file: file(), close: close.clone() }
                }
                Outcome::ShapeMismatch { shape, .. } => {
                    Missing::OtherShape { file: file(), shape: shape.clone() }
                }
                Outcome::Ignored => Missing::LeftOut { file: file() },
                _ => continue,
            };
            session.mark_missing(&variable.name, why);
        }
        Ok(RestoreReport { submissions: Some(restored.submissions), ..self.report.clone() })
    }

    fn source<'a>(
        &'a self,
        tensor: &'a TensorEntry,
        failure: &'a Mutex<Option<CheckpointError>>,
        looked: &'a AtomicBool,
    ) -> TensorSource<'a> {
        let read = match self.skip_checksums {
            true => Summed::unsummed(&self.file, tensor),
            false => Summed::where_known(&self.file, tensor),
        };
        TensorSource { read, failure, looked }
    }

    /// How the changes of a plan are carried out.
    fn fill<'a>(
        &self,
        file: &Arc<Path>,
        of: &'a VariableOutcome,
        source: &'a TensorSource<'_>,
    ) -> Fill<'a> {
        let (variable, tensor) = (&*of.variable, source.read.tensor());
        let changes = match &of.outcome {
            Outcome::Restored { changes, .. } => &changes[..],
            _ => &[],
        };
        let name = Arc::<str>::from(&tensor.name);
        let step = self.report.step;
        let mut fill = Fill {
            variable: &variable.name,
            source,
            offset: tensor.range.start,
            conversion: None,
            leading: None,
            origin: Origin::Restored { file: file.clone(), name: name.clone(), step },
        };
        let own = Conversion { from: variable.dtype.into(), transpose: false };
        for change in changes {
            match change {
                Change::Cast { from } => {
                    // A plan allows only casts that the device knows.
                    if let Some(from) = from.source() {
                        fill.conversion.get_or_insert(own).from = from;
                    }
                }
                Change::Transposed { .. } => fill.conversion.get_or_insert(own).transpose = true,
                // The bytes are the same.
                Change::Reshaped { .. } => {}
                // Rows that are too many lie behind those that are read.
                Change::ResizedRows { from, seed } => {
                    let of = variable.shape.first().copied().unwrap_or(0);
                    if *from < of {
                        let (rows, seed) = (*from, *seed);
                        fill.leading = Some(LeadingRows { rows, seed });
                        fill.origin = Origin::PartlyRestored {
                            file: file.clone(),
                            name: name.clone(),
                            step,
                            rows,
                            of,
                            initializer: variable.initializer.clone(),
                            seed,
                        };
                    }
                }
            }
        }
        fill
    }

    /// Strictness is a statement about all variables, so it must be about those of now, in whatever order:
    /// values go by name.
    fn check_current(&self, session: &Session) -> Result<(), CheckpointError> {
        let table = session.variables();
        let now = || table.iter().map(|info| &info.variable);
        let planned = &self.report.variables;
        if now().count() == planned.len() && now().zip(planned.iter()).all(|(a, b)| is_same(a, b)) {
            return Ok(());
        }
        let mut others: HashMap<&str, &VariableOutcome> =
            planned.iter().map(|planned| (planned.variable.name.as_str(), planned)).collect();
        let is_other = |now: &&Arc<Variable>| {
            others.remove(now.name.as_str()).is_none_or(|planned| !is_same(now, planned))
        };
        let differs = now().find(is_other).map(|now| now.name.clone());
        match differs.or_else(|| others.keys().min().map(|&name| name.to_owned())) {
            None => Ok(()),
            Some(variable) => {
                let file = self.report.file.clone();
                Err(CheckpointError::OutdatedPlan { file, variable })
            }
        }
    }
}

/// Whether a variable is the one that was planned for. Its role decides which slots go with it, and its
/// initializer makes the rows that the file lacks. (Elsewhere another initializer is no matter: a plan
/// for the variables that a checkpoint declares knows none.)
fn is_same(now: &Arc<Variable>, planned: &VariableOutcome) -> bool {
    let VariableOutcome { variable, outcome } = planned;
    let rows = variable.shape.first().copied().unwrap_or(0);
    let grows =
        |change: &Change| matches!(change, Change::ResizedRows { from, .. } if *from < rows);
    let initializes =
        matches!(outcome, Outcome::Restored { changes, .. } if changes.iter().any(grows));
    Arc::ptr_eq(now, variable)
        || (&now.name, &now.shape, now.dtype, &now.role)
            == (&variable.name, &variable.shape, variable.dtype, &variable.role)
            && (!initializes || now.initializer == variable.initializer)
}

/// What is said of a failure. The session's error knows the variable; the source's also knows tensor
/// and sizes. Where the session does not speak of a source, values may be lost, and the source would
/// say that they are not.
fn told(file: &Path, error: SessionError, of_source: Option<CheckpointError>) -> CheckpointError {
    match (error, of_source) {
        (SessionError::Source { .. } | SessionError::Refused { .. }, Some(known)) => known,
        (error, _) => CheckpointError::session(file, error),
    }
}

/// The bytes of one tensor, read where the session wants them.
struct TensorSource<'a> {
    read: Summed<'a>,
    /// The first failure in full: the session carries only an `io::Error`.
    failure: &'a Mutex<Option<CheckpointError>>,
    /// Whether the files were looked at for changes, of all sources together.
    looked: &'a AtomicBool,
}

impl TensorSource<'_> {
    /// Keeps the failure, and makes of it what the session can carry.
    fn tell(&self, error: CheckpointError) -> io::Error {
        let kind = match &error {
            CheckpointError::Read { source, .. } => source.kind(),
            CheckpointError::Checksum { .. } | CheckpointError::Inflate { .. } => {
                io::ErrorKind::InvalidData
            }
            _ => io::ErrorKind::UnexpectedEof,
        };
        let told = io::Error::new(kind, error.to_string());
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.get_or_insert(error);
        told
    }
}

impl ByteSource for TensorSource<'_> {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.read.read_at(offset, into).map_err(|error| self.tell(error))
    }

    fn read_at_cached(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.read.read_at_cached(offset, into).map_err(|error| self.tell(error))
    }

    fn file(&self) -> Option<&dyn ByteSource> {
        let TensorEntry { file, strides, slices, .. } = self.read.tensor();
        let file = self.read.file().files.get(*file)?;
        let as_it_is = strides.is_none() && slices.is_none() && file.compressed.is_none();
        as_it_is.then_some(file)
    }

    fn came(&self, offset: u64, bytes: &[u8]) {
        self.read.came(offset, bytes);
    }

    fn finish(&self) -> io::Result<()> {
        let finish = || {
            self.read.finish()?;
            // The session finishes sources when it has read them all: once is enough.
            match self.read.is_checked() || self.looked.swap(true, Ordering::Relaxed) {
                true => Ok(()),
                false => self.read.file().check_unchanged(),
            }
        };
        finish().map_err(|error| self.tell(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    #[test]
    fn what_a_source_said_does_not_hide_that_values_are_lost() {
        let known = || {
            let (file, tensor) = (PathBuf::from("m"), "w".to_owned());
            CheckpointError::CutShort { file, tensor, offset: 0, expected: 8, found: 4 }
        };
        let source = || io::Error::other("the file ends");
        let refused = SessionError::Refused { name: "w".to_owned(), source: source() };
        let error = told(Path::new("m"), refused, Some(known()));
        assert!(matches!(error, CheckpointError::CutShort { .. }), "{error}");
        let device = SessionError::RestoredTwice { name: "w".to_owned() };
        let error = told(Path::new("m"), device, Some(known()));
        assert!(matches!(error, CheckpointError::Session { .. }), "{error}");
    }
}
