//! Host memory that is device memory. The only unsafe code of this crate is here.

use crate::device::Gpu;
use crate::error::GpuError;
use crate::fill::ByteSource;
use std::io;
use std::sync::mpsc::{Receiver, channel};

/// A mapping under way.
pub(crate) struct Mapping(Receiver<Result<(), wgpu::BufferAsyncError>>);

impl Mapping {
    /// Asks for a part of a buffer to be mapped once the device is done with it.
    pub fn start(buffer: &wgpu::Buffer, mode: wgpu::MapMode, from: u64, to: u64) -> Mapping {
        let (sender, receiver) = channel();
        buffer.map_async(mode, from..to, move |result| {
            // Nobody listens any more when an earlier step failed.
            let _ = sender.send(result);
        });
        Mapping(receiver)
    }

    /// Waits for it, after the device is known to be done. Another thread's poll may be the one
    /// that reports, so that it can be a moment late.
    pub fn finish(self, gpu: &Gpu, what: &str) -> Result<(), GpuError> {
        match self.0.recv_timeout(gpu.timeout()) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                gpu.healthy()?;
                Err(GpuError::Internal { what: what.to_owned(), message: error.to_string() })
            }
            Err(_) => {
                gpu.healthy()?;
                Err(GpuError::Timeout { after: gpu.timeout() })
            }
        }
    }
}

/// Reads from a source straight into mapped memory.
pub(crate) fn read_into(
    source: &dyn ByteSource,
    offset: u64,
    mut into: wgpu::WriteOnly<'_, [u8]>,
) -> io::Result<()> {
    // SAFETY: `into` is an exclusive borrow of mapped memory that outlives this call, and the
    // reference made from it does not outlive `into`. wgpu fills memory with zeros before it maps
    // it for the first time, and any byte is a valid `u8`. That the memory may be write-combined
    // makes reads slow and atomics unreliable, not unsound; `ByteSource` forbids both.
    #[allow(unsafe_code)]
    let bytes = unsafe { into.as_raw_ptr().as_mut() };
    source.read_at(offset, bytes)
}
