//! Whole training runs on the CPU twin against PyTorch's.

mod trajectory;

use trajectory::{NAMES, Trajectory};
use warmstart_graph::TensorData;
use warmstart_graph::reference::{Reference, Value};

/// Relative to the number itself.
///
/// The twin's `f64` is exact in comparison, so this is the rounding in PyTorch's own `f32` run. A
/// result there passes through sums of up to 33 products and a softmax, some 100 roundings, each
/// off by up to 2⁻²⁴ ≈ 6·10⁻⁸: at most 6·10⁻⁶ if all had one sign, and ten times less as they
/// are random. Errors of the weights carry over from step to step, growing about linearly over
/// these 20 to 30 steps. (The runs are off by 5·10⁻⁷ at most.)
const TOLERANCE: f64 = 2e-6;

fn check(what: &str, found: f64, expected: f64, scale: f64, worst: &mut f64) {
    let off = (found - expected).abs() / scale;
    *worst = worst.max(off);
    assert!(off <= TOLERANCE, "{what}: {found}, and PyTorch has {expected} (off by {off:.1e})");
}

fn follow(name: &str) {
    let run = Trajectory::read(name);
    let training = run.build();
    let mut reference = Reference::new(&training.def);
    for variable in &training.def.variables {
        let elements = vec![0.0; variable.shape.elements()];
        reference.assign(&variable.name, Value { shape: variable.shape.clone(), elements });
    }
    for (name, value) in &run.initial {
        assert!(reference.variable(name).is_some(), "the graph has no variable {name}");
        reference.assign(name, value);
    }
    let fetches = [training.loss, training.gradient_norm, training.learning_rate, training.update];
    let mut worst = 0.0;
    for (step, (x, y)) in run.batches.iter().enumerate() {
        reference.feed("x", x);
        reference.feed("y", y);
        let values = reference.run(&fetches).expect("everything has a value");
        let expected = [run.losses[step], run.gradient_norms[step], run.learning_rates[step]];
        let names = ["loss", "gradient norm", "learning rate"];
        for ((what, value), expected) in names.iter().zip(&values).zip(expected) {
            let what = format!("{name}: {what} of step {step}");
            // A cosine's last rates are small differences of larger numbers.
            let scale = if what.contains("rate") { run.learning_rates[0] } else { expected };
            check(&what, value.elements[0], expected, scale, &mut worst);
        }
    }
    for (variable, sum, magnitudes) in &run.last {
        let value = reference.variable(variable).expect("it was assigned");
        let what = format!("{name}: sum of {variable}");
        check(&what, value.elements.iter().sum(), *sum, *magnitudes, &mut worst);
        let found = value.elements.iter().map(|x| x.abs()).sum();
        check(&format!("{what}'s magnitudes"), found, *magnitudes, *magnitudes, &mut worst);
    }
    let steps = TensorData::from(run.batches.len() as u32);
    assert_eq!(reference.variable("global_step"), Some(&Value::from(&steps)));
    println!("{name}: off by {worst:.1e} at most");
}

#[test]
fn every_run_goes_as_in_pytorch() {
    NAMES.iter().for_each(|name| follow(name));
}

#[test]
fn no_fixture_is_forgotten() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/training");
    let mut found: Vec<String> = std::fs::read_dir(folder)
        .expect("the fixtures")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter_map(|name| Some(name.strip_suffix(".json")?.to_owned()))
        .collect();
    found.sort();
    assert_eq!(found, NAMES);
}
