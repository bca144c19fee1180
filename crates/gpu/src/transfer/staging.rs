//! Buffers that the host fills while the device reads from others.

use crate::device::gpu::Gpu;
use crate::device::mapping::{Mapping, internal};
use crate::error::{GpuError, SessionError};
use crate::transfer::mapped::MappedBytes;

/// A staging buffer of a worker: mapped, or about to be once the device is done with it.
pub(crate) struct Staging {
    buffer: wgpu::Buffer,
    in_use: Option<(wgpu::SubmissionIndex, Mapping)>,
}

/// Each worker fills one of its two staging buffers while the device reads from the other.
pub(crate) const BUFFERS_PER_WORKER: usize = 2;

impl Staging {
    /// A buffer that the device uses as `usage` says.
    pub fn new(gpu: &Gpu, bytes: u64, usage: wgpu::BufferUsages) -> Result<Staging, GpuError> {
        let buffer = gpu.mapped_buffer("staging for restoring", bytes, usage)?;
        Ok(Staging { buffer, in_use: None })
    }

    /// Once the device is done with the buffer, has `write` fill it, and submits what `record` has
    /// the device do with it.
    pub fn pass_on(
        &mut self,
        gpu: &Gpu,
        what: &str,
        write: impl FnOnce(MappedBytes<'_>) -> Result<(), SessionError>,
        record: impl FnOnce(&wgpu::Device, &mut wgpu::CommandEncoder, &wgpu::Buffer),
    ) -> Result<(), SessionError> {
        if let Some((submission, mapping)) = self.in_use.take() {
            gpu.wait(submission)?;
            mapping.finish(gpu, what)?;
        }
        {
            let mut view = self.buffer.get_mapped_range_mut(..).map_err(|e| internal(what, e))?;
            write(MappedBytes::of(&mut view))?;
        }
        self.in_use = Some(gpu.checked(what, |device| {
            self.buffer.unmap();
            let mut encoder = device.create_command_encoder(&Default::default());
            record(device, &mut encoder, &self.buffer);
            let submission = gpu.queue().submit([encoder.finish()]);
            let size = self.buffer.size();
            (submission, Mapping::start(&self.buffer, wgpu::MapMode::Write, 0, size))
        })?);
        Ok(())
    }
}

/// The two staging buffers of a worker, made when they are needed.
pub(crate) struct Ring<'a> {
    gpu: &'a Gpu,
    bytes: u64,
    usage: wgpu::BufferUsages,
    buffers: Vec<Staging>,
    turn: usize,
}

impl<'a> Ring<'a> {
    pub fn new(gpu: &'a Gpu, bytes: u64, usage: wgpu::BufferUsages) -> Ring<'a> {
        Ring { gpu, bytes, usage, buffers: Vec::new(), turn: 0 }
    }

    /// The buffer that has been in use for longest.
    pub fn next(&mut self) -> Result<&mut Staging, GpuError> {
        let turn = self.turn;
        if self.buffers.len() == turn {
            self.buffers.push(Staging::new(self.gpu, self.bytes, self.usage)?);
        }
        self.turn = (turn + 1) % BUFFERS_PER_WORKER;
        Ok(&mut self.buffers[turn])
    }
}
