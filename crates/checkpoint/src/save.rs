//! Saving: all variables of a session into one safetensors file, atomically and durably.

use crate::atomic;
use crate::directory::{self, Latest, step_file_name, step_of};
use crate::error::CheckpointError;
use crate::file::OpenFile;
use crate::metadata::{FORMAT_VERSION, GRAPH, OPTIMIZER, PREFIX, SEED, STEP, VARIABLES, VERSION};
use crate::safetensors::{MAX_HEADER, METADATA_KEY, Planned, make_header};
use crate::storage::{Disk, Storage};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use warmstart_gpu::{Origin, Session};
use warmstart_graph::Variable;

/// What is saved beside the variables. All of it is text that comes back as it was given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SaveOptions {
    step: Option<u64>,
    graph: Option<String>,
    optimizer: Option<String>,
    extra: BTreeMap<String, String>,
}

impl SaveOptions {
    /// Nothing but the variables.
    pub fn new() -> SaveOptions {
        SaveOptions::default()
    }

    /// The training step. A [`Saver`] sets it by itself.
    pub fn step(mut self, step: u64) -> SaveOptions {
        self.step = Some(step);
        self
    }

    /// The graph, as text that its reader understands (JSON).
    pub fn graph(mut self, graph: impl Into<String>) -> SaveOptions {
        self.graph = Some(graph.into());
        self
    }

    /// The optimizer's settings, as text that their reader understands (JSON).
    pub fn optimizer(mut self, optimizer: impl Into<String>) -> SaveOptions {
        self.optimizer = Some(optimizer.into());
        self
    }

    /// An entry of the user's own; keys that begin with `warmstart.` are refused when saving.
    pub fn extra(mut self, key: impl Into<String>, value: impl Into<String>) -> SaveOptions {
        self.extra.insert(key.into(), value.into());
        self
    }
}

/// Saves all variables of a session in a file. When it returns, the file is whole and durable; if
/// it fails, or the process is killed, a file that had the name is as it was.
///
/// A checkpoint that has the name is replaced. A file that is no checkpoint (neither named
/// `*.safetensors` nor one by its content) is not.
///
/// # Errors
/// [`CheckpointError::Uninitialized`] with all variables that have no value, or
/// [`CheckpointError::NothingToSave`], [`CheckpointError::ReservedName`],
/// [`CheckpointError::ReservedKey`], [`CheckpointError::HeaderTooLarge`],
/// [`CheckpointError::WouldReplace`] before the disk is touched; [`CheckpointError::Storage`],
/// [`CheckpointError::Session`]; [`CheckpointError::NotDurable`] if only the last sync failed.
pub fn save(
    session: &Session,
    file: impl AsRef<Path>,
    options: &SaveOptions,
) -> Result<(), CheckpointError> {
    let file = file.as_ref();
    let header = Contents::of(session, file, options)?;
    write(&Disk, session, file, &header)
}

/// Saves a run's checkpoints as `step-<n>.safetensors` in one directory and keeps the newest.
///
/// Saving a step that exists replaces it: a run that was taken up at an older step passes the same
/// steps again, and what it computes now is what it must find later.
#[derive(Clone, Debug)]
pub struct Saver {
    directory: PathBuf,
    keep: Option<NonZeroUsize>,
}

impl Saver {
    /// A saver that keeps every checkpoint. The directory is created by the first save.
    pub fn new(directory: impl Into<PathBuf>) -> Saver {
        Saver { directory: directory.into(), keep: None }
    }

    /// Keep only the newest `keep` checkpoints, by step; 0 keeps all. The file just written and
    /// those that the session's variables were restored from stay in any case.
    pub fn keep(mut self, keep: usize) -> Saver {
        self.keep = NonZeroUsize::new(keep);
        self
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The newest whole checkpoint. `None` also if the directory does not exist yet.
    ///
    /// # Errors
    /// As [`crate::latest`], but for the directory that does not exist.
    pub fn latest(&self) -> Result<Option<Latest>, CheckpointError> {
        match directory::latest(&self.directory) {
            Err(CheckpointError::NoDirectory { .. }) => Ok(None),
            result => result,
        }
    }

    /// Saves all variables as the checkpoint of a step, then removes older checkpoints as
    /// [`Saver::keep`] says. Returns the file.
    ///
    /// # Errors
    /// As [`save`]. A failure to remove an older checkpoint is a [`CheckpointError::Storage`] that
    /// names it; the new one is then saved nevertheless.
    pub fn save(
        &self,
        session: &Session,
        step: u64,
        options: &SaveOptions,
    ) -> Result<PathBuf, CheckpointError> {
        let file = self.directory.join(step_file_name(step));
        let header = Contents::of(session, &file, &options.clone().step(step))?;
        atomic::create_directories(&Disk, &self.directory)?;
        atomic::remove_leftovers(&Disk, &self.directory, |target| step_of(target).is_some());
        write(&Disk, session, &file, &header)?;
        if let Some(keep) = self.keep {
            let origins: Vec<PathBuf> = session
                .variables()
                .iter()
                .filter_map(|info| restored_from(&info.origin))
                .map(Path::to_owned)
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect();
            let mut protect: Vec<&Path> = origins.iter().map(PathBuf::as_path).collect();
            protect.push(&file);
            directory::retain_on(&Disk, &self.directory, keep, &protect)?;
        }
        Ok(file)
    }
}

/// The file that a value came from, if it came from one.
fn restored_from(origin: &Origin) -> Option<&Path> {
    match origin {
        Origin::Restored { file, .. } | Origin::PartlyRestored { file, .. } => Some(file),
        Origin::Trained { from } => restored_from(from),
        _ => None,
    }
}

/// The first bytes of a checkpoint, and what follows them.
struct Contents {
    header: Vec<u8>,
    /// The variables in the order of the file, with their bytes.
    variables: Vec<(String, u64)>,
}

impl Contents {
    /// Everything that can be refused is refused here, before the disk is touched.
    fn of(
        session: &Session,
        file: &Path,
        options: &SaveOptions,
    ) -> Result<Contents, CheckpointError> {
        let table = session.variables();
        if table.is_empty() {
            return Err(CheckpointError::NothingToSave { file: file.to_owned() });
        }
        let variables: Vec<(String, Origin)> = session
            .uninitialized()
            .iter()
            .map(|info| (info.name().to_owned(), info.origin.clone()))
            .collect();
        if !variables.is_empty() {
            return Err(CheckpointError::Uninitialized { file: file.to_owned(), variables });
        }
        let variables: Vec<&Variable> = table.iter().map(|info| &info.variable).collect();
        contents(&variables, session.seed(), file, options)
    }
}

fn contents(
    variables: &[&Variable],
    seed: Option<u64>,
    file: &Path,
    options: &SaveOptions,
) -> Result<Contents, CheckpointError> {
    if variables.iter().any(|variable| variable.name == METADATA_KEY) {
        let (file, name) = (file.to_owned(), METADATA_KEY.to_owned());
        return Err(CheckpointError::ReservedName { file, name });
    }
    if let Some(key) = options.extra.keys().find(|key| key.starts_with(PREFIX)) {
        return Err(CheckpointError::ReservedKey { file: file.to_owned(), key: key.clone() });
    }
    let unwritable = |error: serde_json::Error| CheckpointError::Header {
        file: file.to_owned(),
        problem: error.to_string(),
    };
    let mut metadata = options.extra.clone();
    let mut put = |key: &str, value: Option<String>| {
        metadata.extend(value.map(|value| (key.to_owned(), value)));
    };
    put(VERSION, Some(FORMAT_VERSION.to_string()));
    put(STEP, options.step.map(|step| step.to_string()));
    put(SEED, seed.map(|seed| seed.to_string()));
    put(GRAPH, options.graph.clone());
    put(OPTIMIZER, options.optimizer.clone());
    put(VARIABLES, Some(serde_json::to_string(variables).map_err(unwritable)?));
    let mut tensors: Vec<Planned<'_>> = variables
        .iter()
        .map(|variable| Planned {
            name: &variable.name,
            dtype: variable.dtype.into(),
            shape: &variable.shape,
            bytes: variable.bytes(),
        })
        .collect();
    let header = make_header(&mut tensors, &metadata).map_err(unwritable)?;
    let length = header.len() as u64;
    if length > MAX_HEADER {
        return Err(CheckpointError::HeaderTooLarge { file: file.to_owned(), length });
    }
    let variables = tensors.iter().map(|tensor| (tensor.name.to_owned(), tensor.bytes)).collect();
    Ok(Contents { header, variables })
}

fn write(
    storage: &dyn Storage,
    session: &Session,
    file: &Path,
    contents: &Contents,
) -> Result<(), CheckpointError> {
    atomic::write(storage, file, &replaceable, &mut |sink| {
        sink(&contents.header)?;
        let names: Vec<&str> = contents.variables.iter().map(|(name, _)| name.as_str()).collect();
        let mut refused = None;
        let streamed = session.snapshot_read(&names, &mut |_, piece| {
            sink(piece).map_err(|error| {
                let told = io::Error::other(error.to_string());
                refused = Some(error);
                told
            })
        });
        // The session's error knows the variable; ours knows the file and what to do about it.
        match (refused, streamed) {
            (Some(error), _) => Err(error),
            (None, Err(error)) => Err(CheckpointError::session(file, error)),
            (None, Ok(())) => Ok(()),
        }
    })
}

/// Whether a save may take the name of an existing file.
fn replaceable(file: &Path) -> Result<(), CheckpointError> {
    if file.is_dir() {
        return Err(CheckpointError::IsADirectory { path: file.to_owned() });
    }
    // By its name too: a damaged checkpoint must not stand in the way of a good one.
    if file.extension().is_some_and(|extension| extension == "safetensors")
        || OpenFile::open(file).is_ok()
    {
        return Ok(());
    }
    Err(CheckpointError::WouldReplace { file: file.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faulty::{Fault, Faulty};
    use std::fs;
    use warmstart_gpu::Gpu;
    use warmstart_graph::{DType, Initializer, Location, Role, Shape};

    fn variable(name: &str) -> Variable {
        Variable {
            name: name.into(),
            shape: Shape::from([3]),
            dtype: DType::F32,
            initializer: Initializer::Ones,
            role: Role::Trainable,
            location: Location::caller(),
        }
    }

    #[test]
    fn whatever_fails_while_streaming_from_the_device_the_old_checkpoint_opens() {
        let mut session = Session::new(&Gpu::new().unwrap());
        session.declare(&[variable("a"), variable("b")]).unwrap();
        session.initialize_missing(1).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("model.safetensors");
        save(&session, &file, &SaveOptions::new().step(1)).unwrap();
        let contents = Contents::of(&session, &file, &SaveOptions::new().step(2)).unwrap();
        for operation in 0.. {
            let storage = Faulty::at(operation, Fault::Error(io::ErrorKind::StorageFull));
            let result = write(&storage, &session, &file, &contents);
            let step = OpenFile::open(&file).unwrap().metadata.step();
            assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "{operation}");
            match result {
                Ok(()) if !storage.struck() => {
                    assert!(operation >= 5, "only {operation} operations were tried");
                    assert_eq!(step, Some(2));
                    break;
                }
                // Looking for leftovers may fail without harm.
                Ok(()) | Err(CheckpointError::NotDurable { .. }) => {
                    assert_eq!(step, Some(2));
                    save(&session, &file, &SaveOptions::new().step(1)).unwrap();
                }
                Err(error) => {
                    let message = error.to_string();
                    assert!(matches!(error, CheckpointError::Storage { .. }), "{message}");
                    assert!(message.contains("model.safetensors"), "{message}");
                    assert!(message.contains("Free space there"), "{message}");
                    assert_eq!(step, Some(1));
                }
            }
        }
    }

    #[test]
    fn what_cannot_be_saved_is_refused_by_name() {
        let file = Path::new("model.safetensors");
        let refusal = |variable: &Variable, options: SaveOptions| {
            contents(&[variable], None, file, &options).err().unwrap().to_string()
        };
        let message = refusal(&variable(METADATA_KEY), SaveOptions::new());
        assert!(message.contains("`__metadata__` is reserved"), "{message}");
        assert!(message.contains("model.safetensors") && message.contains("another name"));
        let options = SaveOptions::new().extra("warmstart.step", "7");
        let message = refusal(&variable("a"), options);
        assert!(message.contains("`warmstart.step` does") && message.contains("another key"));
        let options = SaveOptions::new().graph("g".repeat(MAX_HEADER as usize));
        let message = refusal(&variable("a"), options);
        assert!(message.contains("the format allows 100000000"), "{message}");
        assert!(message.contains("without the graph"), "{message}");
    }
}
