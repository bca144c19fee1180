//! What is left on both sides, held against what is paired: whether it upsets the order of layers, is
//! clearly meant, or would do as well.

use super::groups::{Group, Pair, numbered, trailing};
use super::places;
use super::words::Words;
use super::{COMPARED, Entry};
use crate::restore::infer::alike::Comparisons;
use crate::restore::infer::names::{CLEARLY, bare};
use crate::restore::infer::problem::class;
use crate::restore::infer::told::Told;
use crate::restore::rules::SEPARATORS;
use std::collections::{BTreeMap, HashMap, HashSet};
use warmstart_graph::Shape;

/// Within how much of a part names are as like as others.
const TIE: f64 = 0.05;

/// Tensors or variables that are left: the patterns of their names, by what they fit.
pub(super) struct Left<'a>(HashMap<u64, BTreeMap<String, Remains<'a>>>);

/// What is left of one pattern.
struct Remains<'a> {
    /// The first of it.
    first: (&'a str, &'a Shape),
    /// The numbers of all of it.
    numbers: HashSet<Vec<u64>>,
}

impl<'a> Left<'a> {
    pub fn of(entries: impl Iterator<Item = Entry<'a>>) -> Left<'a> {
        let mut left = Left(HashMap::new());
        for Entry { name, shape, kind } in entries {
            let (pattern, mut numbers) = numbered(name);
            numbers.drain(..numbers.len() - trailing(&numbers).len());
            let patterns = left.0.entry(class(shape, kind)).or_default();
            let new = || Remains { first: (name, shape), numbers: HashSet::new() };
            patterns.entry(pattern).or_insert_with(new).numbers.insert(numbers);
        }
        left
    }

    fn has(&self, class: u64, pattern: &str) -> bool {
        self.0.get(&class).is_some_and(|patterns| patterns.contains_key(pattern))
    }

    /// Whether there is a name of a pattern with these numbers.
    fn has_numbers(&self, class: u64, pattern: &str, numbers: &[u64]) -> bool {
        let remains = self.0.get(&class).and_then(|patterns| patterns.get(pattern));
        remains.is_some_and(|remains| remains.numbers.contains(numbers))
    }

    /// Whether there is a name of a pattern with lower numbers than these.
    pub fn has_before(&self, class: u64, pattern: &str, numbers: &[u64]) -> bool {
        let remains = self.0.get(&class).and_then(|patterns| patterns.get(pattern));
        let numbers = trailing(numbers);
        // Where there are fewer, the first of them is 0.
        let is_before =
            |other: &Vec<u64>| (other.len(), other.as_slice()) < (numbers.len(), numbers);
        remains.is_some_and(|remains| remains.numbers.iter().any(is_before))
    }

    /// Some patterns of what fits, each with one of the names.
    fn some(&self, class: u64) -> impl Iterator<Item = (&str, (&'a str, &'a Shape))> {
        let some = self.0.get(&class).into_iter().flatten().take(COMPARED);
        some.map(|(pattern, left)| (pattern.as_str(), left.first))
    }
}

/// What is left on both sides, and how it is compared.
pub(super) struct Leftovers<'a, 'c> {
    pub compared: &'c Comparisons,
    /// Whether any matrix may be transposed.
    pub turned: bool,
    pub tensors: Left<'a>,
    pub variables: Left<'a>,
}

impl<'a> Leftovers<'a, '_> {
    /// Whether anything of a class is left.
    pub fn hold(&self, class: u64) -> bool {
        self.tensors.0.contains_key(&class) || self.variables.0.contains_key(&class)
    }

    /// That two tensors, or two variables, of one class have the same shape, if one may stand for the other.
    pub fn same_shape(&self, a: &Shape, b: &Shape) -> Option<&'static str> {
        match a == b {
            true => Some("the same shape"),
            false => self.turned.then_some("the same shape when transposed"),
        }
    }

    /// Whether order does not say which layer is which, for what is left of them.
    pub fn upset_order(&self, group: &Group<'_>) -> bool {
        let (old, new) = &group.patterns;
        // What is left on both sides under the same names belongs into the same order: counting may begin
        // elsewhere, `layers.0` to `layers.2` for `layer1` to `layer3`.
        let on_both = self.tensors.has(group.class, old) && self.variables.has(group.class, new);
        on_both || self.has_shifted(group)
    }

    /// Whether layers have other numbers on the two sides though one is left that has the number of one of
    /// them: order says which is which only where there are as many.
    fn has_shifted(&self, group: &Group<'_>) -> bool {
        let (class, (old, new)) = (group.class, &group.patterns);
        group.pairs.iter().filter(|pair| !pair.known).any(|pair| {
            let (from, to) = (trailing(&pair.from), trailing(&pair.to));
            from != to
                && (self.variables.has_numbers(class, new, from)
                    || self.tensors.has_numbers(class, old, to))
        })
    }

    /// Whether a tensor of a group's class is left, of a name as it is asked for, that would fit as it lies.
    pub fn has_tensor(&self, group: &Group<'_>, named: impl Fn(&str) -> bool) -> bool {
        let shape = group.example().variable.shape;
        self.tensors.some(group.class).any(|(_, (name, other))| other == shape && named(name))
    }

    /// The same of the variables.
    pub fn has_variable(&self, group: &Group<'_>, named: impl Fn(&str) -> bool) -> bool {
        let shape = group.example().tensor.shape;
        self.variables.some(group.class).any(|(_, (name, other))| other == shape && named(name))
    }

    /// Whether one of a few tensors or variables is apart from those that are called as it is, though its own
    /// counterpart is left: `blocks.3.proj` that is taken for `layer.0.key`, where `blocks.0.proj` is
    /// `layer.0.out` and `layer.3.out` is left.
    pub fn stray(&self, all: &[&Group<'_>]) -> bool {
        let strays = |few: &Group<'_>, many: &Group<'_>| {
            let (class, (old, new)) = (few.class, &many.patterns);
            let of_file = *old == few.patterns.0;
            many.same_numbers
                && many.pairs.len() > few.pairs.len()
                && of_file != (*new == few.patterns.1)
                && few.pairs.iter().any(|pair| match of_file {
                    true => self.variables.has_numbers(class, new, trailing(&pair.from)),
                    false => self.tensors.has_numbers(class, old, trailing(&pair.to)),
                })
        };
        all.iter().any(|few| all.iter().any(|many| strays(few, many)))
    }

    /// Whether something is left that is clearly more like one of the two than the other is.
    pub fn are_overlooked(&self, group: &Group<'_>) -> bool {
        let (compared, class, (old, new)) = (self.compared, group.class, &group.patterns);
        let alike = compared.of(old, new).parts + CLEARLY;
        self.tensors.some(class).any(|(other, _)| compared.of(other, new).parts > alike)
            || self.variables.some(class).any(|(other, _)| compared.of(old, other).parts > alike)
    }

    /// Says that a norm is to be exchanged with what is left of both, by their places in a layer.
    pub fn by_place(&self, group: &Group<'_>) -> Option<Told> {
        let (class, pair) = (group.class, group.example());
        let (own, variable) = (pair.tensor.name, pair.variable.name);
        let same = |tensor: &str, variable: &str| self.compared.of(tensor, variable).same;
        let tensors = self.tensors.some(class).map(|(_, (tensor, _))| tensor);
        let variables = || self.variables.some(class).map(|(_, (variable, _))| variable);
        let mut both =
            tensors.flat_map(|tensor| variables().map(move |variable| (tensor, variable)));
        let (tensor, left) = both.find(|&(tensor, left)| {
            places::of_names([own, variable], [tensor, left]) > 0
                && same(own, variable) + same(tensor, left)
                    <= same(own, left) + same(tensor, variable)
        })?;
        let text = format!(
            "`{own}` is taken for `{variable}`, though by their places in the layer it may be `{left}`, and \
             `{variable}` get `{tensor}`, which are left"
        );
        Some(Told::of(variable, text))
    }

    /// Says which tensor that is left has more words of a variable's name than the one it gets.
    pub fn more_words(&self, group: &Group<'_>) -> Option<Told> {
        let pair = group.example();
        let (other, same) = self.nearer(group.class, pair)?;
        let text = format!(
            "`{}` is taken for `{}`, though `{other}`, which is left, has {same} and more words \
             of that name",
            pair.tensor.name, pair.variable.name
        );
        Some(Told::of(pair.variable.name, text))
    }

    /// A tensor that is left and has more whole words in common with a pair's variable than its own tensor
    /// has, unless what the variables that are left could take in turn makes up for it; and what of its
    /// shape it has. Unlike [`Leftovers::as_like`], numbers in words count, and so it does not matter
    /// whether it could give all that the scope asks for.
    fn nearer(&self, class: u64, pair: &Pair<'_>) -> Option<(&'a str, &'static str)> {
        let same = |tensor: &str, variable: &str| self.compared.of(tensor, variable).same;
        let fits = |shape: &Shape| self.same_shape(shape, pair.variable.shape);
        let (own, variable) = (pair.tensor.name, pair.variable.name);
        let this = same(own, variable);
        let words: Vec<&str> = variable.split(SEPARATORS).map(bare).collect();
        // To align names takes long: most have no more words in common in any order.
        let more = |name: &str| {
            name.split(SEPARATORS).filter(|word| words.contains(&bare(word))).count() > this
        };
        let mut tensors = self.tensors.some(class).filter(|(_, (name, _))| more(name));
        tensors.find_map(|(_, (other, shape))| {
            let same_shape = fits(shape)?;
            let gain = same(other, variable).checked_sub(this).filter(|gain| *gain > 0)?;
            let left = self.variables.some(class).filter(|(_, (_, shape))| fits(shape).is_some());
            let mut left = left.peekable();
            let alone = left.peek().is_none();
            let as_well = left.any(|(_, (left, _))| same(own, left) + gain > same(other, left));
            (alone || as_well).then_some((other, same_shape))
        })
    }

    /// Says what is left of the variables, or else of the tensors, and is as like.
    pub fn as_like(&self, group: &Group<'_>) -> Option<Told> {
        self.as_like_but(group, None)
    }

    /// The same but for what is called as another group is.
    pub fn as_like_but(&self, group: &Group<'_>, but: Option<&Group<'_>>) -> Option<Told> {
        let (class, (old, new), pair) = (group.class, &group.patterns, group.example());
        if old == new {
            return None;
        }
        let this = self.compared.of(old, new);
        let as_like = |from: &str, to: &str| {
            let other = self.compared.of(from, to);
            other.parts >= this.parts - TIE && other.same >= this.same
        };
        let variables = self
            .variables
            .some(class)
            .filter(|(other, _)| other != new && but.is_none_or(|but| but.patterns.1 != *other));
        let mut variables = variables.filter(|(other, _)| as_like(old, other));
        let tensors = self
            .tensors
            .some(class)
            .filter(|(other, _)| other != old && but.is_none_or(|but| but.patterns.0 != *other));
        let mut tensors = tensors.filter(|(other, _)| as_like(other, new));
        let variable = variables.find_map(|(_, (name, shape))| {
            Some((name, self.same_shape(shape, pair.variable.shape)?))
        });
        let tensor = || {
            tensors.find_map(|(_, (name, shape))| {
                Some((name, self.same_shape(shape, pair.tensor.shape)?))
            })
        };
        let (other, same) = variable.or_else(tensor)?;
        let text = format!(
            "`{}` is taken for `{}`, though `{other}`, which is left, has {same} and is as like by \
             its name",
            pair.tensor.name, pair.variable.name
        );
        Some(Told::of(pair.variable.name, text))
    }

    /// Says that words within names would rather exchange a pair with what is left of both.
    pub fn by_words(&self, group: &Group<'_>) -> Option<Told> {
        const EACH: usize = 8;
        let (class, pair) = (group.class, group.example());
        if !self.tensors.0.contains_key(&class) || !self.variables.0.contains_key(&class) {
            return None;
        }
        let (own, variable) = (pair.tensor.name, pair.variable.name);
        let words = Words::of(own, variable);
        let parts = |from: &str, to: &str| self.compared.of(from, to).parts;
        let (old, new) = (group.patterns.0.as_str(), group.patterns.1.as_str());
        let both = self.tensors.some(class).take(EACH).flat_map(|tensor| {
            self.variables.some(class).take(EACH).map(move |variable| (tensor, variable))
        });
        let mut both = both.filter(|((_, (_, tensor)), (_, (_, variable)))| {
            self.same_shape(tensor, pair.variable.shape).is_some()
                && self.same_shape(pair.tensor.shape, variable).is_some()
        });
        both.find_map(|((from, (tensor, _)), (to, (left, _)))| {
            let more = parts(old, to) + parts(from, new) - parts(old, new) - parts(from, to);
            let rather = more.abs() < CLEARLY && words.for_exchanging(&Words::of(tensor, left)) > 0;
            rather.then(|| {
                let text = format!(
                    "`{own}` is taken for `{variable}`, though by the words in their names it may be `{left}`, \
                     and `{variable}` get `{tensor}`, which are left"
                );
                Told::of(variable, text)
            })
        })
    }

    /// Says that tensors may all be moved by one: a pair's variable has more whole words in common with
    /// another pair's tensor than with its own, which a variable that is left could take, and then the
    /// names have as much in common.
    pub fn moved(&self, group: &Group<'_>, others: &[&Group<'_>]) -> Option<Told> {
        let pair = group.example();
        let same =
            |tensor: &Entry<'_>, variable: &str| self.compared.of(tensor.name, variable).same;
        let words: Vec<&str> = pair.variable.name.split(SEPARATORS).map(bare).collect();
        // To align names takes long: names that have no word in common are many.
        let any = |tensor: &str| tensor.split(SEPARATORS).any(|word| words.contains(&bare(word)));
        let others = others.iter().map(|group| group.example());
        others.filter(|other| any(other.tensor.name)).find_map(|other| {
            let this = same(&pair.tensor, pair.variable.name);
            let nearer = same(&other.tensor, pair.variable.name);
            if nearer <= this {
                return None;
            }
            let as_they_are = this + same(&other.tensor, other.variable.name);
            let fits = |shape: &Shape| self.same_shape(shape, pair.variable.shape).is_some();
            let mut left =
                self.variables.some(group.class).filter(|(_, (_, shape))| fits(shape));
            let (_, (name, _)) =
                left.find(|(_, (name, _))| nearer + same(&pair.tensor, name) >= as_they_are)?;
            let text = format!(
                "`{}` is taken for `{}`, though by their names it may as well be `{name}`, which is left, \
                 and `{}` the value of `{1}`",
                pair.tensor.name, pair.variable.name, other.tensor.name
            );
            Some(Told::of(pair.variable.name, text))
        })
    }
}
