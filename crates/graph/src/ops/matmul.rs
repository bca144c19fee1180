//! Matrix products over the last two dimensions, batched over the others.

use crate::reference::{Value, indices};
use crate::{DType, Node, Op, Problem, Shape, Tensor};

/// Rows and columns of the last two dimensions, after an optional transposition.
fn matrix(shape: &Shape, transpose: bool) -> Option<(usize, usize)> {
    let (&columns, rest) = shape.split_last()?;
    let &rows = rest.last()?;
    Some(if transpose { (columns, rows) } else { (rows, columns) })
}

fn batch(shape: &Shape) -> Shape {
    Shape::from(&shape[..shape.rank().saturating_sub(2)])
}

pub(super) fn infer(
    transpose_a: bool,
    transpose_b: bool,
    a: &Node,
    b: &Node,
) -> Result<(Shape, DType), Problem> {
    for x in [a, b] {
        if x.dtype != DType::F32 {
            return Err(Problem::DType { expected: "f32 operands".to_owned(), found: x.dtype });
        }
    }
    let matrices = |x: &Node, transpose| {
        matrix(&x.shape, transpose).ok_or_else(|| Problem::Rank {
            expected: "matrices (two dimensions or more)".to_owned(),
            found: x.shape.clone(),
        })
    };
    let (rows, left_inner) = matrices(a, transpose_a)?;
    let (right_inner, columns) = matrices(b, transpose_b)?;
    let with = |shape: &Shape, rows, columns| {
        let mut extents = batch(shape).to_vec();
        extents.extend([rows, columns]);
        Shape::from(extents)
    };
    let left = with(&a.shape, rows, left_inner);
    let right = with(&b.shape, right_inner, columns);
    if left_inner != right_inner {
        return Err(Problem::MatMul { left, right, left_inner, right_inner });
    }
    let batch =
        batch(&a.shape).broadcast(&batch(&b.shape)).ok_or(Problem::Broadcast { left, right })?;
    let mut extents = batch.to_vec();
    extents.extend([rows, columns]);
    Ok((Shape::from(extents), DType::F32))
}

/// With C = A·B: dA = dC·Bᵀ and dB = Aᵀ·dC, each summed over the batch dimensions it was repeated
/// along. Transposed operands only change which factor is read transposed.
pub(super) fn gradient<'g>(
    transpose_a: bool,
    transpose_b: bool,
    inputs: &[Tensor<'g>],
    dc: Tensor<'g>,
) -> Vec<Option<Tensor<'g>>> {
    let (a, b) = (inputs[0], inputs[1]);
    let product = |x: Tensor<'g>, y, transpose_a, transpose_b| {
        x.apply(Op::MatMul { transpose_a, transpose_b }, &[y])
    };
    let da = if transpose_a {
        product(b, dc, transpose_b, true)
    } else {
        product(dc, b, false, !transpose_b)
    };
    let db = if transpose_b {
        product(dc, a, true, transpose_a)
    } else {
        product(a, dc, !transpose_a, false)
    };
    vec![Some(da.sum_to(&a.shape())), Some(db.sum_to(&b.shape()))]
}

pub(super) fn evaluate(
    transpose_a: bool,
    transpose_b: bool,
    inputs: &[&Value],
    shape: &Shape,
) -> Vec<f64> {
    let (a, b) = (inputs[0], inputs[1]);
    let inner = matrix(&a.shape, transpose_a).map_or(0, |(_, inner)| inner);
    let columns = |x: &Value| x.shape.last().copied().unwrap_or(1);
    let step_a = if transpose_a { columns(a) } else { 1 };
    let step_b = if transpose_b { 1 } else { columns(b) };
    let place = |batch: &[usize], row, column, transpose| {
        let mut index = batch.to_vec();
        index.extend(if transpose { [column, row] } else { [row, column] });
        index
    };
    indices(shape)
        .map(|index| {
            let (batch, at) = index.split_at(index.len() - 2);
            // The first pair of factors; the others follow at fixed distances.
            let from_a = a.broadcast_offset(&place(batch, at[0], 0, transpose_a));
            let from_b = b.broadcast_offset(&place(batch, 0, at[1], transpose_b));
            let product = |k| a.elements[from_a + k * step_a] * b.elements[from_b + k * step_b];
            (0..inner).map(product).sum()
        })
        .collect()
}

impl<'g> Tensor<'g> {
    /// The matrix product over the last two dimensions; the dimensions before them broadcast.
    ///
    /// ```
    /// use warmstart_graph::{Graph, DType};
    /// let graph = Graph::new();
    /// let a = graph.placeholder("a", [8, 2, 3], DType::F32);
    /// let b = graph.placeholder("b", [3, 4], DType::F32);
    /// assert_eq!(a.matmul(b).shape().to_string(), "[8, 2, 4]");
    /// ```
    #[track_caller]
    #[must_use]
    pub fn matmul(self, other: Tensor<'g>) -> Tensor<'g> {
        self.apply(Op::MatMul { transpose_a: false, transpose_b: false }, &[other])
    }

    /// The matrix product with either operand read transposed, without a copy.
    #[track_caller]
    #[must_use]
    pub fn matmul_with(
        self,
        other: Tensor<'g>,
        transpose_self: bool,
        transpose_other: bool,
    ) -> Tensor<'g> {
        let op = Op::MatMul { transpose_a: transpose_self, transpose_b: transpose_other };
        self.apply(op, &[other])
    }
}
