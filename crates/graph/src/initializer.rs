//! Recipes for a variable's first value, as data.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The recipe for a variable's first value.
///
/// It is data, not a closure: it is stored with the variable, printed, and saved in checkpoints, so
/// that a missing variable can be made again with the same bits. Random values depend on the seed,
/// the variable's name and the element's index alone (see [`crate::random`]), never on the order
/// in which variables are initialized.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Initializer {
    /// All zero.
    Zeros,
    /// All one.
    Ones,
    /// One value everywhere.
    Constant(#[serde(with = "lossless")] f64),
    /// The given elements, row-major; their number must be the variable's.
    Values(#[serde(with = "lossless::list")] Vec<f32>),
    /// Uniform in `[low, high)`.
    Uniform {
        /// Smallest value.
        low: f32,
        /// Upper bound.
        high: f32,
    },
    /// Normal.
    Normal {
        /// Mean.
        mean: f32,
        /// Standard deviation.
        stddev: f32,
    },
    /// Normal, limited to two standard deviations from the mean, as TensorFlow's
    /// `truncated_normal_initializer`.
    TruncatedNormal {
        /// Mean of the untruncated normal.
        mean: f32,
        /// Standard deviation of the untruncated normal.
        stddev: f32,
    },
    /// Uniform in ±√(6 / (fan_in + fan_out)): Glorot and Bengio 2010.
    GlorotUniform,
    /// Normal with standard deviation √(2 / (fan_in + fan_out)): Glorot and Bengio 2010.
    GlorotNormal,
    /// Uniform in ±√(6 / fan_in): He et al. 2015.
    HeUniform,
    /// Normal with standard deviation √(2 / fan_in): He et al. 2015.
    HeNormal,
    /// `gain` on the main diagonal of a matrix, zero elsewhere.
    Identity {
        /// The value on the diagonal.
        gain: f32,
    },
    /// Orthonormal rows or columns times `gain`: Saxe et al. 2013. All but the last dimension are
    /// taken together as rows.
    Orthogonal {
        /// The factor.
        gain: f32,
    },
}

impl fmt::Display for Initializer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Initializer::Zeros => f.write_str("zeros"),
            Initializer::Ones => f.write_str("ones"),
            Initializer::Constant(value) => write!(f, "constant({value})"),
            Initializer::Values(values) => write!(f, "values({} given)", values.len()),
            Initializer::Uniform { low, high } => write!(f, "uniform({low}, {high})"),
            Initializer::Normal { mean, stddev } => write!(f, "normal({mean}, {stddev})"),
            Initializer::TruncatedNormal { mean, stddev } => {
                write!(f, "truncated_normal({mean}, {stddev})")
            }
            Initializer::GlorotUniform => f.write_str("glorot_uniform"),
            Initializer::GlorotNormal => f.write_str("glorot_normal"),
            Initializer::HeUniform => f.write_str("he_uniform"),
            Initializer::HeNormal => f.write_str("he_normal"),
            Initializer::Identity { gain } => write!(f, "identity({gain})"),
            Initializer::Orthogonal { gain } => write!(f, "orthogonal({gain})"),
        }
    }
}

/// Floats in text formats: numbers where a number will do, and strings for what JSON has no number
/// for, so that an initializer stored in a checkpoint gives the same bits again.
mod lossless {
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Stored<T> {
        Number(T),
        /// `inf`, `-inf`, or the bits of a NaN: `0x7ff8000000000000`.
        Text(String),
    }

    fn stored(value: f64) -> Option<Stored<f64>> {
        if value.is_nan() {
            Some(Stored::Text(format!("{:#018x}", value.to_bits())))
        } else if value.is_infinite() {
            Some(Stored::Text(if value > 0.0 { "inf" } else { "-inf" }.to_owned()))
        } else {
            None
        }
    }

    fn loaded(text: &str) -> Option<f64> {
        match (text, text.strip_prefix("0x")) {
            ("inf", _) => Some(f64::INFINITY),
            ("-inf", _) => Some(f64::NEG_INFINITY),
            (_, Some(bits)) => u64::from_str_radix(bits, 16).ok().map(f64::from_bits),
            _ => None,
        }
    }

    const WRONG: &str = "a float must be a number, `inf`, `-inf` or the bits of a NaN";

    pub(super) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        stored(*value).unwrap_or(Stored::Number(*value)).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        match Stored::deserialize(deserializer)? {
            Stored::Number(value) => Ok(value),
            Stored::Text(text) => loaded(&text).ok_or_else(|| D::Error::custom(WRONG)),
        }
    }

    /// The same for a list of `f32`; a NaN's bits are those of the `f64` it widens to.
    pub(super) mod list {
        use super::*;

        pub(in super::super) fn serialize<S: Serializer>(
            values: &[f32],
            serializer: S,
        ) -> Result<S::Ok, S::Error> {
            serializer.collect_seq(values.iter().map(|&value| match stored(value.into()) {
                Some(Stored::Text(text)) => Stored::Text(text),
                _ => Stored::Number(value),
            }))
        }

        pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
            deserializer: D,
        ) -> Result<Vec<f32>, D::Error> {
            let all: Vec<Stored<f32>> = Vec::deserialize(deserializer)?;
            all.into_iter()
                .map(|value| match value {
                    Stored::Number(value) => Ok(value),
                    Stored::Text(text) => loaded(&text)
                        .map(|value| value as f32)
                        .ok_or_else(|| D::Error::custom(WRONG)),
                })
                .collect()
        }
    }
}
