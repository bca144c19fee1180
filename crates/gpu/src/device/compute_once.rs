//! Kernels that belong to no plan: run now, and what they wrote read back.

use crate::device::gpu::Gpu;
use crate::device::pipelines::bind_group_entries;
use crate::error::GpuError;

/// One dispatch of such a kernel.
pub(crate) struct Dispatch<'a, const N: usize> {
    /// What it binds, in order, each buffer as a whole.
    pub buffers: [&'a wgpu::Buffer; N],
    pub workgroups: [u32; 2],
}

impl Gpu {
    /// Has a kernel do these dispatches in one pass, and gives the words that `result` holds then.
    /// `wait` is how to wait for them: [`Gpu::wait`], or [`Gpu::wait_alone`] for what nobody asked for.
    pub(crate) fn compute_once<const N: usize>(
        &self,
        what: &str,
        pipeline: &wgpu::ComputePipeline,
        dispatches: &[Dispatch<'_, N>],
        result: &wgpu::Buffer,
        wait: fn(&Gpu, wgpu::SubmissionIndex) -> Result<(), GpuError>,
    ) -> Result<Vec<u32>, GpuError> {
        let (submission, words) = self.submit_and_copy(what, result, |device, encoder| {
            let layout = pipeline.get_bind_group_layout(0);
            let mut pass = encoder.begin_compute_pass(&Default::default());
            pass.set_pipeline(pipeline);
            for Dispatch { buffers, workgroups: [x, y] } in dispatches {
                let resources = buffers.map(wgpu::Buffer::as_entire_binding);
                let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
                    label: Some(what),
                    layout: &layout,
                    entries: &bind_group_entries(resources),
                });
                pass.set_bind_group(0, &group, &[]);
                pass.dispatch_workgroups(*x, *y, 1);
            }
        })?;
        wait(self, submission)?;
        words.read(self, what)
    }
}
