//! What a disk may hold after the machine has stopped, made from a record of what was done to it.
//!
//! What was synced is there. Of what was not, anything may be: of a file any of its pages, old, new
//! or zero, and of a directory any of its new, renamed and removed names, in any combination. That
//! is more than any one file system does, and includes what each of them does.

use crate::testing::watched::{Operation, Verdict, Watcher};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// What a disk writes in one piece.
const PAGE: usize = 4096;

/// Something that was done, with files and directories by their paths under the root.
#[derive(Clone, Debug)]
pub(crate) enum Done {
    Create(PathBuf),
    Write { file: PathBuf, offset: usize, bytes: Vec<u8> },
    Sync(PathBuf),
    Rename { from: PathBuf, to: PathBuf },
    SyncDirectory(PathBuf),
    CreateDirectory(PathBuf),
    Remove(PathBuf),
}

/// The disk, with a record of all that changes it.
#[derive(Clone)]
pub(crate) struct Recorder {
    root: PathBuf,
    record: Arc<Mutex<Vec<Done>>>,
}

impl Recorder {
    pub fn new(root: &Path) -> Recorder {
        Recorder { root: root.to_owned(), record: Arc::default() }
    }

    /// All that was done so far.
    pub fn record(&self) -> Vec<Done> {
        self.record.lock().unwrap().clone()
    }
}

impl Watcher for Recorder {
    fn before(&self, _: Operation<'_>) -> Verdict {
        Verdict::Done
    }

    fn after(&self, operation: Operation<'_>) {
        // What lies above the root is there before anything is done.
        if matches!(operation, Operation::SyncDirectory(path) if !path.starts_with(&self.root)) {
            return;
        }
        let path = |path: &Path| path.strip_prefix(&self.root).unwrap().to_owned();
        let done = match operation {
            Operation::Create(file) => Done::Create(path(file)),
            Operation::Write { file, offset, bytes } => {
                let (file, bytes) = (path(file), bytes.to_vec());
                Done::Write { file, offset: offset as usize, bytes }
            }
            Operation::Sync(file) => Done::Sync(path(file)),
            Operation::Rename { from, to } => Done::Rename { from: path(from), to: path(to) },
            Operation::SyncDirectory(directory) => Done::SyncDirectory(path(directory)),
            Operation::CreateDirectory(directory) => Done::CreateDirectory(path(directory)),
            Operation::Remove(file) | Operation::RemoveAbandoned(file) => Done::Remove(path(file)),
            Operation::Names(_) => return,
        };
        self.record.lock().unwrap().push(done);
    }
}

/// The files of a disk by path, and its directories.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct State {
    pub files: BTreeMap<PathBuf, Vec<u8>>,
    pub directories: BTreeSet<PathBuf>,
}

impl State {
    /// Makes the files in an empty directory.
    pub fn make(&self, root: &Path) {
        for directory in &self.directories {
            fs::create_dir(root.join(directory)).unwrap();
        }
        for (path, bytes) in &self.files {
            fs::write(root.join(path), bytes).unwrap();
        }
    }
}

/// A file, whatever its name: the temporary that it was created as stands for it.
#[derive(Clone, Default)]
struct Content {
    synced: Vec<u8>,
    /// Pieces of at most a page that were written since.
    since: Vec<(usize, Vec<u8>)>,
}

/// A change of names that is not synced yet.
#[derive(Clone)]
enum Change {
    Directory(PathBuf),
    Name { path: PathBuf, file: PathBuf },
    Renamed { from: PathBuf, to: PathBuf, file: PathBuf },
    Gone(PathBuf),
}

impl Change {
    fn path(&self) -> &Path {
        match self {
            Change::Directory(path) | Change::Gone(path) => path,
            Change::Name { path, .. } | Change::Renamed { to: path, .. } => path,
        }
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, PathBuf>, directories: &mut BTreeSet<PathBuf>) {
        match self {
            Change::Directory(path) => drop(directories.insert(path.clone())),
            Change::Name { path, file } => drop(names.insert(path.clone(), file.clone())),
            Change::Renamed { from, to, file } => {
                names.remove(from);
                names.insert(to.clone(), file.clone());
            }
            Change::Gone(path) => drop(names.remove(path)),
        }
    }
}

/// All that the disk may hold if the machine stops after what `record` says. `random` is how many
/// arbitrary choices of pages are tried for each file that was not synced.
pub(crate) fn crash_states(record: &[Done], random: u64) -> BTreeSet<State> {
    let mut contents: BTreeMap<PathBuf, Content> = BTreeMap::new();
    // Names as a running program sees them, and as they are on the disk for certain.
    let mut seen: BTreeMap<PathBuf, PathBuf> = BTreeMap::new();
    let (mut names, mut directories) = (BTreeMap::new(), BTreeSet::new());
    let mut changes: Vec<Change> = Vec::new();
    for done in record {
        let change = match done {
            Done::Create(path) => {
                contents.insert(path.clone(), Content::default());
                Change::Name { path: path.clone(), file: path.clone() }
            }
            Done::Write { file, offset, bytes } => {
                let content = contents.get_mut(file).unwrap();
                let mut at = 0;
                while at < bytes.len() {
                    let end = bytes.len().min(at + PAGE - (offset + at) % PAGE);
                    content.since.push((offset + at, bytes[at..end].to_vec()));
                    at = end;
                }
                continue;
            }
            Done::Sync(file) => {
                let content = contents.get_mut(file).unwrap();
                let all = std::mem::take(&mut content.since);
                content.synced = written(&content.synced, all.iter());
                continue;
            }
            Done::Rename { from, to } => {
                let file = seen[from].clone();
                Change::Renamed { from: from.clone(), to: to.clone(), file }
            }
            Done::SyncDirectory(directory) => {
                changes.retain(|change| {
                    let synced = change.path().parent() == Some(directory);
                    if synced {
                        change.apply(&mut names, &mut directories);
                    }
                    !synced
                });
                continue;
            }
            Done::CreateDirectory(path) => Change::Directory(path.clone()),
            Done::Remove(path) => Change::Gone(path.clone()),
        };
        change.apply(&mut seen, &mut BTreeSet::new());
        changes.push(change);
    }
    assert!(changes.len() < 12, "{} changes of names were never synced", changes.len());
    let variants: BTreeMap<&PathBuf, BTreeSet<Vec<u8>>> =
        contents.iter().map(|(file, content)| (file, possible(content, random))).collect();
    let mut states = BTreeSet::new();
    for kept in 0..1u32 << changes.len() {
        let (mut names, mut directories) = (names.clone(), directories.clone());
        for (i, change) in changes.iter().enumerate() {
            if kept >> i & 1 == 1 {
                change.apply(&mut names, &mut directories);
            }
        }
        let there = |path: &Path| {
            path.ancestors().skip(1).all(|d| d.as_os_str().is_empty() || directories.contains(d))
        };
        names.retain(|path, _| there(path));
        let directories: BTreeSet<PathBuf> =
            directories.iter().filter(|path| there(path)).cloned().collect();
        let none = State { files: BTreeMap::new(), directories };
        let mut some = vec![none];
        for (path, file) in &names {
            some = some
                .iter()
                .flat_map(|state| variants[file].iter().map(move |bytes| (state.clone(), bytes)))
                .map(|(mut state, bytes)| {
                    state.files.insert(path.clone(), bytes.clone());
                    state
                })
                .collect();
        }
        states.extend(some);
    }
    states
}

fn written<'a>(bytes: &[u8], pieces: impl Iterator<Item = &'a (usize, Vec<u8>)>) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for (offset, piece) in pieces {
        bytes.resize(bytes.len().max(offset + piece.len()), 0);
        bytes[*offset..offset + piece.len()].copy_from_slice(piece);
    }
    bytes
}

/// What may be found in a file of which not everything was synced.
fn possible(Content { synced, since }: &Content, random: u64) -> BTreeSet<Vec<u8>> {
    let all = written(synced, since.iter());
    let mut found = BTreeSet::from([synced.clone(), all.clone()]);
    if since.is_empty() {
        return found;
    }
    // Its length known and none of its bytes; none but the last page; cut at each page.
    found.insert(vec![0; all.len()]);
    found.insert(written(synced, since.iter().skip(since.len() - 1)));
    found.extend((0..all.len()).step_by(PAGE).map(|at| all[..at].to_vec()));
    // All but one of the pieces, and torn within one.
    for (lost, (offset, piece)) in since.iter().enumerate() {
        let others = since.iter().enumerate().filter(|(i, _)| *i != lost).map(|(_, piece)| piece);
        found.insert(written(synced, others));
        found.insert(all[..offset + piece.len() / 2].to_vec());
    }
    let mut chance = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..random {
        let some = since.iter().filter(|_| {
            // xorshift64*: https://www.jstatsoft.org/article/view/v008i14
            chance ^= chance >> 12;
            chance ^= chance << 25;
            chance ^= chance >> 27;
            chance.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 63 == 1
        });
        let mut some = written(synced, some);
        some.resize(all.len(), 0);
        found.insert(some);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(state: &State) -> Vec<(&str, usize)> {
        state.files.iter().map(|(path, bytes)| (path.to_str().unwrap(), bytes.len())).collect()
    }

    #[test]
    fn what_was_synced_stays_and_of_the_rest_everything_is_possible() {
        let (a, b) = (PathBuf::from("a"), PathBuf::from("b"));
        let write = Done::Write { file: a.clone(), offset: 0, bytes: vec![7; PAGE + 100] };
        let mut record = vec![Done::Create(a.clone()), write];
        let states = crash_states(&record, 0);
        let lengths: BTreeSet<Vec<(&str, usize)>> = states.iter().map(files).collect();
        let expected = [0, PAGE / 2, PAGE, PAGE + 50, PAGE + 100].map(|length| vec![("a", length)]);
        assert_eq!(lengths, BTreeSet::from_iter([vec![]].into_iter().chain(expected)));
        record.push(Done::Sync(a.clone()));
        let states = crash_states(&record, 9);
        let whole = ("a", PAGE + 100);
        assert_eq!(states.iter().map(files).collect::<Vec<_>>(), [vec![], vec![whole]]);
        record.push(Done::SyncDirectory(PathBuf::new()));
        assert_eq!(crash_states(&record, 9).iter().map(files).collect::<Vec<_>>(), [vec![whole]]);
        record.push(Done::Rename { from: a, to: b });
        assert_eq!(crash_states(&record, 9).len(), 2);
        record.push(Done::SyncDirectory(PathBuf::new()));
        let renamed = vec![("b", PAGE + 100)];
        assert_eq!(crash_states(&record, 9).iter().map(files).collect::<Vec<_>>(), [renamed]);
    }
}
