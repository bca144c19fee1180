#![no_main]

// The length of the index in two bytes, the index, and the data.
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((length, rest)) = bytes.split_first_chunk() else { return };
    let length = usize::from(u16::from_le_bytes(*length)).min(rest.len());
    let (index, data) = rest.split_at(length);
    warmstart_fuzz::open(&[("m.index", index), ("m.data-00000-of-00001", data)]);
});
