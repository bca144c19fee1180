//! Restoring and saving weights, beside the ceilings of this machine.

mod arms;
mod rounds;
mod ways;
mod workload;

pub use arms::{Arm, Memory, Work, all_arms};
pub use rounds::{Ceiling, Measured, ceiling, rounds};
pub(crate) use ways::read_exact_at;
pub use ways::{Way, threads};
pub use workload::{Devices, Workload};
