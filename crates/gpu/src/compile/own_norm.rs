//! Which norm an optimizer's update computes itself.
//!
//! Clipping and loss scaling make an update depend on a norm, which is known only when a dispatch has
//! ended that reads all gradients. A dispatch for the sum and one for the few operations that follow from
//! it would be mostly waiting. So the update's first kernel computes sums of squares and, beside them, all
//! scalars that do not depend on the norm; each workgroup of the second adds up those sums, in one order,
//! and computes the rest.

use super::fuse::{DEEPEST, is_map};
use super::simplify::Live;
use std::collections::{BTreeMap, BTreeSet};
use warmstart_graph::{DType, Op};

/// The most values that the update's second kernel writes for those who fetch them.
const MOST_KEPT: usize = 2;

/// A norm that an update's kernels compute, and what stands between the two.
pub(crate) struct OwnNorm {
    pub norm: usize,
    /// Scalars that depend on the norm, and that nothing but the update reads.
    pub after: BTreeSet<usize>,
    /// Scalars that those read besides, and that are no numbers.
    pub before: Vec<usize>,
    /// The norm and those after it that are fetched.
    pub kept: Vec<usize>,
}

impl OwnNorm {
    /// Whether the update's second kernel computes this.
    pub fn computes(&self, id: usize) -> bool {
        id == self.norm || self.after.contains(&id)
    }
}

/// For each update its norm, if it computes one itself. `apart` are nodes that must have a kernel of their
/// own.
pub(super) fn find(live: &Live, apart: &BTreeSet<usize>) -> BTreeMap<usize, OwnNorm> {
    let all = live.updates.iter().filter_map(|&update| {
        let own = own_norm(live, update)?;
        let fits = own.kept.len() <= MOST_KEPT && !apart.iter().any(|&id| own.computes(id));
        (fits && is_alone(live, update, &own)).then_some((update, own))
    });
    all.collect()
}

fn own_norm(live: &Live, update: usize) -> Option<OwnNorm> {
    let Op::OptimizerUpdate(op) = &live.node(update).op else { return None };
    let (scalars, gradients) = live.node(update).inputs.split_at(op.scalars());
    // From the update back through functions of single elements, and where those end.
    let mut pending: Vec<usize> = scalars.iter().map(|input| input.0).collect();
    let (mut inside, mut ends) = (BTreeSet::new(), BTreeSet::new());
    while let Some(id) = pending.pop() {
        if live.uniform(id).is_some() || live.is_leaf(id) {
            continue;
        }
        if !is_map(&live.node(id).op) || live.elements(id) != 1 {
            ends.insert(id);
        } else if inside.insert(id) {
            pending.extend(live.inputs(id));
        }
    }
    // What comes after it might depend on it in a way that is not seen here.
    let norm = ends.pop_last()?;
    if live.node(norm).op != Op::GlobalNorm || inside.len() > DEEPEST {
        return None;
    }
    let mut own = OwnNorm { norm, after: BTreeSet::new(), before: Vec::new(), kept: Vec::new() };
    for id in inside {
        if live.inputs(id).any(|input| own.computes(input)) {
            own.after.insert(id);
        }
    }
    let mut before: Vec<usize> = own.after.iter().flat_map(|&id| live.inputs(id)).collect();
    before.retain(|&id| !own.computes(id) && live.uniform(id).is_none());
    before.sort_unstable();
    before.dedup();
    let is_number = |id: usize| live.elements(id) == 1 && live.node(id).dtype == DType::F32;
    let fits = own.after.iter().chain(&before).all(|&id| is_number(id))
        && !gradients.iter().any(|gradient| own.computes(gradient.0));
    own.before = before;
    own.kept = live.fetches.iter().copied().filter(|&id| own.computes(id)).collect();
    own.kept.sort_unstable();
    own.kept.dedup();
    fits.then_some(own)
}

/// Whether nothing but the update reads what follows from the norm: it is there when the update is done.
fn is_alone(live: &Live, update: usize, own: &OwnNorm) -> bool {
    (0..live.nodes.len())
        .filter(|&id| id != update && !own.after.contains(&id))
        .all(|id| !live.inputs(id).any(|input| own.computes(input)))
}
