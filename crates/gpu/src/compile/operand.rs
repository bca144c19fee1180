//! The operands of products as they lie in memory.
//!
//! A number that bytes (`u8`) are multiplied or divided by is part of how a product loads them, so
//! that pixels need no kernel of their own: neither forward nor for the gradient of the first
//! weight. It is one such number, and no offset; under `Scope::compute_f16` a kernel rounds them
//! first. Where another arrangement of bytes must lie in memory, it is packed anew, four to an
//! invocation.

use super::fuse::widens;
use super::simplify::{Live, swaps_last};
use warmstart_graph::ops::Binary;
use warmstart_graph::{DType, Op, Shape};

/// How an operand of a product lies in memory.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct OperandLayout {
    /// The node whose value it is. Floats of 16 bits and bytes lie there as they are.
    pub base: usize,
    /// Its shape there.
    pub shape: Shape,
    /// Whether the matrices there are transposed.
    pub transposed: bool,
    /// What is made of its bytes when they are loaded, besides numbers.
    pub scale: Option<Scale>,
}

/// A number that bytes are multiplied or divided by: pixels are from 0 to 255, and networks want them from
/// 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Scale {
    pub by: f32,
    pub divides: bool,
}

impl OperandLayout {
    /// How the operand `id` of a product lies in memory.
    pub fn of(live: &Live, id: usize) -> OperandLayout {
        let found = OperandLayout::find(live, id, true);
        // Only of bytes: what is computed in `f32` is stored once, and multiplied before.
        if found.scale.is_some() && live.node(found.base).dtype != DType::U8 {
            return OperandLayout::find(live, id, false);
        }
        found
    }

    fn find(live: &Live, id: usize, may_scale: bool) -> OperandLayout {
        let mut scale = None;
        let mut narrow = |mut id: usize| loop {
            if widens(live, id) {
                id = live.node(id).inputs[0].0;
                continue;
            }
            match scaled(live, id).filter(|_| may_scale && scale.is_none()) {
                Some((input, by)) => {
                    scale = Some(by);
                    id = input;
                }
                None => return id,
            }
        };
        let mut transposed = false;
        let mut id = narrow(id);
        while let Op::Transpose(permutation) = &live.node(id).op {
            if !swaps_last(permutation) {
                break;
            }
            transposed = !transposed;
            id = narrow(live.node(id).inputs[0].0);
        }
        let shape = live.node(id).shape.clone();
        // A reshape of something that lies in memory is the same memory.
        let mut base = id;
        while let Op::Reshape(_) = &live.node(base).op {
            base = narrow(live.node(base).inputs[0].0);
        }
        OperandLayout { base, shape, transposed, scale }
    }
}

/// What a node multiplies or divides by a number, and which.
fn scaled(live: &Live, id: usize) -> Option<(usize, Scale)> {
    let node = live.node(id);
    let (binary, [a, b]) = match (&node.op, &node.inputs[..]) {
        (Op::Binary(binary @ (Binary::Mul | Binary::Div)), [a, b]) => (*binary, [a.0, b.0]),
        _ => return None,
    };
    let divides = binary == Binary::Div;
    let number = |id: usize| live.uniform(id).map(|by| Scale { by: by as f32, divides });
    let found = number(b).map(|scale| (a, scale));
    let found = found.or_else(|| number(a).filter(|_| !divides).map(|scale| (b, scale)));
    found.filter(|&(input, _)| node.dtype == DType::F32 && live.node(input).shape == node.shape)
}
