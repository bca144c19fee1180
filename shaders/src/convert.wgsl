// Raw bytes of a checkpoint into a variable of another dtype, transposed or not. All in integers:
// no device feature is needed for f16 and f64, and subnormal numbers survive where the device's
// own arithmetic would take them for zero. The CPU twin is `Conversion::evaluate` (warmstart-gpu).

// The numbers of `SourceDType`, in its order.
const BOOL = 0u;
const U8 = 1u;
const I8 = 2u;
const F8E4M3 = 3u;
const F8E5M2 = 4u;
const I16 = 5u;
const U16 = 6u;
const F16 = 7u;
const BF16 = 8u;
const I32 = 9u;
const U32 = 10u;
const F32 = 11u;
const F64 = 12u;
const I64 = 13u;
const U64 = 14u;

override source_dtype: u32 = 11u;
// One of F16, BF16, I32, U32, F32.
override variable_dtype: u32 = 11u;
// 1: the source is the transposed matrix.
override transpose: u32 = 0u;
// Transposed into f16 or bf16, where two elements share a word: a dispatch writes only the elements of even
// (0) or odd (1) index, so that no two invocations write one word.
override parity: u32 = 0u;

// The first words of a piece; the rest is the source's bytes.
const ELEMENTS = 0u;
// The index of the piece's first element, in the source as in the variable.
const FIRST = 1u;
// Transposed: the piece is a block of the source, `height` rows of `width` elements...
const WIDTH = 2u;
const HEIGHT = 3u;
// ...whose first element goes to this row and column of the variable...
const ROW = 4u;
const COLUMN = 5u;
// ...which has so many columns, while a row of the whole source has so many elements.
const COLUMNS = 6u;
const SOURCE_WIDTH = 7u;
// Which word of `misfits` belongs to the variable.
const MISFIT = 8u;
const BYTES = 16u;

@group(0) @binding(0) var<storage, read> piece: array<u32>;
@group(0) @binding(1) var<storage, read_write> variable: array<u32>;
// For each variable the least source index of an element that its dtype cannot hold, inverted: 0 is
// none.
@group(0) @binding(2) var<storage, read_write> misfits: array<atomic<u32>>;

// The nearest f32 to a number of up to 64 bits, ties to even, as bits.
fn float_of_integer(sign: u32, high_word: u32, low_word: u32) -> u32 {
    var high = high_word;
    var low = low_word;
    var exponent = 190u;
    if high == 0u {
        high = low;
        low = 0u;
        exponent = 158u;
    }
    if high == 0u { return 0u; }
    let zeros = countLeadingZeros(high);
    if zeros > 0u {
        high = (high << zeros) | (low >> (32u - zeros));
        low = low << zeros;
    }
    let kept = high >> 8u;
    let rest = high & 0xffu;
    let up = rest > 0x80u || (rest == 0x80u && (low != 0u || (kept & 1u) == 1u));
    // A carry out of the significand raises the exponent, as it should.
    return sign | (((exponent - zeros) << 23u) + (kept & 0x7fffffu) + select(0u, 1u, up));
}

// A float of few bits: no number of it is beyond f32, so nothing is rounded.
fn float_of_small(sign: u32, magnitude: u32, significand_bits: u32, bias: u32) -> u32 {
    let exponent = magnitude >> significand_bits;
    let significand = magnitude & ((1u << significand_bits) - 1u);
    let up = 23u - significand_bits;
    if exponent != 0u { return sign | ((exponent + 127u - bias) << 23u) | (significand << up); }
    if significand == 0u { return sign; }
    // Subnormal there, normal in f32.
    let shift = countLeadingZeros(significand) + significand_bits - 31u;
    let fraction = (significand << shift) & ((1u << significand_bits) - 1u);
    return sign | ((128u - bias - shift) << 23u) | (fraction << up);
}

// A NaN stays one, quiet, with the upper bits of its payload.
const QUIET = 0x7fc00000u;

fn float_of_half(bits: u32) -> u32 {
    let sign = (bits & 0x8000u) << 16u;
    let magnitude = bits & 0x7fffu;
    if magnitude > 0x7c00u { return sign | QUIET | ((magnitude & 0x3ffu) << 13u); }
    if magnitude == 0x7c00u { return sign | 0x7f800000u; }
    return float_of_small(sign, magnitude, 10u, 15u);
}

fn float_of_bfloat(bits: u32) -> u32 {
    let quiet = select(0u, 0x400000u, (bits & 0x7fffu) > 0x7f80u);
    return (bits << 16u) | quiet;
}

fn float_of_e4m3(bits: u32) -> u32 {
    let sign = (bits & 0x80u) << 24u;
    let magnitude = bits & 0x7fu;
    if magnitude == 0x7fu { return sign | QUIET; }
    return float_of_small(sign, magnitude, 3u, 7u);
}

fn float_of_double(high: u32, low: u32) -> u32 {
    let sign = high & 0x80000000u;
    let exponent = i32((high >> 20u) & 0x7ffu);
    // The upper 23 bits of the significand and the 29 that f32 has no room for.
    let kept = ((high & 0xfffffu) << 3u) | (low >> 29u);
    let rest = low & 0x1fffffffu;
    if exponent == 0x7ff {
        let nan = (high & 0xfffffu) != 0u || low != 0u;
        return sign | select(0x7f800000u, QUIET | kept, nan);
    }
    let rebiased = exponent - 896;
    // What becomes an f16 or bf16 is rounded again. Here it is cut off then, with an odd last bit if that
    // changed it, so that it is no tie which the number is not.
    let again = shares_words();
    if rebiased >= 255 { return sign | select(0x7f800000u, 0x7f7fffffu, again); }
    if rebiased >= 1 {
        let bits = (u32(rebiased) << 23u) | kept;
        if again { return sign | bits | select(0u, 1u, rest != 0u); }
        let up = rest > 0x10000000u || (rest == 0x10000000u && (kept & 1u) == 1u);
        return sign | (bits + select(0u, 1u, up));
    }
    // Subnormal in f32, or less than half of the least such.
    if rebiased < -23 {
        let is_zero = (high & 0x7fffffffu) == 0u && low == 0u;
        return sign | select(0u, 1u, again && !is_zero);
    }
    let shift = u32(1 - rebiased);
    let whole = kept | 0x800000u;
    let quotient = whole >> shift;
    let dropped = whole & ((1u << shift) - 1u);
    if again { return sign | quotient | select(0u, 1u, dropped != 0u || rest != 0u); }
    let tie = 1u << (shift - 1u);
    let above = dropped > tie || (dropped == tie && (rest != 0u || (quotient & 1u) == 1u));
    return sign | (quotient + select(0u, 1u, above));
}

fn byte(element: u32) -> u32 {
    return (piece[BYTES + element / 4u] >> ((element % 4u) * 8u)) & 0xffu;
}

fn short(element: u32) -> u32 {
    return (piece[BYTES + element / 2u] >> ((element % 2u) * 16u)) & 0xffffu;
}

fn word(element: u32) -> u32 {
    return piece[BYTES + element];
}

// Low word, high word.
fn long(element: u32) -> vec2<u32> {
    return vec2<u32>(piece[BYTES + element * 2u], piece[BYTES + element * 2u + 1u]);
}

// All ones below zero.
fn signs(word: u32) -> u32 {
    return u32(i32(word) >> 31u);
}

// An integer of the source as 64 bits in two's complement. (Like all functions it ends in a `return`, not in
// a `switch` whose cases do: Windows' compiler of HLSL may not see that they all do.)
fn integer(element: u32) -> vec2<u32> {
    switch source_dtype {
        case BOOL: { return vec2<u32>(select(0u, 1u, byte(element) != 0u), 0u); }
        case U8: { return vec2<u32>(byte(element), 0u); }
        case I8: {
            let low = u32(i32(byte(element) << 24u) >> 24u);
            return vec2<u32>(low, signs(low));
        }
        case U16: { return vec2<u32>(short(element), 0u); }
        case I16: {
            let low = u32(i32(short(element) << 16u) >> 16u);
            return vec2<u32>(low, signs(low));
        }
        case I32: {
            let low = word(element);
            return vec2<u32>(low, signs(low));
        }
        case U32: { return vec2<u32>(word(element), 0u); }
        default: {}
    }
    return long(element);
}

// An element of the source as the bits of an f32.
fn float(element: u32) -> u32 {
    switch source_dtype {
        case F8E4M3: { return float_of_e4m3(byte(element)); }
        // The upper byte of an f16.
        case F8E5M2: { return float_of_half(byte(element) << 8u); }
        case F16: { return float_of_half(short(element)); }
        case BF16: { return float_of_bfloat(short(element)); }
        case F32: { return word(element); }
        case F64: {
            let bits = long(element);
            return float_of_double(bits.y, bits.x);
        }
        case U64: {
            let bits = long(element);
            return float_of_integer(0u, bits.y, bits.x);
        }
        default: {}
    }
    let bits = integer(element);
    if bits.y >> 31u == 0u { return float_of_integer(0u, bits.y, bits.x); }
    let low = ~bits.x + 1u;
    return float_of_integer(0x80000000u, ~bits.y + select(0u, 1u, low == 0u), low);
}

fn fits(bits: vec2<u32>) -> bool {
    if variable_dtype == U32 { return bits.y == 0u; }
    if source_dtype == U64 { return bits.y == 0u && bits.x < 0x80000000u; }
    return bits.y == signs(bits.x);
}

// Whether an element of the source is an infinity there.
fn is_infinite(element: u32) -> bool {
    switch source_dtype {
        case F64: {
            let bits = long(element);
            return (bits.y & 0x7fffffffu) == 0x7ff00000u && bits.x == 0u;
        }
        case F8E4M3, F8E5M2, F16, BF16, F32: {
            return (float(element) & 0x7fffffffu) == 0x7f800000u;
        }
        default: {}
    }
    return false;
}

// Notes that the variable's dtype cannot hold an element.
fn misfit(index: u32) {
    atomicMax(&misfits[piece[MISFIT]], ~index);
}

// The bits of a float of the variable, which is not to become infinite on its way: `infinity` are those
// of one.
fn finite(bits: u32, infinity: u32, element: u32, index: u32) -> u32 {
    let beyond = (bits & (infinity | (infinity - 1u))) == infinity;
    if beyond && !is_infinite(element) { misfit(index); }
    return bits;
}

// An element of the piece as the bits of one of the variable; `index` is its place in the whole
// source.
fn converted(element: u32, index: u32) -> u32 {
    switch variable_dtype {
        case F16: {
            // As it is, a NaN's payload too.
            if source_dtype == F16 { return short(element); }
            return finite(half_of_float(float(element)), 0x7c00u, element, index);
        }
        case BF16: {
            if source_dtype == BF16 { return short(element); }
            return finite(bfloat_of_float(float(element)), 0x7f80u, element, index);
        }
        case F32: {
            // Every other number is below its largest.
            if source_dtype != F64 { return float(element); }
            return finite(float(element), 0x7f800000u, element, index);
        }
        default: {}
    }
    let bits = integer(element);
    if !fits(bits) { misfit(index); }
    return bits.x;
}

// Whether two elements of the variable share a word.
fn shares_words() -> bool {
    return variable_dtype == F16 || variable_dtype == BF16;
}

// Elements in their order: an invocation writes whole words.
fn straight(group: u32, local: u32) {
    let elements = piece[ELEMENTS];
    let first = piece[FIRST];
    for (var turn = 0u; turn < 8u; turn++) {
        let unit = group * 512u + turn * 64u + local;
        if !shares_words() {
            if unit < elements { variable[first + unit] = converted(unit, first + unit); }
            continue;
        }
        // `first` is even, and fewer than 2^31 elements of two bytes fit a binding.
        let low = unit * 2u;
        if low >= elements { continue; }
        let place = (first + low) / 2u;
        var high_bits = variable[place] & 0xffff0000u;
        if low + 1u < elements { high_bits = converted(low + 1u, first + low + 1u) << 16u; }
        variable[place] = converted(low, first + low) | high_bits;
    }
}

// A workgroup takes 64 elements of 16 rows of the source, so that it reads rows and still writes to
// few places at a time.
fn transposed(group: u32, local: u32) {
    let width = piece[WIDTH];
    let height = piece[HEIGHT];
    let tiles = (width + 63u) / 64u;
    let x = (group % tiles) * 64u + local;
    if x >= width { return; }
    let y = (group / tiles) * 16u;
    for (var turn = 0u; turn < 16u; turn++) {
        if y + turn >= height { return; }
        let element = (y + turn) * width + x;
        let row = piece[ROW] + x;
        let column = piece[COLUMN] + y + turn;
        let index = column * piece[SOURCE_WIDTH] + row;
        let place = row * piece[COLUMNS] + column;
        if !shares_words() {
            variable[place] = converted(element, index);
        } else if place % 2u == parity {
            let shift = parity * 16u;
            let other = variable[place / 2u] & ~(0xffffu << shift);
            variable[place / 2u] = other | (converted(element, index) << shift);
        }
    }
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let linear = group.y * groups.x + group.x;
    if transpose == 1u {
        transposed(linear, local);
    } else {
        straight(linear, local);
    }
}
