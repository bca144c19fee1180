//! Names of the checkpoint that the model has for something else: what it calls `tower` is `stem` in the
//! file, and what the file calls `tower` is the model's `trunk`.
//!
//! By names alone such a tensor belongs to a variable that it does not fit, and is free for no other. So
//! scopes whose shapes do not fit those of their own name, and fit those of another, are first moved
//! aside, out of the way; the search then goes on as if their names were new ones. What it finds is
//! straightened: each name goes straight to where it belongs, so ordered that none gets a name which
//! another one still has. Only where names go round in a circle does one of them wait aside.

use super::names::bare;
use super::problem::class;
use super::roles::Kind;
use super::trial::{Planned, Trial, Trials};
use crate::restore::matching::{Matching, Outcome, lacks};
use crate::restore::rules::{Rule, SEPARATORS};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// Renames that move names aside, at most: where it takes more, nothing is moved.
pub(super) const MOST: usize = 32;
/// Scopes that are looked at, at most, and those of the model that each is compared with.
const LOOKED_AT: usize = 128;
const COMPARED: usize = 2_000;
/// Scopes around a name that are looked at.
pub(super) const DEPTH: usize = 24;

/// A rename of a single name, of a scope, or of a part wherever it is in a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Move {
    pub from: String,
    pub to: String,
    pub what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Name,
    Scope,
    Component,
}

/// What there is of one scope: the classes of its weights in ascending order, and how many of them have the
/// name of a variable that they do not fit.
#[derive(Default)]
struct Content {
    classes: Vec<u64>,
    clashing: usize,
}

/// A weight's name, and whom it fits.
type Weight<'a> = (&'a str, u64);

/// What moves aside after a plan what has to be, if anything has.
pub(super) fn asides(trials: &Trials<'_>, planned: &Planned<'_>) -> Vec<Move> {
    let outcomes = &planned.matching.outcomes;
    let by_name: HashMap<&str, usize> = trials
        .asked
        .variables
        .iter()
        .enumerate()
        .map(|(index, v)| (bare(&v.name), index))
        .collect();
    let weights =
        (0..outcomes.len()).filter(|&index| trials.kinds.variables[index] == Kind::Weight);
    let (mut variables, mut lacking): (Vec<Weight<'_>>, Vec<Weight<'_>>) = Default::default();
    for index in weights {
        let variable = trials.asked.variables[index];
        let weight = (bare(&variable.name), class(&variable.shape, &Kind::Weight));
        variables.push(weight);
        lacking.extend(lacks(&outcomes[index]).then_some(weight));
    }
    let (mut tensors, mut misfits): (Vec<Weight<'_>>, Vec<Weight<'_>>) = Default::default();
    for (tensor, names) in planned.applied.names.iter().enumerate() {
        let ([name], Kind::Weight) = (names.as_slice(), &trials.kinds.tensors[tensor]) else {
            continue;
        };
        let weight = (&**name, class(&trials.asked.tensors[tensor].shape, &Kind::Weight));
        tensors.push(weight);
        let is_misfit = by_name.get(bare(name)).is_some_and(|&variable| {
            matches!(outcomes[variable], Outcome::ShapeMismatch { .. })
                && class(&trials.asked.variables[variable].shape, &Kind::Weight) != weight.1
        });
        misfits.extend(is_misfit.then_some(weight));
    }
    // One that nothing else waits for is a variable of another size.
    let waiting: HashSet<u64> = lacking.iter().map(|(_, class)| *class).collect();
    let is_wanted = |(_, class): &&Weight<'_>| waiting.contains(class);
    let clashing: BTreeSet<&str> =
        misfits.iter().filter(is_wanted).map(|(name, _)| *name).collect();
    if clashing.is_empty() {
        return Vec::new();
    }
    let resized = resized(&misfits, &lacking);
    let (from, to) = (scopes(&tensors, &clashing), scopes(&variables, &BTreeSet::new()));
    let to = Model::new(to);
    // Whether each scope that was looked at is moved whole.
    let mut looked_at: HashMap<&str, bool> = HashMap::new();
    let mut moved: BTreeMap<&str, What> = BTreeMap::new();
    for name in clashing {
        if around(name).any(|scope| moved.contains_key(scope)) {
            continue;
        }
        // The outermost scope that another one of the model could take whole.
        let mut whole = around(name).filter(|scope| {
            let may_look = looked_at.len() < LOOKED_AT;
            let look = || may_look && from.get(scope).is_some_and(|it| to.has_another(scope, it));
            *looked_at.entry(scope).or_insert_with(look)
        });
        if let Some(scope) = whole.next() {
            moved.insert(scope, What::Scope);
        } else if !resized.contains(parent(name)) {
            moved.insert(name, What::Name);
        }
    }
    renames(trials, planned, &moved)
}

/// Scopes of which something has another size, that nothing waits for: what else is in them stays. So does
/// what only they wait for.
fn resized<'a>(misfits: &[Weight<'a>], lacking: &[Weight<'a>]) -> HashSet<&'a str> {
    const ROUNDS: usize = 16;
    let mut resized: HashSet<&str> = HashSet::new();
    for _ in 0..ROUNDS {
        let still = lacking.iter().filter(|(name, _)| !resized.contains(parent(name)));
        let waiting: HashSet<u64> = still.map(|(_, class)| *class).collect();
        let before = resized.len();
        let unwanted = misfits.iter().filter(|(_, class)| !waiting.contains(class));
        resized.extend(unwanted.map(|(name, _)| parent(name)));
        if resized.len() == before {
            break;
        }
    }
    resized
}

/// The renames that move scopes and names aside: one for all that end alike, where nothing else has that part.
fn renames(trials: &Trials<'_>, planned: &Planned<'_>, moved: &BTreeMap<&str, What>) -> Vec<Move> {
    let named = || planned.applied.names.iter().flatten();
    let of_model = trials.asked.variables.iter().map(|variable| variable.name.as_str());
    let taken: HashSet<&str> = named()
        .map(|name| &**name)
        .chain(of_model)
        .flat_map(|name| name.split(SEPARATORS))
        .collect();
    let is_moved =
        |name: &str| moved.contains_key(name) || around(name).any(|at| moved.contains_key(at));
    // Parts that stay somewhere.
    let stay: HashSet<&str> =
        named().filter(|name| !is_moved(name)).flat_map(|name| name.split(SEPARATORS)).collect();
    let mut by_last: BTreeMap<&str, Vec<(&str, What)>> = BTreeMap::new();
    for (&name, &what) in moved {
        by_last.entry(last(name)).or_default().push((name, what));
    }
    let mut all: Vec<Move> = Vec::new();
    for (part, alike) in by_last {
        if all.len() > MOST {
            break;
        }
        let mut aside = format!("{part}_aside");
        while taken.contains(aside.as_str()) {
            aside.push('_');
        }
        if alike.len() > 1 && !stay.contains(part) {
            all.push(Move { from: part.to_owned(), to: aside, what: What::Component });
            continue;
        }
        for (name, what) in alike {
            let to = format!("{}{aside}", &name[..name.len() - part.len()]);
            let one = |what| Move { from: name.to_owned(), to: to.clone(), what };
            // Below a single name are its slots.
            let has_slots = what == What::Name && named().any(|other| within(other, name));
            all.push(one(what));
            all.extend(has_slots.then(|| one(What::Scope)));
        }
    }
    if all.len() > MOST { Vec::new() } else { all }
}

/// All scopes of some weights.
fn scopes<'a>(weights: &[Weight<'a>], clashing: &BTreeSet<&str>) -> BTreeMap<&'a str, Content> {
    let mut scopes: BTreeMap<&str, Content> = BTreeMap::new();
    for &(name, class) in weights {
        let clashes = usize::from(clashing.contains(name));
        for around in around(name) {
            let scope = scopes.entry(around).or_default();
            scope.classes.push(class);
            scope.clashing += clashes;
        }
    }
    scopes.values_mut().for_each(|scope| scope.classes.sort_unstable());
    scopes
}

/// The scopes of a model.
struct Model<'a> {
    by_name: BTreeMap<&'a str, Content>,
    /// Those with the fewest weights first.
    by_size: Vec<&'a str>,
}

impl<'a> Model<'a> {
    fn new(by_name: BTreeMap<&'a str, Content>) -> Model<'a> {
        let mut by_size: Vec<&str> = by_name.keys().copied().collect();
        by_size.sort_by_key(|scope| by_name[scope].classes.len());
        Model { by_name, by_size }
    }

    /// Whether another scope, none around this one, could take as much as is there, and the one of its own
    /// name could not: then it is names within it that are others'.
    fn has_another(&self, scope: &str, content: &Content) -> bool {
        let takes = |other: &str| {
            let has = |model: &Content| is_part(&content.classes, &model.classes);
            self.by_name.get(other).is_some_and(has)
        };
        let enough = |other: &&str| self.by_name[other].classes.len() >= content.classes.len();
        let first = self.by_size.partition_point(|other| !enough(other));
        let mut others = self.by_size[first..].iter().take(COMPARED).copied();
        let is_another =
            |other: &str| other != scope && !within(scope, other) && !within(other, scope);
        2 * content.clashing >= content.classes.len()
            && !takes(scope)
            && others.any(|other| is_another(other) && takes(other))
    }
}

/// Whether all of some numbers are among others, both in ascending order.
fn is_part(some: &[u64], all: &[u64]) -> bool {
    let mut all = all.iter();
    some.iter().all(|one| all.any(|other| other == one))
}

/// The scopes around a name, the outermost first.
pub(super) fn around(name: &str) -> impl Iterator<Item = &str> {
    name.match_indices(SEPARATORS).map(|(at, _)| &name[..at]).take(DEPTH)
}

/// The scope that a name stands in.
pub(super) fn parent(name: &str) -> &str {
    name.rfind(SEPARATORS).map_or("", |at| &name[..at])
}

/// The last part of a name.
pub(super) fn last(name: &str) -> &str {
    name.rsplit(SEPARATORS).next().unwrap_or(name)
}

/// Whether a name stands within a scope.
fn within(name: &str, scope: &str) -> bool {
    name.strip_prefix(scope).is_some_and(|rest| rest.starts_with(SEPARATORS))
}

impl Move {
    pub fn rule(&self) -> Rule {
        let (from, to) = (self.from.clone(), self.to.clone());
        match self.what {
            What::Name => Rule::Rename { from, to },
            What::Scope => Rule::RenameScope { from, to },
            What::Component => Rule::RenameComponent { from, to },
        }
    }

    /// Whether it moves a name.
    fn moves(&self, name: &str) -> bool {
        match self.what {
            What::Name => name == self.from,
            What::Scope => within(name, &self.from),
            What::Component => name.split(SEPARATORS).any(|part| part == self.from),
        }
    }

    /// Whether something has a name before this one is moved that another one gets, or stands in a scope that
    /// another one moves.
    fn is_in_the_way_of(&self, other: &Move) -> bool {
        self.from == other.to
            || within(&self.from, &other.to)
            || within(&other.to, &self.from)
            || self.is_within(other)
    }

    /// Whether it is about a part of what another one moves.
    fn is_within(&self, other: &Move) -> bool {
        other.what == What::Scope && within(&self.from, &other.from)
    }
}

/// The tensors that are moved aside, by the names that they have in the file, and the variable of each one's
/// own name, if it does not have that one's shape.
pub(super) fn set_aside(
    trials: &Trials<'_>,
    planned: &Planned<'_>,
    asides: &[Move],
) -> HashMap<String, Option<String>> {
    let variables = trials.asked.variables.iter().zip(&planned.matching.outcomes);
    let misfits = variables.filter_map(|(variable, outcome)| match outcome {
        Outcome::ShapeMismatch { tensor, .. } => Some((tensor.as_str(), variable.name.to_string())),
        _ => None,
    });
    let misfits: HashMap<&str, String> = misfits.collect();
    let named = planned.applied.names.iter().zip(trials.asked.tensors);
    let is_moved = |name: &str| asides.iter().any(|aside| aside.moves(name));
    named
        .filter(|(names, _)| names.iter().any(|name| is_moved(name)))
        .map(|(_, tensor)| (tensor.name.to_string(), misfits.get(tensor.name.as_str()).cloned()))
        .collect()
}

/// A trial whose rules begin with what moves names aside, by as few rules as do the same.
pub(super) fn straightened(trials: &mut Trials<'_>, trial: Trial) -> Trial {
    let asides = trials.aside.moves.clone();
    let is_aside = |rule: &Rule| asides.iter().any(|aside| aside.rule() == *rule);
    let Some(begin) = trial.rules.iter().position(is_aside) else { return trial };
    let (before, rest) = trial.rules.split_at(begin);
    let (mut moves, mut others) = (Vec::new(), Vec::new());
    for rule in rest.iter().filter(|rule| !is_aside(rule)) {
        match moves_of(rule, &asides) {
            Some(these) => moves.extend(these),
            None => others.push(rule.clone()),
        }
    }
    let moves = ordered(moves, &asides);
    let orders = [[before, &moves, &others].concat(), [before, &others, &moves].concat()];
    let Some(wanted) = trials.given(&trial.rules) else { return trial };
    for rules in orders {
        if rules.len() <= trial.rules.len() && trials.given(&rules).as_ref() == Some(&wanted) {
            return Trial { rules, ..trial };
        }
    }
    trial
}

/// What a rule moves, if that is all it does.
fn moves_of(rule: &Rule, asides: &[Move]) -> Option<Vec<Move>> {
    let one = |from: &str, to: &str, what| {
        Some(vec![Move { from: from.to_owned(), to: to.to_owned(), what }])
    };
    match rule {
        Rule::RenameScope { from, to } => one(from, to, What::Scope),
        Rule::Rename { from, to } => one(from, to, What::Name),
        Rule::RenameComponent { from, to } => {
            // Of what waits aside it is the last part; nothing else has it.
            let waiting = asides.iter().filter(|aside| last(&aside.to) == from);
            let moves = waiting.map(|aside| {
                let around = &aside.to[..aside.to.len() - from.len()];
                Move { from: aside.to.clone(), to: format!("{around}{to}"), what: aside.what }
            });
            let moves: Vec<Move> = moves.collect();
            let has_parts = || asides.iter().any(|aside| aside.what == What::Component);
            match moves.is_empty() {
                false => Some(moves),
                true => has_parts().then(|| one(from, to, What::Component)).flatten(),
            }
        }
        _ => None,
    }
}

/// Moves as if nothing waited aside, in order.
fn ordered(moves: Vec<Move>, asides: &[Move]) -> Vec<Rule> {
    // Each with the name that it has until then, and with that aside.
    let mut left: Vec<(Move, Option<String>)> = Vec::new();
    for one in moves {
        let of = |aside: &&Move| one.from == aside.to || within(&one.from, &aside.to);
        match asides.iter().find(of) {
            Some(aside) => {
                let from = format!("{}{}", aside.from, &one.from[aside.to.len()..]);
                left.push((Move { from, ..one.clone() }, Some(one.from)));
            }
            None => left.push((one, None)),
        }
    }
    in_order(left)
}

/// Moves, each with a place aside if it may wait, so ordered that none gets a name that another one still has.
/// Of those that go round in a circle, one waits.
pub(super) fn in_order(mut left: Vec<(Move, Option<String>)>) -> Vec<Rule> {
    let mut rules = Vec::new();
    while !left.is_empty() {
        let free = |&at: &usize| {
            let mut others = (0..left.len()).filter(|&other| other != at);
            !others.any(|other| left[other].0.is_in_the_way_of(&left[at].0))
        };
        match (0..left.len()).find(free) {
            Some(at) => rules.push(left.remove(at).0.rule()),
            None => {
                let may_wait = |&at: &usize| {
                    let (one, aside) = &left[at];
                    aside.is_some() && !left.iter().any(|(other, _)| other.is_within(one))
                };
                let waiting = (0..left.len()).find(may_wait).map(|at| &mut left[at]);
                let waiting = waiting.and_then(|(one, aside)| Some((one, aside.take()?)));
                let Some((one, aside)) = waiting else {
                    rules.extend(left.drain(..).map(|(one, _)| one.rule()));
                    break;
                };
                rules.push(Move { to: aside.clone(), ..one.clone() }.rule());
                one.from = aside;
            }
        }
    }
    rules
}

impl Trials<'_> {
    /// Which tensor each variable gets by rules that all do something, if none could get one of several that
    /// could not before.
    fn given(&mut self, added: &[Rule]) -> Option<Vec<Option<String>>> {
        let Matching { outcomes, rules, .. } = self.plan(added)?.matching;
        let is_open = |outcome: &Outcome| matches!(outcome, Outcome::Ambiguous { .. });
        let opened = outcomes
            .iter()
            .zip(self.asked.outcomes)
            .any(|(new, old)| is_open(new) && !is_open(old));
        let tensor = |outcome: &Outcome| match outcome {
            Outcome::Restored { tensor, .. } => Some(tensor.to_string()),
            _ => None,
        };
        (self.all_do(&rules) && !opened).then(|| outcomes.iter().map(tensor).collect())
    }
}

/// What is said of names that were moved aside and belong to other variables.
pub(super) fn note(trials: &Trials<'_>, trial: &Trial) -> Option<String> {
    let mut taken = trial.pairs.iter().filter_map(|(&variable, &tensor)| {
        let (variable, tensor) =
            (&trials.asked.variables[variable].name, &trials.asked.tensors[tensor].name);
        let own = trials.aside.tensors.get(tensor.as_str())?.as_ref()?;
        Some((tensor, own, variable))
    });
    let (tensor, own, variable) = taken.next()?;
    let more = match taken.count() {
        0 => String::new(),
        n => format!("; so it is with {n} more"),
    };
    Some(format!(
        "`{tensor}` does not have the shape of the variable `{own}`, and is taken for `{variable}`{more}"
    ))
}
