//! What to compute: graphs, variables, initializers, gradients and optimizers. No GPU, no I/O.
#![forbid(unsafe_code)]

mod data;
mod dtype;
mod initialize;
mod initializer;
mod location;
mod shape;
mod variable;

pub use data::{Elements, TensorData};
pub use dtype::DType;
pub use initialize::InitializeError;
pub use initializer::Initializer;
pub use location::Location;
pub use shape::Shape;
pub use variable::{Role, Variable};
