//! How errors are broken into lines: at the width of the terminal that they go to, but never within
//! what is quoted, such as a path; and not at all where they go elsewhere.

use miette::{MietteHandler, MietteHandlerOpts};
use std::io::{IsTerminal, stderr};
use terminal_size::{Width, terminal_size_of};
use textwrap::core::Word;
use textwrap::{WordSeparator, WordSplitter};

/// Has errors printed so from now on.
pub fn install() {
    // Only a second hook is refused, and there is no other.
    let _ = miette::set_hook(Box::new(|_| Box::new(handler(width()))));
}

/// The columns of the terminal that errors go to, if it is one.
fn width() -> Option<usize> {
    let columns = || terminal_size_of(stderr()).map_or(80, |(Width(width), _)| usize::from(width));
    stderr().is_terminal().then(columns)
}

fn handler(width: Option<usize>) -> MietteHandler {
    let options = MietteHandlerOpts::new()
        .break_words(false)
        .word_separator(WordSeparator::Custom(words))
        .word_splitter(WordSplitter::NoHyphenation);
    match width {
        Some(width) => options.width(width),
        None => options.wrap_lines(false),
    }
    .build()
}

/// Words of a line, between spaces; what stands between two backticks is one.
fn words(line: &str) -> Box<dyn Iterator<Item = Word<'_>> + '_> {
    // A last one without a partner quotes nothing.
    let quotes = line.matches('`').count() / 2 * 2;
    let (mut words, mut begin, mut seen, mut ended) = (Vec::new(), 0, 0, false);
    for (at, character) in line.char_indices() {
        if ended && character != ' ' {
            words.push(Word::from(&line[begin..at]));
            begin = at;
        }
        seen += usize::from(character == '`' && seen < quotes);
        ended = character == ' ' && seen % 2 == 0;
    }
    if begin < line.len() {
        words.push(Word::from(&line[begin..]));
    }
    Box::new(words.into_iter())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Failure;
    use miette::ReportHandler;
    use std::fmt;

    struct Shown<'a>(&'a Failure, Option<usize>);

    impl fmt::Display for Shown<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            handler(self.1).debug(self.0, f)
        }
    }

    const FILE: &str = "`a folder/with-hyphens/and spaces/model.safetensors`";

    #[test]
    fn a_path_is_never_broken() {
        let message = format!("cannot read {FILE}, which is not what it says that it is");
        let failure = Failure::new(message).help(format!("look for {FILE} where it was before"));
        for width in [20, 30, 80] {
            let text = Shown(&failure, Some(width)).to_string();
            assert_eq!(text.matches(FILE).count(), 2, "{text}");
            let long = |line: &&str| line.chars().count() > width && !line.contains('`');
            assert_eq!(text.lines().find(long), None, "{text}");
            assert!(text.lines().filter(|line| !line.is_empty()).count() > 3, "{text}");
        }
        let text = Shown(&failure, None).to_string();
        assert_eq!(text.lines().filter(|line| !line.is_empty()).count(), 2, "{text}");
        assert!(text.contains("is not what it says that it is\n"), "{text}");
    }

    #[test]
    fn only_pairs_of_backticks_quote() {
        let of = |line| words(line).map(|word| word.word.to_owned()).collect::<Vec<_>>();
        assert_eq!(of("a `b c`  d"), ["a", "`b c`", "d"]);
        assert_eq!(of("a ` b c"), ["a", "`", "b", "c"]);
        assert_eq!(of("`a b`, `c d"), ["`a b`,", "`c", "d"]);
        assert_eq!(of(""), [""; 0]);
    }
}
