//! Names as they may be printed.

use std::borrow::Cow;
use warmstart_graph::words::{self, first_few_between};

/// A text of a file as it may be printed: control characters, which could move a terminal's cursor
/// or begin a line that nobody wrote, become escapes such as `\n`.
///
/// ```
/// use warmstart_checkpoint::printable;
/// assert_eq!(printable("fc1/kernel"), "fc1/kernel");
/// assert_eq!(printable("w\n\u{1b}[2K"), r"w\n\u{1b}[2K");
/// ```
pub fn printable(text: &str) -> Cow<'_, str> {
    words::printable(text)
}

/// The first few names, and how many more there are.
pub(crate) fn first_quoted(names: &[impl AsRef<str>], shown: usize) -> String {
    first_quoted_between(names, shown, ", ")
}

pub(crate) fn first_quoted_between(
    names: &[impl AsRef<str>],
    shown: usize,
    between: &str,
) -> String {
    let quoted = names.iter().map(|name| format!("`{}`", printable(name.as_ref())));
    first_few_between(quoted, shown, between)
}

pub(crate) fn quoted(names: &[impl AsRef<str>], between: &str) -> String {
    let names: Vec<String> =
        names.iter().map(|name| format!("`{}`", printable(name.as_ref()))).collect();
    names.join(between)
}
