//! Words that the messages of all crates share. No part of the public API: they may change with any
//! release.

use std::borrow::Cow;
use std::fmt::Display;
use std::path::Path;

/// A number of bytes for people: `92 B`, `1.5 KiB`, `2.0 GiB`.
pub fn human_bytes(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        // What would be printed as 1024.0 is 1.0 of the next.
        if value < 1023.95 {
            break;
        }
        (value, unit) = (value / 1024.0, next);
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") }
}

/// How many bytes something takes and how many it may: exactly, where people would read the same of both.
pub fn bytes_and_limit(bytes: u64, limit: u64) -> [String; 2] {
    let [short, exact] =
        [human_bytes, |bytes: u64| format!("{bytes} B")].map(|of| [of(bytes), of(limit)]);
    if short[0] == short[1] { exact } else { short }
}

/// A number for people, with few digits: `0.1235`, `65504`, `3.400e38`.
pub fn short_number(value: f64) -> String {
    let size = value.abs();
    if !value.is_finite() || size == 0.0 || (value.fract() == 0.0 && size < 1e6) {
        format!("{value}")
    } else if (1e-3..1e6).contains(&size) {
        let digits = 4usize.saturating_sub(size.log10().floor().max(0.0) as usize);
        let text = format!("{value:.digits$}");
        match text.contains('.') {
            true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
            false => text,
        }
    } else {
        format!("{value:.3e}")
    }
}

/// A rate or a time in three digits or more: `12346`, `12.3`, `0.00527`.
pub fn three_digits(value: f64) -> String {
    // What is smaller is below all that is measured.
    const MOST: usize = 7;
    let digits = match value {
        value if value >= 99.95 || value <= 0.0 => 0,
        value if value >= 9.995 => 1,
        // The digits of what is rounded to one more before the point.
        value => (2.0 - (value * 1.0005).log10().floor()).clamp(2.0, MOST as f64) as usize,
    };
    format!("{value:.digits$}")
}

/// A number and what it counts: `1 tensor`, `2 tensors`.
pub fn counted(n: usize, one: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{n} {one}s") }
}

/// The same for words that take no `s`: `1 batch`, `2 batches`.
pub fn counted_as(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

/// The first few, and how many more there are: `a, b and 3 more`.
pub fn first_few<T: Display>(items: impl ExactSizeIterator<Item = T>, shown: usize) -> String {
    first_few_between(items, shown, ", ")
}

/// The same with something else between them: `a or b and 3 more`.
pub fn first_few_between<T: Display>(
    items: impl ExactSizeIterator<Item = T>,
    shown: usize,
    between: &str,
) -> String {
    let more = items.len().saturating_sub(shown);
    let first: Vec<String> = items.take(shown).map(|item| item.to_string()).collect();
    let first = first.join(between);
    if more == 0 { first } else { format!("{first} and {more} more") }
}

/// A text of a file as it may be printed: control characters, which could move a terminal's cursor
/// or begin a line that nobody wrote, become escapes such as `\n`.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(is_escaped) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match is_escaped(c) {
            true => shown.extend(c.escape_default()),
            false => shown.push(c),
        }
    }
    Cow::Owned(shown)
}

/// Whether [`printable`] makes an escape of a character.
pub fn is_escaped(c: char) -> bool {
    // The last two end lines, too, and those before turn the direction of what follows.
    c.is_control()
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
}

/// A path as it may be printed: the files of a directory are called as whoever wrote them called them.
pub fn printable_path(path: impl AsRef<Path>) -> String {
    printable(&path.as_ref().to_string_lossy()).into_owned()
}

/// Names with more bytes are not compared: that takes memory for each pair of their letters, and a file
/// may have names as long as itself.
const LONGEST_COMPARED: usize = 512;

/// Whether two names may be near each other.
fn are_comparable(name: &str, other: &str) -> bool {
    name.len().max(other.len()) <= LONGEST_COMPARED
}

/// The name that a mistyped one was probably meant to be.
pub fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let distance =
        |other: &str| strsim::damerau_levenshtein(&name.to_lowercase(), &other.to_lowercase());
    let names = names.filter(|other| are_comparable(name, other));
    let (far, near) = names.map(|other| (distance(other), other)).min_by_key(|(far, _)| *far)?;
    (far <= name.chars().count().max(near.chars().count()) / 3).then_some(near)
}

/// Up to three names that are close to `name`, the closest first.
pub fn closest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut scored: Vec<(f64, &str)> = names
        .filter(|other| are_comparable(name, other))
        .map(|other| (strsim::normalized_damerau_levenshtein(name, other), other))
        .filter(|(score, _)| *score >= 0.6)
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0));
    // Beside a near miss, names that merely share a scope are noise.
    let best = scored.first().map_or(0.0, |(score, _)| *score);
    scored.retain(|(score, _)| *score > best - 0.15);
    scored.into_iter().take(3).map(|(_, name)| name.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_printed_for_people() {
        let printed = [0, 1023, 1536, 5 << 40].map(human_bytes);
        assert_eq!(printed, ["0 B", "1023 B", "1.5 KiB", "5.0 TiB"]);
        let printed = [(1 << 20) - 103, (1 << 20) - 1, (1 << 30) - 1].map(human_bytes);
        assert_eq!(printed, ["1023.9 KiB", "1.0 MiB", "1.0 GiB"]);
        let printed = [0.0, 3.0, 0.5, -0.12346, 12.34567, 123_450.5, 1e-9, 2.5e7].map(short_number);
        let expected = ["0", "3", "0.5", "-0.1235", "12.346", "123450", "1.000e-9", "2.500e7"];
        assert_eq!(printed, expected);
        let printed =
            [12345.6, 99.96, 12.34, 9.996, 2.0, 0.9996, 0.5, 0.00527, 0.0].map(three_digits);
        let expected = ["12346", "100", "12.3", "10.0", "2.00", "1.00", "0.500", "0.00527", "0"];
        assert_eq!(printed, expected);
        assert_eq!(bytes_and_limit(3 << 20, 2 << 20), ["3.0 MiB", "2.0 MiB"]);
        assert_eq!(bytes_and_limit((2 << 20) + 4, 2 << 20), ["2097156 B", "2097152 B"]);
        assert_eq!([0, 1, 2].map(|n| counted(n, "row")), ["0 rows", "1 row", "2 rows"]);
        assert_eq!(counted_as(1, "batch", "batches"), "1 batch");
        assert_eq!(counted_as(2, "batch", "batches"), "2 batches");
    }

    #[test]
    fn names_as_long_as_files_are_not_compared() {
        // Compared, they would take more memory than there is.
        let (long, name) = ("n".repeat(90 << 20), "n".repeat(LONGEST_COMPARED));
        let mistyped = format!("m{}", &name[1..]);
        for (from, to) in [(&name, &long), (&long, &name), (&long, &long)] {
            assert_eq!(nearest(from, [&**to].into_iter()), None);
            assert!(closest(from, [&**to].into_iter()).is_empty());
        }
        assert_eq!(nearest(&mistyped, [&*long, &*name].into_iter()), Some(&*name));
        assert_eq!(closest(&mistyped, [&*long, &*name].into_iter()), [&*name]);
    }

    #[test]
    fn no_more_than_a_few_are_listed() {
        let few = |shown| first_few([1, 2, 3].iter(), shown);
        assert_eq!([2, 3, 4].map(few), ["1, 2 and 1 more", "1, 2, 3", "1, 2, 3"]);
        assert_eq!(first_few([0; 0].iter(), 3), "");
    }
}
