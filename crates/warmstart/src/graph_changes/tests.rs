use super::*;
use warmstart_graph::{Graph, Initializer, Optimizer, Tensor, TensorData};

/// Where no rule maps names.
fn difference(before: &GraphDef, now: &GraphDef, skip_updates: bool) -> Option<String> {
    super::difference(before, now, &HashMap::new(), skip_updates)
}

fn graph(rate: f32, layer: impl for<'g> Fn(Tensor<'g>) -> Tensor<'g>) -> GraphDef {
    let graph = Graph::new();
    let input = graph.placeholder("input", [4, 2], DType::F32);
    let hidden = layer(graph.scope("fc1").linear(input, 3));
    let loss = graph.scope("fc2").linear(hidden, 1).square().mean_all();
    Optimizer::sgd(rate).minimize(loss);
    graph.finish().expect("it fits together")
}

#[test]
fn the_first_operation_that_differs_is_named_with_its_line() {
    let before = graph(0.1, |x| x.relu());
    // The same operation at another line.
    assert_eq!(difference(&before, &graph(0.1, |x| x.relu()), false), None);
    let told = difference(&before, &graph(0.1, |x| x.tanh()), false).expect("it differs");
    assert!(told.contains("`tanh` in scope `fc1` at "), "{told}");
    assert!(told.contains("tests.rs:") && told.ends_with(" was `relu`"), "{told}");
    let told = difference(&before, &graph(0.1, |x| x.relu().relu()), false);
    assert!(told.is_some());
}

/// Three layers in scopes of their own, and what is computed from the last.
fn layers(of: [for<'g> fn(Tensor<'g>) -> Tensor<'g>; 3], width: usize, inserted: bool) -> GraphDef {
    let graph = Graph::new();
    let mut hidden = graph.placeholder("input", [4, 2], DType::F32);
    for (at, activation) in of.into_iter().enumerate() {
        let scope = graph.scope(&format!("layer_{at}"));
        hidden = activation(scope.linear(hidden, width));
        if inserted && at == 1 {
            hidden = graph.scope("inserted").linear(hidden, width);
            hidden = hidden.relu();
        }
    }
    let loss = graph.scope("loss").linear(hidden, 1).square().mean_all();
    Optimizer::sgd(0.1).clip_global_norm(1.0).minimize(loss);
    graph.finish().expect("it fits together")
}

/// What is told, without where it is.
fn told(before: &GraphDef, now: &GraphDef) -> String {
    let told = difference(before, now, false).expect("it differs");
    let told =
        told.strip_prefix("the graph differs from the checkpoint's: ").expect("it begins so");
    let mut words: Vec<String> = Vec::new();
    for word in told.split(' ') {
        match word.contains(".rs:") {
            true => {
                assert_eq!(words.pop().as_deref(), Some("at"), "{told}");
                let end = word.trim_start_matches(|c| c != ',' && c != ';');
                words.last_mut().expect("what is there").push_str(end);
            }
            false => words.push(word.to_owned()),
        }
    }
    assert!(!told.ends_with(&words.join(" ")), "no line is told: {told}");
    words.join(" ")
}

#[test]
fn of_several_changed_layers_each_is_told_and_nothing_that_follows() {
    let relu: for<'g> fn(Tensor<'g>) -> Tensor<'g> = |x| x.relu();
    // The same at a line of its own.
    let again: for<'g> fn(Tensor<'g>) -> Tensor<'g> = |x| x.relu();
    let tanh: for<'g> fn(Tensor<'g>) -> Tensor<'g> = |x| x.tanh();
    let twice: for<'g> fn(Tensor<'g>) -> Tensor<'g> = |x| x * 2.0;
    let thrice: for<'g> fn(Tensor<'g>) -> Tensor<'g> = |x| x * 3.0;
    let plain = |of| layers(of, 3, false);
    let before = plain([relu, again, twice]);
    // Everything after the first layer is computed from other values.
    let one = told(&before, &plain([tanh, again, twice]));
    assert_eq!(one, "`tanh` in scope `layer_0` was `relu`");
    let two = told(&before, &plain([tanh, again, thrice]));
    assert_eq!(
        two,
        "`tanh` in scope `layer_0` was `relu`; and elsewhere `constant` in scope `layer_2`"
    );
    let other: for<'g> fn(Tensor<'g>) -> Tensor<'g> = |x| x.tanh();
    let three = told(&before, &plain([tanh, other, thrice]));
    assert_eq!(
        three,
        "`tanh` in scope `layer_0` was `relu`; and elsewhere `tanh` in scope `layer_1`, `constant` in \
         scope `layer_2`"
    );
    // What is written once is told once.
    let same = told(&before, &plain([tanh, tanh, twice]));
    assert_eq!(same, one);
    let none: for<'g> fn(Tensor<'g>) -> Tensor<'g> = |x| x;
    let gone = told(&before, &plain([tanh, none, twice]));
    assert_eq!(
        gone,
        "`tanh` in scope `layer_0` was `relu`; and elsewhere `relu` in scope `layer_1`, which is gone"
    );
    // All that is in a new layer is one place.
    let inserted = told(&before, &layers([relu, again, twice], 3, true));
    assert_eq!(inserted, "variable `inserted/weight` is new");
    let both = told(&before, &layers([relu, again, thrice], 3, true));
    assert_eq!(
        both,
        "variable `inserted/weight` is new; and elsewhere `constant` in scope `layer_2`"
    );
    // Where a shape is another, so are those of all that follows.
    let wider = told(&before, &layers([relu, again, thrice], 5, false));
    assert!(wider.starts_with("variable `layer_0/weight` is f32"), "{wider}");
    assert!(!wider.contains("elsewhere"), "{wider}");
}

/// Neither the operation after an inserted one of its kind, nor an old reader of what has a second one.
#[test]
fn what_was_there_before_is_told_of_nowhere() {
    let plain = |inserted: bool| {
        let graph = Graph::new();
        let mut x = graph.placeholder("input", [4, 2], DType::F32).tanh();
        if inserted {
            x = x.relu();
        }
        let x = x.square();
        let _ = x.relu().mean_all();
        graph.finish().expect("it fits together")
    };
    let text = told(&plain(false), &plain(true));
    assert!(!text.contains("elsewhere"), "{text}");
    let skips = |skips: bool| {
        let graph = Graph::new();
        let input = graph.placeholder("input", [4, 3], DType::F32);
        let first = graph.scope("layer_0").linear(input, 3).relu();
        let second = graph.scope("layer_1").linear(first, 3).relu();
        let loss = graph.scope("loss").linear(second, 1).square().mean_all();
        let loss = if skips { loss + first.square().mean_all() } else { loss };
        Optimizer::sgd(0.1).minimize(loss);
        graph.finish().expect("it fits together")
    };
    let text = told(&skips(false), &skips(true));
    assert!(!text.contains("layer_1"), "{text}");
}

#[test]
fn of_very_many_changed_layers_a_few_are_told() {
    let deep = |factor: f32| {
        let graph = Graph::new();
        let mut hidden = graph.placeholder("input", [4, 2], DType::F32);
        for at in 0..40 {
            let line = Location { file: "m.rs".into(), line: 1 + at };
            hidden = graph.at_line(line, || {
                graph.scope(&format!("layer_{at}")).linear(hidden, 2) * (factor + at as f32)
            });
        }
        Optimizer::sgd(0.1).minimize(hidden.mean_all());
        graph.finish().expect("it fits together")
    };
    let told = told(&deep(0.5), &deep(0.75));
    assert!(told.contains("; and elsewhere `constant` in scope `layer_1`, "), "{told}");
    assert!(told.ends_with("`constant` in scope `layer_4` and 35 more"), "{told}");
}

#[test]
fn a_dropout_is_told_as_one() {
    let with = |names: [(&'static str, f32); 2]| {
        graph(0.1, move |x| names.into_iter().fold(x, |x, (name, rate)| x.dropout(name, rate)))
    };
    let before = with([("one", 0.1), ("two", 0.2)]);
    let told = |now: GraphDef| {
        let told = difference(&before, &now, false).expect("it differs");
        let (begin, line) = told.split_once(" at ").expect("a line");
        let (file, rest) = line.split_once(".rs:").expect("a file");
        assert!(file.ends_with("tests"), "{told}");
        let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == ':');
        let begin = begin.strip_prefix("the graph differs from the checkpoint's: ");
        format!("{}{rest}", begin.expect("it begins so"))
    };
    assert_eq!(difference(&before, &with([("one", 0.1), ("two", 0.2)]), false), None);
    let one = with([("one", 0.3), ("two", 0.2)]);
    assert_eq!(told(one), "dropout `one` has a rate of 0.3, and had 0.1");
    // Both have numbers that were in the graph before, and stand on one line.
    let two = with([("one", 0.1), ("two", 0.1)]);
    assert_eq!(told(two), "dropout `two` has a rate of 0.1, and had 0.2");
    assert_eq!(told(with([("one", 0.1), ("two", 0.0)])), "dropout `two` is gone");
    let new = with([("one", 0.1), ("three", 0.2)]);
    assert_eq!(told(new), "dropout `three` is new");
    // What is otherwise in a graph with dropouts is told as it is.
    let other = graph(0.1, |x| x.dropout("one", 0.1).dropout("two", 0.2).relu());
    assert!(told(other).starts_with("`relu` in scope `fc1`"));
    // Also where a dropout behind it is gone.
    let other = graph(0.1, |x| x.relu().dropout("one", 0.1));
    assert!(told(other).starts_with("`relu` in scope `fc1`"));
}

#[test]
fn a_changed_constant_is_told_where_it_is_read() {
    let (before, now) = (graph(0.1, |x| x.relu() * 0.1), graph(0.1, |x| x.relu() * 0.5));
    let told = difference(&before, &now, false).expect("it differs");
    assert!(told.contains("`mul` in scope `fc1` at ") && told.contains("tests.rs:"), "{told}");
    assert!(told.ends_with(" reads the constant 0.5, and read 0.1"), "{told}");
    // What is still there was not changed.
    let two = |factor| graph(0.1, move |x| x * 0.1 + x * factor);
    let told = difference(&two(0.2), &two(0.5), false).expect("it differs");
    assert!(told.ends_with(" reads the constant 0.5, and read 0.2"), "{told}");
}

/// Where a constant has another dtype, its number is not what changed.
#[test]
fn a_constant_of_another_dtype_is_not_told_as_a_number() {
    let with = |data: TensorData| {
        let graph = Graph::new();
        let _ = graph.constant(data).reshape([1]);
        graph.finish().expect("it fits together")
    };
    let told = |before: TensorData, now: TensorData| {
        difference(&with(before), &with(now), false).expect("it differs")
    };
    let same = told(TensorData::from(0.5f32), TensorData::from(2f32));
    assert!(same.ends_with(" reads the constant 2, and read 0.5"), "{same}");
    for now in [TensorData::from(2i32), TensorData::from(2u32)] {
        let other = told(TensorData::from(0.5f32), now);
        assert!(!other.contains("reads the constant"), "{other}");
    }
}

#[test]
fn an_optimizer_that_was_told_of_is_not_told_of_again() {
    let (before, now) = (graph(0.1, |x| x.relu()), graph(0.2, |x| x.relu()));
    assert!(difference(&before, &now, false).is_some());
    assert_eq!(difference(&before, &now, true), None);
    assert!(difference(&before, &graph(0.2, |x| x.tanh()), true).is_some());
}

/// A trained layer in a scope, and a head that is another layer.
fn scoped(scope: &str, head: &str) -> GraphDef {
    let graph = Graph::new();
    let input = graph.placeholder("input", [4, 2], DType::F32);
    let hidden = graph.scope(scope).linear(input, 2).relu();
    let loss = graph.scope(head).linear(hidden, 2).square().mean_all();
    Optimizer::adam(0.1).minimize(loss);
    graph.finish().expect("it fits together")
}

/// What rules map a graph's variables to: those of one scope to another.
fn mapped(def: &GraphDef, from: &str, to: &str) -> Vec<(String, String)> {
    let names = def.variables.iter().map(|variable| variable.name.clone());
    let of_scope = names.filter(|name| name.starts_with(&format!("{from}/")));
    of_scope.map(|name| (name.clone(), name.replacen(from, to, 1))).collect()
}

#[test]
fn variables_that_rules_rename_are_the_same() {
    let (before, now) = (scoped("encoder", "head"), scoped("body", "head"));
    let moved = mapped(&before, "encoder", "body");
    assert_eq!(moved.len(), 6);
    let told = difference(&before, &now, false).expect("nothing says which is which");
    assert!(told.contains("`body/weight`"), "{told}");
    let renamed = |names: &[(String, String)]| {
        let renamed = names.iter().map(|(from, to)| (from.as_str(), to.as_str())).collect();
        super::difference(&before, &now, &renamed, false)
    };
    assert_eq!(renamed(&moved), None);
    // Names that are exchanged.
    let (before, now) = (scoped("body", "head"), scoped("head", "body"));
    let exchanged = [mapped(&before, "body", "head"), mapped(&before, "head", "body")].concat();
    let renamed = exchanged.iter().map(|(from, to)| (from.as_str(), to.as_str())).collect();
    assert_eq!(super::difference(&before, &now, &renamed, false), None);
}

/// What rules leave out is not the same as what takes over its name.
#[test]
fn a_name_that_another_variable_takes_over_is_no_longer_the_same() {
    let weight = |graph: &Graph, name: &str| {
        let _ = graph.variable(name, [2, 2], Initializer::Zeros);
    };
    let twice = |first: &str, second: &str| {
        let graph = Graph::new();
        weight(&graph, first);
        if first != second {
            weight(&graph, second);
        }
        let [first, second] = [first, second].map(|name| graph.get_variable(name));
        let input = graph.placeholder("input", [4, 2], DType::F32);
        let _ = input.matmul(first.expect("declared")).matmul(second.expect("declared"));
        graph.finish().expect("it fits together")
    };
    let (before, now) = (twice("body", "head"), twice("head", "head"));
    let renamed = HashMap::from([("body", "head")]);
    assert!(super::difference(&before, &now, &renamed, false).is_some());
}

/// The same graph with its nodes in another order: each time, the last that can come next.
fn reordered(def: &GraphDef) -> GraphDef {
    let mut order: Vec<usize> = Vec::new();
    while order.len() < def.nodes.len() {
        let can = |at: &usize| {
            let inputs = &def.nodes[*at].inputs;
            !order.contains(at) && inputs.iter().all(|input| order.contains(&input.0))
        };
        order.push((0..def.nodes.len()).rev().find(can).expect("inputs come first"));
    }
    let place = |id: NodeId| {
        let found = order.iter().position(|&at| at == id.0);
        NodeId(found.expect("each node has a place"))
    };
    let variables = def.variables.len();
    let turned = |id: &mut VariableId| *id = VariableId(variables - 1 - id.0);
    let mut turned_def = def.clone();
    turned_def.variables.reverse();
    turned_def.names.values_mut().for_each(|id| *id = place(*id));
    turned_def.nodes = order.iter().map(|&at| def.nodes[at].clone()).collect();
    for node in &mut turned_def.nodes {
        node.inputs.iter_mut().for_each(|id| *id = place(*id));
        match &mut node.op {
            Op::Variable(id) | Op::Assign(id) => turned(id),
            Op::OptimizerUpdate(update) => {
                for parameter in &mut update.parameters {
                    turned(&mut parameter.variable);
                    parameter.slots.iter_mut().for_each(turned);
                }
                turned(&mut update.step);
                turned(&mut update.global_step);
            }
            _ => {}
        }
    }
    turned_def
}

#[test]
fn the_order_of_nodes_is_no_difference() {
    let plain = graph(0.1, |x| x.relu());
    let other = reordered(&plain);
    assert_ne!(plain.nodes, other.nodes);
    assert_eq!(difference(&plain, &other, false), None);
    assert_eq!(difference(&other, &plain, false), None);
    // A real change is found in any order.
    let changed = graph(0.1, |x| x.tanh());
    let told = difference(&other, &changed, false).expect("it differs");
    assert_eq!(difference(&plain, &changed, false).as_ref(), Some(&told));
    assert!(told.ends_with(" was `relu`"), "{told}");
    let less = difference(&graph(0.1, |x| x.relu().tanh()), &other, false);
    assert!(less.is_some());
}

#[test]
fn what_is_no_longer_computed_is_told() {
    let with = |fetched: bool| {
        let graph = Graph::new();
        let input = graph.placeholder("input", [4, 2], DType::F32);
        let output = graph.scope("fc1").linear(input, 3);
        if fetched {
            let _ = output.softmax();
        }
        graph.finish().expect("it fits together")
    };
    let told = difference(&with(true), &with(false), false).expect("it differs");
    assert!(told.contains("softmax") && told.ends_with(" is gone"), "{told}");
    let told = difference(&with(false), &with(true), false).expect("it differs");
    assert!(told.contains("softmax") && told.ends_with(" is new"), "{told}");
}
