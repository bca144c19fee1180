//! What compiling and running say of names that a stored graph may have.

use super::*;
use crate::non_finite::NonFinite;
use crate::origin::Missing;
use crate::plan_error::CompileError;

const HOSTILE: &str = "w\n\u{1b}[2K\u{202e}";

/// Each text that has a name or a place.
fn all(name: &str) -> Vec<String> {
    let text = || name.to_owned();
    let location = || Location { file: text().into(), line: 1 };
    let (shape, dtype) = (|| Shape::from([2, 3]), DType::F32);
    let missing = Missing::AbsentFromCheckpoint { file: name.into(), close: vec![text()] };
    let read = UninitializedRead {
        name: text(),
        dtype,
        shape: shape(),
        origin: Origin::Uninitialized(missing),
        operation: "matmul".to_owned(),
        location: location(),
    };
    let run = [
        RunError::Uninitialized { variables: vec![read] },
        RunError::NotFed {
            name: text(),
            dtype,
            shape: shape(),
            location: location(),
            fed: vec![text()],
        },
        RunError::UnknownFeed { name: text(), close: vec![text()], known: vec![text()] },
        RunError::FedTwice { name: text() },
        RunError::FeedLength {
            name: text(),
            shape: shape(),
            location: location(),
            expected: 6,
            found: 1,
        },
        RunError::FeedShape {
            name: text(),
            location: location(),
            expected: shape(),
            found: shape(),
        },
        RunError::FeedDType { name: text(), location: location(), expected: dtype, found: dtype },
        RunError::Column {
            name: text(),
            dtype,
            shape: shape(),
            location: location(),
            found: dtype,
            width: 1,
        },
        RunError::ColumnScale { name: text(), location: location(), scale: 0.5 },
        RunError::BatchSizes { name: text(), batch: 1, other: text(), other_batch: 2 },
    ];
    let compile = [
        CompileError::FetchHalf { location: location(), dtype },
        CompileError::SharedStep {
            location: location(),
            step: text(),
            before: vec![text()],
            now: vec![text(), text()],
        },
    ];
    let found = NonFinite { name: text(), count: 1, elements: 2 };
    let run = run.into_iter().map(|error| error.to_string());
    let compile = compile.into_iter().map(|error| error.to_string());
    run.chain(compile).chain([found.to_string()]).collect()
}

#[test]
fn no_name_moves_the_cursor() {
    for (text, plain) in all(HOSTILE).iter().zip(all("w")) {
        assert_eq!(text.lines().count(), plain.lines().count(), "{text:?}");
        let moves = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!text.contains(moves), "{text:?}");
        assert!(text.contains(r"w\n\u{1b}[2K\u{202e}"), "it names nothing: {text:?}");
    }
}
