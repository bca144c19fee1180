//! Disks that fail, stop or are watched, and what a run's checkpoints are on them.

pub(crate) mod crash_states;
mod durability_tests;
pub(crate) mod faulty;
pub(crate) mod hooked;
pub(crate) mod watched;
