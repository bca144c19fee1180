//! Host memory that is device memory. Unsafe code of this crate is here, in `huge_pages.rs`,
//! `device/driver_cache.rs`, `device/cooperative.rs` and `device/closing.rs` only.

use crate::device::gpu::Gpu;
use crate::transfer::fill::ByteSource;
use std::io;

/// Mapped memory that is written and, unless the adapter is the CPU, never read. (`wgpu::WriteOnly`
/// of a slice is the same, but does not go from thread to thread.)
pub(crate) struct MappedBytes<'a>(&'a mut [u8]);

impl<'a> MappedBytes<'a> {
    /// The memory of a view.
    pub fn of(view: &'a mut wgpu::BufferViewMut) -> MappedBytes<'a> {
        let mut all = view.slice(..);
        // SAFETY: `view` is borrowed exclusively for as long as the reference made here lives, and
        // stays mapped as long as it lives. wgpu fills memory with zeros before it maps it for the
        // first time, and any byte is a valid `u8`. That the memory may be write-combined makes
        // reads slow and atomics unreliable, not unsound; `ByteSource` forbids both.
        #[allow(unsafe_code)]
        MappedBytes(unsafe { all.as_raw_ptr().as_mut() })
    }

    pub fn len(&self) -> u64 {
        self.0.len() as u64
    }

    /// The first `bytes` bytes, which must be there, and the rest.
    pub fn split_at(self, bytes: u64) -> (MappedBytes<'a>, MappedBytes<'a>) {
        // No mapping is larger than the address space.
        let (first, rest) = self.0.split_at_mut(bytes as usize);
        (MappedBytes(first), MappedBytes(rest))
    }

    /// Writes the first bytes.
    pub fn write(&mut self, bytes: &[u8]) {
        self.0[..bytes.len()].copy_from_slice(bytes);
    }

    /// Reads from a source until the memory is full.
    pub fn read_from(&mut self, gpu: &Gpu, source: &dyn ByteSource, offset: u64) -> io::Result<()> {
        match self.of_host(gpu) {
            Some(memory) => source.read_at_cached(offset, memory),
            None => source.read_at(offset, self.0),
        }
    }

    /// The memory itself where the adapter is the CPU: it is the host's.
    pub fn of_host(&mut self, gpu: &Gpu) -> Option<&mut [u8]> {
        if gpu.is_cpu() { Some(self.0) } else { None }
    }
}

#[cfg(test)]
#[path = "mapped_tests.rs"]
mod tests;
