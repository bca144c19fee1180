//! Making a header.

use super::{LENGTH, METADATA_KEY};
use crate::tensor::FileDType;
use serde::ser::Error as _;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use warmstart_graph::Shape;

/// A tensor to be written.
#[derive(Clone, Debug)]
pub(crate) struct Planned<'a> {
    pub name: &'a str,
    pub dtype: FileDType,
    pub shape: &'a Shape,
    pub bytes: u64,
}

/// Where the tensors begin is a multiple of this: variables lie at such multiples in memory, and
/// copies between equally aligned places are the fastest.
const ALIGNMENT: usize = 64;

/// Sorts the tensors as the `safetensors` crate does, widest dtype first, then by name, so that
/// each is aligned to its elements; returns the file's first bytes: length and padded header.
pub(crate) fn make_header(
    tensors: &mut [Planned<'_>],
    metadata: &BTreeMap<String, String>,
) -> Result<Vec<u8>, serde_json::Error> {
    tensors.sort_by_cached_key(|tensor| (Reverse(tensor.dtype.rank()), tensor.name));
    // About as much as it will be: a header of megabytes would be copied each time it outgrows itself.
    let texts = metadata.values().map(|text| text.len() * 5 / 4);
    let entries = tensors.iter().map(|tensor| tensor.name.len() + 80);
    let mut start = Vec::with_capacity(texts.chain(entries).sum());
    start.extend([0; LENGTH as usize]);
    write_header(&mut start, tensors, metadata)?;
    start.resize(start.len().next_multiple_of(ALIGNMENT), b' ');
    let length = (start.len() as u64 - LENGTH).to_le_bytes();
    start[..LENGTH as usize].copy_from_slice(&length);
    Ok(start)
}

fn write_header(
    out: &mut Vec<u8>,
    tensors: &[Planned<'_>],
    metadata: &BTreeMap<String, String>,
) -> Result<(), serde_json::Error> {
    // What goes between this and what came before.
    let mut between = "{";
    if !metadata.is_empty() {
        out.extend(between.bytes());
        push_string(out, METADATA_KEY)?;
        between = ":{";
        for (key, value) in metadata {
            out.extend(between.bytes());
            push_string(out, key)?;
            out.push(b':');
            push_string(out, value)?;
            between = ",";
        }
        out.push(b'}');
    }
    let mut begin = 0;
    for Planned { name, dtype, shape, bytes } in tensors {
        let no_name = || serde_json::Error::custom(format!("safetensors has no {dtype}"));
        let dtype = dtype.safetensors_name().ok_or_else(no_name)?;
        let end = begin + bytes;
        out.extend(between.bytes());
        push_string(out, name)?;
        out.extend(br#":{"dtype":""#);
        out.extend(dtype.bytes());
        out.extend(br#"","shape":"#);
        serde_json::to_writer(&mut *out, &shape[..])?;
        out.extend(br#","data_offsets":"#);
        serde_json::to_writer(&mut *out, &(begin, end))?;
        out.push(b'}');
        (between, begin) = (",", end);
    }
    if tensors.is_empty() && metadata.is_empty() {
        out.push(b'{');
    }
    out.push(b'}');
    Ok(())
}

/// Appends a string as JSON has it. Most of a header is JSON in a string, every quote of it escaped:
/// this takes it a step at a time, whether a character is escaped or not.
pub(crate) fn push_string(out: &mut Vec<u8>, text: &str) -> Result<(), serde_json::Error> {
    // Those that are escaped by more than a backslash are rare.
    if text.bytes().fold(u8::MAX, u8::min) < b' ' {
        return serde_json::to_writer(out, text);
    }
    const AT_ONCE: usize = 64;
    let mut escaped = [0; 2 * AT_ONCE];
    out.push(b'"');
    for piece in text.as_bytes().chunks(AT_ONCE) {
        let mut length = 0;
        for &byte in piece {
            // Written over unless it stays.
            escaped[length] = b'\\';
            length += usize::from(matches!(byte, b'"' | b'\\'));
            escaped[length] = byte;
            length += 1;
        }
        out.extend_from_slice(&escaped[..length]);
    }
    out.push(b'"');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_what_serde_json_makes_of_them() {
        let long = r#"{"a":"b\"}é"#.repeat(99);
        for text in ["", "a", "\"", "\\", "\"\"\\\\", "é\u{7f}\u{2028}😀", "a\nb\"", "\0", &long]
        {
            let mut out = b"before".to_vec();
            push_string(&mut out, text).unwrap();
            let expected = format!("before{}", serde_json::to_string(text).unwrap());
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    fn tensors_begin_at_an_aligned_place() {
        for length in 0..70 {
            let name = "n".repeat(length + 1);
            let shape = Shape::from([2]);
            let dtype = FileDType::F32;
            let mut tensors = [Planned { name: &name, dtype, shape: &shape, bytes: 8 }];
            let header = make_header(&mut tensors, &BTreeMap::new()).unwrap();
            assert_eq!(header.len() % ALIGNMENT, 0);
            let declared = u64::from_le_bytes(header[..8].try_into().unwrap());
            assert_eq!(declared as usize + 8, header.len());
            assert!(header.len() < 8 + 60 + name.len() + ALIGNMENT, "no more than is needed");
        }
    }
}
