//! Products, reductions, views and rows.

use super::{Case, Maker, count, rough, smooth};
use warmstart_graph::{Tensor, global_norm, gradients};

fn matrices<'g>(m: &mut Maker<'g>, a_batch: &[usize], b_batch: &[usize]) -> Vec<Tensor<'g>> {
    let (rows, inner, columns) = loop {
        let (rows, inner, columns) = (m.extent(), m.extent(), m.extent());
        if rows * inner * columns <= 6000 {
            break (rows, inner, columns);
        }
    };
    let inner = if m.chance(3) { 0 } else { inner };
    let rows = if m.chance(3) { 0 } else { rows };
    let mut results = Vec::new();
    for (transpose_a, transpose_b) in [(false, false), (false, true), (true, false), (true, true)] {
        let pair = |first, second, transpose| {
            if transpose { [second, first] } else { [first, second] }
        };
        let a = [a_batch, &pair(rows, inner, transpose_a)].concat();
        let b = [b_batch, &pair(inner, columns, transpose_b)].concat();
        let (a, b) = (m.floats(&a, -1.0, 1.0), m.floats(&b, -1.0, 1.0));
        results.push(a.matmul_with(b, transpose_a, transpose_b));
        if !transpose_a && !transpose_b {
            results.push(a.matmul(b));
        }
    }
    results
}

/// An axis, a start and an end within a shape of at least one dimension.
fn range(m: &mut Maker<'_>, shape: &[usize]) -> (usize, usize, usize) {
    let axis = m.random.below(shape.len());
    let start = m.random.below(shape[axis] + 1);
    let end = start + m.random.below(shape[axis] - start + 1);
    (axis, start, end)
}

fn some_shape(m: &mut Maker<'_>) -> Vec<usize> {
    let rank = 1 + m.random.below(3);
    m.shape(rank)
}

/// A table, and indices into it that repeat some rows and leave others out.
fn table<'g>(m: &mut Maker<'g>) -> (Tensor<'g>, Tensor<'g>) {
    let mut shape = some_shape(m);
    if m.chance(5) {
        shape.push(0);
    }
    let table = m.floats(&shape, -2.0, 2.0);
    let rank = m.random.below(3);
    let index: Vec<usize> = (0..rank).map(|_| m.random.below(6)).collect();
    let last = shape[0] - 1;
    let index = if m.chance(50) {
        m.integers(&index, 0, last as i32)
    } else {
        m.unsigned(&index, last as u32)
    };
    (table, index)
}

pub(super) const CASES: &[Case] = &[
    smooth("matmul", |m| matrices(m, &[], &[])),
    smooth("matmul_batched", |m| {
        let batch = 1 + m.random.below(3);
        matrices(m, &[batch], &[batch])
    }),
    smooth("matmul_broadcast_batch", |m| {
        let patterns: [(&[usize], &[usize]); 6] = [
            (&[3], &[]),
            (&[], &[2]),
            (&[2, 1], &[1, 3]),
            (&[1], &[3]),
            (&[2], &[3, 1]),
            (&[0], &[1]),
        ];
        let (a, b) = patterns[m.random.below(patterns.len())];
        matrices(m, a, b)
    }),
    smooth("sum", |m| {
        let shape = m.any_shape();
        let x = m.floats(&shape, -2.0, 2.0);
        let axes = m.axes(&shape);
        vec![x.sum(&axes), x.sum_keep_dims(&axes), x.sum_all()]
    }),
    smooth("mean", |m| {
        let rank = m.random.below(4);
        let shape = m.shape(rank);
        let x = m.floats(&shape, -2.0, 2.0);
        let axes = m.axes(&shape);
        vec![x.mean(&axes), x.mean_all()]
    }),
    smooth("reduce_max", |m| {
        let rank = m.random.below(4);
        let shape = m.shape(rank);
        // A shuffle of numbers that are far apart, compared with a difference's step.
        let mut values: Vec<f32> = (0..count(&shape)).map(|i| i as f32 / 64.0).collect();
        for at in (1..values.len()).rev() {
            values.swap(at, m.random.below(at + 1));
        }
        let x = m.given(&shape, values);
        let axes = m.axes(&shape);
        vec![x.reduce_max(&axes)]
    }),
    // Pairs of equal elements; see `min_and_max_of_equals`.
    smooth("reduce_max_of_pairs", |m| {
        let width = m.extent();
        let mut row: Vec<f32> = (0..width).map(|i| i as f32 / 8.0).collect();
        for at in (1..width).rev() {
            row.swap(at, m.random.below(at + 1));
        }
        let x = m.given(&[2, width], [&row[..], &row].concat());
        vec![x.reduce_max(&[0]), x.reduce_max(&[0, 1])]
    }),
    rough("reduce_max_of_many_equals", |m| {
        let shape = some_shape(m);
        let values = (0..count(&shape)).map(|_| m.random.below(3) as f32).collect();
        let x = m.given(&shape, values);
        let axes = m.axes(&shape);
        vec![x.reduce_max(&axes)]
    }),
    rough("argmax", |m| {
        let shape = some_shape(m);
        // Few different values: many rows have several largest elements.
        let equals = m.whole(&shape, -2, 2);
        vec![equals.argmax(), m.floats(&shape, -2.0, 2.0).argmax()]
    }),
    rough("accuracy", |m| {
        let (rows, classes) = (m.extent(), m.extent());
        let logits = m.whole(&[rows, classes], -3, 3);
        let labels = m.integers(&[rows], 0, classes as i32 - 1);
        vec![logits.accuracy(labels)]
    }),
    smooth("reshape", |m| {
        let shape = m.any_shape();
        let x = m.floats(&shape, -2.0, 2.0);
        let turned: Vec<usize> = shape.iter().rev().copied().collect();
        vec![x.reshape([count(&shape)]), x.square().reshape(turned)]
    }),
    smooth("transpose", |m| {
        let rank = m.random.below(5);
        let shape = m.shape(rank);
        let mut permutation: Vec<usize> = (0..rank).collect();
        for at in (1..rank).rev() {
            permutation.swap(at, m.random.below(at + 1));
        }
        vec![m.floats(&shape, -2.0, 2.0).transpose(&permutation)]
    }),
    smooth("broadcast_to", |m| {
        let (from, other) = m.two_shapes();
        let x = m.floats(&from, -2.0, 2.0);
        let to = x.shape().broadcast(&other[..].into()).expect("drawn to broadcast");
        vec![x.broadcast_to(to)]
    }),
    smooth("slice", |m| {
        let shape = some_shape(m);
        let (axis, start, end) = range(m, &shape);
        vec![m.floats(&shape, -2.0, 2.0).slice(axis, start, end)]
    }),
    smooth("slice_box", |m| {
        let shape = some_shape(m);
        let starts: Vec<usize> = shape.iter().map(|&e| m.random.below(e + 1)).collect();
        let extents: Vec<usize> =
            shape.iter().zip(&starts).map(|(&e, &s)| m.random.below(e - s + 1)).collect();
        vec![m.floats(&shape, -2.0, 2.0).slice_box(&starts, extents)]
    }),
    smooth("pad", |m| {
        let shape = some_shape(m);
        let before: Vec<usize> = shape.iter().map(|_| m.random.below(3)).collect();
        let outer: Vec<usize> =
            shape.iter().zip(&before).map(|(&e, &b)| e + b + m.random.below(3)).collect();
        vec![m.floats(&shape, -2.0, 2.0).pad(&before, outer)]
    }),
    smooth("concat", |m| {
        let shape = some_shape(m);
        let axis = m.random.below(shape.len());
        let parts: Vec<Tensor<'_>> = (0..1 + m.random.below(3))
            .map(|_| {
                let mut shape = shape.clone();
                shape[axis] = m.random.below(6);
                m.floats(&shape, -2.0, 2.0)
            })
            .collect();
        vec![parts[0].concat(&parts[1..], axis)]
    }),
    smooth("concat_of_many", |m| {
        let axis = m.random.below(2);
        let parts: Vec<Tensor<'_>> = (0..8 + m.random.below(50))
            .map(|_| {
                let mut shape = [2, 2];
                shape[axis] = m.random.below(3);
                m.floats(&shape, -2.0, 2.0).tanh()
            })
            .collect();
        vec![parts[0].concat(&parts[1..], axis)]
    }),
    rough("views_of_integers", |m| {
        let shape = some_shape(m);
        let x = m.integers(&shape, i32::MIN, i32::MAX);
        let (axis, start, end) = range(m, &shape);
        let turned: Vec<usize> = (0..shape.len()).rev().collect();
        vec![
            x.reshape([count(&shape)]),
            x.transpose(&turned),
            x.slice(axis, start, end),
            x.concat(&[x], axis),
            x.broadcast_to([&[2], &shape[..]].concat()),
        ]
    }),
    smooth("gather_rows", |m| {
        let (table, index) = table(m);
        vec![table.gather_rows(index)]
    }),
    // The gradient of a gather's gradient goes through the scatter.
    smooth("gather_rows_second_order", |m| {
        let (table, index) = table(m);
        let loss = (table.gather_rows(index) * 0.5).exp().sum_all();
        gradients(loss, &[table]).into_iter().flatten().collect()
    }),
    // An index outside the table adds nothing to any row, and so its own row has no gradient.
    smooth("scatter_rows_outside", |m| {
        let (rows, count, width) = (m.extent(), m.extent(), m.extent());
        let table = m.floats(&[rows, width], -2.0, 2.0);
        let index = m.integers(&[count, 2], -2, rows as i32 + 1);
        let weights = m.floats(&[count, 2, width], -2.0, 2.0);
        let loss = (table.gather_rows(index) * weights).sum_all();
        gradients(loss, &[table]).into_iter().flatten().map(|scattered| scattered.sin()).collect()
    }),
    smooth("global_norm", |m| {
        let tensors: Vec<Tensor<'_>> = (0..1 + m.random.below(3))
            .map(|_| {
                let shape = m.any_shape();
                // One element that is never 0, so that the norm is not.
                m.floats_away(&shape, -2.0, 2.0, 0.0)
            })
            .collect();
        let one = m.floats(&[1], 0.5, 1.0);
        vec![global_norm(m.graph, &[&tensors[..], &[one]].concat())]
    }),
];
