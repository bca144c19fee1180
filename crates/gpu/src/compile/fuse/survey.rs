//! What is known of all nodes before any of them is decided: it follows from the graph alone.

use super::kept;
use super::operations::{Reads, is_map, reads};
use super::rows;
use crate::compile::Target;
use crate::compile::operand::OperandLayout;
use crate::compile::simplify::Live;
use std::collections::BTreeSet;
use warmstart_graph::Op;

pub(super) struct Survey<'a> {
    pub live: &'a Live,
    pub target: Target,
    /// For each node whether its value must lie in memory.
    pub in_memory: Vec<bool>,
    /// Whether it must also be the only result of its kernel.
    pub alone: Vec<bool>,
    /// Whether an anchor would take it as its epilogue, or it is an anchor that has one.
    pub takes_anchor: Vec<bool>,
    /// Anchors and the numbers of those inputs whose elements they compute at each of several reads.
    pub again: BTreeSet<(usize, usize)>,
    /// Likewise of those inputs whose elements their kernel may compute once and hold.
    pub could_hold: BTreeSet<(usize, usize)>,
}

impl Survey<'_> {
    /// `apart` are nodes that must have a kernel of their own.
    pub fn of<'a>(live: &'a Live, apart: &BTreeSet<usize>, target: Target) -> Survey<'a> {
        let count = live.nodes.len();
        let (mut in_memory, mut alone) = (vec![false; count], vec![false; count]);
        live.fetches.iter().for_each(|&id| in_memory[id] = true);
        live.updates.iter().chain(apart).for_each(|&id| alone[id] = true);
        let mut readers = vec![0; count];
        let inputs = (0..count).flat_map(|id| live.inputs(id));
        inputs.chain(live.fetches.iter().copied()).for_each(|id| readers[id] += 1);
        let (mut again, mut could_hold) = (BTreeSet::new(), BTreeSet::new());
        for id in 0..count {
            let op = &live.node(id).op;
            // Inside a reader's kernel it would not be rounded.
            alone[id] |= matches!(op, Op::Cast(dtype) if dtype.is_half());
            if is_map(op) || live.is_leaf(id) {
                continue;
            }
            for (at, input) in live.inputs(id).enumerate() {
                match reads(live, id, at) {
                    Reads::Memory => alone[input] = true,
                    Reads::Operand => in_memory[OperandLayout::of(live, input).base] = true,
                    Reads::Often if rows::is_cheap(live, &readers, id, at) => {
                        again.insert((id, at));
                    }
                    Reads::Often if target.keeps && rows::could_be_held(live, id, at) => {
                        could_hold.insert((id, at));
                    }
                    Reads::Often => in_memory[rows::base(live, input)] = true,
                    Reads::Once(_) => {}
                }
            }
        }
        in_memory.iter_mut().zip(&alone).for_each(|(in_memory, alone)| *in_memory |= alone);
        // Of what an anchor takes as its epilogue the rows are read from memory.
        let takes_anchor = kept::take_anchors(live, &readers, &in_memory);
        could_hold.retain(|&(id, at)| {
            let base = rows::base(live, live.node(id).inputs[at].0);
            in_memory[base] |= takes_anchor[base];
            !takes_anchor[base]
        });
        Survey { live, target, in_memory, alone, takes_anchor, again, could_hold }
    }
}
