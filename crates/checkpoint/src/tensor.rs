//! What a checkpoint says about one tensor: name, dtype, shape and where its bytes lie.

use crate::bytes::slices::Slices;
use crate::bytes::strides::Strides;
use crate::bytes::sums::Checksum;
use crate::formats::gguf::Quantization;
use crate::tensor_name::TensorName;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use warmstart_gpu::SourceDType;
use warmstart_graph::{DType, Shape};

/// The element type of a tensor in a file.
///
/// Files hold more types than variables have: [`FileDType::variable`] says which of them a variable
/// takes as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FileDType {
    /// One byte, zero or one.
    Bool,
    /// 4-bit float.
    F4,
    /// 6-bit float, 2 bits of exponent.
    F6E2M3,
    /// 6-bit float, 3 bits of exponent.
    F6E3M2,
    /// 8-bit unsigned integer.
    U8,
    /// 8-bit signed integer.
    I8,
    /// 8-bit float, 5 bits of exponent.
    F8E5M2,
    /// 8-bit float, 4 bits of exponent.
    F8E4M3,
    /// 8-bit exponent.
    F8E8M0,
    /// 8-bit float, 4 bits of exponent, one zero and no infinities.
    F8E4M3Fnuz,
    /// 8-bit float, 5 bits of exponent, one zero and no infinities.
    F8E5M2Fnuz,
    /// 16-bit signed integer.
    I16,
    /// 16-bit unsigned integer.
    U16,
    /// 16-bit IEEE 754 float.
    F16,
    /// bfloat16.
    Bf16,
    /// 32-bit signed integer.
    I32,
    /// 32-bit unsigned integer.
    U32,
    /// 32-bit IEEE 754 float.
    F32,
    /// Two 32-bit floats.
    C64,
    /// 64-bit IEEE 754 float.
    F64,
    /// 64-bit signed integer.
    I64,
    /// 64-bit unsigned integer.
    U64,
    /// Two 64-bit floats. Safetensors files cannot hold it, nor the types after it.
    C128,
    /// Texts, in an encoding of the file's format; the shape counts them.
    String,
    /// Bytes that are of no use here, such as the state of a queue.
    Opaque,
    /// Blocks of elements of which few bits are kept, as llama.cpp writes them.
    Quantized(Quantization),
}

/// Every dtype with its name in safetensors files (if it has one), its name in messages, and its bits, in the order
/// in which the `safetensors` crate sorts them (its writer puts the last first).
const DTYPES: [(FileDType, &str, &str, u64); 25] = [
    (FileDType::Bool, "BOOL", "bool", 8),
    (FileDType::F4, "F4", "f4", 4),
    (FileDType::F6E2M3, "F6_E2M3", "f6_e2m3", 6),
    (FileDType::F6E3M2, "F6_E3M2", "f6_e3m2", 6),
    (FileDType::U8, "U8", "u8", 8),
    (FileDType::I8, "I8", "i8", 8),
    (FileDType::F8E5M2, "F8_E5M2", "f8_e5m2", 8),
    (FileDType::F8E4M3, "F8_E4M3", "f8_e4m3", 8),
    (FileDType::F8E8M0, "F8_E8M0", "f8_e8m0", 8),
    (FileDType::F8E4M3Fnuz, "F8_E4M3FNUZ", "f8_e4m3fnuz", 8),
    (FileDType::F8E5M2Fnuz, "F8_E5M2FNUZ", "f8_e5m2fnuz", 8),
    (FileDType::I16, "I16", "i16", 16),
    (FileDType::U16, "U16", "u16", 16),
    (FileDType::F16, "F16", "f16", 16),
    (FileDType::Bf16, "BF16", "bf16", 16),
    (FileDType::I32, "I32", "i32", 32),
    (FileDType::U32, "U32", "u32", 32),
    (FileDType::F32, "F32", "f32", 32),
    (FileDType::C64, "C64", "c64", 64),
    (FileDType::F64, "F64", "f64", 64),
    (FileDType::I64, "I64", "i64", 64),
    (FileDType::U64, "U64", "u64", 64),
    (FileDType::C128, "", "c128", 128),
    (FileDType::String, "", "string", 8),
    (FileDType::Opaque, "", "opaque", 8),
];

impl FileDType {
    fn row(self) -> &'static (FileDType, &'static str, &'static str, u64) {
        // Those that have no row are bytes, as the last one is.
        DTYPES.iter().find(|row| row.0 == self).unwrap_or(&DTYPES[DTYPES.len() - 1])
    }

    /// Its place in the order in which the `safetensors` crate sorts.
    pub(crate) fn rank(self) -> usize {
        DTYPES.iter().position(|row| row.0 == self).unwrap_or(DTYPES.len())
    }

    /// The name in messages: `f32`, `bf16`.
    pub fn name(self) -> &'static str {
        match self {
            FileDType::Quantized(quantization) => quantization.name(),
            other => other.row().2,
        }
    }

    /// The name in safetensors files, `F32` or `BF16`, if they can hold it.
    pub fn safetensors_name(self) -> Option<&'static str> {
        Some(self.row().1).filter(|name| !name.is_empty())
    }

    /// The dtype that safetensors files call `name`.
    pub fn from_safetensors_name(name: &str) -> Option<FileDType> {
        DTYPES.iter().find(|row| row.1 == name && !name.is_empty()).map(|row| row.0)
    }

    /// Bits of one element; of strings, opaque and quantized values, of one byte.
    pub fn bits(self) -> u64 {
        self.row().3
    }

    /// Bytes of a number in an element: complex ones have two.
    pub(crate) fn component(self) -> usize {
        let numbers = if matches!(self, FileDType::C64 | FileDType::C128) { 2 } else { 1 };
        (self.bits() / 8 / numbers) as usize
    }

    /// The dtype of a variable that takes these bytes as they are.
    pub fn variable(self) -> Option<DType> {
        match self {
            FileDType::F32 => Some(DType::F32),
            FileDType::F16 => Some(DType::F16),
            FileDType::Bf16 => Some(DType::Bf16),
            FileDType::I32 => Some(DType::I32),
            FileDType::U32 => Some(DType::U32),
            _ => None,
        }
    }

    /// How a restore names this element type, if it can cast it to that of a variable.
    pub fn source(self) -> Option<SourceDType> {
        Some(match self {
            FileDType::Bool => SourceDType::Bool,
            FileDType::U8 => SourceDType::U8,
            FileDType::I8 => SourceDType::I8,
            FileDType::F8E4M3 => SourceDType::F8E4M3,
            FileDType::F8E5M2 => SourceDType::F8E5M2,
            FileDType::I16 => SourceDType::I16,
            FileDType::U16 => SourceDType::U16,
            FileDType::F16 => SourceDType::F16,
            FileDType::Bf16 => SourceDType::Bf16,
            FileDType::I32 => SourceDType::I32,
            FileDType::U32 => SourceDType::U32,
            FileDType::F32 => SourceDType::F32,
            FileDType::F64 => SourceDType::F64,
            FileDType::I64 => SourceDType::I64,
            FileDType::U64 => SourceDType::U64,
            _ => return None,
        })
    }
}

impl From<DType> for FileDType {
    fn from(dtype: DType) -> FileDType {
        match dtype {
            DType::F32 => FileDType::F32,
            DType::F16 => FileDType::F16,
            DType::Bf16 => FileDType::Bf16,
            DType::I32 => FileDType::I32,
            DType::U32 => FileDType::U32,
            DType::U8 => FileDType::U8,
        }
    }
}

impl fmt::Display for FileDType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The dtype that [`Checkpoint::convert`](crate::Checkpoint::convert) writes floats as. Rounds to the
/// nearest, ties to even; an `f64` may be rounded twice on its way to 16 bits. What is beyond the largest
/// number, which is 65504 in `f16`, is refused unless
/// [`ConvertOptions::allow_infinite`](crate::ConvertOptions::allow_infinite) is said. Whole numbers and
/// booleans stay what they are, and so do floats that no variable can be restored from: those of 4 and 6
/// bits, `f8_e8m0` and both `fnuz`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FloatDType {
    /// 32-bit IEEE 754 float.
    F32,
    /// 16-bit IEEE 754 float.
    F16,
    /// bfloat16.
    Bf16,
}

impl FloatDType {
    pub(crate) fn file(self) -> FileDType {
        match self {
            FloatDType::F32 => FileDType::F32,
            FloatDType::F16 => FileDType::F16,
            FloatDType::Bf16 => FileDType::Bf16,
        }
    }

    /// The largest number that is finite.
    pub fn largest(self) -> f64 {
        match self {
            FloatDType::F32 => f64::from(f32::MAX),
            FloatDType::F16 => half::f16::MAX.to_f64(),
            FloatDType::Bf16 => half::bf16::MAX.to_f64(),
        }
    }
}

/// One tensor of a checkpoint, as its header describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorEntry {
    /// The name in the file.
    pub name: TensorName,
    /// The element type.
    pub dtype: FileDType,
    /// The extents.
    pub shape: Shape,
    /// Where the bytes lie, counted from the start of the file that they are in. Of a value whose
    /// bytes lie in several places or in another order it is where the first begins, and as long as
    /// the value; of one in a compressed entry of an archive it counts from the entry's start.
    pub range: Range<u64>,
    /// Which of the checkpoint's files it lies, or begins, in.
    pub(crate) file: usize,
    /// Where its slices lie, if it has them.
    pub(crate) slices: Option<Arc<Slices>>,
    /// In which order its elements lie, if not row-major and little-endian.
    pub(crate) strides: Option<Arc<Strides>>,
    /// The stretch with one checksum that it lies in, if it does.
    pub(crate) sealed: Option<usize>,
    /// The checksum that it had when it was written, if its file says.
    pub(crate) checksum: Option<Checksum>,
}

impl TensorEntry {
    /// A tensor in one place of a checkpoint's only file.
    pub(crate) fn new(
        name: impl Into<TensorName>,
        dtype: FileDType,
        shape: Shape,
        range: Range<u64>,
    ) -> TensorEntry {
        TensorEntry {
            name: name.into(),
            dtype,
            shape,
            range,
            file: 0,
            slices: None,
            strides: None,
            sealed: None,
            checksum: None,
        }
    }

    /// Bytes of the value.
    pub fn bytes(&self) -> u64 {
        self.range.end - self.range.start
    }
}

/// Bytes that a value of this dtype and shape takes; `None` if they overflow or are no whole number.
///
/// Extents are multiplied in order, so `[2^40, 2^40, 0]` overflows although it is empty: the
/// `safetensors` crate refuses it too, and no program writes it.
pub(crate) fn value_bytes(dtype: FileDType, shape: &[usize]) -> Result<u64, NoSize> {
    let elements =
        shape.iter().try_fold(1u64, |product, &n| product.checked_mul(u64::try_from(n).ok()?));
    match elements.and_then(|n| n.checked_mul(dtype.bits())) {
        None => Err(NoSize::Overflow),
        Some(bits) if bits % 8 != 0 => Err(NoSize::Fraction),
        Some(bits) => Ok(bits / 8),
    }
}

/// Why [`value_bytes`] has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoSize {
    Overflow,
    Fraction,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_safetensors_crate() {
        let mut before = None;
        for (dtype, name, ..) in &DTYPES {
            if name.is_empty() {
                assert_eq!(dtype.safetensors_name(), None);
                continue;
            }
            assert_eq!(FileDType::from_safetensors_name(name), Some(*dtype));
            let theirs: safetensors::Dtype = serde_json::from_str(&format!("\"{name}\"")).unwrap();
            assert_eq!(theirs.bitsize() as u64, dtype.bits());
            assert!(before < Some(theirs), "{name}");
            before = Some(theirs);
        }
        assert_eq!(FileDType::from_safetensors_name("f32"), None);
        assert_eq!(FileDType::from_safetensors_name(""), None);
    }

    #[test]
    fn sizes_neither_overflow_nor_round() {
        assert_eq!(value_bytes(FileDType::F32, &[]), Ok(4));
        assert_eq!(value_bytes(FileDType::F32, &[7, 0]), Ok(0));
        assert_eq!(value_bytes(FileDType::F4, &[4]), Ok(2));
        assert_eq!(value_bytes(FileDType::F4, &[3]), Err(NoSize::Fraction));
        assert_eq!(value_bytes(FileDType::U8, &[usize::MAX, 2]), Err(NoSize::Overflow));
        assert_eq!(value_bytes(FileDType::U64, &[1 << 61]), Err(NoSize::Overflow));
    }
}
