//! Names of files and of what is in them print as names, whatever they hold.

use super::*;
use crate::restore::options::RestoreOptions;
use crate::{Checkpoint, Glob};
use std::io::ErrorKind;
use warmstart_gpu::Missing;

/// A line that nobody wrote, a cursor that moves, and a direction that turns.
const HOSTILE: &str = "w\n\u{1b}[2K\u{202e}";

/// Each error that has a path or a name.
fn all(name: &str) -> Vec<CheckpointError> {
    let text = || name.to_owned();
    let path = || PathBuf::from("runs").join(name);
    let io = || io::Error::from(ErrorKind::PermissionDenied);
    let (file, directory, tensor) = (path, path, text);
    let (crc, older) = (Checksum::Crc32c(1), || Some(path()));
    let origin = || Origin::Uninitialized(Missing::LeftOut { file: path() });
    let metadata = || CheckpointError::Metadata { file: path(), key: text(), problem: text() };
    let damaged = || {
        let (expected, found, offset) = (crc, crc, 0);
        let checksum = CheckpointError::Checksum {
            file: path(),
            tensor: text(),
            offset,
            expected,
            found,
            older: older(),
        };
        let no_dtype = FormatError::UnknownDType { tensor: text(), dtype: text() };
        let other = path().with_extension("other");
        [checksum, metadata(), CheckpointError::malformed(&other, no_dtype)]
            .map(|error| Damaged { path: path(), error })
    };
    let told = damaged()
        .into_iter()
        .map(|one| CheckpointError::Background { file: path(), source: Box::new(one.error) });
    let notes = damaged()
        .into_iter()
        .map(|one| CheckpointError::Convert { file: path(), problem: one.to_string() });
    let rule = || Rule::Ignore(Glob::escape(name));
    let unknown = SessionError::UnknownVariable { name: text(), close: vec![text()] };
    let errors = [
        CheckpointError::NotFound { path: path() },
        CheckpointError::NoDirectory { directory: directory() },
        CheckpointError::NoCheckpoint { directory: directory(), files: vec![name.into()] },
        CheckpointError::NoCheckpoint { directory: directory(), files: Vec::new() },
        CheckpointError::Several { directory: directory(), names: vec![path(), path()] },
        CheckpointError::AllDamaged { directory: directory(), damaged: damaged().into() },
        CheckpointError::BestDamaged {
            directory: directory(),
            metric: text(),
            damaged: damaged().into(),
        },
        CheckpointError::Storage { operation: "write", path: path(), source: io() },
        CheckpointError::NotDurable { file: file(), source: io() },
        metadata(),
        CheckpointError::NoGraph { file: file() },
        CheckpointError::HeaderChecksum { file: file(), expected: None, found: 1, older: older() },
        CheckpointError::NewerVersion { file: file(), found: 9, known: 1 },
        CheckpointError::OlderVersion { file: file(), found: 1, known: 9 },
        CheckpointError::NoVariables { file: file() },
        CheckpointError::OutdatedPlan { file: file(), variable: text() },
        CheckpointError::CutShort {
            file: file(),
            tensor: tensor(),
            offset: 0,
            expected: 2,
            found: 1,
        },
        CheckpointError::Changed { file: file() },
        CheckpointError::Read { file: file(), tensor: tensor(), offset: 0, source: io() },
        CheckpointError::Inflate { file: file(), tensor: tensor(), offset: 0, source: io() },
        CheckpointError::session(&path(), unknown),
        CheckpointError::Uninitialized { file: file(), variables: vec![(text(), origin())] },
        CheckpointError::NothingToSave { file: file() },
        CheckpointError::SaveGlob { file: file(), glob: text(), problem: text() },
        CheckpointError::NothingChosen { file: file(), globs: vec![text()] },
        CheckpointError::ReservedName { file: file(), name: text() },
        CheckpointError::ReservedKey { file: file(), key: text() },
        CheckpointError::Header { file: file(), problem: text() },
        CheckpointError::HeaderTooLarge { file: file(), length: 1 },
        CheckpointError::WouldReplace { file: file() },
        CheckpointError::OtherFormat { file: file(), extension: text() },
        CheckpointError::ConvertDType { file: file(), tensor: tensor(), dtype: FileDType::F64 },
        CheckpointError::ConvertInfinite {
            file: file(),
            tensor: tensor(),
            first: vec![0],
            value: 1e9,
            dtype: FileDType::F16,
            largest: 65504.0,
        },
        CheckpointError::ConvertRule { file: file(), rule: rule(), problem: text() },
        CheckpointError::Exists { file: file() },
        CheckpointError::IsADirectory { path: path() },
    ];
    errors.into_iter().chain(told).chain(notes).collect()
}

/// Whether a text has only the lines that its author wrote, and nothing that a terminal obeys.
fn is_plain(text: &str, lines: usize) -> bool {
    let moves = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
    text.lines().count() == lines && !text.contains(moves)
}

#[test]
fn no_name_moves_the_cursor() {
    for (hostile, plain) in all(HOSTILE).iter().zip(all("w")) {
        let (hostile, plain) = (hostile.to_string(), plain.to_string());
        assert!(is_plain(&hostile, plain.lines().count()), "{hostile:?}\n{plain:?}");
        assert!(hostile.contains(r"w\n\u{1b}[2K\u{202e}"), "it names nothing: {hostile:?}");
    }
}

#[test]
fn a_report_on_a_file_of_any_name_has_its_own_lines_only() {
    let directory = tempfile::tempdir().expect("a folder for the test");
    let header = r#"{"w":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}"#;
    let length = (header.len() as u64).to_le_bytes();
    let lines = |name: &str| {
        let file = directory.path().join(name);
        let written = [&length[..], header.as_bytes(), &[0; 4]].concat();
        std::fs::write(&file, written).expect("written");
        let checkpoint = Checkpoint::open(&file).expect("it is whole");
        checkpoint.plan_for(&[], &RestoreOptions::new()).to_string()
    };
    let plain = lines("m.safetensors");
    // Windows has no such names.
    if cfg!(unix) {
        let hostile = lines(&format!("{HOSTILE}.safetensors"));
        assert!(is_plain(&hostile, plain.lines().count()), "{hostile:?}\n{plain:?}");
    }
}
