//! Sums and maxima of few results, as software adapters and as GPUs compute them, against the twin.

use super::product_tests::{gpu, targets};
use super::*;
use warmstart_graph::TensorData;
use warmstart_graph::random::Philox;
use warmstart_graph::reference::Reference;

/// What is reduced over these axes, with an expression before and one after, and how many dispatches that
/// takes on each kind of device.
fn dispatches(gpu: &Gpu, shape: &[usize], axes: &[usize], seed: u64) -> [usize; 2] {
    let graph = Graph::new();
    let x = graph.placeholder("x", shape, DType::F32);
    let scale = graph.placeholder("scale", &shape[shape.len() - 1..], DType::F32);
    let sum = (x.square() * scale).sum(axes) * 0.5 + 1.0;
    let most = (x * 2.0 - scale).reduce_max(axes).square();
    let noise = Philox::new(seed, "x");
    let numbers = |count: usize, from: u64| -> Vec<f32> {
        let words = (from..from + count as u64).map(|at| noise.word(at) >> 8);
        words.map(|word| word as f32 / (1 << 23) as f32 - 1.0).collect()
    };
    let elements: usize = shape.iter().product();
    let feeds = [
        ("x", TensorData::new(shape, numbers(elements, 0)).unwrap()),
        // No sum cancels, so that its error stays one of its own size.
        (
            "scale",
            TensorData::new(
                &shape[shape.len() - 1..],
                numbers(shape[shape.len() - 1], 1 << 40)
                    .iter()
                    .map(|x| x.abs())
                    .collect::<Vec<_>>(),
            )
            .unwrap(),
        ),
    ];
    let def = graph.finish().unwrap();
    let mut reference = Reference::new(&def);
    feeds.iter().for_each(|(name, data)| reference.feed(name, data));
    let fetches = [sum, most];
    let expected = reference.run(&fetches.map(Tensor::id)).unwrap();
    targets(gpu).map(|target| {
        let mut session = Session::new(gpu);
        let plan = session.compile_for(&graph, &fetches, &[], target).unwrap();
        let feeds = feeds.each_ref().map(|(name, data)| (*name, data.into()));
        let first = session.run(&plan, &feeds).unwrap();
        let again = session.run(&plan, &feeds).unwrap();
        for (fetch, expected) in fetches.iter().zip(&expected) {
            let found = first.tensor(*fetch).unwrap();
            assert_eq!(found, again.tensor(*fetch).unwrap(), "{shape:?}, seed {seed}: other bits");
            for (at, (found, expected)) in found.to_f64().iter().zip(&expected.elements).enumerate()
            {
                // A lane adds up some hundred elements.
                let near = (found - expected).abs() <= 2e-5 * expected.abs().max(1e-3);
                assert!(near, "{shape:?} {axes:?}, seed {seed}: {at} is {found}, not {expected}");
            }
        }
        plan.dispatches().len()
    })
}

#[test]
fn few_results_are_reduced_by_slices() {
    let gpu = gpu();
    // One dispatch for each of the two where slices would not pay.
    for (shape, axes, expected) in [
        (&[1 << 18][..], &[0][..], [4, 4]),
        (&[131_073], &[0], [4, 4]),
        (&[70_003], &[0], [4, 4]),
        (&[30_011], &[0], [2, 4]),
        (&[9_001], &[0], [2, 2]),
        (&[3, 40_009], &[1], [2, 4]),
        (&[40_009, 3], &[0], [2, 4]),
        (&[127, 5, 331], &[0, 2], [2, 4]),
        (&[2, 333, 211], &[1], [2, 2]),
        (&[64, 1031], &[1], [2, 2]),
    ] {
        assert_eq!(dispatches(&gpu, shape, axes, 1), expected, "{shape:?} {axes:?}");
    }
}

#[test]
fn reductions_of_random_shapes_follow_the_twin() {
    let gpu = gpu();
    for seed in 0..12 {
        let noise = Philox::new(seed, "shape");
        let below = |at: u64, most: u32| (noise.word(at) % most + 1) as usize;
        // Few results, of some ten thousand elements each, along a first, a last or a middle axis.
        let (few, long, other) = (below(0, 6), 16_000 + below(1, 30_000), below(2, 4));
        let (shape, axes) = match seed % 4 {
            0 => (vec![few, long], vec![1]),
            1 => (vec![long, few], vec![0]),
            2 => (vec![other, few, long / other], vec![0, 2]),
            _ => (vec![few, long / other, other], vec![1]),
        };
        dispatches(&gpu, &shape, &axes, seed);
    }
}

/// What is no number is found in whichever slice, and padding of the last is never the largest.
#[test]
fn slices_know_infinities_and_numbers_below_zero() {
    let gpu = gpu();
    let graph = Graph::new();
    let x = graph.placeholder("x", [70_001], DType::F32);
    let fetches = [x.sum_all(), x.reduce_max(&[0])];
    for target in targets(&gpu) {
        let mut session = Session::new(&gpu);
        let plan = session.compile_for(&graph, &fetches, &[], target).unwrap();
        assert_eq!(plan.dispatches().len(), 4, "{plan}");
        for (at, what) in [(70_000, f32::NAN), (3, f32::INFINITY), (69_999, -3.0)] {
            let mut x = vec![-7.0; 70_001];
            x[at] = what;
            let outputs = session.run(&plan, &[("x", (&x).into())]).unwrap();
            let [sum, most] = fetches.map(|fetch| outputs.scalar(fetch).unwrap());
            assert_eq!((sum.is_finite(), most.is_finite()), (what.is_finite(), what.is_finite()));
            if what.is_finite() {
                assert_eq!((sum, most), (-70_000.0 * 7.0 - 3.0, -3.0));
            }
        }
    }
}

/// A second sum over the same elements is made on the way, in as many slices, and is what it is alone.
#[test]
fn two_sums_over_the_same_elements_keep_their_slices() {
    let gpu = gpu();
    for (shape, axes, expected) in [
        (&[70_001][..], &[0][..], [2, 2]),
        (&[30_011], &[0], [1, 2]),
        (&[3, 40_009], &[1], [1, 2]),
        (&[9_001], &[0], [1, 1]),
    ] {
        let elements: usize = shape.iter().product();
        let graph = Graph::new();
        let [x, y] = ["x", "y"].map(|name| graph.placeholder(name, shape, DType::F32));
        let both = [(x * y).sum(axes), y.sum(axes)];
        let numbers = [(0, 3), (5, 7)].map(|(from, step)| {
            let values = (0..elements).map(|at| ((from + at * step) % 11) as f32 - 4.0);
            TensorData::new(shape, values.collect::<Vec<_>>()).unwrap()
        });
        let def = graph.finish().unwrap();
        let mut reference = Reference::new(&def);
        let feeds = [("x", (&numbers[0]).into()), ("y", (&numbers[1]).into())];
        ["x", "y"].iter().zip(&numbers).for_each(|(name, data)| reference.feed(name, data));
        let twin = reference.run(&both.map(Tensor::id)).unwrap();
        for (target, expected) in targets(&gpu).into_iter().zip(expected) {
            let mut session = Session::new(&gpu);
            let plan = session.compile_for(&graph, &both, &[], target).unwrap();
            assert_eq!(plan.dispatches().len(), expected, "{shape:?} {plan}");
            let found = session.run(&plan, &feeds).unwrap();
            for (at, twin) in twin.iter().enumerate() {
                let alone = session.compile_for(&graph, &[both[at]], &[], target).unwrap();
                let alone = session.run(&alone, &feeds[at..]).unwrap().tensor(both[at]).unwrap();
                let found = found.tensor(both[at]).unwrap();
                assert_eq!(found, alone, "{shape:?}, {at}");
                // Whole numbers, and so all sums are exact.
                assert_eq!(found.to_f64(), twin.elements, "{shape:?}, {at}");
            }
        }
    }
}

/// The gradients of gamma and beta over many rows, each with what is accumulated.
#[test]
fn sums_that_are_accumulated_keep_their_slices() {
    let gpu = gpu();
    let rows = 40_009;
    for target in targets(&gpu) {
        let graph = Graph::new();
        let x = graph.placeholder("x", [rows, 3], DType::F32);
        let normal = graph.scope("norm").layer_norm(x, 1e-3);
        let loss = (normal.square() * x).mean_all();
        let optimizer = warmstart_graph::Optimizer::sgd(0.5).gradient_accumulation_steps(2);
        let step = optimizer.minimize(loss);
        let mut session = Session::new(&gpu);
        let plan = session.compile_for(&graph, &[], &[step.update], target).unwrap();
        let infos = plan.dispatches();
        let cut = infos.iter().any(|info| info.operations == "sum of slices");
        assert_eq!(cut, !target.is_cpu, "{plan}");
        session.initialize_missing(7).unwrap();
        let noise = Philox::new(3, "x");
        let numbers =
            (0..rows as u64 * 3).map(|at| (noise.word(at) >> 8) as f32 / (1 << 23) as f32);
        let x = TensorData::new([rows, 3], numbers.collect::<Vec<f32>>()).unwrap();
        let def = graph.finish().unwrap();
        let mut reference = Reference::new(&def);
        for variable in &def.variables {
            reference.assign(&variable.name, &session.read(&variable.name).unwrap());
        }
        reference.feed("x", &x);
        for _ in 0..2 {
            session.run(&plan, &[("x", (&x).into())]).unwrap().wait().unwrap();
            reference.run(&[step.update.id()]).unwrap();
            for variable in &def.variables {
                let name = &variable.name;
                let found = session.read(name).unwrap().to_f64();
                let expected = &reference.variable(name).unwrap().elements;
                for (found, expected) in found.iter().zip(expected) {
                    assert!((found - expected).abs() < 1e-5, "{name}: {found}, not {expected}");
                }
            }
        }
    }
}
