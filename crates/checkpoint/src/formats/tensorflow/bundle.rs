//! Opening a bundle: what its index says of its tensors, held against its data files.

use super::error::BundleError;
use super::names::{has_data, prefix_of};
use super::objects::{self, OBJECTS};
use super::proto;
use super::slice_key::{extents_key, owner_key, split};
use super::table::{FOOTER, MAGIC, read_table};
use super::unmask;
use crate::bytes::read_at::Filled;
use crate::bytes::slices::{Slice, Slices};
use crate::bytes::sums::Checksum;
use crate::entries::STEP;
use crate::error::CheckpointError;
use crate::file::{DataFile, OpenFile};
use crate::format::Format;
use crate::formats::safetensors::{FileKind, FormatError};
use crate::tensor::{FileDType, TensorEntry, value_bytes};
use prost::Message;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use warmstart_graph::Shape;

/// The newest form of bundles that is known.
const VERSION: i32 = 1;

fn malformed(file: &Path, source: BundleError) -> CheckpointError {
    CheckpointError::malformed(file, source)
}

/// What an index holds.
struct Index {
    header: proto::Header,
    /// The tensors by name, and the slices of tensors by what the keys of each tensor begin with.
    tensors: BTreeMap<String, proto::Entry>,
    slices: HashMap<Vec<u8>, Parts>,
}

/// Slices of a tensor by the rest of their keys: a name may be long, and is looked up once.
type Parts = HashMap<Vec<u8>, proto::Entry>;

/// Opens the bundle that has this index.
pub(crate) fn open_bundle(path: &Path) -> Result<OpenFile, CheckpointError> {
    let index = Index::read(path)?;
    let prefix = prefix_of(path).ok_or_else(|| malformed(path, BundleError::IndexName))?;
    let mut data = Data::open(path, prefix, &index)?;
    let mut tensors = Vec::with_capacity(index.tensors.len());
    for (name, entry) in &index.tensors {
        tensors.push(data.tensor(name, entry, index.parts(name, entry))?);
    }
    data.refuse_overlaps(&tensors)?;
    let graph = tensors.iter().position(|(tensor, _)| tensor.name == OBJECTS);
    // A checkpoint of objects has the number of the save behind its name.
    let step = step_of(prefix, &data, &tensors).filter(|_| graph.is_none());
    let step = step.map(|step| (STEP.to_owned(), step.to_string().into()));
    let mut keys = Vec::new();
    if let Some(graph) = graph {
        let (graph, masked) = tensors.remove(graph);
        let sum = masked.unwrap_or_default();
        let names = objects::names(&data.files[graph.file], &graph.range, sum, &tensors);
        let names = names.map_err(|error| match error {
            Ok(source) => malformed(&data.files[graph.file].path, source),
            Err(error) => CheckpointError::storage("read", &data.files[graph.file].path, error),
        })?;
        for ((tensor, _), name) in tensors.iter_mut().zip(names) {
            keys.push((std::mem::replace(&mut tensor.name, name.as_str().into()), name));
        }
    }
    tensors.sort_by_key(|(tensor, _)| (tensor.file, tensor.range.start));
    let summed = |(mut tensor, sum): (TensorEntry, Option<u32>)| {
        tensor.checksum = sum.map(Checksum::Crc32c);
        tensor
    };
    let tensors = tensors.into_iter().map(summed).collect();
    let mut open =
        OpenFile::new(path, Format::TensorFlow, data.files, tensors, step.into_iter().collect())?;
    for (key, name) in keys {
        open.alias(key.to_string(), &name);
    }
    Ok(open)
}

/// The step that a `Saver` put behind a name. A name may end so by itself (`resnet-50`): it is a step behind
/// `ckpt`, and where the counter that is called so says the same.
fn step_of(prefix: &str, data: &Data, tensors: &[(TensorEntry, Option<u32>)]) -> Option<u64> {
    let (name, step) = prefix.rsplit_once('-')?;
    let step = step.parse::<u64>().ok()?;
    let counter = || {
        let (counter, _) = tensors.iter().find(|(tensor, _)| tensor.name == "global_step")?;
        let file = data.files.get(counter.file)?;
        let mut bytes = [0; 8];
        let bytes = bytes.get_mut(..usize::try_from(counter.bytes()).ok()?)?;
        let is_number = matches!(counter.dtype, FileDType::I64 | FileDType::I32);
        let is_read = is_number && counter.slices.is_none();
        let filled = is_read.then(|| file.file.fill_at(bytes, counter.range.start))?.ok()?;
        let mut value = [0; 8];
        value[..bytes.len()].copy_from_slice(bytes);
        (filled == Filled::Wholly).then_some(u64::from_le_bytes(value))
    };
    (name.ends_with("ckpt") || counter() == Some(step)).then_some(step)
}

impl Index {
    fn read(path: &Path) -> Result<Index, CheckpointError> {
        let (file, length) = DataFile::open(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound if has_data(path) => malformed(path, BundleError::NoIndex),
            io::ErrorKind::NotFound => CheckpointError::NotFound { path: path.to_owned() },
            _ => CheckpointError::storage("open", path, error),
        })?;
        let failed = |error| CheckpointError::storage("read", path, error);
        let length = usize::try_from(length).map_err(|error| failed(io::Error::other(error)))?;
        // Any program may call a file `.index`: it is read whole only if it ends as a table does.
        let mut end = [0; 8];
        if length >= FOOTER {
            file.file.fill_at(&mut end, length as u64 - 8).map_err(failed)?;
            if end != MAGIC.to_le_bytes() {
                return Err(malformed(path, BundleError::NotATable { length: length as u64 }));
            }
        }
        let mut bytes = Vec::new();
        let room = bytes.try_reserve_exact(length);
        room.map_err(|error| failed(io::Error::new(io::ErrorKind::OutOfMemory, error)))?;
        bytes.resize(length, 0);
        if file.file.fill_at(&mut bytes, 0).map_err(failed)? != Filled::Wholly {
            return Err(failed(io::Error::from(io::ErrorKind::UnexpectedEof)));
        }
        let mut header = None;
        let mut old = false;
        let (mut tensors, mut slices) = (BTreeMap::new(), HashMap::new());
        let read = read_table(&bytes, &mut |key, value, offset| {
            if key.is_empty() {
                // A message in the first field: what the first Saver wrote.
                old = value.first() == Some(&0x0a);
                let decoded = proto::Header::decode(value).map_err(|error| BundleError::Header {
                    problem: format!("cannot be read ({error})"),
                });
                header = Some(decoded);
                return Ok(());
            }
            if old {
                return Ok(());
            }
            let name = || String::from_utf8(key.to_vec()).map_err(|_| BundleError::Name { offset });
            let decoded = proto::Entry::decode(value).map_err(|error| BundleError::Entry {
                tensor: String::from_utf8_lossy(key).into_owned(),
                problem: format!("cannot be read ({error})"),
            })?;
            if key.first() == Some(&0) {
                // Others can be the keys of none.
                if let Some((owner, rest)) = split(key) {
                    let parts = match slices.get_mut(owner) {
                        Some(parts) => parts,
                        None => slices.entry(owner.to_vec()).or_insert_with(Parts::new),
                    };
                    parts.insert(rest.to_vec(), decoded);
                }
            } else {
                tensors.insert(name()?, decoded);
            }
            Ok(())
        });
        read.map_err(|source| malformed(path, source))?;
        if old {
            let source = FormatError::Recognised { kind: FileKind::TensorFlowV1 };
            return Err(CheckpointError::malformed(path, source));
        }
        let wrong = |problem: String| malformed(path, BundleError::Header { problem });
        let missing = || wrong("is missing".to_owned());
        let header = header.ok_or_else(missing)?.map_err(|source| malformed(path, source))?;
        let needs = header.version.as_ref().map_or(0, |version| version.min_consumer);
        if needs > VERSION {
            let problem =
                format!("asks for a reader of version {needs}, and this one has {VERSION}");
            return Err(malformed(path, BundleError::Unsupported { problem }));
        }
        if header.endianness != 0 {
            let problem = "says that it was saved on a big-endian machine".to_owned();
            return Err(malformed(path, BundleError::Unsupported { problem }));
        }
        Ok(Index { header, tensors, slices })
    }

    /// The slices that there are of a tensor.
    fn parts(&self, name: &str, entry: &proto::Entry) -> Option<&Parts> {
        if entry.slices.is_empty() { None } else { self.slices.get(&owner_key(name)) }
    }
}

/// The data files of a bundle that are in use.
struct Data {
    index: PathBuf,
    files: Vec<DataFile>,
    lengths: Vec<u64>,
    /// Which of the files has which shard.
    shards: HashMap<i32, usize>,
}

impl Data {
    fn open(path: &Path, prefix: &str, index: &Index) -> Result<Data, CheckpointError> {
        let mut data = Data {
            index: path.to_owned(),
            files: Vec::new(),
            lengths: Vec::new(),
            shards: HashMap::new(),
        };
        let count = index.header.shards;
        let mut used: BTreeMap<i32, Vec<&str>> = BTreeMap::new();
        for (name, entry) in &index.tensors {
            for shard in shards_of(entry, index.parts(name, entry)) {
                let named = used.entry(shard).or_default();
                if named.last() != Some(&name.as_str()) {
                    named.push(name);
                }
            }
        }
        for (shard, named) in used {
            if !(0..count).contains(&shard) {
                let problem = format!("is in shard {shard} of {count}");
                return Err(data.wrong(named[0], problem));
            }
            let file = path.with_file_name(format!("{prefix}.data-{shard:05}-of-{count:05}"));
            let (opened, length) = DataFile::open(&file).map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => {
                    let tensors = named.iter().filter(|name| **name != OBJECTS);
                    let tensors = tensors.map(|name| (*name).to_owned()).collect();
                    malformed(&file, BundleError::NoData { tensors })
                }
                _ => CheckpointError::storage("open", &file, error),
            })?;
            data.shards.insert(shard, data.files.len());
            data.files.push(opened);
            data.lengths.push(length);
        }
        Ok(data)
    }

    fn wrong(&self, tensor: &str, problem: impl Into<String>) -> CheckpointError {
        let (tensor, problem) = (tensor.to_owned(), problem.into());
        malformed(&self.index, BundleError::Entry { tensor, problem })
    }

    /// Where an entry's bytes are, held against the length of the file: file, begin and length.
    fn place(
        &self,
        name: &str,
        entry: &proto::Entry,
    ) -> Result<(usize, u64, u64), CheckpointError> {
        let numbers = u64::try_from(entry.offset).ok().zip(u64::try_from(entry.size).ok());
        let end = numbers.and_then(|(offset, size)| offset.checked_add(size));
        let shard = self.shards.get(&entry.shard);
        let (Some((offset, size)), Some(end), Some(&file)) = (numbers, end, shard) else {
            return Err(self.wrong(name, "has a negative or too large number"));
        };
        let length = self.lengths[file];
        if end > length {
            let (tensor, found) = (name.to_owned(), length.saturating_sub(offset));
            let source = BundleError::CutShort { tensor, offset, expected: size, found };
            return Err(malformed(&self.files[file].path, source));
        }
        Ok((file, offset, size))
    }

    /// A tensor and its checksum; for strings, whose checksum is not of the bytes as they are, only
    /// the graph of objects gets one.
    fn tensor(
        &mut self,
        name: &str,
        entry: &proto::Entry,
        parts: Option<&Parts>,
    ) -> Result<(TensorEntry, Option<u32>), CheckpointError> {
        let shape = self.shape(name, entry)?;
        let dtype = dtype(entry.dtype).ok_or_else(|| {
            self.wrong(name, format!("has the number {} in place of a dtype", entry.dtype))
        })?;
        let numeric = !matches!(dtype, FileDType::String | FileDType::Opaque);
        let expected = value_bytes(dtype, &shape);
        let overflows = |_| self.wrong(name, format!("has shape {shape}, whose size overflows"));
        let sized = |found: u64| -> Result<(), CheckpointError> {
            let expected = expected.map_err(overflows)?;
            if expected == found || !numeric {
                return Ok(());
            }
            let (tensor, shape) = (name.to_owned(), shape.clone());
            let source = BundleError::WrongSize { tensor, dtype, shape, expected, found };
            Err(malformed(&self.index, source))
        };
        if entry.slices.is_empty() {
            let (file, offset, size) = self.place(name, entry)?;
            sized(size)?;
            let sum = (numeric || name == OBJECTS).then(|| unmask(entry.masked));
            let mut tensor = TensorEntry::new(name.to_owned(), dtype, shape, offset..offset + size);
            tensor.file = file;
            return Ok((tensor, sum));
        }
        let bytes = expected.map_err(overflows)?;
        if !numeric {
            return Err(self.wrong(name, "has slices of strings"));
        }
        if bytes == 0 {
            // Nothing is anywhere; a file that has no bytes of it is not asked.
            return Ok((TensorEntry::new(name.to_owned(), dtype, shape, 0..0), Some(0)));
        }
        let assembled = self.assemble(name, entry, &shape, dtype, parts)?;
        let first = assembled.iter().next().map_or((0, 0), |slice| (slice.file, slice.offset));
        let sum = assembled.checksum();
        let mut tensor = TensorEntry::new(name.to_owned(), dtype, shape, first.1..first.1 + bytes);
        tensor.file = first.0;
        tensor.slices = Some(Arc::new(assembled));
        Ok((tensor, sum))
    }

    /// Refuses bytes that are of two tensors: nothing writes them, and a small index could have a
    /// large file read any number of times.
    fn refuse_overlaps(
        &self,
        tensors: &[(TensorEntry, Option<u32>)],
    ) -> Result<(), CheckpointError> {
        let mut pieces: Vec<(usize, Range<u64>, &str)> = Vec::with_capacity(tensors.len());
        for (tensor, _) in tensors {
            match &tensor.slices {
                None => pieces.push((tensor.file, tensor.range.clone(), tensor.name.as_str())),
                Some(slices) => pieces.extend(slices.iter().map(|slice| {
                    let range = slice.offset..slice.offset + slices.bytes(slice);
                    (slice.file, range, tensor.name.as_str())
                })),
            }
        }
        pieces.retain(|(_, range, _)| !range.is_empty());
        pieces.sort_unstable_by_key(|(file, range, _)| (*file, range.start));
        for two in pieces.windows(2) {
            let [(before, range, other), (file, next, tensor)] = two else { continue };
            if file == before && next.start < range.end {
                let (tensor, other, offset) = (tensor.to_string(), other.to_string(), next.start);
                let source = BundleError::Overlap { tensor, other, offset };
                return Err(malformed(&self.files[*file].path, source));
            }
        }
        Ok(())
    }

    fn shape(&self, name: &str, entry: &proto::Entry) -> Result<Shape, CheckpointError> {
        let Some(shape) = &entry.shape else { return Ok(Shape::from(Vec::new())) };
        let extents = shape.dims.iter().map(|dim| usize::try_from(dim.size).ok());
        let extents: Option<Vec<usize>> = extents.collect();
        match extents {
            Some(extents) if !shape.unknown_rank => Ok(Shape::from(extents)),
            _ => Err(self.wrong(name, "has a shape that is not known")),
        }
    }

    /// Puts the slices of a partitioned variable together.
    fn assemble(
        &self,
        name: &str,
        entry: &proto::Entry,
        shape: &Shape,
        dtype: FileDType,
        stored: Option<&Parts>,
    ) -> Result<Slices, CheckpointError> {
        let mut axis = None;
        let mut parts = Vec::new();
        for slice in &entry.slices {
            if slice.extents.len() != shape.rank() {
                return Err(self.wrong(name, "has slices of another rank than its own"));
            }
            let mut part = None;
            for (at, (extent, &whole)) in slice.extents.iter().zip(shape.iter()).enumerate() {
                let whole = whole as u64;
                let start = u64::try_from(extent.start).ok();
                let length = extent.length.map_or(Some(whole), |length| u64::try_from(length).ok());
                let (Some(start), Some(length)) = (start, length) else {
                    return Err(self.wrong(name, "has a slice with a negative number"));
                };
                if (start, length) == (0, whole) {
                    continue;
                }
                if *axis.get_or_insert(at) != at {
                    return Err(self.wrong(name, "has slices along several axes"));
                }
                if start.checked_add(length).is_none_or(|end| end > whole) {
                    return Err(self.wrong(name, "has a slice beyond its shape"));
                }
                part = Some((start, length));
            }
            parts.push((slice, part));
        }
        // No overflow: the whole has a size in bytes.
        let axis = axis.unwrap_or(0);
        let product = |extents: &[usize]| extents.iter().map(|&n| n as u64).product::<u64>();
        let rows = product(shape.get(..axis).unwrap_or(&[]));
        let index = product(shape.get(axis + 1..).unwrap_or(&[])) * dtype.bits() / 8;
        let along = shape.get(axis).map_or(1, |&n| n as u64);
        let row = along * index;
        let mut placed = Vec::new();
        for (slice, part) in parts {
            let (start, length) = part.unwrap_or((0, along));
            let part = stored.and_then(|stored| stored.get(&key_of(slice)));
            let part = part.ok_or_else(|| self.wrong(name, "names a slice that is not there"))?;
            let (file, offset, size) = self.place(name, part)?;
            if size != rows * length * index || part.dtype != entry.dtype {
                return Err(self.wrong(name, "has a slice of another size or dtype"));
            }
            let (begin, width, checksum) = (start * index, length * index, unmask(part.masked));
            placed.push(Slice { begin, width, file, offset, checksum });
        }
        let incomplete = |_| self.wrong(name, "has slices that do not make up its shape");
        Slices::new(rows, row, placed).map_err(incomplete)
    }
}

fn key_of(slice: &proto::TensorSlice) -> Vec<u8> {
    extents_key(slice.extents.iter().map(|extent| (extent.start, extent.length)))
}

/// The shards that an entry's bytes are in.
fn shards_of(entry: &proto::Entry, stored: Option<&Parts>) -> Vec<i32> {
    if entry.slices.is_empty() {
        return vec![entry.shard];
    }
    let Some(stored) = stored else { return Vec::new() };
    let parts = entry.slices.iter().filter_map(|slice| stored.get(&key_of(slice)));
    parts.map(|part| part.shard).collect()
}

/// TensorFlow's number of a dtype. `None` is no dtype at all.
fn dtype(number: i32) -> Option<FileDType> {
    Some(match number {
        ..=0 => return None,
        1 => FileDType::F32,
        2 => FileDType::F64,
        // 11 to 13, 15 and 16 are integers that some quantized operations use.
        3 | 13 => FileDType::I32,
        4 | 12 => FileDType::U8,
        5 | 15 => FileDType::I16,
        6 | 11 => FileDType::I8,
        7 => FileDType::String,
        8 => FileDType::C64,
        9 => FileDType::I64,
        10 => FileDType::Bool,
        14 => FileDType::Bf16,
        16 | 17 => FileDType::U16,
        18 => FileDType::C128,
        19 => FileDType::F16,
        22 => FileDType::U32,
        23 => FileDType::U64,
        24 => FileDType::F8E5M2,
        25 => FileDType::F8E4M3,
        _ => FileDType::Opaque,
    })
}
