//! The checksums of a checkpoint: crc32c of its header and of each tensor, one of the strings of
//! `__metadata__`.
//!
//! ```text
//! {"crc32c":{"header":"1b52c4a0","tensors":{"fc1/bias":"8a9136aa","fc1/weight":"e3069283"}}}
//! ```
//!
//! Every checksum has eight digits, so the header's length is known before the tensors are: it is
//! written with zeros, and again once all bytes have gone by. The header's own checksum is that of
//! the file's first bytes, the header's length included, with its own digits as zeros. So a bit
//! that flips anywhere in the file is noticed, be it in the step or in a name.

use crate::error::CheckpointError;
use crate::metadata::{CHECKSUMS, FIRST_WITH_CHECKSUMS, FORMAT_VERSION, VERSION};
use crate::safetensors::Header;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

/// The key, as the header's bytes have it. Within a string it could not stand so: the quotes of a
/// string have backslashes before them.
const KEY: &[u8] = br#""warmstart.checksums":"#;
/// What stands between the key and the digits of the header's checksum.
const BEFORE_DIGITS: &[u8] = br#""{\"crc32c\":{\"header\":\""#;
const DIGITS: usize = 8;

#[derive(Serialize, Deserialize)]
struct Entry<'a> {
    crc32c: Values<'a>,
}

#[derive(Serialize, Deserialize)]
struct Values<'a> {
    header: Checksum,
    tensors: BTreeMap<Cow<'a, str>, Checksum>,
}

#[derive(Clone, Copy)]
struct Checksum(u32);

impl Serialize for Checksum {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:08x}", self.0))
    }
}

impl<'de> Deserialize<'de> for Checksum {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Checksum, D::Error> {
        let text = String::deserialize(deserializer)?;
        let value = from_digits(text.as_bytes());
        value.map(Checksum).ok_or_else(|| D::Error::custom("a checksum has 8 hex digits"))
    }
}

fn from_digits(text: &[u8]) -> Option<u32> {
    let hex = |b: &u8| b.is_ascii_digit() || (b'a'..=b'f').contains(b);
    let text = (text.len() == DIGITS && text.iter().all(hex)).then_some(text)?;
    u32::from_str_radix(str::from_utf8(text).ok()?, 16).ok()
}

/// The entry for these tensors, with zeros for the header.
pub(crate) fn entry<'a>(
    tensors: impl Iterator<Item = (&'a str, u32)>,
) -> Result<String, serde_json::Error> {
    let tensors = tensors.map(|(name, value)| (name.into(), Checksum(value))).collect();
    serde_json::to_string(&Entry { crc32c: Values { header: Checksum(0), tensors } })
}

/// Where in a file's first bytes the entry's value begins, with its quote.
fn place(start: &[u8]) -> Option<usize> {
    let whole = KEY.len() + BEFORE_DIGITS.len();
    let here = |bytes: &[u8]| bytes.starts_with(KEY) && bytes.ends_with(BEFORE_DIGITS);
    start.windows(whole).position(here).map(|at| at + KEY.len())
}

/// Puts the checksums in the place of the zeros that a file's first bytes were made with.
pub(crate) fn fill_in(
    start: &mut [u8],
    tensors: &BTreeMap<&str, u32>,
) -> Result<(), serde_json::Error> {
    let value = serde_json::to_string(&entry(tensors.iter().map(|(&name, &crc)| (name, crc)))?)?;
    let at = place(start).unwrap_or(start.len());
    let zeros = start.get_mut(at..at + value.len());
    let zeros = zeros.ok_or_else(|| serde_json::Error::custom("it has no place for checksums"))?;
    zeros.copy_from_slice(value.as_bytes());
    let header = format!("{:08x}", crc32c::crc32c(start));
    let at = at + BEFORE_DIGITS.len();
    start[at..at + DIGITS].copy_from_slice(header.as_bytes());
    Ok(())
}

/// The checksums of a header's tensors, in their order; `None` if the file has none. The header
/// itself is held against its own. A later format must keep the entry's place and form, so that a
/// damaged file is never taken for a newer one.
pub(crate) fn read(file: &Path, header: &Header) -> Result<Option<Vec<u32>>, CheckpointError> {
    let malformed = |key: &str, problem: String| CheckpointError::Metadata {
        file: file.to_owned(),
        key: key.to_owned(),
        problem,
    };
    let Some(text) = header.metadata.get(CHECKSUMS) else {
        let version = header.metadata.get(VERSION).and_then(|version| version.parse().ok());
        if version.is_some_and(|v| (FIRST_WITH_CHECKSUMS..=FORMAT_VERSION).contains(&v)) {
            let problem = format!(
                "files of this format have `{CHECKSUMS}`, and this one has not: its header is \
                 damaged, or another program wrote it"
            );
            return Err(malformed(VERSION, problem));
        }
        return Ok(None);
    };
    check_header(file, &header.start)?;
    let entry: Entry<'_> = serde_json::from_str(text)
        .map_err(|error| malformed(CHECKSUMS, format!("it is not as written: {error}")))?;
    let of = entry.crc32c.tensors;
    if let Some(tensor) = header.tensors.iter().find(|t| !of.contains_key(t.name.as_str())) {
        return Err(malformed(CHECKSUMS, format!("it has none for tensor `{}`", tensor.name)));
    }
    Ok(Some(header.tensors.iter().filter_map(|t| Some(of.get(t.name.as_str())?.0)).collect()))
}

fn check_header(file: &Path, start: &[u8]) -> Result<(), CheckpointError> {
    let digits = place(start).map(|at| at + BEFORE_DIGITS.len());
    let digits = digits.filter(|&at| at + DIGITS <= start.len()).unwrap_or(start.len());
    let (before, rest) = start.split_at(digits);
    let (own, after) = rest.split_at(rest.len().min(DIGITS));
    let found = crc32c::crc32c(before);
    let found = crc32c::crc32c_append(found, &[b'0'; DIGITS][..own.len()]);
    let found = crc32c::crc32c_append(found, after);
    match from_digits(own) {
        Some(expected) if expected == found => Ok(()),
        expected => {
            let file = file.to_owned();
            Err(CheckpointError::HeaderChecksum { file, expected, found })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::safetensors::{Planned, make_header};
    use crate::tensor::FileDType;
    use warmstart_graph::Shape;

    fn start(names: &[&str], extra: &[(&str, &str)]) -> Vec<u8> {
        let shape = Shape::from([1]);
        let mut tensors: Vec<Planned<'_>> = names
            .iter()
            .map(|name| Planned { name, dtype: FileDType::F32, shape: &shape, bytes: 4 })
            .collect();
        let mut metadata: BTreeMap<String, String> =
            extra.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
        let zeros = entry(names.iter().map(|&name| (name, 0))).unwrap();
        metadata.insert(CHECKSUMS.into(), zeros);
        make_header(&mut tensors, &metadata).unwrap()
    }

    fn open(start: &[u8], tensors: usize) -> Result<Option<Vec<u32>>, CheckpointError> {
        let file = [start, &vec![0; 4 * tensors]].concat();
        let header = Header::read(&file, file.len() as u64).unwrap();
        read(Path::new("a.safetensors"), &header)
    }

    #[test]
    fn the_length_stays_and_every_name_comes_back() {
        let names = ["a", "quote\"d", "back\\slash", "é\n"];
        // Text of the user's that looks like the entry comes before it, and is not taken for it.
        let decoy = String::from_utf8([KEY, BEFORE_DIGITS].concat()).unwrap();
        let before = start(&names, &[("a", &decoy)]);
        let mut after = before.clone();
        let checksums = names.iter().zip(0xfffffff0_u32..).map(|(&name, i)| (name, i)).collect();
        fill_in(&mut after, &checksums).unwrap();
        assert_ne!(before, after);
        let mut expected: Vec<(&str, u32)> = checksums.into_iter().collect();
        expected.sort();
        let expected: Vec<u32> = expected.into_iter().map(|(_, crc)| crc).collect();
        assert_eq!(open(&after, 4).unwrap().unwrap(), expected);
        assert!(matches!(open(&before, 4), Err(CheckpointError::HeaderChecksum { .. })));
    }

    #[test]
    fn an_entry_that_does_not_fit_is_refused() {
        let mut whole = start(&["a"], &[]);
        fill_in(&mut whole, &[("b", 1)].into()).unwrap();
        let message = open(&whole, 1).unwrap_err().to_string();
        assert!(message.contains("none for tensor `a`"), "{message}");
        let mut short = start(&["a"], &[]);
        assert!(fill_in(&mut short, &[("a", 1), (&"long".repeat(99), 1)].into()).is_err());
        assert!(fill_in(&mut [], &[("a", 1)].into()).is_err());
        for text in ["", "0123456", "0123456G", "+1234567", "0123456A"] {
            assert_eq!(from_digits(text.as_bytes()), None, "{text}");
        }
    }
}
