//! A file system on which one operation fails, for tests.

use crate::testing::watched::{Operation, Verdict, Watcher};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

/// What happens at the operation that fails.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    Error(io::ErrorKind),
    /// As the operating system numbers it.
    #[cfg(unix)]
    Errno(rustix::io::Errno),
    /// As Windows numbers it.
    #[cfg(windows)]
    Number(i32),
    /// A write takes only some of the bytes; anything else is as without a fault.
    ShortWrite,
}

impl Fault {
    /// Every way in which an operation may fail.
    pub fn all() -> Vec<Fault> {
        let mut all = vec![Fault::Error(io::ErrorKind::Other), Fault::ShortWrite];
        all.extend(Fault::numbered());
        all
    }

    /// What an error about it advises, where that is told by its number.
    pub fn advice(self) -> Option<&'static str> {
        match self {
            #[cfg(unix)]
            Fault::Errno(rustix::io::Errno::NOSPC | rustix::io::Errno::DQUOT) => {
                Some("Free space there")
            }
            #[cfg(unix)]
            Fault::Errno(rustix::io::Errno::FBIG) => Some("allows no file so large"),
            #[cfg(windows)]
            Fault::Number(112) => Some("Free space there"),
            _ => None,
        }
    }

    /// Whether whoever writes has to try again, and nothing else is wrong.
    pub fn is_interruption(self) -> bool {
        match self {
            #[cfg(unix)]
            Fault::Errno(errno) => errno == rustix::io::Errno::INTR,
            _ => false,
        }
    }

    #[cfg(unix)]
    fn numbered() -> impl Iterator<Item = Fault> {
        use rustix::io::Errno;
        let errors = [
            Errno::IO,
            Errno::NOSPC,
            Errno::DQUOT,
            Errno::INTR,
            Errno::ROFS,
            Errno::ACCESS,
            Errno::PERM,
            Errno::MFILE,
            Errno::FBIG,
            Errno::STALE,
        ];
        errors.into_iter().map(Fault::Errno)
    }

    #[cfg(windows)]
    fn numbered() -> impl Iterator<Item = Fault> {
        // ERROR_ACCESS_DENIED, ERROR_SHARING_VIOLATION, ERROR_LOCK_VIOLATION, ERROR_DISK_FULL.
        [5, 32, 33, 112].into_iter().map(Fault::Number)
    }
}

/// The disk, but for one operation.
#[derive(Clone)]
pub(crate) struct Faulty {
    fault: Fault,
    at: usize,
    done: Arc<AtomicUsize>,
    failed: Arc<OnceLock<Failed>>,
}

/// The operation that failed, by what it was done to.
#[derive(Clone, Debug)]
pub(crate) enum Failed {
    /// The file that is written was to be synced.
    Sync,
    /// The file was to be written.
    Write,
    /// The file that is written was to be created or renamed.
    File,
    SyncDirectory(PathBuf),
    /// A directory or an older file.
    Other(PathBuf),
}

impl Failed {
    fn of(operation: Operation<'_>) -> Failed {
        match operation {
            Operation::Sync(_) => Failed::Sync,
            Operation::Write { .. } => Failed::Write,
            Operation::Create(_) | Operation::Rename { .. } => Failed::File,
            Operation::SyncDirectory(path) => Failed::SyncDirectory(path.to_owned()),
            Operation::CreateDirectory(path)
            | Operation::Names(path)
            | Operation::Remove(path)
            | Operation::RemoveAbandoned(path) => Failed::Other(path.to_owned()),
        }
    }

    /// Whether what was written to this directory is not durable then, which no second sync could mend.
    pub fn is_sync_of(&self, directory: &Path) -> bool {
        match self {
            Failed::Sync => true,
            Failed::SyncDirectory(path) => path == directory,
            Failed::Write | Failed::File | Failed::Other(_) => false,
        }
    }

    /// What an error about it names, where `file` was written.
    pub fn named<'a>(&'a self, file: &'a Path) -> &'a Path {
        match self {
            Failed::Sync | Failed::Write | Failed::File => file,
            // Of the directory that the file is in, what matters is the file.
            Failed::SyncDirectory(path) if file.parent() == Some(path) => file,
            Failed::SyncDirectory(path) | Failed::Other(path) => path,
        }
    }
}

impl Faulty {
    pub fn at(operation: usize, fault: Fault) -> Faulty {
        Faulty { fault, at: operation, done: Arc::default(), failed: Arc::default() }
    }

    /// Whether the fault has come.
    pub fn struck(&self) -> bool {
        self.done.load(Ordering::Relaxed) > self.at
    }

    /// What has failed, if anything has.
    pub fn failed(&self) -> Option<Failed> {
        self.failed.get().cloned()
    }
}

impl Watcher for Faulty {
    fn before(&self, operation: Operation<'_>) -> Verdict {
        if self.done.fetch_add(1, Ordering::Relaxed) != self.at {
            return Verdict::Done;
        }
        if !matches!(self.fault, Fault::ShortWrite) {
            self.failed.get_or_init(|| Failed::of(operation));
        }
        match (self.fault, operation) {
            (Fault::Error(kind), _) => Verdict::Fails(kind.into()),
            #[cfg(unix)]
            (Fault::Errno(errno), _) => Verdict::Fails(errno.into()),
            #[cfg(windows)]
            (Fault::Number(code), _) => Verdict::Fails(io::Error::from_raw_os_error(code)),
            (Fault::ShortWrite, Operation::Write { bytes, .. }) => {
                Verdict::Short(bytes.len().div_ceil(3))
            }
            (Fault::ShortWrite, _) => Verdict::Done,
        }
    }
}
