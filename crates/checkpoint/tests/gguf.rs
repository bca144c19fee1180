//! GGUF, written byte by byte as
//! <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md> says.

mod common;

use common::{bytes, session, value, variable};
use proptest::prelude::*;
use proptest::sample::Index;
use std::fs;
use std::path::PathBuf;
use warmstart_checkpoint::{
    Checkpoint, CheckpointError, FileDType, Format, FormatError, GgufError, RestoreOptions,
};

/// A file to be written.
struct Gguf {
    version: u32,
    keys: Vec<Vec<u8>>,
    tensors: Vec<Vec<u8>>,
    data: Vec<u8>,
    alignment: usize,
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

impl Gguf {
    fn new() -> Gguf {
        Gguf { version: 3, keys: Vec::new(), tensors: Vec::new(), data: Vec::new(), alignment: 32 }
    }

    /// A key with a value of this type.
    fn key(mut self, key: &str, kind: u32, value: &[u8]) -> Gguf {
        self.keys.push([&text(key)[..], &kind.to_le_bytes(), value].concat());
        self
    }

    /// A tensor; extents as the file has them, the last axis first.
    fn tensor(mut self, name: &str, extents: &[u64], kind: u32, bytes: &[u8]) -> Gguf {
        self.data.resize(self.data.len().next_multiple_of(self.alignment), 0);
        let offset = self.data.len() as u64;
        self.data.extend(bytes);
        self.list(name, extents, kind, offset)
    }

    fn list(mut self, name: &str, extents: &[u64], kind: u32, offset: u64) -> Gguf {
        let extents: Vec<u8> = extents.iter().flat_map(|extent| extent.to_le_bytes()).collect();
        let axes = (extents.len() as u32 / 8).to_le_bytes();
        self.tensors.push(
            [&text(name)[..], &axes, &extents, &kind.to_le_bytes(), &offset.to_le_bytes()].concat(),
        );
        self
    }

    fn finish(&self) -> Vec<u8> {
        let mut bytes = [b"GGUF", &self.version.to_le_bytes()[..]].concat();
        bytes.extend((self.tensors.len() as u64).to_le_bytes());
        bytes.extend((self.keys.len() as u64).to_le_bytes());
        bytes.extend(self.keys.concat());
        bytes.extend(self.tensors.concat());
        bytes.resize(bytes.len().next_multiple_of(self.alignment), 0);
        bytes.extend(&self.data);
        bytes
    }
}

fn written(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("model.gguf");
    fs::write(&file, bytes).unwrap();
    (directory, file)
}

fn opened(gguf: &Gguf) -> Checkpoint {
    let (_directory, file) = written(&gguf.finish());
    Checkpoint::open(file).unwrap()
}

fn refused(gguf: &Gguf) -> GgufError {
    let (_directory, file) = written(&gguf.finish());
    match Checkpoint::open(file) {
        Err(CheckpointError::Malformed { source: FormatError::Gguf(error), .. }) => error,
        other => panic!("{other:?}"),
    }
}

fn f32s(numbers: impl IntoIterator<Item = i32>) -> Vec<u8> {
    numbers.into_iter().flat_map(|number| (number as f32).to_le_bytes()).collect()
}

fn model() -> Gguf {
    let words = [&8u32.to_le_bytes()[..], &2u64.to_le_bytes(), &text("a"), &text("bc")].concat();
    let nested = [&9u32.to_le_bytes()[..], &1u64.to_le_bytes(), &words].concat();
    let scores = [&6u32.to_le_bytes()[..], &3u64.to_le_bytes(), &[0; 12]].concat();
    Gguf::new()
        .key("general.architecture", 8, &text("mlp"))
        .key("general.file_type", 4, &[0; 4])
        .key("tokenizer.ggml.tokens", 9, &words)
        .key("tokenizer.nested", 9, &nested)
        .key("tokenizer.scores", 9, &scores)
        .key("mlp.flag", 7, &[1])
        .key("mlp.epsilon", 12, &[0; 8])
        .key("warmstart.step", 8, &text("garbage"))
        .tensor("fc1.weight", &[4, 3], 0, &f32s(0..12))
        .tensor("fc1.bias", &[3], 1, &[0, 0x3c, 0, 0x40, 0, 0x42])
        .tensor("quantized.weight", &[64, 2], 2, &[7; 72])
        .tensor("table", &[256], 12, &[7; 144])
}

#[test]
fn tensors_are_listed_with_their_extents_turned_round() {
    for version in [2, 3] {
        let checkpoint = opened(&Gguf { version, ..model() });
        assert_eq!(checkpoint.format(), Format::Gguf);
        assert_eq!(checkpoint.tensors().len(), 4);
        let weight = checkpoint.tensor("fc1.weight").unwrap();
        assert_eq!((&weight.shape[..], weight.dtype), (&[3, 4][..], FileDType::F32));
        assert_eq!(weight.range.start % 32, 0);
        assert_eq!(value(&checkpoint, weight), f32s(0..12));
        let quantized = checkpoint.tensor("quantized.weight").unwrap();
        assert_eq!((quantized.dtype.to_string(), quantized.bytes()), ("q4_0".to_owned(), 72));
        assert_eq!(checkpoint.tensor("table").unwrap().dtype.name(), "q4_k");
        assert_eq!(checkpoint.metadata().get("general.architecture"), Some("mlp"));
        assert_eq!(checkpoint.step(), None);
        let verified = checkpoint.verify();
        assert!(verified.is_whole() && !verified.checksums);
    }
}

#[test]
fn floats_restore_and_quantized_tensors_are_refused_by_name() {
    let checkpoint = opened(&model());
    let mut restored = session(&[variable("fc1.weight", [3, 4]), variable("fc1.bias", [3])]);
    let options = RestoreOptions::new().cast("**").allow_unexpected();
    checkpoint.plan(&restored, &options).restore(&mut restored).unwrap();
    assert_eq!(bytes(&restored, "fc1.weight"), f32s(0..12));
    assert_eq!(bytes(&restored, "fc1.bias"), f32s(1..4));
    let plan = checkpoint.plan_for(&[variable("quantized.weight", [2, 64])], &options);
    assert!(!plan.closes());
    let text = plan.to_string();
    assert!(text.contains("quantized.weight") && text.contains("q4_0 is a quantization"), "{text}");
    assert!(!text.contains("`.cast("), "{text}");
}

#[test]
fn every_type_is_known() {
    use FileDType::*;
    for (number, dtype, size) in [
        (0, F32, 4),
        (1, F16, 2),
        (24, I8, 1),
        (25, I16, 2),
        (26, I32, 4),
        (27, I64, 8),
        (28, F64, 8),
        (30, Bf16, 2),
    ] {
        let elements: Vec<u8> = (0..6 * size).collect();
        let checkpoint = opened(&Gguf::new().tensor("a", &[3, 2], number, &elements));
        let [tensor] = checkpoint.tensors() else { panic!() };
        assert_eq!((tensor.dtype, &tensor.shape[..]), (dtype, &[2, 3][..]));
        assert_eq!(value(&checkpoint, tensor), elements);
    }
    let scalar = opened(&Gguf::new().tensor("a", &[], 0, &f32s([7])));
    assert_eq!(value(&scalar, &scalar.tensors()[0]), f32s([7]));
    let empty = opened(&Gguf::new().tensor("a", &[0, 3], 0, &[]));
    assert_eq!(empty.tensors()[0].bytes(), 0);
    let wide =
        Gguf { alignment: 256, ..Gguf::new() }.key("general.alignment", 4, &256u32.to_le_bytes());
    let wide = opened(&wide.tensor("a", &[1], 0, &f32s([1])).tensor("b", &[1], 0, &f32s([2])));
    assert_eq!(value(&wide, wide.tensor("b").unwrap()), f32s([2]));
}

#[test]
fn what_cannot_be_read_is_named() {
    let one = || Gguf::new().tensor("a", &[4], 0, &[0; 16]);
    let cases = [
        (Gguf { version: 1, ..one() }, "version 1"),
        (Gguf { version: 3u32.swap_bytes(), ..one() }, "big-endian"),
        (one().tensor("a", &[1], 0, &[0; 4]), "`a` is listed twice"),
        (one().list("b", &[3], 0, 4), "`b` begins within tensor `a`"),
        (one().list("b", &[5], 0, 0), "`b` ends at file offset"),
        (one().list("b", &[1], 0, u64::MAX), "`b` ends at file offset"),
        (one().list("b", &[1 << 40, 1 << 40], 0, 0), "cannot be counted"),
        (one().list("b", &[33], 2, 0), "cannot be counted"),
        (one().list("b", &[1], 99, 0), "unknown type 99"),
        (one().list("b", &[1; 65], 0, 0), "65 axes"),
        (one().list("\u{1b}[2K", &[1; 65], 0, 0), r"`\u{1b}[2K` has 65 axes"),
        (one().key("k", 99, &[]), "unknown type 99"),
        (one().key("general.alignment", 4, &[0; 4]), "alignment` is 0"),
        (one().key("general.alignment", 5, &[0; 4]), "another type"),
        (one().key("k", 8, &u64::MAX.to_le_bytes()), "within a value"),
        (
            one().key("k", 9, &[&0u32.to_le_bytes()[..], &u64::MAX.to_le_bytes()].concat()),
            "within a value",
        ),
        (one().key("k", 9, &[&8u32.to_le_bytes()[..], &u64::MAX.to_le_bytes()].concat()), "within"),
        (one().key("k", 9, &[9, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0].repeat(6)), "too deep"),
    ];
    for (gguf, words) in cases {
        let message = refused(&gguf).to_string();
        assert!(message.contains(words), "{message}");
    }
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let whole = model().finish();
    for length in 0..whole.len() {
        let (_directory, file) = written(&whole[..length]);
        let message = Checkpoint::open(&file).unwrap_err().to_string();
        assert!(message.contains(&*file.to_string_lossy()), "{length}: {message}");
    }
}

/// How many random files each test tries.
fn cases() -> u32 {
    if std::env::var_os("WARMSTART_TEST_LONG").is_some() { 20_000 } else { 512 }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..Default::default() })]

    #[test]
    fn changed_files_are_refused_or_read(
        changes in prop::collection::vec((any::<Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = model().finish();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let (_directory, file) = written(&bytes);
        if let Ok(checkpoint) = Checkpoint::open(file) {
            for tensor in checkpoint.tensors() {
                prop_assert!(tensor.range.end <= bytes.len() as u64);
                prop_assert_eq!(value(&checkpoint, tensor).len() as u64, tensor.bytes());
            }
        }
    }
}
