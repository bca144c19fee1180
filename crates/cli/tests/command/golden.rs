//! What each subcommand prints of files that are always the same, in `tests/golden`: a line `$` with
//! the command, what it prints, what it says on the standard error after `!`, and the exit code
//! after `?` if it is not 0. `WARMSTART_WRITE_GOLDEN=1 cargo test -p warmstart-cli golden` writes
//! them anew.

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
        for entry in fs::read_dir(&from).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
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
    foreign(&at.join("theirs.safetensors"), &values);
    fs::write(at.join("notes.txt"), "no checkpoint at all").unwrap();
    fs::write(at.join("rules.toml"), "rules = [{ rename_scope = [\"model_scope\", \"b\"] }]\n")
        .unwrap();
}

/// A line without the places of tensors in files, which move with whatever a header says.
fn without_offsets(line: &str) -> String {
    let mut plain = String::new();
    let mut rest = line;
    for before in ["file offset ", "\"offset\": "] {
        while let Some((start, end)) = rest.split_once(before) {
            plain.push_str(&format!("{start}{before}#"));
            rest = end.trim_start_matches(|c: char| c.is_ascii_digit());
        }
    }
    plain + rest
}

fn printed(at: &Path, line: &str) -> String {
    let words: Vec<&str> = line.split(' ').skip(1).collect();
    let ran = warmstart(at, &words);
    let mut text = format!("$ {line}\n");
    for line in ran.out.lines() {
        text.push_str(without_offsets(line).trim_end());
        text.push('\n');
    }
    for line in ran.error.lines().filter(|line| !line.contains("XDG_RUNTIME_DIR")) {
        text.push_str(without_offsets(&format!("! {line}")).trim_end());
        text.push('\n');
    }
    if ran.code != 0 {
        text.push_str(&format!("? {}\n", ran.code));
    }
    text
}

#[test]
#[cfg(unix)]
fn every_subcommand_prints_what_it_did() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut checked = 0;
    let mut wrong = Vec::new();
    for entry in fs::read_dir(&golden).unwrap() {
        let file = entry.unwrap().path();
        let before = fs::read_to_string(&file).unwrap();
        let directory = tempfile::tempdir().unwrap();
        files(directory.path());
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
    assert!(checked > 20, "{checked}");
}
