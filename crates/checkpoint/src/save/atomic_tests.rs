//! Every file operation of a save made to fail, in every way it can fail.

use super::*;
use crate::save::storage::Disk;
use crate::testing::faulty::{Failed, Fault, Faulty};
use std::thread;

const OLD: &[u8] = b"the old content";
const PIECES: usize = 3;
const START: usize = 100;

fn new_content() -> Vec<u8> {
    (0..PIECES * BUFFER / 2).map(|i| (i % 251) as u8).collect()
}

/// As a save does it: make the directory, write.
fn save(storage: &dyn Storage, target: &Path) -> Result<(), CheckpointError> {
    create_directories(storage, &directory_of(target))?;
    write(storage, target, &|_| Ok(()), &mut |sink| {
        let new = new_content();
        // The first bytes are known last, as a header with checksums is.
        sink(&[0; START])?;
        new[START..].chunks(BUFFER / 2).try_for_each(&mut *sink)?;
        Ok(new[..START].to_vec())
    })
}

fn names(directory: &Path) -> Vec<String> {
    let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    fs::read_dir(directory).map(|entries| entries.map(name).collect()).unwrap_or_default()
}

#[test]
fn whatever_fails_the_name_holds_the_old_or_the_new() {
    let new = new_content();
    for (fault, existed) in Fault::all().into_iter().flat_map(|kind| [(kind, false), (kind, true)])
    {
        for operation in 0.. {
            let parent = tempfile::tempdir().unwrap();
            let directory = parent.path().join("runs");
            let target = directory.join("step-1.safetensors");
            if existed {
                fs::create_dir(&directory).unwrap();
                fs::write(&target, OLD).unwrap();
            }
            let storage = Faulty::at(operation, fault);
            let saved = save(&storage, &target);
            let case = format!("{fault:?} at {operation}, existed: {existed}: {saved:?}");
            let content = fs::read(&target).ok();
            match (&saved, &content) {
                (Ok(()), Some(content)) => assert!(*content == new, "{case}"),
                (Ok(()), None) => panic!("{case}"),
                (Err(error), content) => {
                    let message = error.to_string();
                    // Failing to look for leftovers, or to remove them, is no error.
                    let failed = storage.failed().unwrap();
                    let named = failed.named(&target).file_name().unwrap().to_string_lossy();
                    assert!(message.contains(&*named), "{case}: not {named}");
                    // Only the last operation comes after the name has changed.
                    let is_new = matches!(error, CheckpointError::NotDurable { .. });
                    let old = existed.then_some(OLD);
                    let right = if is_new { Some(&new[..]) } else { old };
                    assert!(content.as_deref() == right, "{case}");
                }
            }
            let is_tried_again =
                fault.is_interruption() && matches!(storage.failed(), Some(Failed::Write));
            assert!(!is_tried_again || saved.is_ok(), "{case}");
            // Whatever a second sync says, it says nothing of what the first has lost.
            let lost = storage.failed().is_some_and(|failed| failed.is_sync_of(&directory));
            assert!(!lost || saved.is_err(), "{case}");
            let rest = names(&directory);
            assert!(rest.iter().all(|name| name == "step-1.safetensors"), "{case}: {rest:?}");
            // And the next save goes through, whatever was left.
            save(&Disk, &target).unwrap();
            assert!(fs::read(&target).unwrap() == new, "{case}");
            if !storage.struck() {
                assert!(saved.is_ok(), "{case}");
                assert!(operation >= 8, "only {operation} operations were tried");
                break;
            }
        }
    }
}

#[test]
fn a_failure_of_the_content_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("a.safetensors");
    let error = write(&Disk, &target, &|_| Ok(()), &mut |sink| {
        sink(b"some bytes")?;
        Err(CheckpointError::NothingToSave { file: target.clone() })
    });
    assert!(matches!(error, Err(CheckpointError::NothingToSave { .. })));
    assert!(names(directory.path()).is_empty());
}

#[test]
fn a_killed_writers_leftover_goes_and_a_living_writers_file_stays() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let target = path("a.safetensors");
    fs::write(path(".a.safetensors.12-0.partial"), b"half").unwrap();
    fs::write(path(".b.safetensors.12-0.partial"), b"another target's").unwrap();
    fs::write(path(".a.safetensors.partial"), b"not ours").unwrap();
    let mut living = Disk.create_new(&path(".a.safetensors.13-0.partial")).unwrap();
    living.write_all(b"half").unwrap();
    // It may have been given its name, and then anybody may read it.
    assert_eq!(fs::read(path(".a.safetensors.13-0.partial")).unwrap(), b"half");
    save(&Disk, &target).unwrap();
    let mut left = names(directory.path());
    left.sort();
    let living_stays = [
        ".a.safetensors.13-0.partial",
        ".a.safetensors.partial",
        ".b.safetensors.12-0.partial",
        "a.safetensors",
    ];
    assert_eq!(left, living_stays);
    drop(living);
    save(&Disk, &target).unwrap();
    assert!(!path(".a.safetensors.13-0.partial").exists());
}

#[test]
fn temporaries_are_told_by_their_names() {
    let own = Temporary::create(&Disk, &tempfile::tempdir().unwrap().path().join("gone/x"));
    assert!(matches!(own, Err(CheckpointError::Storage { operation: "create a file in", .. })));
    assert_eq!(target_of_temporary(".step-5.safetensors.7-31.partial"), Some("step-5.safetensors"));
    for name in ["step-5.7-31.partial", ".x.partial", ".x.7-.partial", "..7-31.partial", ".x.7-31"]
    {
        assert_eq!(target_of_temporary(name), None, "{name}");
    }
}

#[test]
fn a_name_that_is_taken_while_writing_is_asked_about() {
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("notes.txt");
    let refuse = |file: &Path| Err(CheckpointError::WouldReplace { file: file.to_owned() });
    let result = write(&Disk, &target, &refuse, &mut |sink| {
        fs::write(&target, b"came between").unwrap();
        sink(b"new")?;
        Ok(Vec::new())
    });
    assert!(matches!(result, Err(CheckpointError::WouldReplace { .. })), "{result:?}");
    assert_eq!(fs::read(&target).unwrap(), b"came between");
    assert_eq!(names(directory.path()), ["notes.txt"]);
}

#[test]
fn writers_of_one_file_and_its_readers_do_not_disturb_each_other() {
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("a.safetensors");
    let content = |writer: u8| vec![writer; 1000 + usize::from(writer)];
    save(&Disk, &target).unwrap();
    thread::scope(|scope| {
        let writers: Vec<_> = (1..=3u8)
            .map(|writer| {
                let (target, content) = (&target, content(writer));
                scope.spawn(move || {
                    for _ in 0..20 {
                        write(&Disk, target, &|_| Ok(()), &mut |sink| {
                            sink(&content)?;
                            Ok(Vec::new())
                        })
                        .unwrap();
                    }
                })
            })
            .collect();
        while !writers.iter().all(|writer| writer.is_finished()) {
            let read = fs::read(&target).unwrap();
            let whole = (1..=3).any(|writer| read == content(writer)) || read == new_content();
            assert!(whole, "{} bytes of {:?}", read.len(), read.first());
        }
    });
    assert_eq!(names(directory.path()), ["a.safetensors"]);
}

#[cfg(unix)]
#[test]
fn a_link_stays_a_link() {
    let directory = tempfile::tempdir().unwrap();
    let (link, file) = (directory.path().join("link"), directory.path().join("file"));
    std::os::unix::fs::symlink("file", &link).unwrap();
    let leftover = directory.path().join(".file.12-0.partial");
    fs::write(&leftover, b"half").unwrap();
    for _ in 0..2 {
        // First to a file that is not there yet, then to one that is.
        save(&Disk, &link).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().file_type().is_symlink());
        assert!(fs::read(&file).unwrap() == new_content());
        assert!(!leftover.exists());
    }
}

#[cfg(unix)]
#[test]
fn links_to_links_are_followed_to_a_file_that_is_not_there() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    std::os::unix::fs::symlink("second", at("first")).unwrap();
    std::os::unix::fs::symlink("file", at("second")).unwrap();
    save(&Disk, &at("first")).unwrap();
    assert!(fs::symlink_metadata(at("second")).unwrap().file_type().is_symlink());
    assert!(fs::read(at("file")).unwrap() == new_content());
    std::os::unix::fs::symlink("there", at("here")).unwrap();
    std::os::unix::fs::symlink("here", at("there")).unwrap();
    let message = save(&Disk, &at("here")).unwrap_err().to_string();
    assert!(message.contains("cannot follow the link"), "{message}");
}

#[cfg(unix)]
#[test]
fn a_full_disk_is_an_error_that_says_so() {
    // The real thing: a device that takes no byte.
    let full = Path::new("/dev/full");
    if !full.exists() {
        return;
    }
    let mut file = fs::OpenOptions::new().write(true).open(full).unwrap();
    let error = io::Write::write_all(&mut file, b"x").unwrap_err();
    let message = CheckpointError::storage("write", full, error).to_string();
    assert!(message.contains("cannot write `/dev/full`"), "{message}");
    assert!(message.contains("Free space there"), "{message}");
}
