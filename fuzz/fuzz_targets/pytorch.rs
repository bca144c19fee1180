#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    warmstart_fuzz::open(&[("model.pt", bytes)]);
});
