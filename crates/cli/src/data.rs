//! Tables of data in files: rows of numbers or text, from CSV, IDX, or arrays such as NumPy's. The
//! content decides which, not the name; CSV and IDX may be compressed by gzip.
//!
//! All become a `Table`, which still knows file, line and column of each cell for errors.

mod csv;
mod idx;
mod other;
mod table;
mod tensors;

pub use csv::Options as CsvOptions;
pub use other::{json, no_checkpoint};
pub use table::{Cells, ColumnChoice, Help, Table, how_to_write, listed};

use crate::error::Failure;
use flate2::read::MultiGzDecoder;
use std::fs::File;
use std::io::{self, BufReader, Cursor, Read};
use std::path::Path;
use warmstart_graph::words::printable_path;

/// What is said about how to read a file.
#[derive(Clone, Debug)]
pub struct ReadOptions {
    pub csv: CsvOptions,
    /// Which array, where the file holds several.
    pub array: Option<String>,
    /// How to say more.
    pub help: &'static Help,
}

/// How much of a file is looked at before it is read: at least its first line, as a rule.
const BEGINNING: u64 = 64 << 10;

/// Reads a file whole.
pub fn read(file: &Path, options: &ReadOptions) -> Result<Table, Failure> {
    let cannot = |error| Failure::file("read", file, &error);
    let opened = File::open(file).map_err(cannot)?;
    let (begin, reader) = beginning(opened).map_err(cannot)?;
    other::refuse(file, &begin)?;
    let table = if tensors::begins(&begin) {
        tensors::read(file, options.array.as_deref(), options.help)?
    } else if begin.starts_with(&[0x1f, 0x8b]) {
        let unpacked = Unpacked(MultiGzDecoder::new(reader));
        let (begin, reader) = beginning(unpacked).map_err(cannot)?;
        other::refuse(file, &begin)?;
        read_plain(file, &begin, reader, options)?
    } else {
        read_plain(file, &begin, reader, options)?
    };
    if table.rows() == 0 || table.width == 0 {
        let names = if table.header.is_some() { " but the names of its columns" } else { "" };
        return Err(Failure::new(format!("`{}` holds no rows{names}", printable_path(file)))
            .help("give a file with at least one row of data"));
    }
    Ok(table)
}

/// What gzip has packed, with errors that say what is wrong with the file.
struct Unpacked<R>(R);

impl<R: Read> Read for Unpacked<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        use io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
        self.0.read(into).map_err(|error| match error.kind() {
            UnexpectedEof => io::Error::new(
                UnexpectedEof,
                "its compressed bytes end too early: it was cut short",
            ),
            InvalidData | InvalidInput => {
                io::Error::new(InvalidData, "its compressed bytes are damaged")
            }
            _ => error,
        })
    }
}

/// The beginning, and a reader of everything.
fn beginning(mut reader: impl Read) -> std::io::Result<(Vec<u8>, impl Read)> {
    let mut begin = Vec::new();
    reader.by_ref().take(BEGINNING).read_to_end(&mut begin)?;
    Ok((begin.clone(), Cursor::new(begin).chain(reader)))
}

fn read_plain(
    file: &Path,
    begin: &[u8],
    reader: impl Read,
    options: &ReadOptions,
) -> Result<Table, Failure> {
    if idx::begins(begin) {
        return idx::read(file, BufReader::new(reader), options.help);
    }
    csv::read(file, reader, &options.csv, options.help)
}
