// C = A B in tiles of 64 x 64 results a workgroup, 4 x 4 an invocation, with the operands' tiles in
// workgroup memory: what GPUs like.

const TILE: u32 = 64u;
const DEPTH: u32 = 16u;

// Depth-major, so that each invocation reads four neighbours at once.
var<workgroup> a_tile: array<vec4<f32>, 256>;
var<workgroup> b_tile: array<vec4<f32>, 256>;

fn a_at(batch: u32, row: u32, k: u32) -> f32 {
    if (row < M && k < K) {
        return a[batch * A_BATCH + row * A_ROW + k * A_COLUMN];
    }
    return 0.0;
}

fn b_at(batch: u32, k: u32, column: u32) -> f32 {
    if (k < K && column < N) {
        return b[batch * B_BATCH + k * B_ROW + column * B_COLUMN];
    }
    return 0.0;
}

fn store_row(batch: u32, row: u32, column: u32, totals: vec4<f32>) {
    store(batch, row, column, totals.x);
    store(batch, row, column + 1u, totals.y);
    store(batch, row, column + 2u, totals.z);
    store(batch, row, column + 3u, totals.w);
}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let batch = group.z;
    let row = group.y * TILE;
    let column = group.x * TILE;
    // Which four results of the tile are this invocation's, and which four it loads.
    let own_row = local / 16u;
    let own_column = local % 16u;
    let depth = local / 16u;
    let four = (local % 16u) * 4u;
    var total0 = vec4<f32>();
    var total1 = vec4<f32>();
    var total2 = vec4<f32>();
    var total3 = vec4<f32>();
    var sums = vec4<f32>();
    for (var start = 0u; start < K; start += DEPTH) {
        let k = start + depth;
        a_tile[local] = vec4<f32>(
            a_at(batch, row + four, k),
            a_at(batch, row + four + 1u, k),
            a_at(batch, row + four + 2u, k),
            a_at(batch, row + four + 3u, k),
        );
        b_tile[local] = vec4<f32>(
            b_at(batch, k, column + four),
            b_at(batch, k, column + four + 1u),
            b_at(batch, k, column + four + 2u),
            b_at(batch, k, column + four + 3u),
        );
        workgroupBarrier();
        for (var d = 0u; d < DEPTH; d++) {
            let x = a_tile[d * 16u + own_row];
            let y = b_tile[d * 16u + own_column];
            total0 += x.x * y;
            total1 += x.y * y;
            total2 += x.z * y;
            total3 += x.w * y;
            if (COLUMN_SUMS && row == 0u) {
                sums += y;
            }
        }
        workgroupBarrier();
    }
    let first_row = row + own_row * 4u;
    let first_column = column + own_column * 4u;
    store_row(batch, first_row, first_column, total0);
    store_row(batch, first_row + 1u, first_column, total1);
    store_row(batch, first_row + 2u, first_column, total2);
    store_row(batch, first_row + 3u, first_column, total3);
    if (COLUMN_SUMS && first_row == 0u) {
        for (var i = 0u; i < 4u; i++) {
            if (first_column + i < N) {
                store_column_sum(first_column + i, sums[i]);
            }
        }
    }
}
