//! Opening NumPy's files.

use super::error::NumPyError;
use super::header::{Header, LONGEST};
use crate::bytes::read_at::Filled;
use crate::bytes::strides::Strides;
use crate::error::CheckpointError;
use crate::file::{DataFile, OpenFile};
use crate::format::{Format, own_name};
use crate::formats::archive::Archive;
use crate::tensor::{FileDType, TensorEntry, value_bytes};
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use warmstart_graph::Shape;

/// How the entries of an archive of arrays are named.
const ARRAY: &str = ".npy";
/// The most bytes of a compressed array in Fortran's order: what puts it into the order of C goes
/// through it once for every few MiB.
const MOST_REORDERED: u64 = 64 << 20;

/// Opens a file of one array.
pub(crate) fn open_npy(path: &Path) -> Result<OpenFile, CheckpointError> {
    let (file, length) =
        DataFile::open(path).map_err(|error| CheckpointError::storage("open", path, error))?;
    let mut start = vec![0; LONGEST.min(usize::try_from(length).unwrap_or(LONGEST))];
    let failed = |error| CheckpointError::storage("read", path, error);
    if file.file.fill_at(&mut start, 0).map_err(failed)? != Filled::Wholly {
        return Err(failed(io::Error::from(io::ErrorKind::UnexpectedEof)));
    }
    let name = own_name(path);
    let tensor = array(&name, &start, 0..length).and_then(|tensor| match tensor {
        Array::Tensor(tensor) => Ok(tensor),
        // There is nothing else in the file.
        Array::Other { descr, .. } => Err(NumPyError::DType { array: name, descr }),
    });
    let tensor = tensor.map_err(|source| CheckpointError::malformed(path, source))?;
    OpenFile::new(path, Format::NumPy, vec![file], vec![tensor], BTreeMap::new())
}

/// Opens an archive of arrays, each under the name of its entry. Arrays of what no variable takes
/// are listed.
pub(crate) fn open_npz(mut archive: Archive) -> Result<OpenFile, CheckpointError> {
    let mut tensors = Vec::with_capacity(archive.entries().len());
    let mut start = vec![0; LONGEST];
    for entry in 0..archive.entries().len() {
        let name = archive.entries()[entry].name.strip_suffix(ARRAY).map(str::to_owned);
        let Some(name) = name else { continue };
        let filled = archive.read_start(entry, &mut start)?;
        let place = archive.place(entry)?;
        let read = array(&name, &start[..filled], place.range.clone());
        let wrong = |source: NumPyError| CheckpointError::malformed(archive.path(), source);
        let read = read.map_err(wrong)?;
        let mut tensor = match read {
            Array::Tensor(tensor) => tensor,
            Array::Other { shape, dtype, begin, .. } => {
                TensorEntry::new(name, dtype, shape, begin..place.range.end)
            }
        };
        let reordered = tensor.strides.as_ref().is_some_and(|strides| !strides.is_in_order());
        if reordered && archive.is_compressed(entry) && tensor.bytes() > MOST_REORDERED {
            let (array, bytes) = (tensor.name.to_string(), tensor.bytes());
            return Err(wrong(NumPyError::CompressedFortran { array, bytes }));
        }
        tensor.file = place.file;
        tensor.sealed = place.sealed;
        tensors.push(tensor);
    }
    tensors.sort_by_key(|tensor| (tensor.file, tensor.range.start));
    archive.into_checkpoint(Format::NumPyArchive, tensors)
}

/// Whether an archive holds arrays and nothing else.
pub(crate) fn is_npz(archive: &Archive) -> bool {
    archive.entries().iter().all(|entry| entry.name.ends_with(ARRAY))
}

/// What a header describes.
enum Array {
    Tensor(TensorEntry),
    /// Texts, objects, structures.
    Other {
        descr: String,
        dtype: FileDType,
        shape: Shape,
        begin: u64,
    },
}

/// The array that lies here and begins with these bytes.
fn array(name: &str, start: &[u8], lies: Range<u64>) -> Result<Array, NumPyError> {
    let header = Header::read(name, start)?;
    let shape = Shape::from(header.shape.clone());
    // The header was within the bytes.
    let begin = lies.start + header.end;
    let Some((dtype, big_endian)) = header.dtype() else {
        let text = matches!(header.descr.as_bytes(), [_, b'S' | b'U', ..]);
        let dtype = if text { FileDType::String } else { FileDType::Opaque };
        return Ok(Array::Other { descr: header.descr, dtype, shape, begin });
    };
    let array = || name.to_owned();
    let found = lies.end - begin;
    let strides = if header.fortran_order { fortran(&shape) } else { c(&shape) };
    let swapped = if big_endian { dtype.component() } else { 1 };
    let strides = strides.and_then(|of| Strides::new(dtype.bits() / 8, swapped, &shape, &of));
    let (Ok(expected), Some(strides)) = (value_bytes(dtype, &shape), strides) else {
        return Err(NumPyError::ShapeOverflow { array: array(), shape });
    };
    if expected != found {
        return Err(NumPyError::WrongSize { array: array(), dtype, shape, expected, found });
    }
    let mut tensor = TensorEntry::new(array(), dtype, shape, begin..lies.end);
    tensor.strides = (!strides.is_plain()).then(|| Arc::new(strides));
    Ok(Array::Tensor(tensor))
}

/// The strides, in elements, of an array whose last axis lies together.
fn c(shape: &[usize]) -> Option<Vec<u64>> {
    let mut strides = fortran(&shape.iter().rev().copied().collect::<Vec<_>>())?;
    strides.reverse();
    Some(strides)
}

/// Of one whose first axis lies together.
fn fortran(shape: &[usize]) -> Option<Vec<u64>> {
    let mut next = 1u64;
    let mut stride = |&extent: &usize| {
        let stride = next;
        next = next.checked_mul(u64::try_from(extent).ok()?.max(1))?;
        Some(stride)
    };
    shape.iter().map(&mut stride).collect()
}
