//! What inference has to solve: names without a variable, variables without a name, and how good
//! a set of rules is for them. Everything is seen on a sample that keeps a search short.

use super::names::{ALIKE, NUMBER, Name, bare, digits, name_likeness};
use super::renaming::{Compiled, rename_all};
use super::roles::{Kind, Kinds};
use super::sample::{Numbers, sample};
use super::values::ones_apart;
use crate::restore::matching::{Outcome, compare};
use crate::restore::rules::{Allowed, Rule, SEPARATORS};
use crate::tensor::TensorEntry;
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, DefaultHasher, Hash, Hasher};
use std::rc::Rc;
use warmstart_graph::{Shape, Variable};

/// What a checkpoint and a model have, and how they match without further rules.
pub(super) struct Given<'a> {
    pub tensors: &'a [TensorEntry],
    pub variables: &'a [&'a Variable],
    /// One for each variable.
    pub outcomes: &'a [Outcome],
    pub allowed: &'a [Allowed],
    /// Each tensor's names under the rules there are.
    pub names: Vec<&'a [Cow<'a, str>]>,
    pub unexpected: &'a [usize],
    pub kinds: &'a Kinds,
}

impl Given<'_> {
    /// Whether a tensor can be a variable's value, transposed, cast or without extents of 1 if need be.
    pub fn fits(&self, tensor: usize, variable: usize) -> bool {
        let (entry, declared) = (&self.tensors[tensor], self.variables[variable]);
        let allowed = Allowed { cast: true, ..self.allowed[variable] };
        let fits = |allowed: Allowed| {
            matches!(compare(declared, entry, &allowed), Outcome::Restored { .. })
        };
        self.kinds.agree(tensor, variable)
            && (fits(allowed)
                || fits(Allowed { transpose: true, ..allowed })
                || (ones_apart(&declared.shape, &entry.shape)
                    && fits(Allowed { reshape: true, ..allowed })))
    }
}

/// Whether a rule says nothing of which name is which.
pub(super) fn is_evident(rule: &Rule) -> bool {
    matches!(rule, Rule::Separator { .. } | Rule::StripPrefix(_) | Rule::AddPrefix(_))
}

/// Whether a rule moves names as they are into another scope: what then has the name of a variable, and
/// not its shape, is that variable of another size.
fn moves_whole_names(rule: &Rule) -> bool {
    match rule {
        Rule::RenameScope { from, to } => digits(from) == digits(to),
        _ => is_evident(rule),
    }
}

/// How many variables that get a value which does not fit speak against rules. Where a separator, a
/// prefix or a scope makes whole names equal, and as many values fit, the others are layers of another
/// size; those of the mismatched that have `grown` speak for it themselves. Nor do few of many speak
/// against other words in names.
pub(super) fn unexplained(
    rules: &[Rule],
    restored: usize,
    mismatched: usize,
    grown: usize,
) -> usize {
    const MANY: usize = 4;
    let whole = restored + grown >= mismatched
        && (rules.iter().all(is_evident) || (restored > 1 && rules.iter().all(moves_whole_names)));
    let other_words =
        |rule: &Rule| matches!(rule, Rule::RenameComponent { .. }) || moves_whole_names(rule);
    match whole || (restored >= MANY * mismatched && rules.iter().all(other_words)) {
        true => 0,
        false => mismatched,
    }
}

/// Whether two shapes differ by nothing but the number of rows, as those of a vocabulary do that has
/// grown.
pub(super) fn grown(a: &Shape, b: &Shape) -> bool {
    a != b && a.rank() > 1 && a.rank() == b.rank() && a[1..] == b[1..]
}

/// What a name of the checkpoint or a variable may be paired with, by shape and role.
pub(super) fn class(shape: &Shape, kind: &Kind) -> u64 {
    let mut hasher = DefaultHasher::new();
    match &shape[..] {
        [a, b] => (a.min(b), a.max(b)).hash(&mut hasher),
        other => other.hash(&mut hasher),
    }
    kind.hash(&mut hasher);
    hasher.finish()
}

#[derive(Debug)]
struct Item {
    tensor: usize,
    class: u64,
    name: Rc<Name>,
    /// It belongs to a variable already.
    used: bool,
}

#[derive(Debug)]
struct Target {
    variable: usize,
    class: u64,
    name: Rc<Name>,
    was: Was,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Was {
    Missing,
    Restored,
    /// Mismatched as it lies in the file, but this tensor's value can be its own.
    Mendable(usize),
    Other,
}

/// A sample of what is given.
pub(super) struct Problem<'a> {
    given: &'a Given<'a>,
    items: Vec<Item>,
    targets: Vec<Target>,
    by_name: HashMap<String, usize>,
    compiled: Compiled,
    /// As many missing variables as can be restored at most.
    pub most: usize,
    /// There is more than the sample.
    pub thinned: bool,
}

/// How good rules are.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub rules: Vec<Rule>,
    pub names: Vec<Rc<Name>>,
    pub restored: usize,
    /// Missing variables that got a name of which the value does not fit, if that speaks against it, and
    /// those that had one which would fit, transposed or cast, and lost it.
    pub mismatched: usize,
    /// How near it is to more.
    pub promise: f64,
    free_items: Vec<usize>,
    free_targets: Vec<usize>,
    /// The restored variables with their names, as indices of the sample.
    pub pairs: Vec<(usize, usize)>,
}

impl State {
    pub fn gain(&self) -> isize {
        self.restored as isize - self.mismatched as isize
    }
}

impl<'a> Problem<'a> {
    pub fn new(given: &'a Given<'a>) -> Problem<'a> {
        let mut free = vec![false; given.tensors.len()];
        given.unexpected.iter().for_each(|&index| free[index] = true);
        let mut items = Vec::new();
        for (tensor, names) in given.names.iter().enumerate() {
            let class = class(&given.tensors[tensor].shape, &given.kinds.tensors[tensor]);
            for name in *names {
                items.push((class, &**name, (tensor, !free[tensor])));
            }
        }
        let by_tensor: HashMap<&str, usize> =
            given.tensors.iter().enumerate().map(|(index, t)| (t.name.as_str(), index)).collect();
        let mut targets = Vec::new();
        for (variable, declared) in given.variables.iter().enumerate() {
            let was = match &given.outcomes[variable] {
                Outcome::Missing { .. } => Was::Missing,
                Outcome::Restored { .. } => Was::Restored,
                Outcome::Ignored => continue,
                Outcome::ShapeMismatch { tensor, .. } | Outcome::DTypeMismatch { tensor, .. } => {
                    let tensor = by_tensor.get(tensor.as_str()).copied();
                    let fits = tensor.filter(|&tensor| given.fits(tensor, variable));
                    fits.map_or(Was::Other, Was::Mendable)
                }
                Outcome::Ambiguous { .. } => Was::Other,
            };
            let class = class(&declared.shape, &given.kinds.variables[variable]);
            targets.push((class, declared.name.as_str(), (variable, was)));
        }
        let whole = items.len() + targets.len();
        let is_free = |(_, used): &(usize, bool)| !used;
        let is_missing = |(_, was): &(usize, Was)| *was == Was::Missing;
        let of_tensors = items.iter().filter(|(.., item)| is_free(item)).map(|(_, name, _)| *name);
        let of_variables = targets.iter().filter(|(.., t)| is_missing(t)).map(|(_, name, _)| *name);
        let (of_tensors, of_variables) = (Numbers::of(of_tensors), Numbers::of(of_variables));
        let items: Vec<Item> = sample(items, is_free, &of_variables)
            .into_iter()
            .map(|(class, name, (tensor, used))| Item {
                tensor,
                class,
                name: Rc::new(Name::new(name.to_owned())),
                used,
            })
            .collect();
        // What the sample lacks cannot be lost.
        let there: HashSet<usize> = items.iter().map(|item| item.tensor).collect();
        for (_, _, (_, was)) in &mut targets {
            if matches!(was, Was::Mendable(tensor) if !there.contains(tensor)) {
                *was = Was::Other;
            }
        }
        let targets: Vec<Target> = sample(targets, is_missing, &of_tensors)
            .into_iter()
            .map(|(class, name, (variable, was))| Target {
                variable,
                class,
                name: Rc::new(Name::new(name.to_owned())),
                was,
            })
            .collect();
        let mut room: HashMap<u64, (usize, usize)> = HashMap::new();
        for item in items.iter().filter(|item| !item.used) {
            room.entry(item.class).or_default().0 += 1;
        }
        for target in targets.iter().filter(|target| target.was == Was::Missing) {
            room.entry(target.class).or_default().1 += 1;
        }
        let most = room.values().map(|(a, b)| a.min(b)).sum();
        let by_name = targets
            .iter()
            .enumerate()
            .map(|(index, target)| (bare(&target.name.text).to_owned(), index))
            .collect();
        let thinned = items.len() + targets.len() < whole;
        Problem { given, items, targets, by_name, compiled: Compiled::default(), most, thinned }
    }

    /// Without rules.
    pub fn start(&self) -> Option<State> {
        let names = self.items.iter().map(|item| item.name.clone()).collect();
        self.evaluate(Vec::new(), names)
    }

    /// How many names there are to look at.
    pub fn size(&self) -> usize {
        self.items.len() + self.targets.len()
    }

    /// With one more rule; nothing if it changes no name or takes a value away from a variable.
    pub fn extend(&self, state: &State, rule: &Rule) -> Option<State> {
        let (names, changed) = rename_all(&state.names, &self.compiled.renaming(rule)?);
        if !changed {
            return None;
        }
        self.evaluate([&state.rules[..], std::slice::from_ref(rule)].concat(), names)
    }

    /// With these rules, one after the other, but for those that change nothing.
    pub fn with_some(&self, rules: &[Rule]) -> Option<State> {
        let mut names: Vec<Rc<Name>> = self.items.iter().map(|item| item.name.clone()).collect();
        let mut kept = Vec::with_capacity(rules.len());
        for rule in rules {
            let (new, changed) = rename_all(&names, &self.compiled.renaming(rule)?);
            if changed {
                names = new;
                kept.push(rule.clone());
            }
        }
        self.evaluate(kept, names)
    }

    fn evaluate(&self, rules: Vec<Rule>, names: Vec<Rc<Name>>) -> Option<State> {
        let mut owner: Vec<Option<usize>> = vec![None; self.targets.len()];
        let mut free_items = Vec::new();
        for (index, name) in names.iter().enumerate() {
            match self.by_name.get(bare(&name.text)) {
                Some(&target) => {
                    let taken = owner[target].replace(index).is_some();
                    // What was ambiguous or mismatched before may be so still.
                    if taken && self.targets[target].was != Was::Other {
                        return None;
                    }
                }
                None if !self.items[index].used => free_items.push(index),
                None => {}
            }
        }
        let (mut restored, mut mismatched, mut rows, mut lost) = (0, 0, 0, 0);
        let mut promise = 0.0;
        let mut free_targets = Vec::new();
        let mut pairs = Vec::new();
        for (index, (target, owner)) in self.targets.iter().zip(&owner).enumerate() {
            match (target.was, *owner) {
                (Was::Restored, Some(item)) => {
                    let tensor = self.items[item].tensor;
                    let Outcome::Restored { tensor: before, .. } =
                        &self.given.outcomes[target.variable]
                    else {
                        return None;
                    };
                    if *before != self.given.tensors[tensor].name {
                        return None;
                    }
                }
                (Was::Restored, None) => return None,
                (Was::Missing, Some(item)) => {
                    let tensor = self.items[item].tensor;
                    if !self.given.kinds.agree(tensor, target.variable) {
                        return None;
                    }
                    if self.given.fits(tensor, target.variable) {
                        restored += 1;
                        promise += 4.0 + target.name.features.len() as f64;
                        pairs.push((item, index));
                    } else {
                        mismatched += 1;
                        let shape = &self.given.variables[target.variable].shape;
                        rows += usize::from(grown(shape, &self.given.tensors[tensor].shape));
                    }
                }
                (Was::Missing, None) => free_targets.push(index),
                // It would fit once it is transposed or cast: a rule that takes it away loses as much
                // as one that brings a value which does not fit.
                (Was::Mendable(own), owner) => {
                    if owner.is_none_or(|item| self.items[item].tensor != own) {
                        lost += 1;
                    }
                }
                (Was::Other, _) => {}
            }
        }
        let mismatched = unexplained(&rules, restored, mismatched, rows) + lost;
        promise -= 5.0 * mismatched as f64;
        let mut wanted: HashMap<u64, usize, BuildHasherDefault<Hashed>> = HashMap::default();
        let mixed = |class: u64, feature: u64| class.rotate_left(17) ^ feature;
        for target in free_targets.iter().map(|&index| &self.targets[index]) {
            for feature in &target.name.features {
                *wanted.entry(mixed(target.class, *feature)).or_default() += 1;
            }
        }
        for &index in &free_items {
            for feature in &names[index].features {
                let count = wanted.get_mut(&mixed(self.items[index].class, *feature));
                if let Some(count) = count.filter(|count| **count > 0) {
                    *count -= 1;
                    promise += 1.0;
                }
            }
        }
        Some(State { rules, names, restored, mismatched, promise, free_items, free_targets, pairs })
    }

    /// Whether the numbers in names bear a state's rules out that keep them: a pattern that takes
    /// `dense_1` for `fc1` is wrong if that leaves `dense` for `fc3`.
    pub fn numbers_agree(&self, state: &State) -> bool {
        let numbered = |rule: &Rule| matches!(rule, Rule::RenameRegex { pattern, .. } if pattern.contains(NUMBER));
        let first = state.rules.iter().position(numbered);
        let Some(first) = first.filter(|_| !state.pairs.is_empty()) else { return true };
        let Some(before) = self.with_some(&state.rules[..first]) else { return true };
        let Some(rule) = self.compiled.renaming(&state.rules[first]) else { return true };
        let touched: HashSet<u64> = (0..self.items.len())
            .filter(|&index| rule.rename(&before.names[index].text).is_some())
            .map(|index| self.items[index].class)
            .collect();
        let mut rests = HashMap::new();
        state.pairs.iter().all(|&(item, target)| {
            let (item, target) = (&self.items[item], &self.targets[target]);
            if !touched.contains(&item.class) {
                return true;
            }
            let (old, new) = (digits(&item.name.text), digits(&target.name.text));
            let both = old.len().min(new.len());
            let (old_rest, old) = old.split_at(old.len() - both);
            let (new_rest, new) = new.split_at(new.len() - both);
            // Numbers of scopes above may differ, if they do so alike.
            let rest = (old_rest.to_vec(), new_rest.to_vec());
            old == new && *rests.entry(item.class).or_insert_with(|| rest.clone()) == rest
        })
    }

    /// Pairs of a free name and a free variable that may belong together, the most alike of each
    /// variable.
    pub fn likely_pairs<'s>(&'s self, state: &'s State) -> Vec<(&'s Name, &'s Name)> {
        const VARIABLES: usize = 32;
        const EACH: usize = 4;
        let mut by_class: HashMap<u64, Vec<usize>> = HashMap::new();
        for &index in &state.free_items {
            if state.names[index].comparable() {
                by_class.entry(self.items[index].class).or_default().push(index);
            }
        }
        let stride = state.free_targets.len().div_ceil(VARIABLES).max(1);
        let mut pairs = Vec::new();
        for &index in state.free_targets.iter().step_by(stride) {
            let target = &self.targets[index];
            let Some(items) = by_class.get(&target.class).filter(|_| target.name.comparable())
            else {
                continue;
            };
            let numbers = digits(&target.name.text);
            let mut near: Vec<(usize, bool, usize)> = items
                .iter()
                .map(|&item| {
                    let name = &state.names[item];
                    (name.shared(&target.name), digits(&name.text) == numbers, item)
                })
                .collect();
            near.sort_by_key(|&(shared, same, item)| (usize::MAX - shared, !same, item));
            let names = near.iter().take(EACH).map(|&(.., item)| &*state.names[item]);
            pairs.extend(names.map(|name| (name, &*target.name)));
        }
        pairs
    }

    /// Whether a rule moves below one variable's name what did not stand below a tensor's, whose names are
    /// these: what stands there is that variable's, and a scope or a prefix holds more.
    pub fn moves_below_a_variable(&self, rule: &Rule, named: &HashSet<&str>) -> bool {
        let (from, to) = match rule {
            Rule::AddPrefix(prefix) => ("", prefix.trim_end_matches(SEPARATORS)),
            Rule::RenameScope { from, to } => (from.as_str(), to.as_str()),
            _ => return false,
        };
        // A scope, and those around it.
        let scopes = |scope: &str| {
            let above = scope.match_indices(SEPARATORS).map(|(at, _)| at);
            above.chain([scope.len()]).collect::<Vec<usize>>()
        };
        let is_variable = |end: usize| self.by_name.contains_key(&to[..end]);
        let is_tensor = |end: usize| named.contains(bare(&from[..end]));
        scopes(to).into_iter().any(is_variable) && !scopes(from).into_iter().any(is_tensor)
    }

    /// Texts of the names and variables that are free.
    pub fn free_texts<'s>(
        &'s self,
        state: &'s State,
    ) -> (impl Iterator<Item = &'s str>, impl Iterator<Item = &'s str>) {
        (
            state.free_items.iter().map(|&index| state.names[index].text.as_str()),
            state.free_targets.iter().map(|&index| self.targets[index].name.text.as_str()),
        )
    }

    /// Whether a pair's names are alike, the tensor's being what other rules make of it, or nothing else
    /// has its shape. A single number fits anything and says nothing; nor does what would have to be
    /// cast.
    pub fn credible(&self, (item, target): (usize, usize), name: &Name) -> bool {
        let (item, target) = (&self.items[item], &self.targets[target]);
        let items = self.items.iter().filter(|other| !other.used && other.class == item.class);
        let targets = self
            .targets
            .iter()
            .filter(|other| other.was == Was::Missing && other.class == target.class);
        let tensor = &self.given.tensors[item.tensor];
        let says = || {
            tensor.shape.checked_elements().is_none_or(|elements| elements > 1)
                && tensor.dtype.variable() == Some(self.given.variables[target.variable].dtype)
        };
        name_likeness(name, &target.name) >= ALIKE
            || (says() && items.count() == 1 && targets.count() == 1)
    }
}

/// For keys that are hashes already.
#[derive(Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }
    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}

#[cfg(test)]
#[path = "problem_tests.rs"]
mod tests;
