//! The memory of a plan: values that are never alive at the same time share room.

use super::lower::Lowered;
use super::simplify::Live;
use super::{Access, FetchSpec, Place, Step, Target};
use crate::plan_error::CompileError;
use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

/// Sizes and offsets are kept to multiples of this, which every device accepts for a binding.
pub(crate) const ALIGNMENT: u64 = 256;

/// Which buffer each place of a program is in.
pub(crate) struct Memory {
    /// Bytes of each buffer.
    pub buffers: Vec<u64>,
    /// For each place of the plan's own: buffer, offset, bytes.
    pub places: HashMap<Place, (usize, u64, u64)>,
    /// Bytes of all values if none shared a buffer.
    pub unshared: u64,
    /// The largest sum of values that are alive at once: no placement takes less.
    pub least: u64,
    constants: HashSet<usize>,
}

impl Memory {
    /// Bytes of all buffers together.
    pub fn total(&self) -> u64 {
        self.buffers.iter().sum()
    }

    /// Whether a kernel loads this constant.
    pub fn needs_constant(&self, id: usize) -> bool {
        self.constants.contains(&id)
    }
}

/// A value that needs room from one step to another, both included.
#[derive(Clone, Debug)]
struct Item {
    room: u64,
    first: usize,
    last: usize,
    /// Items that a kernel writes while it reads this one, or the other way round: it cannot do
    /// that with one buffer.
    apart: HashSet<usize>,
}

impl Item {
    fn overlaps(&self, other: &Item) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// A place for each item.
struct Shared {
    buffers: Vec<u64>,
    /// Buffer and offset.
    of: Vec<(usize, u64)>,
}

impl Shared {
    fn total(&self) -> u64 {
        self.buffers.iter().sum()
    }
}

/// What is alive at each step, in bytes.
fn alive(items: &[Item]) -> Vec<u64> {
    let steps = items.iter().map(|item| item.last + 1).max().unwrap_or(0);
    let mut alive = vec![0; steps];
    for item in items {
        alive[item.first..=item.last].iter_mut().for_each(|bytes| *bytes += item.room);
    }
    alive
}

/// The largest sum of items that overlap.
fn least(items: &[Item]) -> u64 {
    alive(items).into_iter().max().unwrap_or(0)
}

/// Finds places for items so that those that overlap have different ones. Which order is best to
/// place them in depends on the graph: three are tried. If none comes close to the least possible,
/// items may also lie side by side in a buffer, which makes kernels wait for each other that would
/// not have to.
fn share(items: &[Item], limit: u64) -> Shared {
    let by_time: Vec<usize> = (0..items.len()).collect();
    let mut by_size = by_time.clone();
    by_size.sort_by_key(|&item| Reverse(items[item].room));
    // Those that are alive when most is, first: there no room may be lost.
    let alive = alive(items);
    let crowd = |item: &Item| alive[item.first..=item.last].iter().max().copied();
    let mut by_crowd = by_size.clone();
    by_crowd.sort_by_cached_key(|&item| Reverse(crowd(&items[item])));
    let orders = [by_time, by_size, by_crowd];
    let best = |side_by_side: bool| {
        let all = orders.iter().map(|order| placed(items, order, side_by_side.then_some(limit)));
        all.min_by_key(Shared::total).unwrap_or(Shared { buffers: Vec::new(), of: Vec::new() })
    };
    let apart = best(false);
    let least = least(items);
    if apart.total() <= least + least / 20 {
        return apart;
    }
    let side_by_side = best(true);
    if side_by_side.total() < apart.total() { side_by_side } else { apart }
}

/// Places items in an order, each where it takes the least more, and there where it fits best; side
/// by side in buffers of at most so many bytes, if that is given.
fn placed(items: &[Item], order: &[usize], side_by_side: Option<u64>) -> Shared {
    let mut buffers: Vec<u64> = Vec::new();
    let mut held: Vec<Vec<usize>> = Vec::new();
    let mut of = vec![(0, 0); items.len()];
    for &at in order {
        let item = &items[at];
        let found = (0..buffers.len())
            .filter_map(|buffer| {
                let mut beside: Vec<(u64, u64)> = Vec::new();
                for &other in held[buffer].iter().filter(|&&other| items[other].overlaps(item)) {
                    if side_by_side.is_none() || item.apart.contains(&other) {
                        return None;
                    }
                    beside.push((of[other].1, items[other].room));
                }
                let is_alone = beside.is_empty();
                beside.sort_unstable();
                let mut offset = 0;
                for (start, room) in beside {
                    if start >= offset + item.room {
                        break;
                    }
                    offset = offset.max(start + room);
                }
                let end = offset + item.room;
                if !is_alone && side_by_side.is_some_and(|limit| end > limit) {
                    return None;
                }
                let growth = end.saturating_sub(buffers[buffer]);
                Some(((growth, !is_alone, buffers[buffer].abs_diff(end)), buffer, offset))
            })
            .min();
        let (buffer, offset) = match found {
            // A buffer of its own, rather than one that it makes larger without a free byte used.
            Some(((growth, ..), buffer, offset)) if growth < item.room => (buffer, offset),
            _ => {
                buffers.push(0);
                held.push(Vec::new());
                (buffers.len() - 1, 0)
            }
        };
        buffers[buffer] = buffers[buffer].max(offset + item.room);
        held[buffer].push(at);
        of[at] = (buffer, offset);
    }
    Shared { buffers, of }
}

pub(super) fn padded(bytes: u64) -> u64 {
    bytes.max(1).next_multiple_of(ALIGNMENT)
}

/// Places everything that is not a variable, a feed or a constant.
pub(crate) fn plan(
    live: &Live,
    lowered: &Lowered,
    fetches: &[FetchSpec],
    target: Target,
) -> Result<Memory, CompileError> {
    let bytes_of = |place: Place| match place {
        Place::Value(id) => live.elements(id) as u64 * live.node(id).dtype.size() as u64,
        Place::Scratch(number) => lowered.scratch[number],
        Place::Packed => {
            lowered.packed.values().map(|(offset, bytes)| offset + bytes).max().unwrap_or(0)
        }
        Place::Feed(_) | Place::Variable(_) | Place::Constant(_) | Place::Table(_) => 0,
    };
    let mut constants = HashSet::new();
    // First and last step at which each place is used, in order of first use.
    let mut order: Vec<Place> = Vec::new();
    let mut spans: HashMap<Place, (usize, usize)> = HashMap::new();
    // What each step binds together while it writes some of it.
    let mut together: Vec<(Vec<Place>, Vec<Place>)> = Vec::new();
    for (at, step) in lowered.steps.iter().enumerate() {
        let used: Vec<(Place, Access)> = match step {
            Step::Dispatch(dispatch) => dispatch.bindings.clone(),
            Step::Optimizer { scalars, .. } => {
                vec![(*scalars, Access::Read), (Place::Packed, Access::Read)]
            }
        };
        let (mut all, mut written) = (Vec::new(), Vec::new());
        for (place, access) in used {
            let place = match place {
                Place::Value(id) if lowered.packed.contains_key(&id) => Place::Packed,
                Place::Constant(id) => {
                    constants.insert(id);
                    continue;
                }
                Place::Feed(_) | Place::Variable(_) | Place::Table(_) => continue,
                place => place,
            };
            all.push(place);
            if access == Access::Write {
                written.push(place);
            }
            let span = spans.entry(place).or_insert_with(|| {
                order.push(place);
                (at, at)
            });
            span.1 = at;
        }
        together.push((all, written));
    }
    for fetch in fetches {
        let place = match fetch.place {
            Place::Value(id) if lowered.packed.contains_key(&id) => Place::Packed,
            place => place,
        };
        // A fetched value without elements has no kernel, and still a place.
        let span = spans.entry(place).or_insert_with(|| {
            order.push(place);
            (0, 0)
        });
        span.1 = lowered.steps.len();
    }

    let mut items = Vec::new();
    for &place in &order {
        let bytes = bytes_of(place);
        let room = padded(bytes);
        if room > target.binding_bytes {
            let what = match place {
                Place::Packed => {
                    let limit = target.binding_bytes;
                    return Err(CompileError::Gradients { bytes, limit });
                }
                Place::Value(id) => {
                    format!(
                        "the result of {} at {}",
                        live.node(id).op.name(),
                        live.node(id).location
                    )
                }
                _ => "the scratch memory of a kernel".to_owned(),
            };
            return Err(CompileError::TooLarge { what, bytes, limit: target.binding_bytes });
        }
        let (first, last) = spans[&place];
        items.push(Item { room, first, last, apart: HashSet::new() });
    }
    let number: HashMap<Place, usize> = (0..).zip(&order).map(|(at, &place)| (place, at)).collect();
    for (all, written) in together {
        for (a, b) in written.iter().flat_map(|&a| all.iter().map(move |&b| (a, b))) {
            let (a, b) = (number[&a], number[&b]);
            items[a].apart.insert(b);
            items[b].apart.insert(a);
        }
    }
    let Shared { buffers, of } = share(&items, target.binding_bytes);
    let mut places = HashMap::new();
    for (place, (buffer, offset)) in order.into_iter().zip(of) {
        places.insert(place, (buffer, offset, bytes_of(place)));
    }
    let unshared = items.iter().map(|item| item.room).sum();
    let mut memory = Memory { buffers, places, unshared, least: least(&items), constants };
    for (&id, &(offset, bytes)) in &lowered.packed {
        if let Some(&(buffer, start, _)) = memory.places.get(&Place::Packed) {
            memory.places.insert(Place::Value(id), (buffer, start + offset, bytes));
        }
    }
    Ok(memory)
}

#[cfg(test)]
#[path = "memory_tests.rs"]
mod tests;
