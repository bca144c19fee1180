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
    Constant(f64),
    /// The given elements, row-major; their number must be the variable's.
    Values(Vec<f32>),
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
