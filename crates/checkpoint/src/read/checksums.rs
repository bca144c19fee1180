//! The checksums of a checkpoint: crc32c of its header, and [`Checksum::Xxh3`] of each tensor, one of
//! the strings of `__metadata__`.
//!
//! ```text
//! {"crc32c":{"header":"1b52c4a0"},"xxh3":{"fc1/bias":"e6c632b61e964e1f","fc1/weight":"2d06800538d394c2"}}
//! ```
//!
//! Every checksum has a fixed number of digits, so the header's length is known before the tensors
//! are: it is written with zeros, and again once all bytes have gone by. The header's own checksum
//! is that of the file's first bytes, the header's length included, with its own digits as zeros.
//! So a bit that flips anywhere in the file is noticed, be it in the step or in a name.
//!
//! A file that another program wrote has none and is taken as it is; one that another program
//! changed while keeping ours is refused, and the message says which keys to drop.

use crate::bytes::sums::Checksum;
use crate::bytes::text::behind;
use crate::entries::{CHECKSUMS, FORMAT_VERSION, VERSION};
use crate::error::CheckpointError;
use crate::formats::safetensors::{Header, HeaderText, JsonString, Word};
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::path::Path;
use std::ptr;

/// The key, as the header's bytes have it. At the end of another key, which a quote in it would allow,
/// a backslash stands before it.
const KEY: &[u8] = br#""warmstart.checksums":"#;
/// What stands between the key and the digits of the header's checksum.
const BEFORE_DIGITS: &[u8; 27] = br#""{\"crc32c\":{\"header\":\""#;
const DIGITS: usize = 8;

#[derive(Serialize, Deserialize)]
struct Entry<'a> {
    crc32c: OfHeader,
    #[serde(borrow)]
    xxh3: OfTensors<'a>,
}

#[derive(Serialize, Deserialize)]
struct OfHeader {
    header: Hex<DIGITS>,
}

/// Names of tensors with their checksums, in the order of the names.
struct OfTensors<'a>(Vec<(Cow<'a, str>, Hex<16>)>);

impl OfTensors<'_> {
    /// The checksum of the tensor with this name; `likely` is the place where it is looked for first.
    fn get(&self, name: &str, likely: usize) -> Option<u64> {
        let here = |&(ref own, value): &(Cow<'_, str>, Hex<16>)| (own == name).then_some(value.0);
        self.0.get(likely).and_then(here).or_else(|| {
            let at = self.0.binary_search_by(|(own, _)| (**own).cmp(name)).ok()?;
            self.0.get(at).and_then(here)
        })
    }
}

impl Serialize for OfTensors<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for OfTensors<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(OfTensorsVisitor)
    }
}

struct OfTensorsVisitor;

impl<'de> Visitor<'de> for OfTensorsVisitor {
    type Value = OfTensors<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("checksums by the names of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut tensors = Vec::new();
        while let Some((Word(name), value)) = map.next_entry::<Word<'de>, Hex<16>>()? {
            tensors.push((name, value));
        }
        // They are written in order: this looks once at each.
        tensors.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(OfTensors(tensors))
    }
}

/// A number in as many hex digits.
#[derive(Clone, Copy)]
struct Hex<const N: usize>(u64);

impl<const N: usize> Serialize for Hex<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Not by `format!`: there are thousands.
        let mut digits = [0; N];
        for (place, digit) in digits.iter_mut().rev().enumerate() {
            *digit = b"0123456789abcdef"[(self.0 >> (4 * place) & 0xf) as usize];
        }
        serializer.serialize_str(str::from_utf8(&digits).map_err(serde::ser::Error::custom)?)
    }
}

impl<'de, const N: usize> Deserialize<'de> for Hex<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Hex<N>, D::Error> {
        let Word(text) = Word::deserialize(deserializer)?;
        let value = from_digits::<N>(text.as_bytes());
        value.map(Hex).ok_or_else(|| D::Error::custom(format!("a checksum has {N} hex digits")))
    }
}

fn from_digits<const N: usize>(text: &[u8]) -> Option<u64> {
    let text: &[u8; N] = text.try_into().ok()?;
    // All at once, and whether one is wrong asked at the end: there are thousands.
    let mut digits = [0; N];
    for (digit, &byte) in digits.iter_mut().zip(text) {
        *digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => u8::MAX,
        };
    }
    let sound = digits.iter().fold(0, |all, digit| all | digit) < 16;
    sound.then(|| digits.iter().fold(0, |value, &digit| value << 4 | u64::from(digit)))
}

/// The entry for these tensors, with zeros for the header.
pub(crate) fn entry<'a>(
    tensors: impl Iterator<Item = (&'a str, u64)>,
) -> Result<JsonString, serde_json::Error> {
    let mut tensors: Vec<_> = tensors.map(|(name, value)| (name.into(), Hex(value))).collect();
    tensors.sort_by(|(one, _): &(Cow<'_, str>, _), (other, _)| one.cmp(other));
    let crc32c = OfHeader { header: Hex(0) };
    JsonString::holding(&Entry { crc32c, xxh3: OfTensors(tensors) })
}

/// Where in a file's first bytes the entry's value begins, with its quote.
fn place(start: &[u8]) -> Option<usize> {
    let whole = 1 + KEY.len() + BEFORE_DIGITS.len();
    let here = |bytes: &[u8]| {
        let is_key = matches!(bytes, [b'{' | b',', rest @ ..] if rest.starts_with(KEY));
        is_key && bytes.ends_with(BEFORE_DIGITS)
    };
    start.windows(whole).position(here).map(|at| at + 1 + KEY.len())
}

/// Puts the checksums in the place of the zeros that a file's first bytes were made with. Returns where
/// what has changed ends.
pub(crate) fn fill_in<'a>(
    start: &mut [u8],
    tensors: impl Iterator<Item = (&'a str, u64)>,
) -> Result<usize, serde_json::Error> {
    let value = entry(tensors)?;
    let value = value.as_bytes();
    let at = place(start).unwrap_or(start.len());
    let zeros = start.get_mut(at..at + value.len());
    let zeros = zeros.ok_or_else(|| serde_json::Error::custom("it has no place for checksums"))?;
    zeros.copy_from_slice(value);
    let header = format!("{:08x}", crc32c::crc32c(start));
    let digits = at + BEFORE_DIGITS.len();
    start[digits..digits + DIGITS].copy_from_slice(header.as_bytes());
    Ok(at + value.len())
}

/// An entry that a header goes on with, if it is as [`entry`] writes it and no name has escapes: there
/// are thousands, and a reader of JSON would look at each byte twice. Also what comes behind it.
fn quick(text: &str) -> Option<(Entry<'_>, &str)> {
    let (digits, rest) = behind(text, BEFORE_DIGITS)?.split_at_checked(DIGITS)?;
    let header = Hex(from_digits::<DIGITS>(digits.as_bytes())?);
    let mut rest = behind(rest, br#"\"},\"xxh3\":{"#)?;
    let mut tensors = Vec::new();
    let behind_all = loop {
        rest = behind(rest, br#"\""#)?;
        let (name, after) = rest.split_at(rest.bytes().position(|byte| byte == b'\\')?);
        let (value, after) = behind(after, br#"\":\""#)?.split_at_checked(16)?;
        tensors.push((Cow::Borrowed(name), Hex(from_digits::<16>(value.as_bytes())?)));
        let after = behind(after, br#"\""#)?;
        match behind(after, b",") {
            Some(more) => rest = more,
            None => break behind(after, br#"}}""#)?,
        }
    };
    tensors.is_sorted_by(|(one, _), (other, _)| one < other).then_some(())?;
    let entry = Entry { crc32c: OfHeader { header }, xxh3: OfTensors(tensors) };
    Some((entry, behind_all))
}

/// What a header says of checksums, before it is known what else it says.
pub(crate) struct Claim<'a> {
    /// The header's own checksum, if it has one, and what it is.
    own: (Option<u32>, u32),
    /// The entry as it stands there, and read, if it is as we write it.
    entry: Option<(&'a str, Entry<'a>)>,
}

impl<'a> Claim<'a> {
    /// Where it is among the first bytes, as in files that we write.
    pub fn at_start(header: &'a HeaderText) -> Option<Claim<'a>> {
        const START: usize = 4096;
        let start = &header.text.as_bytes()[..header.text.len().min(START)];
        Some(Claim::at(header, place(start)?))
    }

    /// Of a header in which the entry's value begins at this place.
    fn at(header: &'a HeaderText, value: usize) -> Claim<'a> {
        let text = header.text.as_bytes();
        let digits = value + BEFORE_DIGITS.len();
        let digits = Some(digits).filter(|&at| at + DIGITS <= text.len()).unwrap_or(text.len());
        let (before, rest) = text.split_at(digits);
        let (own, after) = rest.split_at(rest.len().min(DIGITS));
        let found = crc32c::crc32c_append(crc32c::crc32c(&header.length), before);
        let found = crc32c::crc32c_append(found, &[b'0'; DIGITS][..own.len()]);
        let found = crc32c::crc32c_append(found, after);
        let expected = from_digits::<DIGITS>(own).map(|expected| expected as u32);
        let value = header.text.get(value..).unwrap_or_default();
        let entry = quick(value).map(|(entry, rest)| (&value[..value.len() - rest.len()], entry));
        Claim { own: (expected, found), entry }
    }
}

/// The checksums of a header's tensors, in their order; `None` if the file has none, or is of another
/// format, which its reader refuses for that. The header itself is held against its own first: a
/// later format must keep that one's place and form, so that neither a damaged file is taken for a
/// newer one, nor a newer one for damaged.
///
/// `claim` is what [`Claim::at_start`] has found, if it was asked.
pub(crate) fn read(
    file: &Path,
    text: &HeaderText,
    header: &Header,
    claim: Option<Claim<'_>>,
) -> Result<Option<Vec<Checksum>>, CheckpointError> {
    let malformed = |key: &str, problem: String| CheckpointError::Metadata {
        file: file.to_owned(),
        key: key.to_owned(),
        problem,
    };
    let version =
        header.metadata.get(VERSION).and_then(|version| version.as_str().parse::<u32>().ok());
    let Some(value) = header.metadata.get(CHECKSUMS) else {
        if version == Some(FORMAT_VERSION) {
            let problem = format!(
                "files of this format have `{CHECKSUMS}`, and this one has not: its header is \
                 damaged, or another program wrote it"
            );
            return Err(malformed(VERSION, problem));
        }
        return Ok(None);
    };
    let found_here = || Claim::at(text, place(text.text.as_bytes()).unwrap_or(text.text.len()));
    let Claim { own: (expected, found), entry } = claim.unwrap_or_else(found_here);
    if expected != Some(found) {
        let file = file.to_owned();
        return Err(CheckpointError::HeaderChecksum { file, expected, found, older: None });
    }
    if version.is_some_and(|version| version != FORMAT_VERSION) {
        return Ok(None);
    }
    let entry: Entry<'_> = match entry {
        // Were it found elsewhere, it would not be this one.
        Some((json, entry)) if ptr::eq(json, value.json()) => entry,
        _ => serde_json::from_str(value.as_str())
            .map_err(|error| malformed(CHECKSUMS, format!("it is not as written: {error}")))?,
    };
    // The bytes of tensors are mostly written in the order of their names too.
    let found = header.tensors.iter().enumerate().map(|(likely, tensor)| {
        let none = || malformed(CHECKSUMS, format!("it has none for tensor `{}`", tensor.name));
        entry.xxh3.get(&tensor.name, likely).map(Checksum::Xxh3).ok_or_else(none)
    });
    found.collect::<Result<_, _>>().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::safetensors::{Planned, make_header};
    use crate::tensor::FileDType;
    use std::collections::BTreeMap;
    use warmstart_graph::Shape;

    fn start(names: &[&str], extra: &[(&str, &str)]) -> Vec<u8> {
        let shape = Shape::from([1]);
        let mut tensors: Vec<Planned<'_>> = names
            .iter()
            .map(|name| Planned { name, dtype: FileDType::F32, shape: &shape, bytes: 4 })
            .collect();
        let json = |&(key, text): &(&str, &str)| (key.to_owned(), JsonString::of(text).unwrap());
        let mut metadata: BTreeMap<String, JsonString> = extra.iter().map(json).collect();
        let zeros = entry(names.iter().map(|&name| (name, 0))).unwrap();
        metadata.entry(CHECKSUMS.into()).or_insert(zeros);
        make_header(&mut tensors, &metadata).unwrap()
    }

    fn open(start: &[u8], tensors: usize) -> Result<Option<Vec<Checksum>>, CheckpointError> {
        let file = [start, &vec![0; 4 * tensors]].concat();
        let text = HeaderText::read(&file, file.len() as u64).unwrap();
        let header = text.parse().unwrap();
        let found = |claim| read(Path::new("a.safetensors"), &text, &header, claim);
        // Whether it was looked for before or not.
        let early = found(Claim::at_start(&text));
        assert_eq!(format!("{early:?}"), format!("{:?}", found(None)));
        early
    }

    #[test]
    fn the_length_stays_and_every_name_comes_back() {
        let names = ["a", "quote\"d", "back\\slash", "é\n"];
        // Text of the user's that looks like the entry comes before it, and is not taken for it.
        let decoy = String::from_utf8([KEY, BEFORE_DIGITS].concat()).unwrap();
        // So does a key that ends as ours does, and sorts before it.
        let key = "\"warmstart.checksums";
        let value = "{\"crc32c\":{\"header\":\"00000000\"}}";
        let before = start(&names, &[("a", &decoy), (key, value)]);
        let mut after = before.clone();
        // A `BTreeMap` is in the order of names, as the header is.
        let checksums: BTreeMap<&str, u64> = names.into_iter().zip(u64::MAX - 9..).collect();
        fill_in(&mut after, checksums.iter().map(|(&name, &sum)| (name, sum))).unwrap();
        assert_ne!(before, after);
        let expected: Vec<Checksum> = checksums.into_values().map(Checksum::Xxh3).collect();
        assert_eq!(open(&after, 4).unwrap().unwrap(), expected);
        assert!(matches!(open(&before, 4), Err(CheckpointError::HeaderChecksum { .. })));
    }

    #[test]
    fn an_entry_as_it_is_written_needs_no_reader_of_json() {
        let read = |text: &str| {
            let json = JsonString::of(text).unwrap();
            let read = quick(str::from_utf8(json.as_bytes()).unwrap());
            read.filter(|(_, rest)| rest.is_empty())
                .map(|(entry, _)| serde_json::to_string(&entry).unwrap())
        };
        let whole = entry([("a", 1), ("b/é", u64::MAX)].into_iter()).unwrap();
        let whole: String = serde_json::from_slice(whole.as_bytes()).unwrap();
        assert_eq!(read(&whole).as_deref(), Some(&*whole));
        // Whatever is wrong, or right in another way, is left to who knows JSON.
        for (from, to) in [
            (r#""a""#, r#""c""#),
            (r#""a""#, r#""b/é""#),
            (r#""a""#, r#""\"""#),
            (",", ", "),
            ("}}", "}"),
            ("}}", "}} "),
            ("0000000000000001", "000000000000001"),
            ("0000000000000001", "000000000000000A"),
            ("0000000000000001", "00000000/0000001"),
            ("0000000000000001", ":000000000000001"),
            ("0000000000000001", "`000000000000001"),
            ("0000000000000001", "000000000000g001"),
            ("xxh3", "other"),
        ] {
            let other = whole.replace(from, to);
            assert!(other != whole && read(&other).is_none(), "{other}");
        }
        let cut = |length| whole.get(..length).and_then(read);
        assert!((0..whole.len()).all(|length| cut(length).is_none()));
    }

    #[test]
    fn another_format_is_not_taken_for_damage() {
        for version in ["2", "99"] {
            let zeros = r#"{"crc32c":{"header":"00000000"},"other":[]}"#;
            let mut start = start(&["a"], &[(CHECKSUMS, zeros), (VERSION, version)]);
            assert!(matches!(open(&start, 1), Err(CheckpointError::HeaderChecksum { .. })));
            let header = format!("{:08x}", crc32c::crc32c(&start));
            let at = place(&start).unwrap() + BEFORE_DIGITS.len();
            start[at..at + DIGITS].copy_from_slice(header.as_bytes());
            assert_eq!(open(&start, 1).unwrap(), None);
        }
    }

    #[test]
    fn an_entry_that_does_not_fit_is_refused() {
        let mut whole = start(&["a"], &[]);
        fill_in(&mut whole, [("b", 1)].into_iter()).unwrap();
        let message = open(&whole, 1).unwrap_err().to_string();
        assert!(message.contains("none for tensor `a`"), "{message}");
        let mut short = start(&["a"], &[]);
        let long = "long".repeat(99);
        assert!(fill_in(&mut short, [("a", 1), (&long, 1)].into_iter()).is_err());
        assert!(fill_in(&mut [], [("a", 1)].into_iter()).is_err());
        for text in ["", "0123456", "0123456G", "+1234567", "0123456A"] {
            assert_eq!(from_digits::<8>(text.as_bytes()), None, "{text}");
        }
    }
}
