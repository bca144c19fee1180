//! Values that the gradient computes again rather than keep: gradient checkpointing.
//!
//! The gradient of a marked part reads copies of its nodes. A compiler that makes equal nodes one
//! would make them the originals again, so whatever enters the part reaches the copies through a
//! [control dependency](Op::ControlDependency) on the first gradient that does.

use crate::{NodeId, Op, Scope, Tensor};
use std::collections::HashMap;

impl<'g> Scope<'g> {
    /// Builds a part of the model whose inner values are not kept for the gradient: it computes them
    /// again from what enters the part, when it gets there. This takes the time of the part's forward
    /// pass once more, and the memory of the inner values of one part rather than of all. As
    /// `tf.recompute_grad` and `torch.utils.checkpoint`.
    ///
    /// A part is what is built while `build` runs. What later operations read of it is kept. The
    /// numbers are the same to the bit as without, those of dropout included (a gradient's own
    /// gradient adds up the same terms in another order). A part within another adds nothing. Marks
    /// have an effect on gradients that are built after them.
    ///
    /// ```
    /// use warmstart_graph::{DType, Graph, Op, Optimizer};
    /// let graph = Graph::new();
    /// let mut x = graph.placeholder("x", [512, 64], DType::F32);
    /// for block in 0..4 {
    ///     x = graph.scope(&format!("block_{block}")).recompute(|block| {
    ///         let hidden = block.scope("fc1").linear(x, 64).relu().dropout(&block.name("fc1"), 0.1);
    ///         block.scope("fc2").linear(hidden, 64).relu()
    ///     });
    /// }
    /// let step = Optimizer::adam(1e-3).minimize(x.square().mean_all());
    /// let def = graph.finish().unwrap();
    /// let products = def.nodes.iter().filter(|node| matches!(node.op, Op::MatMul { .. }));
    /// // Eight forward, and again for the gradient.
    /// assert!(products.count() > 8 + 2 * 8);
    /// # let _ = step;
    /// ```
    #[doc(alias = "checkpoint")]
    #[doc(alias = "recompute_grad")]
    pub fn recompute<T>(&self, build: impl FnOnce(&Scope<'g>) -> T) -> T {
        let first = self.graph().with_def(|def| def.nodes.len());
        let built = build(self);
        self.graph().recompute_from(first);
        built
    }
}

/// What the gradient reads in place of the nodes that it is of.
pub(crate) struct Recomputed<'g> {
    /// First and last node of each part, ascending.
    parts: Vec<(NodeId, NodeId)>,
    /// For each part the first gradient that has come to it.
    entered: Vec<Option<Tensor<'g>>>,
    /// For each node whether another part than its own reads it: such values are kept.
    kept: Vec<bool>,
    /// What was made for a part and a node.
    copies: HashMap<(usize, NodeId), Tensor<'g>>,
}

impl<'g> Recomputed<'g> {
    /// For the gradient of a loss.
    pub fn new(loss: Tensor<'g>) -> Recomputed<'g> {
        loss.graph().with_def(|def| {
            let parts = def.recomputed.clone();
            let mut recomputed = Recomputed {
                entered: vec![None; parts.len()],
                kept: vec![false; def.nodes.len()],
                copies: HashMap::new(),
                parts,
            };
            if !recomputed.parts.is_empty() {
                for (at, node) in def.nodes[..=loss.id().0].iter().enumerate() {
                    let part = recomputed.part(NodeId(at));
                    for &input in &node.inputs {
                        recomputed.kept[input.0] |= recomputed.part(input) != part;
                    }
                }
            }
            recomputed
        })
    }

    fn part(&self, id: NodeId) -> Option<usize> {
        let part = self.parts.partition_point(|&(_, last)| last < id);
        (self.parts.get(part)?.0 <= id).then_some(part)
    }

    /// Notes that a gradient has come to a node.
    pub fn enter(&mut self, id: NodeId, gradient: Tensor<'g>) {
        if let Some(part) = self.part(id) {
            self.entered[part].get_or_insert(gradient);
        }
    }

    /// The value of `input` for the gradient of `reader`.
    pub fn value(&mut self, reader: NodeId, input: Tensor<'g>) -> Tensor<'g> {
        let Some(part) = self.part(reader) else { return input };
        let Some(gradient) = self.entered[part] else { return input };
        let graph = input.graph();
        // Inputs first; parts may be longer than what the stack holds.
        let mut pending = vec![input.id()];
        while let Some(&id) = pending.last() {
            if self.copies.contains_key(&(part, id)) {
                pending.pop();
                continue;
            }
            let own = Tensor::new(graph, id);
            let (op, inputs) = graph.with(id, |node| (node.op.clone(), node.inputs.clone()));
            let enters = self.part(id) != Some(part) || self.kept[id.0] || inputs.is_empty();
            let copy = match op {
                // There is nothing to keep.
                Op::Constant(_) | Op::Invalid => own,
                _ if enters => graph.on_behalf_of(id, || own.after(gradient)),
                op => {
                    let copies = inputs.iter().map(|&input| self.copies.get(&(part, input)));
                    let Some(copies) = copies.collect::<Option<Vec<_>>>() else {
                        let known = |input: &NodeId| self.copies.contains_key(&(part, *input));
                        pending.extend(inputs.iter().filter(|&input| !known(input)));
                        continue;
                    };
                    let copies: Vec<NodeId> = copies.into_iter().map(|copy| copy.id()).collect();
                    graph.on_behalf_of(id, || graph.add(op, &copies, ""))
                }
            };
            self.copies.insert((part, id), copy);
            pending.pop();
        }
        self.copies[&(part, input.id())]
    }
}

impl<'g> Tensor<'g> {
    /// The same value, not before another is there.
    #[track_caller]
    fn after(self, other: Tensor<'g>) -> Tensor<'g> {
        self.graph().add(Op::ControlDependency, &[self.id(), other.id()], &self.scope())
    }
}
