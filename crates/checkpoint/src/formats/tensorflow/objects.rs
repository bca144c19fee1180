//! The names of a checkpoint that was saved by objects (`tf.train.Checkpoint`, Keras).
//!
//! Its keys are paths through Python objects, such as
//! `model/layer_with_weights-0/kernel/.ATTRIBUTES/VARIABLE_VALUE`. Beside them it holds a graph of
//! the objects, which knows the name that each variable has in its program: `fc1/kernel`. Those are
//! the names here. Where they are missing, or two variables have the same, it is the path without
//! its end. Slots, which are filed under their variable, are `<variable>/<optimizer>/<slot>`.

use super::error::BundleError;
use super::proto::ObjectGraph;
use super::table::varint;
use super::unmask;
use crate::bytes::read_at::Filled;
use crate::file::DataFile;
use crate::tensor::TensorEntry;
use prost::Message;
use std::collections::HashMap;
use std::io;
use std::ops::Range;

/// The key of the graph of objects.
pub(super) const OBJECTS: &str = "_CHECKPOINTABLE_OBJECT_GRAPH";
/// How the keys of values end.
const VALUE: &str = "/.ATTRIBUTES/VARIABLE_VALUE";
/// What stands in a slot's key between the variable and the optimizer.
const SLOT: &str = "/.OPTIMIZER_SLOT/";

/// Names for these tensors, which have their keys so far.
pub(super) fn names(
    file: &DataFile,
    range: &Range<u64>,
    checksum: u32,
    tensors: &[(TensorEntry, Option<u32>)],
) -> Result<Vec<String>, Result<BundleError, io::Error>> {
    let wrong = |problem: String| Ok(BundleError::Objects { problem });
    // No longer than the file: the range was held against it.
    let mut bytes = vec![0; (range.end - range.start) as usize];
    if file.file.fill_at(&mut bytes, range.start).map_err(Err)? != Filled::Wholly {
        return Err(Err(io::Error::from(io::ErrorKind::UnexpectedEof)));
    }
    let text = only_string(&bytes, checksum).ok_or_else(|| wrong("is damaged".to_owned()))?;
    let graph = ObjectGraph::decode(text).map_err(|error| wrong(error.to_string()))?;
    let attributes = graph.nodes.iter().flat_map(|node| &node.attributes);
    let full: HashMap<&str, &str> = attributes
        .filter(|attribute| !attribute.full_name.is_empty())
        .map(|attribute| (attribute.checkpoint_key.as_str(), attribute.full_name.as_str()))
        .collect();
    let keys: Vec<&str> = tensors.iter().map(|(tensor, _)| tensor.name.as_str()).collect();
    Ok(unique(&keys, &full))
}

/// The best name of each key that no other has.
fn unique(keys: &[&str], full: &HashMap<&str, &str>) -> Vec<String> {
    let plain = |key: &str| key.strip_suffix(VALUE).unwrap_or(key).replace(SLOT, "/");
    let best = |key: &str| match key.split_once(SLOT) {
        None => full.get(key).map_or_else(|| plain(key), |name| (*name).to_owned()),
        Some((variable, slot)) => {
            let variable = full.get(format!("{variable}{VALUE}").as_str()).unwrap_or(&variable);
            format!("{variable}/{}", plain(slot))
        }
    };
    let mut names: Vec<(String, u8)> = keys.iter().map(|key| (best(key), 0)).collect();
    // Each round some name falls back. More rounds than a few are nothing that a program needs.
    for _ in 0..4 {
        let mut count: HashMap<String, usize> = HashMap::new();
        names.iter().for_each(|(name, _)| *count.entry(name.clone()).or_default() += 1);
        let mut settled = true;
        for ((name, rank), key) in names.iter_mut().zip(keys) {
            if count.get(name).is_some_and(|&n| n > 1) && *rank < 2 {
                *rank += 1;
                *name = if *rank == 1 { plain(key) } else { (*key).to_owned() };
                settled = false;
            }
        }
        if settled {
            return names.into_iter().map(|(name, _)| name).collect();
        }
    }
    keys.iter().map(|&key| key.to_owned()).collect()
}

/// The content of a tensor that holds one string: its length, the length's masked checksum, its
/// bytes. The checksum of all is of the length as a number of four bytes, or eight if it needs
/// them.
fn only_string(bytes: &[u8], checksum: u32) -> Option<&[u8]> {
    let mut rest = bytes;
    let length = varint(&mut rest)?;
    let (masked, text) = rest.split_first_chunk::<4>()?;
    let sum = match u32::try_from(length) {
        Ok(length) => crc32c::crc32c(&length.to_le_bytes()),
        Err(_) => crc32c::crc32c(&length.to_le_bytes()),
    };
    let whole = crc32c::crc32c_append(crc32c::crc32c_append(sum, masked), text);
    let sound = unmask(u32::from_le_bytes(*masked)) == sum
        && whole == checksum
        && usize::try_from(length) == Ok(text.len());
    sound.then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_program_where_they_are_unique() {
        let keys = [
            "model/a/.ATTRIBUTES/VARIABLE_VALUE",
            "model/a/.OPTIMIZER_SLOT/optimizer/m/.ATTRIBUTES/VARIABLE_VALUE",
            "b/.ATTRIBUTES/VARIABLE_VALUE",
            "c/.ATTRIBUTES/VARIABLE_VALUE",
            "d/.ATTRIBUTES/OTHER",
            "e/.ATTRIBUTES/VARIABLE_VALUE",
        ];
        // Twice the same name, and a name that is another's path.
        let full = HashMap::from([
            (keys[0], "fc1/kernel"),
            (keys[2], "Variable"),
            (keys[3], "Variable"),
            (keys[5], "c"),
        ]);
        let names = unique(&keys, &full);
        let expected =
            ["fc1/kernel", "fc1/kernel/optimizer/m", "b", keys[3], "d/.ATTRIBUTES/OTHER", "e"];
        assert_eq!(names, expected);
    }
}
