use super::*;
use std::fs::File;

fn folder(directory: &tempfile::TempDir) -> CacheFolder {
    let choice = CacheChoice::Directory(directory.path().join("new/cache"));
    CacheFolder::new(&choice, "pipelines").unwrap()
}

#[test]
fn what_is_written_is_read_under_its_key_alone() {
    let directory = tempfile::tempdir().unwrap();
    let folder = folder(&directory);
    assert_eq!(folder.read("one"), None);
    folder.write("one", b"first");
    folder.write("two", b"");
    folder.write("one", b"second");
    assert_eq!(folder.read("one").as_deref(), Some(&b"second"[..]));
    assert_eq!(folder.read("two").as_deref(), Some(&b""[..]));
    assert_eq!(folder.read("three"), None);
    assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 2, "temporaries are left");
    assert!(CacheFolder::new(&CacheChoice::Off, "pipelines").is_none());
}

#[test]
fn a_damaged_or_foreign_file_is_as_good_as_none() {
    let directory = tempfile::tempdir().unwrap();
    let folder = folder(&directory);
    folder.write("key", b"value of some length");
    let whole = fs::read(folder.file("key")).unwrap();
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        fs::write(folder.file("key"), damaged).unwrap();
        assert_eq!(folder.read("key"), None, "byte {at}");
        fs::write(folder.file("key"), &whole[..at]).unwrap();
        assert_eq!(folder.read("key"), None, "cut at {at}");
    }
    // One that is whole, but of another key.
    fs::write(folder.file("other"), &whole).unwrap();
    assert_eq!(folder.read("other"), None);
    File::create(folder.file("key")).unwrap().set_len(1 << 30).unwrap();
    assert_eq!(folder.read("key"), None);
    folder.write("key", b"again");
    assert_eq!(folder.read("key").as_deref(), Some(&b"again"[..]));
}

#[test]
fn a_folder_stays_small() {
    let directory = tempfile::tempdir().unwrap();
    let folder = folder(&directory);
    for key in 0..2 * FILES {
        folder.write(&key.to_string(), b"value");
    }
    assert_eq!(fs::read_dir(&folder.0).unwrap().count(), FILES);
    folder.write("kept", b"value");
    folder.write("kept", &vec![0; LARGEST + 1]);
    assert_eq!(folder.read("kept"), None, "what has grown too large is forgotten");
}

#[test]
fn files_of_others_stay() {
    let directory = tempfile::tempdir().unwrap();
    let folder = folder(&directory);
    folder.write("first", b"value");
    let hash = "0123456789abcdef0123456789abcdef";
    let foreign = [
        "notes.txt".to_owned(),
        "weights.safetensors".to_owned(),
        "a-b.tmp".to_owned(),
        "12-.tmp".to_owned(),
        "12.tmp".to_owned(),
        format!("{hash}0"),
        // Some file systems tell no case: without the zeros it is no name of ours there, either.
        hash.replace('0', "9").to_uppercase(),
        format!("{}.bak", &hash[4..]),
    ];
    let ours = [hash.to_owned(), "12-34.tmp".to_owned()];
    for name in foreign.iter().chain(&ours) {
        let file = File::create(folder.0.join(name)).unwrap();
        // Older than anything that is written below.
        file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    }
    for key in 0..2 * FILES {
        folder.write(&key.to_string(), b"value");
    }
    for name in &foreign {
        assert!(folder.0.join(name).exists(), "{name} is gone");
    }
    for name in &ours {
        assert!(!folder.0.join(name).exists(), "{name} is left");
    }
    assert_eq!(fs::read_dir(&folder.0).unwrap().count(), FILES + foreign.len());
}

#[test]
fn a_directory_that_cannot_be_written_is_no_error() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, b"not a directory").unwrap();
    let folder = CacheFolder::new(&CacheChoice::Directory(file), "pipelines").unwrap();
    folder.write("key", b"value");
    assert_eq!(folder.read("key"), None);
}
