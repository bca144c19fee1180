//! Element types that a checkpoint may hold, and what becomes of them in a variable. The functions
//! here are the CPU twin of `convert.wgsl`.

use half::{bf16, f16};
use std::fmt;
use warmstart_graph::DType;

/// The element type of bytes to be restored; little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SourceDType {
    /// One byte; false if it is 0.
    Bool,
    /// 8-bit unsigned integer.
    U8,
    /// 8-bit signed integer.
    I8,
    /// 8-bit float, 4 bits of exponent, no infinities (OCP 8-bit Floating Point, 2023).
    F8E4M3,
    /// 8-bit float, 5 bits of exponent: the upper byte of an `f16`.
    F8E5M2,
    /// 16-bit signed integer.
    I16,
    /// 16-bit unsigned integer.
    U16,
    /// 16-bit IEEE 754 float.
    F16,
    /// The upper half of an `f32`.
    Bf16,
    /// 32-bit signed integer.
    I32,
    /// 32-bit unsigned integer.
    U32,
    /// 32-bit IEEE 754 float.
    F32,
    /// 64-bit IEEE 754 float.
    F64,
    /// 64-bit signed integer.
    I64,
    /// 64-bit unsigned integer.
    U64,
}

impl SourceDType {
    /// All of them, in the order of the numbers in `convert.wgsl`.
    pub const ALL: [SourceDType; 15] = {
        use SourceDType::*;
        [Bool, U8, I8, F8E4M3, F8E5M2, I16, U16, F16, Bf16, I32, U32, F32, F64, I64, U64]
    };

    /// Bytes of one element.
    pub const fn size(self) -> usize {
        use SourceDType::*;
        match self {
            Bool | U8 | I8 | F8E4M3 | F8E5M2 => 1,
            I16 | U16 | F16 | Bf16 => 2,
            I32 | U32 | F32 => 4,
            F64 | I64 | U64 => 8,
        }
    }

    /// Whether the type is a float.
    pub const fn is_float(self) -> bool {
        use SourceDType::*;
        matches!(self, F8E4M3 | F8E5M2 | F16 | Bf16 | F32 | F64)
    }

    /// Whether elements can become elements of a variable of this dtype. Only floats cannot become
    /// integers: whether to round or to cut off is not for a restore to decide.
    pub const fn casts_to(self, dtype: DType) -> bool {
        dtype.is_float() || !self.is_float()
    }

    /// The name used in messages: `f8_e4m3`, `bf16`, `f64`.
    pub const fn name(self) -> &'static str {
        use SourceDType::*;
        match self {
            Bool => "bool",
            U8 => "u8",
            I8 => "i8",
            F8E4M3 => "f8_e4m3",
            F8E5M2 => "f8_e5m2",
            I16 => "i16",
            U16 => "u16",
            F16 => "f16",
            Bf16 => "bf16",
            I32 => "i32",
            U32 => "u32",
            F32 => "f32",
            F64 => "f64",
            I64 => "i64",
            U64 => "u64",
        }
    }

    /// The value of an integer or a boolean; `None` for a float.
    pub(crate) fn integer(self, bytes: &[u8]) -> Option<i128> {
        use SourceDType::*;
        let bits = bits(bytes);
        Some(match self {
            Bool => i128::from(bits != 0),
            U8 | U16 | U32 | U64 => i128::from(bits),
            I8 => i128::from(bits as u8 as i8),
            I16 => i128::from(bits as u16 as i16),
            I32 => i128::from(bits as u32 as i32),
            I64 => i128::from(bits as i64),
            F8E4M3 | F8E5M2 | F16 | Bf16 | F32 | F64 => return None,
        })
    }

    /// Whether a cast to this dtype may meet a value that it cannot hold.
    pub(crate) const fn may_not_fit(self, to: DType) -> bool {
        use SourceDType::*;
        match to {
            DType::F32 => matches!(self, F64),
            DType::F16 => matches!(self, Bf16 | F32 | F64 | U16 | I32 | U32 | I64 | U64),
            DType::Bf16 => matches!(self, F32 | F64),
            DType::I32 => matches!(self, U32 | I64 | U64),
            DType::U32 => matches!(self, I8 | I16 | I32 | I64 | U64),
            DType::U8 => !matches!(self, Bool | U8),
        }
    }

    /// The value of an element, as it is stored.
    pub(crate) fn number(self, bytes: &[u8]) -> Number {
        match self.integer(bytes).map(|whole| (u64::try_from(whole), whole as i64)) {
            Some((Ok(whole), _)) => Number::Unsigned(whole),
            // What is below zero has at most 64 bits.
            Some((Err(_), whole)) => Number::Signed(whole),
            None if self == SourceDType::F64 => Number::Double(f64::from_bits(bits(bytes))),
            None => Number::Float(self.float(bytes)),
        }
    }

    /// Whether an element is an infinity as it is stored.
    fn is_infinite(self, bytes: &[u8]) -> bool {
        match self.number(bytes) {
            Number::Unsigned(_) | Number::Signed(_) => false,
            Number::Float(value) => value.is_infinite(),
            Number::Double(value) => value.is_infinite(),
        }
    }

    /// The nearest `f32`, ties to even. A NaN stays one, quiet (but for `f32`, which is not
    /// touched), with the upper bits of its payload.
    fn float(self, bytes: &[u8]) -> f32 {
        use SourceDType::*;
        let all = bits(bytes);
        match self {
            F8E4M3 => float_of_e4m3(all as u8),
            F8E5M2 => f16::from_bits((all as u16) << 8).to_f32(),
            F16 => f16::from_bits(all as u16).to_f32(),
            Bf16 => bf16::from_bits(all as u16).to_f32(),
            F32 => f32::from_bits(all as u32),
            F64 => float_of_double(f64::from_bits(all)),
            U64 => all as f32,
            I64 => all as i64 as f32,
            // What is left has at most 32 bits: exact in f64, so rounded once.
            _ => self.integer(bytes).map_or(f32::NAN, |integer| integer as f64 as f32),
        }
    }

    /// An `f32` that rounds to the same `f16` and `bf16` as the value does: one that was rounded to
    /// the nearest could be a tie that the value is not. So what an `f32` has no room for makes its
    /// last bit odd.
    fn before_half(self, bytes: &[u8]) -> f32 {
        match self.number(bytes) {
            Number::Double(value) => odd_float_of_double(value),
            _ => self.float(bytes),
        }
    }

    /// The bits of the element of a variable that is nearest; `None` if its dtype is of integers and
    /// cannot hold the value.
    fn nearest(self, bytes: &[u8], to: DType) -> Option<u32> {
        match to {
            DType::F16 if self == SourceDType::F16 => Some(bits(bytes) as u32),
            DType::F16 => Some(u32::from(f16::from_f32(self.before_half(bytes)).to_bits())),
            DType::Bf16 if self == SourceDType::Bf16 => Some(bits(bytes) as u32),
            DType::Bf16 => Some(u32::from(bf16::from_f32(self.before_half(bytes)).to_bits())),
            DType::F32 => Some(self.float(bytes).to_bits()),
            DType::I32 => i32::try_from(self.integer(bytes)?).ok().map(|value| value as u32),
            DType::U32 => u32::try_from(self.integer(bytes)?).ok(),
            DType::U8 => u8::try_from(self.integer(bytes)?).ok().map(u32::from),
        }
    }

    /// The same; `None` also for what is finite and nearest to an infinity.
    fn cast(self, bytes: &[u8], to: DType) -> Option<u32> {
        let nearest = self.nearest(bytes, to)?;
        let infinite = match to {
            DType::F16 => nearest & 0x7fff == 0x7c00,
            DType::Bf16 => nearest & 0x7fff == 0x7f80,
            DType::F32 => nearest & 0x7fff_ffff == 0x7f80_0000,
            DType::I32 | DType::U32 | DType::U8 => false,
        };
        (!infinite || self.is_infinite(bytes)).then_some(nearest)
    }
}

/// A number that a source holds.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Number {
    /// An integer that is not below zero, or a boolean as 0 or 1.
    Unsigned(u64),
    /// An integer below zero.
    Signed(i64),
    /// A float of at most 32 bits.
    Float(f32),
    /// A float of 64 bits.
    Double(f64),
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Number::Unsigned(value) => write!(f, "{value}"),
            Number::Signed(value) => write!(f, "{value}"),
            Number::Float(value) => write!(f, "{value:?}"),
            Number::Double(value) => write!(f, "{value:?}"),
        }
    }
}

impl fmt::Display for SourceDType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl From<DType> for SourceDType {
    fn from(dtype: DType) -> SourceDType {
        match dtype {
            DType::F32 => SourceDType::F32,
            DType::F16 => SourceDType::F16,
            DType::Bf16 => SourceDType::Bf16,
            DType::I32 => SourceDType::I32,
            DType::U32 => SourceDType::U32,
            DType::U8 => SourceDType::U8,
        }
    }
}

fn bits(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |bits, byte| (bits << 8) | u64::from(*byte))
}

fn float_of_e4m3(bits: u8) -> f32 {
    let exponent = i32::from((bits >> 3) & 15);
    let significand = f32::from(bits & 7);
    let magnitude = match (exponent, bits & 7) {
        (15, 7) => f32::NAN,
        (0, _) => significand * (-9f32).exp2(),
        _ => (8.0 + significand) * ((exponent - 10) as f32).exp2(),
    };
    if bits >> 7 == 1 { -magnitude } else { magnitude }
}

fn float_of_double(value: f64) -> f32 {
    if !value.is_nan() {
        return value as f32;
    }
    // Which bits of a NaN `as` keeps is not specified.
    let bits = value.to_bits();
    let (sign, payload) = ((bits >> 32) as u32 & 0x8000_0000, (bits >> 29) as u32 & 0x3F_FFFF);
    f32::from_bits(sign | 0x7FC0_0000 | payload)
}

/// Rounded toward zero, with an odd last bit if that changed it.
fn odd_float_of_double(value: f64) -> f32 {
    let nearest = float_of_double(value);
    if value.is_nan() || f64::from(nearest) == value {
        return nearest;
    }
    let beyond = f64::from(nearest).abs() > value.abs();
    f32::from_bits((nearest.to_bits() - u32::from(beyond)) | 1)
}

/// How the bytes of a source become those of a variable.
///
/// Casts between floats round to the nearest, ties to even, and only once. (Integers become `f16` and
/// `bf16` by way of `f32`.) Subnormal numbers, infinities and NaNs survive wherever the variable's
/// dtype has them. Integers and booleans become the nearest float, or the same integer. A number that
/// the variable's dtype cannot hold fails the restore: an integer out of its range, or a finite number
/// whose nearest one would be an infinity. Floats do not become integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Conversion {
    /// The element type of the source.
    pub from: SourceDType,
    /// Whether the source is the transposed matrix: `[columns, rows]` of a variable
    /// `[rows, columns]`.
    pub transpose: bool,
}

impl Conversion {
    /// Converts on the host, one element after the other: what a restore does on the device, to the
    /// bit. For a variable with `columns` elements in each row; only a transposition asks.
    ///
    /// `None` if an element does not fit the dtype, or if [`SourceDType::casts_to`] says no.
    ///
    /// ```
    /// use warmstart_gpu::{Conversion, SourceDType};
    /// use warmstart_graph::DType;
    ///
    /// let conversion = Conversion { from: SourceDType::F32, transpose: false };
    /// let million = 1e6f32.to_le_bytes();
    /// assert_eq!(conversion.evaluate(&million, DType::F16, 1), None, "an f16 ends at 65504");
    /// let infinity = conversion.nearest(&million, DType::F16, 1);
    /// assert_eq!(infinity, Some(vec![0x00, 0x7c]));
    /// ```
    pub fn evaluate(&self, source: &[u8], dtype: DType, columns: usize) -> Option<Vec<u8>> {
        self.each(source, dtype, columns, SourceDType::cast)
    }

    /// The same where a float beyond the largest of the dtype becomes infinite, which a restore
    /// refuses.
    pub fn nearest(&self, source: &[u8], dtype: DType, columns: usize) -> Option<Vec<u8>> {
        self.each(source, dtype, columns, SourceDType::nearest)
    }

    fn each(
        &self,
        source: &[u8],
        dtype: DType,
        columns: usize,
        cast: fn(SourceDType, &[u8], DType) -> Option<u32>,
    ) -> Option<Vec<u8>> {
        let size = self.from.size();
        let elements = source.len() / size;
        let rows = elements.checked_div(columns).unwrap_or(0);
        let mut bytes = Vec::with_capacity(elements * dtype.size());
        for element in 0..elements {
            let place = match self.transpose {
                true => element % columns * rows + element / columns,
                false => element,
            };
            let bits = cast(self.from, &source[place * size..(place + 1) * size], dtype)?;
            bytes.extend_from_slice(&bits.to_le_bytes()[..dtype.size()]);
        }
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(from: SourceDType, bytes: &[u8]) -> f32 {
        let conversion = Conversion { from, transpose: false };
        let bits = conversion.evaluate(bytes, DType::F32, 1).unwrap();
        f32::from_le_bytes(bits.try_into().unwrap())
    }

    #[test]
    fn small_floats_are_as_published() {
        // OCP 8-bit Floating Point Specification, table 1.
        assert_eq!(one(SourceDType::F8E4M3, &[0x7e]), 448.0);
        assert_eq!(one(SourceDType::F8E4M3, &[0x08]), 2f32.powi(-6));
        assert_eq!(one(SourceDType::F8E4M3, &[0x07]), 0.875 * 2f32.powi(-6));
        assert_eq!(one(SourceDType::F8E4M3, &[0x81]), -2f32.powi(-9));
        assert!(one(SourceDType::F8E4M3, &[0xff]).is_nan());
        assert_eq!(one(SourceDType::F8E5M2, &[0x7b]), 57344.0);
        assert_eq!(one(SourceDType::F8E5M2, &[0xfc]), f32::NEG_INFINITY);
        assert_eq!(one(SourceDType::F8E5M2, &[0x01]), 2f32.powi(-16));
        assert_eq!(one(SourceDType::Bf16, &[0x80, 0x3f]), 1.0);
    }

    #[test]
    fn numbers_follow_the_order() {
        for (number, dtype) in SourceDType::ALL.into_iter().enumerate() {
            assert_eq!(dtype as usize, number);
        }
    }

    #[test]
    fn integers_are_held_or_refused() {
        let cast = |from: SourceDType, bytes: &[u8], to| {
            Conversion { from, transpose: false }.evaluate(bytes, to, 1)
        };
        assert_eq!(cast(SourceDType::I8, &[0xff], DType::I32), Some(vec![0xff; 4]));
        assert_eq!(cast(SourceDType::I8, &[0xff], DType::U32), None);
        assert_eq!(cast(SourceDType::U32, &[0, 0, 0, 0x80], DType::I32), None);
        assert_eq!(cast(SourceDType::I64, &[0, 0, 0, 0, 1, 0, 0, 0], DType::U32), None);
        assert_eq!(cast(SourceDType::F32, &[0; 4], DType::I32), None);
    }

    #[test]
    fn floats_are_held_or_refused() {
        let cast = |from: SourceDType, bytes: &[u8], to| {
            Conversion { from, transpose: false }.evaluate(bytes, to, 1)
        };
        let double = |value: f64, to| cast(SourceDType::F64, &value.to_le_bytes(), to);
        let single = |value: f32, to| cast(SourceDType::F32, &value.to_le_bytes(), to);
        let half = |bits: u16| Some(bits.to_le_bytes().to_vec());
        for sign in [1.0, -1.0] {
            let negative = if sign < 0.0 { 0x8000 } else { 0 };
            // An f16 ends at 65504, and what is nearer to it than to 65536 becomes it.
            assert_eq!(single(sign * 65519.996, DType::F16), half(0x7bff | negative));
            assert_eq!(single(sign * 65520.0, DType::F16), None);
            // An f32 would round the first to 65520, from which the way is to infinity.
            assert_eq!(
                double(f64::from(sign) * 65519.9999999, DType::F16),
                half(0x7bff | negative)
            );
            assert_eq!(double(f64::from(sign) * 65520.0, DType::F16), None);
            // A bf16 ends 2^-9 of itself below the largest f32.
            let last = f32::from_bits(0x7f7f_7fff);
            assert_eq!(single(sign * last, DType::Bf16), half(0x7f7f | negative));
            assert_eq!(single(sign * last.next_up(), DType::Bf16), None);
            assert_eq!(double(f64::from(sign * last.next_up()), DType::Bf16), None);
            let below = f64::from(sign * last.next_up()) * (1.0 - f64::EPSILON);
            assert_eq!(double(below, DType::Bf16), half(0x7f7f | negative));
            // Half a step beyond the largest f32.
            let tie = f64::from(f32::MAX) + 2f64.powi(103);
            let largest = (f32::MAX * sign).to_le_bytes().to_vec();
            assert_eq!(double(f64::from(sign) * tie.next_down(), DType::F32), Some(largest));
            assert_eq!(double(f64::from(sign) * tie, DType::F32), None);
            assert_eq!(double(f64::from(sign) * f64::MAX, DType::F32), None);
            // What is infinite in the source may be so.
            assert_eq!(single(sign * f32::INFINITY, DType::F16), half(0x7c00 | negative));
            assert_eq!(
                double(f64::from(sign) * f64::INFINITY, DType::Bf16),
                half(0x7f80 | negative)
            );
        }
        assert_eq!(cast(SourceDType::Bf16, &[0x80, 0x47], DType::F16), None, "65536");
        assert_eq!(cast(SourceDType::U16, &65519u16.to_le_bytes(), DType::F16), half(0x7bff));
        assert_eq!(cast(SourceDType::U16, &65520u16.to_le_bytes(), DType::F16), None);
    }

    #[test]
    fn numbers_are_told_as_they_are_stored() {
        let told = |from: SourceDType, bytes: &[u8]| from.number(bytes).to_string();
        assert_eq!(told(SourceDType::U64, &[0xff; 8]), "18446744073709551615");
        assert_eq!(told(SourceDType::I64, &[0, 0, 0, 0, 0, 0, 0, 0x80]), "-9223372036854775808");
        assert_eq!(told(SourceDType::I8, &[0xff]), "-1");
        assert_eq!(told(SourceDType::Bool, &[7]), "1");
        assert_eq!(told(SourceDType::F32, &1e6f32.to_le_bytes()), "1000000.0");
        assert_eq!(told(SourceDType::F64, &(-1e300f64).to_le_bytes()), "-1e300");
        assert_eq!(told(SourceDType::F8E4M3, &[0x7e]), "448.0");
    }

    #[test]
    fn a_double_is_rounded_once() {
        let bf16_of = |value: f64| {
            let conversion = Conversion { from: SourceDType::F64, transpose: false };
            conversion.evaluate(&value.to_le_bytes(), DType::Bf16, 1).unwrap()
        };
        // A hair above the tie between 1 and the next bf16: to f32 it would round to the tie, and from
        // there to even.
        assert_eq!(bf16_of(1.0 + 2f64.powi(-8) + 2f64.powi(-40)), [0x81, 0x3f]);
        assert_eq!(bf16_of(1.0 + 2f64.powi(-8)), [0x80, 0x3f]);
        assert_eq!(bf16_of(1.0 + 2f64.powi(-8) - 2f64.powi(-40)), [0x80, 0x3f]);
        assert_eq!(bf16_of(-1e-300), [0, 0x80]);
    }

    #[test]
    fn what_always_fits_is_known() {
        // All patterns of 16 bits, of which the lower byte alone is one of 8 bits.
        for from in SourceDType::ALL.into_iter().filter(|from| from.size() <= 2) {
            for to in DType::ALL.into_iter().filter(|to| from.casts_to(*to)) {
                let fits =
                    |pattern: u16| from.cast(&pattern.to_le_bytes()[..from.size()], to).is_some();
                assert_eq!((0..=u16::MAX).all(fits), !from.may_not_fit(to), "{from} to {to}");
            }
        }
    }

    #[test]
    fn a_matrix_is_turned() {
        let turned = Conversion { from: SourceDType::U8, transpose: true };
        let variable = turned.evaluate(&[1, 2, 3, 4, 5, 6], DType::U32, 3).unwrap();
        assert_eq!(variable.iter().step_by(4).copied().collect::<Vec<_>>(), [1, 3, 5, 2, 4, 6]);
    }
}
