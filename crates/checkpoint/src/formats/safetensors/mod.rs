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

mod error;
mod json_string;
mod quick;
mod read;
mod recognise;
mod sharded;
mod write;

pub(crate) use error::lost;
pub use error::{FormatError, ShardsError};
pub(crate) use json_string::JsonString;
pub(crate) use read::{Header, HeaderError, HeaderText, Word};
pub use recognise::FileKind;
pub(crate) use sharded::open_sharded;
pub(crate) use write::{Planned, make_header};

/// The longest header that readers of this format take.
pub(crate) const MAX_HEADER: u64 = 100_000_000;
/// Bytes of the header's length.
const LENGTH: u64 = 8;
/// The key under which a header holds its strings.
pub(crate) const METADATA_KEY: &str = "__metadata__";
