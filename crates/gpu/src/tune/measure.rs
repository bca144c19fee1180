//! Running kernels that should compute the same on the same operands: whether they do, and how long
//! each takes.

use crate::compile::Access;
use crate::device::gpu::Gpu;
use crate::device::pipelines::{Kernel, bind_group_entries};
use crate::error::GpuError;
use crate::transfer::staging::internal;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};
use warmstart_graph::random::Philox;

/// A kernel to try.
pub(super) struct Trial<'a> {
    pub kernel: Kernel<'a>,
    pub workgroups: [u32; 3],
    /// Whether it is compiled for one product alone.
    pub is_own: bool,
}

/// Larger kernels are not measured: their buffers are there a second time meanwhile, and take time to
/// fill.
const LARGEST: u64 = 256 << 20;

/// How often a kernel is measured, and for how long each time, unless one run takes longer.
const TIMES: u32 = 3;
const AT_LEAST: Duration = Duration::from_millis(1);

/// A software adapter takes as long to compile a kernel, when it first runs, as for many runs of it:
/// after so many it must have paid.
const PAYS_AFTER: u32 = 100;

/// What came of trying a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It gave the same bits as the first one, in this time. On software adapters that is of the
    /// processor, with a hundredth of the time that compiling took.
    Took(Duration),
    /// It gave other bits, or this device refuses it.
    Unfit,
}

/// What came of each kernel, the first being the one whose results count. `None` if that is not known
/// of all: they would take more memory than it is worth, or more time than is left.
pub(super) fn measure(
    gpu: &Gpu,
    trials: &[Trial<'_>],
    bindings: &[(u64, Access)],
    left: Duration,
) -> Result<Option<Vec<Outcome>>, GpuError> {
    let begun = Instant::now();
    if left.is_zero() || is_large(bindings) {
        return Ok(None);
    }
    // All at once, since each is compiled by one thread, and before any is timed.
    let pipelines = pipelines(gpu, trials)?;
    let buffers = Buffers::new(gpu, bindings)?;
    let mut expected: Option<Vec<u8>> = None;
    let mut outcomes = Vec::new();
    let mut fastest = Duration::MAX;
    for (trial, pipeline) in trials.iter().zip(pipelines) {
        if begun.elapsed() >= left {
            return Ok(None);
        }
        let outcome = match pipeline {
            Some(pipeline) => {
                let attempt = attempt(gpu, trial, pipeline, &buffers, &mut expected, fastest);
                of_this_kernel(attempt)?
            }
            None => None,
        };
        if let Some(Outcome::Took(time)) = outcome {
            fastest = fastest.min(time);
        }
        // Without the usual kernel there is nothing to compare with.
        if expected.is_none() {
            return Ok(None);
        }
        outcomes.push(outcome.unwrap_or(Outcome::Unfit));
    }
    Ok(Some(outcomes))
}

/// Whether the second of two kernels gives the same bits as the first one; `None` if that cannot be told.
pub(super) fn are_alike(
    gpu: &Gpu,
    trials: &[Trial<'_>; 2],
    bindings: &[(u64, Access)],
    left: Duration,
) -> Result<Option<bool>, GpuError> {
    if left.is_zero() || is_large(bindings) {
        return Ok(None);
    }
    let pipelines = pipelines(gpu, trials)?;
    let buffers = Buffers::new(gpu, bindings)?;
    let mut results = Vec::new();
    for (trial, pipeline) in trials.iter().zip(pipelines) {
        let first = match pipeline {
            Some(pipeline) => of_this_kernel(first_run(gpu, trial, pipeline, &buffers))?,
            None => None,
        };
        results.push(first.map(|first| first.results));
    }
    Ok(match &results[..] {
        [Some(usual), other] => Some(other.as_ref() == Some(usual)),
        _ => None,
    })
}

fn is_large(bindings: &[(u64, Access)]) -> bool {
    bindings.iter().map(|(bytes, _)| bytes).sum::<u64>() > LARGEST
}

/// A pipeline for each trial, `None` where this device refuses it.
fn pipelines(
    gpu: &Gpu,
    trials: &[Trial<'_>],
) -> Result<Vec<Option<Arc<wgpu::ComputePipeline>>>, GpuError> {
    let kernels: Vec<Kernel<'_>> = trials.iter().map(|trial| trial.kernel).collect();
    match gpu.pipelines(&kernels) {
        Ok(pipelines) => Ok(pipelines.into_iter().map(Some).collect()),
        // Those without a fault are there by now.
        Err(_) => kernels
            .iter()
            .map(|Kernel { label, source, constants }| {
                of_this_kernel(gpu.pipeline(label, source, constants))
            })
            .collect(),
    }
}

/// `None` for an error that is one kernel's alone. Those of the device, or of its memory, say nothing
/// of the kernel.
fn of_this_kernel<T>(result: Result<T, GpuError>) -> Result<Option<T>, GpuError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(GpuError::Validation { .. } | GpuError::Internal { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Runs a kernel, compares what it gives with what is expected, and times it.
fn attempt(
    gpu: &Gpu,
    trial: &Trial<'_>,
    pipeline: Arc<wgpu::ComputePipeline>,
    buffers: &Buffers,
    expected: &mut Option<Vec<u8>>,
    fastest: Duration,
) -> Result<Outcome, GpuError> {
    let First { ready, took, results } = first_run(gpu, trial, pipeline, buffers)?;
    if *expected.get_or_insert_with(|| results.clone()) != results {
        return Ok(Outcome::Unfit);
    }
    let time = ready.time(gpu, fastest)?;
    // A GPU's driver has compiled by now, and keeps it on disk.
    let compiling = match gpu.is_cpu() && trial.is_own {
        true => took.saturating_sub(time) / PAYS_AFTER,
        false => Duration::ZERO,
    };
    Ok(Outcome::Took(time + compiling))
}

/// What came of running a kernel once.
struct First {
    ready: Ready,
    took: Duration,
    results: Vec<u8>,
}

fn first_run(
    gpu: &Gpu,
    trial: &Trial<'_>,
    pipeline: Arc<wgpu::ComputePipeline>,
    buffers: &Buffers,
) -> Result<First, GpuError> {
    let ready = Ready::new(gpu, trial, pipeline, buffers)?;
    buffers.fill_results(gpu)?;
    let took = ready.run(gpu, 1)?;
    Ok(First { ready, took, results: buffers.results(gpu)? })
}

/// The time by the clock that counts. A software adapter's is that of the processor, for all threads of
/// this process: what else the machine does makes it no longer. Where the system does not tell it, and
/// for GPUs, it is the time that passes.
fn clock(is_cpu: bool) -> Duration {
    static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);
    #[cfg(target_os = "linux")]
    if is_cpu {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        return Duration::new(time.tv_sec as u64, time.tv_nsec as u32);
    }
    let _ = is_cpu;
    BEGUN.elapsed()
}

/// How many different numbers there are in a buffer. It is a prime, so that no two rows of a matrix
/// are alike and a kernel that reads the wrong one is found; making them for each place would take
/// longer than running kernels.
const NUMBERS: u64 = 65_537;

/// Numbers from -1 to 1; as `f16`, numbers from -2 to 2. To whoever reads labels or indices, some of them
/// are from 0 to 3: if none were a class, all that comes of them would be NaN and tell nothing.
fn numbers(bytes: u64, seed: u64) -> Vec<u8> {
    let random = Philox::new(seed, "operands");
    let number = |at| (random.word(at) >> 8) as f32 / (1 << 23) as f32 - 1.0;
    let word = |at| match at % 8 {
        0 => random.word(at) & 3,
        // Of two `f16` in a word the first would have any exponent, that of NaN included.
        _ => number(at).to_bits() & !0x4000,
    };
    let words = (bytes / 4) as usize;
    let some: Vec<u8> =
        (0..NUMBERS.min(words as u64)).map(word).flat_map(u32::to_le_bytes).collect();
    let mut all = some.repeat(words.div_ceil(NUMBERS as usize));
    all.truncate(words * 4);
    all
}

/// Buffers like those of a dispatch, with operands of our own.
struct Buffers {
    all: Vec<wgpu::Buffer>,
    /// Those that are written, with what lies in them before.
    written: Vec<(usize, Vec<u8>)>,
    readback: wgpu::Buffer,
}

impl Buffers {
    fn new(gpu: &Gpu, bindings: &[(u64, Access)]) -> Result<Buffers, GpuError> {
        let usage = wgpu::BufferUsages::STORAGE
            | wgpu::BufferUsages::COPY_DST
            | wgpu::BufferUsages::COPY_SRC;
        let (mut all, mut written, mut size) = (Vec::new(), Vec::new(), 0);
        for (at, &(bytes, access)) in bindings.iter().enumerate() {
            let numbers = numbers(bytes, at as u64);
            let buffer = gpu.buffer(WHAT, numbers.len() as u64, usage)?;
            gpu.checked(WHAT, |_| gpu.queue().write_buffer(&buffer, 0, &numbers))?;
            all.push(buffer);
            if access == Access::Write {
                size += numbers.len() as u64;
                written.push((at, numbers));
            }
        }
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let readback = gpu.buffer(WHAT, size.max(4), usage)?;
        Ok(Buffers { all, written, readback })
    }

    /// Puts back what a kernel before has written, so that what one leaves out shows.
    fn fill_results(&self, gpu: &Gpu) -> Result<(), GpuError> {
        gpu.checked(WHAT, |_| {
            for (at, numbers) in &self.written {
                gpu.queue().write_buffer(&self.all[*at], 0, numbers);
            }
        })
    }

    /// All that was written.
    fn results(&self, gpu: &Gpu) -> Result<Vec<u8>, GpuError> {
        let submission = gpu.checked(WHAT, |device| {
            let mut encoder = device.create_command_encoder(&Default::default());
            let mut to = 0;
            for (at, _) in &self.written {
                let buffer = &self.all[*at];
                encoder.copy_buffer_to_buffer(buffer, 0, &self.readback, to, buffer.size());
                to += buffer.size();
            }
            gpu.queue().submit([encoder.finish()])
        })?;
        gpu.checked(WHAT, |_| {
            self.readback.map_async(wgpu::MapMode::Read, .., |_| {
                // A mapping fails only with the device, and then the wait says so.
            });
        })?;
        gpu.wait_alone(submission)?;
        let view = self.readback.get_mapped_range(..).map_err(|error| internal(WHAT, error))?;
        let results = view.to_vec();
        drop(view);
        self.readback.unmap();
        Ok(results)
    }
}

const WHAT: &str = "measuring kernels";

/// A kernel that is ready to run.
struct Ready {
    pipeline: Arc<wgpu::ComputePipeline>,
    group: wgpu::BindGroup,
    workgroups: [u32; 3],
}

impl Ready {
    fn new(
        gpu: &Gpu,
        trial: &Trial<'_>,
        pipeline: Arc<wgpu::ComputePipeline>,
        buffers: &Buffers,
    ) -> Result<Ready, GpuError> {
        let entries = bind_group_entries(buffers.all.iter().map(wgpu::Buffer::as_entire_binding));
        let group = gpu.checked(WHAT, |device| {
            device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some(trial.kernel.label),
                layout: &pipeline.get_bind_group_layout(0),
                entries: &entries,
            })
        })?;
        Ok(Ready { pipeline, group, workgroups: trial.workgroups })
    }

    /// Runs it so many times, and waits.
    fn run(&self, gpu: &Gpu, times: u32) -> Result<Duration, GpuError> {
        let begun = clock(gpu.is_cpu());
        let submission = gpu.checked(WHAT, |device| {
            let mut encoder = device.create_command_encoder(&Default::default());
            let mut pass = encoder.begin_compute_pass(&Default::default());
            pass.set_pipeline(&self.pipeline);
            pass.set_bind_group(0, &self.group, &[]);
            let [x, y, z] = self.workgroups;
            for _ in 0..times {
                pass.dispatch_workgroups(x, y, z);
            }
            drop(pass);
            gpu.queue().submit([encoder.finish()])
        })?;
        gpu.wait_alone(submission)?;
        Ok(clock(gpu.is_cpu()).saturating_sub(begun))
    }

    /// The time of one run, at its best, unless the first is far from the fastest kernel's so far:
    /// slow kernels would take the time that there is for all.
    fn time(&self, gpu: &Gpu, fastest: Duration) -> Result<Duration, GpuError> {
        let once = self.run(gpu, 1)?.max(Duration::from_micros(1));
        if once > fastest.saturating_mul(4).max(AT_LEAST) {
            return Ok(once);
        }
        let runs = (AT_LEAST.as_nanos() / once.as_nanos()).clamp(1, 100) as u32;
        let mut best = Duration::MAX;
        for _ in 0..TIMES {
            best = best.min(self.run(gpu, runs)? / runs);
        }
        Ok(best)
    }
}
