//! IDX files, the format of MNIST: a magic number with dtype and rank, the extents, and the
//! elements, all big-endian.

use super::table::{Cells, Help, Table};
use crate::error::Failure;
use std::io::Read;
use std::path::Path;
use warmstart_graph::words::printable_path;

/// Whether a file that begins so is IDX: two zeros, a dtype and a rank.
pub fn begins(begin: &[u8]) -> bool {
    matches!(begin, [0, 0, 8 | 9 | 0xb..=0xe, 1..=255, ..])
}

/// Reads a whole file. The first dimension counts the rows; the others are the columns.
pub fn read(file: &Path, mut reader: impl Read, help: &'static Help) -> Result<Table, Failure> {
    let cannot = |error| Failure::file("read", file, &error);
    let damaged = |problem: String| {
        Failure::new(format!("`{}` is no whole IDX file: {problem}", printable_path(file)))
            .help("fetch or write it anew")
    };
    let mut magic = [0; 4];
    reader.read_exact(&mut magic).map_err(cannot)?;
    if !begins(&magic) {
        return Err(damaged("it does not begin as one".to_owned()));
    }
    let [_, _, dtype, rank] = magic;
    let mut extents = Vec::new();
    for _ in 0..rank {
        let mut extent = [0; 4];
        reader.read_exact(&mut extent).map_err(|_| damaged("its header is cut off".to_owned()))?;
        extents.push(u64::from(u32::from_be_bytes(extent)));
    }
    let size: u64 = match dtype {
        8 | 9 => 1,
        0xb => 2,
        0xc | 0xd => 4,
        _ => 8,
    };
    let too_large =
        || damaged(format!("its header says {extents:?} elements, which no file holds"));
    let product = |extents: &[u64]| {
        extents.iter().try_fold(1u64, |product, extent| product.checked_mul(*extent))
    };
    let width = product(&extents[1..]).and_then(|width| usize::try_from(width).ok());
    let width = width.ok_or_else(too_large)?;
    let expected = product(&extents).and_then(|count| count.checked_mul(size));
    let expected = expected.ok_or_else(too_large)?;
    // Memory grows with what is there, not with what the header says.
    let mut bytes = Vec::new();
    reader.take(expected.saturating_add(1)).read_to_end(&mut bytes).map_err(cannot)?;
    let found = bytes.len() as u64;
    if found != expected {
        let than = if found < expected { "it ends after" } else { "it goes on after" };
        let after = found.min(expected);
        return Err(damaged(format!(
            "{than} {after} bytes of elements, and {extents:?} elements are {expected}"
        )));
    }
    let values = match dtype {
        8 => bytes.iter().map(|&byte| f32::from(byte)).collect(),
        9 => bytes.iter().map(|&byte| f32::from(byte.cast_signed())).collect(),
        0xb => each(&bytes, |b| f32::from(i16::from_be_bytes(b))),
        0xc => each(&bytes, |b| i32::from_be_bytes(b) as f32),
        0xd => each(&bytes, f32::from_be_bytes),
        _ => each(&bytes, |b| f64::from_be_bytes(b) as f32),
    };
    let cells = Cells::Numbers { values, bytes: dtype == 8 };
    Ok(Table { file: file.to_owned(), array: None, header: None, width, cells, help })
}

fn each<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|element| number(*element)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(dtype: u8, extents: &[u32], elements: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 0, dtype, extents.len() as u8];
        extents.iter().for_each(|extent| bytes.extend(extent.to_be_bytes()));
        [&bytes, elements].concat()
    }

    fn read_bytes(bytes: &[u8]) -> Result<Table, Failure> {
        read(Path::new("a.idx"), bytes, &crate::train::part::DATA_HELP)
    }

    #[test]
    fn every_dtype_is_read() {
        let cases: [(u8, &[u8], f32); 6] = [
            (8, &[200], 200.0),
            (9, &[0xff], -1.0),
            (0xb, &(-300i16).to_be_bytes(), -300.0),
            (0xc, &70_000i32.to_be_bytes(), 70_000.0),
            (0xd, &0.1f32.to_be_bytes(), 0.1),
            (0xe, &0.5f64.to_be_bytes(), 0.5),
        ];
        for (dtype, element, expected) in cases {
            let bytes = file(dtype, &[2, 1, 3], &element.repeat(6));
            assert!(begins(&bytes));
            let table = read_bytes(&bytes).unwrap();
            assert_eq!((table.rows(), table.width), (2, 3));
            assert_eq!(table.number(1, 2).unwrap(), expected);
            let Cells::Numbers { bytes, .. } = table.cells else { panic!("{dtype} is numbers") };
            assert_eq!(bytes, dtype == 8);
        }
    }

    #[test]
    fn lengths_must_be_those_of_the_header() {
        let said = |bytes: &[u8]| read_bytes(bytes).unwrap_err().to_string();
        let short = said(&file(8, &[2, 3], &[1; 5]));
        assert!(
            short.contains("it ends after 5 bytes of elements, and [2, 3] elements are 6"),
            "{short}"
        );
        assert!(said(&file(8, &[2, 3], &[1; 7])).contains("it goes on after 6 bytes"));
        assert!(said(&file(8, &[2, 3], &[])[..9]).contains("its header is cut off"));
        // No header makes it ask for memory that the file does not fill.
        assert!(said(&file(0xe, &[u32::MAX; 3], &[])).contains("which no file holds"));
        assert!(said(&file(8, &[u32::MAX], &[1; 9])).contains("it ends after 9 bytes"));
        assert!(!begins(b"0,0,8,1") && !begins(&[0, 0, 8, 0]) && !begins(&[0, 0, 10, 1]));
    }

    #[test]
    fn a_damaged_file_is_an_error_or_other_numbers() {
        let whole = file(0xb, &[3, 2], &[7; 12]);
        for at in 0..whole.len() {
            assert!(read_bytes(&whole[..at]).is_err(), "cut off at {at}");
            for bit in 0..8 {
                let mut flipped = whole.clone();
                flipped[at] ^= 1 << bit;
                if let Ok(table) = read_bytes(&flipped) {
                    assert!(at < 4 || table.rows() * table.width == 6, "byte {at}, bit {bit}");
                }
            }
        }
    }
}
