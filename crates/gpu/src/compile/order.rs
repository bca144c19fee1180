//! The order of a program's steps, and which of them need a barrier before them.
//!
//! `wgpu` puts a barrier before a dispatch if a buffer that it binds was last bound otherwise in the
//! same pass, or was and is bound to be written, whichever part of it. A device waits at each for all
//! that runs. Between passes there is one barrier for everything, however many buffers change. So
//! dispatches that do not depend on each other should stand together; where that takes barriers inside
//! such a group all the same, since each member is the first to read a value or writes memory that was
//! used before, a pass of its own has one for all of them.
//!
//! Sorting by levels would compute everything as early as possible and keep it, copies for
//! `recompute` first of all. So the order stays that of the nodes, but that a step may be drawn
//! forward into a group whose members need nothing of each other, if what is alive then stays below
//! the peak; memory is planned once more, and the new order taken only if it takes no more and has
//! fewer groups. Order alone would not help much. Software adapters have no passes of their own for
//! groups: they run one dispatch after the other whatever they are told.
//!
//! Two things keep some groups apart: memory that is shared, since no byte more is taken for a
//! barrier less (but where there are gradients, up to 1.1 times the least); and the packed gradients, of
//! which each kernel writes a part, but a buffer is written or not as a whole. A group has one of those
//! kernels for each region of gradients, beside others. A buffer for each gradient would take bindings that
//! the norm and the update do not have.

use super::memory::{Memory, padded, used};
use super::share::summed;
use super::{Access, FetchSpec, Gradients, Place, Step};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::Hash;

/// How many steps ahead a group looks for one that could join it.
const AHEAD: usize = 64;

/// What comes before a dispatch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// Nothing: it may run beside the one before it.
    Joins,
    /// The first of a group; if it is not the first of all, a barrier.
    Waits,
    /// The first of a group that begins a pass, so that one barrier does for all its members.
    Pass,
}

/// What comes before each dispatch, by `wgpu`'s rule, from the buffers it binds. Where `overlaps` is
/// not set, the device runs one dispatch after the other whatever it is told: all stay in one pass.
pub(crate) fn starts<B: Eq + Hash + Copy>(
    dispatches: &[Vec<(B, Access)>],
    overlaps: bool,
) -> Vec<Start> {
    let mut starts = Vec::with_capacity(dispatches.len());
    // How each buffer was last bound in this pass.
    let mut last: HashMap<B, Access> = HashMap::new();
    while starts.len() < dispatches.len() {
        let rest = &dispatches[starts.len()..];
        let waits = |last: &HashMap<B, Access>, dispatch: &[(B, Access)]| {
            dispatch.iter().any(|(buffer, access)| {
                let before = last.get(buffer);
                before.is_some_and(|&before| before == Access::Write || *access == Access::Write)
            })
        };
        if !overlaps {
            let joins = !starts.is_empty() && !waits(&last, &rest[0]);
            starts.push(if joins { Start::Joins } else { Start::Waits });
            last.extend(rest[0].iter().copied());
            continue;
        }
        // As many as have no buffer in common that one of them writes.
        let mut group: HashMap<B, Access> = rest[0].iter().copied().collect();
        let mut members = 1;
        while members < rest.len() && !waits(&group, &rest[members]) {
            group.extend(rest[members].iter().copied());
            members += 1;
        }
        // What the first member binds has changed before the others come.
        let bound: HashSet<B> = rest[0].iter().map(|&(buffer, _)| buffer).collect();
        let is_other = |&&(buffer, _): &&(B, Access)| !bound.contains(&buffer);
        let barrier_inside = rest[1..members].iter().any(|dispatch| {
            waits(&last, &dispatch.iter().filter(is_other).copied().collect::<Vec<_>>())
        });
        if barrier_inside {
            last.clear();
        }
        last.extend(group);
        starts.push(if barrier_inside { Start::Pass } else { Start::Waits });
        starts.resize(starts.len() + members - 1, Start::Joins);
    }
    starts
}

/// How many groups of dispatches barriers separate.
pub(crate) fn groups(starts: &[Start]) -> usize {
    starts.iter().filter(|start| **start != Start::Joins).count()
}

/// How many groups there will be, with values in these places.
pub(super) fn count(steps: &[Step], memory: &Memory) -> usize {
    groups(&starts(&buffers(steps, memory), true))
}

/// What lies in one buffer for sure counts as one place.
fn held(place: Place, packed: &Gradients) -> Place {
    match place {
        Place::Value(id) => packed.region(id).map_or(place, Place::Packed),
        place => place,
    }
}

/// For each step the earlier ones that must come before it: it reads what they write, or writes what
/// they read or write. Each of the packed gradients counts by itself.
fn needed(uses: &[Vec<(Place, Access)>], packed: &Gradients) -> Vec<BTreeSet<usize>> {
    let mut writer: HashMap<Place, usize> = HashMap::new();
    let mut readers: HashMap<Place, Vec<usize>> = HashMap::new();
    let mut needed = vec![BTreeSet::new(); uses.len()];
    for (at, used) in uses.iter().enumerate() {
        let each = used.iter().flat_map(|&(place, access)| {
            let region = if let Place::Packed(region) = place { Some(region) } else { None };
            let all = region.into_iter().flat_map(|region| packed.parts(region));
            let all = all.map(|(id, _)| Place::Value(id));
            all.chain([place]).map(move |place| (place, access))
        });
        for (place, access) in each {
            needed[at].extend(writer.get(&place).filter(|&&writer| writer != at));
            let readers = readers.entry(place).or_default();
            if access == Access::Write {
                needed[at].extend(readers.drain(..).filter(|&reader| reader != at));
                writer.insert(place, at);
            } else {
                readers.push(at);
            }
        }
    }
    needed
}

/// An order in which more steps stand beside those that they need not wait for.
///
/// It is that of the nodes, but that a step whose predecessors are done may be drawn forward into a
/// group. A mere sorting by levels would compute everything as early as possible, and keep it: copies
/// for the gradient (`recompute`) would come before all else. So a step is drawn forward only if what
/// is alive meanwhile stays below the peak that there is anyway. The packed gradients of a region are one
/// buffer, of which a group writes once.
pub(crate) fn grouped(
    steps: &[Step],
    packed: &Gradients,
    memory: &Memory,
    fetches: &[FetchSpec],
) -> Vec<usize> {
    let uses: Vec<_> = steps.iter().map(Step::uses).collect();
    let needed = needed(&uses, packed);
    let held: Vec<HashMap<Place, Access>> = uses
        .iter()
        .map(|used| {
            let mut held_by_step = HashMap::new();
            for &(place, access) in used {
                let all = held_by_step.entry(held(place, packed)).or_insert(access);
                if access == Access::Write {
                    *all = access;
                }
            }
            held_by_step
        })
        .collect();
    let room = |place: &Place| memory.places.get(place).map_or(0, |&(_, _, bytes)| padded(bytes));

    // What is alive at each step, and when each place is first used.
    let planned: Vec<HashSet<Place>> =
        steps.iter().map(|step| used(step, packed).map(|(place, _)| place).collect()).collect();
    let mut spans: HashMap<Place, (usize, usize)> = HashMap::new();
    for (at, places) in planned.iter().enumerate() {
        for &place in places {
            spans.entry(place).or_insert((at, at)).1 = at;
        }
    }
    for fetch in fetches {
        if let Some(span) = spans.get_mut(&fetch.place) {
            span.1 = steps.len().saturating_sub(1);
        }
    }
    let bytes = spans.iter().map(|(place, &(first, last))| (first, last, room(place)));
    let mut alive = summed(steps.len(), bytes);
    let most = alive.iter().copied().max().unwrap_or(0);

    let mut order: Vec<usize> = (0..steps.len()).collect();
    // The steps of all groups before.
    let mut begun = vec![false; steps.len()];
    let mut next = 0;
    while next < order.len() {
        let start = next;
        let mut group: HashMap<Place, Access> = HashMap::new();
        let mut at = start;
        while at < order.len().min(next + AHEAD) {
            let step = order[at];
            let is_ready = needed[step].iter().all(|&earlier| begun[earlier]);
            let is_free = held[step].iter().all(|(place, &access)| {
                let other = group.get(place);
                other.is_none_or(|&other| other == Access::Read && access == Access::Read)
            });
            // What it is the first to use is alive for longer.
            let is_first =
                |place: &&Place| spans.get(place).is_some_and(|&(first, _)| first == step);
            let own: u64 = planned[step].iter().filter(is_first).map(room).sum();
            let fits = alive[next..at].iter().all(|bytes| bytes + own <= most);
            if at > start && !(is_ready && is_free && fits) {
                at += 1;
                continue;
            }
            group.extend(held[step].iter().map(|(&place, &access)| (place, access)));
            if at > next {
                let before = alive[next];
                order[next..=at].rotate_right(1);
                alive[next..=at].rotate_right(1);
                alive[next] = before;
                alive[next..=at].iter_mut().for_each(|bytes| *bytes += own);
            }
            next += 1;
            at += 1;
        }
        order[start..next].iter().for_each(|&step| begun[step] = true);
    }
    order
}

/// The buffers that each step binds, as they will lie in memory: in one that it writes it binds whatever
/// it reads as written too ([`Memory::bind`]).
pub(crate) fn buffers(steps: &[Step], memory: &Memory) -> Vec<Vec<(Bound, Access)>> {
    let bound = |place: Place| memory.buffer(place).map_or(Bound::Other(place), Bound::Values);
    let of = |step: &Step| {
        let mut all: Vec<(Bound, Access)> =
            step.uses().into_iter().map(|(place, access)| (bound(place), access)).collect();
        let written = all.iter().filter(|(_, access)| *access == Access::Write);
        let written: HashSet<Bound> = written.map(|&(bound, _)| bound).collect();
        for (bound, access) in &mut all {
            if written.contains(bound) {
                *access = Access::Write;
            }
        }
        all
    };
    steps.iter().map(of).collect()
}

/// A buffer before there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Bound {
    Values(usize),
    Other(Place),
}

#[cfg(test)]
#[path = "order_tests.rs"]
mod tests;
