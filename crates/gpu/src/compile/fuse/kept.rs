//! Values that several kernels read: stored by the kernel of their first reader, or computed by each.
//!
//! The gradient of an activation reads what went into it. A kernel of its own for that would write it, and
//! the activation's kernel read it again. So the kernel that computes both stores both, where it reads the
//! element `i` for its own element `i`, and all others that read the value come after it.
//!
//! The product's kernel then writes what entered the activation beside what comes out, and the
//! activation costs no dispatch where its gradient needs both. The rule needs nothing but the order
//! of the nodes.

use super::Fused;
use super::demand::Demand;
use super::operations::{has_epilogue, is_in_place, is_map};
use super::short::{Part, is_short, short};
use crate::compile::Target;
use crate::compile::simplify::Live;
use std::collections::BTreeSet;
use warmstart_graph::{DType, Op};

/// The root of the first kernel that reads a node, if it reads nothing but each element for its own, and so
/// could store them. Kernels run in the order of their roots.
pub(super) fn first_reader(live: &Live, id: usize, own: &[Demand]) -> Option<usize> {
    let first = own.iter().map(|demand| demand.root).min()?;
    let in_step = own.iter().all(|demand| demand.root != first || demand.in_step);
    // Two halves share a word, or four bytes, and numbers in the code are stored by nobody.
    let is_stored = !live.node(id).dtype.is_narrow() && live.uniform(id).is_none();
    (in_step && is_stored).then_some(first)
}

/// For each node whether an anchor would take it as its epilogue: as an expression that reads the anchor
/// element by element, where nobody else does.
pub(super) fn take_anchors(live: &Live, readers: &[usize], in_memory: &[bool]) -> Vec<bool> {
    let mut take = vec![false; live.nodes.len()];
    for id in 0..live.nodes.len() {
        let op = &live.node(id).op;
        take[id] = match is_map(op) {
            true => live.inputs(id).any(|input| {
                take[input]
                    && readers[input] == 1
                    && !in_memory[input]
                    && is_in_place(live, id, input)
            }),
            false => !live.is_leaf(id) && has_epilogue(op),
        };
    }
    take
}

/// Whether it is made of random numbers and single ones, in a few operations: the mask of a dropout. Its
/// numbers are a function of the seed, the step and the element, and can be drawn by each kernel that
/// needs them. To a GPU that is less than to store them, and it takes no memory from the forward pass to
/// the gradient; a software adapter takes longer to draw them than to read what is stored.
pub(super) fn is_random(live: &Live, id: usize, own: &[Demand]) -> bool {
    let twice = live.elements(id).saturating_mul(2);
    of_scalars(live, id, |id| live.is_leaf(id)).is_some_and(|found| found.draws == 1)
        && own.len() <= FEW
        && own.iter().all(|demand| demand.evaluations <= twice)
}

/// How many readers draw random numbers again.
const FEW: usize = 3;

/// Whether the kernel of the product `anchor` may have the `f16` of `root` for its result: on a device that
/// has them, so that each is stored alone.
pub(super) fn rounds(live: &Live, anchor: usize, root: usize, target: Target) -> bool {
    let is_product = matches!(live.node(anchor).op, Op::MatMul { .. });
    target.keeps && target.has_f16 && is_product && live.node(root).dtype == DType::F16
}

/// Leaves rounding to `f16` to the kernels that have the numbers, on a device that has `f16`: products read
/// them rounded, and others as they are.
pub(super) fn round_on_the_way(
    live: &Live,
    fused: &mut Fused,
    apart: &BTreeSet<usize>,
    target: Target,
) {
    if !(target.keeps && target.has_f16) {
        return;
    }
    for id in 0..live.nodes.len() {
        let is_alone = fused.kernel[id] == Some(id) && fused.anchor[id].is_none();
        if live.node(id).op != Op::Cast(DType::F16) || !is_alone || apart.contains(&id) {
            continue;
        }
        let input = live.node(id).inputs[0].0;
        let Some(root) = fused.kernel[input].filter(|&root| root != id) else { continue };
        let is_stored =
            root == input || fused.kept.get(&root).is_some_and(|kept| kept.contains(&input));
        // A cross-entropy's gradient comes with the loss where it is all that its kernel computes, and of
        // sums there are few.
        let fits = match fused.anchor[root].map(|anchor| &live.node(anchor).op) {
            None => !live.node(root).op.is_update(),
            Some(op) => matches!(
                op,
                Op::MatMul { .. } | Op::Softmax | Op::LayerNorm { .. } | Op::LayerNormGradient
            ),
        };
        if is_stored
            && fits
            && live.node(input).dtype == DType::F32
            && !live.node(root).dtype.is_narrow()
        {
            fused.kernel[id] = Some(root);
            fused.kept.entry(root).or_default().push(id);
        }
    }
}

/// The longest expression that is computed wherever it is read.
const SHORT: usize = 8;

/// Of how many numbers in memory, at most: each is a buffer to all kernels that compute it, and what is
/// computed wherever it is read cannot be computed apart where those are too many.
const LEAVES: usize = 2;

/// An expression of few operations on few single numbers.
struct OfScalars {
    /// The single numbers.
    ends: BTreeSet<usize>,
    /// How often it draws random ones.
    draws: usize,
}

fn of_scalars(live: &Live, id: usize, is_end: impl Fn(usize) -> bool) -> Option<OfScalars> {
    let mut draws = 0;
    let ends = short(live, id, SHORT, |id| match &live.node(id).op {
        _ if live.node(id).shape.rank() == 0 && is_end(id) => Part::End,
        Op::Unary(_) | Op::Binary(_) | Op::Select | Op::StopGradient | Op::Reshape(_) => {
            Part::Operations(1)
        }
        Op::Cast(dtype) if !dtype.is_half() => Part::Operations(1),
        Op::RandomUniform { .. } => {
            draws += 1;
            Part::Operations(1)
        }
        _ => Part::Refused,
    })?;
    (ends.len() <= LEAVES).then_some(OfScalars { ends, draws })
}

/// Whether it is one number, computed in a few operations from such as lie in memory before the run or are
/// sums, and to do that wherever it is read takes less than a dispatch, or is a small part of what its
/// readers do: a loss scale's share for each row, or one over the sum of a mask, say.
///
/// Where it is made of one sum alone, whose kernel computes it once as its epilogue (`takes_anchor`), there
/// is no dispatch to save; unless that sum could be computed beside another, which it could not be with an
/// epilogue (`lower/companions.rs`).
pub(super) fn is_small_number(live: &Live, id: usize, own: &[Demand], takes_anchor: bool) -> bool {
    let is_there = |id: usize| live.is_leaf(id) || matches!(live.node(id).op, Op::Reduce { .. });
    if live.node(id).shape.rank() > 0 {
        return false;
    }
    let Some(OfScalars { ends, draws: 0 }) = of_scalars(live, id, is_there) else { return false };
    let sums: Vec<usize> = ends.into_iter().filter(|&end| !live.is_leaf(end)).collect();
    let is_as_one =
        |sum: usize| live.node(sum).dtype == live.node(id).dtype && !has_like(live, sum);
    if takes_anchor && matches!(sums[..], [sum] if is_as_one(sum)) {
        return false;
    }
    let all = own.iter().fold(0usize, |sum, demand| sum.saturating_add(demand.evaluations));
    all <= 4096 || own.iter().all(|demand| demand.evaluations <= live.elements(demand.root) / 8)
}

/// Whether there is another sum of as many.
fn has_like(live: &Live, sum: usize) -> bool {
    let shape = |id: usize| &live.node(live.node(id).inputs[0].0).shape;
    let others = (0..live.nodes.len()).filter(|&id| id != sum);
    let mut sums = others.filter(|&id| matches!(live.node(id).op, Op::Reduce { .. }));
    sums.any(|id| shape(id) == shape(sum))
}

/// How many short operations on one tensor each of its readers computes anew. On software Vulkan, of 512 x 64
/// to 64 x 2048 elements and 3 to 24 operations, two readers that compute them take 0.70 to 0.95 of the
/// processor time that it takes to store and read them, four take 0.74 to 0.98, and eight 0.91 to 1.05; the
/// first step, with a kernel less to compile, takes 0.7 to 1.07. More readers, as a mask has in each layer, compute
/// fewer operations anew. What it is on a GPU is not measured.
const LITTLE: usize = 16;
const LITTLE_OF_MANY: usize = 4;
/// How many readers were measured.
const MANY: usize = 8;

/// Whether it is computed in a few short operations, for so many readers, from one tensor of its size that is
/// there before the run, as which labels are padding: several kernels that read it load as much if each computes it, and no
/// kernel of its own has to store it.
pub(super) fn is_little_of_one(live: &Live, id: usize, readers: usize) -> bool {
    let most = if readers > MANY { LITTLE_OF_MANY } else { LITTLE };
    let ends = short(live, id, most, |id| match &live.node(id).op {
        _ if live.is_leaf(id) => Part::End,
        Op::Reshape(_) => Part::Operations(0),
        op if is_short(op) => Part::Operations(1),
        _ => Part::Refused,
    });
    let is_as_large = |&end: &usize| live.elements(end) == live.elements(id);
    ends.is_some_and(|ends| ends.len() == 1 && ends.iter().all(is_as_large))
}

#[cfg(test)]
#[path = "kept_tests.rs"]
mod tests;
