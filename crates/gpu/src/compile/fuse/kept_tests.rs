//! What is stored on the way changes no bit, takes no more buffers than there are, and saves dispatches.

use crate::compile::{Step, Target, compile};
use crate::device::gpu::{Gpu, GpuOptions};
use crate::session::Session;
use crate::tune::Tune;
use warmstart_graph::random::Philox;
use warmstart_graph::{DType, Graph, LossScaling, NodeId, Optimizer, Tensor, TensorData, Update};

/// Numbers from a seed, for graphs.
struct Dice(Philox, u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.1 += 1;
        self.0.word(self.1) as usize % bound
    }
}

fn activated(x: Tensor<'_>, which: usize) -> Tensor<'_> {
    match which {
        0 => x.relu(),
        1 => x.tanh(),
        2 => x.sigmoid(),
        3 => x.gelu(),
        _ => x.silu(),
    }
}

/// Three layers and their training.
fn classifier<'g>(
    graph: &'g Graph,
    activation: usize,
    dropout: bool,
    scaling: bool,
) -> (Tensor<'g>, Update<'g>) {
    let mut x = graph.placeholder("x", [64, 64], DType::F32);
    for (layer, units) in [128, 64].into_iter().enumerate() {
        x = activated(graph.scope(&format!("fc{layer}")).linear(x, units), activation);
        x = if dropout { x.dropout(&format!("dropout{layer}"), 0.1) } else { x };
    }
    let labels = graph.placeholder("labels", [64], DType::I32);
    let loss = graph.scope("out").linear(x, 10).softmax_cross_entropy(labels);
    let mut optimizer = Optimizer::adam(1e-3).clip_global_norm(1.0);
    if scaling {
        optimizer = optimizer.loss_scaling(LossScaling::new());
    }
    (loss, optimizer.minimize(loss).update)
}

/// How many dispatches it takes, and the bytes of its values if none shared room.
fn figures(graph: &Graph, loss: Tensor<'_>, update: Update<'_>, target: Target) -> (usize, u64) {
    let def = graph.finish().unwrap();
    let program = compile(&def, &[loss.id()], &[update.id()], target).unwrap();
    for step in &program.steps {
        let Step::Dispatch(dispatch) = step else { continue };
        assert!(dispatch.bindings.len() <= target.storage_buffers, "{}", dispatch.label);
    }
    (program.steps.len(), program.memory.unshared)
}

#[test]
fn activations_dropout_and_loss_scaling_cost_no_dispatch() {
    // With the 8 buffers that any device has.
    let gpu = Target { storage_buffers: 8, in_place: false, ..Target::GPU };
    let software = Target { is_cpu: true, subgroup_size: Some(8), storage_buffers: 16, ..gpu };
    for activation in 0..5 {
        for (dropout, scaling) in [(false, false), (false, true), (true, false), (true, true)] {
            let graph = Graph::new();
            let (loss, update) = classifier(&graph, activation, dropout, scaling);
            let of = |target| figures(&graph, loss, update, target);
            let what = format!("activation {activation}, {dropout}, {scaling}");
            let (on_gpu, on_software) = (of(gpu), of(software));
            // With loss scaling an update binds ten buffers, so there the counters are a third dispatch.
            let most = 12 + usize::from(scaling);
            let fits = on_gpu.0 <= most && on_software.0 <= 12;
            assert!(fits, "{what}: {on_gpu:?} {on_software:?}");
            let apart = of(Target { keeps: false, ..gpu });
            // Each layer's activation, if its gradient reads what entered it, mask and product with it.
            let others = usize::from(activation >= 3) + 2 * usize::from(dropout);
            assert!(apart.0 >= on_gpu.0 + others, "{what}: {apart:?} {on_gpu:?}");
            // A GPU draws a mask again rather than keep it.
            let masks = if dropout { 4 * 64 * (128 + 64) } else { 0 };
            assert_eq!(on_gpu.1 + masks, on_software.1, "{what}");
            // The update alone takes seven buffers.
            let few = of(Target { storage_buffers: 7, ..gpu });
            assert!((on_gpu.0..=apart.0).contains(&few.0), "{what}: {few:?}");
        }
    }
}

/// Many values of one chain that are all asked for are stored by few kernels.
#[test]
fn a_chain_of_fetches_is_cut_in_few_rounds() {
    let graph = Graph::new();
    let x = graph.placeholder("x", [64], DType::F32);
    let mut chain = vec![x];
    (0..200).for_each(|at| chain.push(chain[at].tanh()));
    let fetches: Vec<NodeId> = chain[1..].iter().map(|tensor| tensor.id()).collect();
    let def = graph.finish().unwrap();
    for buffers in [4, 8, 16] {
        let target = Target { storage_buffers: buffers, ..Target::GPU };
        let program = compile(&def, &fetches, &[], target).unwrap();
        let count = program.steps.len();
        assert!(count >= 200 / buffers && count <= 102, "{buffers} buffers: {count}");
    }
}

/// Layers with whatever reads what they compute: gradients, the layer after next, fetches.
fn random_graph<'g>(graph: &'g Graph, seed: u64) -> (Vec<Tensor<'g>>, Update<'g>) {
    let mut dice = Dice(Philox::new(seed, "graphs that keep"), 0);
    let extents = [1, 3, 17, 32, 65];
    let (rows, width) = (extents[dice.below(5)], extents[dice.below(5)]);
    let x = graph.placeholder("x", [rows, width], DType::F32);
    let mut values = vec![x];
    let mut fetches = Vec::new();
    for layer in 0..2 + dice.below(5) {
        let last = values[values.len() - 1];
        let other = values[values.len() - 1 - dice.below(values.len().min(3))];
        let scope = graph.scope(&format!("layer{layer}"));
        let hidden = match dice.below(6) {
            0 => scope.linear(last, width) + other,
            1 => scope.scope("gate").linear(last, width).silu() * scope.linear(other, width),
            2 => scope.layer_norm(last, 1e-5),
            3 => last.transpose(&[1, 0]).transpose(&[1, 0]) * other,
            _ => scope.linear(last, width),
        };
        let value = activated(hidden, dice.below(5));
        let value = match dice.below(3) {
            0 => value.dropout(&format!("dropout{layer}"), 0.3),
            1 => value + hidden * 0.5,
            _ => value,
        };
        if dice.below(3) == 0 {
            fetches.push(if dice.below(2) == 0 { hidden } else { value });
        }
        values.push(value);
    }
    let labels = graph.placeholder("labels", [rows], DType::I32);
    let last = values[values.len() - 1];
    let loss = graph.scope("out").linear(last, 3).softmax_cross_entropy_smoothed(labels, 0.1);
    fetches.push(loss);
    let scaling = LossScaling::new().initial_scale(1024.0);
    let optimizer = Optimizer::sgd(0.01).clip_global_norm(1.0).loss_scaling(scaling);
    (fetches, optimizer.minimize(loss).update)
}

/// What is fetched in two runs, all variables after them, and how many dispatches that takes.
fn trained(
    gpu: &Gpu,
    graph: &Graph,
    fetches: &[Tensor<'_>],
    update: Update<'_>,
    target: Target,
) -> (Vec<Vec<f64>>, usize) {
    let mut session = Session::new(gpu);
    let plan = session.compile_for(graph, fetches, &[update], target).unwrap();
    session.initialize_missing(5).unwrap();
    let shape = graph.finish().unwrap().nodes[0].shape.clone();
    let random = Philox::new(5, "inputs");
    let x: Vec<f32> = (0..shape.elements() as u64)
        .map(|at| (random.word(at) >> 8) as f32 / (1 << 23) as f32 - 1.0)
        .collect();
    let labels: Vec<i32> = (0..shape[0] as i32).map(|row| row % 3).collect();
    let x = TensorData::new(shape, x).unwrap();
    let mut found = Vec::new();
    for _ in 0..2 {
        let feeds = [("x", (&x).into()), ("labels", (&labels).into())];
        let outputs = session.run(&plan, &feeds).unwrap();
        found.extend(fetches.iter().map(|tensor| outputs.tensor(*tensor).unwrap().to_f64()));
    }
    let names: Vec<String> = session.variables().iter().map(|info| info.name().into()).collect();
    found.extend(names.iter().map(|name| session.read(name).unwrap().to_f64()));
    (found, plan.dispatches().len())
}

fn gpu() -> Gpu {
    Gpu::with(&GpuOptions { tune: Some(Tune::Off), ..Default::default() }).unwrap()
}

/// Numbers stored on the way, or drawn again, are those that were stored by kernels of their own.
#[test]
fn layers_are_trained_to_the_same_bits() {
    let gpu = gpu();
    let own = Target::of(&gpu);
    for activation in 0..5 {
        for target in [own, Target { is_cpu: false, ..own }] {
            let graph = Graph::new();
            let (loss, update) = classifier(&graph, activation, true, true);
            let with = |target| trained(&gpu, &graph, &[loss], update, target);
            let (expected, apart) = with(Target { keeps: false, ..target });
            let (found, together) = with(target);
            let few = Target { storage_buffers: 7, ..target };
            assert!(found == expected, "activation {activation}, {target:?}: other bits");
            assert!(with(few).0 == expected, "activation {activation}, {few:?}: other bits");
            assert!(together < apart);
        }
    }
}

/// Layers whose products are of `f16`, with odd extents, and what else reads their results.
fn in_f16<'g>(graph: &'g Graph, rows: usize, width: usize) -> (Vec<Tensor<'g>>, Update<'g>) {
    let x = graph.placeholder("x", [rows, width], DType::F32);
    let labels = graph.placeholder("labels", [rows], DType::I32);
    let (hidden, logits) = graph.root().compute_f16(|scope| {
        let hidden = scope.scope("fc1").linear(x, 13).relu();
        let normal = scope.scope("ln").layer_norm(scope.scope("fc2").linear(hidden, 7), 1e-5);
        let vector = scope.scope("fc3").linear(normal.tanh(), 1).sigmoid();
        (hidden, scope.scope("out").linear(vector * normal.gelu(), 3))
    });
    let loss = logits.softmax_cross_entropy(labels);
    let update = Optimizer::adam(1e-3).loss_scaling(LossScaling::new()).minimize(loss).update;
    (vec![hidden, loss], update)
}

#[test]
fn what_is_rounded_on_the_way_has_the_same_bits() {
    let gpu = gpu();
    let own = Target { has_f16: gpu.widens_f16().unwrap(), ..Target::of(&gpu) };
    for (rows, width) in [(1, 5), (17, 31), (33, 66)] {
        for target in [own, Target { is_cpu: false, ..own }] {
            let graph = Graph::new();
            let (fetches, update) = in_f16(&graph, rows, width);
            let with = |target| trained(&gpu, &graph, &fetches, update, target);
            let (expected, apart) = with(Target { has_f16: false, ..target });
            let (found, together) = with(target);
            assert!(found == expected, "{rows} x {width}, {target:?}: other bits");
            assert!(!own.has_f16 || together + 3 <= apart, "{together} dispatches, not {apart}");
        }
    }
}

/// A driver may round what is one expression otherwise than its parts, so that the last bits differ.
#[test]
fn random_graphs_are_trained_alike() {
    let gpu = gpu();
    let own = Target::of(&gpu);
    let seeds = if std::env::var_os("WARMSTART_TEST_LONG").is_some() { 300 } else { 12 };
    let mut saved = 0;
    for seed in 0..seeds {
        for target in [own, Target { is_cpu: false, ..own }] {
            let graph = Graph::new();
            let (fetches, update) = random_graph(&graph, seed);
            let with = |target| trained(&gpu, &graph, &fetches, update, target);
            let (expected, apart) = with(Target { keeps: false, ..target });
            for buffers in [own.storage_buffers, 8] {
                let (found, together) = with(Target { storage_buffers: buffers, ..target });
                for (at, (found, expected)) in found.iter().zip(&expected).enumerate() {
                    let near = |(x, y): (&f64, &f64)| (x - y).abs() <= 1e-4 * y.abs().max(1.0);
                    let all = found.iter().zip(expected).all(near);
                    assert!(all, "seed {seed}, {target:?}, {buffers} buffers: result {at}");
                }
                if buffers == own.storage_buffers {
                    assert!(together <= apart, "seed {seed}: {together} dispatches, not {apart}");
                    saved += apart - together;
                }
            }
        }
    }
    assert!(saved as u64 > 4 * seeds, "{saved} dispatches");
}
