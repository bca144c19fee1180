//! Kernels that write a second result on the way: one dispatch, and one trip through memory, less.
//!
//! - A bias's gradient is the sum over rows of what the product for its weight's gradient reads.
//! - The gradient of a cross-entropy needs the same maximum and sum of each row as its loss.
//! - The gradients of a layer normalization need the mean and deviation of each row, as its result does.
//! - Two sums over the same axes may read the same tensor: the gradients of gamma and beta do.
//!
//! Gradients may have something added to them that is there before the run, as what is accumulated of other
//! batches.
//!
//! A cross-entropy's loss comes with its gradient times whatever is there before the run, weights of
//! rows or a loss scale, and what a few kernels make of that, as the sum of those weights: they come
//! before everything else. Of two sums the second comes with the first if that reads its elements
//! anyway. A gradient in the packed buffer may have something added only if that is there before
//! the run.

use super::{Kernel, Lowering};
use crate::compile::Gradients;
use crate::compile::expression::{Function, Index};
use crate::compile::fuse::Fused;
use crate::compile::operand::OperandLayout;
use crate::compile::simplify::Live;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use warmstart_graph::ops::Reduction;
use warmstart_graph::{Op, Shape};

#[derive(Default)]
pub(super) struct Companions {
    /// For each root whose kernel computes another's value too, that other root.
    pub carried: BTreeMap<usize, usize>,
    /// Roots whose kernels come before all others.
    pub early: BTreeSet<usize>,
}

/// Which kernels write a second result. `packed` are the nodes that lie in the packed buffer, and `buffers`
/// is how many a kernel can bind.
pub(super) fn find(live: &Live, fused: &Fused, packed: &Gradients, buffers: usize) -> Companions {
    let Companions { mut carried, mut early } = Companions::default();
    let roots: Vec<usize> =
        (0..live.nodes.len()).filter(|&id| has_anchor(live, fused, id)).collect();
    let is_plain = |id: usize| fused.anchor[id] == Some(id);
    let is_gradient = |id: usize| is_gradient(live, fused, packed, id);
    // Two results, and perhaps a product's shape.
    let binds = |carrier: usize, other: usize| {
        let loaded = [carrier, other].map(|id| loaded(live, fused, id));
        loaded[0].union(&loaded[1]).count() + 3 <= buffers
    };
    let readers = readers(live);
    // Kernels that may take another's value along, by what both read: graphs may have thousands.
    let mut carriers: HashMap<usize, Vec<usize>> = HashMap::new();
    for &carrier in &roots {
        if let Some(read) = fused.anchor[carrier].and_then(|anchor| read_in_common(live, anchor)) {
            carriers.entry(read).or_default().push(carrier);
        }
    }
    // What a kernel stores for others is stored by no other kernel.
    let is_other = |id: usize| !fused.kept.contains_key(&id) && (is_plain(id) || is_gradient(id));
    for &other in roots.iter().filter(|&&id| is_other(id)) {
        let read = fused.anchor[other].and_then(|anchor| read_in_common(live, anchor));
        let before = before_gradient(live, fused, &carried, other, buffers);
        let possible = read.and_then(|read| carriers.get(&read)).into_iter().flatten();
        let carrier = possible.copied().find(|&carrier| {
            !carried.contains_key(&carrier)
                && ![carrier, other].iter().any(|id| early.contains(id))
                && (is_plain(other) && carries_statistics(live, fused, &readers, carrier, other)
                    || (is_plain(carrier) || is_gradient(carrier))
                        && carries_sum(live, fused, packed, &readers, carrier, other)
                        && (is_plain(carrier) && is_plain(other) || binds(carrier, other))
                    || is_plain(carrier)
                        && is_plain(other)
                        && before.as_ref().is_some_and(|before| !before.contains(&carrier))
                        && carries_gradient(live, packed, carrier, other))
        });
        if let Some(carrier) = carrier {
            carried.insert(carrier, other);
            early.extend(before.into_iter().flatten());
        }
    }
    // Only what no other kernel has taken along.
    let mut taken: BTreeSet<usize> = carried.values().copied().collect();
    let sums: BTreeMap<usize, usize> = roots
        .into_iter()
        .filter(|&id| is_plain(id) || is_gradient(id))
        .filter_map(|id| Some((id, fused.anchor[id].filter(|&anchor| is_sum(live, anchor))?)))
        .collect();
    let loaded: BTreeMap<usize, BTreeSet<usize>> =
        sums.keys().map(|&sum| (sum, loaded(live, fused, sum))).collect();
    let mut loading: HashMap<usize, Vec<usize>> = HashMap::new();
    for (&sum, loaded) in &loaded {
        loaded.iter().for_each(|&id| loading.entry(id).or_default().push(sum));
    }
    for (&other, &anchor) in &sums {
        let possible = loading.get(&live.node(anchor).inputs[0].0).into_iter().flatten();
        let carrier = possible.copied().find(|carrier| {
            let is_bound =
                |id| taken.contains(id) || carried.contains_key(id) || early.contains(id);
            ![*carrier, other].iter().any(is_bound)
                && loaded[carrier].union(&loaded[&other]).count() + 3 <= buffers
                // A kernel cannot read the buffer that it writes.
                && !loaded[carrier].iter().any(|&id| packed.contains(id))
                && carries_other_sum(live, &sums, [*carrier, other])
                && is_in_time(live, fused, &readers, *carrier, other)
        });
        if let Some(carrier) = carrier {
            carried.insert(carrier, other);
            taken.insert(other);
        }
    }
    Companions { carried, early }
}

/// What a kernel with this anchor reads, and so does every kernel whose value it may take along: the same
/// of a carrier and of what it carries.
fn read_in_common(live: &Live, anchor: usize) -> Option<usize> {
    let node = live.node(anchor);
    match node.op {
        Op::LayerNorm { .. }
        | Op::LayerNormStatistics { .. }
        | Op::SoftmaxCrossEntropy { .. }
        | Op::SoftmaxCrossEntropyGradient { .. } => Some(node.inputs[0].0),
        Op::MatMul { .. } => Some(OperandLayout::of(live, node.inputs[1].0).base),
        Op::Reduce { .. } if is_sum(live, anchor) => {
            Some(OperandLayout::of(live, node.inputs[0].0).base)
        }
        _ => None,
    }
}

/// The nodes that read each node.
fn readers(live: &Live) -> Vec<Vec<usize>> {
    let mut readers = vec![Vec::new(); live.nodes.len()];
    for id in 0..live.nodes.len() {
        live.inputs(id).for_each(|input| readers[input].push(id));
    }
    readers
}

/// A kernel with an anchor, which computes something.
fn has_anchor(live: &Live, fused: &Fused, id: usize) -> bool {
    fused.kernel[id] == Some(id) && fused.anchor[id].is_some() && live.elements(id) > 0
}

/// Whether a kernel computes a gradient for a norm or an update, with nothing after its anchor but what is
/// made of values that are there before the run.
fn is_gradient(live: &Live, fused: &Fused, packed: &Gradients, root: usize) -> bool {
    let Some(anchor) = fused.anchor[root].filter(|&anchor| anchor != root) else { return false };
    if !packed.contains(root) || fused.kept.contains_key(&root) {
        return false;
    }
    let mut pending = vec![root];
    while let Some(id) = pending.pop() {
        let is_there = id == anchor || live.is_leaf(id) || live.uniform(id).is_some();
        if !is_there && fused.kernel[id].is_some_and(|kernel| kernel != root) {
            return false;
        }
        pending.extend(live.inputs(id).filter(|_| !is_there));
    }
    true
}

/// Whether `other` can be computed with `carrier`, as far as those go that read it: it may come later than
/// it would, if nobody reads it in between.
fn is_in_time(
    live: &Live,
    fused: &Fused,
    readers: &[Vec<usize>],
    carrier: usize,
    other: usize,
) -> bool {
    other > carrier
        || readers[other].iter().all(|&id| {
            live.node(id).op.is_update() || fused.kernel[id].is_some_and(|root| root > carrier)
        })
}

/// Whether `other` is the sum over the index that the product `carrier` sums over, of its second
/// operand.
fn carries_sum(
    live: &Live,
    fused: &Fused,
    packed: &Gradients,
    readers: &[Vec<usize>],
    carrier: usize,
    other: usize,
) -> bool {
    let (Some(anchor), Some(summing)) = (fused.anchor[carrier], fused.anchor[other]) else {
        return false;
    };
    let (product, sum) = (live.node(anchor), live.node(summing));
    let (Op::MatMul { transpose_b, .. }, Op::Reduce { reduction: Reduction::Sum, axes, .. }) =
        (&product.op, &sum.op)
    else {
        return false;
    };
    if product.shape.rank() != 2 {
        return false;
    }
    let a = OperandLayout::of(live, product.inputs[0].0).base;
    let b = OperandLayout::of(live, product.inputs[1].0);
    let summed = OperandLayout::of(live, sum.inputs[0].0);
    if (summed.base, summed.scale) != (b.base, b.scale) {
        return false;
    }
    // What is summed may be of more dimensions. As it lies in memory, it must be the same matrix, summed
    // over its rows if the product does that, and over its columns if not.
    let rank = summed.shape.rank();
    let over_rows = b.transposed == *transpose_b;
    let is_summed = |axis: usize| match summed.transposed {
        true => axes.contains(&(1 - axis)),
        false => axes.contains(&axis),
    };
    let rows = if over_rows { axes.len() } else { rank - axes.len() };
    let (first, last) = summed.shape.split_at(rows);
    if summed.transposed && rank != 2
        || !(0..rank).all(|axis| is_summed(axis) == (over_rows == (axis < rows)))
        || [first, last].map(|extents| Shape::from(extents).elements())[..] != b.shape[..]
    {
        return false;
    }
    let b = b.base;
    // A kernel cannot read the buffer that it writes.
    if packed.contains(a) || packed.contains(b) {
        return false;
    }
    is_in_time(live, fused, readers, carrier, other)
}

/// The kernels that must come before the loss's if that is to compute the cross-entropy's gradient `other`
/// too: they make what the gradient is multiplied by of what is there before the run. None if it is no
/// such gradient, takes more than that, or more than a kernel can bind.
fn before_gradient(
    live: &Live,
    fused: &Fused,
    carried: &BTreeMap<usize, usize>,
    other: usize,
    buffers: usize,
) -> Option<BTreeSet<usize>> {
    // What the loss's kernel binds beside it, if logits and labels are computed apart: them and both results.
    // On software Vulkan a loss that takes its gradient along takes 0.55 to 0.73 of the processor time of two
    // kernels, from 512 x 64 to 64 x 2048 logits, whether 4 or 24 tensors more are bound for that and whether
    // 6 or 32 kernels come first, and 0.74 to 0.89 of 128 x 10; the first step with its compiling takes 0.53
    // to 0.82.
    const OWN: usize = 4;
    // How many kernels to look at, since each is looked at again for each loss.
    const KERNELS: usize = 64;
    let gradient = live.node(other);
    if !matches!(gradient.op, Op::SoftmaxCrossEntropyGradient { .. }) {
        return None;
    }
    let mut pending = loaded_for(live, fused, other, [gradient.inputs[2].0].into());
    let mut before = BTreeSet::new();
    if pending.len() + OWN > buffers {
        return None;
    }
    while let Some(id) = pending.pop_last() {
        if live.is_leaf(id) {
            continue;
        }
        let root = fused.kernel[id]?;
        let is_bound = carried.iter().any(|(&carrier, &second)| [carrier, second].contains(&root));
        let node = live.node(root);
        if is_bound || node.op.is_update() || node.dtype.is_narrow() {
            return None;
        }
        if before.insert(root) {
            pending.extend(loaded(live, fused, root));
        }
        if before.len() > KERNELS {
            return None;
        }
    }
    Some(before)
}

/// Whether `other` is the gradient of the cross-entropy `carrier`.
fn carries_gradient(live: &Live, packed: &Gradients, carrier: usize, other: usize) -> bool {
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
        && carrier < other
        && !packed.contains(other)
}

/// Whether `other` are the statistics of the rows that the kernel `carrier` normalizes.
fn carries_statistics(
    live: &Live,
    fused: &Fused,
    readers: &[Vec<usize>],
    carrier: usize,
    other: usize,
) -> bool {
    let Some(anchor) = fused.anchor[carrier] else { return false };
    let (norm, statistics) = (live.node(anchor), live.node(other));
    let (Op::LayerNorm { epsilon }, Op::LayerNormStatistics { epsilon: own }) =
        (&norm.op, &statistics.op)
    else {
        return false;
    };
    epsilon.to_bits() == own.to_bits()
        && norm.inputs[0] == statistics.inputs[0]
        && is_in_time(live, fused, readers, carrier, other)
}

fn is_sum(live: &Live, id: usize) -> bool {
    matches!(live.node(id).op, Op::Reduce { reduction: Reduction::Sum, .. })
}

/// Whether `other` is a sum, over the same axes as the sum `carrier`, of a tensor of the same shape. `sums`
/// are the anchors of such kernels.
fn carries_other_sum(
    live: &Live,
    sums: &BTreeMap<usize, usize>,
    [carrier, other]: [usize; 2],
) -> bool {
    let anchors = [sums[&carrier], sums[&other]];
    let (Op::Reduce { axes, .. }, Op::Reduce { axes: others, .. }) =
        (&live.node(anchors[0]).op, &live.node(anchors[1]).op)
    else {
        return false;
    };
    let [summed, others_summed] = anchors.map(|id| live.node(id).inputs[0].0);
    carrier != other && axes == others && live.node(summed).shape == live.node(others_summed).shape
}

/// What a kernel loads.
fn loaded(live: &Live, fused: &Fused, root: usize) -> BTreeSet<usize> {
    loaded_for(live, fused, root, live.inputs(root).collect())
}

/// What a kernel loads to compute these nodes, or loads of them.
fn loaded_for(live: &Live, fused: &Fused, root: usize, mut pending: Vec<usize>) -> BTreeSet<usize> {
    let (mut loaded, mut seen) = (BTreeSet::new(), BTreeSet::new());
    while let Some(id) = pending.pop() {
        if !seen.insert(id) || live.uniform(id).is_some() {
            continue;
        }
        if live.is_leaf(id) || fused.kernel[id].is_some_and(|kernel| kernel != root) {
            loaded.insert(id);
        } else {
            pending.extend(live.inputs(id));
        }
    }
    loaded
}

impl Lowering<'_> {
    /// What a second result is made of its `total`, for the element `i`: a function, if there is more to do
    /// than to store it, and the expression.
    pub(super) fn carried_epilogue(
        &self,
        kernel: &mut Kernel,
        carried: usize,
        i: &str,
    ) -> (String, String) {
        let anchor = self.fused.anchor[carried];
        if anchor == Some(carried) {
            return (String::new(), "total".to_owned());
        }
        let bindings = &mut kernel.bindings;
        let function = Function::new(self.live, self.fused, bindings, carried, anchor);
        let index = Index::flat(&self.live.node(carried).shape, "i");
        let text = function.write("fn finish_second(anchor: f32, i: u32) -> f32", carried, &index);
        (text, format!("finish_second(total, {i})"))
    }
}
