//! What several steps fetched.

use crate::error::GpuError;
use crate::plan::Fetches;
use crate::run::outputs::read_f32;
use crate::run::readback::Readback;
use crate::run_error::RunError;
use std::sync::Arc;
use warmstart_graph::{Tensor, TensorData};

/// What [`Session::run_steps`](crate::Session::run_steps) fetched. Reading waits for the steps;
/// dropping it unread costs nothing.
pub struct StepOutputs {
    steps: usize,
    fetches: Arc<Fetches>,
    readback: Arc<Readback>,
    /// Where the scalars of the steps begin in the readback, and how far they are apart.
    ring: (u64, u64),
}

impl StepOutputs {
    pub(crate) fn new(
        steps: usize,
        fetches: Arc<Fetches>,
        readback: Readback,
        ring: (u64, u64),
    ) -> StepOutputs {
        StepOutputs { steps, fetches, readback: Arc::new(readback), ring }
    }

    /// How many steps were submitted.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// Waits until the steps are done.
    ///
    /// # Errors
    /// [`RunError::Gpu`] if the device failed meanwhile.
    pub fn wait(&self) -> Result<(), RunError> {
        Ok(self.readback.wait()?)
    }

    /// A fetched `f32` scalar of each step.
    ///
    /// # Errors
    /// [`RunError::NotFetched`], [`RunError::OtherGraph`] or [`RunError::FetchedAs`] if it is no
    /// scalar that the plan fetches, or [`RunError::Gpu`].
    pub fn scalars(&self, tensor: Tensor<'_>) -> Result<Vec<f32>, RunError> {
        self.scalars_later(tensor)?.read()
    }

    /// As [`StepOutputs::scalars`], to be read later, when more steps have been submitted: then the
    /// device does not run dry while the host reads.
    ///
    /// # Errors
    /// As [`StepOutputs::scalars`], but none of the device.
    pub fn scalars_later(&self, tensor: Tensor<'_>) -> Result<StepScalars, RunError> {
        let fetch = self.fetches.find_scalar(tensor)?;
        let slot = self.fetches.scalars().position(|scalar| scalar.offset == fetch.offset);
        let (from, stride) = self.ring;
        let kept = from + 4 * slot.unwrap_or(0) as u64;
        // Each step's lie where the step after it begins; the last has none.
        let mut places: Vec<u64> =
            (1..self.steps as u64).map(|step| kept + step * stride).collect();
        places.push(fetch.offset);
        Ok(StepScalars { readback: self.readback.clone(), places })
    }

    /// A fetched tensor of the last step.
    ///
    /// # Errors
    /// As [`Outputs::tensor`](crate::Outputs::tensor).
    pub fn tensor(&self, tensor: Tensor<'_>) -> Result<TensorData, RunError> {
        let fetch = self.fetches.find(tensor)?;
        Ok(self.readback.read(|bytes| fetch.value(bytes))??)
    }
}

/// A scalar of several steps that are perhaps not done yet.
pub struct StepScalars {
    readback: Arc<Readback>,
    places: Vec<u64>,
}

impl StepScalars {
    /// The scalar of each step. Waits for the steps.
    ///
    /// # Errors
    /// [`RunError::Gpu`] if the device failed meanwhile.
    pub fn read(&self) -> Result<Vec<f32>, RunError> {
        let read = |bytes: &[u8]| {
            self.places.iter().map(|&place| read_f32(&bytes[place as usize..])).collect()
        };
        self.readback.read(read).map_err(|error: GpuError| error.into())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are none: never.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }
}
