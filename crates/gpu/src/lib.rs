//! Where it is computed: device, kernels, compiled plans and sessions on wgpu.
#![deny(unsafe_code)]

mod adapter;
mod backup;
mod cache;
mod cast;
mod compile;
mod convert;
mod dataset;
mod device;
mod download;
mod driver_cache;
mod error;
mod feed;
mod fill;
mod initialize;
mod mapped;
mod non_finite;
mod origin;
mod outputs;
mod pipelines;
mod plain;
mod plan;
mod plan_error;
mod profile;
mod readback;
mod run;
mod session;
mod snapshot;
mod staging;
mod steps;
mod store;
mod table;
mod transfer;
mod upload;

pub use adapter::{AdapterChoice, AdapterSummary};
pub use cache::CacheChoice;
pub use cast::{Conversion, SourceDType};
pub use dataset::{Column, DeviceDataset, DeviceDatasetError};
pub use device::{Gpu, GpuOptions, MemoryKind};
pub use error::{Conflict, GpuError, SessionError};
pub use feed::Feed;
pub use fill::{ByteSource, Fill, LeadingRows};
pub use initialize::Overwrite;
pub use non_finite::NonFinite;
pub use origin::{Missing, Origin};
pub use outputs::Outputs;
pub use plan::{DispatchInfo, Plan, PlanMemory};
pub use plan_error::{CompileError, RunError, UninitializedRead};
pub use profile::Profile;

pub use session::Session;
pub use snapshot::Snapshot;
pub use steps::{StepOutputs, StepScalars, Steps};
pub use store::VariableInfo;
pub use table::VariableTable;
pub use transfer::Restored;
