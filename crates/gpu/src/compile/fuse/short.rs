//! Expressions of few operations, which kernels rather compute anew than have another kernel store them.

use crate::compile::simplify::Live;
use std::collections::BTreeSet;
use warmstart_graph::Op;
use warmstart_graph::ops::{Binary, Unary};

/// What a node is to an expression.
pub(super) enum Part {
    /// The expression ends here: this is loaded.
    End,
    /// This many operations of it.
    Operations(usize),
    /// Nothing that such an expression may have.
    Refused,
}

/// Where the expression ends that computes `id`, but for numbers that are written into the code, if it has
/// one operation at least, `most` at most, and nothing that `part` refuses.
pub(super) fn short(
    live: &Live,
    id: usize,
    most: usize,
    mut part: impl FnMut(usize) -> Part,
) -> Option<BTreeSet<usize>> {
    let mut pending = vec![id];
    let mut operations = 0;
    let mut ends = BTreeSet::new();
    while let Some(id) = pending.pop() {
        if live.uniform(id).is_some() {
            continue;
        }
        match part(id) {
            Part::End => _ = ends.insert(id),
            Part::Operations(count) if operations + count <= most => {
                operations += count;
                pending.extend(live.inputs(id));
            }
            Part::Operations(_) | Part::Refused => return None,
        }
    }
    (operations > 0).then_some(ends)
}

/// An operation that takes hardly longer than to load a number.
pub(super) fn is_short(op: &Op) -> bool {
    match op {
        Op::Unary(unary) => matches!(unary, Unary::Neg | Unary::Square | Unary::Abs | Unary::Relu),
        Op::Binary(binary) => !matches!(binary, Binary::Div | Binary::Pow),
        Op::Select | Op::StopGradient => true,
        Op::Cast(dtype) => !dtype.is_half(),
        _ => false,
    }
}
