//! What a restore is asked for: which variable, from which bytes, converted how.

use crate::device::gpu::MemoryKind;
use crate::error::SessionError;
use crate::origin::Origin;
use crate::store::{Entry, VariableSlice};
use crate::transfer::cast::{Conversion, SourceDType};
use std::io::IoSliceMut;
use std::{io, ptr};
use warmstart_graph::Variable;

/// Where bytes are read from, at any place and from several threads at once.
pub trait ByteSource: Sync {
    /// Fills `into` with the bytes that begin at `offset`. A restore asks for every byte of a
    /// [`Fill`] once, in pieces of at most 8 MiB and in no order.
    ///
    /// `into` may be write-combined device memory: write each byte once and in order, and never
    /// read it.
    ///
    /// # Errors
    /// If not all bytes could be read.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()>;

    /// As [`ByteSource::read_at`], where `into` is ordinary memory of the host and may be read as
    /// well: who sums up what is read needs no memory of its own for it. Asked instead of
    /// [`ByteSource::read_at`] on adapters that are the CPU itself.
    ///
    /// # Errors
    /// If not all bytes could be read.
    fn read_at_cached(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.read_at(offset, into)
    }

    /// As [`ByteSource::read_at_cached`] into several pieces of memory, with bytes that lie one after
    /// the other: the place to ask the system once for all of them.
    ///
    /// # Errors
    /// If not all bytes could be read.
    fn read_each_at_cached(&self, offset: u64, into: &mut [IoSliceMut<'_>]) -> io::Result<()> {
        let mut at = offset;
        into.iter_mut().try_for_each(|piece| {
            self.read_at_cached(at, piece)?;
            at += piece.len() as u64;
            Ok(())
        })
    }

    /// The file that the bytes lie in as they are, at the same offsets, if there are other sources
    /// in it. Small [`Fill`]s that are neighbours there are read at once, by
    /// [`ByteSource::read_at_cached`] or [`ByteSource::read_each_at_cached`] of the file; each
    /// source is then told by [`ByteSource::came`] what came for it. Whatever cannot be had that way
    /// is asked of each source.
    fn file(&self) -> Option<&dyn ByteSource> {
        None
    }

    /// Told of bytes that were read from [`ByteSource::file`] for this source, in place of being
    /// asked for them: the place to sum them up.
    fn came(&self, _offset: u64, _bytes: &[u8]) {}

    /// Called once for each [`Fill`] from this source, after all its bytes were read and before
    /// its value counts: the place to compare a checksum. (If a restore then fails because a number does
    /// not fit, that number is read once more.)
    ///
    /// # Errors
    /// If the bytes are not what they should be. The whole restore fails then, as by a failed read.
    fn finish(&self) -> io::Result<()> {
        Ok(())
    }
}

/// A variable and where its bytes are: little-endian and row-major.
#[derive(Clone)]
pub struct Fill<'a> {
    /// The variable.
    pub variable: &'a str,
    /// Where its bytes are read from.
    pub source: &'a dyn ByteSource,
    /// Where in the source the first byte is.
    pub offset: u64,
    /// How the bytes become the variable's; `None` if they are of its own dtype and shape.
    pub conversion: Option<Conversion>,
    /// If the source has only the first rows of the variable: how many, and where the others come
    /// from.
    pub leading: Option<LeadingRows>,
    /// What to record as the origin.
    pub origin: Origin,
}

/// A source that holds only the first rows of a variable: the vocabulary has grown since. A row is
/// all that one index of the first dimension reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeadingRows {
    /// How many rows the source has.
    pub rows: usize,
    /// The rows after these become what initialization of the whole variable with this seed would
    /// give them.
    pub seed: u64,
}

/// A fill that was found sound, and the place it goes to.
pub(crate) struct Target<'a> {
    pub fill: &'a Fill<'a>,
    pub variable: &'a Variable,
    pub slice: &'a VariableSlice,
    /// How many elements the source has: those of the leading rows.
    pub elements: u64,
    /// `None` where the bytes are moved as they are.
    pub conversion: Option<Conversion>,
    /// Which file its source is in, as an address.
    pub file: Option<usize>,
}

impl<'a> Target<'a> {
    pub fn new(
        fill: &'a Fill<'a>,
        entry: &'a Entry,
        memory: MemoryKind,
    ) -> Result<Target<'a>, SessionError> {
        let variable = &entry.info.variable;
        let name = || fill.variable.to_owned();
        if !fill.origin.has_value() {
            let origin = Box::new(fill.origin.clone());
            return Err(SessionError::RestoredFromNothing { name: name(), origin });
        }
        let elements = match fill.leading {
            None => variable.shape.elements() as u64,
            Some(LeadingRows { rows, .. }) => match variable.shape.split_first() {
                Some((all, row)) if rows <= *all => {
                    // No overflow: the whole variable has a size in bytes.
                    rows as u64 * row.iter().map(|&extent| extent as u64).product::<u64>()
                }
                _ => {
                    let shape = variable.shape.clone();
                    return Err(SessionError::LeadingRows { name: name(), shape, rows });
                }
            },
        };
        if fill.leading.is_some() {
            let checked = variable.initializer.check(&variable.shape, variable.dtype);
            checked.map_err(|source| SessionError::Initializer {
                name: name(),
                location: variable.location.clone(),
                source,
            })?;
        }
        let own = Conversion { from: SourceDType::from(variable.dtype), transpose: false };
        let conversion = fill.conversion.filter(|conversion| *conversion != own);
        if let Some(Conversion { from, transpose }) = conversion {
            if !from.casts_to(variable.dtype) {
                return Err(SessionError::NoCast { name: name(), from, dtype: variable.dtype });
            }
            if transpose && variable.shape.rank() != 2 {
                let shape = variable.shape.clone();
                return Err(SessionError::TransposedRank { name: name(), shape });
            }
        }
        let file = fill.source.file().map(|file| ptr::from_ref(file).addr());
        let mut target = Target { fill, variable, slice: &entry.slice, elements, conversion, file };
        // A copy of whole words would reach into the first of the other rows.
        let whole_words = target.bytes().is_multiple_of(wgpu::COPY_BUFFER_ALIGNMENT);
        if fill.leading.is_some() && !whole_words && memory == MemoryKind::Staged {
            target.conversion.get_or_insert(own);
        }
        Ok(target)
    }

    /// What targets are sorted by: a disk likes to be read in order, one file after the other.
    pub fn place(&self) -> (Option<usize>, u64) {
        (self.file, self.fill.offset)
    }

    /// Bytes of the variable that are filled.
    pub fn bytes(&self) -> u64 {
        self.elements * self.variable.dtype.size() as u64
    }

    /// Bytes in the source.
    pub fn source_bytes(&self) -> u64 {
        let size = self.conversion.map_or(self.variable.dtype.size(), |c| c.from.size());
        self.elements * size as u64
    }
}
