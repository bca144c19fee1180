//! The folders of benchmarks, and those that were left behind.

use std::fs;
use std::io;
use std::path::Path;
use tempfile::TempDir;

/// What the names of all begin with; the process follows.
const PREFIX: &str = "warmstart-bench-";

/// A new folder within another, which is removed when dropped.
pub fn make(within: &Path) -> io::Result<TempDir> {
    let prefix = format!("{PREFIX}{}-", std::process::id());
    tempfile::Builder::new().prefix(&prefix).tempdir_in(within)
}

/// Removes the folders of processes that were ended before they could. Where the system does not
/// show processes as files, none is removed.
pub fn remove_abandoned(within: &Path) {
    let processes = Path::new("/proc");
    if !cfg!(target_os = "linux") || !processes.join("self").exists() {
        return;
    }
    let Ok(entries) = fs::read_dir(within) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let process = || {
            let (process, _) = name.to_str()?.strip_prefix(PREFIX)?.split_once('-')?;
            process.parse::<u32>().ok()
        };
        let Some(process) = process() else { continue };
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_folder && !processes.join(process.to_string()).exists() {
            // Those of others may not be removable, and what is measured does not depend on it.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn only_folders_of_ended_processes_are_removed() {
        let here = tempfile::tempdir().unwrap();
        let alive = make(here.path()).unwrap();
        let alive = alive.path().file_name().unwrap().to_str().unwrap();
        // More than the system ever gives to a process.
        let gone = format!("{PREFIX}4194305-abc");
        let others = [&format!("{PREFIX}4194305"), &format!("{PREFIX}old-abc"), "4194305-abc"];
        for name in others.iter().copied().chain([gone.as_str()]) {
            fs::create_dir(here.path().join(name)).unwrap();
            fs::write(here.path().join(name).join("file"), "content").unwrap();
        }
        let file = format!("{PREFIX}4194305-file");
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
