//! What each subcommand prints of files that are always the same, in `tests/golden`: a line `$` with
//! the command, what it prints, what it says on the standard error after `!`, and the exit code
//! after `?` if it is not 0; `blanks.rs` says what placeholders stand for. `WARMSTART_WRITE_GOLDEN=1 cargo test -p warmstart-cli golden` writes
//! them anew.

use crate::blanks::blanked;
use crate::train::{flowers, quarters, write};
use crate::{floats, foreign, trained, warmstart};
use std::fs;
use std::path::Path;

/// The files that the commands are about.
fn files(at: &Path) {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../checkpoint/tests/fixtures");
    for folder in [
        "tensorflow/tf1_linear",
        "tensorflow/tf1_adam",
        "tensorflow/tf1_sharded",
        "tensorflow/tf1_steps",
        "tensorflow/tf1_dtypes",
        "tensorflow/tf2_keras2",
        "tensorflow/tf1_v1format",
        "tensorflow/tf2_keras3",
        "st_mlp",
        "st_sharded",
        "st_dtypes",
        "pytorch/pt_train",
    ] {
        let from = fixtures.join(folder);
        let to = at.join(from.file_name().unwrap());
        fs::create_dir(&to).unwrap();
        copy(&from, &to);
    }
    let run = at.join("run");
    fs::create_dir(&run).unwrap();
    trained(&run, 9, 7, 0.25);
    let damaged = trained(&run, 10, 7, 0.5);
    let mut bytes = fs::read(&damaged).unwrap();
    let last = bytes.len() - 3;
    bytes[last] ^= 1;
    fs::write(&damaged, bytes).unwrap();
    let values = [("a", "F32", &[2][..], floats(&[1.0, f32::NAN])), ("n", "I64", &[1], vec![7; 8])];
    fs::create_dir(at.join("st_named")).unwrap();
    for name in ["theirs.safetensors", "st_named/mine.safetensors"] {
        foreign(&at.join(name), &values);
    }
    fs::write(at.join("notes.txt"), "no checkpoint at all").unwrap();
    fs::write(at.join("rules.toml"), "rules = [{ rename_scope = [\"model_scope\", \"b\"] }]\n")
        .unwrap();
    training(at);
}

/// Copies what is in a folder into another.
fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let name = entry.unwrap().file_name();
        let (from, to) = (from.join(&name), to.join(&name));
        if from.is_dir() {
            fs::create_dir(&to).unwrap();
            copy(&from, &to);
        } else {
            fs::copy(&from, &to).unwrap();
        }
    }
}

/// Data of two kinds, and files that train on it.
fn training(at: &Path) {
    write(at, "flowers.csv", &flowers(60, 0));
    write(at, "new.csv", &flowers(3, 900));
    quarters(at, 40, "pictures");
    let toml = |name: &str, data: &str, more: &str| {
        let text = format!(
            "[data]\n{data}\n[model]\nhidden = [8]\n\n[training]\nsteps = 60\nbatch = 12\n\n\
             [optimizer]\nlearning_rate = 0.05\n{more}"
        );
        write(at, name, &text);
    };
    let flowers = "file = \"flowers.csv\"\n";
    toml("flowers.toml", flowers, "");
    toml("warm.toml", flowers, "\n[warm_start]\ncheckpoint = \"runs/flowers\"\n");
    let pictures = "file = \"pictures-images.gz\"\nlabels = \"pictures-labels.gz\"\n";
    toml("pictures.toml", pictures, "");
    write(at, "wrong.toml", "[data]\nfile = \"flowers.csv\"\n\n[training]\nsteps = \"90\"\n");
}

fn printed(at: &Path, line: &str) -> String {
    let words: Vec<&str> = line.split(' ').skip(1).collect();
    let ran = warmstart(at, &words);
    let mut text = format!("$ {line}\n");
    for line in blanked(line, &ran.out) {
        text.push_str(&format!("{line}\n"));
    }
    // The driver has its own words to say.
    let own = ran.error.lines().filter(|line| !line.contains("XDG_RUNTIME_DIR"));
    for line in blanked("warmstart -", &own.collect::<Vec<_>>().join("\n")) {
        text.push_str(format!("! {line}").trim_end());
        text.push('\n');
    }
    if ran.code != 0 {
        text.push_str(&format!("? {}\n", ran.code));
    }
    text
}

#[test]
fn every_subcommand_prints_what_it_did() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let made = tempfile::tempdir().unwrap();
    files(made.path());
    let mut checked = 0;
    let mut wrong = Vec::new();
    for entry in fs::read_dir(&golden).unwrap() {
        let file = entry.unwrap().path();
        // Whether a file is in the system's cache, only Linux tells, and benchmarks want to know.
        if file.ends_with("bench.txt") && !cfg!(target_os = "linux") {
            continue;
        }
        let before = fs::read_to_string(&file).unwrap();
        let directory = tempfile::tempdir().unwrap();
        copy(made.path(), directory.path());
        let lines = before.lines().filter_map(|line| line.strip_prefix("$ "));
        let now: Vec<String> = lines.map(|line| printed(directory.path(), line)).collect();
        checked += now.len();
        let now = now.join("\n");
        if std::env::var_os("WARMSTART_WRITE_GOLDEN").is_some() {
            fs::write(&file, &now).unwrap();
        } else if now != before {
            let differs = now.lines().zip(before.lines()).find(|(now, before)| now != before);
            wrong.push(format!("{}: {differs:?}\n{now}", file.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert!(checked > 60, "{checked}");
}
