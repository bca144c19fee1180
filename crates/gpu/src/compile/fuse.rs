//! The second pass: which nodes become kernels, and which are computed inside the kernels of their
//! readers.
//!
//! A kernel has a *root*, the node whose value it writes. It may have an *anchor*: a node that is
//! more than a function of single elements (a product, a reduction). Elementwise nodes and changes
//! of shape around them are expressions inside the kernel: before the anchor if it reads them one
//! element at a time, and after it as its epilogue. What others read too, a kernel may store on its way
//! (`kept.rs`).
//!
//! A kernel has one anchor, so of two products that are multiplied one keeps its own. A softmax,
//! cross-entropy or layer normalization reads its rows two or three times. What it reads is computed
//! inside its kernel, however long that takes, unless a product could take it as its epilogue, or the
//! rows are so few and so long that their kernel has too few lanes for it (`rows.rs`).
//!
//! A number made of single ones that are there before the run, as a loss scale's share for each
//! row, is computed wherever it is read, be it a part of rows. So is the mask of a dropout, which is a
//! function of seed, step and element, on GPUs: forward and backward draw the same numbers, and no mask
//! is kept between them. A software adapter takes longer to draw than to read, by a twentieth of a small
//! training step, so there the product's kernel stores the mask too.
//!
//! Elementwise chains may have any length. Expressions are built recursively, so where a chain changes
//! its shape again and again, it is cut after 256 nodes behind the first change.

mod kept;
mod rows;
mod short;

use super::operand::Held;
use super::own_norm::{self, OwnNorm};
use super::simplify::Live;
use super::{Place, Target};
use std::collections::{BTreeMap, BTreeSet};
use warmstart_graph::{DType, Op};

pub(crate) use rows::base;

/// What became of each node.
pub(crate) struct Fused {
    /// For each node the root in whose kernel it is computed; itself for a root. `None` for what
    /// is loaded, or computed wherever it is read because that costs nothing.
    pub kernel: Vec<Option<usize>>,
    /// For each root the anchor of its kernel.
    pub anchor: Vec<Option<usize>>,
    /// For each root the other nodes that its kernel computes and also stores, for later kernels.
    pub kept: BTreeMap<usize, Vec<usize>>,
    /// For each root whose kernel writes it over a value that it is the last to read, that value, or
    /// the one that has been written over before.
    pub over: BTreeMap<usize, usize>,
    /// Anchors and numbers of those inputs whose elements their kernel computes once and stores, to read
    /// them several times.
    pub held: BTreeSet<(usize, usize)>,
    /// For each update that computes the norm of its gradients itself, that norm.
    pub own_norms: BTreeMap<usize, OwnNorm>,
}

impl Fused {
    /// Where the value of a live node lies.
    pub fn place(&self, live: &Live, id: usize) -> Place {
        Place::of(live, self.over.get(&id).copied().unwrap_or(id))
    }
}

/// The longest way from a kernel's first change of an index to what it computes or reads: expressions are
/// built from their end, and each node on the way takes room on the stack.
pub(super) const DEEPEST: usize = 256;

/// A reader's wish to compute a node inside its own kernel.
#[derive(Clone, Copy, PartialEq)]
struct Demand {
    /// The root of the reader's kernel.
    root: usize,
    /// Whether the node's element `i` is read for the element `i` of the root, or of the rows of its
    /// anchor that are computed once each.
    in_step: bool,
    /// The anchor and the number of its input, if this is what its rows are.
    rows: Option<(usize, usize)>,
    /// How many elements are computed in all.
    evaluations: usize,
    /// How many nodes there are on the way from the root, but for those that have its index.
    depth: usize,
}

impl Demand {
    /// That of a kernel which computes so many elements, in no order that is known.
    fn of(root: usize, evaluations: usize) -> Demand {
        Demand { root, in_step: false, rows: None, evaluations, depth: 0 }
    }
}

/// How an anchor reads an input.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Reads {
    /// From memory, whole.
    Memory,
    /// Each element several times: a change of shape may be computed on the way, or what is cheap, and of
    /// rows that are held any expression.
    Often,
    /// Each element this many times in all: any expression.
    Once(usize),
}

/// A change of shape: computing it is only arithmetic on indices.
pub(crate) fn is_view(op: &Op) -> bool {
    matches!(op, Op::Reshape(_) | Op::Transpose(_) | Op::BroadcastTo(_) | Op::Slice { .. })
}

/// Whether it is what is stored in 16 bits, as `f32`, or a byte as any number: loading does that.
pub(super) fn widens(live: &Live, id: usize) -> bool {
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
fn is_free(live: &Live, id: usize) -> bool {
    is_view(&live.node(id).op) || widens(live, id)
}

/// A function of elements, as an expression.
pub(super) fn is_map(op: &Op) -> bool {
    is_view(op)
        || op.is_elementwise()
        || matches!(op, Op::Pad { .. } | Op::Concat { .. } | Op::GatherRows)
}

/// How the anchor `id` reads its input number `input`.
pub(crate) fn reads(live: &Live, id: usize, input: usize) -> Reads {
    let elements = live.elements(live.node(id).inputs[input].0);
    match (&live.node(id).op, input) {
        (Op::Reduce { .. } | Op::ArgMax, _) => Reads::Once(elements),
        (Op::SoftmaxCrossEntropy { .. }, 1) => Reads::Once(elements),
        (Op::SoftmaxCrossEntropyGradient { .. }, 1 | 2) => Reads::Once(elements),
        (Op::ScatterAddRows { .. }, 1) => Reads::Once(elements),
        // By the first of its kernels, which writes no variable.
        (Op::OptimizerUpdate(update), at) if at < update.scalars() => Reads::Once(1),
        (Op::MatMul { .. } | Op::GlobalNorm | Op::Assign(_) | Op::OptimizerUpdate(_), _) => {
            Reads::Memory
        }
        _ => Reads::Often,
    }
}

/// Decides for every node. `apart` are nodes that must have a kernel of their own.
pub(crate) fn fuse(live: &Live, apart: &BTreeSet<usize>, target: Target) -> Fused {
    let count = live.nodes.len();
    // What lies in memory, and what is also the only result of its kernel.
    let mut forced = vec![false; count];
    let mut alone = vec![false; count];
    live.fetches.iter().for_each(|&id| forced[id] = true);
    live.updates.iter().chain(apart).for_each(|&id| alone[id] = true);
    let mut readers = vec![0; count];
    let inputs = (0..count).flat_map(|id| live.inputs(id));
    inputs.chain(live.fetches.iter().copied()).for_each(|id| readers[id] += 1);
    // Anchors whose rows are computed at each read, and which input that is; and those whose rows may be
    // computed once and held.
    let (mut again, mut held) = (BTreeSet::new(), BTreeSet::new());
    for id in 0..count {
        // Inside a reader's kernel it would not be rounded.
        alone[id] |= matches!(live.node(id).op, Op::Cast(dtype) if dtype.is_half());
        for (at, input) in live.inputs(id).enumerate() {
            let op = &live.node(id).op;
            if is_map(op) || live.is_leaf(id) {
                continue;
            }
            match reads(live, id, at) {
                Reads::Memory if matches!(op, Op::MatMul { .. }) => {
                    forced[Held::of(live, input).base] = true;
                }
                Reads::Memory => alone[input] = true,
                Reads::Often if rows::is_cheap(live, &readers, id, at) => {
                    again.insert((id, at));
                }
                Reads::Often if target.keeps && rows::could_be_held(live, id, at) => {
                    held.insert((id, at));
                }
                Reads::Often => forced[rows::base(live, input)] = true,
                Reads::Once(_) => {}
            }
        }
    }
    forced.iter_mut().zip(&alone).for_each(|(forced, alone)| *forced |= alone);
    // Of what an anchor takes as its epilogue the rows are read from memory.
    let takes_anchor = kept::take_anchors(live, &readers, &forced);
    held.retain(|&(id, at)| {
        let base = rows::base(live, live.node(id).inputs[at].0);
        forced[base] |= takes_anchor[base];
        !takes_anchor[base]
    });

    let (kernel, anchor) = (vec![None; count], vec![None; count]);
    let (kept, over) = (BTreeMap::new(), BTreeMap::new());
    let own_norms = own_norm::find(live, apart);
    let mut fused = Fused { kernel, anchor, kept, over, held: BTreeSet::new(), own_norms };
    // Roots whose kernel is to have an anchor that is not reached yet.
    let mut promised = BTreeSet::new();
    let mut demands: Vec<Vec<Demand>> = vec![Vec::new(); count];
    for id in (0..count).rev() {
        if live.is_leaf(id) {
            continue;
        }
        let node = live.node(id);
        let own = std::mem::take(&mut demands[id]);
        let of_update = fused.own_norms.iter().find(|(_, own)| own.computes(id));
        if let Some((&update, _)) = of_update {
            fused.kernel[id] = Some(update);
            continue;
        }
        // Bytes that are scaled for products alone, which do that when they load them.
        if own.is_empty() && !forced[id] && is_map(&node.op) {
            continue;
        }
        let depth = own.iter().map(|demand| demand.depth).max().unwrap_or(0);
        // Several optimizers follow one count of steps: each computes what it needs of it.
        let is_shared = live.elements(id) == 1
            && is_map(&node.op)
            && own.iter().any(|demand| demand.root != own[0].root)
            && own.iter().all(|demand| live.node(demand.root).op.is_update());
        if (is_free(live, id) || is_shared) && !forced[id] && depth < DEEPEST {
            // Computed wherever it is read.
            for demand in own {
                pass_on(live, id, demand, &mut demands);
            }
            continue;
        }
        // Rows are held by the kernel that reads them, whatever they are.
        let has_rows = own.iter().any(|demand| demand.rows.is_some());
        let is_drawn_again = || !target.is_cpu && kept::is_random(live, id, &own);
        let is_anywhere =
            || is_drawn_again() || kept::is_small_number(live, id, &own, takes_anchor[id]);
        if target.keeps && !forced[id] && !has_rows && depth < DEEPEST && is_anywhere() {
            for demand in own {
                pass_on(live, id, demand, &mut demands);
            }
            continue;
        }
        let one_reader = own
            .first()
            .copied()
            .filter(|first| !forced[id] && own.iter().all(|demand| demand.root == first.root));
        // The kernel of its first reader may store it for the others.
        let keeper = kept::first_reader(live, id, &own)
            .filter(|_| target.keeps && one_reader.is_none() && !alone[id])
            .filter(|reader| {
                !takes_anchor[id]
                    || fused.anchor[reader.root].is_none()
                        && live.node(reader.root).dtype == node.dtype
                        && !promised.contains(&reader.root)
                        && !takes_anchor[reader.root]
            });
        let own = match keeper {
            Some(reader) => own.into_iter().filter(|other| other.root == reader.root).collect(),
            None => own,
        };
        let one_reader = one_reader.or(keeper);
        if is_map(&node.op) {
            let evaluations = own.iter().map(|demand| demand.evaluations).max().unwrap_or(0);
            let depth = own.iter().map(|demand| demand.depth).max().unwrap_or(0);
            // Up to twice the work is cheaper than a dispatch and a trip through memory.
            match one_reader
                .filter(|_| evaluations <= live.elements(id).saturating_mul(2) && depth < DEEPEST)
            {
                Some(reader) => {
                    fused.kernel[id] = Some(reader.root);
                    fused.held.extend(own.iter().filter_map(|demand| demand.rows));
                    if keeper.is_some() {
                        fused.kept.entry(reader.root).or_default().push(id);
                        if takes_anchor[id] {
                            promised.insert(reader.root);
                        }
                    }
                    let in_step = own.iter().all(|demand| demand.in_step);
                    let demand = Demand { in_step, evaluations, depth, ..reader };
                    pass_on(live, id, demand, &mut demands);
                }
                None if target.keeps
                    && !forced[id]
                    && keeper.is_none()
                    && depth < DEEPEST
                    && evaluations <= live.elements(id).saturating_mul(2)
                    && kept::is_little_of_one(live, id) =>
                {
                    for demand in own {
                        pass_on(live, id, demand, &mut demands);
                    }
                }
                None => {
                    fused.kernel[id] = Some(id);
                    let evaluations = live.elements(id);
                    let demand = Demand { in_step: true, ..Demand::of(id, evaluations) };
                    pass_on(live, id, demand, &mut demands);
                }
            }
            continue;
        }
        // An anchor: inside its reader's kernel if that reads it in step and has none yet.
        let root = one_reader
            .filter(|reader| {
                own.iter().all(|demand| demand.in_step)
                    && fused.anchor[reader.root].is_none()
                    && has_epilogue(&node.op)
                    && (live.node(reader.root).dtype == node.dtype
                        || kept::rounds(live, id, reader.root, target))
            })
            .map_or(id, |reader| reader.root);
        fused.kernel[id] = Some(root);
        fused.anchor[root] = Some(id);
        if keeper.is_some() && root != id {
            fused.kept.entry(root).or_default().push(id);
        }
        for (at, input) in live.inputs(id).enumerate() {
            if held.contains(&(id, at)) {
                let rows = Some((id, at));
                let demand = Demand::of(root, live.elements(input));
                demands[input].push(Demand { in_step: true, rows, ..demand });
                continue;
            }
            let evaluations = match reads(live, id, at) {
                Reads::Once(evaluations) => evaluations,
                // That it is computed several times was found to be worth it.
                Reads::Often if again.contains(&(id, at)) => live.elements(input),
                Reads::Often => usize::MAX,
                Reads::Memory if matches!(node.op, Op::MatMul { .. }) => {
                    let base = Held::of(live, input).base;
                    demands[base].push(Demand::of(root, usize::MAX));
                    continue;
                }
                Reads::Memory => continue,
            };
            demands[input].push(Demand::of(root, evaluations));
        }
        for &input in fused.own_norms.get(&id).into_iter().flat_map(|own| &own.before) {
            demands[input].push(Demand::of(root, 1));
        }
    }
    kept::round_on_the_way(live, &mut fused, apart, target);
    fused
}

/// Whether the kernel of an operation can apply an expression to its result.
fn has_epilogue(op: &Op) -> bool {
    !matches!(
        op,
        Op::ArgMax | Op::LayerNormStatistics { .. } | Op::Assign(_) | Op::OptimizerUpdate(_)
    )
}

/// What a reader of a map wants of the map's own inputs.
fn pass_on(live: &Live, id: usize, demand: Demand, demands: &mut [Vec<Demand>]) {
    let node = live.node(id);
    for input in live.inputs(id) {
        let in_step = demand.in_step && is_in_place(live, id, input);
        // Whatever has the index that a function begins with, it computes from the start of its chain on.
        let is_settled =
            demand.depth == 0 && node.op.is_elementwise() && live.node(input).shape == node.shape;
        let depth = if is_settled { 0 } else { demand.depth + 1 };
        // What rows are computed from is as any other node, and may be computed wherever it is read.
        let rows = demand.rows.filter(|_| is_free(live, id));
        demands[input].push(Demand { in_step, rows, depth, ..demand });
    }
}

/// Whether a map reads the element `i` of an input for its own element `i`.
fn is_in_place(live: &Live, id: usize, input: usize) -> bool {
    let node = live.node(id);
    match node.op {
        Op::Reshape(_) => true,
        ref op if op.is_elementwise() => live.node(input).shape == node.shape,
        _ => false,
    }
}
