//! Opening a GGUF file.

use super::error::GgufError;
use super::reader::Reader;
use super::types;
use crate::bytes::text::Text;
use crate::entries::PREFIX;
use crate::error::CheckpointError;
use crate::file::{DataFile, OpenFile};
use crate::format::Format;
use crate::printable::printable;
use crate::tensor::TensorEntry;
use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use warmstart_graph::Shape;

/// "GGUF", as a number.
const MAGIC: u32 = u32::from_le_bytes(*b"GGUF");
const ALIGNMENT: &str = "general.alignment";
/// What tensors are aligned to if nothing else is said.
const ALIGNED: u64 = 32;
/// Texts that are longer than this, such as the templates of chats, are not kept.
const LONGEST_TEXT: u64 = 4096;
/// Names and keys are no longer than this.
const LONGEST_NAME: u64 = 65535;
const MOST_AXES: u32 = 64;
/// Arrays of arrays of arrays have no use.
const DEEPEST: u32 = 4;
/// The numbers of the types of values that are not of a fixed size.
const TEXT: u32 = 8;
const ARRAY: u32 = 9;

/// A tensor as the list has it: its offset counts from the end of the header.
struct Listed {
    tensor: TensorEntry,
    offset: u64,
    bytes: u64,
}

/// Opens a GGUF file.
pub(crate) fn open_gguf(path: &Path) -> Result<OpenFile, CheckpointError> {
    let (file, length) =
        DataFile::open(path).map_err(|error| CheckpointError::storage("open", path, error))?;
    let mut reader = Reader::new(&file, length);
    let head = "its head";
    if reader.u32(head)? != MAGIC {
        return Err(reader.wrong(0, "it does not begin with `GGUF`".to_owned()));
    }
    match reader.u32(head)? {
        2 | 3 => {}
        0x0200_0000 | 0x0300_0000 => return Err(reader.malformed(GgufError::BigEndian)),
        version => return Err(reader.malformed(GgufError::Version { version })),
    }
    let (tensors, keys) = (reader.u64(head)?, reader.u64(head)?);
    let (metadata, alignment) = read_keys(&mut reader, keys)?;
    let listed = read_tensors(&mut reader, tensors)?;
    let begin = reader.at.checked_next_multiple_of(alignment).unwrap_or(u64::MAX);
    let tensors = place(&reader, listed, begin)?;
    OpenFile::new(path, Format::Gguf, vec![file], tensors, metadata)
}

/// Reads the keys with their values: keeps short texts, and the alignment.
fn read_keys(
    reader: &mut Reader<'_>,
    count: u64,
) -> Result<(BTreeMap<String, Text>, u64), CheckpointError> {
    let mut texts = BTreeMap::new();
    let mut alignment = ALIGNED;
    for _ in 0..count {
        let offset = reader.at;
        let Some(key) = reader.text(LONGEST_NAME, "a key")? else {
            return Err(reader.wrong(offset, "a key is too long".to_owned()));
        };
        let kind = reader.u32("a value")?;
        if key == ALIGNMENT {
            // An u32.
            if kind != 4 {
                return Err(reader.wrong(offset, format!("`{ALIGNMENT}` is of another type")));
            }
            alignment = reader.u32("a value")?.into();
            if !alignment.is_power_of_two() {
                return Err(reader.wrong(offset, format!("`{ALIGNMENT}` is {alignment}")));
            }
        } else if kind == TEXT {
            // Those that begin like ours would be taken for ours.
            match reader.text(LONGEST_TEXT, "a value")? {
                Some(text) if !key.starts_with(PREFIX) => drop(texts.insert(key, text.into())),
                _ => {}
            }
        } else {
            skip_value(reader, kind, 0)?;
        }
    }
    Ok((texts, alignment))
}

/// Passes over a value, whose parts are each at least a byte long.
fn skip_value(reader: &mut Reader<'_>, kind: u32, depth: u32) -> Result<(), CheckpointError> {
    let what = "a value";
    let offset = reader.at;
    match kind {
        TEXT => {
            let length = reader.u64(what)?;
            reader.skip(length, what)
        }
        ARRAY if depth < DEEPEST => {
            let (of, count) = (reader.u32(what)?, reader.u64(what)?);
            match size(of) {
                Some(size) => reader.skip(count.saturating_mul(size), what),
                None => (0..count).try_for_each(|_| skip_value(reader, of, depth + 1)),
            }
        }
        ARRAY => Err(reader.wrong(offset, "an array lies too deep in arrays".to_owned())),
        _ => match size(kind) {
            Some(size) => reader.skip(size, what),
            None => Err(reader.wrong(offset, format!("a value is of the unknown type {kind}"))),
        },
    }
}

/// Bytes of a value of a type.
fn size(kind: u32) -> Option<u64> {
    Some(match kind {
        0 | 1 | 7 => 1,
        2 | 3 => 2,
        4..=6 => 4,
        10..=12 => 8,
        _ => return None,
    })
}

fn read_tensors(reader: &mut Reader<'_>, count: u64) -> Result<Vec<Listed>, CheckpointError> {
    let what = "the list of tensors";
    let (mut listed, mut names) = (Vec::new(), HashSet::new());
    for _ in 0..count {
        let offset = reader.at;
        let Some(name) = reader.text(LONGEST_NAME, what)? else {
            return Err(reader.wrong(offset, "the name of a tensor is too long".to_owned()));
        };
        if !names.insert(name.clone()) {
            return Err(reader.malformed(GgufError::Twice { tensor: name, offset }));
        }
        let axes = reader.u32(what)?;
        if axes > MOST_AXES {
            let name = printable(&name);
            return Err(reader.wrong(offset, format!("tensor `{name}` has {axes} axes")));
        }
        let mut shape = Vec::new();
        for _ in 0..axes {
            let extent = reader.u64(what)?;
            let Ok(extent) = usize::try_from(extent) else {
                let name = printable(&name);
                return Err(reader.wrong(offset, format!("tensor `{name}` is {extent} long")));
            };
            shape.push(extent);
        }
        let row = shape.first().map_or(1, |&extent| extent as u64);
        shape.reverse();
        let shape = Shape::from(shape);
        let (number, begin) = (reader.u32(what)?, reader.u64(what)?);
        let Some((dtype, block, bytes)) = types::find(number) else {
            return Err(reader.malformed(GgufError::UnknownType { tensor: name, number }));
        };
        let size = shape.checked_elements().map(|elements| elements as u64 / block);
        let size = size.and_then(|blocks| blocks.checked_mul(bytes));
        let Some(size) = size.filter(|_| row.is_multiple_of(block)) else {
            return Err(reader.malformed(GgufError::Size { tensor: name, dtype, shape }));
        };
        let tensor = TensorEntry::new(name, dtype, shape, 0..0);
        listed.push(Listed { tensor, offset: begin, bytes: size });
    }
    Ok(listed)
}

/// Holds the tensors against the file, whose bytes for them begin here, and against each other.
fn place(
    reader: &Reader<'_>,
    listed: Vec<Listed>,
    begin: u64,
) -> Result<Vec<TensorEntry>, CheckpointError> {
    let mut tensors = Vec::with_capacity(listed.len());
    for Listed { mut tensor, offset, bytes } in listed {
        let start = begin.saturating_add(offset);
        let end = start.saturating_add(bytes);
        if end > reader.length {
            // An empty tensor may be listed behind the last byte.
            if bytes > 0 {
                let (tensor, length) = (tensor.name.to_string(), reader.length);
                return Err(reader.malformed(GgufError::BeyondEnd { tensor, end, length }));
            }
            tensor.range = 0..0;
        } else {
            tensor.range = start..end;
        }
        tensors.push(tensor);
    }
    tensors.sort_by_key(|tensor| (tensor.range.start, tensor.range.end));
    let mut before: Option<&TensorEntry> = None;
    for tensor in tensors.iter().filter(|tensor| tensor.bytes() > 0) {
        if let Some(other) = before.filter(|other| tensor.range.start < other.range.end) {
            return Err(reader.malformed(GgufError::Overlap {
                tensor: tensor.name.to_string(),
                other: other.name.to_string(),
                offset: tensor.range.start,
            }));
        }
        before = Some(tensor);
    }
    Ok(tensors)
}
