//! What is computed where rows are held: which dispatches that takes, what they store and how often they
//! compute it, and that it is what the twin makes of it.

use crate::compile::{Dispatch, Program, Step, Target, compile};
use crate::device::gpu::{Gpu, GpuOptions};
use crate::session::Session;
use crate::tune::Tune;
use std::collections::BTreeSet;
use warmstart_graph::random::Philox;
use warmstart_graph::reference::Reference;
use warmstart_graph::{DType, Graph, Location, Node, NodeId, Op, Tensor, TensorData, gradients};

fn floats<'g>(graph: &'g Graph, name: &str, shape: &[usize]) -> Tensor<'g> {
    graph.placeholder(name, shape, DType::F32)
}

fn compiled(graph: &Graph, fetches: &[Tensor<'_>], target: Target) -> Program {
    let ids: Vec<NodeId> = fetches.iter().map(|fetch| fetch.id()).collect();
    compile(&graph.finish().unwrap(), &ids, &[], target).unwrap()
}

fn dispatches(program: &Program) -> Vec<&Dispatch> {
    let dispatches = program.steps.iter().filter_map(|step| match step {
        Step::Dispatch(dispatch) => Some(dispatch),
        Step::Optimizer(_) => None,
    });
    dispatches.collect()
}

fn labels(program: &Program) -> Vec<&str> {
    dispatches(program).into_iter().map(|dispatch| &dispatch.label[..]).collect()
}

/// Runs fetches with random numbers for every placeholder, for this device and as a GPU would, also where
/// results are written over whatever is read for the last time, and compares them with the twin.
fn follows_the_twin(gpu: &Gpu, graph: &Graph, fetches: &[Tensor<'_>], seed: u64, what: &str) {
    let def = graph.finish().unwrap();
    // What no fetch depends on cannot be fed.
    let mut needed = BTreeSet::new();
    let mut pending: Vec<NodeId> = fetches.iter().map(|fetch| fetch.id()).collect();
    while let Some(id) = pending.pop() {
        if needed.insert(id) {
            pending.extend(&def.node(id).inputs);
        }
    }
    let fed = needed.into_iter().filter_map(|id| {
        let Op::Placeholder { name, shape, .. } = &def.node(id).op else { return None };
        let noise = Philox::new(seed, name);
        let number = |at| (noise.word(at) >> 8) as f32 / (1 << 23) as f32 - 1.0;
        let numbers: Vec<f32> = (0..shape.elements() as u64).map(number).collect();
        Some((name.as_str(), TensorData::new(shape, numbers).unwrap()))
    });
    let fed: Vec<(&str, TensorData)> = fed.collect();
    let mut reference = Reference::new(&def);
    fed.iter().for_each(|(name, value)| reference.feed(name, value));
    let ids: Vec<NodeId> = fetches.iter().map(|fetch| fetch.id()).collect();
    // The count of steps, of which masks are drawn.
    for variable in &def.variables {
        reference.assign(&variable.name, &TensorData::new([], vec![7u32]).unwrap());
    }
    let expected = reference.run(&ids).unwrap();
    let own = Target { spare: 0, ..Target::of(gpu) };
    let plain = Target { is_cpu: false, ..own };
    for target in [own, plain, Target { in_place: false, ..plain }] {
        let mut session = Session::new(gpu);
        let plan = session.compile_for(graph, fetches, &[], target).unwrap();
        for variable in &def.variables {
            let count = TensorData::new([], vec![7u32]).unwrap();
            session.assign(&variable.name, &count).unwrap();
        }
        let feeds: Vec<_> = fed.iter().map(|(name, value)| (*name, value.into())).collect();
        let outputs = session.run(&plan, &feeds).unwrap();
        for (fetch, expected) in expected.iter().enumerate() {
            let found = outputs.tensor(fetches[fetch]).unwrap().to_f64();
            assert_eq!(found.len(), expected.elements.len(), "{what}: {fetch}");
            for (at, (found, expected)) in found.iter().zip(&expected.elements).enumerate() {
                let near = (found - expected).abs() <= 1e-3 * expected.abs().max(1.0);
                let what = format!("{what}, seed {seed}, {target:?}");
                assert!(near, "{what}: {fetch}[{at}] is {found}, not {expected}\n{plan}");
            }
        }
    }
}

fn gpu() -> Gpu {
    Gpu::with(&GpuOptions { tune: Some(Tune::Off), ..Default::default() }).unwrap()
}

/// Rows and their width, from a seed.
fn extents(seed: u64) -> [usize; 2] {
    let noise = Philox::new(seed, "extents");
    [0, 1].map(|at| noise.word(at) as usize % 70 + 1)
}

/// What tokens and places come to with a dropout, and a layer behind it whose result is added: what it
/// comes to, and its gradients.
fn embedding(graph: &Graph, [rows, width]: [usize; 2], rate: f32) -> Vec<Tensor<'_>> {
    let [tokens, places] = ["tokens", "places"].map(|name| floats(graph, name, &[rows, width]));
    let [gamma, beta] = ["gamma", "beta"].map(|name| floats(graph, name, &[width]));
    let embedded = (tokens + places.tanh()).dropout("embedding", rate);
    let weight = floats(graph, "weight", &[width, width]);
    let out = embedded.layer_norm(gamma, beta, 0.1).matmul(weight) + embedded;
    let slopes = gradients(out.square().mean_all(), &[tokens, places]);
    slopes.into_iter().flatten().collect()
}

/// The mask is a part of rows that the normalization's kernel stores for others, and is stored by none.
#[test]
fn masks_of_held_rows_are_drawn_again() {
    const MASK: u64 = 64 * 32 * 4;
    let figures = |rate, target| {
        let graph = Graph::new();
        let fetches = embedding(&graph, [64, 32], rate);
        let program = compiled(&graph, &fetches, target);
        let count = program.steps.len();
        (count, program.memory.unshared)
    };
    let (count, bytes) = figures(0.0, Target::GPU);
    assert_eq!(figures(0.1, Target::GPU), (count, bytes));
    // Software adapters read it.
    let software = Target { is_cpu: true, ..Target::GPU };
    let (count, bytes) = figures(0.0, software);
    assert_eq!(figures(0.1, software), (count, bytes + MASK));
}

#[test]
fn masks_of_held_rows_follow_the_twin() {
    let gpu = gpu();
    for seed in 0..6 {
        let extents = extents(seed);
        let graph = Graph::new();
        let fetches = embedding(&graph, extents, 0.25);
        follows_the_twin(&gpu, &graph, &fetches, seed, &format!("{extents:?}"));
    }
}

/// One over a temperature costs no dispatch where it is a part of rows, either.
#[test]
fn single_numbers_are_computed_within_held_rows() {
    let gpu = gpu();
    for seed in 0..4 {
        let extents = extents(seed);
        let graph = Graph::new();
        let (x, temperature) = (floats(&graph, "x", &extents), floats(&graph, "t", &[]));
        let weights = (x * (1.0 / (temperature.square() + 0.5))).tanh().softmax();
        let program = compiled(&graph, &[weights], Target::GPU);
        assert_eq!(program.steps.len(), 1, "{extents:?}: {:?}", labels(&program));
        follows_the_twin(&gpu, &graph, &[weights], seed, &format!("{extents:?}"));
    }
}

/// A stored graph may ask for the gradient of a normalization whose statistics nobody computed of its rows:
/// then both of what it reads several times take long, and one of them is held.
#[test]
fn two_that_a_normalization_reads_are_not_held_in_one_place() {
    let gpu = gpu();
    for seed in 0..6 {
        let extents = extents(seed);
        let [rows, width] = extents;
        let graph = Graph::new();
        let [a, b] = ["a", "b"].map(|name| floats(&graph, name, &extents));
        let (gamma, statistics) =
            (floats(&graph, "gamma", &[width]), floats(&graph, "statistics", &[rows, 2]));
        // Read for the last time by what is held.
        let product = floats(&graph, "square", &[rows, rows]).matmul(a);
        let sums = product.sum(&[1]);
        let (x, upstream) = (a.tanh() * b, product.sin().exp() * b + a);
        let mut def = graph.finish().unwrap();
        let inputs = [x, gamma, upstream, statistics].map(|tensor| tensor.id()).to_vec();
        let (op, shape, dtype) = (Op::LayerNormGradient, x.shape(), DType::F32);
        let (scope, location) = (String::new(), Location::caller());
        def.nodes.push(Node { op, inputs, shape, dtype, scope, location });
        let fetches = [sums.id(), NodeId(def.nodes.len() - 1)];
        let graph = Graph::from_def(def).unwrap();
        let fetches = fetches.map(|id| graph.tensor(id).unwrap());
        follows_the_twin(&gpu, &graph, &fetches, seed, &format!("{extents:?}"));
        let program = compiled(&graph, &fetches, Target::GPU);
        let found = labels(&program);
        assert_eq!(found.len(), 4, "{found:?}");
        assert_eq!(found[3], "sin+exp+..+layer_norm_gradient (5)", "{found:?}");
    }
}

/// What is one number for all of a tensor is computed by the kernel of the sum that it is made of.
#[test]
fn a_function_of_one_sum_is_computed_once() {
    let gpu = gpu();
    for (at, extents) in [[64, 64], [17, 3]].into_iter().enumerate() {
        let elements = (extents[0] * extents[1]) as u64;
        let graph = Graph::new();
        let x = floats(&graph, "x", &extents);
        let scaled = x * x.square().sum_all().sqrt();
        let program = compiled(&graph, &[scaled], Target::GPU);
        assert_eq!(labels(&program), ["square+sum+sqrt", "mul"]);
        let operations: Vec<u64> =
            dispatches(&program).iter().map(|step| step.operations).collect();
        assert_eq!(operations, [2 * elements + 1, elements]);
        // Of two sums one kernel may compute both, but nothing of both.
        let y = floats(&graph, "y", &extents);
        let both = x * ((x * y).sum_all() / (y.sum_all() + 5000.0));
        let program = compiled(&graph, &[both], Target::GPU);
        assert_eq!(labels(&program), ["mul+sum, sum", "mul"]);
        // Who else reads the sum has it from memory, and computes the rest.
        let sum = x.square().sum_all();
        let others = [x * sum.sqrt(), x + sum];
        let program = compiled(&graph, &others, Target::GPU);
        assert_eq!(program.steps.len(), 3, "{:?}", labels(&program));
        let fetches = [scaled, both, others[0], others[1]];
        follows_the_twin(&gpu, &graph, &fetches, at as u64, &format!("{extents:?}"));
    }
}

/// Rows that take long, and what stands before the last of their operations.
fn rows<'g>(graph: &'g Graph, extents: &[usize]) -> (Tensor<'g>, Tensor<'g>) {
    let [a, b] = ["a", "b"].map(|name| floats(graph, name, extents));
    let inner = (0..20).fold(a, |x, _| (x * b).sin() + a);
    (inner, inner.tanh())
}

/// What reads rows that it also reads behind its anchor, one after the other.
fn read_behind<'g>(graph: &'g Graph, [count, width]: [usize; 2]) -> Vec<Vec<Tensor<'g>>> {
    let extents = [count, width];
    let (inner, rows) = self::rows(graph, &extents);
    let vector = |name| floats(graph, name, &[width]);
    let normal = rows.layer_norm(vector("gamma"), vector("beta"), 0.1);
    let labels = graph.constant((0..count).map(|row| (row % width) as i32).collect::<Vec<i32>>());
    let slope = gradients(rows.softmax_cross_entropy_per_row(labels).sum_all(), &[rows]);
    let turned = rows.reshape([width, count]);
    let cut = rows.transpose(&[1, 0]);
    vec![
        vec![rows.softmax() * inner + rows],
        vec![rows.log_softmax() + rows.square() * rows],
        // What is stored for others anyway.
        vec![rows.softmax() + rows, rows],
        vec![rows.softmax() + rows + inner, rows, inner],
        vec![normal.gelu() * rows + rows.cos()],
        vec![slope[0].unwrap() * rows + inner],
        // Seen in another shape, or in another order.
        vec![turned.softmax() + turned * 2.0],
        vec![turned.softmax().reshape(extents) + rows],
        vec![cut.softmax() + cut],
        vec![cut.softmax() + turned],
        vec![cut.softmax().transpose(&[1, 0]) + rows],
    ]
}

#[test]
fn rows_that_are_read_behind_their_anchor_follow_the_twin() {
    let gpu = gpu();
    for seed in 0..8 {
        let extents = match seed {
            0 => [13, 1],
            1 => [5, 300],
            _ => extents(seed),
        };
        for at in 0..11 {
            let graph = Graph::new();
            let fetches = read_behind(&graph, extents).swap_remove(at);
            follows_the_twin(&gpu, &graph, &fetches, seed, &format!("{at}, {extents:?}"));
        }
    }
}
