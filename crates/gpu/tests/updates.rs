//! Several updates in one plan, against the CPU twin: everything is read before anything is
//! written, and the global step rises by one.

mod common;

use warmstart_gpu::{CompileError, Session};
use warmstart_graph::reference::Reference;
use warmstart_graph::{
    DType, Graph, GraphDef, Initializer, NodeId, Op, Optimizer, Problem, Role, Schedule, Tensor,
    TensorData, global_norm,
};

/// Relative to the largest magnitude of a tensor. Both sides make the same few steps, the device in
/// `f32`: each step sums at most 12 products and squares, each off by up to 2⁻²⁴ ≈ 6·10⁻⁸, and
/// Adam divides by roots of sums of them.
const RELATIVE: f64 = 2e-5;

const STEPS: u32 = 7;

/// Two layers, and what they are trained by: the weights by one optimizer, the biases by another.
fn model(graph: &Graph, rate: impl Into<Schedule>) -> (Tensor<'_>, Vec<NodeId>, Vec<Tensor<'_>>) {
    let x = graph.placeholder("x", [6, 5], DType::F32);
    let y = graph.placeholder("y", [6, 3], DType::F32);
    let hidden = graph.scope("fc1").linear(x, 12).tanh();
    let loss = graph.scope("fc2").linear(hidden, 3).mean_squared_error(y);
    let weights = Optimizer::adamw(rate)
        .clip_global_norm(0.5)
        .minimize_where(loss, |variable| variable.name.ends_with("/weight"));
    let biases = Optimizer::sgd(Schedule::step(0.3, 2, 0.5))
        .momentum(0.9)
        .named("biases")
        .clip_global_norm(0.2)
        .minimize_where(loss, |variable| variable.name.ends_with("/bias"));
    let rates = vec![weights.learning_rate, biases.learning_rate, biases.gradient_norm];
    (loss, vec![weights.update.id(), biases.update.id()], rates)
}

fn numbers(count: usize, start: u32) -> Vec<f32> {
    (0..count as u32).map(|i| ((i * 37 + start * 11) % 101) as f32 / 50.0 - 1.0).collect()
}

#[track_caller]
fn close(what: &str, found: &[f64], expected: &[f64]) {
    let largest = expected.iter().fold(1e-3, |most: f64, x| most.max(x.abs()));
    assert_eq!(found.len(), expected.len(), "{what}");
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() <= RELATIVE * largest, "{what}: {found}, not {expected}");
    }
}

/// Runs both sides from the same values and compares every variable and fetch after each step.
fn follow(def: &GraphDef, fetches: &[NodeId], updates: &[NodeId]) {
    let graph = Graph::from_def(def.clone()).unwrap();
    let tensors: Vec<Tensor<'_>> = fetches.iter().map(|&id| graph.tensor(id).unwrap()).collect();
    let compiled: Vec<_> = updates.iter().map(|&id| graph.update(id).unwrap()).collect();
    let mut session = Session::new(&common::gpu());
    let plan = session.compile(&graph, &tensors, &compiled).unwrap();
    session.initialize_missing(5).unwrap();
    let mut reference = Reference::new(def);
    for variable in &def.variables {
        reference.assign(&variable.name, &session.read(&variable.name).unwrap());
    }
    for step in 0..STEPS {
        let (x, y) = (numbers(30, step), numbers(18, step + 50));
        let outputs = session.run(&plan, &[("x", (&x).into()), ("y", (&y).into())]).unwrap();
        reference.feed("x", &TensorData::new([6, 5], x).unwrap());
        reference.feed("y", &TensorData::new([6, 3], y).unwrap());
        let expected = reference.run(&[fetches, updates].concat()).unwrap();
        for (at, (&tensor, expected)) in tensors.iter().zip(&expected).enumerate() {
            let found = outputs.tensor(tensor).unwrap().to_f64();
            close(&format!("fetch {at} of step {step}"), &found, &expected.elements);
        }
        for variable in &def.variables {
            let found = session.read(&variable.name).unwrap().to_f64();
            let expected = &reference.variable(&variable.name).unwrap().elements;
            close(&format!("{} after step {step}", variable.name), &found, expected);
        }
    }
}

/// A beta of 0 keeps nothing of earlier steps; its logarithm is not finite.
#[test]
fn adam_without_a_memory_goes_as_the_twin_does() {
    for (first, second) in [(0.0, 0.99), (0.9, 0.0), (0.0, 0.0), (1e-300, 1e-300)] {
        let graph = Graph::new();
        let x = graph.placeholder("x", [6, 5], DType::F32);
        let y = graph.placeholder("y", [6, 3], DType::F32);
        let loss = graph.scope("fc").linear(x, 3).mean_squared_error(y);
        // Where nothing else is in the divisor, a gradient near 0 makes much of its own roundings.
        let step = Optimizer::adam(0.05).betas(first, second).epsilon(0.1).minimize(loss);
        follow(&graph.finish().unwrap(), &[loss.id()], &[step.update.id()]);
    }
}

#[test]
fn two_optimizers_share_a_global_step() {
    // With a number for the first rate, the second update alone reads the global step.
    for rate in [Schedule::from(0.05), Schedule::cosine(0.05, 0.0, 10).warm_up(3)] {
        let graph = Graph::new();
        let (loss, updates, rates) = model(&graph, rate);
        let fetches = [loss, graph.global_step(), rates[0], rates[1], rates[2]].map(|t| t.id());
        let def = graph.finish().unwrap();
        for order in [[0, 1], [1, 0]] {
            let updates = order.map(|at| updates[at]);
            follow(&def, &fetches, &updates);
            // With only the loss fetched, rates are computed for the updates alone.
            follow(&def, &fetches[..1], &updates);
        }
    }
}

#[test]
fn the_global_step_rises_by_one_and_so_does_each_optimizers() {
    let graph = Graph::new();
    let (loss, updates, _) = model(&graph, 0.05);
    let mut session = Session::new(&common::gpu());
    let both: Vec<_> = updates.iter().map(|&id| graph.update(id).unwrap()).collect();
    let plan = session.compile(&graph, &[loss], &[both[0], both[1], both[0]]).unwrap();
    session.initialize_missing(5).unwrap();
    let (x, y) = (numbers(30, 0), numbers(18, 0));
    for step in 1..=4u32 {
        session.run(&plan, &[("x", (&x).into()), ("y", (&y).into())]).unwrap().wait().unwrap();
        for name in ["global_step", "adamw/step", "biases/step"] {
            assert_eq!(session.read(name).unwrap(), TensorData::from(step), "{name}");
        }
    }
    let optimizers = plan.dispatches().iter().filter(|info| info.kernel == "optimizer").count();
    assert_eq!(optimizers, 2, "{plan}");
}

/// A count that began at 0 again would be a first step, and one after that of weights that are NaN.
#[test]
fn counts_of_steps_end_instead_of_beginning_again() {
    let graph = Graph::new();
    let (loss, updates, _) = model(&graph, 0.05);
    let mut session = Session::new(&common::gpu());
    let both: Vec<_> = updates.iter().map(|&id| graph.update(id).unwrap()).collect();
    let plan = session.compile(&graph, &[loss], &both).unwrap();
    session.initialize_missing(5).unwrap();
    for (from, then) in
        [(u32::MAX - 2, u32::MAX - 1), (u32::MAX - 1, u32::MAX - 1), (u32::MAX, u32::MAX)]
    {
        let names = ["global_step", "adamw/step", "biases/step"];
        names.iter().for_each(|name| session.assign(name, &TensorData::from(from)).unwrap());
        let (x, y) = (numbers(30, 0), numbers(18, 0));
        let outputs = session.run(&plan, &[("x", (&x).into()), ("y", (&y).into())]).unwrap();
        assert!(outputs.scalar(loss).unwrap().is_finite());
        for name in names {
            assert_eq!(session.read(name).unwrap(), TensorData::from(then), "{name}");
        }
        let weights = session.read("fc1/weight").unwrap();
        assert!(weights.as_f32().unwrap().iter().all(|w| w.is_finite()), "from {from}");
    }
}

/// A graph from elsewhere may have a global step for each optimizer, and a learning rate that is a
/// variable, even one that another update writes.
#[test]
fn steps_and_rates_of_their_own() {
    let graph = Graph::new();
    let (loss, updates, _) = model(&graph, 0.05);
    let other = graph.root().state_of("other_step", [], DType::U32, Initializer::Zeros);
    let rate = graph.root().state_of("rate", [], DType::F32, Initializer::Constant(0.25));
    let next = (rate * 0.5 + graph.global_step().cast(DType::F32) * 0.01).assign_to(rate);
    let mut def = graph.finish().unwrap();
    let Op::Variable(other) = def.node(other.id()).op else { panic!("a variable") };
    // The update comes before the rate, and inputs come first: so it is made anew behind it.
    let mut moved = def.node(updates[1]).clone();
    let Op::OptimizerUpdate(update) = &mut moved.op else { panic!("an update") };
    update.global_step = other;
    moved.inputs[0] = rate.id();
    def.nodes.push(moved);
    let moved = NodeId(def.nodes.len() - 1);
    let updates = [next.id(), updates[0], moved];
    follow(&def, &[loss.id(), rate.id()], &updates);
    // Fetching a variable takes a copy of it; without that the update must still read first.
    follow(&def, &[loss.id()], &updates);
}

/// A graph from elsewhere may have a learning rate that follows the norm, beside the clipping, and another
/// norm in it; and what others make of a norm is there too.
#[test]
fn rates_and_fetches_that_follow_a_norm() {
    let graph = Graph::new();
    let x = graph.placeholder("x", [6, 5], DType::F32);
    let y = graph.placeholder("y", [6, 3], DType::F32);
    let loss = graph.scope("fc").linear(x, 3).mean_squared_error(y);
    let schedule = Schedule::cosine(0.05, 0.0, 10).warm_up(3);
    let step = Optimizer::adam(schedule).epsilon(0.1).clip_global_norm(0.5).minimize(loss);
    let norm = step.gradient_norm;
    let of_inputs = global_norm(&graph, &[x, y * 2.0]);
    let rates = [
        norm * 0.02,
        step.learning_rate * norm / (of_inputs + 1.0),
        (norm / of_inputs).reshape([1]).sum_all() * 0.02,
        loss * norm * 0.02,
    ];
    let others = [vec![norm], vec![norm, norm * 3.0], vec![norm / loss], vec![of_inputs, norm]];
    let def = graph.finish().unwrap();
    for rate in rates {
        let mut def = def.clone();
        let mut moved = def.node(step.update.id()).clone();
        moved.inputs[0] = rate.id();
        def.nodes.push(moved);
        let moved = NodeId(def.nodes.len() - 1);
        follow(&def, &[loss.id()], &[moved]);
        for fetched in &others {
            let fetches: Vec<NodeId> = fetched.iter().map(|fetch| fetch.id()).collect();
            follow(&def, &fetches, &[moved]);
        }
    }
}

#[test]
fn two_optimizers_of_one_variable_are_refused_at_their_lines() {
    let graph = Graph::new();
    let weight = graph.variable("weight", [4], Initializer::Ones);
    let loss = weight.square().sum_all();
    let line = line!() + 1;
    let first = Optimizer::adam(0.1).minimize(loss).update;
    let second = Optimizer::adam(0.1).named("second").minimize(loss).update;
    let mut session = Session::new(&common::gpu());
    let refused = session.compile(&graph, &[loss], &[second, first]).err();
    let Some(CompileError::Graph(errors)) = refused else { panic!("it was compiled") };
    let [error] = &errors.0[..] else { panic!("{errors}") };
    assert_eq!((&*error.location.file, error.location.line), (file!(), line));
    let Problem::WrittenTwice { variables, first: place, .. } = &error.problem else {
        panic!("{error}")
    };
    assert_eq!((&variables[..], place.line), (&["weight".to_owned()][..], line + 1));
    assert!(session.variables().is_empty());
    // In plans of their own both are welcome.
    for update in [first, second] {
        session.compile(&graph, &[loss], &[update]).unwrap();
    }
}

/// A gradient that is computed from another in the packed buffer takes a copy, which says so.
#[test]
fn a_copy_is_listed_as_a_copy() {
    let graph = Graph::new();
    let weight = graph.variable("weight", [4, 3], Initializer::Zeros);
    let bias = graph.variable("bias", [3], Initializer::Zeros);
    let loss = (weight + bias - 1.0).square().sum_all();
    let step = Optimizer::sgd(0.125).clip_global_norm(1.0).minimize(loss);
    let mut session = Session::new(&common::gpu());
    let plan = session.compile(&graph, &[], &[step.update]).unwrap();
    let labels: Vec<String> = plan.dispatches().into_iter().map(|info| info.operations).collect();
    let copies: Vec<&String> =
        labels.iter().filter(|label| label.starts_with("copy of ")).collect();
    assert_eq!(copies.len(), 1, "{plan}");
    assert!(labels.iter().any(|label| format!("copy of {label}") == *copies[0]), "{plan}");
    let mut once = labels.clone();
    once.sort();
    once.dedup();
    assert_eq!(once.len(), labels.len(), "{plan}");
}

/// A layer in a scope, and what trains it.
fn layer<'g>(graph: &'g Graph, scope: &str, optimizer: &Optimizer) -> warmstart_graph::Update<'g> {
    let x = graph.placeholder(&format!("{scope}_x"), [2, 3], DType::F32);
    let loss = graph.scope(scope).linear(x, 4).square().mean_all();
    optimizer.minimize(loss).update
}

#[test]
fn two_models_do_not_share_the_count_that_adam_corrects_by() {
    let (first, second, both) = (Graph::new(), Graph::new(), Graph::new());
    let adam = Optimizer::adam(0.1);
    let mut session = Session::new(&common::gpu());
    session.compile(&first, &[], &[layer(&first, "a", &adam)]).unwrap();
    let update = layer(&second, "b", &adam);
    let error = session.compile(&second, &[], &[update]).map(drop).unwrap_err();
    let CompileError::SharedStep { step, before, now, .. } = &error else { panic!("{error}") };
    assert_eq!(step, "adam/step");
    assert_eq!((before.len(), now.len()), (2, 2));
    let message = error.to_string();
    assert!(message.contains("updates.rs:") && message.contains("`Optimizer::named`"), "{message}");
    assert!(session.variable("b/weight").is_err(), "nothing was declared");

    // Another name, no such count, or a model that has a part in common.
    let named = Graph::new();
    session.compile(&named, &[], &[layer(&named, "b", &adam.clone().named("other"))]).unwrap();
    let plain = Graph::new();
    session.compile(&plain, &[], &[layer(&plain, "c", &Optimizer::sgd(0.1))]).unwrap();
    let x = both.placeholder("x", [2, 3], DType::F32);
    let hidden = both.scope("a").linear(x, 4);
    let loss = both.scope("d").linear(hidden, 1).square().mean_all();
    session.compile(&both, &[], &[adam.minimize(loss).update]).unwrap();
}

#[test]
fn what_a_graph_had_frozen_counts_as_trained_once_a_plan_trains_it() {
    let (frozen, trained) = (Graph::new(), Graph::new());
    let x = frozen.placeholder("x", [2, 3], DType::F32);
    let y = frozen.root().frozen().scope("a").linear(x, 4);
    let mut session = Session::new(&common::gpu());
    session.compile(&frozen, &[y], &[]).unwrap();
    let role = |session: &Session| session.variable("a/weight").unwrap().variable.role.clone();
    assert_eq!(role(&session), Role::State);
    let update = layer(&trained, "a", &Optimizer::sgd(0.1));
    session.compile(&trained, &[], &[update]).unwrap();
    assert_eq!(role(&session), Role::Trainable);
    assert_eq!(session.variable("global_step").unwrap().variable.role, Role::State);
}
