//! The checkpoints of a run: which is the newest, what is said of damaged ones, what is kept.

use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use warmstart_checkpoint::{
    Checkpoint, CheckpointError, RestoreOptions, Saver, latest, list, step_file_name,
};

fn whole(step: u64) -> Vec<u8> {
    let header = format!(
        r#"{{"__metadata__":{{"warmstart.step":"{step}"}},"a":{{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}}}"#
    );
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[0; 4]].concat()
}

fn run(steps: &[u64]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for &step in steps {
        fs::write(directory.path().join(step_file_name(step)), whole(step)).unwrap();
    }
    directory
}

fn path(directory: &TempDir, step: u64) -> PathBuf {
    directory.path().join(step_file_name(step))
}

fn cut(file: &Path) {
    let bytes = fs::read(file).unwrap();
    fs::write(file, &bytes[..bytes.len() - 1]).unwrap();
}

fn steps(directory: &TempDir) -> Vec<u64> {
    list(directory.path()).unwrap().iter().map(|file| file.step).collect()
}

#[test]
fn steps_are_numbers_not_texts() {
    let directory = run(&[100, 9, 20]);
    for name in ["step-020.safetensors", "step-.safetensors", "step-5.bin", "step--1.safetensors"] {
        fs::write(directory.path().join(name), whole(999)).unwrap();
    }
    fs::write(directory.path().join(".step-300.safetensors.1-0.partial"), whole(300)).unwrap();
    fs::create_dir(directory.path().join("step-400.safetensors")).unwrap();
    assert_eq!(steps(&directory), [9, 20, 100]);
    assert_eq!(latest(directory.path()).unwrap().unwrap().step, 100);
    assert_eq!(Checkpoint::open(directory.path()).unwrap().step(), Some(100));
}

#[test]
fn a_damaged_newer_one_is_passed_over_and_reported() {
    let directory = run(&[1, 2, 3]);
    cut(&path(&directory, 3));
    fs::write(path(&directory, 2), b"").unwrap();
    let newest = latest(directory.path()).unwrap().unwrap();
    assert_eq!((newest.step, &newest.path), (1, &path(&directory, 1)));
    assert_eq!(newest.damaged.len(), 2);
    assert_eq!(newest.damaged[0].path, path(&directory, 3));
    let message = newest.damaged[0].error.to_string();
    assert!(message.contains("step-3.safetensors") && message.contains("cut short"), "{message}");

    let checkpoint = Checkpoint::open(directory.path()).unwrap();
    assert_eq!(checkpoint.damaged().len(), 2);
    let report = checkpoint.plan_for(&[], &RestoreOptions::new().allow_unexpected()).to_string();
    assert!(
        report.contains("note: a newer checkpoint is damaged, and an older one was opened"),
        "{report}"
    );
    assert!(report.contains("step-3.safetensors") && report.contains("step-2.safetensors"));
}

#[test]
fn nothing_is_not_the_same_as_nothing_whole() {
    let directory = run(&[]);
    assert!(latest(directory.path()).unwrap().is_none());
    assert!(Saver::new(directory.path().join("new")).latest().unwrap().is_none());

    let error = latest(directory.path().join("gone")).unwrap_err();
    let message = error.to_string();
    assert!(matches!(error, CheckpointError::NoDirectory { .. }));
    assert!(message.contains("gone") && message.contains("does not exist"), "{message}");
    assert!(message.contains("check the path"), "{message}");

    let directory = run(&[4, 5]);
    cut(&path(&directory, 4));
    cut(&path(&directory, 5));
    let message = latest(directory.path()).unwrap_err().to_string();
    for word in ["all 2 checkpoints", "step-4.safetensors", "step-5.safetensors", "backup"] {
        assert!(message.contains(word), "{message}");
    }
}

#[test]
fn a_file_of_another_version_is_not_taken_for_damage() {
    let directory = run(&[1]);
    let latest_beside = |version: u32| {
        let header = format!(r#"{{"__metadata__":{{"warmstart.version":"{version}"}}}}"#);
        let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat();
        fs::write(path(&directory, 2), bytes).unwrap();
        latest(directory.path()).unwrap_err()
    };
    let newer = latest_beside(9);
    assert!(matches!(newer, CheckpointError::NewerVersion { found: 9, .. }), "{newer}");
    let older = latest_beside(2);
    assert!(matches!(older, CheckpointError::OlderVersion { found: 2, .. }), "{older}");
}

#[test]
fn pointer_files_of_other_programs_mislead_nobody() {
    let directory = run(&[10, 20]);
    let stale = "model_checkpoint_path: \"step-10.safetensors\"\n";
    fs::write(directory.path().join("checkpoint"), stale).unwrap();
    fs::write(directory.path().join("latest"), [0xff, 0xfe, 0]).unwrap();
    fs::create_dir(directory.path().join("latest.json")).unwrap();
    fs::write(directory.path().join("step-latest.safetensors"), "step-99").unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink("gone", directory.path().join("newest.safetensors")).unwrap();
    assert_eq!(latest(directory.path()).unwrap().unwrap().step, 20);
    // What a pointer would still name may go at any time.
    fs::remove_file(path(&directory, 20)).unwrap();
    let newest = latest(directory.path()).unwrap().unwrap();
    assert_eq!((newest.step, newest.damaged.len()), (10, 0));
    // And retention is no concern of theirs.
    Saver::new(directory.path()).keep(1).retain(&[]).unwrap();
    assert_eq!(fs::read(directory.path().join("checkpoint")).unwrap(), stale.as_bytes());
    let left = fs::read_dir(directory.path()).unwrap().count();
    assert_eq!(left, if cfg!(unix) { 6 } else { 5 });
}

#[cfg(unix)]
#[test]
fn a_name_that_leads_nowhere_is_passed_over_and_one_that_cannot_be_read_is_said() {
    use std::os::unix::fs::symlink;
    let directory = run(&[1]);
    symlink("gone", path(&directory, 2)).unwrap();
    assert_eq!(latest(directory.path()).unwrap().unwrap().step, 1);
    symlink(path(&directory, 3), path(&directory, 3)).unwrap();
    let message = latest(directory.path()).unwrap_err().to_string();
    assert!(message.contains("cannot open") && message.contains("step-3.safetensors"), "{message}");
}

#[cfg(unix)]
#[test]
fn a_link_to_nowhere_is_no_checkpoint() {
    let directory = run(&[]);
    std::os::unix::fs::symlink("gone", path(&directory, 3)).unwrap();
    assert!(latest(directory.path()).unwrap().is_none());
    fs::write(path(&directory, 1), whole(1)).unwrap();
    assert_eq!(latest(directory.path()).unwrap().unwrap().step, 1);
}

/// Whoever looks always finds one, although each is gone a moment after the next is there.
#[test]
fn a_reader_beside_a_writer_that_keeps_one_always_finds_it() {
    let directory = run(&[0]);
    let steps = 300;
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for step in 1..=steps {
                let partial = directory.path().join("partial");
                fs::write(&partial, whole(step)).unwrap();
                fs::rename(&partial, path(&directory, step)).unwrap();
                fs::remove_file(path(&directory, step - 1)).unwrap();
            }
        });
        let mut newest = 0;
        while !writer.is_finished() {
            let found = latest(directory.path()).unwrap().expect("there always is one").step;
            assert!(found >= newest, "{found} after {newest}");
            newest = found;
        }
    });
    assert_eq!(latest(directory.path()).unwrap().unwrap().step, steps);
}
