//! The ways in which a file can fail to be safetensors.

use super::recognise::{FileKind, KINDS};
use crate::formats::archive::ArchiveError;
use crate::formats::gguf::GgufError;
use crate::formats::numpy::NumPyError;
use crate::formats::pytorch::PyTorchError;
use crate::formats::tensorflow::BundleError;
use crate::printable::{first_quoted, printable};
use crate::tensor::FileDType;
use warmstart_graph::Shape;

warmstart_graph::debug_as_display!(FormatError, ShardsError);

/// Why a file is not a well-formed checkpoint.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
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
    #[error("this is {kind}: {}", .kind.help())]
    Recognised {
        /// What it is.
        kind: FileKind,
    },
    /// The header would be longer than the format allows.
    #[error(
        "this is no checkpoint of a kind that is read: as safetensors, its header would have {length} \
         bytes, and the format allows 100000000; {KINDS}"
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
         its value: write the file again with one of them", tensor = printable(.tensor)
    )]
    DuplicateTensor {
        /// The name.
        tensor: String,
        /// Where in the file the second one ends.
        offset: u64,
    },
    /// A key of `__metadata__`, or `__metadata__` itself, comes twice.
    #[error(
        "offset {offset}: metadata key `{key}` comes twice: write the file again with one of them",
        key = printable(.key)
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
        }, tensor = printable(.tensor), dtype = printable(.dtype)
    )]
    UnknownDType {
        /// The tensor.
        tensor: String,
        /// The dtype's name in the file.
        dtype: String,
    },
    /// A shape whose bytes cannot be counted.
    #[error(
        "tensor `{tensor}` has shape {shape}, whose size overflows: the file is damaged; write it again", tensor = printable(.tensor)
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
         a multiple of {} elements", 8 >> .dtype.bits().trailing_zeros().min(3), tensor = printable(.tensor)
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
        "tensor `{tensor}` ends at data offset {end}, before its begin at {begin}: the file is damaged; write it again", tensor = printable(.tensor)
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
         bytes, but the header gives it {found}: the file is damaged; write it again", tensor = printable(.tensor)
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
         file is damaged; write it again", tensor = printable(.tensor)
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
         damaged; write it again", tensor = printable(.tensor), other = printable(.other)
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
         cut short; copy or write it again", tensor = printable(.tensor)
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
    /// The index of a checkpoint in several files and the files do not fit.
    #[error(transparent)]
    Shards(#[from] ShardsError),
    /// A TensorFlow checkpoint is damaged.
    #[error(transparent)]
    TensorFlow(#[from] BundleError),
    /// A ZIP archive, as PyTorch and NumPy write it, is of no use.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// A GGUF file cannot be read.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// A NumPy array cannot be read.
    #[error(transparent)]
    NumPy(#[from] NumPyError),
    /// A PyTorch checkpoint cannot be read.
    #[error(transparent)]
    PyTorch(#[from] PyTorchError),
}

/// Why a checkpoint in several safetensors files cannot be opened.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShardsError {
    /// The index is not the JSON that it should be.
    #[error("the index is malformed: {message}; copy or write it again")]
    Index {
        /// What is wrong.
        message: String,
    },
    /// A file of the index lies elsewhere.
    #[error(
        "the index names the file `{shard}`, which is not inside its folder: do not trust this \
         checkpoint; if it is yours, put all its files into one folder", shard = printable(.shard)
    )]
    Outside {
        /// The name.
        shard: String,
    },
    /// A file of the index does not exist.
    #[error(
        "its file `{shard}` does not exist, and with it {}: copy it beside the index",
        lost(.tensors), shard = printable(.shard)
    )]
    Absent {
        /// The name.
        shard: String,
        /// The tensors that should be in it.
        tensors: Vec<String>,
    },
    /// A tensor is not in the file that should have it.
    #[error(
        "the index has tensor `{tensor}` in `{shard}`, but that file does not hold it: copy the \
         index and all files again, from one place",
        tensor = printable(.tensor), shard = printable(.shard)
    )]
    NotInShard {
        /// The file.
        shard: String,
        /// The tensor.
        tensor: String,
    },
    /// A file has a tensor that the index does not know, or knows to be elsewhere.
    #[error(
        "`{shard}` holds tensor `{tensor}`, which the index does not have there: copy the index and \
         all files again, from one place",
        tensor = printable(.tensor), shard = printable(.shard)
    )]
    NotInIndex {
        /// The file.
        shard: String,
        /// The tensor.
        tensor: String,
    },
    /// Two files were saved at different steps.
    #[error(
        "`{shard}` and `{other}` were saved at different steps: copy all files again, from one \
         save", shard = printable(.shard), other = printable(.other)
    )]
    OtherStep {
        /// One file.
        shard: String,
        /// The other.
        other: String,
    },
}

/// Tensors that are gone, the first few by name.
pub(crate) fn lost(tensors: &[String]) -> String {
    let tensor = if tensors.len() == 1 { "tensor" } else { "tensors" };
    format!("{tensor} {}", first_quoted(tensors, 5))
}

fn in_tensor(tensor: &Option<String>) -> String {
    tensor.as_ref().map(|name| format!(", tensor `{}`", printable(name))).unwrap_or_default()
}
