//! Checksums: what is written, and that no flipped bit goes unnoticed.

mod common;

use common::{f32s, fixture, glorot, session, session_in, state, variable};
use proptest::prelude::*;
use proptest::sample::Index;
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use tempfile::TempDir;
use twox_hash::XxHash3_64;
use warmstart_checkpoint::{
    Checkpoint, CheckpointError, Checksum, ConvertOptions, RestoreOptions, SaveOptions, Saver,
    latest, save,
};
use warmstart_gpu::MemoryKind;
use warmstart_graph::{TensorData, Variable};

fn variables() -> [Variable; 3] {
    [glorot("fc1/weight", [5, 3]), variable("fc1/bias", [3]), variable("empty", [0])]
}

fn long() -> bool {
    std::env::var_os("WARMSTART_TEST_LONG").is_some()
}

/// A run with the checkpoints of steps 1 and 2; the latter's file and bytes.
fn run() -> (TempDir, PathBuf, Vec<u8>) {
    let directory = tempfile::tempdir().unwrap();
    let mut session = session(&variables());
    session.initialize_missing(7).unwrap();
    let saver = Saver::new(directory.path());
    saver.save(&session, 1, &SaveOptions::new()).unwrap();
    session.assign("fc1/bias", &f32s(&[1.0, 2.0, 3.0])).unwrap();
    let file = saver.save(&session, 2, &SaveOptions::new().extra("note", "é \"x\"")).unwrap();
    let bytes = fs::read(&file).unwrap();
    (directory, file, bytes)
}

fn header_length(bytes: &[u8]) -> usize {
    8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize
}

fn flip(file: &Path, bytes: &[u8], at: usize, bit: u32) {
    let mut changed = bytes.to_vec();
    changed[at] ^= 1 << bit;
    fs::write(file, changed).unwrap();
}

/// crc32c as its definition reads, one bit at a time.
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32| if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc)))
}

#[test]
fn the_file_says_the_checksum_of_its_header_and_of_each_tensor() {
    assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    let (_directory, file, mut bytes) = run();
    let checkpoint = Checkpoint::open(&file).unwrap();
    for tensor in checkpoint.tensors() {
        let value = &bytes[tensor.range.start as usize..tensor.range.end as usize];
        // Of what is no larger than a block it is plain XXH3-64, and of nothing 0.
        let xxh3 = if value.is_empty() { 0 } else { XxHash3_64::oneshot(value) };
        let checksum = checkpoint.checksum(&tensor.name);
        assert_eq!(checksum, Some(Checksum::Xxh3(xxh3)), "{}", tensor.name);
    }
    let entry = checkpoint.metadata().get("warmstart.checksums").unwrap();
    let entry: serde_json::Value = serde_json::from_str(entry).unwrap();
    let written = entry["crc32c"]["header"].as_str().unwrap().to_owned();
    let start = &mut bytes[..header_length(&fs::read(&file).unwrap())];
    let text = String::from_utf8_lossy(start);
    let at = text.find(&written).unwrap();
    start[at..at + 8].copy_from_slice(b"00000000");
    assert_eq!(format!("{:08x}", crc32c(start)), written);

    let verification = checkpoint.verify();
    assert!(verification.is_whole() && verification.checksums);
    assert_eq!((verification.tensors, verification.bytes), (3, 72));
}

/// Another program's metadata may have any key, and `extra` too.
#[test]
fn a_key_that_ends_as_that_of_the_checksums_is_not_taken_for_it() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a.safetensors");
    let mut session = session(&variables());
    session.initialize_missing(7).unwrap();
    // As a string of JSON, it begins with an escaped quote, and it sorts before ours.
    let key = "\"warmstart.checksums";
    for value in ["{\"crc32c\":{\"header\":\"", "{\"crc32c\":{\"header\":\"00000000\"}}"] {
        save(&session, &file, &SaveOptions::new().extra(key, value)).unwrap();
        let checkpoint = Checkpoint::open(&file).unwrap();
        assert_eq!(checkpoint.metadata().get(key), Some(value));
        let verification = checkpoint.verify();
        assert!(verification.is_whole() && verification.checksums);
        let converted = directory.path().join("b.safetensors");
        checkpoint.convert(&converted, &ConvertOptions::new()).unwrap();
        assert!(Checkpoint::open(&converted).unwrap().verify().is_whole());
    }
}

#[test]
fn a_bit_flipped_anywhere_in_the_header_is_noticed_when_opening() {
    let (directory, file, bytes) = run();
    let older = directory.path().join("step-1.safetensors");
    let older = format!("the checkpoint before it, `{}`", older.display());
    for at in 0..header_length(&bytes) {
        let one = (at % 8) as u32;
        for bit in if long() { 0..8 } else { one..one + 1 } {
            flip(&file, &bytes, at, bit);
            let error = Checkpoint::open(&file).err();
            let error = error.unwrap_or_else(|| panic!("byte {at}, bit {bit} was not noticed"));
            let message = error.to_string();
            assert!(message.contains("step-2.safetensors"), "{message}");
            let of_header = matches!(error, CheckpointError::HeaderChecksum { .. });
            assert_eq!(message.contains(&older), of_header, "{message}");
            let damage = matches!(
                error,
                CheckpointError::Malformed { .. }
                    | CheckpointError::Metadata { .. }
                    | CheckpointError::HeaderChecksum { .. }
            );
            assert!(damage, "byte {at}, bit {bit}: {message}");
        }
        // And the directory still has a checkpoint.
        assert_eq!(latest(directory.path()).unwrap().unwrap().step, 1);
    }
}

#[test]
fn no_older_checkpoint_is_spoken_of_where_there_is_none() {
    let (directory, file, bytes) = run();
    let first = directory.path().join("step-1.safetensors");
    let message = || Checkpoint::open(&file).err().unwrap().to_string();
    let key = "warmstart.step";
    let at = bytes.windows(key.len()).position(|part| part == key.as_bytes()).unwrap();
    let mut kinds = Vec::new();
    for cut in [true, false] {
        match cut {
            true => fs::write(&file, &bytes[..bytes.len() - 1]).unwrap(),
            false => flip(&file, &bytes, at + key.len() - 1, 0),
        }
        fs::write(&first, &bytes[..20]).unwrap();
        let without = message();
        assert!(!without.contains("before it") && !without.contains("older"), "{without}");
        fs::write(&first, &bytes).unwrap();
        assert_eq!(message().contains("the checkpoint before it, `"), !cut, "{}", message());
        kinds.push(without.split_once("`: ").unwrap().1.contains("its header has checksum"));
    }
    assert_eq!(kinds, [false, true]);
}

#[test]
fn a_bit_flipped_in_any_byte_of_a_tensor_is_named_with_what_to_do() {
    let (directory, file, bytes) = run();
    for at in header_length(&bytes)..bytes.len() {
        flip(&file, &bytes, at, (at % 8) as u32);
        let checkpoint = Checkpoint::open(&file).unwrap();
        let tensor = checkpoint.tensors().iter().find(|t| t.range.contains(&(at as u64))).unwrap();
        let verification = checkpoint.verify();
        assert_eq!(verification.damaged.len(), 1);
        let CheckpointError::Checksum { offset, expected, found, .. } = verification.damaged[0]
        else {
            panic!("{:?}", verification.damaged)
        };
        let message = verification.damaged[0].to_string();
        let (name, older) = (&tensor.name, directory.path().join("step-1.safetensors"));
        assert_eq!(offset, tensor.range.start);
        for word in [
            "step-2.safetensors",
            &format!("tensor `{name}` at file offset {offset}"),
            &expected.to_string(),
            &found.to_string(),
            &format!("before it, `{}`", older.display()),
        ] {
            assert!(message.contains(word), "no `{word}` in: {message}");
        }
    }
    for kind in [None, Some(MemoryKind::Staged)] {
        let mut session = match kind {
            Some(kind) => session_in(kind, &variables()),
            None => session(&variables()),
        };
        session.assign("fc1/bias", &f32s(&[0.5; 3])).unwrap();
        let before = state(&session);
        flip(&file, &bytes, bytes.len() - 1, 6);
        let checkpoint = Checkpoint::open(&file).unwrap();
        let strict = checkpoint.plan(&session, &RestoreOptions::new());
        let error = strict.restore(&mut session).unwrap_err();
        assert!(matches!(error, CheckpointError::Checksum { .. }), "{error}");
        assert_eq!(state(&session), before);
        let lenient = RestoreOptions::new().skip_checksums();
        checkpoint.plan(&session, &lenient).restore(&mut session).unwrap();
        assert_ne!(state(&session), before);
    }
}

/// Nobody knows of a part of a tensor whether it is as it was written.
#[test]
fn a_bit_flipped_in_a_row_that_is_left_out_is_noticed_too() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("model.safetensors");
    let mut saved = session(&[variable("table", [50, 3])]);
    let values: Vec<f32> = (0..150).map(|i| i as f32).collect();
    saved.assign("table", &TensorData::new([50, 3], values.clone()).unwrap()).unwrap();
    save(&saved, &file, &SaveOptions::new()).unwrap();
    let bytes = fs::read(&file).unwrap();
    let fewer = [variable("table", [10, 3])];
    let options = RestoreOptions::new().resize_rows("table", 7);
    for kind in [MemoryKind::Staged, saved.gpu().memory()] {
        let mut restored = session_in(kind, &fewer);
        fs::write(&file, &bytes).unwrap();
        let plan = Checkpoint::open(&file).unwrap().plan(&restored, &options);
        assert_eq!(plan.bytes_read(), 120);
        plan.restore(&mut restored).unwrap();
        assert_eq!(restored.read("table").unwrap().as_f32().unwrap(), &values[..30]);
        let before = state(&restored);
        // In the first row that is left out, and in the last.
        for row in [10, 49] {
            flip(&file, &bytes, header_length(&bytes) + 12 * row, 0);
            let checkpoint = Checkpoint::open(&file).unwrap();
            let error = checkpoint.plan(&restored, &options).restore(&mut restored).unwrap_err();
            let named =
                matches!(&error, CheckpointError::Checksum { tensor, .. } if tensor == "table");
            assert!(named, "row {row}: {error}");
            assert_eq!(state(&restored), before);
            let lenient = options.clone().skip_checksums();
            checkpoint.plan(&restored, &lenient).restore(&mut restored).unwrap();
            assert_eq!(restored.read("table").unwrap().as_f32().unwrap(), &values[..30]);
        }
    }
}

#[test]
fn a_tensor_read_in_pieces_by_several_threads_is_summed_as_one() {
    let large = [variable("large", [5_000_003]), variable("small", [1])];
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("model.safetensors");
    let mut saved = session(&large);
    saved.initialize_missing(1).unwrap();
    let values: Vec<f32> = (0..5_000_003).map(|i| i as f32).collect();
    saved.assign("large", &f32s(&values)).unwrap();
    save(&saved, &file, &SaveOptions::new()).unwrap();
    let bytes = fs::read(&file).unwrap();
    for kind in [MemoryKind::Staged, saved.gpu().memory()] {
        let mut restored = session_in(kind, &large);
        let plan = Checkpoint::open(&file).unwrap().plan(&restored, &RestoreOptions::new());
        plan.restore(&mut restored).unwrap();
        assert!(restored.read("large").unwrap().as_f32().unwrap() == values);
    }
    let begin = header_length(&bytes);
    // At both ends of what one thread reads, and of what is summed at a time.
    for at in [0, (256 << 10) - 1, 256 << 10, (8 << 20) - 1, 8 << 20, 20_000_011] {
        flip(&file, &bytes, begin + at, 0);
        let mut restored = session(&large);
        let plan = Checkpoint::open(&file).unwrap().plan(&restored, &RestoreOptions::new());
        let error = plan.restore(&mut restored).unwrap_err();
        assert!(
            matches!(&error, CheckpointError::Checksum { tensor, older: None, .. } if tensor == "large"),
            "{at}: {error}"
        );
        assert!(error.to_string().contains("copy the file again"), "{error}");
    }
}

#[test]
fn files_of_other_programs_have_none_and_restore_all_the_same() {
    let checkpoint = Checkpoint::open(fixture("st_mlp").join("model.safetensors")).unwrap();
    assert_eq!(checkpoint.checksum("fc1.bias"), None);
    let verification = checkpoint.verify();
    assert!(verification.is_whole() && !verification.checksums);
    assert_eq!(verification.tensors, 4);
}

#[test]
fn a_change_by_a_program_that_keeps_our_entries_is_said() {
    let (_directory, file, bytes) = run();
    let theirs = SafeTensors::deserialize(&bytes).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let mut metadata: HashMap<String, String> = header.metadata().clone().unwrap();
    let rewrite = |metadata: &HashMap<String, String>| {
        let half = theirs.tensors().into_iter().take(2);
        let views: Vec<(String, TensorView<'_>)> = half.collect();
        fs::write(&file, safetensors::serialize(views, Some(metadata.clone())).unwrap()).unwrap();
        Checkpoint::open(&file)
    };
    let message = rewrite(&metadata).unwrap_err().to_string();
    assert!(message.contains("another program changed it"), "{message}");
    metadata.remove("warmstart.checksums");
    let message = rewrite(&metadata).unwrap_err().to_string();
    assert!(message.contains("`warmstart.version`") && message.contains("another program"));
    // What the message says helps.
    metadata.remove("warmstart.version");
    let checkpoint = rewrite(&metadata).unwrap();
    assert_eq!((checkpoint.step(), checkpoint.tensors().len()), (Some(2), 2));
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if long() { 20_000 } else { 500 },
        failure_persistence: None,
        ..Default::default()
    })]

    /// Cut, lengthened, and bytes of it changed: it is refused, or it is what it was.
    #[test]
    fn whatever_becomes_of_a_file_it_never_passes_for_another(
        changes in prop::collection::vec((any::<Index>(), any::<u8>()), 0..4),
        length in prop::option::of(any::<Index>()),
        more in prop::collection::vec(any::<u8>(), 0..3),
    ) {
        static WHOLE: LazyLock<Vec<u8>> = LazyLock::new(|| run().2);
        let (directory, whole) = (tempfile::tempdir().unwrap(), &*WHOLE);
        let mut bytes = whole.clone();
        for (at, byte) in &changes {
            bytes[at.index(whole.len())] = *byte;
        }
        bytes.truncate(length.map_or(whole.len(), |length| length.index(whole.len())));
        bytes.extend(&more);
        let file = directory.path().join("changed.safetensors");
        fs::write(&file, &bytes).unwrap();
        let passes = Checkpoint::open(&file).is_ok_and(|checkpoint| checkpoint.verify().is_whole());
        prop_assert_eq!(passes, bytes == *whole);
    }
}

#[test]
fn a_file_cut_at_any_byte_is_refused_when_opening() {
    let (_directory, file, bytes) = run();
    for length in 0..bytes.len() {
        fs::write(&file, &bytes[..length]).unwrap();
        let error = Checkpoint::open(&file).unwrap_err();
        assert!(matches!(error, CheckpointError::Malformed { .. }), "{length}: {error}");
        assert!(error.to_string().contains("step-2.safetensors"), "{error}");
    }
}
