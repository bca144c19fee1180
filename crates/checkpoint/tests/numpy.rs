//! NumPy's files, written byte by byte as
//! <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html> says.

#[path = "common/archive.rs"]
mod archive;
mod common;

use archive::{Entry, Zip, crc32, deflate};
use common::{bytes, session, state, value, variable};
use proptest::prelude::*;
use proptest::sample::Index;
use std::fs;
use std::path::PathBuf;
use warmstart_checkpoint::{
    Checkpoint, CheckpointError, FileDType, Format, FormatError, NumPyError, RestoreOptions,
};

/// An array: version 1, padded so that the elements begin at a multiple of 64.
fn npy(descr: &str, fortran_order: bool, shape: &str, elements: &[u8]) -> Vec<u8> {
    let order = if fortran_order { "True" } else { "False" };
    let mut header = format!("{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}");
    header.push_str(&" ".repeat(63 - (10 + header.len()) % 64));
    header.push('\n');
    let length = (header.len() as u16).to_le_bytes();
    [b"\x93NUMPY\x01\0", &length[..], header.as_bytes(), elements].concat()
}

fn written(name: &str, bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join(name);
    fs::write(&file, bytes).unwrap();
    (directory, file)
}

fn f32s(numbers: impl IntoIterator<Item = i32>) -> Vec<u8> {
    numbers.into_iter().flat_map(|number| (number as f32).to_le_bytes()).collect()
}

fn refused(bytes: &[u8]) -> NumPyError {
    let (_directory, file) = written("a.npy", bytes);
    match Checkpoint::open(file) {
        Err(CheckpointError::Malformed { source: FormatError::NumPy(error), .. }) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_array_is_named_after_its_file() {
    let (_directory, file) = written("weights.npy", &npy("'<f4'", false, "(2, 3)", &f32s(0..6)));
    let checkpoint = Checkpoint::open(&file).unwrap();
    assert_eq!(checkpoint.format(), Format::NumPy);
    let [tensor] = checkpoint.tensors() else { panic!() };
    assert_eq!((tensor.name.as_str(), &tensor.shape[..]), ("weights", &[2, 3][..]));
    assert_eq!(value(&checkpoint, tensor), f32s(0..6));
    let mut session = session(&[variable("weights", [2, 3])]);
    checkpoint.plan(&session, &RestoreOptions::new()).restore(&mut session).unwrap();
    assert_eq!(bytes(&session, "weights"), f32s(0..6));
    let verified = checkpoint.verify();
    assert!(verified.is_whole() && !verified.checksums);
}

#[test]
fn every_dtype_order_and_version_is_read() {
    use FileDType::*;
    for (descr, dtype, size) in [
        ("|b1", Bool, 1),
        ("|i1", I8, 1),
        ("|u1", U8, 1),
        ("<i2", I16, 2),
        ("<u2", U16, 2),
        ("<i4", I32, 4),
        ("<u4", U32, 4),
        ("<i8", I64, 8),
        ("<u8", U64, 8),
        ("<f2", F16, 2),
        ("<f4", F32, 4),
        ("<f8", F64, 8),
        ("<c8", C64, 8),
        ("<c16", C128, 16),
    ] {
        let elements: Vec<u8> = (0..3 * size).collect();
        let (_directory, file) =
            written("a.npy", &npy(&format!("'{descr}'"), false, "(3,)", &elements));
        let checkpoint = Checkpoint::open(file).unwrap();
        assert_eq!(checkpoint.tensors()[0].dtype, dtype);
        assert_eq!(value(&checkpoint, &checkpoint.tensors()[0]), elements);
        // The same numbers of a big-endian machine.
        let number = if descr.contains('c') { size / 2 } else { size };
        let mut big = elements.clone();
        big.chunks_mut(number.into()).for_each(<[u8]>::reverse);
        let descr = format!("'{}'", descr.replace('<', ">"));
        let (_directory, file) = written("a.npy", &npy(&descr, false, "(3,)", &big));
        let checkpoint = Checkpoint::open(file).unwrap();
        assert_eq!(value(&checkpoint, &checkpoint.tensors()[0]), elements, "{descr}");
    }
    for version in [2, 3] {
        let header = b"{'descr': '<f4', 'fortran_order': False, 'shape': ()}\n";
        let length = (header.len() as u32).to_le_bytes();
        let file = [b"\x93NUMPY", &[version, 0][..], &length, header, &f32s([7])].concat();
        let (_directory, file) = written("a.npy", &file);
        let checkpoint = Checkpoint::open(file).unwrap();
        assert_eq!(value(&checkpoint, &checkpoint.tensors()[0]), f32s([7]));
    }
}

#[test]
fn archives_are_read_compressed_or_not() {
    let kernel = npy("'<f4'", true, "(3, 4)", &f32s(0..12));
    let bias = npy(
        "'>f4'",
        false,
        "(4,)",
        &(0..4).flat_map(|n| (n as f32).to_be_bytes()).collect::<Vec<_>>(),
    );
    let large = npy("'<f4'", false, "(300, 1000)", &f32s(0..300_000));
    let words = npy("'<U3'", false, "(2,)", &[0; 24]);
    let objects = npy("'|O'", false, "()", b"\x80\x04N.");
    for compressed in [false, true] {
        let add = |zip: Zip, name: &str, bytes: &[u8]| match compressed {
            true => zip.deflated(name, bytes),
            false => zip.stored(name, bytes),
        };
        let zip = add(Zip::default(), "dense/kernel.npy", &kernel);
        let zip = add(add(zip, "dense/bias.npy", &bias), "large.npy", &large);
        let zip = add(add(zip, "words.npy", &words), "config.npy", &objects);
        let file = zip.finish();
        let (_directory, path) = written("model.npz", &file);
        let checkpoint = Checkpoint::open(&path).unwrap();
        assert_eq!(checkpoint.format(), Format::NumPyArchive);
        assert_eq!(checkpoint.tensors().len(), 5);
        assert_eq!(checkpoint.tensor("words").unwrap().dtype, FileDType::String);
        assert_eq!(checkpoint.tensor("config").unwrap().dtype, FileDType::Opaque);
        assert_eq!(checkpoint.files().collect::<Vec<_>>(), [path.as_path()]);
        let transposed = f32s((0..12).map(|i| i / 4 + i % 4 * 3));
        assert_eq!(value(&checkpoint, checkpoint.tensor("dense/kernel").unwrap()), transposed);
        let verified = checkpoint.verify();
        assert!(verified.is_whole() && verified.checksums, "{:?}", verified.damaged);
        let variables = [
            variable("dense/kernel", [3, 4]),
            variable("dense/bias", [4]),
            variable("large", [300, 1000]),
        ];
        let options = RestoreOptions::new().ignore("words").ignore("config");
        let mut restored = session(&variables);
        checkpoint.plan(&restored, &options).restore(&mut restored).unwrap();
        assert_eq!(bytes(&restored, "dense/kernel"), transposed);
        assert_eq!(bytes(&restored, "dense/bias"), f32s(0..4));
        assert!(bytes(&restored, "large") == f32s(0..300_000));
        // Any part of a compressed entry, in any order.
        let large = checkpoint.tensor("large").unwrap();
        for at in [900_000, 4, 600_000, 1_199_996] {
            let mut four = [0; 4];
            checkpoint.read(large, at, &mut four).unwrap();
            assert_eq!(f32::from_le_bytes(four), at as f32 / 4.0);
        }
        // Damage, of the header too and if it still says the same, fails the restore and changes
        // nothing.
        let mut header = bias.clone();
        let space = header.iter().rposition(|&byte| byte == b'\n').unwrap() - 1;
        header[space] = b'\t';
        let mut elements = bias.clone();
        *elements.last_mut().unwrap() ^= 4;
        for damaged in [header, elements] {
            let deflated = deflate(&damaged);
            let (stored, method) = if compressed { (&deflated, 8) } else { (&damaged, 0) };
            let (name, size) = (&b"dense/bias.npy"[..], bias.len() as u32);
            let bias = Entry { name, stored, crc32: crc32(&bias), size, method, flags: 0 };
            let file = Zip::default().entry(bias).finish();
            let (_directory, path) = written("model.npz", &file);
            let checkpoint = Checkpoint::open(&path).unwrap();
            let [error] = &checkpoint.verify().damaged[..] else { panic!() };
            assert!(matches!(error, CheckpointError::Checksum { .. }), "{error}");
            let mut session = session(&[variable("dense/bias", [4])]);
            let before = state(&session);
            let plan = checkpoint.plan(&session, &RestoreOptions::new());
            let error = plan.restore(&mut session).unwrap_err();
            assert!(matches!(error, CheckpointError::Checksum { .. }), "{error}");
            assert_eq!(state(&session), before);
        }
    }
}

#[test]
fn a_large_compressed_array_is_not_put_into_another_order() {
    let zeros = vec![0; 4 * 4096 * 4097];
    let array = |fortran| npy("'<f4'", fortran, "(4096, 4097)", &zeros);
    for (file, read) in [
        (Zip::default().deflated("w.npy", &array(true)), false),
        (Zip::default().stored("w.npy", &array(true)), true),
        (Zip::default().deflated("w.npy", &array(false)), true),
    ] {
        let (_directory, file) = written("model.npz", &file.finish());
        match Checkpoint::open(file) {
            Ok(checkpoint) => assert!(read && checkpoint.verify().is_whole()),
            Err(error) => {
                let error = error.to_string();
                assert!(!read && error.contains("`w` has 67125248 bytes"), "{error}");
                assert!(error.contains("numpy.ascontiguousarray"), "{error}");
            }
        }
    }
}

#[test]
fn what_cannot_be_read_is_named() {
    for (file, words) in [
        (
            npy("'|O'", false, "()", b"\x80\x04N."),
            "type |O, which no variable takes: in Python, save `array.astype",
        ),
        (npy("[('x', '<f4'), ('y', '<i4')]", false, "(1,)", &[0; 8]), "('y', '<i4')"),
        (npy("'<f16'", false, "(1,)", &[0; 16]), "type <f16"),
        (npy("'<f4'", false, "(2,)", &[0; 7]), "takes 8 bytes, but 7 follow"),
        (npy("'<f4'", false, "(2,)", &[0; 9]), "takes 8 bytes, but 9 follow"),
        (npy("'<f4'", false, "(9999999999, 9999999999)", &[]), "overflows"),
        (npy("'<f4'", false, "(0, 9999999999, 9999999999)", &[]), "overflows"),
        (b"\x93NUMPY\x01\0\xff\xff{".to_vec(), "should have 65535 bytes"),
    ] {
        let message = refused(&file).to_string();
        assert!(message.contains(words), "{message}");
    }
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let npy = npy("'<f4'", false, "(2, 3)", &f32s(0..6));
    let npz = Zip::default().stored("a.npy", &npy).deflated("b.npy", &npy).finish();
    for whole in [npy, npz] {
        for length in 0..whole.len() {
            let (_directory, file) = written("a.npy", &whole[..length]);
            let message = Checkpoint::open(&file).unwrap_err().to_string();
            assert!(message.contains(&*file.to_string_lossy()), "{length}: {message}");
        }
    }
}

/// How many random files each test tries.
fn cases() -> u32 {
    if std::env::var_os("WARMSTART_TEST_LONG").is_some() { 20_000 } else { 512 }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..Default::default() })]

    #[test]
    fn changed_files_are_found_out_or_whole(
        changes in prop::collection::vec((any::<Index>(), any::<u8>()), 1..5),
        archived in any::<bool>(),
    ) {
        let npy = npy("'<f4'", true, "(2, 3)", &f32s(0..6));
        let npz = Zip::default().stored("a.npy", &npy).deflated("b.npy", &npy).finish();
        let mut bytes = if archived { npz } else { npy };
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let (_directory, file) = written("a.npz", &bytes);
        if let Ok(checkpoint) = Checkpoint::open(file) {
            let whole = checkpoint.verify().is_whole();
            for tensor in checkpoint.tensors() {
                let mut value = vec![0; tensor.bytes() as usize];
                let read = checkpoint.read(tensor, 0, &mut value);
                if archived && whole {
                    read.unwrap();
                    prop_assert_eq!(value, f32s([0, 2, 4, 1, 3, 5]));
                }
            }
        }
    }
}
