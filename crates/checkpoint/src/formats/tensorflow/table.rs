//! Tables in LevelDB's form: blocks of sorted keys with values, each with a masked crc32c.
//!
//! No crate that reads them is used: what there is does not check every length it reads, and this
//! is a page.

use super::error::BundleError;
use super::unmask;
use std::borrow::Cow;
use std::ops::Range;

/// The last eight bytes.
pub(super) const MAGIC: u64 = 0xdb47_7524_8b80_fb57;
/// Two handles, padded, and the magic number.
pub(super) const FOOTER: usize = 48;
/// What follows each block: how it is compressed, and its checksum.
const TRAILER: u64 = 5;
const UNCOMPRESSED: u8 = 0;
const SNAPPY: u8 = 1;
/// Snappy's longest copy makes 64 bytes of three.
const MOST_FROM_SNAPPY: usize = 22;
/// A key stands in full at least once in this many entries, in every table that is written.
const KEYS_FROM_ONE: usize = 64;

/// What a table's reader is given for each entry: key, value, and where the block is.
pub(super) type Entry<'a> = &'a mut dyn FnMut(&[u8], &[u8], u64) -> Result<(), BundleError>;

/// Reads all entries of a table, in the order of their keys.
pub(super) fn read_table(file: &[u8], entry: Entry<'_>) -> Result<(), BundleError> {
    let length = file.len() as u64;
    let Some((blocks, footer)) = file.split_last_chunk::<FOOTER>() else {
        return Err(BundleError::TooShort { length });
    };
    let (mut handles, magic) = footer.split_at(FOOTER - 8);
    if magic != MAGIC.to_le_bytes() {
        return Err(BundleError::NotATable { length });
    }
    let at = blocks.len() as u64;
    let mut handle = || {
        let range = read_handle(&mut handles);
        range.ok_or(BundleError::Block { offset: at, problem: "its footer is malformed" })
    };
    handle()?;
    let index = handle()?;
    let mut data = Vec::new();
    let block = block(blocks, &index)?;
    let mut room = KEYS_FROM_ONE.saturating_mul(block.len());
    entries(&block, &index, &mut Vec::new(), &mut room, &mut |_, mut value, offset| {
        let malformed = BundleError::Block { offset, problem: "a handle in it is malformed" };
        data.push(read_handle(&mut value).ok_or(malformed)?);
        Ok(())
    })?;
    drop(block);
    let mut filled = 0;
    let mut last = Vec::new();
    // What all keys together may take, in full.
    let mut room = KEYS_FROM_ONE.saturating_mul(file.len());
    for range in &data {
        // Each block once: memory and time stay within what the file's length allows.
        if range.start < filled {
            let problem = "it overlaps the one before";
            return Err(BundleError::Block { offset: range.start, problem });
        }
        filled = range.end;
        entries(&self::block(blocks, range)?, range, &mut last, &mut room, entry)?;
    }
    Ok(())
}

/// Where a block is: its contents, without what follows them.
fn read_handle(bytes: &mut &[u8]) -> Option<Range<u64>> {
    let (offset, size) = (varint(bytes)?, varint(bytes)?);
    Some(offset..offset.checked_add(size)?)
}

/// A number of seven bits a byte, the lowest first.
pub(super) fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let bits = u64::from(byte & 0x7f);
        if bits << shift >> shift != bits {
            return None;
        }
        value |= bits << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// A block, held against its checksum and unpacked.
fn block<'a>(blocks: &'a [u8], range: &Range<u64>) -> Result<Cow<'a, [u8]>, BundleError> {
    let (offset, end) = (range.start, range.end);
    let beyond = BundleError::BlockBeyondEnd { offset, end, file_length: blocks.len() as u64 };
    let whole = end
        .checked_add(TRAILER)
        .and_then(|end| blocks.get(usize::try_from(offset).ok()?..usize::try_from(end).ok()?));
    // The trailer: one byte, of which the checksum is too, and four.
    let Some((summed, masked)) = whole.and_then(|whole| whole.split_last_chunk::<4>()) else {
        return Err(beyond);
    };
    let Some((&kind, contents)) = summed.split_last() else { return Err(beyond) };
    let (expected, found) = (unmask(u32::from_le_bytes(*masked)), crc32c::crc32c(summed));
    if expected != found {
        return Err(BundleError::BlockChecksum { offset, expected, found });
    }
    match kind {
        UNCOMPRESSED => Ok(Cow::Borrowed(contents)),
        SNAPPY => {
            let wrong = |_| BundleError::Block { offset, problem: "it cannot be unpacked" };
            let length = snap::raw::decompress_len(contents).map_err(wrong)?;
            if length > MOST_FROM_SNAPPY.saturating_mul(contents.len()) {
                let problem = "it cannot be as long unpacked as it says";
                return Err(BundleError::Block { offset, problem });
            }
            snap::raw::Decoder::new().decompress_vec(contents).map(Cow::Owned).map_err(wrong)
        }
        kind => Err(BundleError::Compression { offset, kind }),
    }
}

/// Reads the entries of a block: how much of the key is that of the entry before, how much is new,
/// how long the value is, the new part, the value.
fn entries(
    block: &[u8],
    range: &Range<u64>,
    last: &mut Vec<u8>,
    room: &mut usize,
    entry: Entry<'_>,
) -> Result<(), BundleError> {
    let malformed = |problem| BundleError::Block { offset: range.start, problem };
    let (rest, restarts) = block.split_last_chunk::<4>().ok_or(malformed("it is too short"))?;
    // Where keys stand in full, for those who search.
    let restarts = (u32::from_le_bytes(*restarts) as usize).checked_mul(4);
    let mut rest = restarts
        .and_then(|restarts| rest.get(..rest.len().checked_sub(restarts)?))
        .ok_or(malformed("it is shorter than the list at its end"))?;
    let mut first = true;
    while !rest.is_empty() {
        let mut number = || usize::try_from(varint(&mut rest)?).ok();
        let lengths = number().zip(number()).zip(number());
        let ((shared, unshared), value) = lengths.ok_or(malformed("a length is cut short"))?;
        let parts = rest.split_at_checked(unshared).and_then(|(key, rest)| {
            let (value, rest) = rest.split_at_checked(value)?;
            Some((key, value, rest))
        });
        let (key, value, after) = parts.ok_or(malformed("an entry goes beyond its end"))?;
        rest = after;
        let before = if first { 0 } else { last.len() };
        if shared > before {
            return Err(malformed("a key has more in common with the one before than that has"));
        }
        *room = room
            .checked_sub(shared + unshared)
            .ok_or(malformed("its keys are longer than a file of this length can have"))?;
        let new = [&last[..shared], key].concat();
        if new <= *last && !(last.is_empty() && first) {
            return Err(malformed("its keys are not in order"));
        }
        (*last, first) = (new, false);
        entry(last, value, range.start)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block_of(contents: &[u8], kind: u8) -> Vec<u8> {
        let mut block = [contents, &[kind]].concat();
        let masked = crc32c::crc32c(&block).rotate_right(15).wrapping_add(0xa282_ead8);
        block.extend(masked.to_le_bytes());
        block
    }

    /// A table of one data block with these contents.
    fn table(contents: &[u8], kind: u8) -> Vec<u8> {
        let mut file = block_of(contents, kind);
        let size = u8::try_from(contents.len()).unwrap();
        assert!(size < 128);
        let at = file.len() as u8;
        let index = [&[0, 1, 2, b'z', 0, size][..], &[0, 0, 0, 0, 1, 0, 0, 0]].concat();
        file.extend(block_of(&index, UNCOMPRESSED));
        let mut footer = vec![0, 0, at, index.len() as u8];
        footer.resize(FOOTER - 8, 0);
        file.extend(footer);
        file.extend(MAGIC.to_le_bytes());
        file
    }

    type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

    fn read(file: &[u8]) -> Result<Pairs, BundleError> {
        let mut found = Vec::new();
        read_table(file, &mut |key, value, _| {
            found.push((key.to_vec(), value.to_vec()));
            Ok(())
        })?;
        Ok(found)
    }

    const TWO: &[u8] = b"\x00\x03\x01abcx\x02\x01\x01dy\0\0\0\0\x01\0\0\0";

    #[test]
    fn plain_and_snappy_blocks_are_read() {
        let expected = vec![(b"abc".to_vec(), b"x".to_vec()), (b"abd".to_vec(), b"y".to_vec())];
        assert_eq!(read(&table(TWO, UNCOMPRESSED)), Ok(expected.clone()));
        let packed = snap::raw::Encoder::new().compress_vec(TWO).unwrap();
        assert_eq!(read(&table(&packed, SNAPPY)), Ok(expected));
        let error = read(&table(TWO, 2)).unwrap_err();
        assert_eq!(error, BundleError::Compression { offset: 0, kind: 2 });
    }

    #[test]
    fn claims_beyond_the_block_are_refused() {
        let of = |contents: &[u8]| read(&table(contents, UNCOMPRESSED)).unwrap_err().to_string();
        assert!(of(b"\0\0").contains("too short"));
        assert!(of(b"\xff\xff\xff\xff").contains("list at its end"));
        assert!(of(b"\x01\x01\x00a\0\0\0\0").contains("in common"));
        assert!(of(b"\x00\x7f\x00a\0\0\0\0").contains("beyond its end"));
        assert!(of(b"\x00\x01\x00b\x00\x01\x00a\0\0\0\0").contains("not in order"));
        assert!(of(b"\x80\0\0\0\0").contains("cut short"));
        // Four gigabytes of snappy.
        let error = read(&table(b"\xff\xff\xff\xff\x0f\0\0\0", SNAPPY)).unwrap_err();
        assert!(error.to_string().contains("as long unpacked"), "{error}");
    }
}
