//! From device memory to the host, in pieces of bounded size.

use crate::device::gpu::Gpu;
use crate::error::{GpuError, SessionError};
use crate::store::{ALIGNMENT, Entry, VariableSlice};
use crate::transfer::mapped::Mapping;
use std::io;

/// Enough to keep a copy and a disk busy, small enough not to count.
const LARGEST_PIECE: u64 = 8 << 20;

/// However little is allowed, a staging buffer below this would only cost time.
pub(crate) const SMALLEST_STAGING: u64 = 4096;

/// A part of a variable and its place in a staging buffer.
struct Segment<'a> {
    name: &'a str,
    slice: &'a VariableSlice,
    start: u64,
    bytes: u64,
    at: u64,
}

impl Segment<'_> {
    /// Where in the variable's arena it begins.
    fn from(&self) -> u64 {
        self.slice.offset + self.start
    }

    /// How far behind this segment another place of the same arena lies, if no other variable is
    /// between: one copy then takes both, and the padding between them.
    fn distance(&self, slice: &VariableSlice, from: u64) -> Option<u64> {
        let behind = from.checked_sub(self.from() + self.bytes)?;
        (slice.arena == self.slice.arena && behind < ALIGNMENT).then(|| self.bytes + behind)
    }
}

/// What one staging buffer takes: a part of a large variable, or many small ones.
struct Batch<'a> {
    segments: Vec<Segment<'a>>,
    bytes: u64,
}

impl Batch<'_> {
    /// Where bytes of this place would go: as far behind the segment before as they lie in the arena,
    /// where that can be.
    fn place(&self, slice: &VariableSlice, from: u64) -> u64 {
        let near = |last: &Segment<'_>| Some(last.at + last.distance(slice, from)?);
        self.segments.last().and_then(near).unwrap_or(self.bytes)
    }

    /// What is copied: arena, where from, where to, how many bytes; segments that lie alike in both at
    /// once.
    fn copies(&self) -> Vec<(&wgpu::Buffer, u64, u64, u64)> {
        let mut copies: Vec<(&wgpu::Buffer, u64, u64, u64)> = Vec::new();
        let mut before: Option<&Segment<'_>> = None;
        for segment in self.segments.iter().filter(|segment| segment.bytes > 0) {
            let Segment { slice, bytes, at, .. } = *segment;
            let alike = |before: &Segment<'_>| {
                before.distance(slice, segment.from()) == Some(at - before.at)
            };
            match copies.last_mut() {
                Some((_, _, to, length)) if before.is_some_and(alike) => {
                    *length = at + padded(bytes) - *to;
                }
                _ => copies.push((&slice.buffer, segment.from(), at, padded(bytes))),
            }
            before = Some(segment);
        }
        copies
    }
}

fn padded(bytes: u64) -> u64 {
    bytes.next_multiple_of(wgpu::COPY_BUFFER_ALIGNMENT)
}

/// Packs variables into batches of at most `capacity`, a whole number of words, in order.
fn batches<'a>(entries: &[&'a Entry], capacity: u64) -> Vec<Batch<'a>> {
    let mut batches: Vec<Batch<'a>> = Vec::new();
    for entry in entries {
        let (name, slice) = (entry.info.name(), &entry.slice);
        let mut start = 0;
        loop {
            let place = |batch: &Batch<'_>| batch.place(slice, slice.offset + start);
            if batches.last().is_none_or(|batch| place(batch) >= capacity) {
                batches.push(Batch { segments: Vec::new(), bytes: 0 });
            }
            let batch = batches.last_mut().expect("one was pushed if there was none");
            let at = batch.place(slice, slice.offset + start);
            let bytes = (capacity - at).min(slice.bytes - start);
            batch.segments.push(Segment { name, slice, start, bytes, at });
            batch.bytes = at + padded(bytes);
            start += bytes;
            if start == slice.bytes {
                break;
            }
        }
    }
    batches
}

/// Two staging buffers: the device copies into one while the host empties the other.
struct Downloads<'a> {
    gpu: &'a Gpu,
    staging: Vec<wgpu::Buffer>,
}

/// A copy under way: its staging buffer becomes readable once it is done.
struct Copy {
    submission: wgpu::SubmissionIndex,
    mapping: Mapping,
}

const WHAT: &str = "reading variables";

impl Downloads<'_> {
    fn start(&self, turn: usize, batch: &Batch<'_>) -> Result<Copy, GpuError> {
        let staging = &self.staging[turn];
        let (submission, mapping) = self.gpu.checked(WHAT, |device| {
            let mut encoder = device.create_command_encoder(&Default::default());
            for (arena, from, at, bytes) in batch.copies() {
                encoder.copy_buffer_to_buffer(arena, from, staging, at, bytes);
            }
            let submission = self.gpu.queue().submit([encoder.finish()]);
            (submission, Mapping::start(staging, wgpu::MapMode::Read, 0, batch.bytes))
        })?;
        Ok(Copy { submission, mapping })
    }

    fn finish(
        &self,
        turn: usize,
        copy: Copy,
        batch: &Batch<'_>,
        sink: &mut dyn FnMut(&str, &[u8]) -> io::Result<()>,
    ) -> Result<(), SessionError> {
        self.gpu.wait(copy.submission)?;
        copy.mapping.finish(self.gpu, WHAT)?;
        let staging = &self.staging[turn];
        let written = {
            let view = staging.get_mapped_range(..batch.bytes).map_err(|error| {
                GpuError::Internal { what: WHAT.to_owned(), message: error.to_string() }
            })?;
            hand_out(batch, &view, sink)
        };
        staging.unmap();
        written
    }
}

/// Hands each segment's part of a batch's bytes to the sink.
fn hand_out(
    batch: &Batch<'_>,
    bytes: &[u8],
    sink: &mut dyn FnMut(&str, &[u8]) -> io::Result<()>,
) -> Result<(), SessionError> {
    batch.segments.iter().try_for_each(|segment| {
        // A batch fits in memory, and so do offsets in it.
        let (from, to) = (segment.at as usize, (segment.at + segment.bytes) as usize);
        sink(segment.name, &bytes[from..to])
            .map_err(|source| SessionError::Sink { name: segment.name.to_owned(), source })
    })
}

/// Hands the bytes of each variable to `sink`, in order and in pieces; an empty variable gets one
/// empty piece.
pub(crate) fn download(
    gpu: &Gpu,
    entries: &[&Entry],
    sink: &mut dyn FnMut(&str, &[u8]) -> io::Result<()>,
) -> Result<(), SessionError> {
    let total: u64 = entries.iter().map(|e| e.slice.bytes.next_multiple_of(ALIGNMENT)).sum();
    let affordable = (gpu.staging_bytes() / 2).max(SMALLEST_STAGING);
    let capacity = padded(total.min(LARGEST_PIECE).min(affordable).max(1));
    let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
    let mut downloads = Downloads { gpu, staging: Vec::new() };
    let batches = batches(entries, capacity);
    let mut under_way: Option<(usize, Copy, &Batch<'_>)> = None;
    for (index, batch) in batches.iter().enumerate() {
        let turn = index % 2;
        let empty = batch.bytes == 0;
        if !empty && downloads.staging.len() <= turn {
            downloads.staging.push(gpu.buffer("staging for reading", capacity, usage)?);
        }
        let next = match empty {
            true => None,
            false => Some((turn, downloads.start(turn, batch)?, batch)),
        };
        if let Some((turn, copy, batch)) = std::mem::replace(&mut under_way, next) {
            downloads.finish(turn, copy, batch, sink)?;
        }
        // Variables without elements, behind a full batch or alone.
        if empty {
            hand_out(batch, &[], sink)?;
        }
    }
    if let Some((turn, copy, batch)) = under_way {
        downloads.finish(turn, copy, batch, sink)?;
    }
    Ok(())
}
