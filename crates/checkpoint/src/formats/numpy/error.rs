//! The ways in which a NumPy array can be of no use.

use crate::printable::printable;
use crate::tensor::FileDType;
use warmstart_graph::Shape;

warmstart_graph::debug_as_display!(NumPyError);

/// Why a NumPy array cannot be read.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NumPyError {
    /// It does not begin as an array does.
    #[error("`{array}` is no NumPy array: copy or write the file again", array = printable(.array))]
    NotAnArray {
        /// The array.
        array: String,
    },
    /// A version of the format that is not known.
    #[error(
        "`{array}` has version {major} of NumPy's format, and versions 1 to 3 are known: save it \
         again with an older NumPy, or update warmstart",
        array = printable(.array)
    )]
    Version {
        /// The array.
        array: String,
        /// The version.
        major: u8,
    },
    /// The header is not the dict that it should be.
    #[error(
        "the header of `{array}` is malformed at file offset {offset}: {problem}; the file is \
         damaged: copy or write it again",
        array = printable(.array)
    )]
    Header {
        /// The array.
        array: String,
        /// Where in the file, or in the entry of the archive.
        offset: u64,
        /// What is wrong.
        problem: String,
    },
    /// The elements are something that has no dtype here.
    #[error(
        "`{array}` has elements of NumPy's type {descr}, which no variable takes: in Python, save \
         `array.astype(\"float32\")` instead",
        array = printable(.array), descr = printable(.descr)
    )]
    DType {
        /// The array.
        array: String,
        /// The type as the header has it.
        descr: String,
    },
    /// There are more or fewer bytes than dtype and shape say.
    #[error(
        "`{array}` is {dtype} {shape}, which takes {expected} bytes, but {found} follow its header: \
         it is cut short or damaged; copy or write it again",
        array = printable(.array)
    )]
    WrongSize {
        /// The array.
        array: String,
        /// Its dtype.
        dtype: FileDType,
        /// Its shape.
        shape: Shape,
        /// Bytes by dtype and shape.
        expected: u64,
        /// Bytes there are.
        found: u64,
    },
    /// A large array whose elements lie in another order, in an entry that can only be read in
    /// order.
    #[error(
        "`{array}` has {bytes} bytes in Fortran's order and is compressed, so that it would have to \
         be inflated over and over: in Python, save `numpy.ascontiguousarray(array)` instead, or \
         save with `numpy.savez`, which does not compress",
        array = printable(.array)
    )]
    CompressedFortran {
        /// The array.
        array: String,
        /// Bytes it has.
        bytes: u64,
    },
    /// A shape whose bytes cannot be counted.
    #[error(
        "`{array}` has shape {shape}, whose size overflows: the file is damaged; write it again",
        array = printable(.array)
    )]
    ShapeOverflow {
        /// The array.
        array: String,
        /// Its shape.
        shape: Shape,
    },
}
