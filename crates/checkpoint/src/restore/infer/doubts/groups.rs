//! Pairs in groups of names that differ by numbers only: mostly the same part of one layer after another.

use super::{COMPARED, Entry};
use crate::restore::infer::names::bare;
use crate::restore::infer::problem::class;
use crate::restore::rules::SEPARATORS;
use std::collections::{BTreeMap, HashMap};

/// A tensor and the variable that it is taken for.
pub(super) struct Pair<'a> {
    pub tensor: Entry<'a>,
    pub variable: Entry<'a>,
    /// The numbers in their names.
    pub from: Vec<u64>,
    pub to: Vec<u64>,
    /// Whether it is so without the rules.
    pub known: bool,
}

impl Pair<'_> {
    pub fn names(&self) -> Patterns {
        (self.tensor.name.to_owned(), self.variable.name.to_owned())
    }
}

/// The patterns of a tensor's and its variable's name.
pub(super) type Patterns = (String, String);

/// Pairs whose names have the same patterns, and one shape: where shapes differ, they say which layer is
/// which. At least one is not known.
pub(super) struct Group<'a> {
    pub patterns: Patterns,
    pub class: u64,
    /// In the order of the tensors' numbers.
    pub pairs: Vec<Pair<'a>>,
    /// Whether the numbers that tell them apart are the same on both sides.
    pub same_numbers: bool,
    /// Whether names of other patterns are paired that have this shape too, known ones among them.
    pub others_of_class: bool,
    /// The first that is not known.
    example: usize,
}

impl<'a> Group<'a> {
    /// One layer's part, which stands for those of all layers.
    pub fn example(&self) -> &Pair<'a> {
        &self.pairs[self.example]
    }

    /// Whether layers come in one order on both sides.
    pub fn in_order(&self) -> bool {
        self.same_numbers || self.pairs.is_sorted_by(|a, b| a.to < b.to)
    }
}

/// The groups in which something is not known.
pub(super) fn grouped<'a>(
    pairs: impl Iterator<Item = (Entry<'a>, Entry<'a>)>,
    known: impl Iterator<Item = (Entry<'a>, Entry<'a>)>,
) -> Vec<Group<'a>> {
    let mut groups: BTreeMap<(Patterns, u64), Vec<Pair<'a>>> = BTreeMap::new();
    let new = pairs.map(|pair| (pair, false));
    for ((tensor, variable), known) in new.chain(known.map(|pair| (pair, true))) {
        let ((old, from), (new, to)) = (numbered(tensor.name), numbered(variable.name));
        let key = ((old, new), class(tensor.shape, tensor.kind));
        groups.entry(key).or_default().push(Pair { tensor, variable, from, to, known });
    }
    let mut of_class: HashMap<u64, usize> = HashMap::new();
    groups.keys().for_each(|(_, class)| *of_class.entry(*class).or_default() += 1);
    let group = |((patterns, class), mut pairs): (_, Vec<Pair<'a>>)| {
        pairs.sort_by(|a, b| a.from.cmp(&b.from));
        let example = pairs.iter().position(|pair| !pair.known)?;
        let same_numbers = varying(&pairs, |pair| &pair.from) == varying(&pairs, |pair| &pair.to);
        let others_of_class = of_class[&class] > 1;
        Some(Group { patterns, class, pairs, same_numbers, others_of_class, example })
    };
    groups.into_iter().filter_map(group).collect()
}

/// Some groups of each class: what fits one of them fits the others.
pub(super) fn by_class<'g, 'a>(groups: &'g [Group<'a>]) -> BTreeMap<u64, Vec<&'g Group<'a>>> {
    let mut classes: BTreeMap<u64, Vec<&Group<'a>>> = BTreeMap::new();
    for group in groups {
        let some = classes.entry(group.class).or_default();
        if some.len() < COMPARED {
            some.push(group);
        }
    }
    classes
}

/// A name without its numbers, and the numbers. A part that ends without one counts as 0, as Keras
/// counts: `dense`, `dense_1`.
pub(super) fn numbered(name: &str) -> (String, Vec<u64>) {
    let mut pattern = String::with_capacity(name.len());
    let mut numbers = Vec::new();
    for part in bare(name).split(SEPARATORS) {
        let word = part.trim_end_matches(|c: char| c.is_ascii_digit());
        let mut digits = None;
        for c in word.strip_suffix('_').unwrap_or(word).chars() {
            match c.to_digit(10) {
                Some(digit) => {
                    let so_far: u64 = digits.unwrap_or(0);
                    digits = Some(so_far.saturating_mul(10).saturating_add(digit.into()));
                }
                None => {
                    if let Some(number) = digits.take() {
                        numbers.push(number);
                        pattern.push('#');
                    }
                    pattern.push(c);
                }
            }
        }
        numbers.extend(digits);
        numbers.push(part[word.len()..].parse().unwrap_or(0));
        pattern.push('/');
    }
    pattern.pop();
    (pattern, numbers)
}

/// A name without its numbers.
pub(in super::super) fn pattern(name: &str) -> String {
    numbered(name).0
}

/// The numbers without those of scopes that have none.
pub(super) fn trailing(numbers: &[u64]) -> &[u64] {
    let begin = numbers.iter().position(|number| *number != 0).unwrap_or(numbers.len());
    &numbers[begin..]
}

/// The numbers that are not the same in all of these names: those of one place each, in an order that
/// does not depend on where they stand.
fn varying<'p>(pairs: &'p [Pair<'_>], of: impl Fn(&'p Pair<'_>) -> &'p Vec<u64>) -> Vec<Vec<u64>> {
    let places = pairs.first().map_or(0, |pair| of(pair).len());
    let place = |place: usize| -> Vec<u64> {
        pairs.iter().map(|pair| of(pair).get(place).copied().unwrap_or(0)).collect()
    };
    let mut all: Vec<Vec<u64>> = (0..places).map(place).collect();
    all.retain(|numbers| numbers.iter().any(|number| *number != numbers[0]));
    all.sort();
    all
}
