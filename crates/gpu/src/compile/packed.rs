//! Room for values of which some lie one after the other, in one piece: gradients, which the optimizer and
//! the norm read as one array, or as several where a binding does not hold all. There is a piece for each.
//!
//! When the last layer's gradient is there those of all other layers are not, and what the layers have
//! computed still is: by and by values make room for gradients, and together they take hardly more than
//! either. But a gradient's kernel that reads a value in the buffer that it writes binds it as written, and
//! whoever else uses that buffer waits. So the piece lies apart, as one value, if that takes at most 1.1
//! times the least; on GPUs also if it takes few bytes more (`Target::spare`), since that is what small
//! models take altogether. Otherwise as few others as will do lie where its parts are not alive, and on GPUs
//! so that there are few groups of dispatches.
//!
//! Parts lie in the order in which they are computed, so that what is not alive is one piece too. Sums over
//! those of a piece go by the norm's inputs, not by that order.

use super::share::{
    Item, Order, Shared, Sharing, alive, least, least_of_two, orders, placed, searched, share,
    tries,
};
use crate::device::ALIGNMENT;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// Items that lie in one piece.
#[derive(Clone, Default)]
pub(super) struct Piece {
    /// Each of them, and where in the piece it begins.
    pub offsets: Vec<(usize, u64)>,
    /// How much room the piece takes.
    pub room: u64,
}

/// Which items lie in pieces, with each of which a buffer begins.
#[derive(Clone, Default)]
pub(super) struct Packed {
    pub pieces: Vec<Piece>,
    /// How large their buffers together may be from the beginning, if everything is to lie in them.
    pub least: u64,
    /// How many bytes more than the least are always few enough.
    pub spare: u64,
    /// What may lie there though a kernel writes one and uses another.
    pub joined: BTreeSet<usize>,
}

impl Packed {
    /// Each item that lies in a piece, with that.
    fn parts(&self) -> BTreeMap<usize, usize> {
        let pieces = self.pieces.iter().enumerate();
        pieces
            .flat_map(|(at, piece)| piece.offsets.iter().map(move |&(part, _)| (part, at)))
            .collect()
    }

    /// The room of all pieces.
    fn room(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.room).sum()
    }

    /// How large the buffers are that begin with pieces. If everything is to lie in them they take the least
    /// from the beginning, as far as each may be so large.
    pub fn buffers(&self, in_one: bool, limit: u64) -> Vec<u64> {
        let mut more = if in_one { self.least.saturating_sub(self.room()) } else { 0 };
        let buffer = |piece: &Piece| {
            let own = more.min(limit.saturating_sub(piece.room));
            more -= own;
            piece.room + own
        };
        self.pieces.iter().map(buffer).collect()
    }

    /// The items with each piece as one of them; and which of these each was.
    fn as_one(&self, items: &[Item]) -> (Vec<Item>, Vec<usize>) {
        let parts = self.parts();
        let mut of = Vec::with_capacity(items.len());
        let (mut count, mut pieces) = (0, vec![None; self.pieces.len()]);
        for at in 0..items.len() {
            let own = match parts.get(&at) {
                Some(&piece) => *pieces[piece].get_or_insert(count),
                None => count,
            };
            of.push(own);
            count = count.max(own + 1);
        }
        let mut all: Vec<Item> = Vec::with_capacity(count);
        for (at, (item, &own)) in items.iter().zip(&of).enumerate() {
            let named = |others: &BTreeSet<usize>| -> BTreeSet<usize> {
                others.iter().map(|&other| of[other]).filter(|&other| other != own).collect()
            };
            let (mut apart, mut never) = (named(&item.apart), named(&item.never));
            if let Some(one) = all.get_mut(own) {
                (one.first, one.last) = (one.first.min(item.first), one.last.max(item.last));
                one.apart.append(&mut apart);
                one.never.append(&mut never);
            } else {
                let room = parts.get(&at).map_or(item.room, |&piece| self.pieces[piece].room);
                all.push(Item { room, apart, never, ..*item });
            }
        }
        (all, of)
    }

    /// The placement of all items, from that with each piece as one of them.
    fn apart(&self, mut shared: Shared, of: &[usize]) -> Shared {
        shared.of = of.iter().map(|&own| shared.of[own]).collect();
        for &(part, offset) in self.pieces.iter().flat_map(|piece| &piece.offsets) {
            shared.of[part].1 += offset;
        }
        shared
    }
}

/// A placement with others in the pieces' room, so few that it takes no more than enough; or one as small
/// as can be found. Most that lie there wait for gradients' kernels, or these for them: `waits` tells how
/// much that is.
fn overlaid(
    items: &[Item],
    packed: &Packed,
    [least, enough]: [u64; 2],
    limit: u64,
    waits: &dyn Fn(&Shared) -> usize,
) -> Shared {
    let most = limit.saturating_mul(packed.pieces.len() as u64);
    let mut packed = Packed { least: least.min(most), ..packed.clone() };
    let mut orders = orders(items);
    let parts: BTreeSet<usize> = packed.parts().into_keys().collect();
    orders.iter_mut().for_each(|order: &mut Order| order.items.retain(|at| !parts.contains(at)));
    let mut by_size = orders[0].items.clone();
    by_size.sort_by_key(|&at| Reverse(items[at].room));
    let mut count = 0;
    while count < by_size.len() {
        count = (count + 1 + count / 4).min(by_size.len());
        packed.joined = by_size[..count].iter().copied().collect();
        // The others that gradients' kernels use lie elsewhere, all of them: mostly that is too much.
        let others = by_size[count..].iter().map(|&at| &items[at]);
        let outside = others.filter(|item| !item.apart.is_disjoint(&parts));
        if packed.room() + alive(outside).into_iter().max().unwrap_or(0) > enough {
            continue;
        }
        let ways = orders.iter().flat_map(|order| [false, true].map(|is_high| (order, is_high)));
        let found = ways.filter_map(|(order, is_high)| {
            let high = vec![is_high; items.len()];
            let order = Order { items: order.items.clone(), high, in_one: false };
            placed(items, &packed, &order, Sharing::SideBySide, limit, enough)
        });
        if let Some(found) = found.min_by_key(|found| (waits(found), found.total())) {
            return found;
        }
    }
    searched(items, &packed, &orders, Sharing::Together, limit, enough, tries(items))
}

/// Finds places for items, of which some are packed, and tells the least that any placement takes: each of
/// those packed counts while it is alive itself. Of placements that are alike, it is one that `waits` less.
pub(super) fn place(
    items: &[Item],
    packed: &Packed,
    limit: u64,
    together: bool,
    waits: &dyn Fn(&Shared) -> usize,
) -> (Shared, u64) {
    // Places are counted from a buffer's end too.
    let limit = limit / ALIGNMENT * ALIGNMENT;
    let (one, of) = packed.as_one(items);
    let with_one = least(&one);
    let alive = alive(items.iter()).into_iter().max().unwrap_or(0);
    let least = if packed.pieces.is_empty() { with_one } else { alive.max(least_of_two(&one)) };
    let near = least + least / 10;
    let enough = near.max(least + packed.spare);
    let apart = |least| packed.apart(share(&one, least, limit, together), &of);
    let parts = packed.parts().len();
    if parts == packed.pieces.len() || parts == items.len() || !together {
        return (apart(with_one), least);
    }
    if with_one <= enough {
        let found = apart(if with_one <= near { least } else { with_one });
        if found.total() <= enough {
            return (found, least);
        }
    }
    let found = overlaid(items, packed, [least, enough], limit, waits);
    if found.total() <= enough {
        return (found, least);
    }
    let other = apart(with_one);
    (if found.total() < other.total() { found } else { other }, least)
}
