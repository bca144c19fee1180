//! A file system on which one operation fails, for tests.

use crate::storage::{Disk, Storage, StorageFile};
use std::cell::Cell;
use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::rc::Rc;

/// What happens at the operation that fails.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    Error(io::ErrorKind),
    /// A write takes only some of the bytes; anything else is as without a fault.
    ShortWrite,
}

/// The disk, but for one operation.
#[derive(Clone)]
pub(crate) struct Faulty {
    fault: Fault,
    /// Operations until the one that fails.
    left: Rc<Cell<usize>>,
}

impl Faulty {
    pub fn at(operation: usize, fault: Fault) -> Faulty {
        Faulty { fault, left: Rc::new(Cell::new(operation)) }
    }

    /// Whether the fault has come.
    pub fn struck(&self) -> bool {
        self.left.get() == usize::MAX
    }

    /// Counts one operation; the fault, if this is the one.
    fn count(&self) -> Option<Fault> {
        if self.struck() {
            return None;
        }
        self.left.set(self.left.get().wrapping_sub(1));
        self.struck().then_some(self.fault)
    }

    fn step(&self) -> io::Result<()> {
        match self.count() {
            Some(Fault::Error(kind)) => Err(kind.into()),
            _ => Ok(()),
        }
    }
}

struct FaultyFile {
    file: Box<dyn StorageFile>,
    storage: Faulty,
}

impl io::Write for FaultyFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.storage.count() {
            Some(Fault::Error(kind)) => Err(kind.into()),
            Some(Fault::ShortWrite) => self.file.write(&bytes[..bytes.len().div_ceil(3)]),
            None => self.file.write(bytes),
        }
    }
    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl StorageFile for FaultyFile {
    fn write_some_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        match self.storage.count() {
            Some(Fault::Error(kind)) => Err(kind.into()),
            Some(Fault::ShortWrite) => {
                self.file.write_some_at(&bytes[..bytes.len().div_ceil(3)], offset)
            }
            None => self.file.write_some_at(bytes, offset),
        }
    }
    fn sync(&mut self) -> io::Result<()> {
        self.storage.step()?;
        self.file.sync()
    }
}

impl Storage for Faulty {
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        self.step()?;
        Ok(Box::new(FaultyFile { file: Disk.create_new(path)?, storage: self.clone() }))
    }
    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step()?;
        Disk.rename_new(from, to)
    }
    fn rename_over(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step()?;
        Disk.rename_over(from, to)
    }
    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        self.step()?;
        Disk.sync_directory(directory)
    }
    fn create_directory(&self, directory: &Path) -> io::Result<()> {
        self.step()?;
        Disk.create_directory(directory)
    }
    fn names(&self, directory: &Path) -> io::Result<Vec<OsString>> {
        self.step()?;
        Disk.names(directory)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        Disk.remove(path)
    }
    fn remove_abandoned(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        Disk.remove_abandoned(path)
    }
}
