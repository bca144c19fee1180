//! A run's checkpoints while the machine stops, the disk fails or the process is killed at any
//! operation. `WARMSTART_TEST_LONG=1` tries more of it (`make test-long`).
//!
//! It looks for the newest checkpoint in each state, and shows that it would notice a sync left
//! out.

use crate::checkpoint::Checkpoint;
use crate::directory::latest;
use crate::error::CheckpointError;
use crate::save::saver::{PlannedSave, Saver};
use crate::save::storage::Storage;
use crate::save::write::SaveOptions;
use crate::steps::list;
use crate::testing::crash_states::{Done, Recorder, State, crash_states};
use crate::testing::faulty::{Fault, Faulty};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{env, fs};
use warmstart_gpu::{Gpu, Session};
use warmstart_graph::{DType, Initializer, Location, Role, Shape, TensorData, Variable};

const RUN: &str = "runs/digits";

fn long() -> bool {
    env::var_os("WARMSTART_TEST_LONG").is_some()
}

/// Several pages, and an end within one.
fn elements() -> usize {
    if long() { 12_500 } else { 2500 }
}

fn session() -> Session {
    let variable = |name: &str, shape: Shape| Variable {
        name: name.into(),
        shape,
        dtype: DType::F32,
        initializer: Initializer::Zeros,
        role: Role::Trainable,
        location: Location::caller(),
    };
    let mut session = Session::new(&Gpu::new().unwrap());
    session
        .declare(&[variable("weight", [elements()].into()), variable("bias", [3].into())])
        .unwrap();
    session.initialize_missing(1).unwrap();
    session
}

fn train(session: &mut Session, value: f32) {
    let values: Vec<f32> = (0..elements()).map(|i| value + i as f32 / 4096.0).collect();
    session.assign("weight", &TensorData::new([elements()], values).unwrap()).unwrap();
}

fn save_on(
    storage: &dyn Storage,
    saver: &Saver,
    session: &Session,
    step: u64,
) -> Result<PathBuf, CheckpointError> {
    let mut save = PlannedSave::new(saver, session, step, &SaveOptions::new())?;
    save.write(storage, saver, &mut { session })?;
    save.retain(storage, saver)?;
    Ok(save.file)
}

/// A save that returned.
struct Saved {
    bytes: Vec<u8>,
    /// How many operations had been done when it did.
    operations: usize,
}

/// How a run is saved.
#[derive(Clone, Copy, Debug)]
struct How {
    background: bool,
    keep: usize,
    /// How many of its directories a writer has made, who was killed before the last was durable.
    made: usize,
}

const PLAIN: How = How { background: false, keep: 2, made: 0 };

/// Saves a run, one step twice, and returns all that was done to the disk.
fn record(How { background, keep, made }: How) -> (Vec<Done>, Vec<Saved>) {
    let root = tempfile::tempdir().unwrap();
    let recorder = Recorder::new(root.path());
    let saver = Saver::new(root.path().join(RUN)).keep(keep);
    let directories = Path::new(RUN).ancestors().filter(|path| !path.as_os_str().is_empty());
    let directories: Vec<PathBuf> = directories.map(|path| root.path().join(path)).collect();
    for (i, directory) in directories.iter().rev().take(made).enumerate() {
        recorder.create_directory(directory).unwrap();
        if i + 1 < made {
            recorder.sync_directory(directory.parent().unwrap()).unwrap();
        }
    }
    let mut session = session();
    let steps: &[u64] = if long() { &[1, 2, 3, 3, 4, 7, 8, 8] } else { &[1, 2, 3, 3, 4] };
    let mut behind =
        crate::save::background::BackgroundSaver::on(Arc::new(recorder.clone()), saver.clone());
    let mut saved = Vec::new();
    for (value, &step) in steps.iter().enumerate() {
        train(&mut session, value as f32);
        let file = if background {
            behind.save(&session, step, &SaveOptions::new()).unwrap();
            behind.wait().unwrap().unwrap().to_owned()
        } else {
            save_on(&recorder, &saver, &session, step).unwrap()
        };
        let (bytes, operations) = (fs::read(file).unwrap(), recorder.record().len());
        saved.push(Saved { bytes, operations });
    }
    (recorder.record(), saved)
}

/// Looks at everything the disk may hold after each operation, if it does the operations that `honest`
/// says and forgets the others, with `random` choices of pages for each file; returns how many states
/// that were. Each is given to `check` with the number of saves that had returned by then.
fn after_each(
    record: &[Done],
    saved: &[Saved],
    random: u64,
    honest: impl Fn(&Done) -> bool,
    check: impl Fn(&State, &Path, usize) -> Result<(), String>,
) -> Result<usize, String> {
    let mut looked_at = BTreeSet::new();
    for operations in 0..=record.len() {
        let returned = saved.iter().filter(|saved| saved.operations <= operations).count();
        let done: Vec<Done> =
            record[..operations].iter().filter(|done| honest(done)).cloned().collect();
        for state in crash_states(&done, random) {
            if looked_at.contains(&(returned, state.clone())) {
                continue;
            }
            let root = tempfile::tempdir().unwrap();
            state.make(root.path());
            check(&state, &root.path().join(RUN), returned).map_err(|problem| {
                let files: Vec<_> =
                    state.files.iter().map(|(path, bytes)| (path, bytes.len())).collect();
                format!("{problem}; stopped after {:?}: {files:?}", done.last())
            })?;
            looked_at.insert((returned, state));
        }
    }
    Ok(looked_at.len())
}

/// The newest checkpoint is that of the last save that returned, or the one under way.
fn newest_is_right(directory: &Path, saved: &[Saved], returned: usize) -> Result<(), String> {
    let found = Saver::new(directory).latest().map_err(|error| error.to_string())?;
    let Some(found) = found else {
        return if returned == 0 { Ok(()) } else { Err(format!("{returned} are lost")) };
    };
    if !found.damaged.is_empty() {
        return Err(format!("damaged: {:?}", found.damaged));
    }
    let bytes = fs::read(found.path).unwrap();
    let which = saved.iter().rposition(|saved| saved.bytes == bytes);
    match which {
        Some(which) if which == returned || which + 1 == returned => Ok(()),
        which => Err(format!("found {which:?} when {returned} had returned")),
    }
}

/// What verifies is what was saved.
fn nothing_is_mistaken(directory: &Path, saved: &[Saved]) -> Result<(), String> {
    for file in list(directory).unwrap_or_default() {
        let whole = Checkpoint::open(&file.path).is_ok_and(|one| one.verify().is_whole());
        let bytes = fs::read(&file.path).unwrap();
        if whole && !saved.iter().any(|saved| saved.bytes == bytes) {
            return Err(format!("{} verifies although it is damaged", file.path.display()));
        }
    }
    Ok(())
}

#[test]
fn wherever_the_machine_stops_the_newest_checkpoint_is_the_old_or_the_new_one() {
    for how in [
        PLAIN,
        How { background: true, ..PLAIN },
        // What was removed is not there to fall back on.
        How { keep: 1, ..PLAIN },
        How { made: 1, ..PLAIN },
        How { made: 2, ..PLAIN },
    ] {
        let (record, saved) = record(how);
        let session = session();
        let states = after_each(
            &record,
            &saved,
            if long() { 40 } else { 2 },
            |_| true,
            |state, directory, returned| {
                newest_is_right(directory, &saved, returned)?;
                nothing_is_mistaken(directory, &saved)?;
                // The next save clears away what was left half written.
                let half = |path: &PathBuf| path.extension().is_some_and(|end| end == "partial");
                if state.files.keys().any(half) {
                    let saver = Saver::new(directory).keep(1);
                    saver.save(&session, 9, &SaveOptions::new()).map_err(|e| e.to_string())?;
                    let left = fs::read_dir(directory).unwrap().count();
                    if left != 1 || latest(directory).unwrap().unwrap().step != 9 {
                        return Err(format!("{left} files are left"));
                    }
                }
                Ok(())
            },
        );
        let states = states.unwrap_or_else(|problem| panic!("{how:?}: {problem}"));
        println!("{how:?}: {states} states after {} operations", record.len());
        assert!(states > 100, "{how:?}: only {states} states");
    }
}

/// What the test above would say if saving left out one of its steps, or the disk did.
#[test]
fn a_step_left_out_would_be_noticed_and_a_disk_that_lies_harms_only_what_it_lost() {
    let (record, saved) = record(PLAIN);
    let file_syncs = |done: &Done| !matches!(done, Done::Sync(_));
    let directory_syncs =
        |done: &Done| !matches!(done, Done::SyncDirectory(path) if path == Path::new(RUN));
    // Files that are never synced may hold anything each, so few of them are as good as many.
    let few = |saves: usize| (&record[..saved[saves - 1].operations], &saved[..saves]);
    let (done, two) = few(2);
    let newest = |_: &State, directory: &Path, returned| newest_is_right(directory, two, returned);
    let problem = after_each(done, two, 2, file_syncs, newest).unwrap_err();
    assert!(problem.contains("damaged"), "{problem}");
    let problem = after_each(done, two, 2, directory_syncs, newest).unwrap_err();
    assert!(problem.contains("are lost") || problem.contains("found"), "{problem}");
    let (done, saved) = few(1);
    let mistaken = |_: &State, directory: &Path, _| nothing_is_mistaken(directory, saved);
    let states = after_each(done, saved, 2, file_syncs, mistaken).unwrap();
    assert!(states > 30, "only {states} states");
}

/// A writer is killed when its file has its name and that is not durable yet, and somebody tidies up.
#[test]
fn what_stays_is_durable_before_the_rest_is_removed() {
    let root = tempfile::tempdir().unwrap();
    let saver = Saver::new(root.path().join(RUN));
    let mut session = session();
    let (writer, mut saved) = (Recorder::new(root.path()), Vec::new());
    for step in [1, 2] {
        train(&mut session, step as f32);
        let file = save_on(&writer, &saver, &session, step).unwrap();
        let (bytes, operations) = (fs::read(file).unwrap(), writer.record().len());
        saved.push(Saved { bytes, operations });
    }
    let mut record = writer.record();
    let last = record.pop();
    assert!(matches!(last, Some(Done::SyncDirectory(_))), "{last:?}");
    saved[1].operations = usize::MAX;
    let other = Recorder::new(root.path());
    let removed = saver.keep(1).retain_on(&other, &[]).unwrap();
    assert!(removed.len() == 1 && removed[0].ends_with("step-1.safetensors"), "{removed:?}");
    record.extend(other.record());
    let newest =
        |_: &State, directory: &Path, returned| newest_is_right(directory, &saved, returned);
    after_each(&record, &saved, 2, |_| true, newest).unwrap();
}

#[test]
fn whatever_fails_the_checkpoint_before_verifies_and_the_next_save_succeeds() {
    let mut session = session();
    let before = tempfile::tempdir().unwrap();
    let first = Saver::new(before.path()).save(&session, 1, &SaveOptions::new()).unwrap();
    train(&mut session, 2.0);
    for fault in Fault::all() {
        for operation in 0.. {
            let parent = tempfile::tempdir().unwrap();
            let directory = parent.path().join("runs");
            fs::create_dir(&directory).unwrap();
            fs::copy(&first, directory.join("step-1.safetensors")).unwrap();
            let saver = Saver::new(&directory).keep(1);
            let storage = Faulty::at(operation, fault);
            let file = directory.join("step-2.safetensors");
            let result = save_on(&storage, &saver, &session, 2);
            let case = format!("{fault:?} at {operation}: {result:?}");
            let newest = Checkpoint::open(&directory).unwrap();
            let verification = newest.verify();
            assert!(verification.checksums && verification.is_whole(), "{case}");
            match &result {
                Ok(_) => assert_eq!(newest.step(), Some(2), "{case}"),
                Err(error) => {
                    let message = error.to_string();
                    let failed = storage.failed().unwrap();
                    // Temporaries have the name of the file within their own.
                    let named = failed.named(&file).file_name().unwrap().to_string_lossy();
                    let there = directory.to_string_lossy();
                    assert!(message.contains(&*there) && message.contains(&*named), "{message}");
                    assert!(newest.damaged().is_empty(), "{case}");
                    let told =
                        fault.advice().filter(|_| matches!(error, CheckpointError::Storage { .. }));
                    assert!(told.is_none_or(|advice| message.contains(advice)), "{message}");
                }
            }
            // Whatever a second sync says, it says nothing of what the first has lost.
            let lost = storage.failed().is_some_and(|failed| failed.is_sync_of(&directory));
            assert!(!lost || result.is_err(), "{case}");
            saver.save(&session, 3, &SaveOptions::new()).unwrap();
            let left: Vec<_> = fs::read_dir(&directory).unwrap().flatten().collect();
            assert_eq!(left.len(), 1, "{case}: {left:?}");
            if !storage.struck() {
                assert!(operation >= 9 && result.is_ok(), "{case}");
                break;
            }
        }
    }
}

#[cfg(target_os = "linux")]
mod killed {
    use super::*;
    use crate::testing::watched::{Operation, Verdict, Watcher};
    use rustix::process::{Signal, getpid, kill_process};
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, Output};
    use std::sync::atomic::{AtomicUsize, Ordering};

    const ROOT: &str = "WARMSTART_TEST_ROOT";
    const KILL_AT: &str = "WARMSTART_TEST_KILL_AT";

    /// Ends the process before an operation, or in the middle of a write.
    #[derive(Clone)]
    struct Killer {
        at: usize,
        within: bool,
        done: Arc<AtomicUsize>,
    }

    impl Killer {
        fn kill(&self) -> Verdict {
            kill_process(getpid(), Signal::KILL).unwrap();
            Verdict::Done
        }
    }

    impl Watcher for Killer {
        fn before(&self, operation: Operation<'_>) -> Verdict {
            match (self.done.fetch_add(1, Ordering::SeqCst) == self.at, operation) {
                (false, _) => Verdict::Done,
                (true, Operation::Write { bytes, .. }) if self.within => {
                    Verdict::Short(bytes.len().div_ceil(2))
                }
                (true, _) => self.kill(),
            }
        }
        fn after(&self, _: Operation<'_>) {
            // Here only after a write that was cut short.
            if self.done.load(Ordering::SeqCst) == self.at + 1 {
                self.kill();
            }
        }
    }

    fn steps() -> u64 {
        if long() { 6 } else { 3 }
    }

    /// What the child does: saves, and says after each save that it has returned.
    fn child(root: &Path) {
        let at = env::var(KILL_AT).unwrap();
        let (at, within) = at.split_once('.').unwrap();
        let (at, within) = (at.parse().unwrap(), within == "5");
        let killer = Killer { at, within, done: Arc::default() };
        let saver = Saver::new(root.join(RUN)).keep(1);
        let mut session = session();
        for step in 1..=steps() {
            train(&mut session, step as f32);
            save_on(&killer, &saver, &session, step).unwrap();
            fs::write(root.join("returned"), step.to_string()).unwrap();
        }
    }

    fn run(root: &Path, kill_at: &str) -> Output {
        let this = "testing::durability_tests::killed::at_any_operation_the_newest_is_the_old_or_the_new_one";
        let mut child = Command::new(env::current_exe().unwrap());
        child.args([this, "--exact"]).env(ROOT, root).env(KILL_AT, kill_at).output().unwrap()
    }

    #[test]
    fn at_any_operation_the_newest_is_the_old_or_the_new_one() {
        if let Some(root) = env::var_os(ROOT) {
            return child(Path::new(&root));
        }
        let session = session();
        let mut kills = 0;
        for operation in 0.. {
            let mut ended = false;
            // Before the operation, and within it.
            for within in ["0", "5"] {
                let root = tempfile::tempdir().unwrap();
                let output = run(root.path(), &format!("{operation}.{within}"));
                ended = output.status.success();
                let signal = output.status.signal();
                let said = String::from_utf8_lossy(&output.stderr);
                assert!(ended || signal == Some(9), "{:?}: {said}", output.status);
                kills += usize::from(!ended);
                let returned = fs::read_to_string(root.path().join("returned"));
                let returned: u64 = returned.map_or(0, |step| step.parse().unwrap());
                let saver = Saver::new(root.path().join(RUN)).keep(1);
                let case = format!("{operation}.{within}, {returned} returned");
                match saver.latest().unwrap() {
                    None => assert_eq!(returned, 0, "{case}"),
                    Some(newest) => {
                        assert!([returned, returned + 1].contains(&newest.step), "{case}");
                        assert!(newest.damaged.is_empty(), "{case}");
                        let newest = Checkpoint::open(&newest.path).unwrap();
                        assert!(newest.verify().is_whole(), "{case}");
                    }
                }
                saver.save(&session, 99, &SaveOptions::new()).unwrap();
                let left: Vec<_> = fs::read_dir(saver.directory()).unwrap().flatten().collect();
                assert_eq!(left.len(), 1, "{case}: {left:?}");
            }
            if ended {
                break;
            }
        }
        assert!(kills >= 40, "only {kills} kills");
    }
}
