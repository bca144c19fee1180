//! Functions of one element.

use super::elementwise::needs_f32;
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
}

impl<'g> ops::Neg for Tensor<'g> {
    type Output = Tensor<'g>;
    #[track_caller]
    fn neg(self) -> Tensor<'g> {
        self.apply(Op::Unary(Unary::Neg), &[])
    }
}
