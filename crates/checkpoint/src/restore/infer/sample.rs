//! What a search looks at of many names.

use super::names::digits;
use std::collections::{BTreeMap, HashMap};

/// As many names and as many variables as a search looks at; half as many more may come with them.
const SAMPLE: usize = 200;

/// A class, a name, and whose it is.
type Seen<'a, T> = (u64, &'a str, T);

/// A part of many: names with the same numbers go together, since those of the checkpoint and those
/// of the variables that belong together mostly have them in common. Those that match already are
/// kept as a check that they still do, but fewer.
pub(super) fn sample<T>(all: Vec<Seen<'_, T>>, free: impl Fn(&T) -> bool) -> Vec<Seen<'_, T>> {
    let (free, used): (Vec<_>, Vec<_>) = all.into_iter().partition(|(.., t)| free(t));
    let mut picked = thin(free, SAMPLE);
    picked.extend(thin(used, SAMPLE / 4));
    picked
}

fn thin<T>(all: Vec<Seen<'_, T>>, most: usize) -> Vec<Seen<'_, T>> {
    if all.len() <= most {
        return all;
    }
    let mut groups: BTreeMap<(usize, Vec<u64>), Vec<Seen<'_, T>>> = BTreeMap::new();
    for (class, name, what) in all {
        let numbers: Vec<u64> =
            digits(name).iter().take(8).map(|run| run.parse().unwrap_or(u64::MAX)).collect();
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
