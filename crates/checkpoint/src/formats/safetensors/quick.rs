//! A header as programs write it: without white space, a tensor's properties in their usual order, and
//! nothing that has to be looked up. That takes less work for each of thousands of tensors.
//!
//! Whatever is not so is left to `read.rs`, which knows all of JSON and says what is wrong.

use super::METADATA_KEY;
use super::read::{Description, Parsed, Word};
use crate::bytes::text::{Text, behind};
use crate::entries::{CHECKSUMS, GRAPH, VARIABLES};
use foldhash::HashSet;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use warmstart_graph::Shape;

/// What a header holds; `None` if it is wrong, or right in another way.
pub(super) fn parse(header: &Arc<String>) -> Option<Parsed<'_>> {
    let text = header.trim_end_matches([' ', '\n', '\r', '\t']);
    let mut rest = Rest(text);
    let mut parsed = Parsed::default();
    rest.skip(b"{")?;
    let (mut first, mut before, mut in_order) = (true, "", true);
    while rest.0 != "}" {
        if !std::mem::take(&mut first) {
            rest.skip(b",")?;
        }
        let name = rest.plain()?;
        rest.skip(b":{")?;
        if name != METADATA_KEY {
            in_order &= before < name;
            before = name;
            if parsed.tensors.is_empty() {
                // Room for all that can follow: a list of thousands would be moved as it grows.
                parsed.tensors.reserve(rest.0.len() / SHORTEST + 1);
            }
            parsed.tensors.push((word(name), rest.tensor()?));
        } else if parsed.metadata.replace(rest.metadata(header, text.len())?).is_some() {
            return None;
        }
    }
    // Of names that are in order none comes twice.
    let mut all = HashSet::default();
    let mut names = parsed.tensors.iter().map(|(Word(name), _)| &**name);
    let is_sound = in_order || names.all(|name| all.insert(name));
    is_sound.then_some(parsed)
}

/// No description of a tensor, its name included, is shorter.
const SHORTEST: usize = r#","":{"dtype":"U8","shape":[],"data_offsets":[0,1]}"#.len();

fn word(text: &str) -> Word<'_> {
    Word(Cow::Borrowed(text))
}

/// What is still to be read.
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    /// Reads what has to come next.
    #[inline]
    fn skip<const N: usize>(&mut self, expected: &[u8; N]) -> Option<()> {
        self.0 = behind(self.0, expected)?;
        Some(())
    }

    /// Reads what has to come next, if it does.
    #[inline]
    fn skips<const N: usize>(&mut self, expected: &[u8; N]) -> bool {
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
        self.skip(b"\"")?;
        let is_plain = |byte: &u8| !matches!(byte, b'"' | b'\\' | ..b' ');
        let (plain, rest) = self.0.split_at(self.0.bytes().take_while(is_plain).count());
        self.0 = rest;
        self.skip(b"\"")?;
        Some(plain)
    }

    fn number(&mut self) -> Option<u64> {
        let (mut number, mut digits) = (0u64, 0);
        while let Some(digit @ b'0'..=b'9') = self.0.as_bytes().get(digits) {
            number = number.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
            digits += 1;
        }
        // JSON has no zeros before a number.
        let zero_first = digits > 1 && self.0.as_bytes()[0] == b'0';
        self.0 = &self.0[digits..];
        (digits > 0 && !zero_first).then_some(number)
    }

    /// A tensor's description, behind its brace.
    fn tensor(&mut self) -> Option<Description<'a>> {
        self.skip(b"\"dtype\":")?;
        let dtype = word(self.plain()?);
        self.skip(b",\"shape\":[")?;
        let mut extents: [usize; 8] = [0; 8];
        let mut rank = 0;
        while !self.skips(b"]") {
            if rank > 0 {
                self.skip(b",")?;
            }
            *extents.get_mut(rank)? = usize::try_from(self.number()?).ok()?;
            rank += 1;
        }
        self.skip(b",\"data_offsets\":[")?;
        let begin = self.number()?;
        self.skip(b",")?;
        let end = self.number()?;
        self.skip(b"]}")?;
        Some(Description {
            dtype,
            shape: Shape::from(&extents[..rank]),
            data_offsets: (begin, end),
        })
    }

    /// The strings of `__metadata__`, behind its brace. `end` is where in the header all ends that is to
    /// be read.
    fn metadata(&mut self, header: &Arc<String>, end: usize) -> Option<BTreeMap<String, Text>> {
        let mut metadata = BTreeMap::new();
        while !self.skips(b"}") {
            if !metadata.is_empty() {
                self.skip(b",")?;
            }
            let key = self.plain()?;
            self.skip(b":")?;
            let value = self.string()?;
            let value = match key {
                CHECKSUMS | GRAPH | VARIABLES => {
                    let behind = end - self.0.len();
                    Text::with_escaped_quotes(header, behind - value.len()..behind)
                }
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
