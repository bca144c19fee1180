//! A graph as plain data: an arena of nodes, and the variables they speak of.

use crate::ops::Op;
use crate::{DType, Location, Shape, Variable};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A node's index in its graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(pub usize);

/// A variable's index in its graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct VariableId(pub usize);

/// One operation in a graph.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// What it computes.
    pub op: Op,
    /// From what; always earlier nodes.
    pub inputs: Vec<NodeId>,
    /// The extents of the result.
    pub shape: Shape,
    /// The element type of the result.
    pub dtype: DType,
    /// The scope it was built in, empty at the top.
    pub scope: String,
    /// The user's line that built it.
    pub location: Location,
}

/// A graph as plain data: what is compiled, printed and stored in checkpoints.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GraphDef {
    /// The operations, each after its inputs.
    pub nodes: Vec<Node>,
    /// The variables, in the order of their declaration.
    pub variables: Vec<Variable>,
    /// Tensors that were given a name, see [`Tensor::named`](crate::Tensor::named).
    pub names: BTreeMap<String, NodeId>,
    /// The seed of random operations such as dropout.
    pub seed: u64,
    /// The first and the last node of each part that the gradient computes again rather than keep,
    /// see [`Scope::recompute`](crate::Scope::recompute); ascending, and none within another.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recomputed: Vec<(NodeId, NodeId)>,
    /// Values that the gradient reads as they were rounded to `f16`, each with the node that rounds
    /// it, see [`Scope::keep_f16`](crate::Scope::keep_f16); ascending. Those that a gradient divides
    /// by are taken out when it is built.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept_f16: Vec<(NodeId, NodeId)>,
}

impl GraphDef {
    /// The node with an index. Indices come from the graph itself.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    /// The variable with an index. Indices come from the graph itself.
    pub fn variable(&self, id: VariableId) -> &Variable {
        &self.variables[id.0]
    }
}
