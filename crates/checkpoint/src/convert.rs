//! Writing a checkpoint anew as safetensors: under other names, as another dtype, or only a part.

use crate::atomic;
use crate::checkpoint::Checkpoint;
use crate::checksums;
use crate::error::CheckpointError;
use crate::metadata::{CHECKSUMS, FORMAT_VERSION, GRAPH, OPTIMIZER, VARIABLES, VERSION};
use crate::rules::{Rule, RuleUse, apply};
use crate::safetensors::{MAX_HEADER, METADATA_KEY, Planned, make_header};
use crate::save::{header_error, replaceable};
use crate::storage::Disk;
use crate::sums::InOrder;
use crate::tensor::{FileDType, TensorEntry, value_bytes};
use half::bf16;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use warmstart_gpu::{Conversion, SourceDType};
use warmstart_graph::DType;

/// Elements that are read at once.
const PIECE: usize = 64 << 10;

/// The dtype that floats are written as. Rounds to the nearest, ties to even; an `f64` may be
/// rounded twice on its way to 16 bits. Whole numbers and booleans stay what they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FloatDType {
    /// 32-bit IEEE 754 float.
    F32,
    /// 16-bit IEEE 754 float.
    F16,
    /// bfloat16.
    Bf16,
}

impl FloatDType {
    fn file(self) -> FileDType {
        match self {
            FloatDType::F32 => FileDType::F32,
            FloatDType::F16 => FileDType::F16,
            FloatDType::Bf16 => FileDType::Bf16,
        }
    }
}

/// What [`Checkpoint::convert`] wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Converted {
    /// Tensors that were written.
    pub tensors: usize,
    /// Bytes they have.
    pub bytes: u64,
    /// How many of them were cast.
    pub cast: usize,
    /// Tensors that rules left out.
    pub left_out: usize,
    /// Whether graph, optimizer and description of the variables were left out, since they no
    /// longer say what the file holds.
    pub description_left_out: bool,
}

/// A tensor to be written, and where it comes from.
struct Target<'a> {
    name: String,
    source: &'a TensorEntry,
    /// The dtype its elements are cast to and from, if they are.
    cast: Option<(SourceDType, FloatDType)>,
    bytes: u64,
}

impl Target<'_> {
    fn dtype(&self) -> FileDType {
        self.cast.map_or(self.source.dtype, |(_, to)| to.file())
    }
}

impl Checkpoint {
    /// Writes the tensors into one safetensors file, with checksums, as atomically and durably as
    /// [`save`](crate::save). Needs no device, and the memory of a piece of one tensor.
    ///
    /// Takes rules about names and about which tensors take part; globs match the tensors' new
    /// names, if they come after the rules that rename. What rides beside the tensors comes along,
    /// but for graph, optimizer and description of the variables where names, dtypes or the number
    /// of tensors change.
    ///
    /// # Errors
    /// [`CheckpointError::Convert`] if a rule is about values, touches nothing or is malformed, if
    /// two tensors would get one name, or if nothing would be written; those of
    /// [`TensorReader::read`](crate::TensorReader::read) and of [`save`](crate::save).
    pub fn convert(
        &self,
        file: impl AsRef<Path>,
        rules: &[Rule],
        floats: Option<FloatDType>,
    ) -> Result<Converted, CheckpointError> {
        let file = file.as_ref();
        self.open_file().forget_sums();
        let targets = self.targets(file, rules, floats)?;
        let written: HashMap<&str, &Target<'_>> =
            targets.iter().map(|target| (target.name.as_str(), target)).collect();
        if written.len() < targets.len() {
            let twice = targets.iter().find(|t| !std::ptr::eq(written[t.name.as_str()], *t));
            let name = twice.map_or("", |target| &target.name);
            let problem = format!("two tensors would get the name `{name}`: ignore one of them");
            return Err(refused(file, problem));
        }
        let same = targets.len() == self.tensors().len()
            && targets.iter().all(|t| t.cast.is_none() && t.name == t.source.name);
        let metadata = self.metadata_for(file, &targets, same)?;
        let mut planned: Vec<Planned<'_>> = targets
            .iter()
            .map(|target| Planned {
                name: &target.name,
                dtype: target.dtype(),
                shape: &target.source.shape,
                bytes: target.bytes,
            })
            .collect();
        let header = make_header(&mut planned, &metadata).map_err(|e| header_error(file, e))?;
        let length = header.len() as u64;
        if length > MAX_HEADER {
            return Err(CheckpointError::HeaderTooLarge { file: file.to_owned(), length });
        }
        atomic::write(&Disk, file, &replaceable, &mut |sink| {
            sink(&header)?;
            let mut checksums = BTreeMap::new();
            for tensor in &planned {
                let checksum = self.write_tensor(file, written[tensor.name], sink)?;
                checksums.insert(tensor.name, checksum);
            }
            let mut header = header.clone();
            checksums::fill_in(&mut header, &checksums).map_err(|e| header_error(file, e))?;
            Ok(header)
        })?;
        let sources: usize = {
            let mut sources: Vec<_> = targets.iter().map(|t| t.source.name.as_str()).collect();
            sources.sort_unstable();
            sources.dedup();
            sources.len()
        };
        let described =
            [GRAPH, OPTIMIZER, VARIABLES].iter().any(|k| self.metadata().get(k).is_some());
        Ok(Converted {
            tensors: targets.len(),
            bytes: targets.iter().map(|target| target.bytes).sum(),
            cast: targets.iter().filter(|target| target.cast.is_some()).count(),
            left_out: self.tensors().len() - sources,
            description_left_out: described && !same,
        })
    }

    /// What would be written, under the rules.
    fn targets(
        &self,
        file: &Path,
        rules: &[Rule],
        floats: Option<FloatDType>,
    ) -> Result<Vec<Target<'_>>, CheckpointError> {
        if let Some(rule) = rules.iter().find(|rule| rule.is_about_values()) {
            let problem = format!("`{rule}` is about values, and only names and dtypes can change");
            return Err(refused(file, problem));
        }
        let names = self.tensors().iter().map(|tensor| tensor.name.as_str());
        let applied = apply(rules, names, &[]);
        for RuleUse { rule, touched, problem } in &applied.uses {
            if let Some(problem) = problem {
                return Err(refused(file, format!("`{rule}` cannot be applied: {problem}")));
            }
            if *touched == 0 {
                return Err(refused(file, format!("`{rule}` touches no name: take it away")));
            }
        }
        let mut targets = Vec::new();
        for (source, names) in self.tensors().iter().zip(applied.names) {
            let from = source.dtype.source().filter(|from| from.is_float());
            let cast = from.zip(floats).filter(|(_, to)| to.file() != source.dtype);
            let bytes = match cast {
                None => source.bytes(),
                Some((_, to)) => value_bytes(to.file(), &source.shape)
                    .map_err(|_| refused(file, format!("`{}` would be too large", source.name)))?,
            };
            let dtype = cast.map_or(source.dtype, |(_, to)| to.file());
            if !names.is_empty() && dtype.safetensors_name().is_none() {
                let problem = format!(
                    "safetensors files cannot hold tensor `{}`, which is {dtype}: leave it out",
                    source.name
                );
                return Err(refused(file, problem));
            }
            for name in names {
                if name == METADATA_KEY {
                    let (file, name) = (file.to_owned(), name.into_owned());
                    return Err(CheckpointError::ReservedName { file, name });
                }
                targets.push(Target { name: name.into_owned(), source, cast, bytes });
            }
        }
        match targets.is_empty() {
            true => Err(refused(file, "no tensor would be written: change the rules".to_owned())),
            false => Ok(targets),
        }
    }

    fn metadata_for(
        &self,
        file: &Path,
        targets: &[Target<'_>],
        same: bool,
    ) -> Result<BTreeMap<String, String>, CheckpointError> {
        let kept = |key: &str| same || ![GRAPH, OPTIMIZER, VARIABLES].contains(&key);
        let entries = self.metadata().entries();
        let mut metadata: BTreeMap<String, String> = entries
            .filter(|(key, _)| kept(key))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        let names = targets.iter().map(|target| (target.name.as_str(), 0));
        let checksums = checksums::entry(names).map_err(|error| header_error(file, error))?;
        metadata.insert(CHECKSUMS.to_owned(), checksums);
        metadata.insert(VERSION.to_owned(), FORMAT_VERSION.to_string());
        Ok(metadata)
    }

    /// Streams a tensor; returns its checksum.
    fn write_tensor(
        &self,
        file: &Path,
        target: &Target<'_>,
        sink: &mut atomic::Sink<'_>,
    ) -> Result<u64, CheckpointError> {
        let gone = || refused(file, format!("tensor `{}` is gone", target.source.name));
        let mut reader = self.reader(&target.source.name).ok_or_else(gone)?;
        let mut checksum = InOrder::new(target.bytes);
        let mut buffer = vec![0; PIECE * 8];
        loop {
            let read = match reader.read(&mut buffer)? {
                0 => return Ok(checksum.value()),
                read => &buffer[..read],
            };
            let cast = target.cast.map(|(from, to)| cast(from, to, read));
            let bytes = cast.as_deref().unwrap_or(read);
            checksum.append(bytes);
            sink(bytes)?;
        }
    }
}

fn refused(file: &Path, problem: String) -> CheckpointError {
    CheckpointError::Convert { file: file.to_owned(), problem }
}

fn cast(from: SourceDType, to: FloatDType, bytes: &[u8]) -> Vec<u8> {
    let conversion = Conversion { from, transpose: false };
    let dtype = if to == FloatDType::F16 { DType::F16 } else { DType::F32 };
    let cast = conversion.evaluate(bytes, dtype, 0);
    let cast = cast.expect("floats are cast to floats, and every float has a nearest one");
    if to != FloatDType::Bf16 {
        return cast;
    }
    let floats = cast.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
    floats.flat_map(|float| bf16::from_f32(float).to_le_bytes()).collect()
}

#[cfg(test)]
#[path = "convert_tests.rs"]
mod tests;
