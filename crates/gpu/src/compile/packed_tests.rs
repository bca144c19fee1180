//! Gradients that lie in one piece, with what else lies there before they do.

use super::*;
use crate::compile::packed::{Packed, Piece, place};
use crate::compile::share::least;
use warmstart_graph::LossScaling;

/// How a model is trained.
#[derive(Clone, Copy, Debug, PartialEq)]
enum How {
    Plainly,
    Clipped,
    Accumulated,
    /// In `f16`, with a scaled loss.
    Mixed,
}

const ALL: [How; 4] = [How::Plainly, How::Clipped, How::Accumulated, How::Mixed];

/// A perceptron with these widths, and what trains it.
fn perceptron<'g>(
    graph: &'g Graph,
    batch: usize,
    widths: &[usize],
    how: How,
) -> (Tensor<'g>, Vec<Update<'g>>) {
    let x = graph.placeholder("x", [batch, widths[0]], DType::F32);
    let layers = |scope: &warmstart_graph::Scope<'g>| {
        widths[1..].iter().enumerate().fold(x, |x, (layer, &units)| {
            scope.scope(&format!("fc{layer}")).linear(x, units).relu()
        })
    };
    let output = match how {
        How::Mixed => graph.root().compute_f16(layers),
        _ => layers(&graph.root()),
    };
    let loss = output.square().mean_all();
    let optimizer = match how {
        How::Plainly => Optimizer::adam(1e-3),
        How::Clipped => Optimizer::sgd(0.1).momentum(0.9).clip_global_norm(0.1),
        How::Accumulated => Optimizer::adam(1e-3).gradient_accumulation_steps(2),
        How::Mixed => Optimizer::adam(1e-3).loss_scaling(LossScaling::new()),
    };
    (loss, vec![optimizer.minimize(loss).update])
}

/// While the last layer's gradient is computed nothing is in the room of the first one's, but the values
/// that make room for it.
#[test]
fn a_deep_perceptron_takes_hardly_more_than_is_alive() {
    for how in ALL {
        for target in TARGETS {
            let take = |target| {
                let graph = Graph::new();
                let (loss, updates) = perceptron(&graph, 256, &[256; 13], how);
                program(&graph, loss, &updates, target)
            };
            let found = take(target);
            let ratio = ratio(&found, target);
            println!("{how:?}, software: {}: {ratio:.3}", target.is_cpu);
            assert!(ratio <= 1.1, "{how:?}, software: {}: {ratio}", target.is_cpu);
            // With the room of all gradients held from the first one on.
            let apart = take(Target { in_place: false, ..target }).memory;
            assert!(apart.total() * 10 >= found.memory.total() * 13, "{how:?}: {}", apart.total());
        }
    }
}

/// Deep and wide ones, with batches that weigh less and more than weights.
#[test]
fn trained_perceptrons_take_hardly_more_than_is_alive() {
    for how in ALL {
        for target in TARGETS {
            let mut found: Vec<(f64, u64)> = (0..cases(100))
                .map(|seed| {
                    let mut below = dice(seed, "perceptrons");
                    let (depth, batch) = (1 + below(16), [1 + below(64), 1 + below(2000)]);
                    let wide = [64, 300, 1000][below(3)];
                    let widths: Vec<usize> = (0..=depth).map(|_| 1 + below(wide)).collect();
                    let graph = Graph::new();
                    let (loss, updates) = perceptron(&graph, batch[below(2)], &widths, how);
                    (ratio(&program(&graph, loss, &updates, target), target), seed)
                })
                .collect();
            found.sort_by(|a, b| a.0.total_cmp(&b.0));
            let (most, seed) = found[found.len() - 1];
            let median = found[found.len() / 2].0;
            let what = format!("{how:?}, software: {}", target.is_cpu);
            println!("{what}: median {median:.3}, most {most:.3} (seed {seed})");
            assert!(most <= MOST, "{what}: {most} (seed {seed})");
        }
    }
}

/// Where values lie changes no bit of what is computed.
#[test]
fn values_in_the_room_of_gradients_have_the_same_bits() {
    let gpu = Gpu::with(&GpuOptions { tune: Some(Tune::Off), ..Default::default() }).unwrap();
    let own = Target::of(&gpu);
    for how in ALL {
        for target in [own, Target { is_cpu: false, ..own }] {
            let apart = Target { in_place: false, ..target };
            let [found, expected] = [target, apart].map(|target| {
                let graph = Graph::new();
                let (loss, updates) = perceptron(&graph, 70, &[65, 130, 101, 128, 90, 120, 8], how);
                let found = program(&graph, loss, &updates, target);
                check(&found);
                (found.memory.total(), bits(&gpu, &graph, loss, &updates, target))
            });
            assert!(found.0 * 10 < expected.0 * 9, "{how:?}: {} of {}", found.0, expected.0);
            assert!(found.1 == expected.1, "{how:?}, {target:?}: other bits");
        }
    }
}

/// Items of which the first few are packed, in so many pieces.
fn items(seed: u64, pieces: usize) -> (Vec<Item>, Packed) {
    let mut below = dice(seed, "packed");
    let parts = below(12);
    let mut packed = Packed::default();
    packed.pieces.resize(pieces.min(parts), Piece::default());
    let mut item = |at: usize| {
        let room = 256 * (1 + below(50)) as u64;
        let is_part = at < parts;
        let (first, length) = if is_part { (20 + below(20), 40) } else { (below(40), below(15)) };
        let last = if is_part { length } else { first + length };
        Item { room, first, last, apart: BTreeSet::new(), never: BTreeSet::new() }
    };
    let mut all: Vec<Item> = (0..parts + 30).map(&mut item).collect();
    for (at, part) in all[..parts].iter().enumerate() {
        let number = at % packed.pieces.len();
        let piece = &mut packed.pieces[number];
        piece.offsets.push((at, piece.room));
        piece.room += part.room;
    }
    for at in 1..all.len() {
        let other = below(at);
        if all[at].overlaps(&all[other]) {
            for (one, other) in [(at, other), (other, at)] {
                all[one].apart.insert(other);
                if at % 5 == 0 {
                    all[one].never.insert(other);
                }
            }
        }
    }
    (all, packed)
}

#[test]
fn what_is_packed_lies_in_its_piece_and_nothing_lies_in_its_way() {
    let limits = [(u64::MAX, true), (60_000, true), (u64::MAX, false)];
    for (seed, pieces) in (0..200).flat_map(|seed| [1, 2, 4].map(|pieces| (seed, pieces))) {
        let (items, packed) = items(seed, pieces);
        let mut piece_of = vec![None; items.len()];
        for (number, piece) in packed.pieces.iter().enumerate() {
            piece.offsets.iter().for_each(|&(part, _)| piece_of[part] = Some(number));
        }
        for (limit, together) in limits {
            let none = BTreeSet::new;
            let bare = |item: &Item| Item { apart: none(), never: none(), ..*item };
            let parts = piece_of.iter().flatten().count();
            let alone: Vec<Item> = items[..parts].iter().map(bare).collect();
            let (alone, _) = place(&alone, &packed, limit, together, &|_| 0);
            let rooms = packed.pieces.iter().map(|piece| piece.room);
            assert_eq!(alone.total(), rooms.clone().sum::<u64>());
            let limit = limit.max(rooms.max().unwrap_or(0));
            let (shared, bound) = place(&items, &packed, limit, together, &|_| 0);
            assert!(bound <= shared.total());
            let largest = items.iter().map(|item| item.room).max().unwrap_or(0);
            assert!(shared.buffers.iter().all(|&bytes| bytes <= limit.max(largest)));
            if parts == 0 {
                assert_eq!(bound, least(&items));
            }
            for piece in &packed.pieces {
                let (buffer, start) = shared.of[piece.offsets[0].0];
                for &(part, offset) in &piece.offsets {
                    assert_eq!(shared.of[part], (buffer, start + offset));
                }
            }
            for (at, item) in items.iter().enumerate() {
                let (buffer, start) = shared.of[at];
                assert!(start + item.room <= shared.buffers[buffer]);
                assert!(start.is_multiple_of(ALIGNMENT), "{seed}: {start}");
                for (other, its) in items[..at].iter().enumerate() {
                    let (its_buffer, its_start) = shared.of[other];
                    if buffer == its_buffer && item.overlaps(its) {
                        let beside =
                            start + item.room <= its_start || its_start + its.room <= start;
                        let is_one = piece_of[at].is_some() && piece_of[at] == piece_of[other];
                        let may = !item.never.contains(&other) || is_one;
                        assert!(beside && may, "{seed}: {item:?} {its:?}");
                    }
                }
            }
        }
    }
}
#[path = "region_tests.rs"]
mod regions;
