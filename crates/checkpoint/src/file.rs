//! An open checkpoint file: its header is read, its weights are not.

use crate::checksums;
use crate::error::CheckpointError;
use crate::metadata::Metadata;
use crate::read_at::{Filled, ReadAt};
use crate::safetensors::{FileKind, FormatError, Header, HeaderError};
use crate::tensor::TensorEntry;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// A checkpoint file. It stays open, so that a save that replaces it changes nothing for whoever
/// is about to read it.
#[derive(Debug)]
pub(crate) struct OpenFile {
    pub path: PathBuf,
    pub tensors: Vec<TensorEntry>,
    pub metadata: Metadata,
    /// The tensors' checksums, in their order, if the file has them.
    pub checksums: Option<Vec<u32>>,
    index: HashMap<String, usize>,
    file: File,
}

impl OpenFile {
    pub fn open(path: &Path) -> Result<OpenFile, CheckpointError> {
        let malformed = |source| CheckpointError::Malformed { file: path.to_owned(), source };
        let by_name = || FileKind::by_name(path).map(|kind| FormatError::Recognised { kind });
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => match by_name() {
                Some(source) => malformed(source),
                None => CheckpointError::NotFound { path: path.to_owned() },
            },
            _ => CheckpointError::storage("open", path, error),
        };
        let file = File::open(path).map_err(failed)?;
        let about = file.metadata().map_err(failed)?;
        if !about.is_file() {
            // A pipe or device has no length to check anything against, and may never end.
            let error = io::Error::other("it is not a regular file");
            return Err(CheckpointError::storage("open", path, error));
        }
        let header = Header::read(&file, about.len()).map_err(|error| match error {
            HeaderError::Io(error) => CheckpointError::storage("read", path, error),
            HeaderError::Format(source @ FormatError::Recognised { .. }) => malformed(source),
            HeaderError::Format(source) => malformed(by_name().unwrap_or(source)),
        })?;
        // First, because it tells a damaged version from a newer one.
        let checksums = checksums::read(path, &header)?;
        let metadata = Metadata::read(path, header.metadata)?;
        let index = |(i, tensor): (usize, &TensorEntry)| (tensor.name.clone(), i);
        let index = header.tensors.iter().enumerate().map(index).collect();
        let (path, tensors) = (path.to_owned(), header.tensors);
        Ok(OpenFile { path, tensors, metadata, checksums, index, file })
    }

    pub fn tensor(&self, name: &str) -> Option<&TensorEntry> {
        self.index.get(name).and_then(|&index| self.tensors.get(index))
    }

    /// The crc32c that a tensor had when it was written.
    pub fn checksum(&self, name: &str) -> Option<u32> {
        self.checksums.as_ref()?.get(*self.index.get(name)?).copied()
    }

    /// Reads a part of a tensor, `offset` counted from the start of the file.
    pub fn read_tensor(
        &self,
        tensor: &TensorEntry,
        offset: u64,
        into: &mut [u8],
    ) -> Result<(), CheckpointError> {
        match self.file.fill_at(into, offset) {
            Ok(Filled::Wholly) => Ok(()),
            Ok(Filled::Only(n)) => Err(CheckpointError::CutShort {
                file: self.path.clone(),
                tensor: tensor.name.clone(),
                offset: tensor.range.start,
                expected: tensor.bytes(),
                // A file that now ends before the tensor begins has none of its bytes.
                found: self.found(tensor, offset + n as u64),
            }),
            Err(source) => Err(CheckpointError::Read {
                file: self.path.clone(),
                tensor: tensor.name.clone(),
                offset,
                source,
            }),
        }
    }

    /// Bytes of a tensor that a file has which was found to end at or before `end`.
    fn found(&self, tensor: &TensorEntry, end: u64) -> u64 {
        let length = self.file.metadata().map_or(end, |about| about.len());
        length.min(tensor.range.end).saturating_sub(tensor.range.start)
    }
}
