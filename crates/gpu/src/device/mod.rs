//! The device: which adapter, opening it, what it can do and gets right, how much memory it has left,
//! pipelines, what is kept of them on disk, kernels outside plans, and buffers that the host maps.

pub(crate) mod adapter;
pub(crate) mod cache;
pub(crate) mod closing;
pub(crate) mod compute_once;
pub(crate) mod cooperative;
pub(crate) mod driver_cache;
pub(crate) mod gpu;
pub(crate) mod mapping;
pub(crate) mod pipelines;
pub(crate) mod room;
pub(crate) mod switch;
mod wanted;
pub(crate) mod widening;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// What lies in a buffer with others begins at a multiple of so many bytes: no device asks for more of a
/// binding.
pub(crate) const ALIGNMENT: u64 = 256;

/// A panic elsewhere while a lock was held leaves these plain tables whole.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
