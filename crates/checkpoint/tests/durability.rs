//! Writers and readers of one directory at the same time, and places that cannot be written.

mod common;

use common::{f32s, session, variable};
use std::fs;
use std::thread;
use warmstart_checkpoint::{Checkpoint, RestoreOptions, SaveOptions, Saver, save};
use warmstart_gpu::Session;

const ELEMENTS: usize = 20_000;

fn long() -> bool {
    std::env::var_os("WARMSTART_TEST_LONG").is_some()
}

fn model() -> Session {
    session(&[variable("a", [ELEMENTS]), variable("b", [ELEMENTS])])
}

fn fill(session: &mut Session, value: f32) {
    for name in ["a", "b"] {
        session.assign(name, &f32s(&[value; ELEMENTS])).unwrap();
    }
}

#[test]
fn two_writers_with_retention_and_a_reader_disturb_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let saves: u64 = if long() { 300 } else { 15 };
    let saver = Saver::new(directory.path()).keep(1);
    let mut first = model();
    fill(&mut first, 0.0);
    saver.save(&first, 0, &SaveOptions::new()).unwrap();
    let mut reads = 0;
    thread::scope(|scope| {
        let writers: Vec<_> = (1..=2)
            .map(|writer| {
                let saver = saver.clone();
                scope.spawn(move || {
                    let mut session = model();
                    for save in 0..saves {
                        // The writers take turns in having the newest, and share every fifth step.
                        let step = 10 * save + if save % 5 == 0 { 1 } else { writer };
                        fill(&mut session, (2 * step + writer) as f32);
                        saver.save(&session, step, &SaveOptions::new()).unwrap();
                    }
                })
            })
            .collect();
        let mut reader = model();
        while !writers.iter().all(|writer| writer.is_finished()) {
            let checkpoint = Checkpoint::open(directory.path()).unwrap();
            assert!(checkpoint.damaged().is_empty(), "{:?}", checkpoint.damaged());
            // Whole to its last byte although its name may be gone or another's by now.
            assert!(checkpoint.verify().is_whole());
            checkpoint.plan(&reader, &RestoreOptions::new()).restore(&mut reader).unwrap();
            let (a, b) = (reader.read("a").unwrap(), reader.read("b").unwrap());
            let (a, b) = (a.as_f32().unwrap(), b.as_f32().unwrap());
            assert!(a == b && a.iter().all(|value| *value == a[0]), "a mixture was read");
            let step = checkpoint.step().unwrap() as f32;
            assert!(step == 0.0 || [2.0 * step + 1.0, 2.0 * step + 2.0].contains(&a[0]));
            reads += 1;
        }
    });
    assert!(reads > 0);
    saver.save(&first, 10 * saves, &SaveOptions::new()).unwrap();
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

/// A place where nobody may create a file, not even root.
#[cfg(target_os = "linux")]
#[test]
fn a_directory_that_cannot_be_written_is_said() {
    use warmstart_checkpoint::CheckpointError;

    let mut session = model();
    fill(&mut session, 1.0);
    let error = save(&session, "/sys/model.safetensors", &SaveOptions::new()).unwrap_err();
    let message = error.to_string();
    assert!(matches!(error, CheckpointError::Storage { operation: "create", .. }), "{message}");
    assert!(message.contains("/sys/"), "{message}");
    let advice = ["Check the permissions", "Choose a directory that can be written"];
    assert!(advice.iter().any(|advice| message.contains(advice)), "{message}");
    let saver = Saver::new("/sys/runs");
    let message = saver.save(&session, 1, &SaveOptions::new()).unwrap_err().to_string();
    assert!(message.contains("cannot create directory `/sys/runs`"), "{message}");
}

#[test]
fn a_missing_parent_is_said_or_made() {
    let root = tempfile::tempdir().unwrap();
    let mut session = model();
    fill(&mut session, 1.0);
    let file = root.path().join("gone/model.safetensors");
    let message = save(&session, &file, &SaveOptions::new()).unwrap_err().to_string();
    assert!(message.contains("gone`") && message.contains("Make this directory"), "{message}");
    let saver = Saver::new(root.path().join("a/b/c"));
    let file = saver.save(&session, 1, &SaveOptions::new()).unwrap();
    assert!(Checkpoint::open(file).unwrap().verify().is_whole());
}

#[cfg(unix)]
#[test]
fn a_run_in_a_linked_directory_and_a_step_that_is_a_link() {
    use std::os::unix::fs::symlink;
    use warmstart_checkpoint::latest;

    let root = tempfile::tempdir().unwrap();
    let (real, link) = (root.path().join("real"), root.path().join("link"));
    fs::create_dir(&real).unwrap();
    symlink("real", &link).unwrap();
    let mut session = model();
    fill(&mut session, 1.0);
    // A step that lies on another disk stays where it lies.
    let elsewhere = root.path().join("elsewhere.safetensors");
    save(&session, &elsewhere, &SaveOptions::new()).unwrap();
    symlink("../elsewhere.safetensors", real.join("step-2.safetensors")).unwrap();
    fill(&mut session, 2.0);
    Saver::new(&link).save(&session, 2, &SaveOptions::new()).unwrap();
    assert!(fs::symlink_metadata(real.join("step-2.safetensors")).unwrap().is_symlink());
    let found = latest(&link).unwrap().unwrap();
    assert_eq!(found.step, 2);
    for file in [found.path, elsewhere] {
        let checkpoint = Checkpoint::open(file).unwrap();
        assert!(checkpoint.step() == Some(2) && checkpoint.verify().is_whole());
    }
}

/// Writes that the system itself ends, in a process of their own.
#[cfg(target_os = "linux")]
mod ended {
    use super::*;
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    use std::io::Write;
    use std::path::Path;
    use std::process::{Command, Output};
    use std::{env, io};

    /// Where the child saves.
    const PLACE: &str = "WARMSTART_TEST_PLACE";

    /// What saving came to, and that nothing is left of it: the newest is the one before, whole.
    fn ends(saver: &Saver, session: &Session, step: u64, advice: &str) {
        let place = saver.directory();
        let message = saver.save(session, step, &SaveOptions::new()).unwrap_err().to_string();
        assert!(message.contains(advice), "{step}: {message}");
        let newest = Checkpoint::open(place).unwrap();
        assert!(newest.step() == Some(step - 1) && newest.verify().is_whole());
        assert_eq!(fs::read_dir(place).unwrap().count() as u64, step - 1);
    }

    /// Runs one test of this file again behind a line of shell, in which it is `"$@"`.
    fn child(script: &str, test: &str, place: &Path) -> io::Result<Output> {
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh"]).arg(env::current_exe()?);
        command.args(["--exact", test]).env(PLACE, place).output()
    }

    /// Without its name a child would pass by running nothing.
    fn passed(output: &Output) -> bool {
        let out = String::from_utf8_lossy(&output.stdout);
        output.status.success() && out.contains("test result: ok. 1 passed")
    }

    #[test]
    fn a_write_that_a_limit_ends_keeps_the_last_whole_checkpoint() {
        let mut session = model();
        if let Some(place) = env::var_os(PLACE) {
            let saver = Saver::new(place);
            for step in [1, 2] {
                fill(&mut session, step as f32);
                saver.save(&session, step, &SaveOptions::new()).unwrap();
            }
            let before = getrlimit(Resource::Fsize);
            let limited = Rlimit { current: Some(2 * ELEMENTS as u64), ..before };
            setrlimit(Resource::Fsize, limited).unwrap();
            ends(&saver, &session, 3, "allows no file so large: choose another directory");
            setrlimit(Resource::Fsize, before).unwrap();
            saver.save(&session, 3, &SaveOptions::new()).unwrap();
            return;
        }
        let root = tempfile::tempdir().unwrap();
        let test = "ended::a_write_that_a_limit_ends_keeps_the_last_whole_checkpoint";
        // Unless it is ignored, the signal that comes with the error ends the process.
        let output = child("trap '' XFSZ; exec \"$@\"", test, root.path()).unwrap();
        assert!(passed(&output), "{output:?}");
    }

    /// A real file system that is full, where one may be made without being root. Many containers forbid
    /// it: unit tests play the same error at every operation, and the limit above ends a real write.
    #[test]
    fn a_disk_that_fills_up_keeps_the_last_whole_checkpoint() {
        if let Some(disk) = env::var_os(PLACE) {
            let mut session = model();
            let saver = Saver::new(&disk);
            // So many have room, and another one has not.
            for step in 1..=3 {
                fill(&mut session, step as f32);
                saver.save(&session, step, &SaveOptions::new()).unwrap();
            }
            ends(&saver, &session, 4, "Free space there");
            fs::remove_file(saver.directory().join("step-1.safetensors")).unwrap();
            saver.save(&session, 4, &SaveOptions::new()).unwrap();
            return;
        }
        let root = tempfile::tempdir().unwrap();
        let script = r#"unshare -r -m sh -c 'mount -t tmpfs -o size=600k tmpfs "$WARMSTART_TEST_PLACE" || exit 77; exec "$@"' sh "$@" "#;
        let test = "ended::a_disk_that_fills_up_keeps_the_last_whole_checkpoint";
        let output = child(script, test, root.path()).unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        // 127 is a shell without the command; a child that has begun ends with 101, or with 0.
        let forbidden =
            matches!(output.status.code(), Some(77 | 127)) || said.starts_with("unshare:");
        match forbidden {
            // Not by `println`, which nobody sees of a test that passes.
            true => writeln!(io::stderr(), "skipped, no disk may be mounted here: {said}").unwrap(),
            false => assert!(passed(&output), "{output:?}"),
        }
    }
}
