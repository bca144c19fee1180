//! Bundles that were changed, and bundles made to harm: an error or the same values, never a panic,
//! and no memory beyond what the files' size allows.

mod common;

use common::{fixture, session, value, variable};
use proptest::prelude::*;
use proptest::sample::Index;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};
use warmstart_checkpoint::{Checkpoint, CheckpointError, RestoreOptions};

const FIXTURES: [(&str, &str); 4] = [
    ("tf1_linear", "model.ckpt"),
    ("tf1_partitioned", "model.ckpt"),
    ("tf1_dtypes", "model.ckpt"),
    ("tf2_keras2", "ckpt-1"),
];

fn files(which: usize) -> (Vec<u8>, Vec<u8>) {
    let (folder, prefix) = FIXTURES[which];
    let read = |end: &str| {
        fs::read(fixture("tensorflow").join(folder).join(format!("{prefix}{end}"))).unwrap()
    };
    (read(".index"), read(".data-00000-of-00001"))
}

fn write(directory: &Path, index: &[u8], data: &[u8]) {
    fs::write(directory.join("m.index"), index).unwrap();
    fs::write(directory.join("m.data-00000-of-00001"), data).unwrap();
}

/// Names and values; of strings, which have no checksum of their bytes, only the names.
type Values = Vec<(String, Option<Vec<u8>>)>;

fn values(directory: &Path) -> Result<Values, CheckpointError> {
    let checkpoint = Checkpoint::open(directory.join("m"))?;
    if let Some(damaged) = checkpoint.verify().damaged.into_iter().next() {
        return Err(damaged);
    }
    let one = |tensor: &warmstart_checkpoint::TensorEntry| {
        let summed = checkpoint.checksum(&tensor.name).is_some();
        (tensor.name.to_string(), summed.then(|| value(&checkpoint, tensor)))
    };
    Ok(checkpoint.tensors().iter().map(one).collect())
}

fn mask(sum: u32) -> u32 {
    sum.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// Where the first block ends: where its checksum is right.
fn first_block(index: &[u8]) -> usize {
    let right = |&end: &usize| {
        index[end + 1..end + 5] == mask(crc32c::crc32c(&index[..=end])).to_le_bytes()
    };
    (0..index.len() - 5).find(right).unwrap()
}

/// How many random files each test tries.
fn cases() -> u32 {
    if std::env::var_os("WARMSTART_TEST_LONG").is_some() { 20_000 } else { 256 }
}

/// A string as protobuf's text form may write it, each byte in one of its ways.
fn quoted(text: &str, ways: u64) -> String {
    let quote = if ways & 1 == 0 { '"' } else { '\'' };
    let byte = |(i, byte): (usize, u8)| match (ways >> (i % 60)) & 3 {
        1 => format!("\\{byte:03o}"),
        2 if !b"nrt01234567".contains(&byte) => format!("\\{}", byte as char),
        _ => (byte as char).to_string(),
    };
    let inner: String = text.bytes().enumerate().map(byte).collect();
    format!("{quote}{inner}{quote}")
}

/// The folder of a run of two steps, with this as its file `checkpoint`.
fn opened_by(state: &[u8]) -> Result<Checkpoint, CheckpointError> {
    let directory = tempfile::tempdir().unwrap();
    for step in [30, 40] {
        for end in ["index", "data-00000-of-00001"] {
            let name = format!("model.ckpt-{step}.{end}");
            let from = fixture("tensorflow").join("tf1_steps").join(&name);
            fs::copy(from, directory.path().join(name)).unwrap();
        }
    }
    fs::write(directory.path().join("checkpoint"), state).unwrap();
    Checkpoint::open(directory.path())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..Default::default() })]

    /// The file that names the newest is believed if what it names is there, and told if it is not.
    #[test]
    fn a_state_file_opens_what_it_names(
        which in 0usize..5,
        ways in any::<u64>(),
        before in "[ -~]{0,20}",
        blanks in " {0,3}",
    ) {
        let name = ["model.ckpt-30", "model.ckpt-40", "/old/place/model.ckpt-30", "model.ckpt-50", ".."];
        let name = name[which];
        let value = quoted(name, ways);
        let line = format!("{blanks}model_checkpoint_path{blanks}:{blanks}{value}{blanks}");
        let checkpoint = opened_by(format!("{before}\n{line}\nx").as_bytes()).unwrap();
        let step = if name.ends_with("-30") { "model.ckpt-30.index" } else { "model.ckpt-40.index" };
        prop_assert!(checkpoint.file().ends_with(step), "{line}: {:?}", checkpoint.file());
        prop_assert_eq!(checkpoint.damaged().len(), usize::from(which > 2), "{}", line);
    }

    #[test]
    fn whatever_a_state_file_says_there_is_a_checkpoint(
        noise in prop::collection::vec(any::<u8>(), 0..60),
        at in any::<Index>(),
        ways in any::<u64>(),
    ) {
        let line = format!("model_checkpoint_path: {}\n", quoted("model.ckpt-30", ways));
        let mut state = line.into_bytes();
        let at = at.index(state.len());
        state.splice(at..at, noise);
        let checkpoint = opened_by(&state).unwrap();
        let file = checkpoint.file().file_stem().unwrap().to_owned();
        // What it cannot be read as is told.
        let newest = file == "model.ckpt-40" && checkpoint.damaged().len() == 1;
        prop_assert!(newest || file == "model.ckpt-30" && checkpoint.damaged().is_empty());
    }

    #[test]
    fn changed_files_are_refused_or_the_same(
        which in 0..FIXTURES.len(),
        in_index in any::<bool>(),
        at in any::<Index>(),
        bit in 0u8..8,
        cut in any::<bool>(),
    ) {
        let (mut index, mut data) = files(which);
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), &index, &data);
        let expected = values(directory.path()).unwrap();
        let changed = if in_index { &mut index } else { &mut data };
        let at = at.index(changed.len());
        if cut { changed.truncate(at) } else { changed[at] ^= 1 << bit }
        write(directory.path(), &index, &data);
        if let Ok(found) = values(directory.path()) {
            prop_assert_eq!(found, expected);
        }
    }

    /// With the block's checksum made right again, so that what lies behind it is tried.
    #[test]
    fn nonsense_with_right_checksums_is_no_panic(
        which in 0..FIXTURES.len(),
        changes in prop::collection::vec((any::<Index>(), any::<u8>()), 1..5),
    ) {
        let (mut index, data) = files(which);
        let end = first_block(&index);
        for (at, byte) in changes {
            index[at.index(end)] = byte;
        }
        let sum = mask(crc32c::crc32c(&index[..=end]));
        index[end + 1..end + 5].copy_from_slice(&sum.to_le_bytes());
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), &index, &data);
        let _ = values(directory.path());
    }
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 128 {
        bytes.push(value as u8 | 128);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// A number as a field of a message.
fn number(field: u8, value: u64) -> Vec<u8> {
    [vec![field << 3], varint(value)].concat()
}

/// A message or bytes as a field of a message.
fn message(field: u8, bytes: &[u8]) -> Vec<u8> {
    [vec![field << 3 | 2], varint(bytes.len() as u64), bytes.to_vec()].concat()
}

fn shape(extents: &[u64]) -> Vec<u8> {
    let dims: Vec<u8> = extents.iter().flat_map(|&n| message(2, &number(1, n))).collect();
    message(2, &dims)
}

fn slice(extents: &[(u64, u64)]) -> Vec<u8> {
    let extent =
        |&(start, length): &(u64, u64)| message(1, &[number(1, start), number(2, length)].concat());
    message(7, &extents.iter().flat_map(extent).collect::<Vec<u8>>())
}

/// The entry of an `f32` tensor.
fn entry(extents: &[u64], offset: u64, data: &[u8]) -> Vec<u8> {
    let sum = mask(crc32c::crc32c(data)).to_le_bytes();
    let place = [number(4, offset), number(5, data.len() as u64), vec![6 << 3 | 5], sum.to_vec()];
    [number(1, 1), shape(extents), place.concat()].concat()
}

fn block(file: &mut Vec<u8>, contents: &[u8]) -> Vec<u8> {
    let handle = [varint(file.len() as u64), varint(contents.len() as u64)].concat();
    let summed = [contents, &[0]].concat();
    file.extend(&summed);
    file.extend(mask(crc32c::crc32c(&summed)).to_le_bytes());
    handle
}

/// An index of one block, with these entries after the header.
fn index(entries: &[(&[u8], Vec<u8>)]) -> Vec<u8> {
    index_with(number(1, 1), entries)
}

/// With this header.
fn index_with(header: Vec<u8>, entries: &[(&[u8], Vec<u8>)]) -> Vec<u8> {
    let header = (&b""[..], header);
    let mut contents = Vec::new();
    for (key, value) in [&[header], entries].concat() {
        contents.push(0);
        contents.extend(varint(key.len() as u64));
        contents.extend(varint(value.len() as u64));
        contents.extend(key);
        contents.extend(value);
    }
    contents.extend([0, 0, 0, 0, 1, 0, 0, 0]);
    finished(&contents)
}

fn finished(contents: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    let data = block(&mut file, contents);
    let entry = [&[0, 1, data.len() as u8, b'~'][..], &data, &[0, 0, 0, 0, 1, 0, 0, 0]].concat();
    let handle = block(&mut file, &entry);
    let mut footer = [&[0, 0][..], &handle].concat();
    footer.resize(40, 0);
    file.extend(footer);
    file.extend(0xdb47_7524_8b80_fb57_u64.to_le_bytes());
    file
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// `w` [2, 3] in columns 0 and 1, and column 2.
fn in_columns() -> (Vec<u8>, Vec<u8>) {
    let (left, right) = (floats(&[0.0, 1.0, 3.0, 4.0]), floats(&[2.0, 5.0]));
    let slices = [slice(&[(0, 2), (0, 2)]), slice(&[(0, 2), (2, 1)])].concat();
    let entries = [
        (&b"\0w\0\x01\x01\x02\x80\x82\x80\x82"[..], entry(&[2, 2], 0, &left)),
        (b"\0w\0\x01\x01\x02\x80\x82\x82\x81", entry(&[2, 1], 16, &right)),
        (b"w", [number(1, 1), shape(&[2, 3]), slices].concat()),
    ];
    (index(&entries), [left, right].concat())
}

#[test]
fn slices_of_columns_are_put_together() {
    let directory = tempfile::tempdir().unwrap();
    let (index, mut data) = in_columns();
    write(directory.path(), &index, &data);
    let checkpoint = Checkpoint::open(directory.path()).unwrap();
    let whole = floats(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    let tensor = checkpoint.tensor("w").unwrap();
    assert_eq!(value(&checkpoint, tensor), whole);
    for at in 0..whole.len() {
        let mut part = vec![0; whole.len() - at];
        checkpoint.read(tensor, at as u64, &mut part).unwrap();
        assert_eq!(part, whole[at..]);
    }
    assert!(checkpoint.read(tensor, 1, &mut [0; 24]).is_err());
    let mut session = session(&[variable("w", [2, 3])]);
    let plan = checkpoint.plan(&session, &RestoreOptions::new());
    plan.restore(&mut session).unwrap();
    assert_eq!(common::bytes(&session, "w"), whole);
    // They are of another reading than the one whose bytes are values, so that nobody may write between.
    let file = directory.path().join("m.data-00000-of-00001");
    let later = SystemTime::UNIX_EPOCH + Duration::from_secs(3600);
    fs::OpenOptions::new().write(true).open(file).unwrap().set_modified(later).unwrap();
    let error = plan.restore(&mut session).unwrap_err();
    assert!(matches!(error, CheckpointError::Changed { .. }), "{error}");
    // A slice's checksum counts, though they make up none of the whole.
    data[20] ^= 1;
    write(directory.path(), &index, &data);
    let checkpoint = Checkpoint::open(directory.path()).unwrap();
    let plan = checkpoint.plan(&session, &RestoreOptions::new());
    let message = plan.restore(&mut session).unwrap_err().to_string();
    assert!(message.contains("`w` at file offset 16 has checksum"), "{message}");
    assert_eq!(common::bytes(&session, "w"), whole);
}

#[test]
fn the_number_of_a_name_is_the_step_where_the_counter_says_so() {
    let step = |bytes: &[u8], dtype: u64| {
        let directory = tempfile::tempdir().unwrap();
        let mut counter = entry(&[], 0, bytes);
        // Its dtype comes first.
        counter[1] = dtype as u8;
        let index = index(&[(b"global_step", counter)]);
        fs::write(directory.path().join("m-50.index"), index).unwrap();
        fs::write(directory.path().join("m-50.data-00000-of-00001"), bytes).unwrap();
        Checkpoint::open(directory.path().join("m-50.index")).unwrap().step()
    };
    let (int64, int32, float) = (9, 3, 1);
    assert_eq!(step(&50u64.to_le_bytes(), int64), Some(50));
    assert_eq!(step(&50u32.to_le_bytes(), int32), Some(50));
    assert_eq!(step(&49u64.to_le_bytes(), int64), None);
    assert_eq!(step(&50f32.to_le_bytes(), float), None);
}

fn told(entries: &[(&[u8], Vec<u8>)], data: &[u8]) -> String {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), &index(entries), data);
    Checkpoint::open(directory.path().join("m")).unwrap_err().to_string()
}

#[test]
fn entries_that_make_no_sense_are_named() {
    let data = floats(&[1.0, 2.0]);
    let whole = entry(&[2], 0, &data);
    let says = |entry: Vec<u8>, words: &str| {
        let message = told(&[(b"a/b", entry)], &data);
        assert!(message.contains("`a/b`") && message.contains(words), "{message}");
    };
    says(entry(&[3], 0, &data), "takes 12 bytes");
    says(entry(&[u64::MAX], 0, &data), "shape that is not known");
    says(entry(&[1 << 40, 1 << 40], 0, &data), "overflows");
    says(entry(&[2], 1, &data), "only 7 of them");
    says(entry(&[2], u64::MAX, &data), "negative or too large");
    says(entry(&[2], i64::MAX as u64, &data), "only 0 of them");
    says([number(3, 1), whole.clone()].concat(), "shard 1 of 1");
    says([number(3, u64::MAX), whole.clone()].concat(), "shard -1 of 1");
    says([whole.clone(), number(1, 0)].concat(), "in place of a dtype");
    says([whole.clone(), slice(&[(0, 1)])].concat(), "names a slice that is not there");
    says([whole.clone(), slice(&[(0, 1), (0, 1)])].concat(), "another rank");
    says([whole.clone(), slice(&[(1, 2)])].concat(), "beyond its shape");
    says(b"\xff".to_vec(), "cannot be read");
    assert!(told(&[(b"\xff", whole)], &data).contains("not UTF-8"));
}

/// Of the path of a data file, its name alone has to be text.
#[cfg(target_os = "linux")]
#[test]
fn a_folder_may_have_any_name() {
    use std::os::unix::ffi::OsStrExt;
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path().join(std::ffi::OsStr::from_bytes(b"\xff"));
    fs::create_dir(&folder).unwrap();
    let data = floats(&[1.0, 2.0]);
    write(&folder, &index(&[(b"a", entry(&[2], 0, &data))]), &data);
    let checkpoint = Checkpoint::open(folder.join("m.data-00000-of-00001")).unwrap();
    assert_eq!(checkpoint.tensors().len(), 1);
}

#[test]
fn bytes_of_two_tensors_are_refused() {
    let data = floats(&[1.0, 2.0, 3.0]);
    let two = |second: u64| {
        let of = |at: u64| entry(&[2], at, &data[at as usize..at as usize + 8]);
        told(&[(b"a", of(0)), (b"b", of(second))], &data)
    };
    for second in [0, 4] {
        let message = two(second);
        assert!(
            message.contains("tensor `b`") && message.contains("overlaps tensor `a`"),
            "{message}"
        );
    }
}

/// That time does not grow with their product shows in that this test ends.
#[test]
fn a_long_name_may_have_many_slices() {
    let name = vec![b'a'; 1 << 20];
    let slices = slice(&[]).repeat(500_000);
    let message = told(&[(&name, [number(1, 1), shape(&[]), slices].concat())], b"");
    assert!(message.contains("names a slice that is not there"));
}

/// Going on from an older one would hide that the newest is whole, and of another kind.
#[test]
fn what_is_not_supported_is_not_passed_over() {
    let data = floats(&[1.0, 2.0]);
    let entries = [(&b"a"[..], entry(&[2], 0, &data))];
    let directory = tempfile::tempdir().unwrap();
    let write = |step: u32, index: &[u8]| {
        fs::write(directory.path().join(format!("m-{step}.index")), index).unwrap();
        fs::write(directory.path().join(format!("m-{step}.data-00000-of-00001")), &data).unwrap();
    };
    write(1, &index(&entries));
    let mut compressed = index(&entries);
    // The byte after the first block says how it is compressed, and is summed up with it.
    let end = first_block(&compressed);
    compressed[end] = 7;
    let sum = mask(crc32c::crc32c(&compressed[..=end])).to_le_bytes();
    compressed[end + 1..end + 5].copy_from_slice(&sum);
    for (newer, words) in [
        (index_with([number(1, 1), number(2, 1)].concat(), &entries), "big-endian"),
        (index_with([number(1, 1), message(3, &number(2, 9))].concat(), &entries), "version 9"),
        (compressed, "compressed in way 7"),
    ] {
        write(2, &newer);
        let message = Checkpoint::open(directory.path()).unwrap_err().to_string();
        assert!(message.contains(words) && message.contains("m-2.index"), "{message}");
    }
    // What is damaged is.
    write(2, b"");
    let checkpoint = Checkpoint::open(directory.path()).unwrap();
    assert!(checkpoint.file().ends_with("m-1.index") && checkpoint.damaged().len() == 1);
}

/// Keys that share long beginnings take little of the file and much memory.
#[test]
fn an_index_cannot_ask_for_more_memory_than_its_size_allows() {
    let long = vec![b'a'; 50_000];
    let mut contents = vec![0, 0, 2];
    contents.extend(number(1, 1));
    contents.extend([vec![0], varint(50_000), varint(0), long].concat());
    for more in 0..20_000 {
        // All of the one before, and one byte more.
        contents.extend([varint(50_000 + more), vec![1, 0, b'b']].concat());
    }
    contents.extend([0, 0, 0, 0, 1, 0, 0, 0]);
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), &finished(&contents), b"");
    let message = Checkpoint::open(directory.path().join("m")).unwrap_err().to_string();
    assert!(message.contains("keys are longer than a file of this length"), "{message}");
}
