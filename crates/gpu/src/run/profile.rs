//! How long each kernel of a plan takes, from the device's own clock.
//!
//! A profile is a run with a pass and two timestamps for each kernel. What busy and idle mean is
//! defined here and nowhere else: a device is busy while at least one kernel runs
//! (`Profile::busy`), and idle for the rest of the time that one asks about. That is the timed run
//! (`idle_share`), or a step that was measured without timestamps (`idle_share_of`), which has less
//! between its kernels. Traces tell the former, as `idle_share_of_span`, and `warmstart bench train
//! --profile` the latter, as `idle_share_of_step`.

use crate::device::adapter::AdapterSummary;
use crate::device::gpu::Gpu;
use crate::device::mapping::internal;
use crate::error::GpuError;
use crate::plan::{DispatchInfo, Launch, Plan};
use crate::run::feed::Feed;
use crate::run::roof::Roof;
use crate::run::upload::Uploads;
use crate::run_error::RunError;
use crate::session::Session;
use comfy_table::{CellAlignment, Table, presets};
use std::fmt;
use std::sync::PoisonError;
use std::time::Duration;
use warmstart_graph::words::three_digits;

/// Pairs of timestamps that one query set holds.
const PAIRS: usize = wgpu::QUERY_SET_MAX_QUERIES as usize / 2;

/// One run of a plan, or several steps of one submission, kernel by kernel. Printing it gives a
/// table; [`Profile::chrome_trace`] a picture. Both show which share of its ceiling each kernel
/// reaches, if the ceilings are known.
///
/// A device is **busy** while at least one kernel runs, and **idle** for the rest of the time. A timed run
/// has a pass for each kernel, with more between them than in other runs; so
/// [`idle_share`](Profile::idle_share), which is that of the timed run itself, is more than that of a step
/// which was measured apart ([`idle_share_of`](Profile::idle_share_of)).
#[derive(Clone, Debug)]
pub struct Profile {
    /// Where it ran.
    pub adapter: AdapterSummary,
    /// What the adapter can do at best, if that was measured before
    /// ([`Gpu::measure_ceilings`](crate::Gpu::measure_ceilings)), or whoever has the profile says so.
    pub roof: Option<Roof>,
    /// Each dispatch with its time on the device, in order.
    pub dispatches: Vec<TimedDispatch>,
}

/// A dispatch as the device ran it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimedDispatch {
    /// What it is.
    pub info: DispatchInfo,
    /// When it began, after the first dispatch did.
    pub start: Duration,
    /// How long it took.
    pub time: Duration,
}

impl TimedDispatch {
    /// Bytes moved, in GB/s; None if it took no time.
    pub fn gigabytes_per_second(&self) -> Option<f64> {
        self.per_nanosecond(self.info.bytes)
    }

    /// Arithmetic operations, in GFLOP/s; None if it took no time.
    pub fn gigaflops_per_second(&self) -> Option<f64> {
        self.per_nanosecond(self.info.arithmetic)
    }

    /// An amount in each nanosecond, which is 10⁹ of it in each second.
    fn per_nanosecond(&self, amount: u64) -> Option<f64> {
        (!self.time.is_zero()).then(|| amount as f64 / self.time.as_nanos() as f64)
    }
}

impl Profile {
    /// The time of all kernels together. Of kernels that ran at once, each counts.
    pub fn total(&self) -> Duration {
        self.dispatches.iter().map(|dispatch| dispatch.time).sum()
    }

    /// The time from the beginning of the first kernel to the end of the last.
    pub fn span(&self) -> Duration {
        let ends = self.dispatches.iter().map(|dispatch| dispatch.start + dispatch.time);
        ends.max().unwrap_or_default()
    }

    /// The time in which at least one kernel ran.
    pub fn busy(&self) -> Duration {
        let mut times: Vec<_> =
            self.dispatches.iter().map(|d| (d.start, d.start + d.time)).collect();
        times.sort();
        let (mut busy, mut until) = (Duration::ZERO, Duration::ZERO);
        for (start, end) in times {
            busy += end.saturating_sub(start.max(until));
            until = until.max(end);
        }
        busy
    }

    /// The part of [`Profile::span`] in which no kernel ran, from 0 to 1; 0 if nothing took time.
    pub fn idle_share(&self) -> f64 {
        Profile::idle_share_within(self.busy(), self.span()).unwrap_or_default()
    }

    /// The part of a step in which no kernel runs, from 0 to 1, if the step takes so long when it is not
    /// timed kernel by kernel, and its kernels as long as here. Timed kernels run one by one and may be
    /// slower for it: where they take longer than the whole step, it cannot be told, and is None.
    ///
    /// ```no_run
    /// # use std::time::Instant;
    /// # use warmstart_gpu::{Feed, Plan, RunError, Session};
    /// # fn idle(mut session: Session, plan: Plan, feeds: &[(&str, Feed<'_>)]) -> Result<Option<f64>, RunError> {
    /// let begun = Instant::now();
    /// for _ in 0..99 {
    ///     session.run(&plan, feeds)?;
    /// }
    /// session.run(&plan, feeds)?.wait()?;
    /// let step = begun.elapsed() / 100;
    /// Ok(session.profile(&plan, feeds)?.idle_share_of(step))
    /// # }
    /// ```
    pub fn idle_share_of(&self, step: Duration) -> Option<f64> {
        Profile::idle_share_within(self.busy(), step)
    }

    /// The part of a step in which no kernel runs, from 0 to 1, if kernels keep the device busy for `busy` of
    /// its time: [`idle_share_of`](Profile::idle_share_of) of a time that is not one profile's, such as the
    /// median of several. None if the step takes no time, or less than its kernels.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use warmstart_gpu::Profile;
    /// let (busy, step) = (Duration::from_micros(30), Duration::from_micros(40));
    /// assert_eq!(Profile::idle_share_within(busy, step), Some(0.25));
    /// assert_eq!(Profile::idle_share_within(step, busy), None);
    /// ```
    pub fn idle_share_within(busy: Duration, step: Duration) -> Option<f64> {
        let share = 1.0 - busy.as_secs_f64() / step.as_secs_f64();
        // Neither of a step that took no time, nor of one that was faster than its kernels by themselves.
        (share >= 0.0).then_some(share)
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        let mut header = vec!["", "operations", "kernel", "µs", "GB/s", "GFLOP/s"];
        if self.roof.is_some() {
            header.extend(["of ceiling", "bound by"]);
        }
        table.set_header(header);
        let rate = |rate: Option<f64>| rate.map_or("-".to_owned(), three_digits);
        for (at, dispatch) in self.dispatches.iter().enumerate() {
            let TimedDispatch { info, time, .. } = dispatch;
            let mut row = vec![
                at.to_string(),
                info.operations.clone(),
                info.kernel.to_owned(),
                format!("{:.1}", time.as_secs_f64() * 1e6),
                rate(dispatch.gigabytes_per_second()),
                rate(dispatch.gigaflops_per_second()),
            ];
            if let Some(roof) = &self.roof {
                let share = roof.share(info, *time);
                row.push(share.map_or("-".to_owned(), |share| format!("{:.1} %", share * 100.0)));
                row.push(roof.least_seconds(info).1.to_string());
            }
            table.add_row(row);
        }
        for column in [0, 3, 4, 5, 6] {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        let [busy, span] = [self.busy(), self.span()].map(|time| time.as_secs_f64() * 1e6);
        let idle = self.idle_share() * 100.0;
        write!(f, "{}\n{busy:.1} µs in kernels; ", table.trim_fmt())?;
        write!(f, "the device was idle for {idle:.1} % of {span:.1} µs")
    }
}

impl Session {
    /// Runs a plan once with a timestamp before and after each kernel, and waits for it. The
    /// kernels have a pass each then, so the whole takes longer than a run; variables change as in
    /// a run. [`Session::profile_steps`] does so with steps whose batches come from a data set.
    ///
    /// If the ceilings of the adapter were measured before, the profile has them.
    ///
    /// ```no_run
    /// # use warmstart_gpu::{Feed, Gpu, Plan, RunError, Session};
    /// # fn show(gpu: Gpu, mut session: Session, plan: Plan, feeds: &[(&str, Feed<'_>)]) -> Result<(), RunError> {
    /// gpu.measure_ceilings()?;
    /// let profile = session.profile(&plan, feeds)?;
    /// // Time, bytes and operations of each kernel, and which share of the ceiling that is.
    /// println!("{profile}");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`RunError::NoTimestamps`] if the adapter has no timestamp queries; else as
    /// [`Session::run`]. If it is the wait that fails, variables count as changed: the device has been
    /// told to.
    pub fn profile(
        &mut self,
        plan: &Plan,
        feeds: &[(&str, Feed<'_>)],
    ) -> Result<Profile, RunError> {
        let timed = self.submit_timed(plan, feeds)?;
        Ok(self.profile_of(timed.wait()?))
    }

    /// Submits it. As after a run, variables have changed from then on, whether anybody waits to the
    /// end or not; and what the plan uploads by is free again.
    fn submit_timed(
        &mut self,
        plan: &Plan,
        feeds: &[(&str, Feed<'_>)],
    ) -> Result<Timing, RunError> {
        self.with_timestamps()?;
        let values = self.check(plan, feeds, None)?;
        let kernels: Vec<Timed<'_>> = plan.launches.iter().map(Timed::of).collect();
        let mut uploads = plan.uploads.lock().unwrap_or_else(PoisonError::into_inner);
        let timing = Timing::submit(&plan.gpu, &mut uploads, &kernels, |encoder, upload| {
            if let Some(upload) = upload {
                plan.fill_feeds(upload, &values)?;
                upload.unmap();
                plan.copy_feeds(upload, &values, encoder);
            }
            Ok(())
        })?;
        self.mark(plan);
        Ok(timing)
    }

    /// Refuses a device that has no timestamps.
    pub(super) fn with_timestamps(&self) -> Result<(), RunError> {
        match self.gpu.features().contains(wgpu::Features::TIMESTAMP_QUERY) {
            true => Ok(()),
            false => Err(RunError::NoTimestamps),
        }
    }

    pub(super) fn profile_of(&self, dispatches: Vec<TimedDispatch>) -> Profile {
        Profile { adapter: self.gpu.summary(), roof: self.gpu.ceilings(), dispatches }
    }
}

/// A dispatch to be timed.
pub(super) struct Timed<'a> {
    pub info: &'a DispatchInfo,
    pub dispatch: Box<dyn Fn(&mut wgpu::ComputePass<'_>) + 'a>,
}

impl<'a> Timed<'a> {
    pub fn of(launch: &'a Launch) -> Timed<'a> {
        Timed { info: &launch.info, dispatch: Box::new(|pass| launch.dispatch(pass)) }
    }
}

/// Kernels that were submitted to be timed.
pub(super) struct Timing {
    kernels: Vec<DispatchInfo>,
    /// Two timestamps for each of them.
    readback: wgpu::Buffer,
    submission: wgpu::SubmissionIndex,
    // Last, so that it is let go of last (device/closing.rs).
    gpu: Gpu,
}

impl Timing {
    /// Submits what is uploaded by `begin` and then each of these in a pass of its own.
    pub fn submit(
        gpu: &Gpu,
        uploads: &mut Uploads,
        kernels: &[Timed<'_>],
        begin: impl FnOnce(&mut wgpu::CommandEncoder, Option<&wgpu::Buffer>) -> Result<(), GpuError>,
    ) -> Result<Timing, GpuError> {
        let bytes = (kernels.len().max(1) * 16) as u64;
        let usage = wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC;
        // Each query set is resolved to a place of its own, at a multiple of 256.
        let resolved = gpu.buffer("timestamps", bytes.next_multiple_of(256), usage)?;
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let readback = gpu.buffer("timestamps read back", bytes.next_multiple_of(256), usage)?;
        let submission = uploads.submit(gpu, "a timed run", |encoder, upload| {
            begin(encoder, upload)?;
            for (part, kernels) in kernels.chunks(PAIRS).enumerate() {
                let queries = gpu.device().create_query_set(&wgpu::QuerySetDescriptor {
                    label: Some("timestamps"),
                    ty: wgpu::QueryType::Timestamp,
                    count: 2 * kernels.len() as u32,
                });
                for (at, Timed { info, dispatch }) in kernels.iter().enumerate() {
                    let timestamps = wgpu::ComputePassTimestampWrites {
                        query_set: &queries,
                        beginning_of_pass_write_index: Some(2 * at as u32),
                        end_of_pass_write_index: Some(2 * at as u32 + 1),
                    };
                    let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                        label: Some(info.kernel),
                        timestamp_writes: Some(timestamps),
                    });
                    dispatch(&mut pass);
                }
                let place = (part * PAIRS * 16) as u64;
                encoder.resolve_query_set(&queries, 0..2 * kernels.len() as u32, &resolved, place);
            }
            encoder.copy_buffer_to_buffer(&resolved, 0, &readback, 0, bytes);
            Ok(())
        })?;
        let kernels = kernels.iter().map(|kernel| kernel.info.clone()).collect();
        Ok(Timing { kernels, readback, submission, gpu: gpu.clone() })
    }

    /// Waits for them: when each began, after the first did, and how long it took.
    pub fn wait(self) -> Result<Vec<TimedDispatch>, GpuError> {
        // What is declared first is dropped last.
        let Timing { gpu, kernels, readback, submission } = self;
        let bytes = (kernels.len().max(1) * 16) as u64;
        readback.map_async(wgpu::MapMode::Read, ..bytes, |_| {
            // A mapping fails only with the device, and then the wait says so.
        });
        gpu.wait(submission)?;
        let view = readback
            .get_mapped_range(..bytes)
            .map_err(|error| internal("reading timestamps", error))?;
        let period = f64::from(gpu.queue().get_timestamp_period());
        let stamp = |eight: &[u8]| {
            eight.iter().rev().fold(0u64, |stamp, byte| stamp << 8 | u64::from(*byte))
        };
        let stamps = view.chunks_exact(16).take(kernels.len());
        let stamps: Vec<_> = stamps.map(|pair| (stamp(&pair[..8]), stamp(&pair[8..]))).collect();
        // Clocks count from long ago: what is made a float is the difference.
        let first = stamps.iter().map(|(start, _)| *start).min().unwrap_or_default();
        let since = |from: u64, to: u64| {
            Duration::from_nanos((to.saturating_sub(from) as f64 * period) as u64)
        };
        let times = kernels.into_iter().zip(stamps).map(|(info, (start, end))| TimedDispatch {
            info,
            start: since(first, start),
            time: since(start, end),
        });
        Ok(times.collect())
    }
}

#[cfg(test)]
#[path = "profile_tests.rs"]
mod tests;
