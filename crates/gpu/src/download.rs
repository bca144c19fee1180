//! From device memory to the host, in pieces of bounded size.

use crate::device::Gpu;
use crate::error::{GpuError, SessionError};
use crate::store::{Entry, VariableSlice};
use std::io;
use std::sync::mpsc;

/// Enough to keep a copy and a disk busy, small enough not to count.
const LARGEST_PIECE: u64 = 8 << 20;

/// A part of a variable that fits one staging buffer.
#[derive(Clone, Copy)]
struct Piece<'a> {
    name: &'a str,
    slice: &'a VariableSlice,
    start: u64,
    bytes: u64,
}

impl Piece<'_> {
    fn padded(&self) -> u64 {
        self.bytes.next_multiple_of(wgpu::COPY_BUFFER_ALIGNMENT)
    }
}

/// Two staging buffers: the device copies into one while the host empties the other.
struct Downloads<'a> {
    gpu: &'a Gpu,
    staging: Vec<wgpu::Buffer>,
}

/// A copy under way: its staging buffer becomes readable once it is done.
struct Copy {
    submission: wgpu::SubmissionIndex,
    mapped: mpsc::Receiver<Result<(), wgpu::BufferAsyncError>>,
}

impl<'a> Downloads<'a> {
    fn start(&self, turn: usize, piece: Piece<'_>) -> Result<Copy, GpuError> {
        let staging = &self.staging[turn];
        let (sender, mapped) = mpsc::channel();
        let submission = self.gpu.checked("reading a variable", |device| {
            let mut encoder = device.create_command_encoder(&Default::default());
            let from = piece.slice.offset + piece.start;
            encoder.copy_buffer_to_buffer(&piece.slice.buffer, from, staging, 0, piece.padded());
            let submission = self.gpu.queue().submit([encoder.finish()]);
            staging.map_async(wgpu::MapMode::Read, ..piece.padded(), move |result| {
                // The receiver is gone only when an earlier piece failed: nobody waits then.
                let _ = sender.send(result);
            });
            submission
        })?;
        Ok(Copy { submission, mapped })
    }

    fn finish(
        &self,
        turn: usize,
        copy: Copy,
        piece: Piece<'_>,
        sink: &mut dyn FnMut(&str, &[u8]) -> io::Result<()>,
    ) -> Result<(), SessionError> {
        self.gpu.wait(copy.submission)?;
        let failed = |message: String| GpuError::Internal {
            what: format!("mapping a staging buffer of variable `{}`", piece.name),
            message,
        };
        match copy.mapped.try_recv() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(failed(error.to_string()).into()),
            Err(_) => return Err(failed("the copy is done but not mapped".to_owned()).into()),
        }
        let staging = &self.staging[turn];
        let written = {
            let view = staging
                .get_mapped_range(..piece.padded())
                .map_err(|error| failed(error.to_string()))?;
            // A variable is at most one binding, 2^32 bytes, and a piece far less.
            sink(piece.name, &view[..piece.bytes as usize])
        };
        staging.unmap();
        written.map_err(|source| SessionError::Sink { name: piece.name.to_owned(), source })
    }
}

/// Hands the bytes of each variable to `sink`, in order and in pieces; an empty variable gets one
/// empty piece.
pub(crate) fn download(
    gpu: &Gpu,
    entries: &[&Entry],
    sink: &mut dyn FnMut(&str, &[u8]) -> io::Result<()>,
) -> Result<(), SessionError> {
    let largest = entries.iter().map(|entry| entry.slice.padded()).max().unwrap_or(0);
    let capacity = largest.min(LARGEST_PIECE).min(gpu.staging_bytes() / 2).max(1);
    let capacity = capacity.next_multiple_of(wgpu::COPY_BUFFER_ALIGNMENT);
    let pieces = entries.iter().flat_map(|entry| {
        let slice = &entry.slice;
        let name = entry.info.name();
        (0..slice.bytes.max(1)).step_by(capacity as usize).map(move |start| Piece {
            name,
            slice,
            start,
            bytes: capacity.min(slice.bytes - start),
        })
    });
    let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
    let mut downloads = Downloads { gpu, staging: Vec::new() };
    let mut under_way: Option<(usize, Copy, Piece<'_>)> = None;
    let mut turn = 0;
    for piece in pieces {
        let next = if piece.bytes == 0 {
            None
        } else {
            if downloads.staging.len() <= turn {
                downloads.staging.push(gpu.buffer("staging for reading", capacity, usage)?);
            }
            let copy = downloads.start(turn, piece)?;
            turn = 1 - turn;
            Some((1 - turn, copy, piece))
        };
        if let Some((turn, copy, piece)) = under_way.take() {
            downloads.finish(turn, copy, piece, sink)?;
        }
        match next {
            Some(copy) => under_way = Some(copy),
            None => sink(piece.name, &[])
                .map_err(|source| SessionError::Sink { name: piece.name.to_owned(), source })?,
        }
    }
    if let Some((turn, copy, piece)) = under_way {
        downloads.finish(turn, copy, piece, sink)?;
    }
    Ok(())
}
