//! Whether `f16` of the device's own become the right `f32`, and are made of it again. WGSL lets a
//! driver take subnormal ones for zero; then kernels read `f16` by integers, so that results are
//! the same on all devices.
//!
//! `f16` of the device's own is used only after it has made the right `f32` of all 2¹⁶ of them,
//! when a plan first needs it. Kernels of products then bind `array<f16>` and keep `f16` in
//! workgroup memory, and the device converts what needs no rounding; without it they read words, by
//! integers (`shaders/src/elements.rs`). Casts round by the bits (`half.wgsl`) in either case.

use crate::device::compute_once::Dispatch;
use crate::device::gpu::Gpu;
use crate::error::GpuError;
use half::f16;
use warmstart_shaders::WIDEN;

/// How many `f16` there are.
const ALL: usize = 1 << 16;

/// Ways in which kernels widen them: from workgroup memory, from a buffer, out of words, four at once, and
/// after they were made of the right `f32`.
const WAYS: usize = 5;

impl Gpu {
    /// Whether shaders may have `f16`, and all of them become the right `f32`. Tried the first time:
    /// one dispatch, for which the host waits. A device that cannot compile or run it counts as one
    /// without.
    ///
    /// # Errors
    /// What may be otherwise the next time, as results would be then: that memory ran out, time ran
    /// out, or the device was lost.
    pub(crate) fn widens_f16(&self) -> Result<bool, GpuError> {
        if let Some(&tried) = self.tried_f16().get() {
            return Ok(tried);
        }
        let has_f16 = self.features().contains(wgpu::Features::SHADER_F16);
        let right = has_f16 && right(widened(self))?;
        Ok(*self.tried_f16().get_or_init(|| right))
    }
}

/// Whether what came of trying is right.
fn right(tried: Result<Vec<u32>, GpuError>) -> Result<bool, GpuError> {
    match tried {
        Ok(bits) => Ok(are_right(&bits)),
        Err(GpuError::Validation { .. } | GpuError::Internal { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether these are the bits of all `f16` as `f32`, in each way. NaN may be any.
fn are_right(bits: &[u32]) -> bool {
    let right = |(half, &bits): (u16, &u32)| {
        let expected = f16::from_bits(half).to_f32();
        expected.to_bits() == bits || (expected.is_nan() && f32::from_bits(bits).is_nan())
    };
    bits.len() == WAYS * ALL && bits.chunks_exact(ALL).all(|way| (0..=u16::MAX).zip(way).all(right))
}

/// The bits of what the device makes of all `f16`, in each way.
fn widened(gpu: &Gpu) -> Result<Vec<u32>, GpuError> {
    let what = "trying out f16";
    let pipeline = gpu.pipeline("widen", WIDEN, &[])?;
    let halves: Vec<u16> = (0..=u16::MAX).collect();
    let bytes = (WAYS * ALL * size_of::<u32>()) as u64;
    let (storage, copied) = (wgpu::BufferUsages::STORAGE, wgpu::BufferUsages::COPY_DST);
    let given = gpu.buffer("all f16", (ALL * size_of::<u16>()) as u64, storage | copied)?;
    let result = gpu.buffer("all f16 as f32", bytes, storage | wgpu::BufferUsages::COPY_SRC)?;
    gpu.checked(what, |_| gpu.queue().write_buffer(&given, 0, bytemuck::cast_slice(&halves)))?;
    let dispatch =
        Dispatch { buffers: [&given, &given, &given, &result], workgroups: [ALL as u32 / 64, 1] };
    gpu.compute_once(what, &pipeline, &[dispatch], &result, Gpu::wait_alone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subnormal_numbers_taken_for_zero_are_noticed() {
        let all = (0..=u16::MAX).map(|half| f16::from_bits(half).to_f32().to_bits());
        let right: Vec<u32> = all.collect::<Vec<_>>().repeat(WAYS);
        assert!(are_right(&right));
        assert!(!are_right(&right[ALL..]));
        let wrong_ones = [
            (1, 0),
            (ALL + 0x83ff, 0x8000_0000),
            (2 * ALL + 0x3c00, 0x3f80_0001),
            (3 * ALL + 0x03ff, 0),
        ];
        for (at, bits) in wrong_ones {
            let mut wrong = right.clone();
            wrong[at] = bits;
            assert!(!are_right(&wrong), "{at}");
        }
    }

    /// A run that goes on in another process must not have other kernels because memory was short once.
    #[test]
    fn only_what_stays_so_counts_as_without() {
        let what = "trying".to_owned();
        let (message, bytes) = ("no".to_owned(), None);
        let rejected = GpuError::Validation { what: what.clone(), message: message.clone() };
        assert!(!right(Err(rejected)).unwrap());
        assert!(!right(Err(GpuError::Internal { what: what.clone(), message })).unwrap());
        let passing = [
            GpuError::OutOfMemory { what, bytes },
            GpuError::Timeout { after: std::time::Duration::ZERO },
            GpuError::DeviceLost { reason: "gone".to_owned() },
        ];
        for error in passing {
            assert_eq!(right(Err(error.clone())).unwrap_err().to_string(), error.to_string());
        }
    }

    #[test]
    fn what_the_device_makes_of_them_is_kept() {
        let gpu = Gpu::new().unwrap();
        let first = gpu.widens_f16().unwrap();
        assert_eq!(gpu.tried_f16().get(), Some(&first));
        // Software Vulkan is what these tests are sure to have, and it has them all.
        let is_lavapipe = gpu.summary().name.contains("llvmpipe");
        assert!(first || !is_lavapipe, "{:?}", gpu.features());
    }
}
