//! Conversions into several files, and what they take the place of.

use super::tests::{all, matrices, rules};
use super::*;
use crate::testing::faulty::{Fault, Faulty};
use crate::testing::watched::{Operation, Verdict, Watcher};
use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

#[test]
fn several_files_hold_the_same_bits() {
    let directory = tempfile::tempdir().unwrap();
    let source = Checkpoint::open(matrices(directory.path(), 10, 4)).unwrap();
    let folder = directory.path().join("out");
    fs::create_dir(&folder).unwrap();
    let out = folder.join("model.safetensors");
    let convert =
        |most: u64| source.convert(&out, &ConvertOptions::new().max_shard_bytes(most)).unwrap();
    // Whatever fits into one file is one.
    let converted = convert(67);
    assert_eq!((&converted.files[..], converted.index), (&[out.clone()][..], None));
    // 24, 40 and 3 bytes; the single file gives way.
    let converted = convert(43);
    let names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    assert_eq!(converted.files, names.map(|name| folder.join(name)));
    let index = folder.join("model.safetensors.index.json");
    assert_eq!(converted.index.as_ref(), Some(&index));
    assert!(!out.exists() && converted.left_behind.is_empty());
    let text: serde_json::Value = serde_json::from_slice(&fs::read(&index).unwrap()).unwrap();
    assert_eq!(text["metadata"]["total_size"], 67);
    assert_eq!(text["weight_map"]["w"], names[0]);
    assert_eq!(text["weight_map"]["v"], names[1]);
    for path in [&index, &folder] {
        let copy = Checkpoint::open(path).unwrap();
        assert_eq!((all(&copy), copy.metadata().graph()), (all(&source), Some("{}")));
        let found = copy.verify();
        assert!(found.is_whole() && found.checksums);
    }
    // A tensor that is larger than a file may be has one for itself.
    let converted = convert(1);
    assert_eq!(converted.files.len(), 3);
    assert_eq!(converted.left_behind, names.map(|name| folder.join(name)));
    assert_eq!(all(&Checkpoint::open(&folder).unwrap()), all(&source));
    // What is read is not written over, and what exists may be kept.
    let copy = Checkpoint::open(&index).unwrap();
    let options = ConvertOptions::new().max_shard_bytes(1);
    let error = copy.convert(&out, &options).unwrap_err();
    assert!(error.to_string().contains("is being read"), "{error}");
    let error = copy.convert(&converted.files[0], &ConvertOptions::new()).unwrap_err();
    assert!(error.to_string().contains("is being read"), "{error}");
    let error = source.convert(&out, &options.keep_existing()).unwrap_err();
    assert!(matches!(error, CheckpointError::Exists { .. }), "{error}");
    let error = source.convert(folder.join("model"), &ConvertOptions::new().max_shard_bytes(1));
    assert!(error.unwrap_err().to_string().contains("such as `model.safetensors`"));
    assert_eq!(all(&Checkpoint::open(&folder).unwrap()), all(&source));
}

#[test]
fn whatever_fails_an_index_names_whole_files_of_one_checkpoint() {
    let read = tempfile::tempdir().unwrap();
    let source = Checkpoint::open(matrices(read.path(), 10, 4)).unwrap();
    let options = ConvertOptions::new().max_shard_bytes(1);
    let new = all(&source);
    // Before it there is nothing, another checkpoint in as many files, one in fewer, or one file.
    for before in [None, Some(1), Some(43), Some(67)] {
        let mut struck = 0;
        for operation in 0.. {
            let directory = tempfile::tempdir().unwrap();
            let out = directory.path().join("model.safetensors");
            let mut old = None;
            if let Some(most) = before {
                let transposed = rules(&[Rule::Transpose("**".into())]).max_shard_bytes(most);
                source.convert(&out, &transposed).unwrap();
                old = Some(all(&Checkpoint::open(directory.path()).unwrap()));
            }
            let faulty = Faulty::at(operation, Fault::Error(std::io::ErrorKind::Other));
            let written = source.convert_on(&faulty, &out, &options);
            let case = format!("{before:?}, {operation}: {written:?}");
            match Checkpoint::open(directory.path()) {
                Ok(found) => {
                    let found = all(&found);
                    assert!(found == new || Some(&found) == old.as_ref(), "{case}");
                    assert!(written.is_err() || found == new, "{case}");
                }
                Err(CheckpointError::NoCheckpoint { .. }) => assert!(written.is_err(), "{case}"),
                Err(error) => panic!("{case}: {error}"),
            }
            if !faulty.struck() {
                assert!(written.is_ok(), "{case}");
                break;
            }
            struck += usize::from(written.is_err());
        }
        assert!(struck > 10, "{before:?}: {struck}");
    }
}

/// All files of a folder, byte by byte.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths.map(|path| (path.clone(), fs::read(&path).unwrap())).collect()
}

/// A folder with an old checkpoint, as files of at most so many bytes.
fn old(source: &Checkpoint, most: u64) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("model.safetensors");
    let options = rules(&[Rule::Transpose("**".into())]).max_shard_bytes(most);
    source.convert(&out, &options).unwrap();
    (directory, out)
}

#[test]
fn a_damaged_source_changes_nothing() {
    let read = tempfile::tempdir().unwrap();
    let source = Checkpoint::open(matrices(read.path(), 10, 4)).unwrap();
    let damaged = read.path().join("damaged.safetensors");
    source.convert(&damaged, &ConvertOptions::new()).unwrap();
    let mut bytes = fs::read(&damaged).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&damaged, bytes).unwrap();
    let damaged = Checkpoint::open(&damaged).unwrap();
    for (before, most) in [(1, 1), (43, 1), (67, 1), (1, 67), (67, 67)] {
        let (folder, out) = old(&source, before);
        let there = contents(folder.path());
        let options = ConvertOptions::new().max_shard_bytes(most);
        let error = damaged.convert(&out, &options).unwrap_err();
        assert!(matches!(error, CheckpointError::Checksum { .. }), "{error}");
        assert!(contents(folder.path()) == there, "{before} {most}");
    }
}

/// Fails at one of the operations that come before names change.
#[derive(Clone)]
struct FailingWrites {
    at: usize,
    done: Arc<AtomicUsize>,
}

impl Watcher for FailingWrites {
    fn before(&self, operation: Operation<'_>) -> Verdict {
        use Operation::{Create, Sync, Write};
        let counts = matches!(operation, Create(_) | Write { .. } | Sync(_));
        match counts && self.done.fetch_add(1, Ordering::Relaxed) == self.at {
            true => Verdict::Fails(std::io::ErrorKind::StorageFull.into()),
            false => Verdict::Done,
        }
    }
}

#[test]
fn a_failed_write_changes_nothing() {
    let read = tempfile::tempdir().unwrap();
    let source = Checkpoint::open(matrices(read.path(), 10, 4)).unwrap();
    for (before, most) in [(1, 1), (43, 1), (67, 1), (1, 67)] {
        for at in 0.. {
            let (folder, out) = old(&source, before);
            let there = contents(folder.path());
            let failing = FailingWrites { at, done: Arc::default() };
            let options = ConvertOptions::new().max_shard_bytes(most);
            if source.convert_on(&failing, &out, &options).is_ok() {
                assert!(at > 3 && failing.done.load(Ordering::Relaxed) <= at);
                break;
            }
            assert!(contents(folder.path()) == there, "{before} {most} {at}");
        }
    }
}

#[test]
fn one_file_takes_the_place_of_several_and_several_of_one() {
    let read = tempfile::tempdir().unwrap();
    let source = Checkpoint::open(matrices(read.path(), 10, 4)).unwrap();
    let options = |most| ConvertOptions::new().max_shard_bytes(most);
    // A folder is opened by `model.safetensors` before it is by an index, by others after.
    for name in ["model.safetensors", "other.safetensors"] {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join(name);
        let index = folder.path().join(format!("{name}.index.json"));
        let transposed = rules(&[Rule::Transpose("**".into())]).max_shard_bytes(1);
        let several = source.convert(&out, &transposed).unwrap();
        assert!(several.removed.is_empty());
        let there = contents(folder.path());
        let error = source.convert(&out, &options(0).keep_existing()).unwrap_err();
        assert!(matches!(&error, CheckpointError::Exists { file } if *file == index), "{error}");
        assert!(contents(folder.path()) == there);
        let one = source.convert(&out, &options(0)).unwrap();
        assert_eq!((&one.removed, &one.left_behind), (&vec![index.clone()], &several.files));
        assert!(!index.exists());
        assert_eq!(all(&Checkpoint::open(&out).unwrap()), all(&source));
        one.left_behind.iter().for_each(|file| fs::remove_file(file).unwrap());
        // What is read does not go, whatever else may be in it; a copy of it elsewhere does.
        let one = Checkpoint::open(&out).unwrap();
        let error = one.convert(&out, &options(43).keep_existing()).unwrap_err();
        assert!(matches!(&error, CheckpointError::Exists { file } if *file == out), "{error}");
        let there = contents(folder.path());
        let error = one.convert(&out, &options(43)).unwrap_err().to_string();
        assert!(error.contains("is of the checkpoint that is being read"), "{error}");
        assert!(contents(folder.path()) == there);
        let several = source.convert(&out, &options(43)).unwrap();
        assert_eq!((&several.removed, &several.left_behind), (&vec![out.clone()], &Vec::new()));
        assert_eq!(all(&Checkpoint::open(folder.path()).unwrap()), all(&source));
        // And back, from the files themselves; but for a part of them, what is left would have no index.
        let there = contents(folder.path());
        let part = rules(&[Rule::Ignore("v".into())]);
        let error = Checkpoint::open(&index).unwrap().convert(&out, &part).unwrap_err().to_string();
        assert!(error.contains("is of the checkpoint that is being read"), "{error}");
        assert!(contents(folder.path()) == there);
        let back = Checkpoint::open(&index).unwrap().convert(&out, &options(0)).unwrap();
        assert_eq!((back.removed, back.left_behind), (vec![index], several.files));
        assert_eq!(all(&Checkpoint::open(&out).unwrap()), all(&source));
    }
}

/// Somebody else, who takes a name while this process writes.
#[derive(Clone)]
struct Intruder(PathBuf);

impl Watcher for Intruder {
    fn before(&self, operation: Operation<'_>) -> Verdict {
        if matches!(operation, Operation::Sync(_)) {
            fs::write(&self.0, "theirs").unwrap();
        }
        Verdict::Done
    }
}

#[test]
fn a_file_that_comes_meanwhile_is_kept_too() {
    let read = tempfile::tempdir().unwrap();
    let source = Checkpoint::open(matrices(read.path(), 10, 4)).unwrap();
    for (most, name) in [
        (0, "model.safetensors"),
        (43, "model.safetensors"),
        (43, "model-00001-of-00002.safetensors"),
        (43, "model-00002-of-00002.safetensors"),
        (43, "model.safetensors.index.json"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let (out, theirs) = (folder.path().join("model.safetensors"), folder.path().join(name));
        let options = ConvertOptions::new().max_shard_bytes(most).keep_existing();
        let error = source.convert_on(&Intruder(theirs.clone()), &out, &options).unwrap_err();
        assert!(matches!(&error, CheckpointError::Exists { file } if *file == theirs), "{error}");
        let there = BTreeMap::from([(theirs, b"theirs".to_vec())]);
        // An index is theirs to say of what; what it may name is not taken away.
        let found = contents(folder.path());
        match name.ends_with("json") {
            true => assert!(there.iter().all(|(file, bytes)| found.get(file) == Some(bytes))),
            false => assert!(found == there, "{name}"),
        }
    }
}

#[test]
fn more_files_than_can_be_open_are_refused() {
    let read = tempfile::tempdir().unwrap();
    let file = read.path().join("many.safetensors");
    let tensors = (0..257)
        .map(|i| format!(r#""{i}":{{"dtype":"U8","shape":[1],"data_offsets":[{i},{}]}}"#, i + 1));
    let header = format!("{{{}}}", tensors.collect::<Vec<_>>().join(","));
    let length = (header.len() as u64).to_le_bytes();
    fs::write(&file, [&length[..], header.as_bytes(), &[0; 257]].concat()).unwrap();
    let source = Checkpoint::open(&file).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("model.safetensors");
    let error = source.convert(&out, &ConvertOptions::new().max_shard_bytes(1)).unwrap_err();
    assert!(error.to_string().contains("give a larger size for each"), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    let options = rules(&[Rule::Ignore("7".into())]).max_shard_bytes(1);
    assert_eq!(source.convert(&out, &options).unwrap().files.len(), 256);
    assert_eq!(Checkpoint::open(folder.path()).unwrap().tensors().len(), 256);
}

#[cfg(any(target_os = "linux", target_os = "macos"))]
#[test]
fn too_many_open_files_have_advice_of_their_own() {
    let error = std::io::Error::from(rustix::io::Errno::MFILE);
    let error = CheckpointError::storage("open", Path::new("a"), error).to_string();
    assert!(error.contains("`ulimit -n`") && !error.contains("Check the disk"), "{error}");
}
