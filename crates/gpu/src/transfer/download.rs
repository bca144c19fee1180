//! From device memory to the host, in pieces of bounded size.

use crate::device::ALIGNMENT;
use crate::device::gpu::Gpu;
use crate::device::mapping::Mapping;
use crate::error::{GpuError, SessionError};
use crate::store::{Entry, VariableSlice};
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

    /// Its bytes and the padding behind them.
    fn room(&self) -> u64 {
        (self.from() + self.bytes).next_multiple_of(ALIGNMENT) - self.from()
    }
}

/// What the device copies at once: segments that are neighbours in an arena, and the padding between
/// them.
struct Run<'a> {
    slice: &'a VariableSlice,
    /// Where in the arena it begins.
    from: u64,
    /// Where in the staging buffer.
    at: u64,
    bytes: u64,
}

/// What one staging buffer takes: a part of a large variable, or many small ones.
#[derive(Default)]
struct Batch<'a> {
    /// In the order in which they are handed out.
    segments: Vec<Segment<'a>>,
    runs: Vec<Run<'a>>,
    bytes: u64,
}

impl Batch<'_> {
    /// Gives the segments their places: in the order of the arenas, whatever their own, since telling
    /// the device of each of thousands takes longer than its copy.
    fn place(&mut self) {
        let segments = self.segments.iter_mut().filter(|segment| segment.bytes > 0);
        let mut segments: Vec<_> = segments.collect();
        segments.sort_by_key(|segment| (segment.slice.arena, segment.from()));
        for segment in segments {
            let (slice, from, bytes) = (segment.slice, segment.from(), padded(segment.bytes));
            // What is asked for twice is copied twice.
            let is_near = |run: &Run<'_>| {
                let behind = from.checked_sub(run.from + run.bytes);
                run.slice.arena == slice.arena && behind.is_some_and(|bytes| bytes < ALIGNMENT)
            };
            match self.runs.last_mut() {
                Some(run) if is_near(run) => {
                    segment.at = run.at + (from - run.from);
                    run.bytes = from + bytes - run.from;
                }
                _ => {
                    segment.at = self.bytes;
                    self.runs.push(Run { slice, from, at: segment.at, bytes });
                }
            }
            self.bytes = segment.at + bytes;
        }
    }
}

fn padded(bytes: u64) -> u64 {
    bytes.next_multiple_of(wgpu::COPY_BUFFER_ALIGNMENT)
}

/// Packs variables into batches of at most `capacity`, a whole number of words, in order; padding at
/// the end of a batch may go beyond that.
fn batches<'a>(entries: &[&'a Entry], capacity: u64) -> Vec<Batch<'a>> {
    let mut batches: Vec<Batch<'a>> = Vec::new();
    let mut taken = capacity;
    for entry in entries {
        let (name, slice) = (entry.info.name(), &entry.slice);
        let mut start = 0;
        loop {
            if taken >= capacity {
                batches.push(Batch::default());
                taken = 0;
            }
            let bytes = (capacity - taken).min(slice.bytes - start);
            let segment = Segment { name, slice, start, bytes, at: 0 };
            taken += segment.room();
            batches.last_mut().expect("one was pushed at first").segments.push(segment);
            start += bytes;
            if start == slice.bytes {
                break;
            }
        }
    }
    batches.iter_mut().for_each(Batch::place);
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
            for Run { slice, from, at, bytes } in &batch.runs {
                encoder.copy_buffer_to_buffer(&slice.buffer, *from, staging, *at, *bytes);
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
            downloads.staging.push(gpu.buffer(
                "staging for reading",
                capacity + ALIGNMENT,
                usage,
            )?);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Session;
    use warmstart_graph::{DType, Initializer, Location, Role, Shape, Variable};

    #[test]
    fn neighbours_are_copied_at_once_whatever_order_they_are_asked_for_in() {
        let variable = |number: usize| Variable {
            name: format!("v{number}"),
            shape: Shape::from([60 + number % 8]),
            dtype: DType::F32,
            initializer: Initializer::Zeros,
            role: Role::State,
            location: Location::caller(),
        };
        let mut session = Session::new(&Gpu::new().unwrap());
        session.declare(&(0..100).map(variable).collect::<Vec<_>>()).unwrap();
        let entries = session.store.entries();
        let order = (0..100).map(|at| &entries[at * 37 % 100]);
        let order: Vec<&Entry> = order.filter(|entry| entry.info.name() != "v50").collect();
        let batches = batches(&order, 1 << 20);
        assert_eq!(batches.len(), 1);
        let Batch { segments, runs, bytes } = &batches[0];
        let names = |entries: &[&Entry]| -> Vec<String> {
            entries.iter().map(|entry| entry.info.name().to_owned()).collect()
        };
        assert!(segments.iter().map(|segment| segment.name).eq(names(&order)));
        // One before `v50` and one behind it.
        assert_eq!(runs.len(), 2);
        assert_eq!(*bytes, runs.iter().map(|run| run.bytes).sum::<u64>());
        for segment in segments {
            let end = segment.from() + segment.bytes;
            let of = |run: &&Run<'_>| run.from <= segment.from() && end <= run.from + run.bytes;
            let run = runs.iter().find(of).unwrap();
            assert_eq!(segment.at - run.at, segment.from() - run.from, "{}", segment.name);
        }
    }
}
