//! Layers that are counted otherwise on the two sides, from another number on or in other steps:
//! `layer_1` to `layer_6` for `layer_0` to `layer_5`, `layers.0`, `.2` and `.4` for `fc1` to `fc3`.
//! No pattern subtracts, so each layer is renamed by a rule of its own.
//!
//! Families of layers of one name are paired whose number of layers and shapes agree wholly, and
//! each layer is renamed by its place, so ordered that none gets a name that another one still has;
//! the search goes on from there. Beside what is moved aside (`infer/aside.rs`) this is the only
//! suggestion that may take a tensor from the variable of its own name, and its notes say which.

use super::names::{Name, bare, parts_alike};
use super::problem::class;
use super::roles::Kind;
use super::slot_rules::Below;
use super::trial::{Planned, Trials};
use crate::restore::matching::{Outcome, lacks};
use crate::restore::rules::{Rule, SEPARATORS};
use std::collections::BTreeMap;

/// As many layers, and so rules, at most.
const MOST: usize = 200;
/// Families that are compared at most, on either side.
const COMPARED: usize = 64;
/// Parts of a name that are looked at, and its length.
const PARTS: usize = 24;
const LONGEST: usize = 512;
/// By how much of a part names must be more alike to say which family is which.
const SPEAKS: f64 = 0.05;

/// What is called the same but for one number.
#[derive(Default)]
struct Family<'a> {
    layers: BTreeMap<u64, Layer<'a>>,
    /// Some of it is without its counterpart.
    open: bool,
    /// Two layers have one number: `layer_1` and `layer_01`.
    unclear: bool,
}

/// One of them.
struct Layer<'a> {
    /// Its name, up to and with the number.
    name: &'a str,
    /// What its weights fit.
    classes: Vec<u64>,
    /// Whether it holds values by other names, and whether it is one itself.
    is_scope: bool,
    is_value: bool,
}

/// A weight: its name, what it fits, and whether it is without its counterpart.
type Weight<'a> = (&'a str, u64, bool);

/// Rules that rename the layers of the checkpoint to those of the model, one by one in their order: where
/// their numbers differ, and everything else about them agrees.
pub(super) fn numbering(trials: &Trials<'_>, planned: &Planned<'_>) -> Vec<Rule> {
    let mut unexpected = vec![false; trials.asked.tensors.len()];
    planned.matching.unexpected.iter().for_each(|&tensor| unexpected[tensor] = true);
    let tensors: Vec<Weight<'_>> = (0..trials.asked.tensors.len())
        .filter(|&tensor| trials.kinds.tensors[tensor] == Kind::Weight)
        .filter_map(|tensor| {
            let [name] = planned.applied.names[tensor].as_slice() else { return None };
            let class = class(&trials.asked.tensors[tensor].shape, &Kind::Weight);
            Some((&**name, class, unexpected[tensor]))
        })
        .collect();
    let outcomes = &planned.matching.outcomes;
    let variables: Vec<Weight<'_>> = (0..outcomes.len())
        .filter(|&variable| trials.kinds.variables[variable] == Kind::Weight)
        .filter(|&variable| outcomes[variable] != Outcome::Ignored)
        .map(|variable| {
            let declared = trials.asked.variables[variable];
            let class = class(&declared.shape, &Kind::Weight);
            (declared.name.as_str(), class, lacks(&outcomes[variable]))
        })
        .collect();
    let (from, to) = (families(&tensors), families(&variables));
    let slots = Below::of(trials, planned);
    let mut rules = Vec::new();
    let mut done: Vec<(&str, &str)> = Vec::new();
    for (old, new) in together(&from, &to) {
        // What is counted within what is renamed has other names then.
        let below = |head: &str, outer: &str| {
            let rest = head.strip_prefix(outer);
            rest.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        };
        let within = |&(a, b): &(&str, &str)| below(old, a) || below(new, b);
        if !done.iter().any(within) && !from[old].is_numbered_as(&to[new]) {
            rules.extend(renames(&from[old], &to[new], &slots));
            done.push((old, new));
        }
    }
    if rules.len() > 2 * MOST { Vec::new() } else { rules }
}

/// All families of two layers and more, by their names up to the number.
fn families<'a>(weights: &[Weight<'a>]) -> BTreeMap<&'a str, Family<'a>> {
    let mut families: BTreeMap<&str, Family<'_>> = BTreeMap::new();
    let all = || {
        weights.iter().flat_map(|&(name, class, open)| {
            parts(bare(name)).map(move |(begin, end)| (name, begin, end, class, open))
        })
    };
    for (name, begin, end, class, open) in all() {
        let word = name[begin..end].trim_end_matches(|c: char| c.is_ascii_digit()).len();
        if let Ok(number) = name[begin + word..end].parse() {
            let family = families.entry(&name[..begin + word]).or_default();
            family.add(number, (name, end), class, open);
        }
    }
    // Keras counts `dense`, `dense_1`.
    for (name, begin, end, class, open) in all() {
        if begin < end && !name[..end].ends_with(|c: char| c.is_ascii_digit()) {
            let family = families.get_mut(format!("{}_", &name[..end]).as_str());
            if let Some(family) = family {
                family.add(0, (name, end), class, open);
            }
        }
    }
    families.retain(|_, family| {
        let layers = &mut family.layers;
        layers.values_mut().for_each(|layer| layer.classes.sort_unstable());
        family.open && !family.unclear && (2..=MOST).contains(&layers.len())
    });
    families
}

/// Where the parts of a name begin and end.
fn parts(name: &str) -> impl Iterator<Item = (usize, usize)> {
    let name = if name.len() > LONGEST { "" } else { name };
    let mut begin = 0;
    name.split(SEPARATORS).take(PARTS).map(move |part| {
        let here = (begin, begin + part.len());
        begin = here.1 + 1;
        here
    })
}

impl<'a> Family<'a> {
    fn add(&mut self, number: u64, (name, end): (&'a str, usize), class: u64, open: bool) {
        let new = Layer { name: &name[..end], classes: vec![], is_scope: false, is_value: false };
        let layer = self.layers.entry(number).or_insert(new);
        self.open |= open;
        // A name that ends with `:0` is no scope.
        self.unclear |= layer.name != &name[..end] || (end < name.len() && end == bare(name).len());
        layer.classes.push(class);
        layer.is_scope |= end < name.len();
        layer.is_value |= end == name.len();
    }

    /// Whether the numbers of another family are written the same, so that one pattern is enough.
    fn is_numbered_as<'f>(&'f self, other: &'f Family<'_>) -> bool {
        let numbers = |family: &'f Family<'_>| {
            family.layers.values().map(|layer| {
                let word = layer.name.trim_end_matches(|c: char| c.is_ascii_digit());
                &layer.name[word.len()..]
            })
        };
        numbers(self).eq(numbers(other))
    }

    /// Whether each layer has, in their order, what that of a model asks for, and no more.
    fn serves(&self, model: &Family<'_>) -> bool {
        self.layers.len() == model.layers.len()
            && self
                .layers
                .values()
                .zip(model.layers.values())
                .all(|(layer, wanted)| layer.classes == wanted.classes)
    }
}

/// The families of a checkpoint and those of a model that belong together and to no other, the outermost
/// first.
fn together<'a>(
    from: &BTreeMap<&'a str, Family<'_>>,
    to: &BTreeMap<&'a str, Family<'_>>,
) -> Vec<(&'a str, &'a str)> {
    let outermost = |families: &BTreeMap<&'a str, Family<'_>>| {
        let mut heads: Vec<&'a str> = families.keys().copied().collect();
        heads.sort_by_key(|head| (head.matches(SEPARATORS).count(), head.len()));
        heads.truncate(COMPARED);
        heads.into_iter().map(|head| (head, Name::new(head.to_owned()))).collect::<Vec<_>>()
    };
    let (olds, news) = (outermost(from), outermost(to));
    // The one that is clearly more alike than all others.
    let best = |mut all: Vec<(f64, usize)>| {
        all.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        match all[..] {
            [(_, one)] => Some(one),
            [(first, one), (second, _), ..] if first > second + SPEAKS => Some(one),
            _ => None,
        }
    };
    let fits = |old: usize, new: usize| from[olds[old].0].serves(&to[news[new].0]);
    let alike = |old: usize, new: usize| parts_alike(&olds[old].1, &news[new].1);
    let of_new = |new: usize| {
        let all = (0..olds.len()).filter(|&old| fits(old, new));
        best(all.map(|old| (alike(old, new), old)).collect())
    };
    let of_old = |old: usize| {
        let all = (0..news.len()).filter(|&new| fits(old, new));
        best(all.map(|new| (alike(old, new), new)).collect())
    };
    (0..news.len())
        .filter_map(|new| of_new(new).filter(|&old| of_old(old) == Some(new)).map(|old| (old, new)))
        .map(|(old, new)| (olds[old].0, news[new].0))
        .collect()
}

/// One rule for each layer, so ordered that none gets a name that another one still has.
fn renames(from: &Family<'_>, to: &Family<'_>, slots: &Below<'_>) -> Vec<Rule> {
    let mut left: Vec<(&Layer<'_>, &Layer<'_>)> =
        from.layers.values().zip(to.layers.values()).filter(|(a, b)| a.name != b.name).collect();
    let mut rules = Vec::new();
    while !left.is_empty() {
        let free =
            |(_, new): &(&Layer<'_>, &Layer<'_>)| left.iter().all(|(a, _)| a.name != new.name);
        let Some(at) = left.iter().position(free) else { return Vec::new() };
        let (old, new) = left.remove(at);
        let (from, to) = (old.name.to_owned(), new.name.to_owned());
        if old.is_value {
            rules.push(Rule::Rename { from: from.clone(), to: to.clone() });
        }
        if old.is_scope {
            rules.push(Rule::RenameScope { from, to });
        } else {
            rules.extend(slots.rule(&from, &to));
        }
    }
    rules
}
