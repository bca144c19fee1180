//! PyTorch files that are damaged, or were made to do harm: an error, in time and within bounds.

#[path = "common/archive.rs"]
mod archive;
#[path = "common/counting.rs"]
mod counting;

use archive::pickle::{
    call, dict, global, int, ints, list, ordered_dict, storage, tensor, text, tuple,
};
use archive::{Entry, Zip, crc32, torch};
use counting::{Counting, counted};
use proptest::prelude::*;
use proptest::sample::Index;
use std::fs;
use std::path::Path;
use warmstart_checkpoint::{
    ArchiveError, Checkpoint, CheckpointError, FormatError, PyTorchError, TensorEntry,
};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Opens a file of these bytes and holds the allocations against its size.
fn open(bytes: &[u8]) -> Result<Checkpoint, CheckpointError> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a.pt");
    fs::write(&file, bytes).unwrap();
    let (opened, largest, allocated) = counted(|| Checkpoint::open(&file));
    // The constant is the buffer for the list of contents, streams that inflate, and messages.
    let allowed = (512 << 10) + 256 * bytes.len();
    assert!(largest <= allowed, "{largest} bytes at once for a file of {}", bytes.len());
    assert!(allocated <= 16 * allowed, "{allocated} bytes for a file of {}", bytes.len());
    opened
}

fn refused(bytes: &[u8]) -> FormatError {
    match open(bytes) {
        Err(CheckpointError::Malformed { source, .. }) => source,
        Err(error) => panic!("{error}"),
        Ok(checkpoint) => panic!("{:?}", checkpoint.tensors()),
    }
}

fn refused_pickle(pickle: &[u8]) -> PyTorchError {
    match refused(&torch(pickle, &[("0", &[0; 16])])) {
        FormatError::PyTorch(error) => error,
        error => panic!("{error}"),
    }
}

fn refused_archive(zip: Zip) -> ArchiveError {
    match refused(&zip.finish()) {
        FormatError::Archive(error) => error,
        error => panic!("{error}"),
    }
}

fn value(checkpoint: &Checkpoint, tensor: &TensorEntry) -> Result<Vec<u8>, CheckpointError> {
    let mut value = vec![0; tensor.bytes() as usize];
    checkpoint.read(tensor, 0, &mut value).map(|()| value)
}

fn one() -> Vec<u8> {
    tensor(storage("torch.FloatStorage", "0", 4), 0, &[4], &[1])
}

fn whole() -> Vec<u8> {
    let pickle = dict(&[
        ("a", one()),
        ("b", dict(&[("c", tensor(storage("torch.HalfStorage", "1", 6), 1, &[2, 2], &[2, 1]))])),
        ("d", tensor(storage("torch.HalfStorage", "2", 6), 1, &[2, 2], &[1, 2])),
    ]);
    let whole = [b"\x80\x02", &pickle[..], b"."].concat();
    Zip::default()
        .stored("m/data.pkl", &whole)
        .stored("m/byteorder", b"little")
        .stored("m/data/0", &[7; 16])
        .deflated("m/data/1", b"abcdefghijkl")
        .stored("m/data/2", b"abcdefghijkl")
        .finish()
}

/// Whatever was done to a whole file: an error, or damage that is found, or no harm.
fn judge(changed: &[u8]) {
    let Ok(checkpoint) = open(changed) else { return };
    let verified = checkpoint.verify();
    for tensor in checkpoint.tensors() {
        let value = value(&checkpoint, tensor);
        if verified.is_whole() {
            match tensor.name.as_str() {
                "a" => assert_eq!(value.unwrap(), [7; 16]),
                "b.c" => assert_eq!(value.unwrap(), b"cdefghij"),
                "d" => assert_eq!(value.unwrap(), b"cdghefij"),
                name => panic!("`{name}`"),
            }
        }
    }
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let whole = whole();
    judge(&whole);
    assert_eq!(open(&whole).unwrap().tensors().len(), 3);
    for length in 0..whole.len() {
        open(&whole[..length]).unwrap_err();
    }
    let real = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pytorch/pt_mlp/mlp.pt");
    let real = fs::read(real).unwrap();
    for length in 0..real.len() {
        open(&real[..length]).unwrap_err();
    }
}

#[test]
fn a_flipped_bit_is_found_or_does_no_harm() {
    let whole = whole();
    for at in 0..whole.len() {
        for bit in [at % 8, (at + 3) % 8] {
            let mut changed = whole.clone();
            changed[at] ^= 1 << bit;
            judge(&changed);
        }
    }
}

#[test]
fn what_has_no_place_in_a_checkpoint_is_named() {
    for (module, name) in [
        ("os", "system"),
        ("builtins", "eval"),
        ("builtins", "getattr"),
        ("torch", "load"),
        ("torch._utils", "_rebuild_qtensor"),
        ("torch", "EvilStorage"),
        ("a", ""),
    ] {
        let found = refused_pickle(&call(global(module, name), &[text("rm -rf /")]));
        assert_eq!(found, PyTorchError::Global { global: format!("{module}.{name}"), offset: 2 });
        // By name alone, nothing called.
        let message = refused_pickle(&dict(&[("a", global(module, name))])).to_string();
        assert!(message.contains(&format!("`{module}.{name}`")), "{message}");
    }
    for (opcode, name) in
        [(b'i', "INST"), (b'o', "OBJ"), (b'P', "PERSID"), (0x82, "EXT1"), (0x92, "NEWOBJ_EX")]
    {
        let error = refused_pickle(&[opcode]);
        assert_eq!(error, PyTorchError::Opcode { opcode, offset: 2 });
        assert!(error.to_string().contains(name), "{error}");
    }
    assert!(matches!(refused_pickle(&[0xff]), PyTorchError::Opcode { opcode: 0xff, .. }));
}

#[test]
fn nonsense_is_refused_where_it_stands() {
    let float = || storage("torch.FloatStorage", "0", 4);
    let class = || global("torch", "FloatStorage");
    let rebuild = || global("torch._utils", "_rebuild_tensor_v2");
    let id = |key: Vec<u8>, elements| {
        [&tuple(&[text("storage"), class(), key, text("cpu"), elements])[..], b"Q"].concat()
    };
    let many: Vec<usize> = vec![1; 65];
    let negated = [
        float(),
        int(0),
        ints(&[1]),
        ints(&[1]),
        b"\x89".to_vec(),
        ordered_dict(),
        dict(&[("neg", b"\x88".to_vec())]),
    ];
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (b"0".to_vec(), "POP"),
        (b"a".to_vec(), "stack is empty"),
        (b"(.".to_vec(), "stack is empty"),
        (b"t".to_vec(), "mark"),
        (b"K\x01K\x02a".to_vec(), "no list"),
        (b"}K\x01(e".to_vec(), "no list"),
        (b"}(K\x01u".to_vec(), "pairs"),
        (b"](K\x01K\x02u".to_vec(), "dict"),
        (b"h\x07".to_vec(), "recalls"),
        (b"q\x07".to_vec(), "remembered"),
        (b"X\x02\0\0\0\xff\xff".to_vec(), "UTF-8"),
        (b"X\xff\xff\xff\xff".to_vec(), "before it is whole"),
        (b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff".to_vec(), "before it is whole"),
        (b"cos\nsystem".to_vec(), "before it is whole"),
        (b"K\x01K\x02\x93".to_vec(), "no text"),
        (b"K\x01)R".to_vec(), "called that cannot be"),
        ([class(), b"K\x01R".to_vec()].concat(), "without a tuple"),
        (call(class(), &[]), "called that cannot be"),
        ([class(), b"}b".to_vec()].concat(), "attributes"),
        ([one(), b"(".to_vec(), one(), b"K\0)))tb".to_vec()].concat(), "given other elements"),
        ([text("numpy.dtypes"), text(&"F".repeat(257)), b"\x93".to_vec()].concat(), "256 bytes"),
        (b"K\x01Q".to_vec(), "not described by a tuple"),
        (id(int(7), int(4)), "described differently"),
        (id(text("0"), int(-1)), "described differently"),
        (call(rebuild(), &[int(0)]), "tensor is described differently"),
        (call(rebuild(), &negated), "negated view"),
        (tensor(float(), -1, &[1], &[1]), "negative"),
        (tensor(float(), 0, &[1, 1], &[1]), "more extents"),
        (tensor(float(), 0, &many, &many), "64 axes"),
        (call(global("torch._utils", "_rebuild_parameter"), &[int(1)]), "no tensor"),
        (call(global("torch", "Size"), &[int(1)]), "something unknown"),
    ];
    for (pickle, words) in cases {
        let message = refused_pickle(&pickle).to_string();
        assert!(message.contains(words), "{message} for {pickle:?}");
    }
}

#[test]
fn tensors_stay_within_their_storages() {
    let float = || storage("torch.FloatStorage", "0", 4);
    let cases = [
        (tensor(float(), 0, &[5], &[1]), "reaches beyond the 16 bytes"),
        (tensor(float(), 1, &[4], &[1]), "reaches beyond the 16 bytes"),
        (tensor(float(), 0, &[2, 2], &[3, 1]), "reaches beyond the 16 bytes"),
        (tensor(float(), i32::MAX, &[1], &[1]), "reaches beyond"),
        (tensor(float(), 0, &[i32::MAX as usize; 8], &[0; 8]), "reaches beyond"),
        (tensor(float(), 0, &[i32::MAX as usize, 7], &[0, 0]), "strides of zero"),
        (tensor(storage("torch.FloatStorage", "0", 5), 0, &[1], &[1]), "should have 20 bytes"),
        (
            tensor(storage("torch.FloatStorage", "1", 4), 0, &[1], &[1]),
            "`archive/data/1`, which is not",
        ),
        (tensor(storage("torch.FloatStorage", "../0", 4), 0, &[1], &[1]), "which is not"),
        (tensor(storage("torch.FloatStorage", &"0".repeat(300), 4), 0, &[1], &[1]), "which is not"),
    ];
    for (pickle, words) in cases {
        let message = refused_pickle(&dict(&[("w", pickle)])).to_string();
        assert!(message.contains(words) && message.contains("`w`"), "{message}");
    }
    let twice = dict(&[("a", dict(&[("b", one())])), ("a.b", one())]);
    assert_eq!(refused_pickle(&twice), PyTorchError::Twice { tensor: "a.b".to_owned() });
    let key = [b"}N".to_vec(), one(), b"s".to_vec()].concat();
    assert_eq!(refused_pickle(&key), PyTorchError::Key { name: String::new() });
    // A key that names no tensor harms nothing.
    assert_eq!(open(&torch(b"}NK\x01s", &[])).unwrap().tensors().len(), 0);
}

/// Each as small as it can be for what it pretends to be.
#[test]
fn bombs_do_not_go_off() {
    // A list that holds itself, twice.
    let message = refused_pickle(b"]q\0(h\0h\0e").to_string();
    assert!(message.contains("containers deep"), "{message}");
    // Sixty lists, each of which holds the one before twice.
    let mut doubling = one();
    for _ in 0..60 {
        doubling = [b"]q\0(".to_vec(), doubling, b"q\x01h\x01e".to_vec()].concat();
    }
    assert_eq!(refused_pickle(&doubling), PyTorchError::TooMany);
    // A million lists within each other.
    assert_eq!(open(&torch(&vec![b']'; 1 << 20], &[])).unwrap().tensors().len(), 0);
    let deep = [vec![b']'; 1 << 20], vec![b'a'; (1 << 20) - 1]].concat();
    assert!(matches!(refused_pickle(&deep), PyTorchError::TooDeep { .. }));
    // A long key around many tensors.
    let many: Vec<Vec<u8>> = std::iter::repeat_n(b"h\x09".to_vec(), 50_000).collect();
    let many = [one(), b"q\x09".to_vec(), dict(&[(&"k".repeat(50_000), list(&many))])].concat();
    assert_eq!(refused_pickle(&many), PyTorchError::TooMany);
    // One shape of as many axes as fit for many tensors.
    let axes = ints(&vec![0; 20_000]);
    let again = b"h\x01(h\x02K\0h\x03h\x03\x89NtR";
    let rebuild = global("torch._utils", "_rebuild_tensor_v2");
    let float = storage("torch.FloatStorage", "0", 4);
    let mut pickle =
        [rebuild, b"q\x01".to_vec(), float, b"q\x02".to_vec(), axes, b"q\x03".to_vec()].concat();
    pickle.extend(again.repeat(1000));
    assert!(matches!(refused_pickle(&pickle), PyTorchError::Pickle { .. }));
    // One tuple that is the shape and the strides of as many tensors as a small file can have.
    let axes = ints(&[1; 64]);
    let float = storage("torch.FloatStorage", "0", 4);
    let arguments = [&b"("[..], &float, b"K\0", &axes, b"q\x03h\x03tq\x01"].concat();
    let rebuild = global("torch._utils", "_rebuild_tensor_v2");
    let begin = [&b"\x80\x02"[..], &rebuild, b"q\0", &arguments].concat();
    let pickle = [&begin[..], &b"h\0h\x01R".repeat(150_000), b"."].concat();
    let bytes = Zip::default().deflated("m/data.pkl", &pickle).stored("m/data/0", &[0; 16]);
    assert_eq!(refused(&bytes.finish()), FormatError::PyTorch(PyTorchError::TooMany));
    // One tensor of as many axes as there may be, in many places.
    let axes = [b"q\x09".to_vec(), list(&vec![b"h\x09".to_vec(); 88])].concat();
    let wide = tensor(storage("torch.FloatStorage", "0", 4), 0, &[1; 64], &[0; 64]);
    let wide = [wide, axes, b"q\x08".to_vec(), list(&vec![b"h\x08".to_vec(); 88])].concat();
    assert_eq!(refused_pickle(&wide), PyTorchError::TooMany);
    // A memo of far numbers, and one of many.
    let far =
        [b"N".to_vec(), b"r\xff\xff\xff\xff".to_vec(), b"j\xff\xff\xff\xff".to_vec()].concat();
    assert_eq!(open(&torch(&far, &[])).unwrap().tensors().len(), 0);
    let memo = [b"N".to_vec(), vec![0x94; 100_000]].concat();
    assert_eq!(open(&torch(&memo, &[])).unwrap().tensors().len(), 0);
}

/// Whatever names a file gives, an error moves no cursor.
#[test]
fn errors_about_strange_names_are_printed() {
    let strange = "a\u{1b}[2K\nall is well";
    let key = dict(&[(strange, [b"}N".to_vec(), one(), b"s".to_vec()].concat())]);
    let nested = [[vec![b']'; 100], vec![b'a'; 99]].concat(), b"".to_vec()].concat();
    let plain = [b"\x80\x02", &dict(&[("a", one())])[..], b"."].concat();
    let pickles = Zip::default().stored("\u{1b}[2K/data.pkl", &plain).stored("n/data.pkl", &plain);
    let order = Zip::default().stored("m/data.pkl", &plain).stored("m/byteorder", b"\x1b[2K");
    for bytes in [
        torch(&global("o\u{1b}[2Ks", "system"), &[]),
        torch(&key, &[("0", &[0; 16])]),
        torch(&dict(&[(strange, nested)]), &[]),
        pickles.finish(),
        order.finish(),
    ] {
        let message = refused(&bytes).to_string();
        assert!(!message.contains(char::is_control), "{message:?}");
        assert!(message.contains(r"\u{1b}[2K"), "{message}");
    }
}

#[test]
fn archives_that_pretend_are_refused() {
    let pickle = [b"\x80\x02", &dict(&[("a", one())])[..], b"."].concat();
    let begin = || Zip::default().stored("m/data.pkl", &pickle);
    let entry =
        |name, stored, size, method| Entry { name, stored, crc32: 0, size, method, flags: 0 };
    let cases = [
        (begin().stored("m/data/0", &[7; 16]).stored("m/data/0", &[8; 16]), "twice"),
        (begin().entry(entry(b"m/data/0", &[1; 10], 16, 0)), "has 10 bytes in the file"),
        (begin().entry(entry(b"m/data/0", &[1; 10], u32::MAX - 1, 8)), "has 10 bytes in the file"),
        (begin().entry(entry(b"m/data/0", &[7; 16], 16, 93)), "only deflate is known"),
        (begin().entry(entry(b"m/data/0", &[7; 16], 16, 77)), "compressed by 77"),
        (begin().entry(entry(b"m/\xff", b"", 0, 0)), "not UTF-8"),
        (Zip::default().entry(entry(b"data.pkl", &pickle, pickle.len() as u32, 0)), "checksum"),
        (Zip::default().entry(entry(b"data.pkl", &[0; 4096], 4_000_000, 8)), "at most 1048576"),
        (Zip::default().entry(entry(b"data.pkl", &[0xff; 10], 1000, 8)), "cannot be read"),
        (begin().stored("m/byteorder", b"middle"), "middle"),
        (begin().stored("n/data.pkl", &pickle), "both `m/data.pkl` and `n/data.pkl`"),
    ];
    for (zip, words) in cases {
        let message = refused(&zip.finish()).to_string();
        assert!(message.contains(words), "{message}");
    }
    // Two entries in the list that are one in the file.
    let mut overlapping = begin().stored("m/data/0", &[7; 16]);
    let other =
        Entry { crc32: crc32(&pickle), ..entry(b"m/data/1", &pickle, pickle.len() as u32, 0) };
    overlapping.list(&other, 0);
    assert!(matches!(refused_archive(overlapping), ArchiveError::Overlap { .. }));
    let mut beyond = begin();
    beyond.list(&entry(b"m/data/0", &[7; 9999], 9999, 0), 0);
    assert!(matches!(refused_archive(beyond), ArchiveError::BeyondEnd { .. }));
    // A stream that ends early, or is no stream: found when it is read.
    for stored in [&[0x4b, 0x4c, 0x04, 0][..], &[0xff; 9]] {
        let zip = begin().entry(entry(b"m/data/0", stored, 16, 8));
        let checkpoint = open(&zip.finish()).unwrap();
        let [error] = &checkpoint.verify().damaged[..] else { panic!() };
        assert!(matches!(error, CheckpointError::Inflate { .. }), "{error}");
        assert!(error.to_string().contains("offset 0 in the entry"), "{error}");
        value(&checkpoint, &checkpoint.tensors()[0]).unwrap_err();
    }
}

/// How many random files each test tries.
fn cases() -> u32 {
    if std::env::var_os("WARMSTART_TEST_LONG").is_some() { 20_000 } else { 512 }
}

/// Instructions, some of them whole.
fn instruction() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => prop::sample::select(&b"(N]})tesuaqhRbQ.\x85\x86\x87\x88\x89\x93\x94\x81\x8f\x90"[..])
            .prop_map(|opcode| vec![opcode]),
        2 => (prop::sample::select(&b"qhK"[..]), 0u8..4).prop_map(|(opcode, n)| vec![opcode, n]),
        1 => any::<i32>().prop_map(int),
        1 => "[a-z.]{0,5}".prop_map(|word| text(&word)),
        1 => Just(one()),
        1 => Just(storage("torch.FloatStorage", "0", 4)),
        1 => prop::sample::select(&[
            ("collections", "OrderedDict"), ("torch._utils", "_rebuild_tensor_v2"),
            ("torch._utils", "_rebuild_tensor_v3"), ("torch._utils", "_rebuild_parameter"),
            ("torch._tensor", "_rebuild_from_type_v2"), ("torch", "Size"), ("torch", "float32"),
            ("torch", "Tensor"), ("os", "system"),
        ][..]).prop_map(|(module, name)| global(module, name)),
        1 => prop::collection::vec(any::<u8>(), 1..9),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_pickle_is_run_within_bounds(parts in prop::collection::vec(instruction(), 0..60)) {
        if let Ok(checkpoint) = open(&torch(&parts.concat(), &[("0", &[7; 16])])) {
            for tensor in checkpoint.tensors() {
                prop_assert!(value(&checkpoint, tensor).is_ok());
            }
        }
    }

    #[test]
    fn changed_files_are_found_out_or_whole(
        changes in prop::collection::vec((any::<Index>(), any::<u8>()), 1..5),
        cut in any::<(Index, Index)>(),
        remove in any::<bool>(),
    ) {
        let mut bytes = whole();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if remove {
            let (a, b) = (cut.0.index(bytes.len()), cut.1.index(bytes.len()));
            bytes.drain(a.min(b)..a.max(b));
        }
        judge(&bytes);
    }
}
