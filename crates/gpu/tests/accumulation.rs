//! Gradient accumulation on the device: against PyTorch and the CPU twin, without a dispatch more, and
//! with the same bits however runs are submitted and wherever they are broken off.

mod common;
#[path = "../../graph/tests/trajectory/mod.rs"]
mod trajectory;

use common::{bytes_of, gpu};
use trajectory::{NAMES, Trajectory};
use warmstart_gpu::{Feed, Gpu, Plan, Session, Steps};
use warmstart_graph::random::Philox;
use warmstart_graph::reference::Reference;
use warmstart_graph::{
    DType, Graph, Initializer, LossScaling, NodeId, Optimizer, Schedule, Tensor, TensorData, Update,
};

/// As in `training.rs`.
const TOLERANCE: f64 = 5e-6;

fn check(what: &str, found: f64, expected: f64, scale: f64) {
    let off = (found - expected).abs() / scale;
    assert!(off <= TOLERANCE, "{what}: {found}, and PyTorch has {expected} (off by {off:.1e})");
}

/// PyTorch had each batch at once: the last of its parts fetches what is of the whole.
#[test]
fn runs_in_parts_are_those_of_pytorch() {
    let gpu = gpu();
    for name in NAMES {
        let run = Trajectory::read(name);
        // Of eight rows, and of five.
        let parts = if run.batches[0].0.shape()[0].is_multiple_of(2) { 2 } else { 5 };
        let training = run.build_of_parts(parts);
        let graph = Graph::from_def(training.def.clone()).unwrap();
        let fetches = [training.gradient_norm, training.learning_rate];
        let fetches = fetches.map(|id| graph.tensor(id).unwrap());
        let update = graph.update(training.update).unwrap();
        let mut session = Session::new(&gpu);
        let plan = session.compile(&graph, &fetches, &[update]).unwrap();
        for variable in &training.def.variables {
            let bytes = vec![0; variable.shape.elements() * variable.dtype.size()];
            let zero = TensorData::from_le_bytes(&variable.shape, variable.dtype, &bytes);
            session.assign(&variable.name, &zero.unwrap()).unwrap();
        }
        for (name, value) in &run.initial {
            session.assign(name, value).unwrap();
        }
        for (at, (x, y)) in run.parts(parts).iter().enumerate() {
            let outputs = session.run(&plan, &[("x", x.into()), ("y", y.into())]).unwrap();
            if at % parts == parts - 1 {
                let step = at / parts;
                let norm = f64::from(outputs.scalar(fetches[0]).unwrap());
                let (expected, rate) = (run.gradient_norms[step], run.learning_rates[step]);
                check(&format!("{name}: norm of step {step}"), norm, expected, expected);
                let found = f64::from(outputs.scalar(fetches[1]).unwrap());
                let what = format!("{name}: learning rate of step {step}");
                check(&what, found, rate, run.learning_rates[0]);
            }
        }
        for (variable, sum, magnitudes) in &run.last {
            let value = session.read(variable).unwrap().to_f64();
            check(&format!("{name}: {variable}"), value.iter().sum(), *sum, *magnitudes);
            let found = value.iter().map(|x| x.abs()).sum();
            check(&format!("{name}: {variable}"), found, *magnitudes, *magnitudes);
        }
    }
}

/// How large a model is: batch, inputs, hidden units, classes.
type Size = [usize; 4];

/// Gradients of all kinds: of products with a bias, of an embedding, of a layer normalization, and of a
/// weight that is used twice.
fn model<'g>(graph: &'g Graph, [batch, inputs, units, classes]: Size) -> Tensor<'g> {
    graph.set_seed(9);
    let x = graph.placeholder("x", [batch, inputs], DType::F32);
    let labels = graph.placeholder("labels", [batch], DType::I32);
    let words = graph.scope("words").embedding(labels, classes, units);
    let hidden = graph.scope("fc1").linear(x, units).relu().dropout("hidden", 0.2) + words;
    let hidden = graph.scope("ln").layer_norm(hidden, 1e-3);
    let square = graph.scope("square").linear(hidden, units).tanh();
    let again = graph.get_variable("square/weight").unwrap();
    let hidden = square.matmul(again).sigmoid();
    graph.scope("fc2").linear(hidden, classes).softmax_cross_entropy(labels)
}

/// What is fed in a run, with something in it that is not finite if so asked.
fn feeds(
    [batch, inputs, _, classes]: Size,
    run: usize,
    bad: bool,
) -> [(&'static str, TensorData); 2] {
    let noise = Philox::new(run as u64, "inputs");
    let number = |at: u64| (noise.word(at) >> 8) as f32 / (1 << 23) as f32 - 1.0;
    let mut x: Vec<f32> = (0..(batch * inputs) as u64).map(number).collect();
    if bad {
        x[0] = f32::INFINITY;
    }
    let labels = (0..batch as u64).map(|at| (noise.word(10_000 + at) % classes as u32) as i32);
    [
        ("x", TensorData::new([batch, inputs], x).unwrap()),
        ("labels", TensorData::new([batch], labels.collect::<Vec<_>>()).unwrap()),
    ]
}

/// Variables of a session, by name, as bytes.
type Variables = Vec<(String, Vec<u8>)>;

fn variables(session: &Session) -> Variables {
    let infos = session.variables();
    infos.iter().map(|info| (info.name().to_owned(), bytes_of(session, info.name()))).collect()
}

/// Optimizers of all kinds, each of which updates with every third run.
fn optimizers() -> [Optimizer; 5] {
    let schedule = || Schedule::cosine(0.02, 1e-3, 4).warm_up(2);
    let scaling = LossScaling::new().initial_scale(8.0).growth_interval(1);
    [
        Optimizer::adam(schedule()),
        Optimizer::adamw(schedule()).clip_global_norm(0.5).no_decay(&["bias"]),
        Optimizer::adam(0.01).clip_global_norm(0.5).loss_scaling(scaling),
        Optimizer::sgd(0.1),
        Optimizer::sgd(schedule()).momentum(0.9).nesterov().loss_scaling(scaling),
    ]
    .map(|optimizer| optimizer.gradient_accumulation_steps(3))
}

const RUNS: usize = 7;

#[test]
fn runs_are_those_of_the_twin() {
    let gpu = gpu();
    let sizes = [[1, 1, 1, 2], [3, 5, 7, 3], [37, 19, 33, 5], [64, 70, 128, 10]];
    for (at, optimizer) in optimizers().iter().enumerate() {
        // Each with two sizes, so that all are met.
        for size in [sizes[at % 4], sizes[(at + 2) % 4]] {
            let graph = Graph::new();
            let loss = model(&graph, size);
            let step = optimizer.minimize(loss);
            let (name, gradient) = step.gradients[0].clone();
            assert_eq!(name, "words/weight");
            let fetches = [loss, step.gradient_norm, step.learning_rate, gradient];
            let mut session = Session::new(&gpu);
            let plan = session.compile(&graph, &fetches, &[step.update]).unwrap();
            session.initialize_missing(4).unwrap();
            let def = graph.finish().unwrap();
            let mut reference = Reference::new(&def);
            for (name, _) in variables(&session) {
                reference.assign(&name, &session.read(&name).unwrap());
            }
            let mut ids: Vec<NodeId> = fetches.iter().map(|fetch| fetch.id()).collect();
            ids.push(step.update.id());
            for run in 0..RUNS {
                let fed = feeds(size, run, false);
                fed.iter().for_each(|(name, value)| reference.feed(name, value));
                let expected = reference.run(&ids).unwrap();
                let fed = fed.each_ref().map(|(name, value)| (*name, Feed::from(value)));
                let outputs = session.run(&plan, &fed).unwrap();
                let what = |of: &str| format!("{of} of run {run}: {optimizer:?}, {size:?}");
                for (at, fetch) in fetches.iter().enumerate() {
                    let found = outputs.tensor(*fetch).unwrap();
                    close(&what(&format!("fetch {at}")), &found, &expected[at].elements);
                }
                for (name, _) in variables(&session) {
                    let expected = &reference.variable(&name).unwrap().elements;
                    close(&what(&name), &session.read(&name).unwrap(), expected);
                }
            }
        }
    }
}

fn close(what: &str, found: &TensorData, expected: &[f64]) {
    for (found, expected) in found.to_f64().iter().zip(expected) {
        // Adam's first updates are the learning rate whatever the gradient is, so the rounding of small
        // gradients is that of updates of some hundredths.
        let near = (found - expected).abs() <= 1e-4 * expected.abs().max(1.0);
        assert!(near, "{what}: {found} and not {expected}");
    }
}

fn compiled(gpu: &Gpu, graph: &Graph, optimizer: &Optimizer, size: Size) -> (Session, Plan) {
    let loss = model(graph, size);
    let step = optimizer.minimize(loss);
    let mut session = Session::new(gpu);
    let plan = session.compile(graph, &[loss], &[step.update]).unwrap();
    session.initialize_missing(4).unwrap();
    (session, plan)
}

#[test]
fn accumulating_takes_no_dispatch_and_no_value_more() {
    let gpu = gpu();
    for optimizer in optimizers() {
        for size in [[3, 5, 7, 3], [64, 70, 128, 10], [512, 784, 128, 10]] {
            let planned = |steps: u32| -> (usize, u64) {
                let graph = Graph::new();
                let optimizer = optimizer.clone().gradient_accumulation_steps(steps);
                let (_, plan) = compiled(&gpu, &graph, &optimizer, size);
                (plan.dispatches().len(), plan.memory().values)
            };
            let (kernels, values) = planned(4);
            let (plain, plain_values) = planned(1);
            assert_eq!(kernels, plain, "{optimizer:?}, {size:?}");
            assert!(values <= plain_values, "{values} of {plain_values}: {optimizer:?}, {size:?}");
        }
    }
}

#[test]
fn one_step_is_the_plan_without_accumulation() {
    let gpu = gpu();
    let printed = |optimizer: &Optimizer| {
        let graph = Graph::new();
        compiled(&gpu, &graph, optimizer, [37, 19, 33, 5]).1.to_string()
    };
    let plain = Optimizer::adam(0.1).clip_global_norm(1.0);
    assert_eq!(printed(&plain.clone().gradient_accumulation_steps(1)), printed(&plain));
    assert_ne!(printed(&plain.clone().gradient_accumulation_steps(2)), printed(&plain));
}

/// One after the other, in one submission, and broken off after each run: the same bits.
#[test]
fn bits_are_the_same_however_runs_are_submitted_and_broken_off() {
    let gpu = gpu();
    let size = [5, 6, 16, 3];
    for optimizer in optimizers() {
        let graph = Graph::new();
        let (mut session, plan) = compiled(&gpu, &graph, &optimizer, size);
        let train = |session: &mut Session, plan: &Plan, run: usize| {
            let fed = feeds(size, 0, false);
            let fed = fed.each_ref().map(|(name, value)| (*name, Feed::from(value)));
            session.run(plan, &fed).unwrap().wait().unwrap();
            (run, variables(session))
        };
        let course: Vec<_> = (0..RUNS).map(|run| train(&mut session, &plan, run)).collect();

        let graph = Graph::new();
        let (mut session, plan) = compiled(&gpu, &graph, &optimizer, size);
        let fed = feeds(size, 0, false);
        let fed = fed.each_ref().map(|(name, value)| (*name, Feed::from(value)));
        session.run_steps(&plan, &Steps::repeat(RUNS).feeds(&fed)).unwrap().wait().unwrap();
        assert!(variables(&session) == course[RUNS - 1].1, "in one submission: {optimizer:?}");

        for broken in 0..RUNS - 1 {
            let graph = Graph::new();
            let (mut session, plan) = compiled(&gpu, &graph, &optimizer, size);
            for (name, bytes) in &course[broken].1 {
                let (shape, dtype) = {
                    let all = session.variables();
                    let info = all.iter().find(|info| info.name() == name).unwrap();
                    (info.shape().clone(), info.dtype())
                };
                let value = TensorData::from_le_bytes(shape, dtype, bytes).unwrap();
                session.assign(name, &value).unwrap();
            }
            for expected in &course[broken + 1..] {
                let found = train(&mut session, &plan, expected.0);
                assert!(found == *expected, "broken off after run {broken}: {optimizer:?}");
            }
        }
    }
}

/// An update that one of its batches spoils is left out, and what was accumulated is dropped.
#[test]
fn an_update_with_a_batch_that_is_not_finite_is_left_out() {
    let gpu = gpu();
    let size = [5, 6, 16, 3];
    let scaling = LossScaling::new().initial_scale(8.0).growth_interval(1);
    let optimizer = Optimizer::adam(0.01)
        .clip_global_norm(0.5)
        .loss_scaling(scaling)
        .gradient_accumulation_steps(2);
    let graph = Graph::new();
    let (mut session, plan) = compiled(&gpu, &graph, &optimizer, size);
    let bad = [false, false, true, false, false, true, false, false];
    let (mut before, mut scale) = (variables(&session), 8.0f32);
    for (run, &is_bad) in bad.iter().enumerate() {
        let fed = feeds(size, run, is_bad);
        let fed = fed.each_ref().map(|(name, value)| (*name, Feed::from(value)));
        session.run(&plan, &fed).unwrap().wait().unwrap();
        let now = variables(&session);
        let ends = run % 2 == 1;
        let applied = ends && !is_bad && !bad[run - 1];
        if ends {
            scale *= if applied { 2.0 } else { 0.5 };
        }
        for ((name, now), (_, before)) in now.iter().zip(&before) {
            match name.rsplit('/').next().unwrap() {
                "loss_scale" => assert_eq!(now[..], scale.to_le_bytes(), "run {run}"),
                "accumulated_batches" => {
                    assert_eq!(now[..], u32::from(!ends).to_le_bytes(), "run {run}");
                }
                "gradient_accumulator" => {
                    assert_eq!(now.iter().all(|&byte| byte == 0), ends, "{name} after run {run}");
                }
                "global_step" => assert_eq!(now[..], (run as u32 + 1).to_le_bytes()),
                "good_steps" => assert_eq!(now[..], [0; 4]),
                // Some words do not occur.
                _ if name.starts_with("words/") => assert!(applied || now == before, "{name}"),
                _ => assert_eq!(now != before, applied, "{name} after run {run}"),
            }
        }
        before = now;
    }
}

/// What is kept under loss scaling is of the loss itself, to rounding, also where the scale is no power of
/// two and another one in the middle of an update, as where a run goes on with one.
#[test]
fn sums_are_unscaled_by_the_scale_of_their_own_run() {
    let gpu = gpu();
    // Below what two workgroups take, and of a size that no block fits.
    for elements in [1, 3, 257, 70_001] {
        let graph = Graph::new();
        let x = graph.placeholder("x", [elements], DType::F32);
        let weight = graph.variable("weight", [elements], Initializer::Zeros);
        let loss = (weight * x).sum_all(); // Its gradient is x.
        let scaling = LossScaling::new().initial_scale(3.0).growth_interval(100);
        let optimizer = Optimizer::sgd(0.1).loss_scaling(scaling).gradient_accumulation_steps(5);
        let step = optimizer.minimize(loss);
        let mut session = Session::new(&gpu);
        let plan = session.compile(&graph, &[loss], &[step.update]).unwrap();
        session.initialize_missing(0).unwrap();
        let def = graph.finish().unwrap();
        let mut reference = Reference::new(&def);
        for (name, _) in variables(&session) {
            reference.assign(&name, &session.read(&name).unwrap());
        }
        // Three runs with one scale, two with another, and one of the next update.
        let mut magnitudes = vec![0.0; elements];
        for run in 0..6 {
            if run == 3 {
                let scale = TensorData::from(0.7f32);
                session.assign("sgd/loss_scale", &scale).unwrap();
                reference.assign("sgd/loss_scale", &scale);
            }
            let noise = Philox::new(run, "gradients");
            // Of all sizes, so that a small one shows what is lost beside a large one.
            let number = |at: u64| {
                let word = noise.word(at);
                (word as f32 / u32::MAX as f32 - 0.5) * 10f32.powi((word % 9) as i32 - 4)
            };
            let values: Vec<f32> = (0..elements as u64).map(number).collect();
            for (magnitude, value) in magnitudes.iter_mut().zip(&values) {
                *magnitude += f64::from(value.abs());
            }
            let x = TensorData::new([elements], values).unwrap();
            reference.feed("x", &x);
            reference.run(&[step.update.id()]).unwrap();
            session.run(&plan, &[("x", Feed::from(&x))]).unwrap().wait().unwrap();
            for name in ["weight/sgd/gradient_accumulator", "weight", "sgd/loss_scale"] {
                let found = session.read(name).unwrap().to_f64();
                let expected = &reference.variable(name).unwrap().elements;
                for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
                    // Each run rounds a product, a quotient and a sum; a quotient by 2.5 units at most.
                    let rounded = match name {
                        "sgd/loss_scale" => 0.0,
                        _ => 6.0 * f64::from(f32::EPSILON) * magnitudes[at],
                    };
                    let what = format!("{name} {at} of {elements} after run {run}");
                    let off = (found - expected).abs();
                    assert!(off <= rounded, "{what}: {found} and not {expected}");
                }
            }
            if run == 4 {
                magnitudes.iter_mut().for_each(|magnitude| *magnitude *= 2.0);
            }
        }
        let kept = session.read("weight/sgd/gradient_accumulator").unwrap().to_f64();
        assert!(kept.iter().any(|&sum| sum != 0.0), "it is in the middle of an update");
    }
}

/// Two optimizers of one plan, one of which makes an update of two batches and the other of three; with a
/// gradient that is fetched.
#[test]
fn two_optimizers_accumulate_by_themselves() {
    let size = [5, 6, 16, 3];
    let graph = Graph::new();
    let loss = model(&graph, size);
    let of = |steps: u32, optimizer: Optimizer, first: bool| {
        let chosen = move |v: &warmstart_graph::Variable| v.name.starts_with("fc1/") == first;
        optimizer.gradient_accumulation_steps(steps).minimize_where(loss, chosen)
    };
    let first = of(2, Optimizer::adam(0.01).clip_global_norm(0.1), true);
    let second = of(3, Optimizer::sgd(0.1).momentum(0.9), false);
    let updates: [Update<'_>; 2] = [first.update, second.update];
    let fetches = [loss, first.gradient_norm, second.gradient_norm, second.gradients[1].1];
    let mut session = Session::new(&gpu());
    let plan = session.compile(&graph, &fetches, &updates).unwrap();
    session.initialize_missing(5).unwrap();
    let def = graph.finish().unwrap();
    let mut reference = Reference::new(&def);
    for (name, _) in variables(&session) {
        reference.assign(&name, &session.read(&name).unwrap());
    }
    let ids = fetches.iter().map(|fetch| fetch.id()).chain(updates.iter().map(|u| u.id()));
    let ids: Vec<NodeId> = ids.collect();
    for run in 0..RUNS {
        let fed = feeds(size, run, false);
        fed.iter().for_each(|(name, value)| reference.feed(name, value));
        let expected = reference.run(&ids).unwrap();
        let fed = fed.each_ref().map(|(name, value)| (*name, Feed::from(value)));
        let outputs = session.run(&plan, &fed).unwrap();
        for (at, fetch) in fetches.iter().enumerate() {
            let what = format!("fetch {at} of run {run}");
            close(&what, &outputs.tensor(*fetch).unwrap(), &expected[at].elements);
        }
        for (name, _) in variables(&session) {
            let expected = &reference.variable(&name).unwrap().elements;
            close(&format!("{name} after run {run}"), &session.read(&name).unwrap(), expected);
        }
    }
}

/// Nothing is dispatched while accumulators have no value.
#[test]
fn accumulators_without_a_value_are_named() {
    let graph = Graph::new();
    let size = [5, 6, 16, 3];
    let loss = model(&graph, size);
    let mut session = Session::new(&gpu());
    let step = Optimizer::sgd(0.1).gradient_accumulation_steps(2).minimize(loss);
    let plan = session.compile(&graph, &[loss], &[step.update]).unwrap();
    let weights: Vec<_> = graph.finish().unwrap().variables;
    for variable in weights.iter().filter(|v| !v.name.ends_with("gradient_accumulator")) {
        let bytes = vec![0; variable.shape.elements() * variable.dtype.size()];
        let zero = TensorData::from_le_bytes(&variable.shape, variable.dtype, &bytes).unwrap();
        session.assign(&variable.name, &zero).unwrap();
    }
    let fed = feeds(size, 0, false);
    let fed = fed.each_ref().map(|(name, value)| (*name, Feed::from(value)));
    let Err(error) = session.run(&plan, &fed) else { panic!("it ran") };
    let error = error.to_string();
    for part in ["fc1/weight/sgd/gradient_accumulator", "accumulation.rs:"] {
        assert!(error.contains(part), "`{part}` is not in {error}");
    }
}
