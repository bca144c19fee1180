//! What a training program uses, in one import: `use warmstart::prelude::*;`.

pub use crate::metrics::{Axis, LossCurve, MetricsTable, MetricsWriter};
pub use crate::{Batches, Dataset, LossWatch, OnNonFinite, Progress};
pub use warmstart_graph::*;
