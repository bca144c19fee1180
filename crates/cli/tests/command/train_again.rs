//! Runs that are there already, and how long a run is.

use crate::train::{flowers, write};
use crate::{json, warmstart};
use std::path::Path;
use std::process::{Command, Stdio};

#[test]
fn a_model_that_predicts_otherwise_is_another_run() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    write(at, "flowers.csv", &flowers(60, 0));
    let run = |model: &str, steps: u32, more: &str| {
        let text = format!(
            "[data]\nfile = \"flowers.csv\"\n[model]\n{model}\n\
             [training]\nbatch = 8\nsteps = {steps}\n{more}"
        );
        write(at, "run.toml", &text);
        warmstart(at, &["train", "run.toml", "--quiet", "--json"])
    };
    run("hidden = [8]", 5, "").with(0);
    // With steps left and with none.
    for steps in [5, 9] {
        let error = run("hidden = [8]\nactivation = \"tanh\"", steps, "").failed();
        assert!(
            error.contains("`model.activation`: ") && error.contains("run.toml:5:14"),
            "{error}"
        );
        let had = "is of a model with another activation, `activation = \"relu\"`; nothing was";
        assert!(error.contains(had), "{error}");
        let ways = "say `activation = \"relu\"` again, or begin another run by this line: at the top \
            directory = \"runs/run-2\"";
        assert!(error.contains(ways), "{error}");
    }
    let error = run("hidden = [4]", 5, "").failed();
    assert!(error.contains("with other layers, `hidden = [8]`; nothing was trained"), "{error}");
    assert!(error.contains("say `hidden = [8]` again, or begin another run"), "{error}");
    let error = run("", 5, "").failed();
    assert!(error.contains("say `hidden = [8]` under [model], or begin another run"), "{error}");
    // What only trains may change.
    let trains = "label_smoothing = 0.1\n[optimizer]\nlearning_rate = 0.5\n";
    let before = json(&run("hidden = [8]", 5, "").with(0));
    let dropped = json(&run("hidden = [8]\ndropout = 0.3", 5, trains).with(0));
    assert_eq!(dropped["metrics"], before["metrics"]);
    let value = json(&run("hidden = [8]\ndropout = 0.3", 9, trains).with(0));
    let note = "changed from here on: `model.dropout` was 0.0, now 0.3; `optimizer.learning_rate` was 0.001, \
                now 0.5; `training.label_smoothing` was 0.0, now 0.1";
    assert_eq!((&value["step"], &value["notes"]), (&9.into(), &serde_json::json!([note])));
}

#[test]
fn a_warm_up_that_is_longer_than_the_run_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    write(at, "flowers.csv", &flowers(40, 0));
    let run = |warm_up: u32| {
        let text = format!(
            "[data]\nfile = \"flowers.csv\"\nvalidation = 0\n[training]\nsteps = 8\nbatch = 4\n\
             gradient_accumulation_steps = 2\n[schedule]\nkind = \"constant\"\nwarm_up = {warm_up}\n"
        );
        write(at, "run.toml", &text);
        let out = warmstart(at, &["train", "run.toml", "--quiet"]).with(0);
        std::fs::remove_dir_all(at.join("runs")).unwrap();
        out
    };
    let note = "the learning rate still rises when the run ends: `warm_up` under [schedule] is 5 updates, \
                and the run has 4";
    assert!(run(5).contains(note));
    assert!(!run(4).contains("still rises"));
}

#[test]
fn nothing_left_to_train_is_said_quietly_too() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    write(at, "flowers.csv", &flowers(40, 0));
    let text = "[data]\nfile = \"flowers.csv\"\nvalidation = 0\n[training]\nsteps = 2\n";
    write(at, "run.toml", text);
    let out = warmstart(at, &["train", "run.toml", "--quiet"]).with(0);
    assert!(!out.contains("nothing is left"), "{out}");
    let out = warmstart(at, &["train", "run.toml", "--quiet"]).with(0);
    assert_eq!(out.matches("nothing is left to train: 2 steps were asked for").count(), 1, "{out}");
    for more in [&["--json"][..], &["--json", "--quiet"]] {
        let ran = warmstart(at, &[&["train", "run.toml"], more].concat());
        assert_eq!(ran.error.matches("nothing is left to train").count(), 1, "{}", ran.error);
        let value = json(&ran.with(0));
        assert!(
            value["notes"][0].as_str().unwrap().ends_with("is at step 2; ask for more to go on")
        );
    }
}

#[test]
fn epochs_are_of_all_rows() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    write(at, "flowers.csv", &flowers(120, 0));
    for (epochs, steps) in [(1, 2), (8, 15)] {
        let text = format!(
            "directory = \"{epochs}\"\n[data]\nfile = \"flowers.csv\"\n\
             validation_file = \"flowers.csv\"\n[training]\nbatch = 64\nepochs = {epochs}\n"
        );
        write(at, "run.toml", &text);
        let out = warmstart(at, &["train", "run.toml", "--quiet"]).with(0);
        assert!(
            out.contains(&format!("steps    {steps} of 64 rows, validated at the end")),
            "{out}"
        );
    }
}

#[test]
fn what_only_a_new_run_would_do_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    write(at, "flowers.csv", &flowers(60, 0));
    let run = |scaling: &str, initializer: &str, steps: u32| {
        let text = format!(
            "[data]\nfile = \"flowers.csv\"\nscaling = \"{scaling}\"\n[model]\nhidden = [8]\n\
             initializer = \"{initializer}\"\n[training]\nbatch = 8\nsteps = {steps}\n"
        );
        write(at, "run.toml", &text);
        json(&warmstart(at, &["train", "run.toml", "--quiet", "--json"]).with(0))
    };
    let notes = |value: &serde_json::Value| -> Vec<String> {
        let notes = value["notes"].as_array().unwrap().iter();
        notes.map(|note| note.as_str().unwrap().to_owned()).collect()
    };
    assert!(notes(&run("standardize", "he_normal", 4)).is_empty());
    assert!(notes(&run("standardize", "he_normal", 5)).is_empty());
    // With none left, and with steps left.
    for steps in [5, 6] {
        let notes = notes(&run("min_max", "orthogonal", steps));
        assert!(notes[0].starts_with("`data.scaling` is not what the run began with"), "{notes:?}");
        assert!(notes[1].starts_with("`model.initializer` is not what"), "{notes:?}");
    }
}

#[test]
fn a_run_goes_on_past_a_newest_checkpoint_with_flipped_bits() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    write(at, "flowers.csv", &flowers(60, 0));
    let run = |steps: u32| {
        let text = format!(
            "[data]\nfile = \"flowers.csv\"\n[model]\nhidden = [8]\n[training]\nbatch = 8\n\
             steps = {steps}\n"
        );
        write(at, "run.toml", &text);
        warmstart(at, &["train", "run.toml", "--quiet"]).with(0)
    };
    run(2);
    run(4);
    let newest = at.join("runs/run/step-4.safetensors");
    let whole = std::fs::read(&newest).unwrap();
    let mut bytes = whole.clone();
    let last = bytes.len() - 5;
    bytes[last] ^= 16;
    std::fs::write(&newest, &bytes).unwrap();
    // Where nothing is whole, another run can still be begun.
    let older = at.join("runs/run/step-2.safetensors");
    std::fs::rename(&older, at.join("kept")).unwrap();
    let error = warmstart(at, &["train", "run.toml", "--quiet"]).failed_late();
    assert!(error.contains("or keep what is whole"), "{error}");
    let afresh = "or begin another run, by this line: at the top directory = \"runs/run-2\"";
    assert!(error.contains(afresh), "{error}");
    std::fs::rename(at.join("kept"), &older).unwrap();
    let out = run(4);
    assert!(
        out.contains("note: a newer checkpoint is damaged, and an older one was opened: "),
        "{out}"
    );
    assert!(out.contains("restore runs/run/step-2.safetensors"), "{out}");
    // What it computes again is what was lost, but for the time.
    let value = |bytes: &[u8]| bytes[bytes.len() - 200..].to_vec();
    assert_eq!(value(&std::fs::read(&newest).unwrap()), value(&whole));
}

#[test]
fn another_optimizer_is_another_run() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    write(at, "flowers.csv", &flowers(60, 0));
    let run = |optimizer: &str, top: &str, end: &str| {
        let text = format!(
            "{top}\n[data]\nfile = \"flowers.csv\"\n[model]\nhidden = [8]\n[training]\nbatch = 8\n\
             steps = 2\n[optimizer]\nname = \"{optimizer}\"\n{end}\n"
        );
        write(at, "run.toml", &text);
        warmstart(at, &["train", "run.toml", "--quiet"])
    };
    run("adam", "", "").with(0);
    // TOML has other quotes around what holds the `\` of Windows.
    let plain = |error: String| error.replace('\'', "\"");
    let error = plain(run("sgd", "", "").failed_late());
    let (top, end) =
        ("directory = \"runs/run-2\"", "[warm_start] checkpoint = \"runs/run/step-2.safetensors\"");
    for part in [
        "`optimizer.name`: `runs/run/step-2.safetensors` was trained with adam; nothing was trained",
        "run.toml:10:8",
        "a run goes on with the optimizer it began with: say `name = \"adam\"` again",
        &format!("at the top {top} at the end {end}"),
    ] {
        assert!(error.contains(part), "{part}\n{error}");
    }
    // Those lines do what is said of them, and the next run has a directory of its own again.
    let end = end.replace("] ", "]\n");
    let out = run("sgd", top, &end).with(0);
    assert!(out.contains("step-2.safetensors → 6 variables"), "{out}");
    let error = plain(run("adam", top, &end).failed_late());
    let part = "in place of `directory` directory = \"runs/run-3\" under [warm_start], in place of \
        `checkpoint` checkpoint = \"runs/run-2/step-2.safetensors\"";
    assert!(error.contains(part), "{error}");
    run("sgd", "", "");
    // Paths in a file are relative to it, wherever the command is run.
    let below = at.join("below");
    std::fs::create_dir(&below).unwrap();
    let ran = warmstart(&below, &["train", "../run.toml", "--quiet"]);
    let error = plain(ran.failed_late());
    assert!(error.contains("checkpoint = \"runs/run/step-2.safetensors\""), "{error}");
}

/// Momentum is kept for each weight; its size may change.
#[test]
fn momentum_comes_and_goes_with_a_run() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    write(at, "flowers.csv", &flowers(60, 0));
    let run = |name: &str, momentum: &str| {
        let text = format!(
            "directory = \"{name}\"\n[data]\nfile = \"flowers.csv\"\n[model]\nhidden = [8]\n\
             [training]\nsteps = 2\n[optimizer]\nname = \"sgd\"\n{momentum}\n"
        );
        write(at, "run.toml", &text);
        warmstart(at, &["train", "run.toml", "--quiet"])
    };
    run("with", "momentum = 0.9").with(0);
    run("with", "momentum = 0.5").with(0);
    let error = run("with", "").failed_late();
    assert!(error.contains("was trained with a momentum of 0.9; nothing was trained"), "{error}");
    assert!(error.contains("say `momentum = 0.9` under [optimizer], or begin"), "{error}");
    run("without", "").with(0);
    let error = run("without", "momentum = 0.9").failed_late();
    assert!(error.contains("was trained without momentum") && error.contains(":10:12"), "{error}");
    assert!(error.contains("leave `momentum` out, or begin another run with these"), "{error}");
}

/// A `run.toml` of two steps, and its data.
fn short_run(at: &Path) {
    write(at, "flowers.csv", &flowers(60, 0));
    let text = "[data]\nfile = \"flowers.csv\"\n[model]\nhidden = [4]\n[training]\nsteps = 2\n";
    write(at, "run.toml", text);
}

/// As behind `| head`, which has ended.
#[test]
fn a_run_goes_on_when_nobody_reads_its_output() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    short_run(at);
    let unread = |arguments: &[&str]| {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = Command::new(env!("CARGO_BIN_EXE_warmstart"));
        command.args(arguments).current_dir(at).stdout(writer).stderr(Stdio::null());
        command.status().unwrap().code()
    };
    assert_eq!(unread(&["train", "run.toml"]), Some(0));
    assert!(at.join("runs/run/step-2.safetensors").exists());
    // Nothing was answered, so this must not look like a yes.
    assert_eq!(unread(&["verify", "runs/run"]), Some(141));
}

#[test]
fn predictions_are_of_finite_numbers_and_never_over_what_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    short_run(at);
    warmstart(at, &["train", "run.toml", "--quiet"]).with(0);
    let predict = |more: &[&str]| {
        warmstart(at, &[&["predict", "runs/run", "--data", "new.csv"][..], more].concat())
    };
    let new = "\"length, cm\",width,petals\n4.1,30,5\n-3.4028235e38,30,5\n";
    write(at, "new.csv", new);
    let error = predict(&[]).failed();
    assert!(error.contains("no finite number for line 3 of `new.csv`"), "{error}");
    let step = "runs/run/step-2.safetensors";
    let saved = std::fs::read(at.join(step)).unwrap();
    for out in ["new.csv", "./runs/../new.csv", step] {
        let error = predict(&["-o", out]).failed();
        assert!(error.contains("is what is read here, and would be lost"), "{error}");
    }
    assert_eq!(std::fs::read_to_string(at.join("new.csv")).unwrap(), new);
    assert_eq!(std::fs::read(at.join(step)).unwrap(), saved);
    // Nor over anything else that is no such predictions, unless that is asked for.
    write(at, "new.csv", &new[..new.find("-3.4").unwrap()]);
    let metrics = "runs/run/metrics.csv";
    let before = std::fs::read(at.join(metrics)).unwrap();
    let error = predict(&["-o", metrics]).failed();
    assert!(error.contains("is there already") && error.contains("--force"), "{error}");
    assert_eq!(std::fs::read(at.join(metrics)).unwrap(), before);
    predict(&["-o", "out.csv"]).with(0);
    predict(&["-o", "out.csv"]).with(0);
    write(at, "other.csv", "my,data\n");
    predict(&["-o", "other.csv", "--force"]).with(0);
    let read = |file: &str| std::fs::read_to_string(at.join(file)).unwrap();
    assert_eq!(read("other.csv"), read("out.csv"));
}

#[test]
fn what_data_loses_or_says_twice_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let rows: String = (0..60)
        .map(|row| format!("{},{row},{}\n", 1_700_000_000_000i64 + row * 500, row * 2))
        .collect();
    write(at, "times.csv", &format!("time,count,price\n{rows}"));
    let toml = |target: &str| {
        format!(
            "[data]\nfile = \"times.csv\"\ntask = \"regression\"\ntarget = {target}\n[model]\n\
             hidden = [4]\n[training]\nsteps = 1\n"
        )
    };
    write(at, "run.toml", &toml("\"price\""));
    // The picture of a run that was removed is none of this one's, which has nothing to draw.
    std::fs::create_dir_all(at.join("runs/run")).unwrap();
    write(at, "runs/run/loss.svg", "old");
    let out = warmstart(at, &["train", "run.toml", "--quiet"]).with(0);
    let notes: Vec<&str> =
        out.lines().filter(|line| line.contains("is rounded by up to")).collect();
    assert_eq!(notes.len(), 1, "{out}");
    assert!(notes[0].contains("`time`"), "{out}");
    assert!(!out.contains("loss.svg") && !at.join("runs/run/loss.svg").exists(), "{out}");
    write(at, "run.toml", &toml("[\"price\", -1]"));
    let error = warmstart(at, &["train", "run.toml", "--quiet"]).failed();
    assert!(error.contains("`price` is there twice"), "{error}");
}
