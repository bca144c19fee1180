//! Stored graphs: they come back whole, print, and are refused when damaged.

mod cases;

mod ones;

use ones::give_ones;
use proptest::prelude::*;
use serde_json::{Value as Json, json};
use warmstart_graph::reference::{Reference, Value};
use warmstart_graph::{
    DType, Graph, GraphDef, Initializer, Location, NodeId, Op, Optimizer, Problem, Schedule, Shape,
    gradients,
};

/// A training graph with most kinds of nodes.
fn training() -> GraphDef {
    let graph = Graph::new();
    graph.set_seed(u64::MAX);
    let x = graph.placeholder("x", [4, 6], DType::F32);
    let labels = graph.placeholder("labels", [4], DType::I32);
    let words = graph.placeholder("words", [4, 2], DType::U32);
    let rows = graph.scope("words").embedding(words, 5, 3).reshape([4, 6]);
    let x = x.concat(&[rows], 1).slice(1, 1, 9).pad(&[0, 1], [4, 10]);
    let hidden = graph.scope("fc1").linear(x, 7).leaky_relu(0.1).dropout("hidden", 0.25);
    let hidden = hidden.transpose(&[1, 0]).transpose(&[1, 0]) * hidden.softmax();
    let hidden = graph.scope("ln").layer_norm(hidden, 1e-5);
    let logits = graph.scope("fc2").linear(hidden, 3).named("logits");
    let loss = logits.softmax_cross_entropy_smoothed(labels, 0.1).named("loss");
    let schedule = Schedule::cosine(0.1, 0.0, 50).warm_up(5).then(20, 0.3);
    let _ = Optimizer::adamw(schedule).clip_global_norm(0.7).no_decay(&["bias"]).minimize(loss);
    let _ = logits.accuracy(labels).named("accuracy");
    let _ = logits.reduce_max(&[0, 1]).assign_to(graph.root().state_of(
        "largest",
        [],
        DType::F32,
        Initializer::Constant(f64::NEG_INFINITY),
    ));
    graph.finish().expect("it fits together")
}

fn through_json(def: &GraphDef) -> GraphDef {
    serde_json::from_str(&serde_json::to_string(def).expect("it is data")).expect("it comes back")
}

#[test]
fn graphs_come_back_whole() {
    let def = training();
    let back = through_json(&def);
    assert_eq!(back, def);
    assert_eq!(Graph::from_def(back).unwrap().finish().unwrap(), def);
    for case in cases::all() {
        for seed in 0..3 {
            let def = case.build(seed).def;
            let back = through_json(&def);
            assert_eq!(back, def, "case {} with seed {seed}", case.name);
            assert!(Graph::from_def(back).is_ok(), "case {} with seed {seed}", case.name);
        }
    }
}

#[test]
fn a_graph_that_came_back_goes_on() {
    let graph = Graph::from_def(through_json(&training())).unwrap();
    assert!(graph.named("nothing").is_none());
    let loss = graph.named("loss").expect("it was named");
    let _ = Optimizer::sgd(0.1).minimize(loss * 2.0);
    assert!(graph.finish().is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn initializers_come_back_with_the_same_bits(wide in any::<f64>(), narrow in any::<f32>()) {
        let back = |initializer: &Initializer| -> Initializer {
            serde_json::from_str(&serde_json::to_string(initializer).unwrap()).unwrap()
        };
        for value in [wide, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, -0.0, 0.1 + 0.2] {
            let Initializer::Constant(found) = back(&Initializer::Constant(value)) else {
                panic!("another initializer")
            };
            prop_assert_eq!(found.to_bits(), value.to_bits());
        }
        let values = vec![narrow, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, -0.0];
        let Initializer::Values(found) = back(&Initializer::Values(values.clone())) else {
            panic!("another initializer")
        };
        let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        prop_assert_eq!(bits(&found), bits(&values));
        if narrow.is_finite() {
            let uniform = Initializer::Uniform { low: -narrow, high: narrow };
            prop_assert_eq!(back(&uniform), uniform);
        }
    }
}

fn small() -> (GraphDef, u32) {
    let graph = Graph::new();
    let line = line!() + 1;
    let x = graph.placeholder("x", [2, 3], DType::F32);
    let w = graph.scope("fc").variable("weight", [4, 3], Initializer::Zeros);
    let y = x.matmul_with(w, false, true).named("y");
    let z = (y * 2.5).sum(&[1]).broadcast_to([3, 2]).transpose(&[1, 0]);
    let _ = z.slice(1, 0, 2).assign_to(graph.root().state_of(
        "s",
        [2, 2],
        DType::F32,
        Initializer::Zeros,
    ));
    (graph.finish().expect("it fits together"), line)
}

#[test]
fn a_graph_prints() {
    let (def, line) = small();
    let text = def.to_string();
    // Columns are for people; the words count.
    let words: Vec<String> =
        text.lines().map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    let at = |offset: u32| format!("{}:{}", file!(), line + offset);
    let assigned = def.nodes.last().expect("the assignment").location.line - line;
    let expected = [
        "11 nodes, 2 variables".to_owned(),
        format!("%0 = placeholder x f32 [2, 3] - {}", at(0)),
        format!("%1 = variable fc/weight f32 [4, 3] fc {}", at(1)),
        format!("%2 = matmul(%0, %1ᵀ) f32 [2, 4] fc {}", at(2)),
        format!("%3 = constant 2.5 f32 [] fc {}", at(3)),
        format!("%4 = mul(%2, %3) f32 [2, 4] fc {}", at(3)),
        format!("%5 = sum(%4) over [1] f32 [2] fc {}", at(3)),
        format!("%6 = broadcast_to(%5) f32 [3, 2] fc {}", at(3)),
        format!("%7 = transpose(%6) by [1, 0] f32 [2, 3] fc {}", at(3)),
        format!("%8 = slice(%7) f32 [2, 2] fc {}", at(4)),
        format!("%9 = variable s f32 [2, 2] - {}", at(assigned)),
        format!("%10 = s <- %8 f32 [0] fc {}", at(4)),
        "y is %2".to_owned(),
    ];
    assert_eq!(words, expected);
}

/// A stored graph may come from anywhere, and its names and places go to a terminal.
#[test]
fn names_of_a_stored_graph_move_no_cursor() {
    const HOSTILE: &str = "w\n\u{1b}[2K\u{202e}";
    let texts = |name: &str| -> Vec<String> {
        let (mut def, _) = small();
        let at = Location { file: name.to_owned().into(), line: 1 };
        def.variables[0].name = name.to_owned();
        for node in &mut def.nodes {
            (node.scope, node.location) = (name.to_owned(), at.clone());
            if let Op::Placeholder { name: own, .. } = &mut node.op {
                *own = name.to_owned();
            }
        }
        def.names = [(name.to_owned(), NodeId(2))].into();
        let error = |def: &GraphDef| def.validate().map_err(|error| error.to_string());
        let mut variables_mended = def.clone();
        variables_mended.variables[0].name = "w".to_owned();
        let mut lost = variables_mended.clone();
        lost.nodes[0].op = small().0.nodes[0].op.clone();
        lost.names = [(name.to_owned(), NodeId(99))].into();
        let described = (0..3).map(|at| def.describe(NodeId(at)));
        let refused =
            [&def, &variables_mended, &lost].into_iter().filter_map(|def| error(def).err());
        described.chain([def.to_string(), def.to_dot()]).chain(refused).collect()
    };
    let (hostile, plain) = (texts(HOSTILE), texts("w"));
    assert_eq!((hostile.len(), plain.len()), (8, 6), "plain names are usable");
    for (text, plain) in hostile.iter().zip(&plain[..5]) {
        assert_eq!(text.lines().count(), plain.lines().count(), "{text:?}");
    }
    for text in &hostile {
        let moves = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!text.contains(moves), "{text:?}");
        assert!(
            text.contains(r"w\n\u{1b}[2K\u{202e}") || text.contains(r"w\\n\\u{1b}"),
            "{text:?}"
        );
    }
}

#[test]
fn a_graph_draws() {
    let graph = Graph::new();
    let x = graph.placeholder("a \"b\" \\", [2], DType::F32);
    let v = graph.variable("v", [2], Initializer::Zeros);
    let _ = (x + v).assign_to(v);
    let expected = r##"digraph {
  rankdir=TB;
  node [shape=box, style=rounded, fontname="sans-serif"];
  n0 [label="placeholder a \"b\" \\\nf32 [2]", style="rounded,filled", fillcolor="#e5f2dc"];
  n1 [label="v\nf32 [2]", style="rounded,filled", fillcolor="#dbe9f6"];
  n2 [label="add\nf32 [2]"];
  n0 -> n2;
  n1 -> n2;
  n3 [label="assign\nf32 [0]", style="rounded,filled", fillcolor="#f8e0d8"];
  n2 -> n3;
  n1 -> n3 [dir=both];
}
"##;
    assert_eq!(graph.finish().unwrap().to_dot(), expected);
}

#[test]
fn an_optimizer_has_a_scope_of_its_own_and_says_what_it_writes() {
    let graph = Graph::new();
    let line = Location { file: "model.rs".into(), line: 7 };
    graph.at_line(line, || {
        let x = graph.placeholder("x", [4, 2], DType::F32);
        let loss = graph.scope("body").scope("fc").linear(x, 1).square().mean_all();
        let optimizer = Optimizer::sgd(Schedule::cosine(0.1, 0.0, 9)).momentum(0.9);
        optimizer.clip_global_norm(1.0).minimize(loss)
    });
    let def = graph.finish().unwrap();
    let update = NodeId(def.nodes.len() - 1);
    assert!(def.node(update).op.is_update());
    assert_eq!(def.node(update).scope, "sgd");
    let written = def.written();
    let name = |id: &NodeId| match def.node(*id).op {
        Op::Variable(variable) => def.variable(variable).name.clone(),
        _ => panic!("{}", def.describe(*id)),
    };
    let mut names: Vec<String> = written[&update].iter().map(name).collect();
    names.sort();
    let all: std::collections::BTreeSet<String> =
        def.variables.iter().map(|variable| variable.name.clone()).collect();
    assert_eq!(names, all.into_iter().collect::<Vec<_>>());
    assert_eq!(names.len(), 6);
    // Only the step that optimizers share is outside; the gradients are of their layers.
    let outside = |id: &&NodeId| def.node(**id).scope != "sgd";
    let outside: Vec<String> = written[&update].iter().filter(outside).map(name).collect();
    assert_eq!(outside, ["global_step"]);
    let scopes = |wanted: &str| -> Vec<&str> {
        let found = def.nodes.iter().filter(|node| node.op.name() == wanted);
        found.map(|node| node.scope.as_str()).collect()
    };
    assert_eq!((scopes("global_norm"), scopes("cos")), (vec!["sgd"], vec!["sgd"]));
    assert_eq!(scopes("matmul"), ["body/fc"; 3]);
    // The line that all have in common is told once, and what is written at the end.
    let text = def.to_string();
    let nodes = def.nodes.len();
    assert!(text.starts_with(&format!("{nodes} nodes, 6 variables, all built at model.rs:7\n")));
    assert_eq!(text.matches("model.rs").count(), 1, "{text}");
    let last = text.lines().last().unwrap();
    assert!(last.contains(") writing %") && last.contains(" to %"), "{text}");
}

/// Does everything with a graph from outside that could panic.
fn use_it(def: &GraphDef) -> bool {
    let _ = (def.to_string(), def.to_dot());
    let Ok(graph) = Graph::from_def(def.clone()) else {
        let mut reference = Reference::new(def);
        assert!(reference.run(&[]).is_err());
        return false;
    };
    if let Some(loss) = graph.named("loss") {
        let _ = gradients(loss, &[loss]);
        let _ = Optimizer::sgd(0.1).minimize(loss);
        let _ = graph.finish();
    }
    if def.nodes.iter().all(|node| node.shape.elements() < 2000) {
        let mut reference = Reference::new(def);
        // Variables may be many times larger than what is read of them.
        give_ones(&mut reference, def, 2000);
        let all: Vec<_> = (0..def.nodes.len()).map(warmstart_graph::NodeId).collect();
        let _ = reference.run(&all);
    }
    true
}

/// Changes one place of the stored form and gives what is said of it.
fn damage(change: impl FnOnce(&mut GraphDef)) -> Problem {
    let mut def = training();
    change(&mut def);
    assert!(!use_it(&def), "the damage went unnoticed");
    let [error] = def.validate().unwrap_err().0.try_into().expect("one error");
    error.problem
}

fn position(def: &GraphDef, wanted: impl Fn(&Op) -> bool) -> usize {
    def.nodes.iter().position(|node| wanted(&node.op)).expect("the graph has such a node")
}

fn reshape(def: &mut GraphDef) -> &mut warmstart_graph::Node {
    let at = position(def, |op| matches!(op, Op::Reshape(_)));
    &mut def.nodes[at]
}

/// Changes the first operation of a kind.
macro_rules! damage_op {
    ($pattern:pat => $change:expr) => {
        damage(|def| {
            let at = position(def, |op| matches!(op, $pattern));
            if let $pattern = &mut def.nodes[at].op {
                $change;
            }
        })
    };
}

#[test]
#[allow(unused_variables)] // The patterns bind what only the change uses.
fn damage_is_found() {
    use warmstart_graph::{NodeId, VariableId};
    let is_damage = |problem: &Problem| matches!(problem, Problem::Damaged { .. });
    let damaged = [
        damage(|def| {
            let at = position(def, |op| matches!(op, Op::Reshape(_)));
            def.nodes[at].inputs[0] = NodeId(at);
        }),
        damage(|def| reshape(def).inputs[0] = NodeId(usize::MAX)),
        damage(|def| reshape(def).inputs.clear()),
        damage(|def| reshape(def).shape = Shape::from([1, 2, 3])),
        damage(|def| reshape(def).dtype = DType::U32),
        damage(|def| reshape(def).op = Op::Invalid),
        damage(|def| {
            def.names.insert("far".to_owned(), NodeId(99_999));
        }),
        damage(|def| def.variables.truncate(2)),
        damage_op!(Op::Variable(id) => *id = VariableId(999)),
        damage_op!(Op::OptimizerUpdate(update) => update.parameters[0].slots[0] = VariableId(usize::MAX)),
        damage_op!(Op::OptimizerUpdate(update) => update.parameters[0].slots.pop()),
        damage_op!(Op::OptimizerUpdate(update) => update.parameters.pop()),
        damage_op!(Op::OptimizerUpdate(update) => update.step = update.parameters[0].variable),
        // Both would be written, in no order.
        damage_op!(Op::OptimizerUpdate(update) => update.step = update.global_step),
        damage_op!(Op::OptimizerUpdate(update) => update.parameters[0].slots[1] = update.parameters[0].slots[0]),
        damage(|def| {
            // Uses an update as a value.
            let update = position(def, |op| matches!(op, Op::OptimizerUpdate(_)));
            let mut node = def.nodes[update].clone();
            (node.op, node.inputs) = (Op::StopGradient, vec![NodeId(update)]);
            def.nodes.push(node);
        }),
    ];
    for (at, problem) in damaged.iter().enumerate() {
        assert!(is_damage(problem), "{at}: {problem}");
    }
    let problem = damage_op!(Op::Reduce { axes, .. } => *axes = vec![usize::MAX]);
    assert!(matches!(problem, Problem::Axis { .. }), "{problem}");
    let problem = damage_op!(Op::Transpose(permutation) => *permutation = vec![0, 0]);
    assert!(matches!(problem, Problem::AxisTwice { .. }), "{problem}");
    let problem = damage_op!(Op::Transpose(permutation) => *permutation = vec![]);
    assert!(matches!(problem, Problem::Entries { .. }), "{problem}");
    let problem = damage_op!(Op::Slice { starts, .. } => starts[0] = usize::MAX);
    assert!(matches!(problem, Problem::Slice { .. }), "{problem}");
    let problem = damage_op!(Op::Pad { before, .. } => before[1] = usize::MAX);
    assert!(matches!(problem, Problem::Slice { .. }), "{problem}");
    let problem = damage_op!(Op::Concat { axis } => *axis = 2);
    assert!(matches!(problem, Problem::Axis { .. }), "{problem}");
    let problem = damage_op!(Op::ScatterAddRows { rows } => *rows = usize::MAX);
    assert!(matches!(problem, Problem::TooLarge { .. }), "{problem}");
    let problem = damage_op!(Op::LayerNormStatistics { epsilon } => *epsilon = -1.0);
    assert!(matches!(problem, Problem::Range { .. }), "{problem}");
    let problem = damage(|def| {
        let at = position(def, |op| matches!(op, Op::LayerNormGradient));
        let node = &mut def.nodes[at];
        node.inputs[3] = node.inputs[0];
    });
    assert!(matches!(problem, Problem::Shape { .. }), "{problem}");
    let problem =
        damage_op!(Op::Placeholder { shape, .. } => *shape = Shape::from([usize::MAX; 9]));
    assert!(matches!(problem, Problem::TooLarge { .. }), "{problem}");
    let problem = damage_op!(Op::Placeholder { name, .. } => *name = "labels".to_owned());
    assert!(matches!(problem, Problem::DuplicateName { .. }), "{problem}");
    let problem = damage_op!(Op::Placeholder { name, .. } => name.clear());
    assert!(matches!(problem, Problem::Name { .. }), "{problem}");
    let problem = damage(|def| def.variables[0].name = def.variables[1].name.clone());
    assert!(matches!(problem, Problem::DuplicateVariable { .. }), "{problem}");
    let problem = damage(|def| def.variables[0].name = "../\0".to_owned());
    assert!(matches!(problem, Problem::Name { .. }), "{problem}");
    let problem = damage(|def| def.variables[0].shape = Shape::from([usize::MAX, usize::MAX]));
    assert!(matches!(problem, Problem::TooLarge { .. }), "{problem}");
}

#[test]
fn the_twin_refuses_what_does_not_fit() {
    use warmstart_graph::NodeId;
    use warmstart_graph::reference::ReferenceError;
    let graph = Graph::new();
    let sum = graph.placeholder("x", [2], DType::F32) + graph.variable("v", [2], Initializer::Ones);
    let def = graph.finish().unwrap();
    let mut reference = Reference::new(&def);
    let value =
        |shape: Vec<usize>, count| Value { shape: shape.into(), elements: vec![1.0; count] };
    assert_eq!(reference.run(&[sum.id()]), Err(ReferenceError::NotFed("x".to_owned())));
    reference.feed("x", value(vec![2], 2));
    assert_eq!(reference.run(&[sum.id()]), Err(ReferenceError::NoValue("v".to_owned())));
    reference.assign("v", value(vec![1, 2], 2));
    assert!(
        matches!(reference.run(&[sum.id()]), Err(ReferenceError::Shape { name, .. }) if name == "v")
    );
    reference.assign("v", value(vec![2], 2));
    reference.feed("x", value(vec![2], 1));
    assert!(
        matches!(reference.run(&[sum.id()]), Err(ReferenceError::Shape { name, .. }) if name == "x")
    );
    reference.feed("x", value(vec![2], 2));
    assert_eq!(reference.run(&[NodeId(9)]), Err(ReferenceError::NoNode(NodeId(9))));
    assert_eq!(reference.run(&[sum.id()]).unwrap()[0].elements, [2.0, 2.0]);
}

/// Every place in a JSON document, as a path.
fn places(json: &Json, path: String, all: &mut Vec<String>) {
    match json {
        Json::Array(items) => {
            items.iter().enumerate().for_each(|(at, x)| places(x, format!("{path}/{at}"), all));
        }
        Json::Object(items) => {
            let escaped = |key: &str| key.replace('~', "~0").replace('/', "~1");
            items.iter().for_each(|(at, x)| places(x, format!("{path}/{}", escaped(at)), all));
        }
        _ => {}
    }
    all.push(path);
}

/// Another value in the place of one: of the same kind mostly, so that it is read at all.
fn mutated(json: &Json, choice: u64, others: &Json) -> Json {
    match json {
        Json::Number(_) => {
            let numbers = [0, 1, 2, 3, 5, 7, choice % 64, u64::from(u32::MAX), 1 << 33, u64::MAX];
            json!(numbers[choice as usize % numbers.len()])
        }
        Json::Array(items) => {
            let mut items = items.clone();
            let at = (choice >> 8) as usize % items.len().max(1);
            match choice % 4 {
                0 => drop(items.pop()),
                1 => items.extend(items.get(at).cloned()),
                2 => items.reverse(),
                _ => items.push(json!(choice % 9)),
            }
            Json::Array(items)
        }
        Json::String(text) => match choice % 3 {
            0 => json!(["f32", "f16", "i32", "u32"][(choice >> 8) as usize % 4]),
            1 => json!(text.get(1..).unwrap_or_default()),
            _ => others.clone(),
        },
        Json::Bool(x) => json!(!x),
        _ => others.clone(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_damage_panics(changes in proptest::collection::vec(any::<[u64; 3]>(), 1..4)) {
        let mut json = serde_json::to_value(training()).unwrap();
        for [place, choice, other] in changes {
            let mut all = Vec::new();
            places(&json, String::new(), &mut all);
            let pick = |at: u64| all[at as usize % all.len()].clone();
            let others = json.pointer(&pick(other)).cloned().unwrap_or_default();
            if let Some(found) = json.pointer_mut(&pick(place)) {
                *found = mutated(found, choice, &others);
            }
        }
        if let Ok(def) = serde_json::from_value::<GraphDef>(json) {
            use_it(&def);
        }
    }
}

#[test]
fn a_stored_graph_has_its_training_in_it() {
    let graph = Graph::new();
    let x = graph.placeholder("x", [8, 3], DType::F32);
    let loss = graph.scope("fc").linear(x, 1).square().mean_all().named("loss");
    let step = Optimizer::adam(1e-3).minimize(loss);
    let stored = Graph::from_def(graph.finish().unwrap()).unwrap();
    let updates: Vec<_> = stored.updates().iter().map(|update| update.id()).collect();
    assert_eq!(updates, [step.update.id()]);
    assert!(stored.named("loss").is_some());
}
