//! What speaks against a set of rules, or leaves it in doubt, though it restores much: layers that
//! would come out of order, tensors left over that are clearly meant, and tensors that could as well be
//! exchanged.

use super::names::{Name, bare, parts_alike, parts_same};
use super::problem::class;
use super::roles::Kind;
use crate::rules::SEPARATORS;
use std::collections::{BTreeMap, HashMap};
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
    For(Vec<String>),
    /// Names speak against it.
    Against,
}

/// By how much of a part names must be more alike to speak for a pair.
const SPEAKS: f64 = 0.15;
/// By how much they must be to speak against another.
const CLEARLY: f64 = 0.3;
/// Within how much of a part names are as like as others.
const TIE: f64 = 0.05;
/// Patterns of names of one shape that are compared, and leftovers.
const COMPARED: usize = 24;

/// A name without its numbers, and the numbers. A part that ends without one counts as 0, as Keras
/// counts: `dense`, `dense_1`.
fn numbered(name: &str) -> (String, Vec<u64>) {
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
pub(super) fn pattern(name: &str) -> String {
    numbered(name).0
}

struct Pair<'a> {
    tensor: Entry<'a>,
    variable: Entry<'a>,
    from: Vec<u64>,
    to: Vec<u64>,
    /// Whether it is so without the rules.
    known: bool,
}

/// The patterns of a tensor's and its variable's name.
type Patterns = (String, String);

/// Looks at pairs of tensors and variables, those that are known, and what is left of both.
pub(super) fn judge<'a>(
    pairs: impl Iterator<Item = (Entry<'a>, Entry<'a>)>,
    known: impl Iterator<Item = (Entry<'a>, Entry<'a>)>,
    tensors: impl Iterator<Item = Entry<'a>>,
    variables: impl Iterator<Item = Entry<'a>>,
) -> Verdict {
    // Within one shape: where shapes differ, they say which layer is which.
    let mut groups: BTreeMap<(Patterns, u64), Vec<Pair<'a>>> = BTreeMap::new();
    let new = pairs.map(|pair| (pair, false));
    for ((tensor, variable), known) in new.chain(known.map(|pair| (pair, true))) {
        let ((old, from), (new, to)) = (numbered(tensor.name), numbered(variable.name));
        let key = ((old, new), class(tensor.shape, tensor.kind));
        groups.entry(key).or_default().push(Pair { tensor, variable, from, to, known });
    }
    groups.retain(|_, pairs| pairs.iter().any(|pair| !pair.known));
    let left = (Left::of(tensors), Left::of(variables));
    let mut by_order = Vec::new();
    for ((patterns, class), pairs) in &mut groups {
        pairs.sort_by(|a, b| a.from.cmp(&b.from));
        let (from, to) = (varying(pairs, |pair| &pair.from), varying(pairs, |pair| &pair.to));
        // What is left on both sides under the same names belongs into the same order: counting may begin
        // elsewhere, `layers.0` to `layers.2` for `layer1` to `layer3`.
        let left_out = left.0.has(*class, &patterns.0) && left.1.has(*class, &patterns.1);
        if left_out || (from != to && !pairs.is_sorted_by(|a, b| a.to < b.to)) {
            return Verdict::Against;
        }
        let mut new: Vec<&Pair<'_>> = pairs.iter().filter(|pair| !pair.known).collect();
        if new.len() < 2 {
            new = pairs.iter().collect();
        }
        if let ([first, second, ..], true) = (new.as_slice(), from != to) {
            by_order.push(format!(
                "only the order of their numbers says that `{}` is `{}`, and `{}` is `{}`",
                first.tensor.name, first.variable.name, second.tensor.name, second.variable.name
            ));
        }
    }
    let mut classes: BTreeMap<u64, Vec<(&Patterns, &Pair<'a>)>> = BTreeMap::new();
    for ((patterns, class), pairs) in &groups {
        // One layer's part stands for those of all layers.
        let first = pairs.iter().find(|pair| !pair.known);
        classes.entry(*class).or_default().extend(first.map(|pair| (patterns, pair)));
    }
    let mut exchangeable: Vec<(&Pair<'_>, &Pair<'_>)> = Vec::new();
    let mut open = Vec::new();
    for (class, all) in &classes {
        let all = &all[..all.len().min(COMPARED)];
        for (at, (patterns, pair)) in all.iter().enumerate() {
            if left.overlooks(*class, patterns) {
                return Verdict::Against;
            }
            open.extend(left.tie(*class, patterns).map(|other| {
                format!(
                    "`{}` is taken for `{}`, though `{other}`, which is left, has the same shape and is as \
                     like by its name",
                    pair.tensor.name, pair.variable.name
                )
            }));
            for (other_patterns, other) in &all[..at] {
                if patterns.0 != other_patterns.0
                    && patterns.1 != other_patterns.1
                    && !says_which(patterns, other_patterns)
                {
                    exchangeable.push((other, pair));
                }
            }
        }
    }
    let mut notes = Vec::new();
    notes.extend(first_of(by_order, "so it is with"));
    notes.extend(first_of(open, "so it is with"));
    notes.extend(first_of(
        exchangeable.iter().map(|(a, b)| {
            format!(
                "`{}` and `{}` have the same shape, and nothing in their names says which is `{}` and \
                 which `{}`: they may have to be exchanged",
                a.tensor.name, b.tensor.name, a.variable.name, b.variable.name
            )
        }),
        "so may",
    ));
    Verdict::For(notes)
}

/// The first note, and how many there are more.
fn first_of(notes: impl IntoIterator<Item = String>, more: &str) -> Option<String> {
    let mut notes = notes.into_iter();
    let first = notes.next()?;
    Some(match notes.count() {
        0 => first,
        1 => format!("{first}; {more} one more pair of names"),
        n => format!("{first}; {more} {n} more pairs of names"),
    })
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

/// Whether two pairs are more alike by name as they are than exchanged.
fn says_which(one: &Patterns, other: &Patterns) -> bool {
    let name = |text: &String| Name::new(text.clone());
    let (from, to) = ([name(&one.0), name(&other.0)], [name(&one.1), name(&other.1)]);
    let alike = |i: usize, j: usize| parts_alike(&from[i], &to[j]);
    let same = |i: usize, j: usize| parts_same(&from[i], &to[j]);
    alike(0, 0) + alike(1, 1) > alike(0, 1) + alike(1, 0) + SPEAKS
        || same(0, 0) + same(1, 1) > same(0, 1) + same(1, 0)
}

/// Tensors or variables that are left: the patterns of their names, by what they fit.
struct Left<'a>(HashMap<u64, BTreeMap<String, &'a str>>);

impl<'a> Left<'a> {
    fn of(entries: impl Iterator<Item = Entry<'a>>) -> Left<'a> {
        let mut left = Left(HashMap::new());
        for Entry { name, shape, kind } in entries {
            left.0.entry(class(shape, kind)).or_default().insert(numbered(name).0, name);
        }
        left
    }

    fn has(&self, class: u64, pattern: &str) -> bool {
        self.0.get(&class).is_some_and(|patterns| patterns.contains_key(pattern))
    }

    /// Some patterns of what fits, each with one of the names.
    fn some(&self, class: u64) -> impl Iterator<Item = (Name, &'a str)> {
        let some = self.0.get(&class).into_iter().flatten().take(COMPARED);
        some.map(|(pattern, name)| (Name::new(pattern.clone()), *name))
    }
}

trait Overlooks<'a> {
    /// Whether something is left that is clearly more like one of the two than the other is.
    fn overlooks(&self, class: u64, patterns: &Patterns) -> bool;
    /// What is left of the variables, or else of the tensors, and is as like.
    fn tie(&self, class: u64, patterns: &Patterns) -> Option<&'a str>;
}

impl<'a> Overlooks<'a> for (Left<'a>, Left<'a>) {
    fn tie(&self, class: u64, (old, new): &Patterns) -> Option<&'a str> {
        let (old, new) = (Name::new(old.clone()), Name::new(new.clone()));
        let (alike, same) = (parts_alike(&old, &new) - TIE, parts_same(&old, &new));
        let tie = |other: &Name, to: &Name, this: &Name| {
            other.text != this.text
                && parts_alike(other, to) >= alike
                && parts_same(other, to) >= same
        };
        let variable = self.1.some(class).find(|(other, _)| tie(other, &old, &new));
        let found =
            variable.or_else(|| self.0.some(class).find(|(other, _)| tie(other, &new, &old)));
        found.map(|(_, name)| name)
    }

    fn overlooks(&self, class: u64, (old, new): &Patterns) -> bool {
        let (old, new) = (Name::new(old.clone()), Name::new(new.clone()));
        let alike = parts_alike(&old, &new) + CLEARLY;
        self.0.some(class).any(|(other, _)| parts_alike(&other, &new) > alike)
            || self.1.some(class).any(|(other, _)| parts_alike(&old, &other) > alike)
    }
}
