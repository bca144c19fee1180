//! Fewer rules that do what a set of rules does.
//!
//! A search goes step by step, and takes what closes the plan: where it is seen only once `kernel` became
//! `weight` that scopes have each other's names, that may be many single renames. Once it is known whose each
//! tensor is, the renames follow from the names alone: a scope goes where most of what it holds goes, and
//! what else it holds is moved by itself. Parts that several renames have in common are renamed first, if
//! that leaves fewer; a whole plan then confirms that every variable gets what it got. The moves are the
//! fewest for the parts that are renamed; of sets of parts only some are tried.

use super::aside::{DEPTH, MOST, Move, What, around, in_order, last, parent};
use super::names::{Name, bare, edits};
use super::problem::is_evident;
use super::trial::{Trial, Trials};
use crate::restore::matching::Matching;
use crate::restore::rules::{Rule, SEPARATORS, apply};
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

/// Names that are looked at for one suggestion, over all sets of rules that are compared.
const LOOKED_AT: usize = 60_000;
/// Renames that are asked for what they have in common, and rules that are tried for it.
const ASKED: usize = 64;
const TRIED: usize = 8;

/// A trial by the fewest rules found that do the same. A rule that `stays` is not left out, as a note speaks of
/// what it does.
pub(super) fn shortened(trials: &mut Trials<'_>, trial: Trial, stays: Option<&Rule>) -> Trial {
    if trial.rules.iter().filter(|rule| is_move(rule)).count() < 2 {
        return trial;
    }
    let Some(planned) = trials.plan(&trial.rules) else { return trial };
    match fewest(trials, &trial.rules, &planned.matching, stays) {
        Some(rules) if trials.come_to(&rules, &planned.matching) => Trial { rules, ..trial },
        _ => trial,
    }
}

/// Whether a rule renames one scope or one name.
pub(super) fn is_move(rule: &Rule) -> bool {
    matches!(rule, Rule::Rename { .. } | Rule::RenameScope { .. })
}

/// Fewer rules that may come to the same, if there are any.
fn fewest(
    trials: &Trials<'_>,
    rules: &[Rule],
    plan: &Matching,
    stays: Option<&Rule>,
) -> Option<Vec<Rule>> {
    let mut pairs = Pairs::of(trials, plan)?;
    let (names, values): (Vec<&Rule>, Vec<&Rule>) =
        rules.iter().partition(|rule| rule.is_about_names());
    let moves_aside = |part: &str| trials.aside.moves.iter().any(|aside| last(&aside.to) == part);
    let is_kept = |rule: &Rule| match rule {
        Rule::RenameComponent { from, to } => !moves_aside(from) && !moves_aside(to),
        _ => !is_move(rule),
    };
    let kept: Vec<Rule> = names.into_iter().filter(|rule| is_kept(rule)).cloned().collect();
    let (mut parts, moves) = pairs.fewest(kept, |rule| is_evident(rule) || Some(rule) == stays)?;
    if moves.len() > MOST || parts.len() + moves.len() + values.len() >= rules.len() {
        return None;
    }
    let with_place = |one: Move| {
        let aside = pairs.free(format!("{}_aside", one.from));
        (one, Some(aside))
    };
    parts.extend(in_order(moves.into_iter().map(with_place).collect()));
    parts.extend(values.into_iter().cloned());
    (parts.len() < rules.len()).then_some(parts)
}

/// The names of a file under the user's rules, each with that of the variable whose it is.
pub(super) struct Pairs<'a> {
    pub names: Vec<(String, Option<&'a str>)>,
    pub variables: Vec<&'a str>,
    /// Names that may still be looked at.
    pub left: usize,
}

impl<'a> Pairs<'a> {
    /// As a plan has it; nothing where a tensor has several names.
    fn of(trials: &Trials<'a>, plan: &Matching) -> Option<Pairs<'a>> {
        let mut whose = vec![None; trials.asked.tensors.len()];
        let variables: Vec<&str> = trials.asked.variables.iter().map(|v| v.name.as_str()).collect();
        for (&source, &variable) in plan.sources.iter().zip(&variables) {
            if let Some(tensor) = source {
                whose[tensor] = Some(variable);
            }
        }
        let tensors = trials.asked.tensors.iter().map(|tensor| tensor.name.as_str());
        let applied = apply(trials.asked.rules, tensors, &[]);
        let mut names = Vec::with_capacity(whose.len());
        for (those, variable) in applied.names.into_iter().zip(whose) {
            match those.as_slice() {
                [] => {}
                [name] => names.push((name.to_string(), variable)),
                _ => return None,
            }
        }
        Some(Pairs { names, variables, left: LOOKED_AT })
    }

    /// A name that nothing begins with.
    fn free(&self, mut name: String) -> String {
        let names = || self.names.iter().map(|(name, _)| name.as_str());
        while names().chain(self.variables.iter().copied()).any(|other| other.starts_with(&name)) {
            name.push('_');
        }
        name
    }

    /// The fewest rules about parts of names that were found, and what else has to be moved after them: from
    /// some, one after the other is left out, unless it stays, or added while that leaves fewer.
    pub fn fewest(
        &mut self,
        kept: Vec<Rule>,
        stays: impl Fn(&Rule) -> bool,
    ) -> Option<(Vec<Rule>, Vec<Move>)> {
        let mut best = match self.moves(&kept) {
            Some(moves) => (kept, moves),
            None => {
                let those: Vec<Rule> = kept.into_iter().filter(&stays).collect();
                let moves = self.moves(&those)?;
                (those, moves)
            }
        };
        loop {
            let (rules, moves) = &best;
            let without = (0..rules.len()).filter(|&at| !stays(&rules[at]));
            let mut others: Vec<Vec<Rule>> =
                without.map(|at| [&rules[..at], &rules[at + 1..]].concat()).collect();
            others.extend(common(moves).into_iter().map(|rule| [&rules[..], &[rule]].concat()));
            let before = rules.len() + moves.len();
            let mut fewer: Option<(Vec<Rule>, Vec<Move>)> = None;
            for rules in others {
                let Some(moves) = self.moves(&rules) else { continue };
                let most =
                    fewer.as_ref().map_or(before, |(rules, moves)| rules.len() + moves.len());
                if rules.len() + moves.len() < most {
                    fewer = Some((rules, moves));
                }
            }
            match fewer {
                Some(fewer) => best = fewer,
                None => return Some(best),
            }
        }
    }

    /// What has to be moved after rules that all do something.
    fn moves(&mut self, rules: &[Rule]) -> Option<Vec<Move>> {
        self.left = self.left.checked_sub(self.names.len())?;
        let applied = apply(rules, self.names.iter().map(|(name, _)| name.as_str()), &[]);
        if applied.uses.iter().any(|used| used.touched == 0) {
            return None;
        }
        let pairs = applied.names.iter().zip(&self.names);
        moves(pairs.filter_map(|(names, (_, variable))| Some((&**names.first()?, (*variable)?))))
    }
}

/// Rules about parts of names that several renames ask for, those that most do first.
fn common(moves: &[Move]) -> Vec<Rule> {
    let mut asked: HashMap<Rule, (usize, usize)> = HashMap::new();
    for one in moves.iter().take(ASKED) {
        let (from, to) = (Name::new(one.from.clone()), Name::new(one.to.clone()));
        if !from.comparable() || !to.comparable() {
            continue;
        }
        for rule in edits(&from, &to).1 {
            if matches!(rule, Rule::RenameComponent { .. } | Rule::RenameRegex { .. }) {
                let order = asked.len();
                asked.entry(rule).or_insert((0, order)).0 += 1;
            }
        }
    }
    let mut asked: Vec<(Rule, (usize, usize))> =
        asked.into_iter().filter(|(_, (count, _))| *count > 1).collect();
    asked.sort_by_key(|(_, (count, order))| (Reverse(*count), *order));
    asked.into_iter().take(TRIED).map(|(rule, _)| rule).collect()
}

/// A name, and its variable's.
type Pair<'n> = (&'n str, &'n str);

/// The fewest renames of scopes and single names that make each name its variable's, each as if it were the
/// only one: what stands deeper goes first. Nothing if two variables would need one name, or if
/// something had to stay in a scope that is moved.
///
/// They are counted on the tree of scopes as Fitch counts changes (Hartigan, where one holds many): from the bottom up it is told what each
/// may become, and from the top down each goes with the scope around it, if it may.
pub(super) fn moves<'n>(pairs: impl Iterator<Item = Pair<'n>>) -> Option<Vec<Move>> {
    let mut of_name: BTreeMap<&str, Pair<'_>> = BTreeMap::new();
    for (name, variable) in pairs {
        let other = of_name.insert(bare(name), (name, variable));
        let is_deep = name.matches(SEPARATORS).count() >= DEPTH;
        if is_deep || other.is_some_and(|(_, other)| other != variable) {
            return None;
        }
    }
    let may_become = may_become(&of_name);
    let mut becomes: HashMap<&str, &str> = HashMap::new();
    let goes_along = |becomes: &HashMap<&str, &str>, name: &str, new: &str| match parent(name) {
        "" => name == new,
        scope => becomes.get(scope).is_some_and(|around| without_end(name, new) == Some(around)),
    };
    let mut moves = Vec::new();
    // A scope comes before what is in it.
    for (&scope, best) in &may_become {
        let Some(first) = best.first() else { continue };
        let along = best.iter().find(|new| goes_along(&becomes, scope, new));
        becomes.insert(scope, along.unwrap_or(first));
        if along.is_none() {
            moves.push((scope, *first, What::Scope));
        }
    }
    for (name, (whole, variable)) in &of_name {
        if !goes_along(&becomes, name, bare(variable)) {
            moves.push((whole, variable, What::Name));
        }
    }
    let one = |(from, to, what): (&str, &str, What)| {
        (from != to).then(|| Move { from: from.to_owned(), to: to.to_owned(), what })
    };
    moves.into_iter().map(one).collect()
}

/// What each scope may become without more renames than it takes anyway: what most of that asks for which it
/// holds.
fn may_become<'n>(of_name: &BTreeMap<&'n str, Pair<'n>>) -> BTreeMap<&'n str, Vec<&'n str>> {
    type Asked<'n> = BTreeMap<&'n str, BTreeMap<&'n str, usize>>;
    let mut asked: Asked<'_> = BTreeMap::new();
    for name in of_name.keys() {
        for scope in around(name).filter(|scope| !scope.is_empty()) {
            asked.entry(scope).or_default();
        }
    }
    let ask = |asked: &mut Asked<'n>, name: &'n str, new: &'n str| {
        if let (Some(scope), Some(around)) = (asked.get_mut(parent(name)), without_end(name, new)) {
            *scope.entry(around).or_default() += 1;
        }
    };
    for (name, (_, variable)) in of_name {
        ask(&mut asked, name, bare(variable));
    }
    let mut may_become = BTreeMap::new();
    // What is in a scope comes after it.
    while let Some((scope, counts)) = asked.pop_last() {
        let most = counts.values().max().copied();
        let best = counts.into_iter().filter(|(_, count)| Some(*count) == most);
        let best: Vec<&str> = best.map(|(new, _)| new).collect();
        best.iter().for_each(|new| ask(&mut asked, scope, new));
        may_become.insert(scope, best);
    }
    may_become
}

/// What stands in front of the last part of a name, in another name that ends with it.
fn without_end<'n>(name: &str, other: &'n str) -> Option<&'n str> {
    let end = &name[parent(name).len()..];
    let around = other.strip_suffix(end).filter(|around| !around.is_empty());
    around.filter(|_| end.starts_with(SEPARATORS))
}
