//! The two ways into device memory: written in place, or through a ring of staging buffers.

use crate::device::Gpu;
use crate::download::SMALLEST_STAGING;
use crate::error::{GpuError, SessionError};
use crate::mapped::Mapping;
use crate::transfer::{Job, LARGEST_READ, Target};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

const WORD: u64 = wgpu::COPY_BUFFER_ALIGNMENT;

fn internal(what: &str, error: wgpu::MapRangeError) -> GpuError {
    GpuError::Internal { what: what.to_owned(), message: error.to_string() }
}

/// Buffers that are mapped until this is dropped. Views of them must be dropped before.
struct MappedBuffers(Vec<wgpu::Buffer>);

impl Drop for MappedBuffers {
    fn drop(&mut self) {
        self.0.iter().for_each(wgpu::Buffer::unmap);
    }
}

/// Reads straight into the variables.
pub(crate) fn mapped(job: &Job<'_>) -> Result<(), SessionError> {
    let what = "mapping variables";
    let targets: Vec<&Target<'_>> = job.targets.iter().filter(|t| t.slice.bytes > 0).collect();
    // A buffer has one mapping at a time: from its first to its last variable to fill.
    let mut ranges: BTreeMap<usize, (&wgpu::Buffer, u64, u64)> = BTreeMap::new();
    for target in &targets {
        let slice = target.slice;
        let (from, to) = (slice.offset, slice.offset + slice.padded());
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
        for start in (0..target.slice.bytes).step_by(LARGEST_READ as usize) {
            let from = target.slice.offset + start;
            let to = from + LARGEST_READ.min(target.slice.padded() - start);
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
                let bytes = LARGEST_READ.min(target.slice.bytes - start);
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

impl Segment<'_> {
    fn padded(&self) -> u64 {
        self.bytes.next_multiple_of(WORD)
    }
}

/// Packs all bytes to read into batches of at most `capacity`, a whole number of words: small
/// variables share one, large ones take several.
fn batches<'a>(targets: &'a [Target<'a>], capacity: u64) -> Vec<Vec<Segment<'a>>> {
    let mut batches: Vec<Vec<Segment<'a>>> = Vec::new();
    let mut room = 0;
    for target in targets {
        let mut start = 0;
        while start < target.slice.bytes {
            if room == 0 {
                batches.push(Vec::new());
                room = capacity;
            }
            let bytes = room.min(target.slice.bytes - start);
            let segment = Segment { target, start, bytes, at: capacity - room };
            (start, room) = (start + bytes, room - segment.padded());
            batches.last_mut().expect("one was pushed when there was no room").push(segment);
        }
    }
    batches
}

/// A staging buffer of a worker: mapped, or about to be once the device has copied from it.
struct Staging {
    buffer: wgpu::Buffer,
    copying: Option<(wgpu::SubmissionIndex, Mapping)>,
}

impl Staging {
    fn new(gpu: &Gpu, capacity: u64) -> Result<Staging, GpuError> {
        let buffer =
            gpu.mapped_buffer("staging for restoring", capacity, wgpu::BufferUsages::COPY_SRC)?;
        Ok(Staging { buffer, copying: None })
    }

    /// Reads a batch into the buffer, once it is free, and has the device copy it to its variables.
    fn fill(&mut self, job: &Job<'_>, batch: &[Segment<'_>]) -> Result<(), SessionError> {
        let what = "filling a staging buffer";
        if let Some((submission, mapping)) = self.copying.take() {
            job.gpu.wait(submission)?;
            mapping.finish(job.gpu, what)?;
        }
        {
            let mut view = self.buffer.get_mapped_range_mut(..).map_err(|e| internal(what, e))?;
            for segment in batch {
                let range = segment.at as usize..(segment.at + segment.bytes) as usize;
                job.read(segment.target, segment.start, view.slice(range))?;
            }
        }
        let submitted = job.gpu.checked("copying restored variables", |device| {
            self.buffer.unmap();
            let mut encoder = device.create_command_encoder(&Default::default());
            for segment in batch {
                let slice = segment.target.slice;
                let (to, bytes) = (slice.offset + segment.start, segment.padded());
                encoder.copy_buffer_to_buffer(&self.buffer, segment.at, &slice.buffer, to, bytes);
            }
            let submission = job.gpu.queue().submit([encoder.finish()]);
            let size = self.buffer.size();
            (submission, Mapping::start(&self.buffer, wgpu::MapMode::Write, 0, size))
        })?;
        self.copying = Some(submitted);
        Ok(())
    }
}

/// Each worker reads into one of its two staging buffers while the device copies from the other.
const BUFFERS_PER_WORKER: u64 = 2;

/// Reads through staging buffers.
pub(crate) fn staged(job: &Job<'_>) -> Result<(), SessionError> {
    let total: u64 = job.targets.iter().map(|target| target.slice.padded()).sum();
    let staging = job.gpu.staging_bytes().max(BUFFERS_PER_WORKER * SMALLEST_STAGING);
    let affordable = staging / (BUFFERS_PER_WORKER * SMALLEST_STAGING);
    let threads = job.threads(usize::try_from(affordable).unwrap_or(usize::MAX));
    let share = staging / (threads as u64 * BUFFERS_PER_WORKER);
    // Little to read needs little memory.
    let capacity = share.min(LARGEST_READ).min(total.max(WORD)) / WORD * WORD;
    let batches = batches(job.targets, capacity);
    job.work(threads.min(batches.len()), batches.len(), |next| {
        let mut ring: Vec<Staging> = Vec::new();
        let mut turn = 0;
        while let Some(task) = next() {
            if ring.len() == turn {
                ring.push(Staging::new(job.gpu, capacity)?);
            }
            ring[turn].fill(job, &batches[task])?;
            turn = (turn + 1) % BUFFERS_PER_WORKER as usize;
        }
        Ok(())
    })?;
    // What the device reports about the copies must come before any origin changes.
    Ok(job.gpu.wait_all()?)
}
