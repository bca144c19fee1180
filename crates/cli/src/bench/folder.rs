//! The folders of benchmarks, and those that were left behind.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;
use tempfile::TempDir;

/// What the names of all begin with.
const PREFIX: &str = "warmstart-bench-";
/// The file in each that its process holds a lock of, which the system lets go of with the process,
/// also where another machine's or another container's cannot be seen.
const LOCK: &str = "lock";

/// A folder that is removed when dropped.
pub struct Folder {
    // Closed before it is removed with the folder, as Windows asks for.
    _lock: File,
    folder: TempDir,
}

impl Folder {
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// A new folder within another.
pub fn make(within: &Path) -> io::Result<Folder> {
    loop {
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(within)?;
        let lock = File::create_new(folder.path().join(LOCK))?;
        match lock.try_lock() {
            // Where there are no locks, nobody can take it, and so nobody removes the folder.
            Ok(()) | Err(TryLockError::Error(_)) => return Ok(Folder { _lock: lock, folder }),
            // Another took it for abandoned in between, and removes it.
            Err(TryLockError::WouldBlock) => {}
        }
    }
}

/// Removes the folders of processes that were ended before they could.
pub fn remove_abandoned(within: &Path) {
    let Ok(entries) = fs::read_dir(within) else { return };
    for entry in entries.flatten() {
        let named = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        if !named || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let lock = File::options().write(true).open(entry.path().join(LOCK));
        if lock.is_ok_and(|lock| lock.try_lock().is_ok()) {
            // Those of others may not be removable, and what is measured does not depend on it.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_folders_that_nobody_holds_are_removed() {
        let here = tempfile::tempdir().unwrap();
        let alive = make(here.path()).unwrap();
        let alive = alive.path().file_name().unwrap().to_str().unwrap();
        let gone = format!("{PREFIX}gone");
        let others = [&format!("{PREFIX}without"), "other"];
        for name in others.iter().copied().chain([gone.as_str()]) {
            fs::create_dir(here.path().join(name)).unwrap();
            fs::write(here.path().join(name).join("file"), "content").unwrap();
        }
        for name in ["other", gone.as_str()] {
            fs::write(here.path().join(name).join(LOCK), "").unwrap();
        }
        let file = format!("{PREFIX}file");
        fs::write(here.path().join(&file), "content").unwrap();
        remove_abandoned(here.path());
        let entries = fs::read_dir(here.path()).unwrap();
        let mut left: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        let mut expected = others.to_vec();
        expected.extend([alive, &file]);
        left.sort();
        expected.sort();
        assert_eq!(left, expected);
    }
}
