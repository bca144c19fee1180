//! Making a header.

use super::{LENGTH, METADATA_KEY};
use crate::tensor::FileDType;
use serde::ser::{Error as _, Serialize, SerializeMap, Serializer};
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
    serde_json::to_writer(&mut start, &HeaderText { tensors, metadata })?;
    start.resize(start.len().next_multiple_of(ALIGNMENT), b' ');
    let length = (start.len() as u64 - LENGTH).to_le_bytes();
    start[..LENGTH as usize].copy_from_slice(&length);
    Ok(start)
}

struct HeaderText<'a> {
    tensors: &'a [Planned<'a>],
    metadata: &'a BTreeMap<String, String>,
}

impl Serialize for HeaderText<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(serde::Serialize)]
        struct Entry<'a> {
            dtype: &'a str,
            shape: &'a [usize],
            data_offsets: (u64, u64),
        }
        let mut map = serializer.serialize_map(None)?;
        if !self.metadata.is_empty() {
            map.serialize_entry(METADATA_KEY, self.metadata)?;
        }
        let mut begin = 0;
        for tensor in self.tensors {
            let data_offsets = (begin, begin + tensor.bytes);
            begin = data_offsets.1;
            let no_name = || S::Error::custom(format!("safetensors has no {}", tensor.dtype));
            let dtype = tensor.dtype.safetensors_name().ok_or_else(no_name)?;
            map.serialize_entry(tensor.name, &Entry { dtype, shape: tensor.shape, data_offsets })?;
        }
        map.end()
    }
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
}
