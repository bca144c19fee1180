//! The disk with somebody who is asked before each operation, and may fail, wait, panic or kill.

use crate::save::storage::{Disk, Storage, StorageFile};
use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

/// Asked before each operation, with its number.
type Hook = dyn Fn(usize) -> io::Result<()> + Send + Sync;

/// The disk, with a word to say before each operation.
pub(crate) struct Hooked {
    before: Box<Hook>,
    count: AtomicUsize,
    /// Whether nothing can be removed.
    keeps_all: bool,
}

impl Hooked {
    pub fn new(before: impl Fn(usize) -> io::Result<()> + Send + Sync + 'static) -> Arc<Hooked> {
        let count = AtomicUsize::new(0);
        Arc::new(Hooked { before: Box::new(before), count, keeps_all: false })
    }

    /// A disk from which nothing can be removed.
    pub fn keeping_all() -> Arc<Hooked> {
        let count = AtomicUsize::new(0);
        Arc::new(Hooked { before: Box::new(|_| Ok(())), count, keeps_all: true })
    }

    /// How many operations were asked for.
    pub fn operations(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    fn step(&self) -> io::Result<()> {
        (self.before)(self.count.fetch_add(1, Ordering::SeqCst))
    }
}

struct HookedFile {
    file: Box<dyn StorageFile>,
    storage: Arc<Hooked>,
}

impl io::Write for HookedFile {
    /// Two operations, so that a writer may also be killed within.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.storage.step()?;
        let (first, rest) = bytes.split_at(bytes.len() / 2);
        self.file.write_all(first)?;
        self.storage.step()?;
        self.file.write_all(rest)?;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl StorageFile for HookedFile {
    fn write_some_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.storage.step()?;
        let (first, rest) = bytes.split_at(bytes.len() / 2);
        let written = self.file.write_some_at(first, offset)?;
        if written < first.len() || rest.is_empty() {
            return Ok(written);
        }
        self.storage.step()?;
        Ok(written + self.file.write_some_at(rest, offset + written as u64)?)
    }
    fn sync(&mut self) -> io::Result<()> {
        self.storage.step()?;
        self.file.sync()
    }
}

impl Storage for Arc<Hooked> {
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        self.step()?;
        Ok(Box::new(HookedFile { file: Disk.create_new(path)?, storage: self.clone() }))
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
        if self.keeps_all {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Disk.remove(path)
    }
    fn remove_abandoned(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        Disk.remove_abandoned(path)
    }
}

/// Holds up the writer while it is closed.
#[derive(Default)]
pub(crate) struct Gate {
    open: Mutex<bool>,
    changed: Condvar,
}

impl Gate {
    pub fn set(&self, open: bool) {
        *self.open.lock().unwrap() = open;
        self.changed.notify_all();
    }

    fn pass(&self) {
        drop(self.changed.wait_while(self.open.lock().unwrap(), |open| !*open).unwrap());
    }
}

/// A disk whose writer waits at this gate before each operation.
pub(crate) fn gated() -> (Arc<Gate>, Arc<Hooked>) {
    let gate = Arc::new(Gate::default());
    let writers = gate.clone();
    let storage = Hooked::new(move |_| {
        writers.pass();
        Ok(())
    });
    (gate, storage)
}
