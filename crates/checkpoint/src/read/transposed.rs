//! Reading a matrix column by column, in bounded memory.
//!
//! A matrix is read from its first byte to its last once for each 64 MiB of its columns: checksums
//! are of the whole, and compressed entries cannot be read otherwise.

use crate::checkpoint::Checkpoint;
use crate::error::CheckpointError;
use crate::read::reader::TensorReader;
use crate::tensor::{FileDType, TensorEntry, value_bytes};

/// Bytes of a matrix that are put in order at once.
#[cfg(not(test))]
const BLOCK: usize = 64 << 20;
#[cfg(test)]
const BLOCK: usize = 64;

/// Bytes that are read from the file at once.
const PIECE: usize = 256 << 10;

impl Checkpoint {
    /// Reads a matrix as if it had been stored transposed. It is held in memory up to 64 MiB; a
    /// larger one is read from the file once for each so many of its columns. `None` if there is no
    /// such tensor, if it is no matrix, or if its elements are not numbers of whole bytes.
    pub fn transposed_reader(&self, tensor: &str) -> Option<TransposedReader<'_>> {
        let tensor = self.tensor(tensor)?;
        let [rows, columns] = tensor.shape[..] else { return None };
        let bits = tensor.dtype.bits();
        let size = usize::try_from(bits / 8).ok().filter(|_| bits.is_multiple_of(8))?;
        // Of texts and quantized blocks nothing says where an element ends.
        if value_bytes(tensor.dtype, &tensor.shape) != Ok(tensor.bytes())
            || matches!(
                tensor.dtype,
                FileDType::String | FileDType::Opaque | FileDType::Quantized(_)
            )
        {
            return None;
        }
        // A matrix without columns may have any number of rows.
        let at_once = (BLOCK / rows.saturating_mul(size).max(1)).clamp(1, columns.max(1));
        // Of a column that is larger than that, some rows.
        let held = if at_once == 1 { rows.min(BLOCK / size) } else { rows };
        Some(TransposedReader {
            checkpoint: self,
            tensor,
            matrix: Matrix { rows, columns, size },
            held,
            block: Block { first: 0, columns: 0, top: 0, rows: 0 },
            next: at_once,
            source: None,
            bytes: Vec::new(),
            taken: 0,
        })
    }
}

#[derive(Clone, Copy)]
struct Matrix {
    rows: usize,
    columns: usize,
    /// Bytes of an element.
    size: usize,
}

/// The part of the matrix that is in memory: so many columns of so many rows.
#[derive(Clone, Copy)]
struct Block {
    first: usize,
    columns: usize,
    top: usize,
    rows: usize,
}

/// The bytes of a matrix, column by column. What comes of [`Checkpoint::transposed_reader`].
pub struct TransposedReader<'a> {
    checkpoint: &'a Checkpoint,
    tensor: &'a TensorEntry,
    matrix: Matrix,
    /// Rows of a block.
    held: usize,
    block: Block,
    /// Columns of a block.
    next: usize,
    source: Option<Source<'a>>,
    /// Those of the block, in order, and how many of them were taken.
    bytes: Vec<u8>,
    taken: usize,
}

/// The matrix as it lies, and how far it has been read.
struct Source<'a> {
    reader: TensorReader<'a>,
    buffer: Vec<u8>,
    filled: usize,
    /// The element that the buffer begins with, and the next to look at.
    begin: usize,
    at: usize,
}

impl TransposedReader<'_> {
    /// Reads the next bytes, as [`TensorReader::read`] does. Each time that the file has been read
    /// to its end, the tensor is held against its checksum. After an error there is nothing more to read.
    ///
    /// # Errors
    /// Those of [`TensorReader::read`].
    pub fn read(&mut self, into: &mut [u8]) -> Result<usize, CheckpointError> {
        let mut done = 0;
        while done < into.len() {
            if self.taken == self.bytes.len() && !self.load()? {
                break;
            }
            let length = (into.len() - done).min(self.bytes.len() - self.taken);
            let from = &self.bytes[self.taken..self.taken + length];
            into[done..done + length].copy_from_slice(from);
            (done, self.taken) = (done + length, self.taken + length);
        }
        Ok(done)
    }

    /// Brings the next block into memory; false at the end.
    fn load(&mut self) -> Result<bool, CheckpointError> {
        let Matrix { rows, columns, size } = self.matrix;
        let Block { first, columns: of, top, rows: held } = self.block;
        self.block = match top + held < rows && of > 0 {
            true => Block { top: top + held, rows: self.held.min(rows - top - held), ..self.block },
            false => {
                let first = first + of;
                self.source = None;
                let of = self.next.min(columns - first);
                Block { first, columns: of, top: 0, rows: self.held }
            }
        };
        self.bytes.clear();
        self.taken = 0;
        if self.block.columns == 0 || rows == 0 {
            return Ok(false);
        }
        self.bytes.resize(self.block.columns * self.block.rows * size, 0);
        let mut source = match self.source.take() {
            Some(source) => source,
            None => match self.checkpoint.reader(&self.tensor.name) {
                Some(reader) => Source {
                    reader,
                    buffer: vec![0; PIECE / size * size],
                    filled: 0,
                    begin: 0,
                    at: 0,
                },
                None => return Ok(false),
            },
        };
        if let Err(error) = source.fill(self.matrix, self.block, &mut self.bytes) {
            // What is in memory was not read, or only in part.
            self.bytes.clear();
            self.block = Block { first: columns, columns: 0, top: 0, rows: 0 };
            return Err(error);
        }
        self.source = Some(source);
        Ok(true)
    }
}

impl Source<'_> {
    /// Reads on until the block is complete; at the last row also whatever comes after it.
    fn fill(
        &mut self,
        Matrix { rows, columns, size }: Matrix,
        block: Block,
        bytes: &mut [u8],
    ) -> Result<(), CheckpointError> {
        let below = match block.top + block.rows {
            last if last == rows => rows * columns,
            last => (last - 1) * columns + block.first + block.columns,
        };
        while self.at < below {
            let end = self.begin + self.filled / size;
            if self.at == end {
                self.filled = self.reader.read(&mut self.buffer)?;
                self.begin = end;
                if self.filled == 0 {
                    break;
                }
                continue;
            }
            let (row, column) = (self.at / columns, self.at % columns);
            let stop = end.min((row + 1) * columns).min(below);
            let last = (column + (stop - self.at)).min(block.first + block.columns);
            for of in column.max(block.first)..last {
                let from = (row * columns + of - self.begin) * size;
                let to = ((of - block.first) * block.rows + row - block.top) * size;
                bytes[to..to + size].copy_from_slice(&self.buffer[from..from + size]);
            }
            self.at = stop;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::OpenFile;
    use crate::format::Format;
    use std::collections::BTreeMap;
    use std::path::Path;
    use warmstart_graph::Shape;

    #[test]
    fn what_has_no_elements_of_whole_bytes_has_no_columns() {
        let is_read = |dtype, bytes| {
            let tensor = TensorEntry::new("w".to_owned(), dtype, Shape::from([2, 32]), 0..bytes);
            let (format, path) = (Format::TensorFlow, Path::new("m"));
            let metadata = BTreeMap::new();
            let file = OpenFile::new(path, format, vec![], vec![tensor], metadata);
            let checkpoint = Checkpoint::found(file.unwrap(), Vec::new());
            checkpoint.transposed_reader("w").is_some()
        };
        assert!(is_read(FileDType::F32, 256) && is_read(FileDType::C64, 512));
        assert!(!is_read(FileDType::F32, 255) && !is_read(FileDType::F4, 32));
        assert!(!is_read(FileDType::String, 64) && !is_read(FileDType::Opaque, 64));
    }

    /// Of 20 x 3 bytes, three columns are held at once; of 100 x 1, a part of one.
    #[test]
    fn behind_an_error_there_is_nothing_to_read() {
        for (rows, columns) in [(20, 3), (20, 9), (100, 1)] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("w.safetensors");
            let bytes = rows * columns;
            let header = format!(
                r#"{{"w":{{"dtype":"U8","shape":[{rows},{columns}],"data_offsets":[0,{bytes}]}}}}"#
            );
            let length = (header.len() as u64).to_le_bytes();
            let file = [&length[..], header.as_bytes(), &vec![7; bytes]].concat();
            std::fs::write(&path, &file).unwrap();
            let checkpoint = Checkpoint::open(&path).unwrap();
            let mut reader = checkpoint.transposed_reader("w").unwrap();
            std::fs::write(&path, &file[..file.len() - 1]).unwrap();
            let mut into = vec![0; bytes];
            let error = loop {
                match reader.read(&mut into[..10]) {
                    Ok(0) => panic!("the end was read of {rows} x {columns}"),
                    Ok(_) => {}
                    Err(error) => break error,
                }
            };
            assert!(matches!(error, CheckpointError::CutShort { .. }), "{error}");
            assert_eq!(reader.read(&mut into).unwrap(), 0, "{rows} x {columns}");
        }
    }
}
