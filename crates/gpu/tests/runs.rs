//! What a run refuses before anything is dispatched, and what it does to variables.

mod common;

use warmstart_gpu::{
    CompileError, Feed, Gpu, Missing, Origin, Outputs, Overwrite, Plan, RunError, Session,
    SessionError,
};
use warmstart_graph::{DType, Graph, Initializer, Optimizer, Schedule, Shape, Tensor, TensorData};

/// Twice what is fed, four elements.
fn doubled<'g>(graph: &'g Graph) -> Tensor<'g> {
    graph.placeholder("input", [4], DType::F32) * 2.0
}

fn compiled<'g>(session: &mut Session, fetch: Tensor<'g>) -> Plan {
    session.compile(fetch.graph(), &[fetch], &[]).unwrap()
}

#[track_caller]
fn refused(outcome: Result<Outputs, RunError>) -> RunError {
    match outcome {
        Ok(_) => panic!("the run was not refused"),
        Err(error) => error,
    }
}

#[test]
fn an_unknown_feed_is_refused_with_the_closest_name() {
    let graph = Graph::new();
    let mut session = Session::new(&common::gpu());
    let plan = compiled(&mut session, doubled(&graph));
    let x = [1.0f32; 4];
    let error = refused(session.run(&plan, &[("inptu", (&x).into())]));
    assert!(matches!(&error, RunError::UnknownFeed { name, close, known }
        if name == "inptu" && *close == ["input"] && *known == ["input"]));
    let text = error.to_string();
    assert!(text.contains("`inptu`") && text.contains("Did you mean `input`?"), "{text}");
    // Also beside one that is right.
    let feeds = [("input", Feed::from(&x)), ("labels", (&x).into())];
    let error = refused(session.run(&plan, &feeds));
    assert!(matches!(&error, RunError::UnknownFeed { name, .. } if name == "labels"), "{error}");
}

#[test]
fn a_missing_feed_is_named_with_its_line() {
    let graph = Graph::new();
    let result = doubled(&graph);
    let mut session = Session::new(&common::gpu());
    let plan = compiled(&mut session, result);
    let error = refused(session.run(&plan, &[]));
    let RunError::NotFed { name, dtype, shape, location, fed } = &error else { panic!("{error}") };
    assert_eq!((name.as_str(), *dtype, shape), ("input", DType::F32, &Shape::from([4])));
    assert!(fed.is_empty());
    assert!(location.file.ends_with("runs.rs") && location.line > 0);
    assert!(error.to_string().contains(&location.to_string()), "{error}");
}

#[test]
fn a_placeholder_is_fed_once() {
    let graph = Graph::new();
    let mut session = Session::new(&common::gpu());
    let plan = compiled(&mut session, doubled(&graph));
    let x = [1.0f32; 4];
    let error = refused(session.run(&plan, &[("input", (&x).into()), ("input", (&x).into())]));
    assert!(matches!(&error, RunError::FedTwice { name } if name == "input"), "{error}");
}

#[test]
fn a_feed_has_the_length_and_dtype_of_its_placeholder() {
    let graph = Graph::new();
    let result = doubled(&graph);
    let mut session = Session::new(&common::gpu());
    let plan = compiled(&mut session, result);
    for length in [0, 3, 5, 8] {
        let x = vec![1.0f32; length];
        let error = refused(session.run(&plan, &[("input", (&x).into())]));
        assert!(
            matches!(&error, RunError::FeedLength { name, expected: 4, found, .. }
                if name == "input" && *found == length),
            "{error}"
        );
    }
    let error = refused(session.run(&plan, &[("input", (&[1i32; 4]).into())]));
    assert!(
        matches!(&error, RunError::FeedDType { expected: DType::F32, found: DType::I32, .. }),
        "{error}"
    );
    // As many bytes, and still not the same.
    let error = refused(session.run(&plan, &[("input", (&[half::f16::ONE; 8]).into())]));
    assert!(matches!(&error, RunError::FeedDType { found: DType::F16, .. }), "{error}");
    // A refusal leaves the plan as it was.
    let outputs = session.run(&plan, &[("input", (&[1.0f32, 2.0, 3.0, 4.0]).into())]).unwrap();
    assert_eq!(outputs.tensor(result).unwrap().as_f32(), Some(&[2.0, 4.0, 6.0, 8.0][..]));
}

#[test]
fn a_plan_belongs_to_its_session() {
    let gpu = common::gpu();
    let graph = Graph::new();
    let mut session = Session::new(&gpu);
    let plan = compiled(&mut session, doubled(&graph));
    let mut other = Session::new(&gpu);
    let error = refused(other.run(&plan, &[("input", (&[1.0f32; 4]).into())]));
    assert!(matches!(error, RunError::OtherSession));
}

#[test]
fn what_is_not_fetched_is_not_there() {
    let graph = Graph::new();
    let result = doubled(&graph);
    let other = result + 1.0;
    let mut session = Session::new(&common::gpu());
    let plan = compiled(&mut session, result);
    let outputs = session.run(&plan, &[("input", (&[1.0f32; 4]).into())]).unwrap();
    let error = outputs.tensor(other).unwrap_err();
    assert!(matches!(error, RunError::NotFetched { .. }), "{error}");
    let text = error.to_string();
    // What was asked for, and what there is, each with the line that built it.
    assert!(text.starts_with("`add` at ") && text.contains("fetches: `mul` at "), "{text}");
    assert_eq!(text.matches("runs.rs:").count(), 2, "{text}");
    assert!(text.ends_with("add it to the fetches when compiling"), "{text}");
    // The same operation of the same scope: perhaps it was meant to be the one that is fetched.
    let text = outputs.tensor(result * 2.0).unwrap_err().to_string();
    assert_eq!(text.matches("runs.rs:").count(), 2, "{text}");
    assert!(text.ends_with("keep the tensor that was compiled and ask for that"), "{text}");
    let error = outputs.scalar(result).unwrap_err();
    assert!(matches!(error, RunError::FetchedAs { dtype: DType::F32, .. }), "{error}");
}

#[test]
fn a_tensor_of_another_graph_is_never_mistaken_for_a_fetch() {
    let (graph, twin) = (Graph::new(), Graph::new());
    let (result, same_node) = (doubled(&graph), doubled(&twin).named("twin"));
    assert_eq!(result.id(), same_node.id(), "only then is there something to mistake");
    let mut session = Session::new(&common::gpu());
    let plan = compiled(&mut session, result);
    let outputs = session.run(&plan, &[("input", (&[1.0f32; 4]).into())]).unwrap();
    let restored = Graph::from_def(graph.finish().unwrap()).unwrap();
    for foreign in [same_node, restored.tensor(result.id()).unwrap()] {
        let error = outputs.tensor(foreign).unwrap_err();
        assert!(matches!(error, RunError::OtherGraph { .. }), "{error}");
    }
    let text = outputs.scalar(same_node).unwrap_err().to_string();
    assert!(text.starts_with("`twin`, `mul` at ") && text.contains("another graph"), "{text}");
    assert_eq!(outputs.tensor(result).unwrap().as_f32(), Some(&[2.0; 4][..]));
}

#[test]
fn mistakes_of_the_graph_are_all_found_when_it_is_compiled() {
    let graph = Graph::new();
    let x = graph.placeholder("x", [4, 3], DType::F32);
    let first = x + graph.placeholder("y", [4, 2], DType::F32);
    let second = x.matmul(x);
    let mut session = Session::new(&common::gpu());
    match session.compile(&graph, &[first, second], &[]) {
        Err(CompileError::Graph(errors)) => {
            assert_eq!(errors.0.len(), 2, "{errors}");
            assert!(errors.0.iter().all(|error| error.location.file.ends_with("runs.rs")));
        }
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("the graph was compiled"),
    }
    assert!(session.variables().is_empty());
}

#[test]
fn a_tensor_of_another_graph_is_no_fetch() {
    let (graph, other) = (Graph::new(), Graph::new());
    let _ = doubled(&graph);
    let foreign = doubled(&other);
    let mut session = Session::new(&common::gpu());
    let outcome = session.compile(&graph, &[foreign], &[]);
    assert!(matches!(outcome.err(), Some(CompileError::ForeignTensor)));
}

/// A model with three layers, as it is trained and evaluated.
struct Model {
    graph: Graph,
}

impl Model {
    const CLASSES: usize = 10;

    fn new() -> Model {
        Model { graph: Graph::new() }
    }

    fn loss(&self, batch: usize) -> (Tensor<'_>, Tensor<'_>) {
        let x = self.graph.placeholder("x", [batch, 16], DType::F32);
        let labels = self.graph.placeholder("labels", [batch], DType::I32);
        let hidden = self.graph.scope("fc1").linear(x, 33).relu();
        let hidden = self.graph.scope("fc2").linear(hidden, 17).relu();
        let logits = self.graph.scope("fc3").linear(hidden, Model::CLASSES);
        (logits, logits.softmax_cross_entropy(labels))
    }
}

fn optimizer() -> Optimizer {
    Optimizer::adam(Schedule::from(1e-2)).clip_global_norm(0.5)
}

/// A batch, always the same for a number.
fn batch(size: usize, number: usize) -> (Vec<f32>, Vec<i32>) {
    let xs = (0..size * 16).map(|i| ((i * 37 + number * 11) % 101) as f32 / 50.0 - 1.0);
    let ys = (0..size).map(|i| ((i * 3 + number) % Model::CLASSES) as i32);
    (xs.collect(), ys.collect())
}

#[test]
fn variables_without_a_value_stop_a_run_before_it_begins() {
    let model = Model::new();
    let (_, loss) = model.loss(8);
    let step = optimizer().minimize(loss);
    let mut session = Session::new(&common::gpu());
    let plan = session.compile(&model.graph, &[loss], &[step.update]).unwrap();
    // One variable has a value: it must neither be reported nor change.
    let bias = TensorData::new([33], vec![0.5f32; 33]).unwrap();
    session.assign("fc1/bias", &bias).unwrap();
    session.mark_missing(
        "fc2/weight",
        Missing::AbsentFromCheckpoint {
            file: "old/step-5.safetensors".into(),
            close: vec!["fc2/kernel".to_owned()],
        },
    );

    let (xs, ys) = batch(8, 0);
    let feeds = [("x", Feed::from(&xs)), ("labels", (&ys).into())];
    let error = refused(session.run(&plan, &feeds));
    let text = error.to_string();
    let RunError::Uninitialized { variables } = error else { panic!("{text}") };
    let expected: Vec<String> =
        session.uninitialized().iter().map(|info| info.name().to_owned()).collect();
    let mut names: Vec<String> = variables.iter().map(|read| read.name.clone()).collect();
    assert!(!names.contains(&"fc1/bias".to_owned()));
    names.sort();
    let mut sorted = expected.clone();
    sorted.sort();
    assert_eq!(names, sorted, "slots and counters are read, too");
    assert!(text.contains(&format!("{} variables that this run reads have no value", names.len())));
    let weight = variables.iter().find(|read| read.name == "fc1/weight").unwrap();
    assert_eq!((weight.dtype, &weight.shape), (DType::F32, &Shape::from([16, 33])));
    assert_eq!(weight.operation, "matmul");
    let line = format!(
        "`fc1/weight` f32 [16, 33]: {}; read by matmul at {}",
        Origin::Uninitialized(Missing::NeverInitialized),
        weight.location
    );
    assert!(text.contains(&line), "{text}");
    assert!(weight.location.file.ends_with("runs.rs") && weight.location.line > 0, "{text}");
    assert!(text.contains("initialize_missing"), "{text}");
    let absent = "`fc2/weight` f32 [33, 17]: uninitialized (absent from old/step-5.safetensors, which has fc2/kernel)";
    assert!(text.contains(absent), "{text}");

    // Nothing was run, and nothing has a value now that had none.
    assert_eq!(session.read("fc1/bias").unwrap(), bias);
    assert_eq!(session.variable("fc1/bias").unwrap().origin, Origin::Assigned);
    assert_eq!(session.uninitialized().len(), expected.len());
    assert!(matches!(session.read("fc1/weight"), Err(SessionError::Uninitialized { .. })));

    assert_eq!(session.initialize_missing(7).unwrap(), expected);
    let loss = session.run(&plan, &feeds).unwrap().scalar(loss).unwrap();
    assert!(loss.is_finite() && loss > 0.0, "{loss}");
    assert_eq!(session.read("global_step").unwrap(), TensorData::from(1u32));
}

#[test]
fn a_run_needs_values_only_for_what_it_reads() {
    let graph = Graph::new();
    let used = graph.variable("used", [2], Initializer::Ones);
    let written = graph.scope("").reuse().state_of("written", [2], DType::F32, Initializer::Zeros);
    let update = (used * 3.0).assign_to(written);
    let result = used + 1.0;
    let mut session = Session::new(&common::gpu());
    let plan = session.compile(&graph, &[result], &[update]).unwrap();
    session.assign("used", &TensorData::new([2], [1.0f32, 2.0]).unwrap()).unwrap();
    // An assignment gives its variable a value; it does not need one.
    let name = written_name(&session);
    let outputs = session.run(&plan, &[]).unwrap();
    assert_eq!(outputs.tensor(result).unwrap().as_f32(), Some(&[2.0, 3.0][..]));
    assert_eq!(session.read(&name).unwrap().as_f32(), Some(&[3.0, 6.0][..]));
    assert_eq!(session.variable(&name).unwrap().origin, Origin::Computed { from: None });
}

/// A graph's own updates, as of an optimizer that is written by hand: a value made from another has its seed
/// still, one that is written over has not.
#[test]
fn what_a_graph_computes_comes_from_what_it_read() {
    let graph = Graph::new();
    let made = graph.variable("made", [2], Initializer::Ones);
    let average = graph.scope("").reuse().state_of("average", [2], DType::F32, Initializer::Zeros);
    let decays = (made * 0.5).assign_to(made);
    let replaced = (made * 3.0).assign_to(average);
    let mut session = Session::new(&common::gpu());
    let plan = session.compile(&graph, &[], &[decays]).unwrap();
    let replaces = session.compile(&graph, &[], &[replaced]).unwrap();
    session.initialize_missing(7).unwrap();
    for _ in 0..2 {
        session.run(&plan, &[]).unwrap();
        session.run(&replaces, &[]).unwrap();
    }
    let origins: Vec<String> =
        session.variables().iter().map(|info| info.origin.to_string()).collect();
    assert_eq!(origins, ["computed, from initialized (ones, seed 7)", "computed"]);
    assert_eq!(session.seed(), Some(7));
    let before = session.variable("made").unwrap().origin.before_runs().clone();
    assert_eq!(before, Origin::Initialized { initializer: Initializer::Ones, seed: 7 });
    let refused = session.initialize_all(7, Overwrite::Refuse).unwrap_err().to_string();
    assert!(refused.contains("made") && refused.contains("average"), "{refused}");
}

fn written_name(session: &Session) -> String {
    let other = session.variables().iter().find(|info| info.name() != "used").unwrap();
    assert!(!other.origin.has_value());
    other.name().to_owned()
}

#[test]
fn training_and_evaluation_share_their_variables() {
    let gpu = common::gpu();
    let (training, evaluation) = (Model::new(), Model::new());
    let (_, training_loss) = training.loss(8);
    let step = optimizer().minimize(training_loss);
    let (logits, evaluation_loss) = evaluation.loss(5);
    let mut session = Session::new(&gpu);
    let train = session.compile(&training.graph, &[training_loss], &[step.update]).unwrap();
    let declared = session.variables().len();
    let evaluate = session.compile(&evaluation.graph, &[logits, evaluation_loss], &[]).unwrap();
    assert_eq!(session.variables().len(), declared, "evaluation has no variable of its own");
    session.initialize_missing(3).unwrap();

    let (xs, ys) = batch(5, 1);
    let evaluated = |session: &mut Session| {
        let feeds = [("x", (&xs).into()), ("labels", (&ys).into())];
        let outputs = session.run(&evaluate, &feeds).unwrap();
        (outputs.scalar(evaluation_loss).unwrap(), outputs.tensor(logits).unwrap())
    };
    let (before, _) = evaluated(&mut session);
    assert!(session.variables().iter().all(|info| !info.origin.is_trained()));
    // The evaluation's batch is part of the training's: its loss falls.
    let (mut xs8, mut ys8) = batch(8, 2);
    xs8[..5 * 16].copy_from_slice(&batch(5, 1).0);
    ys8[..5].copy_from_slice(&batch(5, 1).1);
    for _ in 0..40 {
        session.run(&train, &[("x", (&xs8).into()), ("labels", (&ys8).into())]).unwrap();
    }
    let (after, found) = evaluated(&mut session);
    assert!(after < before * 0.8, "the loss was {before} and is {after}");

    // Precisely the trained values: the same as from the weights read back.
    let def = evaluation.graph.finish().unwrap();
    let mut reference = warmstart_graph::reference::Reference::new(&def);
    for variable in &def.variables {
        reference.assign(&variable.name, &session.read(&variable.name).unwrap());
    }
    let (xs, ys) = batch(5, 1);
    reference.feed("x", &TensorData::new([5, 16], xs).unwrap());
    reference.feed("labels", &TensorData::new([5], ys).unwrap());
    let expected = reference.run(&[logits.id()]).unwrap();
    for (found, expected) in found.to_f64().iter().zip(&expected[0].elements) {
        assert!((found - expected).abs() < 1e-4, "{found}, not {expected}");
    }

    // Everything that training changed says so, and where it began.
    for info in session.variables().iter() {
        let Origin::Trained { from } = &info.origin else {
            panic!("{}: {}", info.name(), info.origin)
        };
        assert!(matches!(**from, Origin::Initialized { seed: 3, .. }), "{}", info.origin);
    }
    assert_eq!(session.read("global_step").unwrap(), TensorData::from(40u32));
}

#[test]
fn a_frozen_variable_is_not_said_to_be_trained() {
    let graph = Graph::new();
    let frozen = graph.scope("frozen").frozen().variable("weight", [3], Initializer::Ones);
    let weight = graph.variable("weight", [3], Initializer::Ones);
    let loss = (weight * frozen - 2.0).square().sum_all();
    let step = Optimizer::sgd(0.1).minimize(loss);
    let mut session = Session::new(&common::gpu());
    let plan = session.compile(&graph, &[loss], &[step.update]).unwrap();
    session.initialize_missing(1).unwrap();
    session.run(&plan, &[]).unwrap();
    assert!(session.variable("weight").unwrap().origin.is_trained());
    assert!(!session.variable("frozen/weight").unwrap().origin.is_trained());
    assert_eq!(session.read("frozen/weight").unwrap().as_f32(), Some(&[1.0f32; 3][..]));
    let changed = session.read("weight").unwrap();
    for &x in changed.as_f32().unwrap() {
        assert!((x - 1.2).abs() < 1e-6, "{x}");
    }
}

/// More runs than are under way at once, read late, out of order, or never.
#[test]
fn outputs_may_be_read_late_or_never() {
    let graph = Graph::new();
    let result = doubled(&graph);
    let sum = result.sum_all();
    let mut session = Session::new(&common::gpu());
    let plan = session.compile(&graph, &[result, sum], &[]).unwrap();
    let mut kept = Vec::new();
    for number in 0..20 {
        let x = [number as f32; 4];
        let outputs = session.run(&plan, &[("input", (&x).into())]).unwrap();
        // Every third is dropped, and its buffer used again while others still hold theirs.
        if number % 3 != 0 {
            kept.push((number as f32, outputs));
        }
    }
    for (number, outputs) in kept.iter().rev() {
        outputs.wait().unwrap();
        assert_eq!(outputs.scalar(sum).unwrap(), number * 8.0);
        assert_eq!(outputs.tensor(result).unwrap().as_f32(), Some(&[number * 2.0; 4][..]));
    }
    drop(kept);
    // Outputs outlive the plan and the session.
    let outputs = session.run(&plan, &[("input", (&[1.5f32; 4]).into())]).unwrap();
    drop((plan, session));
    assert_eq!(outputs.scalar(sum).unwrap(), 12.0);
    assert_eq!(outputs.scalar(sum).unwrap(), 12.0, "reading twice gives the same");
}

#[test]
fn a_fetched_variable_is_that_of_before_the_update() {
    let graph = Graph::new();
    let weight = graph.variable("weight", [3], Initializer::Ones);
    let total = weight.sum_all();
    let loss = weight.square().sum_all();
    let step = Optimizer::sgd(0.25).minimize(loss);
    let mut session = Session::new(&common::gpu());
    let fetches = [weight, total, graph.global_step(), step.gradients[0].1];
    let plan = session.compile(&graph, &fetches, &[step.update]).unwrap();
    session.initialize_missing(1).unwrap();
    // w - 0.25 · 2 w: halved at each step.
    for number in 0..4u32 {
        let value = 0.5f32.powi(number as i32);
        let outputs = session.run(&plan, &[]).unwrap();
        assert_eq!(outputs.tensor(weight).unwrap().as_f32(), Some(&[value; 3][..]));
        assert_eq!(outputs.scalar(total).unwrap(), value * 3.0);
        assert_eq!(outputs.tensor(fetches[2]).unwrap(), TensorData::from(number));
        assert_eq!(outputs.tensor(fetches[3]).unwrap().as_f32(), Some(&[value * 2.0; 3][..]));
        assert_eq!(session.read("weight").unwrap().as_f32(), Some(&[value * 0.5; 3][..]));
    }
}

/// Two assignments that read what the other writes.
#[test]
fn assignments_read_everything_before_they_write() {
    let graph = Graph::new();
    let a = graph.variable("a", [5], Initializer::Zeros);
    let b = graph.variable("b", [5], Initializer::Zeros);
    let mut session = Session::new(&common::gpu());
    let updates = [a.assign_to(b), b.assign_to(a)];
    let plan = session.compile(&graph, &[], &updates).unwrap();
    let value = |x: f32| TensorData::new([5], [x; 5]).unwrap();
    session.assign("a", &value(1.0)).unwrap();
    session.assign("b", &value(2.0)).unwrap();
    session.run(&plan, &[]).unwrap().wait().unwrap();
    assert_eq!(session.read("a").unwrap(), value(2.0));
    assert_eq!(session.read("b").unwrap(), value(1.0));
}

#[test]
fn a_training_step_is_few_dispatches_and_shares_memory() {
    let gpu: Gpu = common::gpu();
    let model = Model::new();
    let (logits, loss) = model.loss(8);
    let step = optimizer().minimize(loss);
    let fetches = [loss, step.gradient_norm, step.learning_rate];
    let mut session = Session::new(&gpu);
    let plan = session.compile(&model.graph, &fetches, &[step.update]).unwrap();
    let dispatches = plan.dispatches();
    assert!(dispatches.len() <= 13, "{plan}");
    let fused = dispatches.iter().filter(|info| info.operations == "matmul+add+relu").count();
    assert_eq!(fused, 2, "{plan}");
    let memory = plan.memory();
    assert!(memory.values < memory.values_unshared, "{plan}");
    assert_eq!(memory.feeds, 8 * 16 * 4 + 8 * 4);
    assert_eq!(memory.peak(), memory.values + memory.feeds + memory.constants);

    let evaluation = session.compile(&model.graph, &[logits], &[]).unwrap();
    let operations: Vec<String> =
        evaluation.dispatches().into_iter().map(|info| info.operations).collect();
    assert_eq!(operations, ["matmul+add+relu", "matmul+add+relu", "matmul+add"]);
    assert!(evaluation.memory().values <= evaluation.memory().values_unshared);
}

/// A feed of no elements, and a result of none.
#[test]
fn nothing_at_all_is_fed_and_fetched() {
    let graph = Graph::new();
    let x = graph.placeholder("x", [0, 3], DType::F32);
    let results = [x * 2.0, x.sum(&[0]), x.matmul(graph.variable("w", [3, 2], Initializer::Ones))];
    let mut session = Session::new(&common::gpu());
    let plan = session.compile(&graph, &results, &[]).unwrap();
    session.initialize_missing(1).unwrap();
    let outputs = session.run(&plan, &[("x", Feed::F32(&[]))]).unwrap();
    assert_eq!(outputs.tensor(results[0]).unwrap().shape(), &Shape::from([0, 3]));
    assert_eq!(outputs.tensor(results[1]).unwrap().as_f32(), Some(&[0.0f32; 3][..]));
    assert_eq!(outputs.tensor(results[2]).unwrap().shape(), &Shape::from([0, 2]));
}

/// Extents of 0 that are not the first, so that strides are 0.
#[test]
fn nothing_at_all_is_within_something() {
    let graph = Graph::new();
    let x = graph.placeholder("x", [2, 3, 0], DType::F32);
    let shifted = x + graph.placeholder("b", [0], DType::F32);
    let logits = x.reshape([6, 0]);
    let labels = graph.constant(TensorData::new([6], vec![0i32; 6]).unwrap());
    let results = [
        shifted.sum(&[0, 2]),
        shifted.transpose(&[1, 2, 0]).sum(&[1]),
        x.reduce_max(&[2]),
        shifted.mean_all(),
        logits.softmax_cross_entropy_smoothed(labels, 0.1),
    ];
    let mut session = Session::new(&common::gpu());
    let plan = session.compile(&graph, &results, &[]).unwrap();
    let feeds = [("x", Feed::F32(&[])), ("b", Feed::F32(&[]))];
    let outputs = session.run(&plan, &feeds).unwrap();
    let found = |at: usize| outputs.tensor(results[at]).unwrap();
    assert_eq!(found(0).as_f32(), Some(&[0.0; 3][..]));
    assert_eq!(found(1).as_f32(), Some(&[0.0; 6][..]));
    assert_eq!(found(2).as_f32(), Some(&[f32::NEG_INFINITY; 6][..]));
    assert!(found(3).as_f32().unwrap()[0].is_nan());
    assert!(found(4).as_f32().unwrap()[0].is_nan());
}

#[test]
fn a_tensor_is_fed_to_its_own_shape_only() {
    let graph = Graph::new();
    let doubled = graph.placeholder("x", [2, 3], DType::F32) * 2.0;
    let mut session = Session::new(&common::gpu());
    let plan = compiled(&mut session, doubled);
    let tensor = |shape: [usize; 2]| TensorData::new(shape, vec![1.5f32; 6]).unwrap();
    let error = refused(session.run(&plan, &[("x", (&tensor([3, 2])).into())]));
    let text = error.to_string();
    assert!(matches!(error, RunError::FeedShape { .. }), "{text}");
    assert!(text.contains("takes [2, 3], and was fed a tensor of [3, 2]"), "{text}");
    let outputs = session.run(&plan, &[("x", (&tensor([2, 3])).into())]).unwrap();
    assert_eq!(outputs.tensor(doubled).unwrap().as_f32(), Some(&[3.0; 6][..]));
}

/// A chain that changes its shape again and again is cut, since each operation takes a frame of the stack
/// while its kernel is built. One that does not is computed from its start on.
#[test]
fn a_long_chain_is_no_deep_stack() {
    let graph = Graph::new();
    let x = graph.placeholder("x", [2, 2], DType::F32);
    let halved = (0..3_000).fold(x, |y, at| {
        let y = (y + at as f32) * 0.5;
        if at % 2 == 0 { y.reshape([4, 1]) } else { y.transpose(&[1, 0]).reshape([2, 2]) }
    });
    let turned = (0..1_000).fold(halved, |y, _| y.transpose(&[1, 0]).slice(0, 0, 2));
    let sum = (0..1_000).fold(turned, |y, _| (y * 2.0 + x * 0.0) * 0.5).sum_all();
    let mut session = Session::new(&common::gpu());
    let plan = compiled(&mut session, sum);
    let outputs = session.run(&plan, &[("x", (&[1e30f32; 4]).into())]).unwrap();
    // Each is the mean of the last and the next number: 2999/2 + 2998/4 + ...
    assert_eq!(outputs.scalar(sum).unwrap(), 4.0 * 2998.0);
}
