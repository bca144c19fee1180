//! Making a header.

use super::json_string::{JsonString, push_string};
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
/// The same behind a long header, which is that of many tensors. One of a page is then a page of the
/// file too, and copied at once; small files stay small.
const PAGE: usize = 4096;
/// From so many bytes on a header is long.
const LONG: usize = 16 * PAGE;

/// Sorts the tensors as the `safetensors` crate does, widest dtype first, then by name, so that
/// each is aligned to its elements; returns the file's first bytes: length and padded header.
pub(crate) fn make_header(
    tensors: &mut [Planned<'_>],
    metadata: &BTreeMap<String, JsonString>,
) -> Result<Vec<u8>, serde_json::Error> {
    tensors.sort_by_cached_key(|tensor| (Reverse(tensor.dtype.rank()), tensor.name));
    // About as much as it will be: a header of megabytes would be copied each time it outgrows itself.
    let texts = metadata.values().map(|text| text.as_bytes().len());
    let entries = tensors.iter().map(|tensor| tensor.name.len() + 80);
    let mut start = Vec::with_capacity(texts.chain(entries).sum());
    start.extend([0; LENGTH as usize]);
    write_header(&mut start, tensors, metadata)?;
    let alignment = if start.len() < LONG { ALIGNMENT } else { PAGE };
    start.resize(start.len().next_multiple_of(alignment), b' ');
    let length = (start.len() as u64 - LENGTH).to_le_bytes();
    start[..LENGTH as usize].copy_from_slice(&length);
    Ok(start)
}

fn write_header(
    out: &mut Vec<u8>,
    tensors: &[Planned<'_>],
    metadata: &BTreeMap<String, JsonString>,
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
            out.extend(value.as_bytes());
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

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn many_tensors_begin_at_a_page() {
        let names: Vec<String> = (0..2000).map(|number| format!("tensor_{number}")).collect();
        let shape = Shape::from([1024]);
        let begin = |count: usize| {
            let planned =
                |name| Planned { name, dtype: FileDType::F32, shape: &shape, bytes: PAGE as u64 };
            let mut tensors: Vec<Planned<'_>> = names[..count].iter().map(|n| planned(n)).collect();
            make_header(&mut tensors, &BTreeMap::new()).unwrap().len()
        };
        let (few, many) = (begin(100), begin(2000));
        assert!(few < LONG && few % PAGE != 0, "{few}");
        assert!(many > LONG && many % PAGE == 0, "{many}");
    }
}
