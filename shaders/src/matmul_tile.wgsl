// C = A B in tiles of ROWS x COLUMNS results a workgroup, HEIGHT x 4 an invocation, with the operands'
// tiles in workgroup memory: what GPUs like. Smaller tiles keep more of a GPU busy with small results;
// larger ones, with eight rows an invocation, load less.

override ROWS: u32 = 64u;
override COLUMNS: u32 = 64u;
// Rows of an invocation: 4 or 8.
override HEIGHT: u32 = 4u;
override THREADS: u32 = (ROWS / HEIGHT) * (COLUMNS / 4u);

// Whether an operand is loaded four neighbours at once: along the axis that is contiguous its extent is
// a multiple of four, and so are its other strides, so that no four reach past the edge.
override A_FOURS: bool = false;
override B_FOURS: bool = false;

const DEPTH: u32 = 16u;

// Vectors along a tile, and in it.
override A_WIDTH: u32 = ROWS / 4u;
override B_WIDTH: u32 = COLUMNS / 4u;
override A_SIZE: u32 = A_WIDTH * DEPTH;
override B_SIZE: u32 = B_WIDTH * DEPTH;

// Depth-major, so that each invocation reads four neighbours at once.
var<workgroup> a_tile: array<vec4<ANumber>, A_SIZE>;
var<workgroup> b_tile: array<vec4<BNumber>, B_SIZE>;

//{a_four
fn a_four(i: u32) -> vec4<ANumber> {
    return vec4<ANumber>(a_element(i), a_element(i + 1u), a_element(i + 2u), a_element(i + 3u));
}
//}

//{b_four
fn b_four(i: u32) -> vec4<BNumber> {
    return vec4<BNumber>(b_element(i), b_element(i + 1u), b_element(i + 2u), b_element(i + 3u));
}
//}

fn a_at(batch: u32, row: u32, k: u32) -> ANumber {
    if (row < M && k < K) {
        return a_element(batch * A_BATCH + row * A_ROW + k * A_COLUMN);
    }
    return ANumber();
}

fn b_at(batch: u32, k: u32, column: u32) -> BNumber {
    if (k < K && column < N) {
        return b_element(batch * B_BATCH + k * B_ROW + column * B_COLUMN);
    }
    return BNumber();
}

// Four from this place on: neighbours in memory, or else along the tile.
fn a_four_at(batch: u32, row: u32, k: u32) -> vec4<ANumber> {
    if (!A_FOURS) {
        return vec4<ANumber>(
            a_at(batch, row, k),
            a_at(batch, row + 1u, k),
            a_at(batch, row + 2u, k),
            a_at(batch, row + 3u, k),
        );
    }
    if (row < M && k < K) {
        return a_four(batch * A_BATCH + row * A_ROW + k * A_COLUMN);
    }
    return vec4<ANumber>();
}

fn b_four_at(batch: u32, k: u32, column: u32) -> vec4<BNumber> {
    if (!B_FOURS) {
        return vec4<BNumber>(
            b_at(batch, k, column),
            b_at(batch, k, column + 1u),
            b_at(batch, k, column + 2u),
            b_at(batch, k, column + 3u),
        );
    }
    if (k < K && column < N) {
        return b_four(batch * B_BATCH + k * B_ROW + column * B_COLUMN);
    }
    return vec4<BNumber>();
}

// Four by four that are neighbours along K, turned so that they are along the tile.
fn turn_a(to: u32, batch: u32, row: u32, k: u32) {
    let x = a_four_at(batch, row, k);
    let y = a_four_at(batch, row + 1u, k);
    let z = a_four_at(batch, row + 2u, k);
    let w = a_four_at(batch, row + 3u, k);
    a_tile[to] = vec4<ANumber>(x.x, y.x, z.x, w.x);
    a_tile[to + A_WIDTH] = vec4<ANumber>(x.y, y.y, z.y, w.y);
    a_tile[to + 2u * A_WIDTH] = vec4<ANumber>(x.z, y.z, z.z, w.z);
    a_tile[to + 3u * A_WIDTH] = vec4<ANumber>(x.w, y.w, z.w, w.w);
}

fn turn_b(to: u32, batch: u32, k: u32, column: u32) {
    let x = b_four_at(batch, k, column);
    let y = b_four_at(batch, k, column + 1u);
    let z = b_four_at(batch, k, column + 2u);
    let w = b_four_at(batch, k, column + 3u);
    b_tile[to] = vec4<BNumber>(x.x, y.x, z.x, w.x);
    b_tile[to + B_WIDTH] = vec4<BNumber>(x.y, y.y, z.y, w.y);
    b_tile[to + 2u * B_WIDTH] = vec4<BNumber>(x.z, y.z, z.z, w.z);
    b_tile[to + 3u * B_WIDTH] = vec4<BNumber>(x.w, y.w, z.w, w.w);
}

fn store_row(batch: u32, row: u32, column: u32, totals: vec4<f32>) {
    store(batch, row, column, totals.x);
    store(batch, row, column + 1u, totals.y);
    store(batch, row, column + 2u, totals.z);
    store(batch, row, column + 3u, totals.w);
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let batch = group.z;
    let row = group.y * ROWS;
    let column = group.x * COLUMNS;
    // Which results of the tile are this invocation's.
    let own_row = local / B_WIDTH * HEIGHT;
    let own_column = local % B_WIDTH;
    var total0 = vec4<f32>();
    var total1 = vec4<f32>();
    var total2 = vec4<f32>();
    var total3 = vec4<f32>();
    var total4 = vec4<f32>();
    var total5 = vec4<f32>();
    var total6 = vec4<f32>();
    var total7 = vec4<f32>();
    var sums = vec4<f32>();
    for (var start = 0u; start < K; start += DEPTH) {
        if (A_FOURS && A_COLUMN == 1u) {
            for (var at = local; at < A_SIZE / 4u; at += THREADS) {
                let d = at / A_WIDTH * 4u;
                let four = at % A_WIDTH;
                turn_a(d * A_WIDTH + four, batch, row + four * 4u, start + d);
            }
        } else {
            for (var at = local; at < A_SIZE; at += THREADS) {
                a_tile[at] = a_four_at(batch, row + at % A_WIDTH * 4u, start + at / A_WIDTH);
            }
        }
        if (B_FOURS && B_ROW == 1u) {
            // Half of the workgroup is enough: the half that has not just loaded A.
            for (var at = (local + THREADS / 2u) % THREADS; at < B_SIZE / 4u; at += THREADS) {
                let d = at / B_WIDTH * 4u;
                let four = at % B_WIDTH;
                turn_b(d * B_WIDTH + four, batch, start + d, column + four * 4u);
            }
        } else {
            for (var at = local; at < B_SIZE; at += THREADS) {
                b_tile[at] = b_four_at(batch, start + at / B_WIDTH, column + at % B_WIDTH * 4u);
            }
        }
        workgroupBarrier();
        for (var d = 0u; d < DEPTH; d++) {
            let x = vec4<f32>(a_tile[d * A_WIDTH + own_row / 4u]);
            let y = vec4<f32>(b_tile[d * B_WIDTH + own_column]);
            total0 += x.x * y;
            total1 += x.y * y;
            total2 += x.z * y;
            total3 += x.w * y;
            if (HEIGHT == 8u) {
                let next = vec4<f32>(a_tile[d * A_WIDTH + own_row / 4u + 1u]);
                total4 += next.x * y;
                total5 += next.y * y;
                total6 += next.z * y;
                total7 += next.w * y;
            }
            if (COLUMN_SUMS && row == 0u) {
                sums += y;
            }
        }
        workgroupBarrier();
    }
    let first_row = row + own_row;
    let first_column = column + own_column * 4u;
    store_row(batch, first_row, first_column, total0);
    store_row(batch, first_row + 1u, first_column, total1);
    store_row(batch, first_row + 2u, first_column, total2);
    store_row(batch, first_row + 3u, first_column, total3);
    if (HEIGHT == 8u) {
        store_row(batch, first_row + 4u, first_column, total4);
        store_row(batch, first_row + 5u, first_column, total5);
        store_row(batch, first_row + 6u, first_column, total6);
        store_row(batch, first_row + 7u, first_column, total7);
    }
    if (COLUMN_SUMS && first_row == 0u) {
        for (var i = 0u; i < 4u; i++) {
            if (first_column + i < N) {
                store_column_sum(first_column + i, sums[i]);
            }
        }
    }
}
