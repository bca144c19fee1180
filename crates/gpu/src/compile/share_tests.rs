//! That a placement is one: what is alive at once does not overlap, and what is to be apart is.

use super::*;

/// Items of which some that overlap are to be apart.
fn items(seed: u64) -> Vec<Item> {
    let dice = Philox::new(seed, "items");
    let mut items: Vec<Item> = (0..u64::from(dice.word(0) % 60))
        .map(|at| {
            let [room, first, length] = [0, 1, 2].map(|part| dice.word(1 + 3 * at + part));
            let (room, first) = (256 * u64::from(1 + room % 100), first as usize % 40);
            let last = first + length as usize % 9;
            Item { room, first, last, apart: BTreeSet::new(), never: BTreeSet::new() }
        })
        .collect();
    for at in 1..items.len() {
        let other = dice.word(1000 + at as u64) as usize % at;
        if items[at].overlaps(&items[other]) {
            for (one, other) in [(at, other), (other, at)] {
                items[one].apart.insert(other);
                if at % 4 == 0 {
                    items[one].never.insert(other);
                }
            }
        }
    }
    items
}

fn check(items: &[Item], shared: &Shared, sharing: Sharing, limit: u64) {
    let Shared { buffers, of, .. } = shared;
    for (at, item) in items.iter().enumerate() {
        let (buffer, start) = of[at];
        assert!(start + item.room <= buffers[buffer]);
        for (other, later) in items.iter().enumerate().skip(at + 1) {
            let (its, its_start) = of[other];
            if buffer != its || !item.overlaps(later) {
                continue;
            }
            let beside = start + item.room <= its_start || its_start + later.room <= start;
            let may_share = match sharing {
                Sharing::InTurn => false,
                Sharing::SideBySide => !item.apart.contains(&other),
                Sharing::Together => !item.never.contains(&other),
            };
            assert!(beside && may_share, "{sharing:?}: {item:?} {later:?}");
            assert!(start.max(its_start) < limit);
        }
    }
    assert!(least(items) <= shared.total());
    let largest = items.iter().map(|item| item.room).max().unwrap_or(0);
    assert!(buffers.iter().all(|&bytes| bytes <= limit.max(largest)), "{limit}: {buffers:?}");
}

#[test]
fn no_two_values_are_in_one_place_at_once() {
    for seed in 0..50 {
        let (items, none) = (items(seed), Packed::default());
        let dice = Philox::new(seed, "order");
        let high =
            (0..items.len()).map(|at| dice.word(at as u64).is_multiple_of(2)).collect::<Vec<_>>();
        let low = vec![false; items.len()];
        for order in [(0..items.len()).collect::<Vec<_>>(), (0..items.len()).rev().collect()] {
            for (high, in_one) in [(&low, false), (&low, true), (&high, false), (&high, true)] {
                let order = Order { items: order.clone(), high: high.clone(), in_one };
                for sharing in [Sharing::InTurn, Sharing::SideBySide, Sharing::Together] {
                    for limit in [60_000, u64::MAX] {
                        let shared =
                            placed(&items, &none, &order, sharing, limit, u64::MAX).unwrap();
                        check(&items, &shared, sharing, limit);
                        let total = shared.total();
                        assert!(placed(&items, &none, &order, sharing, limit, total).is_some());
                        let less =
                            placed(&items, &none, &order, sharing, limit, total.saturating_sub(1));
                        let is_refused = sharing != Sharing::InTurn && total > 0;
                        assert_eq!(less.is_none(), is_refused, "{sharing:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_search_ends_with_a_placement_and_always_with_the_same() {
    for seed in 0..50 {
        let (items, none) = (items(seed), Packed::default());
        let least = least(&items);
        for limit in [60_000, u64::MAX] {
            let shared = share(&items, least, limit, true);
            check(&items, &shared, Sharing::Together, limit);
            assert_eq!(shared.of, share(&items, least, limit, true).of);
        }
        // Nothing is enough: all tries are made, and none makes it worse.
        let orders = orders(&items);
        for sharing in [Sharing::SideBySide, Sharing::Together] {
            let totals = [0, 30, 300].map(|tries| {
                let shared = searched(&items, &none, &orders, sharing, u64::MAX, 0, tries);
                check(&items, &shared, sharing, u64::MAX);
                shared.total()
            });
            assert!(totals.is_sorted_by(|fewer, more| fewer >= more), "{totals:?}");
        }
    }
}

/// Layers that narrow to a bottleneck and widen: two buffers for what a kernel reads and writes, each as
/// large as the largest that is ever in it, would take half as much again.
#[test]
fn what_a_kernel_reads_and_writes_lies_together_where_it_must() {
    let rooms = [200, 1, 100, 100].map(|room| room * 256);
    let item = |(at, &room): (usize, &u64)| {
        let apart = [at.checked_sub(1), Some(at + 1).filter(|&next| next < rooms.len())];
        let apart: BTreeSet<usize> = apart.into_iter().flatten().collect();
        Item { room, first: at, last: at + 1, apart, never: BTreeSet::new() }
    };
    let items: Vec<Item> = rooms.iter().enumerate().map(item).collect();
    let shared = share(&items, least(&items), u64::MAX, true);
    assert_eq!((least(&items), shared.total()), (201 * 256, 201 * 256));
    assert_eq!(shared.of[2].0, shared.of[3].0);
    let apart = share(&items, least(&items), u64::MAX, false);
    assert_eq!(apart.total(), 300 * 256);
    check(&items, &apart, Sharing::SideBySide, u64::MAX);
    // Not where one of them is bound twice.
    let mut bound_twice = items;
    bound_twice[2].never.insert(3);
    bound_twice[3].never.insert(2);
    let shared = share(&bound_twice, least(&bound_twice), u64::MAX, true);
    assert_eq!((least(&bound_twice), shared.total()), (300 * 256, 300 * 256));
    assert_ne!(shared.of[2].0, shared.of[3].0);
}
