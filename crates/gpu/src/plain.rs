//! The two ways into device memory for bytes that stay as they are: written in place, or through a
//! ring of staging buffers.

use crate::download::SMALLEST_STAGING;
use crate::error::SessionError;
use crate::fill::Target;
use crate::mapped::Mapping;
use crate::staging::{BUFFERS_PER_WORKER, Ring, internal};
use crate::transfer::{Job, LARGEST_READ};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

const WORD: u64 = wgpu::COPY_BUFFER_ALIGNMENT;

fn padded(bytes: u64) -> u64 {
    bytes.next_multiple_of(WORD)
}

/// Buffers that are mapped until this is dropped. Views of them must be dropped before.
struct MappedBuffers(Vec<wgpu::Buffer>);

impl Drop for MappedBuffers {
    fn drop(&mut self) {
        self.0.iter().for_each(wgpu::Buffer::unmap);
    }
}

/// Reads straight into the variables.
pub(crate) fn mapped(job: &Job<'_>, targets: &[Target<'_>]) -> Result<(), SessionError> {
    let what = "mapping variables";
    let targets: Vec<&Target<'_>> = targets.iter().filter(|t| t.elements > 0).collect();
    // A buffer has one mapping at a time: from its first to its last variable to fill.
    let mut ranges: BTreeMap<usize, (&wgpu::Buffer, u64, u64)> = BTreeMap::new();
    for target in &targets {
        let slice = target.slice;
        let (from, to) = (slice.offset, slice.offset + padded(target.bytes()));
        let range = ranges.entry(slice.arena).or_insert((&slice.buffer, from, to));
        (range.1, range.2) = (range.1.min(from), range.2.max(to));
    }
    let mut buffers = MappedBuffers(Vec::new());
    let mappings = job.gpu.checked(what, |_| {
        let mut mappings = Vec::new();
        for (buffer, from, to) in ranges.values() {
            mappings.push(Mapping::start(buffer, wgpu::MapMode::Write, *from, *to));
            buffers.0.push((*buffer).clone());
        }
        mappings
    })?;
    job.gpu.wait_all()?;
    for mapping in mappings {
        mapping.finish(job.gpu, what)?;
    }
    let mut reads = Vec::with_capacity(targets.len());
    for target in targets {
        for start in (0..target.bytes()).step_by(LARGEST_READ as usize) {
            let from = target.slice.offset + start;
            let to = from + LARGEST_READ.min(padded(target.bytes()) - start);
            let view = target
                .slice
                .buffer
                .get_mapped_range_mut(from..to)
                .map_err(|e| internal(what, e))?;
            reads.push(Mutex::new(Some((target, start, view))));
        }
    }
    job.work(job.threads(reads.len()), reads.len(), |next| {
        while let Some(task) = next() {
            // Each task is handed out once; the lock is what lets threads share the list.
            let read = reads[task].lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some((target, start, mut view)) = read {
                let bytes = LARGEST_READ.min(target.bytes() - start);
                job.read(target, start, view.slice(..bytes as usize))?;
            }
        }
        Ok(())
    })
}

/// A part of a variable and its place in a staging buffer.
struct Segment<'a> {
    target: &'a Target<'a>,
    start: u64,
    bytes: u64,
    at: u64,
}

/// Packs all bytes to read into batches of at most `capacity`, a whole number of words: small
/// variables share one, large ones take several.
fn batches<'a>(targets: &'a [Target<'a>], capacity: u64) -> Vec<Vec<Segment<'a>>> {
    let mut batches: Vec<Vec<Segment<'a>>> = Vec::new();
    let mut room = 0;
    for target in targets {
        let mut start = 0;
        while start < target.bytes() {
            if room == 0 {
                batches.push(Vec::new());
                room = capacity;
            }
            let bytes = room.min(target.bytes() - start);
            let segment = Segment { target, start, bytes, at: capacity - room };
            (start, room) = (start + bytes, room - padded(bytes));
            batches.last_mut().expect("one was pushed when there was no room").push(segment);
        }
    }
    batches
}

/// Reads through staging buffers.
pub(crate) fn staged(job: &Job<'_>, targets: &[Target<'_>]) -> Result<(), SessionError> {
    let total: u64 = targets.iter().map(|target| padded(target.bytes())).sum();
    let per_worker = BUFFERS_PER_WORKER as u64;
    let staging = job.gpu.staging_bytes().max(per_worker * SMALLEST_STAGING);
    let affordable = staging / (per_worker * SMALLEST_STAGING);
    let threads = job.threads(usize::try_from(affordable).unwrap_or(usize::MAX));
    let share = staging / (threads as u64 * per_worker);
    // Little to read needs little memory.
    let capacity = share.min(LARGEST_READ).min(total.max(WORD)) / WORD * WORD;
    let batches = batches(targets, capacity);
    job.work(threads.min(batches.len()), batches.len(), |next| {
        let mut ring = Ring::new(job.gpu, capacity, wgpu::BufferUsages::COPY_SRC);
        while let Some(task) = next() {
            let batch = &batches[task];
            let read = |mut view: wgpu::WriteOnly<'_, [u8]>| {
                batch.iter().try_for_each(|segment| {
                    let range = segment.at as usize..(segment.at + segment.bytes) as usize;
                    job.read(segment.target, segment.start, view.slice(range))
                })
            };
            ring.next()?.pass_on(
                job.gpu,
                "copying restored variables",
                read,
                |_, encoder, from| {
                    for segment in batch {
                        let slice = segment.target.slice;
                        let (to, bytes) = (slice.offset + segment.start, padded(segment.bytes));
                        encoder.copy_buffer_to_buffer(from, segment.at, &slice.buffer, to, bytes);
                    }
                },
            )?;
        }
        Ok(())
    })?;
    // What the device reports about the copies must come before any origin changes.
    Ok(job.gpu.wait_all()?)
}
