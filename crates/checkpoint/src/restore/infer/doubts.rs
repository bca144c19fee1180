//! What speaks against a set of rules, or leaves it in doubt, though it restores much: layers that
//! would come out of order, tensors left over that are clearly meant, and tensors that could as well be
//! exchanged.
//!
//! Layers never come out of order, a tensor that is left may not be clearly more like the variable
//! than the one it gets, many rules for few variables are none, nor are few values from tensors
//! whose names are other variables' (`lacking.rs`). Layers of another size do not speak against a
//! separator or a prefix that makes names equal. Tables with more or fewer rows even speak for it:
//! the next report says how they are resized. A set that something speaks against is tried again
//! without the rule that does it, once all whole sets were tried.
//!
//! A note says where only the order of numbers says which layer is which, or only a shape that
//! others have too which tensor, where tensors could as well be exchanged, taken from what is left
//! or all moved by one, where what is left has more words of a variable's name, where an optimizer
//! would get half of its slots, and where a square matrix may lie the other way round. Where all
//! matrices of a file of PyTorch's are square (`origin.rs`), the rule that transposes them is one of
//! two alternatives.

use super::alike::Comparisons;
use super::names::{CLEARLY, bare};
use super::problem::class;
use super::roles::Kind;
use crate::restore::rules::SEPARATORS;
use std::cell::{LazyCell, RefCell};
use std::collections::{BTreeMap, HashMap, HashSet};
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
    },
    /// Names speak against it.
    Against,
}

/// By how much of a part names must be more alike to speak for a pair.
const SPEAKS: f64 = 0.15;
/// Within how much of a part names are as like as others.
const TIE: f64 = 0.05;
/// Names with less in common than an abbreviation has say nothing: by accident, words have half of
/// their letters in common.
const WORD: f64 = 0.6;
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

impl Pair<'_> {
    fn names(&self) -> Patterns {
        (self.tensor.name.to_owned(), self.variable.name.to_owned())
    }
}

/// The patterns of a tensor's and its variable's name.
type Patterns = (String, String);

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
    // Within one shape: where shapes differ, they say which layer is which.
    let mut groups: BTreeMap<(Patterns, u64), Vec<Pair<'a>>> = BTreeMap::new();
    let new = pairs.map(|pair| (pair, false));
    for ((tensor, variable), known) in new.chain(known.map(|pair| (pair, true))) {
        let ((old, from), (new, to)) = (numbered(tensor.name), numbered(variable.name));
        let key = ((old, new), class(tensor.shape, tensor.kind));
        groups.entry(key).or_default().push(Pair { tensor, variable, from, to, known });
    }
    let mut of_class: HashMap<u64, usize> = HashMap::new();
    groups.keys().for_each(|(_, class)| *of_class.entry(*class).or_default() += 1);
    groups.retain(|_, pairs| pairs.iter().any(|pair| !pair.known));
    let left = Leftovers { tensors: Left::of(tensors), variables: Left::of(variables) };
    let mut by_order = Vec::new();
    for ((patterns, class), pairs) in &mut groups {
        pairs.sort_by(|a, b| a.from.cmp(&b.from));
        let (from, to) = (varying(pairs, |pair| &pair.from), varying(pairs, |pair| &pair.to));
        // What is left on both sides under the same names belongs into the same order: counting may begin
        // elsewhere, `layers.0` to `layers.2` for `layer1` to `layer3`.
        let left_out =
            left.tensors.has(*class, &patterns.0) && left.variables.has(*class, &patterns.1);
        let in_order = from == to || pairs.is_sorted_by(|a, b| a.to < b.to);
        if left_out || !in_order || left.has_shifted(*class, patterns, pairs) {
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
    let scopes = LazyCell::new(|| Scopes::of(groups.values().flatten()));
    let (mut by_shape, mut by_words) = (Vec::new(), Vec::new());
    let mut exchangeable: Vec<(&Pair<'_>, &Pair<'_>, &str)> = Vec::new();
    let mut ties: BTreeMap<&str, Vec<Option<String>>> = BTreeMap::new();
    for (class, all) in &classes {
        let all = &all[..all.len().min(COMPARED)];
        for (at, (patterns, pair)) in all.iter().enumerate() {
            if left.overlooks(compared, *class, patterns) {
                return Verdict::Against;
            }
            let shared = of_class[class] > 1 || left.holds(*class);
            if shared && compared.of(&patterns.0, &patterns.1).parts < WORD {
                by_shape.push(format!(
                    "only its shape says that `{}` is `{}`, and others have it too",
                    pair.tensor.name, pair.variable.name
                ));
            }
            by_words.extend(left.nearer(compared, *class, pair, turned).map(|(other, same)| {
                format!(
                    "`{}` is taken for `{}`, though `{other}`, which is left, has {same} and more words \
                     of that name",
                    pair.tensor.name, pair.variable.name
                )
            }));
            let tie = left.tie(compared, *class, patterns, pair, turned).map(|(other, same)| {
                format!(
                    "`{}` is taken for `{}`, though `{other}`, which is left, has {same} and is as like by \
                     its name",
                    pair.tensor.name, pair.variable.name
                )
            });
            let tie = tie.or_else(|| left.moved(compared, *class, pair, all, turned));
            let scope = patterns.1.rsplit_once('/').map_or("", |(scope, _)| scope);
            ties.entry(scope).or_default().push(tie);
            for (other_patterns, other) in &all[..at] {
                // Where they differ by numbers only on one side, the whole names have to say it.
                let apart = patterns.0 != other_patterns.0 && patterns.1 != other_patterns.1;
                let told = match apart {
                    true => {
                        says_which(compared, patterns, other_patterns)
                            && !says_otherwise(compared, &pair.names(), &other.names())
                    }
                    false => says_which(compared, &pair.names(), &other.names()),
                };
                let same = same_shape(pair.tensor.shape, other.tensor.shape, turned);
                let told = told || (same.is_some() && scopes.are_apart(pair, other));
                exchangeable.extend(same.filter(|_| !told).map(|same| (*other, *pair, same)));
            }
        }
    }
    let mut notes = Vec::new();
    notes.extend(first_of(by_order, "so it is with"));
    notes.extend(first_of(by_shape, "so it is with"));
    notes.extend(first_of(by_words, "so it is with"));
    notes.extend(first_of(
        exchangeable.iter().map(|(a, b, same)| {
            format!(
                "`{}` and `{}` have {same}, and nothing in their names says which is `{}` and \
                 which `{}`: they may have to be exchanged",
                a.tensor.name, b.tensor.name, a.variable.name, b.variable.name
            )
        }),
        "so may",
    ));
    // A scope is as good as another only if all that it holds is.
    let ties =
        ties.into_values().filter_map(|ties| ties.into_iter().collect::<Option<Vec<String>>>());
    let tie = first_of(ties.flatten(), "so it is with");
    Verdict::For { notes, tie }
}

/// That two tensors, or two variables, of one class have the same shape, if one may stand for the other.
fn same_shape(a: &Shape, b: &Shape, turned: bool) -> Option<&'static str> {
    match a == b {
        true => Some("the same shape"),
        false => turned.then_some("the same shape when transposed"),
    }
}

/// The numbers without those of scopes that have none.
fn trailing(numbers: &[u64]) -> &[u64] {
    let begin = numbers.iter().position(|number| *number != 0).unwrap_or(numbers.len());
    &numbers[begin..]
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
fn says_which(compared: &Comparisons, one: &Patterns, other: &Patterns) -> bool {
    let [as_they_are, exchanged] = [[&one.1, &other.1], [&other.1, &one.1]]
        .map(|to| (compared.of(&one.0, to[0]), compared.of(&other.0, to[1])));
    as_they_are.0.parts + as_they_are.1.parts > exchanged.0.parts + exchanged.1.parts + SPEAKS
        || as_they_are.0.same + as_they_are.1.same > exchanged.0.same + exchanged.1.same
}

/// Whether two pairs have more parts in common exchanged than as they are, numbers counted.
fn says_otherwise(compared: &Comparisons, one: &Patterns, other: &Patterns) -> bool {
    let same = |from: &Patterns, to: &Patterns| compared.of(&from.0, &to.1).same;
    same(one, other) + same(other, one) > same(one, one) + same(other, other)
}

/// Tensors or variables that are left: the patterns of their names, by what they fit.
struct Left<'a>(HashMap<u64, BTreeMap<String, Remains<'a>>>);

/// What is left of one pattern.
struct Remains<'a> {
    /// The first of it.
    first: (&'a str, &'a Shape),
    /// The numbers of all of it.
    numbers: HashSet<Vec<u64>>,
}

impl<'a> Left<'a> {
    fn of(entries: impl Iterator<Item = Entry<'a>>) -> Left<'a> {
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

    /// Some patterns of what fits, each with one of the names.
    fn some(&self, class: u64) -> impl Iterator<Item = (&str, (&'a str, &'a Shape))> {
        let some = self.0.get(&class).into_iter().flatten().take(COMPARED);
        some.map(|(pattern, left)| (pattern.as_str(), left.first))
    }
}

/// What is left on both sides.
struct Leftovers<'a> {
    tensors: Left<'a>,
    variables: Left<'a>,
}

impl<'a> Leftovers<'a> {
    /// Whether anything of a class is left.
    fn holds(&self, class: u64) -> bool {
        self.tensors.0.contains_key(&class) || self.variables.0.contains_key(&class)
    }

    /// Whether layers have other numbers on the two sides though one is left that has the number of one of
    /// them: order says which is which only where there are as many.
    fn has_shifted(&self, class: u64, (old, new): &Patterns, pairs: &[Pair<'_>]) -> bool {
        pairs.iter().filter(|pair| !pair.known).any(|pair| {
            let (from, to) = (trailing(&pair.from), trailing(&pair.to));
            from != to
                && (self.variables.has_numbers(class, new, from)
                    || self.tensors.has_numbers(class, old, to))
        })
    }

    /// A tensor that is left and has more whole words in common with a pair's variable than its own tensor
    /// has, unless what the variables that are left could take in turn makes up for it; and what of its
    /// shape it has. Unlike [`Leftovers::tie`], numbers in words count, and so it does not matter whether
    /// it could give all that the scope asks for.
    fn nearer(
        &self,
        compared: &Comparisons,
        class: u64,
        pair: &Pair<'_>,
        turned: bool,
    ) -> Option<(&'a str, &'static str)> {
        let same = |tensor: &str, variable: &str| compared.of(tensor, variable).same;
        let fits = |shape: &Shape| same_shape(shape, pair.variable.shape, turned);
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

    /// Whether something is left that is clearly more like one of the two than the other is.
    fn overlooks(&self, compared: &Comparisons, class: u64, (old, new): &Patterns) -> bool {
        let alike = compared.of(old, new).parts + CLEARLY;
        self.tensors.some(class).any(|(other, _)| compared.of(other, new).parts > alike)
            || self.variables.some(class).any(|(other, _)| compared.of(old, other).parts > alike)
    }

    /// What is left of the variables, or else of the tensors, and is as like, and what of its shape.
    fn tie(
        &self,
        compared: &Comparisons,
        class: u64,
        (old, new): &Patterns,
        pair: &Pair<'_>,
        turned: bool,
    ) -> Option<(&'a str, &'static str)> {
        let this = compared.of(old, new);
        let as_like = |from: &str, to: &str| {
            let other = compared.of(from, to);
            other.parts >= this.parts - TIE && other.same >= this.same
        };
        let variables = self.variables.some(class).filter(|(other, _)| other != new);
        let variable =
            variables.filter(|(other, _)| as_like(old, other)).find_map(|(_, (name, shape))| {
                Some((name, same_shape(shape, pair.variable.shape, turned)?))
            });
        variable.or_else(|| {
            let tensors = self.tensors.some(class).filter(|(other, _)| other != old);
            tensors.filter(|(other, _)| as_like(other, new)).find_map(|(_, (name, shape))| {
                Some((name, same_shape(shape, pair.tensor.shape, turned)?))
            })
        })
    }

    /// That tensors may all be moved by one: a pair's variable has more whole words in common with
    /// another pair's tensor than with its own, which a variable that is left could take, and then the
    /// names have as much in common.
    fn moved(
        &self,
        compared: &Comparisons,
        class: u64,
        pair: &Pair<'_>,
        others: &[(&Patterns, &Pair<'_>)],
        turned: bool,
    ) -> Option<String> {
        let same = |tensor: &Entry<'_>, variable: &str| compared.of(tensor.name, variable).same;
        let words: Vec<&str> = pair.variable.name.split(SEPARATORS).map(bare).collect();
        // To align names takes long: names that have no word in common are many.
        let any = |tensor: &str| tensor.split(SEPARATORS).any(|word| words.contains(&bare(word)));
        others.iter().filter(|(_, other)| any(other.tensor.name)).find_map(|(_, other)| {
            let this = same(&pair.tensor, pair.variable.name);
            let nearer = same(&other.tensor, pair.variable.name);
            if nearer <= this {
                return None;
            }
            let as_they_are = this + same(&other.tensor, other.variable.name);
            let fits = |shape: &Shape| same_shape(shape, pair.variable.shape, turned).is_some();
            let mut left = self.variables.some(class).filter(|(_, (_, shape))| fits(shape));
            let (_, (name, _)) =
                left.find(|(_, (name, _))| nearer + same(&pair.tensor, name) >= as_they_are)?;
            Some(format!(
                "`{}` is taken for `{}`, though by their names it may as well be `{name}`, which is left, \
                 and `{}` the value of `{1}`",
                pair.tensor.name, pair.variable.name, other.tensor.name
            ))
        })
    }
}
