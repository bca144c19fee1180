//! Gradient accumulation: PyTorch's runs with each batch in parts, and what it does besides.

mod trajectory;

use std::collections::BTreeMap;
use trajectory::{NAMES, Trajectory};
use warmstart_graph::ops::OptimizerUpdate;
use warmstart_graph::reference::{Reference, Value};
use warmstart_graph::{
    DType, Graph, GraphDef, Initializer, LossScaling, NodeId, Op, Optimizer, Schedule, TensorData,
    VariableId,
};

/// As in `training.rs`.
const TOLERANCE: f64 = 2e-6;

fn check(what: &str, found: f64, expected: f64, scale: f64) {
    let off = (found - expected).abs() / scale;
    assert!(off <= TOLERANCE, "{what}: {found}, and PyTorch has {expected} (off by {off:.1e})");
}

/// PyTorch had each batch at once. The mean of the losses of its parts is its loss, and what the last
/// part fetches is of the whole batch.
fn follow(name: &str, parts: usize) {
    let run = Trajectory::read(name);
    let training = run.build_of_parts(parts);
    let mut reference = Reference::new(&training.def);
    for variable in &training.def.variables {
        let elements = vec![0.0; variable.shape.elements()];
        reference.assign(&variable.name, Value { shape: variable.shape.clone(), elements });
    }
    for (name, value) in &run.initial {
        reference.assign(name, value);
    }
    let fetches = [training.loss, training.gradient_norm, training.learning_rate, training.update];
    let mut loss = 0.0;
    for (at, (x, y)) in run.parts(parts).iter().enumerate() {
        reference.feed("x", x);
        reference.feed("y", y);
        let values = reference.run(&fetches).expect("everything has a value");
        loss += values[0].elements[0] / parts as f64;
        let step = at / parts;
        if at % parts < parts - 1 {
            continue;
        }
        let said = |what: &str| format!("{name} in {parts} parts: {what} of step {step}");
        check(&said("loss"), loss, run.losses[step], run.losses[step]);
        let norm = run.gradient_norms[step];
        check(&said("gradient norm"), values[1].elements[0], norm, norm);
        let (rate, first) = (run.learning_rates[step], run.learning_rates[0]);
        check(&said("learning rate"), values[2].elements[0], rate, first);
        loss = 0.0;
    }
    for (variable, sum, magnitudes) in &run.last {
        let value = reference.variable(variable).expect("it was assigned");
        let what = format!("{name} in {parts} parts: {variable}");
        check(&what, value.elements.iter().sum(), *sum, *magnitudes);
        check(&what, value.elements.iter().map(|x| x.abs()).sum(), *magnitudes, *magnitudes);
    }
}

#[test]
fn runs_in_parts_are_those_of_pytorch() {
    for name in NAMES {
        let rows = Trajectory::read(name).batches[0].0.shape()[0];
        for parts in (2..=rows).filter(|&parts| rows.is_multiple_of(parts)) {
            follow(name, parts);
        }
    }
}

fn optimizer() -> Optimizer {
    Optimizer::adam(Schedule::cosine(0.1, 0.0, 9)).clip_global_norm(0.5)
}

fn scaling() -> LossScaling {
    LossScaling::new().initial_scale(8.0).growth_interval(2)
}

/// A line through points, with the nodes to fetch: the norm, a gradient, the rate and the update.
fn line(optimizer: &Optimizer) -> (GraphDef, Vec<NodeId>) {
    let graph = Graph::new();
    let x = graph.placeholder("x", [2, 2], DType::F32);
    let loss = graph.scope("fc").linear(x, 1).square().mean_all();
    let step = optimizer.minimize(loss);
    let fetches = [
        step.gradient_norm.id(),
        step.gradients[0].1.id(),
        step.learning_rate.id(),
        step.update.id(),
    ];
    (graph.finish().expect("it fits together"), fetches.to_vec())
}

type Variables = BTreeMap<String, Value>;

/// What is fetched in a run, and all variables after it.
type Ran = (Vec<Value>, Variables);

/// Runs steps from the first on, at some of which an infinity is fed.
fn run(optimizer: &Optimizer, first: usize, steps: &[bool], begin: Option<&Variables>) -> Vec<Ran> {
    let (def, fetches) = line(optimizer);
    let mut reference = Reference::new(&def);
    for variable in &def.variables {
        let value = match &variable.initializer {
            Initializer::Constant(value) => *value,
            _ => 0.5 * f64::from(u8::from(variable.name.ends_with("weight"))),
        };
        let elements = vec![value; variable.shape.elements()];
        let value = Value { shape: variable.shape.clone(), elements };
        let value = begin.and_then(|begin| begin.get(&variable.name)).unwrap_or(&value).clone();
        reference.assign(&variable.name, value);
    }
    let ran = steps.iter().zip(first..).map(|(&finite, step)| {
        let mut x: Vec<f32> = (0..4).map(|i| ((i + 3 * step) as f32).sin()).collect();
        if !finite {
            x[1] = f32::INFINITY;
        }
        reference.feed("x", &TensorData::new([2, 2], x).expect("as many"));
        let values = reference.run(&fetches).expect("everything has a value");
        let names = def.variables.iter().map(|variable| variable.name.clone());
        let all = names.map(|name| (name.clone(), reference.variable(&name).unwrap().clone()));
        (values, all.collect())
    });
    ran.collect()
}

fn number(variables: &Variables, name: &str) -> f64 {
    variables[name].elements[0]
}

#[test]
fn weights_change_with_each_last_batch_only() {
    let ran = run(&optimizer().gradient_accumulation_steps(3), 0, &[true; 7], None);
    let mut before = None;
    for (at, (values, variables)) in ran.iter().enumerate() {
        let updates = at % 3 == 2;
        for name in ["fc/weight", "fc/bias", "fc/weight/adam/m", "fc/bias/adam/v"] {
            let same = before.is_none_or(|before: &Variables| before[name] == variables[name]);
            assert!(same != updates || before.is_none(), "{name} after run {at}");
        }
        assert_eq!(number(variables, "global_step"), at as f64 + 1.0, "it counts runs");
        assert_eq!(number(variables, "adam/step"), ((at + 1) / 3) as f64, "it counts updates");
        assert_eq!(number(variables, "adam/accumulated_batches"), ((at + 1) % 3) as f64);
        let rate = Schedule::cosine(0.1, 0.0, 9).at(at as u64 / 3);
        assert!((values[2].elements[0] - rate).abs() < 1e-7, "the rate of run {at}");
        // What is fetched is the mean so far, and what is kept is the sum.
        let batches = (at % 3 + 1) as f64;
        let accumulator = &variables["fc/weight/adam/gradient_accumulator"];
        for (kept, mean) in accumulator.elements.iter().zip(&values[1].elements) {
            let expected = if updates { 0.0 } else { mean * batches };
            assert!((kept - expected).abs() < 1e-6, "{kept} after run {at}, not {expected}");
        }
        before = Some(variables);
    }
}

/// One batch of an update that is not finite spoils it whole: it is left out, and the scale falls once.
#[test]
fn an_update_with_a_batch_that_is_not_finite_is_left_out() {
    let optimizer = optimizer().loss_scaling(scaling()).gradient_accumulation_steps(2);
    // Two updates, one that is left out by its first batch, one by its last, two updates.
    let finite = [true, true, true, true, false, true, true, false, true, true, true, true];
    let ran = run(&optimizer, 0, &finite, None);
    let scale = |at: usize| number(&ran[at].1, "adam/loss_scale");
    let scales: Vec<f64> = (0..finite.len()).map(scale).collect();
    assert_eq!(scales, [8.0, 8.0, 8.0, 16.0, 16.0, 8.0, 8.0, 4.0, 4.0, 4.0, 4.0, 8.0]);
    for at in [5, 7] {
        for name in ["fc/weight", "fc/bias/adam/m", "adam/step"] {
            assert_eq!(ran[at].1[name], ran[at - 2].1[name], "{name} after run {at}");
        }
        let accumulator = &ran[at].1["fc/weight/adam/gradient_accumulator"];
        assert_eq!(accumulator.elements, [0.0, 0.0], "what was accumulated is dropped");
        assert_eq!(number(&ran[at].1, "adam/accumulated_batches"), 0.0);
    }
    assert!(!ran[4].1["fc/weight/adam/gradient_accumulator"].elements[1].is_finite());
    assert_ne!(ran[9].1["fc/weight"], ran[7].1["fc/weight"], "it goes on");
    // The accumulators hold gradients of the loss itself, whatever its scale is.
    let plain = run(&self::optimizer().gradient_accumulation_steps(2), 0, &finite[..4], None);
    for (scaled, plain) in ran.iter().zip(&plain) {
        assert_eq!(scaled.0[..3], plain.0[..3]);
        plain.1.iter().for_each(|(name, value)| assert_eq!(&scaled.1[name], value, "{name}"));
    }
}

/// A run that goes on in the middle of an update, with as many steps or with others.
#[test]
fn a_run_goes_on_with_what_was_accumulated() {
    let steps = |steps: u32| optimizer().gradient_accumulation_steps(steps);
    let whole = run(&steps(3), 0, &[true; 7], None);
    let rest = run(&steps(3), 4, &[true; 3], Some(&whole[3].1));
    assert_eq!(rest[..], whole[4..]);
    // Two batches are there, and two make an update now: the next run makes it of all three.
    let fewer = run(&steps(2), 5, &[true], Some(&whole[4].1));
    assert_eq!(fewer[0], whole[5]);
    // Four make one: one more is needed.
    let more = run(&steps(4), 5, &[true; 2], Some(&whole[4].1));
    assert_eq!(more[0].0, whole[5].0, "the mean so far");
    assert_eq!(number(&more[0].1, "adam/accumulated_batches"), 3.0);
    assert_eq!(more[0].1["fc/weight"], whole[4].1["fc/weight"]);
    assert_eq!(number(&more[1].1, "adam/accumulated_batches"), 0.0);
    assert_ne!(more[1].1["fc/weight"], whole[4].1["fc/weight"]);
}

#[test]
fn one_step_is_no_accumulation() {
    let (plain, _) = line(&optimizer());
    let (one, _) = line(&optimizer().gradient_accumulation_steps(3).gradient_accumulation_steps(1));
    let without_lines = |def: &GraphDef| {
        let ops: Vec<Op> = def.nodes.iter().map(|node| node.op.clone()).collect();
        let names: Vec<String> = def.variables.iter().map(|v| v.name.clone()).collect();
        (ops, names)
    };
    assert_eq!(without_lines(&plain), without_lines(&one));
    let text = |optimizer: &Optimizer| serde_json::to_string(optimizer).expect("it has no maps");
    assert_eq!(text(&optimizer()), text(&optimizer().gradient_accumulation_steps(1)));
}

#[test]
fn numbers_of_steps_without_meaning_are_refused_at_the_callers_line() {
    for (steps, value) in [(0, "0"), ((1 << 24) + 1, "16777217"), (u32::MAX, "4294967295")] {
        let graph = Graph::new();
        let loss = graph.variable("a", [2], Initializer::Ones).square().sum_all();
        let _ = Optimizer::sgd(0.1).gradient_accumulation_steps(steps).minimize(loss);
        let errors = graph.finish().unwrap_err();
        let expected = format!(
            "the number of gradient accumulation steps is {value}, and must be from 1 to 16777216"
        );
        assert!(errors.to_string().contains(&expected), "{errors}");
        assert!(errors.to_string().contains("accumulation.rs:"), "{errors}");
        assert_eq!(errors.0.len(), 1, "{errors}");
    }
    // A name that is taken is said once.
    for optimizer in [optimizer(), optimizer().loss_scaling(scaling())] {
        let graph = Graph::new();
        let loss = graph.variable("a", [2], Initializer::Ones).square().sum_all();
        let optimizer = optimizer.gradient_accumulation_steps(2);
        let _ = optimizer.minimize(loss);
        let _ = optimizer.minimize(loss);
        assert_eq!(graph.finish().unwrap_err().0.len(), 1);
    }
    // Nothing to train is, too.
    let graph = Graph::new();
    let loss = graph.constant(1.0f32);
    let _ = optimizer().gradient_accumulation_steps(2).minimize(loss);
    assert_eq!(graph.finish().unwrap_err().0.len(), 1);
}

/// What is done to an update of a graph that was stored.
type Damage = dyn Fn(&mut OptimizerUpdate);

#[test]
fn settings_are_stored_and_damage_is_noticed() {
    let optimizer = optimizer().gradient_accumulation_steps(5);
    let text = serde_json::to_string(&optimizer).expect("it has no maps");
    assert_eq!(serde_json::from_str::<Optimizer>(&text).expect("as written"), optimizer);

    for optimizer in [optimizer.clone(), optimizer.loss_scaling(scaling())] {
        let (def, _) = line(&optimizer);
        let text = serde_json::to_string(&def).expect("it has names only");
        assert_eq!(serde_json::from_str::<GraphDef>(&text).expect("as written"), def);
        let damaged = |damage: &Damage| {
            let mut def = def.clone();
            for node in &mut def.nodes {
                if let Op::OptimizerUpdate(update) = &mut node.op {
                    damage(update);
                }
            }
            def.validate().map_err(|error| error.to_string())
        };
        assert_eq!(damaged(&|_| {}), Ok(()));
        let cases: [(&Damage, &str); 6] = [
            (&|update| update.accumulation = None, "one gradient for each parameter"),
            (&|update| update.accumulation.as_mut().unwrap().steps = 0, "must be from 1 to"),
            (
                &|update| update.accumulation.as_mut().unwrap().accumulated = VariableId(0),
                "writes variable `fc/weight` twice",
            ),
            (
                &|update| update.accumulation.as_mut().unwrap().accumulated = VariableId(99),
                "names a variable that is not there",
            ),
            (&|update| update.parameters[0].slots.truncate(2), "lacks slots"),
            (
                &|update| {
                    let accumulation = update.accumulation.as_mut().unwrap();
                    std::mem::swap(
                        &mut accumulation.accumulated,
                        &mut update.parameters[1].slots[0],
                    );
                },
                "must be a u32 scalar",
            ),
        ];
        for (damage, expected) in cases {
            let error = damaged(damage).unwrap_err();
            assert!(error.contains(expected), "`{expected}` is not in {error}");
        }
    }
}
