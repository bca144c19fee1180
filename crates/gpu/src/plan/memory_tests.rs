//! What a plan is told to take is what is taken for it.

use super::*;
use crate::compile::WIDEST;
use crate::device::gpu::GpuOptions;
use crate::tune::Tune;
use warmstart_graph::{Initializer, Optimizer, Scope, TensorData};

const ROWS: usize = 37;

/// Feeds of several sizes, a constant, parameters of more and less than a block, and one of no elements.
fn loss(graph: &Graph, is_mixed: bool) -> Tensor<'_> {
    fn layers<'g>(scope: &Scope<'g>, x: Tensor<'g>) -> Tensor<'g> {
        let hidden = scope.scope("fc1").linear(x, 1030).gelu().dropout("fc1", 0.5);
        scope.scope("fc2").linear(hidden, 3)
    }
    let x = graph.placeholder("x", [ROWS, 5], DType::F32);
    let pixels = graph.placeholder("pixels", [ROWS, 5], DType::U8);
    let labels = graph.placeholder("labels", [ROWS], DType::I32);
    let constant: Vec<f32> = (0..5).map(|at| at as f32).collect();
    let constant = graph.constant(TensorData::new([5], constant).unwrap());
    let x = x * constant + pixels.cast(DType::F32);
    let logits = match is_mixed {
        true => graph.root().compute_f16(|scope| layers(scope, x)),
        false => layers(&graph.root(), x),
    };
    let nothing = graph.variable("nothing", [0], Initializer::Zeros);
    logits.softmax_cross_entropy(labels) + nothing.sum_all()
}

/// The buffers of a plan are made once more, so that the variables are there already, and the device is
/// asked how many bytes they had.
#[test]
fn what_is_told_is_taken() {
    let options = GpuOptions { tune: Some(Tune::Off), ..Default::default() };
    let gpu = Gpu::with(&options).unwrap();
    let clipped = |optimizer: Optimizer| optimizer.clip_global_norm(1.0);
    // What is bound in place of slots that a rule has not is not told: nobody knows beforehand how many
    // arenas the parameters will be in.
    for (optimizer, no_slots) in [
        (None, 0),
        (Some(clipped(Optimizer::adam(0.1))), 0),
        (Some(clipped(Optimizer::adamw(0.1)).gradient_accumulation_steps(2)), 0),
        (Some(Optimizer::sgd(0.1).momentum(0.9)), 1),
        (Some(Optimizer::sgd(0.1)), 2),
    ] {
        for is_mixed in [false, true] {
            for arenas in [1, 2] {
                let graph = Graph::new();
                let loss = loss(&graph, is_mixed);
                let update = optimizer.as_ref().map(|rule| rule.minimize(loss).update);
                let updates = update.as_slice();
                let mut session = Session::new(&gpu);
                if arenas == 2 {
                    let def = graph.finish().unwrap();
                    let of_first = |variable: &&warmstart_graph::Variable| {
                        variable.name.contains("fc1/weight")
                    };
                    let first: Vec<_> = def.variables.iter().filter(of_first).cloned().collect();
                    session.declare(&first).unwrap();
                }
                let what = format!("{optimizer:?}, {is_mixed}, {arenas} arenas");
                // What the device makes of `f16` is tried out here, once.
                drop(session.compile(&graph, &[loss], updates).unwrap());
                let before = gpu.count();
                let told = session.plan_memory(&graph, &[loss], updates).unwrap();
                assert_eq!(gpu.count(), before, "{what}: nothing is asked of the device");
                let plan = session.compile(&graph, &[loss], updates).unwrap();
                let taken = (gpu.count() - before).bytes;
                assert_eq!(told, plan.memory(), "{what}: {plan}");
                let untold = no_slots * arenas * WIDEST;
                assert_eq!(taken, told.peak() + told.staging + untold, "{what}: {plan}");
            }
        }
    }
}
