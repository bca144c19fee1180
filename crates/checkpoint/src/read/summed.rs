//! Reading a tensor, and summing up what was read.
//!
//! When a tensor is whole its pieces' sums are joined and compared; a difference fails the restore
//! like a failed read. A block that a cut between two pieces goes through is kept until both have
//! come.

use crate::bytes::sealed::Sealed;
use crate::bytes::sums::{BLOCK, Blocks, Checksum, Crc};
use crate::error::CheckpointError;
use crate::file::OpenFile;
use crate::steps::older_than;
use crate::tensor::TensorEntry;
use std::cell::RefCell;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

thread_local! {
    static SCRATCH_BYTES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Scratch for bytes from this place of a file. It lies in its page as they lie in theirs: where a
/// copy goes to slightly behind where it comes from, page by page, some processors take three times
/// as long (AMD's Zen 3 and 4, as measured and in glibc's bug 30994).
fn with_scratch<T>(at: u64, length: usize, work: impl FnOnce(&mut [u8]) -> T) -> T {
    const PAGE: usize = 4096;
    SCRATCH_BYTES.with_borrow_mut(|bytes| {
        bytes.resize(bytes.len().max(length + PAGE), 0);
        let skip = (at as usize).wrapping_sub(bytes.as_ptr().addr()) % PAGE;
        work(&mut bytes[skip..skip + length])
    })
}

/// A part of a tensor that was read: where in the file, how long, and its checksum.
type Piece = (u64, usize, u32);

/// What was read of a tensor so far.
enum Read {
    /// It is not summed up.
    Unsummed,
    /// Pieces that are joined when all are there.
    Pieces(Crc, Mutex<Vec<Piece>>),
    Blocks(Blocks),
}

/// Reads a tensor in pieces, from several threads and in any order, and sums up what it hands out.
pub(crate) struct Summed<'a> {
    file: &'a OpenFile,
    tensor: &'a TensorEntry,
    read: Read,
    /// Whether bytes were handed out that are not summed up.
    handed_out: AtomicBool,
}

impl<'a> Summed<'a> {
    pub fn new(file: &'a OpenFile, tensor: &'a TensorEntry) -> Summed<'a> {
        let pieces = |crc| Read::Pieces(crc, Mutex::default());
        let read = match expected(file, tensor) {
            Some(Checksum::Xxh3(_)) => Read::Blocks(Blocks::new(tensor.bytes())),
            Some(Checksum::Crc32(_)) => pieces(Crc::Crc32),
            // Where nothing is expected, it is still found out whether all can be read.
            Some(Checksum::Crc32c(_)) | None => pieces(Crc::Crc32c),
        };
        Summed { file, tensor, read, handed_out: AtomicBool::new(false) }
    }

    /// The same; where damage to the tensor would not be noticed, it is only read.
    pub fn where_known(file: &'a OpenFile, tensor: &'a TensorEntry) -> Summed<'a> {
        match expected(file, tensor).is_some() || tensor.slices.is_some() {
            true => Summed::new(file, tensor),
            false => Summed::unsummed(file, tensor),
        }
    }

    /// Only reads.
    pub fn unsummed(file: &'a OpenFile, tensor: &'a TensorEntry) -> Summed<'a> {
        Summed { file, tensor, read: Read::Unsummed, handed_out: AtomicBool::new(false) }
    }

    pub fn file(&self) -> &'a OpenFile {
        self.file
    }

    pub fn tensor(&self) -> &'a TensorEntry {
        self.tensor
    }

    /// What the checksum is of, if not of the tensor.
    fn sealed(&self) -> Option<&'a Sealed> {
        self.file.sealed(self.tensor)
    }

    /// Where the sum is of more than this tensor, or the bytes lie in another order. What has no
    /// bytes is summed up in no passing.
    fn beside(&self) -> Option<&'a Sealed> {
        self.sealed().filter(|sealed| !sealed.in_passing || self.tensor.bytes() == 0)
    }

    /// Whether nothing is to be done with bytes that go by.
    fn only_reads(&self) -> bool {
        matches!(self.read, Read::Unsummed) || self.beside().is_some()
    }

    /// As [`OpenFile::read_tensor`]. Writes each byte of `into` once, in order, and reads none: it
    /// may be write-combined memory.
    pub fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<(), CheckpointError> {
        if self.only_reads() {
            self.handed_out.store(true, Ordering::Relaxed);
            return self.file.read_tensor(self.tensor, offset, into);
        }
        with_scratch(offset, into.len().min(BLOCK), |scratch| {
            self.read_pieces(offset, into, |at, piece, sum| {
                let scratch = &mut scratch[..piece.len()];
                self.file.read_tensor(self.tensor, at, scratch)?;
                piece.copy_from_slice(scratch);
                sum(scratch);
                Ok(())
            })
        })
    }

    /// The same into memory that may be read: a copy fewer.
    pub fn read_at_cached(&self, offset: u64, into: &mut [u8]) -> Result<(), CheckpointError> {
        if self.only_reads() {
            self.handed_out.store(true, Ordering::Relaxed);
            return self.file.read_tensor(self.tensor, offset, into);
        }
        self.read_pieces(offset, into, |at, piece, sum| {
            self.file.read_tensor(self.tensor, at, piece)?;
            sum(piece);
            Ok(())
        })
    }

    /// Sums up bytes of the tensor that were read with those of its neighbours.
    pub fn came(&self, offset: u64, bytes: &[u8]) {
        if self.only_reads() {
            self.handed_out.store(true, Ordering::Relaxed);
            return;
        }
        match &self.read {
            Read::Unsummed => {}
            Read::Pieces(crc, pieces) => {
                let piece = (offset, bytes.len(), crc.append(0, bytes));
                pieces.lock().unwrap_or_else(PoisonError::into_inner).push(piece);
            }
            Read::Blocks(blocks) => {
                let (mut within, mut rest) = (offset - self.tensor.range.start, bytes);
                while !rest.is_empty() {
                    let (piece, after) = rest.split_at(blocks.room(within).min(rest.len()));
                    blocks.add(within, piece);
                    (within, rest) = (within + piece.len() as u64, after);
                }
            }
        }
    }

    /// Has `read` fill `into` piece by piece, and sums up what it says it has read.
    fn read_pieces(
        &self,
        offset: u64,
        mut into: &mut [u8],
        mut read: impl FnMut(u64, &mut [u8], &mut dyn FnMut(&[u8])) -> Result<(), CheckpointError>,
    ) -> Result<(), CheckpointError> {
        let mut at = offset;
        match &self.read {
            Read::Unsummed => read(at, into, &mut |_| {})?,
            Read::Pieces(crc, pieces) => {
                let (length, mut sum) = (into.len(), 0);
                for piece in into.chunks_mut(BLOCK) {
                    read(at, piece, &mut |bytes| sum = crc.append(sum, bytes))?;
                    at += piece.len() as u64;
                }
                let mut pieces = pieces.lock().unwrap_or_else(PoisonError::into_inner);
                pieces.push((offset, length, sum));
            }
            Read::Blocks(blocks) => {
                let begin = self.tensor.range.start;
                while !into.is_empty() {
                    let within = at.saturating_sub(begin);
                    let (piece, rest) = into.split_at_mut(blocks.room(within).min(into.len()));
                    read(at, piece, &mut |bytes| blocks.add(within, bytes))?;
                    at += piece.len() as u64;
                    into = rest;
                }
            }
        }
        Ok(())
    }

    /// Whether the very bytes that were handed out are held against a checksum.
    pub fn is_checked(&self) -> bool {
        expected(self.file, self.tensor).is_some() && !self.only_reads()
    }

    /// Compares once everything has been read. Bytes that nobody asked for are read now, because
    /// the checksum is of all of them. Where there is none, no file may have been written to.
    pub fn finish(&self) -> Result<(), CheckpointError> {
        self.compare().map_err(|mut error| {
            if let CheckpointError::Checksum { older, .. } = &mut error {
                *older = older_than(&self.file.path);
            }
            error
        })
    }

    /// The same, but that damage is told without an older checkpoint to take instead.
    pub fn compare(&self) -> Result<(), CheckpointError> {
        match (&self.read, self.beside()) {
            (Read::Unsummed, _) => return Ok(()),
            (_, Some(sealed)) => {
                self.check_sealed(sealed)?;
                // The sum is of what a second reading had.
                return match self.handed_out.load(Ordering::Relaxed) {
                    true => self.file.check_tensor_unchanged(self.tensor),
                    false => Ok(()),
                };
            }
            _ => {}
        }
        let whole = self.sealed().map_or(&self.tensor.range, |sealed| &sealed.range);
        let found = match &self.read {
            Read::Unsummed => return Ok(()),
            Read::Blocks(blocks) => Checksum::Xxh3(match blocks.came_at_once() {
                Some(found) => found,
                None => {
                    let read = |at, into: &mut [u8]| {
                        self.file.read_tensor(self.tensor, whole.start + at, into)
                    };
                    let most = self.tensor.bytes().min(BLOCK as u64) as usize;
                    with_scratch(whole.start, most, |bytes| blocks.finish(read, bytes))?
                }
            }),
            Read::Pieces(crc, pieces) => {
                let mut pieces = pieces.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(strides) = self.tensor.strides.as_ref().filter(|_| pieces.is_empty()) {
                    // There is no checksum: that it can be read is all there is to know, and it is
                    // read as it lies.
                    let stored = whole.start..whole.start + strides.span();
                    let read = |at, into: &mut [u8]| {
                        self.file.read_piece(self.tensor, self.tensor.file, &stored, at, into)
                    };
                    sum(*crc, 0, stored.clone(), read)?;
                    return self.file.check_tensor_unchanged(self.tensor);
                }
                crc.checksum(self.joined(*crc, whole, &mut pieces)?)
            }
        };
        let expected = expected(self.file, self.tensor);
        if expected == Some(found) {
            return Ok(());
        }
        // Those of the slices also tell which of them is damaged. They are of a second reading, and where
        // they do not make up one of the whole, nothing else is of the first.
        self.check_slices()?;
        match expected {
            None => self.file.check_tensor_unchanged(self.tensor),
            Some(expected) => Err(self.damaged(self.tensor.file, whole.start, expected, found)),
        }
    }

    /// What pieces come to, with what nobody asked for.
    fn joined(
        &self,
        crc: Crc,
        whole: &Range<u64>,
        pieces: &mut Vec<Piece>,
    ) -> Result<u32, CheckpointError> {
        // The same piece twice is one piece, if it read the same both times.
        pieces.sort_unstable();
        pieces.dedup();
        let (mut found, mut at) = (0, whole.start);
        for &(offset, length, piece) in pieces.iter() {
            if offset < at {
                // Pieces that overlap cannot be joined, but what they were read from can be judged.
                (found, at) = (0, whole.start);
                break;
            }
            found = self.sum(crc, found, at..offset)?;
            // Joining costs more than summing up a small tensor, and the first piece needs none.
            let first = offset == whole.start;
            found = if first { piece } else { crc.join(found, piece, length) };
            at = offset + length as u64;
        }
        self.sum(crc, found, at..whole.end)
    }

    /// Reads an entry of an archive by itself, unless that was done, and compares.
    fn check_sealed(&self, sealed: &Sealed) -> Result<(), CheckpointError> {
        let mut found = sealed.found.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = match *found {
            Some(sum) => sum,
            None => sum(Crc::Crc32, 0, sealed.range.clone(), |at, into: &mut [u8]| {
                self.file.read_piece(self.tensor, sealed.file, &sealed.range, at, into)
            })?,
        };
        *found = Some(sum);
        if sum == sealed.crc32 {
            return Ok(());
        }
        let (expected, sum) = (Checksum::Crc32(sealed.crc32), Checksum::Crc32(sum));
        Err(self.damaged(sealed.file, sealed.range.start, expected, sum))
    }

    /// Reads each slice by itself and compares.
    fn check_slices(&self) -> Result<(), CheckpointError> {
        let Some(slices) = &self.tensor.slices else { return Ok(()) };
        for slice in slices.iter() {
            let range = slice.offset..slice.offset + slices.bytes(slice);
            let read = |at, into: &mut [u8]| {
                self.file.read_piece(self.tensor, slice.file, &range, at, into)
            };
            let found = sum(Crc::Crc32c, 0, range.clone(), read)?;
            if found != slice.checksum {
                let (expected, found) = (Checksum::Crc32c(slice.checksum), Checksum::Crc32c(found));
                return Err(self.damaged(slice.file, slice.offset, expected, found));
            }
        }
        Ok(())
    }

    fn damaged(
        &self,
        file: usize,
        offset: u64,
        expected: Checksum,
        found: Checksum,
    ) -> CheckpointError {
        let (path, file) = (&self.file.path, self.file.files.get(file));
        CheckpointError::Checksum {
            file: file.map_or(path, |file| &file.path).clone(),
            tensor: self.tensor.name.to_string(),
            offset: file.and_then(|file| file.compressed).unwrap_or(offset),
            expected,
            found,
            older: None,
        }
    }

    /// Goes on summing with a part of the tensor.
    fn sum(&self, crc: Crc, so_far: u32, range: Range<u64>) -> Result<u32, CheckpointError> {
        sum(crc, so_far, range, |at, into: &mut [u8]| self.file.read_tensor(self.tensor, at, into))
    }
}

/// The checksum that was written, if one was.
fn expected(file: &OpenFile, tensor: &TensorEntry) -> Option<Checksum> {
    match file.sealed(tensor) {
        Some(sealed) => Some(Checksum::Crc32(sealed.crc32)),
        None => tensor.checksum,
    }
}

/// Goes on summing with what `read` has in this range.
fn sum(
    crc: Crc,
    mut so_far: u32,
    range: Range<u64>,
    read: impl Fn(u64, &mut [u8]) -> Result<(), CheckpointError>,
) -> Result<u32, CheckpointError> {
    let most = (range.end - range.start).min(BLOCK as u64) as usize;
    with_scratch(range.start, most, |scratch| {
        let mut at = range.start;
        while at < range.end {
            let length = (range.end - at).min(BLOCK as u64) as usize;
            read(at, &mut scratch[..length])?;
            so_far = crc.append(so_far, &scratch[..length]);
            at += length as u64;
        }
        Ok(so_far)
    })
}

#[cfg(test)]
mod empty_tests;
#[cfg(test)]
mod tests;
