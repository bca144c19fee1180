//! What a softmax, a cross-entropy or a layer normalization reads two or three times: its rows.
//!
//! Where they are at most four short operations on at most two tensors in memory, as scale and mask or a
//! residual are, each element is computed at each read. Whatever is longer is *held*: each lane computes
//! its elements of the row once, stores them, and reads back only what it stored itself, so that nobody
//! waits for anybody. Held are they where other kernels read them, if there are such; else in the kernel's
//! result, which is not there before its last pass; else, as for a loss without its gradient, in memory of
//! the kernel's own.
//!
//! What comes behind the anchor, as a residual around it, reads the rows where they are held, and what the
//! kernel stored for others beside them. Whatever else of the expression it reads, or in another order, it
//! computes again.
//!
//! What a product or another anchor takes as its epilogue is computed there, and read from memory.

use super::operations::{has_epilogue, is_free, is_map};
use super::short::{Part, is_short, short};
use crate::compile::simplify::Live;
use warmstart_graph::Op;

/// Whether the anchor `id` reads its input number `input` as rows, several times.
fn is_row(live: &Live, id: usize, input: usize) -> bool {
    match live.node(id).op {
        Op::Softmax
        | Op::LogSoftmax
        | Op::SoftmaxCrossEntropy { .. }
        | Op::SoftmaxCrossEntropyGradient { .. }
        | Op::LayerNorm { .. }
        | Op::LayerNormStatistics { .. } => input == 0,
        // The row and its gradient.
        Op::LayerNormGradient => input == 0 || input == 2,
        _ => false,
    }
}

/// What is read where `id` is, behind changes of shape and the like.
pub(crate) fn base(live: &Live, mut id: usize) -> usize {
    while is_free(live, id) {
        id = live.node(id).inputs[0].0;
    }
    id
}

/// Of rows that are longer, few have too few lanes: they are better computed by a kernel of their own,
/// which has the whole device. That is for GPUs, of which none has measured it: on software Vulkan with two
/// cores, a softmax of 1 to 48 rows of 20,000 to 131,072 takes 0.8 to 1.1 of the processor time if it holds
/// them.
const LONGEST: usize = 1 << 14;

/// Whether there is something to compute of what the anchor `id` reads as rows, and its kernel has the
/// lanes for it. A kernel holds one input: of a normalization's gradient that is the one from above, since
/// the rows themselves lie in memory, for the kernel of their statistics has read them before.
pub(super) fn could_be_held(live: &Live, id: usize, input: usize) -> bool {
    let node = live.node(live.node(id).inputs[input].0);
    let base = base(live, live.node(id).inputs[input].0);
    let width = node.shape.last().copied().unwrap_or(1);
    is_row(live, id, input)
        && (live.node(id).op != Op::LayerNormGradient || input == 2)
        && is_map(&live.node(base).op)
        && live.elements(base) > 0
        && (width <= LONGEST || node.shape.elements() / width >= 64)
}

/// Operations, and tensors that they are computed from, which a softmax or a normalization computes anew
/// at each of the two or three times that it reads a row. Two tensors read three times are as much
/// traffic as to read them once, write the result and read that three times; mostly it is less, since a
/// row that was just read is in a cache. Of what takes long, like an exponential, three times would be
/// more than is saved.
///
/// No dispatch depends on it but of few long rows: what is not cheap is held. On software Vulkan, of 512 x 64
/// to 64 x 2048, two tensors computed anew take 0.93 to 1.06 of the processor time of rows that are held,
/// and a loss without its gradient needs no memory to hold them; three tensors take 1 to 1.16, five up to
/// 1.4, and 16 operations on two up to 1.2.
const CHEAP: (usize, usize) = (4, 2);

/// Whether what the anchor `id` reads several times is cheap enough to be computed each time. `readers`
/// is how many ask for each node.
pub(super) fn is_cheap(live: &Live, readers: &[usize], id: usize, input: usize) -> bool {
    if !is_row(live, id, input) {
        return false;
    }
    let ends = short(live, live.node(id).inputs[input].0, CHEAP.0, |id| {
        let op = &live.node(id).op;
        if is_free(live, id) {
            return Part::Operations(0);
        }
        let is_loaded = live.is_leaf(id) || !is_map(op);
        // An anchor that nobody else reads takes the expression as its epilogue, computed once.
        if is_loaded && (live.is_leaf(id) || readers[id] > 1 || !has_epilogue(op)) {
            return Part::End;
        }
        let is_one = !is_loaded && is_short(op) && readers[id] == 1;
        if is_one { Part::Operations(1) } else { Part::Refused }
    });
    ends.is_some_and(|ends| ends.iter().filter(|&&id| live.elements(id) > 1).count() <= CHEAP.1)
}

#[cfg(test)]
#[path = "rows_tests.rs"]
mod tests;
