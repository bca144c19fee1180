//! Which checkpoints a run leaves behind, saved at once and behind the training.

use std::path::Path;
use warmstart::TrainingError;
use warmstart::checkpoint::list;
use warmstart::prelude::*;

/// A session with the variables of one layer, what trains them, and the loss of that.
fn layer<'g>(
    graph: &'g Graph,
    optimizer: &Optimizer,
    [rows, inputs, units]: [usize; 3],
) -> (Session, Plan, Tensor<'g>) {
    let x = graph.placeholder("x", [rows, inputs], DType::F32);
    let loss = graph.scope("fc").linear(x, units).square().mean_all();
    let step = optimizer.minimize(loss);
    let mut session = Session::new(&Gpu::new().expect("an adapter"));
    let plan = session.compile(graph, &[loss], &[step.update]).expect("it compiles");
    (session, plan, loss)
}

/// Trains 20 steps and notes a score that is best at step 6. Returns the last weights.
fn train(training: &Training) -> Vec<u8> {
    let (graph, optimizer) = (Graph::new(), Optimizer::adam(0.01));
    let (mut session, plan, loss) = layer(&graph, &optimizer, [2, 3, 4]);
    let mut run = training.begin(&mut session, &graph, &optimizer).expect("it begins");
    while let Some(step) = run.next_step() {
        let inputs = [1.0 + step as f32 / 10.0; 6];
        let outputs = session.run(&plan, &[("x", (&inputs).into())]).expect("it runs");
        let done = step as f64 + 1.0;
        run.metric("score", 10.0 - (done - 6.0).abs());
        run.record(&session, &outputs, loss).expect("it records");
    }
    let last = run.finish(&session).expect("it saves");
    // What `finish` returns is whole, not under way.
    let checkpoint = Checkpoint::open(last).expect("a checkpoint");
    assert!(checkpoint.verify().is_whole());
    assert_eq!(checkpoint.step(), Some(20));
    session.read("fc/weight").expect("a value").to_le_bytes()
}

fn steps(directory: &Path) -> Vec<u64> {
    list(directory).expect("a directory").into_iter().map(|file| file.step).collect()
}

#[test]
fn a_run_keeps_what_its_rules_say_and_saves_the_same_bits_either_way() {
    let (at_once, behind) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let training = |directory: &Path| {
        Training::new(directory)
            .steps(20)
            .seed(7)
            .save_every(2)
            .keep(1)
            .keep_every_steps(8)
            .keep_best("score", Better::Higher, 1)
            .metrics(&["score"])
            .quiet()
    };
    let expected = train(&training(at_once.path()));
    assert!(train(&training(behind.path()).save_in_background()) == expected);
    assert_eq!(steps(at_once.path()), [6, 8, 16, 20]);
    assert_eq!(steps(behind.path()), [6, 8, 16, 20]);
    for step in [6, 8, 16, 20] {
        let weights = |directory: &Path| {
            let file = directory.join(format!("step-{step}.safetensors"));
            let checkpoint = Checkpoint::open(&file).expect("a checkpoint");
            assert_eq!(
                checkpoint.metadata().metric("score"),
                Some(10.0 - (step as f64 - 6.0).abs())
            );
            let begin = checkpoint.tensors()[0].range.start as usize;
            std::fs::read(file).expect("a file")[begin..].to_vec()
        };
        assert!(weights(at_once.path()) == weights(behind.path()), "step {step}");
    }
    let best = Saver::new(behind.path()).best("score", Better::Higher).expect("readable");
    assert_eq!(best.expect("there are four").step, 6);
}

#[test]
fn a_failure_behind_the_training_is_told_at_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let (graph, optimizer) = (Graph::new(), Optimizer::sgd(0.01));
    let (mut session, plan, loss) = layer(&graph, &optimizer, [1, 2, 2]);
    let training = Training::new(directory.path()).steps(2).quiet().save_in_background();
    let mut run = training.begin(&mut session, &graph, &optimizer).expect("it begins");
    // A directory stands where the checkpoint is to be.
    std::fs::create_dir(directory.path().join("step-2.safetensors")).unwrap();
    while run.next_step().is_some() {
        let outputs = session.run(&plan, &[("x", (&[1.0, 2.0]).into())]).expect("it runs");
        run.record(&session, &outputs, loss).expect("nothing is saved yet");
    }
    let error = run.finish(&session).expect_err("the name is taken").to_string();
    assert!(error.contains("step-2.safetensors"), "{error}");
}

/// A metric that is no column cannot be written, as rows on a full disk cannot be.
#[test]
fn what_is_due_is_saved_before_an_error_of_metrics_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let (graph, optimizer) = (Graph::new(), Optimizer::sgd(0.01));
    let (mut session, plan, loss) = layer(&graph, &optimizer, [1, 2, 2]);
    let training = Training::new(directory.path()).steps(9).save_every(3).quiet();
    let mut run = training.begin(&mut session, &graph, &optimizer).expect("it begins");
    while let Some(step) = run.next_step() {
        // At a step that is saved, and at one that is not.
        let fails = [2, 4].contains(&step);
        if fails {
            run.metric("no column", 1.0);
        }
        let outputs = session.run(&plan, &[("x", (&[1.0, 2.0]).into())]).expect("it runs");
        let recorded = run.record(&session, &outputs, loss);
        assert_eq!(matches!(recorded, Err(TrainingError::Metrics(_))), fails, "{step}");
        assert!(fails || recorded.is_ok(), "{step}");
    }
    assert_eq!(steps(directory.path()), [3, 6, 9]);
    run.finish(&session).expect("all was saved");
}

#[test]
fn a_metric_is_drawn_beside_the_loss_under_its_name() {
    let directory = tempfile::tempdir().unwrap();
    let training = Training::new(directory.path()).steps(20).metrics(&["score"]).quiet();
    train(&training);
    let drawn = || std::fs::read_to_string(directory.path().join("loss.svg")).unwrap();
    assert!(drawn().contains("Training loss") && !drawn().contains("how far off"), "{}", drawn());
    // A run that is complete draws anew.
    train(&training.curve("score", "how far off", |score| 10.5 - score));
    assert!(drawn().contains("\nhow far off\n") && drawn().contains("\ntraining\n"), "{}", drawn());
}
