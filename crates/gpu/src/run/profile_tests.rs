use super::*;
use crate::origin::Origin;
use warmstart_graph::{DType, Graph, Optimizer};

/// Whoever gives up waiting has trained for all that, and what the plan uploads by is free.
#[test]
fn a_timed_run_has_trained_when_it_is_submitted() {
    let graph = Graph::new();
    let x = graph.placeholder("x", [2, 3], DType::F32);
    let loss = graph.scope("fc").linear(x, 4).square().mean_all();
    let step = Optimizer::sgd(0.1).minimize(loss);
    let mut session = Session::new(&Gpu::new().unwrap());
    let plan = session.compile(&graph, &[loss], &[step.update]).unwrap();
    session.initialize_missing(7).unwrap();
    let timing = match session.submit_timed(&plan, &[("x", (&[0.5f32; 6]).into())]) {
        Err(RunError::NoTimestamps) => return,
        timing => timing.unwrap(),
    };
    let origin = &session.variable("fc/weight").unwrap().origin;
    assert!(matches!(origin, Origin::Trained { .. }), "{origin}");
    assert!(plan.uploads.try_lock().is_ok(), "a lock is held while it runs");
    assert_eq!(timing.wait().unwrap().len(), plan.dispatches().len());
}
