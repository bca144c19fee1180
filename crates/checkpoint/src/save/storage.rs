//! The file operations that saving needs, behind a trait, so that tests can make each of them fail.
//!
//! On Linux the disk is asked to begin with what is behind, so that it works while the rest is read
//! from the device (all but the first bytes, where a header is written over in the end). Whatever
//! fails on that way, the sync tells.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Range;
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
    /// Makes the names in a directory durable, as far as the file system can: that of one which knows
    /// no such operation is no error, as it is not for its programs anywhere.
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

/// A file whose bytes begin their way to the disk while others are still made. Without that, all of
/// them wait for the sync at the end, and the disk has nothing to do until then.
#[derive(Debug)]
struct EarlyFile {
    file: File,
    written: u64,
    /// Up to where the disk was asked to begin.
    begun: u64,
}

/// How many bytes the disk is asked to begin with at a time. The first ones wait for the sync: a header
/// is written over in the end, and would go to the disk twice. Of one that is longer, with tens of
/// thousands of tensors, the rest does.
const EARLY: u64 = 2 << 20;

/// What the disk is to begin with, when so much is written and it has begun with so much: whole
/// stretches only, since who writes on in a page that is on its way may have to wait for it.
fn due(written: u64, begun: u64) -> Option<Range<u64>> {
    let end = written / EARLY * EARLY;
    (end > begun).then_some(begun..end)
}

impl EarlyFile {
    fn new(file: File) -> EarlyFile {
        EarlyFile { file, written: 0, begun: EARLY }
    }

    /// Asks for it, and no more: whatever fails on the way to the disk, the sync at the end tells.
    fn begin(&mut self) {
        let Some(due) = due(self.written, self.begun) else { return };
        // Linux begins to write what is dirty before it looks what may leave its cache, and leaves there
        // what is on its way: after a save of 256 MiB all of the file was in the cache still.
        // (`sync_file_range` says what is meant, and is not to be had without unsafe code.)
        #[cfg(target_os = "linux")]
        {
            use rustix::fs::{Advice, fadvise};
            let length = std::num::NonZeroU64::new(due.end - due.start);
            let _ = fadvise(&self.file, due.start, length, Advice::DontNeed);
        }
        self.begun = due.end;
    }
}

impl io::Write for EarlyFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.file.write(bytes)?;
        self.written += n as u64;
        self.begin();
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl StorageFile for EarlyFile {
    #[cfg(unix)]
    fn write_some_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::write_at(&self.file, bytes, offset)
    }

    #[cfg(windows)]
    fn write_some_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        std::os::windows::fs::FileExt::seek_write(&self.file, bytes, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        sync(&self.file)
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
        Ok(Box::new(EarlyFile::new(options.open(path)?)))
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
            Ok(_) => Ok(Box::new(EarlyFile::new(file))),
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
        as_far_as_known(sync(&File::open(directory)?))
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

/// What came of syncing a directory. Some network file systems, FUSE and FAT cannot do it, and say so;
/// nothing has been tried then, and to fail would be to save nothing there at all.
#[cfg(unix)]
fn as_far_as_known(synced: io::Result<()>) -> io::Result<()> {
    use rustix::io::Errno;
    // ENOTSUP and EOPNOTSUPP are two numbers on some systems.
    let unknown = [Errno::INVAL, Errno::NOTSUP, Errno::OPNOTSUPP, Errno::NOSYS];
    let code = synced.as_ref().err().and_then(io::Error::raw_os_error);
    match unknown.iter().any(|errno| code == Some(errno.raw_os_error())) {
        true => Ok(()),
        false => synced,
    }
}

/// The name is lost, but the next one may do.
#[cfg(not(windows))]
fn lost_to_cleaner() -> io::Error {
    io::ErrorKind::AlreadyExists.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[cfg(unix)]
    #[test]
    fn a_directory_that_cannot_be_synced_is_no_error_and_one_that_was_not_is() {
        use rustix::io::Errno;
        let synced = |errno: Errno| as_far_as_known(Err(errno.into()));
        for errno in [Errno::INVAL, Errno::NOTSUP, Errno::OPNOTSUPP, Errno::NOSYS] {
            assert!(synced(errno).is_ok(), "{errno}");
        }
        for errno in [Errno::IO, Errno::NOSPC, Errno::DQUOT, Errno::ROFS, Errno::ACCESS] {
            let error = synced(errno).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(errno.raw_os_error()));
        }
        let invalid = io::Error::from(io::ErrorKind::InvalidInput);
        assert!(as_far_as_known(Err(invalid)).is_err());
        assert!(as_far_as_known(Ok(())).is_ok());
        // A directory that is not there is not one that cannot be synced.
        assert!(Disk.sync_directory(Path::new("nowhere/at/all")).is_err());
    }

    #[test]
    fn the_disk_begins_with_whole_stretches_but_the_first() {
        assert_eq!(due(0, EARLY), None);
        assert_eq!(due(2 * EARLY - 1, EARLY), None);
        assert_eq!(due(2 * EARLY + 5, EARLY), Some(EARLY..2 * EARLY));
        assert_eq!(due(2 * EARLY + 9, 2 * EARLY), None);
        assert_eq!(due(5 * EARLY, 2 * EARLY), Some(2 * EARLY..5 * EARLY));
    }

    #[test]
    fn what_went_to_the_disk_early_is_what_was_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        let mut content: Vec<u8> = (0..EARLY as usize + 999)
            .flat_map(|word| (word as u32).wrapping_mul(0x9e37_79b9).to_le_bytes())
            .collect();
        let mut file = Disk.create_new(&path).unwrap();
        // Pieces that end anywhere.
        content.chunks((EARLY / 3) as usize + 1).for_each(|piece| file.write_all(piece).unwrap());
        for at in [0, EARLY - 2, 2 * EARLY] {
            assert_eq!(file.write_some_at(b"over", at).unwrap(), 4);
            content[at as usize..][..4].copy_from_slice(b"over");
        }
        file.sync().unwrap();
        assert!(fs::read(&path).unwrap() == content);
    }
}
