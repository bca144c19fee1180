//! Where weights come from and go to: open, plan, restore straight into device memory, and save
//! durably.
//!
//! Restoring is three steps, and the first two move no weight:
//!
//! 1. [`Checkpoint::open`] reads and checks what a file, or the newest whole checkpoint of a
//!    directory, says of its tensors: safetensors, in one file or several, or those of TensorFlow,
//!    PyTorch, NumPy and llama.cpp ([`Format`]).
//! 2. [`Checkpoint::plan`] matches its tensors with a session's variables. Strict both ways: every
//!    variable needs a tensor and every tensor a variable, unless [`RestoreOptions`] say otherwise.
//!    The [`RestorePlan`] prints as a report of what would happen.
//! 3. [`RestorePlan::restore`] moves the bytes, all or none, and the session records for each
//!    variable the file, the name and the step that its value came from.
//!
//! Saving ([`save`], [`Saver`]) writes plain safetensors that any reader opens. A save is atomic
//! and, as far as the file system can make names so ([`save`]), durable: killed at any instant, the name
//! holds the whole old checkpoint or the whole new one.
//! [`Saver::in_background`] writes behind the training.
//!
//! ```
//! use warmstart_checkpoint::{Checkpoint, RestoreOptions, SaveOptions, Saver};
//! use warmstart_gpu::{Gpu, Session};
//! use warmstart_graph::{DType, Initializer, Location, Role, Shape, Variable};
//!
//! let variable = |name: &str, shape: &[usize]| Variable {
//!     name: name.into(),
//!     shape: Shape::from(shape),
//!     dtype: DType::F32,
//!     initializer: Initializer::GlorotUniform,
//!     role: Role::Trainable,
//!     location: Location::caller(),
//! };
//! let gpu = Gpu::new()?;
//! let mut session = Session::new(&gpu);
//! session.declare(&[variable("fc1/weight", &[4, 3])])?;
//! session.initialize_missing(7)?;
//! # let directory = tempfile::tempdir()?;
//! # let directory = directory.path();
//! Saver::new(directory).keep(3).save(&session, 500, &SaveOptions::new())?;
//!
//! // Another day, another model: its head is new.
//! let mut session = Session::new(&gpu);
//! session.declare(&[variable("fc1/weight", &[4, 3]), variable("head/weight", &[3, 2])])?;
//! let checkpoint = Checkpoint::open(directory)?;
//! let strict = checkpoint.plan(&session, &RestoreOptions::new());
//! assert!(!strict.closes());
//! println!("{strict}");
//!
//! let report = checkpoint
//!     .plan(&session, &RestoreOptions::new().allow_missing())
//!     .restore(&mut session)?;
//! assert_eq!(report.restored().count(), 1);
//! assert_eq!(session.initialize_missing(7)?, ["head/weight"]);
//! let origin = session.variable("fc1/weight")?.origin.to_string();
//! assert!(origin.ends_with("step-500.safetensors: fc1/weight, step 500)"), "{origin}");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`Checkpoint::plan_for`] matches with a list of variables, without a device.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

mod bytes;
mod checkpoint;
mod convert;
mod directory;
mod entries;
mod error;
mod file;
mod format;
mod formats;
mod metadata;
mod open;
mod printable;
mod read;
mod restore;
mod save;
mod score;
mod steps;
mod tensor;
mod tensor_name;
#[cfg(test)]
mod testing;

pub use bytes::sums::Checksum;
pub use checkpoint::Checkpoint;
pub use convert::{ConvertOptions, Converted, OutOfRange};
pub use directory::{Best, Latest, best, best_verified, latest, latest_verified};
pub use error::{CheckpointError, Damaged};
pub use format::Format;
pub use formats::archive::ArchiveError;
pub use formats::gguf::{GgufError, Quantization};
pub use formats::numpy::NumPyError;
pub use formats::pytorch::PyTorchError;
pub use formats::safetensors::{FileKind, FormatError, ShardsError};
pub use formats::tensorflow::BundleError;
pub use metadata::Metadata;
#[doc(hidden)]
pub use open::maybe_checkpoints;
pub use printable::printable;
pub use read::reader::TensorReader;
pub use read::transposed::TransposedReader;
pub use read::verify::Verification;
pub use restore::matching::{Change, Outcome};
pub use restore::options::RestoreOptions;
pub use restore::pairs::{Compared, Pair, Pairs};
pub use restore::plan::RestorePlan;
pub use restore::report::{RestoreReport, VariableOutcome};
#[doc(hidden)]
pub use restore::rules::Argument;
pub use restore::rules::{Rule, RuleUse};
pub use restore::suggestion::{Allowance, Suggestion};
pub use restore::wording::{InCode, Wording};
pub use save::background::BackgroundSaver;
pub use save::saver::{RestoredLatest, Saver};
pub use save::write::{SaveOptions, save};
pub use score::Better;
pub use steps::{StepFile, list, step_file_name};
pub use tensor::{FileDType, FloatDType, TensorEntry};
pub use tensor_name::TensorName;
pub use warmstart_graph::Glob;
