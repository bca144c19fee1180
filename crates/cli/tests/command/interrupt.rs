//! A training that is stopped by Ctrl-C, as from a terminal.

use crate::train::{flowers, write};
use crate::{json, warmstart};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// It would train on for years if the test failed.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether what this process starts does not hear Ctrl-C, as where the tests are run in the background of a
/// script: the command then is stopped otherwise.
fn ignores_ctrl_c() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap_or("0");
    let mask = u64::from_str_radix(mask.trim(), 16).unwrap();
    // SIGINT is 2.
    mask & 0b10 != 0
}

#[test]
fn ctrl_c_saves_a_checkpoint_from_which_the_same_command_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    write(at, "flowers.csv", &flowers(60, 0));
    let toml = |name: &str, steps: u64| {
        let text = format!(
            "directory = \"{name}\"\n[data]\nfile = \"flowers.csv\"\n[model]\nhidden = [8]\n\
             dropout = 0.2\n[training]\nbatch = 12\nsteps = {steps}\n\
             [checkpoints]\nsave_every = 0\nkeep_best = 0\n"
        );
        write(at, &format!("{name}.toml"), &text);
    };
    // More than it will ever do.
    toml("stopped", 1_000_000_000);
    let mut child = Running(
        Command::new(env!("CARGO_BIN_EXE_warmstart"))
            .args(["train", "stopped.toml", "--json"])
            .current_dir(at)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let mut error = BufReader::new(child.0.stderr.take().unwrap());
    let mut said = String::new();
    while !said.contains("/1000000000") {
        assert_ne!(error.read_line(&mut said).unwrap(), 0, "it ended: {said}");
        assert!(said.lines().count() < 60, "{said}");
    }
    let (signal, code, name) = match ignores_ctrl_c() {
        true => ("TERM", 143, "SIGTERM"),
        false => ("INT", 130, "Ctrl-C"),
    };
    let kill = format!("kill -{signal} {}", child.0.id());
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    error.read_to_string(&mut said).unwrap();
    let mut out = String::new();
    child.0.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    assert_eq!(child.0.wait().unwrap().code(), Some(code), "{said}");

    let steps: Vec<u64> = step_files(&at.join("stopped"));
    let [step] = steps[..] else { panic!("{steps:?}: {said}") };
    assert!(said.contains(&format!("{name}: stopping after step ")), "{said}");
    let saved = format!("after {step} of 1000000000 steps, and saved as `stopped/step-{step}.safe");
    assert!(said.contains(&saved), "{said}");
    assert!(said.contains("`warmstart train stopped.toml` goes on from there"), "{said}");
    let value = json(&out);
    assert_eq!(value["error"]["code"], code, "{value}");
    assert!(value["error"]["message"].as_str().unwrap().contains(&saved), "{value}");

    // Five steps more, and as many without the break.
    toml("stopped", step + 5);
    toml("whole", step + 5);
    let out = warmstart(at, &["train", "stopped.toml", "--quiet"]).with(0);
    assert!(out.contains(&format!("restore stopped/step-{step}.safetensors → ")), "{out}");
    warmstart(at, &["train", "whole.toml", "--quiet"]).with(0);
    let file = |name: &str| format!("{name}/step-{}.safetensors", step + 5);
    warmstart(at, &["diff", &file("stopped"), &file("whole"), "--values"]).with(0);
}

fn step_files(directory: &Path) -> Vec<u64> {
    let names = directory.read_dir().unwrap().flatten().map(|entry| entry.file_name());
    names
        .filter_map(|name| {
            name.to_str()?.strip_prefix("step-")?.strip_suffix(".safetensors")?.parse().ok()
        })
        .collect()
}
