//! Numbers that a new dtype does not reach.

use super::{OutOfRange, cast};
use crate::tensor::{FileDType, FloatDType};
use warmstart_gpu::SourceDType;
use warmstart_graph::Shape;

/// Tensors with elements that became infinite or zero, in the order in which they are written.
#[derive(Default)]
pub(super) struct Strays {
    pub overflows: Vec<OutOfRange>,
    pub underflows: Vec<OutOfRange>,
}

/// What a number becomes that a dtype does not reach.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Extreme {
    Infinity,
    Zero,
}

/// Where an element is, from its number in the order of bytes.
pub(super) fn place(at: usize, shape: &Shape) -> Vec<usize> {
    let mut rest = at;
    let mut place: Vec<usize> = shape
        .iter()
        .rev()
        .map(|&extent| {
            let here = rest % extent.max(1);
            rest /= extent.max(1);
            here
        })
        .collect();
    place.reverse();
    place
}

/// A float as the widest one.
pub(super) fn value(from: SourceDType, element: &[u8]) -> f64 {
    if let Ok(bytes) = element.try_into() {
        return f64::from_le_bytes(bytes);
    }
    let single = cast(from, FloatDType::F32, element);
    single.as_slice().try_into().map_or(f64::NAN, |bytes| f64::from(f32::from_le_bytes(bytes)))
}

/// Which elements are infinite or zero.
pub(super) fn extremes(dtype: FileDType, bytes: &[u8]) -> impl Fn(usize) -> Option<Extreme> {
    // Without its sign: all bits of the exponent, and none behind it.
    let infinity: u64 = match dtype {
        FileDType::F64 => 0x7ff0_0000_0000_0000,
        FileDType::F32 => 0x7f80_0000,
        FileDType::F16 => 0x7c00,
        FileDType::Bf16 => 0x7f80,
        FileDType::F8E5M2 => 0x7c,
        // No bits are these, without their sign.
        _ => u64::MAX,
    };
    let size = dtype.component();
    let sign = 1 << (8 * size - 1);
    move |at| {
        let mut bits = [0; 8];
        bits[..size].copy_from_slice(&bytes[at * size..][..size]);
        match u64::from_le_bytes(bits) & !sign {
            0 => Some(Extreme::Zero),
            bits if bits == infinity => Some(Extreme::Infinity),
            _ => None,
        }
    }
}
