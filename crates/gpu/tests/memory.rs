//! The memory of a plan: little more than the least, and nothing that is needed is written over.

mod common;

use warmstart_gpu::Session;
use warmstart_graph::reference::{Reference, Value};
use warmstart_graph::{DType, Graph, Initializer, Optimizer, TensorData};

/// Layers that narrow, so that what one layer leaves is too small for another: their values lie side
/// by side.
#[test]
fn values_side_by_side_are_not_written_over() {
    const WIDTHS: [usize; 7] = [30, 20, 15, 10, 5, 3, 1];
    const BATCH: usize = 1000;
    let graph = Graph::new();
    let mut x = graph.placeholder("x", [BATCH, WIDTHS[0]], DType::F32);
    for (layer, &units) in WIDTHS[1..].iter().enumerate() {
        x = graph.scope(&format!("fc{layer}")).linear(x, units).tanh();
    }
    let loss = x.square().mean_all();
    let update = Optimizer::sgd(0.5).clip_global_norm(0.1).minimize(loss).update;
    let mut session = Session::new(&common::gpu());
    let plan = session.compile(&graph, &[loss], &[update]).unwrap();
    session.initialize_missing(5).unwrap();

    let def = graph.finish().unwrap();
    let mut reference = Reference::new(&def);
    let value = |index: usize| ((index * 37 % 101) as f32 - 50.0) / 50.0;
    let inputs: Vec<f32> = (0..BATCH * WIDTHS[0]).map(value).collect();
    let inputs = TensorData::new([BATCH, WIDTHS[0]], inputs).unwrap();
    reference.feed("x", &inputs);
    let names: Vec<String> =
        session.variables().iter().map(|info| info.name().to_owned()).collect();
    for name in &names {
        reference.assign(name, &session.read(name).unwrap());
    }
    for step in 0..3 {
        let found = session.run(&plan, &[("x", (&inputs).into())]).unwrap().scalar(loss).unwrap();
        let expected = reference.run(&[loss.id(), update.id()]).unwrap()[0].elements[0];
        assert!(
            (f64::from(found) - expected).abs() <= 1e-5 * expected,
            "{step}: {found} {expected}"
        );
    }
    for name in &names {
        let found = session.read(name).unwrap().to_f64();
        let Value { elements, .. } = reference.variable(name).unwrap();
        for (found, expected) in found.iter().zip(elements) {
            assert!((found - expected).abs() <= 1e-5, "{name}: {found} and not {expected}");
        }
    }
    // Apart they would take 1.23 times the least.
    let memory = plan.memory();
    assert!(memory.values as f64 <= 1.1 * memory.values_least as f64, "{plan}");
    let text = plan.to_string();
    assert!(text.contains("times the least possible"), "{text}");
}

/// A plan that only updates has no values at all.
#[test]
fn a_plan_without_values_takes_the_least() {
    let graph = Graph::new();
    let a = graph.variable("a", [4], Initializer::Zeros);
    let x = graph.placeholder("x", [4], DType::F32);
    let mut session = Session::new(&common::gpu());
    let plan = session.compile(&graph, &[], &[x.assign_to(a)]).unwrap();
    assert_eq!(plan.memory().values_least, plan.memory().values);
    assert!(plan.to_string().contains("1.00 times the least possible"), "{plan}");
}
