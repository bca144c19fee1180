//! A GPU training runtime for small models, with checkpoints as its heart.
//!
//! This crate is the face: it re-exports what the others do ([`graph`]: what to compute, [`gpu`]:
//! where, [`checkpoint`]: where weights come from and go to) and adds what a training program needs
//! around them. Each helper is a small value that works without the others.
#![forbid(unsafe_code)]

mod batches;
mod changes;
mod dataset;
mod loss_watch;
pub mod metrics;
pub mod prelude;
mod progress;
mod run;
mod run_lock;
mod training;
mod training_error;

pub use batches::{BatchError, Batches};
pub use dataset::{Dataset, DatasetError};
pub use loss_watch::{LossWatch, NonFiniteLoss, OnNonFinite};
pub use metrics::{LossCurve, MetricsWriter};
pub use progress::Progress;
pub use run::Run;
pub use training::{Begun, Training};
pub use training_error::{NonFiniteVariables, TrainingError};

pub use warmstart_checkpoint as checkpoint;
pub use warmstart_gpu as gpu;
pub use warmstart_graph as graph;
