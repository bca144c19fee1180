//! Stretches of a file that have one checksum for all that is in them.
//!
//! A tensor that has such a stretch alone is summed up on its way, with what is around it read
//! after. What shares one, or lies in another order, is judged by reading the entry once more in
//! each restore: that sum is of what the second read had, not of the very bytes that were handed
//! out.

use std::ops::Range;
use std::sync::Mutex;

/// An entry of an archive. What lies in it, be it a tensor, a header or many tensors, can only be
/// judged together.
#[derive(Debug)]
pub(crate) struct Sealed {
    /// The file that it lies in, among those of the checkpoint.
    pub file: usize,
    pub range: Range<u64>,
    pub crc32: u32,
    /// Whether one tensor alone lies in it, as it is: then it is summed up while the tensor is read.
    pub in_passing: bool,
    /// What it was found to have, once it was read for its sum alone. A storage that a thousand
    /// tensors share is not read a thousand times. The file may be written to in between: each
    /// restore and each check forgets it first.
    pub found: Mutex<Option<u32>>,
}

impl Sealed {
    pub fn new(file: usize, range: Range<u64>, crc32: u32) -> Sealed {
        Sealed { file, range, crc32, in_passing: false, found: Mutex::new(None) }
    }
}
