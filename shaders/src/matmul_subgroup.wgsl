// C = A B on software adapters that run eight invocations as one vector. There a load costs about as
// much as eighty multiplications, as it is a loop over the lanes, and workgroup memory no less. So
// each lane loads something else, two neighbours at a time, and hands it to the others. A subgroup
// computes 32 x 32 results: each lane has four columns of 32 rows.
//
// Operands lie contiguous along one of their axes, and pairs are along that one: either along K, two
// products of one result, or across it, one product for each of two rows or columns.

//{a_pair
fn a_pair(i: u32) -> vec2<f32> {
    return vec2<f32>(a[i], a[i + 1u]);
}
//}

//{b_pair
fn b_pair(i: u32) -> vec2<f32> {
    return vec2<f32>(b[i], b[i + 1u]);
}
//}

// Eight rows, and each four columns.
alias Rows = array<vec4<f32>, 8>;

// Sixteen rows or columns at two places along K: where it is k, one of a lane's two and the other,
// then the same where it is k + 1.
alias Sixteen = vec4<f32>;

// A pair that begins at the last place along K has nothing in its second half.
fn along(pair: vec2<f32>, k: u32) -> vec2<f32> {
    return vec2<f32>(pair.x, select(pair.y, 0.0, (K % 2u == 1u) & (k + 1u == K)));
}

fn across(pair: vec2<f32>, k: u32) -> vec2<f32> {
    return select(pair, vec2<f32>(), (K % 2u == 1u) & (k == K));
}

// Reads past the edge are of the last row or column: their results are not stored.
fn a_sixteen(batch: u32, row: u32, lane: u32, k: u32) -> Sixteen {
    let at = batch * A_BATCH;
    if (A_COLUMN == 1u) {
        let low = along(a_pair(at + min(row + lane, M - 1u) * A_ROW + k), k);
        let high = along(a_pair(at + min(row + 8u + lane, M - 1u) * A_ROW + k), k);
        return vec4<f32>(low.x, high.x, low.y, high.y);
    }
    let own = at + min(row + 2u * lane, M - 1u);
    let first = a_pair(own + k * A_COLUMN);
    let second = across(a_pair(own + (k + 1u) * A_COLUMN), k + 1u);
    return vec4<f32>(first, second);
}

fn b_sixteen(batch: u32, column: u32, lane: u32, k: u32) -> Sixteen {
    let at = batch * B_BATCH;
    if (B_COLUMN == 1u) {
        let own = at + min(column + 2u * lane, N - 1u);
        let first = b_pair(own + k * B_ROW);
        let second = across(b_pair(own + (k + 1u) * B_ROW), k + 1u);
        return vec4<f32>(first, second);
    }
    let low = along(b_pair(at + min(column + lane, N - 1u) * B_COLUMN + k), k);
    let high = along(b_pair(at + min(column + 8u + lane, N - 1u) * B_COLUMN + k), k);
    return vec4<f32>(low.x, high.x, low.y, high.y);
}

// What the eight lanes have.
fn spread(x: f32) -> mat2x4<f32> {
    return mat2x4<f32>(
        subgroupBroadcast(x, 0u),
        subgroupBroadcast(x, 1u),
        subgroupBroadcast(x, 2u),
        subgroupBroadcast(x, 3u),
        subgroupBroadcast(x, 4u),
        subgroupBroadcast(x, 5u),
        subgroupBroadcast(x, 6u),
        subgroupBroadcast(x, 7u),
    );
}

fn add(rows: ptr<function, Rows>, first: f32, second: f32, y0: vec4<f32>, y1: vec4<f32>) {
    let x0 = spread(first);
    let x1 = spread(second);
    (*rows)[0] = ((*rows)[0] + x0[0].x * y0) + x1[0].x * y1;
    (*rows)[1] = ((*rows)[1] + x0[0].y * y0) + x1[0].y * y1;
    (*rows)[2] = ((*rows)[2] + x0[0].z * y0) + x1[0].z * y1;
    (*rows)[3] = ((*rows)[3] + x0[0].w * y0) + x1[0].w * y1;
    (*rows)[4] = ((*rows)[4] + x0[1].x * y0) + x1[1].x * y1;
    (*rows)[5] = ((*rows)[5] + x0[1].y * y0) + x1[1].y * y1;
    (*rows)[6] = ((*rows)[6] + x0[1].z * y0) + x1[1].z * y1;
    (*rows)[7] = ((*rows)[7] + x0[1].w * y0) + x1[1].w * y1;
}

fn store_row(batch: u32, row: u32, columns: vec4<u32>, totals: vec4<f32>) {
    store(batch, row, columns.x, totals.x);
    store(batch, row, columns.y, totals.y);
    store(batch, row, columns.z, totals.z);
    store(batch, row, columns.w, totals.w);
}

@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let batch = group.z;
    let row = group.y * 32u;
    let column = group.x * 32u;
    var rows0 = Rows();
    var rows1 = Rows();
    var rows2 = Rows();
    var rows3 = Rows();
    var sums = vec4<f32>();
    for (var k = 0u; k < K; k += 2u) {
        let left = b_sixteen(batch, column, lane, k);
        var right = vec4<f32>();
        if (N > 16u) {
            right = b_sixteen(batch, column + 16u, lane, k);
        }
        let y0 = vec4<f32>(left.xy, right.xy);
        let y1 = vec4<f32>(left.zw, right.zw);
        let upper = a_sixteen(batch, row, lane, k);
        add(&rows0, upper.x, upper.z, y0, y1);
        add(&rows1, upper.y, upper.w, y0, y1);
        if (M > 16u) {
            let lower = a_sixteen(batch, row + 16u, lane, k);
            add(&rows2, lower.x, lower.z, y0, y1);
            add(&rows3, lower.y, lower.w, y0, y1);
        }
        if (COLUMN_SUMS) {
            sums = (sums + y0) + y1;
        }
    }
    // Which columns the lane has, and how far apart its rows lie.
    let first = select(column + lane, column + 2u * lane, B_COLUMN == 1u);
    let next = select(8u, 1u, B_COLUMN == 1u);
    let columns = first + vec4<u32>(0u, next, 16u, 16u + next);
    let step = select(2u, 1u, A_COLUMN == 1u);
    let half = select(1u, 8u, A_COLUMN == 1u);
    // A loop, as stores take long to compile.
    for (var stored = 0u; stored < 4u; stored++) {
        let at = row + (stored >> 1u) * 16u + (stored & 1u) * half;
        store_row(batch, at, columns, rows0[0]);
        store_row(batch, at + step, columns, rows0[1]);
        store_row(batch, at + 2u * step, columns, rows0[2]);
        store_row(batch, at + 3u * step, columns, rows0[3]);
        store_row(batch, at + 4u * step, columns, rows0[4]);
        store_row(batch, at + 5u * step, columns, rows0[5]);
        store_row(batch, at + 6u * step, columns, rows0[6]);
        store_row(batch, at + 7u * step, columns, rows0[7]);
        rows0 = rows1;
        rows1 = rows2;
        rows2 = rows3;
    }
    if (COLUMN_SUMS && group.y == 0u) {
        for (var i = 0u; i < 4u; i++) {
            if (columns[i] < N) {
                store_column_sum(columns[i], sums[i]);
            }
        }
    }
}
