// C = A B in tiles of ROWS x COLUMNS results a workgroup, HEIGHT x 4 an invocation, with the operands'
// tiles in workgroup memory: what GPUs like. Smaller tiles keep more of a GPU busy with small results;
// larger ones, with eight rows an invocation, load less.

override ROWS: u32 = 64u;
override COLUMNS: u32 = 64u;
// Rows of an invocation: 4 or 8.
override HEIGHT: u32 = 4u;
override THREADS: u32 = (ROWS / HEIGHT) * (COLUMNS / 4u);

const DEPTH: u32 = 16u;

// Depth-major, so that each invocation reads four neighbours at once.
var<workgroup> a_tile: array<vec4<ANumber>, A_SIZE>;
var<workgroup> b_tile: array<vec4<BNumber>, B_SIZE>;

fn put_a(depth: u32, four: u32, value: vec4<ANumber>) {
    a_tile[depth * A_WIDTH + four] = value;
}

fn put_b(depth: u32, four: u32, value: vec4<BNumber>) {
    b_tile[depth * B_WIDTH + four] = value;
}

fn store_row(batch: u32, row: u32, column: u32, totals: vec4<f32>) {
    store(batch, row, column, totals.x);
    store(batch, row, column + 1u, totals.y);
    store(batch, row, column + 2u, totals.z);
    store(batch, row, column + 3u, totals.w);
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let group = tile_of(workgroup, groups);
    let batch = group.z;
    let count = places(batch);
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
    for (var start = 0u; start < count; start += DEPTH) {
        fill_tiles(batch, row, column, start, local);
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
                store_column_sum(batch, first_column + i, sums[i]);
            }
        }
    }
}
