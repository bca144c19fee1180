//! What a run finds in its directory when it begins, and what it says of it.

use std::path::Path;
use warmstart::TrainingError;
use warmstart::prelude::*;

/// Two linear layers.
struct Model {
    graph: Graph,
    optimizer: Optimizer,
    activation: for<'g> fn(Tensor<'g>) -> Tensor<'g>,
    head: &'static str,
    units: usize,
}

impl Default for Model {
    fn default() -> Model {
        let (graph, optimizer) = (Graph::new(), Optimizer::sgd(0.01));
        Model { graph, optimizer, activation: |x| x.relu(), head: "head", units: 2 }
    }
}

impl Model {
    /// Begins a run; the session lives as long as what it is used for.
    fn begin(
        &self,
        training: &Training,
    ) -> Result<(Run, Session, Plan, Tensor<'_>), TrainingError> {
        let x = self.graph.placeholder("x", [2, 3], DType::F32);
        let hidden = (self.activation)(self.graph.scope("body").linear(x, 4));
        let loss = self.graph.scope(self.head).linear(hidden, self.units).square().mean_all();
        let step = self.optimizer.minimize(loss);
        let mut session = Session::new(&Gpu::new().expect("an adapter"));
        let plan = session.compile(&self.graph, &[loss], &[step.update]).expect("it compiles");
        let run = training.begin(&mut session, &self.graph, &self.optimizer)?;
        Ok((run, session, plan, loss))
    }

    /// Trains until all steps are done; what was said when it began.
    fn train(&self, training: &Training) -> String {
        let (mut run, mut session, plan, loss) = self.begin(training).expect("it begins");
        let begun = run.begun().to_string();
        while run.next_step().is_some() {
            let outputs = session.run(&plan, &[("x", (&[0.5f32; 6]).into())]).expect("it runs");
            run.record(&session, &outputs, loss).expect("it is recorded");
        }
        run.finish(&session).expect("it is saved");
        begun
    }
}

fn in_directory(directory: &Path) -> Training {
    Training::new(directory).log_every(1).quiet()
}

#[test]
fn a_second_run_in_a_directory_is_refused_before_anything_is_changed() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let training = in_directory(directory.path()).steps(2);
    let (model, other) = (Model::default(), Model::default());
    let (run, ..) = model.begin(&training).expect("it is the first");
    let error = other.begin(&training).map(|_| ()).expect_err("the first is still there");
    assert!(matches!(error, TrainingError::AlreadyRunning(_)), "{error}");
    assert!(error.to_string().contains("another run trains in this directory"), "{error}");
    drop(run);
    assert!(Model::default().train(&training).starts_with("no checkpoint yet"));
    assert!(Model::default().train(&training.steps(3)).contains("step-2.safetensors"));
}

#[test]
fn what_is_done_otherwise_than_before_is_said() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let training = |steps| in_directory(directory.path()).steps(steps);
    Model::default().train(&training(1));
    let same = Model::default().train(&training(2));
    assert!(!same.contains("differs"), "{same}");
    let hotter = Model { optimizer: Optimizer::sgd(10.0), ..Model::default() };
    let text = hotter.train(&training(3));
    let note = "note: the optimizer differs from the checkpoint's: learning_rate 0.01, now 10.0";
    assert!(text.contains(note) && !text.contains("the graph differs"), "{text}");
    let tanh =
        Model { optimizer: Optimizer::sgd(10.0), activation: |x| x.tanh(), ..Model::default() };
    let text = tanh.train(&training(4));
    assert!(text.contains("note: the graph differs from the checkpoint's: `tanh` in"), "{text}");
    assert!(text.contains("begin.rs:") && text.ends_with(" was `relu`"), "{text}");
}

#[test]
fn restore_options_are_for_a_checkpoint_that_does_not_fit() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let training = |steps| in_directory(directory.path()).steps(steps);
    Model::default().train(&training(1));
    let wider = || Model { head: "new_head", units: 5, ..Model::default() };
    let refused = wider().begin(&training(2)).map(|_| ()).expect_err("it does not fit");
    let text = refused.to_string();
    assert!(text.contains("Nothing on the device was changed"), "{text}");
    let options = RestoreOptions::new().ignore("{head,new_head}/**");
    let fitted = |steps| training(steps).restore_options(options.clone());
    let text = wider().train(&fitted(2));
    assert!(text.contains("2 variables initialized, seed 0"), "{text}");
    // The head that was trained meanwhile is not left out again.
    let text = wider().train(&fitted(3));
    assert!(text.contains("step-2.safetensors") && !text.contains("initialized"), "{text}");
}

/// A run initializes what has no value: no help tells to call what does.
#[test]
fn helps_are_those_of_a_run() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let training = |steps| in_directory(directory.path()).steps(steps);
    Model::default().train(&training(1));
    let refused = |model: Model| {
        let error = model.begin(&training(2)).map(|_| ()).expect_err("it does not fit");
        error.to_string()
    };
    let text = refused(Model { optimizer: Optimizer::adam(0.01), ..Model::default() });
    assert!(
        text.contains("`.allow_missing().allow_unexpected()` begins with the restored"),
        "{text}"
    );
    assert!(!text.contains("initialize_missing"), "{text}");
    let text = refused(Model { head: "z", units: 3, ..Model::default() });
    assert!(text.contains("; then `Training` fills those without a value"), "{text}");
    assert!(!text.contains("initialize_missing"), "{text}");
}

#[test]
fn what_rules_rename_is_no_other_graph() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let training = |steps| in_directory(directory.path()).steps(steps);
    Model::default().train(&training(1));
    let renamed = || Model { head: "new_head", ..Model::default() };
    let rules = RestoreOptions::new().rename_scope("head", "new_head");
    let text = renamed().train(&training(2).restore_options(rules.clone()));
    assert!(text.contains("step-1.safetensors") && !text.contains("differs"), "{text}");
    let text = renamed().train(&training(3).restore_options(rules));
    assert!(text.contains("step-2.safetensors") && !text.contains("differs"), "{text}");
}

/// The values of a tensor in the checkpoint of a step.
fn values(directory: &Path, step: u64, tensor: &str) -> Vec<f32> {
    let file = directory.join(format!("step-{step}.safetensors"));
    let checkpoint = Checkpoint::open(file).expect("it is there");
    let mut bytes = [0; 256];
    let length = checkpoint.reader(tensor).expect("a tensor").read(&mut bytes).expect("bytes");
    bytes[..length].chunks(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

#[test]
fn rules_are_followed_once() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let training = |steps| in_directory(directory.path()).steps(steps);
    // A square matrix: its shape does not tell which way round it is.
    let square = || Model { units: 4, optimizer: Optimizer::sgd(1e-30), ..Model::default() };
    square().train(&training(1));
    let first = values(directory.path(), 1, "head/weight");
    let transposed: Vec<f32> = (0..16).map(|at| first[at % 4 * 4 + at / 4]).collect();
    let ruled =
        |steps| training(steps).restore_options(RestoreOptions::new().transpose("head/weight"));
    let text = square().train(&ruled(2));
    assert!(text.contains("1 transposed"), "{text}");
    assert_eq!(values(directory.path(), 2, "head/weight"), transposed);
    // Those of the run itself are as they should be.
    let text = square().train(&ruled(3));
    assert!(!text.contains("transposed") && !text.contains("note: no rule"), "{text}");
    assert_eq!(values(directory.path(), 3, "head/weight"), transposed);
    // Under rules that it does not fit under, a checkpoint that fits is taken as it is, aloud.
    let other = RestoreOptions::new().rename("elsewhere", "head/weight");
    let text = square().train(&training(4).restore_options(other));
    assert!(text.contains("note: no rule was followed"), "{text}");
    assert_eq!(values(directory.path(), 4, "head/weight"), transposed);
}

/// A head that begins anew is not trained with the averages of the old one, nor is the old one kept in
/// silence.
#[test]
fn a_head_is_not_left_out_without_its_slots() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let momentum = || {
        let optimizer = Optimizer::sgd(0.01).momentum(0.9);
        Model { optimizer, ..Model::default() }
    };
    let training = |steps| in_directory(directory.path()).steps(steps);
    momentum().train(&training(1));
    let head = |glob| training(2).restore_options(RestoreOptions::new().ignore(glob));
    let refused = momentum().begin(&head("head/*")).map(|_| ()).expect_err("slots are left");
    let text = refused.to_string();
    assert!(matches!(refused, TrainingError::Mismatch { .. }), "{text}");
    let error = "error: sgd's slot momentum for 2 variables would be restored, though what they \
                 belong to is not.";
    assert!(text.contains(error) && text.contains(r#"`.ignore("head/**")` leaves"#), "{text}");
    // With them it is: two weights and two slots, and later no rule is followed again.
    let text = momentum().train(&head("head/**"));
    assert!(text.contains("4 variables initialized"), "{text}");
    let again = training(3).restore_options(RestoreOptions::new().ignore("head/**"));
    assert!(!momentum().train(&again).contains("initialized"));
}

#[test]
fn rules_that_are_added_are_followed_alone_and_others_refused() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let square = || Model { units: 4, optimizer: Optimizer::sgd(1e-30), ..Model::default() };
    let training = |steps, rules: &RestoreOptions| {
        in_directory(directory.path()).steps(steps).restore_options(rules.clone())
    };
    let head = RestoreOptions::new().transpose("head/weight");
    let both = head.clone().transpose("hea*/weight");
    square().train(&training(1, &RestoreOptions::new()));
    let first = values(directory.path(), 1, "head/weight");
    let transposed: Vec<f32> = (0..16).map(|at| first[at % 4 * 4 + at / 4]).collect();
    assert_ne!(first, transposed);
    square().train(&training(2, &head));
    assert_eq!(values(directory.path(), 2, "head/weight"), transposed);
    // One rule more: the one that was followed is not followed again.
    let text = square().train(&training(3, &both));
    assert!(text.contains("1 transposed"), "{text}");
    assert_eq!(values(directory.path(), 3, "head/weight"), first);
    let text = square().train(&training(4, &both));
    assert!(!text.contains("transposed"), "{text}");
    assert_eq!(values(directory.path(), 4, "head/weight"), first);
    // One less, or another one: it may have been followed, and may not.
    for other in [head, RestoreOptions::new().transpose("h*/weight")] {
        let result = square().begin(&training(5, &other)).map(|_| ());
        let error = result.expect_err("it cannot be told").to_string();
        assert!(error.contains("step-4.safetensors was saved by a run with the rules"), "{error}");
        assert!(
            error.contains(r#"`.transpose("head/weight").transpose("hea*/weight")`"#),
            "{error}"
        );
    }
}

#[test]
fn a_newest_checkpoint_with_damaged_weights_is_passed_over_and_said() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let training = |steps| in_directory(directory.path()).steps(steps);
    Model::default().train(&training(1));
    Model::default().train(&training(2));
    let newest = directory.path().join("step-2.safetensors");
    let mut bytes = std::fs::read(&newest).expect("it is there");
    let last = bytes.len() - 2;
    bytes[last] ^= 4;
    std::fs::write(&newest, &bytes).expect("it can be written");
    let text = Model::default().train(&training(3));
    assert!(
        text.contains("note: a newer checkpoint is damaged, and an older one was opened: "),
        "{text}"
    );
    assert!(text.contains("step-2.safetensors") && text.contains("step-1.safetensors"), "{text}");
    // All of them: nothing is begun anew over what may be mended.
    for step in [1, 2, 3] {
        let file = directory.path().join(format!("step-{step}.safetensors"));
        let Ok(mut bytes) = std::fs::read(&file) else { continue };
        let last = bytes.len() - 2;
        bytes[last] ^= 8;
        std::fs::write(&file, &bytes).expect("it can be written");
    }
    let error = Model::default().begin(&training(4)).map(|_| ()).expect_err("all are damaged");
    assert!(error.to_string().contains("are damaged"), "{error}");
}

#[test]
fn files_of_other_names_are_passed_over_and_said() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(directory.path().join("weights.safetensors"), b"whatever").expect("it fits");
    let text = Model::default().train(&in_directory(directory.path()).steps(1));
    assert!(text.starts_with("no checkpoint yet: "), "{text}");
    assert!(text.contains("weights.safetensors was left alone"), "{text}");
}

#[test]
fn metrics_that_cannot_be_read_do_not_undo_a_training_that_is_saved() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let model = Model::default();
    let training = in_directory(directory.path()).steps(2);
    let (mut run, mut session, plan, loss) = model.begin(&training).expect("it begins");
    while run.next_step().is_some() {
        let outputs = session.run(&plan, &[("x", (&[0.5f32; 6]).into())]).expect("it runs");
        run.record(&session, &outputs, loss).expect("it is recorded");
    }
    let metrics = directory.path().join("metrics.csv");
    std::fs::remove_file(&metrics).expect("it is there");
    std::fs::write(&metrics, "something else\n").expect("it can be written");
    let saved = run.finish(&session).expect("the weights are saved");
    assert!(saved.ends_with("step-2.safetensors") && saved.is_file());
    assert!(!directory.path().join("loss.svg").exists());
    // Nor does a run that has nothing left to do fail for them.
    Model::default().train(&training);
}

#[test]
fn a_loop_that_records_nothing_ends_and_says_so() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let training = in_directory(directory.path()).steps(3);
    let model = Model::default();
    let (mut run, mut session, plan, loss) = model.begin(&training).expect("it begins");
    let feeds = [("x", (&[0.5f32; 6]).into())];
    let outputs = session.run(&plan, &feeds).expect("it runs");
    // To look ahead is no mistake.
    (0..10).for_each(|_| assert_eq!(run.next_step(), Some(0)));
    run.record(&session, &outputs, loss).expect("it is recorded");
    let asked = std::iter::from_fn(|| run.next_step()).inspect(|&step| assert_eq!(step, 1));
    assert_eq!(asked.count(), 1000);
    // No more was trained than was recorded.
    let error = run.finish(&session).expect_err("steps are left");
    assert!(matches!(error, TrainingError::NothingRecorded { step: 1, .. }), "{error}");
    assert!(directory.path().join("step-1.safetensors").exists());
}

#[test]
fn what_was_trained_and_not_recorded_is_not_saved() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let model = Model::default();
    let training = in_directory(directory.path()).steps(3);
    let (run, mut session, plan, _) = model.begin(&training).expect("it begins");
    for _ in 0..3 {
        session.run(&plan, &[("x", (&[0.5f32; 6]).into())]).expect("it runs");
    }
    let error = run.finish(&session).expect_err("nothing was recorded");
    let counted = TrainingError::OtherCount { name: "global_step".into(), recorded: 0, counted: 3 };
    assert_eq!(error.to_string(), counted.to_string());
    assert!(!directory.path().join("step-0.safetensors").exists());
}

/// The first records say nothing of later ones. What was trained is not lost.
#[test]
fn what_is_trained_twice_later_is_saved_and_told() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let model = Model::default();
    let training = in_directory(directory.path()).steps(6).save_every(4);
    let (mut run, mut session, plan, loss) = model.begin(&training).expect("it begins");
    let feeds = [("x", (&[0.5f32; 6]).into())];
    let told = |recorded, counted| {
        let name = "global_step".into();
        TrainingError::OtherCount { name, recorded, counted }.to_string()
    };
    for step in 0..4 {
        let outputs = session.run(&plan, &feeds).expect("it runs");
        if step == 2 {
            session.run(&plan, &feeds).expect("it runs");
        }
        let recorded = run.record(&session, &outputs, loss);
        match step {
            3 => assert_eq!(recorded.expect_err("it is told").to_string(), told(4, 5)),
            _ => recorded.expect("it is recorded"),
        }
    }
    assert!(directory.path().join("step-4.safetensors").is_file());
    // Nor is it forgotten where the program goes on.
    let outputs = session.run(&plan, &feeds).expect("it runs");
    run.record(&session, &outputs, loss).expect("nothing is saved at this step");
    let error = run.finish(&session).expect_err("it is told again");
    assert_eq!(error.to_string(), told(5, 6));
    assert!(directory.path().join("step-5.safetensors").is_file());
}

/// A loss that went astray, an earlier checkpoint restored, and on with that.
#[test]
fn a_run_may_go_back_to_its_own_checkpoint() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let feeds = [("x", (&[0.5f32; 6]).into())];
    let checkpoint = |step: u32| directory.path().join(format!("step-{step}.safetensors"));
    let back = |session: &mut Session, step| {
        let checkpoint = Checkpoint::open(checkpoint(step)).expect("it is there");
        let plan = checkpoint.plan(session, &RestoreOptions::new());
        plan.restore(session).expect("it is restored");
    };
    // To what it saved itself, and, when it was begun again, to what it began with.
    for (steps, at, to) in [(6, 5, 2), (10, 9, 6)] {
        let model = Model::default();
        let training = in_directory(directory.path()).steps(steps).save_every(2);
        let (mut run, mut session, plan, loss) = model.begin(&training).expect("it begins");
        while let Some(step) = run.next_step() {
            if step == at {
                back(&mut session, to);
            }
            let outputs = session.run(&plan, &feeds).expect("it runs");
            run.record(&session, &outputs, loss).expect("it is recorded");
        }
        // And before it ends.
        back(&mut session, to);
        run.finish(&session).expect("it ends");
        assert!(checkpoint(steps as u32).is_file());
    }
}

/// Accumulators come and go like other slots, and another number of steps is no error.
#[test]
fn gradient_accumulation_may_come_and_change() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let training = |steps| in_directory(directory.path()).steps(steps);
    let with = |steps: u32| {
        let optimizer = Optimizer::sgd(0.01).gradient_accumulation_steps(steps);
        Model { optimizer, ..Model::default() }
    };
    with(1).train(&training(1));
    let error = with(4).begin(&training(2)).map(|_| ()).expect_err("there are none");
    for part in ["sgd's slot gradient_accumulator for 4 variables", "accumulated_batches"] {
        assert!(error.to_string().contains(part), "`{part}` is not in {error}");
    }
    let text = with(4).train(&training(2).restore_options(RestoreOptions::new().allow_missing()));
    let note = "gradient_accumulation_steps none, now 4";
    assert!(text.contains(note) && !text.contains("the graph differs"), "{text}");
    assert!(text.ends_with("5 variables initialized, seed 0"), "{text}");
    let text = with(2).train(&training(4));
    let note = "gradient_accumulation_steps 4, now 2";
    assert!(text.contains(note) && !text.contains("the graph differs"), "{text}");
}

/// Whoever takes it away in the middle of an update is told what is lost, and only then.
#[test]
fn batches_that_are_not_restored_are_told() {
    let trained = |steps: u64| {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let optimizer = Optimizer::sgd(0.01).gradient_accumulation_steps(4);
        let model = Model { optimizer, ..Model::default() };
        let training = in_directory(directory.path()).steps(steps);
        let (mut run, mut session, plan, loss) = model.begin(&training).expect("it begins");
        while run.next_step().is_some() {
            let outputs = session.run(&plan, &[("x", (&[0.5f32; 6]).into())]).expect("it runs");
            run.record(&session, &outputs, loss).expect("it is recorded");
        }
        let left = run.accumulated_batches(&session).expect("a count");
        assert_eq!(u64::from(left), steps % 4);
        run.finish(&session).expect("it is saved");
        (directory, training)
    };
    for (steps, told) in [
        (4, None),
        (5, Some("the batch since the last update is")),
        (7, Some("the 3 batches since the last update are")),
    ] {
        let (_directory, training) = trained(steps);
        let lenient = RestoreOptions::new().allow_unexpected();
        let text = Model::default().train(&training.steps(steps + 1).restore_options(lenient));
        assert!(text.contains("gradient_accumulation_steps 4, now none"), "{text}");
        match told {
            None => assert!(!text.contains("in no weight"), "{text}"),
            Some(told) => {
                let note = format!(
                    "\nnote: {told} in no weight, since `sgd/accumulated_batches` and the gradients of it are not restored; with"
                );
                assert!(text.contains(&note), "{text}");
            }
        }
    }
    // With other steps, and with the same, all goes on.
    let (_directory, training) = trained(6);
    for (steps, done) in [(4, 7), (3, 8)] {
        let optimizer = Optimizer::sgd(0.01).gradient_accumulation_steps(steps);
        let text = Model { optimizer, ..Model::default() }.train(&training.clone().steps(done));
        assert!(!text.contains("in no weight"), "{text}");
    }
}

/// In the middle of an update all that is accumulated is restored, or nothing of it.
#[test]
fn a_part_of_what_is_accumulated_is_not_restored() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let training = |steps| in_directory(directory.path()).steps(steps);
    let model = || {
        let optimizer = Optimizer::sgd(0.01).gradient_accumulation_steps(4);
        Model { optimizer, ..Model::default() }
    };
    model().train(&training(2));
    // A head anew would have its own sums, divided by batches that it never saw.
    let anew = RestoreOptions::new().ignore("head/**");
    let begun = model().begin(&training(3).restore_options(anew.clone())).map(drop);
    let refused = begun.expect_err("the sums of the head are missing").to_string();
    let rule = r#".ignore("{sgd/accumulated_batches,**/sgd/gradient_accumulator}")"#;
    for part in [
        "error: the gradients of 2 batches that sgd has accumulated would be restored without those \
         of `head/weight`, `head/bias`",
        &format!("help: `{rule}` leaves out all of them"),
    ] {
        assert!(refused.contains(part), "`{part}` is not in {refused}");
    }
    let anew = anew.ignore("{sgd/accumulated_batches,**/sgd/gradient_accumulator}");
    let begins = model();
    let (run, session, ..) =
        begins.begin(&training(3).restore_options(anew)).expect("all of it begins anew");
    assert_eq!(run.next_step(), Some(2));
    let count = session.read("sgd/accumulated_batches").expect("a value");
    assert_eq!(count.as_u32(), Some(&[0][..]));
    let sum = session.read("body/weight/sgd/gradient_accumulator").expect("a value");
    assert!(sum.to_f64().iter().all(|&value| value == 0.0));
}
