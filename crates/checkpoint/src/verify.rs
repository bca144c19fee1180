//! Holding the bytes of tensors against their checksums.

use crate::checkpoint::Checkpoint;
use crate::directory::{list, step_of};
use crate::error::CheckpointError;
use crate::file::OpenFile;
use crate::sealed::{Sealed, Sum};
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

/// Reads a tensor in pieces, from several threads and in any order, and sums up what it hands out.
pub(crate) struct Summed<'a> {
    file: &'a OpenFile,
    tensor: &'a TensorEntry,
    /// The checksum that was written, if one was, and of what kind it is.
    expected: Option<u32>,
    kind: Sum,
    /// What the checksum is of, if not of the tensor.
    sealed: Option<&'a Sealed>,
    pieces: Mutex<Vec<Piece>>,
}

impl<'a> Summed<'a> {
    pub fn new(file: &'a OpenFile, tensor: &'a TensorEntry) -> Summed<'a> {
        let sealed = file.sealed(tensor);
        let (expected, kind) = match sealed {
            Some(sealed) => (Some(sealed.crc32), Sum::Crc32),
            None => (file.checksum(&tensor.name), Sum::Crc32c),
        };
        Summed { file, tensor, expected, kind, sealed, pieces: Mutex::new(Vec::new()) }
    }

    /// Where the sum is of more than this tensor, or the bytes lie in another order.
    fn beside(&self) -> Option<&'a Sealed> {
        self.sealed.filter(|sealed| !sealed.in_passing)
    }

    /// As [`OpenFile::read_tensor`]. Writes each byte of `into` once, in order, and reads none: it
    /// may be write-combined memory.
    pub fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<(), CheckpointError> {
        if self.beside().is_some() {
            return self.file.read_tensor(self.tensor, offset, into);
        }
        with_scratch(offset, into.len().min(SCRATCH), |scratch| {
            self.read_pieces(offset, into, |crc, at, piece| {
                let scratch = &mut scratch[..piece.len()];
                self.file.read_tensor(self.tensor, at, scratch)?;
                piece.copy_from_slice(scratch);
                Ok(self.kind.append(crc, scratch))
            })
        })
    }

    /// The same into memory that may be read: a copy fewer.
    pub fn read_at_cached(&self, offset: u64, into: &mut [u8]) -> Result<(), CheckpointError> {
        if self.beside().is_some() {
            return self.file.read_tensor(self.tensor, offset, into);
        }
        self.read_pieces(offset, into, |crc, at, piece| {
            self.file.read_tensor(self.tensor, at, piece)?;
            Ok(self.kind.append(crc, piece))
        })
    }

    /// Has `read` fill `into` piece by piece and go on with the checksum, and notes that.
    fn read_pieces(
        &self,
        offset: u64,
        into: &mut [u8],
        mut read: impl FnMut(u32, u64, &mut [u8]) -> Result<u32, CheckpointError>,
    ) -> Result<(), CheckpointError> {
        let length = into.len();
        let (mut crc, mut at) = (0, offset);
        for piece in into.chunks_mut(SCRATCH) {
            crc = read(crc, at, piece)?;
            at += piece.len() as u64;
        }
        let mut pieces = self.pieces.lock().unwrap_or_else(PoisonError::into_inner);
        pieces.push((offset, length, crc));
        Ok(())
    }

    /// Compares once everything has been read. Bytes that nobody asked for are read now, because
    /// the checksum is of all of them.
    pub fn finish(&self) -> Result<(), CheckpointError> {
        if let Some(sealed) = self.beside() {
            return self.check_sealed(sealed);
        }
        let whole = self.sealed.map_or(&self.tensor.range, |sealed| &sealed.range);
        let mut pieces = self.pieces.lock().unwrap_or_else(PoisonError::into_inner);
        // The same piece twice is one piece, if it read the same both times.
        pieces.sort_unstable();
        if let Some(strides) = self.tensor.strides.as_ref().filter(|_| pieces.is_empty()) {
            // There is no checksum: that it can be read is all there is to know, and it is read as
            // it lies.
            let stored = whole.start..whole.start + strides.span();
            let read = |at, into: &mut [u8]| {
                self.file.read_piece(self.tensor, self.tensor.file, &stored, at, into)
            };
            return sum(self.kind, 0, stored.clone(), read).map(drop);
        }
        pieces.dedup();
        let mut found = 0;
        let mut at = whole.start;
        for &(offset, length, crc) in pieces.iter() {
            if offset < at {
                // Pieces that overlap cannot be joined, but what they were read from can be judged.
                (found, at) = (0, whole.start);
                break;
            }
            found = self.sum(found, at..offset)?;
            // Joining costs more than summing up a small tensor, and the first piece needs none.
            let first = offset == whole.start;
            found = if first { crc } else { self.kind.join(found, crc, length) };
            at = offset + length as u64;
        }
        let found = self.sum(found, at..whole.end)?;
        if self.expected == Some(found) {
            return Ok(());
        }
        // Those of the slices also tell which of them is damaged.
        self.check_slices()?;
        match self.expected {
            None => Ok(()),
            Some(expected) => Err(self.damaged(self.tensor.file, whole.start, expected, found)),
        }
    }

    /// Reads an entry of an archive by itself, unless that was done, and compares.
    fn check_sealed(&self, sealed: &Sealed) -> Result<(), CheckpointError> {
        let mut found = sealed.found.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = match *found {
            Some(sum) => sum,
            None => sum(Sum::Crc32, 0, sealed.range.clone(), |at, into: &mut [u8]| {
                self.file.read_piece(self.tensor, sealed.file, &sealed.range, at, into)
            })?,
        };
        *found = Some(sum);
        if sum == sealed.crc32 {
            return Ok(());
        }
        Err(self.damaged(sealed.file, sealed.range.start, sealed.crc32, sum))
    }

    /// Reads each slice by itself and compares.
    fn check_slices(&self) -> Result<(), CheckpointError> {
        let Some(slices) = &self.tensor.slices else { return Ok(()) };
        for slice in slices.iter() {
            let range = slice.offset..slice.offset + slices.bytes(slice);
            let read = |at, into: &mut [u8]| {
                self.file.read_piece(self.tensor, slice.file, &range, at, into)
            };
            let found = sum(Sum::Crc32c, 0, range.clone(), read)?;
            if found != slice.checksum {
                return Err(self.damaged(slice.file, slice.offset, slice.checksum, found));
            }
        }
        Ok(())
    }

    fn damaged(&self, file: usize, offset: u64, expected: u32, found: u32) -> CheckpointError {
        let (path, file) = (&self.file.path, self.file.files.get(file));
        CheckpointError::Checksum {
            file: file.map_or(path, |file| &file.path).clone(),
            tensor: self.tensor.name.clone(),
            offset: file.and_then(|file| file.compressed).unwrap_or(offset),
            expected,
            found,
            older: older(path),
        }
    }

    /// Goes on summing with a part of the tensor.
    fn sum(&self, crc: u32, range: Range<u64>) -> Result<u32, CheckpointError> {
        sum(self.kind, crc, range, |at, into: &mut [u8]| {
            self.file.read_tensor(self.tensor, at, into)
        })
    }
}

/// Goes on summing with what `read` has in this range.
fn sum(
    kind: Sum,
    mut crc: u32,
    range: Range<u64>,
    read: impl Fn(u64, &mut [u8]) -> Result<(), CheckpointError>,
) -> Result<u32, CheckpointError> {
    let most = (range.end - range.start).min(SCRATCH as u64) as usize;
    with_scratch(range.start, most, |scratch| {
        let mut at = range.start;
        while at < range.end {
            let length = (range.end - at).min(SCRATCH as u64) as usize;
            read(at, &mut scratch[..length])?;
            crc = kind.append(crc, &scratch[..length]);
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
        self.open_file().forget_sums();
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const BYTES: usize = 2 * SCRATCH + 1000;

    /// A file with one tensor of these bytes behind another.
    fn file(directory: &Path, bytes: &[u8]) -> OpenFile {
        let end = 5 + bytes.len();
        let header = format!(
            r#"{{"a":{{"dtype":"U8","shape":[5],"data_offsets":[0,5]}},"b":{{"dtype":"U8","shape":[{}],"data_offsets":[5,{end}]}}}}"#,
            bytes.len()
        );
        let path = directory.join("model.safetensors");
        let length = (header.len() as u64).to_le_bytes();
        fs::write(&path, [&length[..], header.as_bytes(), b"other", bytes].concat()).unwrap();
        OpenFile::open(&path).unwrap()
    }

    #[test]
    fn pieces_in_any_order_with_gaps_overlaps_and_repetitions_are_judged_as_the_whole() {
        let directory = tempfile::tempdir().unwrap();
        let bytes: Vec<u8> = (0..BYTES).map(|i| (i % 253) as u8).collect();
        let open = file(directory.path(), &bytes);
        let tensor = open.tensor("b").unwrap();
        let begin = tensor.range.start;
        let whole = 0..BYTES;
        let cases: &[&[Range<usize>]] = &[
            std::slice::from_ref(&whole),
            &[],
            &[SCRATCH..BYTES, 0..SCRATCH],
            &[0..0, 700..800, 3..7],
            &[0..900, 800..BYTES],
            &[10..20, 0..10, 10..20, 20..BYTES],
            &[0..99, 99..BYTES],
            &[0..BYTES, 0..1],
        ];
        for pieces in cases {
            for expected in [crc32c::crc32c(&bytes), 1] {
                let summed = Summed { expected: Some(expected), ..Summed::new(&open, tensor) };
                for piece in pieces.iter() {
                    let mut into = vec![0; piece.len()];
                    let at = begin + piece.start as u64;
                    match piece.start % 2 == 0 {
                        true => summed.read_at(at, &mut into).unwrap(),
                        false => summed.read_at_cached(at, &mut into).unwrap(),
                    }
                    assert!(into == bytes[piece.clone()], "{piece:?} of {pieces:?}");
                }
                assert_eq!(summed.finish().is_ok(), expected != 1, "{pieces:?}");
            }
        }
    }

    #[test]
    fn what_is_handed_out_is_judged_even_if_the_file_is_whole_again() {
        let directory = tempfile::tempdir().unwrap();
        let bytes = vec![7; 100];
        let open = file(directory.path(), &bytes);
        let tensor = open.tensor("b").unwrap();
        let expected = Some(crc32c::crc32c(&bytes));
        let summed = Summed { expected, ..Summed::new(&open, tensor) };
        let whole = fs::read(&open.path).unwrap();
        let mut damaged = whole.clone();
        *damaged.last_mut().unwrap() = 8;
        fs::write(&open.path, damaged).unwrap();
        summed.read_at(tensor.range.start, &mut [0; 100]).unwrap();
        fs::write(&open.path, whole).unwrap();
        let message = summed.finish().unwrap_err().to_string();
        assert!(message.contains("tensor `b`") && message.contains("damaged"), "{message}");
    }
}
