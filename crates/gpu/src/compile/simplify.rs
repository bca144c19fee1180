//! The first pass: what is asked for and nothing else, each value once.
//!
//! Dead nodes are dropped, equal nodes become one, functions of constants become constants, and
//! nodes that change nothing disappear. What later passes need to find in a node of its own (a
//! fetched variable, say, which may change before it is read back) gets one here.
//!
//! A layer on inputs of more than two dimensions has one weight for all batches, whose gradient is a sum
//! over them of products. That is one product, of all rows of all batches.
//!
//! The sums of accumulated gradients are computed right after their gradients, or what those are of
//! would be kept to the end. A `ControlDependency` is dropped once it has kept copies and originals
//! apart.

use std::collections::HashMap;
use twox_hash::XxHash3_128;
use warmstart_graph::ops::{Binary, Reduction};
use warmstart_graph::reference::Value;
use warmstart_graph::{
    DType, GraphDef, LossScale, Node, NodeId, Op, Shape, TensorData, VariableId,
};

/// A graph reduced to what is needed, in topological order.
pub(crate) struct Live {
    pub nodes: Vec<Node>,
    /// The node behind each fetch, in order.
    pub fetches: Vec<usize>,
    /// The updates, each once.
    pub updates: Vec<usize>,
    seen: HashMap<String, usize>,
}

pub(crate) fn simplify(def: &GraphDef, fetches: &[NodeId], updates: &[NodeId]) -> Live {
    let mut needed = vec![false; def.nodes.len()];
    let mut pending: Vec<NodeId> = fetches.iter().chain(updates).copied().collect();
    while let Some(id) = pending.pop() {
        if !std::mem::replace(&mut needed[id.0], true) {
            pending.extend(&def.node(id).inputs);
        }
    }
    let mut live =
        Live { nodes: Vec::new(), fetches: Vec::new(), updates: Vec::new(), seen: HashMap::new() };
    let mut became: Vec<usize> = vec![usize::MAX; def.nodes.len()];
    for at in order(def, &needed) {
        let mut node = def.nodes[at].clone();
        node.inputs = node.inputs.iter().map(|input| NodeId(became[input.0])).collect();
        became[at] = live.add(node);
    }
    live.fetches = fetches.iter().map(|id| live.own_value(became[id.0])).collect();
    // An update named twice is one update.
    live.updates = updates.iter().map(|id| became[id.0]).collect();
    live.updates.sort_unstable();
    live.updates.dedup();
    live.forget_control();
    live.drop_unneeded();
    live
}

/// The needed nodes in the order in which they are computed: that of the graph, but that what accumulates
/// a gradient comes right after it. It was built when all gradients were there, and what each of them is
/// made of would be kept until then.
fn order(def: &GraphDef, needed: &[bool]) -> Vec<usize> {
    let mut is_moved = vec![false; def.nodes.len()];
    for (node, _) in def.nodes.iter().zip(needed).filter(|(_, needed)| **needed) {
        if let Op::OptimizerUpdate(update) = &node.op
            && update.accumulation.is_some()
        {
            let sums = &node.inputs[update.scalars()..];
            for (&sum, parameter) in sums.iter().zip(&update.parameters) {
                let slot = parameter.slots.last().copied();
                accumulating(def, sum, slot, update.loss_scale.as_ref())
                    .for_each(|id| is_moved[id.0] = true);
            }
        }
    }
    let mut places: Vec<usize> = (0..def.nodes.len()).collect();
    for at in (0..def.nodes.len()).filter(|&at| is_moved[at]) {
        let inputs = def.nodes[at].inputs.iter().map(|input| places[input.0]);
        places[at] = inputs.max().unwrap_or(0);
    }
    let mut order: Vec<usize> = (0..def.nodes.len()).filter(|&at| needed[at]).collect();
    order.sort_by_key(|&at| places[at]);
    order
}

/// What adds a gradient to its accumulator: their sum, the accumulator, and under loss scaling the gradient's
/// quotient by the scale. The gradient itself is none of these, whatever computes it.
fn accumulating(
    def: &GraphDef,
    sum: NodeId,
    slot: Option<VariableId>,
    loss_scale: Option<&LossScale>,
) -> impl Iterator<Item = NodeId> {
    let reads = |id: NodeId, variable: Option<VariableId>| matches!(def.node(id).op, Op::Variable(read) if Some(read) == variable);
    let operands = |id: NodeId, op: Binary| match (&def.node(id).op, &def.node(id).inputs[..]) {
        (Op::Binary(found), &[a, b]) if *found == op => Some((a, b)),
        _ => None,
    };
    let added = operands(sum, Binary::Add);
    let added = added.filter(|&(a, _)| reads(a, slot));
    let scaled = added.and_then(|(_, gradient)| {
        let (_, scale) = operands(gradient, Binary::Div)?;
        reads(scale, Some(loss_scale?.scale)).then_some(gradient)
    });
    added.into_iter().flat_map(move |(accumulator, _)| [sum, accumulator]).chain(scaled)
}

impl Live {
    pub fn node(&self, id: usize) -> &Node {
        &self.nodes[id]
    }

    /// The inputs of a node.
    pub fn inputs(&self, id: usize) -> impl Iterator<Item = usize> + '_ {
        self.nodes[id].inputs.iter().map(|input| input.0)
    }

    pub fn elements(&self, id: usize) -> usize {
        self.nodes[id].shape.elements()
    }

    /// The one value that all elements of a node have, if that is known.
    pub fn uniform(&self, id: usize) -> Option<f64> {
        let node = &self.nodes[id];
        match &node.op {
            Op::Constant(data) if data.shape().rank() == 0 => data.to_f64().first().copied(),
            Op::BroadcastTo(_) | Op::Reshape(_) | Op::ControlDependency => {
                self.uniform(node.inputs[0].0)
            }
            _ => None,
        }
    }

    /// Whether a node's value is there before the run: it is loaded, never computed.
    pub fn is_leaf(&self, id: usize) -> bool {
        matches!(self.nodes[id].op, Op::Placeholder { .. } | Op::Variable(_) | Op::Constant(_))
    }

    fn add(&mut self, mut node: Node) -> usize {
        if let Some(same) = self.unchanged(&node) {
            return same;
        }
        if let Some(value) = self.folded(&node) {
            let scalar = self.insert(Node {
                op: Op::Constant(value),
                inputs: Vec::new(),
                shape: Shape::scalar(),
                ..node.clone()
            });
            if node.shape.rank() == 0 {
                return scalar;
            }
            node.op = Op::BroadcastTo(node.shape.clone());
            node.inputs = vec![NodeId(scalar)];
        }
        match node.op {
            Op::MatMul { .. } => self.repeat_batches(&mut node),
            Op::Reduce { reduction: Reduction::Sum, ref axes, .. } => {
                if let Some(product) = self.over_all_rows(&node, axes) {
                    return product;
                }
            }
            // Their inputs are read from one packed buffer, or must not change meanwhile.
            Op::GlobalNorm | Op::Assign(_) => {
                node.inputs = node.inputs.iter().map(|id| NodeId(self.own_value(id.0))).collect();
            }
            Op::OptimizerUpdate(ref update) => {
                let scalars = update.scalars();
                for (at, input) in node.inputs.iter_mut().enumerate() {
                    // A learning rate that is a number is written into the code.
                    if at >= scalars || matches!(self.nodes[input.0].op, Op::Variable(_)) {
                        *input = NodeId(self.own_value(input.0));
                    }
                }
            }
            _ => {}
        }
        self.insert(node)
    }

    fn insert(&mut self, node: Node) -> usize {
        let key = match &node.op {
            // Many elements are not worth a key of their size.
            Op::Constant(data) if data.elements().len() > 16 => {
                let sum = XxHash3_128::oneshot(&data.to_le_bytes());
                Some(format!("constant {:?} {:?} {sum:032x}", data.dtype(), data.shape()))
            }
            op if op.is_update() => None,
            op => Some(format!("{op:?} {:?}", node.inputs)),
        };
        if let Some(&same) = key.as_ref().and_then(|key| self.seen.get(key)) {
            return same;
        }
        self.nodes.push(node);
        let id = self.nodes.len() - 1;
        self.seen.extend(key.map(|key| (key, id)));
        id
    }

    /// The input that a node equals, if it changes nothing.
    fn unchanged(&self, node: &Node) -> Option<usize> {
        use warmstart_graph::ops::Binary::{Add, Div, Mul, Sub};
        let input = |at: usize| node.inputs[at].0;
        let same = |id: usize| {
            let other = &self.nodes[id];
            (other.shape == node.shape && other.dtype == node.dtype).then_some(id)
        };
        match &node.op {
            Op::StopGradient | Op::Reshape(_) | Op::BroadcastTo(_) => same(input(0)),
            Op::Transpose(permutation) if permutation.is_sorted() => same(input(0)),
            // What was rounded already.
            Op::Cast(to) if to.is_half() && self.nodes[input(0)].op == Op::Cast(DType::F32) => {
                same(self.nodes[input(0)].inputs[0].0)
            }
            Op::Slice { .. } | Op::Pad { .. } => same(input(0)),
            Op::Concat { .. } if node.inputs.len() == 1 => same(input(0)),
            Op::Binary(Mul) if self.uniform(input(0)) == Some(1.0) => same(input(1)),
            // Adding 0 to -0 gives 0; adding -0 changes nothing.
            Op::Binary(Add) if self.is_zero(input(0), -0.0) => same(input(1)),
            Op::Binary(Add) if self.is_zero(input(1), -0.0) => same(input(0)),
            Op::Binary(Mul | Div) if self.uniform(input(1)) == Some(1.0) => same(input(0)),
            Op::Binary(Sub) if self.is_zero(input(1), 0.0) => same(input(0)),
            _ => None,
        }
    }

    /// Whether a node is the given zero everywhere, by its sign too.
    fn is_zero(&self, id: usize, zero: f64) -> bool {
        self.uniform(id).is_some_and(|value| value.to_bits() == zero.to_bits())
    }

    /// The value of a function of constants, computed in `f64` and rounded once.
    fn folded(&self, node: &Node) -> Option<TensorData> {
        let foldable = matches!(node.op, Op::Unary(_) | Op::Binary(_) | Op::Select | Op::Cast(_));
        // What is stored in 16 bits is not written into code.
        if !foldable || node.dtype.is_half() {
            return None;
        }
        let scalar = Shape::scalar();
        let inputs: Vec<Value> = node
            .inputs
            .iter()
            .map(|id| {
                let elements = vec![self.uniform(id.0)?];
                Some(Value { shape: scalar.clone(), elements })
            })
            .collect::<Option<_>>()?;
        let inputs: Vec<&Value> = inputs.iter().collect();
        let dtypes: Vec<DType> = node.inputs.iter().map(|id| self.nodes[id.0].dtype).collect();
        let value = node.op.evaluate(&inputs, &dtypes, &scalar)?.elements[0];
        Some(match node.dtype {
            DType::F32 | DType::F16 | DType::Bf16 => TensorData::from(value as f32),
            DType::I32 => TensorData::from(value as i32),
            DType::U32 => TensorData::from(value as u32),
            DType::U8 => TensorData::from(value as u8),
        })
    }

    /// Kernels know operands with all batches or with one: others are repeated first.
    fn repeat_batches(&mut self, node: &mut Node) {
        let rank = node.shape.rank();
        let batch = Shape::from(&node.shape[..rank - 2]);
        for at in 0..2 {
            let operand = self.nodes[node.inputs[at].0].clone();
            let (own, matrix) = operand.shape.split_at(operand.shape.rank() - 2);
            let count = Shape::from(own).elements();
            if count != 1 && count != batch.elements() {
                let shape = Shape::from([&batch[..], matrix].concat());
                let op = Op::BroadcastTo(shape.clone());
                node.inputs[at] = NodeId(self.insert(Node {
                    op,
                    inputs: vec![node.inputs[at]],
                    shape,
                    ..operand
                }));
            }
        }
    }

    /// The one product that a sum of products over their batches is, where what they sum over lies in rows,
    /// as in `xᵀ dy` of a weight's gradient: all batches' rows are one matrix. It is computed so where the
    /// products are needed by themselves, too, though a sum of those would take less then: that adds up in
    /// another order, and what else is asked for must not change the bits of a weight's gradient.
    fn over_all_rows(&mut self, sum: &Node, axes: &[usize]) -> Option<usize> {
        let product = self.nodes[sum.inputs[0].0].clone();
        let Op::MatMul { transpose_a, transpose_b } = product.op else { return None };
        let (batch, matrix) = product.shape.split_at(product.shape.rank() - 2);
        let is_summed = |axis: usize| batch[axis] == 1 || axes.contains(&axis);
        if !(0..batch.len()).all(is_summed) || axes.iter().any(|&axis| axis >= batch.len()) {
            return None;
        }
        let count = Shape::from(batch).elements();
        let mut inputs = Vec::new();
        for (input, transposed, wanted) in
            [(product.inputs[0], transpose_a, true), (product.inputs[1], transpose_b, false)]
        {
            let (mut input, mut transposed) = (input, transposed);
            while let Op::Transpose(permutation) = &self.nodes[input.0].op
                && swaps_last(permutation)
            {
                transposed = !transposed;
                input = self.nodes[input.0].inputs[0];
            }
            let operand = &self.nodes[input.0];
            let (own, rows) = operand.shape.split_at(operand.shape.rank() - 2);
            if transposed != wanted || Shape::from(own).elements() != count {
                return None;
            }
            inputs.push((input, Shape::from([count * rows[0], rows[1]]), operand.dtype));
        }
        let inputs = inputs.into_iter().map(|(input, shape, dtype)| {
            let op = Op::Reshape(shape.clone());
            NodeId(self.add(Node { op, inputs: vec![input], shape, dtype, ..product.clone() }))
        });
        let inputs = inputs.collect();
        let op = Op::MatMul { transpose_a: true, transpose_b: false };
        let product = self.add(Node { op, inputs, shape: Shape::from(matrix), ..product.clone() });
        let op = Op::Reshape(sum.shape.clone());
        Some(self.add(Node { op, inputs: vec![NodeId(product)], ..sum.clone() }))
    }

    /// A node that is computed, with the value of the given one: a copy if that is a leaf.
    fn own_value(&mut self, id: usize) -> usize {
        if !self.is_leaf(self.without_control(id)) {
            return id;
        }
        let node = self.nodes[id].clone();
        let op = Op::Reshape(node.shape.clone());
        self.insert(Node { op, inputs: vec![NodeId(id)], ..node })
    }

    /// The node whose value a control dependency has; any other node itself.
    fn without_control(&self, mut id: usize) -> usize {
        while self.nodes[id].op == Op::ControlDependency {
            id = self.nodes[id].inputs[0].0;
        }
        id
    }

    /// Drops control dependencies, which have done their work: what reads through them was not made
    /// one with what reads the value itself, and comes after it. Later passes keep to that order.
    fn forget_control(&mut self) {
        if self.nodes.iter().all(|node| node.op != Op::ControlDependency) {
            return;
        }
        let became: Vec<usize> = (0..self.nodes.len()).map(|id| self.without_control(id)).collect();
        for node in &mut self.nodes {
            node.inputs.iter_mut().for_each(|input| *input = NodeId(became[input.0]));
        }
        self.fetches.iter_mut().for_each(|fetch| *fetch = became[*fetch]);
    }

    /// Drops nodes that were there for the order alone, or in whose place others are.
    fn drop_unneeded(&mut self) {
        let mut needed = vec![false; self.nodes.len()];
        let mut pending: Vec<usize> = self.fetches.iter().chain(&self.updates).copied().collect();
        while let Some(id) = pending.pop() {
            if !std::mem::replace(&mut needed[id], true) {
                pending.extend(self.inputs(id));
            }
        }
        let mut moved = vec![usize::MAX; self.nodes.len()];
        let mut nodes = Vec::new();
        for (id, mut node) in std::mem::take(&mut self.nodes).into_iter().enumerate() {
            if needed[id] {
                node.inputs.iter_mut().for_each(|input| *input = NodeId(moved[input.0]));
                moved[id] = nodes.len();
                nodes.push(node);
            }
        }
        self.nodes = nodes;
        self.fetches.iter_mut().for_each(|fetch| *fetch = moved[*fetch]);
        self.updates.iter_mut().for_each(|update| *update = moved[*update]);
        // It speaks of nodes by their places before.
        self.seen.clear();
    }
}

/// Whether a permutation of axes is that of the last two, and no other.
pub(super) fn swaps_last(permutation: &[usize]) -> bool {
    let rank = permutation.len();
    rank >= 2
        && permutation[..rank - 2].iter().enumerate().all(|(at, &axis)| at == axis)
        && permutation[rank - 2] == rank - 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use warmstart_graph::{Accumulation, Graph, Initializer, LossScaling, Optimizer, Role};

    /// A scope of the model may be called as the optimizer is: that moves none of its nodes.
    #[test]
    fn what_accumulates_is_known_by_what_it_is() {
        let built = |scope: &str, steps: u32, scaled: bool| {
            let graph = Graph::new();
            let mut hidden = graph.placeholder("x", [4], DType::F32);
            for layer in ["a", "b", "c"] {
                let gain = graph.scope(scope).variable(layer, [4], Initializer::Ones);
                hidden = (hidden * gain).tanh() / (gain + 2.0);
            }
            let mut optimizer = Optimizer::sgd(0.1).named("net").gradient_accumulation_steps(steps);
            if scaled {
                optimizer = optimizer.loss_scaling(LossScaling::new());
            }
            optimizer.minimize(hidden.sum_all());
            let def = graph.finish().unwrap();
            let order = order(&def, &vec![true; def.nodes.len()]);
            (def, order)
        };
        for scaled in [false, true] {
            let (_, expected) = built("other", 3, scaled);
            assert_eq!(built("net", 3, scaled).1, expected);
            // Each sum comes right after its gradient, of which there are three.
            let (def, order) = built("net", 3, scaled);
            let is_sum = |id: usize| {
                let inputs = &def.nodes[id].inputs;
                let first = inputs.first().map(|input| &def.node(*input).op);
                let slot = |variable: &VariableId| matches!(&def.variable(*variable).role, Role::Slot { slot, .. } if slot == Accumulation::SLOT);
                matches!(first, Some(Op::Variable(variable)) if slot(variable))
            };
            let sums: Vec<usize> = (0..order.len()).filter(|&at| is_sum(order[at])).collect();
            assert_eq!(sums.len(), 3);
            for at in sums {
                let own = def.nodes[order[at]].inputs[1].0;
                assert_eq!(order[at - 1], own);
                if scaled {
                    assert_eq!(order[at - 2], def.nodes[own].inputs[0].0);
                }
            }
            let (def, without) = built("net", 1, scaled);
            assert!(without.is_sorted() && without.len() == def.nodes.len());
        }
    }
}
