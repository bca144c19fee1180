//! A model is rebuilt and run from its checkpoint alone.

mod common;

use common::session;
use safetensors::tensor::TensorView;
use std::collections::HashMap;
use warmstart_checkpoint::{Checkpoint, CheckpointError, RestoreOptions, SaveOptions, save};
use warmstart_gpu::{Feed, Session};
use warmstart_graph::{DType, Graph, Tensor};

fn forward<'g>(graph: &'g Graph) -> Tensor<'g> {
    let x = graph.placeholder("x", [3, 5], DType::F32);
    graph.scope("fc").linear(x, 4).relu().named("y")
}

#[test]
fn a_graph_comes_back_and_computes_the_same_bits() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("model.safetensors");
    let xs: Vec<f32> = (0..15u8).map(|i| f32::from(i) * 0.25 - 1.5).collect();
    let feeds = [("x", Feed::from(&xs))];
    let graph = Graph::new();
    let y = forward(&graph);
    let mut trained = session(&[]);
    let plan = trained.compile(&graph, &[y], &[]).unwrap();
    trained.initialize_missing(7).unwrap();
    let expected = trained.run(&plan, &feeds).unwrap().tensor(y).unwrap();
    save(&trained, &file, &SaveOptions::new().graph(&graph.finish().unwrap())).unwrap();

    let checkpoint = Checkpoint::open(&file).unwrap();
    let graph = checkpoint.graph().unwrap();
    let y = graph.named("y").unwrap();
    let mut rebuilt = Session::new(trained.gpu());
    let plan = rebuilt.compile(&graph, &[y], &[]).unwrap();
    checkpoint.plan(&rebuilt, &RestoreOptions::new()).restore(&mut rebuilt).unwrap();
    assert_eq!(rebuilt.run(&plan, &feeds).unwrap().tensor(y).unwrap(), expected);
}

#[test]
fn a_checkpoint_without_a_graph_or_with_a_broken_one_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("model.safetensors");
    let mut session = session(&[common::variable("a", [2])]);
    session.initialize_missing(7).unwrap();
    save(&session, &file, &SaveOptions::new()).unwrap();
    let error = Checkpoint::open(&file).unwrap().graph().err().unwrap();
    assert!(matches!(error, CheckpointError::NoGraph { .. }), "{error}");
    assert!(error.to_string().contains("SaveOptions::graph"), "{error}");
    let reversed = r#"{"nodes":[{"op":"relu","inputs":[5]}],"variables":[],"names":{},"seed":0}"#;
    for text in ["{", reversed] {
        let metadata = HashMap::from([("warmstart.graph".to_owned(), text.to_owned())]);
        let none: Vec<(String, TensorView<'_>)> = Vec::new();
        std::fs::write(&file, safetensors::serialize(none, Some(metadata)).unwrap()).unwrap();
        let error = Checkpoint::open(&file).unwrap().graph().err().unwrap().to_string();
        assert!(
            error.contains("warmstart.graph") && error.contains("model.safetensors"),
            "{error}"
        );
    }
}
