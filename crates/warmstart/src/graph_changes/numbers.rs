//! Numbers of a program that were changed: rates of dropouts, which its author knows as one operation
//! each and the graph has as several, and constants, which stand in what reads them.

use std::collections::{HashMap, HashSet};
use warmstart_graph::{GraphDef, Location, Node, NodeId, Op};

/// A dropout of a graph: what it is called, and how much it drops.
struct Dropout<'a> {
    name: &'a str,
    rate: Option<f64>,
    random: &'a Node,
}

/// All dropouts of a graph, each by its random numbers and what compares them with its rate.
fn dropouts(def: &GraphDef) -> impl Iterator<Item = Dropout<'_>> {
    let compared = def.nodes.iter().filter_map(|node| match (node.op.name(), &node.inputs[..]) {
        ("greater", [rate, numbers]) => Some((numbers.0, *rate)),
        _ => None,
    });
    let rates: HashMap<usize, NodeId> = compared.collect();
    def.nodes.iter().enumerate().filter_map(move |(at, random)| {
        let Op::RandomUniform { stream, .. } = &random.op else { return None };
        let name = stream.strip_prefix("dropout/")?;
        let rate = rates.get(&at).and_then(|rate| number(def, *rate));
        Some(Dropout { name, rate, random })
    })
}

/// What became of a dropout that a node belongs to, which is not as it was.
pub(super) fn changed_dropout(before: &GraphDef, now: &GraphDef, node: &Node) -> Option<String> {
    // A line may build several.
    let here = dropouts(now).filter(|dropout| dropout.random.location == node.location);
    let here: Vec<Dropout<'_>> = here.collect();
    if here.is_empty() {
        return None;
    }
    let old: HashMap<&str, Dropout<'_>> = dropouts(before).map(|was| (was.name, was)).collect();
    here.into_iter().find_map(|Dropout { name, rate, random }| {
        let what = format!("dropout `{name}` at {}", random.location);
        match old.get(name) {
            None => Some(format!("{what} is new")),
            Some(was) if was.rate == rate => None,
            Some(was) => Some(format!("{what} has a rate of {}, and had {}", rate?, was.rate?)),
        }
    })
}

/// A dropout that there was and is not any more, of which a node that is in the place of one of `gone`
/// now reads what the dropout read: another difference is told as what it is.
pub(super) fn gone_dropout<'a>(
    before: &'a GraphDef,
    now: &GraphDef,
    gone: impl Iterator<Item = &'a Node>,
    node: &Node,
) -> Option<String> {
    let read = gone.filter(|other| is_in_place_of(node, other)).flat_map(|other| &other.inputs);
    let read: HashSet<&Location> =
        read.filter_map(|input| Some(&before.nodes.get(input.0)?.location)).collect();
    if read.is_empty() {
        return None;
    }
    let is_there: HashSet<&str> = dropouts(now).map(|dropout| dropout.name).collect();
    let was_read =
        |was: &Dropout<'_>| !is_there.contains(was.name) && read.contains(&was.random.location);
    let Dropout { name, random, .. } = dropouts(before).find(was_read)?;
    Some(format!("dropout `{name}` at {} is gone", random.location))
}

/// Whether a node does the same as another did, in the same scope, with as many operands.
fn is_in_place_of(node: &Node, other: &Node) -> bool {
    (other.op.name(), &other.scope, &other.shape, other.inputs.len())
        == (node.op.name(), &node.scope, &node.shape, node.inputs.len())
}

/// What a constant is in place of: what the first node that reads it has read there before. The numbers are
/// those of values, as in [`super::first_new`].
pub(super) fn changed_constant(
    (before, old): (&GraphDef, &[usize]),
    (now, new): (&GraphDef, &[usize]),
    at: NodeId,
) -> Option<String> {
    let is = number(now, at)?;
    let reads = |(_, node): &(usize, &Node)| node.inputs.contains(&at);
    let (reader, node) = now.nodes.iter().enumerate().find(reads)?;
    let gone = before.nodes.iter().enumerate().filter(|(at, _)| !new.contains(&old[*at]));
    let was = gone.map(|(_, other)| other).find_map(|other| {
        let same = is_in_place_of(node, other);
        let mut pairs = other.inputs.iter().zip(&node.inputs);
        let place = node.inputs.iter().position(|input| *input == at)?;
        let was = *other.inputs.get(place)?;
        let others_are_equal = pairs.all(|(was, is)| *is == at || old[was.0] == new[is.0]);
        (same && others_are_equal && number(before, was).is_some()).then_some(was)
    })?;
    // Of a constant of another dtype or shape, the number is not what changed.
    let kind = |node: &Node| (node.dtype, node.shape.clone());
    let was = before
        .nodes
        .get(was.0)
        .filter(|was| kind(was) == kind(&now.nodes[at.0]))
        .and(number(before, was))?;
    if is.to_string() == was.to_string() {
        return None;
    }
    Some(format!("{} reads the constant {is}, and read {was}", now.describe(NodeId(reader))))
}

/// The number that a node is, if it is one.
pub(super) fn number(def: &GraphDef, id: NodeId) -> Option<f64> {
    match &def.nodes.get(id.0)?.op {
        // As it was written: 0.1 is no number of `f32`.
        Op::Constant(data) if data.shape().checked_elements() == Some(1) => match data.as_f32() {
            Some([number]) => number.to_string().parse().ok(),
            _ => data.to_f64().first().copied(),
        },
        _ => None,
    }
}
