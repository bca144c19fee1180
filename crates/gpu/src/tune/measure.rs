//! Running kernels that should compute the same on the same operands: whether they do, and how long
//! each takes.

use crate::compile::Access;
use crate::device::gpu::Gpu;
use crate::device::mapping::internal;
use crate::device::pipelines::{Kernel, bind_group_entries};
use crate::error::GpuError;
use crate::tune::clock::Time;
use crate::tune::timing::time_of_one;
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
    /// All the time that there is for measuring was too short for it.
    TooLong(TooLong),
}

/// How often a kernel is begun for which the time is too short: what the first process compiles lies in
/// the driver's cache when the second one comes, and a machine may be busy once.
pub(super) const TRIES: u32 = 2;

/// A kernel for which the time was too short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLong {
    /// All the time that a process had.
    pub budget: Duration,
    /// How many processes had as much.
    pub tries: u32,
}

impl TooLong {
    /// Whether it is worth trying again: what one budget was too short for often enough, a longer one may
    /// not be.
    pub fn again(self, time: &Time<'_>) -> bool {
        let longer = |budget| budget > self.budget || self.is_open();
        time.is_endless() || time.whole.is_some_and(longer)
    }

    /// Whether another process is to try.
    pub fn is_open(self) -> bool {
        self.tries < TRIES
    }

    /// After the time of a process was too short once more.
    fn once_more(before: Option<TooLong>, budget: Duration) -> TooLong {
        let tries =
            before.filter(|before| before.budget >= budget).map_or(0, |before| before.tries);
        TooLong { budget, tries: tries.saturating_add(1) }
    }
}

impl Outcome {
    /// The time it took, if it is one to take.
    pub fn took(self) -> Option<Duration> {
        match self {
            Outcome::Took(time) => Some(time),
            Outcome::Unfit | Outcome::TooLong(_) => None,
        }
    }

    pub fn too_long(self) -> Option<TooLong> {
        match self {
            Outcome::TooLong(too_long) => Some(too_long),
            Outcome::Took(_) | Outcome::Unfit => None,
        }
    }
}

/// What a process with this time does, of kernels of which so much is known: first those of which nothing
/// is, then those that took too long before.
fn to_try(so_far: &[Option<Outcome>], time: &Time<'_>) -> Vec<usize> {
    let of = |wanted: &dyn Fn(Option<Outcome>) -> bool| -> Vec<usize> {
        (0..so_far.len()).filter(|&at| wanted(so_far[at])).collect()
    };
    let again = |known: Option<Outcome>| {
        known.and_then(Outcome::too_long).is_some_and(|too_long| too_long.again(time))
    };
    let [new, again] = [of(&|known| known.is_none()), of(&again)];
    [new, again].concat()
}

/// The device, as far as kernels are measured one after the other.
trait Bench {
    /// Compiles a kernel. False if this device refuses it.
    fn compile(&mut self, at: usize) -> Result<bool, GpuError>;
    /// Runs a kernel that is compiled, and compares what it gives with what the first one gave, which is
    /// the first to be run.
    fn run(&mut self, at: usize, fastest: Duration) -> Result<Outcome, GpuError>;
}

/// Tries kernels until all are known or time is up, which is looked at before each is compiled and before
/// each is run. `so_far` has what is known of them, and gets what comes out; the first kernel is run in any
/// case where there is another to try, since the others' results are compared with its. Whether it gave a
/// result.
fn in_turn(
    bench: &mut dyn Bench,
    so_far: &mut [Option<Outcome>],
    time: &Time<'_>,
) -> Result<bool, GpuError> {
    let took = so_far.iter().flatten().filter_map(|outcome| outcome.took());
    let mut fastest = took.min().unwrap_or(Duration::MAX);
    let mut is_first = true;
    let others = to_try(so_far, time).into_iter().filter(|&at| at > 0);
    for at in [0].into_iter().chain(others) {
        let known = &mut so_far[at];
        let in_time = !time.is_up();
        let is_there = in_time && bench.compile(at)?;
        if time.is_up() {
            // What the whole of the time was too short for would take it from each process.
            if let (true, Some(budget)) = (at > 0 && in_time && is_first, time.whole) {
                let before = known.and_then(Outcome::too_long);
                *known = Some(Outcome::TooLong(TooLong::once_more(before, budget)));
            }
            return Ok(at > 0);
        }
        let found = if is_there { bench.run(at, fastest)? } else { Outcome::Unfit };
        if at == 0 && found == Outcome::Unfit {
            // Without the usual kernel there is nothing to compare with.
            return Ok(false);
        }
        is_first = at == 0;
        let best = match (found, *known) {
            // Of the first it is the better of this time and those before.
            (Outcome::Took(time), Some(Outcome::Took(before))) => Outcome::Took(time.min(before)),
            (found, _) => found,
        };
        if let Outcome::Took(time) = best {
            fastest = fastest.min(time);
        }
        *known = Some(best);
    }
    Ok(true)
}

/// Tries those kernels of which nothing is known so far, or that the time was too short for, the first
/// being the one whose results count, and adds what came of it. False if nothing can be told of any: they
/// would take more memory than it is worth, more time than is left, or the first is refused.
pub(super) fn measure(
    gpu: &Gpu,
    trials: &[Trial<'_>],
    bindings: &[(u64, Access)],
    so_far: &mut [Option<Outcome>],
    time: &Time<'_>,
) -> Result<bool, GpuError> {
    if time.is_up() || is_large(bindings) {
        return Ok(false);
    }
    if to_try(so_far, time).is_empty() {
        return Ok(true);
    }
    if time.is_endless() {
        // All at once. What is refused is told when it is asked for by itself.
        let kernels: Vec<Kernel<'_>> = trials.iter().map(|trial| trial.kernel).collect();
        of_this_kernel(gpu.pipelines(&kernels))?;
    }
    in_turn(&mut OnDevice::new(gpu, trials, bindings), so_far, time)
}

/// Whether the second of two kernels gives the same bits as the first one, if it can be seen to within the
/// time that there is for measuring, which `before` it was too short for; `None` if this process has no time
/// left to tell.
pub(super) fn are_alike(
    gpu: &Gpu,
    trials: &[Trial<'_>; 2],
    bindings: &[(u64, Access)],
    before: Option<TooLong>,
    time: &Time<'_>,
) -> Result<Option<Bits>, GpuError> {
    if time.is_up() || is_large(bindings) {
        return Ok(None);
    }
    let mut bench = OnDevice { is_timed: false, ..OnDevice::new(gpu, trials, bindings) };
    let mut outcomes = [None, before.map(Outcome::TooLong)];
    in_turn(&mut bench, &mut outcomes, time)?;
    let [Some(Outcome::Took(_)), Some(other)] = outcomes else { return Ok(None) };
    Ok(Some(match other {
        Outcome::Took(_) => Bits::Same,
        Outcome::Unfit => Bits::Other,
        Outcome::TooLong(too_long) => Bits::TooLong(too_long),
    }))
}

/// What came of comparing what two kernels give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bits {
    /// They give the same.
    Same,
    /// They do not, or this device refuses the second.
    Other,
    /// All the time that there is for measuring was too short to compare them.
    TooLong(TooLong),
}

impl Bits {
    /// What the time was too short for.
    pub fn too_long(self) -> Option<TooLong> {
        match self {
            Bits::TooLong(too_long) => Some(too_long),
            Bits::Same | Bits::Other => None,
        }
    }
}

/// Kernels that are measured on a device, on buffers of their own.
struct OnDevice<'a> {
    gpu: &'a Gpu,
    trials: &'a [Trial<'a>],
    bindings: &'a [(u64, Access)],
    /// Whether each is timed, or only its results are compared.
    is_timed: bool,
    pipeline: Option<Arc<wgpu::ComputePipeline>>,
    buffers: Option<Buffers>,
    /// What the first one gave.
    expected: Option<Vec<u8>>,
}

impl<'a> OnDevice<'a> {
    fn new(gpu: &'a Gpu, trials: &'a [Trial<'a>], bindings: &'a [(u64, Access)]) -> OnDevice<'a> {
        let (pipeline, buffers, expected) = (None, None, None);
        OnDevice { gpu, trials, bindings, is_timed: true, pipeline, buffers, expected }
    }
}

impl Bench for OnDevice<'_> {
    fn compile(&mut self, at: usize) -> Result<bool, GpuError> {
        let Kernel { label, source, constants, .. } = self.trials[at].kernel;
        self.pipeline = of_this_kernel(self.gpu.pipeline(label, source, constants))?;
        Ok(self.pipeline.is_some())
    }

    fn run(&mut self, at: usize, fastest: Duration) -> Result<Outcome, GpuError> {
        let Some(pipeline) = self.pipeline.take() else { return Ok(Outcome::Unfit) };
        if self.buffers.is_none() {
            self.buffers = Some(Buffers::new(self.gpu, self.bindings)?);
        }
        let Some(buffers) = &self.buffers else { return Ok(Outcome::Unfit) };
        let fastest = self.is_timed.then_some(fastest);
        let (gpu, trial) = (self.gpu, &self.trials[at]);
        let attempt = attempt(gpu, trial, pipeline, buffers, &mut self.expected, fastest);
        Ok(of_this_kernel(attempt)?.unwrap_or(Outcome::Unfit))
    }
}

fn is_large(bindings: &[(u64, Access)]) -> bool {
    bindings.iter().map(|(bytes, _)| bytes).sum::<u64>() > LARGEST
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

/// Runs a kernel, compares what it gives with what is expected, and times it against the fastest so far, if
/// it is to be timed.
fn attempt(
    gpu: &Gpu,
    trial: &Trial<'_>,
    pipeline: Arc<wgpu::ComputePipeline>,
    buffers: &Buffers,
    expected: &mut Option<Vec<u8>>,
    fastest: Option<Duration>,
) -> Result<Outcome, GpuError> {
    let ready = Ready::new(gpu, trial, pipeline, buffers)?;
    buffers.fill_results(gpu)?;
    let took = ready.run(gpu, 1)?;
    let results = buffers.results(gpu)?;
    if *expected.get_or_insert_with(|| results.clone()) != results {
        return Ok(Outcome::Unfit);
    }
    let Some(fastest) = fastest else { return Ok(Outcome::Took(took)) };
    let time = ready.time(gpu, fastest)?;
    // A GPU's driver has compiled by now, and keeps it on disk.
    let compiling = match gpu.is_cpu() && trial.is_own {
        true => took.saturating_sub(time) / PAYS_AFTER,
        false => Duration::ZERO,
    };
    Ok(Outcome::Took(time + compiling))
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

    /// The time of one run, at its best.
    fn time(&self, gpu: &Gpu, fastest: Duration) -> Result<Duration, GpuError> {
        time_of_one(fastest, &mut |runs| self.run(gpu, runs))
    }
}

#[cfg(test)]
#[path = "measure_tests.rs"]
mod tests;
