//! Opening a checkpoint.

use crate::directory::open_latest;
use crate::error::{CheckpointError, Damaged};
use crate::file::OpenFile;
use crate::metadata::{GRAPH, Metadata};
use crate::options::RestoreOptions;
use crate::plan::RestorePlan;
use crate::tensor::TensorEntry;
use std::path::Path;
use std::sync::Arc;
use warmstart_gpu::Session;
use warmstart_graph::{Graph, Variable};

/// An open checkpoint. Its header is read and checked; its weights stay in the file until a
/// [`RestorePlan`] moves them.
#[derive(Debug)]
pub struct Checkpoint {
    file: Arc<OpenFile>,
    damaged: Vec<Damaged>,
}

impl Checkpoint {
    /// Opens a file, or the newest whole checkpoint of a directory.
    ///
    /// # Errors
    /// [`CheckpointError::NotFound`], [`CheckpointError::Malformed`], [`CheckpointError::Metadata`],
    /// [`CheckpointError::HeaderChecksum`], [`CheckpointError::NewerVersion`],
    /// [`CheckpointError::Storage`]; for a directory also [`CheckpointError::NoCheckpoint`] and
    /// [`CheckpointError::AllDamaged`].
    pub fn open(path: impl AsRef<Path>) -> Result<Checkpoint, CheckpointError> {
        let path = path.as_ref();
        if !path.is_dir() {
            return Ok(Checkpoint::found(OpenFile::open(path)?, Vec::new()));
        }
        match open_latest(path)? {
            Some((file, _, damaged)) => Ok(Checkpoint::found(file, damaged)),
            None => {
                // TensorFlow's directories are known by their file of this name.
                let state = path.join("checkpoint");
                if state.is_file() {
                    OpenFile::open(&state)?;
                }
                Err(CheckpointError::NoCheckpoint { directory: path.to_owned() })
            }
        }
    }

    /// What a search has come to, past these damaged ones.
    pub(crate) fn found(file: OpenFile, damaged: Vec<Damaged>) -> Checkpoint {
        Checkpoint { file: Arc::new(file), damaged }
    }

    pub(crate) fn into_damaged(self) -> Vec<Damaged> {
        self.damaged
    }

    /// The file.
    pub fn file(&self) -> &Path {
        &self.file.path
    }

    /// The tensors, in the order of their bytes in the file.
    pub fn tensors(&self) -> &[TensorEntry] {
        &self.file.tensors
    }

    /// A tensor by its name.
    pub fn tensor(&self, name: &str) -> Option<&TensorEntry> {
        self.file.tensor(name)
    }

    /// The crc32c that a tensor had when it was saved, if the file says it.
    pub fn checksum(&self, name: &str) -> Option<u32> {
        self.file.checksum(name)
    }

    /// What rides beside the weights.
    pub fn metadata(&self) -> &Metadata {
        &self.file.metadata
    }

    /// The step at which it was saved, if it says so.
    pub fn step(&self) -> Option<u64> {
        self.file.metadata.step()
    }

    /// The graph that was saved with the weights: the model can be compiled and run from the
    /// checkpoint alone. Its named tensors are found by [`Graph::named`].
    ///
    /// # Errors
    /// [`CheckpointError::NoGraph`] if none was saved, [`CheckpointError::Metadata`] if it is
    /// malformed.
    pub fn graph(&self) -> Result<Graph, CheckpointError> {
        let file = || self.file.path.clone();
        let text =
            self.metadata().graph().ok_or_else(|| CheckpointError::NoGraph { file: file() })?;
        let malformed = |error: String| CheckpointError::Metadata {
            file: file(),
            key: GRAPH.to_owned(),
            problem: format!("it does not describe a graph: {error}"),
        };
        let def = serde_json::from_str(text).map_err(|error| malformed(error.to_string()))?;
        Graph::from_def(def).map_err(|error| malformed(error.to_string()))
    }

    /// Newer checkpoints that were passed over because they are damaged, when a directory was
    /// opened; newest first.
    pub fn damaged(&self) -> &[Damaged] {
        &self.damaged
    }

    /// Matches the checkpoint with all variables of a session. Nothing is read or changed.
    pub fn plan(&self, session: &Session, options: &RestoreOptions) -> RestorePlan {
        let variables = session.variables();
        RestorePlan::new(
            &self.file,
            self.damaged_lines(),
            variables.iter().map(|info| &info.variable),
            options,
        )
    }

    /// Matches the checkpoint with variables, without a session or a device.
    pub fn plan_for(&self, variables: &[Variable], options: &RestoreOptions) -> RestorePlan {
        RestorePlan::new(&self.file, self.damaged_lines(), variables.iter(), options)
    }

    pub(crate) fn open_file(&self) -> &OpenFile {
        &self.file
    }

    fn damaged_lines(&self) -> Vec<String> {
        let line = |one: &Damaged| format!("a newer checkpoint was passed over: {}", one.error);
        self.damaged.iter().map(line).collect()
    }
}
