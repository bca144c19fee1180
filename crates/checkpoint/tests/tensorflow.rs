//! TensorFlow's checkpoints, as TensorFlow and Keras wrote them.

mod common;

use common::{bytes, check_expected, fixture, of_dtype, session, state, value, variable};
use flate2::read::GzDecoder;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use warmstart_checkpoint::{
    BundleError, Checkpoint, CheckpointError, FileDType, FileKind, Format, FormatError,
    RestoreOptions,
};
use warmstart_graph::{DType, Initializer, Role, Variable};

fn tensorflow(name: &str) -> PathBuf {
    fixture("tensorflow").join(name)
}

fn names(checkpoint: &Checkpoint) -> Vec<&str> {
    let mut names: Vec<&str> = checkpoint.tensors().iter().map(|t| t.name.as_str()).collect();
    names.sort();
    names
}

#[test]
fn every_tensor_has_the_bytes_that_were_saved() {
    for (folder, prefix, tensors, compared) in [
        ("tf1_linear", "model.ckpt", 2, 2),
        ("tf1_adam", "model.ckpt-3", 9, 9),
        ("tf1_sharded", "model.ckpt", 3, 3),
        ("tf1_partitioned", "model.ckpt", 1, 1),
        // Two of them are strings.
        ("tf1_dtypes", "model.ckpt", 15, 13),
        ("tf2_keras2", "ckpt-1", 15, 15),
        ("tf2_keras3", "ckpt-1", 15, 15),
    ] {
        let at = tensorflow(folder);
        let ways = [
            at.clone(),
            at.join("checkpoint"),
            at.join(prefix),
            at.join(format!("{prefix}.index")),
            fs::read_dir(&at).unwrap().map(|e| e.unwrap().path()).find(|p| is_data(p)).unwrap(),
        ];
        for way in ways {
            let checkpoint = Checkpoint::open(&way).unwrap();
            assert_eq!(checkpoint.file(), at.join(format!("{prefix}.index")), "{way:?}");
            assert_eq!(checkpoint.tensors().len(), tensors, "{way:?}");
            assert_eq!(check_expected(&checkpoint, &at.join("expected.json")), compared);
            assert!(checkpoint.damaged().is_empty());
        }
        let verified = Checkpoint::open(&at).unwrap().verify();
        assert!(verified.is_whole(), "{:?}", verified.damaged);
        assert_eq!(verified.checksums, folder != "tf1_dtypes");
    }
}

fn is_data(path: &Path) -> bool {
    path.to_str().unwrap().contains(".data-")
}

#[test]
fn an_index_of_several_blocks() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["many.index", "many.data-00000-of-00001"] {
        let packed = File::open(tensorflow("tf_multiblock").join(format!("{name}.gz"))).unwrap();
        let mut whole = File::create(directory.path().join(name)).unwrap();
        io::copy(&mut GzDecoder::new(packed), &mut whole).unwrap();
    }
    let checkpoint = Checkpoint::open(directory.path().join("many")).unwrap();
    assert_eq!(checkpoint.tensors().len(), 9000);
    for i in [0, 1, 4999, 8999] {
        let name = format!("layer_{i:05}/a_rather_long_variable_name_{}", i * 7919 % 9000);
        let tensor = checkpoint.tensor(&name).unwrap();
        assert_eq!(value(&checkpoint, tensor), (i as f32).to_le_bytes(), "{name}");
    }
    assert!(checkpoint.verify().is_whole());
}

#[test]
fn the_step_is_that_of_the_name() {
    let step = |name: &str| Checkpoint::open(tensorflow(name)).unwrap().step();
    assert_eq!(step("tf1_steps/model.ckpt-40"), Some(40));
    assert_eq!(step("tf1_steps/model.ckpt-30"), Some(30));
    assert_eq!(step("tf1_linear"), None);
    // The number of the save, which is no step.
    assert_eq!(step("tf2_keras2"), None);
    assert_eq!(Checkpoint::open(tensorflow("tf1_linear")).unwrap().format(), Format::TensorFlow);
}

/// A model's own number is no step, but where the counter says so.
#[test]
fn a_number_that_belongs_to_a_name_is_no_step() {
    let named = |folder: &str, of: &str, name: &str| {
        let directory = copied(folder);
        for end in [".index", ".data-00000-of-00001"] {
            let (from, to) = (format!("{of}{end}"), format!("{name}{end}"));
            fs::rename(directory.path().join(from), directory.path().join(to)).unwrap();
        }
        Checkpoint::open(directory.path().join(format!("{name}.index"))).unwrap().step()
    };
    assert_eq!(named("tf1_linear", "model.ckpt", "resnet-50"), None);
    assert_eq!(named("tf1_linear", "model.ckpt", "resnet.ckpt-50"), Some(50));
    assert_eq!(named("tf1_linear", "model.ckpt", "ckpt-50"), Some(50));
}

#[test]
fn tensors_of_objects_have_the_names_of_their_variables() {
    let checkpoint = Checkpoint::open(tensorflow("tf2_keras2")).unwrap();
    let found = names(&checkpoint);
    for name in ["fc1/kernel", "fc2/bias", "Adam/m/fc1/kernel", "iteration", "save_counter"] {
        assert!(found.contains(&name), "{found:?}");
    }
    let checkpoint = Checkpoint::open(tensorflow("tf2_keras3")).unwrap();
    let found = names(&checkpoint);
    for name in ["sequential/fc1/kernel", "adam/sequential_fc1_bias_velocity"] {
        assert!(found.contains(&name), "{found:?}");
    }
    // The keys are still found.
    let key = "optimizer/_trainable_variables/0/.ATTRIBUTES/VARIABLE_VALUE";
    assert_eq!(checkpoint.tensor(key), checkpoint.tensor("sequential/fc1/kernel"));
}

#[test]
fn a_model_restores_from_every_kind() {
    for (folder, options, variables) in [
        (
            "tf1_linear",
            RestoreOptions::new(),
            vec![variable("model_scope/weight", [10, 10]), variable("model_scope/bias", [10])],
        ),
        ("tf1_partitioned", RestoreOptions::new(), vec![variable("emb", [7, 4])]),
        (
            "tf1_sharded",
            RestoreOptions::new(),
            vec![variable("a/w", [10, 10]), variable("b/w", [10, 10]), variable("b/bias", [10])],
        ),
        (
            "tf2_keras2",
            RestoreOptions::new().only("fc1/*"),
            vec![variable("fc1/kernel", [4, 3]), variable("fc1/bias", [3])],
        ),
    ] {
        let mut session = session(&variables);
        let checkpoint = Checkpoint::open(tensorflow(folder)).unwrap();
        let options = if folder == "tf2_keras2" { options.allow_unexpected() } else { options };
        let plan = checkpoint.plan(&session, &options);
        plan.restore(&mut session).unwrap_or_else(|error| panic!("{folder}: {error}"));
        for variable in &variables {
            let tensor = checkpoint.tensor(&variable.name).unwrap();
            assert_eq!(bytes(&session, &variable.name), value(&checkpoint, tensor));
        }
    }
}

#[test]
fn all_numbers_can_be_cast_and_strings_can_not() {
    let numbers = ["bf16", "bool", "f16", "f32", "f64", "i16", "i32", "i64", "i8", "u8"];
    let checkpoint = Checkpoint::open(tensorflow("tf1_dtypes")).unwrap();
    let mut variables: Vec<_> = numbers
        .iter()
        .map(|name| variable(name, checkpoint.tensor(name).unwrap().shape.clone()))
        .collect();
    variables.extend([variable("scalar_f32", [0; 0]), variable("empty_f32", [0, 4])]);
    let mut restored = session(&variables);
    let options = RestoreOptions::new().cast("*").allow_unexpected();
    checkpoint.plan(&restored, &options).restore(&mut restored).unwrap();
    let floats = |name| -> Vec<f32> {
        let value = bytes(&restored, name);
        value.chunks(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect()
    };
    for name in ["bf16", "f16", "f32", "f64"] {
        assert_eq!(floats(name), [0.0, 1.0, -2.0, 3.5, 1000.0, -0.0], "{name}");
    }
    for name in ["i8", "i32"] {
        assert_eq!(floats(name), [0.0, 1.0, -2.0, 127.0, -128.0], "{name}");
    }
    assert_eq!(floats("i64")[1], 1_099_511_627_776.0);
    assert_eq!((floats("u8"), floats("bool")), (vec![0.0, 1.0, 255.0], vec![1.0, 0.0, 1.0]));
    assert_eq!((floats("scalar_f32"), floats("empty_f32")), (vec![2.5], vec![]));

    let tensor = checkpoint.tensor("str_vec").unwrap();
    assert_eq!((tensor.dtype, &tensor.shape[..]), (FileDType::String, &[3][..]));
    let plan = checkpoint.plan_for(&[of_dtype("str_vec", DType::F32, [3])], &options);
    assert!(!plan.closes() && plan.to_string().contains("string"), "{plan}");
}

/// A copy of a fixture to be damaged.
fn copied(folder: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(tensorflow(folder)).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), directory.path().join(entry.file_name())).unwrap();
    }
    directory
}

#[test]
fn what_verifies_decides_and_a_bad_pointer_is_named() {
    let directory = copied("tf1_steps");
    let (state, newest) = (directory.path().join("checkpoint"), "model.ckpt-40.index");
    let whole = fs::read_to_string(&state).unwrap();
    let opened = || Checkpoint::open(directory.path()).unwrap();
    assert!(opened().file().ends_with(newest));
    // It may mean an older one.
    fs::write(&state, whole.replacen("-40", "-30", 1)).unwrap();
    assert!(opened().file().ends_with("model.ckpt-30.index"));
    // The whole path of another machine.
    fs::write(&state, "model_checkpoint_path: \"/data/run/model.ckpt-30\"").unwrap();
    assert!(opened().file().ends_with("model.ckpt-30.index") && opened().damaged().is_empty());
    for (text, words) in [
        (&b"\xff\0 garbage"[..], "does not say `model_checkpoint_path"),
        (b"", "does not say `model_checkpoint_path"),
        (b"model_checkpoint_path: \"model.ckpt-999\"", "`model.ckpt-999`, which is not in its"),
        (b"model_checkpoint_path: \"a\x1b[2K\"", r"`a\u{1b}[2K`, which is not in its"),
        (b"model_checkpoint_path: \"../../elsewhere\"", "`../../elsewhere`, which is not in its"),
    ] {
        fs::write(&state, text).unwrap();
        for path in [directory.path(), &state] {
            let checkpoint = Checkpoint::open(path).unwrap();
            assert!(checkpoint.file().ends_with(newest));
            let [damaged] = checkpoint.damaged() else { panic!("{:?}", checkpoint.damaged()) };
            assert!(damaged.error.to_string().contains(words), "{}", damaged.error);
            let plan = checkpoint.plan_for(&[], &RestoreOptions::new()).to_string();
            assert!(plan.contains(words) && plan.contains("so the newest was opened"), "{plan}");
        }
    }
    fs::remove_file(&state).unwrap();
    assert!(opened().file().ends_with(newest) && opened().damaged().is_empty());
    // The newest is damaged: the one before it, and it is said.
    fs::write(directory.path().join(newest), "").unwrap();
    fs::write(&state, whole).unwrap();
    assert!(opened().file().ends_with("model.ckpt-30.index"));
    assert!(opened().damaged()[0].path.ends_with(newest));
    fs::remove_file(directory.path().join("model.ckpt-30.index")).unwrap();
    let message = Checkpoint::open(directory.path()).unwrap_err().to_string();
    let words = ["all 2 checkpoints", "has at least 48 bytes", "`<prefix>.index` is missing"];
    assert!(words.iter().all(|word| message.contains(word)), "{message}");
}

fn refused(path: &Path) -> (FormatError, String) {
    let error = Checkpoint::open(path).unwrap_err();
    let message = error.to_string();
    match error {
        CheckpointError::Malformed { source, .. } => (source, message),
        _ => panic!("{message}"),
    }
}

#[test]
fn damage_is_told_with_file_and_tensor() {
    let directory = copied("tf1_linear");
    let prefix = directory.path().join("model.ckpt");
    let (index, data) =
        (prefix.with_extension("ckpt.index"), prefix.with_extension("ckpt.data-00000-of-00001"));
    let (whole_index, whole_data) = (fs::read(&index).unwrap(), fs::read(&data).unwrap());

    fs::write(&data, &whole_data[..200]).unwrap();
    let (source, message) = refused(&prefix);
    let expected = BundleError::CutShort {
        tensor: "model_scope/weight".into(),
        offset: 40,
        expected: 400,
        found: 160,
    };
    assert_eq!(source, FormatError::TensorFlow(expected));
    assert!(message.contains("model.ckpt.data-00000-of-00001"), "{message}");
    fs::remove_file(&data).unwrap();
    let (_, message) = refused(&prefix);
    let words = [".data-00000-of-00001`", "does not exist", "`model_scope/weight`"];
    assert!(words.iter().all(|word| message.contains(word)), "{message}");
    // Also where the directory is opened.
    let message = Checkpoint::open(prefix.parent().unwrap()).unwrap_err().to_string();
    let words =
        "`model.ckpt.index`: `model.ckpt.data-00000-of-00001`: this data file does not exist";
    assert!(message.contains(words), "{message}");

    // A bit of the weights: noticed by verify, and by a restore, which changes nothing.
    let mut flipped = whole_data.clone();
    flipped[100] ^= 4;
    fs::write(&data, flipped).unwrap();
    let checkpoint = Checkpoint::open(&prefix).unwrap();
    assert_eq!(checkpoint.verify().damaged.len(), 1);
    let mut session =
        session(&[variable("model_scope/weight", [10, 10]), variable("model_scope/bias", [10])]);
    let before = state(&session);
    let plan = checkpoint.plan(&session, &RestoreOptions::new());
    let message = plan.restore(&mut session).unwrap_err().to_string();
    assert!(message.contains("`model_scope/weight` at file offset 40 has checksum"), "{message}");
    assert!(message.contains(".data-00000-of-00001"), "{message}");
    assert_eq!(state(&session), before);

    fs::write(&data, &whole_data).unwrap();
    for (bytes, words) in
        [(&b""[..], "at least 48 bytes"), (&whole_index[..whole_index.len() - 1], "magic number")]
    {
        fs::write(&index, bytes).unwrap();
        let (_, message) = refused(&index);
        assert!(message.contains(words) && message.contains("model.ckpt.index"), "{message}");
    }
    let mut flipped = whole_index.clone();
    flipped[30] ^= 1;
    fs::write(&index, flipped).unwrap();
    let (source, _) = refused(&prefix);
    assert!(matches!(
        source,
        FormatError::TensorFlow(BundleError::BlockChecksum { offset: 0, .. })
    ));
    fs::remove_file(&index).unwrap();
    for path in [&prefix, &data] {
        assert_eq!(refused(path).0, FormatError::TensorFlow(BundleError::NoIndex));
    }
}

#[test]
fn a_damaged_slice_and_a_missing_shard_are_named() {
    let directory = copied("tf1_partitioned");
    let data = directory.path().join("model.ckpt.data-00000-of-00001");
    let mut bytes = fs::read(&data).unwrap();
    // In the last of three slices.
    bytes[111] ^= 1;
    fs::write(&data, bytes).unwrap();
    let verified = Checkpoint::open(directory.path()).unwrap().verify();
    let [CheckpointError::Checksum { tensor, offset, .. }] = &verified.damaged[..] else {
        panic!("{verified:?}")
    };
    assert_eq!((tensor.as_str(), *offset), ("emb", 80));

    let directory = copied("tf1_sharded");
    fs::remove_file(directory.path().join("model.ckpt.data-00001-of-00002")).unwrap();
    let (_, message) = refused(&directory.path().join("model.ckpt"));
    let words = ["data-00001-of-00002", "does not exist", "tensors `b/bias`, `b/w`"];
    assert!(words.iter().all(|word| message.contains(word)), "{message}");
}

#[test]
fn files_beside_a_bundle_are_named() {
    let (source, message) = refused(&tensorflow("tf1_v1format").join("old.ckpt"));
    assert_eq!(source, FormatError::Recognised { kind: FileKind::TensorFlowV1 });
    assert!(message.contains("before 2016"), "{message}");
    // Its folder, and the file that names it, say the same.
    for path in [tensorflow("tf1_v1format"), tensorflow("tf1_v1format").join("checkpoint")] {
        let (source, message) = refused(&path);
        assert_eq!(source, FormatError::Recognised { kind: FileKind::TensorFlowV1 });
        assert!(message.contains("old.ckpt") && message.contains("in Python"), "{message}");
    }
    let (source, message) = refused(&tensorflow("tf1_linear").join("model.ckpt.meta"));
    assert_eq!(source, FormatError::Recognised { kind: FileKind::TensorFlowMeta });
    assert!(message.contains("holds no weights"), "{message}");
    // Without the name that says which data is its own.
    let directory = copied("tf1_linear");
    let renamed = directory.path().join("renamed");
    fs::rename(directory.path().join("model.ckpt.index"), &renamed).unwrap();
    assert_eq!(refused(&renamed).0, FormatError::TensorFlow(BundleError::IndexName));
}

/// What a plan says of optimizers, which no file of TensorFlow or PyTorch says but by names.
#[test]
fn slots_of_other_programs_are_told_as_such() {
    let model = |optimizer: &str, slots: &[&str]| {
        let declared = |name: &str, shape: &[usize], role| {
            Variable::new(name, shape, DType::F32, Initializer::Zeros, role)
        };
        let mut all = Vec::new();
        for (owner, shape) in [("dense/kernel", &[4, 3][..]), ("dense/bias", &[3])] {
            all.push(declared(owner, shape, Role::Trainable));
            for slot in slots {
                let role = Role::Slot {
                    variable: Some(owner.to_owned()),
                    optimizer: optimizer.to_owned(),
                    slot: (*slot).to_owned(),
                };
                all.push(declared(&format!("{owner}/{optimizer}/{slot}"), shape, role));
            }
        }
        all
    };
    let checkpoint = Checkpoint::open(tensorflow("tf1_adam")).unwrap();
    let report = |variables: &[Variable], options| {
        let report = checkpoint.plan_for(variables, &options).to_string();
        report.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let sgd = report(&model("sgd", &["momentum"]), RestoreOptions::new());
    for part in [
        "sgd's slot momentum for 2 variables",
        "Adam's own slots beta1_power, beta2_power",
        "Adam's slots m, v for 2 variables",
        "the checkpoint was trained with Adam, and this graph trains with sgd",
    ] {
        assert!(sgd.contains(part), "{part:?} is not in {sgd}");
    }
    let adam = report(&model("adam", &["m", "v"]), RestoreOptions::new());
    let part = "has slots of Adam under other names than this graph";
    assert!(adam.contains(part), "{adam}");
    // With the rules that it suggests nothing is missing.
    let rules = checkpoint.plan_for(&model("adam", &["m", "v"]), &RestoreOptions::new());
    let [one] = rules.suggestions() else { panic!("{rules}") };
    let options = one.rules.iter().cloned().fold(RestoreOptions::new(), RestoreOptions::rule);
    let plan = checkpoint.plan_for(&model("adam", &["m", "v"]), &options.allow_unexpected());
    assert!(plan.closes() && plan.restored().count() == 6, "{plan}");
}
