//! What is written beside or after long work: whether a file can be written is found out before it,
//! no file is cut short by it, and a reader that has gone does not end it.

use crate::error::Failure;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;
use warmstart_graph::words::printable_path;

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
    tempfile::tempfile_in(folder.unwrap_or(Path::new(".")))
        .map(drop)
        .map_err(|error| cannot(without_path(error)))
}

/// The error without the path of a file that has a name for a moment only.
fn without_path(error: io::Error) -> io::Error {
    let text = error.to_string();
    match text.split_once(" at path ") {
        Some((told, _)) => io::Error::new(error.kind(), told),
        None => error,
    }
}

/// Refuses to write over what is read.
pub fn refuse_input(file: &Path, input: &Path) -> Result<(), Failure> {
    match (file.canonicalize(), input.canonicalize()) {
        (Ok(out), Ok(input)) if out == input => Err(Failure::new(format!(
            "`{}` is what is read here, and would be lost",
            printable_path(file)
        ))
        .help("write to another file")),
        _ => Ok(()),
    }
}

/// Refuses to replace a file that holds anything but text that begins with this line.
pub fn refuse_other(file: &Path, first: &str) -> Result<(), Failure> {
    if !file.is_file() {
        return Ok(());
    }
    let mut found = Vec::new();
    File::open(file)
        .and_then(|open| open.take(first.len() as u64).read_to_end(&mut found))
        .map_err(|error| Failure::file("read", file, &error))?;
    if found.is_empty() || found == first.as_bytes() {
        return Ok(());
    }
    Err(Failure::new(format!(
        "`{}` is there already, and holds something else than would be written",
        printable_path(file)
    ))
    .help("write to another file, or give --force"))
}

/// Writes a file whole, or leaves what was there. Where no other file can take its place (a device, a
/// pipe, a folder that is not to be written, a mount), it is written to as it is.
pub fn replace(file: &Path, content: &[u8]) -> io::Result<()> {
    // A link stays one, whether what it names is there or not.
    let target = match file.canonicalize() {
        Ok(target) if target.is_file() => Some(target),
        Err(_) if !file.is_symlink() => Some(file.to_owned()),
        _ => None,
    };
    if let Some(target) = target
        && put_in_place(&target, content)?
    {
        return Ok(());
    }
    let mut to = File::create(file)?;
    to.write_all(content)?;
    // A device or a pipe has nothing to sync.
    if to.metadata()?.is_file() { to.sync_all() } else { Ok(()) }
}

/// Whether a new file with this content took the place; not if the folder or the place is not for that.
fn put_in_place(target: &Path, content: &[u8]) -> io::Result<bool> {
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    builder.prefix(".predictions-").suffix(".partial");
    // As any new file, and not for its owner alone.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    use io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
    let mut new = match builder.tempfile_in(folder) {
        Err(error) if matches!(error.kind(), PermissionDenied | ReadOnlyFilesystem) => {
            return Ok(false);
        }
        // A disk that is full says so here or in what follows, where nothing is lost yet.
        made => made.map_err(without_path)?,
    };
    // Written through it, an error would tell of this file, which is nobody's.
    new.as_file_mut().write_all(content)?;
    if let Ok(old) = fs::metadata(target) {
        #[cfg(unix)]
        {
            use std::os::unix::fs::{MetadataExt, fchown};
            if fchown(new.as_file(), Some(old.uid()), Some(old.gid())).is_err() {
                return Ok(false);
            }
        }
        new.as_file().set_permissions(old.permissions())?;
    }
    new.as_file().sync_all()?;
    Ok(new.persist(target).is_ok())
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
                message.starts_with(&format!("cannot write `{}`", printable_path(wrong))),
                "{message}"
            );
            assert!(!message.contains("at path"), "{message}");
        }
        let missing = tempfile::NamedTempFile::new_in(here.path().join("none")).unwrap_err();
        assert!(missing.to_string().contains("at path"), "{missing}");
        let message = without_path(missing).to_string();
        assert!(!message.contains("at path") && message.contains("os error"), "{message}");
        assert_eq!(fs::read_dir(here.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_is_replaced_whole_and_a_link_stays_one() {
        let here = tempfile::tempdir().unwrap();
        let (file, hard) = (here.path().join("file"), here.path().join("hard"));
        replace(&file, b"one").unwrap();
        fs::hard_link(&file, &hard).unwrap();
        replace(&file, b"two").unwrap();
        let content = |path: &Path| fs::read_to_string(path).unwrap();
        assert_eq!((content(&file), content(&hard)), ("two".to_owned(), "one".to_owned()));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let link = here.path().join("link");
            std::os::unix::fs::symlink(&file, &link).unwrap();
            fs::set_permissions(&file, PermissionsExt::from_mode(0o640)).unwrap();
            replace(&link, b"three").unwrap();
            assert!(link.is_symlink());
            assert_eq!(content(&file), "three");
            assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
            fs::remove_file(&link).unwrap();
            std::os::unix::fs::symlink(here.path().join("new"), &link).unwrap();
            replace(&link, b"four").unwrap();
            assert!(link.is_symlink());
            assert_eq!(content(&here.path().join("new")), "four");
            fs::remove_file(link).unwrap();
            fs::remove_file(here.path().join("new")).unwrap();
        }
        assert!(replace(&here.path().join("none/file"), b"four").is_err());
        assert_eq!(fs::read_dir(here.path()).unwrap().count(), 2, "nothing else is left");
    }

    #[test]
    fn only_what_begins_alike_is_replaced() {
        let here = tempfile::tempdir().unwrap();
        let file = here.path().join("file");
        refuse_other(&file, "class,a\n").unwrap();
        for (content, fits) in
            [("", true), ("class,a\n1,2\n", true), ("class,a", false), ("step,loss\n", false)]
        {
            fs::write(&file, content).unwrap();
            assert_eq!(refuse_other(&file, "class,a\n").is_ok(), fits, "{content:?}");
        }
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
