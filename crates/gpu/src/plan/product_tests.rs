//! Products of all shapes, as this device and as a GPU would compute them, against the twin.

use super::*;
use crate::compile::{Step, compile};
use crate::device::cooperative::CooperativeMatrix;
use crate::device::gpu::GpuOptions;
use crate::tune::Tune;
use std::collections::{BTreeSet, HashSet};
use warmstart_graph::random::Philox;
use warmstart_graph::reference::Reference;
use warmstart_graph::{Initializer, Optimizer, TensorData};

pub(super) fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let random = Philox::new(seed, "numbers");
    (0..count as u64).map(|at| (random.word(at) >> 8) as f32 / (1 << 23) as f32 - 1.0).collect()
}

pub(super) fn gpu() -> Gpu {
    // Without cooperative matrices, which add up in another order.
    let cooperative_matrix = Some(CooperativeMatrix::Off);
    let options = GpuOptions { tune: Some(Tune::Off), cooperative_matrix, ..Default::default() };
    Gpu::with(&options).unwrap()
}

/// This device, and a GPU. Kernels for GPUs run anywhere.
pub(super) fn targets(gpu: &Gpu) -> [Target; 2] {
    let target = Target::of(gpu);
    [target, Target { is_cpu: false, ..target }]
}

/// `relu(x y + bias)` of random operands, perhaps of `f16`, and what the twin makes of it.
pub(super) struct Layer<'g> {
    graph: &'g Graph,
    result: Tensor<'g>,
    feeds: [(&'static str, TensorData); 3],
    expected: Vec<f64>,
    pub what: String,
}

impl<'g> Layer<'g> {
    /// `shape` is how many products, and M, N and K.
    pub fn new(
        graph: &'g Graph,
        shape: [usize; 4],
        transposed: [bool; 2],
        in_f16: bool,
    ) -> Layer<'g> {
        let [batch, m, n, k] = shape;
        let matrix = |rows, columns, transposed| {
            let matrix = if transposed { [columns, rows] } else { [rows, columns] };
            if batch == 1 { matrix.to_vec() } else { [&[batch], &matrix[..]].concat() }
        };
        let x = graph.placeholder("x", matrix(m, k, transposed[0]), DType::F32);
        let y = graph.placeholder("y", matrix(k, n, transposed[1]), DType::F32);
        let bias = graph.placeholder("bias", [n], DType::F32);
        let multiply = || x.matmul_with(y, transposed[0], transposed[1]);
        let product = if in_f16 { graph.root().compute_f16(|_| multiply()) } else { multiply() };
        let result = (product + bias).relu();
        let feeds = [("x", x, 1), ("y", y, 2), ("bias", bias, 3)].map(|(name, tensor, seed)| {
            let elements = numbers(tensor.shape().elements(), seed);
            (name, TensorData::new(tensor.shape(), elements).unwrap())
        });
        let def = graph.finish().unwrap();
        let mut reference = Reference::new(&def);
        feeds.iter().for_each(|(name, data)| reference.feed(name, data));
        let expected = reference.run(&[result.id()]).unwrap().swap_remove(0).elements;
        Layer { graph, result, feeds, expected, what: format!("{shape:?} {transposed:?}") }
    }

    /// What the kernels for a target compute, which must be the twin's but for so much, and the plan.
    pub fn run(&self, gpu: &Gpu, target: Target, allowed: f64) -> (TensorData, Plan) {
        let mut session = Session::new(gpu);
        let plan = session.compile_for(self.graph, &[self.result], &[], target).unwrap();
        let feeds = self.feeds.each_ref().map(|(name, data)| (*name, data.into()));
        let found = session.run(&plan, &feeds).unwrap().tensor(self.result).unwrap();
        for (at, (found, expected)) in found.to_f64().iter().zip(&self.expected).enumerate() {
            let what = &self.what;
            assert!(
                (found - expected).abs() <= allowed,
                "{what} {target:?}: {at} is {found}, not {expected}"
            );
        }
        (found, plan)
    }
}

/// The kernel families of `relu(x y + bias)`, whose result must be the twin's.
fn multiply(gpu: &Gpu, target: Target, shape: [usize; 4], transposed: [bool; 2]) -> Vec<String> {
    let graph = Graph::new();
    let layer = Layer::new(&graph, shape, transposed, false);
    let (_, plan) = layer.run(gpu, target, 1e-6 + 1e-5 * (shape[3] as f64).sqrt());
    plan.dispatches()
        .into_iter()
        .map(|info| format!("{} {}", info.kernel, info.operations))
        .collect()
}

/// Tiles and batches that are more than a dispatch has in one dimension are numbered through: the
/// bits stay as they are.
#[test]
fn tiles_are_more_than_one_dimension_of_a_dispatch_has() {
    let gpu = gpu();
    let target = Target::of(&gpu);
    let register = Target { is_cpu: true, subgroup_size: None, ..target };
    for target in targets(&gpu).into_iter().chain([register]) {
        for (shape, limit) in [
            ([5, 3, 2, 4], 3),
            ([9, 40, 30, 3], 7),
            ([1, 300, 2, 5], 4),
            ([1, 3, 300, 5], 7),
            ([1, 300, 100, 33], 9),
        ] {
            let graph = Graph::new();
            let layer = Layer::new(&graph, shape, [false, true], false);
            let (expected, plain) = layer.run(&gpu, target, 1e-4);
            let (found, plan) = layer.run(&gpu, Target { workgroups: limit, ..target }, 1e-4);
            assert_eq!(found, expected, "{}", layer.what);
            let workgroups = |plan: &Plan| plan.dispatches()[0].workgroups;
            assert!(workgroups(&plain).iter().any(|&groups| groups > limit), "{}", layer.what);
            assert!(workgroups(&plan).iter().all(|&groups| groups <= limit), "{}", layer.what);
        }
    }
}

/// The gradients of a layer over 40,000 rows, whose bias a kernel of software adapters sums up in a loop of
/// its own: together no longer than their driver carries out.
#[test]
fn many_rows_are_summed_up_with_the_bias() {
    const ROWS: usize = 40_000;
    let gpu = gpu();
    let target = Target::of(&gpu);
    for target in [target, Target { subgroup_size: None, ..target }] {
        let graph = Graph::new();
        let x = graph.placeholder("x", [ROWS, 70], DType::F32);
        let slope = graph.placeholder("slope", [ROWS, 40], DType::F32);
        let weight = graph.variable("weight", [70, 40], Initializer::Zeros);
        let bias = graph.variable("bias", [40], Initializer::Zeros);
        let loss = ((x.matmul(weight) + bias) * slope).sum_all();
        let update = Optimizer::sgd(1.0).minimize(loss).update;
        let mut session = Session::new(&gpu);
        let plan = session.compile_for(&graph, &[], &[update], target).unwrap();
        session.initialize_missing(1).unwrap();
        let ones = [vec![1.0f32; ROWS * 70], vec![1.0f32; ROWS * 40]];
        let feeds = [("x", (&ones[0]).into()), ("slope", (&ones[1]).into())];
        session.run(&plan, &feeds).unwrap().wait().unwrap();
        for name in ["weight", "bias"] {
            let found = session.read(name).unwrap();
            let wrong = found.as_f32().unwrap().iter().position(|&sum| sum != -(ROWS as f32));
            assert_eq!(wrong, None, "{name} {target:?}");
        }
    }
}

/// An operand that is also added is bound once, whether the product reads it one by one, as pairs or as
/// fours.
#[test]
fn an_operand_that_is_also_added_is_bound_once() {
    let gpu = gpu();
    let mut read_as: BTreeSet<&str> = BTreeSet::new();
    for size in [5, 6, 32, 128] {
        let graph = Graph::new();
        let x = graph.placeholder("x", [size, size], DType::F32);
        let y = graph.placeholder("y", [size, size], DType::F32);
        let sums = [x.matmul(y) + x, y.matmul(x) + x, x.matmul_with(y, true, false) * x];
        let def = graph.finish().unwrap();
        let feeds = [("x", 1), ("y", 2)].map(|(name, seed)| {
            (name, TensorData::new([size, size], numbers(size * size, seed)).unwrap())
        });
        let mut reference = Reference::new(&def);
        feeds.iter().for_each(|(name, data)| reference.feed(name, data));
        for (sum, target) in sums.into_iter().flat_map(|sum| targets(&gpu).map(|to| (sum, to))) {
            let with_others = Target { alternatives: true, ..target };
            let program = compile(&def, &[sum.id()], &[], with_others).unwrap();
            let [Step::Dispatch(dispatch)] = &program.steps[..] else { panic!("not one kernel") };
            let places: Vec<_> = dispatch.bindings.iter().map(|(place, _)| place).collect();
            let unique: HashSet<_> = places.iter().collect();
            assert_eq!(unique.len(), places.len(), "{places:?}");
            let kinds = ["array<f32>", "array<u64>", "array<vec4<f32>>"];
            let sources = dispatch.alternatives.iter().map(|other| &other.source);
            for source in sources.chain([&dispatch.source]) {
                let is_declared = |kind: &&str| source.contains(&format!(" a: {kind};"));
                read_as.extend(kinds.into_iter().filter(is_declared));
            }

            let mut session = Session::new(&gpu);
            let plan = session.compile_for(&graph, &[sum], &[], target).unwrap();
            let feeds = feeds.each_ref().map(|(name, data)| (*name, data.into()));
            let found = session.run(&plan, &feeds).unwrap().tensor(sum).unwrap().to_f64();
            let expected = reference.run(&[sum.id()]).unwrap().swap_remove(0).elements;
            for (at, (found, expected)) in found.iter().zip(&expected).enumerate() {
                let allowed = 1e-6 + 1e-5 * (size as f64).sqrt();
                assert!(
                    (found - expected).abs() <= allowed,
                    "{size}: {at} is {found}, not {expected}"
                );
            }
        }
    }
    let in_pairs = gpu.is_cpu() && Target::of(&gpu).has_int64;
    assert_eq!(read_as.len(), if in_pairs { 3 } else { 2 }, "{read_as:?}");
}

#[test]
fn a_product_with_a_vector_is_a_reduction_on_a_gpu() {
    let gpu = gpu();
    let [own, other] = targets(&gpu);
    let reduced = ["reduce matmul+add+relu"];
    for (shape, transposed) in [
        ([1, 37, 1, 101], [false, false]),
        ([1, 37, 1, 101], [false, true]),
        ([1, 1, 41, 97], [false, true]),
        ([1, 1, 41, 97], [true, true]),
        ([1, 1, 1, 513], [false, false]),
        ([3, 7, 1, 64], [false, true]),
        // Neighbours lie across the sum: enough results, a lane each.
        ([1, 1, 1031, 19], [false, false]),
        ([1, 1031, 1, 19], [true, false]),
        ([2, 1, 600, 5], [true, false]),
    ] {
        assert_eq!(multiply(&gpu, other, shape, transposed), reduced, "{shape:?}");
    }
    // Too few of them.
    let kernels = multiply(&gpu, other, [1, 1, 100, 19], [false, false]);
    assert_eq!(kernels, ["matmul_tile matmul+add+relu"]);
    let kernels = multiply(&gpu, own, [1, 37, 1, 101], [false, false]);
    assert_eq!(gpu.is_cpu(), !kernels[0].starts_with("reduce"), "{kernels:?}");
}

/// On a GPU, wherever four neighbours end before the edge.
#[test]
fn operands_are_read_four_at_a_time() {
    let gpu = gpu();
    let [_, target] = targets(&gpu);
    for (shape, transposed, expected) in [
        ([1, 37, 36, 68], [false, false], [true, true]),
        ([1, 36, 37, 68], [true, true], [true, true]),
        ([2, 37, 37, 20], [false, true], [true, true]),
        ([2, 36, 36, 19], [true, false], [true, true]),
        ([1, 36, 36, 66], [false, false], [false, true]),
        ([1, 34, 36, 68], [true, true], [false, true]),
        ([1, 36, 34, 68], [false, false], [true, false]),
        ([1, 34, 34, 66], [false, true], [false, false]),
    ] {
        assert_eq!(multiply(&gpu, target, shape, transposed).len(), 1);
        let graph = Graph::new();
        let layer = Layer::new(&graph, shape, transposed, false);
        let def = graph.finish().unwrap();
        let program = compile(&def, &[layer.result.id()], &[], target).unwrap();
        let [Step::Dispatch(dispatch)] = &program.steps[..] else { panic!("{shape:?}") };
        let found = ["a", "b"].map(|operand| {
            dispatch.source.contains(&format!("var<storage, read> {operand}: array<vec4<f32>>"))
        });
        assert_eq!(found, expected, "{shape:?} {transposed:?}");
    }
}

#[test]
fn few_long_sums_are_cut_in_slices() {
    let gpu = gpu();
    for target in targets(&gpu) {
        for (transposed, shape) in [
            ([false, false], [1, 20, 31, 2048]),
            ([true, false], [1, 33, 7, 1024]),
            ([false, true], [1, 3, 5, 3000]),
            ([true, true], [1, 16, 16, 510]),
            // Slices end within four elements.
            ([false, true], [1, 16, 16, 1032]),
            // The last slice is shorter: of primes, and of what is twice or four times one.
            ([false, false], [1, 20, 31, 2053]),
            ([true, false], [1, 33, 7, 1433]),
            ([false, true], [1, 3, 5, 3001]),
            ([true, true], [1, 16, 36, 1031]),
            ([false, true], [1, 16, 16, 2 * 1031]),
            ([true, false], [1, 36, 20, 2 * 521]),
            ([false, true], [1, 16, 16, 4 * 521]),
        ] {
            let kernels = multiply(&gpu, target, shape, transposed);
            let sliced = kernels.len() == 2 && kernels[0].ends_with("matmul of slices");
            assert_eq!(sliced, shape[3] > 510, "{shape:?} {kernels:?}");
            assert_eq!(kernels.last().unwrap().starts_with("reduce"), sliced, "{kernels:?}");
        }
    }
}

/// A sum that is as long as that, of one result, is cut as any other.
#[test]
fn long_products_with_a_vector_are_cut_in_slices_on_a_gpu() {
    let gpu = gpu();
    let [_, target] = targets(&gpu);
    let cut = ["reduce matmul of slices", "reduce matmul+add+relu"];
    for (shape, transposed) in [
        ([1, 1, 1, 70_001], [false, false]),
        ([1, 1, 3, 20_011], [false, true]),
        ([1, 2, 1, 16_384], [false, true]),
        ([2, 3, 1, 17_001], [false, false]),
    ] {
        assert_eq!(multiply(&gpu, target, shape, transposed), cut, "{shape:?}");
    }
    assert_eq!(multiply(&gpu, target, [1, 1, 1, 16_000], [false; 2]), cut[1..]);
}

#[test]
fn shapes_of_one_of_primes_and_of_nothing_are_right() {
    let gpu = gpu();
    let extents = [0, 1, 2, 13, 31, 67, 130];
    let random = Philox::new(5, "shapes");
    for round in 0..12u64 {
        let draw = |at: u64, below: usize| random.word(round * 8 + at) as usize % below;
        let extent = |at| extents[draw(at, extents.len())];
        let shape = [1 + draw(0, 2), extent(1), extent(2), extent(3)];
        let transposed = [draw(4, 2) == 1, draw(5, 2) == 1];
        for target in targets(&gpu) {
            multiply(&gpu, target, shape, transposed);
        }
    }
    // A sum of nothing is nothing, and the bias comes after it.
    for target in targets(&gpu) {
        multiply(&gpu, target, [1, 5, 7, 0], [false, false]);
        multiply(&gpu, target, [1, 5, 1, 0], [false, true]);
    }
}

/// The weight's gradient of few inputs and outputs and many rows is cut in slices, and the bias's comes
/// with it. On a GPU that of one output is a reduction, and the bias's is not computed on the way.
#[test]
fn a_step_of_training_is_the_twins_where_gradients_are_other_kernels() {
    let gpu = gpu();
    let [own, other] = targets(&gpu);
    for (target, [rows, inputs, outputs], kernel) in [
        (own, [2048, 12, 9], "matmul, sum of slices"),
        (other, [2048, 12, 9], "matmul, sum of slices"),
        (other, [16, 1100, 1], "reduce matmul"),
        (own, [1437, 12, 9], "matmul, sum of slices"),
        (other, [1437, 12, 9], "matmul, sum of slices"),
        (other, [16_411, 3, 1], "matmul, sum of slices"),
    ] {
        let graph = Graph::new();
        let x = graph.placeholder("x", [rows, inputs], DType::F32);
        let loss = graph.scope("fc").linear(x, outputs).square().mean_all();
        let step = Optimizer::sgd(0.5).minimize(loss);
        let mut session = Session::new(&gpu);
        let plan = session.compile_for(&graph, &[loss], &[step.update], target).unwrap();
        let has = |name: &str| {
            plan.dispatches()
                .iter()
                .any(|info| format!("{} {}", info.kernel, info.operations).ends_with(name))
        };
        assert!(has(kernel), "{plan}");
        assert_eq!(has(" matmul, sum"), kernel == "matmul, sum of slices", "{plan}");
        session.initialize_missing(7).unwrap();
        let examples = numbers(rows * inputs, 9);
        let examples = TensorData::new([rows, inputs], examples).unwrap();
        let def = graph.finish().unwrap();
        let mut reference = Reference::new(&def);
        for variable in &def.variables {
            reference.assign(&variable.name, &session.read(&variable.name).unwrap());
        }
        reference.feed("x", &examples);
        reference.run(&[loss.id(), step.update.id()]).unwrap();
        session.run(&plan, &[("x", (&examples).into())]).unwrap().wait().unwrap();
        for name in ["fc/weight", "fc/bias"] {
            let found = session.read(name).unwrap().to_f64();
            let expected = &reference.variable(name).unwrap().elements;
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - expected).abs() < 1e-5, "{name}: {found}, not {expected}");
            }
        }
    }
}
