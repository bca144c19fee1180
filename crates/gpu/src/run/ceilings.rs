//! What an adapter can do at best: moving bytes in its memory, and multiply-adds.
//!
//! Three kinds of work are timed by the clock that people go by, in turn, so that what else the machine does
//! hits all of them alike; of each the median round counts. `Gpu::measure_ceilings` does so once, in
//! about half a second, and every profile after it has the outcome; where rounds differ as they do if
//! something else runs meanwhile, whoever asks next measures again. `warmstart bench` times the same kernels
//! for longer, in turn with what it holds against them.

use crate::device::gpu::Gpu;
use crate::device::locked;
use crate::device::pipelines::bind_group_entries;
use crate::error::GpuError;
use crate::run::roof::Roof;
use std::sync::Arc;
use std::time::{Duration, Instant};
use warmstart_shaders as shaders;

/// Kernels that do nothing but what is to be measured, and memory for them. Who only wants to know the
/// ceilings calls [`Gpu::measure_ceilings`]; this is for timing them in turn with other work.
pub struct CeilingKernels {
    copy: Arc<wgpu::ComputePipeline>,
    multiply_add: Arc<wgpu::ComputePipeline>,
    bindings: [wgpu::BindGroup; 2],
    source: wgpu::Buffer,
    result: wgpu::Buffer,
    /// Workgroups for all multiply-adds, along x and y.
    groups: [u32; 2],
    // Last, so that the device is closed last.
    gpu: Gpu,
}

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

/// Rounds in which all three kinds of work are timed, and about how long each is timed in one.
const TIMED: usize = 5;
const ROUND: Duration = Duration::from_millis(20);

/// How many times as long as the fastest round the median one may take. With more something else ran
/// in most rounds.
const STEADY: f64 = 1.5;

/// Ceilings that were measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Measured {
    roof: Roof,
    /// Whether the rounds took about as long as each other.
    is_steady: bool,
}

impl Measured {
    /// What is known after measuring again: nothing else that runs makes a device faster, so the higher
    /// rates count.
    fn or(self, before: Option<Measured>) -> Measured {
        let Some(Measured { roof: before, .. }) = before else { return self };
        let Roof { bytes_per_second, operations_per_second } = self.roof;
        let roof = Roof {
            bytes_per_second: bytes_per_second.max(before.bytes_per_second),
            operations_per_second: operations_per_second.max(before.operations_per_second),
        };
        Measured { roof, ..self }
    }
}

/// What is known of the ceilings once they are steady, or after this measurement. An error leaves what was
/// known.
fn known_or(
    known: &mut Option<Measured>,
    measure: impl FnOnce() -> Result<Measured, GpuError>,
) -> Result<Roof, GpuError> {
    match known {
        Some(Measured { roof, is_steady: true }) => Ok(*roof),
        before => Ok(before.insert(measure()?.or(*before)).roof),
    }
}

/// The median of what the rounds of a kind took, and whether they are about alike.
fn median(mut seconds: [f64; TIMED]) -> (f64, bool) {
    seconds.sort_by(f64::total_cmp);
    let median = seconds[TIMED / 2];
    (median, median <= STEADY * seconds[0])
}

impl Gpu {
    /// Measures what the adapter can do at best, by copies and by multiply-adds in registers: about half a
    /// second, and half a GiB of device memory meanwhile (an eighth on software adapters). It is done once
    /// for a `Gpu` and its clones, if nothing disturbs it; every [`Profile`](crate::Profile) that is made
    /// later has it as its `roof` and shows which share of it each kernel reaches. Nothing else should run
    /// on the device meanwhile: where rounds differ too much for that, the next call measures again, and
    /// the higher rates count.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let gpu = warmstart_gpu::Gpu::new()?;
    /// assert_eq!(gpu.ceilings(), None);
    /// let roof = gpu.measure_ceilings()?;
    /// assert!(roof.bytes_per_second > 0.0 && roof.operations_per_second > 0.0);
    /// assert_eq!(gpu.ceilings(), Some(roof));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// What the device reports.
    pub fn measure_ceilings(&self) -> Result<Roof, GpuError> {
        // Who else asks meanwhile waits, and gets the same.
        let mut known = locked(self.known_ceilings());
        known_or(&mut known, || CeilingKernels::new(self)?.measure())
    }

    /// What [`Gpu::measure_ceilings`] has measured, if it has.
    pub fn ceilings(&self) -> Option<Roof> {
        locked(self.known_ceilings()).map(|known| known.roof)
    }
}

impl CeilingKernels {
    /// By median rounds, of the two copies the faster.
    fn measure(&self) -> Result<Measured, GpuError> {
        let kinds: [&dyn Fn(usize) -> Result<(), GpuError>; 3] =
            [&|times| self.copy_by_kernel(times), &|times| self.copy_by_command(times), &|times| {
                self.multiply_add(times)
            }];
        let timed = |work: &dyn Fn(usize) -> Result<(), GpuError>, times| {
            let begun = Instant::now();
            work(times)?;
            Ok::<f64, GpuError>(begun.elapsed().max(Duration::from_nanos(1)).as_secs_f64())
        };
        let mut times = [1; 3];
        for (work, times) in kinds.iter().zip(&mut times) {
            // Caches, and what drivers only do when a kernel first runs.
            work(1)?;
            *times = ((ROUND.as_secs_f64() / timed(work, 1)?) as usize).clamp(1, 10_000);
        }
        let mut seconds = [[0.0; TIMED]; 3];
        for round in 0..TIMED {
            for ((work, times), seconds) in kinds.iter().zip(times).zip(&mut seconds) {
                seconds[round] = timed(work, times)? / times as f64;
            }
        }
        let medians = seconds.map(median);
        let [by_kernel, by_command, multiply_add] = medians.map(|(median, _)| median);
        let roof = Roof {
            bytes_per_second: self.bytes() as f64 / by_kernel.min(by_command),
            operations_per_second: self.operations() as f64 / multiply_add,
        };
        Ok(Measured { roof, is_steady: medians.iter().all(|(_, is_steady)| *is_steady) })
    }

    /// Compiles them, and allocates their memory.
    ///
    /// # Errors
    /// What the device reports.
    pub fn new(gpu: &Gpu) -> Result<CeilingKernels, GpuError> {
        // More than caches hold. Software adapters need little to be busy.
        let wanted: u64 = if gpu.is_cpu() { 64 << 20 } else { 256 << 20 };
        let limits = gpu.limits();
        let most = limits.max_storage_buffer_binding_size.min(limits.max_buffer_size);
        let size = wanted.min(most / 16 * 16);
        let rows: u32 = if gpu.is_cpu() { 1 } else { 16 };
        let chains = chains()?.repeat(UNROLLED as usize);
        let multiply_add = shaders::fill(shaders::MULTIPLY_ADD, &[("chains", chains)]);
        let row = ("ROW", f64::from(ROW));
        let copy = gpu.pipeline("copy", shaders::COPY, &[row])?;
        let rounds = ("ROUNDS", f64::from(ROUNDS));
        let multiply_add = gpu.pipeline("multiply_add", &multiply_add, &[rounds, row])?;
        let usage = wgpu::BufferUsages::STORAGE
            | wgpu::BufferUsages::COPY_SRC
            | wgpu::BufferUsages::COPY_DST;
        let buffer = |what| gpu.buffer(what, size, usage);
        let (source, result) = (buffer("what is copied from")?, buffer("what is copied to")?);
        let bindings = gpu.checked("the bind groups of the ceilings", |device| {
            [&copy, &multiply_add].map(|pipeline| {
                let both = [&source, &result].map(wgpu::Buffer::as_entire_binding);
                device.create_bind_group(&wgpu::BindGroupDescriptor {
                    label: Some("ceilings"),
                    layout: &pipeline.get_bind_group_layout(0),
                    entries: &bind_group_entries(both),
                })
            })
        })?;
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
    pub fn copy_by_kernel(&self, times: usize) -> Result<(), GpuError> {
        let rows = (self.source.size() / 16).div_ceil(u64::from(ROW)) as u32;
        self.dispatch(&self.copy, &self.bindings[0], [ROW / WORKGROUP, rows], times)
    }

    /// Copies by `copy_buffer_to_buffer` so many times, and waits.
    ///
    /// # Errors
    /// What the device reports.
    pub fn copy_by_command(&self, times: usize) -> Result<(), GpuError> {
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
    pub fn multiply_add(&self, times: usize) -> Result<(), GpuError> {
        self.dispatch(&self.multiply_add, &self.bindings[1], self.groups, times)
    }

    fn dispatch(
        &self,
        pipeline: &wgpu::ComputePipeline,
        bindings: &wgpu::BindGroup,
        [x, y]: [u32; 2],
        times: usize,
    ) -> Result<(), GpuError> {
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
    ) -> Result<(), GpuError> {
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

/// The body of the loop as it stands in the file.
fn chains() -> Result<String, GpuError> {
    let section = shaders::MULTIPLY_ADD
        .split_once("//{chains\n")
        .and_then(|(_, rest)| rest.split_once("//}"));
    let (chains, _) = section.ok_or_else(|| GpuError::Internal {
        what: "preparing the kernels of the ceilings".to_owned(),
        message: "the section `chains` is missing".to_owned(),
    })?;
    Ok(chains.trim_end_matches(' ').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All who have the device know them.
    #[test]
    fn ceilings_are_those_of_a_device() {
        let gpu = Gpu::new().unwrap();
        assert_eq!(gpu.ceilings(), None);
        let roof = gpu.measure_ceilings().unwrap();
        for rate in [roof.bytes_per_second, roof.operations_per_second] {
            assert!(rate > 0.0 && rate.is_finite(), "{roof:?}");
        }
        assert_eq!(gpu.clone().ceilings(), Some(roof));
        // Another measurement would be another number.
        if let Some(known) = locked(gpu.known_ceilings()).as_mut() {
            known.is_steady = true;
        }
        assert_eq!(gpu.clone().measure_ceilings().unwrap(), roof);
    }

    /// One bad measurement does not stay, and neither does an error.
    #[test]
    fn ceilings_are_measured_until_they_are_steady() {
        let roof = |bytes_per_second, operations_per_second| Roof {
            bytes_per_second,
            operations_per_second,
        };
        let measured = |roof, is_steady| move || Ok(Measured { roof, is_steady });
        let failed = || Err(GpuError::DeviceLost { reason: "a test".to_owned() });
        let mut known = None;
        assert!(known_or(&mut known, failed).is_err());
        assert_eq!(known, None);
        assert_eq!(known_or(&mut known, measured(roof(1.0, 8.0), false)).unwrap(), roof(1.0, 8.0));
        // Of what was disturbed the best counts.
        assert!(known_or(&mut known, failed).is_err());
        assert_eq!(known_or(&mut known, measured(roof(2.0, 7.0), false)).unwrap(), roof(2.0, 8.0));
        assert_eq!(known_or(&mut known, measured(roof(4.0, 9.0), true)).unwrap(), roof(4.0, 9.0));
        // Then it is known.
        assert_eq!(known_or(&mut known, failed).unwrap(), roof(4.0, 9.0));
    }

    #[test]
    fn rounds_are_steady_if_the_median_is_near_the_fastest() {
        assert_eq!(median([9.0, 2.0, 2.5, 3.0, 9.0]), (3.0, true));
        assert_eq!(median([9.0, 2.0, 2.5, 3.1, 9.0]), (3.1, false));
    }

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
