//! Kernels that write a second result on the way: one dispatch, and one trip through memory, less.
//!
//! - A bias's gradient is the sum over rows of what the product for its weight's gradient reads.
//! - The gradient of a cross-entropy needs the same maximum and sum of each row as its loss.

use crate::compile::fuse::{Fused, operand};
use crate::compile::simplify::Live;
use std::collections::BTreeMap;
use warmstart_graph::Op;
use warmstart_graph::ops::Reduction;

/// For each root whose kernel computes another's value too, that other root. `packed` are the nodes
/// that lie in the packed buffer.
pub(super) fn find(
    live: &Live,
    fused: &Fused,
    packed: &BTreeMap<usize, (u64, u64)>,
) -> BTreeMap<usize, usize> {
    let mut carried = BTreeMap::new();
    let plain: Vec<usize> = (0..live.nodes.len()).filter(|&id| is_plain(live, fused, id)).collect();
    for &other in &plain {
        let carrier = plain.iter().copied().find(|carrier| {
            !carried.contains_key(carrier)
                && (carries_sum(live, fused, packed, *carrier, other)
                    || carries_gradient(live, packed, *carrier, other))
        });
        if let Some(carrier) = carrier {
            carried.insert(carrier, other);
        }
    }
    carried
}

/// A kernel of an anchor and nothing after it.
fn is_plain(live: &Live, fused: &Fused, id: usize) -> bool {
    fused.kernel[id] == Some(id) && fused.anchor[id] == Some(id) && live.elements(id) > 0
}

/// Whether `other` is the sum over the index that the product `carrier` sums over, of its second
/// operand.
fn carries_sum(
    live: &Live,
    fused: &Fused,
    packed: &BTreeMap<usize, (u64, u64)>,
    carrier: usize,
    other: usize,
) -> bool {
    let (product, sum) = (live.node(carrier), live.node(other));
    let (Op::MatMul { transpose_b, .. }, Op::Reduce { reduction: Reduction::Sum, axes, .. }) =
        (&product.op, &sum.op)
    else {
        return false;
    };
    let (&[axis], 2) = (&axes[..], product.shape.rank()) else { return false };
    let (a, ..) = operand(live, product.inputs[0].0);
    let (b, layout, transposed) = operand(live, product.inputs[1].0);
    let (summed, own_layout, own_transposed) = operand(live, sum.inputs[0].0);
    // The axes as they lie in memory.
    let inner = usize::from(transposed != *transpose_b);
    let own = if own_transposed { 1 - axis } else { axis };
    if summed != b || own_layout != layout || layout.rank() != 2 || inner != own {
        return false;
    }
    // A kernel cannot read the buffer that it writes.
    if packed.contains_key(&a) || packed.contains_key(&b) {
        return false;
    }
    // The sum may come later than it would, if nobody reads it in between.
    other > carrier
        || (0..live.nodes.len()).filter(|&id| live.inputs(id).any(|input| input == other)).all(
            |id| {
                live.node(id).op.is_update() || fused.kernel[id].is_some_and(|root| root > carrier)
            },
        )
}

/// Whether `other` is the gradient of the cross-entropy `carrier`, and needs nothing that is not
/// known when the loss is computed.
fn carries_gradient(
    live: &Live,
    packed: &BTreeMap<usize, (u64, u64)>,
    carrier: usize,
    other: usize,
) -> bool {
    let (loss, gradient) = (live.node(carrier), live.node(other));
    let (
        Op::SoftmaxCrossEntropy { label_smoothing },
        Op::SoftmaxCrossEntropyGradient { label_smoothing: own },
    ) = (&loss.op, &gradient.op)
    else {
        return false;
    };
    label_smoothing.to_bits() == own.to_bits()
        && loss.inputs[..] == gradient.inputs[..2]
        && live.uniform(gradient.inputs[2].0).is_some()
        && carrier < other
        && !packed.contains_key(&other)
}
