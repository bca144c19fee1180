//! The kernels of a step, timed by the device's clock.

use super::{Place, percent};
use crate::error::Failure;
use crate::text::{self, HEADING, styled};
use serde_json::json;
use std::io::Write;
use warmstart_gpu::{DispatchInfo, Feed, Plan, Session};
use warmstart_measure::{Bound, Roof, Spread};

/// The dispatches of a plan, each with the seconds of several runs.
pub struct Kernels {
    dispatches: Vec<(DispatchInfo, Spread)>,
    /// The last of the runs, in Chrome's trace event format.
    pub trace: String,
}

/// How often each kernel is timed.
const RUNS: usize = 9;

impl Kernels {
    /// Times a plan's kernels. A run before the first is for caches.
    pub fn of(
        session: &mut Session,
        plan: &Plan,
        feeds: &[(&str, Feed<'_>)],
    ) -> Result<Kernels, Failure> {
        let mut dispatches: Vec<(DispatchInfo, Vec<f64>)> = Vec::new();
        let mut trace = String::new();
        for run in 0..=RUNS {
            let profile = session.profile(plan, feeds)?;
            if run == 0 {
                let infos = profile.dispatches.into_iter();
                dispatches = infos.map(|dispatch| (dispatch.info, Vec::new())).collect();
                continue;
            }
            for ((_, times), dispatch) in dispatches.iter_mut().zip(&profile.dispatches) {
                times.push(dispatch.time.as_secs_f64());
            }
            if run == RUNS {
                trace = profile.chrome_trace();
            }
        }
        let spread = |(info, times)| Some((info, Spread::of(times)?));
        Ok(Kernels { dispatches: dispatches.into_iter().filter_map(spread).collect(), trace })
    }

    fn total(&self) -> f64 {
        self.dispatches.iter().map(|(_, seconds)| seconds.median).sum()
    }

    /// The share of a step of this length in which no kernel runs. Timed kernels run one by one
    /// and are a little slower for it, so nothing less than 0 is meant.
    fn idle(&self, step: f64) -> f64 {
        (1.0 - self.total() / step).max(0.0)
    }

    pub fn print(&self, out: &mut dyn Write, roof: &Roof, step: f64) -> Result<(), Failure> {
        let total = self.total();
        let rate = |amount: u64, seconds: f64| match seconds {
            0.0 => "-".to_owned(),
            seconds => format!("{:.2}", amount as f64 / seconds / 1e9),
        };
        let row = |(info, seconds): &(DispatchInfo, Spread)| {
            let seconds = seconds.median;
            let (share, bound) = near(roof, info, seconds);
            vec![
                info.operations.clone(),
                info.kernel.to_owned(),
                format!("{:.1}", seconds * 1e6),
                percent(Some(seconds / total)),
                rate(info.bytes, seconds),
                rate(info.arithmetic, seconds),
                percent(share),
                bound.to_owned(),
            ]
        };
        let header =
            ["computes", "kernel", "µs", "of all", "GB/s", "GFLOP/s", "of ceiling", "bound by"];
        let rows = self.dispatches.iter().map(row).collect();
        let table = text::table(&header, &[2, 3, 4, 5, 6], rows);
        let (first, rest) = table.split_once('\n').unwrap_or((&table, ""));
        writeln!(out, "\n{}\n{rest}", styled(HEADING, first))?;
        writeln!(
            out,
            "{:.1} µs in kernels, median of {RUNS} runs with each timed by itself, of a step of \
             {:.1} µs at best: the device idles {} of the time",
            total * 1e6,
            step * 1e6,
            percent(Some(self.idle(step))),
        )?;
        if total > step {
            writeln!(out, "(timed by themselves, kernels take longer than one after the other)")?;
        }
        Ok(())
    }

    pub fn print_json(
        &self,
        out: &mut dyn Write,
        place: &Place,
        model: &str,
        roof: &Roof,
        step: f64,
    ) -> Result<(), Failure> {
        for (index, (info, seconds)) in self.dispatches.iter().enumerate() {
            let (share, bound) = near(roof, info, seconds.median);
            let rate =
                |amount: u64| (seconds.median > 0.0).then(|| amount as f64 / seconds.median / 1e9);
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
                "gigabytes_per_second": rate(info.bytes),
                "gigaflops_per_second": rate(info.arithmetic),
                "share_of_ceiling": share,
                "bound_by": bound,
            });
            place.print_json(out, "train", fields)?;
        }
        let fields = json!({
            "measurement": "idle",
            "role": "profile",
            "model": model,
            "kernel_seconds": self.total(),
            "step_seconds": step,
            "idle_share": self.idle(step),
        });
        place.print_json(out, "train", fields)
    }
}

/// The share of its ceiling that a kernel reaches, and which ceiling it is.
fn near(roof: &Roof, info: &DispatchInfo, seconds: f64) -> (Option<f64>, &'static str) {
    let (least, bound) = roof.least_seconds(info);
    let name = match bound {
        Bound::Memory => "memory",
        Bound::Arithmetic => "arithmetic",
    };
    ((seconds > 0.0).then(|| least / seconds), name)
}
