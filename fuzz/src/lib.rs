//! What the targets share: files of the bytes at hand, opened, listed, read and verified.

use std::cell::OnceCell;
use std::fs;
use std::path::Path;
use tempfile::TempDir;
use warmstart_checkpoint::Checkpoint;

/// The most that is read of a tensor: a tensor may be large where its file is, and no larger.
const MOST: usize = 1 << 20;

thread_local! {
    static FOLDER: OnceCell<TempDir> = const { OnceCell::new() };
}

/// Opens the first of these files, which are written into one folder, and reads what it says.
pub fn open(files: &[(&str, &[u8])]) {
    FOLDER.with(|folder| {
        let folder = folder.get_or_init(|| {
            let memory = Path::new("/dev/shm");
            let folder = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() };
            folder.expect("a folder for the files to be opened can be made")
        });
        for (name, bytes) in files {
            fs::write(folder.path().join(name), bytes).expect("a file can be written");
        }
        let (first, _) = files[0];
        match Checkpoint::open(folder.path().join(first)) {
            Ok(checkpoint) => read(&checkpoint),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    });
}

fn read(checkpoint: &Checkpoint) {
    for tensor in checkpoint.tensors() {
        let length = usize::try_from(tensor.bytes()).unwrap_or(MOST).min(MOST);
        let mut value = vec![0; length];
        // Damage in the bytes is told by an error.
        let _ = checkpoint.read(tensor, 0, &mut value);
        let end = tensor.bytes() - length as u64 / 2;
        let _ = checkpoint.read(tensor, end, &mut value[..length / 2]);
    }
    assert_eq!(checkpoint.verify().tensors, checkpoint.tensors().len());
}
