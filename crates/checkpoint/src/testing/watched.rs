//! The disk with somebody who watches each operation and may meddle, for tests.

use crate::save::storage::{Disk, Storage, StorageFile};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

/// One operation, before it is done.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Operation<'a> {
    Create(&'a Path),
    Write { file: &'a Path, offset: u64, bytes: &'a [u8] },
    Sync(&'a Path),
    Rename { from: &'a Path, to: &'a Path },
    SyncDirectory(&'a Path),
    CreateDirectory(&'a Path),
    Names(&'a Path),
    Remove(&'a Path),
    RemoveAbandoned(&'a Path),
}

/// What becomes of an operation.
#[derive(Debug)]
pub(crate) enum Verdict {
    Done,
    Fails(io::Error),
    /// A write takes only so many bytes; anything else is done.
    Short(usize),
}

/// Somebody who watches a [`Disk`].
pub(crate) trait Watcher: Clone + 'static {
    fn before(&self, operation: Operation<'_>) -> Verdict;
    /// Told of what has changed the disk, short writes as short as they were.
    fn after(&self, _operation: Operation<'_>) {}
}

fn watched<W: Watcher, T>(
    watcher: &W,
    operation: Operation<'_>,
    act: impl FnOnce() -> io::Result<T>,
) -> io::Result<T> {
    if let Verdict::Fails(error) = watcher.before(operation) {
        return Err(error);
    }
    let result = act();
    if result.is_ok() {
        watcher.after(operation);
    }
    result
}

struct WatchedFile<W> {
    file: Box<dyn StorageFile>,
    path: PathBuf,
    written: u64,
    watcher: W,
}

impl<W: Watcher> WatchedFile<W> {
    fn put(
        &mut self,
        bytes: &[u8],
        offset: u64,
        write: impl FnOnce(&mut dyn StorageFile, &[u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let file = &self.path;
        let bytes = match self.watcher.before(Operation::Write { file, offset, bytes }) {
            Verdict::Done => bytes,
            Verdict::Short(length) => &bytes[..length.min(bytes.len())],
            Verdict::Fails(error) => return Err(error),
        };
        let n = write(&mut *self.file, bytes)?;
        self.watcher.after(Operation::Write { file, offset, bytes: &bytes[..n] });
        Ok(n)
    }
}

impl<W: Watcher> io::Write for WatchedFile<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.put(bytes, self.written, |file, bytes| file.write(bytes))?;
        self.written += n as u64;
        Ok(n)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl<W: Watcher> StorageFile for WatchedFile<W> {
    fn write_some_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.put(bytes, offset, |file, bytes| file.write_some_at(bytes, offset))
    }
    fn sync(&mut self) -> io::Result<()> {
        watched(&self.watcher, Operation::Sync(&self.path), || self.file.sync())
    }
}

impl<W: Watcher> Storage for W {
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        let file = watched(self, Operation::Create(path), || Disk.create_new(path))?;
        let (path, watcher) = (path.to_owned(), self.clone());
        Ok(Box::new(WatchedFile { file, path, written: 0, watcher }))
    }
    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        watched(self, Operation::Rename { from, to }, || Disk.rename_new(from, to))
    }
    fn rename_over(&self, from: &Path, to: &Path) -> io::Result<()> {
        watched(self, Operation::Rename { from, to }, || Disk.rename_over(from, to))
    }
    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        watched(self, Operation::SyncDirectory(directory), || Disk.sync_directory(directory))
    }
    fn create_directory(&self, directory: &Path) -> io::Result<()> {
        watched(self, Operation::CreateDirectory(directory), || Disk.create_directory(directory))
    }
    fn names(&self, directory: &Path) -> io::Result<Vec<OsString>> {
        watched(self, Operation::Names(directory), || Disk.names(directory))
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        watched(self, Operation::Remove(path), || Disk.remove(path))
    }
    fn remove_abandoned(&self, path: &Path) -> io::Result<()> {
        watched(self, Operation::RemoveAbandoned(path), || Disk.remove_abandoned(path))
    }
}
