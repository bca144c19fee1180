//! Writing a file so that at every instant the name holds the whole old content or the whole new.
//!
//! The bytes go to a temporary beside the target, are synced, and the temporary is renamed; then
//! the directory is synced, and only then is the write reported as done. A failed sync ends the
//! attempt: the kernel may have dropped the pages, and syncing again would report success.

use crate::error::CheckpointError;
use crate::format::folder_of;
use crate::save::storage::{Storage, StorageFile};
use std::ffi::OsStr;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::{fs, process};

/// How temporaries end; they begin with a dot.
const TEMPORARY: &str = ".partial";
/// Small variables are gathered into writes of this size.
pub(crate) const BUFFER: usize = 1 << 20;

/// Takes the next bytes of the file.
pub(crate) type Sink<'a> = dyn FnMut(&[u8]) -> Result<(), CheckpointError> + 'a;

/// Writes `target` whole or not at all. `fill` hands the content to the sink, and returns what the
/// first bytes are to be in the end, now that it knows the rest; nothing if they stay. `replaceable`
/// says whether a file that already has the name may go.
pub(crate) fn write(
    storage: &dyn Storage,
    target: &Path,
    replaceable: &dyn Fn(&Path) -> Result<(), CheckpointError>,
    fill: &mut dyn FnMut(&mut Sink<'_>) -> Result<Vec<u8>, CheckpointError>,
) -> Result<(), CheckpointError> {
    prepare(storage, target, replaceable, fill)?.publish(replaceable)
}

/// Writes all that `target` is to hold, durably, and does not give it the name yet.
pub(crate) fn prepare<'a>(
    storage: &'a dyn Storage,
    target: &Path,
    replaceable: &dyn Fn(&Path) -> Result<(), CheckpointError>,
    fill: &mut dyn FnMut(&mut Sink<'_>) -> Result<Vec<u8>, CheckpointError>,
) -> Result<Prepared<'a>, CheckpointError> {
    let target = through_symlinks(target)?;
    if exists(&target)? {
        replaceable(&target)?;
    }
    let belongs = |name: &str| target.file_name() == Some(name.as_ref());
    remove_leftovers(storage, &directory_of(&target), belongs);
    let (temporary, file) = Temporary::create(storage, &target)?;
    let failed = |error| CheckpointError::storage("write", &temporary.path, error);
    let mut writer = BufWriter::with_capacity(BUFFER, FileWriter(file));
    let filled = fill(&mut |bytes| writer.write_all(bytes).map_err(failed))
        .and_then(|start| writer.flush().map_err(failed).map(|()| start));
    // Not `into_inner`, and no drop of the writer: both would write again after a failure.
    let (FileWriter(mut file), _unwritten) = writer.into_parts();
    write_over(&mut *file, &filled?).map_err(failed)?;
    file.sync().map_err(|e| CheckpointError::storage("sync", &temporary.path, e))?;
    Ok(Prepared { file, temporary, target })
}

/// A file that is whole and durable and lacks nothing but its name. If it never gets one, it goes
/// when this is dropped.
pub(crate) struct Prepared<'a> {
    // Closed before the temporary is removed, and locked until then.
    file: Box<dyn StorageFile>,
    temporary: Temporary<'a>,
    target: PathBuf,
}

impl Prepared<'_> {
    /// Gives the file its name, durably.
    pub fn publish(
        self,
        replaceable: &dyn Fn(&Path) -> Result<(), CheckpointError>,
    ) -> Result<(), CheckpointError> {
        let Prepared { file, temporary, target } = self;
        let storage = temporary.storage;
        temporary.publish(&target, replaceable)?;
        // The name is taken: from here on the file is no temporary, and its lock may go.
        drop(file);
        storage
            .sync_directory(&directory_of(&target))
            .map_err(|error| CheckpointError::NotDurable { file: target, source: error })
    }
}

/// Writes over the first bytes of a file.
fn write_over(file: &mut dyn StorageFile, start: &[u8]) -> io::Result<()> {
    let mut done = 0;
    while done < start.len() {
        match file.write_some_at(&start[done..], done as u64) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => done += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Gives `BufWriter` a sized type that writes to the storage's file.
struct FileWriter(Box<dyn StorageFile>);

impl Write for FileWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// A file that is not there yet as far as anybody else is concerned; removed when it is dropped.
struct Temporary<'a> {
    storage: &'a dyn Storage,
    path: PathBuf,
    published: bool,
}

impl<'a> Temporary<'a> {
    fn create(
        storage: &'a dyn Storage,
        target: &Path,
    ) -> Result<(Temporary<'a>, Box<dyn StorageFile>), CheckpointError> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        // Names are taken by other machines with the same process number, or by a dead process.
        const ATTEMPTS: usize = 1000;
        let mut attempt = 0;
        loop {
            let count = COUNTER.fetch_add(1, Ordering::Relaxed);
            let mut name = OsStr::new(".").to_owned();
            name.push(target.file_name().unwrap_or_default());
            name.push(format!(".{}-{count}{TEMPORARY}", process::id()));
            let path = target.with_file_name(name);
            attempt += 1;
            match storage.create_new(&path) {
                Ok(file) => return Ok((Temporary { storage, path, published: false }, file)),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists && attempt < ATTEMPTS => {}
                // Nobody knows the temporary name; what is missing is the folder of both.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Err(CheckpointError::storage(
                        "create a file in",
                        folder_of(target),
                        error,
                    ));
                }
                Err(error) => return Err(CheckpointError::storage("create", target, error)),
            }
        }
    }

    /// Gives the file its name.
    fn publish(
        mut self,
        target: &Path,
        replaceable: &dyn Fn(&Path) -> Result<(), CheckpointError>,
    ) -> Result<(), CheckpointError> {
        let renamed = match self.storage.rename_new(&self.path, target) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                // Asked again: the file may have come while this one was being written.
                replaceable(target)?;
                self.storage.rename_over(&self.path, target)
            }
            result => result,
        };
        renamed
            .map_err(|error| CheckpointError::storage("rename a temporary to", target, error))?;
        self.published = true;
        Ok(())
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        if !self.published {
            // A failure here must not hide the one that led here; the next save removes the rest.
            let _ = self.storage.remove(&self.path);
        }
    }
}

/// Removes what killed writers left in `directory` for targets that `belongs` accepts. Files of
/// living writers stay. Failures are passed over: a leftover harms nothing but space.
pub(crate) fn remove_leftovers(
    storage: &dyn Storage,
    directory: &Path,
    belongs: impl Fn(&str) -> bool,
) {
    for name in storage.names(directory).unwrap_or_default() {
        if name.to_str().and_then(target_of_temporary).is_some_and(&belongs) {
            let _ = storage.remove_abandoned(&directory.join(&name));
        }
    }
}

/// The name of the file that a temporary of this name would have become.
fn target_of_temporary(name: &str) -> Option<&str> {
    let (target, writer) = name.strip_prefix('.')?.strip_suffix(TEMPORARY)?.rsplit_once('.')?;
    let (process, count) = writer.split_once('-')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    (digits(process) && digits(count) && !target.is_empty()).then_some(target)
}

/// Creates a directory and its missing parents, each durably. The first that is there already is made
/// durable too: whoever made it may have been killed before that was done.
pub(crate) fn create_directories(
    storage: &dyn Storage,
    directory: &Path,
) -> Result<(), CheckpointError> {
    let mut ancestors = directory.ancestors().filter(|d| !d.as_os_str().is_empty()).peekable();
    let mut missing: Vec<&Path> = Vec::new();
    while let Some(directory) = ancestors.next_if(|directory| !directory.is_dir()) {
        missing.push(directory);
    }
    if let Some(there) = ancestors.next() {
        match storage.sync_directory(&directory_of(there)) {
            Err(error) if !is_of_others(&error) => {
                return Err(CheckpointError::storage("make durable", there, error));
            }
            _ => {}
        }
    }
    for directory in missing.into_iter().rev() {
        match storage.create_directory(directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists || !directory.is_dir() => {
                return Err(CheckpointError::storage("create directory", directory, error));
            }
            _ => {}
        }
        storage
            .sync_directory(&directory_of(directory))
            .map_err(|error| CheckpointError::storage("make durable", directory, error))?;
    }
    Ok(())
}

/// Whether a directory could not be synced because it is none of ours: we may not read it, or it lies on
/// a file system that cannot be written.
fn is_of_others(error: &io::Error) -> bool {
    use io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
    matches!(error.kind(), PermissionDenied | ReadOnlyFilesystem)
}

/// The directory that a file lies in.
pub(crate) fn directory_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Whether something has this name, even a link to nowhere.
fn exists(path: &Path) -> Result<bool, CheckpointError> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(CheckpointError::storage("look at", path, error)),
    }
}

/// The file that a link stands for: renaming over the link would replace the link, not the file.
fn through_symlinks(target: &Path) -> Result<PathBuf, CheckpointError> {
    // More links than Linux follows.
    const LINKS: usize = 64;
    let failed = |error| CheckpointError::storage("follow the link", target, error);
    let mut at = target.to_owned();
    for _ in 0..LINKS {
        if !fs::symlink_metadata(&at).is_ok_and(|found| found.file_type().is_symlink()) {
            // A path such as `..` or an empty one names no file.
            return match at.file_name() {
                Some(_) => Ok(at),
                None => Err(CheckpointError::IsADirectory { path: at }),
            };
        }
        at = match fs::canonicalize(&at) {
            Ok(real) => return Ok(real),
            // A link to a file that is not there yet: the file is made where the link points.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                directory_of(&at).join(fs::read_link(&at).map_err(failed)?)
            }
            Err(error) => return Err(failed(error)),
        };
    }
    Err(failed(io::Error::other("there are too many links one after the other")))
}

#[cfg(test)]
#[path = "atomic_tests.rs"]
mod tests;
