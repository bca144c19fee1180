//! Where the graph of a run that goes on differs from the one in its checkpoint.
//!
//! Nodes are held against each other by what they compute: the order in which two graphs were built,
//! and with it every index, may differ where nothing else does.

mod numbers;

use numbers::{changed_constant, changed_dropout, gone_dropout, number};
use std::collections::{BTreeSet, HashMap, HashSet};
use warmstart_graph::words::first_few;
use warmstart_graph::{DType, GraphDef, Location, Node, NodeId, Op, Shape, VariableId};

/// Places that are told beside the first.
const SHOWN: usize = 4;

/// The first node that is not as it was, if there is one, and in which other scopes and lines there are
/// operations that were not there, or no longer are. Lines that have moved are no difference, nor are names
/// that rules map:
/// `renamed` has the new ones of variables, by the old ones. `skip_updates` leaves out what was built on the
/// lines of optimizers.
pub(crate) fn difference<'a>(
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
    let First { told, node } = first_new(before, now, (&old, &new), known, skip_updates)
        .or_else(|| first_gone(before, (&old, &new), skip_updates))?;
    // Scopes that rules rename are other ones on both sides.
    let others = match node.filter(|_| renamed.is_empty()) {
        Some(first) => others(before, now, first),
        None => Vec::new(),
    };
    let others = match others.is_empty() {
        true => String::new(),
        false => format!("; and elsewhere {}", first_few(others.iter(), SHOWN)),
    };
    Some(format!("the graph differs from the checkpoint's: {told}{others}"))
}

/// The first difference: what is told of it, and which node it is.
struct First<'a> {
    told: String,
    /// `None` if it is a dropout, which is several nodes, or a shape: those of all that follow differ too, and
    /// with them what is computed by them.
    node: Option<&'a Node>,
}

/// Operations that one graph has more of in a scope than the other, one of each scope and each line. What
/// follows a difference is computed from other values, but is the same operation in the same scope.
fn others(before: &GraphDef, now: &GraphDef, first: &Node) -> Vec<String> {
    // Such a graph was built in another order, or for several optimizers in turn.
    let is_input = |node: &Node| matches!(node.op, Op::Placeholder { .. });
    if [before, now].iter().any(|def| def.nodes[built(def)..].iter().any(is_input)) {
        return Vec::new();
    }
    let mut scopes = HashSet::from([first.scope.as_str()]);
    let mut lines = HashSet::from([&first.location]);
    let mut told = Vec::new();
    for (def, other, end) in [(now, before, ""), (before, now, ", which is gone")] {
        let mut left: HashMap<_, usize> = HashMap::new();
        for node in other.nodes[..built(other)].iter().enumerate() {
            *left.entry(kind(other, node)).or_default() += 1;
        }
        for (at, node) in def.nodes[..built(def)].iter().enumerate() {
            let count = left.entry(kind(def, (at, node))).or_default();
            // What was told of is no counterpart of another line's.
            if lines.contains(&node.location) {
                if *count == 0 {
                    scopes.insert(&node.scope);
                }
                continue;
            }
            let has_more = *count == 0;
            *count = count.saturating_sub(1);
            if has_more {
                let of_line = lines.insert(&node.location);
                let of_scope = node.scope.is_empty() || scopes.insert(&node.scope);
                if of_line && of_scope {
                    told.push(format!("{}{end}", def.describe(NodeId(at))));
                }
            }
        }
    }
    told
}

/// How many nodes its author has built, before the first of an optimizer's: gradients are as many as there are
/// readers, and stand where their operations do.
fn built(def: &GraphDef) -> usize {
    let updates = lines_of_updates(def);
    let first = def.nodes.iter().position(|node| updates.contains(&node.location));
    first.unwrap_or(def.nodes.len())
}

/// What a node does and in which scope, whatever its shape and what it reads.
fn kind<'a>(
    def: &'a GraphDef,
    (at, node): (usize, &'a Node),
) -> (&'a str, &'static str, Option<&'a str>, Option<u64>) {
    let (name, number) = match &node.op {
        Op::Placeholder { name, .. } => (Some(name.as_str()), None),
        Op::RandomUniform { stream, .. } => (Some(stream.as_str()), None),
        Op::Variable(id) => (def.variables.get(id.0).map(|variable| variable.name.as_str()), None),
        Op::Constant(_) => (None, number(def, NodeId(at)).map(f64::to_bits)),
        _ => (None, None),
    };
    (&node.scope, node.op.name(), name, number)
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
fn first_new<'a>(
    before: &GraphDef,
    now: &'a GraphDef,
    (old, new): (&[usize], &[usize]),
    known: usize,
    skip_updates: bool,
) -> Option<First<'a>> {
    let updates = lines_of_updates(now);
    let differs = |(at, node): &(usize, &Node)| {
        let is_skipped = skip_updates && updates.contains(&node.location);
        let inputs_are_known = node.inputs.iter().all(|input| new[input.0] < known);
        new[*at] >= known && inputs_are_known && !is_skipped
    };
    let (at, node) = now.nodes.iter().enumerate().find(differs)?;
    let first = |told: String| Some(First { told, node: Some(node) });
    let here: BTreeSet<usize> = new.iter().copied().collect();
    let gone = || before.nodes.iter().enumerate().filter(|(at, _)| !here.contains(&old[*at]));
    let dropout = changed_dropout(before, now, node)
        .or_else(|| gone_dropout(before, now, gone().map(|(_, other)| other), node));
    let constant = || changed_constant((before, old), (now, new), NodeId(at));
    if let Some(told) = dropout {
        return Some(First { told, node: None });
    }
    if let Some(told) = constant() {
        return first(told);
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
            let told = format!("{what} is {is}, and was {} {}", was.dtype, was.shape);
            return Some(First { told, node: None });
        }
        return first(format!("{what} has other operands or settings"));
    }
    let was = others.iter().find(|other| !other.inputs.is_empty() && other.scope == node.scope);
    if let Some(was) = was {
        return first(format!("{what} was `{}`", was.op.name()));
    }
    let same_place = |other: &&Node| {
        (other.op.name(), &other.scope, &other.shape, other.dtype)
            == (node.op.name(), &node.scope, &node.shape, node.dtype)
    };
    if !node.inputs.is_empty() && gone().map(|(_, other)| other).any(|other| same_place(&other)) {
        return first(format!("{what} has other operands or settings"));
    }
    first(format!("{what} is new"))
}

/// The last node of those that were computed before and are not now: the others led to it.
fn first_gone<'a>(
    before: &'a GraphDef,
    (old, new): (&[usize], &[usize]),
    skip_updates: bool,
) -> Option<First<'a>> {
    let updates = lines_of_updates(before);
    let here: BTreeSet<usize> = new.iter().copied().collect();
    let gone = |(at, node): &(usize, &Node)| {
        let is_skipped = skip_updates && updates.contains(&node.location);
        !here.contains(&old[*at]) && !is_skipped
    };
    let (at, node) = before.nodes.iter().enumerate().rev().find(gone)?;
    let told = format!("{} is gone", before.describe(NodeId(at)));
    Some(First { told, node: Some(node) })
}

fn lines_of_updates(def: &GraphDef) -> HashSet<&Location> {
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
mod tests;
