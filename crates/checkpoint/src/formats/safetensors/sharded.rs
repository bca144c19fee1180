//! Checkpoints in several safetensors files, with an index that says which tensor is in which:
//! `{"metadata": {"total_size": 92}, "weight_map": {"fc1.weight": "model-00001-of-00002.safetensors"}}`.
//!
//! The names of the files are as trusted as the index, which is not at all: they stay inside its
//! folder.
//!
//! Each file is opened as usual and held against the index, both ways. Links count for staying
//! inside the folder, unless the index is itself a link to where they lead.

use super::MAX_HEADER;
use super::error::{FormatError, ShardsError};
use crate::bytes::read_at::Filled;
use crate::bytes::text::Text;
use crate::entries::{CHECKSUMS, STEP};
use crate::error::CheckpointError;
use crate::file::{DataFile, OpenFile};
use crate::format::{Format, folder_of};
use crate::printable::printable;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::{fmt, io};

#[derive(Deserialize)]
struct Index {
    weight_map: WeightMap,
}

/// Tensor and file, each tensor once.
struct WeightMap(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for WeightMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<WeightMap, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = WeightMap;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`weight_map` to be an object of file names")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<WeightMap, A::Error> {
                let mut pairs = BTreeMap::new();
                while let Some((tensor, file)) = map.next_entry::<String, String>()? {
                    match pairs.entry(tensor) {
                        Entry::Vacant(entry) => entry.insert(file),
                        Entry::Occupied(entry) => {
                            let name = printable(entry.key());
                            let message = format!("tensor `{name}` comes twice");
                            return Err(A::Error::custom(message));
                        }
                    };
                }
                Ok(WeightMap(pairs))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

/// Opens all files that an index names, and holds them against it.
pub(crate) fn open_sharded(path: &Path) -> Result<OpenFile, CheckpointError> {
    let wrong = |source| CheckpointError::malformed(path, FormatError::Shards(source));
    let WeightMap(weight_map) = read_index(path)?;
    let mut shards: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (tensor, shard) in &weight_map {
        shards.entry(shard).or_default().push(tensor);
    }
    let (mut files, mut tensors) = (Vec::new(), Vec::new());
    let mut metadata: BTreeMap<String, Text> = BTreeMap::new();
    let mut all_summed = true;
    let mut from: HashMap<String, String> = HashMap::new();
    for (&shard, named) in &shards {
        let lost = || named.iter().map(|name| (*name).to_owned()).collect();
        let file = inside(path, shard).map_err(|outside| match outside {
            Outside::Name => wrong(ShardsError::Outside { shard: shard.to_owned() }),
            Outside::Io(error) if error.kind() == io::ErrorKind::NotFound => {
                wrong(ShardsError::Absent { shard: shard.to_owned(), tensors: lost() })
            }
            Outside::Io(error) => {
                CheckpointError::storage("open", &path.with_file_name(shard), error)
            }
        })?;
        let mut open = OpenFile::open(&file)?;
        if let Some(tensor) = named.iter().find(|tensor| open.tensor(tensor).is_none()) {
            let (shard, tensor) = (shard.to_owned(), (*tensor).to_owned());
            return Err(wrong(ShardsError::NotInShard { shard, tensor }));
        }
        let listed = |name: &str| weight_map.get(name).is_some_and(|file| file == shard);
        if let Some(tensor) = open.tensors.iter().find(|tensor| !listed(&tensor.name)) {
            let (shard, tensor) = (shard.to_owned(), tensor.name.to_string());
            return Err(wrong(ShardsError::NotInIndex { shard, tensor }));
        }
        for (key, value) in open.metadata.entries() {
            if key == STEP && metadata.get(key).is_some_and(|other| other.as_str() != value) {
                let other = from.get(key).cloned().unwrap_or_default();
                return Err(wrong(ShardsError::OtherStep { shard: shard.to_owned(), other }));
            }
            if key != CHECKSUMS && !metadata.contains_key(key) {
                metadata.insert(key.to_owned(), value.to_owned().into());
                from.insert(key.to_owned(), shard.to_owned());
            }
        }
        let mut own = Arc::unwrap_or_clone(std::mem::take(&mut open.tensors));
        own.iter_mut().for_each(|tensor| tensor.file = files.len());
        all_summed &= open.all_summed;
        files.append(&mut open.files);
        tensors.append(&mut own);
    }
    let mut open = OpenFile::new(path, Format::SafetensorsShards, files, tensors, metadata)?;
    open.all_summed = all_summed;
    Ok(open)
}

fn read_index(path: &Path) -> Result<WeightMap, CheckpointError> {
    let failed = |error| CheckpointError::storage("read", path, error);
    let wrong = |message: String| {
        CheckpointError::malformed(path, FormatError::Shards(ShardsError::Index { message }))
    };
    let (file, length) = DataFile::open(path).map_err(failed)?;
    if length > MAX_HEADER {
        return Err(wrong(format!("it has {length} bytes, more than an index can need")));
    }
    let mut text = vec![0; length as usize];
    if file.file.fill_at(&mut text, 0).map_err(failed)? != Filled::Wholly {
        return Err(failed(io::Error::from(io::ErrorKind::UnexpectedEof)));
    }
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&text);
    let index: Index = serde_json::from_slice(text).map_err(|error| wrong(error.to_string()))?;
    if index.weight_map.0.is_empty() {
        return Err(wrong("it names no tensor".to_owned()));
    }
    Ok(index.weight_map)
}

enum Outside {
    Name,
    Io(io::Error),
}

/// The file of a shard, if it lies in the folder of the index. Both may be links into one other
/// folder, as in the cache of the Hugging Face Hub.
fn inside(index: &Path, shard: &str) -> Result<PathBuf, Outside> {
    let plain = |component| matches!(component, Component::Normal(_));
    let name = Path::new(shard);
    if shard.is_empty() || shard.contains(['\0', '\\']) || !name.components().all(plain) {
        return Err(Outside::Name);
    }
    let here = folder_of(index);
    let file = here.join(name);
    let real = file.canonicalize().map_err(Outside::Io)?;
    let there = index.canonicalize().map_err(Outside::Io)?;
    let folders = [here.canonicalize().map_err(Outside::Io)?, there.with_file_name("")];
    if folders.iter().any(|folder| real.starts_with(folder)) {
        Ok(file)
    } else {
        Err(Outside::Name)
    }
}
