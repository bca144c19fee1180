//! Values kept as `f16` for the gradient, and what is stored as `f16` at all.

mod common;

use half::{bf16, f16};
use warmstart_gpu::{Plan, Session};
use warmstart_graph::reference::Reference;
use warmstart_graph::{
    DType, Graph, Initializer, NodeId, Optimizer, Scope, Tensor, TensorData, TrainStep,
};

/// Ties, subnormal numbers, both ends of the range, and an odd number of them.
#[test]
fn rounding_is_the_hosts() {
    let mut values: Vec<f32> = (0..0x7c00u16)
        .step_by(61)
        .flat_map(|bits| {
            let (low, high) = (f16::from_bits(bits).to_f32(), f16::from_bits(bits + 1).to_f32());
            let middle = (low + high) / 2.0;
            [low, -low, middle, -middle, middle.next_up(), middle.next_down()]
        })
        .collect();
    values.extend([65_504.0, 65_519.0, 65_520.0, 1e30, f32::INFINITY, -1e-10, 0.0, -0.0]);
    // And the same places of bf16.
    values.extend((0..0x7f80u16).step_by(61).flat_map(|bits| {
        let (low, high) = (bf16::from_bits(bits).to_f32(), bf16::from_bits(bits + 1).to_f32());
        let middle = f32::from_bits(low.to_bits() + 0x8000);
        [low, high, middle, -middle, middle.next_up(), middle.next_down()]
    }));
    values.extend([f32::MAX, f32::MIN, f32::NEG_INFINITY]);
    assert!(!values.len().is_multiple_of(2));
    let count = values.len();
    for (dtype, round) in [
        (DType::F16, (|x| f16::from_f32(x).to_bits()) as fn(f32) -> u16),
        (DType::Bf16, |x| bf16::from_f32(x).to_bits()),
    ] {
        let graph = Graph::new();
        let x = graph.placeholder("x", [count], DType::F32);
        let rounded = x.cast(dtype);
        let turned = rounded.reshape([count, 1]).transpose(&[1, 0]).cast(DType::F32);
        let held = graph.root().state_of("held", [count], dtype, Initializer::Zeros);
        let update = rounded.assign_to(held);
        let mut session = Session::new(&common::gpu());
        let plan = session.compile(&graph, &[turned], &[update]).unwrap();
        session.initialize_missing(1).unwrap();
        let outputs = session.run(&plan, &[("x", (&values).into())]).unwrap();
        let found = outputs.tensor(turned).unwrap();
        let expected: Vec<u8> = values.iter().flat_map(|&x| round(x).to_le_bytes()).collect();
        assert_eq!(common::bytes_of(&session, "held"), expected);
        let expected = TensorData::from_le_bytes([count], dtype, &expected).unwrap().to_f64();
        let found: Vec<u64> = found.to_f64().iter().map(|x| x.to_bits()).collect();
        assert_eq!(found, expected.iter().map(|x| x.to_bits()).collect::<Vec<_>>());
    }
}

const BATCH: usize = 256;
const UNITS: usize = 32;

/// Layers of which every second one has another activation, whose gradient reads something else.
fn deep<'g>(graph: &'g Graph, kept: bool) -> (Tensor<'g>, TrainStep<'g>) {
    let mut x = graph.placeholder("x", [BATCH, UNITS], DType::F32);
    let labels = graph.placeholder("labels", [BATCH], DType::I32);
    for layer in 0..12 {
        let scope = graph.scope(&format!("fc_{layer}"));
        let build = |scope: &Scope<'g>| {
            let hidden = scope.linear(x, UNITS);
            if layer % 2 == 0 { hidden.relu() } else { hidden.silu() }
        };
        x = if kept { scope.keep_f16(build) } else { build(&scope) };
    }
    let loss = graph.scope("out").linear(x, 10).softmax_cross_entropy(labels).mean_all();
    (loss, Optimizer::adam(1e-3).minimize(loss))
}

fn feeds() -> [(&'static str, TensorData); 2] {
    let value = |index: usize| ((index * 37 % 101) as f32 - 50.0) / 50.0;
    let x: Vec<f32> = (0..BATCH * UNITS).map(value).collect();
    let labels: Vec<i32> = (0..BATCH as i32).map(|row| row * 7 % 10).collect();
    let x = TensorData::new([BATCH, UNITS], x).unwrap();
    [("x", x), ("labels", TensorData::new([BATCH], labels).unwrap())]
}

#[test]
fn twelve_layers_take_less_memory_and_the_gradient_is_that_of_rounded_values() {
    let gpu = common::gpu();
    let course = |kept: bool| -> (Vec<f32>, Vec<TensorData>, Plan) {
        let graph = Graph::new();
        let (loss, step) = deep(&graph, kept);
        let gradients: Vec<Tensor<'_>> = step.gradients.iter().map(|(_, g)| *g).collect();
        let mut session = Session::new(&gpu);
        let plan = session.compile(&graph, &[loss], &[step.update]).unwrap();
        let looked = session.compile(&graph, &gradients, &[]).unwrap();
        session.initialize_missing(3).unwrap();
        let fed = feeds();
        let fed: Vec<_> = fed.iter().map(|(name, value)| (*name, value.into())).collect();
        let outputs = session.run(&looked, &fed).unwrap();
        let found: Vec<TensorData> =
            gradients.iter().map(|&g| outputs.tensor(g).unwrap()).collect();
        if kept {
            let def = graph.finish().unwrap();
            let mut reference = Reference::new(&def);
            feeds().iter().for_each(|(name, value)| reference.feed(name, value));
            for info in session.variables().iter() {
                reference.assign(info.name(), &session.read(info.name()).unwrap());
            }
            let ids: Vec<NodeId> = gradients.iter().map(|gradient| gradient.id()).collect();
            let expected = reference.run(&ids).unwrap();
            for (((name, _), found), expected) in step.gradients.iter().zip(&found).zip(expected) {
                let found = found.to_f64();
                let largest = expected.elements.iter().fold(0.0f64, |most, x| most.max(x.abs()));
                // A value next to a tie may round the other way in f32 and f64, and is off by 2⁻¹¹
                // then. Were it all of them, sums over the batch would be off by as much.
                for (found, expected) in found.iter().zip(&expected.elements) {
                    let off = (found - expected).abs() / largest;
                    assert!(off < 5e-4, "{name}: {found} and not {expected}");
                }
            }
        }
        let run = |_| session.run(&plan, &fed).unwrap().scalar(loss).unwrap();
        let losses = (0..5).map(run).collect();
        (losses, found, plan)
    };
    let (plain_losses, plain_gradients, plain) = course(false);
    let (losses, gradients, kept) = course(true);
    assert_eq!(losses[0].to_bits(), plain_losses[0].to_bits(), "forward nothing is rounded");
    assert_ne!(gradients, plain_gradients, "for the gradient it is");
    for (loss, plain) in losses.iter().zip(&plain_losses) {
        assert!((loss - plain).abs() < 1e-3, "{losses:?} {plain_losses:?}");
    }
    assert!(losses[4] < losses[0], "it trains");
    // Only rounding takes kernels, of what a layer of `relu` gives, and one of `silu` reads and gives.
    let all = kept.dispatches();
    let casts = all.iter().filter(|info| info.operations.contains("cast"));
    assert_eq!(casts.count(), 6 + 2 * 6, "{kept}");
    let (all, less) = (plain.memory(), kept.memory());
    assert!(less.values_least * 4 <= all.values_least * 3, "{kept}\n\n{plain}");
    assert!(less.values * 4 <= all.values * 3, "{kept}\n\n{plain}");
}

/// The gradient of a maximum asks for it anew; where nothing is marked, it is the one that is there.
#[test]
fn a_maximum_is_computed_once() {
    let gpu = common::gpu();
    let maxima = |kept: bool| {
        let graph = Graph::new();
        let x = graph.variable("x", [8, 16], Initializer::GlorotUniform);
        let hidden = if kept { graph.root().keep_f16(|_| x.tanh()) } else { x.tanh() };
        let loss = hidden.reduce_max(&[1]).square().sum_all();
        let gradient = warmstart_graph::gradients(loss, &[x])[0].unwrap();
        let mut session = Session::new(&gpu);
        let plan = session.compile(&graph, &[loss, gradient], &[]).unwrap();
        let all = plan.dispatches();
        all.iter().map(|info| info.operations.matches("reduce_max").count()).sum::<usize>()
    };
    assert_eq!([maxima(false), maxima(true)], [1, 2]);
}
