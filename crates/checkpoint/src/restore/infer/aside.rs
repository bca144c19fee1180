//! Names of the checkpoint that the model has for something else: what it calls `tower` is `stem` in the
//! file, and what the file calls `tower` is the model's `trunk`.
//!
//! By names alone such a tensor belongs to a variable that it does not fit, and is free for no other. So
//! scopes whose shapes do not fit those of their own name, and fit those of another, are first moved
//! aside, out of the way; the search then goes on as if their names were new ones. What it finds is
//! straightened: each name goes straight to where it belongs, so ordered that none gets a name which
//! another one still has. Only where names go round in a circle does one of them wait aside.

use super::lacks;
use super::names::bare;
use super::problem::class;
use super::roles::Kind;
use super::trial::{Planned, Trial, Trials};
use crate::restore::matching::{Matching, Outcome};
use crate::restore::rules::{Rule, SEPARATORS};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// Scopes and single names that are moved aside at most: where there are more, nothing is.
const MOST: usize = 32;
/// Scopes that are looked at, at most, and those of the model that each is compared with.
const LOOKED_AT: usize = 64;
const COMPARED: usize = 2_000;

/// A scope or a single name that waits aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Aside {
    from: String,
    /// A name that nothing else has.
    to: String,
    /// Whether it is a value, and whether there are names below it: of a single one, its slots.
    is_value: bool,
    is_scope: bool,
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

/// What is to be moved aside after a plan, if anything is.
pub(super) fn asides(trials: &Trials<'_>, planned: &Planned<'_>) -> Vec<Aside> {
    let outcomes = &planned.matching.outcomes;
    let by_name: HashMap<&str, usize> =
        trials.variables.iter().enumerate().map(|(index, v)| (v.name.as_str(), index)).collect();
    let variables = (0..trials.variables.len())
        .filter(|&index| trials.variable_kinds[index] == Kind::Weight)
        .map(|index| {
            let variable = trials.variables[index];
            (variable.name.as_str(), class(&variable.shape, &Kind::Weight))
        });
    let variables: Vec<Weight<'_>> = variables.collect();
    let mut lacking: HashMap<u64, BTreeSet<&str>> = HashMap::new();
    for &(name, class) in &variables {
        if by_name.get(name).is_some_and(|&index| lacks(&outcomes[index])) {
            lacking.entry(class).or_default().insert(name);
        }
    }
    let mut tensors: Vec<Weight<'_>> = Vec::new();
    let mut clashing: BTreeSet<&str> = BTreeSet::new();
    for (tensor, names) in planned.applied.names.iter().enumerate() {
        let ([name], Kind::Weight) = (names.as_slice(), &trials.tensor_kinds[tensor]) else {
            continue;
        };
        let own = class(&trials.tensors[tensor].shape, &Kind::Weight);
        tensors.push((name, own));
        let variable = by_name.get(bare(name)).copied();
        let is_other = variable.is_some_and(|variable| {
            matches!(outcomes[variable], Outcome::ShapeMismatch { .. })
                && class(&trials.variables[variable].shape, &Kind::Weight) != own
        });
        // One that nothing else waits for is a variable of another size.
        let is_wanted = || lacking.get(&own).is_some_and(|names| !names.contains(bare(name)));
        if is_other && is_wanted() {
            clashing.insert(name);
        }
    }
    if clashing.is_empty() {
        return Vec::new();
    }
    let (from, to) = (scopes(&tensors, &clashing), scopes(&variables, &BTreeSet::new()));
    let taken = |name: &str| {
        let has = |other: &str| other.split(SEPARATORS).any(|part| part == name);
        tensors.iter().chain(&variables).any(|(other, _)| has(other))
    };
    let mut asides: Vec<Aside> = Vec::new();
    let mut looked_at = 0;
    for name in clashing {
        let is_moved =
            |aside: &Aside| aside.from == name || (aside.is_scope && within(name, &aside.from));
        if asides.iter().any(is_moved) {
            continue;
        }
        if asides.len() == MOST {
            return Vec::new();
        }
        // The outermost scope that another one of the model could take whole.
        let ends = name.match_indices(SEPARATORS).map(|(at, _)| at);
        let mut whole = ends.map(|end| &name[..end]).filter(|scope| {
            looked_at += 1;
            looked_at <= LOOKED_AT && from.get(scope).is_some_and(|it| fits_another(scope, it, &to))
        });
        let (scope, is_scope) = whole.next().map_or((name, false), |scope| (scope, true));
        let mut to = format!("{scope}_aside");
        while taken(last(&to)) {
            to.push('_');
        }
        let is_scope = is_scope || planned.applied.names.iter().flatten().any(|n| within(n, scope));
        asides.push(Aside { from: scope.to_owned(), to, is_value: scope == name, is_scope });
    }
    asides
}

/// All scopes of some weights.
fn scopes<'a>(weights: &[Weight<'a>], clashing: &BTreeSet<&str>) -> BTreeMap<&'a str, Content> {
    let mut scopes: BTreeMap<&str, Content> = BTreeMap::new();
    for &(name, class) in weights {
        for (end, _) in name.match_indices(SEPARATORS) {
            let scope = scopes.entry(&name[..end]).or_default();
            scope.classes.push(class);
            scope.clashing += usize::from(clashing.contains(name));
        }
    }
    scopes.values_mut().for_each(|scope| scope.classes.sort_unstable());
    scopes
}

/// Whether another scope of the model, none around this one, waits for as much as is there, most of which
/// does not fit where it is.
fn fits_another(scope: &str, content: &Content, model: &BTreeMap<&str, Content>) -> bool {
    let others = model.iter().filter(|(other, wanted)| {
        wanted.classes.len() >= content.classes.len()
            && **other != scope
            && !within(scope, other)
            && !within(other, scope)
    });
    2 * content.clashing >= content.classes.len()
        && others.take(COMPARED).any(|(_, wanted)| is_part(&content.classes, &wanted.classes))
}

/// Whether all of some numbers are among others, both in ascending order.
fn is_part(some: &[u64], all: &[u64]) -> bool {
    let mut all = all.iter();
    some.iter().all(|one| all.any(|other| other == one))
}

/// Whether a name stands within a scope.
fn within(name: &str, scope: &str) -> bool {
    name.strip_prefix(scope).is_some_and(|rest| rest.starts_with(SEPARATORS))
}

/// The last part of a name.
fn last(name: &str) -> &str {
    name.rsplit(SEPARATORS).next().unwrap_or(name)
}

impl Aside {
    /// The rules that move it.
    pub fn rules(&self) -> Vec<Rule> {
        self.moves_to(&self.from, &self.to).into_iter().map(Move::rule).collect()
    }

    /// As it is moved, from one name to another.
    fn moves_to(&self, from: &str, to: &str) -> Vec<Move> {
        let each = [(self.is_value, false), (self.is_scope, true)];
        let each = each.into_iter().filter(|(is_there, _)| *is_there);
        each.map(|(_, is_scope)| Move { from: from.to_owned(), to: to.to_owned(), is_scope })
            .collect()
    }

    /// Whether it moves a name.
    fn moves(&self, name: &str) -> bool {
        name == self.from || within(name, &self.from)
    }

    /// Whether a rule is one of those that move it.
    fn is_of(&self, rule: &Rule) -> bool {
        matches!(rule, Rule::Rename { from, to } | Rule::RenameScope { from, to }
            if *from == self.from && *to == self.to)
    }
}

/// The tensors that are moved aside, by the names that they have in the file, and whether each would fit the
/// variable of its own name.
pub(super) fn moved(
    trials: &Trials<'_>,
    planned: &Planned<'_>,
    asides: &[Aside],
) -> HashMap<String, bool> {
    let restored = planned.matching.outcomes.iter().filter_map(|outcome| match outcome {
        Outcome::Restored { tensor, .. } => Some(tensor.as_str()),
        _ => None,
    });
    let restored: HashSet<&str> = restored.collect();
    let names = planned.applied.names.iter().zip(trials.tensors);
    let is_moved = |name: &str| asides.iter().any(|aside| aside.moves(name));
    names
        .filter(|(names, _)| names.iter().any(|name| is_moved(name)))
        .map(|(_, tensor)| (tensor.name.to_string(), restored.contains(tensor.name.as_str())))
        .collect()
}

/// A rename of a scope, or of a single name.
#[derive(Clone)]
struct Move {
    from: String,
    to: String,
    is_scope: bool,
}

impl Move {
    fn rule(self) -> Rule {
        let Move { from, to, is_scope } = self;
        if is_scope { Rule::RenameScope { from, to } } else { Rule::Rename { from, to } }
    }

    /// Whether something has a name before this one is moved that another one gets.
    fn is_in_the_way_of(&self, other: &Move) -> bool {
        self.from == other.to || within(&self.from, &other.to) || within(&other.to, &self.from)
    }
}

/// A trial whose rules begin with what moves names aside, by as few rules as do the same.
pub(super) fn straightened(trials: &mut Trials<'_>, trial: Trial) -> Trial {
    let asides = trials.asides.clone();
    if asides.is_empty() {
        return trial;
    }
    let first = |rule: &Rule| asides.iter().any(|aside| aside.is_of(rule));
    let Some(begin) = trial.rules.iter().position(first) else { return trial };
    let (before, rest) = trial.rules.split_at(begin);
    let (mut moves, mut others) = (Vec::new(), Vec::new());
    for rule in rest.iter().filter(|rule| !first(rule)) {
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
fn moves_of(rule: &Rule, asides: &[Aside]) -> Option<Vec<Move>> {
    let one = |from: &str, to: &str, is_scope| {
        Some(vec![Move { from: from.to_owned(), to: to.to_owned(), is_scope }])
    };
    match rule {
        Rule::RenameScope { from, to } => one(from, to, true),
        Rule::Rename { from, to } => one(from, to, false),
        // Only what waits aside has such a part.
        Rule::RenameComponent { from, to } => {
            let aside = asides.iter().find(|aside| last(&aside.to) == from)?;
            let around = &aside.to[..aside.to.len() - from.len()];
            Some(aside.moves_to(&aside.to, &format!("{around}{to}")))
        }
        _ => None,
    }
}

/// Moves as if nothing waited aside, so ordered that none gets a name that another one still has. Of
/// those that go round in a circle, one waits.
fn ordered(moves: Vec<Move>, asides: &[Aside]) -> Vec<Rule> {
    // Each with the name that it has until then, and with that aside.
    let mut left: Vec<(Move, Option<String>)> = Vec::new();
    for one in moves {
        let of = |aside: &&Aside| one.from == aside.to || within(&one.from, &aside.to);
        match asides.iter().find(of) {
            Some(aside) => {
                let from = format!("{}{}", aside.from, &one.from[aside.to.len()..]);
                left.push((Move { from, ..one.clone() }, Some(one.from)));
            }
            None => left.push((one, None)),
        }
    }
    let mut rules = Vec::new();
    while !left.is_empty() {
        let free = |&at: &usize| {
            let mut others = (0..left.len()).filter(|&other| other != at);
            !others.any(|other| left[other].0.is_in_the_way_of(&left[at].0))
        };
        match (0..left.len()).find(free) {
            Some(at) => rules.push(left.remove(at).0.rule()),
            None => {
                let waiting = left.iter_mut().find_map(|(one, aside)| Some((one, aside.take()?)));
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
        let opened =
            outcomes.iter().zip(self.outcomes).any(|(new, old)| is_open(new) && !is_open(old));
        let all_do = rules[self.rules.len()..].iter().all(|used| used.touched > 0);
        let tensor = |outcome: &Outcome| match outcome {
            Outcome::Restored { tensor, .. } => Some(tensor.to_string()),
            _ => None,
        };
        (all_do && !opened).then(|| outcomes.iter().map(tensor).collect())
    }
}

/// What is said of names that were moved aside and belong to other variables.
pub(super) fn note(trials: &Trials<'_>, trial: &Trial) -> Option<String> {
    let mut taken = trial.pairs.iter().filter_map(|(&variable, &tensor)| {
        let (variable, tensor) = (&trials.variables[variable].name, &trials.tensors[tensor].name);
        let fits = *trials.moved.get(tensor.as_str())?;
        (!fits).then_some((tensor, variable))
    });
    let (tensor, variable) = taken.next()?;
    let more = match taken.count() {
        0 => String::new(),
        n => format!("; so it is with {n} more"),
    };
    Some(format!(
        "`{tensor}` does not have the shape of the variable of its own name, and is taken for \
         `{variable}`{more}"
    ))
}
