//! What only tests have of a device: what it was asked for, so that they can tell what a run does not do, and
//! devices that are taken for others.

use super::Gpu;
use crate::compile::classes::Table;
use std::ops::Sub;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

#[derive(Default)]
pub(super) struct Asked {
    queue: AtomicUsize,
    waits: AtomicUsize,
    buffers: AtomicUsize,
}

impl Asked {
    pub fn queue(&self) {
        self.queue.fetch_add(1, Ordering::Relaxed);
    }

    pub fn wait(&self) {
        self.waits.fetch_add(1, Ordering::Relaxed);
    }

    pub fn buffer(&self) {
        self.buffers.fetch_add(1, Ordering::Relaxed);
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
}

impl Sub for Count {
    type Output = Count;

    fn sub(self, before: Count) -> Count {
        Count {
            queue: self.queue - before.queue,
            waits: self.waits - before.waits,
            buffers: self.buffers - before.buffers,
        }
    }
}

impl Gpu {
    pub(crate) fn count(&self) -> Count {
        let read = |count: &AtomicUsize| count.load(Ordering::Relaxed);
        let Asked { queue, waits, buffers } = &self.0.asked;
        Count { queue: read(queue), waits: read(waits), buffers: read(buffers) }
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
