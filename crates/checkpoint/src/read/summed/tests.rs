use super::*;
use crate::bytes::sums::InOrder;
use std::fs;
use std::path::Path;

const BYTES: usize = 2 * BLOCK + 1000;

/// A file with one tensor of these bytes behind another.
fn file(directory: &Path, bytes: &[u8]) -> OpenFile {
    let end = 5 + bytes.len();
    let header = format!(
        r#"{{"a":{{"dtype":"U8","shape":[5],"data_offsets":[0,5]}},"b":{{"dtype":"U8","shape":[{}],"data_offsets":[5,{end}]}}}}"#,
        bytes.len()
    );
    let path = directory.join("model.safetensors");
    let length = (header.len() as u64).to_le_bytes();
    fs::write(&path, [&length[..], header.as_bytes(), b"other", bytes].concat()).unwrap();
    OpenFile::open(&path).unwrap()
}

#[test]
fn pieces_in_any_order_with_gaps_overlaps_and_repetitions_are_judged_as_the_whole() {
    let directory = tempfile::tempdir().unwrap();
    let bytes: Vec<u8> = (0..BYTES).map(|i| (i % 253) as u8).collect();
    let open = file(directory.path(), &bytes);
    let tensor = open.tensor("b").unwrap();
    let begin = tensor.range.start;
    let whole = 0..BYTES;
    let mut xxh3 = InOrder::new(BYTES as u64);
    xxh3.append(&bytes);
    let xxh3 = xxh3.value();
    let cases: &[&[Range<usize>]] = &[
        std::slice::from_ref(&whole),
        &[],
        &[BLOCK..BYTES, 0..BLOCK],
        &[0..0, 700..800, 3..7],
        &[0..900, 800..BYTES],
        &[10..20, 0..10, 10..20, 20..BYTES],
        &[0..99, 99..BYTES],
        &[0..BYTES, 0..1],
    ];
    for pieces in cases {
        let crc = crc32c::crc32c(&bytes);
        for (expected, right) in [
            (Checksum::Crc32c(crc), true),
            (Checksum::Crc32c(crc ^ 1), false),
            (Checksum::Xxh3(xxh3), true),
            (Checksum::Xxh3(xxh3 ^ 1), false),
        ] {
            let tensor = TensorEntry { checksum: Some(expected), ..tensor.clone() };
            let summed = Summed::new(&open, &tensor);
            for piece in pieces.iter() {
                let mut into = vec![0; piece.len()];
                let at = begin + piece.start as u64;
                match piece.start % 2 == 0 {
                    true => summed.read_at(at, &mut into).unwrap(),
                    false => summed.read_at_cached(at, &mut into).unwrap(),
                }
                assert!(into == bytes[piece.clone()], "{piece:?} of {pieces:?}");
            }
            assert_eq!(summed.finish().is_ok(), right, "{expected}, {pieces:?}");
        }
    }
}

#[test]
fn what_is_handed_out_is_judged_even_if_the_file_is_whole_again() {
    let directory = tempfile::tempdir().unwrap();
    let bytes = vec![7; 100];
    let open = file(directory.path(), &bytes);
    let tensor = open.tensor("b").unwrap();
    let whole = fs::read(&open.path).unwrap();
    let mut damaged = whole.clone();
    *damaged.last_mut().unwrap() = 8;
    let mut xxh3 = InOrder::new(100);
    xxh3.append(&bytes);
    for expected in [Checksum::Crc32c(crc32c::crc32c(&bytes)), Checksum::Xxh3(xxh3.value())] {
        // All of it at once, or a part: the rest is read when it is whole again.
        for from in [0, 90] {
            let tensor = TensorEntry { checksum: Some(expected), ..tensor.clone() };
            let summed = Summed::new(&open, &tensor);
            fs::write(&open.path, &damaged).unwrap();
            let at = tensor.range.start + from as u64;
            summed.read_at(at, &mut [0; 100][from..]).unwrap();
            fs::write(&open.path, &whole).unwrap();
            let message = summed.finish().unwrap_err().to_string();
            assert!(message.contains("tensor `b`") && message.contains("damaged"), "{message}");
        }
    }
}
