//! Results that are written over a value that their kernel is the last to read, through one binding.
//!
//! Such a kernel is another one than for a result apart, and whoever else reads that value must come
//! before it. So this is done only where it makes the plan smaller.
//!
//! A residual that is added to a product, a softmax over its scores, a link of a chain that was
//! cut: the kernel reads a value for the last time, and each element only where it then writes one.
//! Lowering notes which kernels could. Those that the peak depends on are lowered anew if the plan then
//! takes less, by more than a few bytes (`Target::spare`), and, on GPUs, has no more groups, so that no
//! kernel is another one for nothing.
//! Halves, fed values, variables, packed gradients and what is fetched are never written over.

use super::lower::Lowered;
use super::memory::items;
use super::share::alive;
use super::simplify::Live;
use super::{FetchSpec, Place, Step};
use std::collections::{BTreeMap, HashMap};

/// The results to write over values, with where each of them is: those without which more would be
/// alive at once than there must be.
pub(super) fn over(
    live: &Live,
    lowered: &Lowered,
    fetches: &[FetchSpec],
) -> BTreeMap<usize, usize> {
    let items = items(live, lowered, fetches);
    let apart = alive(items.iter().map(|(_, item)| item));
    let ends: HashMap<Place, (usize, u64)> =
        items.iter().map(|(place, item)| (*place, (item.last, item.room))).collect();
    let end = |value: usize| ends.get(&Place::Value(value)).map(|&(last, _)| last);
    let mut readers: HashMap<Place, usize> = HashMap::new();
    for step in &lowered.steps {
        let Step::Dispatch(dispatch) = step else { continue };
        dispatch.bindings.iter().for_each(|(place, _)| *readers.entry(*place).or_default() += 1);
    }
    let possible = lowered.in_place.iter().filter_map(|kernel| {
        let ending = kernel.values.iter().copied().filter(|&id| end(id) == Some(kernel.step));
        // Of two, that with fewer readers to wait for.
        let value = ending.min_by_key(|&id| readers.get(&Place::Value(id)).copied())?;
        Some((kernel.step, kernel.root, value))
    });
    let possible: Vec<(usize, usize, usize)> = possible.collect();
    let mut together = apart.clone();
    for (step, _, value) in &possible {
        together[*step] -= ends.get(&Place::Value(*value)).map_or(0, |&(_, room)| room);
    }
    let least = together.into_iter().max().unwrap_or(0);
    let mut over = BTreeMap::new();
    for (step, root, value) in possible {
        if apart[step] > least {
            let first = over.get(&value).copied().unwrap_or(value);
            over.insert(root, first);
        }
    }
    over
}

#[cfg(test)]
#[path = "in_place_tests.rs"]
mod tests;
