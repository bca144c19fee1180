//! What is computed in one dispatch, and what is not, against the CPU twin.

mod common;

use std::collections::BTreeSet;
use warmstart_gpu::{DispatchInfo, Session};
use warmstart_graph::random::Philox;
use warmstart_graph::reference::Reference;
use warmstart_graph::{
    DType, Graph, LossScaling, Op, Optimizer, Schedule, Tensor, TensorData, gradients,
};

/// Compiles and runs fetches with random numbers for every placeholder, compares each with the twin,
/// and gives the operations of each dispatch.
#[track_caller]
fn dispatches(graph: &Graph, fetches: &[Tensor<'_>]) -> Vec<String> {
    let def = graph.finish().unwrap();
    let mut session = Session::new(&common::gpu());
    let plan = session.compile(graph, fetches, &[]).unwrap();
    session.initialize_missing(3).unwrap();
    let mut reference = Reference::new(&def);
    for info in session.variables().iter() {
        reference.assign(info.name(), &session.read(info.name()).unwrap());
    }
    let mut values = Vec::new();
    // What no fetch depends on is no part of the plan, and cannot be fed.
    let mut needed = BTreeSet::new();
    let mut pending: Vec<_> = fetches.iter().map(|fetch| fetch.id()).collect();
    while let Some(id) = pending.pop() {
        if needed.insert(id) {
            pending.extend(&def.node(id).inputs);
        }
    }
    for node in needed.into_iter().map(|id| def.node(id)) {
        let Op::Placeholder { name, shape, dtype } = &node.op else { continue };
        let noise = Philox::new(7, name);
        let words = (0..shape.elements() as u64).map(|at| noise.word(at) >> 8);
        let value = match dtype {
            DType::I32 => {
                TensorData::new(shape, words.map(|word| (word % 3) as i32).collect::<Vec<_>>())
            }
            _ => TensorData::new(
                shape,
                words.map(|word| word as f32 / (1 << 22) as f32 - 2.0).collect::<Vec<_>>(),
            ),
        };
        values.push((name.clone(), value.unwrap()));
    }
    let mut feeds = Vec::new();
    for (name, value) in &values {
        reference.feed(name, value);
        feeds.push((name.as_str(), value.into()));
    }
    let outputs = session.run(&plan, &feeds).unwrap();
    let ids: Vec<_> = fetches.iter().map(|fetch| fetch.id()).collect();
    for (at, expected) in reference.run(&ids).unwrap().iter().enumerate() {
        let found = outputs.tensor(fetches[at]).unwrap().to_f64();
        assert_eq!(found.len(), expected.elements.len());
        for (found, expected) in found.iter().zip(&expected.elements) {
            // Sums of at most a thousand terms, of numbers that are below 10.
            let near = (found - expected).abs() <= 2e-5 * expected.abs().max(1.0);
            assert!(near, "fetch {at}: {found}, not {expected}\n{plan}");
        }
    }
    plan.dispatches().into_iter().map(|info| info.operations).collect()
}

#[test]
fn a_product_takes_dropout_and_a_residual_along() {
    let graph = Graph::new();
    let x = graph.placeholder("x", [9, 21], DType::F32);
    let residual = graph.placeholder("residual", [9, 13], DType::F32);
    let hidden = graph.scope("fc").linear(x, 13).relu().dropout("fc", 0.25) + residual;
    let found = dispatches(&graph, &[hidden]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("matmul"), "{found:?}");
}

/// One more than masks that are given, be there two layers: which places are masked, of the places alone.
#[test]
fn the_causal_masks_of_a_plan_are_one_dispatch() {
    const PLACES: usize = 40;
    let attention = |mask: for<'g> fn(Tensor<'g>) -> Tensor<'g>| {
        let graph = Graph::new();
        let given = |name| graph.placeholder(name, [2, PLACES, 5], DType::F32);
        let (query, key, value) = (given("query"), given("key"), given("value"));
        let mixed = (0..2).fold(query, |query, _layer| {
            mask(query.matmul_with(key, false, true) / 2.0).softmax().matmul(value)
        });
        let slopes = gradients(mixed.square().sum_all(), &[query, key, value]);
        let fetches: Vec<_> = [Some(mixed)].into_iter().chain(slopes).flatten().collect();
        assert_eq!(fetches.len(), 4);
        dispatches(&graph, &fetches)
    };
    let found = attention(|scores| scores.causal_mask());
    let given = attention(|scores| {
        let behind = |at: usize| if at % PLACES > at / PLACES { -1e9f32 } else { 0.0 };
        let mask: Vec<f32> = (0..PLACES * PLACES).map(behind).collect();
        scores + scores.graph().constant(mask).reshape([PLACES, PLACES])
    });
    let of_places = |operations: &&String| *operations == "greater";
    assert_eq!(found.iter().filter(of_places).count(), 1, "{found:#?}");
    assert_eq!(found.len(), given.len() + 1, "{found:#?} for {given:#?}");
}

#[test]
fn a_chain_of_any_length_is_one_dispatch() {
    for pairs in [100, 1_000] {
        let graph = Graph::new();
        let x = graph.placeholder("x", [7, 31], DType::F32);
        let chain = (0..pairs).fold(x, |y, at| (y + at as f32 * 0.01) * 0.9);
        let found = dispatches(&graph, &[chain]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].ends_with(&format!("({})", 2 * pairs)), "{found:?}");
    }
}

/// Three layers.
fn loss(graph: &Graph) -> Tensor<'_> {
    let x = graph.placeholder("x", [5, 6], DType::F32);
    let hidden = graph.scope("fc1").linear(x, 9).relu();
    let hidden = graph.scope("fc2").linear(hidden, 7).relu();
    graph.scope("fc3").linear(hidden, 2).square().mean_all()
}

/// However many parameters there are, and whatever the update depends on: squares of all gradients in
/// blocks with the scalars of the step, and the update. A norm that is fetched comes with it.
#[test]
fn clipping_and_adam_of_six_parameters_are_two_dispatches() {
    let schedule = || Schedule::cosine(1e-2, 0.0, 100).warm_up(10);
    for (optimizer, first) in [
        (Optimizer::adam(1e-2), "optimizer_scalars"),
        (Optimizer::adam(schedule()), "optimizer_scalars"),
        (Optimizer::adam(1e-2).clip_global_norm(1.0), "squares"),
        (Optimizer::adam(schedule()).clip_global_norm(1.0), "squares"),
        (Optimizer::adam(schedule()).loss_scaling(LossScaling::new()), "squares"),
        (
            Optimizer::adam(schedule()).clip_global_norm(1.0).loss_scaling(LossScaling::new()),
            "squares",
        ),
    ] {
        let graph = Graph::new();
        let loss = loss(&graph);
        let step = optimizer.minimize(loss);
        let mut session = Session::new(&common::gpu());
        let fetched = if first == "squares" { &[step.gradient_norm][..] } else { &[] };
        for fetches in [&[], fetched] {
            let plan = session.compile(&graph, fetches, &[step.update]).unwrap();
            let dispatches = plan.dispatches();
            let (before, end) = dispatches.split_at(dispatches.len() - 2);
            let kernels: Vec<&str> = end.iter().map(|info| info.kernel).collect();
            assert_eq!(kernels, [first, "optimizer"], "{plan}");
            assert_eq!(end[1].operations, "adam of 6 variables", "{plan}");
            if first == "squares" {
                assert_eq!(end[0].operations, "squares of global_norm, scalars of adam", "{plan}");
            }
            let is_apart = |info: &DispatchInfo| info.operations.contains("norm");
            assert!(!before.iter().any(is_apart), "{plan}");
        }
    }
}

/// Each optimizer of a plan takes two, though they read the same global step.
#[test]
fn two_optimizers_that_clip_are_four_dispatches() {
    let graph = Graph::new();
    let loss = loss(&graph);
    let one = Optimizer::adam(Schedule::cosine(1e-2, 0.0, 100))
        .clip_global_norm(1.0)
        .minimize_where(loss, |variable| variable.name.ends_with("/weight"));
    let other = Optimizer::sgd(Schedule::step(1e-2, 10, 0.5))
        .clip_global_norm(0.5)
        .minimize_where(loss, |variable| variable.name.ends_with("/bias"));
    let mut session = Session::new(&common::gpu());
    let plan = session.compile(&graph, &[], &[one.update, other.update]).unwrap();
    let dispatches = plan.dispatches();
    let kernels: Vec<&str> = dispatches.iter().map(|info| info.kernel).collect();
    let end = ["squares", "squares", "optimizer", "optimizer"];
    assert_eq!(kernels[kernels.len() - 4..], end, "{plan}");
    assert!(!kernels[..kernels.len() - 4].contains(&"elementwise"), "{plan}");
}

/// What else is computed from a norm needs it before the update.
#[test]
fn a_norm_that_others_read_has_a_dispatch_of_its_own() {
    let graph = Graph::new();
    let loss = loss(&graph);
    let step = Optimizer::adam(1e-2).clip_global_norm(1.0).minimize(loss);
    let ratio = loss / step.gradient_norm;
    let mut session = Session::new(&common::gpu());
    let plan = session.compile(&graph, &[ratio, step.gradient_norm], &[step.update]).unwrap();
    let kernels: Vec<&str> = plan.dispatches().iter().map(|info| info.kernel).collect();
    let squares = kernels.iter().position(|kernel| *kernel == "squares").unwrap();
    assert_eq!(kernels[squares + 1], "reduce", "{plan}");
    assert_eq!(kernels[kernels.len() - 2..], ["optimizer_scalars", "optimizer"], "{plan}");
}

/// Few operations on what lies in memory are computed at each of the two or three times that a softmax
/// reads its rows.
#[test]
fn a_softmax_scales_and_masks_its_rows_itself() {
    for shape in [&[1, 1][..], &[3, 7], &[5, 65], &[2, 3, 33], &[3, 1030]] {
        let graph = Graph::new();
        let scores = graph.placeholder("scores", shape, DType::F32);
        // As a causal mask is: the same for each of a batch.
        let mask = graph.placeholder("mask", &shape[shape.len() - 2..], DType::F32);
        let logits = || scores * 0.125 + mask;
        assert_eq!(dispatches(&graph, &[logits().softmax()]).len(), 1, "{shape:?}");
        assert_eq!(dispatches(&graph, &[logits().log_softmax()]).len(), 1, "{shape:?}");
        if let &[rows, width] = shape {
            if width < 3 {
                continue;
            }
            let labels = graph.placeholder("labels", [rows], DType::I32);
            let loss = logits().softmax_cross_entropy(labels);
            let expected = ["mul+add+softmax_cross_entropy", "sum+div"];
            assert_eq!(dispatches(&graph, &[loss]), expected, "{shape:?}");
        }
    }
    // What stands behind it is in the same kernel, too.
    let graph = Graph::new();
    let scores = graph.placeholder("scores", [4, 9], DType::F32);
    let weights = (scores.max(scores.number(0.0)) - 1.0).softmax() * 2.0;
    assert_eq!(dispatches(&graph, &[weights]), ["max+sub+softmax+mul"]);
}

/// What several read each computes while that is few short operations on one tensor.
#[test]
fn what_takes_little_is_computed_by_each_reader() {
    for (operations, expected) in [(1, 2), (16, 2), (17, 3)] {
        let graph = Graph::new();
        let [x, y] = ["x", "y"].map(|name| graph.placeholder(name, [35, 70], DType::F32));
        let shared = (0..operations).fold(x, |value, at| match at % 3 {
            0 => value * 0.9,
            1 => value + 0.3,
            _ => value.abs(),
        });
        let found = dispatches(&graph, &[(shared * y).sum(&[0]), (shared + y).sum(&[1])]);
        assert_eq!(found.len(), expected, "{operations} operations: {found:?}");
    }
    // Nine readers, of which each would take five operations more.
    for (operations, expected) in [(4, 9), (5, 10)] {
        let graph = Graph::new();
        let x = graph.placeholder("x", [35, 70], DType::F32);
        let shared = (0..operations).fold(x, |value, at| match at % 2 {
            0 => value * 0.9,
            _ => value + 0.3,
        });
        let each = (0..9).map(|at| (shared * (at as f32 + 2.0)).abs().sum(&[0]));
        let found = dispatches(&graph, &each.collect::<Vec<_>>());
        assert_eq!(found.len(), expected, "{operations} operations: {found:?}");
    }
}

/// Residuals, a normalization, a masked softmax, smoothed losses with weights of many parts, and the gradient
/// that enters the chain from behind: one dispatch for each that goes through rows, and one for the mean.
#[test]
fn a_long_chain_of_rows_is_four_dispatches() {
    for [rows, width] in [[9, 21], [130, 3], [4, 1030]] {
        let graph = Graph::new();
        let given = |name: &str, shape: &[usize]| graph.placeholder(name, shape, DType::F32);
        let [a, b, mask] = ["a", "b", "mask"].map(|name| given(name, &[rows, width]));
        let [gamma, beta] = ["gamma", "beta"].map(|name| given(name, &[width]));
        let normal = (a + b * 0.5).layer_norm(gamma, beta, 0.1).gelu() + a;
        let mixed = (normal * 0.3 + mask).softmax() * normal + b;
        let labels = graph.placeholder("labels", [rows], DType::I32);
        let losses = mixed.softmax_cross_entropy_smoothed_per_row(labels, 0.1);
        let weights = (0..4).map(|at| given(&format!("w{at}"), &[rows]) + 1.5);
        let loss = weights.fold(losses, |losses, weight| losses * weight).mean_all();
        let slope = gradients(loss, &[mixed])[0].unwrap();
        let found = dispatches(&graph, &[loss, slope]);
        assert_eq!(found.len(), 4, "{rows} x {width}: {found:?}");
    }
}

/// What costs more its kernel computes once and stores, and others read it there.
#[test]
fn what_costs_more_is_computed_once() {
    let graph = Graph::new();
    let [a, b, c] = ["a", "b", "c"].map(|name| graph.placeholder(name, [6, 11], DType::F32));
    // A function that takes long, three tensors, five operations, what others read or ask for.
    let shared = a * b;
    let logits = [
        vec![a.tanh().softmax()],
        vec![(a * b + c).softmax()],
        vec![((((a + 1.0) * 0.5 + 1.0) * 0.5) + b).softmax()],
        vec![shared.softmax(), shared],
        vec![shared.softmax(), shared.log_softmax()],
    ];
    let counts = logits.map(|fetches| dispatches(&graph, &fetches).len());
    assert_eq!(counts, [1, 1, 1, 1, 2]);
}

/// What comes from a product is its epilogue, where it is computed once.
#[test]
fn attention_scales_and_masks_in_the_products_epilogue() {
    let graph = Graph::new();
    let [q, k, v] = ["q", "k", "v"].map(|name| graph.placeholder(name, [2, 9, 5], DType::F32));
    let mask = graph.placeholder("mask", [9, 9], DType::F32);
    let weights = (q.matmul_with(k, false, true) * 0.25 + mask).softmax();
    let found = dispatches(&graph, &[weights.matmul(v)]);
    assert_eq!(found, ["matmul+mul+add", "softmax", "matmul"]);
    // Its gradient reads the softmax's result, not what it was made of.
    let loss = weights.matmul(v).square().sum_all();
    let slopes: Vec<Tensor<'_>> = gradients(loss, &[q, k, v]).into_iter().flatten().collect();
    let found = dispatches(&graph, &slopes);
    assert_eq!(found.iter().filter(|label| label.contains("softmax")).count(), 1, "{found:?}");
}

/// The fetches of a normalization and its gradients with respect to rows, gamma and beta.
fn normalized<'g>(graph: &'g Graph, x: Tensor<'g>) -> [Tensor<'g>; 4] {
    let shape = x.shape();
    let width = shape[shape.len() - 1];
    let upstream = graph.placeholder("upstream", shape, DType::F32);
    let [gamma, beta] = ["gamma", "beta"].map(|name| graph.placeholder(name, [width], DType::F32));
    let y = x.layer_norm(gamma, beta, 0.1);
    let slopes = gradients((y * upstream).sum_all(), &[x, gamma, beta]);
    [y, slopes[0].unwrap(), slopes[1].unwrap(), slopes[2].unwrap()]
}

#[test]
fn a_layer_norm_is_one_dispatch_and_its_gradients_are_two() {
    for shape in [&[1, 1][..], &[1, 7], &[13, 1], &[17, 31], &[2, 3, 33], &[70, 65], &[3, 1030]] {
        let graph = Graph::new();
        let x = graph.placeholder("x", shape, DType::F32);
        let [y, dx, dgamma, dbeta] = normalized(&graph, x);
        assert_eq!(dispatches(&graph, &[y]), ["layer_norm"], "{shape:?}");
        let found = dispatches(&graph, &[y, dx, dgamma, dbeta]);
        assert_eq!(found.len(), 3, "{shape:?}: {found:?}");
        assert_eq!(found[0], "layer_norm, layer_norm_statistics", "{shape:?}");
        assert_eq!(found[1], "layer_norm_gradient", "{shape:?}");
        assert!(found[2].ends_with("+sum (5), sum"), "{shape:?}: {found:?}");
        // Without the result nobody writes the statistics on the way.
        let found = dispatches(&graph, &[dx]);
        assert_eq!(found, ["layer_norm_statistics", "layer_norm_gradient"], "{shape:?}");
    }
}

/// What stands before and after a normalization is in its kernel.
#[test]
fn a_layer_norm_takes_a_residual_and_an_activation_along() {
    let graph = Graph::new();
    let [a, b] = ["a", "b"].map(|name| graph.placeholder(name, [9, 21], DType::F32));
    let [y, ..] = normalized(&graph, a + b * 0.5);
    assert_eq!(dispatches(&graph, &[y.gelu() * 2.0]), ["mul+add+..+mul (5)"]);
    // What the gradient reads too is computed once.
    let loss = y.gelu().sum_all();
    let slopes: Vec<Tensor<'_>> = gradients(loss, &[a, b]).into_iter().flatten().collect();
    let found = dispatches(&graph, &slopes);
    assert_eq!(found[0], "mul+add+layer_norm, layer_norm_statistics", "{found:?}");
    assert_eq!(found.iter().filter(|label| label.contains("mul+add")).count(), 1, "{found:?}");
}

/// A block whose normalization comes first, with the stream of residuals around it.
#[test]
fn a_block_with_a_layer_norm_takes_few_dispatches() {
    let graph = Graph::new();
    let x = graph.placeholder("x", [24, 16], DType::F32);
    let upstream = graph.placeholder("upstream", [24, 16], DType::F32);
    let stream = graph.scope("embed").linear(x, 16);
    let normal = graph.scope("ln").layer_norm(stream, 1e-5);
    let hidden = graph.scope("fc1").linear(normal, 32).gelu();
    let out = graph.scope("fc2").linear(hidden, 16) + stream;
    let forward = dispatches(&graph, &[out]);
    assert_eq!(forward.len(), 4, "{forward:?}");
    let variables = ["embed", "ln", "fc1", "fc2"].map(|scope| {
        let scope = graph.scope(scope).reuse();
        let shapes: [&[usize]; 2] = match scope.path() {
            "ln" => [&[16], &[16]],
            "fc1" => [&[16, 32], &[32]],
            "fc2" => [&[32, 16], &[16]],
            _ => [&[16, 16], &[16]],
        };
        let initial = || warmstart_graph::Initializer::Zeros;
        [
            scope.variable("weight", shapes[0], initial()),
            scope.variable("bias", shapes[1], initial()),
        ]
    });
    let all: Vec<Tensor<'_>> = variables.into_iter().flatten().collect();
    let slopes: Vec<Tensor<'_>> =
        gradients((out * upstream).sum_all(), &all).into_iter().flatten().collect();
    assert_eq!(slopes.len(), 8);
    let found = dispatches(&graph, &slopes);
    // Forward without the last product, three products for weights with the biases' sums, two for what
    // enters them, of which one is the activation's gradient too, the normalization's two gradients.
    let norms: Vec<&String> = found.iter().filter(|label| label.contains("norm")).collect();
    assert_eq!((norms.len(), found.len()), (2, 10), "{found:?}");
    assert!(norms[0] == "layer_norm, layer_norm_statistics", "{found:?}");
    assert_eq!(norms[1], "layer_norm_gradient+add", "{found:?}");
    assert!(found.iter().any(|label| label == "sub+sub+..+sum (5), sum"), "{found:?}");
}
