//! What an adapter can do at best: moving bytes in its memory, and multiply-adds.

use crate::error::MeasureError;
use std::borrow::Cow;
use warmstart_gpu::{Gpu, GpuError};

/// Kernels that do nothing but what is to be measured, and memory for them.
pub struct CeilingKernels {
    copy: wgpu::ComputePipeline,
    multiply_add: wgpu::ComputePipeline,
    bindings: [wgpu::BindGroup; 2],
    source: wgpu::Buffer,
    result: wgpu::Buffer,
    /// Workgroups for all multiply-adds, along x and y.
    groups: [u32; 2],
    // Last, so that the device is closed last.
    gpu: Gpu,
}

const SOURCE: &str = include_str!("ceilings.wgsl");
/// How often the chains are written out in the body of the loop, so that counting costs nothing.
const UNROLLED: u32 = 16;
/// Multiply-adds of one invocation each time.
const CHAINS: u32 = 8;
/// How often the loop's body is run.
const ROUNDS: u32 = 32;
const WORKGROUP: u32 = 64;
/// Invocations in a row of workgroups.
const ROW: u32 = WORKGROUP * 512;
/// How many dispatches one submission takes: launching them should not be what is measured, and a
/// slow adapter should not seem to hang.
const TOGETHER: usize = 8;
/// After so many submissions the device is waited for.
const AHEAD: usize = 32;

impl CeilingKernels {
    /// Compiles them, and allocates their memory.
    ///
    /// # Errors
    /// What the device reports.
    pub fn new(gpu: &Gpu) -> Result<CeilingKernels, MeasureError> {
        // More than caches hold. Software adapters need little to be busy.
        let wanted: u64 = if gpu.is_cpu() { 64 << 20 } else { 256 << 20 };
        let limits = gpu.limits();
        let most = limits.max_storage_buffer_binding_size.min(limits.max_buffer_size);
        let size = wanted.min(most / 16 * 16);
        let rows: u32 = if gpu.is_cpu() { 1 } else { 16 };
        let chain = chains()?.repeat(UNROLLED as usize);
        let text = warmstart_shaders::fill(SOURCE, &[("chains", chain)]);
        let made = gpu.checked("the kernels of the ceilings", |device| {
            let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
                label: Some("ceilings"),
                source: wgpu::ShaderSource::Wgsl(Cow::Owned(text)),
            });
            let pipeline = |entry_point| {
                device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                    label: Some(entry_point),
                    layout: None,
                    module: &module,
                    entry_point: Some(entry_point),
                    compilation_options: wgpu::PipelineCompilationOptions {
                        constants: &[("ROUNDS", f64::from(ROUNDS)), ("ROW", f64::from(ROW))],
                        ..Default::default()
                    },
                    cache: None,
                })
            };
            let usage = wgpu::BufferUsages::STORAGE
                | wgpu::BufferUsages::COPY_SRC
                | wgpu::BufferUsages::COPY_DST;
            let buffer = |label| {
                device.create_buffer(&wgpu::BufferDescriptor {
                    label: Some(label),
                    size,
                    usage,
                    mapped_at_creation: false,
                })
            };
            let (copy, multiply_add) = (pipeline("copy"), pipeline("multiply_add"));
            let (source, result) = (buffer("copied from"), buffer("copied to"));
            let bindings = [&copy, &multiply_add].map(|pipeline| {
                device.create_bind_group(&wgpu::BindGroupDescriptor {
                    label: Some("ceilings"),
                    layout: &pipeline.get_bind_group_layout(0),
                    entries: &[entry(0, &source), entry(1, &result)],
                })
            });
            (copy, multiply_add, bindings, source, result)
        })?;
        let (copy, multiply_add, bindings, source, result) = made;
        let gpu = gpu.clone();
        let groups = [ROW / WORKGROUP, rows];
        Ok(CeilingKernels { gpu, copy, multiply_add, bindings, source, result, groups })
    }

    /// Bytes read and written by one copy.
    pub fn bytes(&self) -> u64 {
        2 * self.source.size()
    }

    /// Arithmetic operations of one dispatch of multiply-adds, each of which is two.
    pub fn operations(&self) -> u64 {
        let [x, y] = self.groups.map(u64::from);
        x * y * u64::from(2 * WORKGROUP * CHAINS * UNROLLED * ROUNDS)
    }

    /// Copies by a kernel so many times, and waits.
    ///
    /// # Errors
    /// What the device reports.
    pub fn copy_by_kernel(&self, times: usize) -> Result<(), MeasureError> {
        let rows = (self.source.size() / 16).div_ceil(u64::from(ROW)) as u32;
        self.dispatch(&self.copy, &self.bindings[0], [ROW / WORKGROUP, rows], times)
    }

    /// Copies by `copy_buffer_to_buffer` so many times, and waits.
    ///
    /// # Errors
    /// What the device reports.
    pub fn copy_by_command(&self, times: usize) -> Result<(), MeasureError> {
        self.submit(times, |encoder, count| {
            for _ in 0..count {
                encoder.copy_buffer_to_buffer(&self.source, 0, &self.result, 0, self.source.size());
            }
        })
    }

    /// Computes multiply-adds so many times, and waits.
    ///
    /// # Errors
    /// What the device reports.
    pub fn multiply_add(&self, times: usize) -> Result<(), MeasureError> {
        self.dispatch(&self.multiply_add, &self.bindings[1], self.groups, times)
    }

    fn dispatch(
        &self,
        pipeline: &wgpu::ComputePipeline,
        bindings: &wgpu::BindGroup,
        [x, y]: [u32; 2],
        times: usize,
    ) -> Result<(), MeasureError> {
        self.submit(times, |encoder, count| {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            pass.set_pipeline(pipeline);
            pass.set_bind_group(0, bindings, &[]);
            (0..count).for_each(|_| pass.dispatch_workgroups(x, y, 1));
        })
    }

    fn submit(
        &self,
        times: usize,
        encode: impl Fn(&mut wgpu::CommandEncoder, usize),
    ) -> Result<(), MeasureError> {
        let mut left = times;
        while left > 0 {
            let mut last = None;
            for _ in 0..AHEAD {
                let count = left.min(TOGETHER);
                if count == 0 {
                    break;
                }
                let mut encoder = self.gpu.device().create_command_encoder(&Default::default());
                encode(&mut encoder, count);
                last = Some(self.gpu.queue().submit([encoder.finish()]));
                left -= count;
            }
            last.map_or(Ok(()), |last| self.gpu.wait(last))?;
        }
        Ok(())
    }
}

fn entry(binding: u32, buffer: &wgpu::Buffer) -> wgpu::BindGroupEntry<'_> {
    wgpu::BindGroupEntry { binding, resource: buffer.as_entire_binding() }
}

/// The body of the loop as it stands in the file.
fn chains() -> Result<String, GpuError> {
    let section = SOURCE.split_once("//{chains\n").and_then(|(_, rest)| rest.split_once("//}"));
    let (chains, _) = section.ok_or_else(|| GpuError::Internal {
        what: "preparing the kernels of the ceilings".to_owned(),
        message: "the section `chains` is missing".to_owned(),
    })?;
    Ok(chains.trim_end_matches(' ').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_run_and_do_what_is_counted() {
        let gpu = Gpu::new().unwrap();
        let kernels = CeilingKernels::new(&gpu).unwrap();
        kernels.copy_by_command(1).unwrap();
        kernels.copy_by_kernel(TOGETHER + 1).unwrap();
        kernels.multiply_add(1).unwrap();
        gpu.healthy().unwrap();
        let invocations = u64::from(ROW) * u64::from(kernels.groups[1]);
        assert_eq!(chains().unwrap().matches("fma(").count(), CHAINS as usize);
        assert_eq!(kernels.operations(), invocations * 2 * 8 * 16 * 32);
        // All of them have a place for their result, so none is without use.
        assert!(invocations * 16 <= kernels.result.size());
    }
}
