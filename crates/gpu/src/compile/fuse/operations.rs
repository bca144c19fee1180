//! What each operation is to a kernel. Where an operation that is forgotten would give wrong numbers, all of
//! them are written out, so that the compiler asks about a new one.

use crate::compile::simplify::Live;
use warmstart_graph::{DType, Op};

/// What an operation is to a kernel.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// There before the run: loaded, never computed.
    Leaf,
    /// A function of elements, as an expression.
    Map,
    /// More than that. `has_epilogue` says whether its kernel can apply an expression to its result.
    Anchor { has_epilogue: bool },
    /// Not there when nodes are fused: refused with its graph, or dropped by the pass before.
    Gone,
}

fn kind(op: &Op) -> Kind {
    match op {
        Op::Placeholder { .. } | Op::Variable(_) | Op::Constant(_) => Kind::Leaf,
        Op::Unary(_)
        | Op::Binary(_)
        | Op::Select
        | Op::Cast(_)
        | Op::StopGradient
        | Op::RandomUniform { .. }
        | Op::Reshape(_)
        | Op::Transpose(_)
        | Op::BroadcastTo(_)
        | Op::Slice { .. }
        | Op::Pad { .. }
        | Op::Concat { .. }
        | Op::GatherRows => Kind::Map,
        Op::MatMul { .. }
        | Op::Reduce { .. }
        | Op::Softmax
        | Op::LogSoftmax
        | Op::SoftmaxCrossEntropy { .. }
        | Op::SoftmaxCrossEntropyGradient { .. }
        | Op::LayerNorm { .. }
        | Op::LayerNormGradient
        | Op::ScatterAddRows { .. }
        | Op::GlobalNorm => Kind::Anchor { has_epilogue: true },
        Op::ArgMax | Op::LayerNormStatistics { .. } | Op::Assign(_) | Op::OptimizerUpdate(_) => {
            Kind::Anchor { has_epilogue: false }
        }
        Op::Invalid | Op::ControlDependency => Kind::Gone,
    }
}

/// A function of elements, as an expression.
pub(crate) fn is_map(op: &Op) -> bool {
    kind(op) == Kind::Map
}

/// Whether the kernel of an anchor can apply an expression to its result.
pub(super) fn has_epilogue(op: &Op) -> bool {
    kind(op) == Kind::Anchor { has_epilogue: true }
}

/// A change of shape: computing it is only arithmetic on indices.
pub(crate) fn is_view(op: &Op) -> bool {
    matches!(op, Op::Reshape(_) | Op::Transpose(_) | Op::BroadcastTo(_) | Op::Slice { .. })
}

/// Whether it is what is stored in 16 bits, as `f32`, or a byte as any number: loading does that.
pub(crate) fn widens(live: &Live, id: usize) -> bool {
    let node = live.node(id);
    match node.op {
        Op::Cast(to) => match live.node(node.inputs[0].0).dtype {
            DType::F16 | DType::Bf16 => to == DType::F32,
            DType::U8 => true,
            DType::F32 | DType::I32 | DType::U32 => false,
        },
        _ => false,
    }
}

/// Whether it is computed wherever it is read, since that costs nothing.
pub(super) fn is_free(live: &Live, id: usize) -> bool {
    is_view(&live.node(id).op) || widens(live, id)
}

/// Whether a map reads the element `i` of an input for its own element `i`.
pub(super) fn is_in_place(live: &Live, id: usize, input: usize) -> bool {
    let node = live.node(id);
    match node.op {
        Op::Reshape(_) => true,
        ref op if op.is_elementwise() => live.node(input).shape == node.shape,
        _ => false,
    }
}

/// How an anchor reads an input.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Reads {
    /// From memory, whole.
    Memory,
    /// From memory, as the operand of a product.
    Operand,
    /// Each element several times: a change of shape may be computed on the way, or what is cheap, and of
    /// rows that are held any expression.
    Often,
    /// Each element this many times in all: any expression.
    Once(usize),
}

/// How the anchor `id` reads its input number `at`.
pub(super) fn reads(live: &Live, id: usize, at: usize) -> Reads {
    let elements = live.elements(live.node(id).inputs[at].0);
    match &live.node(id).op {
        Op::MatMul { .. } => Reads::Operand,
        Op::Reduce { .. } | Op::ArgMax => Reads::Once(elements),
        Op::Softmax
        | Op::LogSoftmax
        | Op::LayerNorm { .. }
        | Op::LayerNormStatistics { .. }
        | Op::LayerNormGradient => Reads::Often,
        Op::SoftmaxCrossEntropy { .. } | Op::ScatterAddRows { .. } => match at {
            1 => Reads::Once(elements),
            _ => Reads::Often,
        },
        Op::SoftmaxCrossEntropyGradient { .. } => match at {
            1 | 2 => Reads::Once(elements),
            _ => Reads::Often,
        },
        // By the first of its kernels, which writes no variable.
        Op::OptimizerUpdate(update) if at < update.scalars() => Reads::Once(1),
        Op::OptimizerUpdate(_) | Op::GlobalNorm | Op::Assign(_) => Reads::Memory,
        // No anchors, and never asked about.
        Op::Placeholder { .. }
        | Op::Variable(_)
        | Op::Constant(_)
        | Op::Unary(_)
        | Op::Binary(_)
        | Op::Select
        | Op::Cast(_)
        | Op::StopGradient
        | Op::RandomUniform { .. }
        | Op::Reshape(_)
        | Op::Transpose(_)
        | Op::BroadcastTo(_)
        | Op::Slice { .. }
        | Op::Pad { .. }
        | Op::Concat { .. }
        | Op::GatherRows
        | Op::Invalid
        | Op::ControlDependency => Reads::Memory,
    }
}
