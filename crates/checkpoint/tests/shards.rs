//! Checkpoints in several safetensors files.

mod common;

use common::{bytes, check_expected, fixture, session, value, variable};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use warmstart_checkpoint::{Checkpoint, CheckpointError, FormatError, RestoreOptions, ShardsError};
use warmstart_gpu::Origin;

const INDEX: &str = "model.safetensors.index.json";
const FIRST: &str = "model-00001-of-00002.safetensors";
const SECOND: &str = "model-00002-of-00002.safetensors";

/// What the index of the fixture says.
const TRUTH: [(&str, &str); 4] =
    [("fc1.weight", FIRST), ("fc1.bias", FIRST), ("fc2.weight", SECOND), ("fc2.bias", SECOND)];

/// A copy of the fixture to be damaged.
fn copied() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    for name in [INDEX, FIRST, SECOND] {
        fs::copy(fixture("st_sharded").join(name), directory.path().join(name)).unwrap();
    }
    let index = directory.path().join(INDEX);
    (directory, index)
}

fn refused(index: &Path) -> ShardsError {
    match Checkpoint::open(index) {
        Err(CheckpointError::Malformed { source: FormatError::Shards(error), .. }) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_index_and_its_folder_open_all_files() {
    for path in [fixture("st_sharded"), fixture("st_sharded").join(INDEX)] {
        let checkpoint = Checkpoint::open(path).unwrap();
        assert_eq!(checkpoint.tensors().len(), 4);
        check_expected(&checkpoint, &fixture("st_sharded/expected.json"));
        assert_eq!(checkpoint.file(), fixture("st_sharded").join(INDEX));
        assert_eq!(checkpoint.files().count(), 2);
        let weight = checkpoint.tensor("fc2.weight").unwrap();
        assert!(checkpoint.file_of(weight).ends_with(SECOND));
        assert_eq!(checkpoint.metadata().get("format"), Some("pt"));
        let verified = checkpoint.verify();
        assert!(verified.is_whole() && !verified.checksums);
    }
}

#[test]
fn they_restore_like_one_file() {
    let variables = [
        variable("fc1.weight", [3, 4]),
        variable("fc1.bias", [3]),
        variable("fc2.weight", [2, 3]),
        variable("fc2.bias", [2]),
    ];
    let mut session = session(&variables);
    let checkpoint = Checkpoint::open(fixture("st_sharded")).unwrap();
    checkpoint.plan(&session, &RestoreOptions::new()).restore(&mut session).unwrap();
    for variable in &variables {
        let tensor = checkpoint.tensor(&variable.name).unwrap();
        assert_eq!(bytes(&session, &variable.name), value(&checkpoint, tensor));
        let origin = &session.variable(&variable.name).unwrap().origin;
        let (file, name) = (fixture("st_sharded").join(INDEX), variable.name.as_str().into());
        assert_eq!(*origin, Origin::Restored { file: file.into(), name, step: None });
    }
}

#[test]
fn names_of_files_stay_inside_the_folder() {
    let (directory, index) = copied();
    let outside = tempfile::tempdir().unwrap();
    let elsewhere = outside.path().join(SECOND);
    fs::rename(directory.path().join(SECOND), &elsewhere).unwrap();
    let text = fs::read_to_string(&index).unwrap();
    let up = format!("../{}/{SECOND}", outside.path().file_name().unwrap().to_str().unwrap());
    // In JSON, a `\` of Windows would begin an escape.
    let absolute = elsewhere.to_str().unwrap().replace('\\', "/");
    for name in [&absolute, &up, "", "..", "a\\\\b", "a\\u0000b"] {
        fs::write(&index, text.replace(SECOND, name)).unwrap();
        assert!(matches!(refused(&index), ShardsError::Outside { .. }), "{name}");
    }
    #[cfg(unix)]
    {
        fs::write(&index, &text).unwrap();
        std::os::unix::fs::symlink(&elsewhere, directory.path().join(SECOND)).unwrap();
        assert!(matches!(refused(&index), ShardsError::Outside { .. }));
        // Unless the index is a link into that folder too, as in the cache of the Hub.
        let (real, first) = (outside.path().join(INDEX), outside.path().join(FIRST));
        fs::rename(&index, &real).unwrap();
        fs::rename(directory.path().join(FIRST), &first).unwrap();
        std::os::unix::fs::symlink(&real, &index).unwrap();
        std::os::unix::fs::symlink(&first, directory.path().join(FIRST)).unwrap();
        assert_eq!(Checkpoint::open(&index).unwrap().tensors().len(), 4);
    }
}

#[test]
fn files_that_do_not_fit_are_named() {
    let (directory, index) = copied();
    let text = fs::read_to_string(&index).unwrap();
    fs::write(&index, text.replace("fc2.bias", "fc2.gain")).unwrap();
    assert!(
        matches!(refused(&index), ShardsError::NotInShard { tensor, .. } if tensor == "fc2.gain")
    );
    fs::write(&index, text.replace("\"fc2.bias\"", "\"fc2.weight\"")).unwrap();
    assert!(refused(&index).to_string().contains("`fc2.weight` comes twice"));
    let strange = text.replace("fc2.bias", r"\u001b[2K").replace("fc2.weight", r"\u001b[2K");
    fs::write(&index, strange).unwrap();
    assert!(refused(&index).to_string().contains(r"`\u{1b}[2K` comes twice"));
    let shorter = text.replace("\"fc1.bias\": \"model-00001-of-00002.safetensors\",", "");
    fs::write(&index, shorter).unwrap();
    assert!(
        matches!(refused(&index), ShardsError::NotInIndex { tensor, .. } if tensor == "fc1.bias")
    );
    for text in ["{\"weight_map\": 3}", "{\"weight_map\": {}}", "{\"weight_map\": "] {
        fs::write(&index, text).unwrap();
        assert!(matches!(refused(&index), ShardsError::Index { .. }));
    }
    fs::write(&index, &text).unwrap();
    // Which of the files is damaged is said.
    let second = directory.path().join(SECOND);
    let whole = fs::read(&second).unwrap();
    fs::write(&second, &whole[..whole.len() - 1]).unwrap();
    let message = Checkpoint::open(&index).unwrap_err().to_string();
    assert!(message.contains(SECOND) && message.contains("cut short"), "{message}");
    fs::remove_file(&second).unwrap();
    let message = Checkpoint::open(directory.path()).unwrap_err().to_string();
    let words = [SECOND, "does not exist", "`fc2.bias`", "`fc2.weight`"];
    assert!(words.iter().all(|word| message.contains(word)), "{message}");
}

/// How many random indices each test tries.
fn cases() -> u32 {
    if std::env::var_os("WARMSTART_TEST_LONG").is_some() { 20_000 } else { 256 }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_changed_index_is_refused_or_says_the_same(
        changes in prop::collection::vec((any::<Index>(), any::<u8>(), 0..3), 1..4),
    ) {
        let (directory, index) = copied();
        let mut text = fs::read(&index).unwrap();
        for (at, byte, how) in changes {
            let at = at.index(text.len());
            match how {
                0 => text[at] = byte,
                1 => text.insert(at, byte),
                _ => text.truncate(at.max(1)),
            }
        }
        fs::write(&index, text).unwrap();
        match Checkpoint::open(&index) {
            Ok(checkpoint) => {
                check_expected(&checkpoint, &fixture("st_sharded/expected.json"));
            }
            Err(error) => {
                let folder = directory.path().to_string_lossy().into_owned();
                prop_assert!(error.to_string().contains(&folder), "{error}");
            }
        }
    }

    /// Names of tensors and files in any combination: what is true of the files is taken.
    #[test]
    fn an_index_is_held_against_its_files_both_ways(
        some in prop::collection::btree_map(
            select(vec!["fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias", "other"]),
            select(vec![FIRST, SECOND, INDEX, "gone", "", "..", "../m.safetensors", "/etc/passwd"]),
            0..5,
        ),
        true_of in 0..5usize,
    ) {
        let (_directory, index) = copied();
        let truth = BTreeMap::from(TRUTH);
        // Most combinations are wrong in many ways at once.
        let mut map = truth.clone();
        map.extend(some.into_iter().skip(true_of));
        let expected = map == truth;
        let text = serde_json::json!({ "weight_map": map }).to_string();
        fs::write(&index, text).unwrap();
        let opened = Checkpoint::open(&index);
        prop_assert_eq!(opened.is_ok(), expected, "{:?}", map);
    }
}

/// What it leaves out is found in the files, but for those that it does not name at all.
#[test]
fn an_index_that_leaves_tensors_out_is_refused() {
    for chosen in 1..16u32 {
        let (_directory, index) = copied();
        let some = TRUTH.iter().enumerate().filter(|(i, _)| chosen >> i & 1 == 1);
        let map: BTreeMap<&str, &str> = some.map(|(_, pair)| *pair).collect();
        fs::write(&index, serde_json::json!({ "weight_map": map }).to_string()).unwrap();
        let of = |file: &str| map.values().filter(|other| **other == file).count();
        let whole = [FIRST, SECOND].iter().all(|file| [0, 2].contains(&of(file)));
        assert_eq!(Checkpoint::open(&index).is_ok(), whole, "{map:?}");
    }
}

#[test]
fn a_folder_with_several_says_which_there_are() {
    let (directory, index) = copied();
    for name in ["a.safetensors.index.json", "b.safetensors.index.json"] {
        fs::copy(&index, directory.path().join(name)).unwrap();
    }
    // The usual name is the one that is meant.
    assert!(Checkpoint::open(directory.path()).is_ok());
    fs::remove_file(&index).unwrap();
    let message = Checkpoint::open(directory.path()).unwrap_err().to_string();
    assert!(message.contains("`a.safetensors.index.json`, `b.s"), "{message}");
    fs::remove_file(directory.path().join("b.safetensors.index.json")).unwrap();
    assert_eq!(Checkpoint::open(directory.path()).unwrap().tensors().len(), 4);
}
