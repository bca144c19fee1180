//! Large buffers in the host's memory, made by all cores at once, and of huge pages where that pays.
//!
//! `wgpu` fills what is mapped with zeros, in one thread, while the system makes its memory in pages
//! of 4 KiB, one by one: that takes several times as long as reading weights into it. A buffer from
//! here is filled by all cores, which ask for pages of 2 MiB, or for many small ones at once, and is
//! handed to `wgpu` as initialized. Nothing depends on it: where it cannot be had, `wgpu` makes the
//! buffer, and tells what is wrong.
//!
//! It is for Linux where the adapter is the CPU itself. Pages of 4 KiB are made 512 at a time, and
//! pages of 2 MiB in their place as long as those turn out to be fast: a virtual machine may have
//! given free memory back to its host, and then pays for each large page again.

use crate::cores::on_all_cores;
use crate::device::gpu::Gpu;
use crate::device::locked;
use rustix::mm::Advice;
use rustix::time::{ClockId, Timespec, clock_gettime};
use std::mem::MaybeUninit;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use wgpu::hal::api::Vulkan;
use wgpu::hal::{self, Device as _};

/// Bytes of a huge page, or a part of one on processors that have larger ones.
const HUGE: usize = 2 << 20;

/// More than as much memory in small pages costs, in nanoseconds of processor time. A huge page
/// takes a fifth of this, but three times as long where a virtual machine gave free memory back to its
/// host, as it does with memory that was free in large pieces for a while.
const SLOW: i64 = 2_000_000;

/// A buffer full of zeros, of at most the size that the device allows; `None` on adapters that are
/// not the CPU itself or are not driven by Vulkan, and if anything goes wrong.
#[allow(unsafe_code)]
pub(crate) fn buffer(
    gpu: &Gpu,
    what: &str,
    bytes: u64,
    usage: wgpu::BufferUsages,
) -> Option<wgpu::Buffer> {
    // Where memory is to run out, in one place.
    #[cfg(test)]
    if gpu.refuses() {
        return None;
    }
    let whole = bytes > 0 && bytes.is_multiple_of(wgpu::COPY_BUFFER_ALIGNMENT);
    if !gpu.is_cpu() || !whole || bytes > gpu.limits().max_buffer_size {
        return None;
    }
    let (size, uses) = (bytes, uses(usage)?);
    let label = Some(what);
    let memory_flags = hal::MemoryFlags::empty();
    // All in one: what was made and not given to `wgpu`, nobody would destroy.
    let made = gpu.checked(what, |whole| {
        // SAFETY: the device is only used below, and destroyed by nobody here.
        let device = unsafe { whole.as_hal::<Vulkan>() }?;
        // SAFETY: the size is not zero and within the device's limit, as was checked above.
        let made = unsafe {
            device.create_buffer(&hal::BufferDescriptor { label, size, usage: uses, memory_flags })
        };
        let made = made.ok()?;
        if !fill_with_zeros(&device, &made, bytes) {
            // SAFETY: nobody else knows the buffer, and the GPU has not used it.
            unsafe { device.destroy_buffer(made) };
            return None;
        }
        let descriptor = wgpu::BufferDescriptor { label, size, usage, mapped_at_creation: false };
        // SAFETY: the buffer is of this device, has the size and at least the usages of the
        // descriptor, is not empty, and was filled with zeros from its first byte to its last.
        Some(unsafe { whole.create_buffer_from_hal::<Vulkan>(made, &descriptor) })
    });
    made.ok().flatten()
}

/// What these usages are below `wgpu`, and mapping; `None` for others than buffers of weights have.
fn uses(usage: wgpu::BufferUsages) -> Option<wgpu::BufferUses> {
    use wgpu::{BufferUsages, BufferUses};
    let known = [
        (BufferUsages::STORAGE, BufferUses::STORAGE_READ_ONLY | BufferUses::STORAGE_READ_WRITE),
        (BufferUsages::COPY_SRC, BufferUses::COPY_SRC),
        (BufferUsages::COPY_DST, BufferUses::COPY_DST),
        (BufferUsages::MAP_WRITE, BufferUses::MAP_WRITE),
    ];
    // Memory that can be written is asked for in any case: it is filled here.
    let mut uses = BufferUses::MAP_WRITE;
    let mut rest = usage;
    for (public, own) in known {
        if usage.contains(public) {
            uses |= own;
        }
        rest.remove(public);
    }
    rest.is_empty().then_some(uses)
}

/// Fills a new buffer, and says whether it is full of zeros now.
#[allow(unsafe_code)]
fn fill_with_zeros(device: &hal::vulkan::Device, buffer: &hal::vulkan::Buffer, bytes: u64) -> bool {
    let Ok(length) = usize::try_from(bytes) else { return false };
    // SAFETY: the range is the whole buffer, which has memory that can be mapped: writing it was
    // asked for. It is not mapped yet.
    let Ok(mapping) = (unsafe { device.map_buffer(buffer, 0..bytes) }) else { return false };
    // What is not coherent would have to be flushed. Memory of the host always is.
    if mapping.is_coherent {
        // SAFETY: the mapping has this many bytes and lasts until it is undone below. Nobody else
        // knows the buffer yet, and bytes that may be uninitialized need not be.
        let memory = unsafe {
            let start = mapping.ptr.as_ptr().cast::<MaybeUninit<u8>>();
            std::slice::from_raw_parts_mut(start, length)
        };
        let to_huge = memory.as_ptr().align_offset(HUGE).min(memory.len());
        let (first, rest) = memory.split_at_mut(to_huge);
        let pieces: Vec<_> = std::iter::once(first).chain(rest.chunks_mut(HUGE)).collect();
        let (count, pieces) = (pieces.len() - 1, Mutex::new(pieces));
        let slow = AtomicBool::new(false);
        on_all_cores(count, || {
            loop {
                let Some(piece) = locked(&pieces).pop() else { break };
                let huge = piece.len() == HUGE && !slow.load(Ordering::Relaxed);
                let before = processor_time();
                if huge {
                    advise(piece, Advice::LinuxHugepage);
                }
                // At once, in whatever pages there are.
                advise(piece, Advice::LinuxPopulateWrite);
                piece.fill(MaybeUninit::new(0));
                if huge && processor_time() - before > SLOW {
                    slow.store(true, Ordering::Relaxed);
                }
            }
        });
    }
    // SAFETY: it was mapped above, and what refers to its memory is not used any more.
    unsafe { device.unmap_buffer(buffer) };
    mapping.is_coherent
}

/// Of this thread, in nanoseconds.
fn processor_time() -> i64 {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::ThreadCPUTime);
    tv_sec * 1_000_000_000 + tv_nsec
}

/// Says how pages are to be made, of those that lie wholly in this memory. It is no error if the
/// system cannot.
#[allow(unsafe_code)]
fn advise(memory: &mut [MaybeUninit<u8>], advice: Advice) {
    let page = rustix::param::page_size();
    let skipped = memory.as_ptr().align_offset(page).min(memory.len());
    let whole = &mut memory[skipped..];
    let length = whole.len() / page * page;
    if length > 0 {
        // SAFETY: the range is within memory that is borrowed for writing. Both advices change how
        // pages are made that are not there yet, and neither what is in memory nor who may use it.
        let _ = unsafe { rustix::mm::madvise(whole.as_mut_ptr().cast(), length, advice) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wgpu::BufferUsages;

    /// What is in a buffer, by way of the device.
    fn content(gpu: &Gpu, buffer: &wgpu::Buffer) -> Vec<u8> {
        let usage = BufferUsages::MAP_READ | BufferUsages::COPY_DST;
        let copy = gpu.buffer("a copy", buffer.size(), usage).unwrap();
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(buffer, 0, &copy, 0, buffer.size());
        gpu.queue().submit([encoder.finish()]);
        copy.map_async(wgpu::MapMode::Read, .., |mapped| mapped.unwrap());
        gpu.wait_all().unwrap();
        let bytes = copy.get_mapped_range(..).unwrap().to_vec();
        copy.unmap();
        bytes
    }

    #[test]
    fn memory_that_was_used_before_is_full_of_zeros() {
        let gpu = Gpu::new().unwrap();
        let usage = BufferUsages::STORAGE
            | BufferUsages::COPY_SRC
            | BufferUsages::COPY_DST
            | BufferUsages::MAP_WRITE;
        for bytes in [4, 256, 4096 + 12, 3 * HUGE as u64 - 4, 11 * HUGE as u64 + 8] {
            for round in 0..3 {
                let Some(made) = buffer(&gpu, "a buffer", bytes, usage) else {
                    assert!(!gpu.is_cpu(), "{bytes} bytes, round {round}");
                    return;
                };
                assert_eq!((made.size(), made.usage()), (bytes, usage));
                assert!(content(&gpu, &made).iter().all(|&byte| byte == 0), "{bytes}, {round}");
                // Mapped by `wgpu`, as any other.
                made.map_async(wgpu::MapMode::Write, .., |mapped| mapped.unwrap());
                gpu.wait_all().unwrap();
                made.get_mapped_range_mut(..).unwrap().slice(..).fill(0xa5);
                made.unmap();
                assert!(content(&gpu, &made).iter().all(|&byte| byte == 0xa5), "{bytes}, {round}");
                drop(made);
                gpu.wait_all().unwrap();
            }
        }
        gpu.healthy().unwrap();
    }

    #[test]
    fn what_wgpu_would_refuse_is_left_to_it() {
        let gpu = Gpu::new().unwrap();
        let usage = BufferUsages::COPY_DST;
        let too_much = gpu.limits().max_buffer_size + 4;
        for (bytes, usage) in [(0, usage), (6, usage), (too_much, usage), (4, BufferUsages::VERTEX)]
        {
            assert!(buffer(&gpu, "no buffer", bytes, usage).is_none(), "{bytes} {usage:?}");
        }
        gpu.healthy().unwrap();
    }
}
