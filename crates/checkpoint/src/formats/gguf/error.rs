//! The ways in which a GGUF file can be of no use.

use crate::printable::printable;
use crate::tensor::FileDType;
use warmstart_graph::Shape;

warmstart_graph::debug_as_display!(GgufError);

/// Why a GGUF file cannot be read.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GgufError {
    /// A version of the format that is not known.
    #[error(
        "this is GGUF of version {version}, and versions 2 and 3 are known: convert the model again \
         with llama.cpp's `convert_hf_to_gguf.py`"
    )]
    Version {
        /// The version.
        version: u32,
    },
    /// The file was written for a big-endian machine.
    #[error(
        "this GGUF file is big-endian: turn it with llama.cpp's `gguf_convert_endian.py <file> little`"
    )]
    BigEndian,
    /// The file ends within its header.
    #[error(
        "the file ends at offset {offset}, within {what}: it is cut short; copy or download it again"
    )]
    CutShort {
        /// Where the file ends.
        offset: u64,
        /// What was being read.
        what: &'static str,
    },
    /// The header makes no sense.
    #[error("file offset {offset}: {problem}; the file is damaged: copy or download it again")]
    Header {
        /// Where in the file.
        offset: u64,
        /// What is wrong.
        problem: String,
    },
    /// Two tensors have one name.
    #[error(
        "file offset {offset}: tensor `{tensor}` is listed twice, and readers would disagree about \
         its value: convert the model again", tensor = printable(.tensor)
    )]
    Twice {
        /// The name.
        tensor: String,
        /// Where the second stands.
        offset: u64,
    },
    /// A tensor has a type that is not known.
    #[error("tensor `{tensor}` has the unknown type {number}: it needs a newer reader", tensor = printable(.tensor))]
    UnknownType {
        /// The tensor.
        tensor: String,
        /// The number that stands for it.
        number: u32,
    },
    /// A shape whose bytes cannot be counted, or that ends within a block.
    #[error(
        "tensor `{tensor}` is {dtype} {shape}, whose bytes cannot be counted: the file is damaged; \
         copy or download it again", tensor = printable(.tensor)
    )]
    Size {
        /// The tensor.
        tensor: String,
        /// Its dtype.
        dtype: FileDType,
        /// Its shape.
        shape: Shape,
    },
    /// The file ends before a tensor does.
    #[error(
        "tensor `{tensor}` ends at file offset {end}, but the file has {length} bytes: it was cut \
         short; copy or download it again", tensor = printable(.tensor)
    )]
    BeyondEnd {
        /// The first tensor that is not whole.
        tensor: String,
        /// Where it should end.
        end: u64,
        /// Bytes of the file.
        length: u64,
    },
    /// Bytes that belong to two tensors.
    #[error(
        "file offset {offset}: tensor `{tensor}` begins within tensor `{other}`: the file is \
         damaged; copy or download it again", tensor = printable(.tensor), other = printable(.other)
    )]
    Overlap {
        /// The later tensor.
        tensor: String,
        /// The earlier one.
        other: String,
        /// Where the later one begins.
        offset: u64,
    },
}
