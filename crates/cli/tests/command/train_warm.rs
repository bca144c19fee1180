//! Runs that begin with the weights of others.

use crate::train::{flowers, write};
use crate::{floats, foreign, json, warmstart};

#[test]
fn a_warm_start_passes_a_newest_checkpoint_with_flipped_bits() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    write(at, "flowers.csv", &flowers(60, 0));
    let run = |name: &str, steps: u32, more: &str| {
        let text = format!(
            "directory = \"{name}\"\n[data]\nfile = \"flowers.csv\"\n[model]\nhidden = [4]\n\
             [training]\nbatch = 8\nsteps = {steps}\n{more}"
        );
        write(at, "run.toml", &text);
        warmstart(at, &["train", "run.toml", "--quiet"]).with(0)
    };
    run("first", 1, "");
    run("first", 2, "");
    let newest = at.join("first/step-2.safetensors");
    let mut bytes = std::fs::read(&newest).unwrap();
    let last = bytes.len() - 5;
    bytes[last] ^= 16;
    std::fs::write(&newest, &bytes).unwrap();
    let out = run("second", 1, "[warm_start]\ncheckpoint = \"first\"\n");
    assert!(out.contains("restore first/step-1.safetensors"), "{out}");
    assert!(
        out.contains("note: a newer checkpoint is damaged, and an older one was opened: "),
        "{out}"
    );
}

#[test]
fn weights_that_get_other_inputs_or_classes_are_told() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let data = |file: &str, header: &str, classes: [&str; 2]| {
        let rows: String =
            (0..40).map(|row| format!("{},{},{}\n", row % 7, row % 5, classes[row % 2])).collect();
        write(at, file, &format!("{header}\n{rows}"));
    };
    let run = |name: &str, file: &str, warm: &str| {
        let text = format!(
            "directory = \"{name}\"\n[data]\nfile = \"{file}\"\ntarget = \"kind\"\n\
             [model]\nhidden = [4]\n[training]\nsteps = 1\nbatch = 8\n{warm}"
        );
        write(at, "run.toml", &text);
        json(&warmstart(at, &["train", "run.toml", "--quiet", "--json"]).with(0))
    };
    data("first.csv", "width,height,kind", ["x", "y"]);
    run("first", "first.csv", "");
    let warm = "[warm_start]\ncheckpoint = \"first\"\n";
    let notes = |file: &str, more: &str| -> Vec<String> {
        let value = run(&format!("{file}{}", more.len()), file, &format!("{warm}{more}"));
        let notes = value["notes"].as_array().unwrap().iter();
        notes.map(|note| note.as_str().unwrap().to_owned()).collect()
    };
    assert!(notes("first.csv", "").is_empty());
    // With another row, others are validated on.
    let first = std::fs::read_to_string(at.join("first.csv")).unwrap();
    write(at, "grown.csv", &format!("{first}1,2,x\n"));
    let told = notes("grown.csv", "");
    assert_eq!(told.len(), 2, "{told:?}");
    let scaled = "inputs are scaled as in `first";
    assert!(
        told[0].starts_with(scaled) && told[0].contains("by what its weights were"),
        "{told:?}"
    );
    assert!(told[1].contains("was trained on other rows, or another split of them: "), "{told:?}");
    let told = notes("grown.csv", "");
    assert!(
        told.iter().any(|note| note.starts_with("[warm_start] is for the beginning")),
        "{told:?}"
    );
    data("turned.csv", "height,width,kind", ["x", "y"]);
    let told = notes("turned.csv", "");
    assert_eq!(told.len(), 1, "{told:?}");
    let expected = "input 1 was `width` there, and is `height` here: the weights of `first";
    assert!(told[0].starts_with(expected), "{told:?}");
    data("classes.csv", "width,height,kind", ["x", "z"]);
    let told = notes("classes.csv", "");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("class 2 was `y` there, and is `z` here: "), "{told:?}");
    // Weights that are not taken go to no other class.
    let more = "allow_missing = true\nrules = [{ ignore = \"fc2/**\" }]\n";
    assert!(notes("classes.csv", more).is_empty());
}

#[test]
fn what_no_variable_can_be_does_not_keep_weights_from_a_run() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    write(at, "flowers.csv", &flowers(60, 0));
    let tensors = [
        ("fc1/weight", "F32", &[3, 4][..], floats(&[0.5; 12])),
        ("num_batches_tracked", "I64", &[1], vec![7; 8]),
    ];
    foreign(&at.join("theirs.safetensors"), &tensors);
    let text = "[data]\nfile = \"flowers.csv\"\n[model]\nhidden = [4]\n[training]\nbatch = 8\n\
                steps = 1\n[warm_start]\ncheckpoint = \"theirs.safetensors\"\nallow_missing = true\n";
    write(at, "run.toml", text);
    let out = warmstart(at, &["train", "run.toml", "--quiet"]).with(0);
    assert!(out.contains("restored    1 "), "{out}");
    let note = "note: left out, since no variable can be i64: `num_batches_tracked`. In code, a \
                restore needs `.leave_out(\"num_batches_tracked\")`, or `.allow_unexpected()`";
    assert!(out.contains(note), "{out}");
}

/// What a new run begins anyway, such as its scaling, is not to be allowed; what is missing else, is.
#[test]
fn a_warm_start_asks_for_what_it_needs_and_for_no_more() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    write(at, "flowers.csv", &flowers(30, 0));
    let shapes: [(&str, &[usize]); 4] = [
        ("net.fc1.weight", &[3, 4]),
        ("net.fc1.bias", &[4]),
        ("net.fc2.weight", &[4, 3]),
        ("net.fc2.bias", &[3]),
    ];
    let run = |theirs: &[(&str, &[usize])], rules: &str| {
        let values = |shape: &[usize]| floats(&vec![0.5; shape.iter().product()]);
        let tensors: Vec<_> =
            theirs.iter().map(|(name, shape)| (*name, "F32", *shape, values(shape))).collect();
        foreign(&at.join("theirs.safetensors"), &tensors);
        let toml = format!(
            "directory = \"run\"\n[data]\nfile = \"flowers.csv\"\n[model]\nhidden = [4]\n\
             [training]\nsteps = 1\nbatch = 8\n[warm_start]\ncheckpoint = \"theirs.safetensors\"\n{rules}"
        );
        write(at, "run.toml", &toml);
        warmstart(at, &["train", "run.toml", "--quiet"])
    };
    // The lines that are to be pasted, up to the next that is empty.
    let pasted = |out: &str| {
        let (_, lines) = out.split_once("Under [warm_start], for ").unwrap();
        let lines = lines.lines().skip(1).take_while(|line| line.starts_with("  "));
        lines.map(|line| format!("{line}\n")).collect::<String>()
    };
    let out = run(&shapes, "").out;
    assert!(!out.contains("allow_missing") && out.contains(" restore 4 of 6:"), "{out}");
    let out = run(&shapes, &pasted(&out)).with(0);
    assert!(out.contains("restored    4 "), "{out}");
    std::fs::remove_dir_all(at.join("run")).unwrap();

    // Rules that are there are in the list that is to be pasted, since a key stands once.
    let given = "rules = [{ strip_prefix = \"old.\" }]\n";
    let prefixed: Vec<(String, &[usize])> =
        shapes.iter().map(|(name, shape)| (format!("old.{name}"), *shape)).collect();
    let prefixed: Vec<(&str, &[usize])> =
        prefixed.iter().map(|(name, shape)| (name.as_str(), *shape)).collect();
    let out = run(&prefixed, given).out;
    let begin = "Under [warm_start], in place of its `rules`, for 4 of 6 variables:\n  rules = [\n      \
                 { strip_prefix = \"old.\" },\n";
    let (_, lines) = out.split_once(begin).unwrap_or_else(|| panic!("{out}"));
    let lines = lines.lines().take_while(|line| line.starts_with("  "));
    let lines = lines.map(|line| format!("{line}\n")).collect::<String>();
    let all = format!("rules = [\n{}{lines}", "{ strip_prefix = \"old.\" },\n");
    let out = run(&prefixed, &all).with(0);
    assert!(out.contains("restored    4 "), "{out}");
    std::fs::remove_dir_all(at.join("run")).unwrap();

    let out = run(&shapes[..2], "").out;
    let lines = pasted(&out);
    assert!(lines.ends_with("  ]\n  allow_missing = true\n"), "{out}");
    assert!(out.contains("and to leave the rest as it is: `allow_missing = true`"), "{out}");
    let out = run(&shapes[..2], &lines).with(0);
    assert!(out.contains("restored    2 "), "{out}");
}
