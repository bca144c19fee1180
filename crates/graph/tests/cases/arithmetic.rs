//! Element by element: unary and binary functions, select, cast.

use super::{Case, Maker, rough, smooth};
use warmstart_graph::{DType, Tensor};

macro_rules! unary {
    ($method:ident, $low:expr, $high:expr) => {
        smooth(stringify!($method), |m| {
            let shape = m.any_shape();
            vec![m.floats(&shape, $low, $high).$method()]
        })
    };
    ($method:ident, $low:expr, $high:expr, away from 0) => {
        smooth(stringify!($method), |m| {
            let shape = m.any_shape();
            vec![m.floats_away(&shape, $low, $high, 0.0).$method()]
        })
    };
}

/// Both operands in a range that suits most functions.
fn two<'g>(m: &mut Maker<'g>) -> (Tensor<'g>, Tensor<'g>) {
    let (a, b) = m.two_shapes();
    (m.floats(&a, -3.0, 3.0), m.floats(&b, -3.0, 3.0))
}

/// Two operands that differ everywhere by much more than a difference's step: one near multiples of
/// a quarter, the other away from them.
fn apart<'g>(m: &mut Maker<'g>) -> (Tensor<'g>, Tensor<'g>) {
    let (a, b) = m.two_shapes();
    let off = |x: f32| (x * 4.0 - (x * 4.0).round()).abs();
    (
        m.floats_where(&a, -3.0, 3.0, |x| off(x) < 0.2),
        m.floats_where(&b, -3.0, 3.0, |x| off(x) > 0.3),
    )
}

fn two_integers<'g>(m: &mut Maker<'g>) -> (Tensor<'g>, Tensor<'g>) {
    let (a, b) = m.two_shapes();
    // Small ones are often equal, large ones wrap around.
    let limit = if m.chance(50) { 3 } else { i32::MAX };
    (m.integers(&a, -limit, limit), m.integers(&b, -limit, limit))
}

pub(super) const CASES: &[Case] = &[
    smooth("neg", |m| {
        let shape = m.any_shape();
        vec![-m.floats(&shape, -3.0, 3.0)]
    }),
    unary!(exp, -4.0, 4.0),
    unary!(expm1, -4.0, 4.0),
    smooth("expm1_near_zero", |m| {
        let shape = m.any_shape();
        vec![m.floats(&shape, -1e-4, 1e-4).expm1()]
    }),
    unary!(log, 0.1, 8.0),
    unary!(sqrt, 0.1, 8.0),
    unary!(rsqrt, 0.2, 8.0),
    unary!(abs, -3.0, 3.0, away from 0),
    unary!(square, -3.0, 3.0),
    unary!(cos, -7.0, 7.0),
    unary!(sin, -7.0, 7.0),
    unary!(sign, -3.0, 3.0, away from 0),
    smooth("floor", |m| {
        let shape = m.any_shape();
        vec![m.floats_where(&shape, -3.0, 3.0, |x| (x - x.round()).abs() > 0.01).floor()]
    }),
    unary!(relu, -3.0, 3.0, away from 0),
    smooth("leaky_relu", |m| {
        let shape = m.any_shape();
        let alpha = m.random.number(-0.5, 0.5);
        vec![m.floats_away(&shape, -3.0, 3.0, 0.0).leaky_relu(alpha)]
    }),
    unary!(gelu, -4.0, 4.0),
    unary!(gelu_tanh, -4.0, 4.0),
    unary!(silu, -6.0, 6.0),
    unary!(tanh, -5.0, 5.0),
    unary!(sigmoid, -8.0, 8.0),
    unary!(softplus, -8.0, 8.0),
    unary!(erf, -3.0, 3.0),
    // What overflows if it is written naively.
    smooth("saturated", |m| {
        let shape = m.any_shape();
        let x = m.floats_away(&shape, -200.0, 200.0, 0.0);
        vec![x.tanh(), x.sigmoid(), x.softplus() * 0.01, x.silu() * 0.01, x.erf(), x.gelu() * 0.01]
    }),
    // Where functions bend or jump, the value still has to be right.
    rough("at_the_bend", |m| {
        let shape = m.any_shape();
        let x = m.whole(&shape, -1, 1);
        vec![x.relu(), x.abs(), x.sign(), x.floor(), x.leaky_relu(0.25), x.max(-x), x.min(-x)]
    }),
    smooth("add", |m| {
        let (a, b) = two(m);
        vec![a + b]
    }),
    smooth("sub", |m| {
        let (a, b) = two(m);
        vec![a - b]
    }),
    smooth("mul", |m| {
        let (a, b) = two(m);
        vec![a * b]
    }),
    smooth("div", |m| {
        let (a, b) = m.two_shapes();
        let (a, b) = (m.floats(&a, -3.0, 3.0), m.floats_where(&b, -3.0, 3.0, |x| x.abs() > 0.3));
        vec![a / b]
    }),
    smooth("min", |m| {
        let (a, b) = apart(m);
        vec![a.min(b)]
    }),
    smooth("max", |m| {
        let (a, b) = apart(m);
        vec![a.max(b)]
    }),
    // Half the gradient to each of two equal operands is the mean of both one-sided derivatives,
    // which is what a central difference gives.
    smooth("min_and_max_of_equals", |m| {
        let shape = m.any_shape();
        let count = shape.iter().product();
        let values: Vec<f32> = (0..count).map(|_| m.random.below(5) as f32).collect();
        let (a, b) = (m.given(&shape, values.clone()), m.given(&shape, values));
        vec![a.min(b), a.max(b)]
    }),
    smooth("pow", |m| {
        let (a, b) = m.two_shapes();
        let (a, b) = (m.floats(&a, 0.2, 3.0), m.floats(&b, -2.0, 2.0));
        vec![a.pow(b)]
    }),
    smooth("greater", |m| {
        let (a, b) = apart(m);
        vec![a.greater(b)]
    }),
    rough("greater_and_equal_of_whole", |m| {
        let (a, b) = m.two_shapes();
        let (a, b) = (m.whole(&a, -2, 2), m.whole(&b, -2, 2));
        vec![a.greater(b), b.greater(a), a.equal(b)]
    }),
    smooth("with_numbers", |m| {
        let shape = m.any_shape();
        let x = m.floats(&shape, 0.5, 3.0);
        let k = m.random.number(0.5, 2.0);
        vec![x + k, x - k, x * k, x / k, k + x, k - x, k * x, k / x]
    }),
    smooth("select", |m| {
        let (a, b) = two(m);
        let full = a.shape().broadcast(&b.shape()).expect("drawn to broadcast");
        let shape: Vec<usize> = full.iter().map(|&e| if m.chance(30) { 1 } else { e }).collect();
        vec![m.whole(&shape, 0, 1).select(a, b)]
    }),
    smooth("select_by_comparison", |m| {
        let (a, b) = apart(m);
        vec![a.greater(b).select(a.square(), b * 3.0)]
    }),
    rough("integer_arithmetic", |m| {
        let (a, b) = two_integers(m);
        vec![a + b, a - b, a * b, a.min(b), a.max(b), a.greater(b), a.equal(b)]
    }),
    rough("unsigned_arithmetic", |m| {
        let (a, b) = m.two_shapes();
        let limit = if m.chance(50) { 3 } else { u32::MAX };
        let (a, b) = (m.unsigned(&a, limit), m.unsigned(&b, limit));
        vec![a + b, a - b, a * b, a.min(b), a.max(b), a.greater(b), a.equal(b)]
    }),
    rough("cast", |m| {
        let shape = m.any_shape();
        // Below 2^24 every whole number is an `f32`.
        let float = m.floats(&shape, -100.0, 100.0);
        let signed = m.integers(&shape, -(1 << 24), 1 << 24);
        let unsigned = m.unsigned(&shape, 1 << 24);
        vec![
            float.cast(DType::I32),
            float.abs().cast(DType::U32),
            float.cast(DType::F32),
            signed.cast(DType::F32),
            signed.cast(DType::U32),
            unsigned.cast(DType::F32),
            unsigned.cast(DType::I32),
        ]
    }),
    rough("stop_gradient", |m| {
        let shape = m.any_shape();
        let x = m.floats(&shape, -3.0, 3.0);
        vec![x.stop_gradient() * x, x.square().stop_gradient()]
    }),
    // Several uses of one value add up.
    smooth("many_uses", |m| {
        let shape = m.any_shape();
        let x = m.floats(&shape, -2.0, 2.0);
        let y = x.square() + x;
        vec![y * x.sin() + y.exp() * 0.1 - x, y + y + y]
    }),
];
