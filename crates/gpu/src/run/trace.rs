//! A profile as a trace, for chrome://tracing and <https://ui.perfetto.dev>.

use crate::run::profile::{Profile, TimedDispatch};
use serde::Serialize;
use std::time::Duration;

/// Chrome's trace event format: one object with all events.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Trace<'a> {
    display_time_unit: &'static str,
    other_data: OtherData,
    trace_events: Vec<Event<'a>>,
}

#[derive(Serialize)]
struct OtherData {
    runs: Vec<Run>,
}

/// What is told of a whole run.
#[derive(Serialize)]
struct Run {
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    adapter: String,
    /// That of its events.
    pid: u32,
    span_us: f64,
    kernels_us: f64,
    busy_us: f64,
    /// Of the timed run, from the first kernel's beginning to the last one's end, and of no other step.
    idle_share_of_span: f64,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Event<'a> {
    /// The name of a process or thread.
    Metadata { ph: &'static str, name: &'static str, pid: u32, tid: u32, args: Name },
    /// Something that has a beginning and takes time, both in microseconds.
    Complete {
        ph: &'static str,
        name: &'a str,
        cat: &'static str,
        pid: u32,
        tid: u32,
        ts: f64,
        dur: f64,
        args: Arguments,
    },
}

#[derive(Serialize)]
struct Name {
    name: String,
}

#[derive(Serialize)]
struct Arguments {
    dispatch: usize,
    workgroups: [u32; 3],
    bytes: u64,
    operations: u64,
    #[serde(rename = "GB/s", skip_serializing_if = "Option::is_none")]
    bytes_rate: Option<f64>,
    #[serde(rename = "GFLOP/s", skip_serializing_if = "Option::is_none")]
    operations_rate: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    share_of_ceiling: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bound_by: Option<&'static str>,
}

fn microseconds(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1e3
}

/// A row for each dispatch, so that in none of them two overlap: a viewer would take the later one
/// for a part of the earlier.
fn rows(dispatches: &[TimedDispatch]) -> Vec<u32> {
    let mut order: Vec<usize> = (0..dispatches.len()).collect();
    order.sort_by_key(|&at| dispatches[at].start);
    let mut ends: Vec<Duration> = Vec::new();
    let mut rows = vec![0; dispatches.len()];
    for at in order {
        let TimedDispatch { start, time, .. } = dispatches[at];
        let row = ends.iter().position(|&end| end <= start).unwrap_or(ends.len());
        if row == ends.len() {
            ends.push(Duration::ZERO);
        }
        ends[row] = start + time;
        rows[at] = row as u32 + 1;
    }
    rows
}

impl Profile {
    /// The profile as JSON in Chrome's trace event format, which <https://ui.perfetto.dev> and
    /// chrome://tracing show: one event for each dispatch, with the bytes it moves and the operations
    /// it does, and how near that is to the adapter's ceilings if they are known
    /// ([`Profile::roof`]).
    ///
    /// Beside the events, `otherData.runs` is a list with an object for each profile: its `adapter`, the
    /// `pid` of its events, and in microseconds `span_us` from the first kernel's beginning to the last one's
    /// end ([`Profile::span`]), `kernels_us` of all kernels ([`Profile::total`]) and `busy_us` in which at
    /// least one ran ([`Profile::busy`]). Its `idle_share_of_span` is the part of that span in which none
    /// ran, from 0 to 1 ([`Profile::idle_share`]): that of this timed run, which is more than that of a step
    /// which is not timed kernel by kernel ([`Profile::idle_share_of`]).
    ///
    /// ```no_run
    /// # fn show(profile: warmstart_gpu::Profile) -> std::io::Result<()> {
    /// std::fs::write("step.trace.json", profile.chrome_trace())?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn chrome_trace(&self) -> String {
        Profile::chrome_trace_of(&[("", self)])
    }

    /// Several profiles, each with a name, as one trace in the format of
    /// [`chrome_trace`](Profile::chrome_trace): each is a process, called by its name and adapter, and all
    /// begin at 0. In `otherData.runs` each has its `name`, too, unless that is empty.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use warmstart_gpu::{DispatchInfo, Gpu, Profile, TimedDispatch};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let adapter = Gpu::new()?.summary();
    /// # let profile = |micros| {
    /// #     let (operations, kernel) = ("sum".to_owned(), "reduce");
    /// #     let info = DispatchInfo { operations, kernel, workgroups: [1; 3], bytes: 8, arithmetic: 1 };
    /// #     let time = Duration::from_micros(micros);
    /// #     let dispatches = vec![TimedDispatch { info, start: Duration::ZERO, time }];
    /// #     Profile { adapter: adapter.clone(), roof: None, dispatches }
    /// # };
    /// // As `Session::profile` gives them.
    /// # let (small, large) = (profile(20), profile(300));
    /// let trace = Profile::chrome_trace_of(&[("small", &small), ("large", &large)]);
    /// let trace: serde_json::Value = serde_json::from_str(&trace)?;
    /// let runs = &trace["otherData"]["runs"];
    /// assert_eq!((&runs[0]["name"], &runs[0]["busy_us"]), (&"small".into(), &20.0.into()));
    /// assert_eq!((&runs[1]["name"], &runs[1]["busy_us"]), (&"large".into(), &300.0.into()));
    /// # Ok(())
    /// # }
    /// ```
    pub fn chrome_trace_of(named: &[(&str, &Profile)]) -> String {
        let (mut trace_events, mut runs) = (Vec::new(), Vec::new());
        for ((name, profile), pid) in named.iter().zip(1..) {
            let adapter = profile.adapter.to_string();
            let process =
                if name.is_empty() { adapter.clone() } else { format!("{name} · {adapter}") };
            profile.events(pid, process, &mut trace_events);
            runs.push(Run {
                name: (*name).to_owned(),
                adapter,
                pid,
                span_us: microseconds(profile.span()),
                kernels_us: microseconds(profile.total()),
                busy_us: microseconds(profile.busy()),
                idle_share_of_span: profile.idle_share(),
            });
        }
        let trace = Trace { display_time_unit: "ns", other_data: OtherData { runs }, trace_events };
        serde_json::to_string(&trace)
            .expect("texts and numbers, under keys that are texts, are JSON")
    }

    /// Adds what happens in one process: its name, those of its rows, and the dispatches.
    fn events<'a>(&'a self, pid: u32, process: String, into: &mut Vec<Event<'a>>) {
        let rows = rows(&self.dispatches);
        let named = |name, tid, text: String| {
            let args = Name { name: text };
            Event::Metadata { ph: "M", name, pid, tid, args }
        };
        into.push(named("process_name", 0, process));
        for row in 1..=rows.iter().copied().max().unwrap_or(0) {
            let name =
                if row == 1 { "kernels".to_owned() } else { format!("kernels at once {row}") };
            into.push(named("thread_name", row, name));
        }
        let events = self.dispatches.iter().zip(rows).enumerate();
        into.extend(events.map(|(at, (dispatch, row))| {
            let TimedDispatch { info, start, time } = dispatch;
            let roof = self.roof.as_ref();
            Event::Complete {
                ph: "X",
                name: &info.operations,
                cat: info.kernel,
                pid,
                tid: row,
                ts: microseconds(*start),
                dur: microseconds(*time),
                args: Arguments {
                    dispatch: at,
                    workgroups: info.workgroups,
                    bytes: info.bytes,
                    operations: info.arithmetic,
                    bytes_rate: dispatch.gigabytes_per_second(),
                    operations_rate: dispatch.gigaflops_per_second(),
                    share_of_ceiling: roof.and_then(|roof| roof.share(info, *time)),
                    bound_by: roof.map(|roof| roof.least_seconds(info).1.name()),
                },
            }
        }));
    }
}

#[cfg(test)]
#[path = "trace_tests.rs"]
mod tests;
