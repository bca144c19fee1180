//! How variables get their values back if a restore fails. What an initializer made on the device it
//! can make again, bit by bit; anything else is copied aside there until the restore has succeeded.
//!
//! For small variables the dispatches are prepared only if a restore fails. Values that the host
//! made, and those restored, assigned, computed or trained, are what is copied. On an adapter that shares the
//! host's memory the copies take as much of it again, until the restore ends. Who has no use for
//! the old values gives them up before (`Session::discard_values`): then there is nothing to copy,
//! and after a failure nothing has a value, as before it. Where a source has only the first rows of
//! a variable (a table that has grown), the whole variable is initialized before its rows are read
//! over that.

use crate::device::ALIGNMENT;
use crate::device::gpu::Gpu;
use crate::error::GpuError;
use crate::initialize::{Job, Prepared};
use crate::store::{Entry, VariableSlice};
use crate::transfer::huge_pages;

/// Dispatches for smaller variables are prepared if they turn out to be needed: for thousands of them
/// that takes longer than a restore, and few restores fail.
const SMALLEST_PREPARED: u64 = 64 << 10;

/// Values of variables, aside, or how to make them again.
pub(crate) struct Backup<'a> {
    copies: Vec<Copy>,
    prepared: Prepared,
    small: Vec<Job<'a>>,
}

/// Bytes of an arena and their place in a buffer of the backup.
struct Copy {
    run: Run,
    buffer: wgpu::Buffer,
    at: u64,
}

/// Variables that lie one after another, with the padding between them.
struct Run {
    arena: wgpu::Buffer,
    from: u64,
    to: u64,
}

impl Run {
    fn bytes(&self) -> u64 {
        self.to - self.from
    }

    /// Thousands of small variables that lie side by side are one copy.
    fn all(slices: &[&VariableSlice]) -> Vec<Run> {
        let mut slices: Vec<&VariableSlice> =
            slices.iter().copied().filter(|slice| slice.bytes > 0).collect();
        slices.sort_by_key(|slice| (slice.arena, slice.offset));
        let mut runs: Vec<Run> = Vec::new();
        let mut arena = None;
        for slice in slices {
            let to = slice.offset + slice.padded();
            match runs.last_mut() {
                Some(run)
                    if arena == Some(slice.arena)
                        && run.to.next_multiple_of(ALIGNMENT) == slice.offset =>
                {
                    run.to = to;
                }
                _ => runs.push(Run { arena: slice.buffer.clone(), from: slice.offset, to }),
            }
            arena = Some(slice.arena);
        }
        runs
    }
}

impl<'a> Backup<'a> {
    /// Sees to it that [`Backup::put_back`] needs little but the device.
    pub fn take(gpu: &Gpu, entries: &[&'a Entry]) -> Result<Backup<'a>, GpuError> {
        let (mut large, mut small) = (Vec::new(), Vec::new());
        let mut slices = Vec::new();
        for entry in entries {
            match Job::again(entry) {
                Some(job) if entry.slice.bytes >= SMALLEST_PREPARED => large.push(job),
                Some(job) => small.push(job),
                None => slices.push(&entry.slice),
            }
        }
        let prepared = Prepared::new(gpu, &large)?;
        let limit = gpu.limits().max_buffer_size;
        let runs = Run::all(&slices);
        let mut sizes: Vec<u64> = Vec::new();
        let places: Vec<(usize, u64)> = runs
            .iter()
            .map(|run| {
                match sizes.last() {
                    Some(size) if size + run.bytes() <= limit => {}
                    _ => sizes.push(0),
                }
                let last = sizes.len() - 1;
                let at = sizes[last];
                sizes[last] += run.bytes();
                (last, at)
            })
            .collect();
        let usage = wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
        let what = "a copy of the variables that a restore replaces";
        // Where the device is the CPU, its copy would make the pages of new memory one by one.
        let buffers: Vec<wgpu::Buffer> = sizes
            .into_iter()
            .map(|size| match huge_pages::buffer(gpu, what, size, usage) {
                Some(made) => Ok(made),
                None => gpu.buffer(what, size, usage),
            })
            .collect::<Result<_, _>>()?;
        let copies = runs
            .into_iter()
            .zip(places)
            .map(|(run, (index, at))| Copy { run, buffer: buffers[index].clone(), at })
            .collect();
        let backup = Backup { copies, prepared, small };
        if backup.submissions() > 0 {
            backup.copy(gpu, what, |encoder, Copy { run, buffer, at }| {
                encoder.copy_buffer_to_buffer(&run.arena, run.from, buffer, *at, run.bytes());
            })?;
        }
        Ok(backup)
    }

    /// How many times work was submitted for it.
    pub fn submissions(&self) -> u64 {
        u64::from(!self.copies.is_empty())
    }

    /// Copies the values back, and waits until they are.
    pub fn put_back(&self, gpu: &Gpu) -> Result<(), GpuError> {
        let what = "putting back the variables of a failed restore";
        self.copy(gpu, what, |encoder, Copy { run, buffer, at }| {
            encoder.copy_buffer_to_buffer(buffer, *at, &run.arena, run.from, run.bytes());
        })?;
        self.prepared.submit(gpu)?;
        gpu.wait(Prepared::new(gpu, &self.small)?.submit(gpu)?)
    }

    fn copy(
        &self,
        gpu: &Gpu,
        what: &str,
        encode: impl Fn(&mut wgpu::CommandEncoder, &Copy),
    ) -> Result<wgpu::SubmissionIndex, GpuError> {
        gpu.checked(what, |device| {
            let mut encoder = device.create_command_encoder(&Default::default());
            self.copies.iter().for_each(|copy| encode(&mut encoder, copy));
            gpu.queue().submit([encoder.finish()])
        })
    }
}
