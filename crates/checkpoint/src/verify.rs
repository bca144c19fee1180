//! Holding the bytes of tensors against their checksums.

use crate::checkpoint::Checkpoint;
use crate::directory::{list, step_of};
use crate::error::CheckpointError;
use crate::file::OpenFile;
use crate::tensor::TensorEntry;
use std::cell::RefCell;
use std::ops::Range;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// Bytes are read, summed and copied in pieces that stay in a core's cache, so that each comes from
/// memory once.
const SCRATCH: usize = 256 << 10;

thread_local! {
    static SCRATCH_BYTES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A part of a tensor that was read: where in the file, how long, and its checksum.
type Piece = (u64, usize, u32);

/// Reads a tensor in pieces, from several threads and in any order, and sums up what it hands out.
pub(crate) struct Summed<'a> {
    file: &'a OpenFile,
    tensor: &'a TensorEntry,
    /// The checksum that was written, if one was.
    expected: Option<u32>,
    pieces: Mutex<Vec<Piece>>,
}

impl<'a> Summed<'a> {
    pub fn new(file: &'a OpenFile, tensor: &'a TensorEntry) -> Summed<'a> {
        let expected = file.checksum(&tensor.name);
        Summed { file, tensor, expected, pieces: Mutex::new(Vec::new()) }
    }

    /// As [`OpenFile::read_tensor`]. Writes each byte of `into` once, in order, and reads none: it
    /// may be write-combined memory.
    pub fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<(), CheckpointError> {
        let length = into.len();
        let mut crc = 0;
        let mut at = offset;
        SCRATCH_BYTES.with_borrow_mut(|scratch| {
            scratch.resize(scratch.len().max(length.min(SCRATCH)), 0);
            for piece in into.chunks_mut(SCRATCH) {
                let scratch = &mut scratch[..piece.len()];
                self.file.read_tensor(self.tensor, at, scratch)?;
                crc = crc32c::crc32c_append(crc, scratch);
                piece.copy_from_slice(scratch);
                at += piece.len() as u64;
            }
            Ok(())
        })?;
        let mut pieces = self.pieces.lock().unwrap_or_else(PoisonError::into_inner);
        pieces.push((offset, length, crc));
        Ok(())
    }

    /// Compares once everything has been read. Bytes that nobody asked for are read now, because
    /// the checksum is of all of them.
    pub fn finish(&self) -> Result<(), CheckpointError> {
        let mut pieces = self.pieces.lock().unwrap_or_else(PoisonError::into_inner);
        // The same piece twice is one piece, if it read the same both times.
        pieces.sort_unstable();
        pieces.dedup();
        let mut found = 0;
        let mut at = self.tensor.range.start;
        for &(offset, length, crc) in pieces.iter() {
            if offset < at {
                // Pieces that overlap cannot be joined, but what they were read from can be judged.
                (found, at) = (0, self.tensor.range.start);
                break;
            }
            found = self.sum(found, at..offset)?;
            found = crc32c::crc32c_combine(found, crc, length);
            at = offset + length as u64;
        }
        let found = self.sum(found, at..self.tensor.range.end)?;
        if self.expected == Some(found) {
            return Ok(());
        }
        // Those of the slices also tell which of them is damaged.
        self.check_slices()?;
        match self.expected {
            None => Ok(()),
            Some(expected) => {
                let offset = self.tensor.range.start;
                Err(self.damaged(self.tensor.file, offset, expected, found))
            }
        }
    }

    /// Reads each slice by itself and compares.
    fn check_slices(&self) -> Result<(), CheckpointError> {
        let Some(slices) = &self.tensor.slices else { return Ok(()) };
        for slice in slices.iter() {
            let range = slice.offset..slice.offset + slices.bytes(slice);
            let read = |at, into: &mut [u8]| {
                self.file.read_piece(self.tensor, slice.file, &range, at, into)
            };
            let found = sum(0, range.clone(), &read)?;
            if found != slice.checksum {
                return Err(self.damaged(slice.file, slice.offset, slice.checksum, found));
            }
        }
        Ok(())
    }

    fn damaged(&self, file: usize, offset: u64, expected: u32, found: u32) -> CheckpointError {
        let path = &self.file.path;
        CheckpointError::Checksum {
            file: self.file.files.get(file).map_or(path, |file| &file.path).clone(),
            tensor: self.tensor.name.clone(),
            offset,
            expected,
            found,
            older: older(path),
        }
    }

    /// Goes on summing with a part of the tensor.
    fn sum(&self, crc: u32, range: Range<u64>) -> Result<u32, CheckpointError> {
        sum(crc, range, &|at, into: &mut [u8]| self.file.read_tensor(self.tensor, at, into))
    }
}

/// Goes on summing with what `read` has in this range.
fn sum(
    mut crc: u32,
    range: Range<u64>,
    read: &dyn Fn(u64, &mut [u8]) -> Result<(), CheckpointError>,
) -> Result<u32, CheckpointError> {
    SCRATCH_BYTES.with_borrow_mut(|scratch| {
        let mut at = range.start;
        while at < range.end {
            let length = (range.end - at).min(SCRATCH as u64) as usize;
            scratch.resize(scratch.len().max(length), 0);
            read(at, &mut scratch[..length])?;
            crc = crc32c::crc32c_append(crc, &scratch[..length]);
            at += length as u64;
        }
        Ok(crc)
    })
}

/// The newest checkpoint of the same run that is older than this one and whole by its header.
fn older(file: &Path) -> Option<PathBuf> {
    let step = step_of(file.file_name()?.to_str()?)?;
    let files = list(file.parent()?).ok()?;
    let older = files.into_iter().rev().filter(|other| other.step < step);
    older.map(|other| other.path).find(|path| OpenFile::open(path).is_ok())
}

/// What [`Checkpoint::verify`] found.
#[derive(Debug)]
#[non_exhaustive]
pub struct Verification {
    /// Tensors that were read.
    pub tensors: usize,
    /// Bytes they have.
    pub bytes: u64,
    /// Whether every tensor has a checksum. Of one without it is only known that it can be read.
    pub checksums: bool,
    /// One error for each damaged tensor, in the order of the file.
    pub damaged: Vec<CheckpointError>,
}

impl Verification {
    /// Whether all is as it was written.
    pub fn is_whole(&self) -> bool {
        self.damaged.is_empty()
    }
}

impl Checkpoint {
    /// Reads all tensors and holds them against their checksums. Needs no device, and little
    /// memory, however large the checkpoint is.
    pub fn verify(&self) -> Verification {
        let tensors = self.tensors();
        let next = AtomicUsize::new(0);
        let work = || {
            let mut damaged = Vec::new();
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(tensor) = tensors.get(index) else { return damaged };
                if let Err(error) = Summed::new(self.open_file(), tensor).finish() {
                    damaged.push((index, error));
                }
            }
        };
        let threads = thread::available_parallelism().map_or(1, |cores| cores.get());
        let mut damaged = thread::scope(|scope| {
            let others: Vec<_> =
                (1..threads.min(8).min(tensors.len())).map(|_| scope.spawn(work)).collect();
            let mut damaged = work();
            for other in others {
                damaged.extend(other.join().unwrap_or_else(|panic| resume_unwind(panic)));
            }
            damaged
        });
        damaged.sort_by_key(|(index, _)| *index);
        Verification {
            tensors: tensors.len(),
            bytes: tensors.iter().map(TensorEntry::bytes).sum(),
            checksums: self.open_file().all_summed,
            damaged: damaged.into_iter().map(|(_, error)| error).collect(),
        }
    }
}
