//! Checksums of bytes: their kinds, and how what is read in pieces of any order becomes one.
//!
//! What we write has XXH3 of blocks of 256 KiB, added up, since blocks can be summed up in any
//! order and XXH3 takes half the time of crc32c.

use smallvec::SmallVec;
use std::fmt;
use std::hash::Hasher as _;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use twox_hash::XxHash3_64;

/// The checksum of a tensor's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Checksum {
    /// CRC-32C (Castagnoli), as TensorFlow's checkpoints have.
    Crc32c(u32),
    /// CRC-32, of an entry of a ZIP archive.
    Crc32(u32),
    /// What warmstart writes: the sum modulo 2^64 of XXH3-64 (<https://xxhash.com>) of each block of
    /// 256 KiB, with the block's number as the seed. Blocks can be summed up in any order, by several
    /// threads; of a tensor that is no larger it is plain XXH3-64.
    ///
    /// In Python: `sum(xxhash.xxh3_64_intdigest(b[i:i+262144], seed=i//262144) for i in range(0,
    /// len(b), 262144)) % 2**64`.
    Xxh3(u64),
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Checksum::Crc32c(value) => write!(f, "crc32c {value:08x}"),
            Checksum::Crc32(value) => write!(f, "crc32 {value:08x}"),
            Checksum::Xxh3(value) => write!(f, "xxh3 {value:016x}"),
        }
    }
}

/// The two kinds whose sums go on over whatever is cut.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Crc {
    /// Of tensors, in TensorFlow's files.
    Crc32c,
    /// Of the entries of ZIP archives.
    Crc32,
}

impl Crc {
    /// The checksum of what has `crc` with these bytes after it.
    pub fn append(self, crc: u32, bytes: &[u8]) -> u32 {
        match self {
            Crc::Crc32c => crc32c::crc32c_append(crc, bytes),
            Crc::Crc32 => {
                let mut hasher = crc32fast::Hasher::new_with_initial(crc);
                hasher.update(bytes);
                hasher.finalize()
            }
        }
    }

    /// The checksum of what has `crc` with what has `after` and this length after it.
    pub fn join(self, crc: u32, after: u32, length: usize) -> u32 {
        match self {
            Crc::Crc32c => crc32c::crc32c_combine(crc, after, length),
            Crc::Crc32 => {
                let mut hasher = crc32fast::Hasher::new_with_initial(crc);
                hasher.combine(&crc32fast::Hasher::new_with_initial_len(after, length as u64));
                hasher.finalize()
            }
        }
    }

    pub fn checksum(self, value: u32) -> Checksum {
        match self {
            Crc::Crc32c => Checksum::Crc32c(value),
            Crc::Crc32 => Checksum::Crc32(value),
        }
    }
}

/// Bytes of a block of [`Checksum::Xxh3`]: as many as stay in a core's cache while they are read, summed
/// up and copied, so that each comes from memory once.
pub(crate) const BLOCK: usize = 256 << 10;

/// The numbers of blocks with their sums.
type Sum = (u64, u64);

/// Which block a place lies in, and how far in it.
fn block(at: u64) -> (u64, usize) {
    (at / BLOCK as u64, (at % BLOCK as u64) as usize)
}

/// XXH3-64 of a block.
fn xxh3(number: u64, bytes: &[u8]) -> u64 {
    match number {
        // The same, but compiled with the library: what is there for any seed is compiled into this
        // crate for this one, and what it calls not into it.
        0 => XxHash3_64::oneshot(bytes),
        seed => XxHash3_64::oneshot_with_seed(seed, bytes),
    }
}

/// How long the block with this number is in a tensor of `length` bytes.
fn block_length(number: u64, length: u64) -> usize {
    length.saturating_sub(number * BLOCK as u64).min(BLOCK as u64) as usize
}

/// [`Checksum::Xxh3`] of bytes that come in order, and whose number is known before.
pub(crate) struct InOrder {
    length: u64,
    at: u64,
    /// Of the blocks that are whole.
    sum: u64,
    /// Of the one that is not. Few tensors have one, and it takes ten times the room of all else.
    open: Option<Box<XxHash3_64>>,
}

impl InOrder {
    pub fn new(length: u64) -> InOrder {
        InOrder { length, at: 0, sum: 0, open: None }
    }

    pub fn append(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (number, within) = block(self.at);
            // More than was announced makes a sum that fits nothing.
            let rest = block_length(number, self.length).saturating_sub(within).max(1);
            let (piece, after) = bytes.split_at(rest.min(bytes.len()));
            let ends = piece.len() == rest;
            if ends && self.open.is_none() {
                self.sum = self.sum.wrapping_add(xxh3(number, piece));
            } else {
                let open = self.open.get_or_insert_with(|| Box::new(XxHash3_64::with_seed(number)));
                open.write(piece);
                if ends {
                    self.sum = self.sum.wrapping_add(open.finish());
                    self.open = None;
                }
            }
            self.at += piece.len() as u64;
            bytes = after;
        }
    }

    pub fn value(&self) -> u64 {
        self.sum.wrapping_add(self.open.as_ref().map_or(0, |open| open.finish()))
    }
}

/// [`Checksum::Xxh3`] of a tensor that several threads read in pieces of any order. Every byte that
/// was handed out counts, as it was handed out.
pub(crate) struct Blocks {
    length: u64,
    found: Mutex<Found>,
}

#[derive(Default)]
struct Found {
    /// Most tensors have one.
    whole: SmallVec<[Sum; 1]>,
    /// Blocks that a cut between two pieces goes through, until both have come.
    partial: Vec<Partial>,
}

struct Partial {
    number: u64,
    bytes: Vec<u8>,
    have: Vec<Range<usize>>,
}

impl Partial {
    fn has_none_of(&self, range: &Range<usize>) -> bool {
        self.have.iter().all(|have| have.end <= range.start || range.end <= have.start)
    }

    fn is_whole(&self) -> bool {
        self.have.iter().map(Range::len).sum::<usize>() == self.bytes.len()
    }

    fn sum(&self) -> Sum {
        (self.number, xxh3(self.number, &self.bytes))
    }
}

impl Blocks {
    pub fn new(length: u64) -> Blocks {
        Blocks { length, found: Mutex::default() }
    }

    /// How many bytes from this place on belong to one block.
    pub fn room(&self, at: u64) -> usize {
        BLOCK - block(at).1
    }

    /// Takes bytes that begin at this place of the tensor and end in the same block.
    pub fn add(&self, at: u64, bytes: &[u8]) {
        let (number, within) = block(at);
        let length = block_length(number, self.length);
        let range = within..within + bytes.len();
        let found = || self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if range == (0..length) {
            let sum = xxh3(number, bytes);
            found().whole.push((number, sum));
            return;
        }
        let found = &mut *found();
        let fits = |partial: &Partial| partial.number == number && partial.has_none_of(&range);
        let index = found.partial.iter().position(fits).unwrap_or_else(|| {
            // What has come before comes once more: each time is judged with a block of its own.
            let (bytes, have) = (vec![0; length], Vec::new());
            found.partial.push(Partial { number, bytes, have });
            found.partial.len() - 1
        });
        let partial = &mut found.partial[index];
        if let Some(place) = partial.bytes.get_mut(range.clone()) {
            place.copy_from_slice(bytes);
            partial.have.push(range);
        }
        if partial.is_whole() {
            let sum = found.partial.swap_remove(index).sum();
            found.whole.push(sum);
        }
    }

    /// The checksum of one block that came as a whole, as small tensors do: there is nothing to be read
    /// or added up.
    pub fn came_at_once(&self) -> Option<u64> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let is_all = self.length <= BLOCK as u64 && found.partial.is_empty();
        match found.whole[..] {
            [(_, sum)] if is_all => Some(sum),
            _ => None,
        }
    }

    /// The checksum, once everything has come. `read` gives the bytes that did not.
    pub fn finish<E>(
        &self,
        mut read: impl FnMut(u64, &mut [u8]) -> Result<(), E>,
        scratch: &mut [u8],
    ) -> Result<u64, E> {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(mut partial) = found.partial.pop() {
            let begin = partial.number * BLOCK as u64;
            partial.have.sort_by_key(|range| range.start);
            let mut at = 0;
            for have in partial.have.iter().chain([&(partial.bytes.len()..0)]) {
                if at < have.start {
                    read(begin + at as u64, &mut partial.bytes[at..have.start])?;
                }
                at = have.end;
            }
            found.whole.push(partial.sum());
        }
        found.whole.sort_unstable();
        // The same bytes twice are the same bytes; others make a sum that fits nothing.
        found.whole.dedup();
        let known = found.whole.len();
        let mut next = 0;
        for number in 0..self.length.div_ceil(BLOCK as u64) {
            let here = found.whole[next..known].iter().take_while(|(n, _)| *n == number).count();
            next += here;
            if here == 0 {
                let bytes = &mut scratch[..block_length(number, self.length)];
                read(number * BLOCK as u64, bytes)?;
                let sum = xxh3(number, bytes);
                found.whole.push((number, sum));
            }
        }
        Ok(found.whole.iter().fold(0, |sum, (_, block)| sum.wrapping_add(*block)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    fn bytes(length: usize) -> Vec<u8> {
        (0..length).map(|i| (i * i % 251) as u8).collect()
    }

    /// As its definition reads.
    fn xxh3(bytes: &[u8]) -> u64 {
        let block = |(seed, block): (u64, &[u8])| XxHash3_64::oneshot_with_seed(seed, block);
        (0..).zip(bytes.chunks(BLOCK)).map(block).fold(0, u64::wrapping_add)
    }

    #[test]
    fn crcs_are_those_of_the_standards_and_join() {
        for (crc, check) in [(Crc::Crc32c, 0xe306_9283), (Crc::Crc32, 0xcbf4_3926)] {
            assert_eq!(crc.append(0, b"123456789"), check);
            let (first, second) = (crc.append(0, b"1234"), crc.append(0, b"56789"));
            assert_eq!(crc.append(first, b"56789"), check);
            assert_eq!(crc.join(first, second, 5), check);
        }
    }

    #[test]
    fn xxh3_is_that_of_its_inventor() {
        // As `xxhsum -H3` prints them.
        assert_eq!(xxh3(b""), 0);
        assert_eq!(XxHash3_64::oneshot(b""), 0x2d06_8005_38d3_94c2);
        assert_eq!(xxh3(b"123456789"), XxHash3_64::oneshot(b"123456789"));
        assert_eq!(Checksum::Xxh3(xxh3(b"a")).to_string(), "xxh3 e6c632b61e964e1f");
    }

    #[test]
    fn in_order_the_cuts_do_not_matter() {
        for length in [0, 1, 1000, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 77] {
            let bytes = bytes(length);
            for cut in [1009, BLOCK - 3, BLOCK, 2 * BLOCK + 5, usize::MAX] {
                let mut sum = InOrder::new(length as u64);
                bytes.chunks(cut).for_each(|piece| sum.append(piece));
                assert_eq!(sum.value(), xxh3(&bytes), "{length} bytes in pieces of {cut}");
            }
            // Fewer or more bytes than announced are not taken for all of them.
            let mut more = InOrder::new(length as u64);
            more.append(&[&bytes[..], b"more"].concat());
            assert_ne!(more.value(), xxh3(&bytes));
        }
    }

    #[test]
    fn pieces_in_any_order_are_judged_as_they_were_handed_out() {
        let length = 3 * BLOCK + 77;
        let own = bytes(length);
        let whole = xxh3(&own);
        let finish = |blocks: &Blocks| {
            let read = |at: u64, into: &mut [u8]| -> Result<(), Infallible> {
                into.copy_from_slice(&own[at as usize..at as usize + into.len()]);
                Ok(())
            };
            blocks.finish(read, &mut vec![0; BLOCK]).unwrap()
        };
        let add = |blocks: &Blocks, from: &[u8], range: Range<usize>| {
            let mut at = range.start;
            while at < range.end {
                let end = range.end.min(at + blocks.room(at as u64));
                blocks.add(at as u64, &from[at..end]);
                at = end;
            }
        };
        let all = 0..length;
        let cases: &[&[Range<usize>]] = &[
            &[],
            std::slice::from_ref(&all),
            &[BLOCK + 7..length, 0..BLOCK + 7],
            &[5..9, 2 * BLOCK - 1..2 * BLOCK + 1, length - 1..length],
            &[0..100, 50..BLOCK, 0..2 * BLOCK, 7..8],
            &[60..100, 50..BLOCK],
            &[60..100, 10..BLOCK - 30],
        ];
        for pieces in cases {
            let blocks = Blocks::new(length as u64);
            pieces.iter().for_each(|piece| add(&blocks, &own, piece.clone()));
            assert_eq!(finish(&blocks), whole, "{pieces:?}");
            assert_eq!(finish(&blocks), whole, "{pieces:?}, asked again");
            for piece in *pieces {
                // One bit of one of the pieces was another when it was handed out.
                let mut other = own.clone();
                other[piece.start] ^= 1;
                let blocks = Blocks::new(length as u64);
                for each in *pieces {
                    add(&blocks, if each == piece { &other } else { &own }, each.clone());
                }
                assert_ne!(finish(&blocks), whole, "{piece:?} of {pieces:?}");
            }
        }
    }

    #[test]
    fn blocks_that_change_places_are_noticed() {
        let mut bytes = bytes(2 * BLOCK);
        bytes[0] = 99;
        let (first, second) = bytes.split_at(BLOCK);
        assert_ne!(xxh3(&[second, first].concat()), xxh3(&bytes));
    }
}
