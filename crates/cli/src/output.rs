//! Files that are written after long work: whether they can be is found out before.

use crate::error::Failure;
use std::fs::OpenOptions;
use std::io;
use std::path::Path;

/// Refuses a file that cannot be written. One that is there keeps what it holds, and one that is
/// not is not made.
pub fn check(file: &Path) -> Result<(), Failure> {
    let cannot = |error: io::Error| Failure::file("write", file, &error);
    if file.is_dir() || file.file_name().is_none() {
        return Err(cannot(io::ErrorKind::IsADirectory.into()));
    }
    if file.is_file() {
        return OpenOptions::new().append(true).open(file).map(drop).map_err(cannot);
    }
    // Whoever reads a named pipe would be told of its end already, were it opened and closed.
    if file.exists() {
        return Ok(());
    }
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    tempfile::tempfile_in(folder.unwrap_or(Path::new("."))).map(drop).map_err(cannot)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn nothing_is_changed_by_looking() {
        let here = tempfile::tempdir().unwrap();
        let (old, new) = (here.path().join("old"), here.path().join("new"));
        fs::write(&old, "content").unwrap();
        check(&old).unwrap();
        check(&new).unwrap();
        assert_eq!(fs::read_to_string(&old).unwrap(), "content");
        assert!(!new.exists());
        for wrong in [here.path().to_owned(), here.path().join("none/a"), old.join("a"), "/".into()]
        {
            let message = check(&wrong).unwrap_err().to_string();
            assert!(
                message.starts_with(&format!("cannot write `{}`", wrong.display())),
                "{message}"
            );
        }
        assert_eq!(fs::read_dir(here.path()).unwrap().count(), 1);
    }

    /// Opened to be written, it would wait for a reader, and a reader would see its end.
    #[test]
    #[cfg(unix)]
    fn a_named_pipe_is_not_opened() {
        let here = tempfile::tempdir().unwrap();
        let pipe = here.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        check(&pipe).unwrap();
    }
}
