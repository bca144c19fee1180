//! Reductions over axes: sum, mean, max; and argmax and accuracy, which have no gradient.

use crate::reference::{Value, indices};
use crate::{DType, Node, Op, Problem, Shape, Tensor};
use serde::{Deserialize, Serialize};

/// What a reduction computes. Over no elements the sum is 0 and the largest is −∞, as in NumPy
/// with that initial value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reduction {
    /// Σ x
    Sum,
    /// max x; the gradient is shared evenly among equal largest elements
    Max,
}

impl Reduction {
    /// The name in messages and listings.
    pub fn name(self) -> &'static str {
        match self {
            Reduction::Sum => "sum",
            Reduction::Max => "reduce_max",
        }
    }

    pub(super) fn gradient<'g>(
        self,
        axes: &[usize],
        keep_dims: bool,
        x: Tensor<'g>,
        dy: Tensor<'g>,
    ) -> Tensor<'g> {
        let kept = reduced(&x.shape(), axes, true);
        let dy = dy.reshape(&kept);
        match self {
            Reduction::Sum => dy.broadcast_to(x.shape()),
            Reduction::Max => {
                // Of the x that is at hand. The output may be the largest of another one, rounded or
                // not, that no element equals; where it is not, the compiler makes the two one.
                let y = x.reduce(self, axes, keep_dims);
                let largest = x.equal(y.reshape(&kept));
                let ties = largest.sum(axes).reshape(&kept);
                dy * largest / ties
            }
        }
    }

    pub(super) fn evaluate(self, axes: &[usize], x: &Value, shape: &Shape) -> Vec<f64> {
        let kept = reduced(&x.shape, axes, true);
        let initial = match self {
            Reduction::Sum => 0.0,
            Reduction::Max => f64::NEG_INFINITY,
        };
        let mut result = Value { shape: kept, elements: vec![initial; shape.elements()] };
        for (index, &element) in indices(&x.shape).zip(&x.elements) {
            let at = result.broadcast_offset(&index);
            let total = &mut result.elements[at];
            *total = match self {
                Reduction::Sum => *total + element,
                // A NaN stays one.
                Reduction::Max if element > *total || element.is_nan() => element,
                Reduction::Max => *total,
            };
        }
        result.elements
    }
}

fn reduced(shape: &Shape, axes: &[usize], keep_dims: bool) -> Shape {
    let extents = shape.iter().enumerate().filter_map(|(axis, &extent)| {
        match (axes.contains(&axis), keep_dims) {
            (false, _) => Some(extent),
            (true, true) => Some(1),
            (true, false) => None,
        }
    });
    Shape::from(extents.collect::<Vec<_>>())
}

pub(super) fn infer(axes: &[usize], keep_dims: bool, x: &Node) -> Result<(Shape, DType), Problem> {
    if x.dtype != DType::F32 {
        return Err(Problem::DType { expected: "f32".to_owned(), found: x.dtype });
    }
    for (position, &axis) in axes.iter().enumerate() {
        let before = position.checked_sub(1).map(|before| axes[before]);
        if before == Some(axis) {
            return Err(Problem::AxisTwice { axis });
        }
        // They were sorted when the operation was built.
        if axis >= x.shape.rank() || before.is_some_and(|before| before > axis) {
            return Err(Problem::Axis { axis, shape: x.shape.clone() });
        }
    }
    Ok((reduced(&x.shape, axes, keep_dims), DType::F32))
}

pub(super) fn infer_argmax(x: &Node) -> Result<(Shape, DType), Problem> {
    if x.dtype != DType::F32 {
        return Err(Problem::DType { expected: "f32".to_owned(), found: x.dtype });
    }
    match x.shape.split_last() {
        Some((&last, rest)) if last > 0 => Ok((Shape::from(rest), DType::I32)),
        _ => Err(Problem::Rank {
            expected: "a last axis with at least one element".to_owned(),
            found: x.shape.clone(),
        }),
    }
}

pub(super) fn evaluate_argmax(x: &Value) -> Vec<f64> {
    let width = x.shape.last().copied().unwrap_or(1);
    x.elements
        .chunks_exact(width)
        .map(|row| {
            let better = |best: usize, i: usize| if row[i] > row[best] { i } else { best };
            (1..width).fold(0, better) as f64
        })
        .collect()
}

impl<'g> Tensor<'g> {
    #[track_caller]
    fn reduce(self, reduction: Reduction, axes: &[usize], keep_dims: bool) -> Tensor<'g> {
        if axes.is_empty() {
            return self;
        }
        let mut axes = axes.to_vec();
        axes.sort_unstable();
        self.apply(Op::Reduce { reduction, axes, keep_dims }, &[])
    }

    fn all_axes(self) -> Vec<usize> {
        (0..self.shape().rank()).collect()
    }

    /// The sum over the given axes, which disappear.
    #[track_caller]
    #[must_use]
    pub fn sum(self, axes: &[usize]) -> Tensor<'g> {
        self.reduce(Reduction::Sum, axes, false)
    }

    /// The sum over the given axes, which stay with extent 1.
    #[track_caller]
    #[must_use]
    pub fn sum_keep_dims(self, axes: &[usize]) -> Tensor<'g> {
        self.reduce(Reduction::Sum, axes, true)
    }

    /// The sum of all elements, a scalar.
    #[track_caller]
    #[must_use]
    pub fn sum_all(self) -> Tensor<'g> {
        self.sum(&self.all_axes())
    }

    /// The mean over the given axes, which disappear. Over no elements it is NaN.
    #[track_caller]
    #[must_use]
    pub fn mean(self, axes: &[usize]) -> Tensor<'g> {
        let shape = self.shape();
        // In `f64`, since an axis given twice, which the sum refuses, could overflow a `usize`.
        let extents = axes.iter().filter_map(|&axis| shape.get(axis));
        let count: f64 = extents.map(|&extent| extent as f64).product();
        // A reciprocal would be rounded, and the mean of ones not be 1.
        self.sum(axes) / count as f32
    }

    /// The mean of all elements, a scalar.
    #[track_caller]
    #[must_use]
    pub fn mean_all(self) -> Tensor<'g> {
        self.mean(&self.all_axes())
    }

    /// The largest element over the given axes, which disappear.
    #[track_caller]
    #[must_use]
    pub fn reduce_max(self, axes: &[usize]) -> Tensor<'g> {
        self.reduce(Reduction::Max, axes, false)
    }

    /// The index of the largest element of the last axis (the first if several), as `i32`; no
    /// gradient.
    #[track_caller]
    #[must_use]
    pub fn argmax(self) -> Tensor<'g> {
        self.apply(Op::ArgMax, &[])
    }

    /// The share of rows of these logits `[n, classes]` whose largest element is at the row's
    /// label `[n]` (`i32`); a scalar in 0..=1 without gradient.
    #[track_caller]
    #[must_use]
    pub fn accuracy(self, labels: Tensor<'g>) -> Tensor<'g> {
        let found = self.argmax();
        // They would broadcast: labels `[n, 1]` would be compared with every row.
        match found.same_shape("accuracy", "labels", labels) {
            Some(refused) => refused,
            None => found.equal(labels).mean_all(),
        }
    }

    /// The sum over whatever dimensions were repeated to get from `shape` to this tensor's shape.
    #[track_caller]
    pub(crate) fn sum_to(self, shape: &Shape) -> Tensor<'g> {
        let from = self.shape();
        if self.is_invalid() || &from == shape {
            return self;
        }
        let new = from.rank() - shape.rank().min(from.rank());
        let axes: Vec<usize> = (0..from.rank())
            .filter(|&axis| axis < new || shape[axis - new] == 1 && from[axis] != 1)
            .collect();
        self.sum(&axes).reshape(shape)
    }
}
