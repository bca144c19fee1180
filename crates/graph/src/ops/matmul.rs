//! Matrix products over the last two dimensions, batched over the others.
//!
//! Mixed precision is no pass of its own: products built within `Scope::compute_f16` round their
//! operands by a cast, and a product of two `f16` has gradients that are such products too.
//! Operands in `bf16` are taken as they are, and the gradients of their products stay `f32`. A
//! product of `f16` numbers is exact in `f32`, in which they are added up.

use crate::reference::{Value, indices};
use crate::{DType, Node, Op, Problem, Scope, Shape, Tensor};

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
        if !x.dtype.is_float() {
            let expected = "operands of floats".to_owned();
            return Err(Problem::DType { expected, found: x.dtype });
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
/// along. Transposed operands only change which factor is read transposed. Where both operands are
/// stored as `f16`, dC is rounded to it as well, so that these products are of the same kind.
pub(super) fn gradient<'g>(
    transpose_a: bool,
    transpose_b: bool,
    inputs: &[Tensor<'g>],
    dc: Tensor<'g>,
) -> Vec<Option<Tensor<'g>>> {
    let (a, b) = (inputs[0], inputs[1]);
    let both = a.dtype() == DType::F16 && b.dtype() == DType::F16;
    let dc = if both { dc.cast(DType::F16) } else { dc };
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
    /// Operands may be stored as `f16` or `bf16`: they are multiplied and added up as `f32`, which is
    /// also what the product is. Products of two `f16` numbers are exact; so are those of two `bf16`,
    /// unless they are beyond the range of `f32`. Within [`Scope::compute_f16`] operands of `f32` are
    /// rounded to `f16` first.
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
        self.matmul_with(other, false, false)
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
        let own = std::ptr::eq(self.graph(), other.graph());
        if own && self.graph().computes_f16() {
            self.in_f16().apply(op, &[other.in_f16()])
        } else {
            self.apply(op, &[other])
        }
    }

    /// Rounded to `f16` if it is `f32`; anything else is left for the product to take or refuse.
    #[track_caller]
    fn in_f16(self) -> Tensor<'g> {
        if self.dtype() == DType::F32 { self.cast(DType::F16) } else { self }
    }
}

impl<'g> Scope<'g> {
    /// Builds a part of the model whose matrix products take operands rounded to `f16`, and add up in
    /// `f32` (mixed precision; as `torch.autocast`, and Keras' policy `mixed_float16`). Variables stay
    /// `f32`, and so do all other operations and what the products give. The products for gradients
    /// are of the same kind: they take the gradients of the results rounded to `f16`, too, and give `f32`.
    ///
    /// The gradient of a bias, of one dimension and added to the product itself, is a sum in `f32`. Where the
    /// gradient of the product's second operand is asked for with it, as that of the weight is unless it is
    /// [frozen](Scope::frozen), it is the sum of the same rounded numbers, which the weight's kernel has read.
    /// Else, and for whatever is added otherwise, nothing of it is rounded.
    ///
    /// Operands are rounded to the nearest, once for all products that read them, and take half the
    /// memory and half the time to be read. A product of two `f16` is exact in `f32`, so this rounding
    /// is all that differs from products of `f32`, and a product gives the same bits whether the device
    /// has `f16` of its own (`SHADER_F16`) or not. Operands stored as `bf16` are taken as they are, and
    /// the gradients of products with them stay products of `f32`. What this saves pays for large products only: those
    /// of small models take longer, since rounding is a pass over the values of its own.
    ///
    /// Numbers from 6·10⁻⁵ to 65,504 are off by at most 2⁻¹¹ of each; smaller ones by up to 3·10⁻⁸,
    /// and larger ones become infinite. So gradients, which often are smaller, need
    /// [`Optimizer::loss_scaling`](crate::Optimizer::loss_scaling). What the gradient of anything but
    /// a product reads is still kept as `f32`; [`Scope::keep_f16`] around the same part shares the
    /// rounded values with the products.
    ///
    /// A part is what is built while `build` runs, helpers that know nothing of it included.
    ///
    /// ```
    /// use warmstart_graph::{DType, Graph, LossScaling, Optimizer};
    /// let graph = Graph::new();
    /// let x = graph.placeholder("x", [512, 784], DType::F32);
    /// let labels = graph.placeholder("labels", [512], DType::I32);
    /// let logits = graph.root().compute_f16(|scope| {
    ///     let hidden = scope.scope("fc1").linear(x, 1024).relu();
    ///     scope.scope("fc2").linear(hidden, 10)
    /// });
    /// assert_eq!(logits.dtype(), DType::F32);
    /// let loss = logits.softmax_cross_entropy(labels).mean_all();
    /// let step = Optimizer::adam(1e-3).loss_scaling(LossScaling::new()).minimize(loss);
    /// # let _ = (step, graph.finish().unwrap());
    /// ```
    #[doc(alias = "autocast")]
    #[doc(alias = "mixed_precision")]
    pub fn compute_f16<T>(&self, build: impl FnOnce(&Scope<'g>) -> T) -> T {
        let before = self.graph().set_computes_f16(true);
        let built = build(self);
        self.graph().set_computes_f16(before);
        built
    }
}
