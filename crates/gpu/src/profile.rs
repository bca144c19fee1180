//! How long each kernel of a plan takes, from the device's own clock.

use crate::adapter::AdapterSummary;
use crate::error::GpuError;
use crate::feed::Feed;
use crate::plan::{DispatchInfo, Plan};
use crate::plan_error::RunError;
use crate::session::Session;
use crate::staging::internal;
use comfy_table::{CellAlignment, Table, presets};
use std::fmt;
use std::sync::PoisonError;
use std::time::Duration;

/// Pairs of timestamps that one query set holds.
const PAIRS: usize = wgpu::QUERY_SET_MAX_QUERIES as usize / 2;

/// One run of a plan, kernel by kernel. Printing it gives a table; [`Profile::chrome_trace`] a
/// picture.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Where it ran.
    pub adapter: AdapterSummary,
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

impl Profile {
    /// The time of all kernels together, without what lies between them.
    pub fn total(&self) -> Duration {
        self.dispatches.iter().map(|dispatch| dispatch.time).sum()
    }

    /// The time from the beginning of the first kernel to the end of the last.
    pub fn span(&self) -> Duration {
        let ends = self.dispatches.iter().map(|dispatch| dispatch.start + dispatch.time);
        ends.max().unwrap_or_default()
    }

    /// The part of [`Profile::span`] in which no kernel ran, from 0 to 1. In a run, kernels share
    /// one pass and less lies between them.
    pub fn idle_share(&self) -> f64 {
        let mut times: Vec<_> =
            self.dispatches.iter().map(|d| (d.start, d.start + d.time)).collect();
        times.sort();
        let (mut busy, mut until) = (Duration::ZERO, Duration::ZERO);
        for (start, end) in times {
            busy += end.saturating_sub(start.max(until));
            until = until.max(end);
        }
        match self.span().as_secs_f64() {
            0.0 => 0.0,
            span => 1.0 - busy.as_secs_f64() / span,
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(["", "operations", "kernel", "µs", "GB/s", "GFLOP/s"]);
        let rate = |amount: u64, time: Duration| match time.as_secs_f64() {
            0.0 => "-".to_owned(),
            seconds => format!("{:.2}", amount as f64 / seconds / 1e9),
        };
        for (at, TimedDispatch { info, time, .. }) in self.dispatches.iter().enumerate() {
            table.add_row([
                at.to_string(),
                info.operations.clone(),
                info.kernel.to_owned(),
                format!("{:.1}", time.as_secs_f64() * 1e6),
                rate(info.bytes, *time),
                rate(info.arithmetic, *time),
            ]);
        }
        for column in [0, 3, 4, 5] {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        let [total, span] = [self.total(), self.span()].map(|time| time.as_secs_f64() * 1e6);
        let idle = self.idle_share() * 100.0;
        write!(f, "{}\n{total:.1} µs in kernels; ", table.trim_fmt())?;
        write!(f, "the device was idle for {idle:.1} % of {span:.1} µs")
    }
}

impl Session {
    /// Runs a plan once with a timestamp before and after each kernel, and waits for it. The
    /// kernels have a pass each then, so the whole takes longer than a run; variables change as in
    /// a run.
    ///
    /// # Errors
    /// [`RunError::NoTimestamps`] if the adapter has no timestamp queries; else as
    /// [`Session::run`].
    pub fn profile(
        &mut self,
        plan: &Plan,
        feeds: &[(&str, Feed<'_>)],
    ) -> Result<Profile, RunError> {
        if !self.gpu.features().contains(wgpu::Features::TIMESTAMP_QUERY) {
            return Err(RunError::NoTimestamps);
        }
        let values = self.check(plan, feeds, None)?;
        let times = plan.timed(&values)?;
        self.mark(plan);
        let timed = plan.dispatches().into_iter().zip(times);
        let dispatches =
            timed.map(|(info, (start, time))| TimedDispatch { info, start, time }).collect();
        Ok(Profile { adapter: self.gpu.summary(), dispatches })
    }
}

impl Plan {
    /// When each kernel began, after the first did, and how long it took.
    fn timed(&self, values: &[&[u8]]) -> Result<Vec<(Duration, Duration)>, GpuError> {
        let gpu = &self.gpu;
        let count = self.launches.len();
        let bytes = (count.max(1) * 16) as u64;
        let usage = wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC;
        // Each query set is resolved to a place of its own, at a multiple of 256.
        let resolved = gpu.buffer("timestamps", bytes.next_multiple_of(256), usage)?;
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let readback = gpu.buffer("timestamps read back", bytes.next_multiple_of(256), usage)?;
        let mut uploads = self.uploads.lock().unwrap_or_else(PoisonError::into_inner);
        let submission = uploads.submit(gpu, "a timed run", |encoder, upload| {
            if let Some(upload) = upload {
                self.fill_feeds(upload, values)?;
                upload.unmap();
                self.copy_feeds(upload, values, encoder);
            }
            for (part, launches) in self.launches.chunks(PAIRS).enumerate() {
                let queries = gpu.device().create_query_set(&wgpu::QuerySetDescriptor {
                    label: Some("timestamps"),
                    ty: wgpu::QueryType::Timestamp,
                    count: 2 * launches.len() as u32,
                });
                for (at, launch) in launches.iter().enumerate() {
                    let timestamps = wgpu::ComputePassTimestampWrites {
                        query_set: &queries,
                        beginning_of_pass_write_index: Some(2 * at as u32),
                        end_of_pass_write_index: Some(2 * at as u32 + 1),
                    };
                    let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                        label: Some(launch.info.kernel),
                        timestamp_writes: Some(timestamps),
                    });
                    launch.dispatch(&mut pass);
                }
                let place = (part * PAIRS * 16) as u64;
                encoder.resolve_query_set(&queries, 0..2 * launches.len() as u32, &resolved, place);
            }
            encoder.copy_buffer_to_buffer(&resolved, 0, &readback, 0, bytes);
            Ok(())
        })?;
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
        let stamps = view.chunks_exact(16).take(count);
        let stamps: Vec<_> = stamps.map(|pair| (stamp(&pair[..8]), stamp(&pair[8..]))).collect();
        // Clocks count from long ago: what is made a float is the difference.
        let first = stamps.iter().map(|(start, _)| *start).min().unwrap_or_default();
        let since = |from: u64, to: u64| {
            Duration::from_nanos((to.saturating_sub(from) as f64 * period) as u64)
        };
        let times = stamps.into_iter().map(|(start, end)| (since(first, start), since(start, end)));
        Ok(times.collect())
    }
}
