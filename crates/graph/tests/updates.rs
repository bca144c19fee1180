//! Several updates in one run: everything is read before anything is written, the global step
//! rises by one, and no variable is written twice.

use warmstart_graph::reference::{Reference, ReferenceError, Value};
use warmstart_graph::{
    DType, Graph, GraphDef, Initializer, Op, Optimizer, Problem, Schedule, Tensor, TensorData,
};

/// A variable and the loss that pulls it to a number, both of two elements.
fn pulled<'g>(graph: &'g Graph, name: &str) -> Tensor<'g> {
    let variable = graph.variable(name, [2], Initializer::Zeros);
    (variable * variable - 2.0).square().sum_all()
}

fn zeros(def: &GraphDef) -> Reference<'_> {
    let mut reference = Reference::new(def);
    for variable in &def.variables {
        let elements = vec![0.0; variable.shape.elements()];
        reference.assign(&variable.name, Value { shape: variable.shape.clone(), elements });
    }
    for name in ["a", "b"] {
        reference.assign(name, &TensorData::new([2], [0.5f32, -1.5]).unwrap());
    }
    reference
}

fn schedules() -> [Optimizer; 2] {
    let rate = Schedule::cosine(0.1, 0.0, 12).warm_up(3);
    [
        Optimizer::adamw(rate).named("first"),
        Optimizer::sgd(Schedule::step(0.2, 2, 0.5)).momentum(0.9),
    ]
}

/// Two optimizers in one run do what each does alone.
#[test]
fn two_optimizers_see_the_same_step() {
    let [first, second] = schedules();
    let graph = Graph::new();
    let (a, b) = (pulled(&graph, "a"), pulled(&graph, "b"));
    let updates = [first.minimize(a).update.id(), second.minimize(b).update.id()];
    let def = graph.finish().unwrap();
    let mut both = zeros(&def);
    let mut alone = [zeros(&def), zeros(&def)];
    for step in 1..=8 {
        // The order of the updates says nothing, nor does naming one twice.
        let order = [updates[step % 2], updates[1 - step % 2], updates[0]];
        both.run(&order).unwrap();
        for (reference, update) in alone.iter_mut().zip(updates) {
            reference.run(&[update]).unwrap();
        }
        for name in ["global_step", "first/step", "sgd/step"] {
            assert_eq!(both.variable(name).unwrap().elements, [step as f64], "{name}");
        }
        assert_eq!(both.variable("a"), alone[0].variable("a"), "step {step}");
        assert_eq!(both.variable("b"), alone[1].variable("b"), "step {step}");
    }
    assert_ne!(both.variable("a"), both.variable("b"));
}

/// Variables chosen by name are trained, and only those.
#[test]
fn chosen_variables_are_trained() {
    let graph = Graph::new();
    let x = graph.placeholder("x", [4, 3], DType::F32);
    let loss = graph.scope("fc").linear(x, 2).square().mean_all();
    // A function that looks at the graph itself must find it usable.
    let biases = Optimizer::sgd(0.1)
        .minimize_where(loss, |v| v.name.ends_with("/bias") && graph.named("none").is_none());
    let names: Vec<&str> = biases.gradients.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["fc/bias"]);
    let line = line!() + 1;
    let none = Optimizer::adam(0.1).minimize_where(loss, |_| false);
    assert!(none.gradients.is_empty());
    let errors = graph.finish().unwrap_err().0;
    assert_eq!((errors.len(), errors[0].location.line), (1, line));
    assert_eq!(errors[0].problem, Problem::NothingToTrain);
}

#[test]
fn a_variable_is_written_by_one_update() {
    let graph = Graph::new();
    let loss = pulled(&graph, "a") + pulled(&graph, "b");
    let first = line!() + 1;
    let one = Optimizer::adam(0.1).minimize(loss).update;
    let two = Optimizer::sgd(0.1).minimize_where(loss, |v| v.name == "b").update;
    let three = graph.constant(7u32).assign_to(graph.global_step());
    let four = graph.constant(9u32).assign_to(graph.global_step());
    let def = graph.finish().unwrap();
    let ids = [one, two, three, four].map(|update| update.id());
    let found = def.check_updates(&ids).unwrap_err().0;
    assert_eq!(found.len(), 3, "{found:#?}");
    let expected = [
        (1, "b", "optimizer_update"),
        (2, "global_step", "optimizer_update"),
        (3, "global_step", "optimizer_update"),
    ];
    for (error, (line, variable, operation)) in found.iter().zip(expected) {
        assert_eq!((&*error.location.file, error.location.line), (file!(), first + line));
        let Problem::WrittenTwice { variables, operation: by, first: place } = &error.problem
        else {
            panic!("{error}")
        };
        assert_eq!((&variables[..], by.as_str()), (&[variable.to_owned()][..], operation));
        assert_eq!(place.line, first);
        assert!(error.to_string().contains("minimize_where"), "{error}");
    }
    // The twin refuses as well, and changes nothing.
    let mut reference = zeros(&def);
    let refused = reference.run(&ids[..2]);
    assert!(matches!(refused, Err(ReferenceError::Graph(_))), "{refused:?}");
    assert_eq!(reference.variable("adam/step").unwrap().elements, [0.0]);
    // Each by itself is fine, and one update named twice is one update.
    for id in ids {
        assert!(def.check_updates(&[id, id]).is_ok());
    }
    reference.run(&[ids[0], ids[0]]).unwrap();
    assert_eq!(reference.variable("global_step").unwrap().elements, [1.0]);
}

/// Graphs may come from elsewhere, with a global step for each optimizer.
#[test]
fn each_global_step_rises_by_one() {
    let [first, second] = schedules();
    let graph = Graph::new();
    let (a, b) = (pulled(&graph, "a"), pulled(&graph, "b"));
    let other = graph.root().state_of("other_step", [], DType::U32, Initializer::Zeros);
    let updates = [first.minimize(a).update.id(), second.minimize(b).update.id()];
    let mut def = graph.finish().unwrap();
    let Op::Variable(other) = def.node(other.id()).op else { panic!("a variable") };
    let Op::OptimizerUpdate(update) = &mut def.nodes[updates[1].0].op else { panic!("an update") };
    update.global_step = other;
    def.validate().unwrap();
    let mut reference = zeros(&def);
    reference.assign("other_step", &TensorData::from(40u32));
    for step in 1..=3 {
        reference.run(&updates).unwrap();
        assert_eq!(reference.variable("global_step").unwrap().elements, [f64::from(step)]);
        assert_eq!(reference.variable("other_step").unwrap().elements, [f64::from(40 + step)]);
    }
}

#[test]
fn all_that_is_wrong_with_an_optimizer_is_told_at_once() {
    let graph = Graph::new();
    let loss = graph.variable("v", [2], Initializer::Ones).sum_all();
    let _ = Optimizer::adam(0.1).betas(0.9, 1.0).clip_global_norm(-2.0).minimize(loss);
    let errors = graph.finish().unwrap_err().0;
    let values: Vec<f64> = errors
        .iter()
        .filter_map(|error| match error.problem {
            Problem::Range { value, .. } => Some(value),
            _ => None,
        })
        .collect();
    assert_eq!(values, [1.0, -2.0], "{errors:?}");
}

/// The gradient of each is 1, so that SGD makes 2 − 0.1 (1 + 0.5 · 2) = 1.8 of 2 where it decays, and
/// 1.9 where it does not.
#[test]
fn weight_decay_leaves_out_what_globs_match() {
    const NAMES: [&str; 7] = [
        "block_1/norm_1/weight",
        "block_1/norm_1/bias",
        "block_1/fc1/weight",
        "norm/weight",
        "normal/other",
        "torch.norm.bias",
        "places",
    ];
    let not_decayed = |globs: &[&str]| -> Vec<&str> {
        let graph = Graph::new();
        let read = |name: &&str| graph.variable(name, [], Initializer::Ones);
        let loss = NAMES.iter().map(read).reduce(|sum, variable| sum + variable).unwrap();
        let step = Optimizer::sgd(0.1).weight_decay(0.5).no_decay(globs).minimize(loss);
        let def = graph.finish().unwrap();
        let mut reference = Reference::new(&def);
        for variable in &def.variables {
            let value = if NAMES.contains(&&*variable.name) { 2.0 } else { 0.0 };
            reference.assign(
                &variable.name,
                Value { shape: variable.shape.clone(), elements: vec![value] },
            );
        }
        reference.run(&[step.update.id()]).unwrap();
        let mut left_out = Vec::new();
        for name in NAMES {
            let found = reference.variable(name).unwrap().elements[0];
            let decays = (found - 1.8).abs() < 1e-6;
            assert!(decays || (found - 1.9).abs() < 1e-6, "`{name}` is {found}");
            left_out.extend((!decays).then_some(name));
        }
        left_out
    };
    assert_eq!(not_decayed(&[]), [""; 0]);
    // One part is the last of a name, whatever is before it and between them.
    let biases = ["block_1/norm_1/bias", "torch.norm.bias"];
    assert_eq!(not_decayed(&["bias"]), biases);
    assert_eq!(not_decayed(&["bias", "pla*"]), [biases[0], biases[1], "places"]);
    // Several are the whole name.
    assert_eq!(not_decayed(&["norm/weight"]), ["norm/weight"]);
    assert_eq!(not_decayed(&["**/norm*/weight"]), ["block_1/norm_1/weight", "norm/weight"]);
    assert_eq!(not_decayed(&["block_1/**"]), NAMES[..3]);

    let graph = Graph::new();
    Optimizer::sgd(0.1).no_decay(&["bias", "a**"]).minimize(pulled(&graph, "a"));
    let errors = graph.finish().unwrap_err().0;
    assert!(matches!(&errors[0].problem, Problem::Glob { glob, .. } if glob == "a**"));
    assert!(errors[0].to_string().contains("`no_decay` \"a**\" is no glob of names: `**` stands"));
}

/// One that matches no trainable variable is mistyped, or of another model. Which of them an optimizer
/// trains is no matter: two of the same settings may share them.
#[test]
fn no_decay_that_matches_nothing_is_refused() {
    let unmatched = |globs: &[&str], trained: &str| -> Vec<String> {
        let graph = Graph::new();
        let x = graph.placeholder("x", [2, 3], DType::F32);
        let hidden = graph.scope("norm").layer_norm(x, 1e-5);
        let loss = graph.scope("fc1").linear(hidden, 2).square().mean_all();
        let optimizer = Optimizer::adamw(0.1).no_decay(globs);
        optimizer.minimize_where(loss, |variable| variable.name.starts_with(trained));
        let errors = graph.finish().err().map_or(Vec::new(), |errors| errors.0);
        errors.iter().map(|error| error.problem.to_string()).collect()
    };
    for (glob, nearest) in [
        ("bais", "`norm/bias`, `fc1/bias`, `norm/weight`"),
        ("fc2/weight", "`fc1/weight`, `norm/weight`, `fc1/bias`"),
        // A part of a name that is not its last.
        ("norm", "`norm/bias`, `norm/weight`, `fc1/weight`"),
    ] {
        let told = format!(
            "`no_decay` {glob:?} matches no trainable variable (nearest: {nearest}); correct it, or take it away"
        );
        assert_eq!(unmatched(&["bias", glob], ""), [told]);
    }
    assert_eq!(unmatched(&["bias", "norm/*"], "fc1"), [""; 0]);
    // Slots and counters do not decay.
    let counter = unmatched(&["global_step"], "");
    assert!(counter.len() == 1 && counter[0].contains("matches no trainable"), "{counter:?}");
    // One mistake is told once: without anything to train there is nothing to match.
    let nothing = unmatched(&["bais"], "fc3");
    assert!(
        nothing.len() == 1 && nothing[0].contains("no trainable variable; build it"),
        "{nothing:?}"
    );
    let graph = Graph::new();
    let x = graph.placeholder("x", [2, 3], DType::F32);
    let wrong = graph.scope("fc1").linear(x.reshape([7]), 2).square().mean_all();
    Optimizer::adamw(0.1).no_decay(&["bias"]).minimize(wrong);
    assert_eq!(graph.finish().unwrap_err().0.len(), 1);
}
