//! Room for values: those that are alive at the same time have different places.
//!
//! A kernel that writes a value and reads another in the same buffer must bind both as what it writes,
//! and whoever touches a buffer that is written waits. So there are three ways to share, of which each is
//! tried only if the one before takes clearly more than the least possible: in turn, side by side where no
//! kernel writes one value and uses another, and together.
//!
//! Values lie side by side only if a buffer for each while it is alive takes more than 1.05 times
//! the least possible. If that takes more than 1.1 times the least, the order in which values are
//! placed is changed again and again, a bounded number of times, always with the same dice; and at
//! last a kernel may write where it also reads, beside it. With buffers apart some models cannot do
//! with less than 1.5 times the least: where layers narrow and widen again, or in blocks of
//! attention, one buffer must be as large as the largest that is read, and another as the largest
//! that is written, though not at the same time.
//!
//! The least possible is the largest sum of values alive at once, each rounded up to the 256 bytes
//! that a binding's offset is a multiple of; one written over another counts once, and a gradient from
//! when it is written until all are read, though all lie in one piece (`packed.rs`). A value that a
//! kernel binds twice (a product of a value and itself) lies apart from what that kernel
//! writes, since no part of a buffer is bound twice as written; the least counts one such pair
//! beside the largest value. What a product reads as pairs or fours and adds one by one is bound once
//! for that reason (`Bindings::read`): while it was bound twice, one prediction in a thousand took 1.27
//! times the least. Tests hold thousands of random graphs, trained and not, to 1.15 times.

use super::packed::Packed;
use std::cmp::Reverse;
use std::collections::BTreeSet;
use warmstart_graph::random::Philox;

/// A value that needs room from one step to another, both included.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub room: u64,
    pub first: usize,
    pub last: usize,
    /// Items that a kernel writes while it uses this one, or the other way round.
    pub apart: BTreeSet<usize>,
    /// Those of them that can have no buffer in common: a kernel binds one of the two twice, and no part
    /// of a buffer is bound twice as what is written.
    pub never: BTreeSet<usize>,
}

impl Item {
    pub fn overlaps(&self, other: &Item) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// A place for each item.
#[derive(Default)]
pub(super) struct Shared {
    pub buffers: Vec<u64>,
    /// Buffer and offset.
    pub of: Vec<(usize, u64)>,
    /// The items that made a buffer larger.
    grew: Vec<usize>,
}

impl Shared {
    pub fn total(&self) -> u64 {
        self.buffers.iter().sum()
    }
}

/// What may lie in one buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sharing {
    /// One value after the other.
    InTurn,
    /// Also several at once, if no kernel writes one and uses another.
    SideBySide,
    /// Also what a kernel writes and what it reads.
    Together,
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

/// What no placement takes less than: the largest sum of items that overlap; and where two can have no
/// buffer in common, the largest item of all, which may be in the same as one of them, with the smaller of
/// the two.
pub(super) fn least(items: &[Item]) -> u64 {
    alive(items.iter()).into_iter().max().unwrap_or(0).max(least_of_two(items))
}

/// What two items take that can have no buffer in common.
pub(super) fn least_of_two(items: &[Item]) -> u64 {
    let largest = items.iter().map(|item| item.room).max().unwrap_or(0);
    let others = items.iter().flat_map(|item| {
        item.never.iter().map(|&other| largest + item.room.min(items[other].room))
    });
    others.max().unwrap_or(0)
}

/// How often a search places all items, at most.
const TRIES: usize = 4000;
/// And how often it may look at one beside another, so that long graphs take no longer.
const LOOKS: usize = 1 << 23;

/// How often a search places so many items.
pub(super) fn tries(items: &[Item]) -> usize {
    TRIES.min(LOOKS / (items.len() * items.len()).max(1))
}

/// Finds places for items so that those that overlap have different ones, and that take little more than
/// `least`. Which order is best to place them in depends on the graph, so several are tried, and if none
/// will do, changed at random. More is shared only where it must be: it makes kernels wait for each
/// other that would not have to.
pub(super) fn share(items: &[Item], least: u64, limit: u64, together: bool) -> Shared {
    let (orders, none) = (orders(items), Packed::default());
    let best = |sharing: Sharing| {
        let mut best: Option<Shared> = None;
        for order in &orders[..3] {
            // No other order takes less than the least.
            if best.as_ref().is_some_and(|best| best.total() == least) {
                break;
            }
            let other = placed(items, &none, order, sharing, limit, u64::MAX);
            best = best.into_iter().chain(other).min_by_key(Shared::total);
        }
        best.unwrap_or_default()
    };
    let mut found = best(Sharing::InTurn);
    if found.total() > least + least / 20 {
        let other = best(Sharing::SideBySide);
        found = if other.total() < found.total() { other } else { found };
    }
    let enough = least + least / 10;
    let tries = tries(items);
    for (sharing, tries) in [(Sharing::SideBySide, tries / 4), (Sharing::Together, tries)] {
        if found.total() <= enough || sharing == Sharing::Together && !together {
            break;
        }
        let other = searched(items, &none, &orders, sharing, limit, enough, tries);
        found = if other.total() < found.total() { other } else { found };
    }
    found
}

/// How items are placed, one after the other.
#[derive(Clone)]
pub(super) struct Order {
    pub items: Vec<usize>,
    /// For each item whether it lies as high in its buffer as it can, and not as low.
    pub high: Vec<bool>,
    /// Whether a buffer grows, however much, rather than that there is another one.
    pub in_one: bool,
}

/// Orders to begin with.
pub(super) fn orders(items: &[Item]) -> Vec<Order> {
    let by_time: Vec<usize> = (0..items.len()).collect();
    let by = |order: &[usize], key: &dyn Fn(&Item) -> u64| {
        let mut order = order.to_vec();
        order.sort_by_cached_key(|&item| Reverse(key(&items[item])));
        order
    };
    let by_size = by(&by_time, &|item| item.room);
    // Those that are alive when most is, first: there no room may be lost.
    let alive = alive(items.iter());
    let crowd = |item: &Item| alive[item.first..=item.last].iter().max().copied().unwrap_or(0);
    let by_crowd = by(&by_size, &crowd);
    let steps = |item: &Item| (item.last - item.first) as u64 + 1;
    let by_life = by(&by_size, &steps);
    let by_area = by(&by_size, &|item| steps(item) * item.room);
    let backwards = by(&by_time, &|item| item.last as u64);
    let all = [by_time, by_size, by_crowd, by_life, by_area, backwards];
    let low = vec![false; items.len()];
    all.map(|items| Order { items, high: low.clone(), in_one: false }).into()
}

/// The best placement that is found from these orders, or the first that takes no more than enough. An
/// item that made a buffer larger is placed before one that it overlaps, or the two change places, or
/// the other one lies at the other end, and what takes no more is kept. The dice are always the same,
/// and so are plans.
pub(super) fn searched(
    items: &[Item],
    packed: &Packed,
    orders: &[Order],
    sharing: Sharing,
    limit: u64,
    enough: u64,
    tries: usize,
) -> Shared {
    const STARTS: usize = 3;
    let all = [(false, false), (true, false), (true, true)];
    let ways = match sharing {
        // What makes room for the packed ones from their end on lies as high as it can.
        Sharing::Together if !packed.pieces.is_empty() => &all[..],
        Sharing::Together => &all[..2],
        _ => &all[..1],
    };
    let with = |order: &Order, &(in_one, high): &(bool, bool)| {
        let high = vec![high; items.len()];
        let order = Order { items: order.items.clone(), high, in_one };
        Some((placed(items, packed, &order, sharing, limit, u64::MAX)?, order))
    };
    let begun = orders.iter().flat_map(|order| ways.iter().filter_map(|way| with(order, way)));
    let mut begun: Vec<(Shared, Order)> = begun.collect();
    begun.sort_by_key(|(shared, _)| shared.total());
    begun.truncate(STARTS);
    let dice = Philox::new(0, "places");
    let mut at = 0;
    let mut below = |bound: usize| {
        at += 1;
        dice.word(at) as usize % bound.max(1)
    };
    for (shared, order) in &mut begun {
        for _ in 0..tries / STARTS {
            if shared.total() <= enough {
                break;
            }
            let number = below(order.items.len());
            let grown = shared.grew.get(below(shared.grew.len())).filter(|_| below(4) > 0);
            let moved = grown.copied().unwrap_or(order.items[number]);
            let from = order.items.iter().position(|&item| item == moved).unwrap_or(0);
            let overlapped = |&to: &usize| items[order.items[to]].overlaps(&items[moved]);
            let before: Vec<usize> = (0..from).filter(overlapped).collect();
            let Some(&to) = before.get(below(before.len())) else { continue };
            let mut other = order.clone();
            match below(3) {
                0 => other.items.swap(to, from),
                1 => other.items[to..=from].rotate_right(1),
                _ => other.high[order.items[to]] ^= true,
            }
            if let Some(found) = placed(items, packed, &other, sharing, limit, shared.total()) {
                (*shared, *order) = (found, other);
            }
        }
        if shared.total() <= enough {
            return std::mem::take(shared);
        }
    }
    let all = begun.into_iter().map(|(shared, _)| shared);
    all.min_by_key(Shared::total).unwrap_or_default()
}

/// Where an item could lie, in the order of what is better.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Spot {
    /// By how much the buffer grows.
    growth: u64,
    /// How many are in it that a kernel uses while it writes this one, or the other way round.
    used: usize,
    is_beside: bool,
    /// How far its end is from the buffer's.
    distance: u64,
    buffer: usize,
    offset: u64,
}

/// Places items in an order, each where it takes the least more, and there where it fits best; several
/// at once in buffers of at most so many bytes. What is packed has its places before. Nothing, if that takes
/// more than so much.
pub(super) fn placed(
    items: &[Item],
    packed: &Packed,
    order: &Order,
    sharing: Sharing,
    limit: u64,
    most: u64,
) -> Option<Shared> {
    if sharing == Sharing::InTurn {
        return Some(in_turn(items, order));
    }
    const NOWHERE: usize = usize::MAX;
    let mut buffers: Vec<u64> = packed.buffers(order.in_one, limit);
    let mut held: Vec<Vec<usize>> = Vec::new();
    let mut of = vec![(NOWHERE, 0); items.len()];
    let mut grew = Vec::new();
    for (buffer, piece) in packed.pieces.iter().enumerate() {
        held.push(piece.offsets.iter().map(|&(at, _)| at).collect());
        piece.offsets.iter().for_each(|&(at, offset)| of[at] = (buffer, offset));
    }
    let mut total: u64 = buffers.iter().sum();
    let mut beside: Vec<(u64, u64)> = Vec::new();
    for &at in &order.items {
        let item = &items[at];
        let mut found: Option<Spot> = None;
        for buffer in 0..buffers.len() {
            let is_here = |other: &&usize| of[**other].0 == buffer;
            let used = item.apart.iter().filter(is_here).count();
            let is_taken = item.never.iter().any(|other| is_here(&other));
            let may_wait = buffer < packed.pieces.len() && packed.joined.contains(&at);
            if is_taken || used > 0 && sharing == Sharing::SideBySide && !may_wait {
                continue;
            }
            let overlapped = held[buffer].iter().filter(|&&other| items[other].overlaps(item));
            beside.clear();
            beside.extend(overlapped.map(|&other| (of[other].1, items[other].room)));
            beside.sort_unstable();
            let offset = gap(&beside, item.room, buffers[buffer], order.high[at]);
            let end = offset + item.room;
            let is_beside = !beside.is_empty();
            if is_beside && end > limit {
                continue;
            }
            let growth = end.saturating_sub(buffers[buffer]);
            let distance = buffers[buffer].abs_diff(end);
            let spot = Spot { growth, used, is_beside, distance, buffer, offset };
            if found.is_none_or(|best| spot < best) {
                found = Some(spot);
            }
        }
        let (growth, buffer, offset) = match found {
            // A buffer of its own, rather than one that it makes larger without a free byte used.
            Some(spot) if spot.growth < item.room || order.in_one => {
                (spot.growth, spot.buffer, spot.offset)
            }
            _ => {
                buffers.push(0);
                held.push(Vec::new());
                (item.room, buffers.len() - 1, 0)
            }
        };
        if growth > 0 {
            grew.push(at);
            total += growth;
        }
        if total > most {
            return None;
        }
        buffers[buffer] += growth;
        held[buffer].push(at);
        of[at] = (buffer, offset);
    }
    for (buffer, piece) in packed.pieces.iter().enumerate() {
        let end = held[buffer].iter().map(|&at| of[at].1 + items[at].room).max();
        buffers[buffer] = piece.room.max(end.unwrap_or(0));
    }
    Some(Shared { buffers, of, grew })
}

/// Where so many bytes fit beside others, by their starts: as low as can be, or as high within the
/// buffer.
fn gap(beside: &[(u64, u64)], room: u64, buffer: u64, high: bool) -> u64 {
    let (mut end, mut highest) = (0, None);
    for &(start, other) in beside {
        if start >= end + room {
            if !high {
                return end;
            }
            highest = Some(start - room);
        }
        end = end.max(start + other);
    }
    match highest {
        _ if high && end + room <= buffer => buffer - room,
        Some(highest) => highest,
        None => end,
    }
}

/// Places items in an order, each in a buffer that holds nothing else meanwhile.
fn in_turn(items: &[Item], order: &Order) -> Shared {
    let mut buffers: Vec<u64> = Vec::new();
    // First and last step of what each buffer holds, ascending.
    let mut spans: Vec<Vec<(usize, usize)>> = Vec::new();
    let mut of = vec![(0, 0); items.len()];
    for &at in &order.items {
        let item = &items[at];
        let mut found: Option<((u64, u64), usize)> = None;
        for (buffer, (&bytes, held)) in buffers.iter().zip(&spans).enumerate() {
            let cost = (item.room.saturating_sub(bytes), bytes.abs_diff(item.room));
            if found.is_some_and(|(least, _)| least <= cost) {
                continue;
            }
            let begun = held.partition_point(|&(first, _)| first <= item.last);
            if begun == 0 || held[begun - 1].1 < item.first {
                found = Some((cost, buffer));
            }
        }
        let buffer = match found {
            Some(((growth, _), buffer)) if growth < item.room => buffer,
            _ => {
                buffers.push(0);
                spans.push(Vec::new());
                buffers.len() - 1
            }
        };
        buffers[buffer] = buffers[buffer].max(item.room);
        let begun = spans[buffer].partition_point(|&(first, _)| first <= item.first);
        spans[buffer].insert(begun, (item.first, item.last));
        of[at] = (buffer, 0);
    }
    Shared { buffers, of, grew: Vec::new() }
}

#[cfg(test)]
#[path = "share_tests.rs"]
mod tests;
