//! The ways in which an archive can be of no use.

use crate::printable::printable;

warmstart_graph::debug_as_display!(ArchiveError);

/// Why a ZIP archive, as PyTorch and NumPy write it, cannot be read.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// The list of what is in it cannot be read.
    #[error(
        "this is a ZIP archive whose list of contents cannot be read ({problem}): it is cut short \
         or damaged; copy or write it again"
    )]
    Contents {
        /// What is wrong.
        problem: String,
    },
    /// An entry's name is not UTF-8.
    #[error(
        "file offset {offset}: the name of an entry of the archive is not UTF-8: write it again \
         under plain names"
    )]
    Name {
        /// Where it stands in the list of contents.
        offset: u64,
    },
    /// An entry would end beyond the file.
    #[error(
        "entry `{entry}` of the archive ends at file offset {end}, but the file has {length} bytes: \
         it is cut short or damaged; copy or write it again", entry = printable(.entry)
    )]
    BeyondEnd {
        /// The entry.
        entry: String,
        /// Where it would end.
        end: u64,
        /// Bytes of the file.
        length: u64,
    },
    /// An entry lies within another.
    #[error(
        "file offset {offset}: entry `{entry}` of the archive begins within entry `{other}`, as in \
         an archive that was made to do harm: do not trust it; if it is yours, write it again", other = printable(.other), entry = printable(.entry)
    )]
    Overlap {
        /// The entry that begins later.
        entry: String,
        /// The other.
        other: String,
        /// Where the later one begins.
        offset: u64,
    },
    /// Two entries have one name.
    #[error(
        "entry `{entry}` is in the archive twice, and readers would disagree about which counts: \
         write it again with one of them", entry = printable(.entry)
    )]
    Twice {
        /// The name.
        entry: String,
    },
    /// An entry needs a password.
    #[error("entry `{entry}` of the archive is encrypted: write it again without a password", entry = printable(.entry))]
    Encrypted {
        /// The entry.
        entry: String,
    },
    /// An entry is compressed in an unknown way.
    #[error(
        "entry `{entry}` of the archive is compressed by {method}, and only deflate is known: write \
         it again with `torch.save`, `numpy.savez` or `numpy.savez_compressed`", entry = printable(.entry)
    )]
    Compression {
        /// The entry.
        entry: String,
        /// How it is compressed.
        method: String,
    },
    /// An entry cannot have the size that it says.
    #[error(
        "entry `{entry}` of the archive has {length} bytes in the file and says that these are \
         {size} bytes: the archive is damaged; copy or write it again", entry = printable(.entry)
    )]
    Size {
        /// The entry.
        entry: String,
        /// Bytes in the file.
        length: u64,
        /// Bytes that they should become.
        size: u64,
    },
    /// An entry that is read whole is larger than such an entry can be.
    #[error(
        "entry `{entry}` of the archive should be {size} bytes of text, and at most {limit} are \
         read: do not trust this file; if it is yours, write it again without compression", entry = printable(.entry)
    )]
    TooLarge {
        /// The entry.
        entry: String,
        /// Bytes it should have.
        size: u64,
        /// Bytes it may have.
        limit: u64,
    },
    /// A compressed entry cannot be read.
    #[error(
        "entry `{entry}` of the archive cannot be read ({problem}): it is damaged; copy or write \
         the file again", entry = printable(.entry)
    )]
    Inflate {
        /// The entry.
        entry: String,
        /// What is wrong.
        problem: String,
    },
    /// An entry is not as it was written.
    #[error(
        "entry `{entry}` of the archive has checksum {found:08x}, but {expected:08x} was written: \
         it is damaged: copy or write the file again", entry = printable(.entry)
    )]
    Checksum {
        /// The entry.
        entry: String,
        /// The CRC-32 that was written.
        expected: u32,
        /// The CRC-32 that it has.
        found: u32,
    },
}
