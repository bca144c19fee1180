//! Where it is computed: device, kernels, compiled plans and sessions on wgpu.
#![deny(unsafe_code)]

mod adapter;
mod device;
mod download;
mod error;
mod initialize;
mod origin;
mod session;
mod store;
mod table;

pub use adapter::{AdapterChoice, AdapterSummary};
pub use device::{Gpu, GpuOptions, MemoryKind};
pub use error::{Conflict, GpuError, SessionError};
pub use initialize::Overwrite;
pub use origin::{Missing, Origin};
pub use session::Session;
pub use store::VariableInfo;
pub use table::VariableTable;
