// All f16 as the f32 that the device makes of them, and those as the f16 that it makes of them again, for
// the host to compare.

enable f16;

@group(0) @binding(0) var<storage, read> loaded: array<f16>;
@group(0) @binding(1) var<storage, read> words: array<u32>;
@group(0) @binding(2) var<storage, read> fours: array<vec4<f16>>;
@group(0) @binding(3) var<storage, read_write> result: array<u32>;

const ALL = 65536u;

var<workgroup> tile: array<f16, 64>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = id.x;
    // As a product's tile, where another invocation widens what one has loaded.
    tile[lane] = loaded[i];
    workgroupBarrier();
    let other = 63u - lane;
    result[i - lane + other] = bitcast<u32>(f32(tile[other]));
    result[ALL + i] = bitcast<u32>(f32(loaded[i]));
    result[2u * ALL + i] = bitcast<u32>(unpack2x16float(words[i / 2u])[i % 2u]);
    let four = vec4<f32>(fours[i / 4u]);
    result[3u * ALL + i] = bitcast<u32>(four[i % 4u]);
    // By integers, so that no compiler takes it for what it was.
    workgroupBarrier();
    let word = words[i / 2u] >> (16u * (i % 2u));
    tile[lane] = f16(bitcast<f32>(float_bits(word & 0xffffu)));
    workgroupBarrier();
    result[4u * ALL + i - lane + other] = bitcast<u32>(f32(tile[other]));
}

fn float_bits(half: u32) -> u32 {
    let magnitude = half & 0x7fffu;
    let normal = (magnitude << 13u) + select(0x38000000u, 0x70000000u, magnitude >= 0x7c00u);
    let subnormal = bitcast<u32>(f32(magnitude) * 0x1p-24);
    return ((half & 0x8000u) << 16u) | select(normal, subnormal, magnitude < 0x400u);
}
