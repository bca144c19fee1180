//! The handle that expressions are written with.

use crate::ops::Op;
use crate::{DType, Graph, NodeId, Problem, Shape, TensorData};
use std::fmt;

/// A value in a graph: a `Copy` handle with methods and operators. Its operations are beside
/// their rules, in [`crate::ops`].
#[derive(Clone, Copy)]
pub struct Tensor<'g> {
    graph: &'g Graph,
    id: NodeId,
}

impl<'g> Tensor<'g> {
    pub(crate) fn new(graph: &'g Graph, id: NodeId) -> Tensor<'g> {
        Tensor { graph, id }
    }

    /// The graph it belongs to.
    pub fn graph(self) -> &'g Graph {
        self.graph
    }

    /// Its node.
    pub fn id(self) -> NodeId {
        self.id
    }

    /// The extents.
    pub fn shape(self) -> Shape {
        self.graph.with(self.id, |node| node.shape.clone())
    }

    /// The element type.
    pub fn dtype(self) -> DType {
        self.graph.with(self.id, |node| node.dtype)
    }

    /// The scope it was built in.
    pub(crate) fn scope(self) -> String {
        self.graph.with(self.id, |node| node.scope.clone())
    }

    /// Whether it stands in for an operation that was refused.
    pub(crate) fn is_invalid(self) -> bool {
        self.graph.with(self.id, |node| node.op == Op::Invalid)
    }

    /// Gives the tensor a name, by which it can be fetched and found again in a stored graph.
    #[track_caller]
    pub fn named(self, name: &str) -> Tensor<'g> {
        self.graph.name(name, self.id);
        self
    }

    /// A constant `f32` scalar in the same graph.
    #[track_caller]
    pub fn number(self, value: f32) -> Tensor<'g> {
        self.graph.add(Op::Constant(TensorData::from(value)), &[], &self.scope())
    }

    /// Writes this value into the variable behind another tensor, at the end of the run.
    #[track_caller]
    pub fn assign_to(self, variable: Tensor<'g>) -> Update<'g> {
        let target = variable.graph.with(variable.id, |node| node.op.clone());
        let scope = self.scope();
        let tensor = match target {
            _ if !std::ptr::eq(self.graph, variable.graph) => {
                self.graph.refuse("assign", &scope, Problem::ForeignTensor)
            }
            Op::Variable(id) => self.apply(Op::Assign(id), &[]),
            // The graph holds the error already.
            Op::Invalid => self.graph.add(Op::Invalid, &[], &scope),
            other => {
                let operation = other.name().to_owned();
                self.graph.refuse("assign", &scope, Problem::NotAVariable { operation })
            }
        };
        Update { tensor }
    }

    /// Refuses another tensor whose shape is not this one's, where broadcasting would hide a
    /// mistake. `None` if the shapes agree, or if one stands for a mistake already recorded.
    #[track_caller]
    pub(crate) fn same_shape(
        self,
        operation: &str,
        what: &str,
        other: Tensor<'g>,
    ) -> Option<Tensor<'g>> {
        let (expected, found) = (self.shape(), other.shape());
        let same_graph = std::ptr::eq(self.graph, other.graph);
        if self.is_invalid() || other.is_invalid() || (expected == found && same_graph) {
            return None;
        }
        let problem = if same_graph {
            Problem::Shape { what: what.to_owned(), expected, found }
        } else {
            Problem::ForeignTensor
        };
        Some(self.graph.refuse(operation, &self.scope(), problem))
    }

    /// An operation on this tensor and others, in the deepest scope among them.
    #[track_caller]
    pub(crate) fn apply(self, op: Op, others: &[Tensor<'g>]) -> Tensor<'g> {
        let mut scope = self.scope();
        let mut inputs = vec![self.id];
        for other in others {
            if !std::ptr::eq(self.graph, other.graph) {
                return self.graph.refuse(op.name(), &scope, Problem::ForeignTensor);
            }
            let theirs = other.scope();
            if depth(&theirs) > depth(&scope) {
                scope = theirs;
            }
            inputs.push(other.id);
        }
        self.graph.add(op, &inputs, &scope)
    }
}

fn depth(scope: &str) -> usize {
    if scope.is_empty() { 0 } else { 1 + scope.matches('/').count() }
}

impl fmt::Debug for Tensor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "%{} {} {}", self.id.0, self.dtype(), self.shape())
    }
}

/// As its author knows it: name, operation, scope, and the line that built it.
impl fmt::Display for Tensor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.graph.with_def(|def| def.describe(self.id)))
    }
}

/// An operation that changes variables: what a training plan runs.
#[derive(Clone, Copy, Debug)]
pub struct Update<'g> {
    pub(crate) tensor: Tensor<'g>,
}

impl<'g> Update<'g> {
    /// Its node.
    pub fn id(self) -> NodeId {
        self.tensor.id
    }

    /// The graph it belongs to.
    pub fn graph(self) -> &'g Graph {
        self.tensor.graph
    }
}
