//! What an initializer means for a variable: whether it fits, and the recipe that both the device
//! kernel and the CPU twin in this file follow to the bit.

use crate::{DType, Initializer, Shape};
use thiserror::Error;

/// Why an initializer does not fit a variable.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum InitializeError {
    /// `Values` with another number of elements than the shape.
    #[error(
        "its initializer gives {given} values, but shape {shape} has {wanted} elements. Give exactly as many values"
    )]
    ValueCount {
        /// How many values are given.
        given: usize,
        /// How many the shape has.
        wanted: usize,
        /// The shape.
        shape: Shape,
    },
    /// An initializer that makes a matrix, for a shape that is none.
    #[error(
        "initializer {initializer} makes a matrix, but the shape is {shape}. Use it for {wanted}, or choose another initializer"
    )]
    NotMatrix {
        /// The initializer.
        initializer: Initializer,
        /// The shape.
        shape: Shape,
        /// What shapes it is for.
        wanted: &'static str,
    },
    /// A float initializer for an integer variable.
    #[error(
        "initializer {initializer} makes floats, but the dtype is {dtype}. Integer variables take zeros, ones or a constant"
    )]
    NeedsFloat {
        /// The initializer.
        initializer: Initializer,
        /// The dtype.
        dtype: DType,
    },
    /// A constant that the dtype cannot hold.
    #[error("the constant {value} cannot be held as {dtype}. Choose a value in its range{}", if dtype.is_float() { "" } else { ", without a fraction" })]
    NotRepresentable {
        /// The constant.
        value: f64,
        /// The dtype.
        dtype: DType,
    },
    /// A parameter that is no number, infinite, or of the wrong sign or order.
    #[error("initializer {initializer} is not a distribution: {problem}. Correct its parameters")]
    Parameter {
        /// The initializer.
        initializer: Initializer,
        /// What is wrong.
        problem: &'static str,
    },
    /// A shape of more elements than this machine can count.
    #[error("shape {shape} has more elements than fit in memory. Split the variable")]
    TooLarge {
        /// The shape.
        shape: Shape,
    },
}

impl Initializer {
    /// Whether this initializer can make a value of the given shape and dtype.
    ///
    /// # Errors
    /// The first reason why it cannot.
    pub fn check(&self, shape: &Shape, dtype: DType) -> Result<(), InitializeError> {
        use Initializer as I;
        let wanted = shape
            .checked_elements()
            .ok_or_else(|| InitializeError::TooLarge { shape: shape.clone() })?;
        if !dtype.is_float() && !matches!(self, I::Zeros | I::Ones | I::Constant(_)) {
            return Err(InitializeError::NeedsFloat { initializer: self.clone(), dtype });
        }
        let parameters = |fits: bool, problem| match fits {
            true => Ok(()),
            false => Err(InitializeError::Parameter { initializer: self.clone(), problem }),
        };
        match *self {
            I::Constant(value) => match constant_bits(value, dtype) {
                Some(_) => Ok(()),
                None => Err(InitializeError::NotRepresentable { value, dtype }),
            },
            I::Values(ref values) if values.len() != wanted => Err(InitializeError::ValueCount {
                given: values.len(),
                wanted,
                shape: shape.clone(),
            }),
            I::Uniform { low, high } => {
                parameters(low.is_finite() && high.is_finite(), "its bounds must be finite")?;
                parameters(low <= high, "its lower bound is above its upper bound")
            }
            I::Normal { mean, stddev } | I::TruncatedNormal { mean, stddev } => {
                parameters(
                    mean.is_finite() && stddev.is_finite(),
                    "its parameters must be finite",
                )?;
                parameters(stddev >= 0.0, "its standard deviation is negative")
            }
            I::Identity { .. } if shape.rank() != 2 => Err(InitializeError::NotMatrix {
                initializer: self.clone(),
                shape: shape.clone(),
                wanted: "shapes of rank 2",
            }),
            I::Orthogonal { .. } if shape.rank() < 2 => Err(InitializeError::NotMatrix {
                initializer: self.clone(),
                shape: shape.clone(),
                wanted: "shapes of rank 2 or more",
            }),
            I::Identity { gain } | I::Orthogonal { gain } => {
                parameters(gain.is_finite(), "its gain must be finite")
            }
            _ => Ok(()),
        }
    }
}

/// The bits of one element that holds `value`, or `None` if the dtype cannot.
fn constant_bits(value: f64, dtype: DType) -> Option<u32> {
    let whole = value.fract() == 0.0;
    match dtype {
        DType::F32 => {
            let narrow = value as f32;
            (narrow.is_finite() || !value.is_finite()).then_some(narrow.to_bits())
        }
        DType::F16 => {
            let narrow = half::f16::from_f64(value);
            (narrow.is_finite() || !value.is_finite()).then_some(narrow.to_bits().into())
        }
        DType::I32 => (whole && (-2147483648.0..=2147483647.0).contains(&value))
            .then_some((value as i32).cast_unsigned()),
        DType::U32 => (whole && (0.0..=4294967295.0).contains(&value)).then_some(value as u32),
    }
}
