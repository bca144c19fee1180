//! What a plan fetches.

use crate::error::GpuError;
use crate::run_error::RunError;
use warmstart_graph::{DType, NodeId, Shape, Tensor, TensorData};

/// A value that is read back.
pub(crate) struct Fetch {
    pub node: NodeId,
    /// The node as its author knows it.
    pub described: String,
    pub shape: Shape,
    pub dtype: DType,
    pub buffer: wgpu::Buffer,
    pub from: u64,
    /// Where its bytes are in a readback.
    pub offset: u64,
    pub bytes: u64,
}

impl Fetch {
    /// Whether it is one `f32`.
    pub fn is_scalar(&self) -> bool {
        self.dtype == DType::F32 && self.shape.elements() == 1
    }

    /// Its value in what was read back.
    pub fn value(&self, bytes: &[u8]) -> Result<TensorData, GpuError> {
        let own = &bytes[self.offset as usize..][..self.bytes as usize];
        TensorData::from_le_bytes(self.shape.clone(), self.dtype, own).ok_or_else(|| {
            GpuError::Internal {
                what: "reading a fetch".to_owned(),
                message: "its size is not its shape's".to_owned(),
            }
        })
    }
}

/// What a plan fetches.
pub(crate) struct Fetches {
    /// The identity of the graph that was compiled.
    pub graph: u64,
    pub list: Vec<Fetch>,
    /// Bytes of them all, as they lie in a readback.
    pub bytes: u64,
}

impl Fetches {
    /// The fetch of a tensor.
    pub fn find(&self, tensor: Tensor<'_>) -> Result<&Fetch, RunError> {
        // Another graph's node of the same index would give a value that was never asked for.
        if tensor.graph().identity() != self.graph {
            let (tensor, fetched) = (tensor.to_string(), self.described());
            return Err(RunError::OtherGraph { tensor, fetched });
        }
        let found = self.list.iter().find(|fetch| fetch.node == tensor.id());
        found.ok_or_else(|| {
            let (tensor, fetched) = (tensor.to_string(), self.described());
            RunError::NotFetched { tensor, fetched }
        })
    }

    /// The fetch of an `f32` scalar.
    pub fn find_scalar(&self, tensor: Tensor<'_>) -> Result<&Fetch, RunError> {
        let fetch = self.find(tensor)?;
        if fetch.is_scalar() {
            return Ok(fetch);
        }
        Err(RunError::FetchedAs {
            tensor: tensor.to_string(),
            dtype: fetch.dtype,
            shape: fetch.shape.clone(),
            wanted: "an f32 scalar",
        })
    }

    /// Those that are one `f32`.
    pub fn scalars(&self) -> impl Iterator<Item = &Fetch> {
        self.list.iter().filter(|fetch| fetch.is_scalar())
    }

    fn described(&self) -> Vec<String> {
        self.list.iter().map(|fetch| fetch.described.clone()).collect()
    }
}
