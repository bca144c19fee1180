//! Writing a checkpoint anew as safetensors: under other names, as another dtype, transposed, or
//! only a part; in one file or in several (`shards.rs`).

mod options;
mod replace;
mod shards;
mod strays;

pub use options::{ConvertOptions, Converted, OutOfRange};

use crate::bytes::sums::InOrder;
use crate::checkpoint::Checkpoint;
use crate::entries::{CHECKSUMS, FORMAT_VERSION, GRAPH, OPTIMIZER, RULES, VARIABLES, VERSION};
use crate::error::CheckpointError;
use crate::formats::safetensors::{JsonString, MAX_HEADER, METADATA_KEY, Planned, make_header};
use crate::read::checksums;
use crate::restore::near_globs::near_glob;
use crate::restore::rules::{Rule, RuleUse, apply};
use crate::save::atomic::{self, Prepared};
use crate::save::storage::{Disk, Storage};
use crate::save::write::{header_error, refuse_other_format};
use crate::tensor::{FileDType, FloatDType, TensorEntry, value_bytes};
use replace::{Replacing, index_of, left_behind};
use shards::Shards;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use strays::{Extreme, Strays, extremes, place, value};
use warmstart_gpu::{Conversion, SourceDType};
use warmstart_graph::{DType, Glob, Shape};

/// Elements that are read at once.
const PIECE: usize = 64 << 10;

/// A tensor to be written, and where it comes from.
struct Target<'a> {
    name: String,
    source: &'a TensorEntry,
    /// The dtype its elements are cast to and from, if they are.
    cast: Option<(SourceDType, FloatDType)>,
    /// Whether they may become infinite by that.
    allow_infinite: bool,
    /// The shape it gets by being transposed, if it is.
    transposed: Option<Shape>,
    bytes: u64,
}

impl Target<'_> {
    fn dtype(&self) -> FileDType {
        self.cast.map_or(self.source.dtype, |(_, to)| to.file())
    }

    fn shape(&self) -> &Shape {
        self.transposed.as_ref().unwrap_or(&self.source.shape)
    }

    fn is_changed(&self) -> bool {
        self.cast.is_some() || self.transposed.is_some() || self.name != self.source.name
    }
}

/// A file to be written. All that can be refused without reading values has been, and nothing is written yet.
struct Part<'a> {
    file: PathBuf,
    header: Vec<u8>,
    /// In the order of their bytes.
    targets: Vec<&'a Target<'a>>,
}

/// Metadata that speaks of all tensors.
const DESCRIPTION: [&str; 3] = [GRAPH, OPTIMIZER, VARIABLES];

impl Checkpoint {
    /// Writes the tensors anew as safetensors with checksums, each file as atomically and durably
    /// as [`save`](crate::save). Needs no device, and the memory of a piece of one tensor (of a
    /// matrix that is transposed, 64 MiB at most).
    ///
    /// What rides beside the tensors comes along, but for graph, optimizer and description of the
    /// variables where names, dtypes, shapes or the number of tensors change. Step, time and metrics are
    /// those of the save that the values are from: the same checkpoint gives the same bytes each time.
    ///
    /// Several files ([`ConvertOptions::max_shard_bytes`]) lie beside `file` under names made of its
    /// own, as the Hugging Face Hub has them, with the index `<file>.index.json`. All are written
    /// under temporary names and made durable before the first gets its own: a read or a write that
    /// fails changes nothing. Then they are renamed, the index last: one that is there names files
    /// that are whole. An index that is to be replaced goes before the first of its files does, so
    /// what fails between two of these renames leaves files without one.
    ///
    /// What a folder would be opened by in place of what was written goes after all is written:
    /// `file` itself where several are, unless it is what is being read, which is refused, and the
    /// index of several where one is ([`Converted::removed`]).
    ///
    /// # Errors
    /// [`CheckpointError::Convert`] if two tensors would get one name, if nothing would be written,
    /// or if files would be replaced that are being read, or their index removed though not all of it is
    /// written; [`CheckpointError::ConvertDType`] if
    /// safetensors cannot hold a tensor; [`CheckpointError::ConvertInfinite`] if a number would become
    /// infinite, unless that is allowed; [`CheckpointError::ConvertRule`] if a rule touches nothing, is
    /// malformed, or speaks of variables, of which there are none; [`CheckpointError::Exists`] if
    /// [`ConvertOptions::keep_existing`] asks for it; those of
    /// [`TensorReader::read`](crate::TensorReader::read) and of [`save`](crate::save).
    pub fn convert(
        &self,
        file: impl AsRef<Path>,
        options: &ConvertOptions,
    ) -> Result<Converted, CheckpointError> {
        self.convert_on(&Disk, file.as_ref(), options)
    }

    fn convert_on(
        &self,
        storage: &dyn Storage,
        file: &Path,
        options: &ConvertOptions,
    ) -> Result<Converted, CheckpointError> {
        refuse_other_format(file)?;
        self.open_file().forget_sums();
        let targets = self.targets(file, options)?;
        let mut names: HashMap<&str, usize> = HashMap::new();
        if let Some(twice) = targets.iter().find(|t| names.insert(&t.name, 0).is_some()) {
            let name = &twice.name;
            let problem = format!("two tensors would get the name `{name}`: ignore one of them");
            return Err(refused(file, problem));
        }
        let same = targets.len() == self.tensors().len()
            && targets.iter().all(|target| !target.is_changed());
        let metadata = self.metadata_for(same);
        let shards = Shards::cut(file, &targets, options.max_shard_bytes)?;
        let sources: HashSet<&str> = targets.iter().map(|t| t.source.name.as_str()).collect();
        let left_out = self.tensors().len() - sources.len();
        let strays = RefCell::new(Strays::default());
        let replacing = Replacing { storage, keep_existing: options.keep_existing };
        let (files, index, removed) = match shards {
            Some(shards) => self.write_shards(&replacing, &shards, &metadata, &strays)?,
            None => {
                let part = part(file.to_owned(), targets.iter().collect(), &metadata)?;
                // Other programs have indices of other files: `pytorch_model.bin.index.json`.
                let ours = file.extension().is_some_and(|extension| extension == "safetensors");
                let index = Some(index_of(file)).filter(|_| ours);
                replacing.look(file)?;
                index.iter().try_for_each(|index| replacing.look(index))?;
                if left_out > 0 {
                    // What is not written would be in files that nothing names.
                    index.iter().try_for_each(|index| self.refuse_own(file, index))?;
                }
                // Of several files, one must not be replaced by all.
                if self.files().any(|own| own != self.file()) {
                    self.refuse_own(file, file)?;
                }
                let may_go = |file: &Path| replacing.may_go(file);
                self.prepare_part(storage, &part, &may_go, &strays)?.publish(&may_go)?;
                // A folder may be opened by this one, which is no longer meant.
                let removed = match index {
                    Some(index) => replacing.remove_if_there(index)?,
                    None => Vec::new(),
                };
                (vec![part.file], None, removed)
            }
        };
        let left_behind = left_behind(storage, file, &files);
        let Strays { overflows, underflows } = strays.into_inner();
        let elements = |found: &[OutOfRange]| found.iter().map(|one| one.elements).sum();
        let described = DESCRIPTION.iter().any(|key| self.metadata().get(key).is_some());
        let count = |which: fn(&Target<'_>) -> bool| targets.iter().filter(|t| which(t)).count();
        Ok(Converted {
            files,
            index,
            left_behind,
            removed,
            tensors: targets.len(),
            bytes: targets.iter().map(|target| target.bytes).sum(),
            cast: count(|target| target.cast.is_some()),
            overflowed: elements(&overflows),
            overflows,
            underflowed: elements(&underflows),
            underflows,
            transposed: count(|target| target.transposed.is_some()),
            left_out,
            description_left_out: described && !same,
        })
    }

    /// What would be written.
    fn targets(
        &self,
        file: &Path,
        options: &ConvertOptions,
    ) -> Result<Vec<Target<'_>>, CheckpointError> {
        let wrong = |rule: &Rule, problem: &str| CheckpointError::ConvertRule {
            file: file.to_owned(),
            rule: rule.clone(),
            problem: problem.to_owned(),
        };
        let (mut rules, mut transposes) = (Vec::new(), Vec::new());
        for rule in &options.rules {
            match rule {
                Rule::Transpose(glob) => {
                    let glob = Glob::new(glob)
                        .map_err(|problem| wrong(rule, &format!("cannot be applied: {problem}")))?;
                    transposes.push((rule, glob, 0));
                }
                Rule::Cast(_) => {
                    let problem = "casts to the dtypes of variables, and there are none here: \
                        say the dtype of all floats instead";
                    return Err(wrong(rule, problem));
                }
                rule if rule.is_about_values() => {
                    let problem = "goes by the shapes of variables, and there are none here: \
                        use it when restoring into a model";
                    return Err(wrong(rule, problem));
                }
                rule => rules.push(rule.clone()),
            }
        }
        let names = self.tensors().iter().map(|tensor| tensor.name.as_str());
        let applied = apply(&rules, names, &[]);
        for (at, RuleUse { rule, touched, problem, .. }) in applied.uses.iter().enumerate() {
            if let Some(problem) = problem {
                return Err(wrong(rule, &format!("cannot be applied: {problem}")));
            }
            if *touched == 0 {
                let names: Vec<&str> = self.tensors().iter().map(|t| t.name.as_str()).collect();
                let would_touch = |rule: &Rule, names: &[&str]| {
                    let alone = apply(std::slice::from_ref(rule), names.iter().copied(), &[]);
                    alone.uses.iter().any(|used| used.touched > 0)
                };
                let problem = match RuleUse::near(&applied.uses, at, &names) {
                    Some(Rule::Only(glob) | Rule::Ignore(glob)) => {
                        format!("touches no name: did you mean `{glob}`?")
                    }
                    // The rules before it may have left other names.
                    _ if would_touch(rule, &names) => {
                        "touches no name, since the rules before it rename what it speaks of: put it \
                         before them, or write it for the names that they leave"
                            .to_owned()
                    }
                    _ => "touches no name: take it away".to_owned(),
                };
                return Err(wrong(rule, &problem));
            }
        }
        let mut targets = Vec::new();
        for (source, names) in self.tensors().iter().zip(applied.names) {
            let from = source.dtype.source().filter(|from| from.is_float());
            let cast = from.zip(options.floats).filter(|(_, to)| to.file() != source.dtype);
            let bytes = match cast {
                None => source.bytes(),
                Some((_, to)) => value_bytes(to.file(), &source.shape)
                    .map_err(|_| refused(file, format!("`{}` would be too large", source.name)))?,
            };
            let dtype = cast.map_or(source.dtype, |(_, to)| to.file());
            if !names.is_empty() && dtype.safetensors_name().is_none() {
                let (file, tensor) = (file.to_owned(), source.name.to_string());
                return Err(CheckpointError::ConvertDType { file, tensor, dtype });
            }
            for name in names {
                if name == METADATA_KEY {
                    let (file, name) = (file.to_owned(), name.into_owned());
                    return Err(CheckpointError::ReservedName { file, name });
                }
                let mut transposed = None;
                for (_, _, touched) in
                    transposes.iter_mut().filter(|(_, glob, _)| glob.is_match(&name))
                {
                    if let [rows, columns] = source.shape[..] {
                        transposed = Some(Shape::from([columns, rows]));
                        *touched += 1;
                    }
                }
                if transposed.is_some() && !source.dtype.bits().is_multiple_of(8) {
                    let problem = format!(
                        "`{}` is {}, whose elements are less than a byte, and cannot be \
                         transposed: leave it out",
                        source.name, source.dtype
                    );
                    return Err(refused(file, problem));
                }
                let (name, allow_infinite) = (name.into_owned(), options.allow_infinite);
                targets.push(Target { name, source, cast, allow_infinite, transposed, bytes });
            }
        }
        if let Some((rule, glob, _)) = transposes.iter().find(|(.., touched)| *touched == 0) {
            let matrices = targets.iter().filter(|target| target.source.shape.rank() == 2);
            let names: Vec<&str> = matrices.map(|target| target.name.as_str()).collect();
            let problem = match near_glob(glob.as_str(), &names) {
                Some(near) => format!("touches no matrix: did you mean `{near}`?"),
                None => "touches no matrix: take it away".to_owned(),
            };
            return Err(wrong(rule, &problem));
        }
        match targets.is_empty() {
            true => Err(refused(file, "no tensor would be written: change the rules".to_owned())),
            false => Ok(targets),
        }
    }

    /// What rides beside the tensors, but for checksums.
    fn metadata_for(&self, same: bool) -> BTreeMap<String, String> {
        // What was followed once is of the run that followed it.
        let gone = [CHECKSUMS, RULES];
        let kept = |key: &str| !gone.contains(&key) && (same || !DESCRIPTION.contains(&key));
        let entries = self.metadata().entries();
        let mut metadata: BTreeMap<String, String> = entries
            .filter(|(key, _)| kept(key))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        metadata.insert(VERSION.to_owned(), FORMAT_VERSION.to_string());
        metadata
    }

    /// Streams a file, which does not get its name yet.
    fn prepare_part<'s>(
        &self,
        storage: &'s dyn Storage,
        part: &Part<'_>,
        may_go: &dyn Fn(&Path) -> Result<(), CheckpointError>,
        strays: &RefCell<Strays>,
    ) -> Result<Prepared<'s>, CheckpointError> {
        atomic::prepare(storage, &part.file, may_go, &mut |sink| {
            sink(&part.header)?;
            let mut sums = Vec::with_capacity(part.targets.len());
            for target in &part.targets {
                let sum = self.write_tensor(&part.file, target, sink, strays)?;
                sums.push((target.name.as_str(), sum));
            }
            let mut header = part.header.clone();
            let changed = checksums::fill_in(&mut header, sums.into_iter())
                .map_err(|error| header_error(&part.file, error))?;
            header.truncate(changed);
            Ok(header)
        })
    }

    /// Streams a tensor; returns its checksum.
    fn write_tensor(
        &self,
        file: &Path,
        target: &Target<'_>,
        sink: &mut atomic::Sink<'_>,
        strays: &RefCell<Strays>,
    ) -> Result<u64, CheckpointError> {
        let mut checksum = InOrder::new(target.bytes);
        let mut done = 0;
        let (mut overflow, mut underflow): (Option<OutOfRange>, Option<OutOfRange>) = (None, None);
        self.read_target(file, target, &mut |read| {
            let cast = target.cast.map(|(from, to)| cast(from, to, read));
            if let (Some(cast), Some((from, to))) = (&cast, target.cast) {
                let size = target.source.dtype.component();
                let elements = read.chunks_exact(size);
                let (before, after) =
                    (extremes(target.source.dtype, read), extremes(to.file(), cast));
                for (at, element) in elements.clone().enumerate() {
                    let first = || place(done + at, target.shape());
                    let into = match after(at) {
                        Some(now) if before(at) == Some(now) => continue,
                        Some(Extreme::Infinity) if !target.allow_infinite => {
                            return Err(CheckpointError::ConvertInfinite {
                                file: file.to_owned(),
                                tensor: target.name.clone(),
                                first: first(),
                                value: value(from, element),
                                dtype: to.file(),
                                largest: to.largest(),
                            });
                        }
                        Some(Extreme::Infinity) => &mut overflow,
                        Some(Extreme::Zero) => &mut underflow,
                        None => continue,
                    };
                    let found = into.get_or_insert_with(|| OutOfRange {
                        tensor: target.name.clone(),
                        elements: 0,
                        first: first(),
                        value: value(from, element),
                    });
                    found.elements += 1;
                }
                done += elements.len();
            }
            let bytes = cast.as_deref().unwrap_or(read);
            checksum.append(bytes);
            sink(bytes)
        })?;
        let mut strays = strays.borrow_mut();
        strays.overflows.extend(overflow);
        strays.underflows.extend(underflow);
        Ok(checksum.value())
    }

    /// Reads a tensor in pieces of whole elements, in the order that they are written in.
    fn read_target(
        &self,
        file: &Path,
        target: &Target<'_>,
        take: &mut dyn FnMut(&[u8]) -> Result<(), CheckpointError>,
    ) -> Result<(), CheckpointError> {
        let gone = || refused(file, format!("tensor `{}` is gone", target.source.name));
        let name = &target.source.name;
        let mut buffer = vec![0; PIECE * 8];
        let mut pass_on = |read: &mut dyn FnMut(&mut [u8]) -> Result<usize, CheckpointError>| loop {
            match read(&mut buffer)? {
                0 => return Ok(()),
                read => take(&buffer[..read])?,
            }
        };
        match target.transposed {
            Some(_) => {
                let mut reader = self.transposed_reader(name).ok_or_else(gone)?;
                pass_on(&mut |into| reader.read(into))
            }
            None => {
                let mut reader = self.reader(name).ok_or_else(gone)?;
                pass_on(&mut |into| reader.read(into))
            }
        }
    }
}

/// A file of these tensors.
fn part<'a>(
    file: PathBuf,
    targets: Vec<&'a Target<'a>>,
    metadata: &BTreeMap<String, String>,
) -> Result<Part<'a>, CheckpointError> {
    let unwritable = |error| header_error(&file, error);
    let json = |(key, text): (&String, &String)| Ok((key.clone(), JsonString::of(text)?));
    let metadata = metadata.iter().map(json).collect::<Result<_, _>>();
    let mut metadata: BTreeMap<String, JsonString> = metadata.map_err(unwritable)?;
    let names = targets.iter().map(|target| (target.name.as_str(), 0));
    metadata.insert(CHECKSUMS.to_owned(), checksums::entry(names).map_err(unwritable)?);
    let mut planned: Vec<Planned<'_>> = targets
        .iter()
        .map(|target| Planned {
            name: &target.name,
            dtype: target.dtype(),
            shape: target.shape(),
            bytes: target.bytes,
        })
        .collect();
    let header = make_header(&mut planned, &metadata).map_err(unwritable)?;
    let length = header.len() as u64;
    if length > MAX_HEADER {
        return Err(CheckpointError::HeaderTooLarge { file, length });
    }
    let by_name: HashMap<&str, &Target<'_>> =
        targets.iter().map(|target| (target.name.as_str(), *target)).collect();
    let targets = planned.iter().filter_map(|planned| by_name.get(planned.name).copied()).collect();
    Ok(Part { file, header, targets })
}

fn refused(file: &Path, problem: String) -> CheckpointError {
    CheckpointError::Convert { file: file.to_owned(), problem }
}

fn cast(from: SourceDType, to: FloatDType, bytes: &[u8]) -> Vec<u8> {
    let conversion = Conversion { from, transpose: false };
    let dtype = match to {
        FloatDType::F32 => DType::F32,
        FloatDType::F16 => DType::F16,
        FloatDType::Bf16 => DType::Bf16,
    };
    let cast = conversion.nearest(bytes, dtype, 0);
    cast.expect("floats are cast to floats, and every float has a nearest one")
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod shards_tests;
