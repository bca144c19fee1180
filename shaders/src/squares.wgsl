// The global norm, first half: sums of squares of a packed buffer. Each workgroup makes one sum, of
// blocks that lie as far apart as there are sums. The workgroup behind them is for what an update needs
// before its norm is known, where one is computed on the way.

override BLOCKS: u32 = 1u;
override SUMS: u32 = 1u;
// Where the sums begin in `result`.
override FIRST: u32 = 0u;

//{bindings
@group(0) @binding(0) var<storage, read_write> result: array<f32>;
// Pairs of offset and length, in elements.
@group(0) @binding(1) var<storage, read> blocks: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read> values: array<Stored>;
//}

//{beside
fn beside() {}
//}

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    if (group.x == SUMS && local.x == 0u) {
        beside();
    }
    var own = Numbers(0.0);
    if (group.x < SUMS) {
        for (var at = group.x; at < BLOCKS; at += SUMS) {
            let block = blocks[at];
            for (var k = local.x * TOGETHER; k < block.y; k += LANES * TOGETHER) {
                let x = first_of(numbers(values[(block.x + k) / TOGETHER]), block.y - k);
                own += x * x;
            }
        }
    }
    let total = sum_over_lanes(sum_of(own), local.x, 0u);
    if (group.x < SUMS && local.x == 0u) {
        result[FIRST + group.x] = total;
    }
}
