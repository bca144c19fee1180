//! What an initializer means for a variable: whether it fits, and the recipe that both the device
//! kernel and the CPU twin in this file follow to the bit.

use crate::orthogonal::orthonormalize;
use crate::quantile::{normal, truncation};
use crate::random::Philox;
use crate::{DType, Elements, Initializer, Shape, TensorData, Variable};
use half::{bf16, f16};
use thiserror::Error;

crate::debug_as_display!(InitializeError);

/// Why an initializer does not fit a variable.
#[derive(Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum InitializeError {
    /// `Values` with another number of elements than the shape.
    #[error(
        "its initializer gives {given} values, but shape {shape} has {wanted} elements. Give exactly as many values"
    )]
    ValueCount {
        /// How many values are given.
        given: usize,
        /// How many the shape has.
        wanted: usize,
        /// The shape.
        shape: Shape,
    },
    /// An initializer that makes a matrix, for a shape that is none.
    #[error(
        "initializer {initializer} makes a matrix, but the shape is {shape}. Use it for {wanted}, or choose another initializer"
    )]
    NotMatrix {
        /// The initializer.
        initializer: Initializer,
        /// The shape.
        shape: Shape,
        /// What shapes it is for.
        wanted: &'static str,
    },
    /// A float initializer for an integer variable.
    #[error(
        "initializer {initializer} makes floats, but the dtype is {dtype}. Integer variables take zeros, ones or a constant"
    )]
    NeedsFloat {
        /// The initializer.
        initializer: Initializer,
        /// The dtype.
        dtype: DType,
    },
    /// A constant that the dtype cannot hold.
    #[error("the constant {value} cannot be held as {dtype}. Choose a value in its range{}", if dtype.is_float() { "" } else { ", without a fraction" })]
    NotRepresentable {
        /// The constant.
        value: f64,
        /// The dtype.
        dtype: DType,
    },
    /// A parameter that is no number, infinite, or of the wrong sign or order.
    #[error("initializer {initializer} is not a distribution: {problem}. Correct its parameters")]
    Parameter {
        /// The initializer.
        initializer: Initializer,
        /// What is wrong.
        problem: &'static str,
    },
    /// A shape of more elements than this machine can count.
    #[error("shape {shape} has more elements than fit in memory. Split the variable")]
    TooLarge {
        /// The shape.
        shape: Shape,
    },
}

impl Initializer {
    /// Whether this initializer can make a value of the given shape and dtype.
    ///
    /// # Errors
    /// The first reason why it cannot.
    pub fn check(&self, shape: &Shape, dtype: DType) -> Result<(), InitializeError> {
        use Initializer as I;
        let wanted = shape
            .checked_elements()
            .ok_or_else(|| InitializeError::TooLarge { shape: shape.clone() })?;
        if !dtype.is_float() && !matches!(self, I::Zeros | I::Ones | I::Constant(_)) {
            return Err(InitializeError::NeedsFloat { initializer: self.clone(), dtype });
        }
        let parameters = |fits: bool, problem| match fits {
            true => Ok(()),
            false => Err(InitializeError::Parameter { initializer: self.clone(), problem }),
        };
        match *self {
            I::Constant(value) => match constant_bits(value, dtype) {
                Some(_) => Ok(()),
                None => Err(InitializeError::NotRepresentable { value, dtype }),
            },
            I::Values(ref values) if values.len() != wanted => Err(InitializeError::ValueCount {
                given: values.len(),
                wanted,
                shape: shape.clone(),
            }),
            I::Uniform { low, high } => {
                parameters(
                    (high - low).is_finite(),
                    "its bounds must be finite, and their distance",
                )?;
                parameters(low <= high, "its lower bound is above its upper bound")
            }
            I::Normal { mean, stddev } | I::TruncatedNormal { mean, stddev } => {
                // No sample is as far from the mean as seven standard deviations.
                let farthest = mean.abs() + 7.0 * stddev.abs();
                parameters(farthest.is_finite(), "its samples would not all be finite")?;
                parameters(stddev >= 0.0, "its standard deviation is negative")
            }
            I::Identity { .. } if shape.rank() != 2 => Err(InitializeError::NotMatrix {
                initializer: self.clone(),
                shape: shape.clone(),
                wanted: "shapes of rank 2",
            }),
            I::Orthogonal { .. } if shape.rank() < 2 => Err(InitializeError::NotMatrix {
                initializer: self.clone(),
                shape: shape.clone(),
                wanted: "shapes of rank 2 or more",
            }),
            I::Identity { gain } | I::Orthogonal { gain } => {
                parameters(gain.is_finite(), "its gain must be finite")
            }
            _ => Ok(()),
        }
    }
}

/// The bits of one element that holds `value`, or `None` if the dtype cannot.
fn constant_bits(value: f64, dtype: DType) -> Option<u32> {
    let whole = value.fract() == 0.0;
    match dtype {
        DType::F32 => {
            let narrow = value as f32;
            (narrow.is_finite() || !value.is_finite()).then_some(narrow.to_bits())
        }
        DType::F16 => {
            let narrow = half::f16::from_f64(value);
            (narrow.is_finite() || !value.is_finite()).then_some(narrow.to_bits().into())
        }
        DType::Bf16 => {
            // `bf16::from_f64` takes what is a little more than half way for a tie.
            let narrow = bf16::from_f32(value as f32);
            (narrow.is_finite() || !value.is_finite()).then_some(narrow.to_bits().into())
        }
        DType::I32 => (whole && (-2147483648.0..=2147483647.0).contains(&value))
            .then_some((value as i32).cast_unsigned()),
        DType::U32 => (whole && (0.0..=4294967295.0).contains(&value)).then_some(value as u32),
        DType::U8 => (whole && (0.0..=255.0).contains(&value)).then_some(value as u32),
    }
}

/// An initializer worked out for one variable and seed: little enough for a kernel to follow, and
/// exact, so that every device and the host arrive at the same bits.
#[derive(Clone, Debug, PartialEq)]
pub enum Recipe {
    /// The same bits in every element.
    Fill {
        /// The bits; those of an `f16` or `bf16` are in the lower half.
        bits: u32,
    },
    /// The given bits on the diagonal of a matrix, zero elsewhere.
    Identity {
        /// The extent of the last dimension.
        columns: usize,
        /// The bits, as for [`Recipe::Fill`].
        bits: u32,
    },
    /// Independent random elements.
    Random {
        /// Where an element's integer comes from.
        distribution: Distribution,
        /// How the integer becomes a float.
        affine: Affine,
        /// The stream of random words; an element takes word number of its index.
        philox: Philox,
    },
    /// A value made on the host.
    Host(TensorData),
}

/// How a random word becomes an integer of at most 24 significant bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distribution {
    /// An odd integer, evenly from ±(2²³ - 1).
    Uniform,
    /// A standard normal in multiples of 2⁻²⁸, by [`normal_table`](crate::normal_table).
    Normal,
    /// The same, within two standard deviations.
    TruncatedNormal,
}

/// How an integer becomes a float: multiplied by `scale`, rounded, added to `shift`, rounded,
/// limited to `lowest..=highest`. Nothing else is exact on every device, and the product must not
/// be contracted with the sum into a fused multiply-add.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affine {
    /// The factor.
    pub scale: f32,
    /// The summand.
    pub shift: f32,
    /// The least value.
    pub lowest: f32,
    /// The greatest value.
    pub highest: f32,
}

/// Devices may take numbers below 2⁻¹²⁶ for zero. A sum of numbers that are zero or larger than
/// this is zero or no such number.
const SMALLEST: f32 = f32::from_bits((127 - 100) << 23);

impl Affine {
    fn of_uniform(low: f32, high: f32) -> Affine {
        let (wide_low, wide_high) = (f64::from(low), f64::from(high));
        // The float before 0 is one that devices may take for zero.
        let highest = if high == 0.0 { -SMALLEST } else { high.next_down() };
        Affine {
            scale: ((wide_high - wide_low) / 2.0 / f64::from(1 << 23)) as f32,
            shift: ((wide_high + wide_low) / 2.0) as f32,
            lowest: low,
            highest: highest.max(low),
        }
    }

    fn of_normal(mean: f32, stddev: f32) -> Affine {
        let scale = (f64::from(stddev) / f64::from(1 << 28)) as f32;
        Affine { scale, shift: mean, lowest: f32::MIN, highest: f32::MAX }
    }

    /// Whether no number on the way is one that a device may take for zero.
    fn is_exact_on_devices(&self) -> bool {
        let fits = |x: f32| x == 0.0 || x.abs() >= SMALLEST;
        let Affine { scale, shift, lowest, highest } = *self;
        scale >= f32::MIN_POSITIVE && fits(shift) && fits(lowest) && fits(highest)
    }

    fn apply(&self, negative: bool, magnitude: u32) -> f32 {
        let product = magnitude as f32 * self.scale;
        let signed = if negative { -product } else { product };
        (signed + self.shift).max(self.lowest).min(self.highest)
    }
}

impl Recipe {
    /// What a variable's initializer means under a seed.
    ///
    /// # Errors
    /// As for [`Initializer::check`].
    pub fn of(variable: &Variable, seed: u64) -> Result<Recipe, InitializeError> {
        use Initializer as I;
        let Variable { shape, dtype, initializer, .. } = variable;
        let dtype = *dtype;
        initializer.check(shape, dtype)?;
        let philox = Philox::new(seed, &variable.name);
        let fill = |value: f64| match constant_bits(value, dtype) {
            Some(bits) => Ok(Recipe::Fill { bits }),
            None => Err(InitializeError::NotRepresentable { value, dtype }),
        };
        let random = |distribution, affine: Affine| {
            let recipe = Recipe::Random { distribution, affine, philox };
            match affine.is_exact_on_devices() {
                true => recipe,
                false => Recipe::Host(recipe.evaluate(shape, dtype)),
            }
        };
        let uniform = |low: f32, high: f32| match low < high {
            true => Ok(random(Distribution::Uniform, Affine::of_uniform(low, high))),
            false => fill(low.into()),
        };
        let normal = |distribution, mean: f32, stddev: f32| match stddev > 0.0 {
            true => Ok(random(distribution, Affine::of_normal(mean, stddev))),
            false => fill(mean.into()),
        };
        let (fan_in, fan_out) = fans(shape);
        let root = |numerator: f64, fan: f64| (numerator / fan).sqrt() as f32;
        match *initializer {
            I::Zeros => fill(0.0),
            I::Ones => fill(1.0),
            I::Constant(value) => fill(value),
            I::Values(ref values) => Ok(Recipe::Host(narrow(shape, dtype, values.iter().copied()))),
            I::Uniform { low, high } => uniform(low, high),
            I::Normal { mean, stddev } => normal(Distribution::Normal, mean, stddev),
            I::TruncatedNormal { mean, stddev } => {
                normal(Distribution::TruncatedNormal, mean, stddev)
            }
            I::GlorotUniform => {
                let limit = root(6.0, fan_in + fan_out);
                uniform(-limit, limit)
            }
            I::GlorotNormal => normal(Distribution::Normal, 0.0, root(2.0, fan_in + fan_out)),
            I::HeUniform => {
                let limit = root(6.0, fan_in);
                uniform(-limit, limit)
            }
            I::HeNormal => normal(Distribution::Normal, 0.0, root(2.0, fan_in)),
            I::Identity { gain } => match constant_bits(gain.into(), dtype) {
                Some(bits) => Ok(Recipe::Identity { columns: shape[1], bits }),
                None => Err(InitializeError::NotRepresentable { value: gain.into(), dtype }),
            },
            I::Orthogonal { gain } => {
                Ok(Recipe::Host(narrow(shape, dtype, orthogonal(shape, gain, philox).into_iter())))
            }
        }
    }

    /// The value, made on the host.
    pub fn evaluate(&self, shape: &Shape, dtype: DType) -> TensorData {
        let count = shape.elements();
        match self {
            Recipe::Fill { bits } => from_bits(shape, dtype, |_| *bits),
            Recipe::Identity { columns, bits } => from_bits(shape, dtype, |element| {
                let on_diagonal = element / columns == element % columns;
                if on_diagonal { *bits } else { 0 }
            }),
            Recipe::Random { distribution, affine, philox } => {
                let blocks = (0..count.div_ceil(4)).flat_map(|block| philox.block(block as u32, 0));
                let values = blocks.take(count).map(|word| {
                    let (negative, magnitude) = distribution.integer(word);
                    affine.apply(negative, magnitude)
                });
                narrow(shape, dtype, values)
            }
            Recipe::Host(value) => value.clone(),
        }
    }
}

impl Distribution {
    /// The sign and magnitude that a random word stands for.
    fn integer(self, word: u32) -> (bool, u32) {
        match self {
            Distribution::Uniform => {
                let odd = (word >> 9 << 1 | 1).cast_signed() - (1 << 23);
                (odd < 0, odd.unsigned_abs())
            }
            Distribution::Normal => normal(word, None),
            Distribution::TruncatedNormal => normal(word, Some(truncation())),
        }
    }
}

/// A variable's first value, made on the host: the twin of what the device makes, equal in every
/// bit.
///
/// # Errors
/// As for [`Initializer::check`].
pub fn initial_value(variable: &Variable, seed: u64) -> Result<TensorData, InitializeError> {
    Ok(Recipe::of(variable, seed)?.evaluate(&variable.shape, variable.dtype))
}

/// The number of inputs that reach one output, and of outputs that one input reaches: for a
/// matrix its extents `[in, out]`; for more dimensions the last two are channels and the others,
/// the receptive field, multiply both, as TensorFlow has it.
fn fans(shape: &Shape) -> (f64, f64) {
    // An empty variable has no elements to scale; 1 keeps its scale a number.
    let extent = |from_last: usize| shape[shape.rank() - from_last].max(1) as f64;
    match shape.rank() {
        0 => (1.0, 1.0),
        1 => (extent(1), extent(1)),
        rank => {
            let field: f64 = (3..=rank).map(extent).product();
            (extent(2) * field, extent(1) * field)
        }
    }
}

fn from_bits(shape: &Shape, dtype: DType, bits: impl Fn(usize) -> u32) -> TensorData {
    let bits = (0..shape.elements()).map(bits);
    let elements = match dtype {
        DType::F32 => Elements::F32(bits.map(f32::from_bits).collect()),
        DType::F16 => Elements::F16(bits.map(|b| f16::from_bits(b as u16)).collect()),
        DType::Bf16 => Elements::Bf16(bits.map(|b| bf16::from_bits(b as u16)).collect()),
        DType::I32 => Elements::I32(bits.map(u32::cast_signed).collect()),
        DType::U32 => Elements::U32(bits.collect()),
        DType::U8 => Elements::U8(bits.map(|b| b as u8).collect()),
    };
    TensorData::new(shape, elements).expect("one element was made for each of the shape")
}

/// Floats rounded to the nearest of the dtype; `Initializer::check` has let only floats in.
fn narrow(shape: &Shape, dtype: DType, values: impl Iterator<Item = f32>) -> TensorData {
    let elements = match dtype {
        DType::F16 => Elements::F16(values.map(f16::from_f32).collect()),
        DType::Bf16 => Elements::Bf16(values.map(bf16::from_f32).collect()),
        _ => Elements::F32(values.collect()),
    };
    TensorData::new(shape, elements).expect("one element was made for each of the shape")
}

/// Orthonormal columns, or rows where those are fewer, times `gain`; from the same normals that
/// [`Initializer::Normal`] would give.
fn orthogonal(shape: &Shape, gain: f32, philox: Philox) -> Vec<f32> {
    let columns = shape[shape.rank() - 1];
    let rows = shape.elements().checked_div(columns).unwrap_or(0);
    let (count, length) = (rows.min(columns), rows.max(columns));
    let at = |vector: usize, place: usize| vector * length + place;
    let mut vectors: Vec<Vec<f64>> = (0..count)
        .map(|vector| {
            (0..length)
                .map(|place| {
                    let word = philox.word(at(vector, place) as u64);
                    let (negative, magnitude) = Distribution::Normal.integer(word);
                    if negative { -f64::from(magnitude) } else { f64::from(magnitude) }
                })
                .collect()
        })
        .collect();
    orthonormalize(&mut vectors);
    (0..rows * columns)
        .map(|element| {
            let (row, column) = (element / columns, element % columns);
            let value = if rows < columns { vectors[row][column] } else { vectors[column][row] };
            (value * f64::from(gain)) as f32
        })
        .collect()
}
