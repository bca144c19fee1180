//! Tables of data in files: rows of numbers or text, from CSV, IDX, or arrays such as NumPy's. The
//! content decides which, not the name; CSV and IDX may be compressed by gzip.
//!
//! All become a `Table`, which still knows file, line and column of each cell for errors.

mod csv;
mod idx;
mod table;
mod tensors;

pub use csv::Options as CsvOptions;
pub use table::{Cells, ColumnChoice, Help, Table, how_to_write, listed};

use crate::error::Failure;
use flate2::read::MultiGzDecoder;
use std::fs::File;
use std::io::{BufReader, Cursor, Read};
use std::path::Path;

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
    let table = if tensors::begins(&begin) {
        tensors::read(file, options.array.as_deref(), options.help)?
    } else if begin.starts_with(&[0x1f, 0x8b]) {
        let (begin, reader) = beginning(MultiGzDecoder::new(reader)).map_err(cannot)?;
        read_plain(file, &begin, reader, options)?
    } else {
        read_plain(file, &begin, reader, options)?
    };
    if table.rows() == 0 || table.width == 0 {
        let names = if table.header.is_some() { " but the names of its columns" } else { "" };
        return Err(Failure::new(format!("`{}` holds no rows{names}", file.display()))
            .help("give a file with at least one row of data"));
    }
    Ok(table)
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
