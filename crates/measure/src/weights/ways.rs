//! Ways from a file into memory: the sources that a restore reads from, and the ceilings, which are
//! the same reads without a device.
//!
//! A ceiling is what the same machine does without us: reading the same file into the same kind of
//! memory by as many threads, the copy out of staging buffers, writing and syncing as many bytes.
//! This crate is the only one that maps files, of its own making, since the ceilings do.

use crate::error::MeasureError;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use twox_hash::XxHash3_64;
use warmstart_gpu::ByteSource;

/// How a file is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// `pread` into the destination.
    Read,
    /// `pread` into the destination in pieces that stay in the cache, and XXH3 of each.
    Summed,
    /// A copy out of a mapping of the file.
    Map,
}

const PIECE: usize = 256 << 10;

/// A file to be read in one of the ways. Its checksum is made where the way makes one, and not
/// compared: making it is the work.
pub(super) struct Source {
    file: File,
    map: Option<memmap2::Mmap>,
    way: Way,
    sum: AtomicU64,
    /// Whether to object after all was read.
    pub refuses: bool,
}

impl Source {
    #[allow(unsafe_code, reason = "a mapping of a file is only as safe as nobody changes the file")]
    pub fn new(file: &File, path: &Path, way: Way) -> Result<Source, MeasureError> {
        let map = match way {
            // SAFETY: nothing truncates the benchmark's own file, in its own folder, while it runs.
            Way::Map => Some(unsafe { memmap2::Mmap::map(file) }),
            Way::Read | Way::Summed => None,
        };
        let map = map.transpose().map_err(MeasureError::file("map", path))?;
        let file = file.try_clone().map_err(MeasureError::file("open", path))?;
        Ok(Source { file, map, way, sum: AtomicU64::new(0), refuses: false })
    }
}

impl ByteSource for Source {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        if let Some(map) = &self.map {
            let at = offset as usize;
            into.copy_from_slice(&map[at..at + into.len()]);
            return Ok(());
        }
        if self.way == Way::Read {
            return read_exact_at(&self.file, into, offset);
        }
        // Only in the host's own memory, so that it may be read.
        let mut at = offset;
        let mut sum = 0;
        for piece in into.chunks_mut(PIECE) {
            read_exact_at(&self.file, piece, at)?;
            sum ^= XxHash3_64::oneshot(piece);
            at += piece.len() as u64;
        }
        self.sum.fetch_xor(sum, Ordering::Relaxed);
        Ok(())
    }

    fn finish(&self) -> io::Result<()> {
        if self.refuses { Err(io::Error::other("as asked")) } else { Ok(()) }
    }
}

/// Fills `into` with what the file has at `offset`.
#[cfg(unix)]
pub(crate) fn read_exact_at(file: &File, into: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, into, offset)
}

/// Fills `into` with what the file has at `offset`.
#[cfg(windows)]
pub(crate) fn read_exact_at(file: &File, into: &mut [u8], offset: u64) -> io::Result<()> {
    let mut done = 0;
    while done < into.len() {
        let at = offset + done as u64;
        match std::os::windows::fs::FileExt::seek_read(file, &mut into[done..], at)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => done += n,
        }
    }
    Ok(())
}

/// As many threads as a restore uses.
pub fn threads() -> usize {
    thread::available_parallelism().map_or(1, |cores| cores.get()).min(8)
}

/// Fills memory from a source as a restore does, in the same pieces and by as many threads.
pub(super) fn fill(
    into: &mut [u8],
    pieces: &[(u64, usize)],
    path: &Path,
    read: impl Fn(u64, &mut [u8]) -> io::Result<()> + Sync,
) -> Result<(), MeasureError> {
    let mut rest = into;
    let mut tasks = Vec::with_capacity(pieces.len());
    for &(offset, bytes) in pieces {
        let (piece, after) = std::mem::take(&mut rest).split_at_mut(bytes);
        tasks.push((offset, piece));
        rest = after;
    }
    // Taken from the end: a disk likes to be read in order.
    tasks.reverse();
    let others = threads().min(tasks.len()).saturating_sub(1);
    let tasks = Mutex::new(tasks);
    let work = || -> io::Result<()> {
        loop {
            let task = tasks.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some((offset, piece)) = task else { return Ok(()) };
            read(offset, piece)?;
        }
    };
    thread::scope(|scope| {
        let others: Vec<_> = (0..others).map(|_| scope.spawn(work)).collect();
        let mut results = vec![work()];
        for other in others {
            results.push(other.join().map_err(|_| MeasureError::Panicked)?);
        }
        let result: io::Result<()> = results.into_iter().collect();
        result.map_err(MeasureError::file("read", path))
    })
}
