//! How a training ends that went wrong, or too far.

use crate::train::{flowers, write};
use crate::{json, warmstart};
use std::fs::File;
use std::path::Path;

/// Trains on flowers, by these keys of a file.
fn train(at: &Path, steps: u32, optimizer: &str, more: &[&str]) -> crate::Ran {
    write(at, "flowers.csv", &flowers(60, 0));
    let text = format!(
        "[data]\nfile = \"flowers.csv\"\n[model]\nhidden = [8]\n[training]\nbatch = 12\n\
         steps = {steps}\n[optimizer]\n{optimizer}\n"
    );
    write(at, "run.toml", &text);
    warmstart(at, &[&["train", "run.toml", "--quiet"], more].concat())
}

#[test]
fn a_run_that_got_worse_names_its_best_checkpoint() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    // A fifth of the rows are of the other class than all that are like them: no model does better
    // than 80 %, and one that is sure of itself has a large loss.
    let row =
        |row: usize| format!("{},{}\n", row % 2, (row + usize::from(row.is_multiple_of(5))) % 2);
    let rows: String = (0..60).map(row).collect();
    write(at, "rows.csv", &format!("x,class\n{rows}"));
    let train = |steps: u32, rate: f32, more: &[&str]| {
        let text = format!(
            "[data]\nfile = \"rows.csv\"\ntask = \"classification\"\n\
             validation_file = \"rows.csv\"\n[model]\nhidden = [8]\n[training]\n\
             steps = {steps}\n[optimizer]\nlearning_rate = {rate}\n"
        );
        write(at, "run.toml", &text);
        warmstart(at, &[&["train", "run.toml", "--quiet"], more].concat())
    };
    let out = train(60, 0.05, &[]).with(0);
    assert!(!out.contains("best:"), "{out}");
    let out = train(61, 1000.0, &[]).with(0);
    let mut lines = out.lines().skip_while(|line| !line.starts_with("best: "));
    let best = lines.next().unwrap_or_else(|| panic!("{out}"));
    assert!(best.starts_with("best: step 60, accuracy 80.0 %"), "{out}");
    assert!(best.contains(" (last: "), "{out}");
    assert!(best.ends_with("); to predict with it:"), "{out}");
    let command = lines.next().unwrap();
    let expected = "  warmstart predict runs/run/step-60.safetensors --data rows.csv";
    assert_eq!((command, lines.next()), (expected, None));
    let words: Vec<&str> = command.split_whitespace().skip(1).collect();
    assert_eq!(warmstart(at, &words).with(0).lines().count(), 61);
    let value = json(&train(61, 1000.0, &["--json"]).with(0));
    assert_eq!(value["best"]["step"], 60, "{value}");
    let (best, last) = (&value["best"]["metrics"], &value["metrics"]);
    let loss = |of: &serde_json::Value| of["validation/loss"].as_f64().unwrap();
    assert!(loss(best) < loss(last), "{value}");
}

/// Rows on the device, several steps in a submission, and rows that the host feeds: the same bits.
#[test]
fn where_rows_are_changes_no_result() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let rows: String = (0..50).map(|row| format!("{},{}.5\n", row % 7, row * row % 11)).collect();
    write(at, "rows.csv", &format!("x,y\n{rows}"));
    for (name, limit) in [("device", ""), ("host", "memory_limit = 1000\n")] {
        let text = format!(
            "directory = \"{name}\"\n[data]\nfile = \"rows.csv\"\n[model]\nhidden = [8]\n\
             dropout = 0.2\n[training]\nsteps = 45\nbatch = 9\nlog_every = 1\nvalidate_every = 7\n\
             {limit}[checkpoints]\nsave_every = 20\nkeep_best = 0\n"
        );
        write(at, "run.toml", &text);
        warmstart(at, &["train", "run.toml", "--quiet"]).with(0);
    }
    for step in [20, 40, 45] {
        let file = |name: &str| format!("{name}/step-{step}.safetensors");
        warmstart(at, &["diff", &file("device"), &file("host"), "--values"]).with(0);
    }
    let metrics = |name: &str| std::fs::read_to_string(at.join(name).join("metrics.csv")).unwrap();
    assert_eq!(metrics("device"), metrics("host"));
    assert_eq!(metrics("device").lines().count(), 46);
}

#[test]
fn a_loss_that_is_no_number_has_lines_to_paste() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let error = train(at, 20, "name = \"sgd\"\nlearning_rate = 1e37", &[]).failed_late();
    for part in [
        "`run.toml`, `optimizer.learning_rate`: ",
        "run.toml:10:17",
        "perhaps too high",
        "learning_rate = 0.01 clip_global_norm = 1.0",
        "`warmstart train run.toml` then begins anew",
    ] {
        assert!(error.contains(part), "{part}\n{error}");
    }
    assert!(error.contains("NaN") || error.contains("infinity"), "{error}");
    // What is said already is not said again.
    let clipped = "name = \"sgd\"\nlearning_rate = 3e38\nclip_global_norm = 1.0";
    let error = train(at, 20, clipped, &[]).failed_late();
    assert!(error.contains("learning_rate = 0.01 `warmstart train"), "{error}");
}

#[test]
fn a_directory_in_use_is_told_with_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    std::fs::create_dir_all(at.join("runs/run")).unwrap();
    let lock = File::create(at.join("runs/run/run.lock")).unwrap();
    lock.lock().unwrap();
    let error = train(at, 2, "", &[]).failed_late();
    for part in [
        "another run trains in `runs/run`; nothing was changed",
        "wait until it has ended, or stop it; or begin another run, by this line: at the top \
         directory = \"runs/run-2\"",
    ] {
        assert!(error.contains(part), "{part}\n{error}");
    }
}

/// Names that the model does not know change nothing, which is not to be overlooked.
#[test]
fn columns_that_are_taken_by_place_though_they_have_names_are_told() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let rows: String =
        (0..40).map(|row| format!("{},{},{}\n", row % 7, row % 5, ["x", "y"][row % 2])).collect();
    write(at, "plain.csv", &rows);
    let text = "[data]\nfile = \"plain.csv\"\nheader = false\n[model]\nhidden = [4]\n[training]\nsteps = 1\n";
    write(at, "run.toml", text);
    warmstart(at, &["train", "run.toml", "--quiet"]).with(0);
    let predict = |file: &str| warmstart(at, &["predict", "runs/run", "--data", file]);
    write(at, "named.csv", "height,width\n1,2\n3,4\n");
    let ran = predict("named.csv");
    let note = "note: the model was trained on columns without names, so those of `named.csv` are \
                taken by their places, in this order: `height`, `width`\n";
    assert!(ran.error.contains(note), "{}", ran.error);
    write(at, "new.csv", "1,2\n3,4\n");
    let plain = predict("new.csv");
    assert!(!plain.error.contains("note:"), "{}", plain.error);
    assert_eq!(plain.with(0), ran.with(0));
}
