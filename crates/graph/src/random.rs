//! Random numbers that depend on what they are for, never on when they are drawn.
//!
//! Philox 4x32-10 is a function from a 128-bit counter and a 64-bit key to 128 random bits
//! (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011). The
//! key is the seed; the counter says which numbers are wanted. So any element of any variable can
//! be made alone, on the device or on the host, with the same bits.

use rand::TryRng;
use rand::rand_core::utils;
use std::convert::Infallible;
use twox_hash::XxHash3_64;

/// One stream of random blocks: a seed and a name. A block has an index within a round; the first
/// values of the variable of that name are round 0, and a kernel that draws anew at each step
/// takes a round for each.
///
/// ```
/// use warmstart_graph::random::Philox;
/// let weight = Philox::new(7, "fc1/weight");
/// assert_eq!(weight.word(6), weight.block(1, 0)[2]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Philox {
    key: [u32; 2],
    stream: [u32; 2],
}

fn halves(word: u64) -> [u32; 2] {
    [word as u32, (word >> 32) as u32]
}

impl Philox {
    /// The stream of a seed and a name.
    pub fn new(seed: u64, stream: &str) -> Philox {
        Philox { key: halves(seed), stream: halves(XxHash3_64::oneshot(stream.as_bytes())) }
    }

    /// The key: the seed's low and high word.
    pub fn key(&self) -> [u32; 2] {
        self.key
    }

    /// Words 2 and 3 of the counter: the low and high word of the name's hash (xxh3-64). Words 0
    /// and 1 are the block's index and round.
    pub fn stream_words(&self) -> [u32; 2] {
        self.stream
    }

    /// Four random words.
    pub fn block(&self, index: u32, round: u32) -> [u32; 4] {
        philox([index, round, self.stream[0], self.stream[1]], self.key)
    }

    /// The random word of an element in round 0: lane `element % 4` of block `element / 4`.
    pub fn word(&self, element: u64) -> u32 {
        self.block((element / 4) as u32, 0)[(element % 4) as usize]
    }

    /// A generator that draws words one after another on the host, for use with the `rand` crate.
    /// Its rounds are counted down from the last, so that it shares none with variables and steps.
    pub fn rng(self) -> PhiloxRng {
        PhiloxRng { philox: self, position: 0, block: [0; 4] }
    }
}

/// Draws the words of a [`Philox`] stream in order. Where it stands is one number, so a resumed
/// run can go on where the last one was.
///
/// ```
/// use rand::seq::SliceRandom;
/// use warmstart_graph::random::Philox;
/// let mut order: Vec<usize> = (0..10).collect();
/// order.shuffle(&mut Philox::new(7, "epoch 3").rng());
/// ```
#[derive(Clone, Debug)]
pub struct PhiloxRng {
    philox: Philox,
    position: u64,
    block: [u32; 4],
}

impl PhiloxRng {
    /// How many words were drawn.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Goes on as if that many words had been drawn.
    pub fn set_position(&mut self, position: u64) {
        self.position = position;
        self.block = self.fetch();
    }

    fn fetch(&self) -> [u32; 4] {
        let [index, rounds] = halves(self.position / 4);
        self.philox.block(index, u32::MAX - rounds)
    }
}

impl TryRng for PhiloxRng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let lane = (self.position % 4) as usize;
        if lane == 0 {
            self.block = self.fetch();
        }
        self.position = self.position.wrapping_add(1);
        Ok(self.block[lane])
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        utils::next_u64_via_u32(self)
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        utils::fill_bytes_via_next_word(bytes, || self.try_next_u32())
    }
}

/// Philox 4x32 with ten rounds.
fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    let multiply = |a: u32, b: u32| halves(u64::from(a) * u64::from(b));
    for _ in 0..10 {
        let [low_0, high_0] = multiply(0xD251_1F53, counter[0]);
        let [low_1, high_1] = multiply(0xCD9E_8D57, counter[2]);
        counter = [high_1 ^ counter[1] ^ key[0], low_1, high_0 ^ counter[3] ^ key[1], low_0];
        key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
    }
    counter
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng;
    use rand::seq::SliceRandom;

    /// From the file `kat_vectors` of Random123.
    #[test]
    fn known_answers() {
        assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(
            philox([u32::MAX; 4], [u32::MAX; 2]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
        assert_eq!(
            philox(
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0]
            ),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn a_generator_draws_the_stream_and_resumes() {
        let philox = Philox::new(u64::MAX - 3, "order");
        let mut rng = philox.rng();
        let drawn: Vec<u32> = (0..11).map(|_| rng.next_u32()).collect();
        let words = (0..3).flat_map(|block| philox.block(block, u32::MAX));
        assert_eq!(drawn, words.take(11).collect::<Vec<_>>());
        for position in 0..11 {
            let mut resumed = philox.rng();
            resumed.set_position(position);
            assert_eq!(resumed.next_u32(), drawn[position as usize]);
        }
        assert_eq!(rng.position(), 11);
        let mut far = philox.rng();
        far.set_position(u64::from(u32::MAX) * 4 + 4);
        assert_eq!(far.next_u32(), philox.block(0, u32::MAX - 1)[0]);
    }

    #[test]
    fn names_seeds_and_rounds_are_apart() {
        let base = Philox::new(1, "a");
        for other in [Philox::new(2, "a"), Philox::new(1 << 32 | 1, "a"), Philox::new(1, "b")] {
            assert!((0..64).all(|block| other.block(block, 0) != base.block(block, 0)));
        }
        assert!((0..64).all(|block| base.block(block, 1) != base.block(block, 0)));
        assert_eq!(base.word(5), base.block(1, 0)[1]);
    }

    #[test]
    fn shuffles_are_permutations_and_reproducible() {
        let shuffled = |seed| {
            let mut order: Vec<usize> = (0..1000).collect();
            order.shuffle(&mut Philox::new(seed, "order").rng());
            order
        };
        assert_eq!(shuffled(1), shuffled(1));
        assert_ne!(shuffled(1), shuffled(2));
        let mut sorted = shuffled(1);
        sorted.sort_unstable();
        assert_eq!(sorted, (0..1000).collect::<Vec<_>>());
    }
}
