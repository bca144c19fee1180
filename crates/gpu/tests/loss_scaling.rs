//! Loss scaling on the device: against the CPU twin, and without a bit of difference where nothing
//! overflows.

mod common;

use warmstart_gpu::{Gpu, Session};
use warmstart_graph::reference::{Reference, Value};
use warmstart_graph::{
    DType, Graph, LossScaling, NodeId, Optimizer, Tensor, TensorData, TrainStep,
};

const BATCH: usize = 16;

fn model<'g>(graph: &'g Graph, optimizer: &Optimizer) -> (Tensor<'g>, TrainStep<'g>) {
    let x = graph.placeholder("x", [BATCH, 6], DType::F32);
    let labels = graph.placeholder("labels", [BATCH], DType::I32);
    let hidden = graph.scope("fc1").linear(x, 12).tanh();
    let loss = graph.scope("fc2").linear(hidden, 5).softmax_cross_entropy(labels).mean_all();
    (loss, optimizer.minimize(loss))
}

/// What is fed at a step, with something in it that is not finite if so asked.
fn feeds(step: usize, bad: Option<f32>) -> [(&'static str, TensorData); 2] {
    let value = |index: usize| (((index + 29 * step) * 37 % 101) as f32 - 50.0) / 50.0;
    let mut x: Vec<f32> = (0..BATCH * 6).map(value).collect();
    x[17] = bad.unwrap_or(x[17]);
    let labels: Vec<i32> = (0..BATCH).map(|row| ((row * 7 + step) % 5) as i32).collect();
    [
        ("x", TensorData::new([BATCH, 6], x).unwrap()),
        ("labels", TensorData::new([BATCH], labels).unwrap()),
    ]
}

/// Something not finite at some steps.
fn bad(step: usize) -> Option<f32> {
    match step {
        3 => Some(f32::NAN),
        4 | 9 => Some(f32::INFINITY),
        _ => None,
    }
}

/// Losses, and all variables after each step, as bits.
type Course = Vec<(u32, Vec<(String, Vec<u8>)>)>;

fn train(
    gpu: &Gpu,
    optimizer: &Optimizer,
    steps: std::ops::Range<usize>,
    bad: impl Fn(usize) -> Option<f32>,
    begin_with: Option<&[(String, Vec<u8>)]>,
) -> Course {
    let graph = Graph::new();
    let (loss, step) = model(&graph, optimizer);
    let mut session = Session::new(gpu);
    let plan = session.compile(&graph, &[loss], &[step.update]).unwrap();
    session.initialize_missing(4).unwrap();
    for (name, bytes) in begin_with.into_iter().flatten() {
        let (shape, dtype) = {
            let all = session.variables();
            let info = all.iter().find(|info| info.name() == name).unwrap();
            (info.shape().clone(), info.dtype())
        };
        session.assign(name, &TensorData::from_le_bytes(shape, dtype, bytes).unwrap()).unwrap();
    }
    let names: Vec<String> =
        session.variables().iter().map(|info| info.name().to_owned()).collect();
    let course = steps.map(|step| {
        let fed = feeds(step, bad(step));
        let fed: Vec<_> = fed.iter().map(|(name, value)| (*name, value.into())).collect();
        let loss = session.run(&plan, &fed).unwrap().scalar(loss).unwrap().to_bits();
        let bytes = names.iter().map(|name| (name.clone(), common::bytes_of(&session, name)));
        (loss, bytes.collect())
    });
    course.collect()
}

fn optimizers() -> [Optimizer; 3] {
    [
        Optimizer::adamw(0.01).clip_global_norm(0.3),
        Optimizer::adam(0.01),
        Optimizer::sgd(0.1).momentum(0.9).nesterov().clip_global_norm(5.0),
    ]
}

#[test]
fn powers_of_two_change_no_bit() {
    let gpu = common::gpu();
    for optimizer in optimizers() {
        let scaling = LossScaling::new().growth_interval(4);
        let scaled = train(&gpu, &optimizer.clone().loss_scaling(scaling), 0..10, |_| None, None);
        let plain = train(&gpu, &optimizer, 0..10, |_| None, None);
        for (step, (scaled, plain)) in scaled.iter().zip(&plain).enumerate() {
            assert_eq!(scaled.0, plain.0, "loss of step {step}");
            for (name, bytes) in &plain.1 {
                let (_, own) = scaled.1.iter().find(|(own, _)| own == name).unwrap();
                assert_eq!(own, bytes, "{name} after step {step}");
            }
        }
    }
}

#[test]
fn steps_are_left_out_and_a_run_goes_on_with_its_scale() {
    let gpu = common::gpu();
    for optimizer in optimizers() {
        let scaling = LossScaling::new().initial_scale(64.0).growth_interval(3);
        let optimizer = optimizer.loss_scaling(scaling);
        let course = train(&gpu, &optimizer, 0..12, bad, None);
        let (mut scale, mut good_steps, mut applied) = (64.0, 0, 0u32);
        for (step, (_, variables)) in course.iter().enumerate() {
            (scale, good_steps) = scaling.evaluate(scale, good_steps, bad(step).is_none());
            applied += u32::from(bad(step).is_none());
            for (name, bytes) in variables {
                let expected = match name.rsplit('/').next().unwrap() {
                    "loss_scale" => (scale as f32).to_le_bytes(),
                    "good_steps" => good_steps.to_le_bytes(),
                    "step" => applied.to_le_bytes(),
                    "global_step" => (step as u32 + 1).to_le_bytes(),
                    _ => {
                        let before = step.checked_sub(1).map(|step| &course[step].1);
                        let same =
                            before.is_some_and(|all| all.contains(&(name.clone(), bytes.clone())));
                        assert_eq!(same, bad(step).is_some(), "{name} after step {step}");
                        continue;
                    }
                };
                assert_eq!(bytes[..], expected, "{name} after step {step}");
            }
        }
        // Two steps of three are done here, so the next one makes the scale grow.
        let rest = train(&gpu, &optimizer, 7..12, bad, Some(&course[6].1));
        assert_eq!(rest[..], course[7..]);
    }
}

/// A scale so large that gradients overflow comes down to one that lets them through.
#[test]
fn a_scale_that_is_too_large_comes_down() {
    let gpu = common::gpu();
    let scaling = LossScaling::new().initial_scale(2.0f32.powi(100)).backoff_factor(1.0 / 1024.0);
    let course = train(&gpu, &Optimizer::sgd(0.1).loss_scaling(scaling), 0..8, |_| None, None);
    let scale = |step: usize| {
        let (_, bytes) = course[step].1.iter().find(|(name, _)| name == "sgd/loss_scale").unwrap();
        f32::from_le_bytes(bytes[..].try_into().unwrap())
    };
    assert_eq!(scale(0), 2.0f32.powi(90));
    assert_eq!(scale(7), scale(6));
    assert!(scale(7) >= 2.0f32.powi(50), "{}", scale(7));
    let weight = |step: usize| course[step].1.iter().find(|(name, _)| name == "fc1/weight");
    assert_eq!(weight(1), weight(0), "left out");
    assert_ne!(weight(7), weight(6), "applied");
}

/// However many steps were left out, one can divide by the scale, and it grows again.
#[test]
fn a_scale_that_came_all_the_way_down_recovers() {
    let gpu = common::gpu();
    let scaling = LossScaling::new().growth_interval(1);
    let bad = |step: usize| (step < 200).then_some(f32::INFINITY);
    let course = train(&gpu, &Optimizer::sgd(0.1).loss_scaling(scaling), 0..260, bad, None);
    let of = |step: usize, name: &str| -> Vec<f32> {
        let (_, bytes) = course[step].1.iter().find(|(own, _)| own == name).unwrap();
        bytes.chunks(4).map(|x| f32::from_le_bytes(x.try_into().unwrap())).collect()
    };
    let mut scale = 65_536.0;
    for step in 0..course.len() {
        scale = scaling.evaluate(scale, 0, bad(step).is_none()).0;
        assert_eq!(of(step, "sgd/loss_scale"), [scale as f32], "step {step}");
    }
    assert_eq!(of(199, "sgd/loss_scale"), [f32::MIN_POSITIVE]);
    assert_ne!(of(259, "fc1/weight"), of(258, "fc1/weight"), "applied");
    assert!(of(259, "fc1/weight").iter().all(|x| x.is_finite()));
}

/// Fetches are those of the loss itself, and several updates in one plan keep their scales apart.
#[test]
fn two_optimizers_as_in_the_twin() {
    let graph = Graph::new();
    let x = graph.placeholder("x", [BATCH, 6], DType::F32);
    let labels = graph.placeholder("labels", [BATCH], DType::I32);
    let hidden = graph.scope("fc1").linear(x, 12).tanh();
    let loss = graph.scope("fc2").linear(hidden, 5).softmax_cross_entropy(labels).mean_all();
    let scaling = LossScaling::new().initial_scale(256.0).growth_interval(2);
    let first = Optimizer::adam(0.01)
        .clip_global_norm(0.2)
        .loss_scaling(scaling)
        .minimize_where(loss, |v| v.name.starts_with("fc1"));
    let second = Optimizer::sgd(0.1)
        .loss_scaling(scaling.initial_scale(3.0))
        .minimize_where(loss, |v| v.name.starts_with("fc2"));
    let updates = [first.update, second.update];
    let fetches = [
        loss,
        first.gradient_norm,
        second.gradients[0].1,
        first.loss_scale.unwrap(),
        second.loss_scale.unwrap(),
    ];
    let mut session = Session::new(&common::gpu());
    let plan = session.compile(&graph, &fetches, &updates).unwrap();
    session.initialize_missing(5).unwrap();
    let def = graph.finish().unwrap();
    let mut reference = Reference::new(&def);
    let names: Vec<String> =
        session.variables().iter().map(|info| info.name().to_owned()).collect();
    for name in &names {
        reference.assign(name, &session.read(name).unwrap());
    }
    let ids = fetches.iter().map(|fetch| fetch.id()).chain(updates.iter().map(|u| u.id()));
    let ids: Vec<NodeId> = ids.collect();
    for step in 0..6 {
        let bad = (step == 2).then_some(f32::INFINITY);
        let fed = feeds(step, bad);
        fed.iter().for_each(|(name, value)| reference.feed(name, value));
        let fed: Vec<_> = fed.iter().map(|(name, value)| (*name, value.into())).collect();
        let outputs = session.run(&plan, &fed).unwrap();
        let expected = reference.run(&ids).unwrap();
        for (at, fetch) in fetches.iter().enumerate().skip(if bad.is_some() { 3 } else { 0 }) {
            close(&format!("fetch {at}"), &outputs.tensor(*fetch).unwrap(), &expected[at]);
        }
        for name in &names {
            close(name, &session.read(name).unwrap(), reference.variable(name).unwrap());
        }
    }
}

fn close(what: &str, found: &TensorData, expected: &Value) {
    for (found, expected) in found.to_f64().iter().zip(&expected.elements) {
        let near = (found - expected).abs() <= 2e-5 * expected.abs().max(1.0);
        assert!(near, "{what}: {found} and not {expected}");
    }
}
