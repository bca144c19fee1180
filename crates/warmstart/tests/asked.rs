//! What a run is asked for and cannot do is refused before it begins.

use std::fs;
use warmstart::TrainingError;
use warmstart::gpu::Origin;
use warmstart::prelude::*;

/// Begins a run of one layer that Adam trains, and says why not, if it is refused. Then nothing has changed:
/// neither the variables nor the directory.
fn refused(
    training: impl FnOnce(Training) -> Training,
    given: &Optimizer,
) -> Option<TrainingError> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let run = directory.path().join("run");
    let graph = Graph::new();
    let x = graph.placeholder("x", [2, 3], DType::F32);
    let loss = graph.scope("fc").linear(x, 4).square().mean_all();
    let step = Optimizer::adam(0.01).minimize(loss);
    let mut session = Session::new(&Gpu::new().expect("an adapter"));
    session.compile(&graph, &[loss], &[step.update]).expect("it compiles");
    let training = training(Training::new(&run).quiet());
    let error = training.begin(&mut session, &graph, given).err()?;
    assert!(fs::metadata(&run).is_err(), "{error}: the directory was made");
    let table = session.variables();
    let has_none = table.iter().all(|info| matches!(info.origin, Origin::Uninitialized(_)));
    assert!(has_none, "{error}: {table}");
    Some(error)
}

fn adam() -> Optimizer {
    Optimizer::adam(0.01)
}

#[test]
fn an_optimizer_that_did_not_build_the_training_is_refused() {
    for other in [
        Optimizer::sgd(0.01),
        adam().weight_decay(0.1),
        adam().betas(0.8, 0.999),
        adam().named("another"),
        adam().gradient_accumulation_steps(2),
        adam().loss_scaling(LossScaling::new()),
    ] {
        let error = refused(|training| training, &other).expect("it did not build it");
        let TrainingError::OtherOptimizer { location } = &error else { panic!("{error}") };
        assert!(location.to_string().contains("asked.rs:"), "{location}");
        assert!(
            error.to_string().contains("Give the optimizer whose `minimize` was called"),
            "{error}"
        );
    }
    let none = refused(|training| training, &adam());
    assert!(none.is_none(), "{none:?}");
}

#[test]
fn the_best_of_a_metric_that_the_run_does_not_have_is_refused() {
    let best = |metric: &'static str| {
        move |training: Training| {
            training.metrics(&["val/loss"]).keep_best(metric, Better::Lower, 1)
        }
    };
    let error = refused(best("val/los"), &adam()).expect("there is no such metric");
    let expected = "`keep_best` asks for the metric `val/los`, which this run does not have: it has `loss`, \
                    `val/loss`. `Training::metrics` declares others";
    assert!(error.to_string().starts_with(expected), "{error}");
    let curve = |training: Training| training.curve("val/loss", "validation", |loss| loss);
    let error = refused(curve, &adam()).expect("it is not declared");
    assert!(error.to_string().starts_with("`curve` asks for the metric `val/loss`"), "{error}");
    for metric in ["loss", "val/loss"] {
        let none = refused(best(metric), &adam());
        assert!(none.is_none(), "{none:?}");
    }
}
