//! Training with less memory: in `f16`, with layers computed again, and within a limit.

use crate::train::{flowers, write};
use crate::{Ran, json, warmstart};
use std::path::Path;

/// Trains on flowers for so many steps, in the directory of that name.
fn train(at: &Path, name: &str, steps: u32, keys: &str) -> Ran {
    let optimizer = match keys.contains("[optimizer]") {
        true => "",
        false => "[optimizer]\nlearning_rate = 0.01\n",
    };
    let text = format!(
        "directory = \"{name}\"\n[data]\nfile = \"flowers.csv\"\n[model]\nhidden = [16, 16]\n\
         activation = \"silu\"\ndropout = 0.1\n[training]\nbatch = 16\nsteps = {steps}\n{keys}{optimizer}"
    );
    write(at, "run.toml", &text);
    warmstart(at, &["train", "run.toml", "--quiet", "--json"])
}

#[test]
fn less_memory_learns_as_well() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    write(at, "flowers.csv", &flowers(300, 0));
    let loss = |name: &str, keys: &str| {
        let value = json(&train(at, name, 200, keys).with(0));
        let metrics = &value["metrics"];
        assert!(metrics["validation/accuracy"].as_f64().unwrap() >= 0.95, "{name}: {value}");
        metrics["validation/loss"].as_f64().unwrap()
    };
    let plain = loss("plain", "");
    let again = loss("again", "recompute = true\n");
    assert!((again - plain).abs() < 1e-3, "{again} {plain}");
    for (name, keys) in [
        ("computed", "compute_f16 = true\n"),
        ("kept", "keep_f16 = true\n"),
        ("all", "compute_f16 = true\nkeep_f16 = true\nrecompute = true\n"),
    ] {
        let rounded = loss(name, keys);
        assert!((rounded - plain).abs() < 0.05, "{name}: {rounded}, and {plain} in f32");
        assert_ne!(rounded, plain, "{name}: nothing was rounded");
    }
}

/// What training in `f16` keeps beside the weights is in the checkpoint, and a run goes on with it.
#[test]
fn loss_scaling_comes_with_f16_unless_said_otherwise() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    write(at, "flowers.csv", &flowers(60, 0));
    let scales = |name: &str, steps: u32, keys: &str| {
        let value = json(&train(at, name, steps, keys).with(0));
        assert_eq!(value["step"], steps);
        let file = value["checkpoint"].as_str().unwrap();
        warmstart(at, &["inspect", file, "--json"]).with(0).contains("loss_scale")
    };
    assert!(!scales("plain", 2, ""));
    assert!(!scales("without", 2, "compute_f16 = true\n[optimizer]\nloss_scaling = false\n"));
    for steps in [2, 4] {
        assert!(scales("computed", steps, "compute_f16 = true\n"));
    }
}

/// Whether a run trains in `f16` may change while it goes on; nothing else may be missing then.
#[test]
fn loss_scaling_may_come_and_go() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    write(at, "flowers.csv", &flowers(60, 0));
    let notes = |steps: u32, keys: &str, is_scaled: bool| {
        let value = json(&train(at, "run", steps, keys).with(0));
        assert_eq!(value["step"], steps);
        let file = value["checkpoint"].as_str().unwrap();
        let inspected = warmstart(at, &["inspect", file, "--json"]).with(0);
        for slot in ["adam/loss_scale", "adam/good_steps"] {
            assert_eq!(inspected.contains(slot), is_scaled, "{steps}: {inspected}");
        }
        // The keys that changed are told beside it.
        let notes = value["notes"].as_array().unwrap().iter();
        let of_keys = |note: &&serde_json::Value| {
            !note.as_str().unwrap().starts_with("changed from here on: `")
        };
        notes.filter(of_keys).cloned().collect::<Vec<_>>()
    };
    let came = "loss scaling is on since `training.compute_f16` changed: \
                `adam/loss_scale` and `adam/good_steps` begin at their initial values";
    let went = "loss scaling is off since `training.compute_f16` changed: \
                `adam/loss_scale` and `adam/good_steps` of the checkpoint are left out";
    let without = "compute_f16 = true\n[optimizer]\nlearning_rate = 0.01\nloss_scaling = false\n";
    assert!(notes(2, "", false).is_empty());
    assert_eq!(notes(4, "compute_f16 = true\n", true), [came]);
    assert!(notes(6, "compute_f16 = true\n", true).is_empty());
    assert_eq!(notes(8, "", false), [went]);
    assert_eq!(notes(10, "compute_f16 = true\n", true), [came]);
    let said = went.replace("training.compute_f16", "optimizer.loss_scaling");
    assert_eq!(notes(12, without, false), [said]);
    // Adam's moments are not what comes and goes.
    let other = "compute_f16 = true\n[optimizer]\nname = \"sgd\"\nlearning_rate = 0.01\n";
    let error = train(at, "run", 14, other).failed();
    assert!(
        error.contains("`optimizer.name`: `run/step-12.safetensors` was trained with adam"),
        "{error}"
    );
    assert_eq!(notes(14, without, false).len(), 0);
}

#[test]
fn what_saves_in_the_background_take_is_said_before_the_training() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    write(at, "flowers.csv", &flowers(60, 0));
    let run = |name: &str, keys: &str| {
        let text = format!(
            "directory = \"{name}\"\n[data]\nfile = \"flowers.csv\"\n[model]\nhidden = [70]\n\
             [training]\nsteps = 4\nbatch = 12\n[checkpoints]\n{keys}"
        );
        write(at, "run.toml", &text);
        json(&warmstart(at, &["train", "run.toml", "--quiet", "--json"]).with(0))
    };
    let notes = |value: &serde_json::Value| value["notes"].to_string();
    let behind = run("behind", "background = true\n");
    // Each variable begins at a multiple of 256 bytes.
    let saved = json(&warmstart(at, &["inspect", "behind", "--json"]).with(0));
    let sizes = saved["tensors"].as_array().unwrap().iter();
    let bytes: u64 = sizes.map(|one| one["bytes"].as_u64().unwrap().next_multiple_of(256)).sum();
    let said = format!("take {:.1} KiB of memory more", bytes as f64 / 1024.0);
    assert!(notes(&behind).contains(&said), "not {said}: {behind}");
    // What needs no copy says nothing of one: neither a save at once, nor a run that is done.
    assert!(!notes(&run("at_once", "")).contains("memory"));
    assert!(!notes(&run("behind", "background = true\n")).contains("memory"));
    let diff = ["diff", "behind/step-4.safetensors", "at_once/step-4.safetensors", "--values"];
    warmstart(at, &diff).with(0);
}

#[test]
fn a_batch_beyond_the_limit_is_refused_with_the_largest_within() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    write(at, "flowers.csv", &flowers(3000, 0));
    let run = |batch: u32, limit: u32| {
        let text = format!(
            "[data]\nfile = \"flowers.csv\"\nvalidation = 0\n[model]\nhidden = [256, 256]\n\
             [training]\nsteps = 1\nmemory_limit = {limit}\nbatch = {batch}\n"
        );
        write(at, "run.toml", &text);
        warmstart(at, &["train", "run.toml", "--quiet"])
    };
    let error = run(3000, 4).failed_late();
    let part = "`training.batch`: batches of 3000 rows do not fit: a step takes ";
    let allowed = " MiB with its variables, and `memory_limit` allows 4 ";
    assert!(error.contains(part) && error.contains(allowed), "{error}");
    let (_, help) = error.split_once("give at most ").unwrap();
    let (largest, what) = help.split_once(", ").unwrap();
    assert!(what.starts_with("the largest that fits `memory_limit`"), "{error}");
    let largest: u32 = largest.parse().unwrap();
    assert!((1..3000).contains(&largest), "{largest}");
    run(largest + 1, 4).failed_late();
    assert!(!at.join("runs").exists(), "nothing was begun");
    run(largest, 4).with(0);
    // No batch is the reason where the weights alone are too much.
    let error = run(1, 1).failed_late();
    assert!(error.contains("`training.memory_limit`: batches of 1 rows do not fit"), "{error}");
    let help = "not even a batch of one row fits: give a `memory_limit` of at least 2, or smaller";
    assert!(error.contains(help), "{error}");
    run(1, 2).with(0);
    let text = std::fs::read_to_string(at.join("run.toml")).unwrap();
    write(at, "wide.toml", &text.replace("[256, 256]", "[512, 512]"));
    let error = warmstart(at, &["train", "wide.toml", "--quiet"]).failed_late();
    let help = "fits, as the variables alone take 3.1 MiB";
    assert!(error.contains(help) && !error.contains("`keep_f16"), "{error}");
    let error = run(10, 0).failed();
    assert!(error.contains("`training.memory_limit`: give at least 1"), "{error}");
}
