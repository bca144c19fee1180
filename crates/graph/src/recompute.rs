//! Values that the gradient computes again rather than keep (gradient checkpointing), or that are kept
//! as `f16`.
//!
//! The gradient of a marked part reads copies of its nodes. A compiler that makes equal nodes one
//! would make them the originals again, so whatever enters the part reaches the copies through a
//! [control dependency](Op::ControlDependency) on the first gradient that does.
//!
//! Where those dependencies have done that, the pass that makes equal nodes one drops them, so they
//! cost nothing. Kernels run in the order of the nodes, but for what the compiler draws forward
//! without taking more memory, and the copies were built where the gradient got to the part: late.
//!
//! Likewise, of values that `Scope::keep_f16` marks, the gradient reads a cast of their cast to
//! `f16`, which it makes anew. Values that it divides by lose the mark when it is built, since
//! `f16` knows little below 6·10⁻⁵.

use crate::ops::{Binary, Unary};
use crate::{DType, GraphDef, NodeId, Op, Scope, Tensor};
use std::collections::{HashMap, HashSet};

impl<'g> Scope<'g> {
    /// Builds a part of the model whose inner values are not kept for the gradient: it computes them
    /// again from what enters the part, when it gets there. This takes the time of the part's forward
    /// pass once more, and the memory of the inner values of one part rather than of all. As
    /// `tf.recompute_grad` and `torch.utils.checkpoint`.
    ///
    /// A part is what is built while `build` runs. What later operations read of it is kept. The
    /// numbers are the same to the bit as without, those of dropout included, unless the driver rounds
    /// copies that are fused otherwise than the originals (a gradient's own gradient adds up the same
    /// terms in another order). A part within another adds nothing. Marks have an effect on gradients
    /// that are built after them.
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

    /// Builds a part of the model whose values are kept for the gradient as `f16`, in half the memory:
    /// the forward pass computes in `f32` as before, and rounds what the gradient will read on the
    /// way. The gradient, again in `f32`, is of the rounded values. Those from 6·10⁻⁵ up are off by at
    /// most 2⁻¹¹ of each. Smaller ones are off by up to 3·10⁻⁸, and become 0 below that: as if
    /// [`Tensor::relu`] had not let them through. Values beyond ±65,504 become infinite. Rounding takes a
    /// pass over the values; whatever reads them, products too, reads them as they are stored. No
    /// device feature is needed.
    ///
    /// What a gradient divides by is kept as `f32`, wherever the operation is built: what
    /// [`Tensor::sqrt`] gives, what [`Tensor::log`] and [`Tensor::rsqrt`] read, a divisor, and the base
    /// of a [`Tensor::pow`] whose exponent is not a constant from 1 up. In [`Scope::recompute`] that
    /// holds for what such a divisor is computed of, element by element.
    ///
    /// A part is what is built while `build` runs. Random numbers and what follows from them alone,
    /// such as masks of dropout, are kept as they are. Values within [`Scope::recompute`] are computed
    /// again instead, from what enters that part: rounded, if it was built here. Marks have an effect
    /// on gradients that are built after them.
    ///
    /// ```
    /// use warmstart_graph::{DType, Graph, Optimizer};
    /// let graph = Graph::new();
    /// let x = graph.placeholder("x", [512, 64], DType::F32);
    /// let hidden = graph.scope("fc1").keep_f16(|scope| scope.linear(x, 64).relu());
    /// let loss = graph.scope("fc2").linear(hidden, 1).square().mean_all();
    /// let step = Optimizer::adam(1e-3).minimize(loss);
    /// let def = graph.finish().unwrap();
    /// assert!(def.to_string().contains(&format!("%{} is kept for the gradient as", hidden.id().0)));
    /// # let _ = step;
    /// ```
    pub fn keep_f16<T>(&self, build: impl FnOnce(&Scope<'g>) -> T) -> T {
        let graph = self.graph();
        let first = graph.with_def(|def| def.nodes.len());
        let built = build(self);
        for value in graph.with_def(|def| worth_rounding(def, first)) {
            let rounded = graph.on_behalf_of(value, || Tensor::new(graph, value).cast(DType::F16));
            graph.keep_as(value, rounded.id());
        }
        built
    }
}

/// The nodes from `first` on that take memory of their own, and are more than random numbers.
fn worth_rounding(def: &GraphDef, first: usize) -> Vec<NodeId> {
    let mut varies = vec![false; def.nodes.len()];
    for (at, node) in def.nodes.iter().enumerate() {
        varies[at] = match node.op {
            Op::Placeholder { .. } | Op::Variable(_) => true,
            Op::RandomUniform { .. } => false,
            _ => node.inputs.iter().any(|input| varies[input.0]),
        };
    }
    let worth = |&at: &usize| {
        let node = &def.nodes[at];
        let computed = !node.inputs.is_empty() && !is_view(&node.op) && !node.op.is_update();
        computed && varies[at] && node.dtype == DType::F32 && node.shape.elements() > 1
    };
    (first..def.nodes.len()).filter(worth).map(NodeId).collect()
}

fn is_view(op: &Op) -> bool {
    matches!(op, Op::Reshape(_) | Op::Transpose(_) | Op::BroadcastTo(_) | Op::Slice { .. })
}

/// What the gradient of a node divides by. Rounded to 0 it would make the gradient infinite or NaN.
fn divisor(def: &GraphDef, id: NodeId) -> Option<NodeId> {
    let node = def.node(id);
    let from_one_up = |exponent: &NodeId| match &def.node(*exponent).op {
        Op::Constant(data) => data.to_f64().iter().all(|&x| x >= 1.0),
        _ => false,
    };
    match (&node.op, &node.inputs[..]) {
        (Op::Unary(Unary::Sqrt), _) => Some(id),
        (Op::Unary(Unary::Log | Unary::Rsqrt), [x]) => Some(*x),
        (Op::Binary(Binary::Div), [_, b]) => Some(*b),
        (Op::Binary(Binary::Pow), [a, b]) if !from_one_up(b) => Some(*a),
        _ => None,
    }
}

/// What must not be rounded for the gradient of a loss, since it divides by it, or by what is computed
/// again of it.
fn divisors(def: &GraphDef, loss: NodeId) -> HashSet<NodeId> {
    let again = |id: NodeId| def.recomputed.iter().any(|&(first, last)| first <= id && id <= last);
    let mut pending: Vec<NodeId> = (0..=loss.0).filter_map(|at| divisor(def, NodeId(at))).collect();
    let mut found = HashSet::new();
    while let Some(id) = pending.pop() {
        let node = def.node(id);
        let elementwise = matches!(node.op, Op::Unary(_) | Op::Binary(_));
        if found.insert(id) && (is_view(&node.op) || elementwise && again(id)) {
            pending.extend(&node.inputs);
        }
    }
    found
}

/// What the gradient reads in place of the nodes that it is of.
pub(crate) struct Recomputed<'g> {
    /// First and last node of each part, ascending.
    parts: Vec<(NodeId, NodeId)>,
    /// For each part the first gradient that has come to it.
    entered: Vec<Option<Tensor<'g>>>,
    /// For each node whether another part than its own reads it: such values are kept.
    kept: Vec<bool>,
    /// Values that are kept as `f16`, each with the node that rounds it.
    kept_f16: HashMap<NodeId, NodeId>,
    /// What was made for a part, or for all that is in none, and a node.
    copies: HashMap<(Option<usize>, NodeId), Tensor<'g>>,
}

impl<'g> Recomputed<'g> {
    /// For the gradient of a loss.
    pub fn new(loss: Tensor<'g>) -> Recomputed<'g> {
        let graph = loss.graph();
        if graph.with_def(|def| !def.kept_f16.is_empty()) {
            let divisors = graph.with_def(|def| divisors(def, loss.id()));
            graph.keep_exact(&divisors);
        }
        graph.with_def(|def| {
            let parts = def.recomputed.clone();
            let mut recomputed = Recomputed {
                entered: vec![None; parts.len()],
                kept: vec![false; def.nodes.len()],
                kept_f16: def.kept_f16.iter().copied().collect(),
                copies: HashMap::new(),
                parts,
            };
            if !recomputed.parts.is_empty() {
                let rounding: HashSet<usize> = def.kept_f16.iter().map(|kept| kept.1.0).collect();
                let nodes = def.nodes[..=loss.id().0].iter().enumerate();
                for (at, node) in nodes.filter(|(at, _)| !rounding.contains(at)) {
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

    /// The value of `input` for the gradient of `reader`, to which this gradient has come.
    pub fn value(&mut self, reader: NodeId, input: Tensor<'g>, gradient: Tensor<'g>) -> Tensor<'g> {
        let part = self.part(reader);
        let gradient = part.and_then(|part| self.entered[part]).unwrap_or(gradient);
        if part.is_none() && self.kept_f16.is_empty() {
            return input;
        }
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
            let kept = match part {
                Some(_) => self.part(id) != part || self.kept[id.0] || inputs.is_empty(),
                // A change of shape takes no memory: what it reads does.
                None => self.kept_f16.contains_key(&id) || !is_view(&op),
            };
            let copy = match op {
                // There is nothing to keep.
                Op::Constant(_) | Op::Invalid => own,
                _ if kept => graph.on_behalf_of(id, || match self.kept_f16.get(&id) {
                    Some(&rounded) => Tensor::new(graph, rounded).after(gradient).cast(DType::F32),
                    None if part.is_none() => own,
                    None => own.after(gradient),
                }),
                op => {
                    let copies = inputs.iter().map(|&input| self.copies.get(&(part, input)));
                    let Some(copies) = copies.collect::<Option<Vec<_>>>() else {
                        let known = |input: &NodeId| self.copies.contains_key(&(part, *input));
                        pending.extend(inputs.iter().filter(|&input| !known(input)));
                        continue;
                    };
                    let copies: Vec<NodeId> = copies.into_iter().map(|copy| copy.id()).collect();
                    // A change of shape of nothing that was made anew is what it was.
                    if copies == inputs {
                        own
                    } else {
                        graph.on_behalf_of(id, || graph.add(op, &copies, ""))
                    }
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
