//! Parts whose values the gradient computes again.

use warmstart_graph::reference::Reference;
use warmstart_graph::{
    DType, Graph, GraphDef, Initializer, NodeId, Op, Optimizer, Tensor, TensorData, gradients,
};

/// Two layers in one part, the second in a part within it.
fn forward(graph: &Graph) -> Tensor<'_> {
    let x = graph.placeholder("x", [4, 3], DType::F32);
    let out = graph.scope("block").recompute(|block| {
        let hidden = block.scope("fc1").linear(x, 5).tanh().dropout("hidden", 0.5).named("hidden");
        block.scope("fc2").recompute(|inner| inner.linear(hidden, 2).tanh())
    });
    out.square().sum_all().named("loss")
}

fn through_json(def: &GraphDef) -> GraphDef {
    serde_json::from_str(&serde_json::to_string(def).unwrap()).unwrap()
}

#[test]
fn a_stored_graph_still_knows_what_to_compute_again() {
    let graph = Graph::new();
    forward(&graph);
    let before = graph.finish().unwrap();
    assert_eq!(before.recomputed.len(), 1, "the inner part is the outer's: {before}");
    let back = Graph::from_def(through_json(&before)).unwrap();
    let step = Optimizer::sgd(0.1).minimize(back.named("loss").unwrap());
    let def = back.finish().unwrap();
    assert_eq!(through_json(&def), def);
    assert!(def.nodes.iter().any(|node| node.op == Op::ControlDependency));
    let text = def.to_string();
    let (first, last) = def.recomputed[0];
    let line = format!("%{} to %{} are computed again for the gradient", first.0, last.0);
    assert!(text.contains(&line) && text.contains("= control_dependency(%"), "{text}");
    assert!(def.to_dot().contains("control_dependency"));
    let _ = step;
}

#[test]
fn gradients_are_those_of_values_that_are_kept() {
    let values = |marked: bool| {
        let graph = Graph::new();
        let loss = forward(&graph);
        let def = graph.finish().unwrap();
        // What the marks alone make different.
        let def = if marked { def } else { GraphDef { recomputed: Vec::new(), ..def } };
        let graph = Graph::from_def(def).unwrap();
        let loss = graph.tensor(loss.id()).unwrap();
        let weight =
            graph.root().reuse().variable("block/fc1/weight", [3, 5], Initializer::GlorotUniform);
        let first = gradients(loss, &[weight])[0].unwrap();
        // A gradient of a gradient reads the copies of a copy.
        let second = gradients(first.square().sum_all(), &[weight])[0].unwrap();
        let def = graph.finish().unwrap();
        let copies = def.nodes.iter().filter(|node| node.op == Op::ControlDependency).count();
        assert_eq!(copies > 0, marked);
        let mut reference = Reference::new(&def);
        let numbers = |count: usize| (0..count).map(|i| (i as f32 * 0.7).sin()).collect::<Vec<_>>();
        reference.feed("x", &TensorData::new([4, 3], numbers(12)).unwrap());
        for variable in &def.variables {
            let count = variable.shape.elements();
            let value = match variable.dtype {
                DType::U32 => TensorData::from(7u32),
                _ => TensorData::new(&variable.shape, numbers(count)).unwrap(),
            };
            reference.assign(&variable.name, &value);
        }
        reference.run(&[first.id(), second.id()]).unwrap()
    };
    let kept = values(false);
    assert!(kept[1].elements.iter().any(|x| x.abs() > 1e-3));
    let again = values(true);
    assert_eq!(again[0], kept[0]);
    // Its sums have as many terms more as there are copies, in another order.
    for (again, kept) in again[1].elements.iter().zip(&kept[1].elements) {
        assert!((again - kept).abs() < 1e-12, "{again} and not {kept}");
    }
}

#[test]
fn parts_out_of_place_are_refused() {
    let graph = Graph::new();
    forward(&graph);
    let def = graph.finish().unwrap();
    let count = def.nodes.len();
    let parts = |parts: &[(usize, usize)]| {
        let recomputed = parts.iter().map(|&(first, last)| (NodeId(first), NodeId(last))).collect();
        GraphDef { recomputed, ..def.clone() }.validate()
    };
    assert!(parts(&[(1, 2), (3, 3), (4, count - 1)]).is_ok());
    for wrong in [&[(2, 1)][..], &[(1, count)], &[(1, 3), (3, 4)], &[(3, 4), (1, 2)]] {
        let error = parts(wrong).unwrap_err().to_string();
        assert!(error.contains("the part to compute again from node"), "{error}");
    }
}

/// Long parts are copied without recursion.
#[test]
fn a_long_part_is_no_deep_stack() {
    let graph = Graph::new();
    let x = graph.variable("x", [2], Initializer::Ones);
    let y = graph.root().recompute(|_| (0..30_000).fold(x, |y, _| y.sin()));
    let loss = y.sum_all();
    assert!(gradients(loss, &[x])[0].is_some());
    assert!(graph.finish().is_ok());
}
