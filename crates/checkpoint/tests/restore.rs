//! Restoring to a device: bits and origins, all or nothing, and what is said when it fails.

mod common;

use common::{bytes, f32s, fixture, glorot, session, session_in, state, variable};
use std::fs::{self, OpenOptions};
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};
use warmstart_checkpoint::{
    Checkpoint, CheckpointError, Outcome, RestoreOptions, SaveOptions, Saver, TensorName, save,
};
use warmstart_gpu::{MemoryKind, Missing, Origin, Overwrite, Session};
use warmstart_graph::{Initializer, Role, Variable};

#[test]
fn every_bit_and_every_origin_comes_back() {
    // Straight into mapped variables where the adapter has them, and through staging anywhere.
    round_trip(&|variables| session(variables));
    round_trip(&|variables| session_in(MemoryKind::Staged, variables));
}

fn round_trip(session: &dyn Fn(&[Variable]) -> Session) {
    let variables = [glorot("fc1/weight", [64, 33]), variable("fc1/bias", [33])];
    let mut saved = session(&variables);
    saved.initialize_missing(7).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = Saver::new(directory.path()).save(&saved, 500, &SaveOptions::new()).unwrap();

    // In another order of declaration.
    let [weight, bias] = variables;
    let mut restored = session(&[bias, weight]);
    let checkpoint = Checkpoint::open(directory.path()).unwrap();
    let plan = checkpoint.plan(&restored, &RestoreOptions::new());
    assert!(plan.closes(), "{plan}");
    assert!(restored.uninitialized().len() == 2, "planning must not restore");
    let seen = Mutex::new(Vec::new());
    let report = plan
        .restore_with(&mut restored, &|done, total| seen.lock().unwrap().push((done, total)))
        .unwrap();
    assert_eq!((report.restored().count(), report.bytes()), (2, 64 * 33 * 4 + 33 * 4));
    assert_eq!(report.step(), Some(500));
    // A plan has done nothing yet. Afterwards: where bytes are staged, the copies.
    assert_eq!(plan.submissions(), None);
    let least = u64::from(restored.gpu().memory() == MemoryKind::Staged);
    assert!(report.submissions().is_some_and(|n| (least..10).contains(&n)), "{report:?}");
    let total = report.bytes();
    assert_eq!(seen.into_inner().unwrap().last(), Some(&(total, total)));
    for name in ["fc1/weight", "fc1/bias"] {
        assert_eq!(bytes(&restored, name), bytes(&saved, name), "{name}");
        let origin = &restored.variable(name).unwrap().origin;
        let expected =
            Origin::Restored { file: file.as_path().into(), name: name.into(), step: Some(500) };
        assert_eq!(*origin, expected);
    }
    // The name is there once: in the checkpoint, its plan and the origin.
    let tensor = checkpoint.tensor("fc1/bias").unwrap();
    let origin = &restored.variable("fc1/bias").unwrap().origin;
    assert!(
        matches!(origin, Origin::Restored { name, .. } if name.as_ptr() == tensor.name.as_ptr())
    );
    let outcome = &plan.variables()[0].outcome;
    let tells = |name: &TensorName| name.as_ptr() == tensor.name.as_ptr();
    assert!(matches!(outcome, Outcome::Restored { tensor, .. } if tells(tensor)), "{plan}");

    // Saved again, it is the same file but for the seed, which this session does not have: none that
    // gave no variable its value either.
    assert!(restored.initialize_missing(8).unwrap().is_empty());
    let again = directory.path().join("again.safetensors");
    save(&restored, &again, &SaveOptions::new().step(500)).unwrap();
    let again = Checkpoint::open(&again).unwrap();
    assert_eq!(again.metadata().seed(), None);
    assert_eq!(again.tensors().len(), 2);
}

#[test]
fn files_of_torch_and_numpy_restore() {
    for folder in ["st_mlp", "st_mlp_numpy"] {
        let mut session = session(&[
            variable("fc1.weight", [3, 4]),
            variable("fc1.bias", [3]),
            variable("fc2.weight", [2, 3]),
            variable("fc2.bias", [2]),
        ]);
        let checkpoint = Checkpoint::open(fixture(folder).join("model.safetensors")).unwrap();
        checkpoint.plan(&session, &RestoreOptions::new()).restore(&mut session).unwrap();
        let expected = fs::read_to_string(fixture(folder).join("expected.json")).unwrap();
        let expected: serde_json::Value = serde_json::from_str(&expected).unwrap();
        for (name, tensor) in expected["tensors"].as_object().unwrap() {
            let values: Vec<f64> = serde_json::from_value(tensor["values"].clone()).unwrap();
            assert_eq!(session.read(name).unwrap().to_f64(), values, "{name}");
        }
        let origin = &session.variable("fc1.bias").unwrap().origin;
        assert!(
            matches!(origin, Origin::Restored { name, step: None, .. } if **name == *"fc1.bias")
        );
    }
}

/// A session with one variable of each kind of origin, and a checkpoint of other variables.
fn mixed(variables: &[Variable]) -> (Session, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let mut other = session(&[variable("a", [2]), variable("old", [2])]);
    other.assign("a", &f32s(&[5.0, 6.0])).unwrap();
    other.assign("old", &f32s(&[7.0, 8.0])).unwrap();
    Saver::new(directory.path()).save(&other, 3, &SaveOptions::new()).unwrap();
    let mut session = session(variables);
    session.assign("a", &f32s(&[1.0, 2.0])).unwrap();
    (session, directory)
}

#[test]
fn a_plan_that_does_not_close_changes_nothing_and_says_all() {
    let (mut session, directory) = mixed(&[variable("a", [2]), variable("new", [2])]);
    let before = state(&session);
    let checkpoint = Checkpoint::open(directory.path()).unwrap();
    let plan = checkpoint.plan(&session, &RestoreOptions::new());
    let error = plan.restore(&mut session).unwrap_err();
    assert_eq!(error.to_string(), plan.to_string());
    let message = error.to_string();
    for word in ["missing", "new", "unexpected", "old", "Nothing on the device was changed"] {
        assert!(message.contains(word), "{message}");
    }
    let CheckpointError::Mismatch(report) = error else { panic!("{message}") };
    assert_eq!(report.unexpected()[0].name, "old");
    assert_eq!(state(&session), before);
}

#[test]
fn what_was_missing_is_remembered_and_can_be_filled() {
    let (mut session, directory) =
        mixed(&[variable("a", [2]), glorot("olde", [2]), variable("kept", [1])]);
    session.assign("kept", &f32s(&[9.0])).unwrap();
    let checkpoint = Checkpoint::open(directory.path()).unwrap();
    let options = RestoreOptions::new().allow_missing().allow_unexpected();
    let report = checkpoint.plan(&session, &options).restore(&mut session).unwrap();
    assert_eq!(session.read("a").unwrap().as_f32().unwrap(), [5.0, 6.0]);
    assert_eq!(session.variable("kept").unwrap().origin, Origin::Assigned);
    let close = vec!["old".to_owned()];
    let absent =
        Missing::AbsentFromCheckpoint { file: checkpoint.file().to_owned(), close: close.clone() };
    assert_eq!(session.variable("olde").unwrap().origin, Origin::Uninitialized(absent));
    assert_eq!(report.variables()[1].outcome, Outcome::Missing { close });

    let message = Saver::new(directory.path())
        .save(&session, 4, &SaveOptions::new())
        .unwrap_err()
        .to_string();
    assert!(message.contains("1 variable has no value: `olde`"), "{message}");
    assert!(message.contains("absent from") && message.contains("step-3.safetensors"), "{message}");

    assert_eq!(session.initialize_missing(1).unwrap(), ["olde"]);
    assert_eq!(session.read("a").unwrap().as_f32().unwrap(), [5.0, 6.0]);
}

#[test]
fn a_file_cut_short_while_it_is_open_is_named_with_sizes() {
    let variables = [glorot("a", [100]), glorot("b", [100])];
    let mut saved = session(&variables);
    saved.initialize_missing(7).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("model.safetensors");
    save(&saved, &file, &SaveOptions::new()).unwrap();

    let mut session = session(&variables);
    session.assign("a", &f32s(&[0.5; 100])).unwrap();
    let before = state(&session);
    let checkpoint = Checkpoint::open(&file).unwrap();
    let plan = checkpoint.plan(&session, &RestoreOptions::new());
    let begin = checkpoint.tensor("b").unwrap().range.start;
    OpenOptions::new().write(true).open(&file).unwrap().set_len(begin + 5).unwrap();
    let error = plan.restore(&mut session).unwrap_err();
    let message = error.to_string();
    assert!(
        matches!(error, CheckpointError::CutShort { expected: 400, found: 5, .. }),
        "{error:?}"
    );
    for word in
        ["model.safetensors", "tensor `b`", "400 bytes", "after 5", "No variable was changed"]
    {
        assert!(message.contains(word), "{message}");
    }
    assert!(message.contains(&format!("offset {begin}")), "{message}");
    assert_eq!(state(&session), before);

    // Opened now, the damage is seen at once.
    let message = Checkpoint::open(&file).unwrap_err().to_string();
    assert!(message.contains("tensor `b`") && message.contains("cut short"), "{message}");
}

/// Without checksums nothing but the time of the last writing tells that the bytes are others.
#[test]
fn what_was_written_over_since_it_was_opened_is_not_restored() {
    let directory = tempfile::tempdir().unwrap();
    let of_others = |values: [f32; 2]| {
        let header = br#"{"v":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
        let length = (header.len() as u64).to_le_bytes();
        [&length[..], header, values.map(f32::to_le_bytes).as_flattened()].concat()
    };
    let numpy = |values: [f32; 2]| {
        let header = format!("{:117}\n", "{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}");
        let start = [b"\x93NUMPY\x01\0", &(header.len() as u16).to_le_bytes()[..]].concat();
        [&start[..], header.as_bytes(), values.map(f32::to_le_bytes).as_flattened()].concat()
    };
    let own = |values: [f32; 2]| {
        let mut session = session(&[variable("v", [2])]);
        session.assign("v", &f32s(&values)).unwrap();
        let file = directory.path().join("scratch.safetensors");
        save(&session, &file, &SaveOptions::new()).unwrap();
        fs::read(file).unwrap()
    };
    let (strict, unchecked) = (RestoreOptions::new(), RestoreOptions::new().skip_checksums());
    let write = |file: &Path, content: &[u8], hours: u64| {
        fs::write(file, content).unwrap();
        // The clock of the file system may not have ticked since.
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(3600 * hours);
        OpenOptions::new().write(true).open(file).unwrap().set_modified(time).unwrap();
    };
    type Content<'a> = &'a dyn Fn([f32; 2]) -> Vec<u8>;
    let cases: [(&str, Content<'_>, &RestoreOptions); 4] = [
        ("m.safetensors", &of_others, &strict),
        ("v.npy", &numpy, &strict),
        ("unchecked.safetensors", &own, &unchecked),
        ("own.safetensors", &own, &strict),
    ];
    for (name, content, options) in cases {
        let file = directory.path().join(name);
        write(&file, &content([1.0, 2.0]), 1);
        let mut session = session(&[variable("v", [2])]);
        session.assign("v", &f32s(&[0.5; 2])).unwrap();
        let before = state(&session);
        let checkpoint = Checkpoint::open(&file).unwrap();
        let plan = checkpoint.plan(&session, options);
        write(&file, &content([3.0, 4.0]), 2);
        let error = plan.restore(&mut session).unwrap_err();
        assert_eq!(state(&session), before, "{name}");
        if name == "own.safetensors" {
            assert!(matches!(error, CheckpointError::Checksum { .. }), "{error}");
            // The same bytes written once more are the same bytes.
            write(&file, &content([1.0, 2.0]), 3);
        } else {
            let message = error.to_string();
            assert!(matches!(error, CheckpointError::Changed { .. }), "{name}: {message}");
            assert!(message.contains(name) && message.contains("open it again"), "{message}");
            let damaged = checkpoint.verify().damaged;
            let is_told = matches!(&damaged[..], [CheckpointError::Changed { .. }]);
            assert!(is_told || *options != strict, "{name}: {damaged:?}");
            if *options == strict {
                let read = checkpoint.reader("v").unwrap().read(&mut [0; 8]);
                assert!(matches!(read, Err(CheckpointError::Changed { .. })), "{name}: {read:?}");
            }
            write(&file, &content([1.0, 2.0]), 1);
        }
        plan.restore(&mut session).unwrap();
        assert_eq!(session.read("v").unwrap().as_f32().unwrap(), [1.0, 2.0], "{name}");
        // Another file under that name is not the one that is open.
        let other = directory.path().join("other");
        write(&other, &content([5.0, 6.0]), 4);
        fs::rename(&other, &file).unwrap();
        plan.restore(&mut session).unwrap();
        assert_eq!(session.read("v").unwrap().as_f32().unwrap(), [1.0, 2.0], "{name}");
    }
}

/// Hundreds of small tensors are read at once, in another order than that of their variables.
#[test]
fn of_many_neighbours_the_one_that_is_damaged_or_cut_short_is_named() {
    let variables: Vec<Variable> =
        (0..400).map(|i| glorot(&format!("w{i}"), [1 + (i * 7) % 90])).collect();
    let kinds = [None, Some(MemoryKind::Staged)];
    let session = |kind| match kind {
        None => session(&variables),
        Some(kind) => session_in(kind, &variables),
    };
    let mut saved = session(None);
    saved.initialize_missing(7).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("model.safetensors");
    save(&saved, &file, &SaveOptions::new()).unwrap();
    let whole = fs::read(&file).unwrap();
    for mut session in kinds.map(session) {
        session.initialize_missing(8).unwrap();
        let before = state(&session);
        let checkpoint = Checkpoint::open(&file).unwrap();
        for at in [0, 1, 200, 398, 399] {
            let tensor = &checkpoint.tensors()[at];
            let mut damaged = whole.clone();
            damaged[tensor.range.end as usize - 1] ^= 1;
            fs::write(&file, damaged).unwrap();
            let plan = checkpoint.plan(&session, &RestoreOptions::new());
            let error = plan.restore(&mut session).unwrap_err();
            assert!(
                matches!(&error, CheckpointError::Checksum { tensor: name, offset, .. }
                    if *name == tensor.name && *offset == tensor.range.start),
                "{at}: {error}"
            );
            assert_eq!(state(&session), before);
        }
        let tensor = checkpoint.tensors().last().unwrap();
        fs::write(&file, &whole[..tensor.range.end as usize - 1]).unwrap();
        let plan = checkpoint.plan(&session, &RestoreOptions::new());
        let error = plan.restore(&mut session).unwrap_err();
        assert!(
            matches!(&error, CheckpointError::CutShort { tensor: name, expected, found, .. }
                if *name == tensor.name && *expected == tensor.bytes() && found + 1 == *expected),
            "{error}"
        );
        assert_eq!(state(&session), before);
        fs::write(&file, &whole).unwrap();
        // Of some of them: what lies between is not read.
        let odd = RestoreOptions::new().only("w*[13579]");
        checkpoint.plan(&session, &odd).restore(&mut session).unwrap();
        for (variable, was) in variables.iter().zip(&before) {
            let name = &variable.name;
            let odd = name.ends_with(['1', '3', '5', '7', '9']);
            let expected = if odd { bytes(&saved, name) } else { was.2.clone().unwrap() };
            assert_eq!(bytes(&session, name), expected, "{name}");
        }
    }
}

#[test]
fn a_plan_holds_for_the_variables_it_was_made_for() {
    let (mut session, directory) = mixed(&[variable("a", [2]), variable("old", [2])]);
    let plan = Checkpoint::open(directory.path()).unwrap().plan(&session, &RestoreOptions::new());
    assert!(plan.closes());
    session.declare(&[variable("late", [1])]).unwrap();
    let before = state(&session);
    let message = plan.restore(&mut session).unwrap_err().to_string();
    assert!(message.contains("`late` differs") && message.contains("make the plan again"));
    assert_eq!(state(&session), before);
}

#[test]
fn a_plan_holds_for_the_initializers_and_roles_it_was_made_for() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a.safetensors");
    let mut saved = session(&[variable("table", [4, 2])]);
    saved.initialize_missing(7).unwrap();
    save(&saved, &file, &SaveOptions::new()).unwrap();
    let checkpoint = Checkpoint::open(&file).unwrap();
    let with = |rows: usize, initializer: Initializer, role: Role| {
        [Variable { initializer, role, ..variable("table", [rows, 2]) }]
    };
    let restored = |planned: &[Variable], now: &[Variable]| {
        let options = RestoreOptions::new().resize_rows("**", 7);
        let mut session = session(now);
        let restored = checkpoint.plan_for(planned, &options).restore(&mut session).map(|_| ());
        (restored, session.variable("table").unwrap().origin.clone())
    };
    use Initializer::{Ones, Zeros};
    use Role::{State, Trainable};
    let refused = |planned: &[Variable], now: &[Variable]| {
        let (restored, origin) = restored(planned, now);
        let error = restored.unwrap_err();
        assert!(
            matches!(&error, CheckpointError::OutdatedPlan { variable, .. } if variable == "table")
        );
        assert_eq!(origin, Origin::Uninitialized(Missing::NeverInitialized));
    };
    // Rows that the file lacks are made by the session's initializer, and told as the plan's.
    refused(&with(6, Zeros, Trainable), &with(6, Ones, Trainable));
    refused(&with(6, Zeros, State), &with(6, Zeros, Trainable));
    let (restored_as_planned, origin) =
        restored(&with(6, Ones, Trainable), &with(6, Ones, Trainable));
    restored_as_planned.unwrap();
    assert!(matches!(origin, Origin::PartlyRestored { initializer: Ones, .. }), "{origin}");
    // Where no row is made, what would make one is no matter.
    for rows in [4, 3] {
        restored(&with(rows, Zeros, Trainable), &with(rows, Ones, Trainable)).0.unwrap();
        refused(&with(rows, Zeros, State), &with(rows, Zeros, Trainable));
    }
}

/// Whoever plans before anything is declared need not know in which order that will be.
#[test]
fn a_plan_holds_for_the_same_variables_in_another_order() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a.safetensors");
    let [a, b, c] = ["a", "b", "c"].map(|name| variable(name, [2]));
    let mut saved = session(&[a.clone(), b.clone()]);
    saved.assign("a", &f32s(&[1.0, 2.0])).unwrap();
    saved.assign("b", &f32s(&[3.0, 4.0])).unwrap();
    save(&saved, &file, &SaveOptions::new()).unwrap();
    let checkpoint = Checkpoint::open(&file).unwrap();
    let restored = |now: &[Variable]| {
        let mut session = session(now);
        let plan = checkpoint.plan_for(&[b.clone(), a.clone()], &RestoreOptions::new());
        plan.restore(&mut session).map(|_| state(&session))
    };
    assert_eq!(restored(&[b.clone(), a.clone()]).unwrap().len(), 2);
    let in_order = restored(&[a.clone(), b.clone()]).unwrap();
    assert!(in_order.iter().zip(state(&saved)).all(|(now, saved)| now.2 == saved.2));
    for (now, differs) in [
        (vec![a.clone()], "b"),
        (vec![a.clone(), c.clone()], "c"),
        (vec![a.clone(), b.clone(), c.clone()], "c"),
        (vec![b.clone(), variable("a", [3])], "a"),
    ] {
        let error = restored(&now).unwrap_err();
        assert!(
            matches!(&error, CheckpointError::OutdatedPlan { variable, .. } if variable == differs),
            "{error}"
        );
    }
}

/// The weights are damaged, and by the time that is known the device is gone.
#[test]
fn values_that_a_failed_restore_lost_are_not_saved() {
    let mut session = session(&[variable("a", [64]), variable("b", [2])]);
    session.initialize_missing(1).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("damaged.safetensors");
    save(&session, &file, &SaveOptions::new()).unwrap();
    let mut bytes = fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&file, bytes).unwrap();
    let value = session.read("a").unwrap();
    session.assign("a", &value).unwrap();
    session.read("a").unwrap();
    let gpu = session.gpu().clone();
    let plan = Checkpoint::open(&file).unwrap().plan(&session, &RestoreOptions::new());
    let error = plan.restore_with(&mut session, &|_, _| gpu.device().destroy()).unwrap_err();
    // What the source said, it said before values were lost.
    assert!(matches!(error, CheckpointError::Session { .. }), "{error}");
    let lost = Origin::Uninitialized(Missing::LostInRestore);
    for info in session.variables().iter() {
        assert_eq!(info.origin, lost, "{}", info.name());
    }
    let again = directory.path().join("again.safetensors");
    let error = save(&session, &again, &SaveOptions::new()).unwrap_err();
    assert!(error.to_string().contains("`a`, uninitialized (lost in a failed restore)"), "{error}");
    assert!(!again.exists());
}

#[test]
fn names_of_a_file_reach_no_terminal_as_they_are() {
    const HOSTILE: &str = "fc1/weigh\n\u{1b}\u{202e}";
    const ESCAPED: &str = r"fc1/weigh\n\u{1b}\u{202e}";
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a.safetensors");
    let mut saved = session(&[variable(HOSTILE, [2]), variable("b", [2])]);
    saved.initialize_missing(7).unwrap();
    save(&saved, &file, &SaveOptions::new()).unwrap();
    let checkpoint = Checkpoint::open(&file).unwrap();
    let assert_plain = |text: String| {
        assert!(text.contains(ESCAPED), "{text}");
        assert!(!text.contains(['\u{1b}', '\u{202e}']) && !text.contains("weigh\n"), "{text}");
    };

    // As a close name of a variable without a value.
    let mut session = session(&[variable("fc1/weight", [2]), variable("b", [2])]);
    let options = RestoreOptions::new().allow_missing().allow_unexpected();
    checkpoint.plan(&session, &options).restore(&mut session).unwrap();
    assert_plain(session.variables().to_string());
    let again = directory.path().join("again.safetensors");
    assert_plain(save(&session, &again, &SaveOptions::new()).unwrap_err().to_string());
    assert_plain(session.read("fc1/weight").unwrap_err().to_string());
    // As the name of what was restored.
    let options = RestoreOptions::new().rename(HOSTILE, "fc1/weight");
    checkpoint.plan(&session, &options).restore(&mut session).unwrap();
    assert_plain(session.variables().to_string());
    assert_plain(session.initialize_all(1, Overwrite::Refuse).unwrap_err().to_string());
    // As that of a variable that the file declares.
    let declared = checkpoint.variables().unwrap();
    let mut session = common::session(&declared);
    assert_plain(session.variables().to_string());
    assert_plain(save(&session, &again, &SaveOptions::new()).unwrap_err().to_string());
    assert_plain(session.read(HOSTILE).unwrap_err().to_string());
    session.initialize_missing(1).unwrap();
    session.assign(HOSTILE, &session.read(HOSTILE).unwrap()).unwrap();
    assert_plain(session.initialize_all(1, Overwrite::Refuse).unwrap_err().to_string());
}

#[cfg(unix)]
#[test]
fn a_save_over_an_open_checkpoint_does_not_disturb_its_reader() {
    let (mut session, directory) = mixed(&[variable("a", [2]), variable("old", [2])]);
    let plan = Checkpoint::open(directory.path()).unwrap().plan(&session, &RestoreOptions::new());
    session.initialize_missing(1).unwrap();
    Saver::new(directory.path()).save(&session, 3, &SaveOptions::new()).unwrap();
    plan.restore(&mut session).unwrap();
    assert_eq!(session.read("a").unwrap().as_f32().unwrap(), [5.0, 6.0]);
    let now = fs::read(directory.path().join("step-3.safetensors")).unwrap();
    assert!(now.ends_with(&[0; 8]), "the new file holds the zeros that were saved");
}

#[test]
fn a_session_without_variables_is_told_so_and_not_what_could_be_allowed() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a.safetensors");
    let mut saved = session(&[variable("fc1/bias", [33])]);
    saved.initialize_missing(7).unwrap();
    save(&saved, &file, &SaveOptions::new()).unwrap();
    let checkpoint = Checkpoint::open(&file).unwrap();
    let mut empty = Session::new(saved.gpu());
    let mut restore = |options| checkpoint.plan(&empty, &options).restore(&mut empty);
    let error = restore(RestoreOptions::new()).unwrap_err();
    assert!(matches!(error, CheckpointError::NoVariables { .. }), "{error}");
    assert!(error.to_string().contains("Compile the plans first"), "{error}");
    // A program that restores whatever its plans read may have one that reads nothing.
    assert_eq!(restore(RestoreOptions::new().allow_unexpected()).unwrap().restored().count(), 0);
}
