//! What stands apart from its like: `norm` that is taken for `block.4.norm1`, where `block.0.norm1` to
//! `block.3.norm1` are the layers' `layer.0.ln` to `layer.3.ln`.

use super::groups::Group;
use super::leftovers::Leftovers;
use crate::restore::infer::told::Told;

/// Of the groups of one class, those of few pairs that stand apart from one of more pairs.
fn apart<'g, 'a>(
    all: &'g [&'g Group<'a>],
) -> impl Iterator<Item = (&'g Group<'a>, &'g Group<'a>)> + 'g {
    let is_apart = |few: &Group<'_>, many: &Group<'_>| {
        let (of_file, of_model) =
            (few.patterns.0 == many.patterns.0, few.patterns.1 == many.patterns.1);
        many.same_numbers && many.pairs.len() > few.pairs.len() && of_file != of_model
    };
    all.iter().filter_map(move |few| {
        let many = all.iter().find(|many| is_apart(few, many))?;
        Some((*few, *many))
    })
}

/// Whether something stands apart from its like though it may as well be something that is left.
pub(super) fn are_astray(left: &Leftovers<'_, '_>, all: &[&Group<'_>]) -> bool {
    apart(all).any(|(few, many)| left.as_like_but(few, Some(many)).is_some())
}

/// Says what stands apart.
pub(super) fn told(all: &[&Group<'_>]) -> Vec<Told> {
    let note = |(few, many): (&Group<'_>, &Group<'_>)| {
        let ([one, other], variable) =
            ([few, many].map(Group::example), few.example().variable.name);
        let text = format!(
            "`{}` is taken for `{variable}`, unlike its like: `{}` is taken for `{}`",
            one.tensor.name, other.tensor.name, other.variable.name
        );
        Told::of(variable, text)
    };
    apart(all).map(note).collect()
}
