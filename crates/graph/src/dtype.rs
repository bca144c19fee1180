//! Element types.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The element type of a tensor.
///
/// Arithmetic is done in `f32`; `i32` and `u32` hold indices, labels and counters. `f16` and `bf16`
/// are storage types: they can be declared, moved and cast to, and are read into `f32` arithmetic,
/// which products do by themselves. `u8` is for what is fed, pixels above all: it can be moved, be an
/// index, and be cast from, which costs nothing where it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DType {
    /// 32-bit IEEE 754 float.
    F32,
    /// 16-bit IEEE 754 float, for storage.
    F16,
    /// The upper half of a 32-bit float, for storage: its range, and eight bits of precision.
    Bf16,
    /// 32-bit signed integer.
    I32,
    /// 32-bit unsigned integer.
    U32,
    /// 8-bit unsigned integer, for what is fed.
    U8,
}

impl DType {
    /// All of them.
    pub const ALL: [DType; 6] =
        [DType::F32, DType::F16, DType::Bf16, DType::I32, DType::U32, DType::U8];

    /// Those that a variable may have.
    pub const OF_VARIABLES: [DType; 5] =
        [DType::F32, DType::F16, DType::Bf16, DType::I32, DType::U32];

    /// Bytes of one element.
    pub const fn size(self) -> usize {
        match self {
            DType::U8 => 1,
            DType::F16 | DType::Bf16 => 2,
            DType::F32 | DType::I32 | DType::U32 => 4,
        }
    }

    /// Whether the type is a float, that is, whether gradients flow through it.
    pub const fn is_float(self) -> bool {
        matches!(self, DType::F32 | DType::F16 | DType::Bf16)
    }

    /// Whether the type is for storage alone: a float of 16 bits.
    pub const fn is_half(self) -> bool {
        matches!(self, DType::F16 | DType::Bf16)
    }

    /// Whether an element takes less than the 32 bits of a device's word.
    pub const fn is_narrow(self) -> bool {
        self.size() < 4
    }

    /// The name used in messages and files: `f32`, `f16`, `bf16`, `i32`, `u32`, `u8`.
    pub const fn name(self) -> &'static str {
        match self {
            DType::F32 => "f32",
            DType::F16 => "f16",
            DType::Bf16 => "bf16",
            DType::I32 => "i32",
            DType::U32 => "u32",
            DType::U8 => "u8",
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
