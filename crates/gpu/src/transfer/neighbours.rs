//! Small pieces that are neighbours in a file are read at once: asking the system for each of
//! thousands takes longer than what is read.
//!
//! Up to 256 KiB come at once, whatever order their variables have. Where the adapter is the CPU, each
//! comes to its place, and is summed up there while the processor's cache still has it; elsewhere they
//! come to memory that stays in the cache, where each is summed up, and from where each is copied to
//! its place. If that fails, they are read one by one, which tells whose bytes are missing.

use crate::device::gpu::Gpu;
use crate::error::SessionError;
use crate::transfer::fill::Target;
use crate::transfer::job::Job;
use crate::transfer::mapped::MappedBytes;
use std::io::IoSliceMut;

/// Bytes of a target's source, and where they go.
pub(crate) struct Read<'a, 'm> {
    pub target: &'a Target<'a>,
    /// The first of them, counted from where the target's begin.
    pub start: u64,
    pub into: MappedBytes<'m>,
}

/// Copying more than this on takes as long as asking for it.
const LARGEST_PIECE: u64 = 16 << 10;

/// Most bytes of pieces that are read at once: they are then still in the processor's cache when
/// they are summed up and copied on.
const LARGEST_RUN: u64 = 256 << 10;

impl Read<'_, '_> {
    /// Where in the source they begin.
    pub fn offset(&self) -> u64 {
        self.target.fill.offset.saturating_add(self.start)
    }

    /// What reads are sorted by, as [`Target::place`].
    pub fn place(&self) -> (Option<usize>, u64) {
        (self.target.file, self.offset())
    }

    /// The same as one number, which is sorted in half the time.
    pub fn order(&self) -> u128 {
        let (file, offset) = self.place();
        (file.map_or(0, |file| file as u128)) << 64 | u128::from(offset)
    }

    /// Whether `next` can be read with this one.
    fn joins(&self, next: &Read<'_, '_>) -> bool {
        let small = |read: &Read<'_, '_>| read.into.len() <= LARGEST_PIECE;
        let (file, offset) = self.place();
        let behind = (file, offset.saturating_add(self.into.len()));
        file.is_some() && small(self) && small(next) && behind == next.place()
    }
}

/// How many of these pieces, and how many bytes, are read at once: at least the first.
fn run(reads: &[Read<'_, '_>]) -> (usize, u64) {
    let (mut count, mut bytes) = (1, reads.first().map_or(0, |read| read.into.len()));
    for pair in reads.windows(2) {
        let more = bytes + pair[1].into.len();
        if more > LARGEST_RUN || !pair[0].joins(&pair[1]) {
            break;
        }
        (count, bytes) = (count + 1, more);
    }
    (count, bytes)
}

/// Memory in which a thread has what it reads for several pieces.
#[derive(Default)]
pub(crate) struct Scratch(Vec<u8>);

impl Scratch {
    /// Memory for bytes from this place of a file. It lies in its page as they lie in theirs: some
    /// processors take three times as long for a copy that goes slightly behind where it comes from,
    /// page by page.
    fn of(&mut self, offset: u64, bytes: u64) -> &mut [u8] {
        const PAGE: usize = 4096;
        self.0.resize(LARGEST_RUN as usize + PAGE, 0);
        let skip = (offset as usize).wrapping_sub(self.0.as_ptr().addr()) % PAGE;
        // A run is no longer than that.
        &mut self.0[skip..skip + bytes as usize]
    }
}

impl Job<'_> {
    /// Reads a part of a target's source into mapped memory.
    pub fn read(&self, read: &mut Read<'_, '_>) -> Result<(), SessionError> {
        let (offset, bytes) = (read.offset(), read.into.len());
        let fill = read.target.fill;
        read.into.read_from(self.gpu, fill.source, offset).map_err(|source| {
            SessionError::Source { name: fill.variable.to_owned(), offset, bytes, source }
        })?;
        self.has_read(bytes);
        Ok(())
    }

    /// Reads pieces, neighbours that follow one another in this order at once.
    pub fn read_all(
        &self,
        mut reads: &mut [Read<'_, '_>],
        scratch: &mut Scratch,
    ) -> Result<(), SessionError> {
        while !reads.is_empty() {
            let (count, bytes) = run(reads);
            let (now, after) = reads.split_at_mut(count);
            if count > 1 && read_at_once(self.gpu, now, scratch, bytes) {
                self.has_read(bytes);
            } else {
                // Where they could not be had at once, this tells which of them cannot be had.
                now.iter_mut().try_for_each(|read| self.read(read))?;
            }
            reads = after;
        }
        Ok(())
    }
}

/// Reads a run, and says whether it could.
fn read_at_once(gpu: &Gpu, run: &mut [Read<'_, '_>], scratch: &mut Scratch, bytes: u64) -> bool {
    let first = run.first().map(|first| (first.target.fill.source, first.offset()));
    let Some((file, offset)) = first.and_then(|(source, at)| Some((source.file()?, at))) else {
        return false;
    };
    // Without a copy where memory is the host's.
    let in_place = run.iter_mut().map(|read| read.into.of_host(gpu).map(IoSliceMut::new));
    if let Some(mut memory) = in_place.collect::<Option<Vec<_>>>() {
        let came = file.read_each_at_cached(offset, &mut memory).is_ok();
        if came {
            for read in run {
                let (source, offset) = (read.target.fill.source, read.offset());
                source.came(offset, read.into.of_host(gpu).unwrap_or_default());
            }
        }
        return came;
    }
    let bytes = scratch.of(offset, bytes);
    if file.read_at_cached(offset, bytes).is_err() {
        return false;
    }
    // All are summed up before the first is copied on: what is noted under a lock would wait for the
    // memory that was written just before.
    for_each(run, bytes, |read, own| read.target.fill.source.came(read.offset(), own));
    for_each(run, bytes, |read, own| read.into.write(own));
    true
}

/// Hands each piece of a run its own bytes.
fn for_each(run: &mut [Read<'_, '_>], mut bytes: &[u8], each: impl Fn(&mut Read<'_, '_>, &[u8])) {
    for read in run {
        let (own, after) = bytes.split_at(read.into.len() as usize);
        each(read, own);
        bytes = after;
    }
}

#[cfg(test)]
#[path = "neighbours_tests.rs"]
mod tests;
