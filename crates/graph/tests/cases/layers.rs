//! Softmax, losses, random numbers, layers, and small models made of them.

use super::{Case, Maker, rough, smooth};
use warmstart_graph::{Tensor, gradients};

fn logits<'g>(m: &mut Maker<'g>) -> (Tensor<'g>, usize, usize) {
    let shape = m.shape(2);
    let spread = [1.0, 5.0, 20.0][m.random.below(3)];
    (m.floats(&shape, -spread, spread), shape[0], shape[1])
}

fn rows(m: &mut Maker<'_>) -> Vec<usize> {
    let rank = 1 + m.random.below(3);
    let mut shape = m.shape(rank);
    if m.chance(10) {
        let at = m.random.below(rank);
        shape[at] = 0;
    }
    shape
}

/// Extents for a normalization: of rows there may be none.
fn normalized(m: &mut Maker<'_>) -> Vec<usize> {
    let rank = 1 + m.random.below(3);
    let mut shape = m.shape(rank);
    if rank > 1 && m.chance(10) {
        let at = m.random.below(rank - 1);
        shape[at] = 0;
    }
    shape
}

pub(super) const CASES: &[Case] = &[
    smooth("softmax", |m| {
        let shape = rows(m);
        vec![m.floats(&shape, -5.0, 5.0).softmax()]
    }),
    smooth("log_softmax", |m| {
        let shape = rows(m);
        vec![m.floats(&shape, -5.0, 5.0).log_softmax()]
    }),
    // Overflows unless the largest logit is taken away first.
    rough("softmax_of_large", |m| {
        let shape = rows(m);
        let x = m.whole(&shape, -300, 300);
        vec![x.softmax(), x.log_softmax()]
    }),
    smooth("softmax_cross_entropy", |m| {
        let (x, n, classes) = logits(m);
        let labels = m.integers(&[n], 0, classes as i32 - 1);
        vec![x.softmax_cross_entropy(labels)]
    }),
    smooth("softmax_cross_entropy_smoothed", |m| {
        let (x, n, classes) = logits(m);
        let labels = m.integers(&[n], 0, classes as i32 - 1);
        let smoothing = [0.0, 0.1, 0.5, 1.0][m.random.below(4)];
        vec![x.softmax_cross_entropy_smoothed(labels, smoothing)]
    }),
    smooth("softmax_cross_entropy_per_row", |m| {
        let (x, n, classes) = logits(m);
        let (labels, weights) = (m.integers(&[n], 0, classes as i32 - 1), m.floats(&[n], 0.1, 1.0));
        let smoothing = [0.0, 0.1][m.random.below(2)];
        let smoothed = x.softmax_cross_entropy_smoothed_per_row(labels, smoothing);
        let losses = x.softmax_cross_entropy_per_row(labels) + smoothed;
        vec![losses, (losses * weights).sum_all() / weights.sum_all()]
    }),
    smooth("softmax_cross_entropy_ignoring", |m| {
        let (x, n, classes) = logits(m);
        // One row at least counts.
        let labels = m.integers(&[n], -1, classes as i32 - 1);
        let labels = m.integers(&[1], 0, classes as i32 - 1).concat(&[labels], 0);
        let x = x.slice(0, 0, 1).concat(&[x], 0);
        vec![x.softmax_cross_entropy_ignoring(labels, -1)]
    }),
    smooth("softmax_cross_entropy_probabilities", |m| {
        let (x, n, classes) = logits(m);
        let targets = m.floats(&[n, classes], 0.0, 1.0);
        vec![x.softmax_cross_entropy_probabilities(targets)]
    }),
    smooth("binary_cross_entropy_with_logits", |m| {
        let rank = m.random.below(3);
        let shape = m.shape(rank);
        let (x, targets) = (m.floats(&shape, -9.0, 9.0), m.floats(&shape, 0.0, 1.0));
        vec![x.binary_cross_entropy_with_logits(targets)]
    }),
    smooth("mean_squared_error", |m| {
        let rank = m.random.below(3);
        let shape = m.shape(rank);
        let (x, targets) = (m.floats(&shape, -3.0, 3.0), m.floats(&shape, -3.0, 3.0));
        vec![x.mean_squared_error(targets)]
    }),
    // One target for every element.
    smooth("losses_of_a_scalar_target", |m| {
        let shape = m.shape(2);
        let (x, target) = (m.floats(&shape, -3.0, 3.0), m.floats(&[], 0.0, 1.0));
        vec![
            x.mean_squared_error(target),
            x.binary_cross_entropy_with_logits(target),
            // All errors are within 5.
            x.huber(target, 5.0),
        ]
    }),
    smooth("huber", |m| {
        let rank = m.random.below(3);
        let shape = m.shape(rank);
        // Errors keep away from ±1, where the second derivative jumps, and from 0.
        let targets = m.floats(&shape, 0.0, 0.2);
        let x = m.floats_where(&shape, -3.0, 3.0, |x| {
            [0.0, 1.0, -1.0].iter().all(|bend| (x - 0.1 - bend).abs() > 0.15)
        });
        vec![x.huber(targets, 1.0)]
    }),
    smooth("dropout", |m| {
        let shape = m.any_shape();
        let rate = m.random.number(0.0, 0.9);
        m.graph.set_seed(m.random.bits());
        let step = m.random.below(1000) as u32;
        m.at_step(step);
        let x = m.floats(&shape, -2.0, 2.0);
        vec![x.dropout("first", rate), x.dropout("second", 0.5)]
    }),
    smooth("linear", |m| {
        let shape = rows(m);
        let inputs = shape[shape.len() - 1];
        let shape = if shape.len() == 1 { vec![3, inputs] } else { shape };
        let units = m.extent();
        let x = m.floats(&shape, -1.0, 1.0);
        let y = m.graph.scope("fc").linear(x, units);
        m.fill("fc", "weight", &[inputs, units]);
        m.fill("fc", "bias", &[units]);
        vec![y]
    }),
    smooth("embedding", |m| {
        let (count, width) = (m.extent(), m.extent());
        let index = m.integers(&[4, 3], 0, count as i32 - 1);
        let y = m.graph.scope("words").embedding(index, count, width);
        m.fill("words", "weight", &[count, width]);
        vec![y]
    }),
    // A weight that two layers share receives both gradients.
    smooth("shared_weight", |m| {
        let width = 1 + m.random.below(8);
        let x = m.floats(&[5, width], -1.0, 1.0);
        let scope = m.graph.scope("fc");
        let y = scope.linear(x, width).tanh();
        let y = scope.reuse().linear(y, width);
        m.fill("fc", "weight", &[width, width]);
        m.fill("fc", "bias", &[width]);
        vec![y]
    }),
    smooth("classifier", |m| {
        let (batch, inputs, hidden, classes) =
            (1 + m.random.below(7), m.extent(), m.extent(), 1 + m.random.below(9));
        let x = m.floats(&[batch, inputs], -1.0, 1.0);
        let labels = m.integers(&[batch], 0, classes as i32 - 1);
        let y = m.graph.scope("fc1").linear(x, hidden).gelu();
        let y = m.graph.scope("fc2").linear(y, classes);
        m.fill("fc1", "weight", &[inputs, hidden]);
        m.fill("fc1", "bias", &[hidden]);
        m.fill("fc2", "weight", &[hidden, classes]);
        m.fill("fc2", "bias", &[classes]);
        vec![y.softmax_cross_entropy(labels)]
    }),
    smooth("layer_norm", |m| {
        let shape = normalized(m);
        let x = m.floats(&shape, -1.0, 1.0);
        let width = &shape[shape.len() - 1..];
        let (gamma, beta) = (m.floats(width, 0.5, 1.5), m.floats(width, -1.0, 1.0));
        vec![x.layer_norm(gamma, beta, 0.1)]
    }),
    // Of a row that was computed, and with something computed from the result.
    smooth("layer_norm_layer", |m| {
        let (rows, width) = (1 + m.random.below(9), m.extent());
        let (x, residual) =
            (m.floats(&[rows, width], -1.0, 1.0), m.floats(&[rows, width], -1.0, 1.0));
        let y = m.graph.scope("ln").layer_norm(x + residual * 0.5, 0.05);
        m.fill("ln", "weight", &[width]);
        m.fill("ln", "bias", &[width]);
        vec![y.tanh()]
    }),
    smooth("layer_norm_second_order", |m| {
        let shape = normalized(m);
        let x = m.floats(&shape, -1.0, 1.0);
        let width = &shape[shape.len() - 1..];
        let (gamma, beta) = (m.floats(width, 0.5, 1.5), m.floats(width, -1.0, 1.0));
        let loss = x.layer_norm(gamma, beta, 0.5).tanh().sum_all();
        let slopes = gradients(loss, &[x, gamma, beta]);
        slopes.into_iter().flatten().map(|g| g.square()).collect()
    }),
    smooth("composed_layer_norm", |m| {
        let shape = [1 + m.random.below(9), 2 + m.extent()];
        let x = m.floats(&shape, -1.0, 1.0);
        let (gain, bias) = (m.floats(&shape[1..], 0.5, 1.5), m.floats(&shape[1..], -1.0, 1.0));
        let centered = x - x.mean(&[1]).reshape([shape[0], 1]);
        let variance = centered.square().mean(&[1]).reshape([shape[0], 1]);
        vec![centered * (variance + 0.1).rsqrt() * gain + bias]
    }),
    smooth("attention", |m| {
        let (batch, queries, keys, width) = (
            1 + m.random.below(3),
            1 + m.random.below(7),
            1 + m.random.below(7),
            1 + m.random.below(9),
        );
        let q = m.floats(&[batch, queries, width], -1.0, 1.0);
        let k = m.floats(&[batch, keys, width], -1.0, 1.0);
        let v = m.floats(&[batch, keys, width], -1.0, 1.0);
        let weights = (q.matmul_with(k, false, true) * 0.5).softmax();
        vec![weights.matmul(v)]
    }),
    smooth("causal_attention", |m| {
        let (batch, places, width) =
            (1 + m.random.below(3), 1 + m.random.below(17), 1 + m.random.below(9));
        let scores = m.floats(&[batch, places, places], -5.0, 5.0);
        let v = m.floats(&[batch, places, width], -1.0, 1.0);
        let weights = scores.causal_mask().softmax();
        vec![weights, weights.matmul(v)]
    }),
    // A gradient penalty: gradients of gradients.
    smooth("second_order", |m| {
        let shape = m.shape(2);
        let x = m.floats(&shape, -1.0, 1.0);
        let loss = (x.sigmoid() * x.tanh() + x.square().exp() * 0.1).sum_all();
        gradients(loss, &[x]).into_iter().flatten().map(|g| g.square()).collect()
    }),
];
