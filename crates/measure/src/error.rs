//! Why something could not be measured.

use std::io;
use std::path::PathBuf;
use warmstart_checkpoint::CheckpointError;
use warmstart_gpu::{CompileError, DeviceDatasetError, GpuError, RunError, SessionError};
use warmstart_graph::words::printable_path;

/// Why something could not be measured.
#[derive(Debug, thiserror::Error)]
pub enum MeasureError {
    /// The device failed.
    #[error(transparent)]
    Gpu(#[from] GpuError),
    /// A session refused.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// A checkpoint could not be saved, opened or restored.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A plan could not be compiled.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// A run failed.
    #[error(transparent)]
    Run(#[from] RunError),
    /// Examples could not be put on the device.
    #[error(transparent)]
    Dataset(#[from] DeviceDatasetError),
    /// A file of the benchmark could not be made, read or written.
    #[error("cannot {what} `{}`: {source}; check the disk and the folder's permissions", printable_path(.path))]
    File {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The system refused something else.
    #[error("cannot {what}: {source}; try smaller sizes")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A file stays in the system's cache.
    #[error(
        "the system keeps `{}` in memory, so reading it from the disk cannot be measured: choose a folder on a disk, if this one is in memory (as `tmpfs` is)",
        printable_path(.0)
    )]
    StaysCached(PathBuf),
    /// A file does not stay in the system's cache.
    #[error(
        "the system does not keep `{}` in its cache, which has less room: choose a smaller size, or measure cold reads",
        printable_path(.0)
    )]
    NotCached(PathBuf),
    /// Only Linux says what is in its cache.
    #[error(
        "on this system nobody can say whether a file is in the cache, so cold reads cannot be measured: measure warm ones"
    )]
    NoCold,
    /// A restore brought other bytes than the file has.
    #[error(
        "variable `{variable}` has other bytes than the file after `{arm}`: please report this"
    )]
    WrongBytes {
        /// The variable.
        variable: String,
        /// How it was restored.
        arm: &'static str,
    },
    /// A thread that read for a ceiling panicked.
    #[error("a thread that read the file panicked; its message is above")]
    Panicked,
}

impl MeasureError {
    /// Makes an error about a file of what the system said.
    pub(crate) fn file(
        what: &'static str,
        path: &std::path::Path,
    ) -> impl FnOnce(io::Error) -> MeasureError {
        let path = path.to_owned();
        move |source| MeasureError::File { what, path, source }
    }

    /// Makes an error of what the system said.
    pub(crate) fn system(what: &'static str) -> impl FnOnce(io::Error) -> MeasureError {
        move |source| MeasureError::System { what, source }
    }
}
