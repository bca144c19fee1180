//! The operations. Each file here is one family: its shape rule, its gradient, its plain CPU twin
//! and the methods that build it, side by side. The GPU kernels of the same families are in the
//! `warmstart-gpu` crate; nothing here knows of a device.

pub mod elementwise;
pub mod gather;
pub mod layer_norm;
pub mod loss;
pub mod matmul;
pub mod random;
pub mod reduce;
pub mod softmax;
pub mod unary;
pub mod update;
pub mod views;

use crate::reference::Value;
use crate::{DType, Node, Problem, Shape, Tensor, TensorData, VariableId};
pub use elementwise::Binary;
pub(crate) use elementwise::rounded_addends;
pub use reduce::Reduction;
use serde::{Deserialize, Serialize};
pub use unary::Unary;
pub use update::{OptimizerUpdate, Rule};

/// What a node computes from its inputs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// Stands in for an operation that was refused; the graph holds the error.
    Invalid,
    /// A value fed at each run.
    Placeholder {
        /// The name it is fed by.
        name: String,
        /// Its extents.
        shape: Shape,
        /// Its element type.
        dtype: DType,
    },
    /// A value written into the graph.
    Constant(TensorData),
    /// A variable's value at the start of the run.
    Variable(VariableId),
    /// A function of each element.
    Unary(Unary),
    /// A function of two elements, with broadcasting.
    Binary(Binary),
    /// `inputs[1]` where `inputs[0]` is not zero, else `inputs[2]`, with broadcasting.
    Select,
    /// The same numbers in another dtype.
    Cast(DType),
    /// Its input, through which no gradient flows.
    StopGradient,
    /// Its first input, and not before the second is there: TensorFlow's control dependency. It
    /// keeps what is computed from it apart from what is computed from the input itself, see
    /// [`Scope::recompute`](crate::Scope::recompute).
    ControlDependency,
    /// Uniform numbers in `[0, 1)`, a function of the seed, the stream's name, the step (the
    /// scalar input) and the element's index.
    RandomUniform {
        /// Key of the generator.
        seed: u64,
        /// Name of the stream.
        stream: String,
        /// Extents of the result.
        shape: Shape,
    },
    /// Matrix product over the last two dimensions; the others broadcast.
    MatMul {
        /// Use the first operand transposed.
        transpose_a: bool,
        /// Use the second operand transposed.
        transpose_b: bool,
    },
    /// A reduction over axes.
    Reduce {
        /// What is computed.
        reduction: Reduction,
        /// The axes that are reduced, ascending.
        axes: Vec<usize>,
        /// Keep each reduced axis with extent 1.
        keep_dims: bool,
    },
    /// The index of the largest element of the last axis, the first if several; `i32`.
    ArgMax,
    /// Softmax over the last axis.
    Softmax,
    /// Logarithm of the softmax over the last axis.
    LogSoftmax,
    /// Cross-entropy between softmax of logits `[n, classes]` and class indices `[n]`, per row.
    SoftmaxCrossEntropy {
        /// Share of the target that is spread evenly over the classes.
        label_smoothing: f32,
    },
    /// The gradient of [`Op::SoftmaxCrossEntropy`] with respect to its logits, from logits,
    /// labels and the gradient `[n]`.
    SoftmaxCrossEntropyGradient {
        /// As in the forward operation.
        label_smoothing: f32,
    },
    /// Layer normalization over the last axis, of rows, gamma and beta.
    LayerNorm {
        /// Added to the variance.
        epsilon: f32,
    },
    /// What the gradients of [`Op::LayerNorm`] need of each row, `[.., 2]`: its mean less its first
    /// element, and 1 / √(variance + ε).
    LayerNormStatistics {
        /// As in the forward operation.
        epsilon: f32,
    },
    /// The gradient of [`Op::LayerNorm`] with respect to its rows, from rows, gamma, the gradient and
    /// the statistics.
    LayerNormGradient,
    /// The same elements under another shape.
    Reshape(Shape),
    /// The axes in another order: axis `i` of the result is axis `permutation[i]` of the input.
    Transpose(Vec<usize>),
    /// Repeated to a shape by NumPy's rules.
    BroadcastTo(Shape),
    /// A box out of the input.
    Slice {
        /// First index along each axis.
        starts: Vec<usize>,
        /// Extents of the result.
        shape: Shape,
    },
    /// The input within zeros: the inverse of a slice.
    Pad {
        /// Zeros before, along each axis.
        before: Vec<usize>,
        /// Extents of the result.
        shape: Shape,
    },
    /// The inputs one after the other along an axis.
    Concat {
        /// The axis.
        axis: usize,
    },
    /// Rows of a table `[rows, ..]` picked by indices of any shape.
    GatherRows,
    /// Rows added up into a table of zeros: the gradient of a gather, from indices and rows. An
    /// index outside the table adds nothing, and its row gets a gradient of zeros.
    ScatterAddRows {
        /// Rows of the table.
        rows: usize,
    },
    /// √(Σ x²) over all elements of all inputs.
    GlobalNorm,
    /// Writes its input into a variable at the end of the run.
    Assign(VariableId),
    /// Updates every parameter of an optimizer, in one operation.
    OptimizerUpdate(OptimizerUpdate),
}

impl Op {
    /// The name in messages and listings.
    pub fn name(&self) -> &'static str {
        match self {
            Op::Invalid => "invalid",
            Op::Placeholder { .. } => "placeholder",
            Op::Constant(_) => "constant",
            Op::Variable(_) => "variable",
            Op::Unary(unary) => unary.name(),
            Op::Binary(binary) => binary.name(),
            Op::Select => "select",
            Op::Cast(_) => "cast",
            Op::StopGradient => "stop_gradient",
            Op::ControlDependency => "control_dependency",
            Op::RandomUniform { .. } => "random_uniform",
            Op::MatMul { .. } => "matmul",
            Op::Reduce { reduction, .. } => reduction.name(),
            Op::ArgMax => "argmax",
            Op::Softmax => "softmax",
            Op::LogSoftmax => "log_softmax",
            Op::SoftmaxCrossEntropy { .. } => "softmax_cross_entropy",
            Op::SoftmaxCrossEntropyGradient { .. } => "softmax_cross_entropy_gradient",
            Op::LayerNorm { .. } => "layer_norm",
            Op::LayerNormStatistics { .. } => "layer_norm_statistics",
            Op::LayerNormGradient => "layer_norm_gradient",
            Op::Reshape(_) => "reshape",
            Op::Transpose(_) => "transpose",
            Op::BroadcastTo(_) => "broadcast_to",
            Op::Slice { .. } => "slice",
            Op::Pad { .. } => "pad",
            Op::Concat { .. } => "concat",
            Op::GatherRows => "gather_rows",
            Op::ScatterAddRows { .. } => "scatter_add_rows",
            Op::GlobalNorm => "global_norm",
            Op::Assign(_) => "assign",
            Op::OptimizerUpdate(_) => "optimizer_update",
        }
    }

    /// Whether the operation changes variables rather than giving a value.
    pub fn is_update(&self) -> bool {
        matches!(self, Op::Assign(_) | Op::OptimizerUpdate(_))
    }

    /// Whether each element of the result is a function of the elements at the same (broadcast)
    /// index of the inputs.
    pub fn is_elementwise(&self) -> bool {
        matches!(
            self,
            Op::Unary(_)
                | Op::Binary(_)
                | Op::Select
                | Op::Cast(_)
                | Op::StopGradient
                | Op::RandomUniform { .. }
        )
    }

    /// The shape and dtype of the result: the shape rule of every operation.
    ///
    /// # Errors
    /// What does not fit, if the inputs do not suit the operation.
    pub fn infer(
        &self,
        inputs: &[&Node],
        variables: &[crate::Variable],
    ) -> Result<(Shape, DType), Problem> {
        let arity = |expected: usize| {
            if inputs.len() == expected {
                Ok(())
            } else {
                let why = format!("{} has {} inputs, not {expected}", self.name(), inputs.len());
                Err(Problem::Damaged { why })
            }
        };
        let variable = |id: &VariableId| {
            variables
                .get(id.0)
                .ok_or_else(|| Problem::Damaged { why: format!("there is no variable {}", id.0) })
        };
        let (shape, dtype) = match self {
            Op::Invalid => (Shape::scalar(), DType::F32),
            Op::Placeholder { shape, dtype, .. } => arity(0).map(|()| (shape.clone(), *dtype))?,
            Op::Constant(data) => arity(0).map(|()| (data.shape().clone(), data.dtype()))?,
            Op::Variable(id) => {
                arity(0)?;
                variable(id).map(|v| (v.shape.clone(), v.dtype))?
            }
            Op::Unary(unary) => arity(1).and_then(|()| unary.infer(inputs[0]))?,
            Op::Binary(binary) => arity(2).and_then(|()| binary.infer(inputs[0], inputs[1]))?,
            Op::Select => arity(3).and_then(|()| elementwise::infer_select(inputs))?,
            Op::Cast(to) => arity(1).and_then(|()| elementwise::infer_cast(*to, inputs[0]))?,
            Op::StopGradient => arity(1).map(|()| (inputs[0].shape.clone(), inputs[0].dtype))?,
            Op::ControlDependency => {
                arity(2).map(|()| (inputs[0].shape.clone(), inputs[0].dtype))?
            }
            Op::RandomUniform { shape, .. } => {
                arity(1).and_then(|()| random::infer(shape, inputs[0]))?
            }
            Op::MatMul { transpose_a, transpose_b } => {
                arity(2)?;
                matmul::infer(*transpose_a, *transpose_b, inputs[0], inputs[1])?
            }
            Op::Reduce { axes, keep_dims, .. } => {
                arity(1).and_then(|()| reduce::infer(axes, *keep_dims, inputs[0]))?
            }
            Op::ArgMax => arity(1).and_then(|()| reduce::infer_argmax(inputs[0]))?,
            Op::Softmax | Op::LogSoftmax => arity(1).and_then(|()| softmax::infer(inputs[0]))?,
            Op::SoftmaxCrossEntropy { label_smoothing } => {
                arity(2).and_then(|()| loss::infer(*label_smoothing, inputs))?
            }
            Op::SoftmaxCrossEntropyGradient { label_smoothing } => {
                arity(3).and_then(|()| loss::infer_gradient(*label_smoothing, inputs))?
            }
            Op::LayerNorm { epsilon } => {
                arity(3).and_then(|()| layer_norm::infer(*epsilon, inputs))?
            }
            Op::LayerNormStatistics { epsilon } => {
                arity(1).and_then(|()| layer_norm::infer_statistics(*epsilon, inputs[0]))?
            }
            Op::LayerNormGradient => arity(4).and_then(|()| layer_norm::infer_gradient(inputs))?,
            Op::Reshape(shape) => arity(1).and_then(|()| views::infer_reshape(shape, inputs[0]))?,
            Op::Transpose(permutation) => {
                arity(1).and_then(|()| views::infer_transpose(permutation, inputs[0]))?
            }
            Op::BroadcastTo(shape) => {
                arity(1).and_then(|()| views::infer_broadcast(shape, inputs[0]))?
            }
            Op::Slice { starts, shape } => {
                arity(1).and_then(|()| views::infer_slice(starts, shape, inputs[0]))?
            }
            Op::Pad { before, shape } => {
                arity(1).and_then(|()| views::infer_pad(before, shape, inputs[0]))?
            }
            Op::Concat { axis } => views::infer_concat(*axis, inputs)?,
            Op::GatherRows => arity(2).and_then(|()| gather::infer(inputs[0], inputs[1]))?,
            Op::ScatterAddRows { rows } => {
                arity(2).and_then(|()| gather::infer_scatter(*rows, inputs[0], inputs[1]))?
            }
            Op::GlobalNorm => update::infer_global_norm(inputs)?,
            Op::Assign(id) => {
                arity(1)?;
                update::infer_assign(variable(id)?, inputs[0])?
            }
            Op::OptimizerUpdate(update) => update.infer(inputs, variables)?,
        };
        if shape.fits_index() { Ok((shape, dtype)) } else { Err(Problem::TooLarge { shape }) }
    }

    /// The gradients of a scalar with respect to the inputs of `output`, given its gradient with
    /// respect to `output` itself; `None` where none flows. `rounded` is [`rounded_addends`].
    pub(crate) fn gradient<'g>(
        &self,
        output: Tensor<'g>,
        inputs: &[Tensor<'g>],
        gradient: Tensor<'g>,
        rounded: [bool; 2],
    ) -> Result<Vec<Option<Tensor<'g>>>, Problem> {
        Ok(match self {
            Op::Invalid | Op::Placeholder { .. } | Op::Constant(_) | Op::Variable(_) => vec![],
            Op::StopGradient | Op::ArgMax | Op::RandomUniform { .. } => vec![None; inputs.len()],
            Op::ControlDependency => vec![Some(gradient), None],
            Op::Unary(unary) => vec![unary.gradient(output, inputs[0], gradient)],
            Op::Binary(binary) => binary.gradient(output, inputs, gradient, rounded),
            Op::Select => elementwise::select_gradient(inputs, gradient),
            Op::Cast(_) => vec![inputs[0].dtype().is_float().then(|| gradient.cast(DType::F32))],
            Op::MatMul { transpose_a, transpose_b } => {
                matmul::gradient(*transpose_a, *transpose_b, inputs, gradient)
            }
            Op::Reduce { reduction, axes, keep_dims } => {
                vec![Some(reduction.gradient(axes, *keep_dims, inputs[0], gradient))]
            }
            Op::Softmax => vec![Some(softmax::gradient(output, gradient))],
            Op::LogSoftmax => vec![Some(softmax::log_gradient(output, gradient))],
            Op::SoftmaxCrossEntropy { label_smoothing } => {
                vec![Some(loss::gradient(*label_smoothing, inputs, gradient)), None]
            }
            Op::LayerNorm { epsilon } => layer_norm::gradient(*epsilon, inputs, gradient),
            Op::LayerNormStatistics { .. } => {
                vec![Some(layer_norm::statistics_gradient(inputs[0], output, gradient))]
            }
            Op::LayerNormGradient => layer_norm::second_gradient(inputs, gradient),
            Op::Reshape(_) => vec![Some(gradient.reshape(inputs[0].shape()))],
            Op::Transpose(permutation) => {
                vec![Some(views::transpose_gradient(permutation, gradient))]
            }
            Op::BroadcastTo(_) => vec![Some(gradient.sum_to(&inputs[0].shape()))],
            Op::Slice { starts, .. } => vec![Some(gradient.pad(starts, inputs[0].shape()))],
            Op::Pad { before, .. } => vec![Some(gradient.slice_box(before, inputs[0].shape()))],
            Op::Concat { axis } => views::concat_gradient(*axis, inputs, gradient),
            Op::GatherRows => vec![Some(gather::gradient(inputs, gradient)), None],
            Op::ScatterAddRows { rows } => {
                vec![None, Some(gather::scatter_gradient(*rows, inputs, gradient))]
            }
            Op::GlobalNorm => update::global_norm_gradient(output, inputs, gradient),
            Op::SoftmaxCrossEntropyGradient { .. } | Op::Assign(_) | Op::OptimizerUpdate(_) => {
                return Err(Problem::NoGradient { operation: self.name().to_owned() });
            }
        })
    }

    /// The plain CPU twin: the value of the operation in `f64`. `None` for operations that have
    /// no value of their own (placeholders, variables, updates).
    pub fn evaluate(
        &self,
        inputs: &[&Value],
        input_dtypes: &[DType],
        shape: &Shape,
    ) -> Option<Value> {
        let dtype = input_dtypes.first().copied().unwrap_or(DType::F32);
        let elements = match self {
            Op::Invalid
            | Op::Placeholder { .. }
            | Op::Variable(_)
            | Op::Assign(_)
            | Op::OptimizerUpdate(_) => return None,
            Op::Constant(data) => data.to_f64(),
            Op::Unary(unary) => inputs[0].elements.iter().map(|&x| unary.evaluate(x)).collect(),
            Op::Binary(binary) => {
                elementwise::zip(inputs, shape, |x| binary.evaluate_as(dtype, x[0], x[1]))
            }
            Op::Select => {
                elementwise::zip(inputs, shape, |x| if x[0] != 0.0 { x[1] } else { x[2] })
            }
            Op::Cast(to) => {
                inputs[0].elements.iter().map(|&x| elementwise::cast(dtype, *to, x)).collect()
            }
            Op::StopGradient | Op::ControlDependency | Op::Reshape(_) => inputs[0].elements.clone(),
            Op::RandomUniform { seed, stream, .. } => {
                random::evaluate(*seed, stream, inputs[0], shape)
            }
            Op::MatMul { transpose_a, transpose_b } => {
                matmul::evaluate(*transpose_a, *transpose_b, inputs, shape)
            }
            Op::Reduce { reduction, axes, .. } => reduction.evaluate(axes, inputs[0], shape),
            Op::ArgMax => reduce::evaluate_argmax(inputs[0]),
            Op::Softmax => softmax::evaluate(inputs[0]),
            Op::LogSoftmax => softmax::evaluate_log(inputs[0]),
            Op::SoftmaxCrossEntropy { label_smoothing } => {
                loss::evaluate_loss(*label_smoothing, inputs)
            }
            Op::SoftmaxCrossEntropyGradient { label_smoothing } => {
                loss::evaluate_gradient(*label_smoothing, inputs)
            }
            Op::LayerNorm { epsilon } => layer_norm::evaluate(*epsilon, inputs),
            Op::LayerNormStatistics { epsilon } => {
                layer_norm::evaluate_statistics(*epsilon, inputs[0])
            }
            Op::LayerNormGradient => layer_norm::evaluate_gradient(inputs),
            Op::Transpose(permutation) => views::evaluate_transpose(permutation, inputs[0], shape),
            Op::BroadcastTo(_) => elementwise::zip(inputs, shape, |x| x[0]),
            Op::Slice { starts, .. } => views::evaluate_slice(starts, inputs[0], shape),
            Op::Pad { before, .. } => views::evaluate_pad(before, inputs[0], shape),
            Op::Concat { axis } => views::evaluate_concat(*axis, inputs, shape),
            Op::GatherRows => gather::evaluate(inputs, shape),
            Op::ScatterAddRows { .. } => gather::evaluate_scatter(inputs, shape),
            Op::GlobalNorm => update::evaluate_global_norm(inputs),
        };
        Some(Value { shape: shape.clone(), elements })
    }
}
