//! From a source of bytes into variables: all or nothing, with one copy by the CPU.

use crate::backup::Backup;
use crate::device::{Gpu, MemoryKind};
use crate::error::SessionError;
use crate::fill;
use crate::mapped::read_into;
use crate::origin::{Missing, Origin};
use crate::session::Session;
use crate::store::VariableSlice;
use std::collections::HashSet;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// Where bytes are read from, at any place and from several threads at once.
pub trait ByteSource: Sync {
    /// Fills `into` with the bytes that begin at `offset`.
    ///
    /// `into` may be write-combined device memory: write each byte once and in order, and never
    /// read it.
    ///
    /// # Errors
    /// If not all bytes could be read.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()>;

    /// Called once after all bytes of the fill were read and before its value counts (and before
    /// any origin changes). An error makes the whole restore fail like a failed read. (Checksums.)
    ///
    /// # Errors
    /// If what was read is not what it should be.
    fn finish(&self) -> io::Result<()> {
        Ok(())
    }
}

/// A variable and where its bytes are. They are as many as the variable has, little-endian and
/// row-major, of its own dtype.
#[derive(Clone)]
pub struct Fill<'a> {
    /// The variable.
    pub variable: &'a str,
    /// Where its bytes are read from.
    pub source: &'a dyn ByteSource,
    /// Where in the source the first byte is.
    pub offset: u64,
    /// What to record as the origin.
    pub origin: Origin,
}

/// What a restore did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Restored {
    /// How many variables it filled.
    pub variables: usize,
    /// How many bytes they have.
    pub bytes: u64,
    /// How the bytes got into device memory.
    pub memory: MemoryKind,
}

impl Session {
    /// Fills variables with bytes from their sources, several at a time.
    ///
    /// All or nothing: if anything fails, every variable that had a value has it still, and no
    /// origin changes. (A variable without a value may be left with other bytes; it still has no
    /// value.) To that end, variables with a value are first copied aside on the device.
    ///
    /// `progress` is called with the number of bytes read so far, which only grows, from any of
    /// the reading threads. Reading takes no host memory where variables can be mapped, and at
    /// most [`GpuOptions::staging_bytes`](crate::GpuOptions) elsewhere.
    ///
    /// # Errors
    /// [`SessionError::UnknownVariable`], [`SessionError::RestoredTwice`] or
    /// [`SessionError::RestoredFromNothing`] before anything is read; [`SessionError::Source`] if
    /// a source fails; [`SessionError::Gpu`].
    ///
    /// # Panics
    /// If a source or `progress` panics, once all is as it was before.
    pub fn restore(
        &mut self,
        fills: &[Fill<'_>],
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Restored, SessionError> {
        let mut seen = HashSet::new();
        let mut targets = Vec::with_capacity(fills.len());
        let mut indices = Vec::with_capacity(fills.len());
        for fill in fills {
            let index = self.store.index(fill.variable)?;
            let name = || fill.variable.to_owned();
            if !seen.insert(index) {
                return Err(SessionError::RestoredTwice { name: name() });
            }
            if !fill.origin.has_value() {
                let origin = fill.origin.clone();
                return Err(SessionError::RestoredFromNothing { name: name(), origin });
            }
            indices.push(index);
            targets.push(Target { fill, slice: &self.store.entries()[index].slice });
        }
        let valued: Vec<usize> = indices
            .iter()
            .copied()
            .filter(|&index| self.store.entries()[index].info.origin.has_value())
            .collect();
        let slices: Vec<&VariableSlice> =
            valued.iter().map(|&index| &self.store.entries()[index].slice).collect();
        let backup = Backup::take(&self.gpu, &slices)?;
        let job = Job {
            gpu: &self.gpu,
            targets: &targets,
            progress,
            done: Mutex::new(0),
            failed: AtomicBool::new(false),
        };
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            match self.gpu.memory() {
                MemoryKind::Mappable => fill::mapped(&job),
                MemoryKind::Staged => fill::staged(&job),
            }?;
            job.finish()
        }));
        let failure = match outcome {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(Ok(error)),
            Err(panic) => Some(Err(panic)),
        };
        if let Some(failure) = failure {
            if let Err(error) = backup.put_back(&self.gpu) {
                for index in valued {
                    let lost = Origin::Uninitialized(Missing::LostInRestore);
                    self.store.entries_mut()[index].info.origin = lost;
                }
                return Err(error.into());
            }
            return Err(failure.unwrap_or_else(|panic| resume_unwind(panic)));
        }
        let bytes = targets.iter().map(|target| target.slice.bytes).sum();
        for (index, fill) in indices.into_iter().zip(fills) {
            self.store.entries_mut()[index].info.origin = fill.origin.clone();
        }
        Ok(Restored { variables: fills.len(), bytes, memory: self.gpu.memory() })
    }
}

/// A fill and the place it goes to.
pub(crate) struct Target<'a> {
    pub fill: &'a Fill<'a>,
    pub slice: &'a VariableSlice,
}

/// A restore under way, shared by its threads.
pub(crate) struct Job<'a> {
    pub gpu: &'a Gpu,
    pub targets: &'a [Target<'a>],
    progress: &'a (dyn Fn(u64) + Sync),
    done: Mutex<u64>,
    failed: AtomicBool,
}

/// How many bytes one read asks for at most: enough to keep a disk busy, few enough that several
/// threads share one large variable.
pub(crate) const LARGEST_READ: u64 = 8 << 20;

impl Job<'_> {
    /// Reads the part of a target that begins at byte `start` into mapped memory.
    pub fn read(
        &self,
        target: &Target<'_>,
        start: u64,
        into: wgpu::WriteOnly<'_, [u8]>,
    ) -> Result<(), SessionError> {
        let bytes = into.len() as u64;
        let offset = target.fill.offset.saturating_add(start);
        read_into(target.fill.source, offset, into).map_err(|source| SessionError::Source {
            name: target.fill.variable.to_owned(),
            offset,
            bytes,
            source,
        })?;
        // The report is made under the lock, so that reports come in order.
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        *done += bytes;
        (self.progress)(*done);
        Ok(())
    }

    /// Asks each source whether what was read of it is what it should be.
    fn finish(&self) -> Result<(), SessionError> {
        self.targets.iter().try_for_each(|Target { fill, slice }| {
            fill.source.finish().map_err(|source| SessionError::Source {
                name: fill.variable.to_owned(),
                offset: fill.offset,
                bytes: slice.bytes,
                source,
            })
        })
    }

    /// How many threads `tasks` tasks deserve.
    pub fn threads(&self, tasks: usize) -> usize {
        let cores = thread::available_parallelism().map_or(1, |cores| cores.get());
        cores.min(8).min(tasks).max(1)
    }

    /// Runs a worker on each of several threads. A worker asks for the next of `tasks` task numbers
    /// until there is none or any worker failed. The first error is returned.
    pub fn work(
        &self,
        threads: usize,
        tasks: usize,
        worker: impl Fn(&dyn Fn() -> Option<usize>) -> Result<(), SessionError> + Sync,
    ) -> Result<(), SessionError> {
        let next = AtomicUsize::new(0);
        let take = || {
            if self.failed.load(Ordering::Relaxed) {
                return None;
            }
            let task = next.fetch_add(1, Ordering::Relaxed);
            (task < tasks).then_some(task)
        };
        let run = || {
            let result = catch_unwind(AssertUnwindSafe(|| worker(&take)));
            if !matches!(result, Ok(Ok(()))) {
                self.failed.store(true, Ordering::Relaxed);
            }
            result
        };
        let results: Vec<thread::Result<Result<(), SessionError>>> = thread::scope(|scope| {
            // A system short of threads does with the ones it has: this thread always works.
            let others: Vec<_> = (1..threads)
                .map_while(|_| thread::Builder::new().spawn_scoped(scope, run).ok())
                .collect();
            let mut results = vec![run()];
            results.extend(others.into_iter().map(|other| match other.join() {
                Ok(result) => result,
                Err(panic) => Err(panic),
            }));
            results
        });
        results.into_iter().try_for_each(|result| match result {
            Ok(result) => result,
            Err(panic) => resume_unwind(panic),
        })
    }
}
