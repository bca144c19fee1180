//! Trying rules out: a whole plan says what they restore, and only that is suggested.

use super::alike::Comparisons;
use super::arbitrary::{Entry, is_arbitrary};
use super::aside::Move;
use super::asked::Asked;
use super::doubts::{self, Verdict, pattern};
use super::lacking::Lacking;
use super::names::CLEARLY;
use super::problem::{grown, unexplained};
use super::roles::Kinds;
use super::values::Turning;
use super::{singles, slot_rules, values};
use crate::restore::matching::{Matching, Outcome, lacks};
use crate::restore::rules::{Applied, Rule, RuleUse, apply};
use crate::tensor::TensorEntry;
use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap};
use warmstart_graph::{Role, Variable};

/// Planning again, with rules added.
pub(super) struct Trials<'a> {
    pub asked: Asked<'a>,
    pub kinds: &'a Kinds,
    pub limits: Limits,
    /// Whether layers are being renumbered: variables may then lose a tensor of their own name to one
    /// whose name differs by numbers only.
    pub renumbers: bool,
    pub aside: Aside,
    compared: Comparisons,
    /// The names of what lacks a value, once they are asked for.
    lacking: OnceCell<Lacking<'a>>,
}

/// How much may be tried, and what was.
pub(super) struct Limits {
    /// Names that searches may still look at.
    pub names: usize,
    /// Sets of rules that may still be tried without some of their rules.
    pub weaker: usize,
    /// Plans made so far, and as many as there may be.
    pub passes: usize,
    pub most: usize,
    /// Whether there was more to try than may be.
    pub ended: bool,
}

/// What was moved aside.
#[derive(Default)]
pub(super) struct Aside {
    pub moves: Vec<Move>,
    /// The tensors that were moved, by their names in the file, each with the variable of its own name if it
    /// does not have that one's shape. Where shapes say that a scope is another one, these may go to another
    /// variable.
    pub tensors: HashMap<String, Option<String>>,
}

/// A plan with rules added.
pub(super) struct Planned<'a> {
    pub matching: Matching,
    pub applied: Applied<'a>,
}

/// Rules that were tried out.
#[derive(Clone, Debug)]
pub(super) struct Trial {
    /// All rules to add.
    pub rules: Vec<Rule>,
    /// Those about names.
    pub name_rules: Vec<Rule>,
    /// Variables that were missing or mismatched and are restored.
    pub restored: usize,
    /// Missing variables that get a value that does not fit, if that speaks against it.
    pub mismatched: usize,
    /// Missing variables that get a value of another number of rows.
    pub grown: usize,
    /// For each variable that the rules give a tensor, or another one, that tensor.
    pub pairs: BTreeMap<usize, usize>,
    pub notes: Vec<String>,
    /// That something which is left would do as well.
    pub tie: Option<String>,
    /// That square matrices may as well be transposed.
    pub turning: Option<Turning>,
    /// How many of the notes say that something else may be meant.
    pub doubts: usize,
    /// Whether nothing says which of two tensors is which of two variables.
    pub exchangeable: bool,
    /// Whether the places of norms in a layer speak against it: it is the last that is suggested.
    pub misplaced: bool,
    /// How many kinds of pairs only a shape speaks for that others have too.
    pub by_shape: usize,
}

/// What rules change.
#[derive(Default)]
struct Changed<'p> {
    /// For each variable that gets a tensor, or another one, that tensor.
    pairs: BTreeMap<usize, usize>,
    /// Variables that had no value and have one.
    restored: usize,
    /// Missing variables that get a value which does not fit, and those of them that have more or fewer rows.
    mismatched: usize,
    grown: usize,
    /// Variables that had a value and get another one: their names, the tensor before, and the one now.
    exchanged: Vec<[&'p str; 3]>,
}

impl Changed<'_> {
    fn note(&self) -> Option<String> {
        let ([variable, old, new], others) = self.exchanged.split_first()?;
        let more = match others.len() {
            0 => String::new(),
            n => format!("; so it is with {n} more"),
        };
        Some(format!(
            "`{variable}`, which would fit as it is, gets `{new}` in place of `{old}`{more}"
        ))
    }
}

impl Trial {
    pub fn gain(&self) -> isize {
        self.restored as isize - self.mismatched as isize
    }
}

impl<'a> Trials<'a> {
    pub fn new(asked: Asked<'a>, kinds: &'a Kinds, limits: Limits) -> Trials<'a> {
        Trials {
            asked,
            kinds,
            limits,
            renumbers: false,
            aside: Aside::default(),
            compared: Comparisons::default(),
            lacking: OnceCell::new(),
        }
    }

    /// A plan with rules added, unless there were enough.
    pub fn plan(&mut self, added: &[Rule]) -> Option<Planned<'a>> {
        if self.limits.passes >= self.limits.most {
            self.limits.ended = true;
            return None;
        }
        self.limits.passes += 1;
        let rules = [self.asked.rules, added].concat();
        let names = self.asked.tensors.iter().map(|tensor| tensor.name.as_str());
        let applied = apply(&rules, names, self.asked.variables);
        let matching = Matching::of(self.asked.tensors, self.asked.variables, &applied);
        Some(Planned { matching, applied })
    }

    pub fn matching(&mut self, added: &[Rule]) -> Option<Matching> {
        self.plan(added).map(|planned| planned.matching)
    }

    /// Whether one more set may be tried without some of its rules.
    pub fn may_weaken(&mut self) -> bool {
        let left = self.limits.weaker.checked_sub(1);
        self.limits.ended |= left.is_none();
        self.limits.weaker = left.unwrap_or(0);
        left.is_some()
    }

    /// Rules about names, with what rules about values and single renames add to them.
    pub fn complete(&mut self, name_rules: &[Rule]) -> Vec<Trial> {
        let Some(planned) = self.plan(name_rules) else { return Vec::new() };
        let mut trials = Vec::new();
        for renames in singles::singles(self, &planned) {
            let names = [name_rules, &renames[..]].concat();
            let renamed = match renames.is_empty() {
                true => None,
                false => match self.matching(&names) {
                    None => break,
                    some => some,
                },
            };
            let before_values = renamed.as_ref().unwrap_or(&planned.matching);
            let values = values::values(self, &before_values.outcomes, &planned.applied.allowed);
            let rules = [&names[..], &values.rules[..]].concat();
            // Where values stay as they are, that was the whole plan.
            let with_values = match values.rules.is_empty() {
                true => None,
                false => match self.matching(&rules) {
                    None => break,
                    some => some,
                },
            };
            let whole = with_values.as_ref().unwrap_or(before_values);
            let trial = self.verified(names, rules, values.notes, whole);
            trials.extend(trial.map(|trial| Trial { turning: values.turning, ..trial }));
        }
        trials
    }

    /// Whether all rules that were added do something.
    pub fn all_do(&self, uses: &[RuleUse]) -> bool {
        uses[self.asked.rules.len()..].iter().all(|used| used.touched > 0)
    }

    /// How many variables have a value with rules added that all do something.
    pub fn restores(&mut self, added: &[Rule]) -> Option<usize> {
        let Matching { outcomes, rules, .. } = self.matching(added)?;
        let restored = |outcome: &&Outcome| matches!(outcome, Outcome::Restored { .. });
        self.all_do(&rules).then(|| outcomes.iter().filter(restored).count())
    }

    /// Whether rules all do something, and come to the same as a plan.
    pub fn come_to(&mut self, added: &[Rule], plan: &Matching) -> bool {
        let Some(Matching { outcomes, rules, .. }) = self.matching(added) else { return false };
        outcomes == plan.outcomes && self.all_do(&rules)
    }

    /// What rules restore, by the plan under them, if they do no harm.
    fn verified(
        &self,
        names: Vec<Rule>,
        rules: Vec<Rule>,
        mut notes: Vec<String>,
        plan: &Matching,
    ) -> Option<Trial> {
        let Matching { outcomes, rules: uses, unexpected, .. } = plan;
        if !self.all_do(uses) {
            return None;
        }
        let tensors = self.asked.tensors.iter().enumerate();
        let by_name: HashMap<&str, usize> =
            tensors.map(|(index, tensor)| (tensor.name.as_str(), index)).collect();
        let changed = self.changed(outcomes, &by_name)?;
        notes.extend(changed.note());
        let Changed { pairs, restored, mismatched, grown, .. } = changed;
        let mut trial = Trial {
            mismatched: unexplained(&names, restored, mismatched, grown),
            rules,
            name_rules: names,
            restored,
            grown,
            pairs,
            notes,
            tie: None,
            turning: None,
            doubts: 0,
            exchangeable: false,
            misplaced: false,
            by_shape: 0,
        };
        let sound = trial.gain() > 0
            && !self.strained(&trial)
            && !self.contradicted(&trial)
            && self.slots_follow(outcomes, &trial)
            && !self.crosses(&trial)
            && !self.arbitrary(&trial, outcomes, unexpected);
        if !sound {
            return None;
        }
        trial.notes.extend(slot_rules::half(self, &trial, outcomes));
        match self.verdict(&by_name, &trial, outcomes, unexpected) {
            Verdict::Against => None,
            Verdict::For { notes: doubts, tie, exchangeable, misplaced, by_shape } => {
                (trial.tie, trial.exchangeable) = (tie, exchangeable);
                (trial.misplaced, trial.by_shape) = (misplaced, by_shape);
                trial.doubts = doubts.len();
                trial.notes.splice(0..0, doubts);
                Some(trial)
            }
        }
    }

    /// What a plan changes, if it does no harm: no variable loses its value but to what is renumbered or was
    /// moved aside, none gets a slot's or another slot's, and what is ambiguous or left out stays so.
    fn changed<'p>(
        &'p self,
        outcomes: &'p [Outcome],
        by_name: &HashMap<&str, usize>,
    ) -> Option<Changed<'p>> {
        let mut changed = Changed::default();
        for (index, (before, after)) in self.asked.outcomes.iter().zip(outcomes).enumerate() {
            let gets = |tensor: &str| {
                let tensor = by_name.get(tensor).copied();
                tensor.filter(|&tensor| self.kinds.agree(tensor, index))
            };
            match (before, after) {
                (Outcome::Restored { tensor: old, .. }, Outcome::Restored { tensor: new, .. })
                    if old == new => {}
                (Outcome::Restored { tensor: old, .. }, Outcome::Restored { tensor: new, .. })
                    if self.may_be_exchanged(old, new) =>
                {
                    changed.pairs.insert(index, gets(new)?);
                    changed.exchanged.push([&self.asked.variables[index].name, old, new]);
                }
                (Outcome::Restored { .. }, _) => return None,
                // What is ambiguous is for the user to settle.
                (Outcome::Ambiguous { .. }, Outcome::Ambiguous { .. }) => {}
                (Outcome::Ambiguous { .. }, _) | (_, Outcome::Ambiguous { .. }) => return None,
                // Nor does a mending take in what the user's rules leave out, or leave out more.
                (Outcome::Ignored, Outcome::Ignored) => {}
                (Outcome::Ignored, _) | (_, Outcome::Ignored) => return None,
                (before, Outcome::Restored { tensor, .. }) if lacks(before) => {
                    changed.pairs.insert(index, gets(tensor)?);
                    changed.restored += 1;
                }
                (Outcome::Missing { .. }, after) if lacks(after) => {
                    let mismatched = !matches!(after, Outcome::Missing { .. });
                    changed.mismatched += usize::from(mismatched);
                    if let Outcome::ShapeMismatch { shape, .. } = after {
                        let variable = self.asked.variables[index];
                        changed.grown += usize::from(grown(&variable.shape, shape));
                    }
                }
                _ => {}
            }
        }
        Some(changed)
    }

    /// Whether a variable may lose one tensor, which would fit, to another.
    fn may_be_exchanged(&self, old: &str, new: &str) -> bool {
        (self.renumbers && pattern(old) == pattern(new)) || self.aside.tensors.contains_key(old)
    }

    /// Whether there are many rules for few of the variables: models that have little to do with each
    /// other have some shapes and words in common.
    fn strained(&self, trial: &Trial) -> bool {
        const MANY: usize = 4;
        let (rules, pairs) = (trial.name_rules.len(), trial.pairs.len() + trial.grown);
        let wanted = self.asked.outcomes.iter().filter(|o| lacks(o)).count();
        let few = (rules >= MANY && pairs < 2 * rules) || pairs < rules;
        few && 4 * pairs < wanted
    }

    /// Whether it restores few, and half of that from tensors which by their names belong to variables
    /// that lack a value too: that one shape coincides says little.
    fn contradicted(&self, trial: &Trial) -> bool {
        let wanted = self.asked.outcomes.iter().filter(|o| lacks(o)).count();
        if 4 * trial.pairs.len() >= wanted {
            return false;
        }
        let lacking = self.lacking.get_or_init(|| {
            let lacking =
                self.asked.variables.iter().zip(self.asked.outcomes).filter(|(_, o)| lacks(o));
            Lacking::of(lacking.map(|(variable, _)| variable.name.as_str()))
        });
        let others = trial.pairs.iter().filter(|&(&variable, &tensor)| {
            lacking
                .has_another(&self.asked.tensors[tensor].name, &self.asked.variables[variable].name)
        });
        2 * others.count() >= trial.pairs.len()
    }

    /// What names say of it, after all.
    fn verdict(
        &self,
        by_name: &HashMap<&str, usize>,
        trial: &Trial,
        outcomes: &[Outcome],
        unexpected: &[usize],
    ) -> Verdict {
        let tensor = |index: usize| {
            let TensorEntry { name, shape, .. } = &self.asked.tensors[index];
            doubts::Entry { name, shape, kind: &self.kinds.tensors[index] }
        };
        let variable = |index: usize| {
            let Variable { name, shape, .. } = self.asked.variables[index];
            doubts::Entry { name, shape, kind: &self.kinds.variables[index] }
        };
        let missing = (0..outcomes.len()).filter(|&index| lacks(&outcomes[index]));
        let known =
            self.asked.outcomes.iter().enumerate().filter_map(|(index, outcome)| match outcome {
                Outcome::Restored { tensor: name, .. } if !trial.pairs.contains_key(&index) => {
                    Some((tensor(*by_name.get(name.as_str())?), variable(index)))
                }
                _ => None,
            });
        doubts::judge(
            &self.compared,
            trial.pairs.iter().map(|(&v, &t)| (tensor(t), variable(v))),
            known,
            unexpected.iter().map(|&index| tensor(index)),
            missing.map(variable),
            self.asked
                .rules
                .iter()
                .chain(&trial.rules)
                .any(|rule| matches!(rule, Rule::Transpose(_))),
        )
    }

    fn arbitrary(&self, trial: &Trial, outcomes: &[Outcome], unexpected: &[usize]) -> bool {
        let tensor = |index: usize| -> Entry<'a> {
            (&self.asked.tensors[index].name, &self.asked.tensors[index].shape)
        };
        let variable = |index: usize| -> Entry<'a> {
            (&self.asked.variables[index].name, &self.asked.variables[index].shape)
        };
        let pairs: Vec<_> = trial.pairs.iter().map(|(&v, &t)| (variable(v), tensor(t))).collect();
        let missing: Vec<usize> =
            (0..outcomes.len()).filter(|&index| lacks(&outcomes[index])).collect();
        let tensors = unexpected.iter().map(|&index| tensor(index));
        is_arbitrary(&pairs, tensors, missing.into_iter().map(variable))
    }

    /// Whether two variables that fit each other's tensors would clearly be more like them by name:
    /// few rules can also give every tensor to its neighbour. A few of each shape are looked at.
    fn crosses(&self, trial: &Trial) -> bool {
        const SHAPES: usize = 4;
        const EACH: usize = 12;
        type Pair = (String, String);
        let mut by_shape: BTreeMap<(Vec<usize>, &str), Vec<Pair>> = BTreeMap::new();
        for (&variable, &tensor) in &trial.pairs {
            let tensor = &self.asked.tensors[tensor];
            // Shapes of its scope say that names mislead.
            if self.aside.tensors.contains_key(tensor.name.as_str()) {
                continue;
            }
            let mut shape = tensor.shape.to_vec();
            if shape.len() == 2 {
                // It may be transposed.
                shape.sort_unstable();
            }
            let key = (shape, tensor.dtype.name());
            if by_shape.len() >= SHAPES && !by_shape.contains_key(&key) {
                continue;
            }
            let pairs = by_shape.entry(key).or_default();
            // Where only order says which layer is which, their numbers say nothing.
            let name = |text: &str| if self.renumbers { pattern(text) } else { text.to_owned() };
            if pairs.len() < EACH {
                pairs.push((name(&self.asked.variables[variable].name), name(&tensor.name)));
            }
        }
        by_shape.values().any(|pairs| {
            let compared = |v: usize, t: usize| self.compared.of(&pairs[t].1, &pairs[v].0);
            let alike = |v: usize, t: usize| compared(v, t).parts;
            let share = |v: usize, t: usize| compared(v, t).share;
            let same = |v: usize, t: usize| compared(v, t).same;
            let crossed = |i: usize, j: usize| {
                let more = alike(i, j) + alike(j, i) - alike(i, i) - alike(j, j);
                // `encoder` and `decoder` have most letters in common, and yet are not the same.
                let both = || same(i, j) + same(j, i) >= same(i, i) + same(j, j) + 2;
                // `net.encoder.kernel` has as much of `attention/encoder/weight` as of
                // `encoder/weight`, and as many parts as the first.
                let whole = || share(i, j) + share(j, i) > share(i, i) + share(j, j) + 0.1;
                more > 2.0 * CLEARLY || (more > 0.0 && both()) || (more > -1e-9 && whole())
            };
            (0..pairs.len()).any(|i| (0..i).any(|j| crossed(i, j)))
        })
    }

    /// Whether each slot belongs to the tensor that its variable is restored from, as far as the checkpoint
    /// says: those that are restored anew, and those of variables that are.
    fn slots_follow(&self, outcomes: &[Outcome], trial: &Trial) -> bool {
        let variables = || self.asked.variables.iter().zip(outcomes).enumerate();
        let from: HashMap<&str, (usize, &str)> = variables()
            .filter_map(|(index, (variable, outcome))| match outcome {
                Outcome::Restored { tensor, .. } => {
                    Some((variable.name.as_str(), (index, tensor.as_str())))
                }
                _ => None,
            })
            .collect();
        variables().all(|(index, (variable, _))| {
            let Role::Slot { variable: Some(owner), .. } = &variable.role else { return true };
            let own = from.get(variable.name.as_str()).map(|(_, tensor)| *tensor);
            let (Some(tensor), Some((of, owner))) = (own, from.get(owner.as_str())) else {
                return true;
            };
            let is_new = |index| trial.pairs.contains_key(index);
            if !is_new(&index) && !is_new(of) {
                return true;
            }
            match self.asked.saved.get(tensor).map(|saved| &saved.role) {
                Some(Role::Slot { variable: Some(of), .. }) => *owner == of.as_str(),
                _ => true,
            }
        })
    }
}
