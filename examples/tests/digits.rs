//! The digits example as a user runs it: once, again, and killed half-way.

use safetensors::SafeTensors;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn digits(steps: u64, directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_digits"));
    command.arg(steps.to_string()).arg(directory);
    command
}

/// What it prints, and what it says of its progress.
fn run(steps: u64, directory: &Path) -> (String, String) {
    let output = digits(steps, directory).output().expect("the example starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "digits failed: {said}");
    (String::from_utf8(output.stdout).expect("the example prints UTF-8"), said)
}

/// The accuracy that it prints, in percent.
fn percent(printed: &str) -> f64 {
    printed
        .lines()
        .find_map(|line| line.strip_suffix(" % of 359 test images are recognised"))
        .and_then(|number| number.parse().ok())
        .unwrap_or_else(|| panic!("no accuracy in: {printed}"))
}

fn tensors(file: &Path) -> BTreeMap<String, Vec<u8>> {
    let bytes = std::fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let parsed = SafeTensors::deserialize(&bytes).expect("a plain safetensors file");
    parsed.tensors().into_iter().map(|(name, view)| (name, view.data().to_vec())).collect()
}

/// The newest checkpoint's step, by name alone.
fn newest(directory: &Path) -> Option<u64> {
    let names = std::fs::read_dir(directory).ok()?.flatten();
    names
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            name.strip_prefix("step-")?.strip_suffix(".safetensors")?.parse().ok()
        })
        .max()
}

fn step_file(directory: &Path, step: u64) -> PathBuf {
    directory.join(format!("step-{step}.safetensors"))
}

#[test]
fn digits_learns_resumes_and_survives_a_kill() {
    let whole = tempfile::tempdir().expect("a temporary directory");
    let (printed, _) = run(1000, whole.path());
    assert!(printed.contains("20 variables initialized, seed 7"), "{printed}");
    assert!(percent(&printed) >= 97.0, "{printed}");
    assert!(whole.path().join("loss.svg").is_file());
    assert!(whole.path().join("metrics.csv").is_file());

    // The same run, killed as soon as its first checkpoint is there.
    let broken = tempfile::tempdir().expect("a temporary directory");
    let mut child = digits(1000, broken.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the example starts");
    // A bound for a hung program, far beyond what the slowest machine needs.
    let patience = Instant::now() + Duration::from_secs(600);
    while newest(broken.path()).is_none() {
        assert!(Instant::now() < patience, "no checkpoint appeared");
        let ended = child.try_wait().expect("the child can be asked");
        assert!(ended.is_none(), "the example ended before its first checkpoint");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().expect("the child can be killed");
    child.wait().expect("the child is gone");
    let reached = newest(broken.path()).expect("a checkpoint was there");
    assert!(reached < 1000, "the kill came too late to show anything");

    let (printed, _) = run(1000, broken.path());
    assert!(printed.contains(&format!("step-{reached}.safetensors → 20 variables")), "{printed}");
    // Once more, all steps being done: it only shows how good the weights are that it restored.
    let (printed, said) = run(1000, broken.path());
    assert!(printed.contains("step-1000.safetensors → 20 variables"), "{printed}");
    assert!(said.contains("nothing is left to train"), "{said}");
    assert!(percent(&printed) >= 97.0, "{printed}");
    assert_eq!(newest(broken.path()), Some(1000));

    let metrics = |directory: &Path| std::fs::read_to_string(directory.join("metrics.csv")).ok();
    assert_eq!(metrics(whole.path()), metrics(broken.path()), "losses differ, or some are lost");
    let (whole, broken) =
        (tensors(&step_file(whole.path(), 1000)), tensors(&step_file(broken.path(), 1000)));
    assert_eq!(whole.len(), 20);
    for (name, bytes) in &whole {
        assert!(broken.get(name) == Some(bytes), "{name} differs from the run without a break");
    }
}

/// As a shell knows of a program that was stopped, and as `warmstart train` does.
#[test]
#[cfg(unix)]
fn ctrl_c_saves_and_ends_with_130() {
    // Tests that are run in the background of a script begin with Ctrl-C (signal 2) ignored, and so does what
    // they start: there it is stopped otherwise.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap_or("0");
    let ignored = u64::from_str_radix(ignored.trim(), 16).expect("a mask");
    let (signal, code, name) = match ignored & 0b10 != 0 {
        true => ("TERM", 143, "SIGTERM"),
        false => ("INT", 130, "Ctrl-C"),
    };
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut child = digits(1_000_000_000, directory.path())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the example starts");
    let patience = Instant::now() + Duration::from_secs(600);
    // It listens from before its first checkpoint on.
    while newest(directory.path()).is_none() && Instant::now() < patience {
        std::thread::sleep(Duration::from_millis(5));
    }
    let kill = format!("kill -{signal} {}", child.id());
    let told = Command::new("sh").args(["-c", &kill]).status();
    let told = told.is_ok_and(|status| status.success());
    if !told {
        // It would train on for years.
        let _ = child.kill();
    }
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told, "{said}");
    assert_eq!(output.status.code(), Some(code), "{said}");
    let told = format!("stopped by {name} after");
    assert!(said.contains(&told) && !said.contains("Error:"), "{said}");
}

#[test]
fn errors_are_sentences() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut command = digits(1, directory.path());
    let output =
        command.env("WGPU_ADAPTER_NAME", "no such adapter").output().expect("the example starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("Error: no GPU adapter fits") && said.contains("there are: "), "{said}");
    assert!(!said.contains(" { "), "fields are of no use to a reader: {said}");
}

#[test]
fn arguments_that_mean_nothing_are_named_with_what_is_expected() {
    for given in [&["many"][..], &["--help"], &["1000", "--help"], &["1", "runs/a", "b"]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_digits"));
        let output = command.args(given).output().expect("the example starts");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("usage: digits [steps"), "{said}");
        assert!(said.contains(&format!("given: {}", given.join(" "))), "{said}");
    }
}
