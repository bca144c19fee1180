//! A value that lies in several places: slices of it, cut along one axis.
//!
//! Slices of rows are summed up together, and slices of columns one by one.

/// One slice, in bytes. All slices of a value are as many rows as the value, each a part of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Slice {
    /// Where in each row of the value it begins.
    pub begin: u64,
    /// Bytes of each row that it has; never zero.
    pub width: u64,
    /// The file that it lies in.
    pub file: usize,
    /// Where in that file it begins.
    pub offset: u64,
    /// Its crc32c.
    pub checksum: u32,
}

/// The slices of a value. A row is all that the axes after, and with, the one that is cut reach: a
/// value that is cut along its first axis is one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Slices {
    rows: u64,
    row: u64,
    slices: Vec<Slice>,
}

/// Bytes of a value that lie together in a file.
pub(crate) struct Run<'a> {
    pub slice: &'a Slice,
    /// Where in the file.
    pub offset: u64,
    pub length: u64,
}

impl Slices {
    /// Slices that fill `rows` rows of `row` bytes without holes and overlaps; if they do not, the
    /// place in a row where they do not.
    pub fn new(rows: u64, row: u64, mut slices: Vec<Slice>) -> Result<Slices, u64> {
        slices.retain(|slice| slice.width > 0);
        slices.sort_by_key(|slice| slice.begin);
        let mut filled = 0u64;
        for slice in &slices {
            if slice.begin != filled {
                return Err(filled.min(slice.begin));
            }
            filled = filled.saturating_add(slice.width);
        }
        if filled == row { Ok(Slices { rows, row, slices }) } else { Err(filled.min(row)) }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Slice> {
        self.slices.iter()
    }

    /// Bytes of a slice.
    pub fn bytes(&self, slice: &Slice) -> u64 {
        self.rows * slice.width
    }

    /// Where the bytes are that begin at `at` in the value.
    pub fn run(&self, at: u64) -> Option<Run<'_>> {
        let (row, within) = (at.checked_div(self.row)?, at.checked_rem(self.row)?);
        let after = self.slices.partition_point(|slice| slice.begin <= within);
        let slice = self.slices.get(after.checked_sub(1)?)?;
        let skipped = within - slice.begin;
        let offset = slice.offset + row * slice.width + skipped;
        (row < self.rows).then_some(Run { slice, offset, length: slice.width - skipped })
    }

    /// The crc32c of the value, where that of the slices is enough to tell it.
    pub fn checksum(&self) -> Option<u32> {
        let join = |sum, slice: &Slice| {
            let length = usize::try_from(slice.width).ok()?;
            Some(crc32c::crc32c_combine(sum, slice.checksum, length))
        };
        if self.rows == 1 { self.slices.iter().try_fold(0, join) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice(begin: u64, width: u64, offset: u64) -> Slice {
        Slice { begin, width, file: 0, offset, checksum: 0 }
    }

    #[test]
    fn runs_go_through_the_slices_of_each_row() {
        let slices = Slices::new(2, 5, vec![slice(3, 2, 100), slice(0, 3, 10), slice(3, 0, 9)]);
        let slices = slices.unwrap();
        let all: Vec<(u64, u64)> =
            (0..10).map(|at| slices.run(at).map(|run| (run.offset, run.length)).unwrap()).collect();
        let first = [(10, 3), (11, 2), (12, 1), (100, 2), (101, 1)];
        let second = [(13, 3), (14, 2), (15, 1), (102, 2), (103, 1)];
        assert_eq!(all, [first, second].concat());
        assert!(slices.run(10).is_none() && slices.checksum().is_none());
    }

    #[test]
    fn holes_and_overlaps_are_found() {
        assert_eq!(Slices::new(1, 5, vec![slice(0, 2, 0), slice(3, 2, 0)]), Err(2));
        assert_eq!(Slices::new(1, 5, vec![slice(0, 3, 0), slice(2, 3, 0)]), Err(2));
        assert_eq!(Slices::new(1, 5, vec![slice(0, 3, 0)]), Err(3));
        assert!(Slices::new(1, 0, Vec::new()).unwrap().run(0).is_none());
    }
}
