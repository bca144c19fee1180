//! Updates of parameters whose elements are no whole number of vectors, as software adapters and as GPUs
//! load them: with the same bits, and nothing beside them is touched.

use super::product_tests::gpu;
use super::*;
use warmstart_graph::{Initializer, Optimizer};

fn trained(gpu: &Gpu, target: Target, optimizer: &Optimizer) -> Vec<Vec<u8>> {
    let graph = Graph::new();
    let uniform = || Initializer::Uniform { low: -1.0, high: 1.0 };
    let variable = |name, shape: &[usize]| graph.variable(name, shape, uniform());
    let trained = [variable("a", &[7, 19]), variable("b", &[1]), variable("c", &[1030])];
    // Between them in memory, and not trained by this optimizer.
    let kept = variable("kept", &[3]);
    let last = variable("last", &[66]);
    let all = trained.iter().chain([&last]);
    let loss =
        all.map(|x| (x.square() * 0.5 + x.sin()).sum_all()).reduce(|sum, x| sum + x).unwrap();
    let step = optimizer.minimize_where(loss, |variable| variable.name != "kept");
    let mut session = Session::new(gpu);
    let plan = session.compile_for(&graph, &[loss, kept], &[step.update], target).unwrap();
    session.initialize_missing(5).unwrap();
    let before = session.read("kept").unwrap();
    for _ in 0..3 {
        session.run(&plan, &[]).unwrap().wait().unwrap();
    }
    assert_eq!(session.read("kept").unwrap(), before);
    let names: Vec<String> = session.variables().iter().map(|info| info.name().into()).collect();
    names.iter().map(|name| session.read(name).unwrap().to_le_bytes()).collect()
}

#[test]
fn updates_have_the_same_bits_however_they_are_loaded() {
    let gpu = gpu();
    let own = Target::of(&gpu);
    for optimizer in [
        Optimizer::adam(0.01),
        Optimizer::adamw(0.01).weight_decay(0.1),
        Optimizer::sgd(0.1),
        Optimizer::sgd(0.1).momentum(0.9).nesterov().weight_decay(0.01),
        Optimizer::adam(0.01).gradient_accumulation_steps(2),
        Optimizer::sgd(0.1).gradient_accumulation_steps(2),
    ] {
        let software = Target { is_cpu: true, ..own };
        let fours = trained(&gpu, Target { has_int64: false, ..software }, &optimizer);
        // Of a device without integers of 64 bits, fours again.
        let pairs = trained(&gpu, software, &optimizer);
        assert!(pairs == fours, "other bits: {optimizer:?}");
    }
}
