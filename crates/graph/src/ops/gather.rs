//! Rows of a table picked by index (embedding), and its gradient.

use crate::reference::Value;
use crate::{DType, Node, Op, Problem, Shape, Tensor};

fn needs_indices(x: &Node) -> Result<(), Problem> {
    if matches!(x.dtype, DType::I32 | DType::U32 | DType::U8) {
        Ok(())
    } else {
        Err(Problem::DType { expected: "i32, u32 or u8 indices".to_owned(), found: x.dtype })
    }
}

fn needs_f32(x: &Node) -> Result<(), Problem> {
    if x.dtype == DType::F32 {
        Ok(())
    } else {
        Err(Problem::DType { expected: "f32 rows".to_owned(), found: x.dtype })
    }
}

pub(super) fn infer(table: &Node, index: &Node) -> Result<(Shape, DType), Problem> {
    needs_f32(table)?;
    needs_indices(index)?;
    let Some((_, row)) = table.shape.split_first() else {
        let expected = "a table of one dimension or more".to_owned();
        return Err(Problem::Rank { expected, found: table.shape.clone() });
    };
    Ok((Shape::from([&index.shape[..], row].concat()), DType::F32))
}

pub(super) fn infer_scatter(
    rows: usize,
    index: &Node,
    values: &Node,
) -> Result<(Shape, DType), Problem> {
    needs_f32(values)?;
    needs_indices(index)?;
    let rank = index.shape.rank();
    if values.shape.get(..rank) != Some(&index.shape[..]) {
        return Err(Problem::Shape {
            what: "rows that begin with the indices' shape".to_owned(),
            expected: index.shape.clone(),
            found: values.shape.clone(),
        });
    }
    Ok((Shape::from([&[rows], &values.shape[rank..]].concat()), DType::F32))
}

/// A row for each index; NaN for an index outside the table, since nothing else can be said from
/// a device in time, and NaN is reported.
pub(super) fn evaluate(inputs: &[&Value], shape: &Shape) -> Vec<f64> {
    let (table, index) = (inputs[0], inputs[1]);
    let rows = table.shape[0];
    let width = Shape::from(&table.shape[1..]).elements();
    let mut result = Vec::with_capacity(shape.elements());
    for &at in &index.elements {
        if at >= 0.0 && at < rows as f64 {
            result.extend_from_slice(&table.elements[at as usize * width..][..width]);
        } else {
            result.extend(std::iter::repeat_n(f64::NAN, width));
        }
    }
    result
}

/// Indices outside the table add nothing.
pub(super) fn evaluate_scatter(inputs: &[&Value], shape: &Shape) -> Vec<f64> {
    let (index, values) = (inputs[0], inputs[1]);
    let width = Shape::from(&shape[1..]).elements();
    let mut result = vec![0.0; shape.elements()];
    for (position, &at) in index.elements.iter().enumerate() {
        if at >= 0.0 && at < shape[0] as f64 {
            let row = &values.elements[position * width..][..width];
            result[at as usize * width..][..width].iter_mut().zip(row).for_each(|(r, v)| *r += v);
        }
    }
    result
}

/// Each row of the table receives the gradients of all places that picked it.
pub(super) fn gradient<'g>(inputs: &[Tensor<'g>], dy: Tensor<'g>) -> Tensor<'g> {
    let rows = inputs[0].shape().first().copied().unwrap_or(0);
    inputs[1].apply(Op::ScatterAddRows { rows }, &[dy])
}

/// Each row receives the gradient of the row it was added to: none, for an index outside the table,
/// which added nothing.
pub(super) fn scatter_gradient<'g>(
    rows: usize,
    inputs: &[Tensor<'g>],
    dy: Tensor<'g>,
) -> Tensor<'g> {
    let index = inputs[0];
    // As on a device: a negative index becomes a large one. No table has more rows than `u32`
    // counts, since no tensor has more elements.
    let rows = dy.graph().constant(rows as u32);
    let width = inputs[1].shape().rank() - index.shape().rank();
    let shape = Shape::from([&index.shape()[..], &vec![1; width]].concat());
    let inside = rows.greater(index.cast(DType::U32)).reshape(shape);
    inside.select(dy.gather_rows(index), dy.number(0.0))
}

impl<'g> Tensor<'g> {
    /// The rows of this table `[rows, ..]` at the given indices (`i32`, `u32` or `u8`, any
    /// shape). An
    /// index outside the table gives a row of NaN, and no gradient to any row.
    ///
    /// ```
    /// use warmstart_graph::{DType, Graph};
    /// let graph = Graph::new();
    /// let table = graph.placeholder("table", [100, 16], DType::F32);
    /// let words = graph.placeholder("words", [8, 5], DType::I32);
    /// assert_eq!(table.gather_rows(words).shape().to_string(), "[8, 5, 16]");
    /// ```
    #[track_caller]
    #[must_use]
    pub fn gather_rows(self, indices: Tensor<'g>) -> Tensor<'g> {
        self.apply(Op::GatherRows, &[indices])
    }
}
