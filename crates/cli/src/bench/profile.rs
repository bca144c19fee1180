//! The kernels of a step, timed by the device's clock.
//!
//! What a device's being busy and idle means, and how near a kernel comes to its ceiling, `Profile` and
//! `Roof` of `warmstart-gpu` define. Here are several runs of one step, and their medians.

use super::{Place, percent};
use crate::error::Failure;
use crate::text::{self, HEADING, styled};
use serde_json::json;
use std::io::Write;
use std::time::Duration;
use warmstart_gpu::{Profile, Roof, RunError, TimedDispatch};
use warmstart_measure::Spread;

/// Several runs of a plan, each kernel timed by itself.
pub struct Kernels {
    /// The dispatches, each with the median of its times, and the seconds of all runs.
    dispatches: Vec<(TimedDispatch, Spread)>,
    /// The run in which the device was busy for the median of all runs.
    run: Profile,
    roof: Roof,
}

/// A step that is not timed kernel by kernel, and done in the way whose kernels are profiled: its median.
pub struct Step {
    /// How it is done, for people.
    pub name: &'static str,
    /// The same for JSON.
    pub key: &'static str,
    pub seconds: f64,
}

/// How often each kernel is timed: an odd number, so that one run is in the middle.
const RUNS: usize = 9;

impl Kernels {
    /// Times the kernels of a step, which `profile` does once, under the adapter's ceilings. A run before the
    /// first is for caches.
    pub fn of(
        mut profile: impl FnMut() -> Result<Profile, RunError>,
        roof: Roof,
    ) -> Result<Kernels, Failure> {
        let first = profile()?;
        let mut runs = (0..RUNS).map(|_| profile()).collect::<Result<Vec<_>, _>>()?;
        runs.sort_by_key(Profile::busy);
        let median = |at: usize, dispatch: &TimedDispatch| {
            let seconds = Spread::of(runs.iter().map(|run| run.dispatches[at].time.as_secs_f64()))?;
            let time = Duration::from_secs_f64(seconds.median);
            Some((TimedDispatch { time, ..dispatch.clone() }, seconds))
        };
        let dispatches = first.dispatches.iter().enumerate();
        let dispatches = dispatches.filter_map(|(at, dispatch)| median(at, dispatch)).collect();
        let run = Profile { roof: Some(roof), ..runs.swap_remove(RUNS / 2) };
        Ok(Kernels { dispatches, run, roof })
    }

    /// The run in the middle, in Chrome's trace event format.
    pub fn trace(&self) -> String {
        self.run.chrome_trace()
    }

    /// Prints them, of a step that has so many dispatches of its own.
    pub fn print(&self, out: &mut dyn Write, step: &Step, own: usize) -> Result<(), Failure> {
        let total: f64 = self.dispatches.iter().map(|(_, seconds)| seconds.median).sum();
        let rate = |rate: Option<f64>| rate.map_or("-".to_owned(), |rate| format!("{rate:.2}"));
        let row = |(dispatch, seconds): &(TimedDispatch, Spread)| {
            let TimedDispatch { info, time, .. } = dispatch;
            vec![
                info.operations.clone(),
                info.kernel.to_owned(),
                format!("{:.1}", seconds.median * 1e6),
                percent(Some(seconds.median / total)),
                rate(dispatch.gigabytes_per_second()),
                rate(dispatch.gigaflops_per_second()),
                percent(self.roof.share(info, *time)),
                self.roof.least_seconds(info).1.to_string(),
            ]
        };
        let header =
            ["computes", "kernel", "µs", "of all", "GB/s", "GFLOP/s", "of ceiling", "bound by"];
        let rows = self.dispatches.iter().map(row).collect();
        let table = text::table(&header, &[2, 3, 4, 5, 6], rows);
        let (first, rest) = table.split_once('\n').unwrap_or((&table, ""));
        writeln!(out, "\n{}\n{rest}", styled(HEADING, first))?;
        if self.dispatches.len() > own {
            writeln!(
                out,
                "the first of these gathers the batch from the data set; the other {own} are the dispatches of \
                 the step"
            )?;
        }
        let busy = self.run.busy().as_secs_f64();
        writeln!(
            out,
            "{:.1} µs in kernels, median of {RUNS} runs with each timed by itself, of a step of \
             {:.1} µs ({}): the device idles {} of the time",
            busy * 1e6,
            step.seconds * 1e6,
            step.name,
            percent(Some(self.idle(step.seconds))),
        )?;
        if busy > step.seconds {
            writeln!(out, "(timed by themselves, kernels take longer than one after the other)")?;
        }
        Ok(())
    }

    fn idle(&self, step: f64) -> f64 {
        self.run.idle_share_of(Duration::try_from_secs_f64(step).unwrap_or_default())
    }

    pub fn print_json(
        &self,
        out: &mut dyn Write,
        place: &Place,
        model: &str,
        step: &Step,
    ) -> Result<(), Failure> {
        for (index, (dispatch, seconds)) in self.dispatches.iter().enumerate() {
            let TimedDispatch { info, time, .. } = dispatch;
            let fields = json!({
                "measurement": "dispatch",
                "role": "profile",
                "model": model,
                "index": index,
                "computes": info.operations,
                "kernel": info.kernel,
                "workgroups": info.workgroups,
                "bytes": info.bytes,
                "operations": info.arithmetic,
                "rounds": RUNS,
                "seconds": seconds.median,
                "fastest_seconds": seconds.least,
                "slowest_seconds": seconds.most,
                "gigabytes_per_second": dispatch.gigabytes_per_second(),
                "gigaflops_per_second": dispatch.gigaflops_per_second(),
                "share_of_ceiling": self.roof.share(info, *time),
                "bound_by": self.roof.least_seconds(info).1.name(),
            });
            place.print_json(out, "train", fields)?;
        }
        let fields = json!({
            "measurement": "idle",
            "role": "profile",
            "model": model,
            "strategy": step.key,
            "kernel_seconds": self.run.busy().as_secs_f64(),
            "step_seconds": step.seconds,
            "idle_share": self.idle(step.seconds),
        });
        place.print_json(out, "train", fields)
    }
}
