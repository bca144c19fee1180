//! Tensors that could as well be exchanged: they have one shape, or have it once they are transposed, and
//! nothing in their names says which is which.

use super::groups::{Group, Pair, Patterns};
use super::leftovers::Leftovers;
use super::places;
use super::words::Words;
use crate::restore::infer::alike::Comparisons;
use crate::restore::infer::names::CLEARLY;
use crate::restore::infer::problem::class;
use crate::restore::infer::told::Told;
use crate::restore::rules::SEPARATORS;
use std::cell::{LazyCell, RefCell};
use std::collections::{BTreeMap, HashMap};

/// By how much of a part names must be more alike to speak for a pair.
const SPEAKS: f64 = 0.15;

/// Whether names say that two of the groups are to be exchanged, which their shapes allow.
pub(super) fn crossed(
    left: &Leftovers<'_, '_>,
    groups: &[Group<'_>],
    classes: &BTreeMap<u64, Vec<&Group<'_>>>,
) -> bool {
    let scopes = LazyCell::new(|| Scopes::of(groups.iter().flat_map(|group| &group.pairs)));
    for all in classes.values() {
        let words: Vec<Words> = all.iter().map(|group| of_group(group)).collect();
        for (at, group) in all.iter().enumerate() {
            for (other, words_of_other) in all[..at].iter().zip(&words) {
                let (a, b) = (other.example(), group.example());
                let parts = |from: &Group<'_>, to: &Group<'_>| {
                    left.compared.of(&from.patterns.0, &to.patterns.1).parts
                };
                let as_they_are = parts(group, group) + parts(other, other);
                let exchanged = parts(group, other) + parts(other, group);
                let by_words = || {
                    places::for_exchanging(a, b) == 0
                        && (exchanged - as_they_are).abs() < CLEARLY
                        && words[at].for_exchanging(words_of_other) > 0
                };
                if fit_turned(left, a, b) && scopes.are_torn(a, b) {
                    return true;
                }
                let by_place =
                    || places::for_exchanging(a, b) > 0 && !says_more(left.compared, a, b);
                if (exchanged > as_they_are + 2.0 * CLEARLY || by_place() || by_words())
                    && left.same_shape(b.tensor.shape, a.tensor.shape).is_some()
                    && !scopes.are_apart(b, a)
                {
                    return true;
                }
            }
        }
    }
    false
}

/// Says of which pairs of groups nothing says that they are not to be exchanged.
pub(super) fn exchangeable(
    left: &Leftovers<'_, '_>,
    groups: &[Group<'_>],
    classes: &BTreeMap<u64, Vec<&Group<'_>>>,
) -> Vec<Told> {
    let scopes = LazyCell::new(|| Scopes::of(groups.iter().flat_map(|group| &group.pairs)));
    let mut notes = Vec::new();
    for all in classes.values() {
        let words: Vec<Words> = all.iter().map(|group| of_group(group)).collect();
        for (at, group) in all.iter().enumerate() {
            for (other, words_of_other) in all[..at].iter().zip(&words) {
                let (a, b) = (other.example(), group.example());
                let same = left.same_shape(b.tensor.shape, a.tensor.shape);
                if same.is_none() && !fit_turned(left, a, b) {
                    continue;
                }
                if names_say_which(left.compared, group, other)
                    || words[at].for_exchanging(words_of_other) < 0
                    || places::for_exchanging(a, b) < 0
                    || scopes.are_apart(b, a)
                {
                    continue;
                }
                let names = [&a.tensor, &b.tensor, &a.variable, &b.variable].map(|one| one.name);
                let [tensor, other, variable, variable_of_other] = names;
                let (have, may) = match same {
                    Some(same) => (format!("have {same}"), "exchanged"),
                    None => (
                        "fit as they lie, and exchanged when transposed".to_owned(),
                        "exchanged and transposed, as PyTorch's",
                    ),
                };
                let text = format!(
                    "`{tensor}` and `{other}` {have}, and nothing in their names says which is `{variable}` and \
                     which `{variable_of_other}`: they may have to be {may}"
                );
                let variables = [variable, variable_of_other].map(str::to_owned).to_vec();
                notes.push(Told { text, variables });
            }
        }
    }
    notes
}

/// Whether two matrices that lie as their variables do fit each other's once they are transposed.
fn fit_turned(left: &Leftovers<'_, '_>, a: &Pair<'_>, b: &Pair<'_>) -> bool {
    let lie_as_they_are = [a, b].iter().all(|pair| pair.tensor.shape == pair.variable.shape);
    match (&a.tensor.shape[..], &b.tensor.shape[..]) {
        (&[rows, columns], other) => {
            !left.turned && lie_as_they_are && rows != columns && *other == [columns, rows]
        }
        _ => false,
    }
}

fn of_group(group: &Group<'_>) -> Words {
    let pair = group.example();
    Words::of(pair.tensor.name, pair.variable.name)
}

fn names_say_which(compared: &Comparisons, one: &Group<'_>, other: &Group<'_>) -> bool {
    let (patterns, others) = (&one.patterns, &other.patterns);
    let names = [one, other].map(|group| group.example().names());
    // Where they differ by numbers only on one side, the whole names have to say it.
    match patterns.0 != others.0 && patterns.1 != others.1 {
        true => {
            says_which(compared, patterns, others)
                && !says_otherwise(compared, &names[0], &names[1])
        }
        false => says_which(compared, &names[0], &names[1]),
    }
}

/// Whether two pairs are more alike by name as they are than exchanged.
fn says_which(compared: &Comparisons, one: &Patterns, other: &Patterns) -> bool {
    let [as_they_are, exchanged] = [[&one.1, &other.1], [&other.1, &one.1]]
        .map(|to| (compared.of(&one.0, to[0]), compared.of(&other.0, to[1])));
    as_they_are.0.parts + as_they_are.1.parts > exchanged.0.parts + exchanged.1.parts + SPEAKS
        || as_they_are.0.same + as_they_are.1.same > exchanged.0.same + exchanged.1.same
}

/// Whether two pairs have more parts in common as they are than exchanged, numbers counted.
fn says_more(compared: &Comparisons, one: &Pair<'_>, other: &Pair<'_>) -> bool {
    says_otherwise(
        compared,
        &(one.tensor.name.to_owned(), other.variable.name.to_owned()),
        &(other.tensor.name.to_owned(), one.variable.name.to_owned()),
    )
}

/// Whether two pairs have more parts in common exchanged than as they are, numbers counted.
fn says_otherwise(compared: &Comparisons, one: &Patterns, other: &Patterns) -> bool {
    let same = |from: &Patterns, to: &Patterns| compared.of(&from.0, &to.1).same;
    same(one, other) + same(other, one) > same(one, one) + same(other, other)
}

/// A scope of the file and the one of the model that it is taken for.
type Scope<'a> = (&'a str, &'a str);

/// What is paired within scopes: by the end of the variable's name, what it fits.
struct Scopes<'a> {
    within: HashMap<Scope<'a>, HashMap<&'a str, u64>>,
    /// Whether two of them differ, once it was asked.
    differ: RefCell<HashMap<(Scope<'a>, Scope<'a>), bool>>,
}

impl<'a> Scopes<'a> {
    fn of<'p>(pairs: impl Iterator<Item = &'p Pair<'a>>) -> Scopes<'a>
    where
        'a: 'p,
    {
        let mut within: HashMap<Scope<'a>, HashMap<&'a str, u64>> = HashMap::new();
        for Pair { tensor, variable, .. } in pairs {
            let class = class(variable.shape, variable.kind);
            for (scope, end) in Scopes::around(tensor.name, variable.name) {
                within.entry(scope).or_default().insert(end, class);
            }
        }
        Scopes { within, differ: RefCell::default() }
    }

    /// The scopes around a tensor and a variable, as many parts above each, and the end of the variable's name.
    fn around(tensor: &'a str, variable: &'a str) -> impl Iterator<Item = (Scope<'a>, &'a str)> {
        let above = |name: &'a str| name.rmatch_indices(SEPARATORS).map(|(at, _)| at);
        let both = above(tensor).zip(above(variable));
        both.map(move |(t, v)| ((&tensor[..t], &variable[..v]), &variable[v..]))
    }

    /// Whether two pairs stand in scopes, other ones on both sides, of which each holds something that does
    /// not fit the other: what else they hold goes with it.
    fn are_apart(&self, one: &Pair<'a>, other: &Pair<'a>) -> bool {
        let around = |pair: &Pair<'a>| Scopes::around(pair.tensor.name, pair.variable.name);
        around(one).zip(around(other)).any(|((one, _), (other, _))| self.do_differ(one, other))
    }

    /// Whether the scopes of two tensors are torn apart: what stands beside either goes where the other one does.
    fn are_torn(&self, one: &Pair<'a>, other: &Pair<'a>) -> bool {
        let nearest =
            |pair: &Pair<'a>| Some(Scopes::around(pair.tensor.name, pair.variable.name).next()?.0);
        let (Some((from, to)), Some((other_from, other_to))) = (nearest(one), nearest(other))
        else {
            return false;
        };
        from != other_from
            && to != other_to
            && self.within.contains_key(&(from, other_to))
            && self.within.contains_key(&(other_from, to))
    }

    fn do_differ(&self, one: Scope<'a>, other: Scope<'a>) -> bool {
        if one.0 == other.0 || one.1 == other.1 {
            return false;
        }
        *self.differ.borrow_mut().entry((one, other)).or_insert_with(|| {
            let (Some(one), Some(other)) = (self.within.get(&one), self.within.get(&other)) else {
                return false;
            };
            let (few, many) = if one.len() < other.len() { (one, other) } else { (other, one) };
            few.iter().any(|(end, class)| many.get(end).is_some_and(|other| other != class))
        })
    }
}
