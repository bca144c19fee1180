//! The safetensors format: reading a header without reading a weight, and making one.
//!
//! A file is the header's length (8 bytes, little-endian), the header (a JSON object, padded with
//! spaces), and the tensors' bytes one after the other
//! (<https://huggingface.co/docs/safetensors>). What is accepted is what the `safetensors` crate
//! accepts, with one exception: a name that comes twice, of a tensor or in `__metadata__`, is
//! refused, where the crate silently takes the last. Doubtful things that it accepts are accepted
//! here too, because they harm nothing: space before the `{`, fields it does not know, an empty
//! name, a name that looks like a path (names are never used as paths), `"__metadata__": null`, a
//! header that is not a multiple of 8 long, and booleans that are neither 0 nor 1.
//!
//! Nothing is allocated by a number that stands in the file before that number was compared with
//! the file's length.

use crate::read_at::{Filled, ReadAt};
use crate::tensor::{FileDType, NoSize, TensorEntry, value_bytes};
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};
use std::collections::{BTreeMap, HashSet};
use std::{fmt, io};
use warmstart_graph::Shape;

/// The longest header that readers of this format take.
pub(crate) const MAX_HEADER: u64 = 100_000_000;
/// Bytes of the header's length.
const LENGTH: u64 = 8;
/// The key under which a header holds its strings.
pub(crate) const METADATA_KEY: &str = "__metadata__";

/// Why a file is not a well-formed safetensors file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// The file has no bytes.
    #[error("the file is empty; its writer was stopped or the copy failed: copy or write it again")]
    Empty,
    /// The file ends within its first eight bytes.
    #[error(
        "the file has {length} bytes, but the header's length alone takes 8: copy or write it again"
    )]
    TooShort {
        /// Bytes of the file.
        length: u64,
    },
    /// The file is something else, and what it is can be told.
    #[error("this is not a safetensors file but {what}: {help}")]
    Recognised {
        /// What it is.
        what: &'static str,
        /// What to do.
        help: &'static str,
    },
    /// The header would be longer than the format allows.
    #[error(
        "offset 0: a header of {length} bytes is announced, but the format allows 100000000: \
         this is probably not a safetensors file"
    )]
    HeaderTooLarge {
        /// The length in the file.
        length: u64,
    },
    /// The header would end beyond the file.
    #[error(
        "offset 0: a header of {length} bytes is announced, but the file has {file_length} bytes: \
         it is cut short or not a safetensors file; copy or write it again"
    )]
    HeaderBeyondEnd {
        /// The length in the file.
        length: u64,
        /// Bytes of the file.
        file_length: u64,
    },
    /// The header is not UTF-8.
    #[error(
        "offset {offset}: the header is not UTF-8: the file is damaged; copy or write it again"
    )]
    NotUtf8 {
        /// The first bad byte, from the start of the file.
        offset: u64,
    },
    /// The header is not the JSON that the format asks for.
    #[error(
        "offset {offset}{}: the header is malformed: {message}; the file is damaged or its writer \
         is at fault: write it again", in_tensor(.tensor)
    )]
    Header {
        /// Where in the file.
        offset: u64,
        /// The tensor whose description it is in, if it is in one.
        tensor: Option<String>,
        /// What is wrong.
        message: String,
    },
    /// A tensor's name comes twice.
    #[error(
        "offset {offset}: tensor `{tensor}` is described twice, and readers would disagree about \
         its value: write the file again with one of them"
    )]
    DuplicateTensor {
        /// The name.
        tensor: String,
        /// Where in the file the second one ends.
        offset: u64,
    },
    /// A key of `__metadata__`, or `__metadata__` itself, comes twice.
    #[error(
        "offset {offset}: metadata key `{key}` comes twice: write the file again with one of them"
    )]
    DuplicateMetadata {
        /// The key.
        key: String,
        /// Where in the file.
        offset: u64,
    },
    /// A dtype that the format does not have.
    #[error(
        "tensor `{tensor}` has the unknown dtype `{dtype}`{}",
        if FileDType::from_safetensors_name(&.dtype.to_uppercase()).is_some() {
            ": safetensors writes dtypes in capitals; write the file again with its own tools"
        } else {
            ": it needs a newer reader, or the file is damaged"
        }
    )]
    UnknownDType {
        /// The tensor.
        tensor: String,
        /// The dtype's name in the file.
        dtype: String,
    },
    /// A shape whose bytes cannot be counted.
    #[error(
        "tensor `{tensor}` has shape {shape}, whose size overflows: the file is damaged; write it again"
    )]
    ShapeOverflow {
        /// The tensor.
        tensor: String,
        /// Its shape.
        shape: Shape,
    },
    /// A shape that ends within a byte.
    #[error(
        "tensor `{tensor}` is {dtype} {shape}, which does not fill whole bytes: write it again with \
         an even number of elements"
    )]
    PartOfAByte {
        /// The tensor.
        tensor: String,
        /// Its dtype.
        dtype: FileDType,
        /// Its shape.
        shape: Shape,
    },
    /// Offsets that run backwards.
    #[error(
        "tensor `{tensor}` ends at data offset {end}, before its begin at {begin}: the file is damaged; write it again"
    )]
    Reversed {
        /// The tensor.
        tensor: String,
        /// Where it begins, counted from the header's end.
        begin: u64,
        /// Where it ends, counted from the header's end.
        end: u64,
    },
    /// Offsets that do not fit dtype and shape.
    #[error(
        "tensor `{tensor}` at file offset {offset} is {dtype} {shape}, which takes {expected} \
         bytes, but the header gives it {found}: the file is damaged; write it again"
    )]
    WrongSize {
        /// The tensor.
        tensor: String,
        /// Its dtype.
        dtype: FileDType,
        /// Its shape.
        shape: Shape,
        /// Bytes by dtype and shape.
        expected: u64,
        /// Bytes by offsets.
        found: u64,
        /// Where it begins in the file.
        offset: u64,
    },
    /// Bytes that belong to no tensor.
    #[error(
        "file offset {offset}: {bytes} bytes before tensor `{tensor}` belong to no tensor: the \
         file is damaged; write it again"
    )]
    Hole {
        /// The tensor after the hole.
        tensor: String,
        /// Where the hole begins in the file.
        offset: u64,
        /// Its length.
        bytes: u64,
    },
    /// Bytes that belong to two tensors.
    #[error(
        "file offset {offset}: tensor `{tensor}` begins within tensor `{other}`: the file is \
         damaged; write it again"
    )]
    Overlap {
        /// The later tensor.
        tensor: String,
        /// The earlier one.
        other: String,
        /// Where the later one begins in the file.
        offset: u64,
    },
    /// The file ends before a tensor does.
    #[error(
        "tensor `{tensor}` ends at file offset {end}, but the file has {file_length} bytes: it was \
         cut short; copy it again or use an older checkpoint"
    )]
    CutShort {
        /// The first tensor that is not whole.
        tensor: String,
        /// Where it should end.
        end: u64,
        /// Bytes of the file.
        file_length: u64,
    },
    /// The file goes on after the last tensor.
    #[error(
        "the last tensor ends at file offset {end}, but the file has {file_length} bytes: it was \
         appended to or its header is damaged; copy or write it again"
    )]
    Trailing {
        /// Where the tensors end.
        end: u64,
        /// Bytes of the file.
        file_length: u64,
    },
}

fn in_tensor(tensor: &Option<String>) -> String {
    tensor.as_ref().map(|name| format!(", tensor `{name}`")).unwrap_or_default()
}

/// A header that was read and checked.
#[derive(Debug, Default)]
pub(crate) struct Header {
    /// The tensors, in the order of their bytes.
    pub tensors: Vec<TensorEntry>,
    /// The strings of `__metadata__`.
    pub metadata: BTreeMap<String, String>,
}

/// Why [`Header::read`] failed.
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

impl Header {
    /// Reads and checks the header of a file of `file_length` bytes. The weights are not read.
    pub fn read(source: &dyn ReadAt, file_length: u64) -> Result<Header, HeaderError> {
        let mut start = [0u8; 512];
        let start_length = file_length.min(start.len() as u64) as usize;
        let start = &mut start[..start_length];
        fill(source, start, 0, file_length)?;
        let Some((length, after)) = start.split_first_chunk::<{ LENGTH as usize }>() else {
            return Err(match start.len() {
                0 => FormatError::Empty,
                _ => recognise(start).unwrap_or(FormatError::TooShort { length: file_length }),
            }
            .into());
        };
        let length = u64::from_le_bytes(*length);
        let malformed = if length > MAX_HEADER {
            Some(FormatError::HeaderTooLarge { length })
        } else if length > file_length - LENGTH {
            Some(FormatError::HeaderBeyondEnd { length, file_length })
        } else {
            None
        };
        let is_json = after.first().is_some_and(|&b| b == b'{' || b.is_ascii_whitespace());
        if (malformed.is_some() || !is_json)
            && let Some(recognised) = recognise(start)
        {
            return Err(recognised.into());
        }
        if let Some(malformed) = malformed {
            return Err(malformed.into());
        }
        // At most 100 MB and at most the file's own length, by the checks above.
        let mut header = vec![0u8; length as usize];
        fill(source, &mut header, LENGTH, file_length)?;
        let text = str::from_utf8(&header)
            .map_err(|e| FormatError::NotUtf8 { offset: LENGTH + e.valid_up_to() as u64 })?;
        let described = parse(text)?;
        Ok(check(described, LENGTH + length, file_length)?)
    }
}

/// Fills `into`; a file that is shorter than it said has been cut while it was read.
fn fill(
    source: &dyn ReadAt,
    into: &mut [u8],
    offset: u64,
    file_length: u64,
) -> Result<(), HeaderError> {
    match source.fill_at(into, offset)? {
        Filled::Wholly => Ok(()),
        Filled::Only(n) => Err(FormatError::HeaderBeyondEnd {
            length: file_length,
            file_length: offset + n as u64,
        }
        .into()),
    }
}

/// What a file is that is not safetensors, by its first bytes.
fn recognise(start: &[u8]) -> Option<FormatError> {
    let text = start.trim_ascii_start();
    let begins = |word: &str| {
        text.get(..word.len()).is_some_and(|bytes| bytes.eq_ignore_ascii_case(word.as_bytes()))
    };
    let (what, help) = if begins("version https://git-lfs") {
        (
            "a git-lfs pointer, a small text in place of the weights",
            "run `git lfs pull` in the repository that it came from",
        )
    } else if begins("<!doctype") || begins("<html") {
        (
            "an HTML page, as a server sends when a download needs a login or the address is wrong",
            "download the file itself",
        )
    } else if start.starts_with(&[0x1f, 0x8b]) {
        ("a gzip archive", "unpack it with `gunzip` first")
    } else if start.starts_with(b"PK\x03\x04") {
        (
            "a ZIP archive, such as PyTorch's `.pt` or NumPy's `.npz`",
            "convert it with `safetensors.torch.save_file` or `safetensors.numpy.save_file`",
        )
    } else if start.starts_with(b"\x89HDF\r\n\x1a\n") {
        ("an HDF5 file, such as Keras's `.h5`", "convert it with `safetensors.numpy.save_file`")
    } else if start.starts_with(b"GGUF") {
        ("a GGUF file", "use the safetensors file that it was converted from")
    } else if start.starts_with(b"\x93NUMPY") {
        ("a NumPy `.npy` array", "convert it with `safetensors.numpy.save_file`")
    } else if start.starts_with(b"{") {
        ("a JSON text", "name the `.safetensors` file beside it")
    } else {
        return None;
    };
    Some(FormatError::Recognised { what, help })
}

/// A tensor as the header's JSON describes it, unchecked.
#[derive(Debug, serde::Deserialize)]
struct Description {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: (u64, u64),
}

/// What the JSON holds, and where reading it stopped.
#[derive(Default)]
struct Parsed {
    tensors: Vec<(String, Description)>,
    metadata: Option<BTreeMap<String, String>>,
    /// The tensor whose description is being read.
    current: Option<String>,
    /// A failure with a variant of its own; serde's error only carries its position.
    duplicate: Option<Duplicate>,
}

enum Duplicate {
    Tensor(String),
    Metadata(String),
}

fn parse(text: &str) -> Result<Parsed, FormatError> {
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
            let full = error.to_string();
            // The offset says it better than serde_json's line and column of an invisible text.
            let message = full.split(" at line ").next().unwrap_or(&full).to_owned();
            FormatError::Header { offset, tensor: parsed.current, message }
        }
    })
}

struct HeaderSeed<'a>(&'a mut Parsed);

impl<'de> DeserializeSeed<'de> for HeaderSeed<'_> {
    type Value = ();
    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for HeaderSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object that describes the tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let parsed = self.0;
        let mut names = HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            if !names.insert(name.clone()) {
                parsed.duplicate = Some(match name.as_str() {
                    METADATA_KEY => Duplicate::Metadata(name),
                    _ => Duplicate::Tensor(name),
                });
                return Err(A::Error::custom("a name comes twice"));
            }
            if name == METADATA_KEY {
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

struct MetadataSeed<'a>(&'a mut Parsed);

impl<'de> DeserializeSeed<'de> for MetadataSeed<'_> {
    type Value = ();
    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de> Visitor<'de> for MetadataSeed<'_> {
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
            let value = map.next_value::<String>()?;
            metadata.insert(key, value);
        }
        self.0.metadata = Some(metadata);
        Ok(())
    }
}

/// Checks that the tensors fill the file's data exactly, without holes and overlaps.
fn check(parsed: Parsed, data: u64, file_length: u64) -> Result<Header, FormatError> {
    let Parsed { mut tensors, metadata, .. } = parsed;
    tensors.sort_by_key(|(_, description)| description.data_offsets);
    let mut entries: Vec<TensorEntry> = Vec::with_capacity(tensors.len());
    let mut filled = 0u64;
    for (name, Description { dtype, shape, data_offsets: (begin, end) }) in tensors {
        let Some(known) = FileDType::from_safetensors_name(&dtype) else {
            return Err(FormatError::UnknownDType { tensor: name, dtype });
        };
        let (dtype, shape) = (known, Shape::from(shape));
        if end < begin {
            return Err(FormatError::Reversed { tensor: name, begin, end });
        }
        let expected = match value_bytes(dtype, &shape) {
            Ok(bytes) => bytes,
            Err(NoSize::Overflow) => {
                return Err(FormatError::ShapeOverflow { tensor: name, shape });
            }
            Err(NoSize::Fraction) => {
                return Err(FormatError::PartOfAByte { tensor: name, dtype, shape });
            }
        };
        let offset = data.saturating_add(begin);
        if end - begin != expected {
            let found = end - begin;
            return Err(FormatError::WrongSize {
                tensor: name,
                dtype,
                shape,
                expected,
                found,
                offset,
            });
        }
        if begin > filled {
            let (offset, bytes) = (data + filled, begin - filled);
            return Err(FormatError::Hole { tensor: name, offset, bytes });
        }
        if begin < filled {
            let other = entries.last().map(|entry| entry.name.clone()).unwrap_or_default();
            return Err(FormatError::Overlap { tensor: name, other, offset });
        }
        filled = end;
        let end = data.saturating_add(end);
        if end > file_length {
            return Err(FormatError::CutShort { tensor: name, end, file_length });
        }
        entries.push(TensorEntry { name, dtype, shape, range: offset..end });
    }
    if data + filled != file_length {
        return Err(FormatError::Trailing { end: data + filled, file_length });
    }
    Ok(Header { tensors: entries, metadata: metadata.unwrap_or_default() })
}

/// A tensor to be written.
#[derive(Clone, Debug)]
pub(crate) struct Planned<'a> {
    pub name: &'a str,
    pub dtype: FileDType,
    pub shape: &'a Shape,
    pub bytes: u64,
}

/// Sorts the tensors as the `safetensors` crate does, widest dtype first, then by name, so that
/// each is aligned to its elements; returns the file's first bytes: length and padded header.
pub(crate) fn make_header(
    tensors: &mut [Planned<'_>],
    metadata: &BTreeMap<String, String>,
) -> Result<Vec<u8>, serde_json::Error> {
    tensors.sort_by(|a, b| (b.dtype as usize).cmp(&(a.dtype as usize)).then(a.name.cmp(b.name)));
    let mut json = serde_json::to_vec(&HeaderText { tensors, metadata })?;
    json.resize(json.len().next_multiple_of(LENGTH as usize), b' ');
    let mut start = (json.len() as u64).to_le_bytes().to_vec();
    start.append(&mut json);
    Ok(start)
}

struct HeaderText<'a> {
    tensors: &'a [Planned<'a>],
    metadata: &'a BTreeMap<String, String>,
}

impl Serialize for HeaderText<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(serde::Serialize)]
        struct Entry<'a> {
            dtype: &'a str,
            shape: &'a [usize],
            data_offsets: (u64, u64),
        }
        let mut map = serializer.serialize_map(None)?;
        if !self.metadata.is_empty() {
            map.serialize_entry(METADATA_KEY, self.metadata)?;
        }
        let mut begin = 0;
        for tensor in self.tensors {
            let data_offsets = (begin, begin + tensor.bytes);
            begin = data_offsets.1;
            let dtype = tensor.dtype.safetensors_name();
            map.serialize_entry(tensor.name, &Entry { dtype, shape: tensor.shape, data_offsets })?;
        }
        map.end()
    }
}
