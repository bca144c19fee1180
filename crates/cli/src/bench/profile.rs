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
use warmstart_graph::words::three_digits;
use warmstart_measure::Spread;

/// Several runs of a plan, each kernel with timestamps of its own.
pub struct Kernels {
    /// The dispatches, each with the median of its times, and the seconds of all runs.
    dispatches: Vec<(TimedDispatch, Spread)>,
    /// How much of their time kernels ran at once, in the median of all runs.
    at_once: Duration,
    /// The run in which the device was busy for the median of all runs.
    pub run: Profile,
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
        let mut at_once: Vec<Duration> =
            runs.iter().map(|run| run.total().saturating_sub(run.busy())).collect();
        at_once.sort();
        let at_once = at_once[RUNS / 2];
        let run = Profile { roof: Some(roof), ..runs.swap_remove(RUNS / 2) };
        Ok(Kernels { dispatches, at_once, run, roof })
    }

    /// The sum of the medians, which is no run's time: on a machine that has other work, that of each run
    /// is another kernel's.
    fn total(&self) -> Duration {
        self.dispatches.iter().map(|(dispatch, _)| dispatch.time).sum()
    }

    /// The part of that in which the device is busy.
    fn busy(&self) -> Duration {
        self.total().saturating_sub(self.at_once)
    }

    /// The part of a step in which it is not; None where that cannot be told.
    fn idle_share(&self, step: &Step) -> Option<f64> {
        let step = Duration::try_from_secs_f64(step.seconds).ok()?;
        Profile::idle_share_within(self.busy(), step)
    }

    /// Prints them, of a step that has so many dispatches of its own.
    pub fn print(&self, out: &mut dyn Write, step: &Step, own: usize) -> Result<(), Failure> {
        let total = self.total().as_secs_f64();
        let rate = |rate: Option<f64>| rate.map_or("-".to_owned(), three_digits);
        // A clock that is too coarse for all of them says 0, of which there are no parts.
        let of_all = |seconds: f64| (total > 0.0).then(|| seconds / total);
        let row = |(dispatch, seconds): &(TimedDispatch, Spread)| {
            let TimedDispatch { info, time, .. } = dispatch;
            vec![
                info.operations.clone(),
                info.kernel.to_owned(),
                format!("{:.1}", seconds.median * 1e6),
                percent(of_all(seconds.median)),
                rate(dispatch.gigabytes_per_second()),
                rate(dispatch.gigaflops_per_second()),
                percent(self.roof.share(info, *time)),
                self.roof.least_seconds(info).1.to_string(),
            ]
        };
        let header =
            ["computes", "kernel", "µs", "of all", "GB/s", "GFLOP/s", "of ceiling", "bound by"];
        let mut rows: Vec<Vec<String>> = self.dispatches.iter().map(row).collect();
        let mut sum = vec![String::new(); header.len()];
        (sum[0], sum[2], sum[3]) =
            ("all of these".to_owned(), format!("{:.1}", total * 1e6), percent(of_all(total)));
        rows.push(sum);
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
        writeln!(
            out,
            "each time is the median of {RUNS} runs in which every kernel has timestamps of its own, and the \
             time of all is the sum of these medians"
        )?;
        writeln!(
            out,
            "of ceiling: how near the kernel comes to the fastest that this adapter was measured to be in what \
             bounds it, {} GB/s of memory (the copy) or {} GFLOP/s of arithmetic (the multiply-adds in registers)",
            three_digits(self.roof.bytes_per_second / 1e9),
            three_digits(self.roof.operations_per_second / 1e9)
        )?;
        if !self.at_once.is_zero() {
            let at_once = self.at_once.as_secs_f64() * 1e6;
            writeln!(
                out,
                "{at_once:.1} µs of it more than one kernel ran at once, which counts once"
            )?;
        }
        let (step_us, name) = (step.seconds * 1e6, step.name);
        match self.idle_share(step) {
            Some(share) => writeln!(
                out,
                "a step takes {step_us:.1} µs ({name}): the device idles {} of the time",
                percent(Some(share))
            )?,
            None => writeln!(
                out,
                "a step takes {step_us:.1} µs ({name}), less than its kernels when each has timestamps of its own: \
                 how much of it the device idles cannot be told"
            )?,
        }
        Ok(())
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
            "kernel_seconds": self.total().as_secs_f64(),
            "busy_seconds": self.busy().as_secs_f64(),
            "step_seconds": step.seconds,
            "idle_share_of_step": self.idle_share(step),
        });
        place.print_json(out, "train", fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use warmstart_gpu::{DispatchInfo, Gpu};

    const ROOF: Roof = Roof { bytes_per_second: 1e9, operations_per_second: 1e9 };

    /// Kernels of nine runs, each with its beginning and its time in microseconds.
    fn kernels(runs: impl Fn(usize) -> [(u64, u64); 2]) -> Kernels {
        let adapter = Gpu::new().unwrap().summary();
        let mut done = 0;
        let profile = || {
            let dispatches = runs(done % RUNS).map(|(start, time)| TimedDispatch {
                info: DispatchInfo {
                    operations: "sum".to_owned(),
                    kernel: "reduce",
                    workgroups: [1; 3],
                    bytes: 8,
                    arithmetic: 0,
                },
                start: Duration::from_micros(start),
                time: Duration::from_micros(time),
            });
            done += 1;
            let (adapter, dispatches) = (adapter.clone(), dispatches.to_vec());
            Ok(Profile { adapter, roof: None, dispatches })
        };
        Kernels::of(profile, ROOF).unwrap()
    }

    fn printed(kernels: &Kernels, seconds: f64) -> (String, serde_json::Value) {
        let step = Step { name: "loss not read", key: "loss_not_read", seconds };
        let (mut text, mut lines) = (Vec::new(), Vec::new());
        kernels.print(&mut text, &step, 2).unwrap();
        let place = Place::of(kernels.run.adapter.clone());
        kernels.print_json(&mut lines, &place, "m", &step).unwrap();
        let lines = String::from_utf8(lines).unwrap();
        let idle = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
        (String::from_utf8(text).unwrap(), idle)
    }

    /// Other work delays the one kernel in some runs and the other in others, so that all runs but one take
    /// 120 µs, which neither the medians nor their sum are.
    #[test]
    fn what_is_printed_adds_up() {
        let kernels = kernels(|run| match run {
            0..4 => [(0, 80), (80, 40)],
            4..8 => [(0, 20), (20, 100)],
            _ => [(0, 30), (30, 50)],
        });
        let (text, idle) = printed(&kernels, 100e-6);
        let times: Vec<f64> = text
            .lines()
            .skip(2)
            .take(3)
            .map(|line| {
                line.split("  ").map(str::trim).find_map(|cell| cell.parse().ok()).expect(line)
            })
            .collect();
        assert_eq!(times, [30.0, 50.0, 80.0], "{text}");
        assert!(text.contains("all of these"), "{text}");
        assert!(
            text.contains("a step takes 100.0 µs (loss not read): the device idles 20 % of"),
            "{text}"
        );
        assert!((idle["idle_share_of_step"].as_f64().unwrap() - 0.2).abs() < 1e-9, "{idle}");
        assert_eq!((&idle["kernel_seconds"], &idle["busy_seconds"]), (&8e-5.into(), &8e-5.into()));
        // 8 bytes in 30 µs.
        assert!(text.contains(" 0.000267 "), "{text}");

        let (text, idle) = printed(&kernels, 70e-6);
        assert!(text.contains("how much of it the device idles cannot be told"), "{text}");
        assert!(idle["idle_share_of_step"].is_null(), "{idle}");
    }

    #[test]
    fn a_clock_that_says_0_has_no_parts() {
        let (text, idle) = printed(&kernels(|_| [(0, 0), (0, 0)]), 100e-6);
        assert!(!text.contains("NaN") && text.contains("the device idles 100 % of"), "{text}");
        let all = text.lines().find(|line| line.trim_start().starts_with("all of these"));
        let cells: Vec<&str> = all.unwrap().split("  ").map(str::trim).collect();
        assert!(cells.contains(&"0.0") && cells.contains(&"-"), "{text}");
        assert_eq!(idle["idle_share_of_step"], 1.0, "{idle}");
    }

    #[test]
    fn kernels_at_once_are_busy_once() {
        let (text, idle) = printed(&kernels(|_| [(0, 30), (10, 50)]), 100e-6);
        assert!(
            text.contains("20.0 µs of it more than one kernel ran at once, which counts once"),
            "{text}"
        );
        assert!(text.contains("the device idles 40 % of the time"), "{text}");
        assert_eq!((&idle["kernel_seconds"], &idle["busy_seconds"]), (&8e-5.into(), &6e-5.into()));
    }
}
