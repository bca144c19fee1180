//! Mixed precision: how many dispatches a step takes, and what is rounded together.

use super::half_tests::with_and_without;
use super::product_tests::{gpu, numbers, targets};
use super::slices_tests::dispatches;
use super::*;
use crate::compile::compile;
use warmstart_graph::reference::Reference;
use warmstart_graph::{LossScaling, NodeId, Optimizer, TensorData, gradients};

/// Beside the 12 of `f32`, as they are: one kernel rounds the batch and all weights, and one the gradient of
/// the loss. Each bias's gradient is computed with that of its weight, of the same numbers. Without `f16` on
/// the device, four more round what products computed.
#[test]
fn a_step_of_three_layers_in_f16_is_fourteen_dispatches() {
    let software = Target { is_cpu: true, subgroup_size: Some(8), ..Target::GPU };
    for (target, has_f16) in [Target::GPU, software].map(|t| [(t, true), (t, false)]).concat() {
        for storage_buffers in [8, 16] {
            let graph = Graph::new();
            let x = graph.placeholder("x", [64, 64], DType::F32);
            let labels = graph.placeholder("labels", [64], DType::I32);
            let logits = graph.root().compute_f16(|scope| {
                let hidden = scope.scope("fc1").linear(x, 128).relu();
                let hidden = scope.scope("fc2").linear(hidden, 64).relu();
                scope.scope("fc3").linear(hidden, 10)
            });
            let loss = logits.softmax_cross_entropy(labels);
            let adam = Optimizer::adam(1e-2).clip_global_norm(1.0);
            let step = adam.loss_scaling(LossScaling::new()).minimize(loss);
            let def = graph.finish().unwrap();
            let target = Target { has_f16, storage_buffers, ..target };
            let program = compile(&def, &[loss.id()], &[step.update.id()], target).unwrap();
            let labels = dispatches(&program, target);
            // Where few buffers are bound, the counters, of which loss scaling has more, are raised apart.
            let apart = usize::from(storage_buffers < 10);
            let most = if has_f16 { 14 } else { 18 } + apart;
            assert!(labels.len() <= most, "{target:?}: {labels:#?}");
            assert!(labels.contains(&"cast, cast, cast, cast"), "{labels:#?}");
            let with_bias = labels.iter().filter(|label| label.starts_with("matmul, sum"));
            assert_eq!(with_bias.count(), 3, "{target:?}: {labels:#?}");
        }
    }
}

/// What a device has computed, and the twin.
type Both = (Vec<f64>, Vec<f64>);

/// What a device computes of some tensors that depend on `x` and variables, each beside what the twin does.
fn both(
    gpu: &Gpu,
    graph: &Graph,
    fetches: &[Tensor<'_>],
    target: Target,
    shape: [usize; 2],
) -> (Plan, Vec<Both>) {
    let def = graph.finish().unwrap();
    let mut session = Session::new(gpu);
    let plan = session.compile_for(graph, fetches, &[], target).unwrap();
    session.initialize_missing(5).unwrap();
    let data = TensorData::new(shape, numbers(shape.iter().product(), 9)).unwrap();
    let mut reference = Reference::new(&def);
    reference.feed("x", &data);
    for variable in session.variables().iter() {
        reference.assign(variable.name(), &session.read(variable.name()).unwrap());
    }
    let outputs = session.run(&plan, &[("x", (&data).into())]).unwrap();
    let ids: Vec<NodeId> = fetches.iter().map(|fetch| fetch.id()).collect();
    let expected = reference.run(&ids).unwrap().into_iter().map(|value| value.elements);
    let found = fetches.iter().map(|&fetch| outputs.tensor(fetch).unwrap().to_f64());
    (plan, found.zip(expected).collect())
}

/// Gradients of layers in `f16`, those of biases too, are the twin's, by each kind of kernel for all shapes.
#[test]
fn gradients_in_f16_follow_the_twin() {
    let gpu = gpu();
    for target in targets(&gpu).into_iter().flat_map(|target| with_and_without(&gpu, target)) {
        for [rows, inputs, units] in
            [[1, 5, 3], [33, 17, 9], [64, 64, 64], [70, 3, 130], [900, 8, 4]]
        {
            let graph = Graph::new();
            let x = graph.placeholder("x", [rows, inputs], DType::F32);
            let loss = graph.root().compute_f16(|scope| {
                let hidden = scope.scope("fc1").linear(x, units).tanh();
                scope.scope("fc2").linear(hidden, units).square().mean_all()
            });
            let names = ["fc1/weight", "fc1/bias", "fc2/weight", "fc2/bias"];
            let of = names.map(|name| graph.get_variable(name).unwrap());
            let slopes: Vec<Tensor<'_>> = gradients(loss, &of).into_iter().flatten().collect();
            let (_, both) = both(&gpu, &graph, &slopes, target, [rows, inputs]);
            for (at, (found, expected)) in both.iter().enumerate() {
                let largest = expected.iter().fold(0.0f64, |most, x| most.max(x.abs()));
                for (place, (found, expected)) in found.iter().zip(expected).enumerate() {
                    // A value next to a tie may be rounded the other way, and is off by 2^-11 then.
                    assert!(
                        (found - expected).abs() <= 1e-3 * largest,
                        "{} [{rows}, {inputs}] to {units}, {target:?}: {place} is {found}, not {expected}",
                        names[at]
                    );
                }
            }
        }
    }
}

/// Where a weight is frozen, nothing of its bias' gradient is rounded: not to 0 either, as what is too small
/// for `f16` is where the weight's kernel adds it up.
#[test]
fn the_gradient_of_a_bias_of_a_frozen_weight_is_not_rounded() {
    let gpu = gpu();
    for target in targets(&gpu).into_iter().flat_map(|target| with_and_without(&gpu, target)) {
        for [rows, inputs, units] in [[1, 5, 3], [33, 17, 9], [64, 64, 64], [900, 8, 130]] {
            for is_frozen in [true, false] {
                let graph = Graph::new();
                let x = graph.placeholder("x", [rows, inputs], DType::F32);
                let out = graph.root().compute_f16(|scope| scope.scope("fc").linear(x, units));
                let loss = out.square().mean_all() * 2f32.powi(-30);
                let names = ["fc/bias", "fc/weight"];
                let of = names.map(|name| graph.get_variable(name).unwrap());
                let of = if is_frozen { &of[..1] } else { &of[..] };
                let slopes: Vec<Tensor<'_>> = gradients(loss, of).into_iter().flatten().collect();
                let (plan, both) = both(&gpu, &graph, &slopes, target, [rows, inputs]);
                let (found, expected) = &both[0];
                let what = format!("[{rows}, {inputs}] to {units}, {target:?}");
                let largest = expected.iter().fold(0.0f64, |most, x| most.max(x.abs()));
                assert_eq!(largest > 0.0, is_frozen, "{what}: {largest}");
                for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
                    assert!(
                        (found - expected).abs() <= 1e-4 * largest,
                        "{what}: {at} is {found}, not {expected}\n{plan}"
                    );
                }
            }
        }
    }
}

/// Of any length, odd ones too, more than one kernel binds, and beside what is rounded otherwise.
#[test]
fn what_is_rounded_together_is_rounded_as_alone() {
    let gpu = gpu();
    for target in targets(&gpu).map(|target| Target { storage_buffers: 8, ..target }) {
        let graph = Graph::new();
        let lengths = [1, 7, 64, 129, 1000, 3, 2, 70_001, 5];
        let values: Vec<TensorData> = (0..lengths.len())
            .map(|at| TensorData::new([lengths[at]], numbers(lengths[at], at as u64)).unwrap())
            .collect();
        let names: Vec<String> = (0..lengths.len()).map(|at| format!("x{at}")).collect();
        let mut rounded = Vec::new();
        for (at, name) in names.iter().enumerate() {
            let x = graph.placeholder(name, [lengths[at]], DType::F32);
            let dtype = if at % 3 == 2 { DType::Bf16 } else { DType::F16 };
            rounded.push(x.cast(dtype).cast(DType::F32));
        }
        rounded.push((rounded[0] * 3.0).cast(DType::F16).cast(DType::F32));
        let mut session = Session::new(&gpu);
        let plan = session.compile_for(&graph, &rounded, &[], target).unwrap();
        // Four and four of nine.
        let together = "cast, cast, cast, cast";
        let groups = plan.dispatches().into_iter().filter(|info| info.operations == together);
        assert_eq!(groups.count(), 2, "{plan}");
        let def = graph.finish().unwrap();
        let mut reference = Reference::new(&def);
        names.iter().zip(&values).for_each(|(name, value)| reference.feed(name, value));
        let feeds: Vec<_> =
            names.iter().zip(&values).map(|(name, value)| (name.as_str(), value.into())).collect();
        let outputs = session.run(&plan, &feeds).unwrap();
        let ids: Vec<NodeId> = rounded.iter().map(|tensor| tensor.id()).collect();
        for (tensor, expected) in rounded.iter().zip(reference.run(&ids).unwrap()) {
            let found = outputs.tensor(*tensor).unwrap().to_f64();
            assert_eq!(found, expected.elements, "{tensor}");
        }
    }
}
