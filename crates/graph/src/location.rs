//! Where in the user's program something was written.

use crate::words::printable;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;
use std::panic;

/// A file and line of the user's program, carried by every node and variable so that an error
/// found much later still points at the line to change.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Location {
    /// The file, as the compiler names it.
    pub file: Cow<'static, str>,
    /// The line, from 1.
    pub line: u32,
}

impl Location {
    /// The place that called the function that calls this one.
    #[track_caller]
    pub fn caller() -> Location {
        let at = panic::Location::caller();
        Location { file: Cow::Borrowed(at.file()), line: at.line() }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A graph that was read from a file has the places that stand there.
        write!(f, "{}:{}", printable(&self.file), self.line)
    }
}
