//! From a source of bytes into variables: all or nothing, and straight to where the device takes them. (A
//! source that sums up what it reads may first have it in a scratch, within the processor's cache.)
//!
//! Files are read by `pread`, not mapped: a mapped file that shrinks kills its reader, and on a
//! warm file the two are equally fast (`benches/RESULTS.md`). Threads are eight at most. On the way
//! each reads through a buffer that stays in its cache, makes the checksum there and copies the
//! bytes on, so that device memory is never read: it may be write-combined. Only where the adapter
//! is the CPU are bytes read in place and summed up there (`ByteSource::read_at_cached`). How both
//! ends of a copy lie in their pages matters threefold on some processors, so that buffer lies as
//! the file does, and in files that we write tensors begin at a multiple of 64.

use crate::device::gpu::{Gpu, MemoryKind};
use crate::error::SessionError;
use crate::initialize;
use crate::origin::{Missing, Origin};
use crate::session::Session;
use crate::store::Entry;
use crate::transfer::backup::Backup;
use crate::transfer::fill::{Fill, LeadingRows, Target};
use crate::transfer::job::Job;
use crate::transfer::{convert, plain};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// What a restore did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Restored {
    /// How many variables it filled.
    pub variables: usize,
    /// How many bytes were read for them.
    pub bytes: u64,
    /// How bytes get into device memory. (Those to be converted go through staging buffers in any
    /// case.)
    pub memory: MemoryKind,
    /// How many times work was submitted to the device for it.
    pub submissions: u64,
}

impl Session {
    /// Fills variables with bytes from their sources, several at a time. What has another dtype
    /// than its variable, or is transposed, is converted on the device.
    ///
    /// All or nothing: if anything fails, every variable that had a value has it still, and no
    /// origin changes. (A variable without a value may be left with other bytes; it still has no
    /// value.) To that end, variables with a value are first copied aside on the device, except
    /// those whose value an initializer can make there again. [`Session::discard_values`] saves
    /// that where the old values are of no use.
    ///
    /// `progress` is called with the number of bytes read so far, which only grows, from any of
    /// the reading threads. Reading takes no memory but 260 KiB for each thread where variables can
    /// be mapped and need no conversion, and at most [`GpuOptions::staging_bytes`](crate::GpuOptions)
    /// more elsewhere.
    ///
    /// # Errors
    /// Before anything is read: [`SessionError::UnknownVariable`], [`SessionError::RestoredTwice`],
    /// [`SessionError::RestoredFromNothing`], [`SessionError::NoCast`],
    /// [`SessionError::TransposedRank`], [`SessionError::LeadingRows`] or
    /// [`SessionError::Initializer`]. [`SessionError::Source`] or [`SessionError::Refused`] if a
    /// source fails; [`SessionError::OutOfRange`]; [`SessionError::Gpu`].
    ///
    /// # Panics
    /// If a source or `progress` panics, once all is as it was before.
    pub fn restore<'a>(
        &mut self,
        fills: impl IntoIterator<Item = Fill<'a>>,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Restored, SessionError> {
        self.restore_all(fills.into_iter().collect(), progress)
    }

    fn restore_all(
        &mut self,
        fills: Vec<Fill<'_>>,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Restored, SessionError> {
        let memory = self.gpu.memory();
        let entries = self.store.entries();
        let mut seen = vec![false; entries.len()];
        let mut targets = Vec::with_capacity(fills.len());
        let mut indices: Vec<usize> = Vec::with_capacity(fills.len());
        let mut replaced: Vec<&Entry> = Vec::new();
        let mut grown: BTreeMap<u64, Vec<&Entry>> = BTreeMap::new();
        let mut bytes = 0;
        // All at once for each: thousands do not stay in the processor's cache until a second look.
        for fill in &fills {
            let likely = indices.last().map_or(0, |last| last + 1);
            let index = self.store.index_near(likely, fill.variable)?;
            if std::mem::replace(&mut seen[index], true) {
                return Err(SessionError::RestoredTwice { name: fill.variable.to_owned() });
            }
            let entry = &entries[index];
            let target = Target::new(fill, entry, memory)?;
            if entry.info.origin.has_value() {
                replaced.push(entry);
            }
            if let Some(LeadingRows { seed, .. }) = fill.leading {
                grown.entry(seed).or_default().push(entry);
            }
            bytes += target.source_bytes();
            indices.push(index);
            targets.push(target);
        }
        let backup = Backup::take(&self.gpu, &replaced)?;
        let mut submissions = backup.submissions() + grown.len() as u64;
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            // The leading rows are then written over these.
            for (seed, entries) in &grown {
                initialize::run(&self.gpu, entries, *seed)?;
            }
            submissions += carry_out(&self.gpu, &fills, targets, progress)?;
            Ok(())
        }));
        let failure = match outcome {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(Ok(error)),
            Err(panic) => Some(Err(panic)),
        };
        if let Some(failure) = failure {
            if let Err(error) = backup.put_back(&self.gpu) {
                for index in indices {
                    let origin = &mut self.store.entries_mut()[index].info.origin;
                    if origin.has_value() {
                        *origin = Origin::Uninitialized(Missing::LostInRestore);
                    }
                }
                return Err(error.into());
            }
            return Err(failure.unwrap_or_else(|panic| resume_unwind(panic)));
        }
        let variables = fills.len();
        for (index, fill) in indices.into_iter().zip(fills) {
            self.store.entries_mut()[index].info.origin = fill.origin;
        }
        Ok(Restored { variables, bytes, memory, submissions })
    }
}

/// Moves all bytes, and then asks every source whether they were right. Returns how many times work
/// was submitted.
fn carry_out(
    gpu: &Gpu,
    fills: &[Fill<'_>],
    mut targets: Vec<Target<'_>>,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<u64, SessionError> {
    let is_converted = |target: &mut Target<'_>| target.conversion.is_some();
    let mut converted: Vec<Target<'_>> = targets.extract_if(.., is_converted).collect();
    let job = Job::new(gpu, progress);
    match gpu.memory() {
        MemoryKind::Mappable => plain::mapped(&job, &targets)?,
        MemoryKind::Staged => {
            targets.sort_by_cached_key(Target::place);
            plain::staged(&job, &targets)?;
        }
    }
    converted.sort_by_cached_key(Target::place);
    let misfit = convert::run(&job, &converted)?;
    for fill in fills {
        fill.source
            .finish()
            .map_err(|source| SessionError::Refused { name: fill.variable.to_owned(), source })?;
    }
    // Of damaged bytes the damage is told, not what they happen to say.
    misfit.map_or(Ok(job.submissions()), |misfit| Err(misfit.error()))
}
