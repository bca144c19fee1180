//! Weights that a training has made useless, and settings that are not what they were.

use crate::train::{flowers, write};
use crate::{json, warmstart};
use std::path::Path;

/// Rows of which a fifth are of the other class than all that are like them.
fn rows(at: &Path) {
    let row =
        |row: usize| format!("{},{}\n", row % 2, (row + usize::from(row.is_multiple_of(5))) % 2);
    let rows: String = (0..60).map(row).collect();
    for file in ["rows.csv", "check.csv"] {
        write(at, file, &format!("x,class\n{rows}"));
    }
}

fn train(at: &Path, steps: u32, keys: &str, more: &[&str]) -> crate::Ran {
    let text = format!(
        "[data]\nfile = \"rows.csv\"\ntask = \"classification\"\nvalidation_file = \"check.csv\"\n\
         [model]\nhidden = [8]\n[training]\nsteps = {steps}\n{keys}\n"
    );
    write(at, "run.toml", &text);
    warmstart(at, &[&["train", "run.toml", "--quiet"], more].concat())
}

#[test]
fn a_loss_beyond_all_measure_is_told_at_the_end_and_where_a_run_goes_on_from_it() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    rows(at);
    let high = "[optimizer]\nlearning_rate = 1e6";
    let out = train(at, 60, high, &[]).with(0);
    let (_, told) =
        out.split_once("warning: the weights are ruined: the last losses are ").unwrap();
    for part in [
        "a model that gives each class the same chance has 0.6931",
        "A learning rate of 1000000 is probably too high:\n",
        "    learning_rate = 0.01\n    clip_global_norm = 1.0\n",
        "In this directory, a run goes on from these weights. Begin anew: remove `runs/run`, or:\n\
         at the top\n    directory = \"runs/run-2\"\n",
    ] {
        assert!(told.contains(part), "{part}\n{out}");
    }
    // A lower rate alone mends nothing, and is not to blame either.
    let out = train(at, 70, "", &[]).with(0);
    for part in [
        "note: changed from here on: `optimizer.learning_rate` was 1000000.0, now 0.001\n",
        "note: the weights that this run goes on from are ruined: the last losses are ",
        "a setting that was changed has effect only from here on. Begin anew: remove `runs/run`, or",
        "warning: the weights are still ruined: ",
    ] {
        assert!(out.contains(part), "{part}\n{out}");
    }
    assert!(!out.contains("probably too high"), "{out}");
    // With nothing left to train, once is enough.
    let value = json(&train(at, 70, "", &["--json"]).with(0));
    let notes = value["notes"].as_array().unwrap();
    let ruined = |note: &&serde_json::Value| note.as_str().unwrap().contains(" ruined: ");
    assert_eq!(notes.iter().filter(ruined).count(), 1, "{value}");
    // The line that is advised does begin anew.
    write(at, "run.toml", "");
    let top = "directory = \"runs/run-2\"\n";
    let text = format!(
        "{top}[data]\nfile = \"rows.csv\"\ntask = \"classification\"\n[training]\nsteps = 60\n\
         [optimizer]\nlearning_rate = 0.01\nclip_global_norm = 1.0\n"
    );
    write(at, "run.toml", &text);
    let out = warmstart(at, &["train", "run.toml", "--quiet"]).with(0);
    assert!(out.contains("\na new run: ") && !out.contains("ruined"), "{out}");
}

#[test]
fn a_rate_that_worked_is_taken_again() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    rows(at);
    let out = train(at, 20, "[optimizer]\nlearning_rate = 0.003", &[]).with(0);
    assert!(!out.contains("ruined"), "{out}");
    let error = train(at, 60, "[optimizer]\nlearning_rate = 1e30", &[]).failed_late();
    for part in [
        "`run.toml`, `optimizer.learning_rate`: ",
        "under [optimizer] say, as `runs/run/step-20.safetensors` was trained with, \
         learning_rate = 0.003 `warmstart train run.toml` then goes on from \
         `runs/run/step-20.safetensors`",
    ] {
        assert!(error.contains(part), "{part}\n{error}");
    }
    assert!(!error.contains("clip_global_norm"), "{error}");
    // Where the weights stay numbers, another run can begin with those that were trained well.
    let out = train(at, 80, "[optimizer]\nlearning_rate = 1e5", &[]).with(0).replace('\'', "\"");
    for part in [
        "under [optimizer] say, as `runs/run/step-20.safetensors` was trained with,\n    \
         learning_rate = 0.003\n",
        "Begin another run with those of `runs/run/step-20.safetensors`, by these lines:\n",
        "\n    [warm_start]\n    checkpoint = \"runs/run/step-20.safetensors\"\n",
    ] {
        assert!(out.contains(part), "{part}\n{out}");
    }
    // So it is when the rate is again what it was.
    let out = train(at, 90, "[optimizer]\nlearning_rate = 0.003", &[]).with(0);
    let note = "has effect only from here on. Begin another run with those of \
                `runs/run/step-20.safetensors`, by these lines:\n";
    assert!(out.contains(note), "{out}");
}

#[test]
fn large_values_that_are_not_scaled_are_named_before_the_rate() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let rows: String = (0..60).map(|row| format!("{},{}\n", row * 1000, row * 3000 + 7)).collect();
    write(at, "far.csv", &format!("x,y\n{rows}"));
    let train = |data: &str, rate: &str| {
        let text = format!(
            "[data]\nfile = \"far.csv\"\ntask = \"regression\"\n{data}\n[training]\nsteps = 40\n\
             [optimizer]\nname = \"sgd\"\nlearning_rate = {rate}\n"
        );
        write(at, "run.toml", &text);
        warmstart(at, &["train", "run.toml", "--quiet"]).failed_late()
    };
    let error = train("scaling = \"none\"\nscale_targets = false", "0.1");
    for part in [
        "`run.toml`, `data.scaling`: ",
        "inputs reach 59000 and are taken as they are",
        "under [data] say scaling = \"standardize\" scale_targets = true or, if values must stay as \
         they are, under [optimizer] learning_rate = 0.01 clip_global_norm = 1.0",
        "`warmstart train run.toml` then begins anew",
    ] {
        assert!(error.contains(part), "{part}\n{error}");
    }
    let error = train("scale_targets = false", "0.1");
    assert!(error.contains("`run.toml`, `data.scale_targets`: "), "{error}");
    assert!(error.contains("targets reach 177007 and are taken as they are"), "{error}");
    // Values that are scaled are not to blame.
    let error = train("", "1e30");
    assert!(error.contains("`run.toml`, `optimizer.learning_rate`: "), "{error}");
}

/// Temperatures in Kelvin, which the first weights know nothing of.
#[test]
fn targets_far_from_0_do_not_make_a_short_run_a_ruined_one() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let rows: String = (0..60).map(|row| format!("{},{}\n", row % 3, 289 + row % 3)).collect();
    write(at, "kelvin.csv", &format!("x,kelvin\n{rows}"));
    let train = |steps: u32| {
        let text = format!(
            "[data]\nfile = \"kelvin.csv\"\ntask = \"regression\"\nscale_targets = false\n\
             [training]\nsteps = {steps}\n"
        );
        write(at, "run.toml", &text);
        warmstart(at, &["train", "run.toml", "--quiet"]).with(0)
    };
    for steps in [20, 40] {
        let out = train(steps);
        assert!(!out.contains("ruined"), "{out}");
    }
}

/// A cosine over all steps ends later where there are more of them.
#[test]
fn a_schedule_that_jumps_is_told_with_both_rates() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    rows(at);
    let cosine = "[schedule]\nkind = \"cosine\"\n";
    train(at, 20, cosine, &[]).with(0);
    let out = train(at, 40, cosine, &[]).with(0);
    let note = "note: the learning rate jumps from 0 to 5.000e-4 at step 20: its schedule now ends at \
                step 40, and not at step 20\n";
    assert!(out.contains(note), "{out}");
    assert!(!out.contains("differs") && !out.contains("from here on"), "{out}");
    // What the file says by a key is told by that.
    let out = train(at, 60, "", &[]).with(0);
    let keys = "note: changed from here on: `schedule.kind` was \"cosine\", now \"constant\"\n";
    assert!(out.contains(keys), "{out}");
    let rate =
        "note: the learning rate jumps from 0 to 0.001 at step 40: its schedule is another\n";
    assert!(out.contains(rate), "{out}");
    // As it was, nothing is said.
    let out = train(at, 80, "", &[]).with(0);
    assert!(!out.contains("note:"), "{out}");
}

#[test]
fn losses_are_drawn_with_those_of_validation() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    rows(at);
    let svg = |at: &Path| std::fs::read_to_string(at.join("runs/run/loss.svg")).unwrap();
    train(at, 40, "validate_every = 10", &[]).with(0);
    let drawn = svg(at);
    assert!(drawn.contains("\ntraining\n") && drawn.contains("\nvalidation\n"), "{drawn}");
    // Without rows to validate on there is one curve, and no need to tell it from others.
    std::fs::remove_dir_all(at.join("runs")).unwrap();
    write(at, "flowers.csv", &flowers(60, 0));
    let text = "[data]\nfile = \"flowers.csv\"\nvalidation = 0\n[training]\nsteps = 40\n";
    write(at, "run.toml", text);
    warmstart(at, &["train", "run.toml", "--quiet"]).with(0);
    let drawn = svg(at);
    assert!(drawn.contains("Training loss") && !drawn.contains("validation"), "{drawn}");
    // A regression's share that is not explained can be held against a loss of scaled targets.
    std::fs::remove_dir_all(at.join("runs")).unwrap();
    let rows: String = (0..60).map(|row| format!("{row},{}.5\n", row * row % 17)).collect();
    write(at, "values.csv", &format!("x,y\n{rows}"));
    let text = "[data]\nfile = \"values.csv\"\n[training]\nsteps = 40\nvalidate_every = 10\n";
    write(at, "run.toml", text);
    warmstart(at, &["train", "run.toml", "--quiet"]).with(0);
    assert!(svg(at).contains("\nvalidation, 1 − R²\n"), "{}", svg(at));
}
