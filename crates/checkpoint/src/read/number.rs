//! Reading a whole number: what an optimizer counts, such as the batches that it has accumulated.

use crate::error::CheckpointError;
use crate::file::OpenFile;
use crate::read::summed::Summed;
use crate::tensor::{FileDType, TensorEntry};

/// A whole number of the file, if it is one and is not below zero; an error if it is not as it was saved.
pub(crate) fn number(
    file: &OpenFile,
    tensor: &TensorEntry,
    skip_checksums: bool,
) -> Result<Option<u64>, CheckpointError> {
    use FileDType::*;
    // What is no number is not read.
    let is_number = matches!(tensor.dtype, U8 | U16 | U32 | U64 | I8 | I16 | I32 | I64 | F32 | F64);
    if !is_number || tensor.shape.checked_elements() != Some(1) {
        return Ok(None);
    }
    let mut bytes = [0; 8];
    // As long as its dtype says.
    let length = bytes.len().min(tensor.bytes() as usize);
    let read = &mut bytes[..length];
    if skip_checksums {
        file.read_tensor(tensor, tensor.range.start, read)?;
    } else {
        let summed = Summed::new(file, tensor);
        summed.read_at(tensor.range.start, read)?;
        summed.finish()?;
    }
    let is_negative = read.last().is_some_and(|byte| byte & 0x80 != 0);
    let whole = u64::from_le_bytes(bytes);
    let of_float = |value: f64| {
        (value >= 0.0 && value.fract() == 0.0 && value < 2f64.powi(64)).then_some(value as u64)
    };
    Ok(match tensor.dtype {
        U8 | U16 | U32 | U64 => Some(whole),
        I8 | I16 | I32 | I64 => (!is_negative).then_some(whole),
        F32 => of_float(f64::from(f32::from_bits(whole as u32))),
        F64 => of_float(f64::from_bits(whole)),
        _ => None,
    })
}
