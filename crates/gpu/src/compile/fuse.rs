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
//!
//! Nodes are decided from the last to the first, so that it is known what the readers of each want of it
//! (`demand.rs`). What must lie in memory whatever they want follows from the graph alone (`survey.rs`).
//! `fate.rs` lists what can become of a node, and decides; `fuse`, at the end of this file, carries it out.

mod demand;
mod fate;
mod kept;
mod operations;
mod rows;
mod short;
mod survey;

use super::own_norm::{self, OwnNorm};
use super::simplify::Live;
use super::{Place, Target};
use demand::{Demand, Demands};
use fate::Fate;
use std::collections::{BTreeMap, BTreeSet};
use survey::Survey;

pub(crate) use operations::{is_map, is_view, widens};
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

    /// Has the kernel of a root compute a node too, and store it if it is to be kept.
    fn add(&mut self, root: usize, id: usize, is_kept: bool) {
        self.kernel[id] = Some(root);
        if is_kept {
            self.kept.entry(root).or_default().push(id);
        }
    }
}

/// The longest way from a kernel's first change of an index to what it computes or reads: expressions are
/// built from their end, and each node on the way takes room on the stack.
pub(super) const DEEPEST: usize = 256;

/// Decides for every node. `apart` are nodes that must have a kernel of their own.
pub(crate) fn fuse(live: &Live, apart: &BTreeSet<usize>, target: Target) -> Fused {
    let count = live.nodes.len();
    let survey = Survey::of(live, apart, target);
    let mut fused = Fused {
        kernel: vec![None; count],
        anchor: vec![None; count],
        kept: BTreeMap::new(),
        over: BTreeMap::new(),
        held: BTreeSet::new(),
        own_norms: own_norm::find(live, apart),
    };
    let mut demands = Demands::none(count);
    for id in (0..count).rev().filter(|&id| !live.is_leaf(id)) {
        let own = demands.take(id);
        match fate::fate(&survey, &fused, id, &own) {
            Fate::Nowhere => {}
            Fate::WithUpdate(update) => fused.add(update, id, false),
            Fate::Everywhere => {
                own.into_iter().for_each(|demand| demands.pass_on(live, id, demand));
            }
            Fate::Inside { reader, is_kept } => {
                fused.add(reader.root, id, is_kept);
                let of_reader = own.iter().filter(|demand| demand.root == reader.root);
                fused.held.extend(of_reader.filter_map(|demand| demand.rows));
                demands.pass_on(live, id, reader);
            }
            Fate::Own => {
                fused.add(id, id, false);
                demands.pass_on(live, id, Demand::of_root(live, id));
            }
            Fate::Anchor { root, is_kept } => {
                fused.add(root, id, is_kept);
                fused.anchor[root] = Some(id);
                demands.of_anchor(&survey, id, root);
                let before = fused.own_norms.get(&id).into_iter().flat_map(|own| &own.before);
                before.for_each(|&number| demands.of_number(number, root));
            }
        }
    }
    kept::round_on_the_way(live, &mut fused, apart, target);
    fused
}
