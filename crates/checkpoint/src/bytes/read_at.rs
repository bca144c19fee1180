//! Positioned reads: several readers share one open file without sharing a cursor.

use std::fs::File;
use std::io::IoSliceMut;
use std::time::SystemTime;
use std::{fmt, io};

/// Something of known length that can be read anywhere.
pub(crate) trait ReadAt: fmt::Debug + Send + Sync {
    /// How many bytes there are.
    fn length(&self) -> io::Result<u64>;

    /// What is compared to see whether it was written to.
    fn stamp(&self) -> io::Result<Stamp> {
        Ok(Stamp { length: self.length()?, modified: None })
    }

    /// Reads some bytes at `offset`; zero means the end.
    fn read_some_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize>;

    /// The same into several pieces of memory, the first of which is not empty.
    fn read_some_each_at(&self, into: &mut [IoSliceMut<'_>], offset: u64) -> io::Result<usize> {
        into.first_mut().map_or(Ok(0), |first| self.read_some_at(first, offset))
    }

    /// Fills `into` from `offset` on, or says how many bytes there were.
    fn fill_at(&self, into: &mut [u8], offset: u64) -> io::Result<Filled> {
        self.fill_each_at(&mut [IoSliceMut::new(into)], offset)
    }

    /// Fills each of `into`, one after the other.
    fn fill_each_at(&self, mut into: &mut [IoSliceMut<'_>], offset: u64) -> io::Result<Filled> {
        let mut done = 0;
        // Without those that are full, and those that are empty.
        IoSliceMut::advance_slices(&mut into, 0);
        while !into.is_empty() {
            match self.read_some_each_at(into, offset.saturating_add(done as u64)) {
                Ok(0) => return Ok(Filled::Only(done)),
                Ok(n) => {
                    done += n;
                    IoSliceMut::advance_slices(&mut into, n);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Filled::Wholly)
    }
}

/// What [`ReadAt::fill_at`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filled {
    /// All that was asked for.
    Wholly,
    /// The source ended after this many bytes.
    Only(usize),
}

/// What differs once something was written to. (Not if the length is the same and its time is, too: the clocks
/// of file systems tick every few milliseconds, FAT's every two seconds, and what is written by a mapping
/// has its time when it gets to the disk.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    length: u64,
    modified: Option<SystemTime>,
}

impl ReadAt for File {
    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn stamp(&self) -> io::Result<Stamp> {
        let about = self.metadata()?;
        Ok(Stamp { length: about.len(), modified: about.modified().ok() })
    }

    #[cfg(unix)]
    fn read_some_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(self, into, offset)
    }

    #[cfg(target_os = "linux")]
    fn read_some_each_at(&self, into: &mut [IoSliceMut<'_>], offset: u64) -> io::Result<usize> {
        // It takes no more at once.
        const MOST: usize = 1024;
        let count = into.len().min(MOST);
        Ok(rustix::io::preadv(self, &mut into[..count], offset)?)
    }

    #[cfg(windows)]
    fn read_some_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        std::os::windows::fs::FileExt::seek_read(self, into, offset)
    }
}

#[cfg(test)]
impl ReadAt for Vec<u8> {
    fn length(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }

    fn read_some_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = usize::try_from(offset).ok().and_then(|at| self.get(at..)).unwrap_or(&[]);
        // At most three bytes at once, as a slow source may.
        let n = rest.len().min(into.len()).min(3);
        into[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn short_reads_are_continued_and_the_end_is_told() {
        let source: Vec<u8> = (0..10).collect();
        let mut into = [0; 6];
        assert_eq!(source.fill_at(&mut into, 2).unwrap(), Filled::Wholly);
        assert_eq!(into, [2, 3, 4, 5, 6, 7]);
        assert_eq!(source.fill_at(&mut into, 6).unwrap(), Filled::Only(4));
        assert_eq!(source.fill_at(&mut into, u64::MAX).unwrap(), Filled::Only(0));
    }

    #[test]
    fn pieces_of_any_length_and_number_are_filled_in_order() {
        let content: Vec<u8> = (0..6000u32).map(|i| (i * i % 251) as u8).collect();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&content).unwrap();
        // More than are asked for at once, some of them empty, the first too.
        let lengths = || (0..2400).map(|i| i % 6);
        let sources: [&dyn ReadAt; 2] = [&file, &content];
        for source in sources {
            for (from, filled) in [(0, Filled::Wholly), (7, Filled::Only(5993))] {
                let mut pieces: Vec<Vec<u8>> = lengths().map(|length| vec![0; length]).collect();
                let mut into: Vec<_> = pieces.iter_mut().map(|p| IoSliceMut::new(p)).collect();
                assert_eq!(source.fill_each_at(&mut into, from as u64).unwrap(), filled);
                let mut expected = content[from..].to_vec();
                expected.resize(6000, 0);
                assert!(pieces.concat() == expected, "from {from}");
            }
        }
    }
}
