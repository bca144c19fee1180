//! What initializers make: distributions against their exact laws, bounds, fans, and errors.

use warmstart_graph::{
    DType, InitializeError, Initializer, Location, Recipe, Role, Shape, Variable, initial_value,
};

const SAMPLES: usize = 200_000;

fn variable(shape: impl Into<Shape>, initializer: Initializer) -> Variable {
    Variable {
        name: "fc1/weight".to_owned(),
        shape: shape.into(),
        dtype: DType::F32,
        initializer,
        role: Role::Trainable,
        location: Location::caller(),
    }
}

fn values(shape: impl Into<Shape>, initializer: Initializer) -> Vec<f64> {
    initial_value(&variable(shape, initializer), 7).unwrap().to_f64()
}

fn moments(values: &[f64]) -> (f64, f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let central = |power| values.iter().map(|x| (x - mean).powi(power)).sum::<f64>() / n;
    (mean, central(2), central(4) / central(2).powi(2))
}

/// Kolmogorov and Smirnov's distance to a law, times √n: above 1.95 in one of a thousand samples.
fn distance(mut values: Vec<f64>, law: impl Fn(f64) -> f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let n = values.len() as f64;
    let gap = |(rank, x): (usize, &f64)| {
        let p = law(*x);
        (p - rank as f64 / n).abs().max((p - (rank + 1) as f64 / n).abs())
    };
    values.iter().enumerate().map(gap).fold(0.0, f64::max) * n.sqrt()
}

fn normal_law(z: f64) -> f64 {
    libm::erfc(-z / std::f64::consts::SQRT_2) / 2.0
}

#[test]
fn uniform_is_uniform() {
    for (low, high) in [(-1.0f32, 1.0f32), (0.0, 1.0), (2.0, 2.5), (-3.0, 0.0)] {
        let samples = values([SAMPLES], Initializer::Uniform { low, high });
        let (low, high) = (f64::from(low), f64::from(high));
        assert!(samples.iter().all(|x| (low..high).contains(x)));
        let (mean, variance, kurtosis) = moments(&samples);
        let width = high - low;
        assert!((mean - (low + high) / 2.0).abs() < 0.003 * width, "{mean}");
        assert!((variance / (width * width / 12.0) - 1.0).abs() < 0.01, "{variance}");
        assert!((kurtosis - 1.8).abs() < 0.02, "{kurtosis}");
        let ks = distance(samples, |x| (x - low) / width);
        assert!(ks < 1.95, "[{low}, {high}): {ks}");
    }
}

#[test]
fn normal_is_normal() {
    for (mean, stddev) in [(0.0f32, 1.0f32), (0.0, 0.02), (-3.0, 0.5)] {
        let samples = values([SAMPLES], Initializer::Normal { mean, stddev });
        let standard: Vec<f64> =
            samples.iter().map(|x| (x - f64::from(mean)) / f64::from(stddev)).collect();
        let (average, variance, kurtosis) = moments(&standard);
        assert!(average.abs() < 0.01, "{average}");
        assert!((variance - 1.0).abs() < 0.015, "{variance}");
        assert!((kurtosis - 3.0).abs() < 0.06, "{kurtosis}");
        assert!(standard.iter().any(|z| *z > 4.0) && standard.iter().any(|z| *z < -4.0));
        let ks = distance(standard, normal_law);
        assert!(ks < 1.95, "normal({mean}, {stddev}): {ks}");
    }
}

#[test]
fn truncated_normal_ends_at_two_deviations() {
    let samples = values([SAMPLES], Initializer::TruncatedNormal { mean: 0.0, stddev: 0.1 });
    let standard: Vec<f64> = samples.iter().map(|x| x / f64::from(0.1f32)).collect();
    assert!(standard.iter().all(|z| z.abs() <= 2.0));
    assert!(standard.iter().any(|z| *z > 1.99) && standard.iter().any(|z| *z < -1.99));
    // 1 - 2 a φ(a) / (2 Φ(a) - 1) at a = 2.
    let (mean, variance, _) = moments(&standard);
    assert!(mean.abs() < 0.01, "{mean}");
    assert!((variance - 0.773_741_3).abs() < 0.01, "{variance}");
    let outside = normal_law(-2.0);
    let ks = distance(standard, |z| (normal_law(z) - outside) / (1.0 - 2.0 * outside));
    assert!(ks < 1.95, "{ks}");
}

#[test]
fn neighbours_are_not_correlated() {
    let samples = values([SAMPLES], Initializer::Normal { mean: 0.0, stddev: 1.0 });
    for lag in 1..9 {
        let pairs = samples.iter().zip(&samples[lag..]);
        let correlation = pairs.map(|(a, b)| a * b).sum::<f64>() / SAMPLES as f64;
        assert!(correlation.abs() < 0.01, "lag {lag}: {correlation}");
    }
}

#[test]
fn fans_follow_tensorflow() {
    use Initializer as I;
    let deviation = |shape: &[usize], initializer| moments(&values(shape, initializer)).1.sqrt();
    let cases: [(&[usize], Initializer, f64); 6] = [
        (&[300, 500], I::GlorotUniform, (2.0f64 / 800.0).sqrt()),
        (&[300, 500], I::GlorotNormal, (2.0f64 / 800.0).sqrt()),
        (&[300, 500], I::HeUniform, (2.0f64 / 300.0).sqrt()),
        (&[300, 500], I::HeNormal, (2.0f64 / 300.0).sqrt()),
        (&[3, 3, 64, 128], I::GlorotNormal, (2.0f64 / (9.0 * 192.0)).sqrt()),
        (&[100_000], I::HeNormal, (2.0f64 / 100_000.0).sqrt()),
    ];
    for (shape, initializer, wanted) in cases {
        let got = deviation(shape, initializer.clone());
        assert!((got / wanted - 1.0).abs() < 0.01, "{initializer} {shape:?}: {got}, not {wanted}");
    }
    let limit = (6.0f64 / 800.0).sqrt();
    assert!(values([300, 500], I::GlorotUniform).iter().all(|x| x.abs() < limit));
}

#[test]
fn orthogonal_is_orthogonal_either_way() {
    for (rows, columns) in [(1, 1), (5, 5), (40, 17), (17, 40), (1, 9)] {
        let m = values([rows, columns], Initializer::Orthogonal { gain: 1.0 });
        let (count, length) = (rows.min(columns), rows.max(columns));
        let at = |vector: usize, place: usize| match rows < columns {
            true => m[vector * columns + place],
            false => m[place * columns + vector],
        };
        for i in 0..count {
            for j in 0..count {
                let dot: f64 = (0..length).map(|place| at(i, place) * at(j, place)).sum();
                let wanted = if i == j { 1.0 } else { 0.0 };
                assert!((dot - wanted).abs() < 1e-6, "{rows}x{columns} {i} {j}: {dot}");
            }
        }
    }
    let doubled = values([4, 3], Initializer::Orthogonal { gain: 2.0 });
    let once = values([4, 3], Initializer::Orthogonal { gain: 1.0 });
    assert!(doubled.iter().zip(&once).all(|(two, one)| *two == 2.0 * one));
    assert_eq!(values([2, 3, 4], Initializer::Orthogonal { gain: 1.0 }).len(), 24);
    assert!(values([0, 4], Initializer::Orthogonal { gain: 1.0 }).is_empty());
    assert!(values([4, 0], Initializer::Orthogonal { gain: 1.0 }).is_empty());
}

#[test]
fn plain_recipes_are_exact() {
    assert_eq!(values([2, 3], Initializer::Identity { gain: 2.0 }), [2., 0., 0., 0., 2., 0.]);
    assert_eq!(values([2], Initializer::Constant(0.1)), [f64::from(0.1f32); 2]);
    assert_eq!(values([2], Initializer::Values(vec![1.5, -2.0])), [1.5, -2.0]);
    assert_eq!(values([2], Initializer::Uniform { low: 3.0, high: 3.0 }), [3.0; 2]);
    assert_eq!(values([2], Initializer::Normal { mean: 3.0, stddev: 0.0 }), [3.0; 2]);
    for (dtype, constant) in [
        (DType::I32, -7.0),
        (DType::U32, 4294967295.0),
        (DType::F16, 0.5),
        (DType::Bf16, -2f64.powi(127)),
    ] {
        let mut v = variable([2], Initializer::Constant(constant));
        v.dtype = dtype;
        assert_eq!(initial_value(&v, 0).unwrap().to_f64(), [constant; 2]);
        v.initializer = Initializer::Ones;
        assert_eq!(initial_value(&v, 0).unwrap().to_f64(), [1.0; 2]);
    }
}

#[test]
fn constants_are_rounded_to_the_nearest() {
    let tie = 1.0 + 2f64.powi(-8);
    for (constant, nearest) in
        [(tie, 1.0), (tie + 2f64.powi(-22), 1.0 + 2f64.powi(-7)), (tie - 2f64.powi(-22), 1.0)]
    {
        let mut v = variable([2], Initializer::Constant(constant));
        v.dtype = DType::Bf16;
        assert_eq!(initial_value(&v, 0).unwrap().to_f64(), [nearest; 2], "{constant}");
    }
}

#[test]
fn a_value_depends_on_seed_name_and_index_alone() {
    let normal = Initializer::Normal { mean: 0.0, stddev: 1.0 };
    let short = values([10], normal.clone());
    assert_eq!(values([7, 100], normal.clone())[..10], short);
    let mut other = variable([10], normal.clone());
    other.name = "fc2/weight".to_owned();
    assert_ne!(initial_value(&other, 7).unwrap().to_f64(), short);
    assert_ne!(initial_value(&variable([10], normal), 8).unwrap().to_f64(), short);
}

/// Pinned: a change here breaks the promise that a seed gives the same bits for ever.
#[test]
fn bits_are_pinned() {
    let bits = |initializer| -> Vec<u32> {
        let value = initial_value(&variable([3], initializer), 7).unwrap();
        value.as_f32().unwrap().iter().map(|x| x.to_bits()).collect()
    };
    let made = [
        bits(Initializer::Uniform { low: -1.0, high: 1.0 }),
        bits(Initializer::Normal { mean: 0.0, stddev: 1.0 }),
        bits(Initializer::TruncatedNormal { mean: 0.0, stddev: 1.0 }),
    ];
    let pinned = [
        [1004492032, 3206528574, 3207312814],
        [3224185516, 1063428675, 1064944079],
        [3220748083, 1062564873, 1063940415],
    ];
    assert_eq!(made, pinned);
}

#[test]
fn tiny_scales_are_made_on_the_host() {
    let tiny = [
        Initializer::Normal { mean: 0.0, stddev: 1e-38 },
        Initializer::Uniform { low: 0.0, high: 1e-35 },
        Initializer::Normal { mean: 1e-36, stddev: 1.0 },
    ];
    for initializer in tiny {
        let recipe = Recipe::of(&variable([4], initializer.clone()), 1).unwrap();
        assert!(matches!(recipe, Recipe::Host(_)), "{initializer}");
    }
    let usual = variable([4], Initializer::Uniform { low: -1.0, high: 0.0 });
    assert!(matches!(Recipe::of(&usual, 1).unwrap(), Recipe::Random { .. }));
}

#[test]
fn what_does_not_fit_is_an_error_that_says_so() {
    use InitializeError as E;
    let error = |shape: &[usize], dtype, initializer: Initializer| {
        let mut variable = variable(shape, initializer);
        variable.dtype = dtype;
        initial_value(&variable, 0).unwrap_err()
    };
    let count = error(&[2, 2], DType::F32, Initializer::Values(vec![1.0; 3]));
    assert!(count.to_string().contains("3 values, but shape [2, 2] has 4"), "{count}");
    let identity = Initializer::Identity { gain: 1.0 };
    assert!(matches!(error(&[2], DType::F32, identity), E::NotMatrix { .. }));
    let orthogonal = Initializer::Orthogonal { gain: 1.0 };
    assert!(matches!(error(&[2], DType::F32, orthogonal), E::NotMatrix { .. }));
    let integer = error(&[2], DType::I32, Initializer::GlorotUniform);
    assert!(matches!(integer, E::NeedsFloat { .. }));
    for (dtype, value) in [
        (DType::I32, 0.5),
        (DType::U32, -1.0),
        (DType::F32, 1e39),
        (DType::F16, 1e5),
        (DType::Bf16, 3.4e38),
    ] {
        let error = error(&[1], dtype, Initializer::Constant(value));
        assert!(matches!(error, E::NotRepresentable { .. }), "{error}");
    }
    for initializer in [
        Initializer::Normal { mean: 0.0, stddev: -1.0 },
        Initializer::Normal { mean: f32::NAN, stddev: 1.0 },
        Initializer::TruncatedNormal { mean: 0.0, stddev: f32::MAX },
        Initializer::Uniform { low: 1.0, high: 0.0 },
        Initializer::Uniform { low: f32::MIN, high: f32::MAX },
        Initializer::Orthogonal { gain: f32::INFINITY },
    ] {
        let error = error(&[2, 2], DType::F32, initializer);
        assert!(matches!(error, E::Parameter { .. }), "{error}");
    }
    let vast = error(&[usize::MAX, 3], DType::F32, Initializer::Zeros);
    assert!(matches!(vast, E::TooLarge { .. }));
}
