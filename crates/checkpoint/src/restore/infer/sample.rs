//! What a search looks at of many names.

use super::names::{digits, runs};
use std::collections::{BTreeMap, HashMap, HashSet};

/// As many names and as many variables as a search looks at; half as many more may come with them.
const SAMPLE: usize = 200;

/// Names that differ by their numbers only, of which a search looks at a few: what makes those of a few
/// layers a model's does so with all. As many in all, and of each first number.
const OF_A_PATTERN: usize = 6;
const OF_A_NUMBER: usize = 3;

/// A class, a name, and whose it is.
type Seen<'a, T> = (u64, &'a str, T);

/// The numbers in names, of layers mostly.
pub(super) struct Numbers {
    all: HashSet<Vec<u64>>,
    first: HashSet<u64>,
}

impl Numbers {
    pub fn of<'n>(names: impl Iterator<Item = &'n str>) -> Numbers {
        let all: HashSet<Vec<u64>> = names.map(numbers).collect();
        let first = all.iter().filter_map(|numbers| numbers.first().copied()).collect();
        Numbers { all, first }
    }

    /// How far numbers are from those that are there: 0 if they are.
    fn distance(&self, numbers: &[u64]) -> u8 {
        match numbers.first() {
            _ if self.all.contains(numbers) => 0,
            Some(first) if self.first.contains(first) => 1,
            _ => 2,
        }
    }
}

/// A part of many: names with the same numbers go together, since those of the checkpoint and those
/// of the variables that belong together mostly have them in common. `others` are the numbers that the
/// other side has. Names that match already are kept as a check that they still do, but fewer.
pub(super) fn sample<'a, T>(
    all: Vec<Seen<'a, T>>,
    free: impl Fn(&T) -> bool,
    others: &Numbers,
) -> Vec<Seen<'a, T>> {
    let (free, used): (Vec<_>, Vec<_>) = all.into_iter().partition(|(.., t)| free(t));
    let mut picked = thin(few_of_each(free, others), SAMPLE);
    picked.extend(thin(used, SAMPLE / 4));
    picked
}

/// Of names that differ by their numbers only, those with numbers that the other side has too, the lowest
/// first.
fn few_of_each<'a, T>(all: Vec<Seen<'a, T>>, others: &Numbers) -> Vec<Seen<'a, T>> {
    /// How far its numbers are from those of the other side, they, and its place.
    type Place = (u8, Vec<u64>, usize);
    let mut patterns: HashMap<(u64, String), Vec<Place>> = HashMap::new();
    for (at, (class, name, _)) in all.iter().enumerate() {
        let pattern = runs(name).map(|(run, number)| if number { "#" } else { run }).collect();
        let numbers = numbers(name);
        let distance = others.distance(&numbers);
        patterns.entry((*class, pattern)).or_default().push((distance, numbers, at));
    }
    let mut kept = vec![false; all.len()];
    for mut alike in patterns.into_values() {
        alike.sort_unstable();
        let mut of_a_number: HashMap<Option<u64>, usize> = HashMap::new();
        let mut left = OF_A_PATTERN;
        for (_, numbers, at) in alike {
            let here = of_a_number.entry(numbers.first().copied()).or_default();
            *here += 1;
            if *here <= OF_A_NUMBER && left > 0 {
                (kept[at], left) = (true, left - 1);
            }
        }
    }
    all.into_iter().zip(kept).filter_map(|(seen, kept)| kept.then_some(seen)).collect()
}

fn numbers(name: &str) -> Vec<u64> {
    digits(name).iter().take(8).map(|run| run.parse().unwrap_or(u64::MAX)).collect()
}

fn thin<T>(all: Vec<Seen<'_, T>>, most: usize) -> Vec<Seen<'_, T>> {
    if all.len() <= most {
        return all;
    }
    let mut groups: BTreeMap<(usize, Vec<u64>), Vec<Seen<'_, T>>> = BTreeMap::new();
    for (class, name, what) in all {
        let numbers = numbers(name);
        groups.entry((numbers.len(), numbers)).or_default().push((class, name, what));
    }
    let mut picked = Vec::new();
    // A few of each depth of numbering, and the lowest numbers first.
    let mut depths: BTreeMap<usize, usize> = BTreeMap::new();
    for ((depth, _), group) in groups {
        let here = depths.entry(depth).or_default();
        if *here >= most {
            continue;
        }
        let mut classes: HashMap<u64, usize> = HashMap::new();
        let each = most / 4;
        let before = picked.len();
        picked.extend(
            group
                .into_iter()
                .filter(|(class, ..)| {
                    let seen = classes.entry(*class).or_default();
                    *seen += 1;
                    *seen <= each
                })
                .take(most),
        );
        *here += picked.len() - before;
    }
    picked.truncate(most + most / 2);
    picked
}
