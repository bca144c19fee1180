//! Training whose gradients lie in several regions, since one binding does not hold all: as in one.

use super::product_tests::{gpu, targets};
use super::*;
use warmstart_graph::reference::Reference;
use warmstart_graph::{Initializer, LossScaling, Optimizer, Schedule, TensorData, Update};

const BATCH: usize = 8;
const WIDTH: usize = 33;

/// Bytes of a binding with which gradients lie in one region, and in two, three and four; the last is as
/// large as the largest gradient.
const LIMITS: [(u64, usize); 4] = [(u64::MAX, 1), (24 << 10, 2), (14 << 10, 3), (12 << 10, 4)];

/// Steps, of which one may have gradients that are not finite.
const STEPS: usize = 6;
const BAD: usize = 3;

/// A loss, an update and the norm. A part is computed again for the gradient, and a fed number scales the
/// loss.
fn model<'g>(graph: &'g Graph, optimizer: &Optimizer) -> (Tensor<'g>, Update<'g>, Tensor<'g>) {
    let x = graph.placeholder("x", [BATCH, WIDTH], DType::F32);
    let labels = graph.placeholder("labels", [BATCH], DType::I32);
    let by = graph.placeholder("by", [], DType::F32);
    let x = graph.root().recompute(|scope| {
        let hidden = scope.scope("fc0").linear(x, 64).gelu();
        scope.scope("norm").layer_norm(hidden, 1e-5)
    });
    let x = graph.scope("fc1").linear(x, 48).relu();
    let x = graph.scope("fc2").linear(x, 50).tanh();
    let loss = graph.scope("out").linear(x, 10).softmax_cross_entropy(labels) * by;
    let step = optimizer.minimize(loss);
    (loss, step.update, step.gradient_norm)
}

fn fed(step: usize, has_bad: bool) -> f32 {
    if has_bad && step == BAD { f32::INFINITY } else { 0.5 + step as f32 }
}

fn inputs() -> [TensorData; 2] {
    let x: Vec<f32> = (0..BATCH * WIDTH).map(|at| (at as f32 * 0.37).sin()).collect();
    let labels: Vec<i32> = (0..BATCH as i32).map(|at| at * 3 % 10).collect();
    [TensorData::new([BATCH, WIDTH], x).unwrap(), TensorData::new([BATCH], labels).unwrap()]
}

/// The kernels of a plan, norms, and all variables after some steps.
struct Course {
    kernels: Vec<&'static str>,
    norms: Vec<f32>,
    variables: Vec<(String, TensorData)>,
}

fn course(
    gpu: &Gpu,
    optimizer: &Optimizer,
    target: Target,
    has_bad: bool,
    prepare: impl FnOnce(&mut Session, &Graph),
) -> Course {
    let graph = Graph::new();
    let (loss, update, norm) = model(&graph, optimizer);
    let mut session = Session::new(gpu);
    prepare(&mut session, &graph);
    let plan = session.compile_for(&graph, &[loss, norm], &[update], target).unwrap();
    session.initialize_missing(5).unwrap();
    let [x, labels] = inputs();
    let mut norms = Vec::new();
    for step in 0..STEPS {
        let by = [fed(step, has_bad)];
        let feeds = [("x", (&x).into()), ("labels", (&labels).into()), ("by", (&by).into())];
        norms.push(session.run(&plan, &feeds).unwrap().scalar(norm).unwrap());
    }
    let kernels = plan.dispatches().iter().map(|info| info.kernel).collect();
    let mut names: Vec<String> =
        session.variables().iter().map(|info| info.name().into()).collect();
    names.sort();
    let read = names.into_iter().map(|name| {
        let value = session.read(&name).unwrap();
        (name, value)
    });
    Course { kernels, norms, variables: read.collect() }
}

impl Course {
    fn count(&self, kernel: &str) -> usize {
        self.kernels.iter().filter(|other| **other == kernel).count()
    }

    fn bits(&self) -> Vec<(&str, Vec<u8>)> {
        self.variables.iter().map(|(name, value)| (name.as_str(), value.to_le_bytes())).collect()
    }
}

fn scaling() -> LossScaling {
    LossScaling::new().initial_scale(8.0).growth_interval(2)
}

/// Those that take no factor from the norm: only whether it is finite.
fn unclipped() -> [Optimizer; 6] {
    let decays = || Optimizer::adamw(Schedule::cosine(0.05, 0.0, 10).warm_up(2)).weight_decay(0.1);
    [
        Optimizer::adam(0.01),
        decays().no_decay(&["**/bias"]),
        Optimizer::sgd(0.1).momentum(0.9).nesterov().weight_decay(0.01),
        decays().gradient_accumulation_steps(2),
        Optimizer::sgd(0.1).momentum(0.9).loss_scaling(scaling()),
        Optimizer::adam(0.01).loss_scaling(scaling()).gradient_accumulation_steps(2),
    ]
}

fn scales(optimizer: &Optimizer) -> bool {
    let graph = Graph::new();
    let _ = model(&graph, optimizer);
    graph.finish().unwrap().variables.iter().any(|v| v.name.ends_with("loss_scale"))
}

#[test]
fn training_has_the_same_bits_in_any_number_of_regions() {
    let gpu = gpu();
    for optimizer in unclipped() {
        let has_bad = scales(&optimizer);
        for target in targets(&gpu) {
            let whole = course(&gpu, &optimizer, target, has_bad, |_, _| {});
            assert_eq!([whole.count("squares"), whole.count("optimizer")], [1, 1]);
            for (binding_bytes, regions) in LIMITS {
                let target = Target { binding_bytes, ..target };
                let found = course(&gpu, &optimizer, target, has_bad, |_, _| {});
                let counts = [found.count("squares"), found.count("optimizer")];
                assert_eq!(counts, [regions; 2], "{:?}", found.kernels);
                assert!(found.bits() == whole.bits(), "{regions}: other bits, {optimizer:?}");
                for (norm, other) in found.norms.iter().zip(&whole.norms) {
                    let is_near = (norm - other).abs() <= 1e-6 * other;
                    assert!(is_near || !(norm.is_finite() || other.is_finite()), "{norm}, {other}");
                }
            }
        }
    }
}

/// All that an update may do, with a norm whose squares are summed up in another order.
#[test]
fn clipping_in_regions_follows_the_twin() {
    let gpu = gpu();
    let clipped = || Optimizer::sgd(0.1).momentum(0.9).weight_decay(0.1).clip_global_norm(0.7);
    for optimizer in [
        clipped().no_decay(&["**/bias"]),
        clipped().loss_scaling(scaling()).gradient_accumulation_steps(2),
    ] {
        let has_bad = scales(&optimizer);
        let graph = Graph::new();
        let (_, update, norm) = model(&graph, &optimizer);
        let def = graph.finish().unwrap();
        let mut session = Session::new(&gpu);
        session.declare(&def.variables).unwrap();
        session.initialize_missing(5).unwrap();
        let mut reference = Reference::new(&def);
        for variable in &def.variables {
            reference.assign(&variable.name, &session.read(&variable.name).unwrap());
        }
        let [x, labels] = inputs();
        reference.feed("x", &x);
        reference.feed("labels", &labels);
        let mut norms = Vec::new();
        for step in 0..STEPS {
            reference.feed("by", &TensorData::from(fed(step, has_bad)));
            norms.push(reference.run(&[norm.id(), update.id()]).unwrap()[0].elements[0]);
        }
        for (target, (binding_bytes, regions)) in
            targets(&gpu).into_iter().flat_map(|target| LIMITS.map(|limit| (target, limit)))
        {
            let target = Target { binding_bytes, ..target };
            let found = course(&gpu, &optimizer, target, has_bad, |_, _| {});
            assert_eq!([found.count("squares"), found.count("optimizer")], [regions; 2]);
            for (step, (&norm, &expected)) in found.norms.iter().zip(&norms).enumerate() {
                let is_near = (f64::from(norm) - expected).abs() <= 1e-5 * expected;
                let is_bad = has_bad && step == BAD && !norm.is_finite();
                assert!(is_near || is_bad, "step {step}: {norm}, not {expected}");
            }
            for (name, value) in &found.variables {
                let expected = &reference.variable(name).unwrap().elements;
                let largest = expected.iter().fold(1e-3, |most: f64, x| most.max(x.abs()));
                for (found, expected) in value.to_f64().iter().zip(expected) {
                    let off = (found - expected).abs();
                    assert!(off <= 1e-4 * largest, "{name}: {found}, not {expected} {regions}");
                }
            }
        }
    }
}

/// Squares of small integers are summed up exactly in any order, and so clipping has the same bits.
#[test]
fn exact_norms_clip_by_the_same_bits() {
    let gpu = gpu();
    let sizes = [1, 66, 3000, 1030, 2048, 700];
    let values = |at: usize, elements: usize| -> Vec<f32> {
        (0..elements).map(|k| ((k * 7 + at * 3) % 13) as f32 - 6.0).collect()
    };
    for target in targets(&gpu) {
        let mut all = Vec::new();
        for (binding_bytes, regions) in [(u64::MAX, 1), (20 << 10, 2), (12032, 4)] {
            let graph = Graph::new();
            let variables = sizes.iter().enumerate().map(|(at, &elements)| {
                let x = graph.variable(&format!("x{at}"), [elements], Initializer::Zeros);
                (x.square() * 0.5).sum_all()
            });
            let loss = variables.reduce(|sum, x| sum + x).unwrap();
            let step = Optimizer::sgd(0.5).momentum(0.9).clip_global_norm(3.0).minimize(loss);
            let mut session = Session::new(&gpu);
            let target = Target { binding_bytes, ..target };
            let fetches = [step.gradient_norm];
            let plan = session.compile_for(&graph, &fetches, &[step.update], target).unwrap();
            session.initialize_missing(0).unwrap();
            let mut sum = 0.0;
            for (at, &elements) in sizes.iter().enumerate() {
                let values = values(at, elements);
                sum += values.iter().map(|x| x * x).sum::<f32>();
                let value = TensorData::new([elements], values).unwrap();
                session.assign(&format!("x{at}"), &value).unwrap();
            }
            let norm = session.run(&plan, &[]).unwrap().scalar(step.gradient_norm).unwrap();
            assert!((norm - sum.sqrt()).abs() <= f32::EPSILON * norm, "{norm}, not {}", sum.sqrt());
            let kernels = plan.dispatches();
            let squares = kernels.iter().filter(|info| info.kernel == "squares");
            assert_eq!(squares.count(), regions, "{plan}");
            let read = |at: usize| session.read(&format!("x{at}")).unwrap().to_le_bytes();
            all.push((norm.to_bits(), (0..sizes.len()).map(read).collect::<Vec<_>>()));
        }
        assert!(all.windows(2).all(|two| two[0] == two[1]), "other bits: {target:?}");
    }
}

/// Parameters that lie in other buffers than those whose gradients lie beside theirs, and a device that binds
/// so few buffers that counters have a kernel of their own.
#[test]
fn regions_and_buffers_of_variables_need_not_agree() {
    let gpu = gpu();
    let optimizer = Optimizer::adam(0.01).loss_scaling(scaling());
    for target in targets(&gpu) {
        let whole = course(&gpu, &optimizer, target, true, |_, _| {});
        for (binding_bytes, regions) in LIMITS {
            let target = Target { binding_bytes, storage_buffers: 8, ..target };
            let found = course(&gpu, &optimizer, target, true, |session, graph| {
                let mut variables = graph.finish().unwrap().variables;
                variables.retain(|v| v.name.starts_with("fc1/") || v.name == "out/bias");
                session.declare(&variables).unwrap();
            });
            assert_eq!(found.count("squares"), regions);
            assert_eq!(found.count("optimizer_counters"), 1);
            assert!(found.count("optimizer") > regions, "{:?}", found.kernels);
            assert!(found.bits() == whole.bits(), "{regions}: other bits");
        }
    }
}
