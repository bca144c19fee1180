//! Names as they may be printed.

use std::borrow::Cow;
use warmstart_graph::words::first_few;

/// A text of a file as it may be printed: control characters, which could move a terminal's cursor
/// or begin a line that nobody wrote, become escapes such as `\n`.
///
/// ```
/// use warmstart_checkpoint::printable;
/// assert_eq!(printable("fc1/kernel"), "fc1/kernel");
/// assert_eq!(printable("w\n\u{1b}[2K"), r"w\n\u{1b}[2K");
/// ```
pub fn printable(text: &str) -> Cow<'_, str> {
    // The last two end lines, too, and those before turn the direction of what follows.
    let escaped = |c: char| {
        c.is_control()
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
    };
    if !text.contains(escaped) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match escaped(c) {
            true => shown.extend(c.escape_default()),
            false => shown.push(c),
        }
    }
    Cow::Owned(shown)
}

/// The first few names, and how many more there are.
pub(crate) fn first_quoted(names: &[impl AsRef<str>], shown: usize) -> String {
    first_few(names.iter().map(|name| format!("`{}`", printable(name.as_ref()))), shown)
}

pub(crate) fn quoted(names: &[impl AsRef<str>], between: &str) -> String {
    let names: Vec<String> =
        names.iter().map(|name| format!("`{}`", printable(name.as_ref()))).collect();
    names.join(between)
}
