//! Reading and checking a header.

use super::error::FormatError;
use super::recognise::recognise;
use super::{LENGTH, MAX_HEADER, METADATA_KEY, quick};
use crate::bytes::read_at::{Filled, ReadAt};
use crate::bytes::text::Text;
use crate::entries::{GRAPH, VARIABLES};
use crate::tensor::{FileDType, NoSize, TensorEntry, value_bytes};
use foldhash::HashSet;
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::{fmt, io};
use warmstart_graph::Shape;

/// A header that was read and checked.
#[derive(Debug, Default)]
pub(crate) struct Header {
    /// The tensors, in the order of their bytes.
    pub tensors: Vec<TensorEntry>,
    /// The strings of `__metadata__`.
    pub metadata: BTreeMap<String, Text>,
}

/// A header as it stands in a file.
#[derive(Debug)]
pub(crate) struct HeaderText {
    /// The file's first bytes as they are: the header's length, ...
    pub length: [u8; LENGTH as usize],
    /// ... and its text.
    pub text: Arc<String>,
    file_length: u64,
}

/// Why a header cannot be had.
#[derive(Debug)]
pub(crate) enum HeaderError {
    /// The file could not be read.
    Io(io::Error),
    /// The file is malformed.
    Format(FormatError),
}

impl From<io::Error> for HeaderError {
    fn from(error: io::Error) -> HeaderError {
        HeaderError::Io(error)
    }
}

impl From<FormatError> for HeaderError {
    fn from(error: FormatError) -> HeaderError {
        HeaderError::Format(error)
    }
}

impl HeaderText {
    /// Reads the header of a file of `file_length` bytes. The weights are not read.
    pub fn read(source: &dyn ReadAt, file_length: u64) -> Result<HeaderText, HeaderError> {
        let mut start = [0u8; 512];
        let start_length = file_length.min(start.len() as u64) as usize;
        let start = &mut start[..start_length];
        fill(source, start, 0)?;
        let recognised = |start: &[u8]| {
            let kind = recognise(start, source, file_length)?;
            Some(FormatError::Recognised { kind })
        };
        let Some((length_bytes, after)) = start.split_first_chunk::<{ LENGTH as usize }>() else {
            return Err(match start.len() {
                0 => FormatError::Empty,
                _ => recognised(start).unwrap_or(FormatError::TooShort { length: file_length }),
            }
            .into());
        };
        let length = u64::from_le_bytes(*length_bytes);
        let malformed = if length > MAX_HEADER {
            Some(FormatError::HeaderTooLarge { length })
        } else if length > file_length - LENGTH {
            Some(FormatError::HeaderBeyondEnd { length, file_length })
        } else {
            None
        };
        let is_json = after.first().is_some_and(|&b| b == b'{' || b.is_ascii_whitespace());
        if (malformed.is_some() || !is_json)
            && let Some(recognised) = recognised(start)
        {
            return Err(recognised.into());
        }
        if let Some(malformed) = malformed {
            return Err(malformed.into());
        }
        // At most 100 MB and at most the file's own length, by the checks above.
        let mut whole = vec![0u8; length as usize];
        let have = after.len().min(whole.len());
        whole[..have].copy_from_slice(&after[..have]);
        fill(source, &mut whole[have..], LENGTH + have as u64)?;
        let text = String::from_utf8(whole).map_err(|error| {
            let valid = error.utf8_error().valid_up_to();
            FormatError::NotUtf8 { offset: LENGTH + valid as u64 }
        })?;
        Ok(HeaderText { length: *length_bytes, text: Arc::new(text), file_length })
    }

    /// Reads what it says, and checks it.
    pub fn parse(&self) -> Result<Header, FormatError> {
        let described = quick::parse(&self.text).map_or_else(|| parse(&self.text), Ok)?;
        check(described, LENGTH + u64::from_le_bytes(self.length), self.file_length)
    }
}

fn fill(source: &dyn ReadAt, into: &mut [u8], offset: u64) -> io::Result<()> {
    match source.fill_at(into, offset)? {
        Filled::Wholly => Ok(()),
        Filled::Only(_) => {
            let message = "the file became shorter while its header was read";
            Err(io::Error::new(io::ErrorKind::UnexpectedEof, message))
        }
    }
}

/// A string of the text itself, where it has no escapes. (`Cow` alone is copied each time.)
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Deserialize)]
#[serde(transparent)]
pub(crate) struct Word<'a>(#[serde(borrow)] pub Cow<'a, str>);

/// A tensor as the header's JSON describes it, unchecked.
#[derive(Debug, serde::Deserialize)]
pub(super) struct Description<'a> {
    #[serde(borrow)]
    pub dtype: Word<'a>,
    pub shape: Shape,
    pub data_offsets: (u64, u64),
}

/// What the JSON holds, and where reading it stopped.
#[derive(Default)]
pub(super) struct Parsed<'a> {
    pub tensors: Vec<(Word<'a>, Description<'a>)>,
    pub metadata: Option<BTreeMap<String, Text>>,
    /// The tensor whose description is being read.
    current: Option<Word<'a>>,
    /// A failure with a variant of its own; serde's error only carries its position.
    duplicate: Option<Duplicate>,
}

enum Duplicate {
    Tensor(String),
    Metadata(String),
}

pub(super) fn parse(text: &str) -> Result<Parsed<'_>, FormatError> {
    let mut parsed = Parsed::default();
    let mut json = serde_json::Deserializer::from_str(text);
    let result = HeaderSeed(&mut parsed).deserialize(&mut json).and_then(|()| {
        parsed.current = None;
        json.end()
    });
    let Err(error) = result else { return Ok(parsed) };
    let line_start: usize =
        text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
    let offset = LENGTH + (line_start + error.column().saturating_sub(1)).min(text.len()) as u64;
    Err(match parsed.duplicate {
        Some(Duplicate::Tensor(tensor)) => FormatError::DuplicateTensor { tensor, offset },
        Some(Duplicate::Metadata(key)) => FormatError::DuplicateMetadata { key, offset },
        None => {
            let message = said(&error);
            let tensor = parsed.current.map(|Word(name)| name.into_owned());
            FormatError::Header { offset, tensor, message }
        }
    })
}

/// What is wrong, without the line and column of an invisible text: an offset says it better.
fn said(error: &serde_json::Error) -> String {
    let full = error.to_string();
    full.split(" at line ").next().unwrap_or(&full).to_owned()
}

struct HeaderSeed<'a, 'de>(&'a mut Parsed<'de>);

impl<'de> DeserializeSeed<'de> for HeaderSeed<'_, 'de> {
    type Value = ();
    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for HeaderSeed<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object that describes the tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let parsed = self.0;
        let mut names = HashSet::default();
        while let Some(name) = map.next_key::<Word<'de>>()? {
            if !names.insert(name.clone()) {
                let Word(name) = name;
                parsed.duplicate = Some(match &*name {
                    METADATA_KEY => Duplicate::Metadata(name.into_owned()),
                    _ => Duplicate::Tensor(name.into_owned()),
                });
                return Err(A::Error::custom("a name comes twice"));
            }
            if name.0 == METADATA_KEY {
                map.next_value_seed(MetadataSeed(parsed))?;
            } else {
                parsed.current = Some(name.clone());
                let description = map.next_value()?;
                parsed.current = None;
                parsed.tensors.push((name, description));
            }
        }
        Ok(())
    }
}

struct MetadataSeed<'a, 'de>(&'a mut Parsed<'de>);

impl<'de> DeserializeSeed<'de> for MetadataSeed<'_, 'de> {
    type Value = ();
    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de> Visitor<'de> for MetadataSeed<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`__metadata__` to be an object of strings")
    }

    fn visit_none<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_some<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut metadata = BTreeMap::new();
        while let Some(key) = map.next_key::<String>()? {
            if metadata.contains_key(&key) {
                self.0.duplicate = Some(Duplicate::Metadata(key));
                map.next_value::<IgnoredAny>()?;
                return Err(A::Error::custom("a key comes twice"));
            }
            let value = match &*key {
                GRAPH | VARIABLES => {
                    let json = map.next_value::<&RawValue>()?;
                    // Without the place within the value, which would be taken for that in the header.
                    Text::from_json(json.get()).map_err(|error| A::Error::custom(said(&error)))?
                }
                _ => map.next_value::<String>()?.into(),
            };
            metadata.insert(key, value);
        }
        self.0.metadata = Some(metadata);
        Ok(())
    }
}

/// Checks that the tensors fill the file's data exactly, without holes and overlaps.
fn check(parsed: Parsed<'_>, data: u64, file_length: u64) -> Result<Header, FormatError> {
    let Parsed { mut tensors, metadata, .. } = parsed;
    tensors.sort_by_key(|(_, description)| description.data_offsets);
    let mut entries: Vec<TensorEntry> = Vec::with_capacity(tensors.len());
    let mut filled = 0u64;
    // Most tensors have the dtype of the one before.
    let mut before: Option<(Cow<'_, str>, FileDType)> = None;
    for (Word(name), Description { dtype, shape, data_offsets: (begin, end) }) in tensors {
        let Word(dtype) = dtype;
        let same = before.as_ref().filter(|(word, _)| *word == dtype).map(|(_, known)| *known);
        let Some(known) = same.or_else(|| FileDType::from_safetensors_name(&dtype)) else {
            return Err(FormatError::UnknownDType {
                tensor: name.into_owned(),
                dtype: dtype.into_owned(),
            });
        };
        before = Some((dtype, known));
        let dtype = known;
        if end < begin {
            return Err(FormatError::Reversed { tensor: name.into_owned(), begin, end });
        }
        let expected = match value_bytes(dtype, &shape) {
            Ok(bytes) => bytes,
            Err(NoSize::Overflow) => {
                return Err(FormatError::ShapeOverflow { tensor: name.into_owned(), shape });
            }
            Err(NoSize::Fraction) => {
                return Err(FormatError::PartOfAByte { tensor: name.into_owned(), dtype, shape });
            }
        };
        let offset = data.saturating_add(begin);
        if end - begin != expected {
            let found = end - begin;
            return Err(FormatError::WrongSize {
                tensor: name.into_owned(),
                dtype,
                shape,
                expected,
                found,
                offset,
            });
        }
        if begin > filled {
            let (offset, bytes) = (data + filled, begin - filled);
            return Err(FormatError::Hole { tensor: name.into_owned(), offset, bytes });
        }
        if begin < filled {
            let other = entries.last().map(|entry| entry.name.to_string()).unwrap_or_default();
            return Err(FormatError::Overlap { tensor: name.into_owned(), other, offset });
        }
        filled = end;
        let end = data.saturating_add(end);
        if end > file_length {
            return Err(FormatError::CutShort { tensor: name.into_owned(), end, file_length });
        }
        entries.push(TensorEntry::new(&*name, dtype, shape, offset..end));
    }
    if data + filled != file_length {
        return Err(FormatError::Trailing { end: data + filled, file_length });
    }
    let metadata = metadata.unwrap_or_default();
    Ok(Header { tensors: entries, metadata })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_long_value_is_told_by_its_place_in_the_file() {
        for (value, message) in
            [("1", "invalid type: integer `1`"), (r#""\ud83d""#, "unexpected end of hex escape")]
        {
            let before = r#"{"__metadata__":{"a":"b","warmstart.graph":"#;
            let text = format!("{before}{value}}}}}");
            let Err(FormatError::Header { offset, message: found, .. }) = parse(&text) else {
                panic!("{value} was accepted")
            };
            let end = LENGTH + (before.len() + value.len()) as u64;
            assert!((end - value.len() as u64..=end).contains(&offset), "{value}: {offset}, {end}");
            assert!(found.starts_with(message), "{found}");
        }
    }

    #[test]
    fn a_file_that_shrinks_while_its_header_is_read_is_an_error() {
        let mut file = 16u64.to_le_bytes().to_vec();
        file.extend(b"{}              ");
        assert!(HeaderText::read(&file, 24).unwrap().parse().is_ok());
        file.truncate(20);
        let Err(HeaderError::Io(error)) = HeaderText::read(&file, 24) else { panic!("accepted") };
        assert!(error.to_string().contains("became shorter"), "{error}");
    }
}
