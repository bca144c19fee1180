//! Softmax and its logarithm over the last axis.

use crate::reference::Value;
use crate::{DType, Location, Node, Op, Problem, Shape, Tensor};

pub(super) fn infer(x: &Node) -> Result<(Shape, DType), Problem> {
    if x.dtype != DType::F32 {
        return Err(Problem::DType { expected: "f32".to_owned(), found: x.dtype });
    }
    if x.shape.rank() == 0 {
        let expected = "at least one dimension".to_owned();
        return Err(Problem::Rank { expected, found: x.shape.clone() });
    }
    Ok((x.shape.clone(), DType::F32))
}

/// ln Σ eˣ of a row, without overflow.
pub(super) fn log_sum_exp(row: &[f64]) -> f64 {
    let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    largest + row.iter().map(|x| (x - largest).exp()).sum::<f64>().ln()
}

pub(super) fn evaluate_log(x: &Value) -> Vec<f64> {
    let width = x.shape.last().copied().unwrap_or(1).max(1);
    x.elements
        .chunks_exact(width)
        .flat_map(|row| {
            let total = log_sum_exp(row);
            row.iter().map(move |x| x - total)
        })
        .collect()
}

pub(super) fn evaluate(x: &Value) -> Vec<f64> {
    evaluate_log(x).into_iter().map(f64::exp).collect()
}

fn last_axis(x: Tensor<'_>) -> [usize; 1] {
    [x.shape().rank().saturating_sub(1)]
}

/// With y = softmax(x): dx = y (dy − Σ dy y).
pub(super) fn gradient<'g>(y: Tensor<'g>, dy: Tensor<'g>) -> Tensor<'g> {
    y * (dy - (dy * y).sum_keep_dims(&last_axis(y)))
}

/// With y = ln softmax(x): dx = dy − eʸ Σ dy.
pub(super) fn log_gradient<'g>(y: Tensor<'g>, dy: Tensor<'g>) -> Tensor<'g> {
    dy - y.exp() * dy.sum_keep_dims(&last_axis(y))
}

impl<'g> Tensor<'g> {
    /// Masks scores of attention, `[.., places, places]`, so that a place (a row) sees itself and those
    /// before: the columns behind the diagonal become a quarter of the lowest `f32`, of which
    /// [`softmax`](Tensor::softmax) makes exactly 0, as it does of PyTorch's −∞ (`is_causal`; Keras says
    /// `use_causal_mask`). WGSL lets devices assume that nothing is infinite. No gradient flows to what
    /// is masked.
    ///
    /// Scale scores before they are masked, and let other masks come after this one, or be milder, as
    /// −10⁹ is: a row in which all is as low as what is masked sees everything.
    ///
    /// ```
    /// use warmstart_graph::reference::Reference;
    /// use warmstart_graph::{Graph, TensorData};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let graph = Graph::new();
    /// let scores = graph.constant(vec![0.0f32; 9]).reshape([3, 3]);
    /// let weights = scores.causal_mask().softmax();
    /// let found = Reference::new(&graph.finish()?).run(&[weights.id()])?;
    /// let expected = [1.0, 0.0, 0.0, 0.5, 0.5, 0.0, 1.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0];
    /// assert!(found[0].elements.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6));
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    #[must_use]
    pub fn causal_mask(self) -> Tensor<'g> {
        if self.is_invalid() {
            return self;
        }
        let shape = self.shape();
        let places = match shape[..] {
            [.., rows, columns] if rows == columns => rows,
            _ => {
                let expected = "[.., places, places], as many columns as rows".to_owned();
                let problem = Problem::Rank { expected, found: shape };
                return self.graph().refuse("causal_mask", &self.scope(), problem);
            }
        };
        self.graph().at_line(Location::caller(), || {
            let numbers: Vec<f32> = (0..places).map(|place| place as f32).collect();
            let columns = self.graph().constant(numbers);
            let is_behind = columns.greater(columns.reshape([places, 1]));
            is_behind.select(self.number(f32::MIN / 4.0), self)
        })
    }

    /// eˣ / Σ eˣ over the last axis, without overflow.
    #[track_caller]
    #[must_use]
    pub fn softmax(self) -> Tensor<'g> {
        self.apply(Op::Softmax, &[])
    }

    /// The logarithm of the softmax over the last axis, without overflow.
    #[track_caller]
    #[must_use]
    pub fn log_softmax(self) -> Tensor<'g> {
        self.apply(Op::LogSoftmax, &[])
    }
}
