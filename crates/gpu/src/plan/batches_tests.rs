//! Layers on inputs of more than two dimensions, as this device and as a GPU compute them: kernels, bytes and
//! bits are those of the same layers on rows, and gradients are the twin's.

use super::product_tests::{gpu, numbers, targets};
use super::*;
use warmstart_graph::random::Philox;
use warmstart_graph::reference::Reference;
use warmstart_graph::{Initializer, NodeId, Op, Optimizer, Scope, TensorData, gradients};

/// What a network takes and gives that is trained on these batches, layers written in several ways.
#[derive(Debug, PartialEq)]
struct Trained {
    dispatches: [Vec<String>; 2],
    groups: [usize; 2],
    values: [[u64; 3]; 2],
    logits: Vec<u8>,
    variables: Vec<(String, Vec<u8>)>,
}

const WIDTHS: [usize; 3] = [12, 20, 9];

fn network<'g>(scope: &Scope<'g>, x: Tensor<'g>) -> Tensor<'g> {
    let weights = Initializer::GlorotUniform;
    let hidden = scope.scope("fc1").linear(x, WIDTHS[1]).gelu().dropout("fc1", 0.25);
    let weight = scope.variable("fc2/weight", [WIDTHS[1]; 2], weights.clone());
    let bias = scope.variable("fc2/bias", [WIDTHS[1]], Initializer::Ones);
    let hidden = (hidden.matmul(weight) + bias).relu() + hidden;
    let turned = scope.variable("fc3/weight", [WIDTHS[2], WIDTHS[1]], weights);
    hidden.matmul_with(turned, false, true)
}

fn trained(gpu: &Gpu, target: Target, batches: &[usize], in_f16: bool) -> Trained {
    let rows = batches.iter().product();
    let graph = Graph::new();
    let x = graph.placeholder("x", [batches, &[WIDTHS[0]]].concat(), DType::F32);
    let labels = graph.placeholder("labels", [rows], DType::I32);
    let logits = match in_f16 {
        true => graph.root().compute_f16(|scope| network(scope, x)),
        false => network(&graph.root(), x),
    };
    let loss = logits.reshape([rows, WIDTHS[2]]).softmax_cross_entropy(labels);
    let step = Optimizer::adam(1e-2).clip_global_norm(1.0).minimize(loss);
    let mut session = Session::new(gpu);
    let forward = session.compile_for(&graph, &[logits], &[], target).unwrap();
    let train = session.compile_for(&graph, &[loss], &[step.update], target).unwrap();
    session.initialize_missing(7).unwrap();
    let examples = TensorData::new(x.shape(), numbers(rows * WIDTHS[0], 1)).unwrap();
    let classes: Vec<i32> = (0..rows).map(|row| (row % WIDTHS[2]) as i32).collect();
    let feeds = [("x", (&examples).into()), ("labels", (&classes).into())];
    for _ in 0..2 {
        session.run(&train, &feeds).unwrap().wait().unwrap();
    }
    let logits = session.run(&forward, &feeds[..1]).unwrap().tensor(logits).unwrap();
    let names: Vec<String> =
        session.variables().iter().map(|info| info.name().to_owned()).collect();
    let variables = names.into_iter().map(|name| {
        let bytes = session.read(&name).unwrap().to_le_bytes();
        (name, bytes)
    });
    let plans = [&forward, &train];
    Trained {
        dispatches: plans.map(|plan| {
            let infos = plan.dispatches().into_iter();
            infos.map(|info| format!("{} {}", info.kernel, info.operations)).collect()
        }),
        groups: plans.map(Plan::dispatch_groups),
        values: plans.map(|plan| {
            let memory = plan.memory();
            [memory.values, memory.values_unshared, memory.values_least]
        }),
        logits: logits.to_le_bytes(),
        variables: variables.collect(),
    }
}

#[test]
fn layers_on_more_dimensions_are_trained_as_on_rows() {
    let gpu = gpu();
    for batches in [&[2, 3][..], &[13, 11], &[1, 2, 1], &[0, 3]] {
        let rows = [batches.iter().product()];
        for (target, in_f16) in
            targets(&gpu).into_iter().flat_map(|target| [(target, false), (target, true)])
        {
            let found = trained(&gpu, target, batches, in_f16);
            let expected = trained(&gpu, target, &rows, in_f16);
            assert_eq!(found, expected, "{batches:?}, f16 {in_f16}, {target:?}");
            let products = found.dispatches[1].iter().filter(|name| name.contains("matmul"));
            // Of three layers: forward, and gradients of the weight and of the input, but for the first.
            assert!(rows == [0] || products.count() == 8, "{:?}", found.dispatches);
        }
    }
}

/// Who also asks for the products that a gradient is the sum of gets the same gradient, to the bit.
#[test]
fn what_else_is_fetched_changes_no_gradient() {
    let gpu = gpu();
    let graph = Graph::new();
    let x = graph.placeholder("x", [5, 37, 12], DType::F32);
    let slopes = graph.placeholder("slopes", [5, 37, 9], DType::F32);
    let products = x.matmul_with(slopes, true, false);
    let gradient = products.sum(&[0]);
    let [x, slopes] = [numbers(5 * 37 * 12, 1), numbers(5 * 37 * 9, 2)];
    for target in targets(&gpu) {
        let gradients = [&[gradient][..], &[gradient, products]].map(|fetches| {
            let mut session = Session::new(&gpu);
            let plan = session.compile_for(&graph, fetches, &[], target).unwrap();
            let feeds = [("x", (&x).into()), ("slopes", (&slopes).into())];
            session.run(&plan, &feeds).unwrap().tensor(gradient).unwrap().to_le_bytes()
        });
        assert!(gradients[0] == gradients[1], "{target:?}");
    }
}

/// How an operand of a layer is written.
const WAYS: [&str; 10] = [
    "rows",
    "a turned weight",
    "a part of the rows",
    "heads side by side",
    "bytes",
    "a weight of one batch",
    "turned by hand",
    "turned in the product",
    "a weight to the left",
    "a weight for each head",
];

/// `Σ c tanh(x w + bias)` of a layer written in one of [`WAYS`], of so many batches, rows, inputs and outputs.
/// Gives the operations of its kernels and those of its gradients, which must be the twin's, and as far as
/// finite differences can tell the derivatives.
fn layer(
    gpu: &Gpu,
    target: Target,
    way: usize,
    [b, t, d, n]: [usize; 4],
    seed: u64,
) -> Vec<String> {
    let graph = Graph::new();
    let input = |shape: &[usize]| graph.placeholder("x", shape, DType::F32);
    let weight = |shape: &[usize]| graph.variable("w", shape, Initializer::Zeros);
    let (product, bias) = match WAYS[way] {
        "rows" => (input(&[b, t, d]).matmul(weight(&[d, n])), n),
        "a turned weight" => (input(&[b, t, d]).matmul_with(weight(&[n, d]), false, true), n),
        "a part of the rows" => {
            (input(&[b, t + 2, d]).slice(1, 1, t + 1).matmul(weight(&[d, n])), n)
        }
        "heads side by side" => {
            let heads = input(&[b, 2, t, d]).transpose(&[0, 2, 1, 3]).reshape([b, t, 2 * d]);
            (heads.matmul(weight(&[2 * d, n])), n)
        }
        "bytes" => {
            let bytes = graph.placeholder("x", [b, t, d], DType::U8);
            ((bytes.cast(DType::F32) / 255.0).matmul(weight(&[d, n])), n)
        }
        "a weight of one batch" => (input(&[b, t, d]).matmul(weight(&[1, d, n])), n),
        "turned by hand" => (input(&[b, d, t]).transpose(&[0, 2, 1]).matmul(weight(&[d, n])), n),
        "turned in the product" => (input(&[b, d, t]).matmul_with(weight(&[d, n]), true, false), n),
        "a weight to the left" => (weight(&[n, d]).matmul(input(&[b, d, t])), t),
        _ => (input(&[b, 2, t, d]).matmul(weight(&[2, d, n])), n),
    };
    let bias = graph.variable("bias", [bias], Initializer::Zeros);
    let sum = product + bias;
    let c = graph.placeholder("c", sum.shape(), DType::F32);
    let loss = (sum.tanh() * c).sum_all();
    let weight = graph.get_variable("w").unwrap();
    let slopes = gradients(loss, &[weight, bias]).into_iter().flatten();
    let slopes: Vec<Tensor<'_>> = slopes.collect();

    let def = graph.finish().unwrap();
    let mut session = Session::new(gpu);
    let plan = session.compile_for(&graph, &slopes, &[], target).unwrap();
    let mut reference = Reference::new(&def);
    let mut feeds = Vec::new();
    for node in &def.nodes {
        if let Op::Placeholder { name, shape, dtype } = &node.op {
            let numbers = numbers(shape.elements(), seed + name.len() as u64);
            let data = match dtype {
                DType::U8 => {
                    let bytes = numbers.iter().map(|x| (x.abs() * 255.0) as u8);
                    TensorData::new(shape, bytes.collect::<Vec<u8>>())
                }
                _ => TensorData::new(shape, numbers),
            };
            feeds.push((name.clone(), data.unwrap()));
        }
    }
    let mut values: Vec<(String, TensorData)> = Vec::new();
    for variable in &def.variables {
        let numbers = numbers(variable.shape.elements(), seed + 9);
        let data = TensorData::new(&variable.shape, numbers).unwrap();
        session.assign(&variable.name, &data).unwrap();
        values.push((variable.name.clone(), data));
    }
    feeds.iter().for_each(|(name, data)| reference.feed(name, data));
    values.iter().for_each(|(name, data)| reference.assign(name, data));
    let own: Vec<(&str, _)> =
        feeds.iter().map(|(name, data)| (name.as_str(), data.into())).collect();
    let outputs = session.run(&plan, &own).unwrap();
    let ids: Vec<NodeId> = slopes.iter().map(|slope| slope.id()).collect();
    let expected = reference.run(&ids).unwrap();
    let what = format!("{} {:?}, seed {seed}, {target:?}", WAYS[way], [b, t, d, n]);
    for ((slope, expected), (name, value)) in slopes.iter().zip(&expected).zip(&values) {
        let found = outputs.tensor(*slope).unwrap().to_f64();
        assert_eq!(found.len(), expected.elements.len(), "{what}");
        for (at, (found, expected)) in found.iter().zip(&expected.elements).enumerate() {
            let near = (found - expected).abs() < 1e-4;
            assert!(near, "{what}: {name} {at} is {found}, not {expected}\n{plan}");
        }
        // The first and the last of them.
        for at in [0, found.len().saturating_sub(1)] {
            let Some(&found) = found.get(at) else { continue };
            let mut moved = |by: f32| {
                let mut elements = value.as_f32().unwrap().to_vec();
                elements[at] += by;
                let step = f64::from(elements[at]);
                reference.assign(name, &TensorData::new(value.shape(), elements).unwrap());
                let loss = reference.run(&[loss.id()]).unwrap()[0].elements[0];
                reference.assign(name, value);
                (step, loss)
            };
            let [(high, above), (low, below)] = [moved(1e-3), moved(-1e-3)];
            let difference = (above - below) / (high - low);
            assert!(
                (found - difference).abs() < 1e-3,
                "{what}: {name} {at}: {found}, {difference}"
            );
        }
    }
    plan.dispatches().into_iter().map(|info| info.operations).collect()
}

#[test]
fn the_weights_gradient_of_a_layer_is_one_product() {
    let gpu = gpu();
    for target in targets(&gpu) {
        // The bias's gradient comes with the product whose second operand it sums up, if that is all.
        for (way, copies, takes_bias) in
            [(0, 0, true), (1, 0, false), (2, 1, true), (3, 1, true), (4, 0, true), (5, 0, false)]
        {
            let found = layer(&gpu, target, way, [3, 7, 6, 5], 1);
            let products: Vec<&String> =
                found.iter().filter(|name| name.contains("matmul")).collect();
            assert_eq!(products.len(), 2, "{}: {found:?}", WAYS[way]);
            assert!(!products[0].contains("sum"), "{found:?}");
            assert_eq!(products[1].contains("sum"), takes_bias, "{}: {found:?}", WAYS[way]);
            let others = copies + usize::from(!takes_bias);
            assert_eq!(found.len(), 2 + others, "{}: {found:?}", WAYS[way]);
        }
    }
}

#[test]
fn layers_of_random_batches_have_the_twins_gradients() {
    let gpu = gpu();
    let extents = [0, 1, 2, 3, 5, 11];
    for seed in 0..24 {
        let random = Philox::new(seed, "shapes");
        let extent = |at: u64| extents[random.word(at) as usize % extents.len()];
        let shape = [extent(0), extent(1), extent(2), extent(3)];
        for target in targets(&gpu) {
            layer(&gpu, target, seed as usize % WAYS.len(), shape, seed);
        }
    }
}
