//! The training loop when things go wrong.

use warmstart::TrainingError;
use warmstart::prelude::*;

/// One linear layer, trained on inputs that the caller gives; `units` differ to spoil a restore.
struct Model {
    graph: Graph,
    optimizer: Optimizer,
    units: usize,
}

impl Model {
    fn new(units: usize) -> Model {
        Model { graph: Graph::new(), optimizer: Optimizer::sgd(0.01).momentum(0.9), units }
    }

    fn build(&self) -> (Tensor<'_>, warmstart::graph::TrainStep<'_>) {
        let x = self.graph.placeholder("x", [2, 3], DType::F32);
        let loss = self.graph.scope("fc").linear(x, self.units).square().mean_all();
        (loss, self.optimizer.minimize(loss))
    }
}

/// Trains for some steps; the inputs of step `bad` are NaN.
fn train(model: &Model, training: &Training, bad: Option<u64>) -> Result<Vec<u8>, TrainingError> {
    let (loss, step) = model.build();
    let gpu = Gpu::new().expect("an adapter");
    let mut session = Session::new(&gpu);
    let plan = session.compile(&model.graph, &[loss], &[step.update]).expect("it compiles");
    let mut run = training.begin(&mut session, &model.graph, &model.optimizer)?;
    while let Some(step) = run.next_step() {
        let value = if bad == Some(step) { f32::NAN } else { 1.0 + step as f32 / 10.0 };
        let outputs = session.run(&plan, &[("x", (&[value; 6]).into())])?;
        run.record(&session, &outputs, loss)?;
    }
    run.finish(&session)?;
    Ok(session.read("fc/weight")?.to_le_bytes())
}

#[test]
fn a_loss_that_is_nan_stops_training_before_it_is_saved() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let training = Training::new(directory.path()).steps(20).save_every(5).log_every(1).quiet();
    let error = train(&Model::new(4), &training, Some(12)).expect_err("the loss is NaN");
    assert!(matches!(error, TrainingError::NonFinite(_)), "{error}");
    let text = error.to_string();
    assert!(
        text.contains("loss of step 13 is NaN") && text.contains("newest checkpoint before it"),
        "{text}"
    );
    let latest = Saver::new(directory.path()).latest().expect("readable").expect("a checkpoint");
    assert_eq!(latest.step, 10);
}

#[test]
fn two_runs_of_half_the_steps_are_one_run() {
    let (whole, halves) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let run = |directory: &tempfile::TempDir, steps| {
        let training = Training::new(directory.path()).steps(steps).seed(3).quiet();
        train(&Model::new(4), &training, None).expect("it trains")
    };
    let expected = run(&whole, 30);
    run(&halves, 13);
    assert!(run(&halves, 30) == expected, "a resumed run ends with other bits");
}

#[test]
fn a_run_that_is_at_its_target_does_nothing() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let training = Training::new(directory.path()).steps(10).quiet();
    let trained = train(&Model::new(4), &training, None).expect("it trains");
    let entries = || {
        let entries = std::fs::read_dir(directory.path()).expect("it can be listed").flatten();
        let mut found: Vec<_> = entries
            .map(|entry| (entry.file_name(), entry.metadata().unwrap().modified().unwrap()))
            .filter(|(name, _)| name != "loss.svg")
            .collect();
        found.sort();
        found
    };
    let before = entries();
    for target in [10, 7] {
        let model = Model::new(4);
        let (loss, step) = model.build();
        let mut session = Session::new(&Gpu::new().expect("an adapter"));
        session.compile(&model.graph, &[loss], &[step.update]).expect("it compiles");
        let training = training.clone().steps(target);
        let run = training.begin(&mut session, &model.graph, &model.optimizer).expect("it begins");
        assert_eq!(run.next_step(), None);
        assert!(run.begun().to_string().contains("step-10.safetensors"));
        assert_eq!(session.read("fc/weight").unwrap().to_le_bytes(), trained);
        let newest = run.finish(&session).expect("there is nothing to save");
        assert_eq!(newest, directory.path().join("step-10.safetensors"));
        assert_eq!(entries(), before, "steps({target}) wrote something");
    }
}

#[test]
fn a_checkpoint_of_another_model_is_refused_with_both_shapes() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let training = Training::new(directory.path()).steps(2).quiet();
    train(&Model::new(4), &training, None).expect("it trains");
    let error = train(&Model::new(5), &training, None).expect_err("the shapes differ");
    let text = error.to_string();
    for part in ["fc/weight", "[3, 5]", "[3, 4]", "step-2.safetensors"] {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
}

#[test]
fn a_truncated_checkpoint_is_passed_over_and_said() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let training = Training::new(directory.path()).steps(4).save_every(2).quiet();
    train(&Model::new(4), &training, None).expect("it trains");
    let newest = directory.path().join("step-4.safetensors");
    let bytes = std::fs::read(&newest).expect("it is there");
    std::fs::write(&newest, &bytes[..bytes.len() - 5]).expect("it can be cut");
    let model = Model::new(4);
    let (loss, step) = model.build();
    let mut session = Session::new(&Gpu::new().expect("an adapter"));
    session.compile(&model.graph, &[loss], &[step.update]).expect("it compiles");
    let run = training.begin(&mut session, &model.graph, &model.optimizer).expect("it begins");
    assert_eq!(run.next_step(), Some(2));
    let said = run.begun().to_string();
    assert!(said.contains("step-2.safetensors") && said.contains("step-4.safetensors"), "{said}");
}

#[test]
fn an_adapter_that_is_not_there_is_named() {
    let options = GpuOptions {
        adapter: Some(warmstart::gpu::AdapterChoice::Name("no such adapter".to_owned())),
        ..GpuOptions::default()
    };
    let text = Gpu::with(&options).err().expect("it is refused").to_string();
    assert!(text.contains("no such adapter") && text.contains("there are:"), "{text}");
}
