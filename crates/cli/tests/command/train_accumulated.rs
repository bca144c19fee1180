//! Updates of more rows than a batch has.

use crate::train::{flowers, write};
use crate::{Ran, json, warmstart};
use serde_json::Value;
use std::path::Path;
use warmstart_checkpoint::{Checkpoint, step_file_name};

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
    let came = run(4, 7, "");
    let note = "gradient accumulation is on since `training.gradient_accumulation_steps` changed: \
                the 5 variables that it keeps begin at their initial values";
    assert!(came.contains(note), "{came}");
    let said = "changed from here on: `training.gradient_accumulation_steps` was 1, now 4";
    assert!(came.contains(said), "{came}");
    let other = run(3, 13, "");
    let said = "changed from here on: `training.gradient_accumulation_steps` was 4, now 3";
    assert!(other.contains(said) && !other.contains("accumulation is"), "{other}");
    // Loss scaling may come while accumulation goes.
    let went = run(1, 14, "compute_f16 = true\n");
    assert!(!went.contains("in no weight"), "{went}");
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

/// Every step saved.
const SAVED: &str = "[checkpoints]\nsave_every = 1\nkeep = 100\n";

/// Another directory, in which a run goes on from a step of this one.
fn branched(at: &Path, from: &str, step: u64, to: &str) {
    std::fs::create_dir(at.join(to)).unwrap();
    let name = step_file_name(step);
    std::fs::copy(at.join(from).join(&name), at.join(to).join(&name)).unwrap();
}

/// What a run says, joined, and its last checkpoint.
fn ran(at: &Path, ran: Ran) -> (String, Checkpoint) {
    let value = json(&ran.with(0));
    let notes = value["notes"].as_array().unwrap().iter();
    let notes: Vec<&str> = notes.map(|note| note.as_str().unwrap()).collect();
    (notes.join("\n"), Checkpoint::open(at.join(value["checkpoint"].as_str().unwrap())).unwrap())
}

/// Updates that were made, batches that wait for one, and the length of the cosine.
fn counts(checkpoint: &Checkpoint) -> (u32, u32, u64) {
    let number = |name: &str| {
        let mut bytes = [0; 4];
        checkpoint.read(checkpoint.tensor(name).unwrap(), 0, &mut bytes).unwrap();
        u32::from_le_bytes(bytes)
    };
    let optimizer: Value = json(checkpoint.metadata().optimizer().unwrap());
    let length = &optimizer["learning_rate"]["warm_up"]["then"]["cosine"]["steps"];
    (number("adam/step"), number("adam/accumulated_batches"), length.as_u64().unwrap())
}

fn tensors(checkpoint: &Checkpoint) -> Vec<(String, Vec<u8>)> {
    let bytes = |name: &str| {
        let mut bytes = vec![0; checkpoint.tensor(name).unwrap().bytes() as usize];
        checkpoint.read(checkpoint.tensor(name).unwrap(), 0, &mut bytes).unwrap();
        bytes
    };
    checkpoint.tensors().iter().map(|t| (t.name.to_string(), bytes(&t.name))).collect()
}

/// Where the number of batches changes in the middle of an update, the schedule ends with the last of the
/// updates that are made then, and a run that goes on from there is that run.
#[test]
fn a_schedule_ends_with_the_last_update() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    write(at, "flowers.csv", &flowers(60, 0));
    let go_on = |name: &str, together: u32, steps: u64| {
        let keys = format!(
            "batch = 8\ngradient_accumulation_steps = {together}\nsteps = {steps}\n{SAVED}"
        );
        train(at, name, &keys)
    };
    let (_, whole) = ran(at, go_on("whole", 2, 24));
    assert_eq!(counts(&whole), (12, 0, 8), "after a warm-up of 4 updates");

    // As it was: nothing is said, and all is as without a break.
    branched(at, "whole", 13, "same");
    let (notes, same) = ran(at, go_on("same", 2, 24));
    assert_eq!(notes, "");
    assert!(tensors(&same) == tensors(&whole));
    assert_eq!(same.metadata().optimizer(), whole.metadata().optimizer());

    // 6 updates are made, and a batch waits: with two more it makes one, and the last 9 make three.
    branched(at, "whole", 13, "changed");
    let refused = go_on("changed", 3, 25).failed();
    let message = "`training.steps`: an update is made of 3 batches by `gradient_accumulation_steps`, \
                   and was of others before, and the last 1 of these would be of none; give 24 or 27";
    assert!(refused.contains(message), "{refused}");
    let (notes, changed) = ran(at, go_on("changed", 3, 24));
    assert_eq!(counts(&changed), (10, 0, 6));
    let jump = "the learning rate jumps from 0.0171 to 0.015 at step 13, after 6 updates: its \
                schedule now ends at update 10, and not at update 12";
    assert!(notes.contains(jump), "{notes}");

    // Broken off in there, too, it ends with the same bits.
    branched(at, "changed", 17, "again");
    let (notes, again) = ran(at, go_on("again", 3, 24));
    assert_eq!(notes, "");
    assert!(tensors(&again) == tensors(&changed));
    assert_eq!(again.metadata().get("settings"), changed.metadata().get("settings"));
    // More steps are more updates.
    branched(at, "changed", 17, "more");
    assert_eq!(counts(&ran(at, go_on("more", 3, 30)).1), (12, 0, 8));

    // Each batch makes an update: then steps are counted, and what waits is lost.
    branched(at, "whole", 13, "off");
    let (notes, _) = ran(at, go_on("off", 1, 25));
    let lost = "the batch after the last update is in no weight; with \
                `gradient_accumulation_steps = 2` until step 14 none would be lost";
    assert!(notes.contains(lost), "{notes}");
    let jump =
        " at step 13, after 6 updates: its schedule now ends at step 25, and not at update 12";
    assert!(notes.contains(jump), "{notes}");
}

/// Gradients that only loss scaling leaves out are no beginning for a run without it.
#[test]
fn an_update_that_is_not_finite_keeps_its_loss_scaling() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    // One row at a time, scaled by 65536: gradients are beyond what `f16` holds.
    let rows: Vec<String> = (0..40).map(|row| format!("{row},{}\n", row % 7 * row)).collect();
    write(at, "rows.csv", &rows.concat());
    let train = |name: &str, steps: u64, keys: &str| {
        let text = format!(
            "directory = \"{name}\"\n[data]\nfile = \"rows.csv\"\ntask = \"regression\"\n[model]\n\
             hidden = [4]\n[training]\nbatch = 1\nsteps = {steps}\ncompute_f16 = true\n\
             gradient_accumulation_steps = 4\n{SAVED}[optimizer]\n{keys}"
        );
        write(at, "run.toml", &text);
        warmstart(at, &["train", "run.toml", "--quiet", "--json"])
    };
    ran(at, train("scaled", 4, ""));
    branched(at, "scaled", 3, "run");
    let refused = train("run", 8, "loss_scaling = false\n").failed();
    for part in [
        "`optimizer.loss_scaling`: `run/step-3.safetensors` was saved in the middle of an update that \
         loss scaling would leave out, since gradients of it are not finite, such as `fc",
        "gradient_accumulator` (",
        "nothing was trained",
        "say `loss_scaling = true` again until step 4 (`steps = 4`, and no `epochs`), where that update is \
         over, or begin another run with these weights, by these lines:",
        "checkpoint = \"run/step-3.safetensors\"",
    ] {
        assert!(refused.contains(part), "`{part}` is not in {refused}");
    }
    assert_eq!(
        std::fs::read_dir(at.join("run")).unwrap().count(),
        2,
        "the checkpoint and the lock"
    );
    ran(at, train("run", 4, "loss_scaling = true\n"));
    let (notes, _) = ran(at, train("run", 8, "loss_scaling = false\n"));
    assert!(
        notes.contains("loss scaling is off since `optimizer.loss_scaling` changed"),
        "{notes}"
    );
}

/// Steps that would do for the updates of another run are no help where its model is another one.
#[test]
fn a_run_of_another_model_is_told_before_its_steps_are_counted() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    write(at, "flowers.csv", &flowers(60, 0));
    train(at, "run", "batch = 8\nsteps = 5\n").with(0);
    write(at, "flowers.csv", &flowers(60, 0).replace("rose", "daisy"));
    let text = "batch = 8\nsteps = 20\ngradient_accumulation_steps = 4\n";
    let told = train(at, "run", text).failed();
    assert!(told.contains("was trained on other classes"), "{told}");
    assert!(!told.contains("the last"), "{told}");
}
