//! Where weights come from and go to: open, plan, restore straight into device memory, and save
//! durably.
//!
//! Restoring is three steps, and the first two move no weight:
//!
//! 1. [`Checkpoint::open`] reads and checks the header of a file, or of the newest whole
//!    checkpoint of a directory.
//! 2. [`Checkpoint::plan`] matches its tensors with a session's variables. Strict both ways: every
//!    variable needs a tensor and every tensor a variable, unless [`RestoreOptions`] say otherwise.
//!    The [`RestorePlan`] prints as a report of what would happen.
//! 3. [`RestorePlan::restore`] moves the bytes, all or none, and the session records for each
//!    variable the file, the name and the step that its value came from.
//!
//! Saving ([`save`], [`Saver`]) writes plain safetensors that any reader opens. A save is atomic
//! and durable: killed at any instant, the name holds the whole old checkpoint or the whole new one.
//!
//! ```
//! use warmstart_checkpoint::{Checkpoint, RestoreOptions};
//! use warmstart_graph::{DType, Initializer, Location, Role, Shape, Variable};
//! # let directory = tempfile::tempdir()?;
//! # let file = directory.path().join("model.safetensors");
//! # let header = br#"{"fc1/weight:0":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
//! # let length = (header.len() as u64).to_le_bytes();
//! # std::fs::write(&file, [&length[..], header, &[0; 8]].concat())?;
//! let variable = |name: &str| Variable {
//!     name: name.into(),
//!     shape: Shape::from([2]),
//!     dtype: DType::F32,
//!     initializer: Initializer::Zeros,
//!     role: Role::Trainable,
//!     location: Location::caller(),
//! };
//! let variables = [variable("fc1/weight"), variable("fc1/bias")];
//!
//! let checkpoint = Checkpoint::open(&file)?;
//! let plan = checkpoint.plan_for(&variables, &RestoreOptions::new());
//! assert!(!plan.closes());
//! assert_eq!(plan.missing().map(|v| &v.name).collect::<Vec<_>>(), ["fc1/bias"]);
//! println!("{plan}");
//!
//! let plan = checkpoint.plan_for(&variables, &RestoreOptions::new().allow_missing());
//! assert!(plan.closes());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod atomic;
mod checkpoint;
mod directory;
mod error;
mod file;
mod metadata;
mod plan;
mod read_at;
mod report;
//mod restore;
mod safetensors;
mod save;
mod storage;
mod tensor;

pub use checkpoint::Checkpoint;
pub use directory::{Latest, StepFile, latest, list, retain, step_file_name};
pub use error::{CheckpointError, Damaged};
pub use metadata::Metadata;
pub use plan::{RestoreOptions, RestorePlan};
pub use report::{Outcome, RestoreReport, VariableOutcome};
pub use safetensors::FormatError;
pub use save::{SaveOptions, Saver, save};
pub use tensor::{FileDType, TensorEntry};
