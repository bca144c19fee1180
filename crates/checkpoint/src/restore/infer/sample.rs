//! What a search looks at of many names.

use super::names::{digits, runs};
use std::collections::{BTreeMap, HashMap};

/// As many names and as many variables as a search looks at; half as many more may come with them.
const SAMPLE: usize = 200;

/// Names that differ by their numbers only, of which a search looks at the first: what makes those of a
/// few layers a model's does so with all. As many in all, and of each first number.
const ALIKE: usize = 6;
const WITHIN: usize = 2;

/// A class, a name, and whose it is.
type Seen<'a, T> = (u64, &'a str, T);

/// A part of many: names with the same numbers go together, since those of the checkpoint and those
/// of the variables that belong together mostly have them in common. Those that match already are
/// kept as a check that they still do, but fewer.
pub(super) fn sample<T>(all: Vec<Seen<'_, T>>, free: impl Fn(&T) -> bool) -> Vec<Seen<'_, T>> {
    let (free, used): (Vec<_>, Vec<_>) = all.into_iter().partition(|(.., t)| free(t));
    let mut picked = thin(few_of_each(free), SAMPLE);
    picked.extend(thin(used, SAMPLE / 4));
    picked
}

/// Of names that differ by their numbers only, those with the lowest.
fn few_of_each<T>(all: Vec<Seen<'_, T>>) -> Vec<Seen<'_, T>> {
    let mut patterns: HashMap<(u64, String), Vec<(Vec<u64>, usize)>> = HashMap::new();
    for (at, (class, name, _)) in all.iter().enumerate() {
        let pattern = runs(name).map(|(run, number)| if number { "#" } else { run }).collect();
        patterns.entry((*class, pattern)).or_default().push((numbers(name), at));
    }
    let mut kept = vec![false; all.len()];
    for mut alike in patterns.into_values() {
        alike.sort_unstable();
        let mut within: HashMap<Option<u64>, usize> = HashMap::new();
        let mut left = ALIKE;
        for (numbers, at) in alike {
            let here = within.entry(numbers.first().copied()).or_default();
            *here += 1;
            if *here <= WITHIN && left > 0 {
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
