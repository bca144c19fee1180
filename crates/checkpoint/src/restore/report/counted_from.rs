//! What a [`RestoreReport`] says where names agree and layers may not: the file counts them from 0 and the
//! model from 1, or the other way. By their names each then gets its neighbour's values, and nothing is
//! missing that would show it.

use crate::printable::printable;
use crate::restore::matching::Outcome;
use crate::restore::report::shapes::extents;
use crate::restore::report::{RestoreReport, VariableOutcome};
use crate::restore::rules::{Rule, SEPARATORS, apply, without_output};
use crate::restore::suggestion::Suggestion;
use crate::restore::wording::{Wording, rule_text};
use crate::tensor::TensorEntry;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use warmstart_graph::{Role, Shape, Variable};

/// Rules are listed that move layers by one if they are at most so many.
const LISTED: usize = 12;

/// Scopes that differ by a number, such as `encoder/layers/0` and `encoder/layers/1`: what stands before it,
/// and after it as far as the scope goes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Counted<'a> {
    before: &'a str,
    after: &'a str,
}

impl<'a> Counted<'a> {
    /// All that a name is in, or is itself, each with its number and with what follows in the name.
    fn all_in(name: &'a str) -> impl Iterator<Item = (Counted<'a>, u64, &'a str)> {
        let is_digit = |c: char| c.is_ascii_digit();
        let mut at = 0;
        std::iter::from_fn(move || {
            let begin = at + name[at..].find(is_digit)?;
            let rest = &name[begin..];
            let (number, rest) = rest.split_at(rest.find(|c| !is_digit(c)).unwrap_or(rest.len()));
            at = begin + number.len();
            let (after, rest) = rest.split_at(rest.find(SEPARATORS).unwrap_or(rest.len()));
            Some((Counted { before: &name[..begin], after }, number, rest))
        })
        // Numbers with leading zeros are not counted here.
        .filter(|(_, number, _)| number.len() == 1 || !number.starts_with('0'))
        .filter_map(|(scopes, number, rest)| Some((scopes, number.parse().ok()?, rest)))
    }

    fn scope(self, number: u64) -> String {
        format!("{}{number}{}", self.before, self.after)
    }

    /// The scopes that may be the first: Keras calls it `dense` where the next one is `dense_1`.
    fn first(self) -> impl Iterator<Item = String> {
        let bare = self.before.strip_suffix('_').filter(|_| self.after.is_empty());
        [self.scope(0)].into_iter().chain(bare.map(str::to_owned))
    }
}

/// Who counts from 0, where the other counts from 1.
#[derive(Clone, Copy, PartialEq, Eq)]
enum FromZero {
    File,
    Model,
}

/// Layers of which one side has a first one that the other lacks.
struct Shifted<'a> {
    scopes: Counted<'a>,
    /// The scope of the first one.
    first: String,
    from_zero: FromZero,
}

/// The names that take no part, bare: of tensors under the rules, and of variables.
struct Left<'a> {
    tensors: HashMap<String, &'a Shape>,
    variables: HashMap<&'a str, &'a Shape>,
}

impl RestoreReport {
    /// Both ways in which layers may be counted, where names take the one and it may be the other, with the
    /// rules for that.
    pub(crate) fn note_of_counting(&self, words: &dyn Wording) -> Option<String> {
        let left = self.left_by_name()?;
        let shifted = self.shifted(&left);
        let Shifted { scopes, first, from_zero } = shifted.first()?;
        let more = match shifted.len() - 1 {
            0 => String::new(),
            1 => " (so it is with one more scope)".to_owned(),
            n => format!(" (so it is with {n} more scopes)"),
        };
        let ([has, lacks], [model, file]) = match from_zero {
            FromZero::File => (["file", "model"], [1, 0]),
            FromZero::Model => (["model", "file"], [0, 1]),
        };
        let (second, first) = (scopes.scope(1), printable(first));
        let second = printable(&second);
        let rules = self.rules_for_neighbours(&shifted, &left);
        // A suggestion tells that reading already; but of a restore that goes ahead, what it took has to be said.
        let suggested = |all: &Vec<Rule>| {
            let has_all = |one: &Suggestion| all.iter().all(|rule| one.rules.contains(rule));
            self.suggestions.iter().any(has_all)
        };
        if !self.closes() && rules.as_ref().is_some_and(suggested) {
            return None;
        }
        let rules = rules.filter(|all| all.iter().all(|rule| words.rule(rule).is_some()));
        let then = match rules {
            Some(rules) => {
                let lines =
                    rules.iter().map(|rule| printable(&rule_text(words, rule)).into_owned());
                let lines: Vec<String> = lines.map(|line| format!("\n          {line}")).collect();
                let they = match lines.len() {
                    1 => "this rule gives".to_owned(),
                    n => format!("these {n} rules together give"),
                };
                format!("{they} it its own:{}", lines.concat())
            }
            None => "has to be renamed by one to get its own".to_owned(),
        };
        Some(format!(
            "by their numbers, `{second}` of the model gets `{second}` of the file, and `{first}` is in the \
             {has} and not in the {lacks}{more}. If the model counts the same layers from {model} that the \
             file counts from {file}, each gets its neighbour's values, and {then}"
        ))
    }

    /// What is left on both sides; nothing if nothing is.
    fn left_by_name(&self) -> Option<Left<'_>> {
        if self.unexpected.is_empty() && self.missing().next().is_none() {
            return None;
        }
        let rules: Vec<Rule> = self.rules.iter().map(|used| used.rule.clone()).collect();
        let names = self.unexpected.iter().map(|TensorEntry { name, .. }| name.as_str());
        let renamed = apply(&rules, names, &[]).names;
        let tensors = self.unexpected.iter().zip(renamed).flat_map(|(tensor, names)| {
            let bare = |name: Cow<'_, str>| without_output(&name).to_owned();
            names.into_iter().map(move |name| (bare(name), &tensor.shape))
        });
        let variables = self.missing().map(|v| (without_output(&v.name), &v.shape));
        Some(Left { tensors: tensors.collect(), variables: variables.collect() })
    }

    /// What is restored by its own number, and no slot: those go with their variables.
    fn by_number(&self) -> impl Iterator<Item = &Variable> {
        self.restored().filter(|variable| !matches!(variable.role, Role::Slot { .. }))
    }

    fn shifted(&self, left: &Left<'_>) -> Vec<Shifted<'_>> {
        let mut seconds: BTreeMap<Counted<'_>, Vec<(&str, &Variable)>> = BTreeMap::new();
        for variable in self.by_number() {
            for (scopes, number, rest) in Counted::all_in(without_output(&variable.name)) {
                if number == 1 {
                    seconds.entry(scopes).or_default().push((rest, variable));
                }
            }
        }
        let is_shifted = |(scopes, second): (_, Vec<(&str, &Variable)>)| {
            let scopes: Counted<'_> = scopes;
            // A first one of another size is no neighbour of theirs.
            let like = |shape: Option<&&Shape>, variable: &Variable| {
                shape.is_some_and(|shape| extents(shape) == extents(&variable.shape))
            };
            let from_zero = |first: &str| {
                let named = || second.iter().map(|(rest, v)| (format!("{first}{rest}"), *v));
                let in_file = named().all(|(name, v)| like(left.tensors.get(&name), v));
                let in_model = named().all(|(name, v)| like(left.variables.get(&*name), v));
                match (in_file, in_model) {
                    (true, false) => Some(FromZero::File),
                    (false, true) => Some(FromZero::Model),
                    _ => None,
                }
            };
            let mut first = scopes.first();
            first.find_map(|first| Some(Shifted { scopes, from_zero: from_zero(&first)?, first }))
        };
        let mut shifted: Vec<Shifted<'_>> = seconds.into_iter().filter_map(is_shifted).collect();
        // Of the scopes within others, only these are told.
        let outer: HashSet<String> = shifted.iter().map(|one| one.scopes.scope(1)).collect();
        shifted.retain(|one| {
            let before = one.scopes.before;
            let mut around = before.match_indices(SEPARATORS).map(|(end, _)| &before[..end]);
            !around.any(|scope| outer.contains(scope))
        });
        shifted
    }

    /// The rules that give each layer the value of the one before it in the file, or after it: one that is
    /// moved out of the way first leaves its name to the next.
    fn rules_for_neighbours(&self, shifted: &[Shifted<'_>], left: &Left<'_>) -> Option<Vec<Rule>> {
        // Each has a rule at least.
        if shifted.len() > LISTED {
            return None;
        }
        let mut rules = Vec::new();
        // What does not fit is there all the same, and in the way.
        let is_there = |v: &&VariableOutcome| {
            v.outcome.tensor().is_some() && !matches!(v.outcome, Outcome::Restored { .. })
        };
        for Shifted { scopes, first, from_zero } in shifted {
            let (mut of_model, mut in_file) = (0, BTreeSet::new());
            let unfit = self.variables.iter().filter(is_there).map(|v| &*v.variable);
            let restored = self.by_number().chain(unfit);
            let restored = restored.map(|v| (without_output(&v.name), true));
            let others = left.tensors.keys().map(|name| (name.as_str(), false));
            for (name, is_restored) in restored.chain(others) {
                let found = Counted::all_in(name).find(|(found, ..)| found == scopes);
                let Some((_, number, rest)) = found else { continue };
                // It is no scope.
                if rest.is_empty() {
                    return None;
                }
                in_file.insert(number);
                of_model = if is_restored { number.max(of_model) } else { of_model };
            }
            let scope =
                |number: u64| if number == 0 { first.clone() } else { scopes.scope(number) };
            let rename =
                |from: u64, to: u64| Rule::RenameScope { from: scope(from), to: scope(to) };
            match from_zero {
                FromZero::File => {
                    let others = in_file.range(1..=of_model).rev().copied();
                    rules.extend(
                        others.chain([0]).map(|number| rename(number, number.saturating_add(1))),
                    );
                }
                FromZero::Model => {
                    let all = in_file.range(1..=of_model.saturating_add(1));
                    rules.extend(all.map(|&number| rename(number, number - 1)));
                }
            }
        }
        (rules.len() <= LISTED).then_some(rules)
    }
}
