//! Which checkpoints of a run are kept, by which rule.

use proptest::prelude::*;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;
use warmstart_checkpoint::{Better, Saver, best, list, step_file_name};

/// A checkpoint that was saved so many minutes after the first, with these metrics.
fn whole(minutes: Option<u64>, metrics: &[(&str, f64)]) -> Vec<u8> {
    let mut entries: BTreeMap<String, String> = metrics
        .iter()
        .map(|(name, value)| (format!("warmstart.metric.{name}"), value.to_string()))
        .collect();
    let time = minutes.map(|minutes| (1_700_000_000_000 + minutes * 60_000).to_string());
    entries.extend(time.map(|time| ("warmstart.time".to_owned(), time)));
    let entries: Vec<String> =
        entries.iter().map(|(key, value)| format!("{key:?}:{value:?}")).collect();
    let header = format!(r#"{{"__metadata__":{{{}}}}}"#, entries.join(","));
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat()
}

fn path(directory: &TempDir, step: u64) -> PathBuf {
    directory.path().join(step_file_name(step))
}

fn put(directory: &TempDir, step: u64, content: &[u8]) {
    fs::write(path(directory, step), content).unwrap();
}

fn run(steps: &[u64]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    steps.iter().for_each(|&step| put(&directory, step, &whole(None, &[])));
    directory
}

fn damage(file: &Path) {
    let bytes = fs::read(file).unwrap();
    fs::write(file, &bytes[..bytes.len() - 1]).unwrap();
}

fn steps(directory: &TempDir) -> Vec<u64> {
    list(directory.path()).unwrap().iter().map(|file| file.step).collect()
}

#[test]
fn without_a_rule_everything_stays() {
    let directory = run(&[1, 2, 3]);
    let saver = Saver::new(directory.path()).keep(0).keep_every_steps(0).keep_every(Duration::ZERO);
    let saver = saver.keep_best("loss", Better::Lower, 1).keep_best("loss", Better::Lower, 0);
    assert!(saver.retain(&[]).unwrap().is_empty());
    assert_eq!(steps(&directory), [1, 2, 3]);
}

#[test]
fn the_newest_are_kept() {
    let directory = run(&[1, 2, 10, 30]);
    let removed = Saver::new(directory.path()).keep(2).retain(&[]).unwrap();
    assert_eq!(removed, [path(&directory, 2), path(&directory, 1)]);
    assert_eq!(steps(&directory), [10, 30]);
}

#[test]
fn damaged_ones_never_push_out_whole_ones() {
    let directory = run(&[1, 2, 3, 4, 5]);
    damage(&path(&directory, 4));
    damage(&path(&directory, 5));
    Saver::new(directory.path()).keep(2).retain(&[]).unwrap();
    assert_eq!(steps(&directory), [2, 3, 4, 5]);
    assert_eq!(Saver::new(directory.path()).latest().unwrap().unwrap().step, 3);
}

#[test]
fn protected_files_stay_by_whatever_name() {
    let directory = run(&[1, 2, 3]);
    let roundabout = directory.path().join(".").join(step_file_name(1));
    Saver::new(directory.path()).keep(1).retain(&[&roundabout]).unwrap();
    assert_eq!(steps(&directory), [1, 3]);
}

#[test]
fn steps_that_are_multiples_are_kept_and_always_the_newest() {
    let directory = run(&[0, 50, 100, 150, 200, 250]);
    Saver::new(directory.path()).keep_every_steps(100).retain(&[]).unwrap();
    assert_eq!(steps(&directory), [0, 100, 200, 250]);
    Saver::new(directory.path()).keep_every_steps(200).keep(2).retain(&[]).unwrap();
    assert_eq!(steps(&directory), [0, 200, 250]);
    // A damaged one stays, too, whatever else is asked for.
    damage(&path(&directory, 200));
    let saver = Saver::new(directory.path()).keep_every_steps(200);
    saver.keep_best("loss", Better::Lower, 1).retain(&[]).unwrap();
    assert_eq!(steps(&directory), [0, 200, 250]);
}

#[test]
fn every_so_many_minutes_goes_by_the_recorded_time() {
    let directory = tempfile::tempdir().unwrap();
    // The clock is set back by an hour after step 5; step 8 does not say when it was saved.
    let minutes = [Some(0), Some(9), Some(10), Some(19), Some(25), None, None, None, Some(30)];
    for (step, minutes) in (1..).zip(minutes) {
        put(&directory, step, &whole(minutes.map(|m| m + 100), &[]));
    }
    put(&directory, 6, &whole(Some(25 + 100 - 60), &[]));
    put(&directory, 7, &whole(Some(34 + 100 - 60), &[]));
    let saver = Saver::new(directory.path()).keep_every(Duration::from_secs(10 * 60));
    saver.retain(&[]).unwrap();
    assert_eq!(steps(&directory), [1, 3, 5, 6, 9]);
    // What is kept is kept the next time too.
    assert!(saver.retain(&[]).unwrap().is_empty());
}

#[test]
fn the_best_are_kept_and_nan_is_never_good() {
    let directory = tempfile::tempdir().unwrap();
    let nan = f64::NAN;
    let values = [(0.5, 1.0), (0.9, nan), (nan, 0.2), (0.9, 0.3), (0.1, 0.2), (f64::INFINITY, 9.0)];
    for (step, (accuracy, loss)) in (1..).zip(values) {
        put(&directory, step, &whole(None, &[("accuracy", accuracy), ("loss", loss)]));
    }
    put(&directory, 7, &whole(None, &[("accuracy", 5.0)]));
    damage(&path(&directory, 7));
    put(&directory, 8, &whole(None, &[]));
    let best_step = |metric: &str, better| {
        best(directory.path(), metric, better).unwrap().map(|best| (best.step, best.value))
    };
    assert_eq!(best_step("accuracy", Better::Higher), Some((6, f64::INFINITY)));
    assert_eq!(best_step("accuracy", Better::Lower), Some((5, 0.1)));
    // Of equals the earlier.
    assert_eq!(best_step("loss", Better::Lower), Some((3, 0.2)));
    assert_eq!(best_step("fame", Better::Lower), None);
    let found = best(directory.path(), "loss", Better::Lower).unwrap().unwrap();
    assert_eq!(found.path, path(&directory, 3));
    assert_eq!(found.damaged[0].path, path(&directory, 7));

    let saver = Saver::new(directory.path());
    let saver = saver.keep_best("accuracy", Better::Higher, 2).keep_best("loss", Better::Lower, 2);
    saver.retain(&[]).unwrap();
    // Accuracy 6 and 4, loss 5 and 3, and the newest; the damaged one is older than that.
    assert_eq!(steps(&directory), [3, 4, 5, 6, 8]);
}

/// What was trained on without getting better is no better for it.
#[test]
fn ties_go_to_the_lower_loss_and_then_to_the_earlier() {
    let directory = tempfile::tempdir().unwrap();
    let (accuracy, loss) = ("validation/accuracy", "validation/loss");
    let put = |step: u64, metrics: &[(&str, f64)]| put(&directory, step, &whole(None, metrics));
    put(1, &[(accuracy, 0.9), (loss, 0.5), ("loss", 0.01)]);
    put(2, &[(accuracy, 0.9), (loss, 0.2), ("loss", 0.4)]);
    put(3, &[(accuracy, 0.9), (loss, 0.2), ("loss", 0.1)]);
    put(4, &[(accuracy, 0.9), (loss, f64::NAN)]);
    put(5, &[(accuracy, 0.9)]);
    put(6, &[(accuracy, 0.8), (loss, 0.1)]);
    let best = |metric: &str, better| best(directory.path(), metric, better).unwrap().unwrap().step;
    assert_eq!(best(accuracy, Better::Higher), 2);
    assert_eq!(best(accuracy, Better::Lower), 6);
    assert_eq!(best(loss, Better::Lower), 6);
    Saver::new(directory.path()).keep_best(accuracy, Better::Higher, 2).retain(&[]).unwrap();
    assert_eq!(steps(&directory), [2, 3, 6]);
}

#[test]
fn best_of_nothing_and_of_nothing_whole() {
    let directory = run(&[]);
    let saver = Saver::new(directory.path());
    assert!(saver.best("loss", Better::Lower).unwrap().is_none());
    let gone = Saver::new(directory.path().join("gone"));
    assert!(gone.best("loss", Better::Lower).unwrap().is_none());
    put(&directory, 1, b"");
    let message = saver.best("loss", Better::Lower).unwrap_err().to_string();
    assert!(message.contains("step-1.safetensors"), "{message}");
}

#[test]
fn what_cannot_be_judged_stays() {
    // Of a newer version, and of one that is not read any more.
    for version in [9, 2] {
        let directory = run(&[1, 3, 4]);
        let header = format!(r#"{{"__metadata__":{{"warmstart.version":"{version}"}}}}"#);
        let length = (header.len() as u64).to_le_bytes();
        put(&directory, 2, &[&length[..], header.as_bytes()].concat());
        Saver::new(directory.path()).keep(1).retain(&[]).unwrap();
        assert_eq!(steps(&directory), [2, 4], "version {version}");
    }
}

/// One checkpoint: whether it is whole, its minute, its loss.
type Made = (bool, u64, f64);

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() })]

    #[test]
    fn what_is_kept_is_the_union_of_the_rules(
        made in prop::collection::vec(
            (prop::bool::weighted(0.8), 0u64..50, prop_oneof![Just(f64::NAN), -2.0..2.0f64]), 1..12,
        ),
        newest in 1usize..4, every_steps in 1u64..5, minutes in 1u64..20, count in 1usize..4,
    ) {
        let directory = tempfile::tempdir().unwrap();
        for (step, (whole_one, minute, loss)) in (0..).zip(&made) {
            put(&directory, step, &whole(Some(*minute), &[("loss", *loss)]));
            if !whole_one {
                damage(&path(&directory, step));
            }
        }
        let saver = Saver::new(directory.path())
            .keep(newest)
            .keep_every_steps(every_steps)
            .keep_every(Duration::from_secs(minutes * 60))
            .keep_best("loss", Better::Lower, count);
        saver.retain(&[]).unwrap();
        let kept = steps(&directory);

        let whole_ones: Vec<(u64, &Made)> = (0..).zip(&made).filter(|(_, made)| made.0).collect();
        let window = whole_ones.iter().rev().nth(newest - 1).map(|(step, _)| *step);
        let mut last: Option<u64> = None;
        for (step, (is_whole, minute, loss)) in (0..).zip(&made) {
            let better = whole_ones.iter().filter(|(other, (_, _, value))| {
                *value < *loss || (*value == *loss && *other < step)
            });
            let timely = *is_whole && last.is_none_or(|last| last.abs_diff(*minute) >= minutes);
            if timely {
                last = Some(*minute);
            }
            let expected = window.is_none_or(|window| step >= window)
                || step % every_steps == 0
                || *is_whole && (timely || !loss.is_nan() && better.count() < count);
            prop_assert_eq!(kept.contains(&step), expected, "step {} of {:?}", step, made);
        }
        prop_assert!(saver.retain(&[]).unwrap().is_empty());
    }
}
