//! Numbers of a program that were changed: rates of dropouts, which its author knows as one operation
//! each and the graph has as several, and constants, which stand in what reads them.

use warmstart_graph::{GraphDef, Node, NodeId, Op};

/// A dropout of a graph: what it is called, and how much it drops.
struct Dropout<'a> {
    name: &'a str,
    rate: Option<f64>,
    random: &'a Node,
}

/// All dropouts of a graph, each by its random numbers and what compares them with its rate.
fn dropouts(def: &GraphDef) -> impl Iterator<Item = Dropout<'_>> {
    def.nodes.iter().enumerate().filter_map(|(at, random)| {
        let Op::RandomUniform { stream, .. } = &random.op else { return None };
        let name = stream.strip_prefix("dropout/")?;
        let rate = def.nodes.iter().find_map(|node| match (node.op.name(), &node.inputs[..]) {
            ("greater", [rate, numbers]) if numbers.0 == at => number(def, *rate),
            _ => None,
        });
        Some(Dropout { name, rate, random })
    })
}

/// What became of a dropout that a node belongs to, which is not as it was.
pub(super) fn changed_dropout(before: &GraphDef, now: &GraphDef, node: &Node) -> Option<String> {
    // A line may build several.
    dropouts(now).filter(|dropout| dropout.random.location == node.location).find_map(|dropout| {
        let Dropout { name, rate, random } = dropout;
        let what = format!("dropout `{name}` at {}", random.location);
        match dropouts(before).find(|other| other.name == name) {
            None => Some(format!("{what} is new")),
            Some(was) if was.rate == rate => None,
            Some(was) => Some(format!("{what} has a rate of {}, and had {}", rate?, was.rate?)),
        }
    })
}

/// A dropout that there was and is not any more.
pub(super) fn gone_dropout(before: &GraphDef, now: &GraphDef) -> Option<String> {
    let is_there = |name: &str| dropouts(now).any(|dropout| dropout.name == name);
    let Dropout { name, random, .. } = dropouts(before).find(|dropout| !is_there(dropout.name))?;
    Some(format!("dropout `{name}` at {} is gone", random.location))
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
        let same = (other.op.name(), &other.scope, &other.shape, other.inputs.len())
            == (node.op.name(), &node.scope, &node.shape, node.inputs.len());
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
fn number(def: &GraphDef, id: NodeId) -> Option<f64> {
    match &def.nodes.get(id.0)?.op {
        // As it was written: 0.1 is no number of `f32`.
        Op::Constant(data) if data.shape().checked_elements() == Some(1) => match data.as_f32() {
            Some([number]) => number.to_string().parse().ok(),
            _ => data.to_f64().first().copied(),
        },
        _ => None,
    }
}
