//! What only tests have of a device: what it was asked for, so that they can tell what a run does not do,
//! devices that are taken for others, and such whose memory runs out.

use super::Gpu;
use crate::compile::classes::Table;
use crate::device::locked;
use crate::error::GpuError;
use std::ops::Sub;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

#[derive(Default)]
pub(super) struct Asked {
    queue: AtomicUsize,
    waits: AtomicUsize,
    buffers: AtomicUsize,
    bytes: AtomicU64,
    refused: Mutex<Option<Refused>>,
}

/// Which buffers a device is to refuse, as if its memory had run out.
#[derive(Clone, Copy)]
pub(crate) enum Refused {
    /// One, after so many have been made.
    After(usize),
    /// Those with which more than so many bytes would be taken.
    Beyond(u64),
}

impl Asked {
    pub fn queue(&self) {
        self.queue.fetch_add(1, Ordering::Relaxed);
    }

    pub fn wait(&self) {
        self.waits.fetch_add(1, Ordering::Relaxed);
    }

    /// Fails if this is a buffer to refuse. `taken` tells how many bytes are taken.
    pub fn buffer(
        &self,
        what: &str,
        bytes: u64,
        taken: impl FnOnce() -> u64,
    ) -> Result<(), GpuError> {
        self.buffers.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let mut refused = locked(&self.refused);
        let is_refused = match &mut *refused {
            None => false,
            Some(Refused::After(0)) => {
                *refused = None;
                true
            }
            Some(Refused::After(more)) => {
                *more -= 1;
                false
            }
            Some(Refused::Beyond(most)) => taken() + bytes > *most,
        };
        let what = what.to_owned();
        let error = GpuError::OutOfMemory { what, bytes: Some(bytes) };
        if is_refused { Err(error) } else { Ok(()) }
    }
}

/// How often so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Count {
    /// That something was submitted or written: whatever the queue was asked for.
    pub queue: usize,
    /// That the host waited.
    pub waits: usize,
    /// That a buffer was made.
    pub buffers: usize,
    /// How many bytes these were to have together.
    pub bytes: u64,
}

impl Sub for Count {
    type Output = Count;

    fn sub(self, before: Count) -> Count {
        Count {
            queue: self.queue - before.queue,
            waits: self.waits - before.waits,
            buffers: self.buffers - before.buffers,
            bytes: self.bytes - before.bytes,
        }
    }
}

impl Gpu {
    pub(crate) fn count(&self) -> Count {
        let read = |count: &AtomicUsize| count.load(Ordering::Relaxed);
        let Asked { queue, waits, buffers, bytes, .. } = &self.0.asked;
        let bytes = bytes.load(Ordering::Relaxed);
        Count { queue: read(queue), waits: read(waits), buffers: read(buffers), bytes }
    }

    /// Has it refuse such buffers from now on, or none.
    pub(crate) fn refuse(&self, refused: Option<Refused>) {
        *locked(&self.0.asked.refused) = refused;
    }

    /// Whether it may refuse buffers.
    pub(crate) fn refuses(&self) -> bool {
        locked(&self.0.asked.refused).is_some()
    }

    /// How many bytes of its memory are taken, where the backend tells.
    pub(crate) fn taken(&self) -> Option<u64> {
        Some(self.0.device.generate_allocator_report()?.total_allocated_bytes)
    }

    /// The same device, taken for one of another kind. Nobody else may hold it yet.
    pub(crate) fn taken_for(mut self, device_type: wgpu::DeviceType) -> Gpu {
        let inner = Arc::get_mut(&mut self.0).expect("nobody else holds the device");
        inner.summary.device_type = device_type;
        self
    }

    /// The same device with another table of kernels that were measured before the release.
    pub(crate) fn with_table(mut self, table: Table) -> Gpu {
        let inner = Arc::get_mut(&mut self.0).expect("nobody else holds the device");
        inner.tuner.with_table(table);
        self
    }

    /// The same device, taken for one whose shaders may have cooperative matrices of this size.
    pub(crate) fn taken_for_cooperative(mut self, size: u32) -> Gpu {
        let inner = Arc::get_mut(&mut self.0).expect("nobody else holds the device");
        inner.cooperative = Some(size);
        self
    }
}
