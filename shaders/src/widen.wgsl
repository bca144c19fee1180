// All f16 as the f32 that the device makes of them, for the host to compare.

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
}
