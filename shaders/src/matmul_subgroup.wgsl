// C = A B on software adapters with subgroups of eight, for large products: what counts is how few loads
// there are. Each subgroup computes 32 x 64 results, each lane eight columns of 32 rows, or 64 x 64.

// Whether a subgroup computes 64 rows.
override TALL: bool = false;

// Four columns of each of eight rows, then four columns more.
alias Rows = array<vec4<f32>, 16>;

// A lane's columns at two places along K: four, then four more.
struct Columns {
    left0: vec4<f32>,
    left1: vec4<f32>,
    right0: vec4<f32>,
    right1: vec4<f32>,
}

fn b_columns(batch: u32, column: u32, lane: u32, k: u32) -> Columns {
    let first = b_sixteen(batch, column, lane, k);
    let second = b_sixteen(batch, column + 16u, lane, k);
    var columns = Columns();
    columns.left0 = vec4<f32>(first.xy, second.xy);
    columns.left1 = vec4<f32>(first.zw, second.zw);
    let third = b_sixteen(batch, column + 32u, lane, k);
    let fourth = b_sixteen(batch, column + 48u, lane, k);
    columns.right0 = vec4<f32>(third.xy, fourth.xy);
    columns.right1 = vec4<f32>(third.zw, fourth.zw);
    return columns;
}

fn add_row(rows: ptr<function, Rows>, row: u32, first: f32, second: f32, y: Columns) {
    (*rows)[row] = ((*rows)[row] + first * y.left0) + second * y.left1;
    (*rows)[8u + row] = ((*rows)[8u + row] + first * y.right0) + second * y.right1;
}

fn add(rows: ptr<function, Rows>, first: f32, second: f32, y: Columns) {
    let x0 = spread(first);
    let x1 = spread(second);
    add_row(rows, 0u, x0[0].x, x1[0].x, y);
    add_row(rows, 1u, x0[0].y, x1[0].y, y);
    add_row(rows, 2u, x0[0].z, x1[0].z, y);
    add_row(rows, 3u, x0[0].w, x1[0].w, y);
    add_row(rows, 4u, x0[1].x, x1[1].x, y);
    add_row(rows, 5u, x0[1].y, x1[1].y, y);
    add_row(rows, 6u, x0[1].z, x1[1].z, y);
    add_row(rows, 7u, x0[1].w, x1[1].w, y);
}

fn next_row(rows: Rows) -> Rows {
    return Rows(
        rows[1], rows[2], rows[3], rows[4], rows[5], rows[6], rows[7], vec4<f32>(),
        rows[9], rows[10], rows[11], rows[12], rows[13], rows[14], rows[15], vec4<f32>(),
    );
}

@compute @workgroup_size(8)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let group = tile_of(workgroup, groups);
    let batch = group.z;
    let count = places(batch);
    let row = group.y * select(32u, 64u, TALL);
    let column = group.x * 64u;
    var rows0 = Rows();
    var rows1 = Rows();
    var rows2 = Rows();
    var rows3 = Rows();
    var rows4 = Rows();
    var rows5 = Rows();
    var rows6 = Rows();
    var rows7 = Rows();
    var left_sums = vec4<f32>();
    var right_sums = vec4<f32>();
    for (var k = 0u; k < count; k += 2u) {
        let y = b_columns(batch, column, lane, k);
        let first = a_sixteen(batch, row, lane, k);
        add(&rows0, first.x, first.z, y);
        add(&rows1, first.y, first.w, y);
        let second = a_sixteen(batch, row + 16u, lane, k);
        add(&rows2, second.x, second.z, y);
        add(&rows3, second.y, second.w, y);
        if (TALL) {
            let third = a_sixteen(batch, row + 32u, lane, k);
            add(&rows4, third.x, third.z, y);
            add(&rows5, third.y, third.w, y);
            let fourth = a_sixteen(batch, row + 48u, lane, k);
            add(&rows6, fourth.x, fourth.z, y);
            add(&rows7, fourth.y, fourth.w, y);
        }
        if (COLUMN_SUMS) {
            left_sums = (left_sums + y.left0) + y.left1;
            right_sums = (right_sums + y.right0) + y.right1;
        }
    }
    // Which columns the lane has, and how far apart its rows lie.
    let own = select(column + lane, column + 2u * lane, B_ALONG_N);
    let next = select(8u, 1u, B_ALONG_N);
    let columns = own + vec4<u32>(0u, next, 16u, 16u + next);
    let step = select(2u, 1u, A_ALONG_K);
    let half = select(1u, 8u, A_ALONG_K);
    // Stores take long to compile, so there are two, and what is to be stored moves past it.
    // How often each loop goes round is not known when the kernel is compiled, or it would be
    // unrolled: fewer rows or columns are left at the edge.
    for (var stored = 0u; stored < min(select(4u, 8u, TALL), M - row); stored++) {
        let at = row + (stored >> 1u) * 16u + (stored & 1u) * half;
        for (var j = 0u; j < min(8u, M - row); j++) {
            var left = rows0[0];
            var right = rows0[8];
            var place = columns;
            for (var i = 0u; i < min(4u, N - column); i++) {
                store(batch, at + j * step, place.x, left.x);
                left = left.yzwx;
                store(batch, at + j * step, place.x + 32u, right.x);
                right = right.yzwx;
                place = place.yzwx;
            }
            rows0 = next_row(rows0);
        }
        rows0 = rows1;
        rows1 = rows2;
        rows2 = rows3;
        if (TALL) {
            rows3 = rows4;
            rows4 = rows5;
            rows5 = rows6;
            rows6 = rows7;
        }
    }
    if (COLUMN_SUMS && group.y == 0u) {
        for (var i = 0u; i < 4u; i++) {
            if (columns[i] < N) {
                store_column_sum(batch, columns[i], left_sums[i]);
            }
            if (columns[i] + 32u < N) {
                store_column_sum(batch, columns[i] + 32u, right_sums[i]);
            }
        }
    }
}
