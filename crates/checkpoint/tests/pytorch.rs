//! PyTorch's checkpoints: those that PyTorch wrote, and the forms that they may have.

#[path = "common/archive.rs"]
mod archive;
mod common;

use archive::pickle::{call, dict, global, int, list, ordered_dict, storage, tensor, tensor_v3};
use archive::{Zip, torch};
use common::{bytes, check_expected, check_tensors, fixture, session, state, value, variable};
use std::fs::{self, OpenOptions};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};
use warmstart_checkpoint::{
    ArchiveError, Checkpoint, CheckpointError, ConvertOptions, FileDType, FileKind, Format,
    FormatError, PyTorchError, RestoreOptions,
};
use warmstart_graph::{DType, Variable};

fn pytorch(name: &str) -> PathBuf {
    fixture("pytorch").join(name)
}

/// A file of these bytes that is gone with the test.
fn written(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("model.pt");
    fs::write(&file, bytes).unwrap();
    (directory, file)
}

/// The checkpoint of such a file.
fn opened(pickle: &[u8], storages: &[(&str, &[u8])]) -> Checkpoint {
    let (_directory, file) = written(&torch(pickle, storages));
    Checkpoint::open(file).unwrap()
}

fn f32s(numbers: impl IntoIterator<Item = i32>) -> Vec<u8> {
    numbers.into_iter().flat_map(|number| (number as f32).to_le_bytes()).collect()
}

fn names(checkpoint: &Checkpoint) -> Vec<&str> {
    let mut names: Vec<&str> = checkpoint.tensors().iter().map(|t| t.name.as_str()).collect();
    names.sort();
    names
}

#[test]
fn a_state_dict_has_the_bytes_that_were_saved() {
    let checkpoint = Checkpoint::open(pytorch("pt_mlp/mlp.pt")).unwrap();
    assert_eq!(checkpoint.format(), Format::PyTorch);
    assert_eq!(names(&checkpoint), ["fc1.bias", "fc1.weight", "fc2.bias", "fc2.weight"]);
    assert_eq!(check_expected(&checkpoint, &pytorch("pt_mlp/expected.json")), 4);
    let verified = checkpoint.verify();
    assert!(verified.is_whole() && verified.checksums, "{:?}", verified.damaged);
}

#[test]
fn a_folder_of_the_hub_opens_its_only_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pytorch_model.bin");
    fs::copy(pytorch("pt_mlp/mlp.pt"), &file).unwrap();
    let checkpoint = Checkpoint::open(directory.path()).unwrap();
    assert_eq!((checkpoint.file(), checkpoint.tensors().len()), (file.as_path(), 4));
}

#[test]
fn a_training_checkpoint_is_listed_under_dotted_names() {
    let checkpoint = Checkpoint::open(pytorch("pt_train/train.pt")).unwrap();
    let expected = fs::read_to_string(pytorch("pt_train/expected.json")).unwrap();
    let expected: serde_json::Value = serde_json::from_str(&expected).unwrap();
    let named = |of: &serde_json::Value, before: &str| -> Vec<_> {
        let of = of.as_object().unwrap().iter();
        of.map(|(name, about)| (format!("{before}{name}"), about.clone())).collect()
    };
    let mut all = named(&expected["model"], "model.");
    for (number, slots) in expected["optimizer_state"].as_object().unwrap() {
        all.extend(named(slots, &format!("optimizer.state.{number}.")));
    }
    assert_eq!(checkpoint.tensors().len(), all.len());
    assert_eq!(check_tensors(&checkpoint, all), 16);
    assert!(checkpoint.verify().is_whole());
}

/// The suggestion that a plan prints is what a user would do next.
#[test]
fn a_model_restores_by_the_rules_that_its_plan_suggests() {
    let variables = [
        variable("fc1/weight", [4, 3]),
        variable("fc1/bias", [3]),
        variable("fc2/weight", [3, 2]),
        variable("fc2/bias", [2]),
    ];
    let mut session = session(&variables);
    let checkpoint = Checkpoint::open(pytorch("pt_mlp/mlp.pt")).unwrap();
    let plan = checkpoint.plan(&session, &RestoreOptions::new());
    assert!(!plan.closes());
    let suggestion = plan.suggestions().first().unwrap_or_else(|| panic!("{plan}"));
    let text = plan.to_string();
    assert!(text.contains("separator('.', '/')") && text.contains(".transpose("), "{text}");
    let rules = suggestion.rules.iter().cloned();
    let options = rules.fold(RestoreOptions::new(), RestoreOptions::rule);
    let report = checkpoint.plan(&session, &options).restore(&mut session).unwrap();
    assert_eq!(report.restored().count(), 4);
    let expected = fs::read_to_string(pytorch("pt_mlp/expected.json")).unwrap();
    let expected: serde_json::Value = serde_json::from_str(&expected).unwrap();
    for Variable { name, shape, .. } in &variables {
        let of = &expected["tensors"][name.replace('/', ".")]["values"];
        let saved: Vec<f32> = serde_json::from_value(of.clone()).unwrap();
        let wanted: Vec<u8> = match shape[..] {
            // [out, in] there is [in, out] here.
            [m, n] => {
                (0..m * n).map(|i| saved[i % n * m + i / n]).flat_map(f32::to_le_bytes).collect()
            }
            _ => saved.into_iter().flat_map(f32::to_le_bytes).collect(),
        };
        assert_eq!(bytes(&session, name), wanted, "{name}");
    }
    let origin = session.variable("fc1/weight").unwrap().origin.to_string();
    assert!(origin.ends_with("mlp.pt: fc1.weight)"), "{origin}");
}

#[test]
fn views_of_one_storage_are_read_by_their_strides() {
    let shared = storage("torch.FloatStorage", "0", 24);
    let pickle = dict(&[
        ("plain", tensor(shared.clone(), 0, &[4, 6], &[6, 1])),
        ("transposed", tensor(shared.clone(), 0, &[6, 4], &[1, 6])),
        ("column", tensor(shared.clone(), 2, &[4], &[6])),
        ("corner", tensor(shared.clone(), 8, &[2, 2], &[6, 2])),
        ("permuted", tensor(shared.clone(), 0, &[2, 4, 3], &[3, 6, 1])),
        ("expanded", tensor(shared.clone(), 5, &[3, 2], &[0, 1])),
        ("one", tensor(shared.clone(), 23, &[], &[])),
        ("row", tensor(shared.clone(), 6, &[1, 6], &[99, 1])),
        ("empty", tensor(shared, 0, &[0, 3], &[3, 1])),
    ]);
    let storage = f32s(0..24);
    let file = torch(&pickle, &[("0", &storage)]);
    let (_directory, path) = written(&file);
    let checkpoint = Checkpoint::open(&path).unwrap();
    let wanted = [
        ("plain", f32s(0..24)),
        ("transposed", f32s((0..24).map(|i| i % 4 * 6 + i / 4))),
        ("column", f32s([2, 8, 14, 20])),
        ("corner", f32s([8, 10, 14, 16])),
        ("permuted", f32s((0..24).map(|i| i / 12 * 3 + i / 3 % 4 * 6 + i % 3))),
        ("expanded", f32s([5, 6, 5, 6, 5, 6])),
        ("one", f32s([23])),
        ("row", f32s(6..12)),
        ("empty", Vec::new()),
    ];
    let variables: Vec<Variable> = wanted
        .iter()
        .map(|(name, _)| variable(name, checkpoint.tensor(name).unwrap().shape.clone()))
        .collect();
    let mut restored = session(&variables);
    checkpoint.plan(&restored, &RestoreOptions::new()).restore(&mut restored).unwrap();
    for (name, wanted) in &wanted {
        assert_eq!(&value(&checkpoint, checkpoint.tensor(name).unwrap()), wanted, "{name}");
        assert_eq!(&bytes(&restored, name), wanted, "{name}");
    }
    assert!(checkpoint.verify().is_whole());
    let converted = path.with_file_name("converted.safetensors");
    checkpoint.convert(&converted, &ConvertOptions::new()).unwrap();
    let converted = Checkpoint::open(&converted).unwrap();
    for (name, wanted) in &wanted {
        assert_eq!(&value(&converted, converted.tensor(name).unwrap()), wanted, "{name}");
    }
    // One checksum is that of all: damage to the storage is damage to each, and to none if it is
    // elsewhere.
    let begin = file.windows(96).position(|bytes| bytes == storage).unwrap();
    let mut damaged = file.clone();
    damaged[begin + 40] ^= 1;
    // What was found before says nothing of what another process has written since.
    fs::write(&path, &damaged).unwrap();
    let plan = checkpoint.plan(&restored, &RestoreOptions::new());
    plan.restore(&mut restored).unwrap_err();
    fs::write(&path, &file).unwrap();
    assert!(checkpoint.verify().is_whole());
    // Nor is a sum of the bytes of now one of those that were read.
    let later = SystemTime::now() + Duration::from_secs(60);
    OpenOptions::new().write(true).open(&path).unwrap().set_modified(later).unwrap();
    let read = checkpoint.reader("column").unwrap().read(&mut [0; 99]);
    assert!(matches!(read, Err(CheckpointError::Changed { .. })), "{read:?}");
    let plan = checkpoint.plan(&restored, &RestoreOptions::new());
    let error = plan.restore(&mut restored).unwrap_err();
    assert!(matches!(error, CheckpointError::Changed { .. }), "{error}");
    assert!(checkpoint.verify().is_whole());
    let (_directory, path) = written(&damaged);
    let checkpoint = Checkpoint::open(&path).unwrap();
    assert_eq!(checkpoint.verify().damaged.len(), 9);
    let mut untouched = session(&variables);
    let before = state(&untouched);
    let plan = checkpoint.plan(&untouched, &RestoreOptions::new());
    let error = plan.restore(&mut untouched).unwrap_err();
    assert!(matches!(error, CheckpointError::Checksum { .. }), "{error}");
    assert_eq!(state(&untouched), before);
}

#[test]
fn damage_to_a_tensor_is_found_in_passing() {
    let mut file = fs::read(pytorch("pt_mlp/mlp.pt")).unwrap();
    let bias = [0.1f32, 0.2, 0.3].map(f32::to_le_bytes).concat();
    let begin = file.windows(12).position(|bytes| bytes == bias).unwrap();
    file[begin + 5] ^= 0x10;
    let (_directory, path) = written(&file);
    let checkpoint = Checkpoint::open(&path).unwrap();
    let [CheckpointError::Checksum { tensor, offset, .. }] = &checkpoint.verify().damaged[..]
    else {
        panic!("{:?}", checkpoint.verify().damaged);
    };
    assert_eq!((tensor.as_str(), *offset), ("fc1.bias", begin as u64));
    let mut session = session(&[variable("fc1.bias", [3])]);
    let options = RestoreOptions::new().allow_unexpected();
    let error = checkpoint.plan(&session, &options).restore(&mut session).unwrap_err();
    assert!(matches!(error, CheckpointError::Checksum { .. }), "{error}");
    let options = options.skip_checksums();
    checkpoint.plan(&session, &options).restore(&mut session).unwrap();
}

/// Where an archive has the CRC-32s of its entries: of each in the list of contents, in its own header, and
/// in what stands behind its bytes (APPNOTE 4.3.7, 4.3.9 and 4.3.12).
fn places_of_crc32(zip: &[u8]) -> Vec<Vec<usize>> {
    let u16_at = |at: usize| usize::from(u16::from_le_bytes(zip[at..at + 2].try_into().unwrap()));
    let u32_at = |at: usize| u32::from_le_bytes(zip[at..at + 4].try_into().unwrap()) as usize;
    let end = zip.windows(4).rposition(|four| four == b"PK\x05\x06").unwrap();
    let mut at = u32_at(end + 16);
    let mut all = Vec::new();
    for _ in 0..u16_at(end + 10) {
        assert_eq!(zip[at..at + 4], *b"PK\x01\x02");
        let header = u32_at(at + 42);
        assert_eq!(zip[header..header + 4], *b"PK\x03\x04");
        let behind = header + 30 + u16_at(header + 26) + u16_at(header + 28) + u32_at(at + 20);
        let mut places = vec![at + 16, header + 14];
        places.extend(zip[behind..].starts_with(b"PK\x07\x08").then_some(behind + 4));
        all.push(places);
        at += 46 + u16_at(at + 28) + u16_at(at + 30) + u16_at(at + 32);
    }
    all
}

/// What `torch.save` writes after `torch.serialization.set_crc32_options(False)`: 0 for each CRC-32.
#[test]
fn a_file_without_checksums_is_read() {
    let mut zip = fs::read(pytorch("pt_mlp/mlp.pt")).unwrap();
    let places = places_of_crc32(&zip);
    assert!(places.len() > 6);
    let (last, others) = places.split_last().unwrap();
    for place in others.iter().flatten() {
        zip[*place..place + 4].fill(0);
    }
    // One has its own: the others are damaged.
    let (_directory, file) = written(&zip);
    let error = Checkpoint::open(file).unwrap_err();
    let CheckpointError::Malformed { source: FormatError::Archive(source), .. } = &error else {
        panic!("{error}");
    };
    assert!(matches!(source, ArchiveError::Checksum { expected: 0, .. }), "{error}");
    for place in last {
        zip[*place..place + 4].fill(0);
    }
    let (_directory, file) = written(&zip);
    let checkpoint = Checkpoint::open(file).unwrap();
    assert_eq!(check_expected(&checkpoint, &pytorch("pt_mlp/expected.json")), 4);
    let verified = checkpoint.verify();
    assert!(verified.is_whole() && !verified.checksums, "{:?}", verified.damaged);
    let whole = Checkpoint::open(pytorch("pt_mlp/mlp.pt")).unwrap();
    let declared = whole.variables().unwrap();
    let restored = [checkpoint, whole].map(|checkpoint| {
        let mut session = session(&declared);
        checkpoint.plan(&session, &RestoreOptions::new()).restore(&mut session).unwrap();
        declared.iter().map(|variable| bytes(&session, &variable.name)).collect::<Vec<_>>()
    });
    assert_eq!(restored[0], restored[1]);
}

#[test]
fn every_dtype_is_known() {
    for (class, dtype, size) in [
        ("DoubleStorage", FileDType::F64, 8),
        ("FloatStorage", FileDType::F32, 4),
        ("HalfStorage", FileDType::F16, 2),
        ("BFloat16Storage", FileDType::Bf16, 2),
        ("LongStorage", FileDType::I64, 8),
        ("IntStorage", FileDType::I32, 4),
        ("ShortStorage", FileDType::I16, 2),
        ("CharStorage", FileDType::I8, 1),
        ("ByteStorage", FileDType::U8, 1),
        ("BoolStorage", FileDType::Bool, 1),
        ("ComplexFloatStorage", FileDType::C64, 8),
        ("ComplexDoubleStorage", FileDType::C128, 16),
    ] {
        let pickle =
            dict(&[("a", tensor(storage(&format!("torch.{class}"), "0", 3), 0, &[3], &[1]))]);
        let storage: Vec<u8> = (0..3 * size).collect();
        let checkpoint = opened(&pickle, &[("0", &storage)]);
        assert_eq!(checkpoint.tensors()[0].dtype, dtype);
        assert_eq!(value(&checkpoint, &checkpoint.tensors()[0]), storage);
    }
    for (name, dtype, size) in [
        ("float8_e4m3fn", FileDType::F8E4M3, 1),
        ("float8_e5m2", FileDType::F8E5M2, 1),
        ("float8_e4m3fnuz", FileDType::F8E4M3Fnuz, 1),
        ("float8_e5m2fnuz", FileDType::F8E5M2Fnuz, 1),
        ("uint16", FileDType::U16, 2),
        ("uint32", FileDType::U32, 4),
        ("uint64", FileDType::U64, 8),
        ("float32", FileDType::F32, 4),
    ] {
        let untyped = storage("torch.storage.UntypedStorage", "0", 2 * size);
        let pickle = dict(&[("a", tensor_v3(untyped, &[2], &[1], name))]);
        let storage: Vec<u8> = (0..2 * size as u8).collect();
        let checkpoint = opened(&pickle, &[("0", &storage)]);
        assert_eq!(checkpoint.tensors()[0].dtype, dtype);
        assert_eq!(value(&checkpoint, &checkpoint.tensors()[0]), storage);
    }
}

#[test]
fn big_endian_numbers_are_turned_round() {
    let pickle = dict(&[
        ("a", tensor(storage("torch.FloatStorage", "0", 3), 0, &[3], &[1])),
        ("b", tensor(storage("torch.ComplexFloatStorage", "1", 1), 0, &[1], &[1])),
    ]);
    let whole = [b"\x80\x02", &pickle[..], b"."].concat();
    let big =
        |numbers: &[f32]| -> Vec<u8> { numbers.iter().flat_map(|n| n.to_be_bytes()).collect() };
    let file = Zip::default()
        .stored("archive/data.pkl", &whole)
        .stored("archive/byteorder", b"big")
        .stored("archive/data/0", &big(&[1.0, 2.0, 3.0]))
        .stored("archive/data/1", &big(&[4.0, 5.0]))
        .finish();
    let (_directory, file) = written(&file);
    let checkpoint = Checkpoint::open(file).unwrap();
    assert_eq!(value(&checkpoint, checkpoint.tensor("a").unwrap()), f32s(1..4));
    assert_eq!(value(&checkpoint, checkpoint.tensor("b").unwrap()), f32s(4..6));
    assert!(checkpoint.verify().is_whole());
}

/// `zip -r` and others compress what they pack anew.
#[test]
fn compressed_storages_are_read() {
    let pickle = dict(&[
        ("a", tensor(storage("torch.FloatStorage", "0", 5000), 0, &[5000], &[1])),
        ("t", tensor(storage("torch.FloatStorage", "1", 600), 0, &[20, 30], &[30, 1])),
    ]);
    let whole = [b"\x80\x02", &pickle[..], b"."].concat();
    let file = Zip::default()
        .deflated("data.pkl", &whole)
        .deflated("data/0", &f32s(0..5000))
        .deflated("data/1", &f32s(0..600))
        .finish();
    let (_directory, file) = written(&file);
    let checkpoint = Checkpoint::open(file).unwrap();
    assert_eq!(value(&checkpoint, checkpoint.tensor("a").unwrap()), f32s(0..5000));
    assert_eq!(value(&checkpoint, checkpoint.tensor("t").unwrap()), f32s(0..600));
    assert_eq!(checkpoint.files().count(), 1);
    assert!(checkpoint.verify().is_whole());
    let mut session = session(&[variable("a", [5000]), variable("t", [20, 30])]);
    checkpoint.plan(&session, &RestoreOptions::new()).restore(&mut session).unwrap();
    assert_eq!(bytes(&session, "t"), f32s(0..600));
    // Of a transposed one each block would be inflated from the begin.
    let view = dict(&[("t", tensor(storage("torch.FloatStorage", "1", 6), 0, &[2, 3], &[1, 2]))]);
    let view = [b"\x80\x02", &view[..], b"."].concat();
    let view = Zip::default().stored("data.pkl", &view).deflated("data/1", &f32s(0..6));
    let (_directory, file) = written(&view.finish());
    let error = Checkpoint::open(file).unwrap_err().to_string();
    assert!(error.contains("`t`") && error.contains("without compression"), "{error}");
}

#[test]
fn what_is_around_the_tensors_is_passed_over() {
    let of = |key| tensor(storage("torch.FloatStorage", key, 1), 0, &[1], &[1]);
    let parameter = call(
        global("torch._utils", "_rebuild_parameter"),
        &[of("0"), b"\x88".to_vec(), ordered_dict()],
    );
    let with_attributes = call(
        global("torch._tensor", "_rebuild_from_type_v2"),
        &[
            global("torch._utils", "_rebuild_tensor_v2"),
            global("torch", "Tensor"),
            archive::pickle::tuple(&[
                storage("torch.FloatStorage", "1", 1),
                int(0),
                archive::pickle::ints(&[1]),
                archive::pickle::ints(&[1]),
                b"\x89".to_vec(),
                ordered_dict(),
            ]),
            dict(&[("tag", archive::pickle::text("x"))]),
        ],
    );
    let size = call(global("torch", "Size"), &[archive::pickle::ints(&[2, 3])]);
    // `numpy.float64(0.5)`, as NumPy pickles it.
    let dtype = [
        &call(
            global("numpy", "dtype"),
            &[archive::pickle::text("f8"), b"\x89".to_vec(), b"\x88".to_vec()],
        )[..],
        &archive::pickle::tuple(&[int(3), archive::pickle::text("<"), b"N".to_vec()]),
        b"b",
    ]
    .concat();
    let encoded = [archive::pickle::text("\0\0\0\0\0\0\u{e0}?"), archive::pickle::text("latin1")];
    let half = call(
        global("numpy.core.multiarray", "scalar"),
        &[dtype, call(global("_codecs", "encode"), &encoded)],
    );
    let pickle = dict(&[
        ("parameter", parameter),
        ("attributes", with_attributes),
        ("list", list(&[int(1), of("2"), b"N".to_vec(), dict(&[("deep", of("3"))])])),
        ("size", size),
        ("half", half),
        ("epoch", int(3)),
        ("loss", b"G\x3f\xd0\0\0\0\0\0\0".to_vec()),
        ("large", b"\x8a\x0bAAAAAAAAAAA".to_vec()),
        ("device", call(global("torch", "device"), &[archive::pickle::text("cuda")])),
        ("dtype", global("torch", "bfloat16")),
    ]);
    let four: Vec<Vec<u8>> = (0..4).map(|i| f32s([i])).collect();
    let storages: Vec<(&str, &[u8])> =
        ["0", "1", "2", "3"].into_iter().zip(four.iter().map(Vec::as_slice)).collect();
    let checkpoint = opened(&pickle, &storages);
    assert_eq!(names(&checkpoint), ["attributes", "list.1", "list.3.deep", "parameter"]);
    for (name, number) in [("parameter", 0), ("attributes", 1), ("list.1", 2), ("list.3.deep", 3)] {
        assert_eq!(value(&checkpoint, checkpoint.tensor(name).unwrap()), f32s([number]), "{name}");
    }
    // What is no tensor costs little, however deep it lies and however long its name is.
    let flags = dict(&[(&"a long name".repeat(9), list(&vec![b"\x88".to_vec(); 100_000]))]);
    let flags = dict(&[("flags", flags), ("w", of("0"))]);
    assert_eq!(names(&opened(&flags, &storages)), ["w"]);
    // As in Python, the later of two values of a key counts.
    let twice = dict(&[("w", of("0")), ("v", of("1")), ("w", of("2")), ("v", int(1))]);
    let twice = opened(&twice, &storages);
    assert_eq!(names(&twice), ["w"]);
    assert_eq!(value(&twice, &twice.tensors()[0]), f32s([2]));
    // A tensor by itself is named after its file.
    let alone = opened(&of("0"), &storages);
    assert_eq!(names(&alone), ["model"]);
}

/// Newer pickles, as `torch.save(..., pickle_protocol=4)` writes them.
#[test]
fn protocol_4_is_read() {
    let short = |text: &str| [&[0x8c, text.len() as u8], text.as_bytes()].concat();
    let global = |module, name| [&short(module)[..], b"\x94", &short(name), b"\x94\x93"].concat();
    let id = [
        &b"("[..],
        &short("storage"),
        &global("torch", "HalfStorage"),
        &short("0"),
        &short("cpu"),
        b"K\x02t\x94Q",
    ]
    .concat();
    let body = [
        &b"\x95\0\0\0\0\0\0\0\0}\x94"[..],
        &short("w"),
        &global("torch._utils", "_rebuild_tensor_v2"),
        b"(",
        &id,
        b"K\0K\x02\x85K\x01\x85\x89",
        &global("collections", "OrderedDict"),
        b")RtR\x94s",
    ]
    .concat();
    let checkpoint = opened(&body, &[("0", b"\0\x3c\0\x40")]);
    assert_eq!(checkpoint.tensors()[0].dtype, FileDType::F16);
    let mut session = session(&[common::of_dtype("w", DType::F16, [2])]);
    checkpoint.plan(&session, &RestoreOptions::new()).restore(&mut session).unwrap();
    assert_eq!(bytes(&session, "w"), b"\0\x3c\0\x40");
}

#[test]
fn a_pickle_that_would_run_a_program_is_refused_by_the_name_of_it() {
    let error = Checkpoint::open(pytorch("evil.pt")).unwrap_err();
    let CheckpointError::Malformed { source: FormatError::PyTorch(source), .. } = &error else {
        panic!("{error}");
    };
    let global = "posix.system".to_owned();
    assert_eq!(*source, PyTorchError::Global { global, offset: 169 });
    let message = error.to_string();
    for words in ["evil.pt", "`posix.system`", "offset 169", "nothing was executed", "state_dict"] {
        assert!(message.contains(words), "{message}");
    }
    assert!(!std::path::Path::new("/tmp/pwned_by_pickle").exists());
}

#[test]
fn other_files_of_pytorch_are_named() {
    let error = Checkpoint::open(pytorch("legacy_nonzip.pt")).unwrap_err();
    assert!(error.to_string().contains("before version 1.6"), "{error}");
    let script = Zip::default()
        .stored("net/data.pkl", b"\x80\x02}.")
        .stored("net/constants.pkl", b"\x80\x02).")
        .finish();
    let (_directory, file) = written(&script);
    let error = Checkpoint::open(file).unwrap_err();
    let kind = FileKind::TorchScript;
    assert!(
        matches!(&error, CheckpointError::Malformed { source: FormatError::Recognised { kind: k }, .. } if *k == kind),
        "{error}"
    );
    assert!(error.to_string().contains("torch.jit.load"), "{error}");
    let other = Zip::default().stored("notes.txt", b"hello").finish();
    let (_directory, file) = written(&other);
    let error = Checkpoint::open(file).unwrap_err();
    assert!(error.to_string().contains("a ZIP archive"), "{error}");
    let encrypted = archive::Entry {
        name: b"a/data.pkl",
        stored: b"\x80\x02}.",
        crc32: 0,
        size: 4,
        method: 0,
        flags: 1,
    };
    let (_directory, file) = written(&Zip::default().entry(encrypted).finish());
    let error = Checkpoint::open(file).unwrap_err();
    let entry = "a/data.pkl".to_owned();
    let wanted = FormatError::Archive(ArchiveError::Encrypted { entry });
    assert!(matches!(error, CheckpointError::Malformed { source, .. } if source == wanted));
}
