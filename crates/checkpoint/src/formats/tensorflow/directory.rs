//! The bundles of a folder, and the file `checkpoint` that should name the newest.
//!
//! TensorFlow believes that file and nothing else: if it is garbage, or names what is gone, there is
//! no checkpoint for it. Here it is a hint. What opens decides, and a hint that was wrong is told.

use super::bundle::open_bundle;
use super::error::BundleError;
use super::names::index_of;
use crate::error::{CheckpointError, Damaged, is_damage};
use crate::file::OpenFile;
use crate::formats::safetensors::{FileKind, FormatError};
use crate::printable::printable;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;

/// The name of the file.
const STATE: &str = "checkpoint";
/// The longest such file that is read: some ten thousand names.
const LONGEST: u64 = 1 << 20;

/// Opens the newest bundle of a folder that is whole, past these damaged ones. `None` if the folder has
/// nothing of TensorFlow's.
pub(crate) fn open_directory(
    directory: &Path,
) -> Result<Option<(OpenFile, Vec<Damaged>)>, CheckpointError> {
    let state = directory.join(STATE);
    let wrong = |problem: String| Damaged {
        path: state.clone(),
        error: CheckpointError::malformed(&state, BundleError::State { problem }),
    };
    let bundles = Bundles::of(directory)?;
    let mut damaged = Vec::new();
    let mut candidates: Vec<PathBuf> = Vec::new();
    match read_state(&state) {
        Ok(None) => {}
        Err(error) => return Err(CheckpointError::storage("read", &state, error)),
        Ok(Some(State { newest: None, .. })) => {
            damaged.push(wrong("it does not say `model_checkpoint_path: \"<prefix>\"`".to_owned()));
        }
        Ok(Some(State { newest: Some(newest), all })) => match bundles.named(directory, &newest) {
            None => match old_format(directory, &newest) {
                Some(error) => return Err(error),
                None => {
                    let newest = printable(&newest);
                    damaged.push(wrong(format!("it names `{newest}`, which is not in its folder")));
                }
            },
            Some(index) => {
                candidates.push(index);
                candidates.extend(all.iter().rev().filter_map(|n| bundles.named(directory, n)));
            }
        },
    }
    candidates.extend(bundles.newest_first());
    let mut seen = BTreeSet::new();
    candidates.retain(|candidate| seen.insert(candidate.clone()));
    for path in candidates {
        match open_bundle(&path) {
            Ok(file) => return Ok(Some((file, damaged))),
            Err(error) if is_damage(&error) => damaged.push(Damaged { path, error }),
            Err(CheckpointError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    match damaged.is_empty() {
        true => Ok(None),
        false => {
            let directory = directory.to_owned();
            Err(CheckpointError::AllDamaged { directory, damaged })
        }
    }
}

/// What there is to say of a checkpoint that a single file is, as before 2016: it is there and
/// whole, and going on from another would hide that.
fn old_format(directory: &Path, name: &str) -> Option<CheckpointError> {
    let file = directory.join(Path::new(name).file_name()?);
    let error = file.is_file().then(|| open_bundle(&file).err())??;
    let kind = FileKind::TensorFlowV1;
    let is_old = matches!(
        &error,
        CheckpointError::Malformed { source: FormatError::Recognised { kind: found }, .. }
            if *found == kind
    );
    is_old.then_some(error)
}

/// The bundles that a folder holds at least a part of, as the indices that they have or should have.
struct Bundles(BTreeSet<PathBuf>);

impl Bundles {
    fn of(directory: &Path) -> Result<Bundles, CheckpointError> {
        let failed = |error| CheckpointError::storage("list directory", directory, error);
        let mut found = BTreeSet::new();
        for entry in directory.read_dir().map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let Some(name) = name.to_str() else { continue };
            let prefix = match name.rsplit_once(".data-") {
                Some((prefix, shard)) if is_shard(shard) => Some(prefix),
                _ => name.strip_suffix(".index"),
            };
            if let Some(prefix) = prefix.filter(|prefix| !prefix.is_empty()) {
                found.insert(index_of(&directory.join(prefix)));
            }
        }
        Ok(Bundles(found))
    }

    /// The bundle that the state file means: a path from its folder, or the whole path that the
    /// folder had when it was saved. Never one elsewhere: a checkpoint that was copied must not
    /// read files that nobody copied with it.
    fn named(&self, directory: &Path, prefix: &str) -> Option<PathBuf> {
        let path = Path::new(prefix);
        let inside = path.components().all(|c| matches!(c, Component::Normal(_)));
        let here = inside.then(|| index_of(&directory.join(path)));
        let known = |index: &PathBuf| self.0.contains(index) || index.is_file();
        here.filter(known).or_else(|| {
            let index = index_of(&directory.join(path.file_name()?));
            self.0.contains(&index).then_some(index)
        })
    }

    /// By the number that their names end with, as in `model.ckpt-40`, then by the time of writing.
    fn newest_first(&self) -> Vec<PathBuf> {
        let mut all: Vec<(Option<u64>, Option<SystemTime>, &PathBuf)> = self
            .0
            .iter()
            .map(|index| {
                let stem = index.file_stem().and_then(|stem| stem.to_str());
                let step = stem.and_then(|stem| stem.rsplit_once('-')?.1.parse().ok());
                let time = index.metadata().and_then(|about| about.modified()).ok();
                (step, time, index)
            })
            .collect();
        all.sort();
        all.into_iter().rev().map(|(_, _, index)| index.clone()).collect()
    }
}

/// Such as `00000-of-00001`.
fn is_shard(text: &str) -> bool {
    let digits = |text: &str| text.len() == 5 && text.bytes().all(|b| b.is_ascii_digit());
    text.split_once("-of-").is_some_and(|(n, of)| digits(n) && digits(of))
}

/// What the state file says.
#[derive(Debug, Default, PartialEq)]
struct State {
    newest: Option<String>,
    /// Oldest first.
    all: Vec<String>,
}

fn read_state(path: &Path) -> io::Result<Option<State>> {
    if !path.is_file() {
        return Ok(None);
    }
    let mut text = Vec::new();
    File::open(path)?.take(LONGEST).read_to_end(&mut text)?;
    Ok(Some(parse_state(&text)))
}

/// The two fields of it that matter, from lines of protobuf's text form. Lines that make no sense
/// are passed over: whatever it says is tried before it is believed.
fn parse_state(text: &[u8]) -> State {
    let mut state = State::default();
    for line in text.split(|&byte| byte == b'\n') {
        let Some((key, value)) = str::from_utf8(line).ok().and_then(|line| line.split_once(':'))
        else {
            continue;
        };
        let Some(value) = unquoted(value.trim()) else { continue };
        match key.trim() {
            "model_checkpoint_path" => state.newest = Some(value),
            "all_model_checkpoint_paths" => state.all.push(value),
            _ => {}
        }
    }
    state
}

/// A string of protobuf's text form.
fn unquoted(text: &str) -> Option<String> {
    let quote = text.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
    let inner = text.strip_prefix(quote)?.strip_suffix(quote)?;
    let mut bytes = Vec::with_capacity(inner.len());
    let mut rest = inner.bytes().peekable();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        bytes.push(match rest.next()? {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            first @ b'0'..=b'7' => {
                let mut value = u32::from(first - b'0');
                for _ in 0..2 {
                    if let Some(digit) = rest.next_if(|digit| (b'0'..=b'7').contains(digit)) {
                        value = 8 * value + u32::from(digit - b'0');
                    }
                }
                u8::try_from(value).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_files_are_read_as_protobuf_writes_them() {
        let text = b"model_checkpoint_path: \"m\\303\\244r\\\"z-2\"\n\
            all_model_checkpoint_paths: 'a-1'\nall_model_checkpoint_paths: \"b-2\"\n\
            all_model_checkpoint_timestamps: 1.5\nlast_preserved_timestamp: 2.5\n";
        let all = vec!["a-1".to_owned(), "b-2".to_owned()];
        assert_eq!(parse_state(text), State { newest: Some("m\u{e4}r\"z-2".to_owned()), all });
        for garbage in [&b""[..], b"\xff\0", b"model_checkpoint_path: x", b"a: \"\\", b"a: \""] {
            assert_eq!(parse_state(garbage), State::default());
        }
    }
}
