//! What the benchmarks print, but for the numbers.

use crate::{json, warmstart};
use serde_json::Value;
use std::fs;
use std::path::Path;
use warmstart_gpu::{Gpu, MemoryKind};

/// A text without its numbers, its bars, and what depends on the machine.
fn blanked(text: &str) -> String {
    let mut lines = String::new();
    for line in text.lines().filter(|line| !line.starts_with("note:")) {
        let known = ["  adapter", "  machine", "  memory", "  files"];
        if let Some(known) = known.iter().find(|known| line.starts_with(**known)) {
            lines += &format!("{}\n", known.trim());
            continue;
        }
        let mut blank = String::new();
        for c in line.chars() {
            match c {
                '0'..='9' if blank.ends_with('#') => {}
                '0'..='9' => blank.push('#'),
                '.' if blank.ends_with('#') => {}
                '█'..='▏' => {}
                c => blank.push(c),
            }
        }
        lines += &blank.split_whitespace().collect::<Vec<_>>().join(" ");
        lines.push('\n');
    }
    lines
}

/// Lines of JSON, each with what all have.
fn measurements(text: &str, benchmark: &str) -> Vec<Value> {
    let gpu = Gpu::new().unwrap();
    let lines: Vec<Value> = text.lines().map(json).collect();
    for line in &lines {
        assert_eq!(line["benchmark"], benchmark);
        assert_eq!(line["adapter"], gpu.summary().name.as_str());
        for field in ["backend", "adapter_type", "driver", "system", "version"] {
            assert!(line[field].is_string(), "{field}: {line}");
        }
        assert!(line["cores"].is_u64() && line.get("processor").is_some(), "{line}");
        assert!(line.get("load_average").is_some(), "{line}");
    }
    lines
}

fn numbers(line: &Value, fields: &[&str]) {
    for field in fields {
        assert!(line[field].as_f64().is_some_and(|value| value > 0.0), "{field}: {line}");
    }
}

const LOAD: [&str; 6] = ["--size", "300KiB", "--tensors", "3", "--rounds", "2"];

fn bench(directory: &Path, what: &str, more: &[&str]) -> crate::Ran {
    let load: &[&str] = if matches!(what, "restore" | "save") { &LOAD } else { &[] };
    warmstart(directory, &[&["bench", what], load, more].concat())
}

#[test]
#[cfg(target_os = "linux")]
fn a_restore_is_shown_beside_its_ceilings() {
    let here = tempfile::tempdir().unwrap();
    let ways = ["--dir", ".", "--strategy", "naive,staged", "--memory", "touched,live"];
    let text = bench(here.path(), "restore", &ways).with(0);
    let chart = "GB/s range of ceiling CPU s MiB submits\n\
                 machine: memory, by memcpy # #-# - # # -\n\
                 machine: file, by pread # #-# - # # -\n\
                 machine: file, by mmap + copy # #-# - # # -\n\
                 machine: staging, by the device # #-# - # # #\n\
                 staged # #-# # % # # #\n\
                 control: naive # #-# # % # # #\n";
    let threads = match warmstart_measure::threads() {
        1 => "thread",
        _ => "threads",
    };
    let expected = format!(
        "restore of # tensors of # KiB (# KiB), warm\nadapter\nmachine\nmemory\nfiles\n\
         rounds # of all in turn, after one that does not count, read by # {threads}\n\n\
         into memory that was written before\n{chart}\n\
         over values from elsewhere, which are first copied aside\n{chart}"
    );
    // Which of them is the ceiling, the machine decides; the shares are of one or two of these.
    for chart in blanked(&text).split("\n\n").skip(1) {
        let marked: Vec<&str> =
            chart.lines().filter_map(|line| line.strip_prefix("ceiling: ")).collect();
        assert!((1..=2).contains(&marked.len()), "{text}");
        assert!(!chart.contains("ceiling: memory"), "{text}");
    }
    assert_eq!(blanked(&text).replace("\nceiling: ", "\nmachine: "), expected);
    assert_eq!(std::fs::read_dir(here.path()).unwrap().count(), 0, "files are removed");
}

#[test]
fn each_measurement_of_a_restore_is_a_line_of_json() {
    let here = tempfile::tempdir().unwrap();
    let text = bench(here.path(), "restore", &["--json"]).with(0);
    let lines = measurements(&text, "restore");
    let mapped = Gpu::new().unwrap().memory() == MemoryKind::Mappable;
    let mut seen = Vec::new();
    for line in &lines {
        numbers(
            line,
            &["seconds", "fastest_seconds", "slowest_seconds", "gigabytes_per_second", "threads"],
        );
        assert_eq!((&line["bytes"], &line["tensors"]), (&307_200.into(), &3.into()));
        assert_eq!((&line["rounds"], &line["cache"]), (&2.into(), &"warm".into()));
        let number = |field: &str| line[field].as_f64().unwrap();
        let bytes = number("gigabytes_per_second") * number("seconds") * 1e9;
        assert!((bytes - 307_200.0).abs() < 1.0, "the rate is that of the median time: {line}");
        for field in ["cpu_seconds", "peak_memory_bytes", "submissions"] {
            assert!(line.get(field).is_some(), "{field}: {line}");
        }
        let text = |field: &str| line[field].as_str().unwrap().to_owned();
        if line["role"] == "ceiling" {
            assert!(line["share_of_ceiling"].is_null() && line["ceiling"].is_null(), "{line}");
        } else {
            numbers(line, &["share_of_ceiling", "ceiling_gigabytes_per_second"]);
            assert!(line["ceiling"].is_string(), "{line}");
        }
        seen.push(format!("{} {}", text("strategy"), text("memory")));
    }
    for strategy in ["checkpoint", "staged", "naive"].iter().chain(mapped.then_some(&"mapped")) {
        for memory in ["touched", "fresh"] {
            assert!(seen.contains(&format!("{strategy} {memory}")), "{seen:?}");
        }
    }
    // What both kinds of memory are held against is measured and told once.
    let count = seen.len();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), count, "{seen:?}");
}

#[test]
fn a_save_is_shown_beside_writing() {
    let here = tempfile::tempdir().unwrap();
    let lines = measurements(&bench(here.path(), "save", &["--json"]).with(0), "save");
    let roles: Vec<_> = lines.iter().map(|line| (&line["strategy"], &line["role"])).collect();
    let expected = [("write, sync, rename", "ceiling"), ("save", "strategy"), ("naive", "control")];
    let expected = expected.map(|(strategy, role)| (strategy.into(), role.into()));
    assert_eq!(
        roles,
        expected.each_ref().map(|(strategy, role): &(Value, Value)| (strategy, role))
    );
    assert_eq!(lines[1]["ceiling"], "write, sync, rename");

    // As one that was killed leaves it: nobody holds its lock.
    let left = here.path().join("warmstart-bench-abc");
    fs::create_dir(&left).unwrap();
    fs::write(left.join("lock"), "").unwrap();
    let text = blanked(&bench(here.path(), "save", &["--strategy", "save", "--dir", "."]).with(0));
    assert!(text.starts_with("save of # tensors of # KiB (# KiB)\nadapter\nmachine\nfiles\n"));
    let rows = text.lines().rev().take(2).map(|line| line.split(" #").next().unwrap());
    assert_eq!(rows.collect::<Vec<_>>(), ["save", "ceiling: write, sync, rename"], "{text}");
    assert_eq!(std::fs::read_dir(here.path()).unwrap().count(), 0);
}

#[test]
fn what_cannot_be_measured_is_told_before_it_begins() {
    let here = tempfile::tempdir().unwrap();
    for (arguments, expected) in [
        (&["restore", "--size", "0"][..], "give at least one byte"),
        (&["restore", "--size", "3 apples"], "such as 500MB, 2GiB or 1.5GB"),
        (&["restore", "--tensors", "0"], "0 is not in 1.."),
        (&["restore", "--strategy", "magic"], "[possible values: checkpoint, mapped, staged,"),
        (&["restore", "--size", "100", "--tensors", "64"], "leaves no element of 4 bytes for each"),
        (&["restore", "--dir", "nowhere"], "cannot use the folder `nowhere`"),
        (&["restore", "--adapter", "no such adapter"], "no such adapter"),
        (&["save", "--strategy", "staged"], "[possible values: save, naive]"),
        (&["linear", "--size", "0"], "0 is not in 1.."),
        (&["linear", "--size", "65536"], "a matrix of [65536, 65536] takes 16.0 GiB"),
        (&["linear", "--seconds", "never"], "it is a number of seconds"),
        (&["kernels", "--layer", "64x784"], "it is three numbers from 1 to 65536"),
        (&["kernels", "--layer", "64x0x10"], "it is three numbers from 1 to 65536"),
        (&["train", "--sizes", "12"], "a model needs at least two --sizes"),
        (&["train", "--batch", "12"], "--sizes"),
        (&["train", "--profile", "--trace", "no/such.json"], "cannot write `no/such.json`"),
    ] {
        let error = warmstart(here.path(), &[&["bench"], arguments].concat()).failed();
        assert!(error.contains(expected), "{arguments:?}: {error}");
    }
    // What a machine has, only Linux tells.
    if cfg!(target_os = "linux") {
        let error = warmstart(here.path(), &["bench", "save", "--size", "1000000000GiB"]).failed();
        assert!(error.contains("this needs ") && error.contains("free in `"), "{error}");
        assert!(error.contains("a --dir with more room"), "{error}");
    }
    assert_eq!(std::fs::read_dir(here.path()).unwrap().count(), 0);
}

#[test]
fn a_layer_is_measured_beside_what_the_adapter_can_do() {
    let here = tempfile::tempdir().unwrap();
    let quick = ["--size", "16,24", "--seconds", "0.001"];
    let text = blanked(&bench(here.path(), "linear", &quick).with(0));
    let expected = "linear + ReLU, forward\nadapter\nmachine\n\
                    rounds # of all in turn, fewer of what takes long; # s for each\n\n\
                    ceilings of the adapter\n\
                    multiply-adds in registers # GFLOP/s #-#\n\
                    memory, copied by a kernel # GB/s #-#\n\
                    memory, copied by a command # GB/s #-#\n\n\
                    relu(x W + b), all [N, N]\n\
                    GFLOP/s range of ceiling ms dispatches\n\
                    N = # # #-# # % # #\nN = # # #-# # % # #\n";
    assert_eq!(text, expected);
    let text = bench(here.path(), "linear", &[&quick[..], &["--json"]].concat()).with(0);
    let lines = measurements(&text, "linear");
    assert_eq!(lines.len(), 5);
    numbers(&lines[0], &["gigaflops_per_second", "operations", "seconds", "rounds"]);
    numbers(&lines[1], &["gigabytes_per_second", "bytes", "seconds", "rounds"]);
    let own = ["gigaflops_per_second", "share_of_ceiling", "ceiling_seconds", "slowest_seconds"];
    numbers(&lines[4], &own);
    assert_eq!((&lines[4]["size"], &lines[4]["operations"]), (&24.into(), &27_648.into()));
    assert_eq!((&lines[4]["dispatches"], &lines[4]["role"]), (&1.into(), &"benchmark".into()));
}

/// A layer's product and those of its two gradients, as lines of the table of kernels.
#[test]
fn kernels_are_measured_for_each_product_of_a_layer() {
    let here = tempfile::tempdir().unwrap();
    let layers = ["--layer", "8x16x24,7x16x24"];
    let text = bench(here.path(), "kernels", &layers).with(0);
    let lines: Vec<Vec<&str>> = text.lines().map(|l| l.split_whitespace().collect()).collect();
    // Seven rows are of the class of eight.
    let classes: Vec<String> = lines.iter().map(|words| words[1..7].join(" ")).collect();
    let expected = ["1 8 32 16 f32n4 f32n4", "1 8 16 32 f32n4 f32t4", "1 16 32 8 f32t4 f32n4"];
    assert_eq!(classes, expected, "{text}");
    assert!(lines.iter().all(|words| words.len() > 10 && words[9].starts_with("ms")), "{text}");

    let text = bench(here.path(), "kernels", &["--layer", "8x16x24", "--json"]).with(0);
    let lines = measurements(&text, "kernels");
    assert_eq!(lines.len(), 3);
    for (line, class) in lines.iter().zip(expected) {
        assert_eq!((&line["class"], &line["measurement"]), (&class.into(), &"kernel".into()));
        let seconds = line["kernel_seconds"].as_object().unwrap();
        assert!(seconds.len() > 2, "{line}");
        for field in ["usual", "chosen"] {
            let seconds = &seconds[line[field].as_str().unwrap()];
            assert!(seconds.as_f64().is_some_and(|seconds| seconds > 0.0), "{field}: {line}");
        }
    }
}

#[test]
fn training_is_measured_kernel_by_kernel() {
    let here = tempfile::tempdir().unwrap();
    let quick = ["--sizes", "6,8,3", "--batch", "4", "--seconds", "0.001"];
    let text = blanked(&bench(here.path(), "train", &quick).with(0));
    let expected = "#-#-# batch #, # dispatches a step\nsteps/s range of ceiling ms\n\
                    loss not read # #-# # % #\nloss read each step # #-# # % #\n\
                    # steps in a submission # #-# # % #\n";
    assert!(text.ends_with(expected), "{text}");

    let profiled = bench(here.path(), "train", &[&quick[..], &["--profile"]].concat());
    if !Gpu::new().unwrap().features().contains(wgpu::Features::TIMESTAMP_QUERY) {
        assert!(profiled.failed().contains("no timestamp queries"));
        return;
    }
    let text = blanked(&profiled.with(0));
    let (_, profile) = text.split_once(expected).unwrap();
    let mut lines = profile.trim_start().lines();
    assert_eq!(lines.next().unwrap(), "computes kernel µs of all GB/s GFLOP/s of ceiling bound by");
    assert!(lines.next().unwrap().starts_with("gather x, gather labels"), "{text}");
    assert!(lines.next().unwrap().starts_with("matmul"), "{text}");
    let gathers = "the first of these gathers the batch from the data set; the other # are the dispatches of the step";
    assert!(profile.contains(gathers), "{text}");
    assert!(profile.contains("\nall of these # # %\n"), "{text}");
    let medians = "each time is the median of # runs in which every kernel has timestamps of its own, and the \
                   time of all is the sum of these medians";
    assert!(profile.contains(medians), "{text}");
    let idle = [
        ": the device idles # % of the time\n",
        ", less than its kernels when each has timestamps of its own: how much of it the device idles cannot be told\n",
    ];
    let idle = idle.map(|idle| format!("\na step takes # µs (# steps in a submission){idle}"));
    assert!(idle.iter().any(|idle| profile.ends_with(idle)), "{text}");

    let more = ["--profile", "--json", "--trace", "step.json"];
    let text = bench(here.path(), "train", &[&quick[..], &more].concat());
    assert!(text.error.contains("wrote `step.json`, a trace to look at on ui"), "{}", text.error);
    let lines = measurements(&text.with(0), "train");
    let of = |kind: &str| -> Vec<&Value> {
        lines.iter().filter(|line| line["measurement"] == kind).collect()
    };
    let steps = of("train");
    let ways = ["loss_not_read", "loss_read_each_step", "steps_together"];
    assert!(steps.iter().zip(ways).all(|(line, way)| line["strategy"] == way) && steps.len() == 3);
    numbers(steps[0], &["steps_per_second", "share_of_ceiling", "seconds", "batch"]);
    assert_eq!(steps[0]["sizes"], json("[6,8,3]"));
    let dispatches = of("dispatch");
    // Those of the plan, and the one between two steps.
    assert_eq!(steps[0]["dispatches"], dispatches.len() - 1);
    assert_eq!(dispatches[0]["kernel"], "between");
    for dispatch in dispatches {
        assert!(dispatch["kernel"].is_string() && dispatch["computes"].is_string());
        assert!(["memory", "arithmetic"].contains(&dispatch["bound_by"].as_str().unwrap()));
    }
    let trace = json(&fs::read_to_string(here.path().join("step.json")).unwrap());
    let kernels = trace["traceEvents"].as_array().unwrap();
    assert_eq!(kernels.iter().filter(|event| event["ph"] == "X").count(), of("dispatch").len());
    let idle = of("idle");
    assert_eq!(
        (&idle[0]["strategy"], &idle[0]["step_seconds"]),
        (&ways[2].into(), &steps[2]["seconds"])
    );
    let number = |line: &Value, field: &str| line[field].as_f64().unwrap();
    let sum: f64 = of("dispatch").iter().map(|line| number(line, "seconds")).sum();
    // Times are whole nanoseconds.
    assert!((number(idle[0], "kernel_seconds") - sum).abs() < 1e-9 * kernels.len() as f64);
    let busy = number(idle[0], "busy_seconds") / number(idle[0], "step_seconds");
    match idle[0]["idle_share_of_step"].as_f64() {
        // The step's time is rounded to nanoseconds for it.
        Some(share) => {
            let rounded = 2e-9 / number(idle[0], "step_seconds");
            assert!((1.0 - busy - share).abs() < rounded, "{}", idle[0]);
        }
        None => assert!(busy > 1.0, "{}", idle[0]),
    }
    assert_eq!(trace["otherData"]["runs"][0]["name"], steps[0]["model"]);
}
