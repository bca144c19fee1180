use crate::{floats, foreign, json, trained, warmstart};
use std::fs;
use std::path::Path;

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
            && out.contains("without graph")
            && out
                .contains("`warmstart predict` needs them, and takes the checkpoint that was read"),
        "{out}"
    );
    run(&["convert", ".", "all.safetensors"]).with(0);
    let graph = run(&["graph", "."]).with(0);
    assert_eq!(run(&["graph", "all.safetensors"]).with(0), graph);
    run(&["diff", ".", "all.safetensors", "--values"]).with(0);
}

/// What is written over was read before, and is gone then.
#[test]
fn that_the_checkpoint_that_was_read_is_replaced_is_told() {
    let directory = tempfile::tempdir().unwrap();
    trained(directory.path(), 1, 7, 0.5);
    let run = |arguments: &[&str]| warmstart(directory.path(), arguments);
    let told = "note: this took the place of the checkpoint that was read\n";
    run(&["convert", "step-1.safetensors", "step-1.safetensors"]).failed();
    let whole = ["convert", "step-1.safetensors", "./step-1.safetensors", "--force"];
    let out = run(&whole).with(0);
    assert!(out.contains(told) && !out.contains("graph"), "{out}");
    // Beside it, there is still a graph to predict with.
    let part = ["convert", ".", "part.safetensors", "--only", "fc1/*"];
    let out = run(&part).with(0);
    assert!(!out.contains(told) && out.contains("takes the checkpoint that was read"), "{out}");
    let value = json(&run(&[&part[..], &["--force", "--json"]].concat()).with(0));
    assert_eq!(value["in_place"], false);
    let out = run(&[&whole[..], &["--only", "fc1/*"]].concat()).with(0);
    let note = "`warmstart predict` needs them, and they went with the checkpoint that was read";
    assert!(out.contains(told) && out.contains(note), "{out}");
    assert_eq!(json(&run(&[&whole[..], &["--json"]].concat()).with(0))["in_place"], true);
}

#[test]
fn numbers_that_become_zero_or_infinite_are_told() {
    let directory = tempfile::tempdir().unwrap();
    let values = floats(&[1e-9, 1e9, 0.0, 0.5]);
    foreign(&directory.path().join("a.safetensors"), &[("a", "F32", &[4], values)]);
    let convert = ["convert", "a.safetensors", "b.safetensors", "--dtype", "f16"];
    let refused = warmstart(directory.path(), &convert).failed();
    for said in [
        "tensor `a` is 1.000e9 at [1], which would be infinite as f16, whose largest number is 65504; \
         nothing was written",
        "help: `--dtype bf16` reaches as far as f32; `--allow-infinite` writes it all the same",
    ] {
        assert!(refused.contains(said), "{said}\n{refused}");
    }
    let error = json(&warmstart(directory.path(), &[&convert[..], &["--json"]].concat()).out);
    let error = &error["error"];
    assert_eq!((&error["tensor"], &error["dtype"]), (&"a".into(), &"f16".into()), "{error}");
    assert_eq!((&error["value"], &error["largest"]), (&1e9.into(), &65504.0.into()), "{error}");
    assert_eq!(error["first"], serde_json::json!([1]), "{error}");
    assert!(!directory.path().join("b.safetensors").exists());
    let convert = [&convert[..], &["--allow-infinite", "--force"]].concat();
    let out = warmstart(directory.path(), &convert).with(0);
    for line in [
        "note: 1 element became infinite: beyond the largest number of the new dtype:",
        "  a: 1, the first at [1], which was 1.000e9",
        "note: 1 element became zero: too small for the new dtype:",
        "  a: 1, the first at [0], which was 1.000e-9",
    ] {
        assert!(out.lines().any(|printed| printed == line), "{line}\n{out}");
    }
    let value = json(&warmstart(directory.path(), &[&convert[..], &["--json"]].concat()).with(0));
    assert_eq!((&value["underflowed"], &value["overflowed"]), (&1.into(), &1.into()));
    assert_eq!(value["underflows"][0]["first"], serde_json::json!([0]));
    // What reads like the largest number in few digits is told in all of them.
    let slightly_more = 3.402_823_6e38f64.to_le_bytes().to_vec();
    foreign(&directory.path().join("c.safetensors"), &[("a", "F64", &[1], slightly_more)]);
    let convert = ["convert", "c.safetensors", "d.safetensors", "--dtype", "f32"];
    let refused = warmstart(directory.path(), &convert).failed();
    let said = "is 3.4028236e38 at [0], which would be infinite as f32, whose largest number is \
                3.4028234663852886e38; nothing was written";
    assert!(refused.contains(said), "{refused}");
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
    // In the words of the command.
    let error = convert(&["--transpose", "a"]);
    assert!(error.contains("`--transpose a` touches no matrix"), "{error}");
    foreign(
        &file,
        &[("fc.weight", "F32", &[1, 2], floats(&[1.0; 2])), ("b", "F32", &[1], floats(&[1.0]))],
    );
    let error = convert(&["--transpose", "**/weight"]);
    assert!(error.contains("touches no matrix: did you mean `**.weight`?"), "{error}");
    foreign(&file, &[("a", "F32", &[1], floats(&[1.0])), ("b", "F32", &[1], floats(&[1.0]))]);
    // Windows has other quotes.
    let error = convert(&["--cast", "**"]).replace('"', "'");
    assert!(error.contains("`--cast '**'`") && error.contains("`--dtype f32`"), "{error}");
    let error = convert(&["--reshape", "a"]);
    assert!(error.contains("shapes of variables"), "{error}");
    let help = warmstart(directory.path(), &["convert", "--help"]).with(0);
    assert!(help.contains("--transpose") && !help.contains("--reshape"), "{help}");
    assert!(convert(&["--rename", "c=d"]).contains("`--rename c=d` touches no name"));
    assert!(convert(&["--ignore", "encoder/**"]).contains("touches no name: take it away"));
    assert!(convert(&["--max-shard-size", "3 apples"]).contains("such as 500MB"));
    assert!(!directory.path().join("b.safetensors").exists());
    fs::write(directory.path().join("notes"), "mine").unwrap();
    // What is written is called what it is.
    for (name, call_it) in [
        ("notes", "call it `notes.safetensors`"),
        ("out.pt", "call it `out.safetensors`"),
        ("sub/a.npz", "call it `sub/a.safetensors`"),
        (".", "such as `./model.safetensors`"),
    ] {
        let arguments = ["convert", "a.safetensors", name, "--force"];
        let error = warmstart(directory.path(), &arguments).failed();
        assert!(error.contains(call_it), "{error}");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
    }
    assert_eq!(fs::read(directory.path().join("notes")).unwrap(), b"mine");
}

#[test]
fn a_large_one_becomes_several_files() {
    let directory = tempfile::tempdir().unwrap();
    trained(directory.path(), 1, 7, 0.5);
    let run = |arguments: &[&str]| warmstart(directory.path(), arguments);
    let convert = ["convert", ".", "out/model.safetensors", "--max-shard-size", "100B"];
    fs::create_dir(directory.path().join("out")).unwrap();
    let out = run(&convert).with(0);
    assert!(out.starts_with("wrote out/model.safetensors.index.json: 8 tensors, "), "{out}");
    assert!(out.contains("out/model-00001-of-0000"), "{out}");
    run(&["diff", ".", "out", "--values"]).with(0);
    assert_eq!(run(&["graph", "out"]).with(0), run(&["graph", "."]).with(0));
    let out = run(&["verify", "out"]).with(0);
    assert!(out.contains("as written"), "{out}");
    let error = run(&convert).failed();
    assert!(error.contains("exists; nothing was written") && error.contains("--force"), "{error}");
    let value = json(&run(&[&convert[..], &["--force", "--json"]].concat()).with(0));
    let index = Path::new(value["file"].as_str().unwrap());
    assert_eq!(index, Path::new("out/model.safetensors.index.json"));
    assert!(value["files"].as_array().unwrap().len() > 1, "{value}");
    // Whatever fits into one file is one.
    let one = ["convert", "out", "one.safetensors", "--max-shard-size", "1GiB"];
    assert!(run(&one).with(0).starts_with("wrote one.safetensors: 8 tensors, "));
    run(&["diff", ".", "one.safetensors", "--values"]).with(0);
}

#[test]
fn what_is_taken_the_place_of_is_told() {
    let directory = tempfile::tempdir().unwrap();
    trained(directory.path(), 1, 7, 0.5);
    let run = |arguments: &[&str]| warmstart(directory.path(), arguments);
    run(&["convert", ".", "m.safetensors"]).with(0);
    let several = ["convert", "m.safetensors", "m.safetensors", "--max-shard-size", "100B"];
    assert!(run(&several).failed().contains("`m.safetensors` exists"));
    let error = run(&[&several[..], &["--force"]].concat()).failed();
    assert!(error.contains("is of the checkpoint that is being read"), "{error}");
    let several = ["convert", ".", "m.safetensors", "--max-shard-size", "100B"];
    let out = run(&[&several[..], &["--force"]].concat()).with(0);
    assert!(out.contains("note: removed, since this takes its place: m.safetensors\n"), "{out}");
    let index = "m.safetensors.index.json";
    run(&["diff", "step-1.safetensors", index, "--values"]).with(0);
    let one = ["convert", index, "m.safetensors"];
    let error = run(&one).failed();
    assert!(error.contains("`m.safetensors.index.json` exists; nothing was written"), "{error}");
    let value = json(&run(&[&one[..], &["--force", "--json"]].concat()).with(0));
    assert_eq!(value["removed"], serde_json::json!([index]));
    assert!(value["left_behind"].as_array().unwrap().len() > 1, "{value}");
    run(&["diff", "step-1.safetensors", "m.safetensors", "--values"]).with(0);
}

#[test]
fn a_directory_opens_by_what_is_whole_in_its_weights() {
    let directory = tempfile::tempdir().unwrap();
    trained(directory.path(), 1, 7, 0.5);
    let newest = trained(directory.path(), 2, 8, 0.5);
    let mut bytes = fs::read(&newest).unwrap();
    let last = bytes.len() - 3;
    bytes[last] ^= 1;
    fs::write(&newest, bytes).unwrap();
    let ran = warmstart(directory.path(), &["convert", ".", "out.safetensors"]);
    assert!(ran.error.starts_with("note: a newer checkpoint is damaged"), "{}", ran.error);
    ran.with(0);
    let diff = ["diff", "step-1.safetensors", "out.safetensors", "--values"];
    warmstart(directory.path(), &diff).with(0);
    // By its header, the newer one is whole.
    let value = json(&warmstart(directory.path(), &["inspect", ".", "--json"]).with(0));
    assert_eq!(value["step"], 2, "{value}");
}

#[test]
fn what_to_leave_out_is_said_only_where_it_helps() {
    let directory = tempfile::tempdir().unwrap();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../checkpoint/tests/fixtures/tensorflow/tf1_dtypes");
    let fixture = fixture.to_str().unwrap();
    let convert = |more: &[&str]| {
        let arguments = ["convert", fixture, "out.safetensors"];
        warmstart(directory.path(), &[&arguments, more].concat())
    };
    let error = convert(&[]).failed();
    let flags = "--ignore str_scalar --ignore str_vec";
    assert!(error.contains(&format!("`{flags}` leaves out all that safetensors")), "{error}");
    let flags: Vec<&str> = flags.split(' ').collect();
    convert(&flags).with(0);
    let clash = [&flags[..], &["--force", "--rename", "f64=f16"]].concat();
    let error = convert(&clash).failed();
    assert!(error.contains("two tensors would get the name `f16`"), "{error}");
    assert!(!error.contains("leaves out"), "{error}");
    // A folder that is not there is named, and no temporary file.
    let into = ["convert", "out.safetensors", "nodir/x.safetensors"];
    let error = warmstart(directory.path(), &into).failed();
    assert!(error.contains("cannot create a file in `nodir`"), "{error}");
    assert!(error.contains("Make this directory") && !error.contains("partial"), "{error}");
}
