//! The file operations that saving needs, behind a trait, so that tests can make each of them fail.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;

/// The file system, as far as saving needs it.
pub(crate) trait Storage {
    /// Creates a file that must not exist yet, and marks it as being written for as long as it is
    /// open, by whatever end the process comes to.
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn StorageFile>>;
    /// Renames a file; fails with `AlreadyExists` if the new name is taken.
    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Renames a file in one step over what has the new name.
    fn rename_over(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes the names in a directory durable.
    fn sync_directory(&self, directory: &Path) -> io::Result<()>;
    /// Creates one directory.
    fn create_directory(&self, directory: &Path) -> io::Result<()>;
    /// The names in a directory.
    fn names(&self, directory: &Path) -> io::Result<Vec<OsString>>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Removes a file from [`Storage::create_new`] unless a living writer still has it open.
    fn remove_abandoned(&self, path: &Path) -> io::Result<()>;
}

/// A file that is being written.
pub(crate) trait StorageFile: io::Write {
    /// Writes some bytes over those at `offset`; says how many.
    fn write_some_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<usize>;
    /// Makes the bytes written so far durable.
    fn sync(&mut self) -> io::Result<()>;
}

/// The operating system's file system.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Disk;

impl StorageFile for File {
    #[cfg(unix)]
    fn write_some_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::write_at(self, bytes, offset)
    }

    #[cfg(windows)]
    fn write_some_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        std::os::windows::fs::FileExt::seek_write(self, bytes, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        sync(self)
    }
}

impl Storage for Disk {
    // A lock on Windows keeps readers out too, and a file has its name a moment before it is closed.
    // So others may do anything with it but open it to write, as whoever looks for dead writers does.
    #[cfg(windows)]
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        use std::os::windows::fs::OpenOptionsExt;
        const FILE_SHARE_READ: u32 = 1;
        const FILE_SHARE_DELETE: u32 = 4;
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).share_mode(FILE_SHARE_READ | FILE_SHARE_DELETE);
        Ok(Box::new(options.open(path)?))
    }

    #[cfg(not(windows))]
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        use std::fs::TryLockError;
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        // The lock ends with the process, so another process can tell a dead writer's file from a
        // living one's. File systems without locks leave dead writers' files lying, which wastes
        // space but harms nothing.
        match file.try_lock() {
            Ok(()) | Err(TryLockError::Error(_)) => {}
            Err(TryLockError::WouldBlock) => return Err(lost_to_cleaner()),
        }
        // A cleaner may have taken the file for abandoned before it was locked.
        match fs::symlink_metadata(path) {
            Ok(_) => Ok(Box::new(file)),
            Err(_) => Err(lost_to_cleaner()),
        }
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        #[cfg(any(target_os = "linux", target_os = "macos"))]
        {
            use rustix::fs::{CWD, RenameFlags, renameat_with};
            use rustix::io::Errno;
            match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
                // Old kernels and some file systems do not know the flag.
                Err(Errno::NOSYS | Errno::INVAL | Errno::NOTSUP) => {}
                result => return Ok(result?),
            }
        }
        match fs::hard_link(from, to) {
            Ok(()) => fs::remove_file(from),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
            // No hard links either (FAT): look, then rename. Another writer may come between.
            Err(_) => match fs::symlink_metadata(to) {
                Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
                Err(_) => fs::rename(from, to),
            },
        }
    }

    fn rename_over(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    #[cfg(unix)]
    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        sync(&File::open(directory)?)
    }

    // Windows has no such operation: NTFS journals names itself.
    #[cfg(not(unix))]
    fn sync_directory(&self, _directory: &Path) -> io::Result<()> {
        Ok(())
    }

    fn create_directory(&self, directory: &Path) -> io::Result<()> {
        fs::create_dir(directory)
    }

    fn names(&self, directory: &Path) -> io::Result<Vec<OsString>> {
        fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name())).collect()
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_abandoned(&self, path: &Path) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(path)?;
        match file.try_lock() {
            Ok(()) => fs::remove_file(path),
            Err(_) => Ok(()),
        }
    }
}

/// Makes what was written to a file or directory durable.
fn sync(file: &File) -> io::Result<()> {
    let synced = file.sync_all();
    // On macOS this asks the disk itself, by `F_FULLFSYNC`, which shares, NTFS and FUSE do not know.
    // Nothing has been tried then, and they are asked for what they know.
    #[cfg(target_os = "macos")]
    if let Err(error) = &synced {
        use rustix::io::Errno;
        let unknown = [Errno::NOTSUP, Errno::OPNOTSUPP, Errno::INVAL, Errno::NOTTY];
        let code = error.raw_os_error();
        if unknown.iter().any(|errno| code == Some(errno.raw_os_error())) {
            return Ok(rustix::fs::fsync(file)?);
        }
    }
    synced
}

/// The name is lost, but the next one may do.
#[cfg(not(windows))]
fn lost_to_cleaner() -> io::Error {
    io::ErrorKind::AlreadyExists.into()
}
