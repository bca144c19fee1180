//! Opening a checkpoint.

use crate::bytes::sums::Checksum;
use crate::directory::{open_latest, open_latest_verified};
use crate::entries::GRAPH;
use crate::error::{CheckpointError, Damaged};
use crate::file::OpenFile;
use crate::format::Format;
use crate::metadata::Metadata;
use crate::open::{maybe_checkpoints, open, open_in};
use crate::read::number::number;
use crate::read::verify::{Verification, verify};
use crate::restore::options::RestoreOptions;
use crate::restore::plan::RestorePlan;
use crate::restore::slots::roles_by_name;
use crate::steps::older_than;
use crate::tensor::TensorEntry;
use std::io;
use std::path::Path;
use std::sync::Arc;
use warmstart_gpu::Session;
use warmstart_graph::{GLOBAL_STEP, Graph, Initializer, Role, Variable};

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
    /// What a file is, its content decides: safetensors, the index of a checkpoint in several
    /// safetensors files, what PyTorch, NumPy or llama.cpp write, or one of the files of a
    /// TensorFlow checkpoint, which its prefix means too. A directory may hold the checkpoints of a
    /// run, `model.safetensors`, one such index, or TensorFlow's checkpoints. Of those the newest is
    /// meant that can be opened: the one that the file `checkpoint` names first, then by the numbers
    /// that their names end with.
    ///
    /// The tensors of a PyTorch file have their keys, joined by dots, as names, such as
    /// `model.fc1.weight`; nothing in the file is executed.
    ///
    /// Tensors that TensorFlow saved by objects (`tf.train.Checkpoint`, Keras) have the names of
    /// their variables, such as `fc1/kernel`; [`Checkpoint::tensor`] finds them by their keys too.
    ///
    /// # Errors
    /// [`CheckpointError::NotFound`], [`CheckpointError::Malformed`], [`CheckpointError::Metadata`],
    /// [`CheckpointError::HeaderChecksum`], [`CheckpointError::NewerVersion`],
    /// [`CheckpointError::OlderVersion`],
    /// [`CheckpointError::Storage`]; for a directory also [`CheckpointError::NoCheckpoint`],
    /// [`CheckpointError::Several`] and [`CheckpointError::AllDamaged`].
    pub fn open(path: impl AsRef<Path>) -> Result<Checkpoint, CheckpointError> {
        let path = path.as_ref();
        if !path.is_dir() {
            let (file, damaged) = open(path).map_err(naming_older)?;
            return Ok(Checkpoint::found(file, damaged));
        }
        if let Some((file, _, damaged)) = open_latest(path)? {
            return Ok(Checkpoint::found(file, damaged));
        }
        const SHOWN: usize = 3;
        let nothing = || CheckpointError::NoCheckpoint {
            directory: path.to_owned(),
            files: maybe_checkpoints(path).into_iter().take(SHOWN).collect(),
        };
        let (file, damaged) = open_in(path)?.ok_or_else(nothing)?;
        Ok(Checkpoint::found(file, damaged))
    }

    /// As [`Checkpoint::open`], but of the checkpoints of a run the newest whose weights are as they
    /// were saved, too: they are read, and held against their checksums, for whoever uses all of them
    /// anyway and would otherwise end with damage although an older one is whole. A file, and what
    /// else a directory may hold, is opened without being read.
    ///
    /// # Errors
    /// As [`Checkpoint::open`] and [`latest_verified`](crate::latest_verified).
    pub fn open_verified(path: impl AsRef<Path>) -> Result<Checkpoint, CheckpointError> {
        let path = path.as_ref();
        if path.is_dir()
            && let Some((file, _, damaged)) = open_latest_verified(path)?
        {
            return Ok(Checkpoint::found(file, damaged));
        }
        Checkpoint::open(path)
    }

    /// What a search has come to, past these damaged ones.
    pub(crate) fn found(file: OpenFile, damaged: Vec<Damaged>) -> Checkpoint {
        Checkpoint { file: Arc::new(file), damaged }
    }

    /// [`Checkpoint::damaged`], without the checkpoint.
    pub fn into_damaged(self) -> Vec<Damaged> {
        self.damaged
    }

    /// The file that it was opened by. Of a checkpoint in several files it is the one that names
    /// the others.
    pub fn file(&self) -> &Path {
        &self.file.path
    }

    /// The format that it was read as.
    pub fn format(&self) -> Format {
        self.file.format
    }

    /// The files that hold the tensors.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        // Compressed entries of an archive stand one after the other, each as a file.
        let mut before = None;
        let paths = self.file.files.iter().map(|file| file.path.as_path());
        paths.filter(move |path| before.replace(*path) != Some(path))
    }

    /// The file that holds a tensor's first byte.
    pub fn file_of(&self, tensor: &TensorEntry) -> &Path {
        self.file.file_of(tensor)
    }

    /// Reads a part of a tensor's value, which begins `at` bytes after its first: little-endian and
    /// row-major, in the dtype of the file. Checksums are those of whole tensors, so they are not
    /// compared here; [`Checkpoint::reader`], which reads a tensor from its first byte to its last,
    /// compares, and so does [`Checkpoint::verify`]. Nor is it looked whether the file was written to since
    /// it was opened.
    ///
    /// # Errors
    /// [`CheckpointError::Read`], [`CheckpointError::CutShort`], [`CheckpointError::Inflate`].
    pub fn read(
        &self,
        tensor: &TensorEntry,
        at: u64,
        into: &mut [u8],
    ) -> Result<(), CheckpointError> {
        let end = at.checked_add(into.len() as u64);
        if end.is_none_or(|end| end > tensor.bytes()) {
            let file = self.file.file_of(tensor).to_owned();
            let problem = format!(
                "{} bytes from byte {at} were asked for, and it has {}",
                into.len(),
                tensor.bytes()
            );
            let source = io::Error::new(io::ErrorKind::InvalidInput, problem);
            let (tensor, offset) = (tensor.name.to_string(), tensor.range.start);
            return Err(CheckpointError::Read { file, tensor, offset, source });
        }
        self.file.read_tensor(tensor, tensor.range.start + at, into)
    }

    /// The tensors, in the order of their bytes in the file.
    pub fn tensors(&self) -> &[TensorEntry] {
        &self.file.tensors
    }

    /// A tensor by its name.
    pub fn tensor(&self, name: &str) -> Option<&TensorEntry> {
        self.file.tensor(name)
    }

    /// The checksum that a tensor had when it was saved, if the file says it.
    pub fn checksum(&self, name: &str) -> Option<Checksum> {
        self.file.tensor(name)?.checksum
    }

    /// The whole number that a tensor is, if there is one of this name that is one number, whole and not
    /// below zero, and can be read. It is not held against its checksum, as a restore of it is.
    #[doc(hidden)]
    pub fn number(&self, tensor: &str) -> Option<u64> {
        number(&self.file, self.tensor(tensor)?, true).ok().flatten()
    }

    /// What rides beside the weights.
    pub fn metadata(&self) -> &Metadata {
        &self.file.metadata
    }

    /// The step at which it was saved, if it says so.
    pub fn step(&self) -> Option<u64> {
        self.file.metadata.step()
    }

    /// The variables whose values it holds. A checkpoint of another program declares none: its tensors
    /// are taken for them, as far as variables can have their dtypes. What belongs to an optimizer is
    /// told by its name there, each program's way; whole numbers and a `global_step` are state, and the
    /// rest is taken for trained. Initializers are zeros.
    ///
    /// # Errors
    /// [`CheckpointError::Metadata`] if what it says about its variables is malformed.
    ///
    /// ```
    /// # use warmstart_checkpoint::Checkpoint;
    /// # use warmstart_graph::Role;
    /// # let directory = tempfile::tempdir()?;
    /// # let file = directory.path().join("model.safetensors");
    /// # let header = r#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"w/Adam":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#;
    /// # std::fs::write(&file, [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &[0; 8]].concat())?;
    /// let variables = Checkpoint::open(&file)?.variables()?;
    /// assert_eq!(variables[0].role, Role::Trainable);
    /// assert!(matches!(&variables[1].role, Role::Slot { slot, .. } if slot == "m"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn variables(&self) -> Result<Vec<Variable>, CheckpointError> {
        if let Some(variables) = self.metadata().variables()? {
            return Ok(variables);
        }
        let tensors = self.tensors();
        let roles = roles_by_name(tensors.iter().map(|t| (t.name.as_str(), &t.shape)));
        let variable = |(tensor, role): (&TensorEntry, Option<Role>)| {
            let dtype = tensor.dtype.variable()?;
            let counts = !dtype.is_float() || tensor.name == GLOBAL_STEP;
            let role = role.unwrap_or(if counts { Role::State } else { Role::Trainable });
            let shape = tensor.shape.clone();
            Some(Variable::new(tensor.name.as_str(), shape, dtype, Initializer::Zeros, role))
        };
        Ok(tensors.iter().zip(roles).filter_map(variable).collect())
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

    /// Matches the checkpoint with all variables of a session. No weight is read, and nothing is changed.
    /// (Where only a part of what an optimizer has accumulated would be restored, the number of its
    /// batches is read.)
    pub fn plan(&self, session: &Session, options: &RestoreOptions) -> RestorePlan {
        let declared = session.variables().iter().map(|info| info.variable.clone());
        self.plan_of(&declared.collect::<Vec<_>>(), options)
    }

    /// Matches the checkpoint with variables, without a session or a device.
    pub fn plan_for(&self, variables: &[Variable], options: &RestoreOptions) -> RestorePlan {
        let declared = variables.iter().cloned().map(Arc::new);
        self.plan_of(&declared.collect::<Vec<_>>(), options)
    }

    fn plan_of(&self, declared: &[Arc<Variable>], options: &RestoreOptions) -> RestorePlan {
        let damaged = self.damaged.iter().map(Damaged::to_string).collect();
        RestorePlan::new(&self.file, damaged, declared, options)
    }

    /// Reads all tensors and holds them against their checksums. Needs no device, and little
    /// memory, however large the checkpoint is.
    pub fn verify(&self) -> Verification {
        verify(self.open_file())
    }

    pub(crate) fn open_file(&self) -> &OpenFile {
        &self.file
    }
}

/// An error with the checkpoint to use in place of one that was opened by its name and is damaged.
fn naming_older(mut error: CheckpointError) -> CheckpointError {
    if let CheckpointError::HeaderChecksum { file, older, .. } = &mut error {
        *older = older_than(file);
    }
    error
}
