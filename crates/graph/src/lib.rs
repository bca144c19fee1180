//! What to compute: graphs, variables, initializers, gradients and optimizers. No GPU, no I/O.
//!
//! ```
//! use warmstart_graph::{DType, Graph, Optimizer};
//!
//! let graph = Graph::new();
//! let x = graph.placeholder("x", [64, 784], DType::F32);
//! let labels = graph.placeholder("labels", [64], DType::I32);
//! let hidden = graph.scope("fc1").linear(x, 128).relu();
//! let logits = graph.scope("fc2").linear(hidden, 10).named("logits");
//! let loss = logits.softmax_cross_entropy(labels).named("loss");
//! let step = Optimizer::adam(1e-3).minimize(loss);
//! let def = graph.finish().expect("every shape fits");
//! assert_eq!(def.variables[0].name, "fc1/weight");
//! # let _ = step;
//! ```
#![forbid(unsafe_code)]

mod accumulation;
mod data;
mod def;
mod dtype;
mod error;
mod globs;
mod gradient;
mod graph;
mod initialize;
mod initializer;
mod location;
mod loss_scaling;
pub mod ops;
mod optimizer;
mod orthogonal;
mod print;
mod quantile;
pub mod random;
mod recompute;
pub mod reference;
mod schedule;
mod scope;
mod shape;
mod tensor;
mod validate;
mod variable;
#[doc(hidden)]
pub mod words;

pub use accumulation::Accumulation;
pub use data::{Elements, TensorData};
pub use def::{GraphDef, Node, NodeId, VariableId};
pub use dtype::DType;
pub use error::{GraphError, GraphErrors, Problem};
pub use globs::{Glob, SEPARATORS};
pub use gradient::gradients;
pub use graph::{GLOBAL_STEP, Graph};
pub use initialize::{Affine, Distribution, InitializeError, Recipe, initial_value};
pub use initializer::Initializer;
pub use location::Location;
pub use loss_scaling::{LossScale, LossScaling};
pub use ops::Op;
pub use optimizer::{Optimizer, TrainStep, global_norm};
pub use quantile::{normal_table, truncation};
pub use schedule::Schedule;
pub use scope::Scope;
pub use shape::Shape;
pub use tensor::{Tensor, Update};
pub use variable::{Role, Variable};
