//! What to compute: graphs, variables, initializers, gradients and optimizers. No GPU, no I/O.
#![forbid(unsafe_code)]

mod data;
mod dtype;
mod initialize;
mod initializer;
mod location;
mod orthogonal;
mod quantile;
pub mod random;
mod shape;
mod variable;

pub use data::{Elements, TensorData};
pub use dtype::DType;
pub use initialize::{Affine, Distribution, InitializeError, Recipe, initial_value};
pub use initializer::Initializer;
pub use location::Location;
pub use quantile::{normal_table, truncation};
pub use shape::Shape;
pub use variable::{Role, Variable};
