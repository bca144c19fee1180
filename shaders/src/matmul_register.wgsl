// C = A B with a tile of 8 x 8 results in the registers of each invocation and no workgroup
// memory: what software adapters like.

// Reads past the edge are of the last row or column: their results are not stored.
fn a_row(batch: u32, row: u32) -> u32 {
    return a_start(batch) + min(row, M - 1u) * A_ROW;
}

fn b_column(batch: u32, column: u32) -> u32 {
    return b_start(batch) + min(column, N - 1u) * B_COLUMN;
}

fn b_four(x: u32, y: u32, z: u32, w: u32) -> vec4<f32> {
    return vec4<f32>(vec4(b_element(x), b_element(y), b_element(z), b_element(w)));
}

fn store_row(batch: u32, row: u32, column: u32, low: vec4<f32>, high: vec4<f32>) {
    store(batch, row, column, low.x);
    store(batch, row, column + 1u, low.y);
    store(batch, row, column + 2u, low.z);
    store(batch, row, column + 3u, low.w);
    store(batch, row, column + 4u, high.x);
    store(batch, row, column + 5u, high.y);
    store(batch, row, column + 6u, high.z);
    store(batch, row, column + 7u, high.w);
}

@compute @workgroup_size(8)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    let group = tile_of(workgroup, groups);
    let batch = group.z;
    let column = group.x * 8u;
    let row = (group.y * 8u + local.x) * 8u;
    // A column for each lane.
    if (COLUMN_SUMS && group.y == 0u && column + local.x < N) {
        let at = b_column(batch, column + local.x);
        var sum = 0.0;
        for (var k = 0u; k < places(batch); k++) {
            sum += f32(b_element(at + k * B_ROW));
        }
        store_column_sum(batch, column + local.x, sum);
    }
    if (row >= M) {
        return;
    }
    let a0 = a_row(batch, row);
    let a1 = a_row(batch, row + 1u);
    let a2 = a_row(batch, row + 2u);
    let a3 = a_row(batch, row + 3u);
    let a4 = a_row(batch, row + 4u);
    let a5 = a_row(batch, row + 5u);
    let a6 = a_row(batch, row + 6u);
    let a7 = a_row(batch, row + 7u);
    let b0 = b_column(batch, column);
    let b1 = b_column(batch, column + 1u);
    let b2 = b_column(batch, column + 2u);
    let b3 = b_column(batch, column + 3u);
    let b4 = b_column(batch, column + 4u);
    let b5 = b_column(batch, column + 5u);
    let b6 = b_column(batch, column + 6u);
    let b7 = b_column(batch, column + 7u);
    var low0 = vec4<f32>();
    var low1 = vec4<f32>();
    var low2 = vec4<f32>();
    var low3 = vec4<f32>();
    var low4 = vec4<f32>();
    var low5 = vec4<f32>();
    var low6 = vec4<f32>();
    var low7 = vec4<f32>();
    var high0 = vec4<f32>();
    var high1 = vec4<f32>();
    var high2 = vec4<f32>();
    var high3 = vec4<f32>();
    var high4 = vec4<f32>();
    var high5 = vec4<f32>();
    var high6 = vec4<f32>();
    var high7 = vec4<f32>();
    for (var k = 0u; k < places(batch); k++) {
        let at = k * B_ROW;
        let low = b_four(b0 + at, b1 + at, b2 + at, b3 + at);
        let high = b_four(b4 + at, b5 + at, b6 + at, b7 + at);
        let a_at = k * A_COLUMN;
        var x = f32(a_element(a0 + a_at));
        low0 += x * low;
        high0 += x * high;
        x = f32(a_element(a1 + a_at));
        low1 += x * low;
        high1 += x * high;
        x = f32(a_element(a2 + a_at));
        low2 += x * low;
        high2 += x * high;
        x = f32(a_element(a3 + a_at));
        low3 += x * low;
        high3 += x * high;
        x = f32(a_element(a4 + a_at));
        low4 += x * low;
        high4 += x * high;
        x = f32(a_element(a5 + a_at));
        low5 += x * low;
        high5 += x * high;
        x = f32(a_element(a6 + a_at));
        low6 += x * low;
        high6 += x * high;
        x = f32(a_element(a7 + a_at));
        low7 += x * low;
        high7 += x * high;
    }
    store_row(batch, row, column, low0, high0);
    store_row(batch, row + 1u, column, low1, high1);
    store_row(batch, row + 2u, column, low2, high2);
    store_row(batch, row + 3u, column, low3, high3);
    store_row(batch, row + 4u, column, low4, high4);
    store_row(batch, row + 5u, column, low5, high5);
    store_row(batch, row + 6u, column, low6, high6);
    store_row(batch, row + 7u, column, low7, high7);
}
