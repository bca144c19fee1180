//! The elements of a tensor as numbers, piece by piece.
//!
//! Pieces are of 32 Ki elements, as `f64`, read twice for statistics, since a histogram needs to
//! know smallest and largest first.

use warmstart_checkpoint::{
    Checkpoint, CheckpointError, TensorEntry, TensorReader, TransposedReader,
};
use warmstart_gpu::{Conversion, SourceDType};
use warmstart_graph::DType;

/// Elements that are read at once.
const PIECE: usize = 32 << 10;

/// Reads a tensor as numbers. Memory is that of one piece, however large the tensor is.
pub struct Elements<'a> {
    reader: Reader<'a>,
    dtype: SourceDType,
    buffer: Vec<u8>,
    filled: usize,
}

enum Reader<'a> {
    InOrder(TensorReader<'a>),
    Transposed(TransposedReader<'a>),
}

impl Reader<'_> {
    fn read(&mut self, into: &mut [u8]) -> Result<usize, CheckpointError> {
        match self {
            Reader::InOrder(reader) => reader.read(into),
            Reader::Transposed(reader) => reader.read(into),
        }
    }
}

impl<'a> Elements<'a> {
    /// `None` for dtypes whose elements are not known as numbers here.
    pub fn of(checkpoint: &'a Checkpoint, tensor: &TensorEntry) -> Option<Elements<'a>> {
        let dtype = tensor.dtype.source()?;
        let reader = Reader::InOrder(checkpoint.reader(&tensor.name)?);
        Some(Elements { reader, dtype, buffer: vec![0; PIECE * dtype.size()], filled: 0 })
    }

    /// The same of a matrix, column by column.
    pub fn transposed(checkpoint: &'a Checkpoint, tensor: &TensorEntry) -> Option<Elements<'a>> {
        let dtype = tensor.dtype.source()?;
        let reader = Reader::Transposed(checkpoint.transposed_reader(&tensor.name)?);
        Some(Elements { reader, dtype, buffer: vec![0; PIECE * dtype.size()], filled: 0 })
    }

    /// The next elements; none means the end. Two tensors of as many elements give pieces of the
    /// same length.
    ///
    /// Whole numbers of 64 bits beyond 2^53 come rounded to the nearest `f64`, all others exactly.
    pub fn next_piece(&mut self) -> Result<Vec<f64>, CheckpointError> {
        self.filled = self.reader.read(&mut self.buffer)?;
        Ok(numbers(self.dtype, &self.buffer[..self.filled]))
    }

    /// The bytes of an element of the last piece, if it is a whole number: those tell what an `f64`
    /// cannot hold.
    pub fn whole_number(&self, element: usize) -> Option<&[u8]> {
        let size = self.dtype.size();
        let bytes = self.buffer[..self.filled].get(element * size..(element + 1) * size)?;
        (!self.dtype.is_float()).then_some(bytes)
    }

    /// The dtype in the file.
    pub fn dtype(&self) -> SourceDType {
        self.dtype
    }
}

fn numbers(dtype: SourceDType, bytes: &[u8]) -> Vec<f64> {
    use SourceDType::*;
    fn each<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> f64) -> Vec<f64> {
        bytes.as_chunks().0.iter().map(|element| number(*element)).collect()
    }
    match dtype {
        F64 => each(bytes, f64::from_le_bytes),
        F32 => each(bytes, |b| f64::from(f32::from_le_bytes(b))),
        I64 => each(bytes, |b| i64::from_le_bytes(b) as f64),
        U64 => each(bytes, |b| u64::from_le_bytes(b) as f64),
        I32 => each(bytes, |b| f64::from(i32::from_le_bytes(b))),
        U32 => each(bytes, |b| f64::from(u32::from_le_bytes(b))),
        // An f32 holds all of these exactly, and casts to it never fail.
        Bool | U8 | I8 | F8E4M3 | F8E5M2 | I16 | U16 | F16 | Bf16 => {
            let conversion = Conversion { from: dtype, transpose: false };
            let floats = conversion.evaluate(bytes, DType::F32, 0).unwrap_or_default();
            numbers(F32, &floats)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dtype_is_read_as_the_number_it_is() {
        use SourceDType::*;
        let cases: [(SourceDType, &[u8], f64); 15] = [
            (Bool, &[1], 1.0),
            (U8, &[200], 200.0),
            (I8, &[0xff], -1.0),
            (F8E4M3, &[0x38], 1.0),
            (F8E5M2, &[0xbc], -1.0),
            (I16, &[0, 0x80], -32768.0),
            (U16, &[0, 0x80], 32768.0),
            (F16, &[0, 0x3c], 1.0),
            (Bf16, &[0x80, 0x3f], 1.0),
            (I32, &[0xff, 0xff, 0xff, 0x7f], 2147483647.0),
            (U32, &[0xff, 0xff, 0xff, 0xff], 4294967295.0),
            (F32, &0.1f32.to_le_bytes(), 0.1f32 as f64),
            (F64, &0.1f64.to_le_bytes(), 0.1),
            (I64, &(-5i64).to_le_bytes(), -5.0),
            (U64, &u64::MAX.to_le_bytes(), 18446744073709551615.0),
        ];
        for (dtype, bytes, expected) in cases {
            assert_eq!(numbers(dtype, &[bytes, bytes].concat()), [expected, expected], "{dtype}");
        }
        assert!(numbers(F8E4M3, &[0x7f])[0].is_nan());
    }
}
