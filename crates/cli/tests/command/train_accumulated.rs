//! Updates of more rows than a batch has.

use crate::train::{flowers, write};
use crate::{Ran, json, warmstart};
use std::path::Path;

/// Trains on flowers, in the directory of that name.
fn train(at: &Path, name: &str, training: &str) -> Ran {
    let text = format!(
        "directory = \"{name}\"\n[data]\nfile = \"flowers.csv\"\n[model]\nhidden = [16]\n\
         [optimizer]\nlearning_rate = 0.02\nclip_global_norm = 0.5\n\
         [schedule]\nkind = \"cosine\"\nwarm_up = 4\n[training]\n{training}"
    );
    write(at, "run.toml", &text);
    warmstart(at, &["train", "run.toml", "--quiet", "--json"])
}

/// Four batches of 16 rows are one of 64: the same rows, the same schedule, the same weights to rounding.
#[test]
fn four_batches_train_as_one_four_times_as_large() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    write(at, "flowers.csv", &flowers(160, 0));
    let loss = |name: &str, training: &str, steps: u64| {
        let value = json(&train(at, name, training).with(0));
        assert_eq!(value["step"], steps, "{name}: {value}");
        value["metrics"]["validation/loss"].as_f64().unwrap()
    };
    let large = loss("large", "batch = 64\nsteps = 30\n", 30);
    let parts = "batch = 16\ngradient_accumulation_steps = 4\n";
    let in_parts = loss("parts", &format!("{parts}steps = 120\n"), 120);
    assert!((large - in_parts).abs() < 1e-4, "{large} {in_parts}");
    let small = loss("small", "batch = 16\nsteps = 120\n", 120);
    assert!((large - small).abs() > 1e-2, "{large} {small}: it would make no difference");
    // 15 epochs are 120 batches of 16, and 14 are 112; of 128 rows, whole updates.
    let parts = "batch = 16\ngradient_accumulation_steps = 5\nepochs = 14\n";
    loss("epochs", parts, 115);
}

/// Whether gradients are accumulated, and over how many batches, may change while a run goes on.
#[test]
fn accumulation_may_come_and_go() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    write(at, "flowers.csv", &flowers(60, 0));
    let run = |together: u32, steps: u32, name: &str| {
        let keys =
            format!("batch = 8\ngradient_accumulation_steps = {together}\nsteps = {steps}\n{name}");
        let value = json(&train(at, "run", &keys).with(0));
        assert_eq!(value["step"], steps);
        let file = value["checkpoint"].as_str().unwrap();
        let inspected = warmstart(at, &["inspect", file, "--json"]).with(0);
        for slot in ["adam/accumulated_batches", "fc1/bias/adam/gradient_accumulator"] {
            assert_eq!(inspected.contains(slot), together > 1, "{steps}: {inspected}");
        }
        let notes = value["notes"].as_array().unwrap().iter();
        notes.map(|note| note.as_str().unwrap().to_owned()).collect::<Vec<_>>().join("\n")
    };
    run(1, 3, "");
    let came = run(4, 8, "");
    let note = "gradient accumulation is on since `training.gradient_accumulation_steps` changed: \
                the 5 variables that it keeps begin at their initial values";
    assert!(came.contains(note), "{came}");
    let said = "from here on, `training.gradient_accumulation_steps` was 1, now 4";
    assert!(came.contains(said), "{came}");
    let other = run(3, 12, "");
    let said = "from here on, `training.gradient_accumulation_steps` was 4, now 3";
    assert!(other.contains(said) && !other.contains("accumulation is"), "{other}");
    // Loss scaling may come while accumulation goes.
    let went = run(1, 14, "compute_f16 = true\n");
    for note in [
        "gradient accumulation is off since `training.gradient_accumulation_steps` changed: \
         the 5 variables that it keeps of the checkpoint are left out",
        "loss scaling is on since `training.compute_f16` changed: `adam/loss_scale` and \
         `adam/good_steps` begin at their initial values",
    ] {
        assert!(went.contains(note), "{went}");
    }
}

#[test]
fn numbers_of_batches_that_make_no_updates_are_shown_where_they_are() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    write(at, "flowers.csv", &flowers(60, 0));
    for (keys, expected) in [
        (
            "gradient_accumulation_steps = 0\n",
            "`training.gradient_accumulation_steps`: give at least 1",
        ),
        (
            "gradient_accumulation_steps = 16777217\n",
            "`training.gradient_accumulation_steps`: the number of gradient accumulation steps is \
             16777217, and must be from 1 to 16777216",
        ),
        (
            "gradient_accumulation_steps = 4\nsteps = 10\n",
            "`training.steps`: an update is made of 4 batches by `gradient_accumulation_steps`, and \
             the last 2 of these would be of none; give a multiple of it, such as 8 or 12",
        ),
        (
            "gradient_accumulation_steps = 4\nsteps = 3\n",
            "the last 3 of these would be of none; give a multiple of it, such as 4",
        ),
    ] {
        let error = train(at, "run", keys).failed();
        assert!(error.contains(expected), "`{expected}` is not in {error}");
        assert!(!at.join("run").exists(), "nothing was begun");
    }
}
