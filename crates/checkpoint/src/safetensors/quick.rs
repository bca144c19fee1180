//! A header as programs write it: without white space, a tensor's properties in their usual order, and
//! nothing that has to be looked up. That takes less work for each of thousands of tensors.
//!
//! Whatever is not so is left to `read.rs`, which knows all of JSON and says what is wrong.

use super::METADATA_KEY;
use super::read::{Description, Parsed, Word};
use crate::metadata::{GRAPH, VARIABLES};
use crate::text::Text;
use foldhash::{HashSet, HashSetExt};
use std::borrow::Cow;
use std::collections::BTreeMap;
use warmstart_graph::Shape;

/// What a header holds; `None` if it is wrong, or right in another way.
pub(super) fn parse(text: &str) -> Option<Parsed<'_>> {
    let mut rest = Rest(text.trim_end_matches([' ', '\n', '\r', '\t']));
    let mut parsed = Parsed::default();
    let mut names = HashSet::with_capacity(text.len() / AS_MUCH_AS_A_TENSOR);
    rest.skip("{")?;
    while rest.0 != "}" {
        if !names.is_empty() {
            rest.skip(",")?;
        }
        let name = rest.plain()?;
        if !names.insert(name) {
            return None;
        }
        rest.skip(":{")?;
        match name {
            METADATA_KEY => parsed.metadata = Some(rest.metadata()?),
            _ => parsed.tensors.push((word(name), rest.tensor()?)),
        }
    }
    Some(parsed)
}

/// A name and what is said of it, about.
const AS_MUCH_AS_A_TENSOR: usize = 128;

fn word(text: &str) -> Word<'_> {
    Word(Cow::Borrowed(text))
}

/// What is still to be read.
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    /// Reads what has to come next.
    fn skip(&mut self, expected: &str) -> Option<()> {
        self.0 = self.0.strip_prefix(expected)?;
        Some(())
    }

    /// Reads what has to come next, if it does.
    fn skips(&mut self, expected: &str) -> bool {
        self.skip(expected).is_some()
    }

    /// A string as it stands there, with its quotes.
    fn string(&mut self) -> Option<&'a str> {
        let (string, rest) = self.0.split_at(end_of_string(self.0.as_bytes())?);
        self.0 = rest;
        Some(string)
    }

    /// A string without escapes.
    fn plain(&mut self) -> Option<&'a str> {
        let string = self.string()?;
        let within = string.get(1..string.len() - 1)?;
        (!within.contains('\\')).then_some(within)
    }

    fn number(&mut self) -> Option<u64> {
        let digits = self.0.bytes().take_while(u8::is_ascii_digit).count();
        let (number, rest) = self.0.split_at(digits);
        self.0 = rest;
        // JSON has no zeros before a number.
        let zero_first = digits > 1 && number.starts_with('0');
        if zero_first { None } else { number.parse().ok() }
    }

    /// A tensor's description, behind its brace.
    fn tensor(&mut self) -> Option<Description<'a>> {
        self.skip("\"dtype\":")?;
        let dtype = word(self.plain()?);
        self.skip(",\"shape\":[")?;
        let mut extents: [usize; 8] = [0; 8];
        let mut rank = 0;
        while !self.skips("]") {
            if rank > 0 {
                self.skip(",")?;
            }
            *extents.get_mut(rank)? = usize::try_from(self.number()?).ok()?;
            rank += 1;
        }
        self.skip(",\"data_offsets\":[")?;
        let begin = self.number()?;
        self.skip(",")?;
        let end = self.number()?;
        self.skip("]}")?;
        Some(Description {
            dtype,
            shape: Shape::from(&extents[..rank]),
            data_offsets: (begin, end),
        })
    }

    /// The strings of `__metadata__`, behind its brace.
    fn metadata(&mut self) -> Option<BTreeMap<String, Text>> {
        let mut metadata = BTreeMap::new();
        while !self.skips("}") {
            if !metadata.is_empty() {
                self.skip(",")?;
            }
            let key = self.plain()?;
            self.skip(":")?;
            let value = self.string()?;
            let value = match key {
                GRAPH | VARIABLES => Text::from_json(value).ok()?,
                _ => serde_json::from_str::<String>(value).ok()?.into(),
            };
            if metadata.insert(key.to_owned(), value).is_some() {
                return None;
            }
        }
        Some(metadata)
    }
}

/// Where a string ends that these bytes begin with, and that has no escapes but `\"`: all that JSON in
/// a string mostly has.
fn end_of_string(bytes: &[u8]) -> Option<usize> {
    let is_remarkable =
        |before: u8, byte: u8| ((before == b'\\') != (byte == b'"')) | (byte < b' ');
    if bytes.first() != Some(&b'"') {
        return None;
    }
    // So many at once: a description of thousands of variables is megabytes.
    const AT_ONCE: usize = 64;
    let mut at = 1;
    while let (Some(before), Some(here)) =
        (bytes[at - 1..].first_chunk::<AT_ONCE>(), bytes[at..].first_chunk::<AT_ONCE>())
    {
        // Of a fixed number, and without an end in between: the processor takes many at a time.
        let mut found = false;
        for (&before, &here) in before.iter().zip(here) {
            found |= is_remarkable(before, here);
        }
        if found {
            break;
        }
        at += AT_ONCE;
    }
    let pairs = bytes[at - 1..].windows(2);
    at += pairs.take_while(|pair| !is_remarkable(pair[0], pair[1])).count();
    (bytes.get(at) == Some(&b'"') && bytes[at - 1] != b'\\').then_some(at + 1)
}

#[cfg(test)]
#[path = "quick_tests.rs"]
mod tests;
