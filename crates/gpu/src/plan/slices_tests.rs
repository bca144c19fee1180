//! Steps of training whose weights' gradients are cut in slices: how many dispatches they take, and that
//! they are the twin's.

use super::product_tests::{gpu, numbers, targets};
use super::*;
use crate::compile::{Program, Step, compile};
use warmstart_graph::reference::Reference;
use warmstart_graph::{Optimizer, TensorData, TrainStep};

/// Three layers of these widths, trained with clipping.
fn three_layers<'g>(
    graph: &'g Graph,
    rows: usize,
    [inputs, first, second, classes]: [usize; 4],
    optimizer: &Optimizer,
) -> (Tensor<'g>, TrainStep<'g>) {
    let x = graph.placeholder("x", [rows, inputs], DType::F32);
    let labels = graph.placeholder("labels", [rows], DType::I32);
    let hidden = graph.scope("fc1").linear(x, first).relu();
    let hidden = graph.scope("fc2").linear(hidden, second).relu();
    let loss = graph.scope("fc3").linear(hidden, classes).softmax_cross_entropy(labels);
    (loss, optimizer.minimize(loss))
}

/// What is dispatched, if the variables of all lie together.
pub(super) fn dispatches(program: &Program, target: Target) -> Vec<&str> {
    let labels = program.steps.iter().flat_map(|step| match step {
        Step::Dispatch(dispatch) => vec![dispatch.label.as_str()],
        Step::Optimizer(step) if step.counts_along(target.storage_buffers) => vec!["adam"],
        Step::Optimizer(_) => vec!["adam", "counters of adam"],
    });
    labels.collect()
}

/// However large the batch.
#[test]
fn a_step_of_three_layers_is_fourteen_dispatches_at_most() {
    let software = Target { is_cpu: true, subgroup_size: Some(8), ..Target::GPU };
    let plain = Target { subgroup_size: None, ..software };
    let optimizer = Optimizer::adam(1e-2).clip_global_norm(1.0);
    let mut sliced = 0;
    for widths in [[64, 128, 64, 10], [784, 512, 256, 10], [16, 32, 32, 4]] {
        for rows in [8, 64, 128, 512, 1024, 4096] {
            for target in [software, plain, Target::GPU] {
                // With the fewest bindings that WebGPU has, too.
                for storage_buffers in [8, 16] {
                    let target = Target { storage_buffers, ..target };
                    let graph = Graph::new();
                    let (loss, step) = three_layers(&graph, rows, widths, &optimizer);
                    let def = graph.finish().unwrap();
                    let program = compile(&def, &[loss.id()], &[step.update.id()], target).unwrap();
                    let labels = dispatches(&program, target);
                    assert!(labels.len() <= 14, "{widths:?}, {rows} rows: {labels:#?}");
                    // Its sums and those of all others are added up by one kernel.
                    let slices = |label: &&&str| **label == "matmul, sum of slices";
                    sliced += usize::from(labels.iter().filter(slices).count() == 3);
                }
            }
        }
    }
    assert!(sliced >= 12, "{sliced}");
}

#[test]
fn a_step_with_gradients_of_slices_is_the_twins() {
    let gpu = gpu();
    // Of Adam's first step, little is left of a gradient but its sign.
    let optimizer = Optimizer::sgd(1.0).clip_global_norm(1.0);
    let own = targets(&gpu);
    let register = Target { subgroup_size: None, ..own[0] };
    for target in own.into_iter().chain([register]) {
        for (rows, fetched) in [(1437, false), (2048, false), (1437, true)] {
            let graph = Graph::new();
            let (loss, step) = three_layers(&graph, rows, [12, 20, 9, 4], &optimizer);
            let mut session = Session::new(&gpu);
            let gradients = step.gradients.iter().map(|&(_, gradient)| gradient);
            let gradients = gradients.filter(|_| fetched);
            let fetches: Vec<Tensor<'_>> = [loss].into_iter().chain(gradients).collect();
            let plan = session.compile_for(&graph, &fetches, &[step.update], target).unwrap();
            // What is fetched is added up by a kernel of its own.
            let added_up = plan.dispatches().iter().filter(|info| info.kernel == "slices").count();
            assert_eq!(added_up, usize::from(!fetched), "{plan}");
            session.initialize_missing(7).unwrap();
            let x = TensorData::new([rows, 12], numbers(rows * 12, 9)).unwrap();
            let labels: Vec<i32> = (0..rows as i32).map(|row| row % 4).collect();
            let labels = TensorData::new([rows], labels).unwrap();
            let def = graph.finish().unwrap();
            let mut reference = Reference::new(&def);
            for variable in &def.variables {
                reference.assign(&variable.name, &session.read(&variable.name).unwrap());
            }
            reference.feed("x", &x);
            reference.feed("labels", &labels);
            reference.run(&[loss.id(), step.update.id()]).unwrap();
            let feeds = [("x", (&x).into()), ("labels", (&labels).into())];
            session.run(&plan, &feeds).unwrap().wait().unwrap();
            for variable in &def.variables {
                let found = session.read(&variable.name).unwrap().to_f64();
                let expected = &reference.variable(&variable.name).unwrap().elements;
                for (found, expected) in found.iter().zip(expected) {
                    let name = &variable.name;
                    assert!((found - expected).abs() < 1e-4, "{name}: {found}, not {expected}");
                }
            }
        }
    }
}
