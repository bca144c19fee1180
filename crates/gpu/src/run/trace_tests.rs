use super::*;
use crate::device::adapter::AdapterSummary;
use crate::plan::DispatchInfo;
use crate::run::roof::Roof;
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
    Profile { adapter, roof: None, dispatches }
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
    let apart = profile(&[(0, 10), (30, 40)]);
    let micros = Duration::from_micros;
    assert_eq!((apart.span(), apart.busy()), (micros(40), micros(20)));
    // Of a step that has less between its kernels, and of one that is faster than they were alone.
    assert!((apart.idle_share_of(micros(25)).unwrap() - 0.2).abs() < 1e-12);
    assert_eq!(apart.idle_share_of(micros(20)), Some(0.0));
    assert_eq!([apart.idle_share_of(micros(15)), apart.idle_share_of(micros(0))], [None, None]);
}

/// Kernels at once count once as busy, and both as kernels.
#[test]
fn a_device_is_busy_once_at_a_time() {
    let at_once = profile(&[(0, 10), (0, 10)]);
    let micros = Duration::from_micros;
    assert_eq!((at_once.total(), at_once.busy()), (micros(20), micros(10)));
    assert_eq!(at_once.idle_share(), 0.0);
}

/// 4000 bytes and 1000 operations: under this roof 2 µs and 1 µs.
#[test]
fn under_a_roof_table_and_trace_show_how_near_kernels_come() {
    let roof = Roof { bytes_per_second: 2e9, operations_per_second: 1e9 };
    let plain = profile(&[(0, 8), (8, 8)]);
    assert!(!plain.to_string().contains("of ceiling"), "{plain}");
    assert!(!plain.chrome_trace().contains("bound_by"));
    let under = Profile { roof: Some(roof), ..plain };
    let table = under.to_string();
    let row = table.lines().find(|line| line.contains("25.0 %")).unwrap();
    assert!(row.trim_end().ends_with("memory"), "{table}");
    let trace: Value = serde_json::from_str(&under.chrome_trace()).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let kernels: Vec<&Value> = events.iter().filter(|event| event["ph"] == "X").collect();
    assert_eq!(kernels[0]["args"]["share_of_ceiling"], 0.25);
    assert_eq!(kernels[0]["args"]["bound_by"], "memory");
    // What took no time reaches no share.
    assert_eq!(kernels[1]["args"].get("share_of_ceiling"), None);
    assert_eq!(trace["otherData"]["runs"][0]["busy_us"], 8.0);
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
    let run = &trace["otherData"]["runs"][0];
    assert_eq!(run["idle_share_of_span"].as_f64(), Some(profile.idle_share()));
    assert_eq!((run["span_us"].as_f64(), run.get("name")), (Some(34.0), None));
}

#[test]
fn several_profiles_are_processes_of_one_trace() {
    let (small, large) = (profile(&[(0, 10)]), profile(&[(0, 30), (40, 50)]));
    let trace = Profile::chrome_trace_of(&[("small", &small), ("large", &large)]);
    let trace: Value = serde_json::from_str(&trace).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let of = |phase: &str, field: &str| -> Vec<(u64, String)> {
        let chosen = events.iter().filter(|event| event["ph"] == phase);
        chosen.map(|event| (event["pid"].as_u64().unwrap(), event[field].to_string())).collect()
    };
    let durations = [(1, "10.0"), (2, "30.0"), (2, "10.0")].map(|(pid, us)| (pid, us.to_owned()));
    assert_eq!(of("X", "dur"), durations);
    let named = |pid, name: &str| {
        let adapter = "An adapter · Vulkan · other device";
        (pid, format!("{{\"name\":\"{name} · {adapter}\"}}"))
    };
    let names: Vec<_> =
        of("M", "args").into_iter().filter(|(_, name)| name.contains('·')).collect();
    assert_eq!(names, [named(1, "small"), named(2, "large")]);
    let runs = trace["otherData"]["runs"].as_array().unwrap();
    let told: Vec<_> =
        runs.iter().map(|run| (&run["name"], &run["pid"], &run["span_us"])).collect();
    let expected = [("small", 1, 10.0), ("large", 2, 50.0)];
    let expected = expected.map(|(name, pid, us)| (name.into(), pid.into(), us.into()));
    assert_eq!(
        told,
        expected.iter().map(|(a, b, c): &(Value, Value, Value)| (a, b, c)).collect::<Vec<_>>()
    );
}
