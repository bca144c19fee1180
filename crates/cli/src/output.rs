//! What is written beside or after long work: whether a file can be written is found out before it,
//! and a reader that has gone does not end it.

use crate::error::Failure;
use std::fs::OpenOptions;
use std::io::{self, Write};
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

/// Refuses to write over what is read.
pub fn refuse_input(file: &Path, input: &Path) -> Result<(), Failure> {
    match (file.canonicalize(), input.canonicalize()) {
        (Ok(out), Ok(input)) if out == input => Err(Failure::new(format!(
            "`{}` is what is read here, and would be lost",
            file.display()
        ))
        .help("write to another file")),
        _ => Ok(()),
    }
}

/// Output of work that is done for its own sake, such as training: once its reader has gone, as
/// behind `| head`, the rest goes nowhere.
pub struct WhileRead<'a> {
    out: Option<&'a mut dyn Write>,
}

impl<'a> WhileRead<'a> {
    pub fn new(out: &'a mut dyn Write) -> WhileRead<'a> {
        WhileRead { out: Some(out) }
    }

    fn unless_gone<T>(
        &mut self,
        gone: T,
        does: impl FnOnce(&mut dyn Write) -> io::Result<T>,
    ) -> io::Result<T> {
        let Some(out) = &mut self.out else { return Ok(gone) };
        match does(out) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.out = None;
                Ok(gone)
            }
            result => result,
        }
    }
}

impl Write for WhileRead<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.unless_gone(bytes.len(), |out| out.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.unless_gone((), |out| out.flush())
    }
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
