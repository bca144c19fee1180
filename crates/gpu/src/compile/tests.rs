//! Kernels that would bind too many buffers are cut in few rounds, however many there are.

use super::*;
use warmstart_graph::{DType, Graph, Optimizer, Tensor};

/// How many kernels these fetches and updates take with so many buffers, and how many rounds of fusing and
/// lowering it takes to find them.
fn kernels(graph: &Graph, fetches: &[NodeId], updates: &[NodeId], buffers: usize) -> [usize; 2] {
    let def = graph.finish().unwrap();
    let target = Target { storage_buffers: buffers, ..Target::GPU };
    let live = simplify::simplify(&def, fetches, updates);
    let (_, lowered, rounds) = fitted(&def, &live, target).unwrap();
    for step in &lowered.steps {
        let Step::Dispatch(dispatch) = step else { continue };
        assert!(dispatch.bindings.len() <= buffers, "{}", dispatch.label);
    }
    [lowered.steps.len(), rounds]
}

fn placeholders(graph: &Graph, count: usize) -> Vec<Tensor<'_>> {
    (0..count).map(|at| graph.placeholder(&format!("x{at}"), [4, 8], DType::F32)).collect()
}

#[test]
fn all_cuts_of_a_sum_are_found_in_few_rounds() {
    for count in [10, 16, 100, 200, 1000] {
        let graph = Graph::new();
        let terms = placeholders(&graph, count);
        let sum = terms.iter().copied().reduce(|sum, term| sum + term).unwrap();
        let [found, rounds] = kernels(&graph, &[sum.id()], &[], 16);
        // Each kernel but the first reads one sum and 14 terms; fusing cuts a chain of 256 anyway.
        let least = (count - 1).div_ceil(14);
        assert!((least..=least + count / 256).contains(&found), "{count}: {found}");
        assert!(rounds <= 4, "{count}: {rounds} rounds");
    }
}

#[test]
fn all_cuts_of_a_tree_are_found_in_few_rounds() {
    for buffers in [4, 5, 8, 16] {
        let graph = Graph::new();
        let mut values = placeholders(&graph, 512);
        while values.len() > 1 {
            values = values.chunks(2).map(|pair| pair[0] + pair[1].tanh()).collect();
        }
        let [found, rounds] = kernels(&graph, &[values[0].id()], &[], buffers);
        assert!(rounds <= 3, "{buffers} buffers: {rounds} rounds");
        // Subtrees of as many leaves as one kernel can read.
        let leaves = 1 << (buffers - 1).ilog2();
        assert!(found <= 2 * 512 / leaves, "{buffers} buffers: {found}");
    }
}

/// The gradient of a weight that is used at each step of time is a sum of as many products.
#[test]
fn the_rounds_for_an_unrolled_network_do_not_grow_with_its_length() {
    let rounds = [40, 80, 160].map(|steps| {
        let graph = Graph::new();
        let x = graph.placeholder("x", [8, steps, 4], DType::F32);
        let mut state = graph.constant(0.0f32).broadcast_to([8, 16]);
        for step in 0..steps {
            let now = x.slice(1, step, step + 1).reshape([8, 4]).concat(&[state], 1);
            state = graph.scope("cell").reuse().linear(now, 16).tanh();
        }
        let loss = state.square().mean_all();
        let step = Optimizer::sgd(0.1).minimize(loss);
        let [_, rounds] = kernels(&graph, &[loss.id()], &[step.update.id()], 16);
        rounds
    });
    assert!(rounds.iter().all(|&rounds| rounds <= 6), "{rounds:?}");
}

/// Each node is looked at once, not once for every way that leads to it: there are 2^60.
#[test]
fn values_that_are_read_twice_over_and_over_are_looked_at_once() {
    let graph = Graph::new();
    let x = graph.placeholder("x", [4, 8], DType::F32);
    let doubled = (0..60).fold(x, |value, _| value * value.abs());
    let fetches = [doubled.sum(&[0]).id(), x.sum(&[0]).id()];
    let [_, rounds] = kernels(&graph, &fetches, &[], 16);
    assert_eq!(rounds, 1);
    // So where a kernel is cut.
    let graph = Graph::new();
    let terms = placeholders(&graph, 20);
    let sum = terms.iter().fold(terms[0], |sum, &term| {
        let sum = sum + term;
        sum * sum.abs() * sum.square()
    });
    let [_, rounds] = kernels(&graph, &[sum.id()], &[], 16);
    assert!(rounds <= 4, "{rounds} rounds");
}
