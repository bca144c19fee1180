//! Random and mutated files: no panic, no memory beyond the file's size, and the same verdict as
//! the `safetensors` crate.

#[path = "common/counting.rs"]
mod counting;

use counting::{Counting, counted};
use proptest::prelude::*;
use proptest::sample::Index;
use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensors, serialize};
use std::collections::HashMap;
use std::fs;
use std::io::Write;
use warmstart_checkpoint::{Checkpoint, CheckpointError, FormatError, RestoreOptions};
use warmstart_graph::Variable;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Opens a file of these bytes and holds the allocations against its size.
fn open(bytes: &[u8]) -> Result<Checkpoint, CheckpointError> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a.safetensors");
    fs::write(&file, bytes).unwrap();
    let (opened, largest, allocated) = counted(|| Checkpoint::open(&file));
    // A header's text becomes strings, shapes and maps, some of them copied as they grow; nothing
    // of that grows faster than the text. The constant is for paths and messages.
    let allowed = 8192 + 64 * bytes.len();
    assert!(largest <= allowed, "{largest} bytes at once for a file of {}", bytes.len());
    assert!(allocated <= 8 * allowed, "{allocated} bytes for a file of {}", bytes.len());
    match &opened {
        Ok(checkpoint) if checkpoint.tensors().len() < 1000 => print(checkpoint),
        Ok(_) => {}
        Err(error) => {
            let error = error.to_string();
            assert!(!error.contains(char::is_control), "{error:?}");
        }
    }
    opened
}

/// Whatever a file says, what is told of it can be printed, and moves no cursor.
fn print(checkpoint: &Checkpoint) {
    let variables = checkpoint.variables().unwrap_or_default();
    for (some, options) in [
        (&variables[..], RestoreOptions::new()),
        (&variables[..variables.len() / 2], RestoreOptions::new()),
        (&variables[..variables.len() / 2], RestoreOptions::new().add_prefix("x").ignore("**")),
    ] {
        let report = checkpoint.plan_for(some, &options).to_string();
        assert!(!report.contains(|c: char| c.is_control() && c != '\n'), "{report:?}");
    }
}

/// Our verdict on a file must be that of the crate, but for duplicate names.
fn compare(bytes: &[u8]) {
    let theirs = SafeTensors::deserialize(bytes);
    match (open(bytes), theirs) {
        (Ok(ours), Ok(theirs)) => {
            assert_eq!(ours.tensors().len(), theirs.len());
            for tensor in ours.tensors() {
                let their = theirs.tensor(&tensor.name).unwrap();
                assert_eq!(their.dtype().to_string(), tensor.dtype.safetensors_name().unwrap());
                assert_eq!(their.shape(), &tensor.shape[..]);
                let range = tensor.range.start as usize..tensor.range.end as usize;
                // The same place in memory, not only the same bytes.
                assert_eq!(their.data().as_ptr_range(), bytes[range].as_ptr_range());
            }
        }
        (Err(_), Err(_)) => {}
        (Ok(_), Err(error)) => panic!("we accept what the crate refuses: {error}"),
        (Err(error), Ok(_)) => assert!(
            matches!(
                error,
                CheckpointError::Malformed {
                    source: FormatError::DuplicateTensor { .. }
                        | FormatError::DuplicateMetadata { .. },
                    ..
                }
            ),
            "we refuse what the crate accepts: {error}"
        ),
    }
}

const DTYPES: [Dtype; 10] = [
    Dtype::BOOL,
    Dtype::F4,
    Dtype::U8,
    Dtype::F8_E4M3,
    Dtype::I16,
    Dtype::BF16,
    Dtype::F32,
    Dtype::U32,
    Dtype::C64,
    Dtype::I64,
];

/// A well-formed file, as the crate writes it.
fn valid() -> impl Strategy<Value = Vec<u8>> {
    let tensor = (0..DTYPES.len(), prop::collection::vec(0usize..4, 0..4));
    let tensors = prop::collection::btree_map("[a-z/.\"\\\\é]{0,12}", tensor, 0..8);
    // Not an empty map: the crate writes that, without tensors, as something it cannot read.
    let metadata = prop::option::of(prop::collection::hash_map("[a-c]{1,3}", ".{0,20}", 1..4));
    (tensors, metadata).prop_map(|(tensors, metadata): (_, Option<HashMap<_, _>>)| {
        let data = vec![0x5au8; 8 * 64];
        let views = tensors.into_iter().filter_map(|(name, (dtype, shape))| {
            let bits = shape.iter().product::<usize>() * DTYPES[dtype].bitsize();
            let view = TensorView::new(DTYPES[dtype], shape, data.get(..bits / 8)?).ok()?;
            Some((name, view))
        });
        serialize(views.collect::<Vec<_>>(), metadata).unwrap()
    })
}

/// One change of a file.
#[derive(Clone, Debug)]
enum Mutation {
    Set(Index, u8),
    Flip(Index, u8),
    Cut(Index),
    Insert(Index, Vec<u8>),
    Repeat(Index, Index),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    prop_oneof![
        (any::<Index>(), prop::sample::select(&b"0123456789{}[]\",:.eE-nul \xff\x00"[..]))
            .prop_map(|(at, byte)| Mutation::Set(at, byte)),
        (any::<Index>(), 0u8..8).prop_map(|(at, bit)| Mutation::Flip(at, bit)),
        any::<Index>().prop_map(Mutation::Cut),
        (any::<Index>(), prop::collection::vec(any::<u8>(), 1..9))
            .prop_map(|(at, bytes)| Mutation::Insert(at, bytes)),
        (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Mutation::Repeat(from, to)),
    ]
}

impl Mutation {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let length = bytes.len();
        if length == 0 {
            return;
        }
        match self {
            Mutation::Set(at, byte) => bytes[at.index(length)] = *byte,
            Mutation::Flip(at, bit) => bytes[at.index(length)] ^= 1 << bit,
            Mutation::Cut(at) => bytes.truncate(at.index(length)),
            Mutation::Insert(at, new) => {
                let at = at.index(length);
                bytes.splice(at..at, new.iter().copied());
            }
            Mutation::Repeat(from, to) => {
                let (from, to) = (from.index(length), to.index(length));
                let piece = bytes[from.min(to)..from.max(to)].to_vec();
                bytes.splice(from..from, piece);
            }
        }
    }
}

/// Keeps the announced length true after a mutation, so that more than the length is tested.
fn announce(bytes: &mut [u8], difference: i64) {
    if let Some(length) = bytes.first_chunk_mut::<8>() {
        *length = (i64::from_le_bytes(*length).wrapping_add(difference)).to_le_bytes();
    }
}

/// How many random files each test tries.
fn cases() -> u32 {
    if std::env::var_os("WARMSTART_TEST_LONG").is_some() { 20_000 } else { 512 }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..Default::default() })]

    #[test]
    fn what_the_crate_writes_is_read_the_same(bytes in valid()) {
        prop_assert!(open(&bytes).is_ok());
        compare(&bytes);
    }

    #[test]
    fn mutated_files_get_the_crates_verdict(
        bytes in valid(),
        mutations in prop::collection::vec(mutation(), 1..4),
        keep_length in any::<bool>(),
    ) {
        let mut changed = bytes.clone();
        mutations.iter().for_each(|mutation| mutation.apply(&mut changed));
        if !keep_length {
            let difference = changed.len() as i64 - bytes.len() as i64;
            announce(&mut changed, difference);
        }
        compare(&changed);
    }

    #[test]
    fn random_bytes_are_refused_quietly(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        compare(&bytes);
    }

    #[test]
    fn random_headers_get_the_crates_verdict(
        header in "[{}\\[\\]\",:0-9a-z _.-]{0,80}",
        tail in 0usize..20,
    ) {
        let header = header.as_bytes();
        let length = (header.len() as u64).to_le_bytes();
        compare(&[&length[..], header, &vec![0; tail]].concat());
    }
}

/// A header within the file's size that is as costly as a header can be.
#[test]
fn costly_headers_stay_within_bounds() {
    let with_header = |header: &str| {
        let length = (header.len() as u64).to_le_bytes();
        open(&[&length[..], header.as_bytes()].concat())
    };
    let rank = format!(
        r#"{{"a":{{"dtype":"U8","shape":[0{}],"data_offsets":[0,0]}}}}"#,
        ",1".repeat(100_000)
    );
    assert!(with_header(&rank).is_ok());
    let deep = format!(r#"{{"a":{}"#, "[".repeat(100_000));
    let message = with_header(&deep).unwrap_err().to_string();
    assert!(message.contains("tensor `a`"), "{message}");
    let unknown = format!(
        r#"{{"a":{{"x":{}{},"dtype":"U8","shape":[0],"data_offsets":[0,0]}}}}"#,
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    // Unknown fields are passed over without recursion.
    assert!(with_header(&unknown).is_ok());
}

/// Names as long as a header, and names that would be lines and commands to a terminal.
#[test]
fn reports_of_strange_names_are_printed() {
    for name in ["n".repeat(70_000), r"a\u0000b\u001b[2K\nnote: all is well\u0085".to_owned()] {
        let tensor = r#"{"dtype":"U8","shape":[1],"data_offsets":"#;
        let header = format!(r#"{{"a1b":{tensor}[0,1]}},"{name}":{tensor}[1,2]}}}}"#);
        let length = (header.len() as u64).to_le_bytes();
        let checkpoint = open(&[&length[..], header.as_bytes(), &[0; 2]].concat()).unwrap();
        let report = checkpoint.plan_for(&[], &RestoreOptions::new()).to_string();
        assert!(report.contains("unexpected") && !report.contains("\nnote"), "{report}");
    }
}

/// Names that could be joined at thousands of numbers: a report takes no more than a file does.
#[test]
fn reports_of_names_with_many_numbers_stay_within_bounds() {
    let begin = "1/".repeat(5000);
    let more = (0..20).map(|at| format!("w{at}"));
    let names = [format!("{begin}1/2"), format!("{begin}2/1")].into_iter().chain(more);
    let entries: Vec<String> = names
        .map(|name| format!(r#""{name}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}"#))
        .collect();
    let header = format!("{{{}}}", entries.join(","));
    let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a.safetensors");
    fs::write(&file, &bytes).unwrap();
    let checkpoint = Checkpoint::open(&file).unwrap();
    let plan = checkpoint.plan_for(&[], &RestoreOptions::new());
    let (report, _, allocated) = counted(|| plan.to_string());
    assert!(report.contains("w{0..19}") && report.contains("1/1/2 "), "{report}");
    let allowed = 64 * (8192 + bytes.len());
    assert!(allocated <= allowed, "{allocated} bytes for a file of {}", bytes.len());
}

/// As the names of tensors whose offsets or dtypes are wrong, and as keys that come twice.
#[test]
fn errors_about_strange_names_are_printed() {
    let name = r"a\u001b[2K\nnote: all is well";
    for header in [
        format!(r#"{{"{name}":{{"dtype":"U9\u001b","shape":[1],"data_offsets":[0,1]}}}}"#),
        format!(r#"{{"{name}":{{"dtype":"U8","shape":[1],"data_offsets":[0,9]}}}}"#),
        format!(r#"{{"{name}":{{"dtype":"U8","shape":[1],"data_offsets":[9]}}}}"#),
        format!(r#"{{"{name}":{{"dtype":"U8","{name}":[1],"{name}":7}}}}"#),
        format!(r#"{{"__metadata__":{{"{name}":"1","{name}":"2"}}}}"#),
        format!(r#"{{"__metadata__":{{"{name}":1}}}}"#),
        format!(r#"{{"{name}":"{name}"}}"#),
        format!(r#"{{"__metadata__":{{"warmstart.metric.{name}":"low"}}}}"#),
        format!(r#"{{"__metadata__":{{"warmstart.step":"{name}"}}}}"#),
    ] {
        let length = (header.len() as u64).to_le_bytes();
        open(&[&length[..], header.as_bytes(), &[0; 2]].concat()).unwrap_err();
    }
}

/// The rules behind an assignment map are applied to what a pair of it names, and not for each variable:
/// an expression has to be compiled each time.
#[test]
fn a_mistyped_pair_costs_no_more_with_many_variables() {
    let allocated = |count: usize| {
        let entries = (0..count).map(|at| {
            let range = format!("[{},{}]", 4 * at, 4 * at + 4);
            format!(r#""x{at}":{{"dtype":"F32","shape":[],"data_offsets":{range}}}"#)
        });
        let header = format!("{{{}}}", entries.collect::<Vec<_>>().join(","));
        let length = (header.len() as u64).to_le_bytes();
        let file = [&length[..], header.as_bytes(), &vec![0; 4 * count]].concat();
        let checkpoint = open(&file).unwrap();
        let renamed = |mut variable: Variable| {
            variable.name.replace_range(..1, "v");
            variable
        };
        let variables = checkpoint.variables().unwrap().into_iter().map(renamed);
        let variables: Vec<Variable> = variables.collect();
        let options = RestoreOptions::new()
            .assignment_map([("/", "/"), ("mistyped", "other")])
            .rename_regex(r"^x(\d+)$", "v$1");
        let (plan, _, allocated) = counted(|| checkpoint.plan_for(&variables, &options));
        assert!(plan.rules()[0].problem.is_some(), "{plan}");
        assert_eq!(plan.restored().count(), count);
        allocated
    };
    let (few, many) = (allocated(10), allocated(1000));
    assert!(many < few + 1000 * 3000, "{many} bytes, and {few} for a hundredth");
}

/// Near the longest header that the format allows. That time grows no faster than the header shows
/// in that this test ends; memory is counted.
#[test]
fn a_million_tensors_are_read_or_refused_within_bounds() {
    let count = 1_000_000;
    let mut bytes = vec![0; 8];
    for i in 0..count {
        let before = if i == 0 { '{' } else { ',' };
        let (begin, end) = (i, i + 1);
        write!(
            bytes,
            r#"{before}"{i}":{{"dtype":"U8","shape":[1],"data_offsets":[{begin},{end}]}}"#
        )
        .unwrap();
    }
    bytes.push(b'}');
    let header = bytes.len() - 8;
    bytes[..8].copy_from_slice(&(header as u64).to_le_bytes());
    bytes.resize(bytes.len() + count, 0);
    let checkpoint = open(&bytes).unwrap();
    assert_eq!(checkpoint.tensors().len(), count);
    assert_eq!(checkpoint.tensor("999999").unwrap().bytes(), 1);
    drop(checkpoint);
    // The last one is wrong, and is the one that is named.
    bytes.pop();
    let message = open(&bytes).unwrap_err().to_string();
    assert!(message.contains("tensor `999999`") && message.contains("cut short"), "{message}");
}
