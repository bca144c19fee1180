//! Philox 4x32-10.
use xxhash_rust::xxh3::xxh3_64;

/// Counter-based generator.
#[derive(Clone, Copy, Debug)]
pub struct Philox {
    key: [u32; 2],
    stream: [u32; 2],
}

impl Philox {
    /// A generator for a seed and a stream's name.
    pub fn new(seed: u64, stream: &str) -> Philox {
        let hash = xxh3_64(stream.as_bytes());
        Philox {
            key: [seed as u32, (seed >> 32) as u32],
            stream: [hash as u32, (hash >> 32) as u32],
        }
    }

    /// The stream's words in the counter.
    pub fn stream_words(&self) -> [u32; 2] {
        self.stream
    }

    /// Four words.
    pub fn block(&self, index: u32, round: u32) -> [u32; 4] {
        let mut c = [index, round, self.stream[0], self.stream[1]];
        let mut k = self.key;
        for _ in 0..10 {
            let a = u64::from(c[0]) * 0xD251_1F53;
            let b = u64::from(c[2]) * 0xCD9E_8D57;
            c = [
                (b >> 32) as u32 ^ c[1] ^ k[0],
                b as u32,
                (a >> 32) as u32 ^ c[3] ^ k[1],
                a as u32,
            ];
            k = [k[0].wrapping_add(0x9E37_79B9), k[1].wrapping_add(0xBB67_AE85)];
        }
        c
    }
}
