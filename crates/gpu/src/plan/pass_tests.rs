//! Plans whose dispatches are in several passes, as on a GPU, against those in one.

use super::product_tests::{gpu, numbers, targets};
use super::*;
use crate::run::steps::Steps;
use warmstart_graph::Optimizer;

/// The bits of all variables after five steps, one by one or in one submission, and the plan.
fn trained(gpu: &Gpu, target: Target, overlaps: bool, together: bool) -> (Vec<Vec<u8>>, Plan) {
    let graph = Graph::new();
    let x = graph.placeholder("x", [6, 8], DType::F32);
    let tower = |tower: usize| {
        (0..3)
            .fold(x, |x, layer| graph.scope(&format!("tower{tower}/fc{layer}")).linear(x, 8).tanh())
    };
    let loss = (tower(0) * tower(1) + tower(2)).square().mean_all();
    let step = Optimizer::adam(0.01).clip_global_norm(1.0).minimize(loss);
    let mut session = Session::new(gpu);
    let mut plan = session.compile_for(&graph, &[loss], &[step.update], target).unwrap();
    if !overlaps {
        plan.opens_pass.iter_mut().for_each(|opens| opens.fill(false));
    }
    session.initialize_missing(5).unwrap();
    let x = numbers(48, 3);
    let feeds = [("x", (&x).into())];
    if together {
        session.run_steps(&plan, &Steps::repeat(5).feeds(&feeds)).unwrap();
    } else {
        for _ in 0..5 {
            session.run(&plan, &feeds).unwrap().wait().unwrap();
        }
    }
    let names: Vec<String> = session.variables().iter().map(|info| info.name().into()).collect();
    let bits = names.iter().map(|name| session.read(name).unwrap().to_le_bytes()).collect();
    (bits, plan)
}

#[test]
fn passes_change_no_bit() {
    let gpu = gpu();
    let [software, target] = targets(&gpu);
    let (expected, plan) = trained(&gpu, target, false, false);
    for (overlaps, together) in [(true, false), (true, true), (false, true)] {
        let (bits, _) = trained(&gpu, target, overlaps, together);
        assert!(bits == expected, "other bits: {overlaps} {together}");
    }
    let (_, with_passes) = trained(&gpu, target, true, false);
    assert!(with_passes.opens_pass.iter().all(|opens| opens.contains(&true)), "{plan}");
    let (count, groups) = (plan.dispatches().len(), plan.dispatch_groups());
    assert!(groups * 3 < count * 2, "{plan}");
    assert!(plan.to_string().contains(&format!("{count} dispatches in {groups} groups")), "{plan}");
    // A software adapter has one pass, in which each first reader of a value waits.
    let (_, plan) = trained(&gpu, software, true, false);
    assert!(software.is_cpu && !plan.opens_pass.iter().any(|opens| opens.contains(&true)));
    assert!(groups < plan.dispatch_groups(), "{plan}");
}
