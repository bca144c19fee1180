// First values of variables. Every bit equals the CPU twin's (warmstart-graph, initialize.rs):
// WGSL promises correct rounding only for + - * of f32, so all else is done in integers.
//
// An invocation makes four elements: one Philox block.

// Constants, since software adapters compute every branch that they cannot rule out.
override KIND: u32 = 2u;
// Elements are f16, two to a word.
override HALF: bool = false;
// Whether those are bf16.
override BFLOAT: bool = false;

struct Parameters {
    elements: u32,
    // Identity: the extent of the last dimension.
    columns: u32,
    // Fill, identity: the bits of an element.
    bits: u32,
    // Normal: where the tail begins, of 2^33; 0 leaves it whole.
    truncation: u32,
    // Philox: counter words 2 and 3, and key.
    stream_low: u32,
    stream_high: u32,
    seed_low: u32,
    seed_high: u32,
    // Always 0, which no compiler knows: see `apply`.
    zero: u32,
    scale: f32,
    shift: f32,
    lowest: f32,
    highest: f32,
}

const FILL = 0u;
const IDENTITY = 1u;
const UNIFORM = 2u;
const NORMAL = 3u;

@group(0) @binding(0) var<uniform> parameters: Parameters;
// Quantiles of the normal distribution in multiples of 2^-28, 64 pieces per octave of the tail.
@group(0) @binding(1) var<storage, read> table: array<u32>;
@group(0) @binding(2) var<storage, read_write> output: array<u32>;

// Product, then sum, each rounded. A compiler may fuse the two into one rounding; the exclusive
// or with a zero it cannot foresee keeps them apart.
fn apply(sign: u32, magnitude: u32) -> f32 {
    let product = bitcast<u32>(f32(magnitude) * parameters.scale) ^ parameters.zero ^ sign;
    let sum = bitcast<f32>(product) + parameters.shift;
    let raised = select(sum, parameters.lowest, sum < parameters.lowest);
    return select(raised, parameters.highest, raised > parameters.highest);
}

fn uniform_value(word: u32) -> f32 {
    let odd = i32(((word >> 9u) << 1u) | 1u) - 8388608;
    return apply(select(0u, 0x80000000u, odd < 0), u32(abs(odd)));
}

fn quantile(tail: u32) -> u32 {
    let octave = countLeadingZeros(tail);
    let normalized = tail << octave;
    let entry = (31u - octave) * 64u + ((normalized >> 25u) & 63u);
    let upper = table[entry];
    return upper - multiply_high(upper - table[entry + 1u], normalized << 7u);
}

fn normal_value(word: u32) -> f32 {
    var tail = (word << 1u) | 1u;
    var limit = 0xffffffffu;
    if parameters.truncation != 0u {
        tail = parameters.truncation + multiply_high(tail, 0u - parameters.truncation);
        limit = 2u << 28u;
    }
    let magnitude = min(quantile(tail), limit);
    // The upper 24 bits: what an f32 holds exactly.
    let excess = 8u - min(countLeadingZeros(magnitude), 8u);
    return apply(word & 0x80000000u, (magnitude >> excess) << excess);
}

fn element_bits(element: u32, word: u32) -> u32 {
    if KIND == FILL { return parameters.bits; }
    if KIND == IDENTITY {
        let row = element / parameters.columns;
        return select(0u, parameters.bits, element - row * parameters.columns == row);
    }
    var value = 0.0;
    if KIND == UNIFORM {
        value = uniform_value(word);
    } else {
        value = normal_value(word);
    }
    if BFLOAT { return bfloat_of_float(bitcast<u32>(value)); }
    if HALF { return half_of_float(bitcast<u32>(value)); }
    return bitcast<u32>(value);
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let block = (group.y * groups.x + group.x) * 64u + local;
    // The last row of groups may reach beyond the variable; `block * 4` must not wrap around.
    if block > (parameters.elements - 1u) / 4u { return; }
    var words = vec4<u32>(0u);
    if KIND >= UNIFORM {
        let counter = vec4<u32>(block, 0u, parameters.stream_low, parameters.stream_high);
        words = philox(counter, vec2<u32>(parameters.seed_low, parameters.seed_high));
    }
    let first = block * 4u;
    let made = vec4<u32>(
        element_bits(first, words.x),
        element_bits(first + 1u, words.y),
        element_bits(first + 2u, words.z),
        element_bits(first + 3u, words.w),
    );
    let left = parameters.elements - first;
    if HALF {
        // The word of the last element is whole, with a zero beside it.
        output[block * 2u] = made.x | (select(0u, made.y, left > 1u) << 16u);
        if left > 2u {
            output[block * 2u + 1u] = made.z | (select(0u, made.w, left > 3u) << 16u);
        }
        return;
    }
    output[first] = made.x;
    if left > 1u { output[first + 1u] = made.y; }
    if left > 2u { output[first + 2u] = made.z; }
    if left > 3u { output[first + 3u] = made.w; }
}
