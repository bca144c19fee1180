//! What a training program uses, in one import: `use warmstart::prelude::*;`.

pub use crate::metrics::{Axis, LossCurve, MetricsTable, MetricsWriter};
pub use crate::{
    Batches, Begun, Dataset, DatasetError, LossWatch, OnNonFinite, Progress, Run, Training,
    TrainingError,
};
pub use warmstart_checkpoint::{Better, Checkpoint, RestoreOptions, SaveOptions, Saver, save};
pub use warmstart_gpu::{
    Column, DeviceDataset, DeviceDatasetError, Feed, Gpu, GpuOptions, Outputs, Overwrite, Plan,
    Session, StepOutputs, Steps,
};
pub use warmstart_graph::{
    DType, Graph, GraphDef, Initializer, Location, LossScaling, Optimizer, Role, Schedule, Scope,
    Shape, Tensor, TensorData, TrainStep, Update, Variable, global_norm, gradients,
};
