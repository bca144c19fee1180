//! Where the graph of a run that goes on differs from the one in its checkpoint.
//!
//! Nodes are held against each other by what they compute: the order in which two graphs were built,
//! and with it every index, may differ where nothing else does.

mod numbers;

use numbers::{changed_constant, changed_dropout, gone_dropout};
use std::collections::{BTreeSet, HashMap};
use warmstart_graph::{DType, GraphDef, Location, Node, NodeId, Op, Shape, VariableId};

/// The first node that is not as it was, if there is one; lines that have moved are no difference, nor are
/// names that rules map: `renamed` has the new ones of variables, by the old ones. `skip_updates` leaves
/// out what was built on the lines of optimizers.
pub(crate) fn first_difference<'a>(
    before: &'a GraphDef,
    now: &'a GraphDef,
    renamed: &HashMap<&str, &'a str>,
    skip_updates: bool,
) -> Option<String> {
    let mut values = Values::default();
    let names = Names::of(before, now, renamed);
    let old = values.of(before, &names.before);
    let known = values.count;
    let new = values.of(now, &names.now);
    let difference = first_new(before, now, (&old, &new), known, skip_updates)
        .or_else(|| first_gone(before, (&old, &new), skip_updates))?;
    Some(format!("the graph differs from the checkpoint's: {difference}"))
}

/// Whether two tensors of two graphs are computed alike, from variables and placeholders of the same
/// names.
#[doc(hidden)]
pub fn is_computed_alike(
    (before, old): (&GraphDef, NodeId),
    (now, new): (&GraphDef, NodeId),
) -> bool {
    let mut values = Values::default();
    let names = Names::of(before, now, &HashMap::new());
    let numbers = (values.of(before, &names.before), values.of(now, &names.now));
    numbers.0.get(old.0).is_some_and(|old| numbers.1.get(new.0) == Some(old))
}

/// The first node whose value the graph before did not have, though it had those of its inputs.
fn first_new(
    before: &GraphDef,
    now: &GraphDef,
    (old, new): (&[usize], &[usize]),
    known: usize,
    skip_updates: bool,
) -> Option<String> {
    let updates = lines_of_updates(now);
    let differs = |(at, node): &(usize, &Node)| {
        let is_skipped = skip_updates && updates.contains(&&node.location);
        let inputs_are_known = node.inputs.iter().all(|input| new[input.0] < known);
        new[*at] >= known && inputs_are_known && !is_skipped
    };
    let (at, node) = now.nodes.iter().enumerate().find(differs)?;
    let here: BTreeSet<usize> = new.iter().copied().collect();
    let gone = || before.nodes.iter().enumerate().filter(|(at, _)| !here.contains(&old[*at]));
    let dropout = changed_dropout(before, now, node)
        .or_else(|| gone_dropout(before, now, gone().map(|(_, other)| other), node));
    let constant = || changed_constant((before, old), (now, new), NodeId(at));
    if let Some(told) = dropout.or_else(constant) {
        return Some(told);
    }
    let what = now.describe(NodeId(at));
    // What was computed from the same, and is no more.
    let inputs: Vec<usize> = node.inputs.iter().map(|input| new[input.0]).collect();
    let of_the_same =
        |other: &&Node| other.inputs.iter().map(|input| old[input.0]).eq(inputs.iter().copied());
    let others: Vec<&Node> = gone().map(|(_, other)| other).filter(of_the_same).collect();
    let alike = others.iter().find(|other| other.op.name() == node.op.name());
    if let Some(was) = alike {
        if (&was.shape, was.dtype) != (&node.shape, node.dtype) {
            let is = format!("{} {}", node.dtype, node.shape);
            return Some(format!("{what} is {is}, and was {} {}", was.dtype, was.shape));
        }
        return Some(format!("{what} has other operands or settings"));
    }
    let was = others.iter().find(|other| !other.inputs.is_empty() && other.scope == node.scope);
    if let Some(was) = was {
        return Some(format!("{what} was `{}`", was.op.name()));
    }
    let same_place = |other: &&Node| {
        (other.op.name(), &other.scope, &other.shape, other.dtype)
            == (node.op.name(), &node.scope, &node.shape, node.dtype)
    };
    if !node.inputs.is_empty() && gone().map(|(_, other)| other).any(|other| same_place(&other)) {
        return Some(format!("{what} has other operands or settings"));
    }
    Some(format!("{what} is new"))
}

/// The last node of those that were computed before and are not now: the others led to it.
fn first_gone(
    before: &GraphDef,
    (old, new): (&[usize], &[usize]),
    skip_updates: bool,
) -> Option<String> {
    let updates = lines_of_updates(before);
    let here: BTreeSet<usize> = new.iter().copied().collect();
    let gone = |(at, node): &(usize, &Node)| {
        let is_skipped = skip_updates && updates.contains(&&node.location);
        !here.contains(&old[*at]) && !is_skipped
    };
    let (at, _) = before.nodes.iter().enumerate().rev().find(gone)?;
    Some(format!("{} is gone", before.describe(NodeId(at))))
}

fn lines_of_updates(def: &GraphDef) -> Vec<&Location> {
    def.nodes.iter().filter(|node| node.op.is_update()).map(|node| &node.location).collect()
}

/// Numbers for the names of variables: their indices follow the order of declaration, which means
/// nothing.
struct Names {
    before: Numbers,
    now: Numbers,
}

impl Names {
    fn of<'a>(before: &'a GraphDef, now: &'a GraphDef, renamed: &HashMap<&str, &'a str>) -> Names {
        let taken: BTreeSet<&str> = renamed.values().copied().collect();
        let mut known: HashMap<(&str, bool), usize> = HashMap::new();
        let mut number = |name: (&'a str, bool)| {
            let next = known.len();
            *known.entry(name).or_insert(next)
        };
        let now = now.variables.iter().map(|variable| number((&variable.name, false))).collect();
        let before = before.variables.iter().map(|variable| match renamed.get(&*variable.name) {
            Some(new) => number((new, false)),
            // Another one may have its name now.
            None => number((&variable.name, taken.contains(&*variable.name))),
        });
        Names { before: Numbers(before.collect()), now: Numbers(now) }
    }
}

/// Those of one graph, by the indices of its variables.
struct Numbers(Vec<usize>);

impl Numbers {
    /// An operation with these numbers for its indices.
    fn canonical(&self, op: &Op) -> Op {
        let numbered = |id: VariableId| VariableId(self.0.get(id.0).copied().unwrap_or(usize::MAX));
        let mut op = op.clone();
        match &mut op {
            Op::Variable(id) | Op::Assign(id) => *id = numbered(*id),
            Op::OptimizerUpdate(update) => {
                for parameter in &mut update.parameters {
                    parameter.variable = numbered(parameter.variable);
                    parameter.slots.iter_mut().for_each(|slot| *slot = numbered(*slot));
                }
                update.step = numbered(update.step);
                update.global_step = numbered(update.global_step);
                if let Some(scale) = &mut update.loss_scale {
                    scale.scale = numbered(scale.scale);
                    scale.good_steps = numbered(scale.good_steps);
                }
                if let Some(accumulation) = &mut update.accumulation {
                    accumulation.accumulated = numbered(accumulation.accumulated);
                }
            }
            _ => {}
        }
        op
    }
}

/// What nodes of one key have computed so far: operations with their numbers.
type Computed = HashMap<(&'static str, Shape, DType, Vec<usize>), Vec<(Op, usize)>>;

/// Numbers for values: two nodes have the same if they compute the same from the same.
#[derive(Default)]
struct Values {
    computed: Computed,
    count: usize,
}

impl Values {
    /// The number of each node. Nodes come after their inputs.
    fn of(&mut self, def: &GraphDef, names: &Numbers) -> Vec<usize> {
        let mut numbers: Vec<usize> = Vec::with_capacity(def.nodes.len());
        for node in &def.nodes {
            let mut inputs: Vec<usize> = node.inputs.iter().map(|input| numbers[input.0]).collect();
            // Sums and products are the same in either order.
            if ["add", "mul", "global_norm"].contains(&node.op.name()) {
                inputs.sort_unstable();
            }
            let mut op = names.canonical(&node.op);
            // So are parameters, each with its gradient.
            if let Op::OptimizerUpdate(update) = &mut op
                && let Some(first) = inputs.len().checked_sub(update.parameters.len())
            {
                let gradients = inputs.split_off(first);
                let mut each: Vec<_> = update.parameters.drain(..).zip(gradients).collect();
                each.sort_by_key(|(parameter, _)| parameter.variable.0);
                let (parameters, gradients): (Vec<_>, Vec<_>) = each.into_iter().unzip();
                update.parameters = parameters;
                inputs.extend(gradients);
            }
            let key = (node.op.name(), node.shape.clone(), node.dtype, inputs);
            let alike = self.computed.entry(key).or_default();
            let number = match alike.iter().find(|(other, _)| same(other, &op)) {
                Some((_, number)) => *number,
                None => {
                    alike.push((op, self.count));
                    self.count += 1;
                    self.count - 1
                }
            };
            numbers.push(number);
        }
        numbers
    }
}

fn same(one: &Op, other: &Op) -> bool {
    match (one, other) {
        // NaN is the same constant as before.
        (Op::Constant(one), Op::Constant(other)) => one.to_le_bytes() == other.to_le_bytes(),
        (one, other) => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use warmstart_graph::{Graph, Initializer, Optimizer, Tensor, TensorData};

    /// Where no rule maps names.
    fn first_difference(before: &GraphDef, now: &GraphDef, skip_updates: bool) -> Option<String> {
        super::first_difference(before, now, &HashMap::new(), skip_updates)
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
        assert_eq!(first_difference(&before, &graph(0.1, |x| x.relu()), false), None);
        let told = first_difference(&before, &graph(0.1, |x| x.tanh()), false).expect("it differs");
        assert!(told.contains("`tanh` in scope `fc1` at "), "{told}");
        assert!(told.contains("changes.rs:") && told.ends_with(" was `relu`"), "{told}");
        let told = first_difference(&before, &graph(0.1, |x| x.relu().relu()), false);
        assert!(told.is_some());
    }

    #[test]
    fn a_dropout_is_told_as_one() {
        let with = |names: [(&'static str, f32); 2]| {
            graph(0.1, move |x| names.into_iter().fold(x, |x, (name, rate)| x.dropout(name, rate)))
        };
        let before = with([("one", 0.1), ("two", 0.2)]);
        let told = |now: GraphDef| {
            let told = first_difference(&before, &now, false).expect("it differs");
            let (begin, line) = told.split_once(" at ").expect("a line");
            let (file, rest) = line.split_once(".rs:").expect("a file");
            assert!(file.ends_with("graph_changes"), "{told}");
            let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == ':');
            let begin = begin.strip_prefix("the graph differs from the checkpoint's: ");
            format!("{}{rest}", begin.expect("it begins so"))
        };
        assert_eq!(first_difference(&before, &with([("one", 0.1), ("two", 0.2)]), false), None);
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
        let told = first_difference(&before, &now, false).expect("it differs");
        assert!(
            told.contains("`mul` in scope `fc1` at ") && told.contains("changes.rs:"),
            "{told}"
        );
        assert!(told.ends_with(" reads the constant 0.5, and read 0.1"), "{told}");
        // What is still there was not changed.
        let two = |factor| graph(0.1, move |x| x * 0.1 + x * factor);
        let told = first_difference(&two(0.2), &two(0.5), false).expect("it differs");
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
            first_difference(&with(before), &with(now), false).expect("it differs")
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
        assert!(first_difference(&before, &now, false).is_some());
        assert_eq!(first_difference(&before, &now, true), None);
        assert!(first_difference(&before, &graph(0.2, |x| x.tanh()), true).is_some());
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
        let told = first_difference(&before, &now, false).expect("nothing says which is which");
        assert!(told.contains("`body/weight`"), "{told}");
        let renamed = |names: &[(String, String)]| {
            let renamed = names.iter().map(|(from, to)| (from.as_str(), to.as_str())).collect();
            super::first_difference(&before, &now, &renamed, false)
        };
        assert_eq!(renamed(&moved), None);
        // Names that are exchanged.
        let (before, now) = (scoped("body", "head"), scoped("head", "body"));
        let exchanged = [mapped(&before, "body", "head"), mapped(&before, "head", "body")].concat();
        let renamed = exchanged.iter().map(|(from, to)| (from.as_str(), to.as_str())).collect();
        assert_eq!(super::first_difference(&before, &now, &renamed, false), None);
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
        assert!(super::first_difference(&before, &now, &renamed, false).is_some());
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
        assert_eq!(first_difference(&plain, &other, false), None);
        assert_eq!(first_difference(&other, &plain, false), None);
        // A real change is found in any order.
        let changed = graph(0.1, |x| x.tanh());
        let told = first_difference(&other, &changed, false).expect("it differs");
        assert_eq!(first_difference(&plain, &changed, false).as_ref(), Some(&told));
        assert!(told.ends_with(" was `relu`"), "{told}");
        let less = first_difference(&graph(0.1, |x| x.relu().tanh()), &other, false);
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
        let told = first_difference(&with(true), &with(false), false).expect("it differs");
        assert!(told.contains("softmax") && told.ends_with(" is gone"), "{told}");
        let told = first_difference(&with(false), &with(true), false).expect("it differs");
        assert!(told.contains("softmax") && told.ends_with(" is new"), "{told}");
    }
}
