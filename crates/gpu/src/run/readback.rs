//! Buffers that fetches are copied into, and that the host reads when somebody asks.

use crate::device::gpu::Gpu;
use crate::device::mapping::Mapping;
use crate::error::GpuError;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const WHAT: &str = "reading back what was fetched";

/// Buffers that are kept from run to run.
#[derive(Clone, Default)]
pub(crate) struct Readbacks(Arc<Mutex<Vec<wgpu::Buffer>>>);

impl Readbacks {
    fn free(&self) -> MutexGuard<'_, Vec<wgpu::Buffer>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A buffer of at least so many bytes, used before if one is free; none for 0 bytes.
    pub fn take(&self, gpu: &Gpu, bytes: u64) -> Result<Option<wgpu::Buffer>, GpuError> {
        if bytes == 0 {
            return Ok(None);
        }
        let mut free = self.free();
        // Those that have become too small would never be used again.
        free.retain(|buffer| buffer.size() >= bytes);
        if let Some(buffer) = free.pop() {
            return Ok(Some(buffer));
        }
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        gpu.buffer("the readback of fetches", bytes, usage).map(Some)
    }

    /// How many buffers there are that nothing uses.
    #[cfg(test)]
    pub fn idle(&self) -> usize {
        self.free().len()
    }

    /// What a submission copies into the first `size` bytes of `buffer`, if it has one.
    pub fn pending(
        &self,
        gpu: &Gpu,
        buffer: Option<wgpu::Buffer>,
        size: u64,
        submission: wgpu::SubmissionIndex,
    ) -> Readback {
        let pending = Mutex::new(Pending { buffer, size, bytes: None });
        Readback { gpu: gpu.clone(), pool: self.clone(), submission, pending }
    }
}

/// What one submission copies back.
pub(crate) struct Readback {
    pool: Readbacks,
    submission: wgpu::SubmissionIndex,
    pending: Mutex<Pending>,
    // Last, so that it is let go of last (device/closing.rs).
    gpu: Gpu,
}

struct Pending {
    buffer: Option<wgpu::Buffer>,
    /// How much of it: it may be larger, if it was used for more before.
    size: u64,
    bytes: Option<Vec<u8>>,
}

impl Readback {
    /// Waits for the submission.
    pub fn wait(&self) -> Result<(), GpuError> {
        self.gpu.wait(self.submission.clone())
    }

    /// Hands over what was copied back; waits for it the first time.
    pub fn read<T>(&self, read: impl FnOnce(&[u8]) -> T) -> Result<T, GpuError> {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = match pending.bytes.take() {
            Some(bytes) => bytes,
            None => self.download(&mut pending)?,
        };
        Ok(read(pending.bytes.insert(bytes)))
    }

    fn download(&self, pending: &mut Pending) -> Result<Vec<u8>, GpuError> {
        // Fetches without elements have no buffer.
        let Some(buffer) = pending.buffer.take() else {
            self.wait()?;
            return Ok(Vec::new());
        };
        let size = pending.size.next_multiple_of(wgpu::COPY_BUFFER_ALIGNMENT).min(buffer.size());
        let mapping = Mapping::start(&buffer, wgpu::MapMode::Read, 0, size);
        let waited = self.wait();
        if let Err(error) = waited.and_then(|()| mapping.finish(&self.gpu, WHAT)) {
            // As before, so that reading can be tried again.
            buffer.unmap();
            pending.buffer = Some(buffer);
            return Err(error);
        }
        let bytes = buffer.get_mapped_range(..size).map(|view| view.to_vec());
        buffer.unmap();
        match bytes {
            Ok(bytes) => {
                self.pool.free().push(buffer);
                Ok(bytes)
            }
            Err(error) => {
                pending.buffer = Some(buffer);
                Err(GpuError::Internal { what: WHAT.to_owned(), message: error.to_string() })
            }
        }
    }
}

impl Drop for Readback {
    fn drop(&mut self) {
        let pending = self.pending.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(buffer) = pending.buffer.take() {
            self.pool.free().push(buffer);
        }
    }
}
