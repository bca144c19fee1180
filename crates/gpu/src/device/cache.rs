//! What can be made again, kept on disk between processes: compiled pipelines, measurements.
//!
//! Nothing here is ever an error. A file that cannot be read, is damaged or was written for something
//! else is as good as none, and one that cannot be written is not.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::SystemTime;
use std::{env, fs, io, process};
use twox_hash::XxHash3_128;

/// Where compiled pipelines and measured kernels are kept between processes.
///
/// Drivers trust what they are given back: the directory must be one to which nobody writes who may
/// not run code as this user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CacheChoice {
    /// Nowhere: every process begins anew.
    Off,
    /// In this directory, which is made when there is something to keep.
    Directory(PathBuf),
}

impl CacheChoice {
    /// What `WARMSTART_CACHE` says (`off`, or a directory), or the folder `warmstart` where this
    /// system keeps the user's caches.
    pub(crate) fn from_env() -> CacheChoice {
        match env::var_os("WARMSTART_CACHE") {
            Some(choice) if choice == "off" => CacheChoice::Off,
            Some(choice) if !choice.is_empty() => CacheChoice::Directory(choice.into()),
            _ => match user_caches() {
                Some(caches) => CacheChoice::Directory(caches.join("warmstart")),
                None => CacheChoice::Off,
            },
        }
    }
}

/// Where this system keeps the caches of the user.
fn user_caches() -> Option<PathBuf> {
    let absolute = |name: &str| env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    if cfg!(windows) {
        absolute("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        absolute("HOME").map(|home| home.join("Library/Caches"))
    } else {
        absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")))
    }
}

/// The first bytes of a file; the number is that of this layout.
const MAGIC: &[u8; 8] = b"wrmcach1";

/// Larger files are neither written nor read.
const LARGEST: usize = 64 << 20;

/// How many files a folder holds; older ones go.
const FILES: usize = 16;

/// A folder of the cache directory.
#[derive(Clone, Debug)]
pub(crate) struct CacheFolder(PathBuf);

impl CacheFolder {
    /// The folder of this name, if there is a cache.
    pub fn new(choice: &CacheChoice, name: &str) -> Option<CacheFolder> {
        match choice {
            CacheChoice::Off => None,
            CacheChoice::Directory(directory) => Some(CacheFolder(directory.join(name))),
        }
    }

    /// The file for a key. Keys are long texts; those of two files may begin alike.
    fn file(&self, key: &str) -> PathBuf {
        self.0.join(format!("{:032x}", XxHash3_128::oneshot(key.as_bytes())))
    }

    /// What was written under this key, if it is there whole.
    pub fn read(&self, key: &str) -> Option<Vec<u8>> {
        let path = self.file(key);
        if fs::metadata(&path).ok()?.len() > (LARGEST + key.len() + 1024) as u64 {
            return None;
        }
        let bytes = fs::read(path).ok()?;
        let (sum, content) = bytes.strip_prefix(MAGIC)?.split_first_chunk::<16>()?;
        if u128::from_le_bytes(*sum) != XxHash3_128::oneshot(content) {
            return None;
        }
        let (length, rest) = content.split_first_chunk::<4>()?;
        let length = u32::from_le_bytes(*length) as usize;
        let (own, value) = rest.split_at_checked(length)?;
        (own == key.as_bytes()).then(|| value.to_vec())
    }

    /// Keeps a value under a key, in place of the one before. One that has grown too large is
    /// forgotten, so that the next process begins anew.
    pub fn write(&self, key: &str, value: &[u8]) {
        let path = self.file(key);
        if value.len() > LARGEST {
            let _ = fs::remove_file(path);
            return;
        }
        let length = (key.len() as u32).to_le_bytes();
        let content = [&length, key.as_bytes(), value].concat();
        let whole = [MAGIC, &XxHash3_128::oneshot(&content).to_le_bytes()[..], &content].concat();
        // Readers and other writers see the old file or the new one. It is not synced: what a lost
        // power leaves is damaged, and so ignored.
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let temporary = self.0.join(format!("{}-{number}.tmp", process::id()));
        let written = make_private(&self.0)
            .and_then(|()| fs::write(&temporary, whole))
            .and_then(|()| fs::rename(&temporary, path));
        match written {
            Ok(()) => self.forget_oldest(),
            Err(_) => drop(fs::remove_file(temporary)),
        }
    }

    /// Old drivers' files, and what a killed process left half written. Files of other names are
    /// not ours, and stay.
    fn forget_oldest(&self) {
        let Ok(entries) = fs::read_dir(&self.0) else { return };
        let mut files: Vec<(SystemTime, PathBuf)> = entries
            .filter_map(|entry| {
                let entry = entry.ok()?;
                is_ours(entry.file_name().to_str()?).then_some(())?;
                let metadata = entry.metadata().ok()?;
                Some((metadata.modified().ok()?, entry.path())).filter(|_| metadata.is_file())
            })
            .collect();
        files.sort();
        for (_, path) in files.iter().take(files.len().saturating_sub(FILES)) {
            let _ = fs::remove_file(path);
        }
    }
}

/// Whether a file of this name is one that [`CacheFolder::write`] makes: a hash in 32 digits, or the
/// numbers of a process and of a file that it began.
fn is_ours(name: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let hash = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    match name.strip_suffix(".tmp").and_then(|stem| stem.split_once('-')) {
        Some((process, number)) => digits(process) && digits(number),
        None => name.len() == 32 && name.bytes().all(hash),
    }
}

/// A directory that only this user may write to, unless it is there already.
fn make_private(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
