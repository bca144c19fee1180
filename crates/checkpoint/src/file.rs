//! An open checkpoint: what it says of its tensors is read, its weights are not.

use crate::bytes::read_at::{Filled, ReadAt, Stamp};
use crate::bytes::sealed::Sealed;
use crate::bytes::text::Text;
use crate::error::CheckpointError;
use crate::format::Format;
use crate::formats::safetensors::{FileKind, FormatError, HeaderError, HeaderText};
use crate::metadata::Metadata;
use crate::read::checksums::{self, Claim};
use crate::tensor::TensorEntry;
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File};
use std::hash::BuildHasher;
use std::io::{self, IoSliceMut};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, PoisonError};
use std::thread;
use warmstart_gpu::ByteSource;

/// A header of so many bytes is read by two threads.
const LONG_HEADER: usize = 256 << 10;

/// A file that holds tensors.
#[derive(Debug)]
pub(crate) struct DataFile {
    pub path: PathBuf,
    pub file: Box<dyn ReadAt>,
    /// Where in the file it lies, if it is a compressed entry of an archive. Its own offsets count
    /// inflated bytes.
    pub compressed: Option<u64>,
    /// How it was when it was opened.
    stamp: Stamp,
}

impl DataFile {
    /// Opens a regular file, and tells its length.
    pub fn open(path: &Path) -> io::Result<(DataFile, u64)> {
        let (file, length) = open_regular(path)?;
        Ok((DataFile::new(path, Box::new(file), None)?, length))
    }

    /// What is open already.
    pub fn new(
        path: &Path,
        file: Box<dyn ReadAt>,
        compressed: Option<u64>,
    ) -> io::Result<DataFile> {
        let stamp = file.stamp()?;
        Ok(DataFile { path: path.to_owned(), file, compressed, stamp })
    }

    fn check_unchanged(&self) -> Result<(), CheckpointError> {
        match self.file.stamp() {
            Ok(now) if now == self.stamp => Ok(()),
            Ok(_) => Err(CheckpointError::Changed { file: self.path.clone() }),
            Err(error) => Err(CheckpointError::storage("read", &self.path, error)),
        }
    }
}

/// For tensors that are neighbours. What is wrong is told by reading them one by one.
impl ByteSource for DataFile {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.read_each_at_cached(offset, &mut [IoSliceMut::new(into)])
    }

    fn read_each_at_cached(&self, offset: u64, into: &mut [IoSliceMut<'_>]) -> io::Result<()> {
        match self.file.fill_each_at(into, offset)? {
            Filled::Wholly => Ok(()),
            Filled::Only(_) => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// Opens a regular file, and tells its length.
pub(crate) fn open_regular(path: &Path) -> io::Result<(File, u64)> {
    // A pipe or device has no length to check anything against, and may never end. It is asked for
    // before it is opened too: to open a pipe is to wait for its writer.
    let regular = |about: fs::Metadata| match about.is_file() {
        true => Ok(about.len()),
        false => Err(io::Error::other("it is not a regular file")),
    };
    regular(fs::metadata(path)?)?;
    let file = File::open(path)?;
    let length = regular(file.metadata()?)?;
    Ok((file, length))
}

/// Whether what inflates an entry failed because of the bytes, and not because of the disk.
pub(crate) fn is_damage(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
    matches!(error.kind(), InvalidData | InvalidInput | UnexpectedEof)
}

/// Where the tensor of each name stands among the tensors, which have the names themselves. A restore
/// of all of them asks for none, so that the table is made when somebody does.
#[derive(Debug, Default)]
struct Names {
    own: OnceLock<HashTable<usize>>,
    hasher: RandomState,
    aliases: HashMap<String, usize>,
}

impl Names {
    fn table(&self, tensors: &[TensorEntry]) -> HashTable<usize> {
        let mut own = HashTable::with_capacity(tensors.len());
        let hash = |name: &str| self.hasher.hash_one(name);
        for (index, tensor) in tensors.iter().enumerate() {
            let same = |&other: &usize| tensors[other].name == tensor.name;
            match own.find_mut(hash(&tensor.name), same) {
                Some(other) => *other = index,
                None => {
                    own.insert_unique(hash(&tensor.name), index, |&i| hash(&tensors[i].name));
                }
            }
        }
        own
    }

    /// By its own name or another.
    fn find(&self, name: &str, tensors: &[TensorEntry]) -> Option<usize> {
        let same = |&index: &usize| tensors.get(index).is_some_and(|tensor| tensor.name == name);
        let own = self.own.get_or_init(|| self.table(tensors));
        let own = own.find(self.hasher.hash_one(name), same);
        own.or_else(|| self.aliases.get(name)).copied()
    }
}

/// A checkpoint of one file or several. They stay open, so that a save that replaces one changes
/// nothing for whoever is about to read it.
#[derive(Debug)]
pub(crate) struct OpenFile {
    /// What it was opened as: the one file, or that which names the others.
    pub path: PathBuf,
    pub format: Format,
    pub tensors: Arc<Vec<TensorEntry>>,
    pub metadata: Metadata,
    /// Stretches of the files that have one checksum for all that is in them.
    pub sealed: Vec<Sealed>,
    /// Whether there is a checksum for every tensor.
    pub all_summed: bool,
    pub files: Vec<DataFile>,
    names: Names,
}

impl OpenFile {
    /// Opens one safetensors file.
    pub fn open(path: &Path) -> Result<OpenFile, CheckpointError> {
        let malformed = |source: FormatError| CheckpointError::malformed(path, source);
        let by_name = || FileKind::by_name(path).map(|kind| FormatError::Recognised { kind });
        let (file, length) = DataFile::open(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => match by_name() {
                Some(source) => malformed(source),
                None => CheckpointError::NotFound { path: path.to_owned() },
            },
            _ => CheckpointError::storage("open", path, error),
        })?;
        let failed = |error: HeaderError| match error {
            HeaderError::Io(error) => CheckpointError::storage("read", path, error),
            // That it is text says less than what TensorFlow calls files of this name.
            HeaderError::Format(
                source @ FormatError::Recognised { kind: FileKind::Text | FileKind::Picture },
            ) => malformed(by_name().unwrap_or(source)),
            HeaderError::Format(source @ FormatError::Recognised { .. }) => malformed(source),
            HeaderError::Format(source) => malformed(by_name().unwrap_or(source)),
        };
        let text = HeaderText::read(&*file.file, length).map_err(failed)?;
        let (header, claim) = thread::scope(|scope| {
            // Of thousands of tensors, both take as long as reading a good part of their weights.
            let long = text.text.len() >= LONG_HEADER;
            let claim = || Claim::at_start(&text);
            let claim = long.then(|| thread::Builder::new().spawn_scoped(scope, claim).ok());
            let header = text.parse();
            (header, claim.flatten().and_then(|claim| claim.join().ok()).flatten())
        });
        let header = header.map_err(|source| failed(source.into()))?;
        // First, because it tells a damaged version from a newer one.
        let checksums = checksums::read(path, &text, &header, claim)?;
        let all_summed = checksums.is_some();
        let mut tensors = header.tensors;
        for (tensor, checksum) in tensors.iter_mut().zip(checksums.into_iter().flatten()) {
            tensor.checksum = Some(checksum);
        }
        let mut open =
            OpenFile::new(path, Format::Safetensors, vec![file], tensors, header.metadata)?;
        open.all_summed = all_summed;
        Ok(open)
    }

    /// A checkpoint of these files.
    pub fn new(
        path: &Path,
        format: Format,
        files: Vec<DataFile>,
        tensors: Vec<TensorEntry>,
        metadata: BTreeMap<String, Text>,
    ) -> Result<OpenFile, CheckpointError> {
        let metadata = Metadata::read(path, metadata)?;
        let all_summed = tensors.iter().all(|tensor| tensor.checksum.is_some());
        Ok(OpenFile {
            path: path.to_owned(),
            format,
            tensors: Arc::new(tensors),
            metadata,
            sealed: Vec::new(),
            all_summed,
            files,
            names: Names::default(),
        })
    }

    pub fn tensor(&self, name: &str) -> Option<&TensorEntry> {
        self.tensors.get(self.names.find(name, &self.tensors)?)
    }

    /// Lets a tensor be found by another name too, if no tensor has that one.
    pub fn alias(&mut self, alias: String, name: &str) {
        if self.tensor(&alias).is_none()
            && let Some(index) = self.names.find(name, &self.tensors)
        {
            self.names.aliases.insert(alias, index);
        }
    }

    /// The stretch with one checksum that a tensor lies in.
    pub fn sealed(&self, tensor: &TensorEntry) -> Option<&Sealed> {
        self.sealed.get(tensor.sealed?)
    }

    /// Forgets which sums were found before: the bytes may be others by now.
    pub fn forget_sums(&self) {
        for sealed in &self.sealed {
            *sealed.found.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }

    /// Whether bytes without a checksum are still those that the header speaks of: an error if a file
    /// was written to. (Who replaces a file, as saves do, writes to another one.)
    pub fn check_unchanged(&self) -> Result<(), CheckpointError> {
        self.files.iter().try_for_each(DataFile::check_unchanged)
    }

    /// The same for one tensor. (A compressed entry is part of the first file, its archive.)
    pub fn check_tensor_unchanged(&self, tensor: &TensorEntry) -> Result<(), CheckpointError> {
        let own = self.files.get(tensor.file);
        let archive =
            self.files.first().filter(|_| own.is_some_and(|own| own.compressed.is_some()));
        let slices = tensor.slices.iter().flat_map(|slices| slices.iter());
        let shards: BTreeSet<usize> = slices.map(|slice| slice.file).collect();
        let shards = shards.iter().filter_map(|&file| self.files.get(file));
        archive.into_iter().chain(own).chain(shards).try_for_each(DataFile::check_unchanged)
    }

    /// The file that a tensor begins in.
    pub fn file_of(&self, tensor: &TensorEntry) -> &Path {
        self.files.get(tensor.file).map_or(&self.path, |file| &file.path)
    }

    /// Reads a part of a tensor, `offset` counted as its range is.
    pub fn read_tensor(
        &self,
        tensor: &TensorEntry,
        offset: u64,
        mut into: &mut [u8],
    ) -> Result<(), CheckpointError> {
        if let Some(strides) = &tensor.strides {
            let begin = tensor.range.start;
            let stored = begin..begin + strides.span();
            return strides.read(offset.saturating_sub(begin), into, |at, into| {
                self.read_piece(tensor, tensor.file, &stored, begin + at, into)
            });
        }
        let Some(slices) = &tensor.slices else {
            return self.read_piece(tensor, tensor.file, &tensor.range, offset, into);
        };
        let mut at = offset.saturating_sub(tensor.range.start);
        while !into.is_empty() {
            let Some(run) = slices.run(at) else {
                let source = io::Error::from(io::ErrorKind::UnexpectedEof);
                return Err(self.unreadable(tensor, tensor.file, offset, source));
            };
            let length = into.len().min(usize::try_from(run.length).unwrap_or(usize::MAX));
            let (now, rest) = into.split_at_mut(length);
            let whole = run.slice.offset..run.slice.offset + slices.bytes(run.slice);
            self.read_piece(tensor, run.slice.file, &whole, run.offset, now)?;
            (into, at) = (rest, at + length as u64);
        }
        Ok(())
    }

    /// Reads from one file, in which a tensor, or a slice of it, has this range.
    pub fn read_piece(
        &self,
        tensor: &TensorEntry,
        file: usize,
        range: &Range<u64>,
        offset: u64,
        into: &mut [u8],
    ) -> Result<(), CheckpointError> {
        if into.is_empty() {
            return Ok(());
        }
        let Some(DataFile { path, file: source, .. }) = self.files.get(file) else {
            let source = io::Error::from(io::ErrorKind::NotFound);
            return Err(self.unreadable(tensor, file, offset, source));
        };
        match source.fill_at(into, offset) {
            Ok(Filled::Wholly) => Ok(()),
            Ok(Filled::Only(n)) => {
                let end = offset + n as u64;
                let length = source.length().unwrap_or(end);
                Err(CheckpointError::CutShort {
                    file: path.clone(),
                    tensor: tensor.name.to_string(),
                    offset: range.start,
                    expected: range.end - range.start,
                    // A file that now ends before the tensor begins has none of its bytes.
                    found: length.min(range.end).saturating_sub(range.start),
                })
            }
            Err(error) => Err(self.unreadable(tensor, file, offset, error)),
        }
    }

    fn unreadable(
        &self,
        tensor: &TensorEntry,
        file: usize,
        offset: u64,
        source: io::Error,
    ) -> CheckpointError {
        let (data, tensor) = (self.files.get(file), tensor.name.to_string());
        let file = data.map_or(&self.path, |file| &file.path).clone();
        match data.and_then(|file| file.compressed) {
            Some(_) if is_damage(&source) => {
                CheckpointError::Inflate { file, tensor, offset, source }
            }
            Some(offset) => CheckpointError::Read { file, tensor, offset, source },
            None => CheckpointError::Read { file, tensor, offset, source },
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use rustix::fs::{CWD, FileType, Mode, mknodat};

    /// That nobody waits for a writer shows in that this test ends.
    #[test]
    fn a_pipe_is_refused_and_not_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("model.safetensors");
        mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let message = OpenFile::open(&pipe).unwrap_err().to_string();
        assert!(message.contains("it is not a regular file"), "{message}");
    }
}
