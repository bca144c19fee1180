use crate::{floats, foreign, json, trained, warmstart};
use std::fs;

#[test]
fn names_and_dtypes_change_and_the_model_fits() {
    let directory = tempfile::tempdir().unwrap();
    trained(directory.path(), 1, 7, 0.5);
    let run = |arguments: &[&str]| warmstart(directory.path(), arguments);
    let theirs =
        [("module.fc1.weight", "F64", &[3, 4][..], vec![0; 96]), ("n", "I32", &[1], vec![0; 4])];
    foreign(&directory.path().join("theirs.safetensors"), &theirs);
    let convert = ["convert", "theirs.safetensors", "out.safetensors"];
    let more =
        ["--ignore", "n", "--strip-prefix", "module.", "--separator", ".=/", "--dtype", "f32"];
    let out = run(&[&convert[..], &more].concat()).with(0);
    assert_eq!(out, "wrote out.safetensors: 1 tensor, 48 B, 1 cast, 1 left out\n");
    let out = run(&["verify", "out.safetensors"]).with(0);
    assert!(out.contains("as written"), "{out}");
    run(&["plan", "out.safetensors", "--graph", ".", "--allow-missing"]).with(0);
    // What is there stays, unless it may go.
    let before = fs::read(directory.path().join("out.safetensors")).unwrap();
    let error = run(&convert).failed();
    assert!(error.contains("exists; nothing was written") && error.contains("--force"), "{error}");
    assert_eq!(fs::read(directory.path().join("out.safetensors")).unwrap(), before);
    let value = json(&run(&[&convert[..], &["--force", "--json"]].concat()).with(0));
    assert_eq!(
        (&value["tensors"], &value["bytes"], &value["cast"]),
        (&2.into(), &100.into(), &0.into())
    );
    run(&["diff", "theirs.safetensors", "out.safetensors", "--values"]).with(0);
}

#[test]
fn a_part_of_ours_goes_without_the_graph() {
    let directory = tempfile::tempdir().unwrap();
    trained(directory.path(), 1, 7, 0.5);
    let run = |arguments: &[&str]| warmstart(directory.path(), arguments);
    let out = run(&["convert", ".", "part.safetensors", "--only", "fc1/*"]).with(0);
    assert!(
        out.starts_with("wrote part.safetensors: 2 tensors, 64 B, ")
            && out.contains("without graph"),
        "{out}"
    );
    run(&["convert", ".", "all.safetensors"]).with(0);
    let graph = run(&["graph", "."]).with(0);
    assert_eq!(run(&["graph", "all.safetensors"]).with(0), graph);
    run(&["diff", ".", "all.safetensors", "--values"]).with(0);
}

#[test]
fn what_cannot_be_written_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a.safetensors");
    foreign(&file, &[("a", "F32", &[1], floats(&[1.0])), ("b", "F32", &[1], floats(&[1.0]))]);
    let convert = |more: &[&str]| {
        let arguments = ["convert", "a.safetensors", "b.safetensors"];
        warmstart(directory.path(), &[&arguments, more].concat()).failed()
    };
    assert!(convert(&["--rename", "a=b"]).contains("two tensors would get the name `b`"));
    assert!(convert(&["--transpose", "a"]).contains("about values"));
    let help = warmstart(directory.path(), &["convert", "--help"]).with(0);
    assert!(help.contains("--strip-prefix") && !help.contains("--transpose"), "{help}");
    assert!(convert(&["--rename", "c=d"]).contains("touches no name"));
    assert!(!directory.path().join("b.safetensors").exists());
    fs::write(directory.path().join("notes"), "mine").unwrap();
    let arguments = ["convert", "a.safetensors", "notes", "--force"];
    let error = warmstart(directory.path(), &arguments).failed();
    assert!(error.contains("is not a checkpoint"), "{error}");
    assert_eq!(fs::read(directory.path().join("notes")).unwrap(), b"mine");
}
