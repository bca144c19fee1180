//! Whole training runs on the adapter of this machine: against PyTorch's, and against themselves.

mod common;
#[path = "../../graph/tests/trajectory/mod.rs"]
mod trajectory;

use trajectory::{NAMES, Trajectory};
use warmstart_gpu::{Gpu, Session};
use warmstart_graph::{DType, Graph, Initializer, Optimizer, Schedule, TensorData};

/// Relative to the number itself; a weight's sum relative to the sum of its magnitudes, and a
/// learning rate to the first.
///
/// Both sides are `f32` and add in another order. A result passes through sums of up to 33
/// products and a softmax, some 100 roundings, each off by up to 2⁻²⁴ ≈ 6·10⁻⁸: at most 6·10⁻⁶
/// on either side if all had one sign, and ten times less as they are random. Errors of the
/// weights carry over from step to step, growing about linearly over these 20 to 30 steps.
/// (A software adapter is off by
/// 5·10⁻⁷ at most; hardware may fuse and order additions in other ways.)
const TOLERANCE: f64 = 5e-6;

fn check(what: &str, found: f64, expected: f64, scale: f64, worst: &mut f64) {
    let off = (found - expected).abs() / scale;
    *worst = worst.max(off);
    assert!(off <= TOLERANCE, "{what}: {found}, and PyTorch has {expected} (off by {off:.1e})");
}

/// Gives every variable of a graph zeros, which is what slots and counters begin with.
fn assign_zeros(session: &mut Session) {
    let all: Vec<_> = session
        .variables()
        .iter()
        .map(|info| (info.name().to_owned(), info.shape().clone(), info.dtype()))
        .collect();
    for (name, shape, dtype) in all {
        let bytes = vec![0; shape.elements() * dtype.size()];
        session.assign(&name, &TensorData::from_le_bytes(&shape, dtype, &bytes).unwrap()).unwrap();
    }
}

fn follow(gpu: &Gpu, name: &str) {
    let run = Trajectory::read(name);
    let training = run.build();
    let graph = Graph::from_def(training.def.clone()).unwrap();
    let tensor = |id| graph.tensor(id).unwrap();
    let fetches = [training.loss, training.gradient_norm, training.learning_rate].map(tensor);
    let update = graph.update(training.update).unwrap();
    let mut session = Session::new(gpu);
    let plan = session.compile(&graph, &fetches, &[update]).unwrap();
    assign_zeros(&mut session);
    for (name, value) in &run.initial {
        session.assign(name, value).unwrap();
    }
    let mut worst = 0.0;
    for (step, (x, y)) in run.batches.iter().enumerate() {
        let outputs = session.run(&plan, &[("x", x.into()), ("y", y.into())]).unwrap();
        let expected = [run.losses[step], run.gradient_norms[step], run.learning_rates[step]];
        let names = ["loss", "gradient norm", "learning rate"];
        for ((what, fetch), expected) in names.iter().zip(fetches).zip(expected) {
            let scale = if *what == "learning rate" { run.learning_rates[0] } else { expected };
            let what = format!("{name}: {what} of step {step}");
            check(&what, outputs.scalar(fetch).unwrap().into(), expected, scale, &mut worst);
        }
    }
    for (variable, sum, magnitudes) in &run.last {
        let value = session.read(variable).unwrap().to_f64();
        let what = format!("{name}: sum of {variable}");
        check(&what, value.iter().sum(), *sum, *magnitudes, &mut worst);
        let found = value.iter().map(|x| x.abs()).sum();
        check(&format!("{what}'s magnitudes"), found, *magnitudes, *magnitudes, &mut worst);
    }
    let steps = TensorData::from(run.batches.len() as u32);
    assert_eq!(session.read("global_step").unwrap(), steps, "{name}");
    println!("{name}: off by {worst:.1e} at most");
}

#[test]
fn every_run_goes_as_in_pytorch() {
    let gpu = common::gpu();
    NAMES.iter().for_each(|name| follow(&gpu, name));
}

/// A run of 30 steps with dropout, and every variable afterwards, with the losses.
fn trained(gpu: &Gpu, seed: u64) -> (Vec<f32>, Vec<(String, TensorData)>) {
    let graph = Graph::new();
    graph.set_seed(seed);
    let x = graph.placeholder("x", [16, 13], DType::F32);
    let labels = graph.placeholder("labels", [16], DType::I32);
    let hidden = graph.scope("fc1").linear(x, 65).gelu().dropout("first", 0.25);
    let hidden = graph.scope("fc2").linear(hidden, 33).relu().dropout("second", 0.5);
    let loss = graph.scope("fc3").linear(hidden, 7).softmax_cross_entropy(labels);
    let step = Optimizer::adamw(Schedule::cosine(1e-2, 0.0, 30).warm_up(3))
        .clip_global_norm(0.5)
        .minimize(loss);
    let mut session = Session::new(gpu);
    let plan = session.compile(&graph, &[loss], &[step.update]).unwrap();
    session.initialize_missing(seed).unwrap();
    let mut losses = Vec::new();
    for step in 0..30u32 {
        let number = |i: u32| ((i * 37 + step * 11) % 101) as f32 / 50.0 - 1.0;
        let xs: Vec<f32> = (0..16 * 13).map(number).collect();
        let ys: Vec<i32> = (0..16).map(|i| ((i * 5 + step) % 7) as i32).collect();
        let feeds = [("x", (&xs).into()), ("labels", (&ys).into())];
        losses.push(session.run(&plan, &feeds).unwrap().scalar(loss).unwrap());
    }
    let names: Vec<String> =
        session.variables().iter().map(|info| info.name().to_owned()).collect();
    let values = names.into_iter().map(|name| {
        let value = session.read(&name).unwrap();
        (name, value)
    });
    (losses, values.collect())
}

#[test]
fn two_runs_with_one_seed_agree_to_the_last_bit() {
    let gpu = common::gpu();
    let (first_losses, first) = trained(&gpu, 7);
    let (second_losses, second) = trained(&common::gpu(), 7);
    let bits = |losses: &[f32]| losses.iter().map(|loss| loss.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&first_losses), bits(&second_losses));
    assert_eq!(first.len(), second.len());
    for ((name, one), (_, other)) in first.iter().zip(&second) {
        assert!(one.to_le_bytes() == other.to_le_bytes(), "{name} differs between two runs");
        assert!(one.to_f64().iter().all(|x| x.is_finite()), "{name} fell apart");
    }
    // And with another seed they do not.
    let (_, other) = trained(&gpu, 8);
    let weight = |values: &[(String, TensorData)]| {
        values.iter().find(|(name, _)| name == "fc1/weight").map(|(_, value)| value.to_le_bytes())
    };
    assert!(weight(&first).is_some());
    assert_ne!(weight(&first), weight(&other));
}

/// Gradients lie in one buffer, and a kernel may not read what it writes.
#[test]
fn a_gradient_may_be_computed_from_another() {
    let gpu = common::gpu();
    let graph = Graph::new();
    let weight = graph.variable("weight", [4, 3], Initializer::Zeros);
    let bias = graph.variable("bias", [3], Initializer::Zeros);
    let loss = (weight + bias - 1.0).square().sum_all();
    let step = Optimizer::sgd(0.125).clip_global_norm(100.0).minimize(loss);
    let mut session = Session::new(&gpu);
    let plan = session.compile(&graph, &[loss, step.gradient_norm], &[step.update]).unwrap();
    assign_zeros(&mut session);
    let outputs = session.run(&plan, &[]).unwrap();
    assert_eq!(outputs.scalar(loss).unwrap(), 12.0);
    // Twelve gradients of -2, and three of -8.
    let norm = outputs.scalar(step.gradient_norm).unwrap();
    assert!((norm - 240f32.sqrt()).abs() < 1e-4, "{norm}");
    assert_eq!(session.read("weight").unwrap().as_f32(), Some(&[0.25f32; 12][..]));
    assert_eq!(session.read("bias").unwrap().as_f32(), Some(&[1.0f32; 3][..]));
}
