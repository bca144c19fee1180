//! Numbers, dtypes and operations of single elements as WGSL.

use warmstart_graph::DType;
use warmstart_graph::ops::{Binary, Unary};

/// The WGSL type that elements of a dtype have in arithmetic.
pub(crate) fn scalar_type(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 | DType::F16 | DType::Bf16 => "f32",
        DType::I32 => "i32",
        DType::U32 | DType::U8 => "u32",
    }
}

/// The WGSL type that a buffer of a dtype is an array of.
pub(crate) fn stored_type(dtype: DType) -> &'static str {
    match dtype {
        DType::F16 | DType::Bf16 => "u32",
        other => scalar_type(other),
    }
}

/// A number as a WGSL expression with exactly its bits.
pub(crate) fn literal(dtype: DType, value: f64) -> String {
    match dtype {
        DType::I32 if value <= f64::from(i32::MIN) => "bitcast<i32>(0x80000000u)".to_owned(),
        DType::I32 => format!("i32({value:.0})"),
        DType::U32 | DType::U8 => format!("{value:.0}u"),
        DType::F32 | DType::F16 | DType::Bf16 => {
            let value = value as f32;
            if value.is_normal() || value.to_bits() == 0 {
                format!("f32({value:e})")
            } else {
                format!("from_bits({:#x}u)", value.to_bits())
            }
        }
    }
}

/// An operation of one operand, which is an expression.
pub(super) fn unary(operation: Unary, x: &str) -> String {
    match operation {
        Unary::Neg => format!("-{x}"),
        Unary::Square => format!("{x} * {x}"),
        Unary::Rsqrt => format!("inverseSqrt({x})"),
        Unary::Cos => format!("cosine({x})"),
        Unary::Sin => format!("sine({x})"),
        Unary::Tanh => format!("tangent_hyperbolic({x})"),
        Unary::LeakyRelu(alpha) => {
            format!("leaky_relu({x}, {})", literal(DType::F32, alpha.into()))
        }
        // WGSL's own, or of that name in functions.wgsl.
        Unary::Exp
        | Unary::Expm1
        | Unary::Log
        | Unary::Sqrt
        | Unary::Abs
        | Unary::Sign
        | Unary::Floor
        | Unary::Relu
        | Unary::Gelu
        | Unary::GeluTanh
        | Unary::Silu
        | Unary::Sigmoid
        | Unary::Softplus
        | Unary::Erf => format!("{}({x})", operation.name()),
    }
}

/// An operation of two operands of a dtype, which are expressions.
pub(super) fn binary(operation: Binary, dtype: DType, a: &str, b: &str) -> String {
    match operation {
        Binary::Add => format!("{a} + {b}"),
        Binary::Sub => format!("{a} - {b}"),
        Binary::Mul => format!("{a} * {b}"),
        Binary::Div => format!("{a} / {b}"),
        Binary::Min if dtype.is_float() => format!("smaller({a}, {b})"),
        Binary::Max if dtype.is_float() => format!("larger({a}, {b})"),
        Binary::Min => format!("min({a}, {b})"),
        Binary::Max => format!("max({a}, {b})"),
        Binary::Pow => format!("power({a}, {b})"),
        Binary::Greater => format!("select(0.0, 1.0, {a} > {b})"),
        Binary::Equal => format!("select(0.0, 1.0, {a} == {b})"),
    }
}
