//! All variables as they are between two runs, kept beside the session while it goes on.
//!
//! The device copies whole arenas into buffers that the host can map. There is one queue, so a copy
//! to the host made piece by piece later would hold up the kernels just as long, and would need
//! staging besides; and on a discrete GPU these buffers take none of the device's own memory.

use crate::device::gpu::Gpu;
use crate::device::mapping::Mapping;
use crate::error::{GpuError, SessionError};
use crate::origin::Origin;
use crate::session::Session;
use crate::store::VariableSlice;
use std::collections::HashMap;
use std::io;
use warmstart_graph::Location;
use warmstart_graph::words::closest;

const WHAT: &str = "a snapshot of the variables";

/// The most that a sink is handed at once.
const LARGEST_PIECE: usize = 8 << 20;

/// The values of all variables of a session at one moment, from [`Session::snapshot`]. It belongs
/// to no session any more and can be read on another thread.
///
/// Dropping it gives its memory back; [`Session::snapshot_into`] uses it again.
pub struct Snapshot {
    /// One for each arena.
    buffers: Vec<wgpu::Buffer>,
    variables: HashMap<String, Kept>,
    submission: Option<wgpu::SubmissionIndex>,
    // Last, so that it is let go of last (device/closing.rs).
    gpu: Gpu,
}

/// A variable as it was.
struct Kept {
    /// Where in the snapshot its value is.
    slice: VariableSlice,
    /// Why there is none.
    missing: Option<(Location, Origin)>,
}

impl Session {
    /// Bytes of memory that a [`Session::snapshot`] takes now: as many as the variables have,
    /// each rounded up to 256.
    pub fn snapshot_bytes(&self) -> u64 {
        self.store.arenas().iter().map(wgpu::Buffer::size).sum()
    }

    /// Copies the values of all variables as the runs submitted so far leave them. Does not wait
    /// for the device; later runs do not change the copy.
    ///
    /// # Errors
    /// [`SessionError::Gpu`] with [`GpuError::OutOfMemory`] if there is no room for
    /// [`Session::snapshot_bytes`], or with what the device reports. The variables are unchanged.
    pub fn snapshot(&self) -> Result<Snapshot, SessionError> {
        let mut snapshot = Snapshot {
            gpu: self.gpu.clone(),
            buffers: Vec::new(),
            variables: HashMap::new(),
            submission: None,
        };
        self.snapshot_into(&mut snapshot)?;
        Ok(snapshot)
    }

    /// As [`Session::snapshot`], in the memory of an older snapshot, whose values are lost. Memory
    /// is asked for only if the session has got more variables since.
    ///
    /// # Errors
    /// As [`Session::snapshot`]; the snapshot then holds no variables.
    pub fn snapshot_into(&self, snapshot: &mut Snapshot) -> Result<(), SessionError> {
        snapshot.variables.clear();
        snapshot.submission = None;
        let arenas = self.store.arenas();
        // By address: `wgpu` counts devices of each instance from one, so that those of two
        // instances compare equal.
        if !std::ptr::eq(snapshot.gpu.device(), self.gpu.device()) {
            snapshot.gpu = self.gpu.clone();
            snapshot.buffers.clear();
        }
        // What does not fit goes before anything new is asked for.
        let fitting = snapshot.buffers.iter().zip(arenas).take_while(|(b, a)| b.size() == a.size());
        snapshot.buffers.truncate(fitting.count());
        for arena in &arenas[snapshot.buffers.len()..] {
            let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
            snapshot.buffers.push(self.gpu.buffer(WHAT, arena.size(), usage)?);
        }
        let submission = self.gpu.checked(WHAT, |device| {
            let mut encoder = device.create_command_encoder(&Default::default());
            for (arena, copy) in arenas.iter().zip(&snapshot.buffers) {
                encoder.copy_buffer_to_buffer(arena, 0, copy, 0, arena.size());
            }
            self.gpu.queue().submit([encoder.finish()])
        })?;
        snapshot.submission = Some(submission);
        snapshot.variables = self
            .store
            .entries()
            .iter()
            .map(|entry| {
                let buffer = snapshot.buffers[entry.slice.arena].clone();
                let slice = VariableSlice { buffer, ..entry.slice.clone() };
                let info = &entry.info;
                let missing = (!info.origin.has_value())
                    .then(|| (info.variable.location.clone(), info.origin.clone()));
                (info.name().to_owned(), Kept { slice, missing })
            })
            .collect();
        Ok(())
    }
}

impl Snapshot {
    /// Bytes of memory that it takes.
    pub fn bytes(&self) -> u64 {
        self.buffers.iter().map(wgpu::Buffer::size).sum()
    }

    /// Hands the bytes of variables to `sink` as [`Session::snapshot_read`] does, but as they were
    /// at the moment of the snapshot. Waits only for the copy; a session on another thread may run
    /// meanwhile.
    ///
    /// # Errors
    /// As [`Session::snapshot_read`].
    pub fn read(
        &mut self,
        names: &[&str],
        sink: &mut dyn FnMut(&str, &[u8]) -> io::Result<()>,
    ) -> Result<(), SessionError> {
        let slices: Vec<(&str, &VariableSlice)> = names
            .iter()
            .map(|&name| Ok((name, self.with_value(name)?)))
            .collect::<Result<_, SessionError>>()?;
        let _mapped = self.map()?;
        for (name, slice) in slices {
            let failed = |source| SessionError::Sink { name: name.to_owned(), source };
            if slice.bytes == 0 {
                sink(name, &[]).map_err(failed)?;
                continue;
            }
            let range = slice.offset..slice.offset + slice.padded();
            let view = slice.buffer.get_mapped_range(range).map_err(|error| {
                GpuError::Internal { what: WHAT.to_owned(), message: error.to_string() }
            })?;
            // A variable is at most one binding, 2^32 bytes, and mapped memory has addresses.
            let value = &view[..slice.bytes as usize];
            value.chunks(LARGEST_PIECE).try_for_each(|piece| sink(name, piece)).map_err(failed)?;
        }
        Ok(())
    }

    fn with_value(&self, name: &str) -> Result<&VariableSlice, SessionError> {
        let name = name.to_owned();
        match self.variables.get(&name) {
            None => {
                let close = closest(&name, self.variables.keys().map(String::as_str));
                Err(SessionError::UnknownVariable { name, close })
            }
            Some(Kept { missing: Some((location, origin)), .. }) => {
                let (location, origin) = (location.clone(), origin.clone());
                Err(SessionError::Uninitialized { name, location, origin: Box::new(origin) })
            }
            Some(Kept { slice, missing: None }) => Ok(slice),
        }
    }

    /// Maps all buffers once the copy is done.
    fn map(&self) -> Result<Mapped<'_>, GpuError> {
        // Made first: it also takes back those that were mapped before another one failed.
        let mapped = Mapped(&self.buffers);
        let mappings: Vec<Mapping> = self
            .buffers
            .iter()
            .map(|buffer| Mapping::start(buffer, wgpu::MapMode::Read, 0, buffer.size()))
            .collect();
        if let Some(submission) = &self.submission {
            self.gpu.wait(submission.clone())?;
        }
        mappings.into_iter().try_for_each(|mapping| mapping.finish(&self.gpu, WHAT))?;
        Ok(mapped)
    }
}

/// Unmaps the buffers at its end: the device can copy only into those that are not mapped.
struct Mapped<'a>(&'a [wgpu::Buffer]);

impl Drop for Mapped<'_> {
    fn drop(&mut self) {
        self.0.iter().for_each(wgpu::Buffer::unmap);
    }
}

#[cfg(test)]
#[path = "snapshot_tests.rs"]
mod tests;
