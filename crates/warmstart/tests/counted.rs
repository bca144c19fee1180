//! A run that trains nothing, or more than it records, is told so and does not go on.

use std::fs;
use std::path::Path;
use warmstart::prelude::*;

/// A model in a scope, with the count of its steps where it has one of its own.
fn model<'g>(graph: &'g Graph, scope: &str, count: Option<&str>) -> (Tensor<'g>, TrainStep<'g>) {
    let x = graph.placeholder(&format!("{scope}_x"), [2, 3], DType::F32);
    let loss = graph.scope(scope).linear(x, 4).square().mean_all();
    let optimizer = Optimizer::sgd(Schedule::cosine(0.1, 0.0, 20)).named(scope);
    let optimizer = count.map_or(optimizer.clone(), |count| optimizer.global_step(count));
    (loss, optimizer.minimize(loss))
}

fn session() -> Session {
    Session::new(&Gpu::new().expect("an adapter"))
}

fn feed(name: &str) -> [(&str, warmstart::gpu::Feed<'static>); 1] {
    [(name, (&[1.0f32; 6]).into())]
}

fn training(directory: &Path) -> Training {
    Training::new(directory).steps(20).quiet()
}

#[test]
fn a_run_does_not_begin_without_a_plan_that_trains() {
    let directory = tempfile::tempdir().unwrap();
    let graph = Graph::new();
    let (loss, _step) = model(&graph, "a", None);
    let optimizer = Optimizer::sgd(0.1).named("a");
    let mut session = session();
    let begin = |session: &mut Session| {
        let begun = training(&directory.path().join("run")).begin(session, &graph, &optimizer);
        begun.map(drop).expect_err("nothing would be trained").to_string()
    };
    let message = begin(&mut session);
    assert!(message.contains("compile the plan that trains before the run begins"), "{message}");
    session.compile(&graph, &[loss], &[]).unwrap();
    let message = begin(&mut session);
    assert!(message.contains("counted.rs:") && message.contains("`&[step.update]`"), "{message}");
    assert!(session.uninitialized().len() == 2);
    assert!(!directory.path().join("run").exists());
}

#[test]
fn a_run_of_the_wrong_plan_is_told_at_its_first_record() {
    let directory = tempfile::tempdir().unwrap();
    let graph = Graph::new();
    let (loss, step) = model(&graph, "a", None);
    let mut session = session();
    session.compile(&graph, &[loss], &[step.update]).unwrap();
    let evaluate = session.compile(&graph, &[loss], &[]).unwrap();
    let optimizer = Optimizer::sgd(0.1).named("a");
    let mut run = training(directory.path()).begin(&mut session, &graph, &optimizer).unwrap();
    let outputs = session.run(&evaluate, &feed("a_x")).unwrap();
    let error = run.record(&session, &outputs, loss).expect_err("it was not trained").to_string();
    assert!(error.contains("recorded 1 step, and `global_step` rose by 0"), "{error}");
    assert!(error.contains("does not train"), "{error}");
    assert!(
        fs::read_dir(directory.path()).unwrap().all(|entry| {
            !entry.unwrap().file_name().to_string_lossy().ends_with(".safetensors")
        })
    );
}

#[test]
fn two_plans_in_turn_need_two_counts() {
    let train = |count: Option<&str>| {
        let directory = tempfile::tempdir().unwrap();
        let graph = Graph::new();
        let (loss, step) = model(&graph, "generator", None);
        let (_, other) = model(&graph, "discriminator", count);
        let mut session = session();
        let generator = session.compile(&graph, &[loss, step.learning_rate], &[step.update]);
        let generator = generator.unwrap();
        let rates = [other.learning_rate];
        let discriminator = session.compile(&graph, &rates, &[other.update]).unwrap();
        let optimizer = Optimizer::sgd(0.1).named("generator");
        let mut run = training(directory.path()).begin(&mut session, &graph, &optimizer).unwrap();
        let mut last = (0.0, 0.0);
        while run.next_step().is_some() {
            let second = session.run(&discriminator, &feed("discriminator_x")).unwrap();
            let outputs = session.run(&generator, &feed("generator_x")).unwrap();
            run.record(&session, &outputs, loss)?;
            let rate = |outputs: &warmstart::gpu::Outputs, of| outputs.scalar(of).unwrap();
            last = (rate(&outputs, step.learning_rate), rate(&second, other.learning_rate));
        }
        run.finish(&session)?;
        Ok::<_, TrainingError>(last)
    };
    let error = train(None).expect_err("the count rises twice a step").to_string();
    assert!(error.contains("rose by 2") && error.contains("`Optimizer::global_step`"), "{error}");
    // Of 20 steps the last one, 19, has 0.1 * (1 + cos(19 / 20 pi)) / 2.
    let (generator, discriminator) = train(Some("discriminator_step")).unwrap();
    let expected = 0.05 * (1.0 + (19.0 / 20.0 * std::f32::consts::PI).cos());
    assert!((generator - expected).abs() < 1e-7, "{generator}, not {expected}");
    assert_eq!(generator, discriminator);
}

#[test]
fn steps_that_are_recorded_twice_or_left_out_are_told() {
    for (recorded, told) in [(2, "recorded 2 steps"), (0, "rose by 2")] {
        let directory = tempfile::tempdir().unwrap();
        let graph = Graph::new();
        let (loss, step) = model(&graph, "a", None);
        let mut session = session();
        let plan = session.compile(&graph, &[loss], &[step.update]).unwrap();
        let optimizer = Optimizer::sgd(0.1).named("a");
        let mut run = training(directory.path()).begin(&mut session, &graph, &optimizer).unwrap();
        let outputs = session.run(&plan, &feed("a_x")).unwrap();
        let outputs = match recorded {
            0 => session.run(&plan, &feed("a_x")).unwrap(),
            _ => {
                run.record(&session, &outputs, loss).unwrap();
                outputs
            }
        };
        let error = run.record(&session, &outputs, loss).expect_err("it is another count");
        assert!(error.to_string().contains(told), "{error}");
    }
}

/// A critic that trains several times for each step of its generator, by the usual count.
#[test]
fn the_count_of_the_plan_that_is_recorded_is_enough() {
    let directory = tempfile::tempdir().unwrap();
    let graph = Graph::new();
    let (loss, step) = model(&graph, "generator", Some("generator_step"));
    let (_, critic) = model(&graph, "critic", None);
    let mut session = session();
    let generator = session.compile(&graph, &[loss], &[step.update]).unwrap();
    let critic = session.compile(&graph, &[], &[critic.update]).unwrap();
    let optimizer = Optimizer::sgd(0.1).named("generator");
    let mut run = training(directory.path()).begin(&mut session, &graph, &optimizer).unwrap();
    while run.next_step().is_some() {
        for _ in 0..5 {
            session.run(&critic, &feed("critic_x")).unwrap();
        }
        let outputs = session.run(&generator, &feed("generator_x")).unwrap();
        run.record(&session, &outputs, loss).unwrap();
    }
    run.finish(&session).unwrap();
    let count = |name: &str| session.read(name).unwrap().as_u32().unwrap()[0];
    assert_eq!((count("generator_step"), count("global_step")), (20, 100));
}

#[test]
fn an_update_by_hand_trains_too_whatever_an_optimizer_counts() {
    let graph = Graph::new();
    let (loss, step) = model(&graph, "a", None);
    let weight = graph.scope("a").reuse().variable("weight", [3, 4], Initializer::Zeros);
    let (_, gradient) = step.gradients.iter().find(|(name, _)| name == "a/weight").unwrap();
    let by_hand = (weight - *gradient * 0.01).assign_to(weight);
    let mut session = session();
    let plan = session.compile(&graph, &[loss], &[by_hand]).unwrap();
    let optimizer = Optimizer::sgd(0.1).named("a");
    // With an optimizer that is built for its gradients, and with one that is compiled and not run.
    for _ in 0..2 {
        let directory = tempfile::tempdir().unwrap();
        let mut run = training(directory.path()).begin(&mut session, &graph, &optimizer).unwrap();
        let outputs = session.run(&plan, &feed("a_x")).unwrap();
        run.record(&session, &outputs, loss).unwrap();
        session.compile(&graph, &[loss], &[step.update]).unwrap();
    }
}

#[test]
fn a_count_may_be_set() {
    let directory = tempfile::tempdir().unwrap();
    let graph = Graph::new();
    let (loss, step) = model(&graph, "a", None);
    let mut session = session();
    let plan = session.compile(&graph, &[loss], &[step.update]).unwrap();
    session.initialize_missing(1).unwrap();
    for _ in 0..5 {
        session.run(&plan, &feed("a_x")).unwrap();
    }
    let optimizer = Optimizer::sgd(0.1).named("a");
    let mut run = training(directory.path()).begin(&mut session, &graph, &optimizer).unwrap();
    session.assign("global_step", &warmstart::graph::TensorData::from(0u32)).unwrap();
    let outputs = session.run(&plan, &feed("a_x")).unwrap();
    run.record(&session, &outputs, loss).unwrap();
}
