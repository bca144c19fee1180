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
    /// The largest sum of values that are alive at once, one that is written over another counting
    /// with it once: no placement takes less.
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
pub(super) struct Item {
    pub room: u64,
    pub first: usize,
    pub last: usize,
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
pub(super) fn alive<'a>(items: impl Iterator<Item = &'a Item> + Clone) -> Vec<u64> {
    let steps = items.clone().map(|item| item.last + 1).max().unwrap_or(0);
    summed(steps, items.map(|item| (item.first, item.last, item.room)))
}

/// For each step the sum of the bytes whose span, from first to last, it lies in.
pub(super) fn summed(steps: usize, spans: impl Iterator<Item = (usize, usize, u64)>) -> Vec<u64> {
    // What begins at each step, and what has ended before it.
    let mut changes = vec![(0, 0); steps + 1];
    for (first, last, bytes) in spans {
        changes[first].0 += bytes;
        changes[last + 1].1 += bytes;
    }
    let mut sum = 0;
    let sums = changes[..steps].iter().map(|(begun, ended)| {
        sum = sum + begun - ended;
        sum
    });
    sums.collect()
}

/// The largest sum of items that overlap.
fn least(items: &[Item]) -> u64 {
    alive(items.iter()).into_iter().max().unwrap_or(0)
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
    let alive = alive(items.iter());
    let crowd = |item: &Item| alive[item.first..=item.last].iter().max().copied();
    let mut by_crowd = by_size.clone();
    by_crowd.sort_by_cached_key(|&item| Reverse(crowd(&items[item])));
    let orders = [by_time, by_size, by_crowd];
    let least = alive.iter().copied().max().unwrap_or(0);
    let best = |side_by_side: bool| {
        let mut best: Option<Shared> = None;
        for order in &orders {
            // No other order takes less than the least.
            if best.as_ref().is_some_and(|best| best.total() == least) {
                break;
            }
            let other = placed(items, order, side_by_side.then_some(limit));
            if best.as_ref().is_none_or(|best| other.total() < best.total()) {
                best = Some(other);
            }
        }
        best.unwrap_or(Shared { buffers: Vec::new(), of: Vec::new() })
    };
    let apart = best(false);
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
    // First and last step of what each buffer holds, ascending if nothing lies side by side.
    let mut spans: Vec<Vec<(usize, usize)>> = Vec::new();
    let mut of = vec![(0, 0); items.len()];
    for &at in order {
        let item = &items[at];
        // The least cost so far, where nothing lies side by side: a buffer of no less is not looked at.
        let mut least_cost = None;
        let found = (0..buffers.len())
            .filter_map(|buffer| {
                if side_by_side.is_none() {
                    let (own, held) = (buffers[buffer], &spans[buffer]);
                    let cost = (item.room.saturating_sub(own), false, own.abs_diff(item.room));
                    if least_cost.is_some_and(|least| least <= cost) {
                        return None;
                    }
                    let begun = held.partition_point(|&(first, _)| first <= item.last);
                    let is_free = begun == 0 || held[begun - 1].1 < item.first;
                    return is_free.then(|| {
                        least_cost = Some(cost);
                        (cost, buffer, 0)
                    });
                }
                let mut beside: Vec<(u64, u64)> = Vec::new();
                for &other in held[buffer].iter().filter(|&&other| items[other].overlaps(item)) {
                    if item.apart.contains(&other) {
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
                spans.push(Vec::new());
                (buffers.len() - 1, 0)
            }
        };
        buffers[buffer] = buffers[buffer].max(offset + item.room);
        held[buffer].push(at);
        let begun = spans[buffer].partition_point(|&(first, _)| first <= item.first);
        spans[buffer].insert(begun, (item.first, item.last));
        of[at] = (buffer, offset);
    }
    Shared { buffers, of }
}

pub(super) fn padded(bytes: u64) -> u64 {
    bytes.max(1).next_multiple_of(ALIGNMENT)
}

fn bytes_of(place: Place, live: &Live, lowered: &Lowered) -> u64 {
    match place {
        Place::Value(id) => live.elements(id) as u64 * live.node(id).dtype.size() as u64,
        Place::Scratch(number) => lowered.scratch[number],
        Place::Packed => {
            lowered.packed.values().map(|(offset, bytes)| offset + bytes).max().unwrap_or(0)
        }
        Place::Feed(_) | Place::Variable(_) | Place::Constant(_) | Place::Table(_) => 0,
    }
}

/// The places that a step uses, of those that are to be planned.
fn used(step: &Step, lowered: &Lowered) -> Vec<(Place, Access)> {
    let bindings = match step {
        Step::Dispatch(dispatch) => dispatch.bindings.clone(),
        Step::Optimizer { scalars, .. } => {
            vec![(*scalars, Access::Read), (Place::Packed, Access::Read)]
        }
    };
    let planned = bindings
        .into_iter()
        .filter(|(place, _)| matches!(place, Place::Value(_) | Place::Scratch(_) | Place::Packed));
    planned.map(|(place, access)| (held(place, lowered), access)).collect()
}

fn held(place: Place, lowered: &Lowered) -> Place {
    match place {
        Place::Value(id) if lowered.packed.contains_key(&id) => Place::Packed,
        place => place,
    }
}

/// What needs room, in order of first use.
pub(super) fn items(live: &Live, lowered: &Lowered, fetches: &[FetchSpec]) -> Vec<(Place, Item)> {
    let mut items: Vec<(Place, Item)> = Vec::new();
    let mut number: HashMap<Place, usize> = HashMap::new();
    let mut use_at = |items: &mut Vec<(Place, Item)>, place: Place, step: usize, since: usize| {
        let at = *number.entry(place).or_insert_with(|| {
            let room = padded(bytes_of(place, live, lowered));
            items.push((place, Item { room, first: since, last: since, apart: HashSet::new() }));
            items.len() - 1
        });
        items[at].1.last = step;
        at
    };
    for (at, step) in lowered.steps.iter().enumerate() {
        let used: Vec<(usize, Access)> = used(step, lowered)
            .into_iter()
            .map(|(place, access)| (use_at(&mut items, place, at, at), access))
            .collect();
        for &(a, _) in used.iter().filter(|(_, access)| *access == Access::Write) {
            for &(b, _) in &used {
                items[a].1.apart.insert(b);
                items[b].1.apart.insert(a);
            }
        }
    }
    for fetch in fetches {
        // A fetched value without elements has no kernel, and still a place.
        use_at(&mut items, held(fetch.place, lowered), lowered.steps.len(), 0);
    }
    items
}

/// Places everything that is not a variable, a feed or a constant.
pub(crate) fn plan(
    live: &Live,
    lowered: &Lowered,
    fetches: &[FetchSpec],
    target: Target,
) -> Result<Memory, CompileError> {
    let bindings = lowered.steps.iter().flat_map(|step| match step {
        Step::Dispatch(dispatch) => &dispatch.bindings[..],
        Step::Optimizer { .. } => &[],
    });
    let constants = bindings.filter_map(|&(place, _)| match place {
        Place::Constant(id) => Some(id),
        _ => None,
    });
    let constants = constants.collect();
    let (order, items): (Vec<Place>, Vec<Item>) = items(live, lowered, fetches).into_iter().unzip();
    for (&place, item) in order.iter().zip(&items) {
        let bytes = bytes_of(place, live, lowered);
        if item.room > target.binding_bytes {
            let limit = target.binding_bytes;
            let what = match place {
                Place::Packed => return Err(CompileError::Gradients { bytes, limit }),
                Place::Value(id) => {
                    format!(
                        "the result of {} at {}",
                        live.node(id).op.name(),
                        live.node(id).location
                    )
                }
                _ => "the scratch memory of a kernel".to_owned(),
            };
            return Err(CompileError::TooLarge { what, bytes, limit });
        }
    }
    let Shared { buffers, of } = share(&items, target.binding_bytes);
    let mut places = HashMap::new();
    for (place, (buffer, offset)) in order.into_iter().zip(of) {
        places.insert(place, (buffer, offset, bytes_of(place, live, lowered)));
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
