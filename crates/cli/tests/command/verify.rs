use crate::{floats, foreign, json, trained, warmstart};
use std::fs;

/// What can still be had of the only checkpoint there is, by the very line that is advised.
#[test]
fn the_rest_of_a_damaged_checkpoint_can_be_kept() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let run = at.join("run");
    std::fs::create_dir(&run).unwrap();
    let file = trained(&run, 7, 7, 0.5);
    let whole = std::fs::read(&file).unwrap();
    let mut bytes = whole.clone();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let lost = json(&warmstart(at, &["verify", "run", "--json"]).with(1));
    let lost = lost[0]["damaged"][0]["tensor"].as_str().unwrap().to_owned();
    let error = warmstart(at, &["latest", "run"]).failed();
    let advised =
        format!("warmstart convert run/step-7.safetensors run/whole.safetensors --ignore {lost}");
    assert!(error.contains("the only checkpoint in `run` is damaged:"), "{error}");
    assert!(error.contains(&advised), "{advised}\n{error}");
    let arguments: Vec<&str> = advised.split(' ').skip(1).collect();
    let out = warmstart(at, &arguments).with(0);
    assert!(out.contains(", 1 left out"), "{out}");
    warmstart(at, &["verify", "run/whole.safetensors"]).with(0);
    // Of a header nothing is left.
    std::fs::write(&file, &whole[..100]).unwrap();
    let error = warmstart(at, &["predict", "run", "--data", "new.csv"]).failed();
    assert!(error.contains("no weights can be had from what is here"), "{error}");
}

/// A length that no header has is damage in a file that is called a checkpoint, and no checkpoint in
/// one that is not.
#[test]
fn an_absurd_length_of_a_header_is_damage() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    for length in [100_000_001, 5000, u64::MAX] {
        let bytes = [&u64::to_le_bytes(length)[..], &[b'{'; 71]].concat();
        for (name, code) in [("model.safetensors", 1), ("model.bin", 2)] {
            std::fs::write(at.join(name), &bytes).unwrap();
            assert_eq!(warmstart(at, &["verify", name]).code, code, "{name}, {length}");
        }
    }
}

#[test]
fn a_damaged_tensor_is_named_with_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let file = trained(directory.path(), 1, 7, 0.5);
    let verify =
        |arguments: &[&str]| warmstart(directory.path(), &[&["verify"], arguments].concat());
    let out = verify(&["step-1.safetensors", "."]).with(0);
    assert_eq!(out.matches("whole ").count(), 2, "{out}");
    assert!(out.contains("as written"), "{out}");
    let value = json(&warmstart(directory.path(), &["inspect", ".", "--json"]).with(0));
    let tensors = value["tensors"].as_array().unwrap();
    let weight = tensors.iter().find(|tensor| tensor["name"] == "fc1/weight").unwrap();
    let offset = weight["offset"].as_u64().unwrap();
    let mut bytes = fs::read(&file).unwrap();
    bytes[offset as usize + 5] ^= 4;
    fs::write(&file, &bytes).unwrap();
    let out = verify(&["step-1.safetensors"]).with(1);
    assert!(out.starts_with("damaged step-1.safetensors\n"), "{out}");
    let expected = format!("tensor `fc1/weight` at file offset {offset} ");
    assert!(out.contains(&expected), "{out}");
    let value = json(&verify(&["--json", "step-1.safetensors"]).with(1));
    assert_eq!((&value[0]["whole"], &value[0]["checksums"]), (&false.into(), &true.into()));
    assert_eq!(value[0]["damaged"][0]["tensor"], "fc1/weight");
    assert_eq!(value[0]["damaged"][0]["offset"], offset);
    // A bit in the header is damage, too, also if there is nothing else in the directory.
    bytes[20] ^= 1;
    fs::write(&file, &bytes).unwrap();
    verify(&["step-1.safetensors"]).with(1);
    verify(&["."]).with(1);
}

/// `verify runs/digits && ...` goes on only if the newest checkpoint is whole.
#[test]
fn newer_checkpoints_that_are_damaged_are_told() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    trained(at, 1, 7, 0.5);
    let newest = trained(at, 2, 7, 0.4);
    let out = warmstart(at, &["verify", "."]).with(0);
    assert!(out.contains("step-2.safetensors") && !out.contains("step-1"), "{out}");
    let bytes = fs::read(&newest).unwrap();
    fs::write(&newest, &bytes[..bytes.len() - 10]).unwrap();
    let out = warmstart(at, &["verify", "."]).with(1);
    assert!(out.starts_with("whole ./step-1.safetensors"), "{out}");
    assert!(out.contains("\ndamaged ./step-2.safetensors\n"), "{out}");
    let value = json(&warmstart(at, &["verify", ".", "--json"]).with(1));
    assert_eq!((&value[0]["whole"], &value[1]["whole"]), (&true.into(), &false.into()));
    assert_eq!(value[1]["file"], "./step-2.safetensors");
}

#[test]
fn files_of_others_are_read_and_one_that_is_missing_does_not_hide_the_rest() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a.safetensors");
    foreign(&file, &[("a", "F32", &[2], floats(&[1.0, 2.0]))]);
    let out = warmstart(directory.path(), &["verify", "a.safetensors"]).with(0);
    assert!(out.contains("1 tensor, 8 B, readable; the file has no checksums"), "{out}");
    let ran = warmstart(directory.path(), &["verify", "b.safetensors", "a.safetensors", "c"]);
    assert_eq!(ran.code, 2);
    assert!(ran.out.starts_with("whole a.safetensors"), "{}", ran.out);
    assert!(ran.error.contains("b.safetensors") && ran.error.contains("`c`"), "{}", ran.error);
    let more = warmstart(directory.path(), &["verify", "a.safetensors", "c", "--json"]);
    let value = json(&more.out);
    assert_eq!((more.code, &value[0]["whole"]), (2, &true.into()));
    assert_eq!((&value[1]["file"], value[1]["whole"].is_null()), (&"c".into(), true));
    assert!(value[1]["error"].as_str().is_some_and(|error| error.contains("`c`")), "{value}");
    fs::write(&file, b"\xff\0\0\0\0\0\0\0{").unwrap();
    warmstart(directory.path(), &["verify", "a.safetensors"]).with(1);
    fs::write(&file, "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n").unwrap();
    let error = warmstart(directory.path(), &["verify", "a.safetensors"]).failed();
    assert!(error.contains("git-lfs"), "{error}");
}

#[test]
fn what_was_never_a_checkpoint_is_not_damaged() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["notes.txt", "data.bin"] {
        fs::write(directory.path().join(name), "what one writes down, and no checkpoint").unwrap();
        let error = warmstart(directory.path(), &["verify", name]).failed();
        assert!(error.contains(name), "{error}");
    }
    // Its bytes are those that were written; what they ask for is not done.
    let evil = concat!(env!("CARGO_MANIFEST_DIR"), "/../checkpoint/tests/fixtures/pytorch/evil.pt");
    let error = warmstart(directory.path(), &["verify", evil]).failed();
    assert!(error.contains("posix"), "{error}");
    // Nor does a name make text one; but what is nothing at all, or cut short, was one by its name.
    fs::write(directory.path().join("a.safetensors"), "what one writes down").unwrap();
    let error = warmstart(directory.path(), &["verify", "a.safetensors"]).failed();
    assert!(error.contains("this is a text, and no checkpoint"), "{error}");
    assert!(error.contains("PyTorch's `.pt`, `.pth` and `.bin`"), "{error}");
    let whole = trained(directory.path(), 1, 7, 0.5);
    let bytes = fs::read(whole).unwrap();
    for left in [0, 5, 100, bytes.len() - 1] {
        fs::write(directory.path().join("a.safetensors"), &bytes[..left]).unwrap();
        warmstart(directory.path(), &["verify", "a.safetensors"]).with(1);
    }
    fs::write(directory.path().join("a.npz"), "").unwrap();
    warmstart(directory.path(), &["verify", "a.npz"]).with(1);
    // A folder without a checkpoint of a known name says which file to name.
    let folder = directory.path().join("folder");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("mlp.pt"), "").unwrap();
    let error = warmstart(directory.path(), &["inspect", "folder"]).failed();
    assert!(error.contains("name the file, `folder/mlp.pt`"), "{error}");
}
