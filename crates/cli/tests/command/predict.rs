use crate::{json, trained, warmstart};
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
    // A checkpoint with a graph, but nothing in it has a name.
    trained(at, 1, 7, 0.5);
    let error = warmstart(at, &["predict", "step-1.safetensors", "--data", "rows.csv"]).failed();
    assert!(error.contains(".named(\"...\")"), "{error}");
}
