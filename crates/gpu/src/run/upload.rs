//! Feeds on their way to the device: a ring of mapped buffers, so that the host fills one while the
//! device reads from others, and nothing is allocated per run.

use crate::device::gpu::Gpu;
use crate::error::GpuError;

/// How many runs may be under way at once. It also bounds how far the host runs ahead.
const IN_FLIGHT: usize = 3;

/// The ring.
pub(crate) struct Uploads {
    slots: Vec<Slot>,
    next: usize,
}

struct Slot {
    /// `None` if the plan has no feeds.
    buffer: Option<wgpu::Buffer>,
    /// The last submission that read from the buffer.
    submission: Option<wgpu::SubmissionIndex>,
    /// Whether a submission was refused after the buffer had been filled: it is being mapped again.
    refused: bool,
}

impl Uploads {
    pub fn new(gpu: &Gpu, bytes: u64) -> Result<Uploads, GpuError> {
        let slot = |_| {
            let what = "the upload buffer of feeds";
            let buffer =
                (bytes > 0).then(|| gpu.mapped_buffer(what, bytes, wgpu::BufferUsages::COPY_SRC));
            Ok(Slot { buffer: buffer.transpose()?, submission: None, refused: false })
        };
        let slots = (0..IN_FLIGHT).map(slot).collect::<Result<_, GpuError>>()?;
        Ok(Uploads { slots, next: 0 })
    }

    /// Bytes of all buffers of a ring for uploads of so many.
    pub fn ring_bytes(bytes: u64) -> u64 {
        bytes * IN_FLIGHT as u64
    }

    /// Has `encode` fill a mapped buffer (if there are feeds), unmap it and encode what reads from
    /// it, and submits that. First waits for the submission that used the buffer last.
    pub fn submit(
        &mut self,
        gpu: &Gpu,
        what: &str,
        encode: impl FnOnce(&mut wgpu::CommandEncoder, Option<&wgpu::Buffer>) -> Result<(), GpuError>,
    ) -> Result<wgpu::SubmissionIndex, GpuError> {
        let upload = self.acquire(gpu)?;
        let submitted = gpu.checked(what, |device| {
            let mut encoder = device.create_command_encoder(&Default::default());
            encode(&mut encoder, upload.as_ref())?;
            Ok(gpu.queue().submit([encoder.finish()]))
        });
        match submitted.and_then(|submitted| submitted) {
            Ok(submission) => {
                self.release(submission.clone());
                Ok(submission)
            }
            Err(error) => {
                self.refused();
                Err(error)
            }
        }
    }

    /// A mapped buffer to fill (if there are feeds), once the run that used it last is done.
    fn acquire(&mut self, gpu: &Gpu) -> Result<Option<wgpu::Buffer>, GpuError> {
        let slot = &mut self.slots[self.next];
        if let Some(submission) = &slot.submission {
            // The mapping asked for after that submission is there when this returns. If the wait
            // fails, the next run waits again.
            gpu.wait(submission.clone())?;
            slot.submission = None;
        }
        if std::mem::take(&mut slot.refused) {
            gpu.wait_all()?;
        }
        Ok(slot.buffer.clone())
    }

    /// Asks for the buffer back after a submission that was refused.
    fn refused(&mut self) {
        let slot = &mut self.slots[self.next];
        if let Some(buffer) = &slot.buffer {
            // It may be mapped still, or not any more: unmapping is right for both.
            buffer.unmap();
            buffer.map_async(wgpu::MapMode::Write, .., |_| {
                // A mapping fails only with the device, and then the wait says so.
            });
            slot.refused = true;
        }
    }

    /// Hands the buffer to the submission that reads from it, and asks for it back.
    fn release(&mut self, submission: wgpu::SubmissionIndex) {
        let slot = &mut self.slots[self.next];
        if let Some(buffer) = &slot.buffer {
            buffer.map_async(wgpu::MapMode::Write, .., |_| {
                // A mapping fails only with the device, and then the wait says so.
            });
        }
        slot.submission = Some(submission);
        self.next = (self.next + 1) % self.slots.len();
    }
}

/// Writes to a mapped buffer; `offset` is a multiple of 8.
pub(crate) fn write_mapped(
    buffer: &wgpu::Buffer,
    offset: u64,
    bytes: &[u8],
    what: impl FnOnce() -> String,
) -> Result<(), GpuError> {
    let range = offset..offset + (bytes.len() as u64).next_multiple_of(4);
    let mut view = buffer
        .get_mapped_range_mut(range)
        .map_err(|error| GpuError::Internal { what: what(), message: error.to_string() })?;
    view.slice(..bytes.len()).copy_from_slice(bytes);
    Ok(())
}
