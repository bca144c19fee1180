//! Updates that depend on their gradients' norm, as all kinds of devices compute them: against the twin,
//! and with the same bits wherever their variables lie and whoever writes the counters.

use super::product_tests::gpu;
use super::*;
use warmstart_graph::reference::Reference;
use warmstart_graph::{
    Initializer, LossScaling, Optimizer, Role, Schedule, TensorData, Update, Variable,
};

/// Elements of each parameter: parts of vectors and blocks, and more blocks than there are sums.
const SIZES: [usize; 5] = [1, 66, 1030, 4096, 300_007];

/// Steps, of which one has gradients that are not finite.
const STEPS: usize = 4;
const BAD: usize = 1;

/// The parameters' names and loss, whose gradients a fed number scales.
fn model<'g>(graph: &'g Graph, optimizer: &Optimizer) -> (Tensor<'g>, Update<'g>, Tensor<'g>) {
    let by = graph.placeholder("by", [], DType::F32);
    let all = SIZES.iter().enumerate().map(|(at, &elements)| {
        let uniform = Initializer::Uniform { low: -1.0, high: 1.0 };
        let x = graph.variable(&format!("x{at}"), [elements], uniform);
        (x.square() * 0.5 + x.sin()).sum_all()
    });
    let loss = all.reduce(|sum, x| sum + x).unwrap() * by;
    let step = optimizer.minimize(loss);
    (loss, step.update, step.gradient_norm)
}

fn fed(step: usize) -> f32 {
    if step == BAD { f32::INFINITY } else { 0.5 + step as f32 }
}

/// The kernels that end a plan, from the squares on, and all variables after some steps.
struct Course {
    kernels: Vec<&'static str>,
    norms: Vec<u32>,
    variables: Vec<(String, TensorData)>,
}

impl Course {
    fn has_bits_of(&self, other: &Course) -> bool {
        let bytes = |course: &Course| -> Vec<(String, Vec<u8>)> {
            let all = course.variables.iter();
            let mut all: Vec<_> =
                all.map(|(name, value)| (name.clone(), value.to_le_bytes())).collect();
            all.sort();
            all
        };
        self.norms == other.norms && bytes(self) == bytes(other)
    }
}

fn course(
    gpu: &Gpu,
    optimizer: &Optimizer,
    target: Target,
    fetches_norm: bool,
    prepare: impl FnOnce(&mut Session, &[Variable]),
) -> Course {
    let graph = Graph::new();
    let (loss, update, norm) = model(&graph, optimizer);
    let mut session = Session::new(gpu);
    prepare(&mut session, &graph.finish().unwrap().variables);
    let fetches: &[Tensor<'_>] = if fetches_norm { &[loss, norm] } else { &[loss] };
    let plan = session.compile_for(&graph, fetches, &[update], target).unwrap();
    session.initialize_missing(5).unwrap();
    let mut norms = Vec::new();
    for step in 0..STEPS {
        let by = fed(step);
        let outputs = session.run(&plan, &[("by", (&[by]).into())]).unwrap();
        outputs.wait().unwrap();
        if fetches_norm {
            norms.push(outputs.scalar(norm).unwrap().to_bits());
        }
    }
    let kernels: Vec<&str> = plan.dispatches().iter().map(|info| info.kernel).collect();
    let squares = kernels.iter().position(|kernel| *kernel == "squares").unwrap();
    let names: Vec<String> = session.variables().iter().map(|info| info.name().into()).collect();
    let read = names.into_iter().map(|name| {
        let value = session.read(&name).unwrap();
        (name, value)
    });
    Course { kernels: kernels[squares..].to_vec(), norms, variables: read.collect() }
}

/// The kinds of devices that compute in orders of their own.
fn kinds(gpu: &Gpu) -> [Target; 3] {
    let own = Target::of(gpu);
    let software = Target { is_cpu: true, ..own };
    [Target { is_cpu: false, ..own }, software, Target { has_int64: false, ..software }]
}

/// With loss scaling, which keeps the step that is not finite from spoiling all after it.
fn optimizers() -> [Optimizer; 4] {
    let scaling = || LossScaling::new().initial_scale(8.0).growth_interval(2);
    [
        Optimizer::adamw(Schedule::cosine(0.05, 0.0, 10).warm_up(2))
            .clip_global_norm(20.0)
            .loss_scaling(scaling()),
        Optimizer::sgd(0.1).momentum(0.9).clip_global_norm(20.0).loss_scaling(scaling()),
        Optimizer::sgd(0.01).loss_scaling(scaling()),
        // The bad step is the last of its update.
        Optimizer::adam(0.05)
            .clip_global_norm(20.0)
            .loss_scaling(scaling())
            .gradient_accumulation_steps(2),
    ]
}

#[test]
fn updates_follow_the_twin_on_all_kinds_of_devices() {
    let gpu = gpu();
    for optimizer in optimizers() {
        let graph = Graph::new();
        let (_, update, norm) = model(&graph, &optimizer);
        let def = graph.finish().unwrap();
        let mut reference = Reference::new(&def);
        let mut session = Session::new(&gpu);
        session.declare(&def.variables).unwrap();
        session.initialize_missing(5).unwrap();
        for variable in &def.variables {
            reference.assign(&variable.name, &session.read(&variable.name).unwrap());
        }
        let mut norms = Vec::new();
        for step in 0..STEPS {
            reference.feed("by", &TensorData::from(fed(step)));
            norms.push(reference.run(&[norm.id(), update.id()]).unwrap()[0].elements[0]);
        }
        for target in kinds(&gpu) {
            let found = course(&gpu, &optimizer, target, true, |_, _| {});
            assert_eq!(found.kernels, ["squares", "optimizer"], "{optimizer:?}");
            for (step, (&bits, &expected)) in found.norms.iter().zip(&norms).enumerate() {
                let norm = f64::from(f32::from_bits(bits));
                // Sums of squares that are all positive: their error is that of one in some thousands.
                let is_near = (norm - expected).abs() <= 1e-5 * expected;
                assert!(is_near || step == BAD && !norm.is_finite(), "{norm}, not {expected}");
            }
            for (name, value) in &found.variables {
                let expected = &reference.variable(name).unwrap().elements;
                let largest = expected.iter().fold(1e-3, |most: f64, x| most.max(x.abs()));
                for (found, expected) in value.to_f64().iter().zip(expected) {
                    let off = (found - expected).abs();
                    assert!(off <= 2e-5 * largest, "{name}: {found}, not {expected} {target:?}");
                }
            }
        }
    }
}

/// A device that binds no more than every one does writes them by a kernel of its own, and no bit of
/// what is trained depends on that, nor on whether the norm is fetched.
#[test]
fn counters_have_the_same_bits_whoever_writes_them() {
    let gpu = gpu();
    for optimizer in optimizers() {
        for target in kinds(&gpu) {
            let all = course(&gpu, &optimizer, target, true, |_, _| {});
            let few = Target { storage_buffers: 8, ..target };
            let apart = course(&gpu, &optimizer, few, true, |_, _| {});
            assert_eq!(apart.kernels, ["squares", "optimizer", "optimizer_counters"]);
            assert!(apart.has_bits_of(&all), "other bits: {optimizer:?} {target:?}");
            let unread = course(&gpu, &optimizer, few, false, |_, _| {});
            let unread = Course { norms: all.norms.clone(), ..unread };
            assert!(unread.has_bits_of(&all), "other bits: {optimizer:?} {target:?}");
        }
    }
}

/// Variables that were declared at another time, or as another role, lie elsewhere.
#[test]
fn updates_have_the_same_bits_wherever_variables_lie() {
    let gpu = gpu();
    for optimizer in optimizers() {
        for target in kinds(&gpu) {
            let together = course(&gpu, &optimizer, target, true, |_, _| {});
            let apart = course(&gpu, &optimizer, target, true, |session, variables| {
                let first = |v: &&Variable| ["x1", "x3"].contains(&v.name.as_str());
                let first: Vec<Variable> = variables.iter().filter(first).cloned().collect();
                session.declare(&first).unwrap();
            });
            assert_eq!(apart.kernels, ["squares", "optimizer", "optimizer"]);
            assert!(apart.has_bits_of(&together), "other bits: {optimizer:?} {target:?}");
            // A weight beside the counters, with which it must not be bound twice.
            let beside = course(&gpu, &optimizer, target, true, |session, variables| {
                let mut variables = variables.to_vec();
                variables.iter_mut().filter(|v| v.role == Role::Trainable).for_each(|variable| {
                    variable.role = Role::State;
                });
                session.declare(&variables).unwrap();
            });
            assert_eq!(beside.kernels, ["squares", "optimizer", "optimizer_counters"]);
            assert!(beside.has_bits_of(&together), "other bits: {optimizer:?} {target:?}");
        }
    }
}

/// Eight buffers, which every device binds, do for Adam with clipping.
#[test]
fn clipping_alone_is_two_dispatches_on_any_device() {
    let graph = Graph::new();
    let (loss, update, _) = model(&graph, &Optimizer::adam(0.1).clip_global_norm(1.0));
    let mut session = Session::new(&gpu());
    for target in kinds(session.gpu()) {
        let few = Target { storage_buffers: 8, ..target };
        let plan = session.compile_for(&graph, &[loss], &[update], few).unwrap();
        let kernels: Vec<&str> = plan.dispatches().iter().map(|info| info.kernel).collect();
        assert_eq!(kernels[kernels.len() - 2..], ["squares", "optimizer"], "{plan}");
    }
}
