//! Measures warmstart beside what the machine and the adapter can do, in the same run.
//!
//! The command `warmstart bench` and the benchmarks in `benches/` both use it: a [`Workload`] of
//! weights with its [`Arm`]s, the [models](Mlp) that are trained, and [what a section takes](measure).
//!
//! What a system cannot tell is `None` or an error that says so, never a guess.
#![deny(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

mod error;
mod machine;
mod model;
mod spread;
mod system;
mod timing;
mod usage;
mod weights;

pub use error::MeasureError;
pub use machine::Machine;
pub use model::{LARGE, Mlp, SMALL, compute_and_wait, run_and_wait, square_layer};
pub use spread::Spread;
pub use system::{available_memory, free_space, load_average};
pub use timing::{ROUNDS, Repeated, Step, time_in_turn};
pub use usage::{Sample, measure};
pub use weights::{
    Arm, Ceiling, Devices, Measured, Memory, Way, Work, Workload, all_arms, ceiling, rounds,
    threads,
};

use warmstart_gpu::{Gpu, GpuError};

/// Waits until the device has done all that was submitted.
///
/// # Errors
/// What the device reports.
pub fn drain(gpu: &Gpu) -> Result<(), GpuError> {
    gpu.wait(gpu.queue().submit([]))
}
