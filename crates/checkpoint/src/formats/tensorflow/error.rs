//! The ways in which a TensorFlow checkpoint can be damaged.

use crate::formats::safetensors::lost;
use crate::printable::printable;
use crate::tensor::FileDType;
use warmstart_graph::Shape;

warmstart_graph::debug_as_display!(BundleError);

/// Why a TensorFlow checkpoint cannot be read.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// The index ends before a table can.
    #[error(
        "a TensorFlow index has at least 48 bytes, and this file has {length}: its writer was \
         stopped or the copy failed; copy it again"
    )]
    TooShort {
        /// Bytes of the file.
        length: u64,
    },
    /// The index does not end as a table does.
    #[error(
        "a TensorFlow index ends with a table's magic number, and this file of {length} bytes does \
         not: it is cut short, damaged or something else; copy it again"
    )]
    NotATable {
        /// Bytes of the file.
        length: u64,
    },
    /// The index has another name than those that its data files have with it.
    #[error(
        "this is a TensorFlow index, but its name does not end with `.index`, so it cannot be told \
         which data files belong to it: give it the name back that it was saved under"
    )]
    IndexName,
    /// There is data and no index.
    #[error(
        "the index `<prefix>.index` is missing, and only it says what is in the data files: copy it \
         too"
    )]
    NoIndex,
    /// A block of the index would end beyond it.
    #[error(
        "file offset {offset}: a block of the index ends at {end}, beyond its {file_length} bytes: \
         it is damaged; copy it again"
    )]
    BlockBeyondEnd {
        /// Where the block begins.
        offset: u64,
        /// Where it would end.
        end: u64,
        /// Bytes that the file has for blocks.
        file_length: u64,
    },
    /// A block of the index is not as it was written.
    #[error(
        "file offset {offset}: a block of the index has checksum {found:08x}, but {expected:08x} \
         was written: it is damaged; copy it again"
    )]
    BlockChecksum {
        /// Where the block begins.
        offset: u64,
        /// The crc32c that was written.
        expected: u32,
        /// The crc32c that it has.
        found: u32,
    },
    /// A block of the index makes no sense.
    #[error(
        "file offset {offset}: a block of the index is malformed: {problem}; the file is damaged: \
         copy it again"
    )]
    Block {
        /// Where the block begins.
        offset: u64,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A block of the index is compressed in an unknown way.
    #[error(
        "file offset {offset}: a block of the index is compressed in way {kind}, and known are 0 \
         (not at all) and 1 (snappy): save the checkpoint again with TensorFlow"
    )]
    Compression {
        /// Where the block begins.
        offset: u64,
        /// The number that stands for how it is compressed.
        kind: u8,
    },
    /// The index says nothing, or nonsense, about itself.
    #[error("the index's header {problem}: save the checkpoint again with TensorFlow")]
    Header {
        /// What is wrong.
        problem: String,
    },
    /// The checkpoint asks for a reader that this one is not.
    #[error("the index {problem}: save the checkpoint again with TensorFlow on a common machine")]
    Unsupported {
        /// What it asks for.
        problem: String,
    },
    /// A name that is not UTF-8.
    #[error(
        "file offset {offset}: the index has a tensor whose name is not UTF-8: it is damaged; copy \
         it again"
    )]
    Name {
        /// Where its block begins.
        offset: u64,
    },
    /// What the index says about a tensor makes no sense.
    #[error(
        "tensor `{tensor}`: its entry in the index {problem}: the index is damaged; copy it again", tensor = printable(.tensor)
    )]
    Entry {
        /// The tensor.
        tensor: String,
        /// What is wrong.
        problem: String,
    },
    /// A tensor has another size than its dtype and shape say.
    #[error(
        "tensor `{tensor}` is {dtype} {shape}, which takes {expected} bytes, but the index gives it \
         {found}: the index is damaged; copy it again", tensor = printable(.tensor)
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
        /// Bytes by the index.
        found: u64,
    },
    /// A data file does not exist.
    #[error(
        "this data file does not exist, and with it {}: copy it beside the index", lost(.tensors)
    )]
    NoData {
        /// The tensors that should be in it.
        tensors: Vec<String>,
    },
    /// A data file ends before a tensor does.
    #[error(
        "tensor `{tensor}` at file offset {offset} should have {expected} bytes, but the file has \
         only {found} of them: it was cut short; copy it again", tensor = printable(.tensor)
    )]
    CutShort {
        /// The first tensor that is not whole.
        tensor: String,
        /// Where it begins in the file.
        offset: u64,
        /// Bytes it should have.
        expected: u64,
        /// Bytes there are.
        found: u64,
    },
    /// Two tensors share bytes.
    #[error(
        "tensor `{tensor}` at file offset {offset} overlaps tensor `{other}`: the index is damaged; \
         copy it again", tensor = printable(.tensor), other = printable(.other)
    )]
    Overlap {
        /// The tensor that begins later.
        tensor: String,
        /// The one that it overlaps.
        other: String,
        /// Where it begins.
        offset: u64,
    },
    /// The objects of a `tf.train.Checkpoint` cannot be read.
    #[error("the description of its objects {problem}: the checkpoint is damaged; copy it again")]
    Objects {
        /// What is wrong.
        problem: String,
    },
    /// The file `checkpoint` is of no use.
    #[error(
        "this file should name the newest checkpoint, but {problem}: remove it, or let TensorFlow \
         save again"
    )]
    State {
        /// What is wrong.
        problem: String,
    },
}
