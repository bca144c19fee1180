//! The two ways into device memory for bytes that stay as they are: written in place, or through a
//! ring of staging buffers.
//!
//! In place where the adapter is integrated or software and can map its arenas
//! (`MemoryKind::Mappable`); else through mapped staging buffers of bounded size, from which the
//! device copies (`MemoryKind::Staged`).

use crate::device::mapping::{Mapping, internal};
use crate::error::SessionError;
use crate::transfer::download::SMALLEST_STAGING;
use crate::transfer::fill::Target;
use crate::transfer::job::{Job, LARGEST_READ};
use crate::transfer::mapped::MappedBytes;
use crate::transfer::neighbours::{Read, Scratch};
use crate::transfer::staging::{BUFFERS_PER_WORKER, Ring};
use std::sync::{Mutex, PoisonError};

const WORD: u64 = wgpu::COPY_BUFFER_ALIGNMENT;

/// Variables of fewer bytes share the task of reading them.
const SMALLEST_TASK: u64 = 256 << 10;

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
    let mut filled = Vec::with_capacity(targets.len());
    filled.extend(targets.iter().filter(|target| target.elements > 0));
    filled.sort_by_key(|target| (target.slice.arena, target.slice.offset));
    // A buffer has one mapping at a time: from its first to its last variable to fill.
    let of_one = |one: &&Target<'_>, next: &&Target<'_>| one.slice.arena == next.slice.arena;
    let arenas: Vec<&[&Target<'_>]> = filled.chunk_by(of_one).collect();
    let mut buffers = MappedBuffers(Vec::new());
    let mut ranges = Vec::with_capacity(arenas.len());
    let mappings = job.gpu.checked(what, |_| {
        let mut mappings = Vec::new();
        for targets in &arenas {
            let (first, last) = (targets[0], targets[targets.len() - 1]);
            let (from, to) = (first.slice.offset, last.slice.offset + padded(last.bytes()));
            mappings.push(Mapping::start(&first.slice.buffer, wgpu::MapMode::Write, from, to));
            buffers.0.push(first.slice.buffer.clone());
            ranges.push(from..to);
        }
        mappings
    })?;
    job.gpu.wait_all()?;
    for mapping in mappings {
        mapping.finish(job.gpu, what)?;
    }
    let mut views = Vec::with_capacity(ranges.len());
    for (buffer, range) in buffers.0.iter().zip(&ranges) {
        let view = buffer.get_mapped_range_mut(range.clone()).map_err(|e| internal(what, e))?;
        views.push(view);
    }
    // One view is cut into all reads: `wgpu` holds each new view of a buffer against all others.
    let mut reads = Vec::with_capacity(filled.len());
    for ((view, range), targets) in views.iter_mut().zip(ranges).zip(&arenas) {
        let (mut rest, mut at) = (MappedBytes::of(view), range.start);
        for target in *targets {
            for start in (0..target.bytes()).step_by(LARGEST_READ as usize) {
                let from = target.slice.offset + start;
                let bytes = LARGEST_READ.min(target.bytes() - start);
                let (_, after) = rest.split_at(from - at);
                let (into, after) = after.split_at(bytes);
                (rest, at) = (after, from + bytes);
                reads.push(Read { target, start, into });
            }
        }
    }
    reads.sort_by_cached_key(Read::order);
    // Small variables that lie side by side are one task: a thread that has it reads on and on.
    let mut tasks = Vec::new();
    let mut rest = &mut reads[..];
    while let [first, others @ ..] = &*rest {
        let mut bytes = first.into.len();
        let fits = |read: &&Read<'_, '_>| {
            bytes += read.into.len();
            bytes <= SMALLEST_TASK
        };
        let count = 1 + others.iter().take_while(fits).count();
        let (task, after) = std::mem::take(&mut rest).split_at_mut(count);
        tasks.push(Mutex::new(task));
        rest = after;
    }
    job.work(job.threads(tasks.len()), tasks.len(), |next| {
        let mut scratch = Scratch::default();
        while let Some(task) = next() {
            // Each task is handed out once; the lock is what lets threads share the list.
            let mut reads = tasks[task].lock().unwrap_or_else(PoisonError::into_inner);
            job.read_all(&mut reads, &mut scratch)?;
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
        let mut scratch = Scratch::default();
        while let Some(task) = next() {
            let batch = &batches[task];
            let read = |mut rest: MappedBytes<'_>| {
                let mut reads = Vec::with_capacity(batch.len());
                for &Segment { target, start, bytes, .. } in batch {
                    let (place, after) = rest.split_at(padded(bytes));
                    let (into, _) = place.split_at(bytes);
                    reads.push(Read { target, start, into });
                    rest = after;
                }
                job.read_all(&mut reads, &mut scratch)
            };
            let record = |_: &wgpu::Device,
                          encoder: &mut wgpu::CommandEncoder,
                          staging: &wgpu::Buffer| {
                for segment in batch {
                    let slice = segment.target.slice;
                    let (to, bytes) = (slice.offset + segment.start, padded(segment.bytes));
                    encoder.copy_buffer_to_buffer(staging, segment.at, &slice.buffer, to, bytes);
                }
            };
            ring.next()?.pass_on(job.gpu, "copying restored variables", read, record)?;
            job.submitted();
        }
        Ok(())
    })?;
    // What the device reports about the copies must come before any origin changes.
    Ok(job.gpu.wait_all()?)
}
