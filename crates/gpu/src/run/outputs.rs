//! What a run fetched.

use crate::plan::Fetches;
use crate::run::readback::Readback;
use crate::run_error::RunError;
use std::sync::Arc;
use warmstart_graph::{Tensor, TensorData};

/// What a run fetched. Reading waits for the run; dropping it unread costs nothing.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use warmstart_gpu::{Gpu, Session};
/// use warmstart_graph::{DType, Graph};
///
/// let graph = Graph::new();
/// let x = graph.placeholder("x", [3], DType::F32);
/// let (squares, sum, largest) = (x.square(), x.square().sum_all(), x.argmax());
/// let mut session = Session::new(&Gpu::new()?);
/// let plan = session.compile(&graph, &[squares, sum, largest], &[])?;
///
/// let outputs = session.run(&plan, &[("x", (&[1.0f32, 2.0, 3.0]).into())])?;
/// assert_eq!(outputs.scalar(sum)?, 14.0);
/// assert_eq!(outputs.f32s(squares)?, [1.0, 4.0, 9.0]);
/// assert_eq!(outputs.i32s(largest)?, [2]);
/// // Of any dtype, with its shape.
/// assert_eq!(outputs.tensor(squares)?.shape()[..], [3]);
/// assert!(outputs.i32s(squares).is_err());
/// // What was not named when compiling is not there.
/// assert!(outputs.tensor(x).is_err());
/// # Ok(())
/// # }
/// ```
pub struct Outputs {
    pub(crate) fetches: Arc<Fetches>,
    pub(crate) readback: Readback,
}

impl Outputs {
    /// Waits until the run is done.
    ///
    /// # Errors
    /// [`RunError::Gpu`] if the device failed meanwhile.
    pub fn wait(&self) -> Result<(), RunError> {
        Ok(self.readback.wait()?)
    }

    /// A fetched tensor.
    ///
    /// # Errors
    /// [`RunError::NotFetched`] if the plan does not fetch it, [`RunError::OtherGraph`] if it is of
    /// another graph than the plan, or [`RunError::Gpu`].
    pub fn tensor(&self, tensor: Tensor<'_>) -> Result<TensorData, RunError> {
        let fetch = self.fetches.find(tensor)?;
        Ok(self.readback.read(|bytes| fetch.value(bytes))??)
    }

    /// The elements of a fetched `f32` tensor, row by row.
    ///
    /// # Errors
    /// As [`Outputs::tensor`], and [`RunError::FetchedAs`] if it is of another dtype.
    pub fn f32s(&self, tensor: Tensor<'_>) -> Result<Vec<f32>, RunError> {
        let data = self.tensor(tensor)?;
        let elements = data.as_f32().map(<[f32]>::to_vec);
        elements.ok_or_else(|| fetched_as(tensor, &data, "f32 elements"))
    }

    /// The elements of a fetched `i32` tensor, as those of [`argmax`](Tensor::argmax), row by row.
    ///
    /// # Errors
    /// As [`Outputs::tensor`], and [`RunError::FetchedAs`] if it is of another dtype.
    pub fn i32s(&self, tensor: Tensor<'_>) -> Result<Vec<i32>, RunError> {
        let data = self.tensor(tensor)?;
        let elements = data.as_i32().map(<[i32]>::to_vec);
        elements.ok_or_else(|| fetched_as(tensor, &data, "i32 elements"))
    }

    /// A fetched `f32` scalar.
    ///
    /// # Errors
    /// As [`Outputs::tensor`], and [`RunError::FetchedAs`] if it is no `f32` scalar.
    pub fn scalar(&self, tensor: Tensor<'_>) -> Result<f32, RunError> {
        let at = self.fetches.find_scalar(tensor)?.offset as usize;
        Ok(self.readback.read(|bytes| read_f32(&bytes[at..]))?)
    }
}

fn fetched_as(tensor: Tensor<'_>, data: &TensorData, wanted: &'static str) -> RunError {
    let (tensor, dtype, shape) = (tensor.to_string(), data.dtype(), data.shape().clone());
    RunError::FetchedAs { tensor, dtype, shape, wanted }
}

/// The `f32` that begins some bytes.
pub(crate) fn read_f32(bytes: &[u8]) -> f32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[..4]);
    f32::from_le_bytes(word)
}
