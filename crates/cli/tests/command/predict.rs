use crate::train::{flowers, write};
use crate::{foreign, json, trained, warmstart};
use warmstart_checkpoint::{SaveOptions, save};
use warmstart_gpu::{Gpu, Session};
use warmstart_graph::{DType, Graph};

#[test]
fn any_named_tensor_of_any_graph_is_computed() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let graph = Graph::new();
    // Two rows at once, so that three rows are a whole batch and a part of one.
    let x = graph.placeholder("x", [2, 3], DType::F32);
    let other = graph.placeholder("other", [2, 3], DType::F32);
    let sum = (x * 2.0).sum(&[1]).named("twice the sum");
    (x + other).named("both");
    let weight = graph.variable("weight", [3, 1], warmstart_graph::Initializer::Ones);
    x.matmul(weight).named("weighted");
    x.square().named("squares");
    let mut session = Session::new(&Gpu::new().unwrap());
    session.compile(&graph, &[x.matmul(weight), sum], &[]).unwrap();
    session.initialize_missing(1).unwrap();
    let options = SaveOptions::new().graph(&graph.finish().unwrap());
    save(&session, at.join("model.safetensors"), &options).unwrap();
    std::fs::write(at.join("rows.csv"), "1,2,3\n4,5,6\n7,8,9\n").unwrap();

    let predict = |more: &[&str]| {
        let arguments = ["predict", "model.safetensors", "--data", "rows.csv"];
        warmstart(at, &[&arguments, more].concat())
    };
    let out = predict(&["--output", "weighted"]).with(0);
    assert_eq!(out, "weighted\n6\n15\n24\n");
    // Tensors that read no variable need nothing of what the checkpoint holds.
    let out = predict(&["--output", "squares"]).with(0);
    assert_eq!(out, "squares 1,squares 2,squares 3\n1,4,9\n16,25,36\n49,64,81\n");
    let out = predict(&["--output", "twice the sum"]).with(0);
    assert_eq!(out, "twice the sum\n12\n30\n48\n");
    let out = predict(&["--output", "weighted", "-o", "out.csv", "--json"]).with(0);
    let value = json(&out);
    assert_eq!((&value["rows"], &value["columns"][0]), (&3.into(), &"weighted".into()));
    assert_eq!(std::fs::read_to_string(at.join("out.csv")).unwrap(), "weighted\n6\n15\n24\n");
    assert_eq!(predict(&["--output", "weighted", "--json"]).code, 2);
    #[cfg(unix)]
    predict(&["--output", "weighted", "-o", "/dev/null"]).with(0);
    let error = predict(&[]).failed();
    assert!(error.contains("does not say which tensor of its model predicts"), "{error}");
    assert!(error.contains("`twice the sum`"), "{error}");
    let error = predict(&["--output", "weighed"]).failed();
    assert!(error.contains("did you mean `weighted`?"), "{error}");
    let error = predict(&["--output", "both"]).failed();
    assert!(error.contains("the model reads `other`, `x`"), "{error}");
    std::fs::write(at.join("rows.csv"), "1,2\n4,5\n").unwrap();
    let error = predict(&["--output", "weighted"]).failed();
    assert!(error.contains("`rows.csv` has 2 columns, and the model takes 3"), "{error}");
    assert!(error.contains("give a file with the columns"), "{error}");
    std::fs::write(at.join("rows.csv"), "1,2,3,0\n4,5,6,1\n").unwrap();
    let error = predict(&["--output", "weighted"]).failed();
    assert!(error.contains("leave one column out") && error.contains("of the label"), "{error}");
    // No rows, of more columns than can be counted.
    let huge = [0, 1 << 32, 1 << 32];
    let name = "a\u{1b}[2K";
    foreign(&at.join("rows.csv"), &[(name, "F32", &huge, vec![])]);
    let error = predict(&["--output", "weighted"]).failed();
    assert!(error.contains("`rows.csv` holds no rows"), "{error}");
    foreign(&at.join("rows.csv"), &[(name, "F32", &huge, vec![]), ("b", "F32", &huge, vec![])]);
    for array in ["a[2K", "something else"] {
        let error = predict(&["--output", "weighted", "--array", array]).failed();
        assert!(error.contains(r"`a\u{1b}[2K`"), "{error}");
    }
    // A checkpoint with a graph, but nothing in it has a name.
    trained(at, 1, 7, 0.5);
    let error = warmstart(at, &["predict", "step-1.safetensors", "--data", "rows.csv"]).failed();
    assert!(error.contains(".named(\"...\")"), "{error}");
}

#[test]
fn a_model_that_reads_bytes_is_fed_bytes_and_one_of_tokens_is_not_fed() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let graph = Graph::new();
    let pixels = graph.placeholder("pixels", [2, 3], DType::U8).cast(DType::F32) / 2.0;
    let weight = graph.variable("weight", [3, 1], warmstart_graph::Initializer::Ones);
    let sum = pixels.matmul(weight).named("sum");
    let tokens = graph.placeholder("tokens", [2, 3], DType::I32).cast(DType::F32);
    let tokens = tokens.matmul(weight).named("tokens");
    let mut session = Session::new(&Gpu::new().unwrap());
    session.compile(&graph, &[sum, tokens], &[]).unwrap();
    session.initialize_missing(1).unwrap();
    let options = SaveOptions::new().graph(&graph.finish().unwrap());
    save(&session, at.join("model.safetensors"), &options).unwrap();
    let predict = |rows: &str, output: &str| {
        std::fs::write(at.join("rows.csv"), rows).unwrap();
        let arguments = ["predict", "model.safetensors", "--data", "rows.csv", "--output", output];
        warmstart(at, &arguments)
    };
    let out = predict("1,2,3\n255,255,255\n7,0,0\n", "sum").with(0);
    assert_eq!(out, "sum\n3\n382.5\n3.5\n");
    for (cell, rows) in [("0.5", "1,2,3\n4,0.5,6\n"), ("256", "256,2,3\n"), ("-1", "-1,2,3\n")] {
        let error = predict(rows, "sum").failed();
        assert!(error.contains(&format!("is {cell}, and the model takes bytes")), "{error}");
        assert!(error.contains("whole numbers from 0 to 255"), "{error}");
    }
    let error = predict("1,2,3\n", "tokens").failed();
    let expected = "the model reads `tokens`, i32 [2, 3], and this command feeds rows of `f32`";
    assert!(error.contains(expected) && error.contains("`Checkpoint::graph`"), "{error}");
}

/// An array of NumPy with rows of three.
fn npy(rows: &[[f32; 3]]) -> Vec<u8> {
    let header =
        format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, 3), }}", rows.len());
    let header = format!("{header:<117}\n");
    let length = (header.len() as u16).to_le_bytes();
    let values: Vec<u8> = rows.iter().flatten().flat_map(|value| value.to_le_bytes()).collect();
    [&b"\x93NUMPY\x01\0"[..], &length, header.as_bytes(), &values].concat()
}

#[test]
fn rows_without_a_value_are_left_out_if_asked_for_and_the_others_keep_their_lines() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    write(at, "flowers.csv", &flowers(60, 0));
    write(at, "run.toml", "[data]\nfile = \"flowers.csv\"\n[training]\nsteps = 2\n");
    warmstart(at, &["train", "run.toml", "--quiet"]).with(0);
    let predict = |data: &str, more: &[&str]| {
        warmstart(at, &[&["predict", "runs/run", "--data", data][..], more].concat())
    };
    // What the model does not take may be missing.
    let rows = "\"length, cm\",width,petals,note\n4.1,30,5,\n,31,5,x\n\n5.2,NA,6,x\n6.3,40,7,x\n";
    write(at, "new.csv", rows);
    let error = predict("new.csv", &[]).failed();
    assert!(error.contains("`new.csv`, line 3, column `length, cm` has no value"), "{error}");
    assert!(error.contains("with `--missing skip`"), "{error}");
    let ran = predict("new.csv", &["--missing", "skip"]);
    let note =
        "note: 2 of 4 rows of new.csv have no value somewhere and were left out: lines 3, 5\n";
    assert!(ran.error.contains(note), "{}", ran.error);
    let out = ran.with(0);
    let lines: Vec<&str> = out.lines().map(|line| line.split(',').next().unwrap()).collect();
    assert_eq!(lines, ["line", "2", "6"], "{out}");
    // They are the predictions of just these rows.
    write(at, "whole.csv", "\"length, cm\",width,petals\n4.1,30,5\n6.3,40,7\n");
    let whole = predict("whole.csv", &[]).with(0);
    let rest = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.split_once(',').unwrap().1.to_owned()).collect()
    };
    assert_eq!(rest(&out), whole.lines().collect::<Vec<_>>());
    write(at, "one.csv", "\"length, cm\",width,petals\n4.1,30,5\n,31,5\n");
    let ran = predict("one.csv", &["--missing", "skip"]);
    let note = "note: 1 of 2 rows of one.csv has no value somewhere and was left out: line 3\n";
    assert!(ran.error.contains(note), "{}", ran.error);
    let value = json(&predict("new.csv", &["--missing", "skip", "-o", "o.csv", "--json"]).with(0));
    assert_eq!((&value["rows"], &value["left_out"]), (&2.into(), &serde_json::json!([3, 5])));
    assert_eq!(std::fs::read_to_string(at.join("o.csv")).unwrap(), out);
    write(at, "new.csv", "\"length, cm\",width,petals\n,30,5\n");
    let error = predict("new.csv", &["--missing", "skip"]).failed();
    assert!(error.contains("every row of `new.csv` has a cell without a value"), "{error}");

    // Of an array, which has no lines and no names.
    std::fs::write(at.join("new.npy"), npy(&[[f32::NAN, 30.0, 5.0], [6.3, 40.0, 7.0]])).unwrap();
    let error = predict("new.npy", &[]).failed();
    let array = "`new.npy` is an array, which does not name its columns, and the model finds its own by \
                 name: `length, cm`, `width`, `petals` help: if its columns have the order of those, \
                 say `--header false`";
    assert!(error.contains(array) && !error.contains("first line"), "{error}");
    let out = predict("new.npy", &["--header", "false", "--missing", "skip"]).with(0);
    assert!(
        out.starts_with("row,class,") && out.lines().nth(1).unwrap().starts_with("2,"),
        "{out}"
    );
    assert_eq!(rest(&out)[1], whole.lines().nth(2).unwrap());
}
