//! Losses. The cross-entropy of class indices is an operation of its own, so that the device
//! computes it and its gradient straight from the logits; the others are built from other
//! operations.

use super::softmax::{evaluate, log_sum_exp};
use crate::reference::Value;
use crate::{DType, Location, Node, Op, Problem, Shape, Tensor};

fn infer_logits(
    label_smoothing: f32,
    logits: &Node,
    labels: &Node,
) -> Result<(usize, usize), Problem> {
    if !(0.0..=1.0).contains(&label_smoothing) {
        return Err(Problem::Range {
            what: "label smoothing".to_owned(),
            value: label_smoothing.into(),
            range: "in 0..=1".to_owned(),
        });
    }
    if logits.dtype != DType::F32 {
        return Err(Problem::DType { expected: "f32 logits".to_owned(), found: logits.dtype });
    }
    if labels.dtype != DType::I32 {
        return Err(Problem::DType { expected: "i32 labels".to_owned(), found: labels.dtype });
    }
    let [rows, classes] = logits.shape[..] else {
        let expected = "logits [n, classes]".to_owned();
        return Err(Problem::Rank { expected, found: logits.shape.clone() });
    };
    if labels.shape[..] != [rows] {
        return Err(Problem::Shape {
            what: "labels".to_owned(),
            expected: Shape::from([rows]),
            found: labels.shape.clone(),
        });
    }
    Ok((rows, classes))
}

pub(super) fn infer(label_smoothing: f32, inputs: &[&Node]) -> Result<(Shape, DType), Problem> {
    let (rows, _) = infer_logits(label_smoothing, inputs[0], inputs[1])?;
    Ok((Shape::from([rows]), DType::F32))
}

pub(super) fn infer_gradient(
    label_smoothing: f32,
    inputs: &[&Node],
) -> Result<(Shape, DType), Problem> {
    let (rows, classes) = infer_logits(label_smoothing, inputs[0], inputs[1])?;
    if inputs[2].shape[..] != [rows] || inputs[2].dtype != DType::F32 {
        return Err(Problem::Shape {
            what: "gradient".to_owned(),
            expected: Shape::from([rows]),
            found: inputs[2].shape.clone(),
        });
    }
    Ok((Shape::from([rows, classes]), DType::F32))
}

/// −Σ target · ln softmax, where the target is `1 − s` at the label plus `s / classes` everywhere
/// (Szegedy et al. 2015, section 7). A label outside the classes gives NaN: on a device nothing
/// else can be said in time, and NaN is reported.
fn evaluate_row(label_smoothing: f32, logits: &[f64], label: f64) -> f64 {
    let Some(&at_label) = logits.get(label as usize).filter(|_| label >= 0.0) else {
        return f64::NAN;
    };
    let smoothing = f64::from(label_smoothing);
    let loss = log_sum_exp(logits) - (1.0 - smoothing) * at_label;
    // Without smoothing a logit of −∞ costs nothing.
    if smoothing == 0.0 {
        return loss;
    }
    loss - smoothing * logits.iter().sum::<f64>() / logits.len() as f64
}

pub(super) fn evaluate_loss(label_smoothing: f32, inputs: &[&Value]) -> Vec<f64> {
    let classes = inputs[0].shape[1];
    (0..inputs[0].shape[0])
        .map(|row| {
            let logits = &inputs[0].elements[row * classes..][..classes];
            evaluate_row(label_smoothing, logits, inputs[1].elements[row])
        })
        .collect()
}

pub(super) fn evaluate_gradient(label_smoothing: f32, inputs: &[&Value]) -> Vec<f64> {
    let classes = inputs[0].shape[1];
    let smoothing = f64::from(label_smoothing);
    evaluate(inputs[0])
        .iter()
        .enumerate()
        .map(|(at, probability)| {
            let (row, class) = (at / classes, at % classes);
            let label = inputs[1].elements[row];
            if label < 0.0 || label >= classes as f64 {
                return f64::NAN;
            }
            let hit = if label == class as f64 { 1.0 - smoothing } else { 0.0 };
            (probability - hit - smoothing / classes as f64) * inputs[2].elements[row]
        })
        .collect()
}

/// With L = cross-entropy of softmax(x): dx = (softmax(x) − target) dL.
pub(super) fn gradient<'g>(
    label_smoothing: f32,
    inputs: &[Tensor<'g>],
    dy: Tensor<'g>,
) -> Tensor<'g> {
    inputs[0].apply(Op::SoftmaxCrossEntropyGradient { label_smoothing }, &[inputs[1], dy])
}

impl<'g> Tensor<'g> {
    /// Refuses targets of another shape: broadcasting would hide a mistake. A scalar means the same
    /// target for every element, and nothing else.
    #[track_caller]
    fn other_targets(self, operation: &str, targets: Tensor<'g>) -> Option<Tensor<'g>> {
        let (prediction, target) = (self.shape(), targets.shape());
        let fits = prediction == target || target.rank() == 0;
        // A tensor of another graph is refused by what is built next.
        let foreign = !std::ptr::eq(self.graph(), targets.graph());
        if fits || foreign || self.is_invalid() || targets.is_invalid() {
            return None;
        }
        let problem = Problem::LossShapes { prediction, target };
        Some(self.graph().refuse(operation, &self.scope(), problem))
    }

    /// The mean cross-entropy between the softmax of these logits `[n, classes]` and class
    /// indices `[n]` (`i32`), a scalar. A label outside the classes makes it NaN.
    #[track_caller]
    #[must_use]
    pub fn softmax_cross_entropy(self, labels: Tensor<'g>) -> Tensor<'g> {
        self.softmax_cross_entropy_smoothed(labels, 0.0)
    }

    /// As [`Tensor::softmax_cross_entropy`], with a share of the target spread evenly over the
    /// classes (Szegedy et al. 2015, section 7).
    #[track_caller]
    #[must_use]
    pub fn softmax_cross_entropy_smoothed(
        self,
        labels: Tensor<'g>,
        label_smoothing: f32,
    ) -> Tensor<'g> {
        self.softmax_cross_entropy_smoothed_per_row(labels, label_smoothing).mean_all()
    }

    /// The cross-entropy of each row, `[n]`, between the softmax of these logits `[n, classes]` and class
    /// indices `[n]` (`i32`), for other means than that of all rows:
    /// [`Tensor::softmax_cross_entropy`] is its `mean_all`. It is TensorFlow's
    /// `sparse_softmax_cross_entropy_with_logits` and PyTorch's `cross_entropy` with `reduction="none"`.
    ///
    /// A label outside the classes makes its row NaN, which no factor 0 takes away: where padding has
    /// such a label, [`Tensor::softmax_cross_entropy_ignoring`] is the mean over the other rows.
    ///
    /// ```
    /// use warmstart_graph::reference::Reference;
    /// use warmstart_graph::{DType, Graph};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let graph = Graph::new();
    /// let logits = graph.constant(vec![0.0f32; 8]).reshape([4, 2]);
    /// let labels = graph.constant(vec![0i32, 1, 1, 0]);
    /// // 1 for what counts, 0 for padding; other weights are as good.
    /// let mask = graph.constant(vec![1.0f32, 1.0, 0.0, 0.0]);
    /// let losses = logits.softmax_cross_entropy_per_row(labels);
    /// assert_eq!(losses.shape().to_string(), "[4]");
    /// let loss = (losses * mask).sum_all() / mask.sum_all();
    /// let found = Reference::new(&graph.finish()?).run(&[loss.id()])?;
    /// assert!((found[0].elements[0] - 2.0f64.ln()).abs() < 1e-6);
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    #[must_use]
    pub fn softmax_cross_entropy_per_row(self, labels: Tensor<'g>) -> Tensor<'g> {
        self.softmax_cross_entropy_smoothed_per_row(labels, 0.0)
    }

    /// As [`Tensor::softmax_cross_entropy_per_row`], with a share of the target spread evenly over the
    /// classes (Szegedy et al. 2015, section 7).
    #[track_caller]
    #[must_use]
    pub fn softmax_cross_entropy_smoothed_per_row(
        self,
        labels: Tensor<'g>,
        label_smoothing: f32,
    ) -> Tensor<'g> {
        self.apply(Op::SoftmaxCrossEntropy { label_smoothing }, &[labels])
    }

    /// The mean cross-entropy over the rows whose label is not `ignored_label`, a scalar: PyTorch's
    /// `cross_entropy` with its `ignore_index` (−100 if not given). The other rows have no part in the
    /// loss or in the count that it is divided by, whatever their logits are, and in its gradient none if
    /// their softmax is a number: a row with a logit of NaN or +∞ has NaN for its gradient, ignored or not.
    /// If all rows are ignored, the loss is NaN, as there. Any other label outside the classes makes it NaN
    /// too.
    ///
    /// ```
    /// use warmstart_graph::{DType, Graph};
    /// let graph = Graph::new();
    /// let logits = graph.placeholder("logits", [4, 7, 10], DType::F32);
    /// // Sequences of up to seven places, filled up with -1.
    /// let labels = graph.placeholder("labels", [4, 7], DType::I32);
    /// let loss = logits.reshape([28, 10]).softmax_cross_entropy_ignoring(labels.reshape([28]), -1);
    /// assert_eq!(loss.shape().to_string(), "[]");
    /// ```
    #[track_caller]
    #[must_use]
    pub fn softmax_cross_entropy_ignoring(
        self,
        labels: Tensor<'g>,
        ignored_label: i32,
    ) -> Tensor<'g> {
        // These are refused as they are without it.
        if self.is_invalid() || labels.is_invalid() || labels.dtype() != DType::I32 {
            return self.softmax_cross_entropy_per_row(labels);
        }
        self.graph().at_line(Location::caller(), || {
            let is_ignored = labels.equal(labels.graph().constant(ignored_label));
            let is_counted = 1.0 - is_ignored;
            // Class 0 in their place: a factor does not take away what is no number.
            let known = labels * is_counted.cast(DType::I32);
            let losses = self.softmax_cross_entropy_per_row(known);
            let counted = is_ignored.select(losses.number(0.0), losses);
            counted.sum_all() / is_counted.sum_all()
        })
    }

    /// The mean over rows of −Σ p ln softmax(x), for target probabilities of the logits' shape; a
    /// scalar.
    #[track_caller]
    #[must_use]
    pub fn softmax_cross_entropy_probabilities(self, probabilities: Tensor<'g>) -> Tensor<'g> {
        let operation = "softmax_cross_entropy_probabilities";
        if let Some(refused) = self.same_shape(operation, "probabilities", probabilities) {
            return refused;
        }
        let last = self.shape().rank().saturating_sub(1);
        -(probabilities * self.log_softmax()).sum(&[last]).mean_all()
    }

    /// The mean binary cross-entropy between the sigmoid of these logits and targets in 0..=1, a
    /// scalar: −t ln σ(x) − (1 − t) ln σ(−x), of which neither term overflows. The targets have the
    /// logits' shape, or are one scalar for all.
    #[track_caller]
    #[must_use]
    pub fn binary_cross_entropy_with_logits(self, targets: Tensor<'g>) -> Tensor<'g> {
        if let Some(refused) = self.other_targets("binary_cross_entropy_with_logits", targets) {
            return refused;
        }
        // In one term, softplus(x) - x t, a large logit would swallow a small loss.
        let (hit, miss) = ((-self).softplus(), self.softplus());
        (targets * hit + (1.0 - targets) * miss).mean_all()
    }

    /// The mean of (x − t)², a scalar. The targets have this tensor's shape, or are one scalar for
    /// all: `[n]` against `[n, 1]` would broadcast to `[n, n]`, and is refused.
    #[track_caller]
    #[must_use]
    pub fn mean_squared_error(self, targets: Tensor<'g>) -> Tensor<'g> {
        if let Some(refused) = self.other_targets("mean_squared_error", targets) {
            return refused;
        }
        (self - targets).square().mean_all()
    }

    /// The mean Huber loss, a scalar: ½ e² where |e| ≤ δ, else δ (|e| − ½ δ), with e = x − t
    /// (Huber 1964). The targets have this tensor's shape, or are one scalar for all.
    #[track_caller]
    #[must_use]
    pub fn huber(self, targets: Tensor<'g>, delta: f32) -> Tensor<'g> {
        if !(delta.is_finite() && delta > 0.0) {
            let problem = Problem::Range {
                what: "the delta of huber".to_owned(),
                value: delta.into(),
                range: "finite and above 0".to_owned(),
            };
            return self.graph().refuse("huber", &self.scope(), problem);
        }
        if let Some(refused) = self.other_targets("huber", targets) {
            return refused;
        }
        let error = (self - targets).abs();
        let outside = error.greater(error.number(delta));
        outside.select((error - 0.5 * delta) * delta, error.square() * 0.5).mean_all()
    }
}
