//! Functions of one element at a time: unary, binary with NumPy broadcasting, select and cast.

use crate::reference::{Value, indices};
use crate::{DType, Node, Op, Problem, Shape, Tensor};
use serde::{Deserialize, Serialize};
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};
use std::ops;

/// A function of one `f32` element.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unary {
    /// −x
    Neg,
    /// eˣ
    Exp,
    /// eˣ − 1, exact near 0
    Expm1,
    /// ln x
    Log,
    /// √x
    Sqrt,
    /// 1/√x
    Rsqrt,
    /// |x|
    Abs,
    /// x²
    Square,
    /// cos x
    Cos,
    /// sin x
    Sin,
    /// −1, 0 or 1
    Sign,
    /// The largest integer not above x
    Floor,
    /// max(x, 0)
    Relu,
    /// x if x > 0, else αx
    LeakyRelu(f32),
    /// x Φ(x), with the exact normal distribution (Hendrycks and Gimpel 2016)
    Gelu,
    /// The tanh approximation of GELU (same paper, section 2)
    GeluTanh,
    /// x σ(x) (Elfwing et al. 2017)
    Silu,
    /// tanh x
    Tanh,
    /// σ(x) = 1/(1 + e⁻ˣ)
    Sigmoid,
    /// ln(1 + eˣ)
    Softplus,
    /// The error function
    Erf,
}

/// √(2/π) and the cubic's factor in the tanh approximation of GELU.
const GELU_TANH: (f64, f64) = (FRAC_2_SQRT_PI * FRAC_1_SQRT_2, 0.044715);

impl Unary {
    /// The name in messages, listings and WGSL.
    pub fn name(self) -> &'static str {
        match self {
            Unary::Neg => "neg",
            Unary::Exp => "exp",
            Unary::Expm1 => "expm1",
            Unary::Log => "log",
            Unary::Sqrt => "sqrt",
            Unary::Rsqrt => "rsqrt",
            Unary::Abs => "abs",
            Unary::Square => "square",
            Unary::Cos => "cos",
            Unary::Sin => "sin",
            Unary::Sign => "sign",
            Unary::Floor => "floor",
            Unary::Relu => "relu",
            Unary::LeakyRelu(_) => "leaky_relu",
            Unary::Gelu => "gelu",
            Unary::GeluTanh => "gelu_tanh",
            Unary::Silu => "silu",
            Unary::Tanh => "tanh",
            Unary::Sigmoid => "sigmoid",
            Unary::Softplus => "softplus",
            Unary::Erf => "erf",
        }
    }

    pub(super) fn infer(self, x: &Node) -> Result<(Shape, DType), Problem> {
        needs_f32(x)?;
        if let Unary::LeakyRelu(alpha) = self
            && !alpha.is_finite()
        {
            return Err(Problem::Range {
                what: "the slope of leaky_relu".to_owned(),
                value: alpha.into(),
                range: "finite".to_owned(),
            });
        }
        Ok((x.shape.clone(), DType::F32))
    }

    pub(super) fn evaluate(self, x: f64) -> f64 {
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        match self {
            Unary::Neg => -x,
            Unary::Exp => x.exp(),
            Unary::Expm1 => x.exp_m1(),
            Unary::Log => x.ln(),
            Unary::Sqrt => x.sqrt(),
            Unary::Rsqrt => 1.0 / x.sqrt(),
            Unary::Abs => x.abs(),
            Unary::Square => x * x,
            Unary::Cos => x.cos(),
            Unary::Sin => x.sin(),
            // `f64::signum` gives 1 for 0.
            Unary::Sign => f64::from(i8::from(x > 0.0) - i8::from(x < 0.0)),
            Unary::Floor => x.floor(),
            // A comparison, not `max`, which would turn NaN into 0 and hide it.
            Unary::Relu => {
                if x <= 0.0 {
                    0.0
                } else {
                    x
                }
            }
            Unary::LeakyRelu(alpha) => {
                if x <= 0.0 {
                    f64::from(alpha) * x
                } else {
                    x
                }
            }
            Unary::Gelu => 0.5 * x * (1.0 + libm::erf(x * FRAC_1_SQRT_2)),
            Unary::GeluTanh => {
                0.5 * x * (1.0 + (GELU_TANH.0 * (x + GELU_TANH.1 * x * x * x)).tanh())
            }
            Unary::Silu => x * sigmoid(x),
            Unary::Tanh => x.tanh(),
            Unary::Sigmoid => sigmoid(x),
            Unary::Softplus => x.max(0.0) + (-x.abs()).exp().ln_1p(),
            Unary::Erf => libm::erf(x),
        }
    }

    /// dy · f′(x), with y = f(x) used where it is cheaper.
    pub(super) fn gradient<'g>(
        self,
        y: Tensor<'g>,
        x: Tensor<'g>,
        dy: Tensor<'g>,
    ) -> Option<Tensor<'g>> {
        Some(match self {
            Unary::Neg => -dy,
            Unary::Exp => dy * y,
            Unary::Expm1 => dy * (y + 1.0),
            Unary::Log => dy / x,
            Unary::Sqrt => dy * 0.5 / y,
            Unary::Rsqrt => dy * -0.5 * y / x,
            Unary::Abs => dy * x.sign(),
            Unary::Square => dy * 2.0 * x,
            Unary::Cos => -(dy * x.sin()),
            Unary::Sin => dy * x.cos(),
            Unary::Sign | Unary::Floor => return None,
            // y > 0 exactly where x > 0, and y is what the forward pass keeps anyway.
            Unary::Relu => dy * y.greater(y.number(0.0)),
            Unary::LeakyRelu(alpha) => x.greater(x.number(0.0)).select(dy, dy * alpha),
            Unary::Gelu => {
                let cumulative = (x * FRAC_1_SQRT_2 as f32).erf() * 0.5 + 0.5;
                let density =
                    (x.square() * -0.5).exp() * (0.5 * FRAC_2_SQRT_PI * FRAC_1_SQRT_2) as f32;
                dy * (cumulative + x * density)
            }
            Unary::GeluTanh => {
                let (factor, cubic) = (GELU_TANH.0 as f32, GELU_TANH.1 as f32);
                let t = ((x + x * x.square() * cubic) * factor).tanh();
                let inner = (x.square() * (3.0 * cubic) + 1.0) * factor;
                dy * ((t + 1.0) * 0.5 + x * 0.5 * (-t.square() + 1.0) * inner)
            }
            Unary::Silu => {
                let s = x.sigmoid();
                dy * (s + y * (-s + 1.0))
            }
            Unary::Tanh => dy * (-y.square() + 1.0),
            Unary::Sigmoid => dy * y * (-y + 1.0),
            Unary::Softplus => dy * x.sigmoid(),
            Unary::Erf => dy * (-x.square()).exp() * FRAC_2_SQRT_PI as f32,
        })
    }
}

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
    /// aᵇ, for a ≥ 0
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
            let expected = if a.dtype == DType::F16 { "f32" } else { "f32 operands" };
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
    ) -> Vec<Option<Tensor<'g>>> {
        let (a, b) = (inputs[0], inputs[1]);
        // Only what somebody asks for is kept: both sides are built here, unused ones are dropped
        // when the graph is compiled.
        let (da, db) = match self {
            Binary::Add => (dy, dy),
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

fn needs_f32(x: &Node) -> Result<(), Problem> {
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
    if to == DType::F16 {
        needs_f32(x)?;
    }
    Ok((x.shape.clone(), to))
}

/// Conversion as WGSL has it: to `f16` to the nearest, ties to even; floats to integers towards zero, and to the nearest representable if
/// out of range; between integers the bits stay.
pub(super) fn cast(from: DType, to: DType, x: f64) -> f64 {
    match (from, to) {
        (_, DType::F32) => x,
        (_, DType::F16) => half::f16::from_f32(x as f32).to_f64(),
        (DType::F32 | DType::F16, DType::I32) => f64::from(x as i32),
        (DType::F32 | DType::F16, DType::U32) => f64::from(x as u32),
        (DType::I32 | DType::U32, DType::I32) => f64::from(x as i64 as i32),
        (DType::I32 | DType::U32, DType::U32) => f64::from(x as i64 as u32),
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

macro_rules! unary_methods {
    ($($(#[$doc:meta])* $method:ident => $unary:expr;)*) => {
        impl<'g> Tensor<'g> {$(
            $(#[$doc])*
            #[track_caller]
            #[must_use]
            pub fn $method(self) -> Tensor<'g> {
                self.apply(Op::Unary($unary), &[])
            }
        )*}
    };
}

unary_methods! {
    /// eˣ of each element.
    exp => Unary::Exp;
    /// eˣ − 1 of each element, exact near 0.
    expm1 => Unary::Expm1;
    /// Natural logarithm.
    log => Unary::Log;
    /// Square root.
    sqrt => Unary::Sqrt;
    /// 1/√x.
    rsqrt => Unary::Rsqrt;
    /// Absolute value; the gradient at 0 is 0.
    abs => Unary::Abs;
    /// x².
    square => Unary::Square;
    /// Cosine.
    cos => Unary::Cos;
    /// Sine.
    sin => Unary::Sin;
    /// −1, 0 or 1; no gradient.
    sign => Unary::Sign;
    /// The largest integer not above x; no gradient.
    floor => Unary::Floor;
    /// max(x, 0); the gradient at 0 is 0, as in PyTorch and TensorFlow.
    relu => Unary::Relu;
    /// GELU with the exact normal distribution (PyTorch's default).
    gelu => Unary::Gelu;
    /// GELU's tanh approximation (GPT-2's).
    gelu_tanh => Unary::GeluTanh;
    /// x σ(x), also called swish.
    silu => Unary::Silu;
    /// Hyperbolic tangent.
    tanh => Unary::Tanh;
    /// 1/(1 + e⁻ˣ).
    sigmoid => Unary::Sigmoid;
    /// ln(1 + eˣ), without overflow.
    softplus => Unary::Softplus;
    /// The error function.
    erf => Unary::Erf;
}

impl<'g> Tensor<'g> {
    /// x if x > 0, else αx.
    #[track_caller]
    #[must_use]
    pub fn leaky_relu(self, alpha: f32) -> Tensor<'g> {
        self.apply(Op::Unary(Unary::LeakyRelu(alpha)), &[])
    }

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

    /// aᵇ with broadcasting, for a ≥ 0 (a negative base gives NaN).
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
    /// `u32` the bits stay, so that −1 becomes 4294967295. From `f32` to `f16`, to the nearest; what
    /// is `f16` is only stored so, and goes back to `f32` before anything is computed with it.
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

impl<'g> ops::Neg for Tensor<'g> {
    type Output = Tensor<'g>;
    #[track_caller]
    fn neg(self) -> Tensor<'g> {
        self.apply(Op::Unary(Unary::Neg), &[])
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
