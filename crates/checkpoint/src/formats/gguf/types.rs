//! The types of GGUF's tensors, by their numbers in `enum ggml_type`.

use crate::tensor::FileDType;
use std::fmt;

/// A way in which llama.cpp quantizes tensors. Prints as its name: `q4_k`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Quantization(u8);

/// Number, name, elements of a block, and bytes of one.
const QUANTIZATIONS: [(u32, &str, u64, u64); 25] = [
    (2, "q4_0", 32, 18),
    (3, "q4_1", 32, 20),
    (6, "q5_0", 32, 22),
    (7, "q5_1", 32, 24),
    (8, "q8_0", 32, 34),
    (9, "q8_1", 32, 36),
    (10, "q2_k", 256, 84),
    (11, "q3_k", 256, 110),
    (12, "q4_k", 256, 144),
    (13, "q5_k", 256, 176),
    (14, "q6_k", 256, 210),
    (15, "q8_k", 256, 292),
    (16, "iq2_xxs", 256, 66),
    (17, "iq2_xs", 256, 74),
    (18, "iq3_xxs", 256, 98),
    (19, "iq1_s", 256, 50),
    (20, "iq4_nl", 32, 18),
    (21, "iq3_s", 256, 110),
    (22, "iq2_s", 256, 82),
    (23, "iq4_xs", 256, 136),
    (29, "iq1_m", 256, 56),
    (34, "tq1_0", 256, 54),
    (35, "tq2_0", 256, 66),
    (39, "mxfp4", 32, 17),
    (40, "nvfp4", 64, 36),
];

impl Quantization {
    /// The name that llama.cpp has for it.
    pub fn name(self) -> &'static str {
        QUANTIZATIONS[usize::from(self.0)].1
    }
}

impl fmt::Display for Quantization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What a type's number stands for: the dtype, the elements of a block, and its bytes.
pub(super) fn find(number: u32) -> Option<(FileDType, u64, u64)> {
    let dtype = match number {
        0 => FileDType::F32,
        1 => FileDType::F16,
        24 => FileDType::I8,
        25 => FileDType::I16,
        26 => FileDType::I32,
        27 => FileDType::I64,
        28 => FileDType::F64,
        30 => FileDType::Bf16,
        _ => {
            let index = QUANTIZATIONS.iter().position(|row| row.0 == number)?;
            let (_, _, elements, bytes) = QUANTIZATIONS[index];
            let quantization = Quantization(u8::try_from(index).ok()?);
            return Some((FileDType::Quantized(quantization), elements, bytes));
        }
    };
    Some((dtype, 1, dtype.bits() / 8))
}
