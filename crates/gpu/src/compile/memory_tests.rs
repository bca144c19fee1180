//! How close the placement comes to the least possible, and that it is one.

use super::*;
use crate::compile::{Program, compile};
use warmstart_graph::random::Philox;
use warmstart_graph::{DType, Graph, Optimizer, Tensor};

/// Software.
const TARGET: Target = Target { is_cpu: true, subgroup_size: Some(8), ..Target::GPU };

/// The program of a training step, and how much more it takes than the least.
fn trained(graph: &Graph, output: Tensor<'_>, clip: bool) -> (Program, f64) {
    let optimizer = Optimizer::adam(1e-3);
    let optimizer = if clip { optimizer.clip_global_norm(1.0) } else { optimizer };
    let loss = output.square().mean_all();
    let step = optimizer.minimize(loss);
    let def = graph.finish().unwrap();
    let program = compile(&def, &[loss.id()], &[step.update.id()], TARGET).unwrap();
    let memory = &program.memory;
    assert!(memory.least <= memory.total() && memory.total() <= memory.unshared);
    let ratio = memory.total() as f64 / memory.least as f64;
    (program, ratio)
}

#[test]
fn perceptrons_take_hardly_more_than_the_least() {
    let widths: [&[usize]; 5] = [
        &[64, 128, 64, 10],
        &[784, 512, 256, 10],
        &[16, 32, 32, 4],
        &[300, 200, 150, 100, 50, 20, 1],
        &[32; 12],
    ];
    for widths in widths {
        for batch in [1, 8, 64, 128, 1000] {
            for clip in [false, true] {
                let graph = Graph::new();
                let mut x = graph.placeholder("x", [batch, widths[0]], DType::F32);
                for (layer, &units) in widths[1..].iter().enumerate() {
                    x = graph.scope(&format!("fc{layer}")).linear(x, units).relu();
                }
                let (_, ratio) = trained(&graph, x, clip);
                println!("{widths:?} {batch} {clip}: {ratio:.3}");
                assert!(ratio <= 1.15, "{widths:?}, batch {batch}: {ratio}");
            }
        }
    }
}

/// A graph of random layers: each takes one or two values of before.
fn random_graph(graph: &Graph, seed: u64) -> Tensor<'_> {
    let dice = Philox::new(seed, "graphs");
    let mut at = 0;
    let mut below = |bound: usize| {
        at += 1;
        dice.word(at) as usize % bound
    };
    let batch = 1 + below(200);
    let mut values = vec![graph.placeholder("x", [batch, 1 + below(300)], DType::F32)];
    for layer in 0..3 + below(12) {
        let x = values[values.len() - 1 - below(values.len().min(3))];
        let scope = graph.scope(&format!("layer{layer}"));
        let value = match below(5) {
            0 => x.softmax(),
            1 => x.tanh().dropout(&format!("dropout{layer}"), 0.1),
            2 => {
                let width = values[values.len() - 1].shape()[1];
                scope.linear(x, width).sigmoid() * values[values.len() - 1]
            }
            _ => scope.linear(x, 1 + below(300)).relu(),
        };
        values.push(value);
    }
    graph.scope("last").linear(values[values.len() - 1], 3)
}

#[test]
fn random_graphs_take_hardly_more_than_the_least() {
    let mut worst: f64 = 0.0;
    for seed in 0..100 {
        let graph = Graph::new();
        let output = random_graph(&graph, seed);
        let (_, ratio) = trained(&graph, output, seed % 2 == 0);
        worst = worst.max(ratio);
        println!("{seed}: {ratio:.3}");
    }
    println!("worst {worst}");
    assert!(worst <= 1.15, "{worst}");
}

/// What is alive at once does not overlap, and what kernels need apart is in other buffers.
#[test]
fn no_two_values_are_in_one_place_at_once() {
    for seed in 0..50 {
        let dice = Philox::new(seed, "items");
        let mut items: Vec<Item> = (0..u64::from(dice.word(0) % 60))
            .map(|at| {
                let [room, first, length] = [0, 1, 2].map(|part| dice.word(1 + 3 * at + part));
                let (room, first) = (256 * u64::from(1 + room % 100), first as usize % 40);
                Item { room, first, last: first + length as usize % 9, apart: HashSet::new() }
            })
            .collect();
        for at in 1..items.len() {
            let other = dice.word(1000 + at as u64) as usize % at;
            if items[at].overlaps(&items[other]) {
                items[at].apart.insert(other);
                items[other].apart.insert(at);
            }
        }
        for order in [(0..items.len()).collect::<Vec<_>>(), (0..items.len()).rev().collect()] {
            for side_by_side in [None, Some(60_000), Some(u64::MAX)] {
                let Shared { buffers, of } = placed(&items, &order, side_by_side);
                assert!(buffers.iter().all(|&bytes| bytes <= side_by_side.unwrap_or(u64::MAX)));
                for (at, item) in items.iter().enumerate() {
                    let (buffer, start) = of[at];
                    assert!(start + item.room <= buffers[buffer]);
                    for (other, later) in items.iter().enumerate().skip(at + 1) {
                        let (its, its_start) = of[other];
                        let beside =
                            start + item.room <= its_start || its_start + later.room <= start;
                        let may_share =
                            side_by_side.is_some() && beside && !item.apart.contains(&other);
                        let fine = buffer != its || !item.overlaps(later) || may_share;
                        assert!(fine, "{item:?} {later:?}");
                    }
                }
                assert!(least(&items) <= buffers.iter().sum());
            }
        }
    }
}
