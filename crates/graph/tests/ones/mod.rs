//! Ones for all that a graph takes.

use warmstart_graph::reference::{Reference, Value};
use warmstart_graph::{GraphDef, Op, Shape};

/// Feeds them to placeholders, and gives them to variables of up to so many elements.
pub fn give_ones(reference: &mut Reference<'_>, def: &GraphDef, most: usize) {
    let ones =
        |shape: &Shape| Value { shape: shape.clone(), elements: vec![1.0; shape.elements()] };
    for node in &def.nodes {
        if let Op::Placeholder { name, shape, .. } = &node.op {
            reference.feed(name, ones(shape));
        }
    }
    for variable in def.variables.iter().filter(|variable| variable.shape.elements() <= most) {
        reference.assign(&variable.name, ones(&variable.shape));
    }
}
