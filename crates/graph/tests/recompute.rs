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

/// A mask of dropout, a part that is computed again, and a layer, all of them kept as f16.
fn rounded(graph: &Graph) -> Tensor<'_> {
    let x = graph.placeholder("x", [4, 3], DType::F32);
    let out = graph.scope("all").keep_f16(|all| {
        let first = all.scope("fc1").linear(x, 5).tanh().named("first");
        let second = all.scope("fc2").recompute(|block| {
            let inner = block.linear(first.dropout("first", 0.5), 5).tanh().named("inner");
            inner.sigmoid()
        });
        second.transpose(&[1, 0]).named("turned")
    });
    graph.scope("fc3").linear(out, 1).square().sum_all().named("loss")
}

#[test]
fn what_is_kept_as_f16_is_stored_printed_and_checked() {
    let graph = Graph::new();
    rounded(&graph);
    let def = graph.finish().unwrap();
    let kept = |name: &str| def.kept_f16.iter().any(|(value, _)| *value == def.names[name]);
    assert!(kept("first") && !kept("turned"), "a change of shape takes no memory: {def}");
    let nodes = def.kept_f16.iter().map(|(value, _)| def.node(*value));
    assert!(nodes.clone().all(|node| node.dtype == DType::F32));
    assert!(nodes.clone().all(|node| !matches!(node.op, Op::RandomUniform { .. })));
    assert_eq!(through_json(&def), def);
    let (value, half) = def.kept_f16[0];
    let line = format!("%{} is kept for the gradient as %{}", value.0, half.0);
    assert!(def.to_string().contains(&line), "{def}");
    type Kept = Vec<(NodeId, NodeId)>;
    let damaged = |damage: &dyn Fn(&mut Kept)| {
        let mut def = def.clone();
        damage(&mut def.kept_f16);
        def.validate().map_err(|errors| errors.to_string())
    };
    assert!(damaged(&|kept| kept.truncate(1)).is_ok());
    for wrong in [
        damaged(&|kept| kept.swap(0, 1)),
        damaged(&|kept| kept[0].1 = kept[1].1),
        damaged(&|kept| kept[0].0 = NodeId(usize::MAX)),
        damaged(&|kept| kept[0].1 = NodeId(usize::MAX)),
    ] {
        assert!(wrong.unwrap_err().contains("is not kept as f16 by node"));
    }
}

/// The gradient reads the rounded value, and the forward pass does not.
#[test]
fn gradients_are_those_of_rounded_values() {
    let graph = Graph::new();
    let x = graph.variable("x", [3], Initializer::Ones);
    let y = graph.root().keep_f16(|_| x * 1.0003);
    let loss = y.square().sum_all();
    let gradient = gradients(loss, &[x])[0].unwrap();
    let inside = graph.root().recompute(|part| part.keep_f16(|_| (x * 1.0003).square()));
    let exact = gradients(inside.sum_all(), &[x])[0].unwrap();
    let def = graph.finish().unwrap();
    let mut reference = Reference::new(&def);
    reference.assign("x", &TensorData::new([3], [1.0f32, 0.1, 3.0]).unwrap());
    let values = reference.run(&[loss.id(), gradient.id(), exact.id()]).unwrap();
    let factor = f64::from(1.0003f32);
    let forward: Vec<f64> =
        [1.0, f64::from(0.1f32), 3.0].iter().map(|x: &f64| x * factor).collect();
    assert_eq!(values[0].elements[0], forward.iter().map(|y| y * y).sum::<f64>());
    for (at, y) in forward.iter().enumerate() {
        let rounded = half::f16::from_f64(*y).to_f64();
        assert!((values[1].elements[at] - 2.0 * rounded * factor).abs() < 1e-12);
        assert_ne!(values[1].elements[at], 2.0 * y * factor);
        assert!((values[2].elements[at] - 2.0 * y * factor).abs() < 1e-12, "computed again");
    }
}

/// What is made of a tensor.
type Way<'a> = &'a dyn for<'g> Fn(&'g Graph, Tensor<'g>) -> Tensor<'g>;

/// The gradients of what is made of `x` with respect to it, without marks and with those of each way.
fn gradients_of<const N: usize>(values: &TensorData, ways: [Way<'_>; N]) -> [Vec<f64>; N] {
    ways.map(|way| {
        let graph = Graph::new();
        let x = graph.variable("x", values.shape().clone(), Initializer::Ones);
        let gradient = gradients(way(&graph, x).sum_all(), &[x])[0].unwrap();
        let def = graph.finish().unwrap();
        let mut reference = Reference::new(&def);
        reference.assign("x", values);
        reference.run(&[gradient.id()]).unwrap().remove(0).elements
    })
}

/// The largest element is found among those that the gradient reads, rounded or not.
#[test]
fn the_gradient_of_a_maximum_knows_its_element() {
    let values = TensorData::new([2, 3], [0.1f32, 0.7, 0.3, -0.2, -0.9, -0.1]).unwrap();
    let [plain, outside, again, inside, both] = gradients_of(
        &values,
        [
            &|_, x| (x * 1.0003).reduce_max(&[1]),
            &|graph, x| {
                let h = x * 1.0003;
                graph.root().keep_f16(|_| h.reduce_max(&[1]))
            },
            &|graph, x| {
                graph.root().keep_f16(|scope| {
                    let h = x * 1.0003;
                    scope.recompute(|_| h.reduce_max(&[1]))
                })
            },
            &|graph, x| graph.root().keep_f16(|_| x * 1.0003).reduce_max(&[1]),
            &|graph, x| graph.root().keep_f16(|_| (x * 1.0003).reduce_max(&[1])),
        ],
    );
    let factor = f64::from(1.0003f32);
    assert_eq!(plain, [0.0, factor, 0.0, 0.0, 0.0, factor]);
    for found in [outside, again, inside, both] {
        assert_eq!(found, plain);
    }
}

/// As f16, 1e-8 and its root's root would be 0 and a subnormal number.
#[test]
fn what_a_gradient_divides_by_is_not_rounded() {
    type Way = for<'g> fn(Tensor<'g>) -> Tensor<'g>;
    let small: [(&str, Way); 6] = [
        ("sqrt", |h| h.sqrt()),
        ("sqrt of little", |h| (h * h).sqrt()),
        ("log", |h| h.reshape([4]).log()),
        ("rsqrt", |h| h.rsqrt() * 1e-3),
        ("div", |h| h.number(1e-9) / h),
        ("pow", |h| h.pow(h.number(0.5))),
    ];
    let values = TensorData::new([2, 2], [1e-8f32, 2e-8, 1e-7, 1e-8]).unwrap();
    for (name, way) in small {
        let [plain, inside, outside, again] = gradients_of(
            &values,
            [
                &|_, x| way(x * 1.0003),
                &|graph, x| graph.root().keep_f16(|_| way(x * 1.0003)),
                &|graph, x| way(graph.root().keep_f16(|_| x * 1.0003)),
                &|graph, x| {
                    graph.root().keep_f16(|scope| {
                        let h = x * 1.0003;
                        scope.recompute(|_| way(h))
                    })
                },
            ],
        );
        for found in [inside, outside, again] {
            for (found, plain) in found.iter().zip(&plain) {
                assert!(found.is_finite() && plain.is_finite(), "{name}: {found} and not {plain}");
                // What stands above the line may be rounded.
                let off = (found / plain - 1.0).abs();
                assert!(off < 2e-3 || matches!(name, "div" | "sqrt of little"), "{name}: {off}");
            }
        }
    }
    // Where nothing divides, all is rounded as before, and the listing says what is.
    let graph = Graph::new();
    let x = graph.variable("x", [2], Initializer::Ones);
    let (h, y) = graph.root().keep_f16(|_| {
        let h = x * 3.0;
        (h, h.pow(h.number(2.0)).tanh())
    });
    let root = graph.root().keep_f16(|_| (y + 1.0).sqrt());
    let _ = gradients(root.sum_all(), &[x]);
    let kept = |tensor: Tensor<'_>| {
        graph.finish().unwrap().kept_f16.iter().any(|(value, _)| *value == tensor.id())
    };
    assert!(kept(h) && kept(y) && !kept(root));
}
