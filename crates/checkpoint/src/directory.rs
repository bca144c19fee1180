//! The checkpoints of a run: files `step-<n>.safetensors` in one directory.
//!
//! There is no pointer file that says which is the newest, such as TensorFlow's `checkpoint`: the
//! names are that hint, and what verifies decides. A pointer could only be a second opinion. It has
//! to be made durable with every save; a crash in between, a copied directory or a file removed by
//! hand leaves it wrong; and to find that out, the directory has to be listed all the same. Listing
//! ten thousand names takes some tens of milliseconds, and then one header is read. So a pointer
//! file of another program is neither written nor read, and cannot mislead.
//!
//! Where a listed file has vanished, the directory is listed again before anything older is taken:
//! whoever removed it has saved a newer one.

use crate::error::{CheckpointError, Damaged, is_damage};
use crate::file::OpenFile;
use crate::read::verify::first_failure;
use crate::score::{Better, Score};
use crate::steps::{StepFile, list, step_of};
use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::mem;
use std::path::{Path, PathBuf};

/// The newest checkpoint of a run that is whole.
#[derive(Debug)]
pub struct Latest {
    /// The step in its name.
    pub step: u64,
    /// The file.
    pub path: PathBuf,
    /// Newer checkpoints that are damaged, newest first. Whoever goes on from an older checkpoint
    /// than there seems to be should say so; a [`RestoreReport`](crate::RestoreReport) does.
    pub damaged: Vec<Damaged>,
}

/// The best checkpoint of a run by a metric.
#[derive(Debug)]
pub struct Best {
    /// The step in its name.
    pub step: u64,
    /// The file.
    pub path: PathBuf,
    /// The metric's value.
    pub value: f64,
    /// Checkpoints that are damaged, newest first; one of them may have been better.
    pub damaged: Vec<Damaged>,
}

/// The newest checkpoint in a directory whose header is whole and whose length fits it. `None` if
/// there are no checkpoints at all.
///
/// Damaged checkpoints that are newer are listed in the answer, never passed over in silence. A
/// checkpoint that cannot be read for another reason, such as permissions, is an error: going on
/// from an older one would hide it.
///
/// # Errors
/// [`CheckpointError::NoDirectory`], [`CheckpointError::AllDamaged`] if there are checkpoints and
/// none is whole, [`CheckpointError::Storage`], [`CheckpointError::NewerVersion`], [`CheckpointError::OlderVersion`].
pub fn latest(directory: impl AsRef<Path>) -> Result<Option<Latest>, CheckpointError> {
    let opened = open_latest(directory.as_ref())?;
    Ok(opened.map(|(file, step, damaged)| Latest { step, path: file.path, damaged }))
}

/// As [`latest`], of those whose weights are as they were saved, too: they are read, and held
/// against their checksums. Newer checkpoints with damaged weights are listed in the answer.
///
/// # Errors
/// As [`latest`], and [`CheckpointError::Read`] if weights cannot be read for another reason than
/// damage.
pub fn latest_verified(directory: impl AsRef<Path>) -> Result<Option<Latest>, CheckpointError> {
    let opened = open_latest_verified(directory.as_ref())?;
    Ok(opened.map(|(file, step, damaged)| Latest { step, path: file.path, damaged }))
}

/// A whole checkpoint, opened, with its step and the damaged ones that are newer.
type Found = (OpenFile, u64, Vec<Damaged>);

/// As [`open_latest`]; what is returned is what was read, whatever has that name by now.
pub(crate) fn open_latest_verified(directory: &Path) -> Result<Option<Found>, CheckpointError> {
    let mut search = Search::new(directory)?;
    while let Some((file, step)) = search.next()? {
        match damage_of(&file)? {
            Some(error) => search.damaged.push(Damaged { path: file.path, error }),
            None => return Ok(Some((file, step, search.newer_than(step)))),
        }
    }
    search.nothing()
}

/// Reads the weights; says what is wrong with them, if something is.
fn damage_of(file: &OpenFile) -> Result<Option<CheckpointError>, CheckpointError> {
    match first_failure(file) {
        Some(error) if !is_damage(&error) => Err(error),
        damage => Ok(damage),
    }
}

/// The newest whole checkpoint, opened, with its step and the damaged ones that are newer.
pub(crate) fn open_latest(directory: &Path) -> Result<Option<Found>, CheckpointError> {
    let mut search = Search::new(directory)?;
    match search.next()? {
        Some((file, step)) => Ok(Some((file, step, search.newer_than(step)))),
        None => search.nothing(),
    }
}

/// A walk from the newest checkpoint to the oldest that remembers those that are damaged.
pub(crate) struct Search {
    directory: PathBuf,
    /// Those still to look at, by step.
    files: Vec<StepFile>,
    /// All that were there when the directory was last listed.
    listed: Vec<StepFile>,
    /// The steps of those that were there when they were looked at.
    seen: HashSet<u64>,
    pub damaged: Vec<Damaged>,
}

impl Search {
    pub fn new(directory: &Path) -> Result<Search, CheckpointError> {
        let (files, directory) = (list(directory)?, directory.to_owned());
        let listed = files.clone();
        Ok(Search { directory, files, listed, seen: HashSet::new(), damaged: Vec::new() })
    }

    /// The next whole checkpoint, opened, with its step.
    pub fn next(&mut self) -> Result<Option<(OpenFile, u64)>, CheckpointError> {
        while let Some(StepFile { step, path }) = self.files.pop() {
            match OpenFile::open(&path) {
                Err(CheckpointError::NotFound { .. }) => {
                    self.list_again()?;
                    continue;
                }
                Ok(file) => {
                    self.seen.insert(step);
                    return Ok(Some((file, step)));
                }
                Err(error) if is_damage(&error) => self.damaged.push(Damaged { path, error }),
                Err(error) => return Err(error),
            }
            self.seen.insert(step);
        }
        Ok(None)
    }

    /// Another process's retention took a checkpoint since it was listed. It takes only what is
    /// older than a new one, and the new one is what is looked for.
    fn list_again(&mut self) -> Result<(), CheckpointError> {
        let again = list(&self.directory)?;
        // Otherwise it is a link to nowhere.
        if again != self.listed {
            let unseen = again.iter().filter(|file| !self.seen.contains(&file.step));
            self.files = unseen.cloned().collect();
            self.listed = again;
        }
        Ok(())
    }

    /// Takes out the damaged ones that are newer than what was found, newest first: before the
    /// directory was listed again, older ones may have been looked at.
    pub fn newer_than(&mut self, step: u64) -> Vec<Damaged> {
        let all = mem::take(&mut self.damaged).into_iter();
        let (mut newer, older): (Vec<_>, Vec<_>) =
            all.partition(|one| step_of_damaged(one) > Some(step));
        self.damaged = older;
        newest_first(&mut newer);
        newer
    }

    /// What there is to say when no checkpoint was whole.
    pub fn nothing<T>(self) -> Result<Option<T>, CheckpointError> {
        let Search { directory, mut damaged, .. } = self;
        without_older(&mut damaged);
        newest_first(&mut damaged);
        match damaged.is_empty() {
            true => Ok(None),
            false => Err(CheckpointError::AllDamaged { directory, damaged }),
        }
    }
}

fn step_of_damaged(damaged: &Damaged) -> Option<u64> {
    step_of(damaged.path.file_name()?.to_str()?)
}

fn newest_first(damaged: &mut [Damaged]) {
    damaged.sort_by_key(|one| Reverse(step_of_damaged(one)));
}

/// Where older ones are damaged too, none is to be named as what to take instead.
fn without_older(damaged: &mut [Damaged]) {
    for Damaged { error, .. } in damaged {
        if let CheckpointError::Checksum { older, .. } = error {
            *older = None;
        }
    }
}

/// The checkpoint in a directory with the best value of a metric. Of equals it is the one with the
/// lower loss, by the metric of the same scope that is called `loss` (`validation/loss` for
/// `validation/accuracy`), then the earliest. `None` if no whole checkpoint has recorded a number for
/// it.
///
/// # Errors
/// As [`latest`].
pub fn best(
    directory: impl AsRef<Path>,
    metric: &str,
    better: Better,
) -> Result<Option<Best>, CheckpointError> {
    best_of(directory.as_ref(), metric, better, false)
}

/// As [`best`], of those whose weights are as they were saved, too: those of the best are read, and
/// held against their checksums, and where they are damaged those of the next best.
///
/// # Errors
/// As [`latest_verified`]; [`CheckpointError::BestDamaged`] if all that have the metric are damaged.
pub fn best_verified(
    directory: impl AsRef<Path>,
    metric: &str,
    better: Better,
) -> Result<Option<Best>, CheckpointError> {
    best_of(directory.as_ref(), metric, better, true)
}

fn best_of(
    directory: &Path,
    metric: &str,
    better: Better,
    verify: bool,
) -> Result<Option<Best>, CheckpointError> {
    // What another process's retention takes while this one reads makes room for others: then all is looked
    // at again.
    const TURNS: usize = 16;
    for _ in 1..TURNS {
        if let Ranked::Found(best) = best_of_those(directory, metric, better, verify)? {
            return Ok(best);
        }
    }
    match best_of_those(directory, metric, better, verify)? {
        Ranked::Found(best) => Ok(best),
        Ranked::Gone(path) => Err(CheckpointError::NotFound { path }),
    }
}

/// The best of a directory as it was.
enum Ranked {
    Found(Option<Best>),
    /// This one, which was there when it was listed, has been removed.
    Gone(PathBuf),
}

fn best_of_those(
    directory: &Path,
    metric: &str,
    better: Better,
    verify: bool,
) -> Result<Ranked, CheckpointError> {
    let mut search = Search::new(directory)?;
    let mut whole: HashMap<u64, (PathBuf, Option<Score>)> = HashMap::new();
    while let Some((file, step)) = search.next()? {
        let score = Score::of(&file.metadata, metric);
        whole.insert(step, (file.path, score));
    }
    if whole.is_empty() {
        return search.nothing().map(Ranked::Found);
    }
    let values = whole.iter().filter_map(|(&step, (_, score))| Some(((*score)?, step)));
    let mut ranked = better.rank(values);
    let any = !ranked.is_empty();
    let before = search.damaged.len();
    while let Some((Score { value, .. }, step)) = ranked.pop() {
        let Some((path, _)) = whole.remove(&step) else { continue };
        let damage = match verify {
            true => match OpenFile::open(&path) {
                Ok(file) => damage_of(&file)?,
                Err(CheckpointError::NotFound { .. }) => return Ok(Ranked::Gone(path)),
                Err(error) => return Err(error),
            },
            false => None,
        };
        match damage {
            Some(error) => search.damaged.push(Damaged { path, error }),
            None => {
                let mut damaged = search.damaged;
                newest_first(&mut damaged);
                return Ok(Ranked::Found(Some(Best { step, path, value, damaged })));
            }
        }
    }
    let mut damaged = search.damaged.split_off(before);
    if !any || damaged.is_empty() {
        return Ok(Ranked::Found(None));
    }
    without_older(&mut damaged);
    let (directory, metric) = (directory.to_owned(), metric.to_owned());
    Err(CheckpointError::BestDamaged { directory, metric, damaged })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steps::step_file_name;
    use std::fs;

    const EMPTY: &[u8] = b"\x02\0\0\0\0\0\0\0{}";

    fn write(directory: &Path, step: u64, bytes: &[u8]) {
        fs::write(directory.join(step_file_name(step)), bytes).unwrap();
    }

    /// What a search finds after `meanwhile`, and the steps of what it found damaged.
    fn found(
        before: &[u64],
        meanwhile: impl FnOnce(&Path, &mut Search),
    ) -> (Option<u64>, Vec<String>) {
        let directory = tempfile::tempdir().unwrap();
        before.iter().for_each(|&step| write(directory.path(), step, EMPTY));
        let mut search = Search::new(directory.path()).unwrap();
        meanwhile(directory.path(), &mut search);
        let step = search.next().unwrap().map(|(_, step)| step);
        let name = |one: &Damaged| one.path.file_name().unwrap().to_string_lossy().into_owned();
        (step, search.newer_than(step.unwrap_or(0)).iter().map(name).collect())
    }

    fn remove(directory: &Path, step: u64) {
        fs::remove_file(directory.join(step_file_name(step))).unwrap();
    }

    #[test]
    fn each_damaged_checkpoint_is_told_in_a_line() {
        let directory = tempfile::tempdir().unwrap();
        let told = |last: u64| {
            (1..=last).for_each(|step| write(directory.path(), step, b""));
            let error = latest(directory.path()).unwrap_err().to_string();
            error.replace(&directory.path().display().to_string(), "run")
        };
        let line = |step: u64| {
            let what = "the file is empty; its writer was stopped or the copy failed: copy or write it again";
            format!("\n  `step-{step}.safetensors`: {what}")
        };
        let all = |first: &str, steps: &mut dyn Iterator<Item = u64>, rest: &str| {
            format!("{first} damaged:{}{rest}", steps.map(line).collect::<String>())
        };
        let rest = "\nRestore it from a backup, or name another directory";
        assert_eq!(told(1), all("the only checkpoint in `run` is", &mut (1..2), rest));
        let rest = "\n  … and 2 more\nRestore one of them from a backup, or name another directory";
        assert_eq!(told(12), all("all 12 checkpoints in `run` are", &mut (3..=12).rev(), rest));
    }

    #[test]
    fn what_a_trainer_saved_meanwhile_is_found_and_not_what_it_kept_besides() {
        let replaced = |directory: &Path, _: &mut Search| {
            write(directory, 260, EMPTY);
            remove(directory, 250);
        };
        assert_eq!(found(&[100, 250], replaced), (Some(260), vec![]));
        // The one that is left of those that were listed is damaged, and not all there is.
        let damaged = |directory: &Path, search: &mut Search| {
            write(directory, 100, b"");
            replaced(directory, search);
        };
        assert_eq!(found(&[100, 250], damaged), (Some(260), vec![]));
        // What is older than what is found is not told as newer, and what is newer is told in order.
        let damaged = |directory: &Path, search: &mut Search| {
            for step in [250, 100] {
                write(directory, step, b"");
            }
            write(directory, 260, EMPTY);
            write(directory, 270, b"");
            remove(directory, 200);
            assert_eq!(search.files.len(), 3);
        };
        assert_eq!(
            found(&[100, 200, 250], damaged),
            (Some(260), vec!["step-270.safetensors".to_owned()])
        );
        // After one was found, the walk goes on with what came, and looks at none twice.
        let walked = |directory: &Path, search: &mut Search| {
            assert_eq!(search.next().unwrap().unwrap().1, 250);
            write(directory, 260, EMPTY);
            remove(directory, 100);
        };
        assert_eq!(found(&[50, 100, 250], walked), (Some(260), vec![]));
        let first = |_: &Path, search: &mut Search| drop(search.next().unwrap());
        assert_eq!(found(&[50, 100, 250], first), (Some(100), vec![]));
    }

    #[cfg(unix)]
    #[test]
    fn a_link_to_nowhere_is_passed_over() {
        let link = |directory: &Path, search: &mut Search| {
            let link = directory.join(step_file_name(9));
            std::os::unix::fs::symlink(directory.join("nowhere"), link).unwrap();
            *search = Search::new(directory).unwrap();
        };
        assert_eq!(found(&[5], link), (Some(5), vec![]));
        assert_eq!(found(&[], link), (None, vec![]));
    }
}
