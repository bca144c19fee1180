//! Every kernel on the adapter of this machine against the CPU twin.

#[path = "../../graph/tests/cases/mod.rs"]
mod cases;
mod common;

use cases::{Built, Case, Random};
use warmstart_gpu::{CompileError, Feed, Gpu, Session};
use warmstart_graph::reference::{Reference, Value};
use warmstart_graph::{DType, Graph, NodeId, Op, Tensor, TensorData, gradients};

/// Seeds of each case. A case's shapes are new with each, and so are its pipelines.
const SEEDS: u64 = 4;

/// Relative to the largest magnitude in the tensor.
///
/// The twin's `f64` is exact in comparison, so this is the kernels' rounding: a result passes
/// through sums of some hundred terms at most, each off by up to 2⁻²⁴ ≈ 6·10⁻⁸ of the sum's
/// largest part, that is 6·10⁻⁶ if all had one sign; and through functions, of which WGSL
/// promises a few units in the last place (3 + 2|x| for an exponential).
const RELATIVE: f64 = 1e-5;

/// For tensors that are small all over because larger numbers cancelled.
const ABSOLUTE: f64 = 2e-6;

/// How far a case may be off, where not [`RELATIVE`].
fn relative(case: &str) -> f64 {
    match case {
        // WGSL's pow is exp2(b log2 a): the logarithm's error counts b times, and its gradient
        // multiplies that by the logarithm again.
        "pow" => 2e-5,
        _ => RELATIVE,
    }
}

/// The first element that differs: NaN must meet NaN, infinities themselves, integers be equal.
fn first_difference(
    found: &TensorData,
    expected: &Value,
    relative: f64,
) -> Option<(usize, f64, f64)> {
    let finite = expected.elements.iter().filter(|x| x.is_finite());
    let largest = finite.fold(0.0, |most: f64, x| most.max(x.abs()));
    let allowed = match found.dtype() {
        DType::F32 => relative * largest + ABSOLUTE,
        _ => 0.0,
    };
    let found = found.to_f64();
    assert_eq!(found.len(), expected.elements.len());
    let pairs = found.into_iter().zip(expected.elements.iter().copied()).enumerate();
    let agree = |a: f64, b: f64| match (a.is_nan(), b.is_nan()) {
        (false, false) => a == b || (a - b).abs() <= allowed,
        (a, b) => a && b,
    };
    pairs.map(|(at, (a, b))| (at, a, b)).find(|&(_, a, b)| !agree(a, b))
}

/// Checks one tensor, and says all that is needed to see the failure again.
fn difference(
    what: &str,
    seed: u64,
    found: &TensorData,
    expected: &Value,
    relative: f64,
) -> Option<String> {
    if found.shape() != &expected.shape {
        return Some(format!(
            "{what}, seed {seed}: shape {}, the twin has {}",
            found.shape(),
            expected.shape
        ));
    }
    let (at, found, expected) = first_difference(found, expected, relative)?;
    Some(format!("{what}, seed {seed}: element {at} is {found}, the twin has {expected}"))
}

/// Runs a case on the device and on the twin, and gives what differs.
fn differences(gpu: &Gpu, case: &Case, seed: u64) -> Vec<String> {
    let Built { def, fetches, gradients, feeds, variables, .. } = case.build(seed);
    let mut asked: Vec<(String, NodeId)> =
        fetches.iter().enumerate().map(|(at, &id)| (format!("fetch {at}"), id)).collect();
    asked.extend(gradients.into_iter().map(|(name, id)| (format!("gradient of {name}"), id)));

    let mut reference = Reference::new(&def);
    for (name, value) in &feeds {
        reference.feed(name, value);
    }
    for (name, value) in &variables {
        reference.assign(name, value);
    }
    let ids: Vec<NodeId> = asked.iter().map(|(_, id)| *id).collect();
    let expected = reference.run(&ids).unwrap();

    let graph = Graph::from_def(def.clone()).unwrap();
    let tensors: Vec<Tensor<'_>> = ids.iter().map(|&id| graph.tensor(id).unwrap()).collect();
    let mut session = Session::new(gpu);
    let plan = match session.compile(&graph, &tensors, &[]) {
        Ok(plan) => plan,
        Err(error) => return vec![format!("{}, seed {seed}: {error}", case.name)],
    };
    for (name, value) in &variables {
        // A graph may have variables that no fetch reads.
        if session.variable(name).is_ok() {
            session.assign(name, value).unwrap();
        }
    }
    // What no fetch depends on is no part of the plan, and cannot be fed.
    let mut needed = vec![false; def.nodes.len()];
    let mut pending = ids.clone();
    while let Some(id) = pending.pop() {
        if !std::mem::replace(&mut needed[id.0], true) {
            pending.extend(&def.node(id).inputs);
        }
    }
    let used = |name: &str| {
        def.nodes.iter().zip(&needed).any(|(node, needed)| {
            *needed && matches!(&node.op, Op::Placeholder { name: own, .. } if own == name)
        })
    };
    let feeds: Vec<(&str, Feed<'_>)> = feeds
        .iter()
        .filter(|(name, _)| used(name))
        .map(|(name, value)| (name.as_str(), value.into()))
        .collect();
    let outputs = match session.run(&plan, &feeds) {
        Ok(outputs) => outputs,
        Err(error) => return vec![format!("{}, seed {seed}: {error}", case.name)],
    };
    let mut failures = Vec::new();
    for (((what, _), tensor), expected) in asked.iter().zip(&tensors).zip(&expected) {
        let what = format!("{} {what}", case.name);
        failures.extend(match outputs.tensor(*tensor) {
            Ok(found) => difference(&what, seed, &found, expected, relative(case.name)),
            Err(error) => Some(format!("{what}, seed {seed}: {error}")),
        });
    }
    failures
}

#[test]
fn every_operation_and_gradient_is_as_on_the_twin() {
    let gpu = common::gpu();
    let mut failures = Vec::new();
    for case in cases::all() {
        for seed in 0..SEEDS {
            failures.extend(differences(&gpu, &case, seed));
        }
    }
    assert!(failures.is_empty(), "{} differ:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn a_million_elements_are_reduced_to_one() {
    let gpu = common::gpu();
    let count = 1 << 20;
    let mut random = Random(6);
    let x: Vec<f32> = (0..count).map(|_| random.number(0.0, 1.0)).collect();
    let graph = Graph::new();
    let input = graph.placeholder("x", [1024, count / 1024], DType::F32);
    let results = [input.sum_all(), input.mean_all(), input.reduce_max(&[0, 1])];
    let mut session = Session::new(&gpu);
    let plan = session.compile(&graph, &results, &[]).unwrap();
    let outputs = session.run(&plan, &[("x", (&x).into())]).unwrap();
    let sum: f64 = x.iter().copied().map(f64::from).sum();
    let largest = x.iter().copied().fold(0.0f32, f32::max);
    let [found, mean, most] = results.map(|result| f64::from(outputs.scalar(result).unwrap()));
    // 256 lanes add 4096 elements each: with rounding of random sign off by some
    // √4096 · 2⁻²⁴ ≈ 4·10⁻⁶ of the sum.
    assert!((found - sum).abs() < 1e-5 * sum, "{found}, not {sum}");
    assert!((mean - sum / count as f64).abs() < 1e-5, "{mean}, not {}", sum / count as f64);
    assert_eq!(most, f64::from(largest));
}

/// Extents beside one of 0 may be as large as an index: neither their product nor a stride is.
#[test]
fn nothing_is_reduced_to_zeros_however_large_the_other_extents() {
    const LARGE: usize = 4_000_000_000;
    let gpu = common::gpu();
    let graph = Graph::new();
    let flat = graph.placeholder("flat", [LARGE, LARGE, LARGE, 0], DType::F32);
    let rows = graph.placeholder("rows", [0, 70_000, 70_000], DType::F32);
    let fetches = [flat.sum_all(), rows.sum(&[0, 2])];
    let mut session = Session::new(&gpu);
    let plan = session.compile(&graph, &fetches, &[]).unwrap();
    let none: [f32; 0] = [];
    let feeds = [("flat", (&none).into()), ("rows", (&none).into())];
    let outputs = session.run(&plan, &feeds).unwrap();
    for (fetch, count) in fetches.into_iter().zip([1, 70_000]) {
        let found = outputs.tensor(fetch).unwrap();
        assert_eq!(found.as_f32(), Some(&vec![0.0; count][..]));
    }
}

#[test]
fn three_long_rows_are_reduced() {
    let gpu = common::gpu();
    let (rows, width) = (3, 100_000);
    let mut random = Random(7);
    let x: Vec<f32> = (0..rows * width).map(|_| random.number(0.0, 4.0)).collect();
    let graph = Graph::new();
    let input = graph.placeholder("x", [rows, width], DType::F32);
    let labels = graph.constant(TensorData::new([rows], vec![0, 77_777, 99_999]).unwrap());
    let fetches = [
        input.sum(&[1]),
        input.sum(&[0]),
        input.reduce_max(&[1]),
        input.argmax(),
        input.softmax(),
        input.log_softmax(),
        input.softmax_cross_entropy(labels),
    ];
    let mut session = Session::new(&gpu);
    let plan = session.compile(&graph, &fetches, &[]).unwrap();
    let outputs = session.run(&plan, &[("x", (&x).into())]).unwrap();
    let def = graph.finish().unwrap();
    let mut reference = Reference::new(&def);
    reference.feed("x", &TensorData::new([rows, width], x).unwrap());
    let expected = reference.run(&fetches.map(Tensor::id)).unwrap();
    for (at, (fetch, expected)) in fetches.iter().zip(&expected).enumerate() {
        let found = outputs.tensor(*fetch).unwrap();
        let what = format!("long rows, fetch {at}");
        if let Some(failure) = difference(&what, 7, &found, expected, RELATIVE) {
            panic!("{failure}");
        }
    }
    // The softmax's elements are smaller than the absolute part of the tolerance.
    let softmax = outputs.tensor(fetches[4]).unwrap();
    for (at, (&found, &expected)) in
        softmax.as_f32().unwrap().iter().zip(&expected[4].elements).enumerate()
    {
        let off = (f64::from(found) - expected).abs() / expected;
        assert!(off < RELATIVE, "softmax: element {at} is {found}, the twin has {expected}");
    }
}

#[test]
fn the_first_of_the_largest_is_found_beside_nan_and_infinities() {
    let gpu = common::gpu();
    let (nan, infinity) = (f32::NAN, f32::INFINITY);
    for width in [2, 9, 300, 80_000] {
        let last = width - 1;
        // What stands where, in rows that are the first number everywhere else.
        let rows = [
            (1.0, vec![]),
            (0.0, vec![(last, 2.0), (width / 2, 2.0)]),
            (0.0, vec![(last, 2.0), (width / 2, 1.0)]),
            (0.0, vec![(0, nan), (last, infinity)]),
            (nan, vec![(last, -1.0), (0, -2.0)]),
            (nan, vec![(0, -infinity)]),
            (nan, vec![]),
            (-infinity, vec![]),
            (-infinity, vec![(0, nan)]),
            (-1.0, vec![(last, infinity), (width / 2, nan)]),
        ];
        let filled = rows.iter().flat_map(|(everywhere, others)| {
            let mut row = vec![*everywhere; width];
            others.iter().for_each(|&(at, value)| row[at] = value);
            row
        });
        let x = TensorData::new([rows.len(), width], filled.collect::<Vec<f32>>()).unwrap();
        let graph = Graph::new();
        let best = graph.placeholder("x", [rows.len(), width], DType::F32).argmax();
        let mut session = Session::new(&gpu);
        let plan = session.compile(&graph, &[best], &[]).unwrap();
        let found = session.run(&plan, &[("x", (&x).into())]).unwrap().tensor(best).unwrap();
        let def = graph.finish().unwrap();
        let mut reference = Reference::new(&def);
        reference.feed("x", &x);
        let expected = reference.run(&[best.id()]).unwrap();
        let expected: Vec<i32> = expected[0].elements.iter().map(|&at| at as i32).collect();
        assert_eq!(found.as_i32(), Some(&expected[..]), "{width}");
    }
}

/// Wide tables and narrow ones, more indices than are marked in one go, and some that are no row: what
/// reaches each row is added up in order, so that the twin's sums in `f32` are the same bits.
#[test]
fn rows_are_added_up_in_the_order_of_their_indices() {
    let gpu = common::gpu();
    let mut random = Random(8);
    for (rows, width, count, below) in [
        (1, 1, 60_000, 3),
        (3, 5, 16_385, 5),
        (300, 300, 2_000, 302),
        (5_000, 70, 333, 5_002),
        (70, 1_500, 40, 72),
        // Almost all for a few of many rows.
        (10_000, 3, 16_000, 4),
    ] {
        let indices: Vec<i32> =
            (0..count).map(|_| random.number(-1.0, below as f32).floor() as i32).collect();
        let values: Vec<f32> = (0..count * width).map(|_| random.number(-1.0, 1.0)).collect();
        let graph = Graph::new();
        let table = graph.placeholder("table", [rows, width], DType::F32);
        let which = graph.placeholder("indices", [count], DType::I32);
        let slope = graph.placeholder("values", [count, width], DType::F32);
        let loss = (table.gather_rows(which) * slope).sum_all();
        let sums = gradients(loss, &[table])[0].unwrap();
        let mut session = Session::new(&gpu);
        let plan = session.compile(&graph, &[loss, sums], &[]).unwrap();
        let zeros = vec![0.0f32; rows * width];
        let feeds = [
            ("table", (&zeros).into()),
            ("indices", (&indices).into()),
            ("values", (&values).into()),
        ];
        let found = session.run(&plan, &feeds).unwrap().tensor(sums).unwrap();
        let mut expected = vec![0.0f32; rows * width];
        for (&row, values) in indices.iter().zip(values.chunks(width)) {
            let row = usize::try_from(row).ok().filter(|&row| row < rows);
            let Some(row) = row else { continue };
            let own = &mut expected[row * width..][..width];
            own.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
        }
        let found = found.as_f32().unwrap();
        let wrong = found.iter().zip(&expected).position(|(a, b)| a.to_bits() != b.to_bits());
        assert_eq!(
            wrong.map(|at| (at, found[at], expected[at])),
            None,
            "[{rows}, {width}], {count} indices"
        );
    }
}

/// Mesa's software driver ends the loops of an invocation after 65,535 rounds, and says nothing.
#[test]
fn loops_are_no_longer_than_a_software_driver_carries_out() {
    let gpu = common::gpu();
    let graph = Graph::new();
    let (rows, size) = (140_000, 100);
    let given = |name: &str| graph.placeholder(name, [rows, size], DType::F32);
    let product = given("x").matmul_with(given("y"), true, false);
    let mut session = Session::new(&gpu);
    let plan = session.compile(&graph, &[product], &[]).unwrap();
    let ones = vec![1.0f32; rows * size];
    let outputs = session.run(&plan, &[("x", (&ones).into()), ("y", (&ones).into())]).unwrap();
    let found = outputs.tensor(product).unwrap();
    assert!(found.as_f32().unwrap().iter().all(|&sum| sum == rows as f32), "{found:?}");

    // Of several products, each.
    let graph = Graph::new();
    let [x, y] = ["x", "y"].map(|name| graph.placeholder(name, [2, rows, 3], DType::F32));
    let product = x.matmul_with(y, true, false);
    let mut session = Session::new(&gpu);
    let plan = session.compile(&graph, &[product], &[]).unwrap();
    let ones = &ones[..2 * rows * 3];
    let outputs = session.run(&plan, &[("x", ones.into()), ("y", ones.into())]).unwrap();
    let found = outputs.tensor(product).unwrap();
    assert!(found.as_f32().unwrap().iter().all(|&sum| sum == rows as f32), "{found:?}");

    // What cannot be cut is refused there, at its line.
    let graph = Graph::new();
    let long = graph.placeholder("long", [16_000_000], DType::F32).reshape([1, 16_000_000]);
    let table = graph.placeholder("table", [5, 1], DType::F32);
    let rows = graph.placeholder("rows", [70_000], DType::I32);
    let picked = table.gather_rows(rows).square().sum_all();
    let slopes = gradients(picked, &[table])[0].unwrap();
    for refused in [long.argmax(), long.reshape([1, 16_000_000]).softmax(), slopes] {
        let mut session = Session::new(&gpu);
        let compiled = session.compile(&graph, &[refused], &[]);
        match gpu.is_cpu() {
            true => {
                let error = compiled.map(drop).unwrap_err();
                assert!(matches!(error, CompileError::TooManyRounds { .. }), "{error}");
                assert!(error.to_string().starts_with(file!()), "{error}");
            }
            false => drop(compiled.unwrap()),
        }
    }
}

/// Launches along one dimension end at 65,535 workgroups.
#[test]
fn five_million_elements_are_computed_each() {
    let gpu = common::gpu();
    let count = 5_000_001;
    assert!(count / 64 > 65_535);
    let x: Vec<f32> = (0..count).map(|i| i as f32).collect();
    let graph = Graph::new();
    let input = graph.placeholder("x", [count], DType::F32);
    let result = input * 2.0 + 1.0;
    let mut session = Session::new(&gpu);
    let plan = session.compile(&graph, &[result], &[]).unwrap();
    assert_eq!(plan.dispatches().len(), 1);
    let found = session.run(&plan, &[("x", (&x).into())]).unwrap().tensor(result).unwrap();
    let found = found.as_f32().unwrap();
    assert_eq!(found.len(), count);
    // Whole numbers below 2²⁴ are exact.
    let wrong = found.iter().zip(&x).position(|(y, x)| *y != x * 2.0 + 1.0);
    assert_eq!(wrong, None);
}

/// A large number beside a small one must not swallow it.
#[test]
fn small_losses_of_large_logits_are_right() {
    let gpu = common::gpu();
    let graph = Graph::new();
    let logits = graph.placeholder("logits", [3, 2], DType::F32);
    let labels = graph.constant(TensorData::new([3], vec![0i32; 3]).unwrap());
    let fetches = [
        logits.softmax_cross_entropy(labels),
        logits.softmax_cross_entropy_smoothed(labels, 0.01),
        logits.slice(0, 2, 3).binary_cross_entropy_with_logits(graph.constant(1.0f32)),
        logits.slice(0, 2, 3).binary_cross_entropy_with_logits(graph.constant(0.25f32)),
    ];
    let x = [1e5f32, 1e5 - 5.0, 100.0, 90.0, 15.0, 0.0];
    let mut session = Session::new(&gpu);
    let plan = session.compile(&graph, &fetches, &[]).unwrap();
    let outputs = session.run(&plan, &[("logits", (&x).into())]).unwrap();
    let def = graph.finish().unwrap();
    let mut reference = Reference::new(&def);
    reference.feed("logits", &TensorData::new([3, 2], x).unwrap());
    let expected = reference.run(&fetches.map(Tensor::id)).unwrap();
    for (at, (fetch, expected)) in fetches.iter().zip(&expected).enumerate() {
        let (found, expected) = (outputs.scalar(*fetch).unwrap(), expected.elements[0]);
        let off = (f64::from(found) - expected).abs();
        // The logarithm of a sum near 1 knows that sum to a rounding.
        let rounding = if at < 2 { 1e-7 } else { 0.0 };
        let allowed = rounding + 2e-6 * expected;
        assert!(off <= allowed, "fetch {at} is {found}, the twin has {expected}");
    }
}

#[test]
fn whole_powers_of_negative_numbers_are_numbers() {
    let gpu = common::gpu();
    let graph = Graph::new();
    let (a, b) = (graph.placeholder("a", [8], DType::F32), graph.placeholder("b", [8], DType::F32));
    let power = a.pow(b);
    let mut session = Session::new(&gpu);
    let plan = session.compile(&graph, &[power], &[]).unwrap();
    let (x, y) = (
        [-2.0f32, -2.0, -2.0, -2.0, -2.0, -2.0, 0.0, -3.0],
        [2.0f32, 3.0, -1.0, 0.0, 0.5, 1e8, 0.0, 16_777_216.0],
    );
    let outputs = session.run(&plan, &[("a", (&x).into()), ("b", (&y).into())]).unwrap();
    let infinity = f64::INFINITY;
    let elements = vec![4.0, -8.0, -0.5, 1.0, f64::NAN, infinity, 1.0, infinity];
    let expected = Value { shape: power.shape(), elements };
    let found = outputs.tensor(power).unwrap();
    if let Some(failure) = difference("pow", 0, &found, &expected, relative("pow")) {
        panic!("{failure}");
    }
}

/// What is not a number must not look like one: a loss that fell apart has to be seen.
#[test]
fn nothing_hides_what_is_not_finite() {
    let gpu = common::gpu();
    let x = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1.0, 0.0, -1.0, 1e38, -1e38];
    let graph = Graph::new();
    let input = graph.placeholder("x", [x.len()], DType::F32);
    let fetches = [
        input.relu(),
        input.leaky_relu(0.5),
        -input,
        input + 1.0,
        input * 10.0,
        input.square(),
        input.exp(),
        input.expm1(),
        input.tanh(),
        input.sigmoid(),
        input.erf(),
        input.abs(),
        input.min(input.number(0.0)),
        input.number(0.0).max(input),
        input.sum_all(),
        input.slice(0, 1, 3).sum_all(),
        input.slice(0, 1, 2).sum_all(),
        input.reduce_max(&[0]),
        input.slice(0, 1, 8).reduce_max(&[0]),
        input.reshape([4, 2]).softmax(),
        input
            .reshape([x.len(), 1])
            .matmul(graph.constant(TensorData::from(2.0f32)).reshape([1, 1])),
    ];
    let mut session = Session::new(&gpu);
    let plan = session.compile(&graph, &fetches, &[]).unwrap();
    let outputs = session.run(&plan, &[("x", (&x).into())]).unwrap();
    let def = graph.finish().unwrap();
    let mut reference = Reference::new(&def);
    reference.feed("x", &TensorData::new([x.len()], x).unwrap());
    let expected = reference.run(&fetches.map(Tensor::id)).unwrap();
    for ((fetch, expected), at) in fetches.iter().zip(&expected).zip(0..) {
        // What is beyond `f32` in the twin's `f64` is infinite on the device.
        let elements = expected.elements.iter().map(|&x| f64::from(x as f32)).collect();
        let expected = Value { shape: expected.shape.clone(), elements };
        let operation = def.node(fetch.id()).op.name();
        let found = outputs.tensor(*fetch).unwrap();
        let what = format!("not finite, fetch {at} ({operation})");
        if let Some(failure) = difference(&what, 0, &found, &expected, RELATIVE) {
            panic!("{failure}");
        }
    }
}
