//! Where a kernel is cut that would bind more buffers than the device allows.
//!
//! Nodes in such a kernel are set apart, and the graph is fused and lowered again: first what the
//! kernel stores beside its result, and of a long sum all that are needed at once, so that it takes
//! a few rounds however long it is.

use super::{Lowering, Refused};
use crate::compile::fuse::is_view;
use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use warmstart_graph::Op;

/// How many values a kernel may store beside its result that has to be cut.
const TOGETHER: usize = 4;

impl Lowering<'_> {
    /// Notes what is best computed apart, so that the rest of a kernel fits: all that is needed of a large
    /// one at once, since each round of fusing and lowering takes the time of the whole graph.
    pub(super) fn cut(&mut self, root: usize, buffers: usize) -> Result<(), Refused> {
        let kept = self.stored_apart(root);
        let cuts = if !kept.is_empty() {
            kept
        } else if buffers <= 2 * self.target.storage_buffers {
            BTreeSet::from_iter(self.largest_part(root))
        } else {
            self.parts(root, buffers)
        };
        let is_hopeless = cuts.is_empty();
        self.cuts.extend(cuts);
        if is_hopeless { Err(Refused::Hopeless { root, buffers }) } else { Ok(()) }
    }

    /// What a kernel stores for others is best had from a kernel before it: where that is much, each few
    /// of it from one.
    fn stored_apart(&self, root: usize) -> BTreeSet<usize> {
        let mut kept = self.fused.kept.get(&root).cloned().unwrap_or_default();
        kept.sort_unstable_by_key(|&id| Reverse(id));
        kept.into_iter().step_by(TOGETHER).collect()
    }

    /// The largest part of an expression that fits in a kernel and is not all of it.
    fn largest_part(&self, root: usize) -> Option<usize> {
        let mut loads = HashMap::new();
        for &id in &self.members[root] {
            let own = self.joined(root, id, &loads);
            loads.insert(id, own);
        }
        let fits = self.members[root].iter().filter(|&&id| {
            id != root && self.joins(id) && loads[&id].len() < self.target.storage_buffers
        });
        fits.copied().max_by_key(|id| loads[id].len())
    }

    /// Parts of an expression, so many that what remains fits in a kernel, and so does each: from the
    /// leaves up, where a node would load too much, the input that loads the most is computed apart.
    fn parts(&self, root: usize, buffers: usize) -> BTreeSet<usize> {
        let limit = self.target.storage_buffers;
        // The result, and perhaps a table or a second result.
        let others = buffers.saturating_sub(self.loaded(root).len()).max(1);
        let mut loads: HashMap<usize, BTreeSet<usize>> = HashMap::new();
        let mut cuts = BTreeSet::new();
        for &id in &self.members[root] {
            let room = limit.saturating_sub(if id == root { others } else { 1 });
            let mut own = self.joined(root, id, &loads);
            while own.len() > room {
                let parts = self.read(id).filter_map(|input| {
                    let part = self.cuttable(root, input)?;
                    Some((loads.get(&part)?.len(), part, input))
                });
                // One that loads a single value, or was cut before, makes nothing smaller.
                let part = parts.filter(|&(count, ..)| count > 1).max();
                let Some((_, part, mut input)) = part else { break };
                cuts.insert(part);
                loads.remove(&part);
                // What is between them has one input each.
                while input != part {
                    loads.insert(input, BTreeSet::from([part]));
                    let Some(next) = self.read(input).next() else { break };
                    input = next;
                }
                own = self.joined(root, id, &loads);
            }
            loads.insert(id, own);
        }
        cuts
    }

    /// What a node loads within the kernel of `root`, where its inputs load this; those that are not
    /// among them are loaded themselves.
    fn joined(
        &self,
        root: usize,
        id: usize,
        loads: &HashMap<usize, BTreeSet<usize>>,
    ) -> BTreeSet<usize> {
        let mut own = BTreeSet::new();
        for input in self.read(id) {
            match loads.get(&input).filter(|_| self.is_inside(root, input)) {
                Some(loads) => own.extend(loads),
                None => _ = own.insert(input),
            }
        }
        own
    }

    /// Where an expression is cut: at its anchor, or at the first node that joins several.
    fn cuttable(&self, root: usize, mut id: usize) -> Option<usize> {
        while self.is_inside(root, id) {
            if self.fused.anchor[root] == Some(id) || self.joins(id) {
                return Some(id);
            }
            id = self.read(id).next()?;
        }
        None
    }

    fn joins(&self, id: usize) -> bool {
        let node = self.live.node(id);
        node.inputs.len() > 1 && !is_view(&node.op)
    }

    fn is_inside(&self, root: usize, id: usize) -> bool {
        id != root && self.fused.kernel[id] == Some(root)
    }

    /// What a node reads: through changes of shape that are computed where they are read, and neither
    /// numbers that are written into the code nor gradients, which are one buffer.
    fn read(&self, id: usize) -> impl Iterator<Item = usize> + '_ {
        let node = self.live.node(id);
        let count = match &node.op {
            Op::GlobalNorm => 0,
            Op::OptimizerUpdate(update) => update.scalars(),
            _ => node.inputs.len(),
        };
        let inputs = node.inputs[..count].iter().map(|input| input.0);
        inputs.filter(|&input| self.live.uniform(input).is_none()).map(|mut input| {
            while !self.live.is_leaf(input) && self.fused.kernel[input].is_none() {
                let mut inputs = self.live.inputs(input);
                let Some(next) = inputs.find(|&input| self.live.uniform(input).is_none()) else {
                    break;
                };
                input = next;
            }
            input
        })
    }

    /// What a kernel loads.
    fn loaded(&self, root: usize) -> BTreeSet<usize> {
        let all = self.members[root].iter().flat_map(|&id| self.read(id));
        all.filter(|&input| !self.is_inside(root, input)).collect()
    }
}
