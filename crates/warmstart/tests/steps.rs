//! Several steps in one submission, around a run: what is logged, saved and noticed when.

use std::path::Path;
use warmstart::TrainingError;
use warmstart::graph::Initializer;
use warmstart::prelude::*;

const EXAMPLES: usize = 8;

/// A weight of 1 that is trained away, slowly; the loss is NaN where the input is.
struct Model<'g> {
    graph: &'g Graph,
    optimizer: Optimizer,
    loss: Tensor<'g>,
    session: Session,
    plan: Plan,
    data: DeviceDataset,
}

impl<'g> Model<'g> {
    /// Example 5 is not a number.
    fn new(graph: &'g Graph) -> Model<'g> {
        let x = graph.placeholder("x", [2, 1], DType::F32);
        let y = graph.placeholder("y", [2, 1], DType::F32);
        let weight = graph.variable("weight", [1, 1], Initializer::Ones);
        let loss = x.matmul(weight).mean_squared_error(y);
        let optimizer = Optimizer::sgd(1e-2);
        let step = optimizer.minimize(loss);
        let mut session = Session::new(&Gpu::new().expect("an adapter"));
        let plan = session.compile(graph, &[loss], &[step.update]).expect("it compiles");
        let inputs = (0..EXAMPLES).map(|at| if at == 5 { f32::NAN } else { at as f32 });
        // A `Dataset` would refuse it.
        let (inputs, targets): (Vec<f32>, _) = (inputs.collect(), [0.0f32; EXAMPLES]);
        let columns = [("x", Feed::from(&inputs).into()), ("y", Feed::from(&targets).into())];
        let data = DeviceDataset::new(session.gpu(), EXAMPLES, &columns).expect("it has room");
        Model { graph, optimizer, loss, session, plan, data }
    }

    fn begin(&mut self, training: &Training) -> Run {
        training.begin(&mut self.session, self.graph, &self.optimizer).expect("it begins")
    }

    /// So many steps, of which `bad` gets the example that is not a number.
    fn steps(
        &mut self,
        run: &mut Run,
        steps: std::ops::Range<u64>,
        bad: Option<u64>,
    ) -> Result<Vec<f32>, TrainingError> {
        let rows = |step: u64| if bad == Some(step) { [5, 0] } else { [1, 2] };
        let rows: Vec<u32> = steps.flat_map(rows).collect();
        let outputs = self.session.run_steps(&self.plan, &Steps::rows(&self.data, &rows))?;
        run.record_steps(&self.session, &outputs, self.loss)?;
        Ok(outputs.scalars(self.loss)?)
    }
}

fn saved_steps(directory: &Path) -> Vec<u64> {
    let files = warmstart::checkpoint::list(directory).expect("a directory");
    files.iter().map(|file| file.step).collect()
}

/// The metrics of a run without their times: step and what follows.
fn rows(directory: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(directory.join("metrics.csv")).expect("metrics");
    text.lines().skip(1).map(|line| line.split(',').next().unwrap_or("").to_owned()).collect()
}

#[test]
fn steps_end_where_a_checkpoint_is_to_be_saved() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let graph = Graph::new();
    let mut model = Model::new(&graph);
    let training = Training::new(directory.path()).steps(23).save_every(10).log_every(4).quiet();
    let mut run = model.begin(&training.keep(9).metrics(&["rate"]));
    let mut chunks = Vec::new();
    let mut losses = Vec::new();
    while let Some(steps) = run.next_steps(7) {
        if steps.start == 7 {
            run.metric("rate", 0.5);
        }
        chunks.push((steps.start, steps.end));
        losses.extend(model.steps(&mut run, steps, None).expect("all is well"));
    }
    assert_eq!(chunks, [(0, 7), (7, 10), (10, 17), (17, 20), (20, 23)]);
    assert!(losses.is_sorted_by(|a, b| a > b), "{losses:?}");
    assert_eq!(run.next_steps(1), None);
    run.finish(&model.session).expect("it is saved");
    assert_eq!(saved_steps(directory.path()), [10, 20, 23]);
    assert_eq!(rows(directory.path()), ["4", "8", "10", "12", "16", "20", "23"]);
    let table = MetricsTable::read(&directory.path().join("metrics.csv")).expect("metrics");
    let logged = table.series("loss").into_iter().map(|(step, loss)| (step, loss as f32));
    let expected = [4, 8, 10, 12, 16, 20, 23].map(|step| (step, losses[step as usize - 1]));
    assert_eq!(logged.collect::<Vec<_>>(), expected);
    assert_eq!(table.series("rate"), [(10, 0.5)]);
}

#[test]
fn what_is_due_is_saved_before_an_error_of_metrics_is_told() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let graph = Graph::new();
    let mut model = Model::new(&graph);
    let training = Training::new(directory.path()).steps(20).save_every(10).log_every(4).quiet();
    let mut run = model.begin(&training.keep(9));
    while let Some(steps) = run.next_steps(10) {
        if steps.start == 0 {
            run.metric("no column", 0.5);
        }
        let first = steps.start == 0;
        let recorded = model.steps(&mut run, steps, None);
        assert_eq!(matches!(recorded, Err(TrainingError::Metrics(_))), first);
        assert_eq!(recorded.is_ok(), !first);
    }
    assert_eq!(saved_steps(directory.path()), [10, 20]);
    run.finish(&model.session).expect("it was saved");
}

#[test]
fn no_steps_are_at_least_one_step_and_all_that_are_left_at_most() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let graph = Graph::new();
    let mut model = Model::new(&graph);
    let run = model.begin(&Training::new(directory.path()).steps(5).quiet());
    assert_eq!(run.next_steps(0), Some(0..1));
    assert_eq!(run.next_steps(u64::MAX), Some(0..5));
}

#[test]
fn a_loss_that_is_not_a_number_is_told_with_its_step_and_never_saved() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let graph = Graph::new();
    let mut model = Model::new(&graph);
    // The step is not one that is logged.
    let training = Training::new(directory.path()).steps(20).save_every(10).log_every(10).quiet();
    let mut run = model.begin(&training.keep(1));
    for steps in [0..5, 5..10] {
        model.steps(&mut run, steps, None).expect("all is well");
    }
    let stopped = loop {
        let steps = run.next_steps(5).expect("it stops before");
        if let Err(stopped) = model.steps(&mut run, steps, Some(12)) {
            break stopped;
        }
    };
    let TrainingError::NonFinite(found) = &stopped else { panic!("{stopped}") };
    // Counted from 1.
    assert_eq!(found.step, 13, "{stopped}");
    assert_eq!(saved_steps(directory.path()), [10]);
}

#[test]
fn losses_that_are_left_to_be_read_are_read_in_the_end() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let graph = Graph::new();
    let mut model = Model::new(&graph);
    let training = Training::new(directory.path()).steps(100).log_every(1).quiet();
    let mut run = model.begin(&training);
    let first = model.steps(&mut run, 0..3, None).expect("all is well")[0];
    // Submissions and runs may be mixed.
    let feeds = [("x", (&[1.0f32, 2.0]).into()), ("y", (&[0.0f32; 2]).into())];
    let outputs = model.session.run(&model.plan, &feeds).expect("it runs");
    run.record(&model.session, &outputs, model.loss).expect("it is recorded");
    model.steps(&mut run, 4..6, None).expect("all is well");
    // The program stops early.
    run.finish(&model.session).expect("it is saved");
    assert_eq!(saved_steps(directory.path()), [6]);
    assert_eq!(rows(directory.path()), ["1", "2", "3", "4", "5", "6"]);
    assert!(first > 0.0);

    let mut run = model.begin(&Training::new(directory.path()).steps(100).quiet());
    model.steps(&mut run, 6..9, Some(7)).expect("nobody has read it");
    let error = run.finish(&model.session).expect_err("it is not a number");
    assert!(matches!(&error, TrainingError::NonFinite(found) if found.step == 8), "{error}");
    assert_eq!(saved_steps(directory.path()), [6]);
}

#[test]
fn metrics_of_an_earlier_step_do_not_go_with_a_checkpoint_after_an_error() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let graph = Graph::new();
    let mut model = Model::new(&graph);
    let training = Training::new(directory.path()).steps(100).log_every(1).quiet();
    let mut run = model.begin(&training);
    model.steps(&mut run, 0..3, None).expect("all is well");
    // Step 4 is well, and written; step 5 is not.
    model.steps(&mut run, 3..6, Some(4)).expect("nobody has read it");
    let error = run.save(&model.session).map(|_| ()).expect_err("it is not a number");
    assert!(matches!(&error, TrainingError::NonFinite(found) if found.step == 5), "{error}");
    // The program sets the weight right, and goes on.
    let one = warmstart::graph::TensorData::new([1, 1], vec![1.0f32]).expect("one element");
    model.session.assign("weight", &one).expect("its shape");
    let loss = |file: &Path| {
        let checkpoint = warmstart::checkpoint::Checkpoint::open(file).expect("a checkpoint");
        checkpoint.metadata().metric("loss")
    };
    assert_eq!(loss(run.save(&model.session).expect("it is saved")), None);
    let losses = model.steps(&mut run, 6..8, None).expect("all is well");
    let file = run.save(&model.session).expect("it is saved");
    assert_eq!(loss(file), Some(f64::from(losses[1])));
    assert_eq!(saved_steps(directory.path()), [6, 8]);
}

#[test]
fn a_step_counts_even_if_one_before_it_is_found_to_be_bad() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let graph = Graph::new();
    let mut model = Model::new(&graph);
    let mut run = model.begin(&Training::new(directory.path()).steps(100).quiet());
    model.steps(&mut run, 0..3, Some(1)).expect("nobody has read it");
    let feeds = [("x", (&[1.0f32, 2.0]).into()), ("y", (&[0.0f32; 2]).into())];
    let outputs = model.session.run(&model.plan, &feeds).expect("it runs");
    let error = run.record(&model.session, &outputs, model.loss).expect_err("not a number");
    assert!(matches!(&error, TrainingError::NonFinite(found) if found.step == 2), "{error}");
    assert_eq!(run.next_step(), Some(4));
}

#[test]
fn steps_beyond_one_to_be_saved_are_saved_at_their_end() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let graph = Graph::new();
    let mut model = Model::new(&graph);
    let mut run = model.begin(&Training::new(directory.path()).steps(20).save_every(4).quiet());
    model.steps(&mut run, 0..6, None).expect("all is well");
    assert_eq!(saved_steps(directory.path()), [6]);
    assert_eq!(run.next_steps(9), Some(6..8));
}
