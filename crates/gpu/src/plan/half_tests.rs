//! Products of operands rounded to `f16`: against the twin, and with the same bits whether the device
//! has `f16` or not.

use super::product_tests::{Layer, gpu, numbers, targets};
use super::*;
use crate::compile::{Step, compile};
use crate::device::cooperative::CooperativeMatrix;
use crate::device::gpu::GpuOptions;
use crate::left_out::left_out;
use crate::tune::Tune;
use std::collections::BTreeSet;
use warmstart_graph::random::Philox;
use warmstart_graph::reference::Reference;
use warmstart_graph::{Initializer, Optimizer, Scope, TensorData, gradients};

/// As that target, and as one without `f16`. Software Vulkan has it, so that both are tried there.
pub(super) fn with_and_without(gpu: &Gpu, target: Target) -> [Target; 2] {
    let has_f16 = target.has_f16 && gpu.widens_f16().unwrap();
    assert!(has_f16 || !gpu.summary().name.contains("llvmpipe"), "{:?}", gpu.features());
    [target, Target { has_f16: false, ..target }]
}

fn bits(data: &TensorData) -> Vec<u32> {
    data.as_f32().unwrap().iter().map(|x| x.to_bits()).collect()
}

/// The kernels of `relu(x y + bias)` in `f16`, whose result must be the twin's.
fn multiply(gpu: &Gpu, target: Target, shape: [usize; 4], transposed: [bool; 2]) -> String {
    let graph = Graph::new();
    let layer = Layer::new(&graph, shape, transposed, true);
    // Rounded operands would be off by a hundred times as much.
    let allowed = 1e-6 + 1e-6 * (shape[3] as f64).sqrt();
    let mut first: Option<Vec<u32>> = None;
    let mut kernels = String::new();
    for target in with_and_without(gpu, target) {
        let (found, plan) = layer.run(gpu, target, allowed);
        let found = bits(&found);
        let same = *first.get_or_insert_with(|| found.clone()) == found;
        assert!(same, "{} {target:?}: other bits", layer.what);
        kernels = plan.dispatches().iter().map(|info| format!("{} ", info.kernel)).collect();
    }
    kernels
}

/// The product in `f16` of M x K and K x N numbers.
fn product(
    gpu: &Gpu,
    target: Target,
    [m, n, k]: [usize; 3],
    left: &[f32],
    right: &[f32],
) -> TensorData {
    let graph = Graph::new();
    let x = graph.placeholder("x", [m, k], DType::F32);
    let y = graph.placeholder("y", [k, n], DType::F32);
    let product = graph.root().compute_f16(|_| x.matmul(y));
    let mut session = Session::new(gpu);
    let plan = session.compile_for(&graph, &[product], &[], target).unwrap();
    let feeds = [("x", left.into()), ("y", right.into())];
    session.run(&plan, &feeds).unwrap().tensor(product).unwrap()
}

#[test]
fn products_of_all_shapes_are_the_twins_with_f16_and_without() {
    let gpu = gpu();
    let [own, other] = targets(&gpu);
    // With a vector, with few results, and one of the ladder.
    for (target, shape, kernel) in [
        (other, [1, 37, 1, 101], "reduce"),
        (other, [1, 1, 1031, 19], "reduce"),
        (other, [2, 70, 65, 33], "matmul_tile"),
        (own, [1, 20, 31, 2048], "reduce"),
        (own, [3, 33, 34, 66], "matmul"),
    ] {
        let kernels = multiply(&gpu, target, shape, [false, true]);
        assert!(kernels.contains(kernel), "{shape:?}: {kernels}");
    }
    let extents = [0, 1, 2, 13, 31, 67, 130];
    let random = Philox::new(6, "shapes of f16");
    for round in 0..8u64 {
        let draw = |at: u64, below: usize| random.word(round * 8 + at) as usize % below;
        let extent = |at| extents[draw(at, extents.len())];
        let shape = [1 + draw(0, 2), extent(1), extent(2), extent(3)];
        for target in [own, other] {
            multiply(&gpu, target, shape, [draw(4, 2) == 1, draw(5, 2) == 1]);
        }
    }
}

/// Each value is rounded once for all products that read it, and what is stored as `f16` already is
/// read as it is.
#[test]
fn operands_are_rounded_once() {
    let gpu = gpu();
    let graph = Graph::new();
    let x = graph.placeholder("x", [24, 40], DType::F32);
    let stored = graph.root().state_of("stored", [40, 24], DType::F16, Initializer::GlorotUniform);
    let weight = graph.variable("weight", [24, 24], Initializer::GlorotUniform);
    let wide = stored.cast(DType::F32);
    let plain = x.matmul(wide);
    let loss = graph.root().compute_f16(|_| {
        let hidden = x.matmul(wide).relu();
        (hidden.matmul(weight) + hidden.matmul_with(weight, false, true)).square().mean_all()
    });
    let [dx, dw] = gradients(loss, &[x, weight])[..] else { panic!("of two") };
    let def = graph.finish().unwrap();
    let mut session = Session::new(&gpu);
    let fetches = [loss, plain, dx.unwrap(), dw.unwrap()];
    let plan = session.compile(&graph, &fetches, &[]).unwrap();
    let casts = |plan: &Plan| {
        let all = plan.dispatches();
        all.iter().map(|info| info.operations.matches("cast").count()).sum::<usize>()
    };
    // Of x, hidden, the weight and the gradients of what was given by the three products, of which
    // two are one.
    assert_eq!(casts(&plan), 5, "{plan}");
    session.initialize_missing(3).unwrap();
    let data = TensorData::new([24, 40], numbers(24 * 40, 4)).unwrap();
    let mut reference = Reference::new(&def);
    reference.feed("x", &data);
    for name in ["stored", "weight"] {
        reference.assign(name, &session.read(name).unwrap());
    }
    let expected = reference.run(&fetches.map(|fetch| fetch.id())).unwrap();
    let outputs = session.run(&plan, &[("x", (&data).into())]).unwrap();
    for (fetch, expected) in fetches.iter().zip(&expected) {
        let largest = expected.elements.iter().fold(0.0f64, |most, x| most.max(x.abs()));
        let found = outputs.tensor(*fetch).unwrap().to_f64();
        for (found, expected) in found.iter().zip(&expected.elements) {
            // A value next to a tie may be rounded the other way, and is off by 2^-11 then.
            assert!((found - expected).abs() <= 5e-4 * largest, "{found}, not {expected}");
        }
    }
}

/// What a product reads of numbers of 16 bits, as pairs, as fours or one by one, and what is fused into it
/// reads too is bound once, and read right from there.
#[test]
fn a_stored_operand_that_is_also_added_is_bound_once() {
    let gpu = gpu();
    let all = targets(&gpu).into_iter().flat_map(|target| with_and_without(&gpu, target));
    let all: Vec<Target> = all.collect();
    let random = Philox::new(7, "operands bound once");
    for (round, dtype) in (0..6).flat_map(|round| [(round, DType::F16), (round, DType::Bf16)]) {
        // Widths of all remainders by four, up to several tiles.
        let [rows, width] = [0, 1].map(|at| 1 + random.word(round * 2 + at) as usize % 70);
        let width = if round < 2 { 64 } else { width };
        let graph = Graph::new();
        let values = Initializer::Normal { mean: 0.0, stddev: 1.0 };
        let stored = graph.root().state_of("stored", [rows, width], dtype, values.clone());
        let weight = graph.root().state_of("weight", [width, width], dtype, values);
        let [wide, square] = [stored, weight].map(|stored| stored.cast(DType::F32));
        let results = [wide.matmul(square) + wide, square.matmul(square.tanh()) * square];
        let def = graph.finish().unwrap();
        for &target in &all {
            let ids = results.map(|result| result.id());
            for step in &compile(&def, &ids, &[], target).unwrap().steps {
                let Step::Dispatch(dispatch) = step else { panic!("nothing is trained") };
                let places: BTreeSet<String> =
                    dispatch.bindings.iter().map(|(place, _)| format!("{place:?}")).collect();
                assert_eq!(places.len(), dispatch.bindings.len(), "{:?}", dispatch.bindings);
            }
            let mut session = Session::new(&gpu);
            let plan = session.compile_for(&graph, &results, &[], target).unwrap();
            session.initialize_missing(3).unwrap();
            let mut reference = Reference::new(&def);
            for name in ["stored", "weight"] {
                reference.assign(name, &session.read(name).unwrap());
            }
            let outputs = session.run(&plan, &[]).unwrap();
            for (result, expected) in results.iter().zip(reference.run(&ids).unwrap()) {
                let found = outputs.tensor(*result).unwrap().to_f64();
                for (at, (found, expected)) in found.iter().zip(&expected.elements).enumerate() {
                    assert!(
                        (found - expected).abs() <= 1e-4,
                        "{dtype} [{rows}, {width}], {target:?}: {at} is {found}, not {expected}"
                    );
                }
            }
        }
    }
}

/// What is too large for `f16` does not come out as a number: loss scaling finds it.
#[test]
fn what_overflows_is_not_finite() {
    let gpu = gpu();
    for target in targets(&gpu).into_iter().flat_map(|target| with_and_without(&gpu, target)) {
        for (m, n, k) in [(40, 40, 40), (1, 1, 300), (7, 1, 33)] {
            let mut left = vec![1.0f32; m * k];
            left[k - 1] = 65_520.0;
            let right = vec![0.5f32; k * n];
            let found = product(&gpu, target, [m, n, k], &left, &right);
            let found = found.as_f32().unwrap();
            assert!(found[..n].iter().all(|x| *x == f32::INFINITY), "{target:?} {found:?}");
            assert!(found[n..].iter().all(|x| *x == k as f32 / 2.0), "{target:?} {found:?}");
        }
    }
}

/// WGSL lets a driver take subnormal numbers for zero. Here they count on every way to them.
#[test]
fn subnormal_numbers_count() {
    let gpu = gpu();
    for target in targets(&gpu).into_iter().flat_map(|target| with_and_without(&gpu, target)) {
        // With an even and an odd width, and a vector.
        for (m, n, k) in [(40, 36, 34), (9, 7, 13), (1, 5, 33)] {
            let unit = 2f32.powi(-24);
            let left: Vec<f32> = (0..m * k).map(|i| (i % 1024) as f32 * -unit).collect();
            let right = vec![1024.0f32; k * n];
            let found = product(&gpu, target, [m, n, k], &left, &right);
            let rows = left.chunks(k).map(|row| row.iter().sum::<f32>() * 1024.0);
            let expected: Vec<f32> = rows.flat_map(|sum| vec![sum; n]).collect();
            assert_eq!(found.as_f32(), Some(&expected[..]), "{target:?}");
        }
    }
}

/// Training in `f16` gives the same bits with `f16` and without, and whichever kernel is chosen.
#[test]
fn training_gives_the_same_bits_with_f16_and_without() {
    let mut trained: Vec<Vec<u8>> = Vec::new();
    for (tune, has_f16) in [(Tune::Off, true), (Tune::Off, false), (Tune::Force, true)] {
        let options = crate::device::gpu::GpuOptions {
            tune: Some(tune),
            cache: Some(crate::CacheChoice::Off),
            ..Default::default()
        };
        let gpu = Gpu::with(&options).unwrap();
        let graph = Graph::new();
        let x = graph.placeholder("x", [96, 80], DType::F32);
        let loss = graph.root().compute_f16(|scope| {
            let hidden = scope.scope("fc1").linear(x, 72).relu();
            scope.scope("fc2").linear(hidden, 40).square().mean_all()
        });
        let step = Optimizer::sgd(0.1).minimize(loss);
        let mut session = Session::new(&gpu);
        let [own, without] = with_and_without(&gpu, Target::of(&gpu));
        let target = if has_f16 { own } else { without };
        let plan = session.compile_for(&graph, &[loss], &[step.update], target).unwrap();
        session.initialize_missing(7).unwrap();
        let inputs: Vec<f32> = (0..96 * 80).map(|i| (i % 13) as f32 / 13.0).collect();
        for _ in 0..3 {
            session.run(&plan, &[("x", (&inputs).into())]).unwrap().wait().unwrap();
        }
        trained.push(session.read("fc1/weight").unwrap().to_le_bytes());
    }
    assert!(trained.iter().all(|weight| *weight == trained[0]), "other bits");
}

fn layer<'g>(scope: &Scope<'g>, x: Tensor<'g>) -> Tensor<'g> {
    scope.linear(x, 32).relu()
}

/// What is computed again is rounded again; what is kept as `f16` anyway is what products read.
#[test]
fn parts_may_be_computed_again_and_kept_as_f16() {
    let gpu = gpu();
    let course = |again: bool, kept: bool| {
        let graph = Graph::new();
        let x = graph.placeholder("x", [48, 32], DType::F32);
        let loss = graph.root().compute_f16(|scope| {
            let mut hidden = x;
            for at in 0..4 {
                let scope = scope.scope(&format!("fc{at}"));
                hidden = match (again, kept) {
                    (true, true) => {
                        scope.keep_f16(|scope| scope.recompute(|scope| layer(scope, hidden)))
                    }
                    (true, _) => scope.recompute(|scope| layer(scope, hidden)),
                    (_, true) => scope.keep_f16(|scope| layer(scope, hidden)),
                    _ => layer(&scope, hidden),
                };
            }
            scope.scope("out").linear(hidden, 1).square().mean_all()
        });
        let step = Optimizer::sgd(0.1).minimize(loss);
        let mut session = Session::new(&gpu);
        let plan = session.compile(&graph, &[loss], &[step.update]).unwrap();
        session.initialize_missing(7).unwrap();
        let inputs = numbers(48 * 32, 3);
        for _ in 0..3 {
            session.run(&plan, &[("x", (&inputs).into())]).unwrap().wait().unwrap();
        }
        let casts = plan.dispatches().into_iter().filter(|info| info.operations.ends_with("cast"));
        (session.read("fc0/weight").unwrap().to_le_bytes(), casts.count(), plan.memory())
    };
    let (plain, casts, memory) = course(false, false);
    let (again, ..) = course(true, false);
    let (kept, kept_casts, kept_memory) = course(false, true);
    assert!(plain == again, "other bits when computed again");
    // A mask of `relu` is that of rounded values, which only differs for the smallest.
    assert!(plain == kept, "other bits when kept as f16");
    let (both, _, both_memory) = course(true, true);
    assert!(kept == both, "other bits when kept as f16 and computed again");
    assert!(both_memory.values_least < memory.values_least, "{both_memory:?} {memory:?}");
    assert_eq!(casts, kept_casts, "each is rounded once for both");
    assert!(kept_memory.values_least < memory.values_least, "{kept_memory:?} {memory:?}");
}

/// Where there are cooperative matrices: layers of all shapes are the twin's, a course of training is
/// the same each time, tuned or not, and memory is what is planned without a device's `f16`.
#[test]
fn cooperative_matrices_compute_layers() {
    let open = |tune| {
        let options = GpuOptions {
            tune: Some(tune),
            cooperative_matrix: Some(CooperativeMatrix::Force),
            ..Default::default()
        };
        Gpu::with(&options).unwrap()
    };
    let gpu = open(Tune::Off);
    let target = Target::of(&gpu);
    if !target.cooperative.is_some_and(|size| gpu.multiplies_by_matrices(size).unwrap()) {
        let why = "this adapter has none, or none that compute what is right";
        return left_out("layers by cooperative matrices", why);
    }
    for (shape, transposed) in [
        ([1, 70, 65, 33], [false, true]),
        ([2, 36, 68, 44], [true, false]),
        ([1, 128, 132, 64], [true, true]),
        // In slices along K, and nothing to add up.
        ([1, 20, 31, 2048], [false, false]),
        ([1, 20, 31, 2053], [true, false]),
        ([1, 13, 31, 0], [false, false]),
    ] {
        let graph = Graph::new();
        let layer = Layer::new(&graph, shape, transposed, true);
        let allowed = 1e-6 + 1e-6 * (shape[3] as f64).sqrt();
        let (found, plan) = layer.run(&gpu, target, allowed);
        let kernels: Vec<&str> = plan.dispatches().iter().map(|info| info.kernel).collect();
        assert!(kernels.contains(&"matmul_cooperative"), "{shape:?}: {kernels:?}");
        let (again, _) = layer.run(&gpu, target, allowed);
        assert!(bits(&found) == bits(&again), "{shape:?}: other bits");
    }
    let course = |gpu: &Gpu| {
        let graph = Graph::new();
        let x = graph.placeholder("x", [96, 80], DType::F32);
        let loss = graph.root().compute_f16(|scope| {
            let hidden = scope.scope("fc1").linear(x, 72).relu();
            scope.scope("fc2").linear(hidden, 40).square().mean_all()
        });
        let step = Optimizer::sgd(0.1).minimize(loss);
        let mut session = Session::new(gpu);
        let planned = session.plan_memory(&graph, &[loss], &[step.update]).unwrap();
        let plan = session.compile(&graph, &[loss], &[step.update]).unwrap();
        assert_eq!(plan.memory().values, planned.values);
        session.initialize_missing(7).unwrap();
        let inputs = numbers(96 * 80, 5);
        for _ in 0..3 {
            session.run(&plan, &[("x", (&inputs).into())]).unwrap().wait().unwrap();
        }
        session.read("fc1/weight").unwrap().to_le_bytes()
    };
    assert!(course(&gpu) == course(&open(Tune::Force)), "other bits when tuned");
}
