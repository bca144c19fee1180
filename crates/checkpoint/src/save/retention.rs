//! Which checkpoints of a run are kept.
//!
//! What is kept is the union of the rules: the newest, every so many steps or minutes, the best by
//! a metric; times and metrics are those in `__metadata__`. Never removed are the newest, what was
//! just written and what was restored from.

use crate::error::{CheckpointError, is_damage};
use crate::file::OpenFile;
use crate::metadata::Metadata;
use crate::save::storage::Storage;
use crate::score::{Better, Score};
use crate::steps::list_on;
use std::collections::HashSet;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use std::{fs, io};

/// What is kept: the union of all that is set, or everything if nothing is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Retention {
    pub newest: Option<NonZeroUsize>,
    pub every_steps: Option<NonZeroU64>,
    pub every: Option<Duration>,
    pub best: Vec<KeepBest>,
}

/// So many checkpoints with the best values of a metric.
#[derive(Clone, Debug)]
pub(crate) struct KeepBest {
    pub metric: String,
    pub better: Better,
    pub count: usize,
}

/// Removes files, and returns those that were still there.
pub(crate) fn remove(
    storage: &dyn Storage,
    files: Vec<PathBuf>,
) -> Result<Vec<PathBuf>, CheckpointError> {
    let mut removed = Vec::new();
    for path in files {
        match storage.remove(&path) {
            Ok(()) => removed.push(path),
            // Two runs may share a directory.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(CheckpointError::storage("remove", &path, error)),
        }
    }
    Ok(removed)
}

/// What a whole checkpoint says of itself.
struct Facts {
    step: u64,
    time: Option<SystemTime>,
    /// For each [`KeepBest`] the value of its metric.
    metrics: Vec<Option<Score>>,
}

impl Retention {
    fn keeps_all(&self) -> bool {
        self.newest.is_none()
            && self.every_steps.is_none()
            && self.every.is_none()
            && self.best.is_empty()
    }

    /// Whether what a checkpoint says of itself decides, and not only its name.
    fn asks_metadata(&self) -> bool {
        self.every.is_some() || !self.best.is_empty()
    }

    fn keeps_step(&self, step: u64) -> bool {
        self.every_steps.is_some_and(|every| step % every == 0)
    }

    /// The checkpoints that are not kept, but for those in `protect`.
    pub fn surplus(
        &self,
        storage: &dyn Storage,
        directory: &Path,
        protect: &[&Path],
    ) -> Result<Vec<PathBuf>, CheckpointError> {
        if self.keeps_all() {
            return Ok(Vec::new());
        }
        // Compared in their one absolute form: the same file has many names.
        let protect: HashSet<PathBuf> =
            protect.iter().filter_map(|path| fs::canonicalize(path).ok()).collect();
        // Whatever the other rules say, the newest is what a run goes on from.
        let newest = self.newest.map_or(1, NonZeroUsize::get);
        let mut kept_newest = 0;
        let mut whole: Vec<Facts> = Vec::new();
        let mut candidates: Vec<(u64, PathBuf)> = Vec::new();
        for file in list_on(storage, directory)?.into_iter().rev() {
            let among_newest = kept_newest < newest;
            let stays = among_newest || self.keeps_step(file.step);
            if !among_newest && stays && !self.asks_metadata() {
                // Its name is enough, and there may be thousands of them.
                continue;
            }
            match OpenFile::open(&file.path) {
                Ok(open) => {
                    kept_newest += usize::from(among_newest);
                    whole.push(self.facts(file.step, &open.metadata));
                }
                // A person may want to look at it while it is newer than what is kept.
                Err(error) if is_damage(&error) => {}
                // Not ours to judge: of another version, or not readable just now.
                Err(_) => continue,
            }
            if !stays {
                candidates.push((file.step, file.path));
            }
        }
        whole.reverse();
        let kept = self.kept(&whole);
        candidates.retain(|(step, path)| {
            !kept.contains(step) && !fs::canonicalize(path).is_ok_and(|p| protect.contains(&p))
        });
        Ok(candidates.into_iter().map(|(_, path)| path).collect())
    }

    fn facts(&self, step: u64, metadata: &Metadata) -> Facts {
        let metrics = self.best.iter().map(|best| Score::of(metadata, &best.metric)).collect();
        Facts { step, time: metadata.time(), metrics }
    }

    /// The steps that times and metrics keep. `whole` is by step.
    fn kept(&self, whole: &[Facts]) -> HashSet<u64> {
        let mut kept = HashSet::new();
        if let Some(every) = self.every {
            let mut last: Option<SystemTime> = None;
            for facts in whole {
                let Some(time) = facts.time else { continue };
                // A clock that was set back lies as far away as one that was set forward.
                let apart = |last: SystemTime| match time.duration_since(last) {
                    Ok(later) => later,
                    Err(earlier) => earlier.duration(),
                };
                if last.is_none_or(|last| apart(last) >= every) {
                    kept.insert(facts.step);
                    last = Some(time);
                }
            }
        }
        for (index, best) in self.best.iter().enumerate() {
            let values = whole.iter().filter_map(|f| Some((f.metrics[index]?, f.step)));
            let ranked = best.better.rank(values);
            kept.extend(ranked.iter().rev().take(best.count).map(|(_, step)| step));
        }
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::save::storage::Disk;

    /// As another run in the same directory may have removed it.
    #[test]
    fn what_is_gone_already_is_no_error() {
        let directory = tempfile::tempdir().unwrap();
        let [gone, there] = ["gone", "there"].map(|name| directory.path().join(name));
        fs::write(&there, b"").unwrap();
        assert_eq!(remove(&Disk, vec![gone, there.clone()]).unwrap(), std::slice::from_ref(&there));
        assert!(!there.exists());
        fs::create_dir(&there).unwrap();
        let error = remove(&Disk, vec![there]).unwrap_err();
        assert!(matches!(error, CheckpointError::Storage { operation: "remove", .. }), "{error}");
    }
}
