//! What kernels want of the nodes that they read.

use super::operations::{Reads, is_free, is_in_place, reads};
use super::survey::Survey;
use crate::compile::operand::OperandLayout;
use crate::compile::simplify::Live;

/// A reader's wish to compute a node inside its own kernel.
#[derive(Clone, Copy, PartialEq)]
pub(super) struct Demand {
    /// The root of the reader's kernel.
    pub root: usize,
    /// Whether the node's element `i` is read for the element `i` of the root, or of the rows of its
    /// anchor that are computed once each.
    pub in_step: bool,
    /// The anchor and the number of its input, if this is what its rows are.
    pub rows: Option<(usize, usize)>,
    /// How many elements are computed in all.
    pub evaluations: usize,
    /// How many nodes there are on the way from the root, but for those that have its index.
    pub depth: usize,
}

impl Demand {
    /// That of a kernel which computes so many elements, in no order that is known.
    fn of(root: usize, evaluations: usize) -> Demand {
        Demand { root, in_step: false, rows: None, evaluations, depth: 0 }
    }

    /// That of a kernel whose root is this map.
    pub fn of_root(live: &Live, id: usize) -> Demand {
        Demand { in_step: true, ..Demand::of(id, live.elements(id)) }
    }

    /// What all of these come to, if there are any; the first says for which root and which rows.
    pub fn joined<'a>(all: impl Iterator<Item = &'a Demand>) -> Option<Demand> {
        all.copied().reduce(|first, other| Demand {
            in_step: first.in_step && other.in_step,
            evaluations: first.evaluations.max(other.evaluations),
            depth: first.depth.max(other.depth),
            ..first
        })
    }
}

/// For each node what is wanted of it so far. Readers come after what they read, so that a pass from the
/// last node to the first finds all of it.
pub(super) struct Demands(Vec<Vec<Demand>>);

impl Demands {
    /// Of so many nodes.
    pub fn none(count: usize) -> Demands {
        Demands(vec![Vec::new(); count])
    }

    /// All that is wanted of a node.
    pub fn take(&mut self, id: usize) -> Vec<Demand> {
        std::mem::take(&mut self.0[id])
    }

    /// What a reader of a map wants of the map's own inputs.
    pub fn pass_on(&mut self, live: &Live, id: usize, demand: Demand) {
        let node = live.node(id);
        for input in live.inputs(id) {
            let in_step = demand.in_step && is_in_place(live, id, input);
            // Whatever has the index that a function begins with, it computes from the start of its chain
            // on.
            let is_settled = demand.depth == 0
                && node.op.is_elementwise()
                && live.node(input).shape == node.shape;
            let depth = if is_settled { 0 } else { demand.depth + 1 };
            // What rows are computed from is as any other node, and may be computed wherever it is read.
            let rows = demand.rows.filter(|_| is_free(live, id));
            self.0[input].push(Demand { in_step, rows, depth, ..demand });
        }
    }

    /// What the kernel `root` of the anchor `id` wants of the anchor's inputs.
    pub fn of_anchor(&mut self, survey: &Survey, id: usize, root: usize) {
        let live = survey.live;
        for (at, input) in live.inputs(id).enumerate() {
            let of_each = Demand::of(root, live.elements(input));
            let (wanted, demand) = match reads(live, id, at) {
                _ if survey.could_hold.contains(&(id, at)) => {
                    (input, Demand { in_step: true, rows: Some((id, at)), ..of_each })
                }
                // That it is computed several times was found to be worth it.
                Reads::Often if survey.again.contains(&(id, at)) => (input, of_each),
                Reads::Often => (input, Demand::of(root, usize::MAX)),
                Reads::Once(evaluations) => (input, Demand::of(root, evaluations)),
                Reads::Operand => {
                    (OperandLayout::of(live, input).base, Demand::of(root, usize::MAX))
                }
                Reads::Memory => continue,
            };
            self.0[wanted].push(demand);
        }
    }

    /// What the kernel `root` wants of a single number.
    pub fn of_number(&mut self, id: usize, root: usize) {
        self.0[id].push(Demand::of(root, 1));
    }
}
