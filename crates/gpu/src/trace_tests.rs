use super::*;
use crate::adapter::AdapterSummary;
use crate::plan::DispatchInfo;
use serde_json::Value;

/// A profile of dispatches with these beginnings and ends, in microseconds.
fn profile(times: &[(u64, u64)]) -> Profile {
    let dispatches = times
        .iter()
        .enumerate()
        .map(|(at, &(start, end))| TimedDispatch {
            info: DispatchInfo {
                operations: format!("matmul \"{at}\""),
                kernel: "matmul_tile",
                workgroups: [at as u32, 1, 1],
                bytes: 4000,
                arithmetic: 1000,
            },
            start: Duration::from_micros(start),
            time: Duration::from_micros(end - start),
        })
        .collect();
    let adapter = AdapterSummary {
        index: 0,
        name: "An adapter".to_owned(),
        backend: wgpu::Backend::Vulkan,
        device_type: wgpu::DeviceType::Other,
        driver: String::new(),
        features: wgpu::Features::empty(),
    };
    Profile { adapter, dispatches }
}

#[test]
fn idle_is_what_no_kernel_covers() {
    for (times, idle) in [
        (&[][..], 0.0),
        (&[(0, 0)], 0.0),
        (&[(0, 10)], 0.0),
        (&[(0, 10), (30, 40)], 0.5),
        // Out of order, one within another, and two that overlap.
        (&[(0, 20), (5, 10), (70, 80), (15, 40), (80, 100)], 0.3),
    ] {
        let profile = profile(times);
        assert!((profile.idle_share() - idle).abs() < 1e-12, "{times:?}: {}", profile.idle_share());
    }
    assert_eq!(profile(&[(0, 10), (30, 40)]).span(), Duration::from_micros(40));
}

#[test]
fn a_trace_has_an_event_for_each_dispatch_and_none_overlap_in_a_row() {
    let times = [(0, 10), (5, 20), (10, 15), (20, 20), (30, 34)];
    let profile = profile(&times);
    let trace: Value = serde_json::from_str(&profile.chrome_trace()).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let names: Vec<&Value> = events.iter().filter(|e| e["ph"] == "M").collect();
    assert_eq!(names[0]["args"]["name"], "An adapter · Vulkan · other device");
    assert_eq!(names.len(), 3, "the process and two rows");
    let kernels: Vec<&Value> = events.iter().filter(|e| e["ph"] == "X").collect();
    assert_eq!(kernels.len(), times.len());
    for (at, (event, (start, end))) in kernels.iter().zip(times).enumerate() {
        assert_eq!(event["name"], format!("matmul \"{at}\""));
        assert_eq!(event["cat"], "matmul_tile");
        assert_eq!((event["ts"].as_f64(), event["pid"].as_u64()), (Some(start as f64), Some(1)));
        assert_eq!(event["dur"].as_f64(), Some((end - start) as f64));
        assert_eq!(event["args"]["bytes"], 4000);
        assert_eq!(event["args"]["operations"], 1000);
        assert_eq!(event["args"]["workgroups"][0], at);
        let rate = (end > start).then(|| 4.0 / (end - start) as f64);
        assert_eq!(event["args"]["GB/s"].as_f64(), rate);
        for (other, (from, to)) in kernels.iter().zip(times).take(at) {
            let apart = to <= start || end <= from;
            assert!(apart || event["tid"] != other["tid"], "{event} {other}");
        }
    }
    assert_eq!(trace["otherData"]["idle_share"].as_f64(), Some(profile.idle_share()));
    assert_eq!(trace["otherData"]["span_us"].as_f64(), Some(34.0));
}
