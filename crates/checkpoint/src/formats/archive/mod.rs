//! ZIP archives, which PyTorch and NumPy write: what is in them and where.
//!
//! The list of contents at the end is what counts
//! (<https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT>). Entries lie in the file as they
//! are, or compressed by deflate; all else is refused by name, and so are entries that overlap or
//! come twice, with which small archives pretend to be huge ones.

mod error;
mod inflate;

pub use error::ArchiveError;

use crate::bytes::read_at::{Filled, ReadAt, Stamp};
use crate::bytes::sealed::Sealed;
use crate::bytes::sums::Crc;
use crate::error::CheckpointError;
use crate::file::{DataFile, OpenFile, is_damage, open_regular};
use crate::format::Format;
use crate::tensor::TensorEntry;
use inflate::{Inflated, Streams};
use rawzip::{CompressionMethod, ReaderAt, ZipArchive, ZipLocator};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The most that deflate makes of a byte, and some for what is at its begin and end.
const INFLATED: u64 = 1032;
/// Entries whose text is read whole have at least as much room as this.
const TEXT: u64 = 1 << 20;

/// The open file of an archive, read as a whole and entry by entry.
#[derive(Clone, Debug)]
struct SharedFile(Arc<File>);

impl ReadAt for SharedFile {
    fn length(&self) -> io::Result<u64> {
        self.0.length()
    }

    fn stamp(&self) -> io::Result<Stamp> {
        self.0.stamp()
    }

    fn read_some_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_some_at(into, offset)
    }
}

impl ReaderAt for SharedFile {
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_some_at(into, offset)
    }
}

/// An archive whose list of contents was read and held against the file.
#[derive(Debug)]
pub(crate) struct Archive {
    path: PathBuf,
    length: u64,
    entries: Vec<Entry>,
    by_name: HashMap<String, usize>,
    reader: SharedFile,
    /// The archive itself, and each compressed entry that is in use.
    files: Vec<DataFile>,
    streams: Streams,
    sealed: Vec<Sealed>,
    /// Where entries are, once they are in use.
    in_use: HashMap<usize, Place>,
}

/// A file in the archive.
#[derive(Debug)]
pub(crate) struct Entry {
    pub name: String,
    /// Bytes of it, uncompressed.
    pub size: u64,
    /// Where it lies, as it lies there.
    stored: Range<u64>,
    /// Nothing if the archive was written without checksums.
    crc32: Option<u32>,
    method: CompressionMethod,
    encrypted: bool,
}

/// Where the bytes of an entry are.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// Which of the checkpoint's files.
    pub file: usize,
    pub range: Range<u64>,
    /// Which of its stretches with a checksum, if it has one.
    pub sealed: Option<usize>,
}

impl Archive {
    /// Opens an archive and reads its list of contents.
    pub fn open(path: &Path) -> Result<Archive, CheckpointError> {
        let failed = |error| CheckpointError::storage("open", path, error);
        let (file, length) = open_regular(path).map_err(failed)?;
        let reader = SharedFile(Arc::new(file));
        let mut archive = Archive {
            path: path.to_owned(),
            length,
            entries: Vec::new(),
            by_name: HashMap::new(),
            files: vec![DataFile::new(path, Box::new(reader.clone()), None).map_err(failed)?],
            reader,
            streams: Streams::default(),
            sealed: Vec::new(),
            in_use: HashMap::new(),
        };
        archive.list()?;
        archive.check()?;
        Ok(archive)
    }

    /// Reads the list of contents.
    fn list(&mut self) -> Result<(), CheckpointError> {
        let mut buffer = vec![0; rawzip::MAX_CENTRAL_DIRECTORY_RECORD_SIZE];
        let located =
            ZipLocator::new().locate_in_reader(self.reader.clone(), &mut buffer, self.length);
        let archive = located.map_err(|(_, error)| self.unreadable(error))?;
        let mut entries = archive.entries(&mut buffer);
        while let Some(found) = entries.next_entry().map_err(|error| self.unreadable(error))? {
            let offset = found.central_directory_offset();
            let name = str::from_utf8(found.file_path().as_bytes());
            let name = name.map_err(|_| self.wrong(ArchiveError::Name { offset }))?.to_owned();
            let entry = Entry {
                size: found.uncompressed_size_hint(),
                stored: self.locate(&archive, &found, &name)?,
                crc32: Some(found.crc32()),
                method: found.compression_method(),
                encrypted: found.flags().is_encrypted(),
                name,
            };
            self.entries.push(entry);
        }
        // PyTorch writes 0 for each if it is told to leave checksums out (`set_crc32_options(False)`).
        // One entry may have that checksum; that all have it says that none was computed.
        let with_bytes = self.entries.iter().filter(|entry| entry.size > 0);
        if with_bytes.clone().count() > 1 && with_bytes.clone().all(|e| e.crc32 == Some(0)) {
            self.entries.iter_mut().for_each(|entry| entry.crc32 = None);
        }
        Ok(())
    }

    /// Where the bytes of an entry lie: how long its own header is, only that says.
    fn locate(
        &self,
        archive: &ZipArchive<SharedFile>,
        found: &rawzip::ZipFileHeaderRecord<'_>,
        name: &str,
    ) -> Result<Range<u64>, CheckpointError> {
        let entry = archive.get_entry(found.wayfinder()).map_err(|error| self.unreadable(error))?;
        let (begin, end) = entry.compressed_data_range();
        match begin <= end && end <= self.length {
            true => Ok(begin..end),
            false => Err(self.wrong(ArchiveError::BeyondEnd {
                entry: name.to_owned(),
                end,
                length: self.length,
            })),
        }
    }

    /// Holds the entries against each other.
    fn check(&mut self) -> Result<(), CheckpointError> {
        let mut in_order: Vec<&Entry> =
            self.entries.iter().filter(|entry| !entry.stored.is_empty()).collect();
        in_order.sort_by_key(|entry| entry.stored.start);
        for pair in in_order.windows(2) {
            if let [before, after] = pair
                && after.stored.start < before.stored.end
            {
                let (entry, other) = (after.name.clone(), before.name.clone());
                let offset = after.stored.start;
                return Err(self.wrong(ArchiveError::Overlap { entry, other, offset }));
            }
        }
        for (index, entry) in self.entries.iter().enumerate() {
            if self.by_name.insert(entry.name.clone(), index).is_some() {
                let entry = entry.name.clone();
                return Err(self.wrong(ArchiveError::Twice { entry }));
            }
        }
        Ok(())
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of the file.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The entries, in the order of the list.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The number of an entry.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// Whether the bytes of an entry can only be had in their order.
    pub fn is_compressed(&self, entry: usize) -> bool {
        self.entries[entry].method == CompressionMethod::DEFLATE
    }

    /// Takes an entry into use and says where its bytes are.
    pub fn place(&mut self, entry: usize) -> Result<Place, CheckpointError> {
        if let Some(place) = self.in_use.get(&entry) {
            return Ok(place.clone());
        }
        let Entry { name, size, stored, crc32, method, encrypted } = &self.entries[entry];
        let (name, size, crc32) = (name.clone(), *size, *crc32);
        let length = stored.end - stored.start;
        if *encrypted {
            return Err(self.wrong(ArchiveError::Encrypted { entry: name }));
        }
        let (file, range) = match *method {
            CompressionMethod::STORE if size == length => (0, stored.clone()),
            CompressionMethod::DEFLATE if size <= length.saturating_mul(INFLATED) => {
                let (reader, streams) = (self.reader.clone(), self.streams.clone());
                let file = Box::new(Inflated::new(reader, stored.clone(), size, streams));
                let compressed = Some(stored.start);
                let file = DataFile::new(&self.path, file, compressed)
                    .map_err(|error| CheckpointError::storage("read", &self.path, error))?;
                self.files.push(file);
                (self.files.len() - 1, 0..size)
            }
            CompressionMethod::STORE | CompressionMethod::DEFLATE => {
                let source = ArchiveError::Size { entry: name, length, size };
                return Err(self.wrong(source));
            }
            other => {
                let method = match other.name() {
                    Some(name) => name.to_owned(),
                    None => other.as_u16().to_string(),
                };
                return Err(self.wrong(ArchiveError::Compression { entry: name, method }));
            }
        };
        let sealed = crc32.map(|crc32| {
            self.sealed.push(Sealed::new(file, range.clone(), crc32));
            self.sealed.len() - 1
        });
        let place = Place { file, range, sealed };
        self.in_use.insert(entry, place.clone());
        Ok(place)
    }

    /// Reads the first bytes of an entry, as many as it and `into` have; tells how many.
    pub fn read_start(&mut self, entry: usize, into: &mut [u8]) -> Result<usize, CheckpointError> {
        let place = self.place(entry)?;
        let length = into
            .len()
            .min(usize::try_from(place.range.end - place.range.start).unwrap_or(usize::MAX));
        let filled = self.files[place.file].file.fill_at(&mut into[..length], place.range.start);
        // Nobody reads on from here until tensors are read.
        self.streams.forget();
        match filled.map_err(|error| self.unread(entry, error))? {
            Filled::Wholly => Ok(length),
            Filled::Only(_) => {
                Err(self.unread(entry, io::Error::from(io::ErrorKind::UnexpectedEof)))
            }
        }
    }

    /// Reads an entry whole and holds it against its checksum, if it has one. It may have as many bytes as the
    /// archive, compressed or not.
    pub fn read(&mut self, entry: usize) -> Result<Vec<u8>, CheckpointError> {
        let Entry { name, size, crc32, .. } = &self.entries[entry];
        let (name, expected, limit) = (name.clone(), *crc32, self.length.max(TEXT));
        let size = match usize::try_from(*size) {
            Ok(size) if size as u64 <= limit => size,
            _ => {
                let size = *size;
                return Err(self.wrong(ArchiveError::TooLarge { entry: name, size, limit }));
            }
        };
        self.place(entry)?;
        let mut bytes = vec![0; size];
        self.read_start(entry, &mut bytes)?;
        let found = Crc::Crc32.append(0, &bytes);
        if let Some(expected) = expected.filter(|expected| *expected != found) {
            return Err(self.wrong(ArchiveError::Checksum { entry: name, expected, found }));
        }
        Ok(bytes)
    }

    /// The checkpoint of these tensors, which lie in entries that are in use.
    pub fn into_checkpoint(
        mut self,
        format: Format,
        tensors: Vec<TensorEntry>,
    ) -> Result<OpenFile, CheckpointError> {
        let mut tensors_in = vec![0; self.sealed.len()];
        let with_bytes = tensors.iter().filter(|tensor| tensor.bytes() > 0);
        with_bytes.clone().filter_map(|tensor| tensor.sealed).for_each(|i| tensors_in[i] += 1);
        for tensor in with_bytes {
            if let Some(sealed) = tensor.sealed {
                self.sealed[sealed].in_passing =
                    tensors_in[sealed] == 1 && tensor.strides.is_none();
            }
        }
        let all_summed = tensors.iter().all(|tensor| tensor.sealed.is_some());
        let mut open = OpenFile::new(&self.path, format, self.files, tensors, BTreeMap::new())?;
        (open.sealed, open.all_summed) = (self.sealed, all_summed);
        Ok(open)
    }

    pub fn wrong(&self, source: ArchiveError) -> CheckpointError {
        CheckpointError::malformed(&self.path, source)
    }

    fn unreadable(&self, error: rawzip::Error) -> CheckpointError {
        match error.into_kind() {
            rawzip::ErrorKind::IO(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
                CheckpointError::storage("read", &self.path, error)
            }
            kind => self.wrong(ArchiveError::Contents { problem: kind.to_string() }),
        }
    }

    fn unread(&self, entry: usize, error: io::Error) -> CheckpointError {
        match is_damage(&error) {
            true => self.wrong(ArchiveError::Inflate {
                entry: self.entries[entry].name.clone(),
                problem: error.to_string(),
            }),
            false => CheckpointError::storage("read", &self.path, error),
        }
    }
}
