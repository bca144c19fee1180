//! Buffers that the host maps once the device is done with them, and reading words back by one.

use crate::device::gpu::Gpu;
use crate::error::GpuError;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};

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
        let message = match self.0.recv_timeout(gpu.timeout()) {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error.to_string(),
            Err(RecvTimeoutError::Timeout) => {
                gpu.healthy()?;
                return Err(GpuError::Timeout { after: gpu.timeout() });
            }
            // The device let go of the callback.
            Err(RecvTimeoutError::Disconnected) => "its memory was never mapped".to_owned(),
        };
        gpu.healthy()?;
        Err(GpuError::Internal { what: what.to_owned(), message })
    }
}

/// That memory is not mapped as was asked for.
pub(crate) fn internal(what: &str, error: wgpu::MapRangeError) -> GpuError {
    GpuError::Internal { what: what.to_owned(), message: error.to_string() }
}

/// Words that the device copies to where the host reads them.
pub(crate) struct Words {
    readback: wgpu::Buffer,
    mapping: Mapping,
}

impl Gpu {
    /// Submits what `record` has the device do, and then a copy of all words of a buffer to the host.
    pub(crate) fn submit_and_copy(
        &self,
        what: &str,
        words: &wgpu::Buffer,
        record: impl FnOnce(&wgpu::Device, &mut wgpu::CommandEncoder),
    ) -> Result<(wgpu::SubmissionIndex, Words), GpuError> {
        let bytes = words.size();
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let readback = self.buffer(&format!("the readback of {what}"), bytes, usage)?;
        let (submission, mapping) = self.checked(what, |device| {
            let mut encoder = device.create_command_encoder(&Default::default());
            record(device, &mut encoder);
            encoder.copy_buffer_to_buffer(words, 0, &readback, 0, bytes);
            let submission = self.queue().submit([encoder.finish()]);
            (submission, Mapping::start(&readback, wgpu::MapMode::Read, 0, bytes))
        })?;
        Ok((submission, Words { readback, mapping }))
    }
}

impl Words {
    /// The words, after that submission was waited for.
    pub fn read(self, gpu: &Gpu, what: &str) -> Result<Vec<u32>, GpuError> {
        self.mapping.finish(gpu, what)?;
        let view = self.readback.get_mapped_range(..).map_err(|error| internal(what, error))?;
        Ok(bytemuck::pod_collect_to_vec(&view[..]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::gpu::GpuOptions;
    use std::time::Duration;

    /// As when the device lets go of the callback: nothing was waited for, so no wait was too long.
    #[test]
    fn a_mapping_that_nobody_will_report_is_no_timeout() {
        let gpu = Gpu::with(&GpuOptions::default()).unwrap();
        let (sender, receiver) = channel();
        drop(sender);
        let error = Mapping(receiver).finish(&gpu, "reading variables").unwrap_err();
        let is_told =
            matches!(&error, GpuError::Internal { what, .. } if what == "reading variables");
        assert!(is_told, "{error}");
        let (sender, receiver) = channel();
        let options = GpuOptions { timeout: Duration::from_millis(1), ..Default::default() };
        let error = Mapping(receiver).finish(&Gpu::with(&options).unwrap(), "").unwrap_err();
        assert!(matches!(error, GpuError::Timeout { .. }), "{error}");
        drop(sender);
    }
}
