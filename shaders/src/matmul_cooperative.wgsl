// C = A B by cooperative matrices, of `f16` into `f32`: subgroups multiply matrices as a whole, by
// instructions made for that. A workgroup has four subgroups, two by two, and each computes BLOCKS x
// BLOCKS matrices of SIZE x SIZE results.

//{matrices
alias AMatrix = coop_mat8x8<f16, A>;
alias BMatrix = coop_mat8x8<f16, B>;
alias CMatrix = coop_mat8x8<f32, C>;

const SIZE: u32 = 8u;
const BLOCKS: u32 = 1u;
//}

// Invocations of a subgroup.
override SUBGROUP: u32 = 8u;
override THREADS: u32 = 4u * SUBGROUP;

const ROWS: u32 = 2u * BLOCKS * SIZE;
const COLUMNS: u32 = ROWS;
const DEPTH: u32 = 32u;

// Depth-major, with room between, so that a matrix's rows or columns lie in different banks.
const PITCH: u32 = ROWS + 8u;
var<workgroup> a_tile: array<f16, PITCH * DEPTH>;
var<workgroup> b_tile: array<f16, PITCH * DEPTH>;
// One matrix of results for each subgroup. They are made zeros that the sums begin with.
var<workgroup> c_tile: array<f32, 4u * SIZE * SIZE>;
var<workgroup> b_totals: array<f32, COLUMNS>;

fn put_a(depth: u32, four: u32, value: vec4<ANumber>) {
    let at = depth * PITCH + four * 4u;
    a_tile[at] = f16(value.x);
    a_tile[at + 1u] = f16(value.y);
    a_tile[at + 2u] = f16(value.z);
    a_tile[at + 3u] = f16(value.w);
}

fn put_b(depth: u32, four: u32, value: vec4<BNumber>) {
    let at = depth * PITCH + four * 4u;
    b_tile[at] = f16(value.x);
    b_tile[at + 1u] = f16(value.y);
    b_tile[at + 2u] = f16(value.z);
    b_tile[at + 3u] = f16(value.w);
}

fn store_block(batch: u32, row: u32, column: u32, at: u32, lane: u32) {
    for (var i = lane; i < SIZE * SIZE; i += SUBGROUP) {
        store(batch, row + i / SIZE, column + i % SIZE, c_tile[at + i]);
    }
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let group = tile_of(workgroup, groups);
    let batch = group.z;
    let count = places(batch);
    let row = group.y * ROWS;
    let column = group.x * COLUMNS;
    // Where in the tile the results of this subgroup are, and where it hands them to its invocations.
    let own_row = subgroup / 2u * BLOCKS * SIZE;
    let own_column = subgroup % 2u * BLOCKS * SIZE;
    let own = subgroup * SIZE * SIZE;
    for (var at = local; at < 4u * SIZE * SIZE; at += THREADS) {
        c_tile[at] = 0.0;
    }
    for (var at = local; at < COLUMNS; at += THREADS) {
        b_totals[at] = 0.0;
    }
    workgroupBarrier();
    let zeros = coopLoadT<CMatrix>(&c_tile[own], SIZE);
    //{totals
    var c_0_0 = zeros;
    //}
    for (var start = 0u; start < count; start += DEPTH) {
        fill_tiles(batch, row, column, start, local);
        workgroupBarrier();
        for (var depth = 0u; depth < DEPTH; depth += SIZE) {
            let a_at = depth * PITCH + own_row;
            let b_at = depth * PITCH + own_column;
            //{multiply
            let a_0 = coopLoad<AMatrix>(&a_tile[a_at], PITCH);
            let b_0 = coopLoadT<BMatrix>(&b_tile[b_at], PITCH);
            c_0_0 = coopMultiplyAdd(a_0, b_0, c_0_0);
            //}
        }
        if (COLUMN_SUMS && row == 0u) {
            for (var at = local; at < COLUMNS; at += THREADS) {
                var total = b_totals[at];
                for (var depth = 0u; depth < DEPTH; depth++) {
                    total += f32(b_tile[depth * PITCH + at]);
                }
                b_totals[at] = total;
            }
        }
        workgroupBarrier();
    }
    let first_row = row + own_row;
    let first_column = column + own_column;
    //{store_totals
    coopStoreT(c_0_0, &c_tile[own], SIZE);
    workgroupBarrier();
    store_block(batch, first_row, first_column, own, lane);
    workgroupBarrier();
    //}
    if (COLUMN_SUMS && row == 0u) {
        for (var at = local; at < COLUMNS; at += THREADS) {
            if (column + at < N) {
                store_column_sum(batch, column + at, b_totals[at]);
            }
        }
    }
}
