// The global norm, first half: the sum of squares of each block of a packed buffer.

override BLOCKS: u32 = 1u;

// Pairs of offset and length, in elements.
@group(0) @binding(0) var<storage, read> blocks: array<vec2<u32>>;
@group(0) @binding(1) var<storage, read> values: array<f32>;
@group(0) @binding(2) var<storage, read_write> sums: array<f32>;

@compute @workgroup_size(LANES, ROWS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    let index = (group.x + group.y * groups.x) * ROWS + local.y;
    let block = blocks[min(index, BLOCKS - 1u)];
    var own = 0.0;
    for (var k = local.x; k < block.y; k += LANES) {
        let x = values[block.x + k];
        own += x * x;
    }
    let total = sum_over_lanes(own, local.x, local.y);
    if (index < BLOCKS && local.x == 0u) {
        sums[index] = total;
    }
}
