//! Every malformed file of the fixtures, and every way to be something else than safetensors: the
//! right error, with the file and what is needed to find the fault.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use warmstart_checkpoint::{Checkpoint, CheckpointError, FileKind, FormatError, TensorEntry};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/st_malformed")
}

/// What must stand in the message, or nothing where the file is accepted. The doubtful files that
/// are accepted are those that the module `safetensors` lists with its reasons.
const EXPECTED: &[(&str, &[&str])] = &[
    ("bool_value_2", &[]),
    ("data_missing", &["tensor `a`", "ends at file offset", "63 bytes", "cut short"]),
    ("duplicate_field", &["tensor `a`", "duplicate field `dtype`", "offset"]),
    ("duplicate_keys_full", &["tensor `a`", "described twice", "offset"]),
    ("empty_file", &["the file is empty", "copy or write it again"]),
    ("empty_name", &[]),
    ("empty_object_with_data", &["has 26 bytes", "last tensor ends at file offset 10"]),
    ("extra_field", &[]),
    ("float_shape", &["tensor `a`", "floating point `4.0`"]),
    (
        "header_len_100MB_plus",
        &["the format allows 100000000", "no checkpoint of a kind that is read"],
    ),
    ("header_len_gt_file", &["header of", "the file has 79 bytes"]),
    ("header_len_max", &["18446744073709551615", "the format allows"]),
    ("header_len_zero", &["header is malformed", "EOF while parsing"]),
    ("hole", &["before tensor `b`", "belong to no tensor", "4 bytes"]),
    ("invalid_json", &["header is malformed", "EOF while parsing", "offset 61"]),
    ("json_not_object", &["invalid type: sequence", "describes the tensors"]),
    ("leading_space", &[]),
    ("lowercase_dtype", &["tensor `a`", "unknown dtype `f32`", "capitals"]),
    ("metadata_nonstring", &["integer `1`", "string"]),
    ("metadata_null", &[]),
    ("missing_offsets", &["tensor `a`", "missing field `data_offsets`"]),
    ("name_path_traversal", &[]),
    ("negative_shape", &["tensor `a`", "integer `-4`"]),
    ("non_utf8", &["not UTF-8", "offset 11"]),
    ("offset_reversed", &["tensor `a`", "ends at data offset 0, before its begin at 16"]),
    ("ok_minimal", &[]),
    ("ok_unaligned_header", &[]),
    ("only_length", &["header of", "the file has 8 bytes"]),
    ("overlap", &["tensor `b`", "begins within tensor `a`", "file offset"]),
    ("overlap_same", &["tensor `b`", "begins within tensor `a`"]),
    ("shape_2p64", &["tensor `a`", "floating point"]),
    ("shape_empty_scalar", &[]),
    ("shape_overflow", &["tensor `a`", "overflows"]),
    ("shape_overflow_zero", &["tensor `a`", "overflows"]),
    ("trailing_bytes", &["ends at file offset 79", "has 81 bytes"]),
    ("trailing_nul_padding", &["trailing characters"]),
    ("unknown_dtype", &["tensor `a`", "unknown dtype `F33`", "newer reader"]),
];

#[test]
fn every_malformed_fixture_has_its_message() {
    for (name, words) in EXPECTED {
        let file = fixtures().join(format!("{name}.safetensors"));
        match (Checkpoint::open(&file), words.is_empty()) {
            (Ok(_), true) => {}
            (Ok(_), false) => panic!("{name} was accepted"),
            (Err(error), true) => panic!("{name}: {error}"),
            (Err(error), false) => {
                assert!(matches!(error, CheckpointError::Malformed { .. }), "{name}: {error:?}");
                let message = error.to_string();
                assert!(message.contains(&*file.to_string_lossy()), "{message}");
                for word in *words {
                    assert!(message.contains(word), "{name}: no `{word}` in: {message}");
                }
            }
        }
    }
}

/// `results.json` says what the safetensors crate makes of each file.
#[test]
fn the_verdict_is_the_safetensors_crates_but_for_duplicates() {
    let results = fs::read_to_string(fixtures().join("results.json")).unwrap();
    let results: BTreeMap<String, BTreeMap<String, String>> =
        serde_json::from_str(&results).unwrap();
    assert_eq!(results.len(), EXPECTED.len());
    for (name, words) in EXPECTED {
        let theirs = &results[&format!("{name}.safetensors")]["safe_open"];
        let differs = *name == "duplicate_keys_full";
        assert_eq!(theirs.starts_with("ACCEPTED"), words.is_empty() || differs, "{name}: {theirs}");
    }
}

#[test]
fn files_of_other_kinds_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("model.safetensors");
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n";
    // A gzip file without a time stamp has a small number where safetensors has its length.
    let mut gzip = vec![0x1f, 0x8b, 0x08, 0, 0, 0, 0, 0, 0, 3];
    gzip.resize(600_000, 7);
    let kinds: &[(&[u8], FileKind, &str, &str)] = &[
        (pointer, FileKind::GitLfsPointer, "git-lfs pointer", "git lfs pull"),
        (b"\n  <!DOCTYPE html><html>", FileKind::Html, "HTML page", "download"),
        (b"\xef\xbb\xbf<HTML><body>404", FileKind::Html, "HTML page", "download"),
        (b"<!-- log in --><head>", FileKind::Html, "HTML page", "download"),
        (b"<?xml version=\"1.0\"?><Error>", FileKind::Html, "XML", "download"),
        (&gzip, FileKind::Gzip, "gzip archive", "gunzip"),
        (&zip("metadata.json"), FileKind::Keras, ".keras", "keras.saving"),
        (b"\x89HDF\r\n\x1a\n\x00\x00", FileKind::Hdf5, "HDF5", "h5py"),
        (
            b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00}\x94",
            FileKind::Pickle,
            "pickle",
            "author",
        ),
        (b"Read me first\nthen ask", FileKind::Text, "a text", "read from safetensors, PyTorch"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", FileKind::Picture, "a picture", "read from safetensors"),
        (b"{\"hidden_size\": 768}", FileKind::Json, "JSON text", ".safetensors"),
    ];
    for (bytes, kind, what, help) in kinds {
        fs::write(&file, bytes).unwrap();
        is_told(&file, *kind, what, help);
    }
    fs::write(&file, b"abc").unwrap();
    let message = Checkpoint::open(&file).unwrap_err().to_string();
    assert!(message.contains("has 3 bytes") && message.contains("takes 8"), "{message}");
}

/// The first bytes of an archive whose first file has this name.
fn zip(name: &str) -> Vec<u8> {
    let mut start = b"PK\x03\x04\0\0\x08\x08".to_vec();
    start.resize(26, 0);
    start.extend([name.len() as u8, 0, 0, 0]);
    start.extend(name.bytes());
    start.extend(b"and what follows");
    start
}

fn is_told(file: &Path, kind: FileKind, what: &str, help: &str) {
    let error = Checkpoint::open(file).unwrap_err();
    let message = error.to_string();
    let CheckpointError::Malformed { source, .. } = error else { panic!("{message}") };
    assert_eq!(source, FormatError::Recognised { kind }, "{message}");
    assert!(message.contains(what) && message.contains(help), "{message}");
}

/// Files that the programs themselves wrote.
#[test]
fn real_files_of_other_programs_are_named() {
    let other = fixtures().join("../pytorch");
    let kind = FileKind::PyTorchLegacy;
    is_told(&other.join("legacy_nonzip.pt"), kind, "before version 1.6", "torch.load");
    // A name alone never makes a good file a bad one.
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("model.data-00000-of-00001");
    fs::copy(fixtures().join("../st_mlp/model.safetensors"), &file).unwrap();
    assert!(Checkpoint::open(&file).is_ok());
}

#[test]
fn duplicates_are_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("model.safetensors");
    let cases = [
        (r#"{"__metadata__":{"a":"1","b":"2","a":"3"}}"#, "metadata key `a` comes twice"),
        (r#"{"__metadata__":{},"__metadata__":{}}"#, "metadata key `__metadata__` comes twice"),
        // The same name, escaped.
        (
            "{\"a\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]},\n\
             \"\\u0061\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}}",
            "tensor `a` is described twice",
        ),
    ];
    for (header, words) in cases {
        let length = (header.len() as u64).to_le_bytes();
        fs::write(&file, [&length[..], header.as_bytes()].concat()).unwrap();
        let message = Checkpoint::open(&file).unwrap_err().to_string();
        assert!(message.contains(words), "{message}");
    }
}

#[test]
fn what_is_not_there_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let message = Checkpoint::open(directory.path().join("gone")).unwrap_err().to_string();
    assert!(message.contains("there is no checkpoint") && message.contains("gone"), "{message}");
    let message = Checkpoint::open(directory.path()).unwrap_err().to_string();
    assert!(message.contains("holds no checkpoint") && message.contains("step-<n>"), "{message}");
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("model.safetensors");
    let whole = fixtures().join("../st_mlp/model.safetensors");
    let whole = fs::read(whole).unwrap();
    fs::write(&file, &whole).unwrap();
    let intact = Checkpoint::open(&file).unwrap();
    let weights = intact.tensors().iter().map(|tensor| tensor.range.start).min().unwrap();
    for length in 0..whole.len() {
        fs::write(&file, &whole[..length]).unwrap();
        let error = Checkpoint::open(&file).unwrap_err();
        assert!(matches!(error, CheckpointError::Malformed { .. }), "{length}: {error}");
        assert!(error.to_string().contains("model.safetensors"), "{length}: {error}");
        // The first tensor that is not whole any more.
        let lacks = |tensor: &&TensorEntry| tensor.range.end > length as u64;
        let first = intact.tensors().iter().filter(lacks).min_by_key(|tensor| tensor.range.start);
        let named = format!("tensor `{}`", first.unwrap().name);
        assert!((length as u64) < weights || error.to_string().contains(&named), "{error}");
    }
}
