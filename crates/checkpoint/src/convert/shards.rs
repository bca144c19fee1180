//! A checkpoint written into several safetensors files with an index, as
//! [`open_sharded`](crate::formats::safetensors::open_sharded) reads them.
//!
//! All are written under temporary names and synced before the first is renamed, the index last; a
//! read or write that fails changes nothing. What is left is a window of renames: an index that
//! would come to name new files before all are there is removed first, so what is killed there
//! leaves the old checkpoint, the new one, or files without an index, and never a mixture. The
//! price is space for both until then. What a folder would be opened by in its place (a single file
//! of the name, or the index of several) is removed last, and told. There are 256 files at most,
//! since readers hold all of them open.

use super::replace::{DIGITS, EXTENSION, Replacing, index_of};
use super::{DESCRIPTION, Part, Strays, Target, part, refused};
use crate::checkpoint::Checkpoint;
use crate::error::CheckpointError::{self, NotDurable};
use crate::formats::safetensors::MAX_HEADER;
use crate::save::atomic;
use crate::save::write::header_error;
use serde_json::json;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use warmstart_graph::words::printable_path;

/// The files that hold the tensors, the index, and what was removed for them.
type Written = (Vec<PathBuf>, Option<PathBuf>, Vec<PathBuf>);

/// Readers hold all files open, and systems let a process have 1024, some of them only 256.
const MAX_FILES: usize = 256;

/// Which tensors go together.
pub(super) struct Shards<'a> {
    /// The name that all others are made of.
    file: &'a Path,
    stem: &'a str,
    shards: Vec<Vec<&'a Target<'a>>>,
}

impl<'a> Shards<'a> {
    /// Cuts where the next tensor would make a file larger than `most` bytes. `None` if one file
    /// does, or if `most` is 0.
    pub fn cut(
        file: &'a Path,
        targets: &'a [Target<'a>],
        most: u64,
    ) -> Result<Option<Shards<'a>>, CheckpointError> {
        let mut shards: Vec<Vec<&Target<'_>>> = Vec::new();
        let mut bytes = 0u64;
        for target in targets {
            bytes = bytes.saturating_add(target.bytes);
            match shards.last_mut() {
                Some(last) if bytes <= most || most == 0 => last.push(target),
                _ => {
                    shards.push(vec![target]);
                    bytes = target.bytes;
                }
            }
        }
        if shards.len() < 2 {
            return Ok(None);
        }
        let name = file.file_name().and_then(|name| name.to_str());
        let stem = name.and_then(|name| name.strip_suffix(EXTENSION)).filter(|s| !s.is_empty());
        let Some(stem) = stem else {
            let problem = "the names of several files are made of one that ends with \
                `.safetensors`: give one, such as `model.safetensors`";
            return Err(refused(file, problem.to_owned()));
        };
        let count = shards.len();
        if count > MAX_FILES {
            let problem = format!(
                "there would be {count} files, more than {MAX_FILES}, which could not all be open \
                 when they are read: give a larger size for each"
            );
            return Err(refused(file, problem));
        }
        Ok(Some(Shards { file, stem, shards }))
    }

    fn name(&self, at: usize) -> String {
        let of = self.shards.len();
        format!("{}-{:0DIGITS$}-of-{of:0DIGITS$}{EXTENSION}", self.stem, at + 1)
    }

    fn index(&self) -> PathBuf {
        index_of(self.file)
    }

    fn index_text(&self) -> Result<Vec<u8>, CheckpointError> {
        let of = |(at, shard): (usize, &Vec<&'a Target<'a>>)| {
            let file = self.name(at);
            shard.iter().map(|t| (t.name.as_str(), file.clone())).collect::<Vec<_>>()
        };
        let weight_map: BTreeMap<&str, String> =
            self.shards.iter().enumerate().flat_map(of).collect();
        let total: u64 = self.shards.iter().flatten().map(|target| target.bytes).sum();
        let index = json!({ "metadata": { "total_size": total }, "weight_map": weight_map });
        let mut text = serde_json::to_vec_pretty(&index)
            .map_err(|error| header_error(&self.index(), error))?;
        text.push(b'\n');
        match text.len() as u64 {
            length if length > MAX_HEADER => {
                Err(CheckpointError::HeaderTooLarge { file: self.index(), length })
            }
            _ => Ok(text),
        }
    }
}

impl Checkpoint {
    /// Writes all files, gives them their names, and the index its own last.
    pub(super) fn write_shards(
        &self,
        replacing: &Replacing<'_>,
        shards: &Shards<'_>,
        metadata: &BTreeMap<String, String>,
        strays: &RefCell<Strays>,
    ) -> Result<Written, CheckpointError> {
        // What speaks of all tensors is said once.
        let mut rest = metadata.clone();
        rest.retain(|key, _| !DESCRIPTION.contains(&key.as_str()));
        let mut parts: Vec<Part<'_>> = Vec::with_capacity(shards.shards.len());
        for (at, targets) in shards.shards.iter().enumerate() {
            let file = shards.file.with_file_name(shards.name(at));
            let metadata = if at == 0 { metadata } else { &rest };
            parts.push(part(file, targets.clone(), metadata)?);
        }
        let (index, text) = (shards.index(), shards.index_text()?);
        let files: Vec<PathBuf> = parts.iter().map(|part| part.file.clone()).collect();
        // The file of the name itself goes too, once all is written, and more may be in it.
        for file in files.iter().chain([&index, &shards.file.to_owned()]) {
            replacing.look(file)?;
            self.refuse_own(shards.file, file)?;
        }
        let storage = replacing.storage;
        let may_go = |file: &Path| replacing.may_go(file);
        let index_may_go = |file: &Path| replacing.index_may_go(file);
        let mut prepared = Vec::with_capacity(parts.len());
        for part in &parts {
            prepared.push(self.prepare_part(storage, part, &may_go, strays)?);
        }
        let prepared_index = atomic::prepare(storage, &index, &index_may_go, &mut |sink| {
            sink(&text)?;
            Ok(Vec::new())
        })?;
        // All is written; what is left is names. Something may have come meanwhile.
        replacing.look(shards.file)?;
        // An old index must not name new files: some of them would be of another checkpoint.
        if index.is_file() && files.iter().any(|file| file.exists()) {
            replacing.index_may_go(&index)?;
            // Where a link leads: the new one comes there too.
            replacing.remove(&index.canonicalize().unwrap_or_else(|_| index.clone()))?;
        }
        let mut named = 0;
        let publish = || {
            for prepared in prepared {
                let published = prepared.publish(&may_go);
                let has_its_name = matches!(published, Ok(()) | Err(NotDurable { .. }));
                named += usize::from(has_its_name);
                published?;
            }
            prepared_index.publish(&index_may_go)
        };
        let published: Result<(), CheckpointError> = publish();
        if let Err(error) = published {
            // Nobody had these names before, and without an index they are nothing.
            if replacing.keep_existing && !index.exists() {
                files[..named].iter().for_each(|file| drop(storage.remove(file)));
            }
            return Err(error);
        }
        // A folder would be opened by this one, which is no longer meant.
        let removed = replacing.remove_if_there(shards.file.to_owned())?;
        Ok((files, Some(index), removed))
    }

    /// Refuses to write over what is being read: if it failed half-way, neither would be whole.
    pub(super) fn refuse_own(&self, file: &Path, written: &Path) -> Result<(), CheckpointError> {
        let Ok(written) = written.canonicalize() else { return Ok(()) };
        let own = |path: &Path| path.canonicalize().is_ok_and(|path| path == written);
        match self.files().chain([self.file()]).any(own) {
            true => {
                let problem = format!(
                    "`{}` is of the checkpoint that is being read: choose another name",
                    printable_path(written)
                );
                Err(refused(file, problem))
            }
            false => Ok(()),
        }
    }
}
