//! Numbers that every arm makes alike, `pytorch.py` included.

/// `count` numbers in [-limit, limit) without order, the same for the same seed.
pub fn numbers(seed: u32, count: usize, limit: f32) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((state >> 8) as f32 / (1 << 23) as f32 - 1.0) * limit
    };
    (0..count).map(|_| next()).collect()
}
