//! Opening a PyTorch checkpoint: the tensors of its pickle, found in their storages.

use super::error::PyTorchError;
use super::machine::{Machine, Tensor};
use super::names::list;
use crate::bytes::strides::Strides;
use crate::error::CheckpointError;
use crate::file::OpenFile;
use crate::format::{Format, own_name};
use crate::formats::archive::Archive;
use crate::formats::safetensors::{FileKind, FormatError};
use crate::tensor::{FileDType, TensorEntry, value_bytes};
use std::collections::HashSet;
use std::sync::Arc;
use warmstart_graph::Shape;

const PICKLE: &str = "data.pkl";
/// The keys of storages are numbers. One text may be the key of all: what each copies of it must be
/// bounded.
const LONGEST_KEY: usize = 256;

/// Whether an entry of an archive has the name that a checkpoint's pickle has.
pub(crate) fn is_pickle(name: &str) -> bool {
    name.strip_suffix(PICKLE).is_some_and(|root| {
        root.is_empty() || root.ends_with('/') && root.matches('/').count() == 1
    })
}

/// Opens an archive that has a pickle.
pub(crate) fn open_pytorch(mut archive: Archive) -> Result<OpenFile, CheckpointError> {
    let file = archive.path().to_owned();
    let wrong = |source: FormatError| CheckpointError::malformed(&file, source);
    let entries = archive.entries().iter().enumerate();
    let mut pickles = entries.filter(|(_, entry)| is_pickle(&entry.name));
    let (of, name) = match (pickles.next(), pickles.next()) {
        (Some((_, first)), Some((_, second))) => {
            let (first, second) = (first.name.clone(), second.name.clone());
            return Err(wrong(PyTorchError::Pickles { first, second }.into()));
        }
        (Some((of, entry)), None) => (Some(of), entry.name.clone()),
        (None, _) => (None, String::new()),
    };
    let root = name.strip_suffix(PICKLE).unwrap_or_default().to_owned();
    if archive.find(&format!("{root}constants.pkl")).is_some() {
        return Err(wrong(FormatError::Recognised { kind: FileKind::TorchScript }));
    }
    let swapped = match archive.find(&format!("{root}byteorder")) {
        None => false,
        Some(entry) => match archive.read(entry)?.trim_ascii() {
            b"little" => false,
            b"big" => true,
            other => {
                let found = String::from_utf8_lossy(other).chars().take(20).collect();
                return Err(wrong(PyTorchError::ByteOrder { found }.into()));
            }
        },
    };
    let pickle = match of {
        Some(entry) => archive.read(entry)?,
        None => Vec::new(),
    };
    let mut machine = Machine::new(&pickle);
    let built = machine.run().map_err(|source| wrong(source.into()))?;
    let named = list(&machine, &built).map_err(|source| wrong(source.into()))?;
    let mut tensors = Vec::with_capacity(named.len());
    let mut names = HashSet::with_capacity(named.len());
    for (name, tensor) in named {
        // A tensor that was saved by itself.
        let name = if name.is_empty() { own_name(&file) } else { name };
        if !names.insert(name.clone()) {
            return Err(wrong(PyTorchError::Twice { tensor: name }.into()));
        }
        let of = Described { machine: &machine, root: &root, swapped };
        tensors.push(of.place(&mut archive, name, &machine.tensors[tensor])?);
    }
    tensors.sort_by_key(|tensor| (tensor.file, tensor.range.start));
    archive.into_checkpoint(Format::PyTorch, tensors)
}

/// What the pickle says.
struct Described<'a> {
    machine: &'a Machine<'a>,
    root: &'a str,
    swapped: bool,
}

impl Described<'_> {
    /// Finds a tensor in its storage.
    fn place(
        &self,
        archive: &mut Archive,
        name: String,
        tensor: &Tensor,
    ) -> Result<TensorEntry, CheckpointError> {
        let file = archive.path().to_owned();
        let wrong = |source: PyTorchError| CheckpointError::malformed(&file, source);
        let storage = &self.machine.storages[tensor.storage];
        if storage.key.len() > LONGEST_KEY {
            let entry = "data/…".to_owned();
            return Err(wrong(PyTorchError::NoStorage { tensor: name, entry }));
        }
        let entry = format!("{}data/{}", self.root, self.machine.text(&storage.key));
        let (dtype, shape) = (tensor.dtype, Shape::from(tensor.shape.clone()));
        let Some(index) = archive.find(&entry) else {
            return Err(wrong(PyTorchError::NoStorage { tensor: name, entry }));
        };
        let bytes = archive.entries()[index].size;
        let expected = storage.dtype.map_or(1, element).saturating_mul(storage.elements);
        if bytes < expected {
            let (tensor, found) = (name, bytes);
            return Err(wrong(PyTorchError::StorageSize { tensor, entry, expected, found }));
        }
        let size = element(dtype);
        let value = value_bytes(dtype, &shape).ok();
        let swapped = if self.swapped { dtype.component() } else { 1 };
        let strides = Strides::new(size, swapped, &shape, &tensor.strides);
        let begin = tensor.offset.checked_mul(size);
        let (Some(value), Some(strides), Some(begin)) = (value, strides, begin) else {
            return Err(wrong(PyTorchError::BeyondStorage { tensor: name, dtype, shape, bytes }));
        };
        let empty = strides.span() == 0;
        if !empty && begin.checked_add(strides.span()).is_none_or(|end| end > bytes) {
            return Err(wrong(PyTorchError::BeyondStorage { tensor: name, dtype, shape, bytes }));
        }
        if value > archive.length().max(bytes) {
            return Err(wrong(PyTorchError::Repeated { tensor: name, dtype, shape }));
        }
        if archive.is_compressed(index) && !strides.is_in_order() {
            return Err(wrong(PyTorchError::CompressedView { tensor: name, entry }));
        }
        let place = archive.place(index)?;
        // Nothing of an empty tensor is anywhere.
        let begin = place.range.start + if empty { 0 } else { begin };
        let mut entry = TensorEntry::new(name, dtype, shape, begin..begin + value);
        entry.file = place.file;
        entry.sealed = place.sealed;
        entry.strides = (!strides.is_plain()).then(|| Arc::new(strides));
        Ok(entry)
    }
}

/// Bytes of an element.
fn element(dtype: FileDType) -> u64 {
    dtype.bits() / 8
}
