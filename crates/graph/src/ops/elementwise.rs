//! Functions of several elements at a time, with NumPy broadcasting: binary and select; and cast.

use crate::reference::{Value, indices};
use crate::{DType, GraphDef, Node, NodeId, Op, Problem, Shape, Tensor};
use serde::{Deserialize, Serialize};
use std::ops;

/// A function of two elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Binary {
    /// a + b
    Add,
    /// a − b
    Sub,
    /// a · b
    Mul,
    /// a / b
    Div,
    /// The smaller; the gradient goes to it, half to each if equal
    Min,
    /// The larger; the gradient goes to it, half to each if equal
    Max,
    /// aᵇ; of a < 0 NaN, unless b is whole
    Pow,
    /// 1 if a > b, else 0, as `f32`
    Greater,
    /// 1 if a = b, else 0, as `f32`
    Equal,
}

impl Binary {
    /// The name in messages and listings.
    pub fn name(self) -> &'static str {
        match self {
            Binary::Add => "add",
            Binary::Sub => "sub",
            Binary::Mul => "mul",
            Binary::Div => "div",
            Binary::Min => "min",
            Binary::Max => "max",
            Binary::Pow => "pow",
            Binary::Greater => "greater",
            Binary::Equal => "equal",
        }
    }

    pub(super) fn infer(self, a: &Node, b: &Node) -> Result<(Shape, DType), Problem> {
        let arithmetic = matches!(a.dtype, DType::F32)
            || matches!(a.dtype, DType::I32 | DType::U32)
                && !matches!(self, Binary::Div | Binary::Pow);
        if !arithmetic {
            let expected = if a.dtype.is_half() { "f32" } else { "f32 operands" };
            return Err(Problem::DType { expected: expected.to_owned(), found: a.dtype });
        }
        if a.dtype != b.dtype {
            let expected = format!("two operands of {}", a.dtype);
            return Err(Problem::DType { expected, found: b.dtype });
        }
        let shape = broadcast(a, b)?;
        let compares = matches!(self, Binary::Greater | Binary::Equal);
        Ok((shape, if compares { DType::F32 } else { a.dtype }))
    }

    /// The value for operands of a dtype: integers wrap around, as on a device.
    pub(super) fn evaluate_as(self, dtype: DType, a: f64, b: f64) -> f64 {
        if dtype.is_float() {
            return self.evaluate(a, b);
        }
        // Two factors of 32 bits have a product of at most 64, and `f64` holds each factor exactly.
        let (wide_a, wide_b) = (a as i64, b as i64);
        let wide = match self {
            Binary::Add => wide_a.wrapping_add(wide_b),
            Binary::Sub => wide_a.wrapping_sub(wide_b),
            Binary::Mul => wide_a.wrapping_mul(wide_b),
            _ => return self.evaluate(a, b),
        };
        // The low 32 bits are right whatever wrapped above them.
        if dtype == DType::I32 { f64::from(wide as i32) } else { f64::from(wide as u32) }
    }

    fn evaluate(self, a: f64, b: f64) -> f64 {
        match self {
            Binary::Add => a + b,
            Binary::Sub => a - b,
            Binary::Mul => a * b,
            Binary::Div => a / b,
            // As NumPy and PyTorch: whoever hides a NaN here finds it later, elsewhere.
            Binary::Min | Binary::Max if a.is_nan() || b.is_nan() => f64::NAN,
            Binary::Min => a.min(b),
            Binary::Max => a.max(b),
            Binary::Pow => a.powf(b),
            Binary::Greater => f64::from(u8::from(a > b)),
            Binary::Equal => f64::from(u8::from(a == b)),
        }
    }

    pub(super) fn gradient<'g>(
        self,
        y: Tensor<'g>,
        inputs: &[Tensor<'g>],
        dy: Tensor<'g>,
        rounded: [bool; 2],
    ) -> Vec<Option<Tensor<'g>>> {
        let (a, b) = (inputs[0], inputs[1]);
        let of = |is_rounded| if is_rounded { dy.cast(DType::F16).cast(DType::F32) } else { dy };
        // Only what somebody asks for is kept: both sides are built here, unused ones are dropped
        // when the graph is compiled.
        let (da, db) = match self {
            Binary::Add => (of(rounded[0]), of(rounded[1])),
            Binary::Sub => (dy, -dy),
            Binary::Mul => (dy * b, dy * a),
            Binary::Div => (dy / b, -(dy * y) / b),
            Binary::Min | Binary::Max => {
                let tie = a.equal(b) * 0.5;
                let first = if self == Binary::Max { a.greater(b) } else { b.greater(a) };
                let second = if self == Binary::Max { b.greater(a) } else { a.greater(b) };
                (dy * (first + tie), dy * (second + tie))
            }
            Binary::Pow => {
                // Where a is 0 the logarithm is not finite, and aᵇ ln a is 0 for b > 0. Where b is
                // 0 so is b aᵇ⁻¹, even for an a of 0, whose power is not finite.
                let (zero, one) = (a.number(0.0), a.number(1.0));
                let log = a.greater(zero).select(a, one).log();
                let slope = b.equal(zero).select(zero, b * a.pow(b - 1.0));
                (dy * slope, dy * y * log)
            }
            Binary::Greater | Binary::Equal => return vec![None, None],
        };
        vec![Some(da.sum_to(&a.shape())), Some(db.sum_to(&b.shape()))]
    }
}

/// Which of two addends is a bias that is repeated for each row of a product of two `f16`, whose weight's
/// gradient is asked for too. The bias' gradient is the sum of the rounded numbers that the weight's reads, by
/// the kernel that reads them. Where the weight is frozen there is no such kernel, and nothing is rounded.
pub(crate) fn rounded_addends(
    def: &GraphDef,
    op: &Op,
    inputs: &[NodeId],
    is_asked: impl Fn(NodeId) -> bool,
) -> [bool; 2] {
    let (Op::Binary(Binary::Add), &[a, b]) = (op, inputs) else { return [false; 2] };
    let is_bias = |addend: NodeId, product: NodeId| {
        let (addend, product) = (&def.node(addend).shape, def.node(product));
        let (Op::MatMul { .. }, &[_, weight]) = (&product.op, &product.inputs[..]) else {
            return false;
        };
        product.inputs.iter().all(|&input| def.node(input).dtype == DType::F16)
            && is_asked(weight)
            && addend.rank() == 1
            && addend.last() == product.shape.last()
    };
    [is_bias(a, b), is_bias(b, a)]
}

pub(super) fn needs_f32(x: &Node) -> Result<(), Problem> {
    if x.dtype == DType::F32 {
        Ok(())
    } else {
        Err(Problem::DType { expected: "f32".to_owned(), found: x.dtype })
    }
}

fn broadcast(a: &Node, b: &Node) -> Result<Shape, Problem> {
    a.shape
        .broadcast(&b.shape)
        .ok_or_else(|| Problem::Broadcast { left: a.shape.clone(), right: b.shape.clone() })
}

pub(super) fn infer_select(inputs: &[&Node]) -> Result<(Shape, DType), Problem> {
    inputs.iter().try_for_each(|x| needs_f32(x))?;
    let branches = broadcast(inputs[1], inputs[2])?;
    let shape = inputs[0].shape.broadcast(&branches).ok_or_else(|| Problem::Broadcast {
        left: inputs[0].shape.clone(),
        right: branches.clone(),
    })?;
    Ok((shape, DType::F32))
}

pub(super) fn select_gradient<'g>(
    inputs: &[Tensor<'g>],
    dy: Tensor<'g>,
) -> Vec<Option<Tensor<'g>>> {
    let zero = dy.number(0.0);
    let (condition, a, b) = (inputs[0], inputs[1], inputs[2]);
    vec![
        None,
        Some(condition.select(dy, zero).sum_to(&a.shape())),
        Some(condition.select(zero, dy).sum_to(&b.shape())),
    ]
}

pub(super) fn infer_cast(to: DType, x: &Node) -> Result<(Shape, DType), Problem> {
    if to.is_half() {
        needs_f32(x)?;
    }
    if to == DType::U8 && x.dtype != DType::U8 {
        return Err(Problem::MadeU8 { found: x.dtype });
    }
    Ok((x.shape.clone(), to))
}

/// Conversion as WGSL has it: to `f16` and `bf16` to the nearest, ties to even; floats to integers
/// towards zero, and to the nearest representable if out of range; between integers the bits stay.
pub(super) fn cast(from: DType, to: DType, x: f64) -> f64 {
    match (from, to) {
        (_, DType::F32) => x,
        (_, DType::F16) => half::f16::from_f32(x as f32).to_f64(),
        (_, DType::Bf16) => half::bf16::from_f32(x as f32).to_f64(),
        (DType::F32 | DType::F16 | DType::Bf16, DType::I32) => f64::from(x as i32),
        (DType::F32 | DType::F16 | DType::Bf16, DType::U32) => f64::from(x as u32),
        (DType::I32 | DType::U32 | DType::U8, DType::I32) => f64::from(x as i64 as i32),
        (DType::I32 | DType::U32 | DType::U8, DType::U32) => f64::from(x as i64 as u32),
        // From itself, which is nothing.
        (_, DType::U8) => x,
    }
}

/// Applies a function to the elements at each index of the broadcast shape.
pub(super) fn zip(inputs: &[&Value], shape: &Shape, f: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    indices(shape)
        .map(|index| {
            let at: Vec<f64> = inputs.iter().map(|value| value.broadcast_at(&index)).collect();
            f(&at)
        })
        .collect()
}

impl<'g> Tensor<'g> {
    /// The smaller of two elements, with broadcasting.
    #[track_caller]
    #[must_use]
    pub fn min(self, other: Tensor<'g>) -> Tensor<'g> {
        self.apply(Op::Binary(Binary::Min), &[other])
    }

    /// The larger of two elements, with broadcasting.
    #[track_caller]
    #[must_use]
    pub fn max(self, other: Tensor<'g>) -> Tensor<'g> {
        self.apply(Op::Binary(Binary::Max), &[other])
    }

    /// aᵇ with broadcasting. A negative base gives NaN, unless the exponent is a whole number; the
    /// gradient with respect to the exponent is 0 there.
    #[track_caller]
    #[must_use]
    pub fn pow(self, exponent: Tensor<'g>) -> Tensor<'g> {
        self.apply(Op::Binary(Binary::Pow), &[exponent])
    }

    /// 1 where this is greater than the other, else 0, as `f32`; no gradient.
    #[track_caller]
    #[must_use]
    pub fn greater(self, other: Tensor<'g>) -> Tensor<'g> {
        self.apply(Op::Binary(Binary::Greater), &[other])
    }

    /// 1 where the two are equal, else 0, as `f32`; no gradient.
    #[track_caller]
    #[must_use]
    pub fn equal(self, other: Tensor<'g>) -> Tensor<'g> {
        self.apply(Op::Binary(Binary::Equal), &[other])
    }

    /// `then` where this is not zero, else `otherwise`, with broadcasting.
    #[track_caller]
    #[must_use]
    pub fn select(self, then: Tensor<'g>, otherwise: Tensor<'g>) -> Tensor<'g> {
        self.apply(Op::Select, &[then, otherwise])
    }

    /// The same numbers in another dtype: floats to integers go towards zero; between `i32` and
    /// `u32` the bits stay, so that −1 becomes 4294967295. From `f32` to `f16` or
    /// `bf16`, to the nearest; what is either is only stored so, and goes back to `f32` before anything but a product is computed
    /// with it, which costs nothing.
    #[track_caller]
    #[must_use]
    pub fn cast(self, dtype: DType) -> Tensor<'g> {
        if self.dtype() == dtype { self } else { self.apply(Op::Cast(dtype), &[]) }
    }

    /// The same value, through which no gradient flows.
    #[track_caller]
    #[must_use]
    pub fn stop_gradient(self) -> Tensor<'g> {
        self.apply(Op::StopGradient, &[])
    }
}

macro_rules! operators {
    ($($trait:ident $method:ident;)*) => {$(
        impl<'g> ops::$trait for Tensor<'g> {
            type Output = Tensor<'g>;
            #[track_caller]
            fn $method(self, other: Tensor<'g>) -> Tensor<'g> {
                self.apply(Op::Binary(Binary::$trait), &[other])
            }
        }
        impl<'g> ops::$trait<f32> for Tensor<'g> {
            type Output = Tensor<'g>;
            #[track_caller]
            fn $method(self, other: f32) -> Tensor<'g> {
                self.apply(Op::Binary(Binary::$trait), &[self.number(other)])
            }
        }
        impl<'g> ops::$trait<Tensor<'g>> for f32 {
            type Output = Tensor<'g>;
            #[track_caller]
            fn $method(self, other: Tensor<'g>) -> Tensor<'g> {
                other.number(self).apply(Op::Binary(Binary::$trait), &[other])
            }
        }
    )*};
}
operators! { Add add; Sub sub; Mul mul; Div div; }
