//! Rows that take long to compute, inside the kernel that reads them: how many dispatches that takes, and
//! what they come to, against the twin.

use super::product_tests::{gpu, numbers};
use super::rows_tests::{bits, targets};
use super::*;
use crate::compile::{Step, compile};
use warmstart_graph::random::Philox;
use warmstart_graph::reference::Reference;
use warmstart_graph::{NodeId, Op, TensorData, gradients};

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// A chain of operations that take long, of so many tensors.
fn chain<'g>(tensors: &[Tensor<'g>], length: usize) -> Tensor<'g> {
    (0..length).fold(tensors[0], |value, at| {
        let other = tensors[at % tensors.len()];
        match at % 4 {
            0 => value.gelu() * other,
            1 => value.tanh() + other,
            2 => (value * 0.5).exp() - other,
            _ => value.sin() + other * 0.3,
        }
    })
}

fn tensors<'g>(graph: &'g Graph, shape: &[usize], count: usize) -> Vec<Tensor<'g>> {
    NAMES[..count].iter().map(|name| graph.placeholder(name, shape, DType::F32)).collect()
}

/// Everything that reads rows: what is asked for, and how many dispatches it takes.
fn all<'g>(graph: &'g Graph, shape: [usize; 2], count: usize, length: usize) -> Vec<Case<'g>> {
    let tensors = tensors(graph, &shape, count);
    let rows = chain(&tensors, length);
    let vector = |name| graph.placeholder(name, [shape[1]], DType::F32);
    let (gamma, beta) = (vector("gamma"), vector("beta"));
    let labels = graph.placeholder("labels", [shape[0]], DType::I32);
    let normal = rows.layer_norm(gamma, beta, 0.1);
    let loss = rows.softmax_cross_entropy_smoothed(labels, 0.1);
    let of_norm = (normal.gelu() * tensors[1]).sum_all();
    let slopes = |loss, of: &[Tensor<'g>]| -> Vec<Tensor<'g>> {
        gradients(loss, of).into_iter().flatten().collect()
    };
    let mut all = vec![
        ("softmax", vec![rows.softmax()], 1),
        ("log_softmax", vec![rows.log_softmax()], 1),
        // What is read before and after cannot be written over.
        ("residual", vec![rows.softmax() * tensors[0] + rows], 1),
        ("softmax and rows", vec![rows.softmax(), rows], 1),
        // The mean is a sum of its own.
        ("loss", vec![loss], 2),
        ("slopes of the loss", slopes(loss, &[rows]), 1),
        ("loss and slopes", [vec![loss], slopes(loss, &[rows])].concat(), 2),
        ("norm", vec![normal.relu()], 1),
        // The statistics of the rows come first.
        ("slopes of the norm", slopes(of_norm, &[rows]), 2),
        ("norm and slopes", [vec![normal], slopes(of_norm, &[rows])].concat(), 2),
        // Sums over columns.
        ("training a norm", [vec![normal], slopes(of_norm, &[rows, gamma, beta])].concat(), 3),
    ];
    // Of longer chains too many values are needed again for one kernel to store them.
    if length <= 9 {
        let slopes_of_all = slopes(loss, &tensors[..1]);
        all.push(("training", [vec![loss], slopes_of_all].concat(), 3));
    }
    let case = |(what, fetches, dispatches)| Case { what, fetches, dispatches };
    all.into_iter().map(case).collect()
}

struct Case<'g> {
    what: &'static str,
    fetches: Vec<Tensor<'g>>,
    dispatches: usize,
}

fn ids(fetches: &[Tensor<'_>]) -> Vec<NodeId> {
    fetches.iter().map(|fetch| fetch.id()).collect()
}

#[test]
fn rows_that_take_long_cost_no_dispatch() {
    for (count, length) in [(2, 4), (3, 9), (4, 4), (4, 40), (2, 300)] {
        let graph = Graph::new();
        for Case { what, fetches, dispatches } in all(&graph, [64, 33], count, length) {
            let def = graph.finish().unwrap();
            let program = compile(&def, &ids(&fetches), &[], Target::GPU).unwrap();
            let labels: Vec<&str> = program.steps.iter().map(label).collect();
            let what = format!("{what}: {length} operations on {count} tensors");
            assert_eq!(labels.len(), dispatches, "{what}: {labels:?}");
        }
    }
}

fn label(step: &Step) -> &str {
    match step {
        Step::Dispatch(dispatch) => &dispatch.label,
        Step::Optimizer(_) => "",
    }
}

fn input<'g>(graph: &'g Graph, name: &str, shape: [usize; 2]) -> Tensor<'g> {
    graph.placeholder(name, shape, DType::F32)
}

/// The mean of losses that are multiplied by `weights` numbers for each row, one after the other, and its
/// gradient with respect to the rows. These are made of `tensors` tensors; if of more than one, the labels
/// are made of two.
fn weighted<'g>(graph: &'g Graph, tensors: usize, weights: usize) -> Vec<Tensor<'g>> {
    let [rows, width] = [21, 33];
    let given = |name: &str, at: usize, shape: &[usize]| {
        graph.placeholder(&format!("{name}{at}"), shape, DType::F32)
    };
    let parts = (0..tensors).map(|at| given("x", at, &[rows, width]));
    let x = parts.reduce(|sum, part| sum * 0.5 + part.tanh()).unwrap();
    let labels = graph.placeholder("labels", [rows], DType::I32);
    let shift = graph.placeholder("shift", [rows], DType::I32);
    let labels = if tensors > 1 { labels.max(shift) } else { labels };
    let losses = x.softmax_cross_entropy_smoothed_per_row(labels, 0.1);
    let weights = (0..weights).map(|at| given("w", at, &[rows]));
    let loss = weights.fold(losses, |losses, weight| losses * weight).mean_all();
    let slopes = gradients(loss, &[x]).into_iter().flatten();
    [loss].into_iter().chain(slopes).collect()
}

/// A loss takes its gradient along as long as its kernel can bind what that is multiplied by, and logits are
/// computed apart where they are what is too much. Of one factor more, either has a kernel that binds them
/// all; of two more they are multiplied first, and the loss takes its gradient along again; of still more
/// it takes several kernels to multiply them, and either has its own again.
#[test]
fn a_loss_takes_its_gradient_along_as_far_as_there_are_buffers() {
    let gpu = gpu();
    let own = Target::of(&gpu);
    // Those that any device has.
    let buffers = 8;
    let cases = [own.is_cpu, false].map(|is_cpu| [1, 2, 7].map(|tensors| (is_cpu, tensors)));
    for (is_cpu, tensors) in cases.concat() {
        for weights in 0..16 {
            let graph = Graph::new();
            let fetches = weighted(&graph, tensors, weights);
            let target = Target { storage_buffers: buffers, is_cpu, ..own };
            let def = graph.finish().unwrap();
            let program = compile(&def, &ids(&fetches), &[], target).unwrap();
            let labels: Vec<&str> = program.steps.iter().map(label).collect();
            let what = format!("{target:?}, {tensors} tensors, {weights} weights: {labels:?}");
            for step in &program.steps {
                let Step::Dispatch(dispatch) = step else { continue };
                assert!(dispatch.bindings.len() <= buffers, "{what}: {}", dispatch.label);
            }
            let is_both = |label: &&str| label.contains(", ") && label.contains("_gradient");
            let together = labels.iter().any(is_both);
            // As `mul+mul+..+mul (6)`.
            let is_product = |label: &&&str| {
                let operations = label.split(' ').next().unwrap().split('+');
                operations.into_iter().all(|operation| ["mul", ".."].contains(&operation))
            };
            let products = labels.iter().filter(is_product).count();
            // Logits and labels, where they are computed apart.
            let apart = if tensors > 1 { 2 } else { 0 };
            // Beside products: the loss and its mean, and the gradient if it is not with the loss.
            let (is_right, others) = match (weights + 4).checked_sub(buffers) {
                None | Some(0) => (together && products == 0, 2),
                Some(1) => (!together && products == 0, 3),
                Some(2) => (together && products == 1, 2),
                Some(_) => (!together && products <= weights.div_ceil(buffers - 2) + 1, 3),
            };
            let dispatches = others + products;
            assert!(
                is_right && (dispatches..=dispatches + apart).contains(&labels.len()),
                "{what}"
            );
            let twin = Twin::new(&graph, &fetches, weights as u64);
            twin.compare(&gpu, &graph, &fetches, target, &what);
        }
    }
}

/// Rows that a product takes as its epilogue are read from memory, and few long ones are computed by the
/// whole device.
#[test]
fn rows_are_computed_elsewhere_where_that_is_better() {
    let labels = |build: &dyn for<'g> Fn(&'g Graph) -> Tensor<'g>| {
        let graph = Graph::new();
        let fetch = build(&graph).id();
        let program = compile(&graph.finish().unwrap(), &[fetch], &[], Target::GPU).unwrap();
        program.steps.iter().map(|step| label(step).to_owned()).collect::<Vec<String>>()
    };
    let product = labels(&|graph| {
        let [x, y] = ["x", "y"].map(|name| input(graph, name, [32, 32]));
        (x.matmul(y).gelu() * x).softmax()
    });
    assert_eq!(product, ["matmul+gelu+mul", "softmax"]);
    for (rows, width, expected) in [(1, 1 << 14, 1), (63, 1 << 15, 2), (64, 1 << 15, 1)] {
        let found = labels(&|graph| input(graph, "x", [rows, width]).tanh().softmax());
        assert_eq!(found.len(), expected, "{rows} x {width}: {found:?}");
    }
    // A vector's functions are computed once, not for each row.
    let vector =
        labels(&|graph| (input(graph, "x", [64, 32]) + input(graph, "y", [1, 32]).exp()).softmax());
    assert_eq!(vector, ["exp", "add+softmax"]);
}

/// Random numbers for each placeholder that is asked for, and what the twin makes of them.
struct Twin {
    feeds: Vec<(String, TensorData)>,
    expected: Vec<Vec<f64>>,
}

impl Twin {
    fn new(graph: &Graph, fetches: &[Tensor<'_>], seed: u64) -> Twin {
        let def = graph.finish().unwrap();
        let mut needed = std::collections::BTreeSet::new();
        let mut pending = ids(fetches);
        while let Some(id) = pending.pop() {
            if needed.insert(id) {
                pending.extend(&def.node(id).inputs);
            }
        }
        // Only a label that is a class has a loss that can be compared.
        let classes = def.nodes.iter().filter_map(|node| match node.op {
            Op::SoftmaxCrossEntropy { .. } => def.node(node.inputs[0]).shape.last().copied(),
            _ => None,
        });
        let classes = classes.max().unwrap_or(1);
        let mut feeds = Vec::new();
        for node in needed.into_iter().map(|id| def.node(id)) {
            let Op::Placeholder { name, shape, dtype } = &node.op else { continue };
            let own =
                numbers(shape.elements(), seed + name.len() as u64 + u64::from(name.as_bytes()[0]));
            let value = match dtype {
                DType::I32 => {
                    let label = |x: &f32| ((x.abs() * classes as f32) as usize).min(classes - 1);
                    let labels = own.iter().map(|x| label(x) as i32);
                    TensorData::new(shape, labels.collect::<Vec<i32>>())
                }
                _ => TensorData::new(shape, own),
            };
            feeds.push((name.clone(), value.unwrap()));
        }
        let mut reference = Reference::new(&def);
        feeds.iter().for_each(|(name, value)| reference.feed(name, value));
        let found = reference.run(&ids(fetches)).unwrap();
        let expected = found.into_iter().map(|value| value.elements).collect();
        Twin { feeds, expected }
    }

    /// Runs a plan twice, which must give the same bits, and compares them with the twin.
    fn compare(
        &self,
        gpu: &Gpu,
        graph: &Graph,
        fetches: &[Tensor<'_>],
        target: Target,
        what: &str,
    ) {
        let mut session = Session::new(gpu);
        let plan = session.compile_for(graph, fetches, &[], target).unwrap();
        let feeds: Vec<_> =
            self.feeds.iter().map(|(name, value)| (name.as_str(), value.into())).collect();
        let mut run = || -> Vec<TensorData> {
            let outputs = session.run(&plan, &feeds).unwrap();
            fetches.iter().map(|fetch| outputs.tensor(*fetch).unwrap()).collect()
        };
        let found = run();
        assert!(bits(&found) == bits(&run()), "{what}: other bits the second time");
        for (fetch, (found, expected)) in found.iter().zip(&self.expected).enumerate() {
            assert_eq!(found.shape().elements(), expected.len(), "{what}: {fetch}");
            for (at, (found, &expected)) in found.to_f64().into_iter().zip(expected).enumerate() {
                let near = (found - expected).abs() <= 1e-3 * expected.abs().max(1.0);
                let both = found == expected || (found.is_nan() && expected.is_nan());
                assert!(near || both, "{what}: {fetch}[{at}] is {found}, not {expected}");
            }
        }
    }
}

#[test]
fn held_rows_follow_the_twin() {
    let gpu = gpu();
    // One element, nothing, primes, more than a workgroup, more elements than lanes.
    let shapes = [[1, 1], [0, 5], [3, 7], [13, 31], [130, 67], [2, 523], [3, 2053], [1, 5003]];
    for (at, shape) in shapes.into_iter().enumerate() {
        let (count, length) = [(2, 5), (3, 6), (4, 9)][at % 3];
        let graph = Graph::new();
        for Case { what, fetches, .. } in all(&graph, shape, count, length) {
            // Of nothing there is no mean.
            if shape[0] == 0 && ["loss", "loss and slopes", "training"].contains(&what) {
                continue;
            }
            let twin = Twin::new(&graph, &fetches, 1);
            // With all kinds of subgroups once.
            let kinds = if shape == [2, 523] { usize::MAX } else { 2 };
            for (name, target) in targets(&gpu).into_iter().take(kinds) {
                let what = format!("{what}, {shape:?}, {count} tensors, {name}");
                twin.compare(&gpu, &graph, &fetches, target, &what);
            }
        }
    }
}

/// Rows made of changes of shape, of what is also read behind the kernel, asked for, or needed by others.
fn random_case<'g>(graph: &'g Graph, seed: u64) -> Vec<Tensor<'g>> {
    let noise = Philox::new(seed, "held rows");
    let mut drawn = 0;
    let mut below = |most: usize| {
        drawn += 1;
        noise.word(drawn) as usize % most
    };
    let extents = [1, 2, 3, 7, 8, 31, 64, 67, 130];
    let (rows, width) = (extents[below(9)], extents[below(9)]);
    let mut values = tensors(graph, &[rows, width], 2 + below(3));
    let vector = |name| graph.placeholder(name, [width], DType::F32);
    let (gamma, beta) = (vector("gamma"), vector("beta"));
    let labels = graph.placeholder("labels", [rows], DType::I32);
    let mut fetches = Vec::new();
    for _ in 0..3 + below(6) {
        let x = values[values.len() - 1 - below(values.len().min(2))];
        let y = values[below(values.len())];
        let value = match below(14) {
            0 => x.gelu() * y,
            1 => x.tanh() + y,
            2 => (x * 0.3).sin().exp(),
            3 => x.sigmoid() - y * 0.5,
            4 => x.transpose(&[1, 0]).reshape([rows, width]).tanh(),
            5 => (x.reshape([rows * width]).cos() * 0.5).reshape([rows, width]),
            6 if width > 1 => y.slice(1, 0, 1).exp() + x,
            7 if width > 1 => x.slice(1, 0, 1).concat(&[y.slice(1, 1, width)], 1).tanh(),
            8 => (x + gamma).sin() + y.sum_keep_dims(&[1]) * 0.1,
            9 => x.tanh().softmax() * y,
            10 => x.square().log_softmax() * 0.1,
            11 => (x.tanh() + y).layer_norm(gamma, beta, 0.1),
            12 => x.matmul_with(y, false, true).matmul(y).tanh(),
            _ => x.sin() * y.cos() + x,
        };
        if below(4) == 0 {
            fetches.push(value);
        }
        values.push(value);
    }
    let last = values[values.len() - 1];
    let other = values[values.len() - 2];
    let losses = last.gelu().softmax_cross_entropy_per_row(labels);
    let mask = graph.placeholder("mask", [rows], DType::F32).square() + 0.1;
    let loss = match below(3) {
        0 => losses.mean_all(),
        1 => (losses * mask).sum_all() / mask.sum_all(),
        _ => last.gelu().softmax_cross_entropy_ignoring(labels, 0),
    };
    let loss = loss + other.softmax().square().mean_all();
    fetches.push(loss);
    if below(2) == 0 {
        fetches.extend(gradients(loss, &[values[0], gamma]).into_iter().flatten());
    }
    fetches
}

#[test]
fn random_rows_follow_the_twin() {
    let gpu = gpu();
    let own = Target::of(&gpu);
    let seeds = if std::env::var_os("WARMSTART_TEST_LONG").is_some() { 400 } else { 16 };
    for seed in 0..seeds {
        let graph = Graph::new();
        let fetches = random_case(&graph, seed);
        let twin = Twin::new(&graph, &fetches, seed);
        let plain = Target { is_cpu: false, ..own };
        let few = Target { storage_buffers: 8, ..plain };
        // Written over whatever it saves, however little.
        let [tight, apart] =
            [Target { spare: 0, ..own }, Target { in_place: false, spare: 0, ..plain }];
        for target in [own, plain, few, tight, apart] {
            twin.compare(&gpu, &graph, &fetches, target, &format!("seed {seed}, {target:?}"));
        }
    }
}
