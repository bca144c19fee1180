//! The keys under which a bundle has the slices of a partitioned variable: name, rank, and start
//! and length along each axis, in an encoding that sorts as they do.

/// What the keys of all slices of a tensor begin with.
pub(super) fn owner_key(name: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(name.len() + 3);
    // Zero: the kind of key. No name begins with it.
    unsigned(&mut key, 0);
    for &byte in name.as_bytes() {
        match byte {
            0 => key.extend([0, 0xff]),
            0xff => key.extend([0xff, 0]),
            byte => key.push(byte),
        }
    }
    key.extend([0, 1]);
    key
}

/// The rest of the key of a slice; `None` stands for a whole axis.
pub(super) fn extents_key(extents: impl ExactSizeIterator<Item = (i64, Option<i64>)>) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + 4 * extents.len());
    unsigned(&mut key, extents.len() as u64);
    for (start, length) in extents {
        signed(&mut key, start);
        signed(&mut key, length.unwrap_or(-1));
    }
    key
}

/// A key, cut where the name ends; `None` if it is no key of a slice.
pub(super) fn split(key: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut at = 1;
    loop {
        at += match (key.get(at)?, key.get(at + 1)) {
            (0, Some(1)) => return key.split_at_checked(at + 2),
            (0, Some(0xff)) | (0xff, Some(0)) => 2,
            (0, _) => return None,
            _ => 1,
        };
    }
}

/// How many bytes, and the bytes, the highest first.
fn unsigned(key: &mut Vec<u8>, value: u64) {
    let skipped = value.leading_zeros() as usize / 8;
    key.push((8 - skipped) as u8);
    key.extend(&value.to_be_bytes()[skipped..]);
}

/// As many ones, after the sign, as there are further bytes; then the value, the highest bits first.
fn signed(key: &mut Vec<u8>, value: i64) {
    let bits = 64 - (value ^ (value >> 63)).leading_zeros() as usize;
    let length = bits / 7 + 1;
    let mut bytes = [if value < 0 { 0xff } else { 0 }; 10];
    bytes[2..].copy_from_slice(&value.to_be_bytes());
    let bytes = &mut bytes[10 - length..];
    let ones = !(u16::MAX.checked_shr(length as u32).unwrap_or(0));
    for (byte, ones) in bytes.iter_mut().zip(ones.to_be_bytes()) {
        *byte ^= ones;
    }
    key.extend(&*bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_of_tensorflow() {
        let slice_key = |name, extents: &[(i64, Option<i64>)]| {
            let (owner, rest) = (owner_key(name), extents_key(extents.iter().copied()));
            let key = [&owner[..], &rest].concat();
            assert_eq!(split(&key), Some((&owner[..], &rest[..])));
            key
        };
        let key = slice_key("emb", &[(3, Some(2)), (0, Some(4))]);
        assert_eq!(key, b"\x00emb\x00\x01\x01\x02\x83\x82\x80\x84");
        assert_eq!(slice_key("a\0", &[(0, None)]), b"\x00a\x00\xff\x00\x01\x01\x01\x80\x7f");
        assert_eq!(slice_key("", &[]), b"\x00\x00\x01\x00");
        for none in [&b""[..], b"\0", b"\0a", b"\0a\0", b"\0a\0\xff", b"\0\0\0\0\x01"] {
            assert_eq!(split(none), None);
        }
    }

    #[test]
    fn longer_numbers_sort_as_their_values_do() {
        let encoded = |value| {
            let mut key = Vec::new();
            signed(&mut key, value);
            key
        };
        assert_eq!(encoded(64), [0xc0, 0x40]);
        assert_eq!(encoded(8191), [0xdf, 0xff]);
        assert_eq!(encoded(8192), [0xe0, 0x20, 0x00]);
        assert_eq!(encoded(-64), [0x40]);
        assert_eq!(encoded(-65), [0x3f, 0xbf]);
        assert_eq!(encoded(i64::MAX), [0xff, 0xc0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
        let mut values: Vec<i64> = (0..62).map(|bits| 1 << bits).collect();
        values.extend((0..62).map(|bits| -(1 << bits)));
        values.extend([i64::MIN, i64::MAX, 0]);
        values.sort();
        let keys: Vec<Vec<u8>> = values.iter().map(|&value| encoded(value)).collect();
        assert!(keys.is_sorted());
    }
}
