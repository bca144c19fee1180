//! A GPU training runtime for small models, with checkpoints as its heart.
//!
//! This crate is the face: it re-exports what the others do ([graph](mod@graph): what to compute,
//! [gpu](mod@gpu): where, [checkpoint](mod@checkpoint): where weights come from and go to) and adds
//! what a training program needs around them. Each helper is a small value that works without the
//! others.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! # let directory = directory.path();
//! use warmstart::prelude::*;
//!
//! // What to compute: a line through points, and how it is trained.
//! let graph = Graph::new();
//! let x = graph.placeholder("x", [4, 1], DType::F32);
//! let y = graph.placeholder("y", [4, 1], DType::F32);
//! let loss = graph.scope("line").linear(x, 1).mean_squared_error(y);
//! let optimizer = Optimizer::adam(0.1);
//! let step = optimizer.minimize(loss);
//!
//! // Where: on the best adapter there is. Compiling declares the variables, without a value.
//! let mut session = Session::new(&Gpu::new()?);
//! let plan = session.compile(&graph, &[loss], &[step.update])?;
//!
//! // From where: the newest checkpoint in the directory, or, as there is none yet, a seed.
//! let mut run = Training::new(directory)
//!     .steps(50)
//!     .seed(7)
//!     .quiet()
//!     .begin(&mut session, &graph, &optimizer)?;
//! while let Some(_step) = run.next_step() {
//!     let feeds = [("x", (&[0.0, 1.0, 2.0, 3.0]).into()), ("y", (&[1.0, 3.0, 5.0, 7.0]).into())];
//!     let outputs = session.run(&plan, &feeds)?;
//!     run.record(&session, &outputs, loss)?;
//! }
//! let newest = run.finish(&session)?;
//!
//! // Another program: the same variables, and only their weights.
//! let graph = Graph::new();
//! let x = graph.placeholder("x", [1, 1], DType::F32);
//! let line = graph.scope("line").linear(x, 1);
//! let mut session = Session::new(&Gpu::new()?);
//! let plan = session.compile(&graph, &[line], &[])?;
//! let report = Checkpoint::open(&newest)?
//!     .plan(&session, &RestoreOptions::new().allow_unexpected())
//!     .restore(&mut session)?;
//! println!("{report}");
//! let outputs = session.run(&plan, &[("x", (&[10.0f32]).into())])?;
//! println!("at 10: {:?}", outputs.f32s(line)?);
//! # assert_eq!(report.restored().count(), 2);
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

mod accumulated;
mod asked;
mod batches;
mod begin;
mod changes;
mod counted;
mod dataset;
mod dataset_csv;
mod dataset_error;
mod dataset_input;
mod dataset_spread;
mod graph_changes;
mod interrupt;
mod largest_batch;
mod loss_watch;
mod losses;
pub mod metrics;
pub mod prelude;
mod progress;
mod run;
mod run_lock;
mod saving;
mod training;
mod training_error;

pub use batches::{BatchError, Batches};
pub use begin::Begun;
pub use changes::Change;
pub use dataset::Dataset;
pub use dataset_error::DatasetError;
pub use dataset_input::DatasetInput;
#[doc(hidden)]
pub use dataset_spread::mean_and_stddev;
#[doc(hidden)]
pub use graph_changes::is_computed_alike;
pub use interrupt::Interrupt;
pub use largest_batch::{LargestBatch, largest_batch};
pub use loss_watch::{LossWatch, NonFiniteLoss, OnNonFinite};
pub use metrics::{LossCurve, MetricsWriter};
pub use progress::Progress;
pub use run::Run;
pub use training::Training;
pub use training_error::{NonFiniteVariables, TrainingError};

pub use warmstart_checkpoint as checkpoint;
pub use warmstart_gpu as gpu;
pub use warmstart_graph as graph;
