//! Saving: the variables of a session into one safetensors file, atomically and durably.

use crate::bytes::sums::InOrder;
use crate::entries::{
    CHECKSUMS, FORMAT_VERSION, GRAPH, METRIC, OPTIMIZER, PREFIX, RULES, SEED, STEP, TIME,
    VARIABLES, VERSION,
};
use crate::error::CheckpointError;
use crate::file::OpenFile;
use crate::formats::safetensors::{JsonString, MAX_HEADER, METADATA_KEY, Planned, make_header};
use crate::printable::printable;
use crate::read::checksums;
use crate::restore::rules::Rule;
use crate::save::atomic;
use crate::save::storage::{Disk, Storage};
use crate::tensor::value_bytes;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::SystemTime;
use warmstart_gpu::{Origin, Session, SessionError, Snapshot};
use warmstart_graph::{Glob, GraphDef, Variable};

/// What is saved beside the variables.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SaveOptions {
    step: Option<u64>,
    seed: Option<u64>,
    graph: Option<String>,
    optimizer: Option<String>,
    rules: Option<String>,
    time: Option<SystemTime>,
    metrics: BTreeMap<String, f64>,
    extra: BTreeMap<String, String>,
    only: Vec<String>,
}

impl SaveOptions {
    /// Nothing but the variables.
    pub fn new() -> SaveOptions {
        SaveOptions::default()
    }

    /// The training step. A [`Saver`](crate::Saver) sets it by itself.
    pub fn step(mut self, step: u64) -> SaveOptions {
        self.step = Some(step);
        self
    }

    /// The seed of the run. If not said, it is that of the session's last initialization that gave a
    /// variable its value, which a session that was restored has none of.
    pub fn seed(mut self, seed: u64) -> SaveOptions {
        self.seed = Some(seed);
        self
    }

    /// The graph, which [`Checkpoint::graph`](crate::Checkpoint::graph) gives back.
    pub fn graph(mut self, graph: &GraphDef) -> SaveOptions {
        let text = serde_json::to_string(graph);
        self.graph = Some(text.expect("a graph is plain data with string keys, as JSON wants it"));
        self
    }

    /// The optimizer's settings, as text that their reader understands (JSON).
    pub fn optimizer(mut self, optimizer: impl Into<String>) -> SaveOptions {
        self.optimizer = Some(optimizer.into());
        self
    }

    /// The rules of restoring that were followed, or would have been, when these values came from a
    /// checkpoint of others. Whoever goes on from this one then knows not to follow them again.
    pub fn rules(mut self, rules: &[Rule]) -> SaveOptions {
        let lines: Vec<String> = rules.iter().map(Rule::to_string).collect();
        self.rules = (!lines.is_empty()).then(|| lines.join("\n"));
        self
    }

    /// Saves only variables whose names match, such as those of the encoder that other models are to
    /// begin with: `only("encoder/**")`, a [glob](crate::Glob). Said several times, what matches any of
    /// them. The others need not have a value. A graph that is saved as well still speaks of all.
    ///
    /// It is meant for [`save`]. A [`Saver`](crate::Saver) takes what it saved last for its newest
    /// checkpoint, from which a run that asks for all variables cannot go on.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let file = directory.path().join("encoder.safetensors");
    /// use warmstart_checkpoint::{Checkpoint, SaveOptions, save};
    /// use warmstart_gpu::{Gpu, Session};
    /// use warmstart_graph::{DType, Graph};
    ///
    /// let graph = Graph::new();
    /// let x = graph.placeholder("x", [1, 4], DType::F32);
    /// let code = graph.scope("encoder").linear(x, 2);
    /// let logits = graph.scope("head").linear(code, 3);
    /// let mut session = Session::new(&Gpu::new()?);
    /// session.compile(&graph, &[logits], &[])?;
    /// session.initialize_missing(7)?;
    /// save(&session, &file, &SaveOptions::new().only("encoder/**"))?;
    /// let names = Checkpoint::open(&file)?;
    /// let names: Vec<&str> = names.tensors().iter().map(|tensor| tensor.name.as_str()).collect();
    /// assert_eq!(names, ["encoder/bias", "encoder/weight"]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn only(mut self, glob: impl Into<String>) -> SaveOptions {
        self.only.push(glob.into());
        self
    }

    /// When the values were what they are. A [`Saver`](crate::Saver) sets it by itself, unless it
    /// is set here; [`save`] does not, so that it writes the same bytes for the same session.
    pub fn time(mut self, time: SystemTime) -> SaveOptions {
        self.time = Some(time);
        self
    }

    /// The value of a metric at this step, such as the accuracy on data that was not trained on.
    /// [`Saver::keep_best`](crate::Saver::keep_best) goes by it.
    pub fn metric(mut self, name: impl Into<String>, value: f64) -> SaveOptions {
        self.metrics.insert(name.into(), value);
        self
    }

    /// The time, unless one is set already.
    pub(crate) fn time_if_unset(mut self, time: SystemTime) -> SaveOptions {
        self.time.get_or_insert(time);
        self
    }

    /// An entry of the user's own; keys that begin with `warmstart.` are refused when saving.
    pub fn extra(mut self, key: impl Into<String>, value: impl Into<String>) -> SaveOptions {
        self.extra.insert(key.into(), value.into());
        self
    }
}

/// Saves the variables of a session in a file, all of them or [those that are asked
/// for](SaveOptions::only). When it returns, the file is whole and durable; if
/// it fails, or the process is killed, a file that had the name is as it was.
///
/// Its bytes are synced wherever it lies. Its name is synced with the directory, which some network file
/// systems, FUSE and FAT cannot do, and NTFS does by itself: there it is as durable as they make names, so
/// that the machine, if it stops right after, may come up with the file of before.
///
/// A checkpoint that has the name is replaced. A file that is no checkpoint (neither named
/// `*.safetensors` nor one by its content) is not. A name that ends as those of another format do,
/// such as `model.pt`, is refused, as no program would read what is written there.
///
/// Values are written as they are, NaN and infinities too: [`Session::non_finite`] says beforehand which
/// variables hold any.
///
/// # Errors
/// [`CheckpointError::OtherFormat`] for such a name, [`CheckpointError::SaveGlob`] or
/// [`CheckpointError::NothingChosen`] if [`SaveOptions::only`] cannot be followed,
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
    let mut contents = Contents::of(session, file, options)?;
    write(&Disk, &mut { session }, file, &mut contents)
}

/// Where the bytes of variables come from: the session itself, or a snapshot of it.
pub(crate) trait Values {
    /// As [`Session::snapshot_read`].
    fn read(
        &mut self,
        names: &[&str],
        sink: &mut dyn FnMut(&str, &[u8]) -> io::Result<()>,
    ) -> Result<(), Box<SessionError>>;
}

impl Values for &Session {
    fn read(
        &mut self,
        names: &[&str],
        sink: &mut dyn FnMut(&str, &[u8]) -> io::Result<()>,
    ) -> Result<(), Box<SessionError>> {
        Ok(self.snapshot_read(names, sink)?)
    }
}

impl Values for Snapshot {
    fn read(
        &mut self,
        names: &[&str],
        sink: &mut dyn FnMut(&str, &[u8]) -> io::Result<()>,
    ) -> Result<(), Box<SessionError>> {
        Ok(Snapshot::read(self, names, sink)?)
    }
}

/// The first bytes of a checkpoint, and what follows them.
pub(crate) struct Contents {
    header: Vec<u8>,
    /// The variables in the order of the file, with their bytes.
    variables: Vec<(String, u64)>,
}

impl Contents {
    /// Everything that can be refused is refused here, before the disk is touched.
    pub fn of(
        session: &Session,
        file: &Path,
        options: &SaveOptions,
    ) -> Result<Contents, CheckpointError> {
        refuse_other_format(file)?;
        let table = session.variables();
        if table.is_empty() {
            return Err(CheckpointError::NothingToSave { file: file.to_owned() });
        }
        let globs = globs(options, file)?;
        let is_idle = |glob: &&Glob| !table.iter().any(|info| glob.is_match(info.name()));
        let idle: Vec<String> =
            globs.iter().filter(is_idle).map(|glob| glob.as_str().to_owned()).collect();
        if !idle.is_empty() {
            return Err(CheckpointError::NothingChosen { file: file.to_owned(), globs: idle });
        }
        let chosen = |name: &str| globs.is_empty() || globs.iter().any(|glob| glob.is_match(name));
        let variables: Vec<(String, Origin)> = session
            .uninitialized()
            .iter()
            .filter(|info| chosen(info.name()))
            .map(|info| (info.name().to_owned(), info.origin.clone()))
            .collect();
        if !variables.is_empty() {
            return Err(CheckpointError::Uninitialized { file: file.to_owned(), variables });
        }
        let variables = table.iter().map(|info| &*info.variable);
        let variables: Vec<&Variable> = variables.filter(|v| chosen(&v.name)).collect();
        contents(&variables, options.seed.or(session.seed()), file, options)
    }
}

/// What the names of variables that are to be saved match, if not all are.
fn globs(options: &SaveOptions, file: &Path) -> Result<Vec<Glob>, CheckpointError> {
    let glob = |text: &String| {
        Glob::new(text).map_err(|problem| {
            let (file, glob) = (file.to_owned(), text.clone());
            CheckpointError::SaveGlob { file, glob, problem }
        })
    };
    options.only.iter().map(glob).collect()
}

/// Refuses a name by whose end programs expect something else than safetensors.
pub(crate) fn refuse_other_format(file: &Path) -> Result<(), CheckpointError> {
    const OTHERS: [&str; 16] = [
        "bin", "ckpt", "gguf", "h5", "hdf5", "index", "keras", "msgpack", "npy", "npz", "onnx",
        "pb", "pkl", "pt", "pth", "tflite",
    ];
    let extension = file.extension().and_then(|extension| extension.to_str());
    match extension.filter(|of| OTHERS.contains(&of.to_ascii_lowercase().as_str())) {
        Some(extension) => {
            let (file, extension) = (file.to_owned(), extension.to_owned());
            Err(CheckpointError::OtherFormat { file, extension })
        }
        None => Ok(()),
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
    // Of an empty one, extents may be larger than any reader counts.
    let countless = |v: &&&Variable| value_bytes(v.dtype.into(), &v.shape) != Ok(v.bytes());
    if let Some(variable) = variables.iter().find(countless) {
        let (name, shape) = (printable(&variable.name), &variable.shape);
        let problem = format!("readers cannot count the elements of variable `{name}` {shape}");
        return Err(CheckpointError::Header { file: file.to_owned(), problem });
    }
    let unwritable = |error| header_error(file, error);
    let metadata = metadata(variables, seed, options).map_err(unwritable)?;
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

/// What rides beside the tensors, as it stands in a header.
fn metadata(
    variables: &[&Variable],
    seed: Option<u64>,
    options: &SaveOptions,
) -> Result<BTreeMap<String, JsonString>, serde_json::Error> {
    let mut metadata = BTreeMap::new();
    let mut put = |key: &str, text: Option<&str>| -> Result<(), serde_json::Error> {
        if let Some(text) = text {
            metadata.insert(key.to_owned(), JsonString::of(text)?);
        }
        Ok(())
    };
    options.extra.iter().try_for_each(|(key, text)| put(key, Some(text)))?;
    put(VERSION, Some(&FORMAT_VERSION.to_string()))?;
    put(STEP, options.step.map(|step| step.to_string()).as_deref())?;
    put(SEED, seed.map(|seed| seed.to_string()).as_deref())?;
    let since_1970 = options.time.and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
    let milliseconds = since_1970.and_then(|since| u64::try_from(since.as_millis()).ok());
    put(TIME, milliseconds.map(|time| time.to_string()).as_deref())?;
    for (name, value) in &options.metrics {
        put(&format!("{METRIC}{name}"), Some(&format!("{value:?}")))?;
    }
    put(GRAPH, options.graph.as_deref())?;
    put(OPTIMIZER, options.optimizer.as_deref())?;
    put(RULES, options.rules.as_deref())?;
    let names = variables.iter().map(|variable| (variable.name.as_str(), 0));
    metadata.insert(CHECKSUMS.to_owned(), checksums::entry(names)?);
    metadata.insert(VARIABLES.to_owned(), JsonString::holding(&variables)?);
    Ok(metadata)
}

pub(crate) fn header_error(file: &Path, error: serde_json::Error) -> CheckpointError {
    CheckpointError::Header { file: file.to_owned(), problem: error.to_string() }
}

pub(crate) fn write(
    storage: &dyn Storage,
    values: &mut dyn Values,
    file: &Path,
    contents: &mut Contents,
) -> Result<(), CheckpointError> {
    let Contents { header, variables } = contents;
    atomic::write(storage, file, &replaceable, &mut |sink| {
        sink(header)?;
        let names: Vec<&str> = variables.iter().map(|(name, _)| name.as_str()).collect();
        let sums = variables.iter().map(|(_, bytes)| InOrder::new(*bytes));
        let mut sums: Vec<InOrder> = sums.collect();
        let mut refused = None;
        let mut at = 0;
        let streamed = values.read(&names, &mut |name, piece| {
            // They come in this order, each in one piece or more.
            while names.get(at).is_some_and(|own| *own != name) {
                at += 1;
            }
            // In parts that are still in the cache when they are written.
            piece.chunks(atomic::BUFFER).try_for_each(|part| {
                let Some(sum) = sums.get_mut(at) else {
                    return Err(io::Error::other("values came in another order than asked for"));
                };
                sum.append(part);
                sink(part).map_err(|error| {
                    let told = io::Error::other(error.to_string());
                    refused = Some(error);
                    told
                })
            })
        });
        // The session's error knows the variable; ours knows the file and what to do about it.
        match (refused, streamed) {
            (Some(error), _) => Err(error),
            (None, Err(error)) => Err(CheckpointError::session(file, *error)),
            (None, Ok(())) => {
                let sums = sums.iter().map(InOrder::value);
                let changed = checksums::fill_in(header, names.iter().copied().zip(sums))
                    .map_err(|error| header_error(file, error))?;
                // The rest of it stays.
                Ok(header[..changed].to_vec())
            }
        }
    })
}

/// Whether a save may take the name of an existing file.
pub(crate) fn replaceable(file: &Path) -> Result<(), CheckpointError> {
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
#[path = "write_tests.rs"]
mod tests;
