//! What speaks against a set of rules, or leaves it in doubt, though it restores much: layers that would come
//! out of order, tensors left over that are clearly meant, and tensors that could as well be exchanged.
//!
//! Layers never come out of order, and names that are clearly each other's are not crossed: by their parts,
//! or, where parts say nothing, by the words within them (`words.rs`), and the norms of one layer by their
//! places in it (`places.rs`). A tensor that is left may not be clearly more like the variable than the one
//! it gets, a table is no head while its own variable is left (`heads.rs`), and no layer's value goes
//! elsewhere than its like, nor does anything else go there while what is left would do as well (`apart.rs`).
//! Many rules for few variables are none, nor are few values from tensors whose names are other variables'
//! (`lacking.rs`). Layers of another size do not speak against a separator or a prefix that makes names
//! equal. Tables with more or fewer rows even speak for it: how they are resized is suggested with it. A set
//! that something speaks against is tried again without the rule that does it, once all whole sets were
//! tried.
//!
//! A note names all that it is about (`infer/told.rs`). It says where only the order of numbers says which
//! layer is which, or only a shape that others have too which tensor, where tensors could as well be
//! exchanged, taken from what is left or all moved by one, where a table and a head are taken for one
//! another, where what is left has more words of a variable's name, where an optimizer would get half of its
//! slots, and where a square matrix may lie the other way round. Where all matrices of a file of PyTorch's
//! are square (`origin.rs`), the rule that transposes them is one of two alternatives.

mod apart;
mod exchange;
mod groups;
mod heads;
mod leftovers;
mod places;
mod words;

use super::alike::Comparisons;
use super::roles::Kind;
use super::told::{SO_IT_IS, Told, together};
use exchange::{crossed, exchangeable};
pub(super) use groups::pattern;
use groups::{Group, by_class, grouped};
use leftovers::{Left, Leftovers};
use std::collections::BTreeMap;
use warmstart_graph::Shape;

/// A tensor or a variable: its name, its shape, and what it is for.
#[derive(Clone, Copy)]
pub(super) struct Entry<'a> {
    pub name: &'a str,
    pub shape: &'a Shape,
    pub kind: &'a Kind,
}

/// What is said of rules that pair tensors with variables.
#[derive(Debug, PartialEq)]
pub(super) enum Verdict {
    /// Names speak for it, but for what these notes say.
    For {
        /// What something else may be meant for.
        notes: Vec<String>,
        /// That something which is left would do as well.
        tie: Option<String>,
        /// Whether nothing says which of two is which.
        exchangeable: bool,
        /// Whether the places of norms in a layer speak against it: it is the last that is suggested.
        misplaced: bool,
        /// How many kinds of pairs nothing but a shape speaks for that others have too.
        by_shape: usize,
    },
    /// Names speak against it.
    Against,
}

/// Names with less in common than an abbreviation has say nothing: by accident, words have half of
/// their letters in common.
const WORD: f64 = 0.6;
/// Patterns of names of one shape that are compared, and leftovers.
const COMPARED: usize = 24;

/// Looks at pairs of tensors and variables, those that are known, and what is left of both; `turned`
/// where matrices are transposed, so that any of them may be.
pub(super) fn judge<'a>(
    compared: &Comparisons,
    pairs: impl Iterator<Item = (Entry<'a>, Entry<'a>)>,
    known: impl Iterator<Item = (Entry<'a>, Entry<'a>)>,
    tensors: impl Iterator<Item = Entry<'a>>,
    variables: impl Iterator<Item = Entry<'a>>,
    turned: bool,
) -> Verdict {
    let groups = grouped(pairs, known);
    let (tensors, variables) = (Left::of(tensors), Left::of(variables));
    let left = Leftovers { compared, turned, tensors, variables };
    if groups.iter().any(|group| !group.in_order() || left.upset_order(group)) {
        return Verdict::Against;
    }
    let classes = by_class(&groups);
    let looked_at = || classes.values().flatten().copied();
    let mistaken = |group| left.are_overlooked(group) || heads::are_mistaken(&left, group);
    if looked_at().any(mistaken)
        || classes.values().any(|all| left.stray(all) || apart::are_astray(&left, all))
        || crossed(&left, &groups, &classes)
    {
        return Verdict::Against;
    }
    let by_order = groups.iter().filter_map(only_by_order);
    let by_shape: Vec<Told> = looked_at().filter_map(|group| only_by_shape(&left, group)).collect();
    let guessed = by_shape.len();
    let by_place = together(looked_at().filter_map(|group| left.by_place(group)), SO_IT_IS);
    let misplaced = by_place.is_some();
    let by_words = looked_at().filter_map(|group| left.more_words(group));
    let apart = classes.values().flat_map(|all| apart::told(all));
    let either_way = exchangeable(&left, &groups, &classes);
    let may_be_exchanged = !either_way.is_empty();
    let by_neighbour = groups.iter().filter_map(|group| counted_elsewhere(&left, group));
    let notes = [
        by_place,
        together(by_order, SO_IT_IS),
        together(by_neighbour, SO_IT_IS),
        together(by_shape, SO_IT_IS),
        together(apart, SO_IT_IS),
        together(by_words, SO_IT_IS),
        together(either_way, "so may the values of"),
        together(looked_at().filter_map(|group| left.by_words(group)), SO_IT_IS),
        together(looked_at().filter_map(heads::tied), SO_IT_IS),
    ];
    let tie = together(ties(&left, &classes), SO_IT_IS);
    Verdict::For {
        notes: notes.into_iter().flatten().collect(),
        tie,
        exchangeable: may_be_exchanged,
        misplaced,
        by_shape: guessed,
    }
}

/// Says it where layers have other numbers in the file than in the model.
fn only_by_order(group: &Group<'_>) -> Option<Told> {
    let mut pairs: Vec<_> = group.pairs.iter().filter(|pair| !pair.known).collect();
    if pairs.len() < 2 {
        pairs = group.pairs.iter().collect();
    }
    let ([first, second, ..], false) = (pairs.as_slice(), group.same_numbers) else { return None };
    let text = format!(
        "only the order of their numbers says that `{}` is `{}`, and `{}` is `{}`",
        first.tensor.name, first.variable.name, second.tensor.name, second.variable.name
    );
    Some(Told::of(first.variable.name, text))
}

/// Says it where layers have the same numbers on both sides, and one before the first of them is left on one:
/// a model that counts from 1 would get the neighbour of each.
fn counted_elsewhere(left: &Leftovers<'_, '_>, group: &Group<'_>) -> Option<Told> {
    let first = group.pairs.first().filter(|_| group.same_numbers)?;
    let (old, new) = &group.patterns;
    let in_file = left.tensors.has_before(group.class, old, &first.from);
    let in_model = left.variables.has_before(group.class, new, &first.to);
    (in_file != in_model).then(|| {
        let text = format!(
            "`{}` is taken for `{}`, and one that is counted before it is left in the {}: if the model counts \
             its layers from another number, each gets its neighbour's values",
            first.tensor.name,
            first.variable.name,
            if in_file { "file" } else { "model" }
        );
        Told::of(first.variable.name, text)
    })
}

/// Says it where names have nothing to do with each other, and something else has their shape.
fn only_by_shape(left: &Leftovers<'_, '_>, group: &Group<'_>) -> Option<Told> {
    let shared = group.others_of_class || left.hold(group.class);
    let says_nothing = left.compared.of(&group.patterns.0, &group.patterns.1).parts < WORD;
    let pair = group.example();
    (shared && says_nothing).then(|| {
        let text = format!(
            "only its shape says that `{}` is `{}`, and others have it too",
            pair.tensor.name, pair.variable.name
        );
        Told::of(pair.variable.name, text)
    })
}

/// Says of which pairs something that is left would do as well. A scope is as good as another only if
/// all that it holds is.
fn ties(left: &Leftovers<'_, '_>, classes: &BTreeMap<u64, Vec<&Group<'_>>>) -> Vec<Told> {
    let mut by_scope: BTreeMap<&str, Vec<Option<Told>>> = BTreeMap::new();
    for all in classes.values() {
        for &group in all {
            let variable = &group.patterns.1;
            let scope = variable.rsplit_once('/').map_or("", |(scope, _)| scope);
            let tie = left.as_like(group).or_else(|| left.moved(group, all));
            by_scope.entry(scope).or_default().push(tie);
        }
    }
    let whole = |ties: Vec<Option<Told>>| ties.into_iter().collect::<Option<Vec<Told>>>();
    by_scope.into_values().filter_map(whole).flatten().collect()
}
