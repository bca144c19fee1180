//! Where it is computed: device, kernels, compiled plans and sessions on wgpu.
#![deny(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

mod compile;
mod cores;
mod device;
mod error;
mod initialize;
#[cfg(test)]
#[path = "../tests/common/left_out.rs"]
mod left_out;
mod non_finite;
mod origin;
mod plan;
mod plan_error;
mod run;
mod run_error;
mod session;
mod store;
mod table;
mod trainers;
mod transfer;
mod tune;

pub use device::adapter::{AdapterChoice, AdapterSummary};
pub use device::cache::CacheChoice;
pub use device::cooperative::CooperativeMatrix;
pub use device::gpu::{Gpu, GpuOptions, MemoryKind};
pub use error::{Conflict, GpuError, SessionError};
pub use initialize::Overwrite;
pub use non_finite::NonFinite;
pub use origin::{Missing, Origin};
pub use plan::{DispatchInfo, Plan, PlanMemory};
pub use plan_error::CompileError;
pub use run::ceilings::CeilingKernels;
pub use run::dataset::{Column, DeviceDataset, DeviceDatasetError};
pub use run::feed::Feed;
pub use run::outputs::Outputs;
pub use run::profile::{Profile, TimedDispatch};
pub use run::roof::{Bound, Roof};
pub use run::steps::{StepOutputs, StepScalars, Steps, UnreadOutputs};
pub use run_error::{RunError, UninitializedRead};
pub use session::Session;
pub use store::VariableInfo;
pub use table::VariableTable;
pub use transfer::cast::{Conversion, Number, SourceDType};
pub use transfer::fill::{ByteSource, Fill, LeadingRows};
pub use transfer::restore::Restored;
pub use transfer::snapshot::Snapshot;
pub use tune::{MeasuredKernel, Tune};
