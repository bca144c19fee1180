//! What a save behind the training holds, and what happens when it fails or is killed.

use super::*;
use crate::checkpoint::Checkpoint;
use crate::restore::options::RestoreOptions;
use crate::testing::hooked::{Hooked, gated};
use std::collections::BTreeMap;
use std::time::Duration;
use warmstart_gpu::Gpu;
use warmstart_graph::{DType, Graph, Optimizer, TensorData};

fn on(storage: Arc<Hooked>, saver: Saver) -> BackgroundSaver {
    BackgroundSaver::on(Arc::new(storage), saver)
}

/// Something to train.
struct Model {
    graph: Graph,
}

impl Model {
    fn new() -> Model {
        Model { graph: Graph::new() }
    }

    /// A session with the model's variables, and what trains it by one step.
    fn session(&self) -> (Session, impl Fn(&mut Session) + use<'_>) {
        let graph = &self.graph;
        let x = graph.placeholder("x", [8, 4], DType::F32);
        let y = graph.placeholder("y", [8, 2], DType::F32);
        let hidden = graph.scope("one").linear(x, 120).relu();
        let loss = graph.scope("two").linear(hidden, 2).mean_squared_error(y);
        let step = Optimizer::adam(0.01).minimize(loss);
        let mut session = Session::new(&Gpu::new().unwrap());
        let plan = session.compile(graph, &[loss], &[step.update]).unwrap();
        let train = move |session: &mut Session| {
            let inputs: Vec<f32> = (0..32).map(|i| (i as f32 * 0.37).sin()).collect();
            let targets: Vec<f32> = (0..16).map(|i| (i as f32 * 0.11).cos()).collect();
            let feeds = [("x", (&inputs).into()), ("y", (&targets).into())];
            let outputs = session.run(&plan, &feeds).unwrap();
            assert!(outputs.scalar(loss).unwrap().is_finite());
        };
        (session, train)
    }
}

fn values(session: &Session) -> BTreeMap<String, TensorData> {
    let table = session.variables();
    table.iter().map(|info| (info.name().to_owned(), session.read(info.name()).unwrap())).collect()
}

/// What the newest checkpoint of a directory holds, and its step.
fn newest(saver: &Saver) -> (u64, BTreeMap<String, TensorData>) {
    let model = Model::new();
    let (mut session, _) = model.session();
    let restored = saver.restore_latest(&mut session, &RestoreOptions::new()).unwrap().unwrap();
    assert!(restored.damaged.is_empty());
    (restored.step, values(&session))
}

#[test]
fn a_file_holds_the_step_it_was_asked_for_although_training_went_on() {
    let directory = tempfile::tempdir().unwrap();
    let model = Model::new();
    let (mut session, train) = model.session();
    session.initialize_missing(3).unwrap();
    let (gate, storage) = gated();
    let plain = Saver::new(directory.path()).keep(1).keep_every_steps(1);
    let mut saver = on(storage, plain.clone());
    let mut expected = BTreeMap::new();
    for step in 1..=3 {
        train(&mut session);
        expected.insert(step, values(&session));
        // The save before this one is through the gate.
        saver.wait().unwrap();
        gate.set(false);
        saver.save(&session, step, &SaveOptions::new()).unwrap();
        for _ in 0..5 {
            train(&mut session);
        }
        assert!(values(&session) != expected[&step]);
        assert!(!directory.path().join(format!("step-{step}.safetensors")).exists());
        gate.set(true);
    }
    let last = saver.wait().unwrap().unwrap().to_owned();
    assert_eq!(saver.close().unwrap().unwrap(), last);
    assert_eq!(newest(&plain), (3, expected[&3].clone()));
    for (step, expected) in expected {
        let file = directory.path().join(format!("step-{step}.safetensors"));
        let plan = Checkpoint::open(file).unwrap().plan(&session, &RestoreOptions::new());
        plan.restore(&mut session).unwrap();
        assert!(values(&session) == expected, "step {step}");
    }
}

/// Place and size of all that the device has for copies.
#[cfg(not(target_os = "macos"))]
fn copies(session: &Session) -> Vec<(u64, u64)> {
    let report = session.gpu().device().generate_allocator_report().expect("this backend has one");
    let copies = report.allocations.iter().filter(|one| one.name == "a snapshot of the variables");
    let mut copies: Vec<(u64, u64)> = copies.map(|one| (one.offset, one.size)).collect();
    copies.sort_unstable();
    copies
}

// Metal tells nothing of what it has allocated.
#[cfg(not(target_os = "macos"))]
#[test]
fn there_is_one_copy_whose_memory_is_used_again() {
    let directory = tempfile::tempdir().unwrap();
    let model = Model::new();
    let (mut session, train) = model.session();
    session.initialize_missing(3).unwrap();
    let (gate, storage) = gated();
    let mut saver = on(storage, Saver::new(directory.path()));
    let mut all = Vec::new();
    for step in 1..=4 {
        train(&mut session);
        gate.set(false);
        saver.save(&session, step, &SaveOptions::new()).unwrap();
        // While it is written.
        all.push(copies(&session));
        gate.set(true);
        saver.wait().unwrap();
    }
    let bytes: u64 = all[0].iter().map(|(_, size)| size).sum();
    let said = session.snapshot_bytes();
    assert!((said..2 * said).contains(&bytes), "{bytes}, and {said} were said");
    assert!(all.iter().all(|copies| *copies == all[0]), "{all:?}");
    saver.close().unwrap();
    // What is given back goes when the device is next looked at.
    values(&session);
    assert_eq!(copies(&session), []);
}

#[test]
fn whatever_fails_is_told_by_the_next_call_and_the_older_checkpoint_stays() {
    let model = Model::new();
    let (mut session, train) = model.session();
    session.initialize_missing(3).unwrap();
    let mut removals = 0;
    for operation in 0.. {
        let directory = tempfile::tempdir().unwrap();
        let plain = Saver::new(directory.path()).keep(1);
        plain.save(&session, 1, &SaveOptions::new()).unwrap();
        let old = values(&session);
        train(&mut session);
        let new = values(&session);
        let storage = Hooked::new(move |at| match at == operation {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => Ok(()),
        });
        let mut saver = on(storage.clone(), plain.clone());
        saver.save(&session, 2, &SaveOptions::new()).unwrap();
        train(&mut session);
        let (told, saver) = match operation % 3 {
            0 => (saver.wait().map(|_| ()), Some(saver)),
            1 => (saver.save(&session, 3, &SaveOptions::new()), Some(saver)),
            // What the last of several has to say is not lost either.
            _ => (saver.close().map(|_| ()), None),
        };
        let (step, found) = newest(&plain);
        if storage.operations() <= operation {
            assert!(operation >= 8, "only {operation} operations were tried");
            assert_eq!((told.is_ok(), step >= 2, removals), (true, true, 1));
            break;
        }
        // The new one if it had its name already. Looking for leftovers may fail without harm.
        match &told {
            Ok(()) => assert!(step >= 2, "{operation}"),
            Err(error) => {
                let message = error.to_string();
                // Older ones could not be looked for, or not be removed.
                let next = if operation % 3 == 1 { 3 } else { 2 };
                if let CheckpointError::Storage { operation, .. } = error {
                    assert!(["list directory", "remove"].contains(operation), "{message}");
                    // The save that was asked for has begun nevertheless.
                    assert!((2..=next).contains(&step), "{message}");
                    removals += usize::from(*operation == "remove");
                    // It is told once, and what was written is known. A `close` has ended all.
                    if let Some(mut saver) = saver {
                        let written = saver.wait().unwrap().unwrap();
                        let name = format!("step-{next}.safetensors");
                        assert!(written.ends_with(name), "{written:?}");
                    }
                    continue;
                }
                let is_background = matches!(error, CheckpointError::Background { .. });
                assert!(is_background && message.contains("step-2.safetensors"), "{message}");
                assert!(message.contains("in the background failed"), "{message}");
                assert!(step == 1 && found == old || step == 2 && found == new, "{operation}");
            }
        }
    }
}

#[test]
fn an_error_is_told_once_and_then_saving_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let model = Model::new();
    let (mut session, _) = model.session();
    let plain = Saver::new(directory.path());
    // The first four operations sync the parent of the directory (who may not read it need not do so), look
    // for leftovers and create the file.
    let storage = Hooked::new(|at| match at {
        0..4 => Err(io::ErrorKind::PermissionDenied.into()),
        _ => Ok(()),
    });
    let mut saver = on(storage, plain.clone());
    let error = saver.save(&session, 1, &SaveOptions::new()).unwrap_err();
    assert!(matches!(error, CheckpointError::Uninitialized { .. }), "{error}");
    session.initialize_missing(1).unwrap();
    saver.save(&session, 1, &SaveOptions::new()).unwrap();
    let error = saver.save(&session, 2, &SaveOptions::new()).unwrap_err();
    assert!(error.to_string().contains("step-1.safetensors"), "{error}");
    assert!(error.to_string().contains("Check the permissions"), "{error}");
    assert!(saver.wait().unwrap().is_none());
    saver.save(&session, 2, &SaveOptions::new()).unwrap();
    assert!(saver.close().unwrap().unwrap().ends_with("step-2.safetensors"));
    assert_eq!(newest(&plain), (2, values(&session)));
}

#[test]
fn a_checkpoint_that_could_not_be_removed_is_told_although_the_next_save_is_refused() {
    let models = [Model::new(), Model::new()];
    let [(mut session, _), (uninitialized, _)] = models.each_ref().map(Model::session);
    session.initialize_missing(1).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let plain = Saver::new(directory.path()).keep(1);
    plain.save(&session, 1, &SaveOptions::new()).unwrap();
    let mut saver = on(Hooked::keeping_all(), plain);
    saver.save(&session, 2, &SaveOptions::new()).unwrap();
    // However often.
    for _ in 0..2 {
        let error = saver.save(&uninitialized, 3, &SaveOptions::new()).unwrap_err();
        assert!(matches!(error, CheckpointError::Uninitialized { .. }), "{error}");
    }
    let error = saver.wait().unwrap_err();
    let is_removal = matches!(&error, CheckpointError::Storage { operation: "remove", path, .. }
        if path.ends_with("step-1.safetensors"));
    assert!(is_removal, "{error}");
    // It is told once.
    assert!(saver.close().unwrap().unwrap().ends_with("step-2.safetensors"));
}

/// The child drops savers that have something left to say.
#[test]
fn what_nobody_asked_for_is_printed_when_a_saver_is_dropped() {
    use std::{env, process};

    const DIRECTORY: &str = "WARMSTART_TEST_DROPPED";
    if let Some(directory) = env::var_os(DIRECTORY) {
        let directory = Path::new(&directory);
        let model = Model::new();
        let (mut session, _) = model.session();
        session.initialize_missing(1).unwrap();
        let full = Hooked::new(|_| Err(io::ErrorKind::StorageFull.into()));
        let mut saver = on(full, Saver::new(directory.join("full")));
        saver.save(&session, 1, &SaveOptions::new()).unwrap();
        drop(saver);
        let plain = Saver::new(directory.join("kept")).keep(1);
        plain.save(&session, 1, &SaveOptions::new()).unwrap();
        let mut saver = on(Hooked::keeping_all(), plain);
        saver.save(&session, 2, &SaveOptions::new()).unwrap();
        return;
    }

    let directory = tempfile::tempdir().unwrap();
    let this = "save::background::tests::what_nobody_asked_for_is_printed_when_a_saver_is_dropped";
    let mut child = process::Command::new(env::current_exe().unwrap());
    child.args([this, "--exact"]).env(DIRECTORY, directory.path());
    let output = child.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let printed = String::from_utf8(output.stderr).unwrap();
    let told: Vec<&str> = printed.lines().filter(|line| line.starts_with("warmstart: ")).collect();
    let [failed, kept] = told[..] else { panic!("{printed}") };
    assert!(failed.contains("in the background failed"), "{failed}");
    assert!(failed.contains("step-1.safetensors"), "{failed}");
    assert!(kept.contains("remove") && kept.contains("step-1.safetensors"), "{kept}");
}

#[test]
fn a_panic_of_the_writer_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let model = Model::new();
    let (mut session, _) = model.session();
    session.initialize_missing(1).unwrap();
    let mut saver = on(Hooked::new(|at| panic!("at {at}")), Saver::new(directory.path()));
    saver.save(&session, 1, &SaveOptions::new()).unwrap();
    let message = saver.wait().unwrap_err().to_string();
    assert!(message.contains("step-1.safetensors"), "{message}");
    assert!(message.contains("the thread that wrote it panicked: at 0"), "{message}");
}

#[test]
fn dropping_waits() {
    let directory = tempfile::tempdir().unwrap();
    let model = Model::new();
    let (mut session, _) = model.session();
    session.initialize_missing(1).unwrap();
    let (gate, storage) = gated();
    let plain = Saver::new(directory.path());
    let mut saver = on(storage, plain.clone());
    saver.save(&session, 1, &SaveOptions::new()).unwrap();
    let expected = values(&session);
    drop(session);
    // The writer cannot be done before the gate is opened, and that is while the saver is dropped.
    let opener = thread::spawn(move || {
        thread::sleep(Duration::from_millis(200));
        gate.set(true);
    });
    drop(saver);
    assert!(directory.path().join("step-1.safetensors").exists(), "it was not waited for");
    opener.join().unwrap();
    assert_eq!(newest(&plain), (1, expected));
}

/// The child trains on while it saves, until the writer kills it at one operation.
#[cfg(target_os = "linux")]
#[test]
fn killed_at_any_operation_the_older_checkpoint_is_there_or_the_new_one() {
    use rustix::process::{Signal, getpid, kill_process};
    use std::os::unix::process::ExitStatusExt;
    use std::{env, fs, process};

    const DIRECTORY: &str = "WARMSTART_TEST_DIRECTORY";
    const OPERATION: &str = "WARMSTART_TEST_OPERATION";
    if let Some(directory) = env::var_os(DIRECTORY) {
        let at: usize = env::var(OPERATION).unwrap().parse().unwrap();
        let storage = Hooked::new(move |operation| {
            if operation == at {
                kill_process(getpid(), Signal::KILL).unwrap();
            }
            Ok(())
        });
        let mut saver = on(storage, Saver::new(directory).keep(1));
        let model = Model::new();
        let (mut session, train) = model.session();
        session.initialize_missing(3).unwrap();
        train(&mut session);
        saver.save(&session, 2, &SaveOptions::new()).unwrap();
        while !saver.writing.as_ref().unwrap().thread.is_finished() {
            train(&mut session);
        }
        saver.close().unwrap();
        return;
    }

    let model = Model::new();
    let (mut session, train) = model.session();
    session.initialize_missing(3).unwrap();
    let first = tempfile::tempdir().unwrap();
    let old = values(&session);
    let file = Saver::new(first.path()).save(&session, 1, &SaveOptions::new()).unwrap();
    train(&mut session);
    let new = values(&session);
    let this = "save::background::tests::killed_at_any_operation_the_older_checkpoint_is_there_or_the_new_one";
    let mut found_at = Vec::new();
    for operation in 0.. {
        let directory = tempfile::tempdir().unwrap();
        let saver = Saver::new(directory.path()).keep(1);
        fs::copy(&file, directory.path().join("step-1.safetensors")).unwrap();
        let mut child = process::Command::new(env::current_exe().unwrap());
        child.args([this, "--exact"]).env(DIRECTORY, directory.path());
        let output = child.env(OPERATION, operation.to_string()).output().unwrap();
        let (step, found) = newest(&saver);
        let expected = if step == 1 { &old } else { &new };
        assert!(found == *expected, "{operation}: step {step}");
        if output.status.success() {
            assert_eq!(step, 2);
            assert!(found_at.len() >= 8, "only {operation} operations were tried");
            break;
        }
        assert_eq!(output.status.signal(), Some(9), "{}", String::from_utf8_lossy(&output.stderr));
        found_at.push(step);
        // And whatever the dead writer left, the next save goes through and clears it away.
        saver.save(&session, 2, &SaveOptions::new()).unwrap();
        let left: Vec<_> = fs::read_dir(directory.path()).unwrap().flatten().collect();
        assert_eq!(left.len(), 1, "{operation}: {left:?}");
    }
    assert_eq!((found_at.first(), found_at.last()), (Some(&1), Some(&2)), "{found_at:?}");
    assert!(found_at.is_sorted(), "{found_at:?}");
}
