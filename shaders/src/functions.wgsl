// Functions of one element, for generated kernels. WGSL's own exp, log and sqrt are accurate
// enough; these are the ones it lacks or leaves inexact.

// Zero, which a compiler cannot know: NaN and infinities are not constants in WGSL.
var<private> zero_bits: u32 = 0u;

fn from_bits(bits: u32) -> f32 {
    return bitcast<f32>(zero_bits + bits);
}

fn not_a_number() -> f32 {
    return from_bits(0x7fc00000u);
}

// By the bits, because a compiler may assume that every float is finite.
fn is_finite(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u;
}

fn is_nan(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u;
}

// The f32 that the f16 in the lower half of a word is. By integers, since `unpack2x16float` may take
// subnormal numbers for zero.
fn float_of_half(word: u32) -> f32 {
    let magnitude = word & 0x7fffu;
    // Exponents differ by 112, and those of infinities and NaN by twice as much.
    let normal = (magnitude << 13u) + select(0x38000000u, 0x70000000u, magnitude >= 0x7c00u);
    // Units of 2^-24.
    let subnormal = bitcast<u32>(f32(magnitude) * 5.9604644775390625e-8);
    let bits = select(normal, subnormal, magnitude < 0x400u);
    return bitcast<f32>(((word & 0x8000u) << 16u) | bits);
}

// One more, if it is counted, but never 0 again: a count of steps that began anew would be a first step, of
// which Adam divides by 0.
fn next_count(count: u32, is_counted: bool) -> u32 {
    return count + select(0u, 1u, is_counted && count < 0xfffffffeu);
}

// NaN wins, so that it is seen: max() and min() may drop it, as may a comparison, which compilers
// make one of them.
fn larger(a: f32, b: f32) -> f32 {
    return select(max(a, b), a + b, is_nan(a) || is_nan(b));
}

fn smaller(a: f32, b: f32) -> f32 {
    return select(min(a, b), a + b, is_nan(a) || is_nan(b));
}

// e^x - 1. Taylor's series below 1/2, where the difference would cancel.
fn expm1(x: f32) -> f32 {
    if (abs(x) > 0.5) {
        return exp(x) - 1.0;
    }
    var sum = 1.0 / 40320.0;
    sum = sum * x + 1.0 / 5040.0;
    sum = sum * x + 1.0 / 720.0;
    sum = sum * x + 1.0 / 120.0;
    sum = sum * x + 1.0 / 24.0;
    sum = sum * x + 1.0 / 6.0;
    sum = sum * x + 0.5;
    sum = sum * x + 1.0;
    return sum * x;
}

// Not max(), which may turn NaN into 0 and hide it; and what compares floats, a compiler may take for
// it. By their bits, the numbers from -0 to minus infinity are the least integers.
fn relu(x: f32) -> f32 {
    return select(x, 0.0, bitcast<i32>(x) <= bitcast<i32>(0xff800000u));
}

fn leaky_relu(x: f32, alpha: f32) -> f32 {
    return select(x, alpha * x, x <= 0.0);
}

fn sigmoid(x: f32) -> f32 {
    return 1.0 / (1.0 + exp(-x));
}

fn silu(x: f32) -> f32 {
    return x * sigmoid(x);
}

// max(x, 0) + ln(1 + e^-|x|), with the logarithm's series where e^-|x| is small.
fn softplus(x: f32) -> f32 {
    let e = exp(-abs(x));
    return max(x, 0.0) + select(log(1.0 + e), e * (1.0 - e * (0.5 - e * (1.0 / 3.0))), e < 0.01);
}

// (1 - e^-2|x|) / (1 + e^-2|x|), without overflow and without cancellation near 0.
fn tangent_hyperbolic(x: f32) -> f32 {
    let e = expm1(-2.0 * abs(x));
    let t = -e / (e + 2.0);
    return select(t, -t, x < 0.0);
}

// The error function, two minimax polynomials, error below 2 units in the last place.
fn erf(x: f32) -> f32 {
    let t = abs(x);
    let s = x * x;
    if (t > 0.927734375) {
        var r = fma(-1.72853470e-5, t, 3.83197126e-4);
        let u = fma(-3.88396438e-3, t, 2.42546219e-2);
        r = fma(r, s, u);
        r = fma(r, t, -1.06777877e-1);
        r = fma(r, t, -6.34846687e-1);
        r = fma(r, t, -1.28717512e-1);
        r = fma(r, t, -t);
        r = 1.0 - exp(r);
        return select(r, -r, x < 0.0);
    }
    var r = -5.96761703e-4;
    r = fma(r, s, 4.99119423e-3);
    r = fma(r, s, -2.67681349e-2);
    r = fma(r, s, 1.12819925e-1);
    r = fma(r, s, -3.76125336e-1);
    r = fma(r, s, 1.28379166e-1);
    return fma(r, x, x);
}

// x times the normal distribution's cumulative function.
fn gelu(x: f32) -> f32 {
    return 0.5 * x * (1.0 + erf(x * 0.70710678));
}

fn gelu_tanh(x: f32) -> f32 {
    return 0.5 * x * (1.0 + tangent_hyperbolic(0.79788456 * (x + 0.044715 * x * x * x)));
}

// a^b. WGSL's pow is exp2(b log2 a), which is NaN for 0^0 and for all negative a.
fn power(a: f32, b: f32) -> f32 {
    if (b == 0.0) {
        return 1.0;
    }
    let size = pow(abs(a), b);
    if (a >= 0.0) {
        return size;
    }
    let half = 0.5 * b;
    let odd = floor(half) != half;
    return select(not_a_number(), select(size, -size, odd), floor(b) == b);
}

// Sine and cosine: WGSL promises an absolute error of only 2^-11. Reduction to a quarter turn in
// three parts, then the polynomials of the Cephes library.
fn quarter_turns(x: f32) -> vec2<f32> {
    let turns = round(x * 0.63661977);
    let r = fma(
        turns,
        -7.54978995489188216e-8,
        fma(turns, -4.837512969970703125e-4, fma(turns, -1.5703125, x)),
    );
    return vec2<f32>(turns, r);
}

fn sine_near_zero(r: f32) -> f32 {
    let z = r * r;
    return r + r * z * (-1.6666654611e-1 + z * (8.3321608736e-3 + z * -1.9515295891e-4));
}

fn cosine_near_zero(r: f32) -> f32 {
    let z = r * r;
    return 1.0 - 0.5 * z
        + z * z * (4.166664568298827e-2 + z * (-1.388731625493765e-3 + z * 2.443315711809948e-5));
}

fn rotate(quarter: i32, r: f32) -> f32 {
    let even = (quarter & 1) == 0;
    let value = select(cosine_near_zero(r), sine_near_zero(r), even);
    return select(value, -value, (quarter & 2) != 0);
}

fn sine(x: f32) -> f32 {
    let turned = quarter_turns(x);
    return rotate(i32(turned.x), turned.y);
}

fn cosine(x: f32) -> f32 {
    let turned = quarter_turns(x);
    return rotate(i32(turned.x) + 1, turned.y);
}

// A uniform number in [0, 1) with 24 bits, for one element of a stream at one step.
fn random_uniform(seed: vec2<u32>, stream: vec2<u32>, step: u32, element: u32) -> f32 {
    let words = philox(vec4<u32>(element / 4u, step + 1u, stream), seed);
    return f32(words[element % 4u] >> 8u) * (1.0 / 16777216.0);
}
