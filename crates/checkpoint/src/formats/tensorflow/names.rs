//! The names of a bundle's files.

use crate::format::folder_of;
use std::path::{Path, PathBuf};

const INDEX: &str = ".index";

/// The index of a prefix.
pub(crate) fn index_of(prefix: &Path) -> PathBuf {
    let mut index = prefix.as_os_str().to_owned();
    index.push(INDEX);
    PathBuf::from(index)
}

/// The prefix of an index.
pub(super) fn prefix_of(index: &Path) -> Option<&str> {
    index.file_name()?.to_str()?.strip_suffix(INDEX)
}

/// Whether there is a data file that belongs to an index.
pub(crate) fn has_data(index: &Path) -> bool {
    let Some(prefix) = prefix_of(index) else { return false };
    let begins = |name: &str| name.strip_prefix(prefix).is_some_and(|n| n.starts_with(".data-"));
    let Ok(entries) = folder_of(index).read_dir() else { return false };
    entries.flatten().any(|entry| entry.file_name().to_str().is_some_and(begins))
}
