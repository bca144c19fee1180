//! The inverse of the normal distribution in integers, so that every device and the host agree on
//! every bit: logarithms and divisions on devices are inexact, each in its own way.
//!
//! A random word gives a tail probability `p = T / 2³³` with odd `T = 2t + 1`. The octaves of `T`
//! (between powers of two) are cut into [`PIECES`] pieces each; between their ends the quantile
//! is a straight line. That is off by at most 4e-5 standard deviations, far less than 10⁸ samples
//! could tell.

use std::sync::OnceLock;

/// Pieces per octave; a power of two.
pub(crate) const PIECES: u32 = 64;

/// Fixed-point ones: quantiles are multiples of 2⁻²⁸.
pub(crate) const ONE: u32 = 1 << 28;

/// The quantiles at the pieces' ends, in multiples of 2⁻²⁸ and in the order of rising tail
/// probability: entry `64 k + j` belongs to `T = 2ᵏ (1 + j / 64)`; the last, to 2³², is zero.
pub fn normal_table() -> &'static [u32] {
    static TABLE: OnceLock<Vec<u32>> = OnceLock::new();
    TABLE.get_or_init(|| {
        (0..=32 * PIECES)
            .map(|entry| {
                let (octave, piece) = (entry / PIECES, entry % PIECES);
                let mantissa = 1.0 + f64::from(piece) / f64::from(PIECES);
                let tail = libm::ldexp(mantissa, octave as i32 - 33);
                libm::round(upper_quantile(tail) * f64::from(ONE)) as u32
            })
            .collect()
    })
}

/// `T` at two standard deviations, where TensorFlow's truncated normal ends.
pub fn truncation() -> u32 {
    libm::round(libm::ldexp(libm::erfc(std::f64::consts::SQRT_2), 32)) as u32
}

/// The high word of a product.
fn multiply_high(a: u32, b: u32) -> u32 {
    ((u64::from(a) * u64::from(b)) >> 32) as u32
}

/// The quantile of the tail `T / 2³³`, in multiples of 2⁻²⁸; `tail` is not zero.
fn quantile(tail: u32) -> u32 {
    let octave = tail.leading_zeros();
    let normalized = tail << octave;
    let entry = (31 - octave) * PIECES + ((normalized >> 25) & (PIECES - 1));
    let table = normal_table();
    let (upper, lower) = (table[entry as usize], table[entry as usize + 1]);
    upper - multiply_high(upper - lower, normalized << 7)
}

/// A standard normal from a random word: whether it is negative, and its magnitude in multiples of
/// 2⁻²⁸, of which the upper 24 bits count. With `truncation`, limited to two standard deviations.
pub(crate) fn normal(word: u32, truncation: Option<u32>) -> (bool, u32) {
    let raw = word << 1 | 1;
    let magnitude = match truncation {
        None => quantile(raw),
        // The lines lie above the convex curve, hence a last bit over two is possible.
        Some(from) => quantile(from + multiply_high(raw, from.wrapping_neg())).min(2 * ONE),
    };
    let excess = 8u32.saturating_sub(magnitude.leading_zeros());
    (word >> 31 == 1, magnitude >> excess << excess)
}

/// The point that a standard normal exceeds with probability `p`, for `0 < p <= 1/2`: algorithm
/// AS 241 (PPND16) of Wichura, "The percentage points of the normal distribution", Applied
/// Statistics 37 (1988), accurate to about 1 part in 10¹⁶.
fn upper_quantile(p: f64) -> f64 {
    let horner = |coefficients: &[f64; 8], x: f64| {
        coefficients.iter().rev().fold(0.0, |sum, coefficient| sum * x + coefficient)
    };
    let ratio = |[above, below]: &[[f64; 8]; 2], x: f64| horner(above, x) / horner(below, x);
    let q = 0.5 - p;
    if q <= 0.425 {
        return q * ratio(&CENTRAL, 0.180625 - q * q);
    }
    let r = libm::sqrt(-libm::log(p));
    if r <= 5.0 { ratio(&MIDDLE, r - 1.6) } else { ratio(&FAR, r - 5.0) }
}

const CENTRAL: [[f64; 8]; 2] = [
    [
        3.387_132_872_796_366_608,
        133.141_667_891_784_377_45,
        1_971.590_950_306_551_442_7,
        13_731.693_765_509_461_125,
        45_921.953_931_549_871_457,
        67_265.770_927_008_700_853,
        33_430.575_583_588_128_105,
        2_509.080_928_730_122_672_7,
    ],
    [
        1.0,
        42.313_330_701_600_911_252,
        687.187_007_492_057_908_3,
        5_394.196_021_424_751_107_7,
        21_213.794_301_586_595_867,
        39_307.895_800_092_710_61,
        28_729.085_735_721_942_674,
        5_226.495_278_852_854_561,
    ],
];

const MIDDLE: [[f64; 8]; 2] = [
    [
        1.423_437_110_749_683_577_34,
        4.630_337_846_156_545_295_9,
        5.769_497_221_460_691_405_5,
        3.647_848_324_763_204_605_04,
        1.270_458_252_452_368_382_58,
        0.241_780_725_177_450_611_77,
        0.022_723_844_989_269_184_583_3,
        7.745_450_142_783_414_076_4e-4,
    ],
    [
        1.0,
        2.053_191_626_637_758_821_87,
        1.676_384_830_183_803_849_4,
        0.689_767_334_985_100_004_55,
        0.148_103_976_427_480_074_59,
        0.015_198_666_563_616_457_196_6,
        5.475_938_084_995_344_946e-4,
        1.050_750_071_644_416_843_24e-9,
    ],
];

const FAR: [[f64; 8]; 2] = [
    [
        6.657_904_643_501_103_777_2,
        5.463_784_911_164_114_369_9,
        1.784_826_539_917_291_335_8,
        0.296_560_571_828_504_891_23,
        0.026_532_189_526_576_123_093,
        1.242_660_947_388_078_438_6e-3,
        2.711_555_568_743_487_578_15e-5,
        2.010_334_399_292_288_132_65e-7,
    ],
    [
        1.0,
        0.599_832_206_555_887_937_69,
        0.136_929_880_922_735_805_31,
        0.014_875_361_290_850_614_852_5,
        7.868_691_311_456_132_591e-4,
        1.846_318_317_510_054_681_8e-5,
        1.421_511_758_316_445_888_7e-7,
        2.044_263_103_389_939_785_64e-15,
    ],
];

#[cfg(test)]
mod tests {
    use super::*;

    fn tail(z: f64) -> f64 {
        libm::erfc(z / std::f64::consts::SQRT_2) / 2.0
    }

    #[test]
    fn the_quantile_inverts_the_distribution() {
        for step in 0..=6600 {
            let z = f64::from(step) / 1000.0;
            let back = upper_quantile(tail(z));
            assert!((back - z).abs() < 1e-13, "{z} came back as {back}");
        }
    }

    #[test]
    fn interpolation_is_close_and_falls_everywhere() {
        assert_eq!(normal_table().last(), Some(&0));
        assert!(normal_table().windows(2).all(|pair| pair[0] > pair[1]));
        let mut t = 1u64;
        let mut last = u32::MAX;
        while t < 1 << 32 {
            let (got, wanted) = (quantile(t as u32), upper_quantile(t as f64 / 2f64.powi(33)));
            let error = (f64::from(got) / f64::from(ONE) - wanted).abs();
            assert!(error < 4e-5, "T = {t}: {got} instead of {wanted}");
            assert!(got <= last, "T = {t}");
            last = got;
            t += 1 + t / 1000;
        }
    }

    #[test]
    fn truncation_is_at_two() {
        let exact = upper_quantile(f64::from(truncation()) / 2f64.powi(33));
        assert!((exact - 2.0).abs() < 1e-8, "{exact}");
    }
}
