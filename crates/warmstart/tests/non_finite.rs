//! Weights that are no longer numbers are never saved.

use std::path::Path;
use warmstart::graph::{Initializer, Location, TensorData};
use warmstart::prelude::*;
use warmstart::{NonFiniteVariables, TrainingError};

/// The norm of a product: where the inputs are 0 it is 0, and its gradient is 0 · ∞, not a number.
struct Model<'g> {
    graph: &'g Graph,
    optimizer: Optimizer,
    loss: Tensor<'g>,
    session: Session,
    plan: Plan,
}

impl<'g> Model<'g> {
    fn new(graph: &'g Graph) -> Model<'g> {
        Model::of(graph, Optimizer::sgd(1e-3).momentum(0.9))
    }

    fn of(graph: &'g Graph, optimizer: Optimizer) -> Model<'g> {
        let x = graph.placeholder("x", [2, 3], DType::F32);
        let weight = graph.variable("weight", [3, 4], Initializer::GlorotUniform);
        let scale = graph.variable("scale", [], Initializer::Ones);
        let loss = x.matmul(weight).square().sum_all().sqrt() * (scale.square() + 1.0);
        let step = optimizer.minimize(loss);
        let mut session = Session::new(&Gpu::new().expect("an adapter"));
        let plan = session.compile(graph, &[loss], &[step.update]).expect("it compiles");
        Model { graph, optimizer, loss, session, plan }
    }

    fn begin(&mut self, training: &Training) -> Run {
        training.begin(&mut self.session, self.graph, &self.optimizer).expect("it begins")
    }

    /// Does a step, and records it. Its gradient is NaN if `bad`.
    fn step(&mut self, run: &mut Run, bad: bool) -> Result<f32, TrainingError> {
        let value = if bad { 0.0 } else { 1.0 };
        let outputs = self.session.run(&self.plan, &[("x", (&[value; 6]).into())])?;
        run.record(&self.session, &outputs, self.loss)?;
        Ok(outputs.scalar(self.loss)?)
    }
}

fn saved_steps(directory: &Path) -> Vec<u64> {
    let files = warmstart::checkpoint::list(directory).expect("a directory");
    files.iter().map(|file| file.step).collect()
}

fn refused(result: Result<impl Sized, TrainingError>) -> NonFiniteVariables {
    match result.map(|_| ()) {
        Err(TrainingError::NonFiniteVariables(found)) => found,
        other => panic!("not refused for what the variables hold: {other:?}"),
    }
}

fn names(found: &NonFiniteVariables) -> Vec<&str> {
    found.variables.iter().map(|variable| variable.name.as_str()).collect()
}

#[test]
fn a_gradient_that_is_nan_where_the_loss_is_not_never_reaches_a_checkpoint() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let graph = Graph::new();
    let mut model = Model::new(&graph);
    // With one checkpoint to keep, a bad one would push out the only good one.
    let training = Training::new(directory.path()).steps(20).save_every(5).keep(1).quiet();
    let mut run = model.begin(&training);
    for _ in 0..9 {
        assert!(model.step(&mut run, false).expect("all is well") > 0.0);
    }
    let found = refused(model.step(&mut run, true));
    assert_eq!(run.next_step(), Some(10), "the step was done");
    assert_eq!(found.step, 10);
    assert_eq!(names(&found), ["weight", "weight/sgd/momentum"]);
    let text = found.to_string();
    for part in [
        "after 10 steps 2 variables hold NaN or infinity",
        "`weight` (12 of 12 elements)",
        "No checkpoint was made",
        "lower learning rate",
    ] {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
    // Asked outright, it is refused as well, and so is the end of the run.
    assert_eq!(refused(run.save(&model.session)), found);
    assert_eq!(refused(run.finish(&model.session)), found);
    assert_eq!(saved_steps(directory.path()), [5]);
    assert!(directory.path().join("loss.svg").is_file(), "the losses that led there are drawn");

    // A new run goes on from the checkpoint before it.
    let graph = Graph::new();
    let mut model = Model::new(&graph);
    let mut run = model.begin(&training);
    while run.next_step().is_some() {
        model.step(&mut run, false).expect("all is well");
    }
    run.finish(&model.session).expect("it is saved");
    assert_eq!(saved_steps(directory.path()), [5, 20], "5 was restored from, so it stays");
}

#[test]
fn training_goes_on_if_told_so_but_leaves_checkpoints_out() {
    for what in [OnNonFinite::WarnOnce, OnNonFinite::Ignore] {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let graph = Graph::new();
        let mut model = Model::new(&graph);
        let training = Training::new(directory.path()).steps(22).save_every(5).keep(1).quiet();
        let mut run = model.begin(&training.log_every(1).on_non_finite(what));
        for _ in 0..5 {
            model.step(&mut run, false).expect("all is well");
        }
        let good = model.session.read("weight").expect("it has a value");
        model.step(&mut run, true).expect("it goes on");
        for _ in 6..17 {
            assert!(model.step(&mut run, false).expect("it goes on").is_nan());
        }
        assert_eq!(saved_steps(directory.path()), [5], "10 and 15 are left out");
        refused(run.save(&model.session));
        // What is made good again is saved again.
        let zeros = TensorData::new([3, 4], vec![0.0f32; 12]).expect("12 elements");
        model.session.assign("weight", &good).expect("it fits");
        model.session.assign("weight/sgd/momentum", &zeros).expect("it fits");
        let one = TensorData::from(1.0f32);
        model.session.assign("scale", &one).expect("it fits");
        model.session.assign("scale/sgd/momentum", &TensorData::from(0.0f32)).expect("it fits");
        while run.next_step().is_some() {
            assert!(model.step(&mut run, false).expect("all is well") > 0.0);
        }
        assert_eq!(saved_steps(directory.path()), [20]);
        let newest = run.finish(&model.session).expect("it is saved");
        assert_eq!(newest, directory.path().join("step-22.safetensors"));
    }
}

#[test]
fn infinity_in_a_variable_that_is_not_trained_is_a_value_like_any_other() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let graph = Graph::new();
    let mut model = Model::new(&graph);
    let mask = warmstart::graph::Variable {
        name: "mask".to_owned(),
        shape: [2].into(),
        dtype: DType::F32,
        initializer: Initializer::Zeros,
        role: warmstart::graph::Role::State,
        location: Location::caller(),
    };
    model.session.declare(&[mask]).expect("it fits");
    let values = TensorData::new([2], vec![0.0f32, f32::NEG_INFINITY]).expect("2 elements");
    model.session.assign("mask", &values).expect("it fits");
    let mut run = model.begin(&Training::new(directory.path()).steps(1).quiet());
    model.step(&mut run, false).expect("all is well");
    run.finish(&model.session).expect("it is saved");
    assert_eq!(saved_steps(directory.path()), [1]);
}

/// Under loss scaling a spoilt update is left out, so what is accumulated for it may be saved; without,
/// it would get into the weights.
#[test]
fn accumulated_gradients_that_are_left_out_may_be_saved() {
    for is_scaled in [true, false] {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut optimizer = Optimizer::sgd(1e-3).gradient_accumulation_steps(3);
        if is_scaled {
            optimizer = optimizer.loss_scaling(LossScaling::new());
        }
        let training = Training::new(directory.path()).steps(4).quiet();
        let graph = Graph::new();
        let mut model = Model::of(&graph, optimizer.clone());
        let mut run = model.begin(&training);
        model.step(&mut run, true).expect("its loss is 0");
        if !is_scaled {
            let found = refused(run.save(&model.session));
            assert_eq!(names(&found), ["weight/sgd/gradient_accumulator"]);
            continue;
        }
        let before = model.session.read("weight").expect("a value");
        run.save(&model.session).expect("the weights are numbers");
        drop((run, model));
        // It goes on from there, and leaves out the update whose first batch that was.
        let graph = Graph::new();
        let mut model = Model::of(&graph, optimizer);
        let mut run = model.begin(&training);
        for _ in 0..2 {
            model.step(&mut run, false).expect("it runs");
        }
        assert_eq!(model.session.read("weight").expect("a value"), before);
        let scale = model.session.read("sgd/loss_scale").expect("a value");
        assert_eq!(scale, TensorData::from(32_768.0f32));
        model.step(&mut run, false).expect("it runs");
        run.finish(&model.session).expect("what is accumulated now are numbers");
    }
}

/// Where loss scaling is taken away before the update is left out, nothing begins with its infinities.
#[test]
fn accumulated_gradients_that_are_not_finite_need_loss_scaling() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let optimizer = || Optimizer::sgd(1e-3).gradient_accumulation_steps(3);
    let scaled = || optimizer().loss_scaling(LossScaling::new());
    let training = Training::new(directory.path()).steps(9).save_every(1).quiet();
    let train = |optimizer: Optimizer, training: &Training, bad: &[bool]| {
        let graph = Graph::new();
        let mut model = Model::of(&graph, optimizer);
        let mut run = model.begin(training);
        for &bad in bad {
            model.step(&mut run, bad).expect("it runs");
        }
        let value = model.session.read("weight").expect("a value");
        value.to_f64()
    };
    train(scaled(), &training, &[false, true]);
    let without = || RestoreOptions::new().leave_out("sgd/loss_scale").leave_out("sgd/good_steps");
    let begin = |optimizer: Optimizer, options: RestoreOptions| {
        let graph = Graph::new();
        let mut model = Model::of(&graph, optimizer);
        let training = training.clone().restore_options(options);
        let begun = training.begin(&mut model.session, model.graph, &model.optimizer).map(drop);
        let kept = model.session.variables().iter().any(|info| info.origin.has_value());
        (begun, kept)
    };
    let (refused, kept) = begin(optimizer(), without());
    let Err(TrainingError::NonFiniteAccumulators { file, batches, variables, rule }) = &refused
    else {
        panic!("it is refused: {refused:?}")
    };
    assert!(file.ends_with("step-2.safetensors") && *batches == 2 && !kept);
    assert_eq!(variables[0].to_string(), "`weight/sgd/gradient_accumulator` (12 of 12 elements)");
    let told = refused.as_ref().map_err(ToString::to_string).unwrap_err();
    for part in ["1 variable holds NaN or infinity: `weight/sgd/", "Go on with `Optimizer::loss"] {
        assert!(told.contains(part), "`{part}` is not in: {told}");
    }
    let glob = "{sgd/accumulated_batches,**/sgd/gradient_accumulator}";
    assert_eq!(*rule, RestoreOptions::new().ignore(glob).rules()[0].to_string());
    let added = format!("by `{rule}` added to the `RestoreOptions` of `Training::restore_options`");
    assert!(told.ends_with(&added), "{told}");

    // What is advised helps: the update anew, without these batches, which trains.
    let before = train(scaled(), &training, &[]);
    assert!(begin(scaled(), RestoreOptions::new()).0.is_ok(), "under loss scaling it goes on");
    let anew = training.clone().restore_options(without().ignore(glob));
    let after = train(optimizer(), &anew, &[false, false, false]);
    assert!(after.iter().all(|weight| weight.is_finite()) && after != before);
}

/// Numbers that are finite go on without loss scaling.
#[test]
fn accumulated_gradients_that_are_finite_need_none() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let training = Training::new(directory.path()).steps(3).save_every(1).quiet();
    let optimizer = Optimizer::sgd(1e-3).gradient_accumulation_steps(3);
    let graph = Graph::new();
    let mut model = Model::of(&graph, optimizer.clone().loss_scaling(LossScaling::new()));
    let mut run = model.begin(&training);
    model.step(&mut run, false).expect("it runs");
    drop((run, model));
    let options = RestoreOptions::new().leave_out("sgd/loss_scale").leave_out("sgd/good_steps");
    let graph = Graph::new();
    let mut model = Model::of(&graph, optimizer);
    let mut run = model.begin(&training.restore_options(options));
    let before = model.session.read("weight").expect("a value");
    for _ in 0..2 {
        model.step(&mut run, false).expect("it runs");
    }
    assert_ne!(model.session.read("weight").expect("a value"), before);
    run.finish(&model.session).expect("it is saved");
}
