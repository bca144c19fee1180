//! Which format a checkpoint has. Content decides, and names only where there is no content.

use crate::checkpoint::Checkpoint;
use crate::error::CheckpointError;
use crate::file::OpenFile;
use crate::safetensors::{FileKind, FormatError, open_sharded};
use crate::tensorflow::{index_of, open_bundle, open_directory};
use std::path::{Path, PathBuf};

/// The names that programs give to a checkpoint of which a folder holds only one.
const ONLY: [&str; 2] = ["model.safetensors", "model.safetensors.index.json"];
/// How the name of an index of several safetensors files ends.
const INDEX: &str = ".safetensors.index.json";

/// Opens a file, or what a path means that is no file.
pub(crate) fn open(path: &Path) -> Result<Checkpoint, CheckpointError> {
    let error = match OpenFile::open(path) {
        Ok(file) => return Ok(Checkpoint::found(file, Vec::new())),
        Err(error) => error,
    };
    let CheckpointError::Malformed { source: FormatError::Recognised { kind }, .. } = &error else {
        return Err(error);
    };
    match kind {
        FileKind::ShardIndex => Ok(Checkpoint::found(open_sharded(path)?, Vec::new())),
        FileKind::TensorFlowTable => Ok(Checkpoint::found(open_bundle(path)?, Vec::new())),
        FileKind::TensorFlowPrefix => {
            Ok(Checkpoint::found(open_bundle(&index_of(path))?, Vec::new()))
        }
        FileKind::TensorFlowData => {
            let prefix = path.to_str().and_then(|path| path.rsplit_once(".data-"));
            let index = prefix.map(|(prefix, _)| index_of(Path::new(prefix))).ok_or(error)?;
            Ok(Checkpoint::found(open_bundle(&index)?, Vec::new()))
        }
        FileKind::TensorFlowState => open_directory(folder_of(path))?.ok_or(error),
        _ => Err(error),
    }
}

/// The folder that a file is in.
pub(crate) fn folder_of(path: &Path) -> &Path {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}

/// Opens the checkpoint of a folder that is not one of a run's; `None` if there is nothing.
pub(crate) fn open_in(directory: &Path) -> Result<Option<Checkpoint>, CheckpointError> {
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
