//! Stretches of a file that have one checksum for all that is in them.

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

/// The two kinds of checksums that files have.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sum {
    /// Of tensors, in safetensors files and TensorFlow's.
    Crc32c,
    /// Of the entries of ZIP archives.
    Crc32,
}

impl Sum {
    /// The checksum of what has `crc` with these bytes after it.
    pub fn append(self, crc: u32, bytes: &[u8]) -> u32 {
        match self {
            Sum::Crc32c => crc32c::crc32c_append(crc, bytes),
            Sum::Crc32 => {
                let mut hasher = crc32fast::Hasher::new_with_initial(crc);
                hasher.update(bytes);
                hasher.finalize()
            }
        }
    }

    /// The checksum of what has `crc` with what has `after` and this length after it.
    pub fn join(self, crc: u32, after: u32, length: usize) -> u32 {
        match self {
            Sum::Crc32c => crc32c::crc32c_combine(crc, after, length),
            Sum::Crc32 => {
                let mut hasher = crc32fast::Hasher::new_with_initial(crc);
                hasher.combine(&crc32fast::Hasher::new_with_initial_len(after, length as u64));
                hasher.finalize()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_are_those_of_the_standards_and_join() {
        for (sum, check) in [(Sum::Crc32c, 0xe306_9283), (Sum::Crc32, 0xcbf4_3926)] {
            assert_eq!(sum.append(0, b"123456789"), check);
            let (first, second) = (sum.append(0, b"1234"), sum.append(0, b"56789"));
            assert_eq!(sum.append(first, b"56789"), check);
            assert_eq!(sum.join(first, second, 5), check);
        }
    }
}
