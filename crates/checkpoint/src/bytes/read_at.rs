//! Positioned reads: several readers share one open file without sharing a cursor.

use std::fs::File;
use std::{fmt, io};

/// Something of known length that can be read anywhere.
pub(crate) trait ReadAt: fmt::Debug + Send + Sync {
    /// How many bytes there are.
    fn length(&self) -> io::Result<u64>;

    /// Reads some bytes at `offset`; zero means the end.
    fn read_some_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Fills `into` from `offset` on, or says how many bytes there were.
    fn fill_at(&self, into: &mut [u8], offset: u64) -> io::Result<Filled> {
        let mut done = 0;
        while done < into.len() {
            match self.read_some_at(&mut into[done..], offset.saturating_add(done as u64)) {
                Ok(0) => return Ok(Filled::Only(done)),
                Ok(n) => done += n,
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

impl ReadAt for File {
    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    #[cfg(unix)]
    fn read_some_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(self, into, offset)
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

    #[test]
    fn short_reads_are_continued_and_the_end_is_told() {
        let source: Vec<u8> = (0..10).collect();
        let mut into = [0; 6];
        assert_eq!(source.fill_at(&mut into, 2).unwrap(), Filled::Wholly);
        assert_eq!(into, [2, 3, 4, 5, 6, 7]);
        assert_eq!(source.fill_at(&mut into, 6).unwrap(), Filled::Only(4));
        assert_eq!(source.fill_at(&mut into, u64::MAX).unwrap(), Filled::Only(0));
    }
}
