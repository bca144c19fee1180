//! Copies of variables, kept on the device until a restore is known to have succeeded.

use crate::device::Gpu;
use crate::error::GpuError;
use crate::store::VariableSlice;

/// Values of variables, aside.
pub(crate) struct Backup {
    copies: Vec<Copy>,
}

struct Copy {
    slice: VariableSlice,
    buffer: wgpu::Buffer,
    at: u64,
}

impl Backup {
    /// Copies the values aside. Also submits whatever writes are queued, so that the variables can
    /// be mapped afterwards.
    pub fn take(gpu: &Gpu, slices: &[&VariableSlice]) -> Result<Backup, GpuError> {
        let limit = gpu.limits().max_buffer_size;
        let mut sizes: Vec<u64> = Vec::new();
        let places: Vec<(usize, u64)> = slices
            .iter()
            .map(|slice| {
                match sizes.last() {
                    Some(size) if size + slice.padded() <= limit => {}
                    _ => sizes.push(0),
                }
                let last = sizes.len() - 1;
                let at = sizes[last];
                sizes[last] += slice.padded();
                (last, at)
            })
            .collect();
        let usage = wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
        let what = "a copy of the variables that a restore replaces";
        let buffers: Vec<wgpu::Buffer> = sizes
            .into_iter()
            .map(|size| gpu.buffer(what, size.max(wgpu::COPY_BUFFER_ALIGNMENT), usage))
            .collect::<Result<_, _>>()?;
        let copies: Vec<Copy> = slices
            .iter()
            .zip(places)
            .map(|(slice, (index, at))| Copy {
                slice: (*slice).clone(),
                buffer: buffers[index].clone(),
                at,
            })
            .collect();
        let backup = Backup { copies };
        backup.copy(gpu, what, |encoder, Copy { slice, buffer, at }| {
            let bytes = slice.padded();
            encoder.copy_buffer_to_buffer(&slice.buffer, slice.offset, buffer, *at, bytes);
        })?;
        Ok(backup)
    }

    /// Copies the values back, and waits until they are.
    pub fn put_back(&self, gpu: &Gpu) -> Result<(), GpuError> {
        let what = "putting back the variables of a failed restore";
        let submission = self.copy(gpu, what, |encoder, Copy { slice, buffer, at }| {
            let bytes = slice.padded();
            encoder.copy_buffer_to_buffer(buffer, *at, &slice.buffer, slice.offset, bytes);
        })?;
        gpu.wait(submission)
    }

    fn copy(
        &self,
        gpu: &Gpu,
        what: &str,
        encode: impl Fn(&mut wgpu::CommandEncoder, &Copy),
    ) -> Result<wgpu::SubmissionIndex, GpuError> {
        gpu.checked(what, |device| {
            let mut encoder = device.create_command_encoder(&Default::default());
            let copies = self.copies.iter().filter(|copy| copy.slice.bytes > 0);
            copies.for_each(|copy| encode(&mut encoder, copy));
            gpu.queue().submit([encoder.finish()])
        })
    }
}
