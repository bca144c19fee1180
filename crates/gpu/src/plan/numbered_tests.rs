//! Products of many tiles, slices and batches: workgroups that are numbered through, since one dimension of
//! a dispatch has too few, together with what else a product's kernel does.

use super::product_tests::{Layer, gpu, numbers, targets};
use super::*;

/// This device, a GPU, and a software adapter without subgroups of eight.
fn all_targets(gpu: &Gpu) -> [Target; 3] {
    let [own, other] = targets(gpu);
    [own, other, Target { is_cpu: true, subgroup_size: None, ..own }]
}

/// The fewest workgroups along one dimension that are enough for all dispatches, if the first of them is
/// then numbered through.
fn fewest(plan: &Plan) -> Option<u32> {
    let all: Vec<[u32; 3]> = plan.dispatches().iter().map(|info| info.workgroups).collect();
    let most = all.iter().map(|workgroups| workgroups.iter().product::<u32>()).max()?;
    let limit = (1..).find(|limit| limit * limit >= most)?;
    all[0].iter().any(|&count| count > limit).then_some(limit)
}

/// The gradients of a weight and of its bias, by one kernel: the sums are made by the tiles of the first
/// rows, wherever they are among the workgroups.
#[test]
fn column_sums_come_with_tiles_that_are_numbered_through() {
    let gpu = gpu();
    for ([rows, inputs, outputs], target) in
        [[100, 700, 40], [33, 5, 300], [20, 1300, 70], [300, 4000, 64]]
            .into_iter()
            .flat_map(|shape| all_targets(&gpu).map(|target| (shape, target)))
    {
        let graph = Graph::new();
        let x = graph.placeholder("x", [rows, inputs], DType::F32);
        let slopes = graph.placeholder("slopes", [rows, outputs], DType::F32);
        let gradients = [x.matmul_with(slopes, true, false), slopes.sum(&[0])];
        let [x, slopes] = [numbers(rows * inputs, 1), numbers(rows * outputs, 2)];
        let run = |target| {
            let mut session = Session::new(&gpu);
            let plan = session.compile_for(&graph, &gradients, &[], target).unwrap();
            assert_eq!(plan.dispatches().len(), 1, "{plan}");
            let feeds = [("x", (&x).into()), ("slopes", (&slopes).into())];
            let outputs = session.run(&plan, &feeds).unwrap();
            let found = gradients.map(|gradient| outputs.tensor(gradient).unwrap());
            (found, plan)
        };
        let what = format!("{rows} rows, {inputs} x {outputs} {target:?}");
        let (plain, plan) = run(target);
        let limit = fewest(&plan).expect(&what);
        let (found, _) = run(Target { workgroups: limit, ..target });
        assert!(found == plain, "{what}: other bits");
        let mut sums = vec![0.0f64; outputs];
        let mut products = vec![0.0f64; inputs * outputs];
        for (x, slopes) in x.chunks(inputs).zip(slopes.chunks(outputs)) {
            for (sum, slope) in sums.iter_mut().zip(slopes) {
                *sum += f64::from(*slope);
            }
            for (products, x) in products.chunks_mut(outputs).zip(x) {
                for (product, slope) in products.iter_mut().zip(slopes) {
                    *product += f64::from(*x) * f64::from(*slope);
                }
            }
        }
        let allowed = 1e-5 * (rows as f64).sqrt();
        for (found, expected) in found.iter().zip([products, sums]) {
            for (at, (found, expected)) in found.to_f64().iter().zip(&expected).enumerate() {
                assert!((found - expected).abs() <= allowed, "{what}: {at} is {found}");
            }
        }
    }
}

/// Slices are batches, and these more than a dispatch has in one dimension.
#[test]
fn slices_are_numbered_through() {
    let gpu = gpu();
    let mut numbered = 0;
    for shape in [[1, 20, 31, 2048], [1, 3, 5, 3001], [1, 36, 20, 2 * 1031]] {
        for (transposed, target) in [[true, false], [false, true]]
            .into_iter()
            .flat_map(|transposed| all_targets(&gpu).map(|target| (transposed, target)))
        {
            let graph = Graph::new();
            let layer = Layer::new(&graph, shape, transposed, false);
            let (expected, plan) = layer.run(&gpu, target, 1e-3);
            assert_eq!(plan.dispatches()[0].operations, "matmul of slices", "{}", layer.what);
            let Some(limit) = fewest(&plan) else { continue };
            let (found, _) = layer.run(&gpu, Target { workgroups: limit, ..target }, 1e-3);
            assert!(found == expected, "{} {target:?}: other bits", layer.what);
            numbered += 1;
        }
    }
    assert!(numbered >= 10, "{numbered}");
}

/// Each of several products is cut where its sums are longer than the loops of a software adapter may be.
#[test]
fn batches_of_long_sums_are_cut_in_slices() {
    let gpu = gpu();
    let own = Target::of(&gpu);
    let software = Target { is_cpu: true, subgroup_size: None, ..own };
    let mut numbered = 0;
    for target in [own, software] {
        let has_limit = target.most_rounds() < usize::MAX;
        for (shape, transposed, in_f16) in [
            ([2, 3, 5, 140_000], [true, false], false),
            ([2, 3, 5, 140_000], [false, true], false),
            // The last slices are shorter.
            ([3, 2, 1, 130_001], [false, false], false),
            ([2, 1, 4, 130_001], [true, true], false),
            ([2, 4, 2, 130_002], [true, false], true),
            ([2, 2, 4, 130_002], [false, true], true),
        ] {
            let graph = Graph::new();
            let layer = Layer::new(&graph, shape, transposed, in_f16);
            let (plain, plan) = layer.run(&gpu, target, 1e-2);
            let is_cut = plan.dispatches().iter().any(|one| one.operations == "matmul of slices");
            assert_eq!(is_cut, has_limit, "{} {plan}", layer.what);
            if let Some(limit) = fewest(&plan).filter(|_| has_limit && !in_f16) {
                let (found, _) = layer.run(&gpu, Target { workgroups: limit, ..target }, 1e-2);
                assert!(found == plain, "{}: other bits", layer.what);
                numbered += 1;
            }
        }
    }
    assert!(numbered >= 2, "{numbered}");
    // One matrix serves all.
    let graph = Graph::new();
    let x = graph.placeholder("x", [3, 140_000, 2], DType::F32);
    let y = graph.placeholder("y", [140_000, 3], DType::F32);
    let product = x.matmul_with(y, true, false);
    let ones = vec![1.0f32; 140_000 * 6];
    let batches: Vec<f32> = (0..3 * 280_000).map(|at| (1 + at / 280_000) as f32).collect();
    for target in [own, software] {
        let mut session = Session::new(&gpu);
        let plan = session.compile_for(&graph, &[product], &[], target).unwrap();
        let feeds = [("x", (&batches).into()), ("y", (&ones[..420_000]).into())];
        let found = session.run(&plan, &feeds).unwrap().tensor(product).unwrap();
        let expected: Vec<f32> = (0..18).map(|at| 140_000.0 * (1 + at / 6) as f32).collect();
        assert_eq!(found.as_f32(), Some(&expected[..]));
    }
}
