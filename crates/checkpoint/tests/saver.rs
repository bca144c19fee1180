//! Saving by steps, and going on from the newest checkpoint that verifies.

mod common;

use common::{f32s, session, state, variable};
use std::fs;
use std::time::{Duration, SystemTime};
use warmstart_checkpoint::{
    Better, Checkpoint, CheckpointError, RestoreOptions, SaveOptions, Saver, best, best_verified,
    latest_verified, list,
};

fn steps(saver: &Saver) -> Vec<u64> {
    list(saver.directory()).unwrap().iter().map(|file| file.step).collect()
}

#[test]
fn time_and_metrics_are_recorded_and_rules_go_by_them() {
    let directory = tempfile::tempdir().unwrap();
    let mut session = session(&[variable("a", [1])]);
    session.initialize_missing(1).unwrap();
    let saver = Saver::new(directory.path())
        .keep(1)
        .keep_every(Duration::from_secs(600))
        .keep_best("accuracy", Better::Higher, 1);
    let before = SystemTime::now() - Duration::from_millis(1);
    let file = saver.save(&session, 1, &SaveOptions::new().metric("accuracy", 0.1)).unwrap();
    let checkpoint = Checkpoint::open(file).unwrap();
    let time = checkpoint.metadata().time().unwrap();
    assert!(time >= before && time <= SystemTime::now());
    assert_eq!(checkpoint.metadata().metric("accuracy"), Some(0.1));

    // Where metrics and times are not those of a real run.
    let at = |minutes: u64, accuracy: f64| {
        let time = before + Duration::from_secs(60 * minutes);
        SaveOptions::new().time(time).metric("accuracy", accuracy).metric("loss", f64::NAN)
    };
    saver.save(&session, 2, &at(5, 0.7)).unwrap();
    saver.save(&session, 3, &at(10, 0.3)).unwrap();
    saver.save(&session, 4, &at(15, f64::NAN)).unwrap();
    saver.save(&session, 5, &at(16, 0.7)).unwrap();
    // Step 3 comes ten minutes after step 1 less a millisecond; step 5 is as good as 2, and later.
    assert_eq!(steps(&saver), [1, 2, 4, 5]);
    let best = saver.best("accuracy", Better::Higher).unwrap().unwrap();
    assert_eq!((best.step, best.value), (2, 0.7));
    assert!(saver.best("loss", Better::Lower).unwrap().is_none());
    assert_eq!(saver.best("accuracy", Better::Lower).unwrap().unwrap().step, 1);
}

#[test]
fn the_newest_that_verifies_is_restored_and_the_damaged_are_told() {
    let directory = tempfile::tempdir().unwrap();
    let saver = Saver::new(directory.path().join("run"));
    let mut first = session(&[variable("a", [2])]);
    let untouched = state(&first);
    assert!(saver.restore_latest(&mut first, &RestoreOptions::new()).unwrap().is_none());
    assert!(saver.latest_verified().unwrap().is_none());
    assert!(saver.best_verified("loss", Better::Lower).unwrap().is_none());
    assert_eq!(state(&first), untouched);
    for step in [10, 20, 30] {
        first.assign("a", &f32s(&[step as f32, 0.5])).unwrap();
        saver.save(&first, step, &SaveOptions::new()).unwrap();
    }
    fs::write(saver.directory().join("checkpoint"), "step-10.safetensors").unwrap();
    let newest = saver.directory().join("step-30.safetensors");
    let bytes = fs::read(&newest).unwrap();
    fs::write(&newest, &bytes[..bytes.len() - 1]).unwrap();

    let mut second = session(&[variable("a", [2])]);
    let restored = saver.restore_latest(&mut second, &RestoreOptions::new()).unwrap().unwrap();
    assert_eq!((restored.step, restored.report.step()), (20, Some(20)));
    assert_eq!(restored.damaged.len(), 1);
    assert_eq!(restored.damaged[0].path, newest);
    let told = restored.report.to_string();
    assert!(told.contains("a newer checkpoint is damaged, and an older one was opened"), "{told}");
    assert_eq!(second.read("a").unwrap(), f32s(&[20.0, 0.5]));

    for step in [10, 20] {
        fs::write(saver.directory().join(format!("step-{step}.safetensors")), "").unwrap();
    }
    let before = state(&second);
    let error = saver.restore_latest(&mut second, &RestoreOptions::new()).unwrap_err();
    assert!(matches!(&error, CheckpointError::AllDamaged { damaged, .. } if damaged.len() == 3));
    assert_eq!(state(&second), before);
}

#[test]
fn of_damaged_weights_no_more_is_said_than_is_so() {
    let directory = tempfile::tempdir().unwrap();
    let saver = Saver::new(directory.path());
    let mut session = session(&[variable("a", [2])]);
    session.initialize_missing(1).unwrap();
    let first = saver.save(&session, 1, &SaveOptions::new().metric("accuracy", 0.9)).unwrap();
    let second = saver.save(&session, 2, &SaveOptions::new()).unwrap();
    let flip = |file: &std::path::Path| {
        let mut bytes = fs::read(file).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(file, bytes).unwrap();
    };
    flip(&first);
    assert_eq!(best(directory.path(), "accuracy", Better::Higher).unwrap().unwrap().step, 1);
    assert_eq!(saver.best("accuracy", Better::Higher).unwrap().unwrap().step, 1);
    let error = saver.best_verified("accuracy", Better::Higher).unwrap_err();
    assert!(matches!(error, CheckpointError::BestDamaged { .. }), "{error}");
    let error = best_verified(directory.path(), "accuracy", Better::Higher).unwrap_err();
    assert!(matches!(&error, CheckpointError::BestDamaged { damaged, .. } if damaged.len() == 1));
    assert!(error.to_string().contains("recorded `accuracy`"), "{error}");
    assert_eq!(latest_verified(directory.path()).unwrap().unwrap().step, 2);
    // Of two damaged ones neither is named as what to take in place of the other.
    flip(&second);
    let error = latest_verified(directory.path()).unwrap_err();
    assert!(matches!(&error, CheckpointError::AllDamaged { damaged, .. } if damaged.len() == 2));
    let lines: Vec<String> = error.to_string().lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 4, "{error}");
    for (line, step) in lines[1..3].iter().zip([2, 1]) {
        let begin = format!("  `step-{step}.safetensors`: the bytes of tensor `a` at file offset ");
        assert!(
            line.starts_with(&begin) && line.ends_with(" are not as they were written"),
            "{error}"
        );
    }
    assert!(lines[3].starts_with("Restore one of them from a backup, or name"), "{error}");
}

#[test]
fn weights_that_are_damaged_behind_a_whole_header_are_passed_over_too() {
    let directory = tempfile::tempdir().unwrap();
    let saver = Saver::new(directory.path());
    let mut first = session(&[variable("a", [2]), variable("b", [3])]);
    for step in [1, 2] {
        first.assign("a", &f32s(&[step as f32, 0.5])).unwrap();
        first.assign("b", &f32s(&[step as f32; 3])).unwrap();
        saver.save(&first, step, &SaveOptions::new()).unwrap();
    }
    let newest = directory.path().join("step-2.safetensors");
    let mut bytes = fs::read(&newest).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&newest, bytes).unwrap();
    // Its header is whole, so this much can be said without reading the weights.
    assert_eq!(saver.latest().unwrap().unwrap().step, 2);
    let verified = saver.latest_verified().unwrap().unwrap();
    assert_eq!((verified.step, verified.damaged.len()), (1, 1));

    let mut second = session(&[variable("a", [2]), variable("b", [3])]);
    let restored = saver.restore_latest(&mut second, &RestoreOptions::new()).unwrap().unwrap();
    assert_eq!(restored.step, 1);
    assert!(matches!(restored.damaged[0].error, CheckpointError::Checksum { .. }));
    assert!(restored.report.to_string().contains("step-2.safetensors"), "{}", restored.report);
    assert_eq!(second.read("a").unwrap(), f32s(&[1.0, 0.5]));
    assert_eq!(second.read("b").unwrap(), f32s(&[1.0; 3]));
}

/// Whether its header says so or only its weights, whatever lies between.
#[test]
fn all_that_were_passed_over_are_told() {
    let directory = tempfile::tempdir().unwrap();
    let saver = Saver::new(directory.path());
    let variables = [variable("a", [2])];
    let mut first = session(&variables);
    for step in 1..=6 {
        first.assign("a", &f32s(&[step as f32, 0.5])).unwrap();
        let file = saver.save(&first, step, &SaveOptions::new()).unwrap();
        let mut bytes = fs::read(&file).unwrap();
        match step {
            4 | 6 => bytes.truncate(bytes.len() - 1),
            3 | 5 => *bytes.last_mut().unwrap() ^= 1,
            _ => {}
        }
        fs::write(&file, bytes).unwrap();
    }
    let mut second = session(&variables);
    let restored = saver.restore_latest(&mut second, &RestoreOptions::new()).unwrap().unwrap();
    let mut told: Vec<_> = restored.damaged.iter().map(|one| one.path.clone()).collect();
    told.sort();
    let expected =
        [3, 4, 5, 6].map(|step| directory.path().join(format!("step-{step}.safetensors")));
    assert_eq!((restored.step, told), (2, expected.to_vec()));
    assert_eq!(second.read("a").unwrap(), f32s(&[2.0, 0.5]));
}

#[test]
fn one_that_does_not_fit_is_an_error_and_nothing_older_is_taken_instead() {
    let directory = tempfile::tempdir().unwrap();
    let saver = Saver::new(directory.path());
    let mut first = session(&[variable("a", [2])]);
    first.initialize_missing(1).unwrap();
    saver.save(&first, 1, &SaveOptions::new()).unwrap();
    let mut other = session(&[variable("b", [2])]);
    other.initialize_missing(1).unwrap();
    saver.save(&other, 2, &SaveOptions::new()).unwrap();
    let error = saver.restore_latest(&mut first, &RestoreOptions::new()).unwrap_err();
    assert!(matches!(error, CheckpointError::Mismatch(_)), "{error}");
}

#[test]
fn what_was_restored_stays_whatever_the_rules() {
    let directory = tempfile::tempdir().unwrap();
    let saver = Saver::new(directory.path()).keep(1).keep_every_steps(100);
    let mut first = session(&[variable("a", [1])]);
    first.initialize_missing(1).unwrap();
    for step in [7, 100] {
        Saver::new(directory.path()).save(&first, step, &SaveOptions::new()).unwrap();
    }
    let seven = Checkpoint::open(directory.path().join("step-7.safetensors")).unwrap();
    seven.plan(&first, &RestoreOptions::new()).restore(&mut first).unwrap();
    for step in [150, 160] {
        saver.save(&first, step, &SaveOptions::new()).unwrap();
    }
    assert_eq!(steps(&saver), [7, 100, 160]);
}

/// The child is in the directory, and has an empty path to it, as [`Path::parent`] gives of a bare file name.
#[test]
fn an_empty_path_is_where_the_process_is() {
    use std::path::Path;
    use std::{env, process};

    const DIRECTORY: &str = "WARMSTART_TEST_HERE";
    if env::var_os(DIRECTORY).is_some() {
        let here = Path::new("train.toml").parent().unwrap();
        let saver = Saver::new(here).keep(1).keep_best("accuracy", Better::Higher, 1);
        let mut session = session(&[variable("a", [1])]);
        session.initialize_missing(1).unwrap();
        let options = |accuracy| SaveOptions::new().metric("accuracy", accuracy);
        saver.create_directory().unwrap();
        for (step, accuracy) in [(1, 0.9), (2, 0.1), (3, 0.2)] {
            saver.save(&session, step, &options(accuracy)).unwrap();
        }
        assert_eq!(steps(&saver), [1, 3]);
        assert_eq!(saver.latest().unwrap().unwrap().step, 3);
        assert_eq!(saver.best("accuracy", Better::Higher).unwrap().unwrap().step, 1);
        let restored = saver.restore_latest(&mut session, &RestoreOptions::new()).unwrap();
        assert_eq!(restored.unwrap().step, 3);
        // What is restored from stays.
        saver.save(&session, 4, &options(0.3)).unwrap();
        assert_eq!(steps(&saver), [1, 3, 4]);
        let mut saver = saver.in_background();
        saver.save(&session, 5, &options(0.4)).unwrap();
        assert!(saver.close().unwrap().unwrap().ends_with("step-5.safetensors"));
        return;
    }

    let directory = tempfile::tempdir().unwrap();
    let mut child = process::Command::new(env::current_exe().unwrap());
    child.args(["an_empty_path_is_where_the_process_is", "--exact"]);
    child.env(DIRECTORY, "1").current_dir(directory.path());
    let output = child.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let found = list(directory.path()).unwrap();
    assert_eq!(found.iter().map(|file| file.step).collect::<Vec<_>>(), [1, 3, 5]);
}
