//! What a model begins and ends with: the table of its vocabulary and the matrix of its logits have one shape,
//! and often one value, so that files have only one of them.

use super::groups::Group;
use super::leftovers::Leftovers;
use crate::restore::infer::names::bare;
use crate::restore::infer::told::Told;
use crate::restore::infer::values::is_table;
use crate::restore::rules::SEPARATORS;

/// What the last layer is called, as a part of a name.
const HEADS: [&str; 11] = [
    "classifier",
    "cls",
    "embed_out",
    "generator",
    "head",
    "lm_head",
    "logits",
    "logits_dense",
    "output_projection",
    "proj_out",
    "unembed",
];

fn is_head(name: &str) -> bool {
    name.split(SEPARATORS).any(|part| HEADS.contains(&bare(part)))
}

/// Whether it is a table that a model begins with, by its own name.
fn is_first(name: &str) -> bool {
    !is_head(name) && is_table(name, None)
}

/// Whether a head's value is taken for something else, or a table's for a head, though the one that is meant is
/// left.
pub(super) fn are_mistaken(left: &Leftovers<'_, '_>, group: &Group<'_>) -> bool {
    let pair = group.example();
    let (tensor, variable) = (pair.tensor.name, pair.variable.name);
    match (is_head(tensor), is_head(variable)) {
        (true, false) => left.has_tensor(group, is_first),
        (false, true) if is_first(tensor) => left.has_variable(group, |name| !is_head(name)),
        (false, false) if is_first(tensor) && !is_first(variable) => {
            left.has_variable(group, is_first)
        }
        (false, false) if is_first(variable) && !is_first(tensor) => {
            left.has_tensor(group, is_first)
        }
        _ => false,
    }
}

/// Says it where a head's value is taken for a table, or a table's for a head.
pub(super) fn tied(group: &Group<'_>) -> Option<Told> {
    let pair = group.example();
    let (tensor, variable) = (pair.tensor.name, pair.variable.name);
    let other = |first: &str, head: &str| is_first(first) && is_head(head);
    (other(tensor, variable) || other(variable, tensor)).then(|| {
        let text = format!(
            "`{tensor}` is taken for `{variable}`, but by their names one is the table that a model begins with, \
             and the other its last layer: they are the same only where the model was trained with both tied"
        );
        Told::of(variable, text)
    })
}
