//! Layer normalization where numbers are hard: rows far from 0, long rows, many rows, and the same bits
//! each time.

#[path = "../../graph/tests/cases/mod.rs"]
mod cases;
mod common;

use cases::Random;
use warmstart_gpu::{Gpu, Session};
use warmstart_graph::reference::Reference;
use warmstart_graph::{DType, Graph, GraphDef, Optimizer, Tensor, TensorData, gradients};

/// Runs a normalization and its gradients with respect to rows, gamma and beta, on the device and on the
/// twin.
fn run(gpu: &Gpu, rows: usize, width: usize, x: &[f32]) -> [(Vec<f32>, Vec<f64>); 4] {
    let graph = Graph::new();
    let mut random = Random(9);
    let mut numbers =
        |count: usize| (0..count).map(|_| random.number(-1.0, 1.0)).collect::<Vec<f32>>();
    let inputs = [
        ("x", vec![rows, width], x.to_vec()),
        ("upstream", vec![rows, width], numbers(rows * width)),
        ("gamma", vec![width], numbers(width)),
        ("beta", vec![width], numbers(width)),
    ];
    let [x, upstream, gamma, beta] = [0, 1, 2, 3].map(|at| {
        let (name, shape, _) = &inputs[at];
        graph.placeholder(name, &shape[..], DType::F32)
    });
    let y = x.layer_norm(gamma, beta, 1e-12);
    let slopes = gradients((y * upstream).sum_all(), &[x, gamma, beta]);
    let fetches = [y, slopes[0].unwrap(), slopes[1].unwrap(), slopes[2].unwrap()];
    let mut session = Session::new(gpu);
    let plan = session.compile(&graph, &fetches, &[]).unwrap();
    let feeds: Vec<_> = inputs.iter().map(|(name, _, numbers)| (*name, numbers.into())).collect();
    let outputs = session.run(&plan, &feeds).unwrap();
    let def = graph.finish().unwrap();
    let mut reference = Reference::new(&def);
    for (name, shape, numbers) in &inputs {
        reference.feed(name, &TensorData::new(&shape[..], numbers.clone()).unwrap());
    }
    let expected = reference.run(&fetches.map(Tensor::id)).unwrap();
    [0, 1, 2, 3].map(|at| {
        let found = outputs.tensor(fetches[at]).unwrap().as_f32().unwrap().to_vec();
        (found, expected[at].elements.clone())
    })
}

/// Holds all against the twin, relative to the largest of each tensor.
#[track_caller]
fn check(what: &str, all: &[(Vec<f32>, Vec<f64>); 4], allowed: f64) {
    for ((found, expected), name) in all.iter().zip(["y", "dx", "dgamma", "dbeta"]) {
        assert_eq!(found.len(), expected.len(), "{what}, {name}");
        let largest = expected.iter().fold(0.0f64, |most, x| most.max(x.abs()));
        for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
            let off = (f64::from(*found) - expected).abs();
            assert!(
                off <= allowed * largest,
                "{what}, {name}: element {at} is {found}, the twin has {expected}"
            );
        }
    }
}

/// E[x²] − E[x]² would have no digit left, and a mean in `f32` is off by up to a twentieth of the
/// deviation.
#[test]
fn rows_far_from_zero_lose_nothing() {
    let gpu = common::gpu();
    for (offset, spread) in [(1e4, 0.02f32), (-1e4, 0.02), (1e6, 2.0), (3.0, 1.0)] {
        for (rows, width) in [(1, 64), (5, 7), (33, 129), (3, 1000)] {
            let mut random = Random(10);
            let x: Vec<f32> =
                (0..rows * width).map(|_| offset + random.number(-spread, spread)).collect();
            let what = format!("{rows} x {width} around {offset}");
            check(&what, &run(&gpu, rows, width, &x), 2e-5);
        }
    }
}

#[test]
fn long_rows_and_many_are_right() {
    let gpu = common::gpu();
    for (rows, width) in [(3, 50_000), (17_001, 9), (1, 4097)] {
        let mut random = Random(11);
        let x: Vec<f32> = (0..rows * width).map(|_| random.number(-3.0, 1.0)).collect();
        check(&format!("{rows} x {width}"), &run(&gpu, rows, width, &x), 2e-5);
    }
}

#[test]
fn of_no_rows_the_gradients_are_zero() {
    let [(y, _), (dx, _), (dgamma, _), (dbeta, _)] = run(&common::gpu(), 0, 5, &[]);
    assert!(y.is_empty() && dx.is_empty());
    assert_eq!([dgamma, dbeta], [[0.0; 5], [0.0; 5]]);
}

#[test]
fn rows_of_one_number_are_beta() {
    let graph = Graph::new();
    let x = graph.placeholder("x", [2, 5], DType::F32);
    let y = graph.scope("ln").layer_norm(x, 1e-5);
    let mut session = Session::new(&common::gpu());
    let plan = session.compile(&graph, &[y], &[]).unwrap();
    session.initialize_missing(1).unwrap();
    let feeds = [("x", (&[1.1e7f32; 10]).into())];
    let found = session.run(&plan, &feeds).unwrap().tensor(y).unwrap();
    assert_eq!(found.as_f32().unwrap(), [0.0; 10]);
}

/// A model with a normalization in a part that is computed again, one that is kept as `f16`, or neither.
fn model(part: usize) -> GraphDef {
    let graph = Graph::new();
    let x = graph.placeholder("x", [40, 12], DType::F32);
    let labels = graph.placeholder("labels", [40], DType::I32);
    let stream = graph.scope("embed").linear(x, 20);
    let block = |scope: &warmstart_graph::Scope<'_>| {
        let normal = scope.scope("ln").layer_norm(stream, 1e-5);
        let hidden = scope.scope("fc1").linear(normal, 33).gelu();
        (scope.scope("fc2").linear(hidden, 20) + stream).id()
    };
    let root = graph.root();
    let out = match part {
        0 => block(&root),
        1 => root.recompute(block),
        _ => root.keep_f16(block),
    };
    let out = graph.scope("last").layer_norm(graph.tensor(out).unwrap(), 1e-5);
    let loss = graph.scope("head").linear(out, 3).softmax_cross_entropy(labels).named("loss");
    let _ = Optimizer::adamw(1e-2).clip_global_norm(1.0).minimize(loss);
    graph.finish().unwrap()
}

/// Trains for some steps from a seed, and gives the losses' bits.
fn train(gpu: &Gpu, def: &GraphDef) -> Vec<u32> {
    let graph = Graph::from_def(def.clone()).unwrap();
    let update = def.nodes.iter().position(|node| node.op.is_update()).unwrap();
    let update = graph.update(warmstart_graph::NodeId(update)).unwrap();
    let loss = graph.named("loss").unwrap();
    let mut session = Session::new(gpu);
    let plan = session.compile(&graph, &[loss], &[update]).unwrap();
    // In the packed buffer of all gradients, too, gamma's and beta's are made by one kernel.
    let pairs =
        plan.dispatches().iter().filter(|info| info.operations.ends_with("+sum (5), sum")).count();
    assert_eq!(pairs, 2, "{plan}");
    session.initialize_missing(5).unwrap();
    let mut random = Random(12);
    let x: Vec<f32> = (0..40 * 12).map(|_| random.number(-1.0, 1.0)).collect();
    let labels: Vec<i32> = (0..40).map(|_| random.below(3) as i32).collect();
    let feeds = [("x", (&x).into()), ("labels", (&labels).into())];
    let mut step = || session.run(&plan, &feeds).unwrap().scalar(loss).unwrap().to_bits();
    (0..25).map(|_| step()).collect()
}

#[test]
fn training_gives_the_same_bits_each_time() {
    let gpu = common::gpu();
    let losses = [0, 1, 2].map(|part| {
        let def = model(part);
        let losses = train(&gpu, &def);
        assert_eq!(losses, train(&gpu, &def), "part {part}");
        losses.into_iter().map(f32::from_bits).collect::<Vec<f32>>()
    });
    // What is computed again for the gradient is what it was, and what is rounded nearly so.
    for (part, allowed) in [(1, 1e-3), (2, 0.05)] {
        for (found, plain) in losses[part].iter().zip(&losses[0]) {
            assert!((found - plain).abs() < allowed, "part {part}: {losses:?}");
        }
    }
    assert!(losses[0][24] < 0.5 * losses[0][0], "{losses:?}");
}
