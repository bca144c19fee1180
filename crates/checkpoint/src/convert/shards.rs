//! A checkpoint written into several safetensors files with an index, as
//! [`open_sharded`](crate::safetensors::open_sharded) reads them.

use super::{DESCRIPTION, Part, Target, keep, part, refused};
use crate::atomic;
use crate::checkpoint::Checkpoint;
use crate::error::CheckpointError;
use crate::safetensors::MAX_HEADER;
use crate::save::{header_error, replaceable};
use crate::storage::Storage;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const EXTENSION: &str = ".safetensors";
/// Digits of a file's number.
const DIGITS: usize = 5;

/// The files that hold the tensors, the index, and files left behind by an earlier conversion.
type Written = (Vec<PathBuf>, Option<PathBuf>, Vec<PathBuf>);

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
        if count.to_string().len() > DIGITS {
            let problem = format!("there would be {count} files: give a larger size for each");
            return Err(refused(file, problem));
        }
        Ok(Some(Shards { file, stem, shards }))
    }

    fn name(&self, at: usize) -> String {
        let of = self.shards.len();
        format!("{}-{:0DIGITS$}-of-{of:0DIGITS$}{EXTENSION}", self.stem, at + 1)
    }

    fn index(&self) -> PathBuf {
        self.file.with_file_name(format!("{}{EXTENSION}.index.json", self.stem))
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

    /// Files of a checkpoint of this name in another number of files.
    fn left_behind(&self, storage: &dyn Storage, written: &[PathBuf]) -> Vec<PathBuf> {
        let directory = atomic::directory_of(self.file);
        let digits = |text: &str| text.len() == DIGITS && text.bytes().all(|b| b.is_ascii_digit());
        let is_shard = |name: &str| {
            let rest = name.strip_prefix(self.stem)?.strip_prefix('-')?.strip_suffix(EXTENSION)?;
            let (number, of) = rest.split_once("-of-")?;
            (digits(number) && digits(of)).then_some(())
        };
        let names = storage.names(&directory).unwrap_or_default();
        let mut files: Vec<PathBuf> = names
            .into_iter()
            .filter(|name| name.to_str().and_then(is_shard).is_some())
            .map(|name| self.file.with_file_name(name))
            .filter(|file| !written.contains(file))
            .collect();
        files.sort();
        files
    }
}

impl Checkpoint {
    /// Writes all files, and the index last.
    pub(super) fn write_shards(
        &self,
        storage: &dyn Storage,
        shards: &Shards<'_>,
        metadata: &BTreeMap<String, String>,
        keep_existing: bool,
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
        for file in files.iter().chain([&index]) {
            if keep_existing {
                keep(file)?;
            }
            self.refuse_own(shards.file, file)?;
        }
        if keep_existing {
            keep(shards.file)?;
        }
        let remove = |file: &Path| -> Result<(), CheckpointError> {
            let directory = atomic::directory_of(file);
            storage
                .remove(file)
                .map_err(|error| CheckpointError::storage("remove", file, error))?;
            let synced = storage.sync_directory(&directory);
            synced.map_err(|error| CheckpointError::storage("make durable", &directory, error))
        };
        // An old index must not name new files: some of them would be of another checkpoint.
        if index.is_file() && files.iter().any(|file| file.exists()) {
            remove(&index)?;
        }
        for part in &parts {
            self.write_part(storage, part)?;
        }
        atomic::write(storage, &index, &replaceable_index, &mut |sink| {
            sink(&text)?;
            Ok(Vec::new())
        })?;
        // A folder would be opened by this one, which is no longer meant.
        if shards.file.is_file() {
            replaceable(shards.file)?;
            remove(shards.file)?;
        }
        let left_behind = shards.left_behind(storage, &files);
        Ok((files, Some(index), left_behind))
    }

    /// Refuses to write over what is being read: if it failed half-way, neither would be whole.
    pub(super) fn refuse_own(&self, file: &Path, written: &Path) -> Result<(), CheckpointError> {
        let Ok(written) = written.canonicalize() else { return Ok(()) };
        let own = |path: &Path| path.canonicalize().is_ok_and(|path| path == written);
        match self.files().chain([self.file()]).any(own) {
            true => {
                let problem = format!(
                    "`{}` is of the checkpoint that is being read: choose another name",
                    written.display()
                );
                Err(refused(file, problem))
            }
            false => Ok(()),
        }
    }
}

/// Whether an index may be replaced. It has its name from us, and no other file is named so.
fn replaceable_index(file: &Path) -> Result<(), CheckpointError> {
    match file.is_dir() {
        true => Err(CheckpointError::IsADirectory { path: file.to_owned() }),
        false => Ok(()),
    }
}
