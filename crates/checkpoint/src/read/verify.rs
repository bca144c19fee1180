//! Holding all tensors against their checksums, without a device.

use crate::error::CheckpointError;
use crate::file::OpenFile;
use crate::read::summed::Summed;
use crate::steps::older_than;
use crate::tensor::TensorEntry;
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// What [`Checkpoint::verify`](crate::Checkpoint::verify) found.
#[derive(Debug)]
#[non_exhaustive]
pub struct Verification {
    /// Tensors that were read.
    pub tensors: usize,
    /// Bytes they have.
    pub bytes: u64,
    /// Whether every tensor has a checksum. Of one without it is only known that it can be read.
    pub checksums: bool,
    /// One error for each damaged tensor, in the order of the file; and [`CheckpointError::Changed`] once if
    /// a file without checksums was written to since it was opened.
    pub damaged: Vec<CheckpointError>,
}

impl Verification {
    /// Whether all is as it was written.
    pub fn is_whole(&self) -> bool {
        self.damaged.is_empty()
    }
}

pub(crate) fn verify(file: &OpenFile) -> Verification {
    let damaged = failures(file, false);
    Verification {
        tensors: file.tensors.len(),
        bytes: file.tensors.iter().map(TensorEntry::bytes).fold(0, u64::saturating_add),
        checksums: file.all_summed,
        damaged,
    }
}

/// What is wrong with the first tensor, in the order of the file, with which something is. Those behind it
/// are not read.
pub(crate) fn first_failure(file: &OpenFile) -> Option<CheckpointError> {
    failures(file, true).into_iter().next()
}

/// What is wrong with each tensor, in the order of the file. If only the `first` is asked for, no tensor is
/// begun after one is found: those before it have been.
fn failures(file: &OpenFile, first: bool) -> Vec<CheckpointError> {
    file.forget_sums();
    let tensors = &file.tensors;
    let next = AtomicUsize::new(0);
    let work = || {
        let mut damaged = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(tensor) = tensors.get(index) else { return damaged };
            if let Err(error) = Summed::new(file, tensor).compare() {
                damaged.push((index, error));
                if first {
                    next.store(tensors.len(), Ordering::Relaxed);
                }
            }
        }
    };
    let threads = thread::available_parallelism().map_or(1, |cores| cores.get());
    let mut damaged = thread::scope(|scope| {
        // Where the system gives no more threads, this one works alone.
        let spawn = |_| thread::Builder::new().spawn_scoped(scope, work).ok();
        let others: Vec<_> = (1..threads.min(8).min(tensors.len())).map_while(spawn).collect();
        let mut damaged = work();
        for other in others {
            damaged.extend(other.join().unwrap_or_else(|panic| resume_unwind(panic)));
        }
        damaged
    });
    damaged.sort_by_key(|(index, _)| *index);
    // It is said of every tensor, and is so once.
    let mut told = false;
    damaged.retain(|(_, error)| {
        !matches!(error, CheckpointError::Changed { .. }) || !std::mem::replace(&mut told, true)
    });
    // Which is opened to see whether it is whole: once for all of them.
    let mut instead: Option<Option<PathBuf>> = None;
    for (_, error) in &mut damaged {
        if let CheckpointError::Checksum { older, .. } = error {
            older.clone_from(instead.get_or_insert_with(|| older_than(&file.path)));
        }
    }
    damaged.into_iter().map(|(_, error)| error).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Format;
    use crate::tensor::FileDType;
    use std::collections::BTreeMap;
    use std::path::Path;
    use warmstart_graph::Shape;

    /// Whoever looks for a whole checkpoint does not read one to its end that is damaged at its beginning.
    #[test]
    fn the_first_failure_is_that_of_the_first_tensor() {
        let tensor = |at: u64| {
            TensorEntry::new(at.to_string().as_str(), FileDType::U8, Shape::from([1]), at..at + 1)
        };
        let tensors = (0..1000).map(tensor).collect();
        let file = OpenFile::new(Path::new("m"), Format::PyTorch, vec![], tensors, BTreeMap::new());
        let file = file.unwrap();
        let (first, all) = (failures(&file, true), failures(&file, false));
        assert_eq!(all.len(), 1000);
        assert!(first.len() < 100, "{} were read", first.len());
        assert_eq!(first[0].to_string(), all[0].to_string());
    }

    /// Tensors of an archive may all be the same bytes, and those may be many once they are inflated.
    #[test]
    fn what_tensors_pretend_to_have_is_counted_as_far_as_numbers_go() {
        let tensor = |name: &str| {
            TensorEntry::new(name, FileDType::U8, Shape::from([1 << 62, 3]), 0..3 << 62)
        };
        let (path, tensors) = (Path::new("m"), vec![tensor("a"), tensor("b")]);
        let file = OpenFile::new(path, Format::PyTorch, vec![], tensors, BTreeMap::new()).unwrap();
        let found = verify(&file);
        assert_eq!((found.tensors, found.bytes, found.damaged.len()), (2, u64::MAX, 2));
    }
}
