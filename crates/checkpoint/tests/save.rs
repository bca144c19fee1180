//! Saving from a device: what other readers find, what is refused, what is kept.

mod common;

use common::{bytes, f32s, glorot, of_dtype, session, variable};
use half::{bf16, f16};
use safetensors::SafeTensors;
use std::fs;
use std::time::{Duration, UNIX_EPOCH};
use warmstart_checkpoint::{
    Checkpoint, CheckpointError, ConvertOptions, RestoreOptions, SaveOptions, Saver, list, save,
};
use warmstart_graph::{DType, GraphDef, Shape, TensorData};

#[test]
fn the_safetensors_crate_reads_every_bit() {
    let mut session = session(&[
        of_dtype("half", DType::F16, [3]),
        of_dtype("short", DType::Bf16, [3]),
        variable("weights/b", [2, 2]),
        of_dtype("labels", DType::I32, [2]),
        variable("weights/a", Shape::scalar()),
        variable("empty", [0, 4]),
        of_dtype("count", DType::U32, [1]),
        glorot("large", [1031, 1033]),
    ]);
    let odd = [f32::from_bits(0x7fc0_1234), -0.0, f32::NEG_INFINITY, 1e-42];
    let values = [
        ("half", TensorData::new([3], vec![f16::NAN, f16::MIN, f16::from_f32(0.1)]).unwrap()),
        ("short", TensorData::new([3], vec![bf16::NAN, bf16::MIN, bf16::from_f32(0.1)]).unwrap()),
        ("weights/b", TensorData::new([2, 2], odd).unwrap()),
        ("labels", TensorData::new([2], vec![i32::MIN, -1]).unwrap()),
        ("weights/a", TensorData::from(2.5f32)),
        ("count", TensorData::new([1], vec![u32::MAX]).unwrap()),
    ];
    for (name, value) in &values {
        session.assign(name, value).unwrap();
    }
    session.initialize_missing(7).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("model.safetensors");
    let options = SaveOptions::new()
        .step(500)
        .graph(&GraphDef::default())
        .optimizer(r#"{"adam":{"rate":0.1}}"#)
        .extra("note", "a \"quoted\"\nline é");
    save(&session, &file, &options).unwrap();

    let written = fs::read(&file).unwrap();
    let (header, metadata) = SafeTensors::read_metadata(&written).unwrap();
    assert_eq!(header % 8, 0);
    let metadata = metadata.metadata().clone().unwrap();
    assert_eq!(metadata["warmstart.step"], "500");
    assert_eq!(metadata["warmstart.seed"], "7");
    assert_eq!(metadata["note"], "a \"quoted\"\nline é");
    let theirs = SafeTensors::deserialize(&written).unwrap();
    assert_eq!(theirs.len(), 8);
    assert_eq!(theirs.tensor("short").unwrap().dtype(), safetensors::Dtype::BF16);
    for (name, view) in theirs.tensors() {
        assert_eq!(view.data(), bytes(&session, &name), "{name}");
        let info = session.variable(&name).unwrap();
        assert_eq!(view.shape(), &info.shape()[..], "{name}");
        let offset = view.data().as_ptr() as usize - written.as_ptr() as usize;
        assert_eq!(offset % info.dtype().size(), 0, "{name} is not aligned");
    }
    for (name, value) in &values {
        assert_eq!(theirs.tensor(name).unwrap().data(), value.to_le_bytes(), "{name}");
    }

    // The crate's own writer makes the same data of it, in the same order.
    let views: Vec<_> = theirs.tensors();
    let own = safetensors::serialize(views, None).unwrap();
    let (own_header, _) = SafeTensors::read_metadata(&own).unwrap();
    assert!(own[8 + own_header..] == written[8 + header..]);

    let checkpoint = Checkpoint::open(&file).unwrap();
    let metadata = checkpoint.metadata();
    assert_eq!((metadata.step(), metadata.seed()), (Some(500), Some(7)));
    let graph = serde_json::to_string(&GraphDef::default()).unwrap();
    assert_eq!(metadata.graph(), Some(graph.as_str()));
    assert_eq!(metadata.optimizer(), Some(r#"{"adam":{"rate":0.1}}"#));
    assert_eq!(metadata.extra().collect::<Vec<_>>(), [("note", "a \"quoted\"\nline é")]);
    let variables = metadata.variables().unwrap().unwrap();
    let declared: Vec<_> =
        session.variables().iter().map(|info| (*info.variable).clone()).collect();
    assert_eq!(variables, declared);
}

#[test]
fn a_variable_of_bf16_takes_bf16_as_it_is_and_f32_by_a_cast() {
    let directory = tempfile::tempdir().unwrap();
    let values = [0.1f32, -1e38, 3.0, 1e-40, f32::NEG_INFINITY];
    let rounded = values.map(bf16::from_f32);
    let mut full = session(&[variable("w", [5])]);
    full.assign("w", &f32s(&values)).unwrap();
    let mut short = session(&[of_dtype("w", DType::Bf16, [5])]);
    short.assign("w", &TensorData::new([5], rounded.to_vec()).unwrap()).unwrap();
    let [full_file, short_file] =
        ["full", "short"].map(|name| directory.path().join(format!("{name}.safetensors")));
    save(&full, &full_file, &SaveOptions::new()).unwrap();
    save(&short, &short_file, &SaveOptions::new()).unwrap();
    let none = RestoreOptions::new;
    for (file, options, closes) in [
        (&short_file, none(), true),
        (&full_file, none(), false),
        (&full_file, none().cast("w"), true),
    ] {
        let mut session = session(&[of_dtype("w", DType::Bf16, [5])]);
        let plan = Checkpoint::open(file).unwrap().plan(&session, &options);
        assert_eq!(plan.closes(), closes, "{plan}");
        if closes {
            plan.restore(&mut session).unwrap();
            let expected: Vec<u8> = rounded.iter().flat_map(|x| x.to_le_bytes()).collect();
            assert_eq!(bytes(&session, "w"), expected);
        }
    }
    // And back, which loses nothing.
    let mut full = session(&[variable("w", [5])]);
    let checkpoint = Checkpoint::open(&short_file).unwrap();
    checkpoint.plan(&full, &none().cast("w")).restore(&mut full).unwrap();
    let wide: Vec<f32> = rounded.iter().map(|x| x.to_f32()).collect();
    assert_eq!(full.read("w").unwrap().as_f32(), Some(&wide[..]));
}

#[test]
fn the_same_session_saves_the_same_bytes() {
    let mut session = session(&[glorot("a", [5, 7]), glorot("b", [3])]);
    session.initialize_missing(3).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let (one, two) =
        (directory.path().join("1.safetensors"), directory.path().join("2.safetensors"));
    let options = SaveOptions::new().step(1).extra("x", "1").extra("y", "2");
    save(&session, &one, &options).unwrap();
    save(&session, &two, &options).unwrap();
    assert!(fs::read(one).unwrap() == fs::read(two).unwrap());
}

#[test]
fn variables_without_a_value_are_refused_before_the_disk_is_touched() {
    let mut session = session(&[variable("a", [1]), variable("b", [1]), variable("c", [1])]);
    session.assign("b", &f32s(&[1.0])).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let run = directory.path().join("run");
    let error = Saver::new(&run).save(&session, 5, &SaveOptions::new()).unwrap_err();
    let message = error.to_string();
    for word in
        ["step-5.safetensors", "2 variables have no value", "`a`", "`c`", "never given a value"]
    {
        assert!(message.contains(word), "{message}");
    }
    assert!(message.contains("initialize_missing(seed)"), "{message}");
    assert!(!message.contains("`b`"), "{message}");
    let CheckpointError::Uninitialized { variables, .. } = error else { panic!("{message}") };
    assert_eq!(variables.len(), 2);
    assert!(!run.exists());
}

#[test]
fn refusals_name_the_file_and_touch_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let empty = session(&[]);
    let error = save(&empty, path("a.safetensors"), &SaveOptions::new()).unwrap_err();
    assert!(matches!(error, CheckpointError::NothingToSave { .. }), "{error}");

    let mut session = session(&[variable("a", [1])]);
    session.initialize_missing(1).unwrap();
    fs::write(path("notes.txt"), "precious").unwrap();
    let error = save(&session, path("notes.txt"), &SaveOptions::new()).unwrap_err();
    let message = error.to_string();
    assert!(message.contains("notes.txt") && message.contains("not a checkpoint"), "{message}");
    assert_eq!(fs::read(path("notes.txt")).unwrap(), b"precious");

    let error = save(&session, directory.path(), &SaveOptions::new()).unwrap_err();
    assert!(matches!(error, CheckpointError::IsADirectory { .. }), "{error}");

    let message = save(&session, path("gone/a"), &SaveOptions::new()).unwrap_err().to_string();
    assert!(
        message.contains("cannot create") && message.contains("Make this directory"),
        "{message}"
    );

    let saver = Saver::new(path("notes.txt/run"));
    let message = saver.save(&session, 1, &SaveOptions::new()).unwrap_err().to_string();
    assert!(message.contains("notes.txt") && message.contains("another directory"), "{message}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);

    // A checkpoint is replaced whatever it is called, and a damaged one by its name.
    for (name, content) in [("plain", None), ("damaged.safetensors", Some("half"))] {
        match content {
            Some(content) => fs::write(path(name), content).unwrap(),
            None => save(&session, path(name), &SaveOptions::new()).unwrap(),
        }
        save(&session, path(name), &SaveOptions::new().step(2)).unwrap();
        assert_eq!(Checkpoint::open(path(name)).unwrap().step(), Some(2));
    }
}

#[test]
fn a_saver_keeps_the_newest_and_what_was_restored_from() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("runs/digits");
    let steps = || list(&directory).unwrap().iter().map(|file| file.step).collect::<Vec<_>>();
    let mut first = session(&[variable("a", [1])]);
    first.initialize_missing(1).unwrap();
    let saver = Saver::new(&directory).keep(2);
    for step in [10, 20, 30] {
        let file = saver.save(&first, step, &SaveOptions::new()).unwrap();
        assert_eq!(Checkpoint::open(&file).unwrap().step(), Some(step));
    }
    assert_eq!(steps(), [20, 30]);

    // Taken up at the older one, the run passes 30 again and goes on.
    let mut second = session(&[variable("a", [1])]);
    let plan = Checkpoint::open(directory.join("step-20.safetensors"))
        .unwrap()
        .plan(&second, &RestoreOptions::new());
    plan.restore(&mut second).unwrap();
    fs::write(directory.join(".step-30.safetensors.1-1.partial"), "of a killed writer").unwrap();
    for step in [30, 40, 50] {
        saver.save(&second, step, &SaveOptions::new().extra("run", "2")).unwrap();
    }
    assert_eq!(steps(), [20, 40, 50]);
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 3);
    assert_eq!(saver.latest().unwrap().unwrap().step, 50);

    // The file just written stays even where later steps exist.
    second.assign("a", &f32s(&[1.0])).unwrap();
    saver.save(&second, 5, &SaveOptions::new().extra("run", "3")).unwrap();
    assert_eq!(steps(), [5, 40, 50]);
}

#[test]
fn a_part_of_the_variables_is_saved_by_their_names() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("encoder.safetensors");
    let names = ["encoder/fc/weight", "encoder/fc/bias", "head/weight", "scale"];
    let mut session = session(&names.map(|name| variable(name, [2])));
    let saved = |session: &_, globs: &[&str]| {
        let options = globs.iter().fold(SaveOptions::new(), |options, glob| options.only(*glob));
        save(session, &file, &options)?;
        let saved = Checkpoint::open(&file)?;
        Ok::<_, CheckpointError>(
            saved.tensors().iter().map(|t| t.name.to_string()).collect::<Vec<_>>(),
        )
    };
    for name in &names[..2] {
        session.assign(name, &f32s(&[1.0, 2.0])).unwrap();
    }
    // What is not saved needs no value.
    assert_eq!(saved(&session, &["encoder/**"]).unwrap(), ["encoder/fc/bias", "encoder/fc/weight"]);
    let error = saved(&session, &["encoder/**", "scale"]).unwrap_err();
    let CheckpointError::Uninitialized { variables, .. } = &error else { panic!("{error}") };
    assert_eq!(variables.len(), 1, "{error}");
    session.initialize_missing(7).unwrap();
    assert_eq!(saved(&session, &["head/*", "scale"]).unwrap(), ["head/weight", "scale"]);
    assert_eq!(saved(&session, &[]).unwrap().len(), 4);

    let before = fs::read(&file).unwrap();
    // A typo beside others would leave a part out.
    for globs in [&["decoder/**"][..], &["encoder/**", "decoder/**", "scale"]] {
        let error = saved(&session, globs).unwrap_err().to_string();
        assert!(error.contains("matches `only(\"decoder/**\")`. Nothing was written"), "{error}");
    }
    let error = saved(&session, &["encoder/[", "scale"]).unwrap_err();
    assert!(matches!(error, CheckpointError::SaveGlob { .. }), "{error}");
    assert_eq!(fs::read(&file).unwrap(), before);
}

/// What is written can be read again, or is not written.
#[test]
fn what_no_reader_takes_is_not_saved() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a.safetensors");
    let mut session = session(&[variable("a", [1])]);
    session.initialize_missing(7).unwrap();
    // Nanoseconds for seconds.
    let options =
        SaveOptions::new().time(UNIX_EPOCH + Duration::from_secs(1_700_000_000_000_000_000));
    save(&session, &file, &options).unwrap();
    assert_eq!(Checkpoint::open(&file).unwrap().metadata().time(), None);
    let before = fs::read(&file).unwrap();
    let most = u32::MAX as usize;
    session.declare(&[variable("vast", [most, most, 2, 0])]).unwrap();
    session.initialize_missing(7).unwrap();
    let error = save(&session, &file, &SaveOptions::new()).unwrap_err();
    assert!(matches!(error, CheckpointError::Header { .. }), "{error}");
    assert!(error.to_string().contains("the elements of variable `vast` [4294967295, "), "{error}");
    assert_eq!(fs::read(&file).unwrap(), before);
}

#[test]
fn names_of_other_formats_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let mut session = session(&[variable("a", [1])]);
    session.initialize_missing(7).unwrap();
    for name in ["model.pt", "model.CKPT", "weights.npz", "pytorch_model.bin"] {
        let error = save(&session, directory.path().join(name), &SaveOptions::new()).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, CheckpointError::OtherFormat { .. }), "{text}");
        assert!(text.contains("Nothing was written: call it") && text.contains(".safetensors"));
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    let file = directory.path().join("model");
    save(&session, &file, &SaveOptions::new()).unwrap();
    let other = directory.path().join("model.pt");
    let error =
        Checkpoint::open(file).unwrap().convert(&other, &ConvertOptions::new()).unwrap_err();
    assert!(matches!(error, CheckpointError::OtherFormat { .. }) && !other.exists(), "{error}");
}
