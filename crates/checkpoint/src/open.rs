//! Opening a file or a folder. Which format it has, content decides, and names only where there is no
//! content.

use crate::error::{CheckpointError, Damaged};
use crate::file::OpenFile;
use crate::format::folder_of;
use crate::formats::archive::Archive;
use crate::formats::gguf::open_gguf;
use crate::formats::numpy::{is_npz, open_npy, open_npz};
use crate::formats::pytorch::{is_pickle, open_pytorch};
use crate::formats::safetensors::{FileKind, FormatError, open_sharded};
use crate::formats::tensorflow::{index_of, open_bundle, open_directory};
use std::path::{Path, PathBuf};

/// The names that programs give to a checkpoint of which a folder holds only one.
const ONLY: [&str; 3] = ["model.safetensors", "model.safetensors.index.json", "pytorch_model.bin"];
/// How the name of an index of several safetensors files ends.
const INDEX: &str = ".safetensors.index.json";

/// What was opened, past these damaged ones.
type Opened = (OpenFile, Vec<Damaged>);

/// Opens a file, or what a path means that is no file.
pub(crate) fn open(path: &Path) -> Result<Opened, CheckpointError> {
    let error = match OpenFile::open(path) {
        Ok(file) => return Ok((file, Vec::new())),
        Err(error) => error,
    };
    let CheckpointError::Malformed { source: FormatError::Recognised { kind }, .. } = &error else {
        return Err(error);
    };
    let opened = match kind {
        FileKind::ShardIndex => open_sharded(path)?,
        FileKind::TensorFlowTable => open_bundle(path)?,
        FileKind::TensorFlowPrefix => open_bundle(&index_of(path))?,
        FileKind::TensorFlowData => {
            let name = path.file_name().and_then(|name| name.to_str());
            let (prefix, _) = name.and_then(|name| name.rsplit_once(".data-")).ok_or(error)?;
            open_bundle(&index_of(&path.with_file_name(prefix)))?
        }
        FileKind::TensorFlowState => return open_directory(folder_of(path))?.ok_or(error),
        FileKind::NumPy => open_npy(path)?,
        FileKind::Gguf => open_gguf(path)?,
        FileKind::PyTorch | FileKind::NumPyArchive | FileKind::Zip => match open_archive(path)? {
            Some(opened) => opened,
            None => return Err(error),
        },
        _ => return Err(error),
    };
    Ok((opened, Vec::new()))
}

/// Opens an archive by what is in it; `None` if that is no checkpoint.
fn open_archive(path: &Path) -> Result<Option<OpenFile>, CheckpointError> {
    let archive = Archive::open(path)?;
    if archive.entries().iter().any(|entry| is_pickle(&entry.name)) {
        open_pytorch(archive).map(Some)
    } else if is_npz(&archive) {
        open_npz(archive).map(Some)
    } else {
        Ok(None)
    }
}

/// Opens the checkpoint of a folder that is not one of a run's; `None` if there is nothing.
pub(crate) fn open_in(directory: &Path) -> Result<Option<Opened>, CheckpointError> {
    for name in ONLY {
        let path = directory.join(name);
        if path.exists() {
            return open(&path).map(Some);
        }
    }
    match indices(directory)?.as_slice() {
        [] => open_directory(directory),
        [path] => open(path).map(Some),
        several => Err(CheckpointError::Several {
            directory: directory.to_owned(),
            names: several.iter().filter_map(|path| Some(path.file_name()?.into())).collect(),
        }),
    }
}

/// The indices of checkpoints in several safetensors files, by name.
fn indices(directory: &Path) -> Result<Vec<PathBuf>, CheckpointError> {
    let failed = |error| CheckpointError::storage("list directory", directory, error);
    let mut found = Vec::new();
    for entry in directory.read_dir().map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        if name.to_str().is_some_and(|name| name.ends_with(INDEX)) {
            found.push(directory.join(name));
        }
    }
    found.sort();
    Ok(found)
}

/// The names of files in a folder that end as those of checkpoints do, sorted.
pub fn maybe_checkpoints(directory: &Path) -> Vec<PathBuf> {
    const ENDS: [&str; 9] =
        ["safetensors", "pt", "pth", "bin", "npz", "npy", "gguf", "ckpt", "index"];
    let Ok(entries) = directory.read_dir() else { return Vec::new() };
    let names = entries.flatten().filter(|entry| entry.path().is_file());
    let mut names: Vec<PathBuf> = names.map(|entry| entry.file_name().into()).collect();
    let ends = |name: &PathBuf| {
        let end = name.extension().and_then(|end| end.to_str());
        let is_index = name.to_str().is_some_and(|name| name.ends_with(INDEX));
        is_index || end.is_some_and(|end| ENDS.contains(&end))
    };
    names.retain(ends);
    names.sort();
    names
}
