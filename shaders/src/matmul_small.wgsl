// C = A B on software adapters with subgroups of eight, for small products: what counts is how long
// the kernel takes to compile. Each subgroup computes 32 x 32 results, each lane four columns of 32 rows.

// Whether there are more than 16 rows, or columns.
override MANY_ROWS: bool = true;
override MANY_COLUMNS: bool = true;

// A lane's columns of eight rows.
alias Rows = array<vec4<f32>, 8>;

fn add_row(
    rows: ptr<function, Rows>,
    row: u32,
    first: f32,
    second: f32,
    y0: vec4<f32>,
    y1: vec4<f32>,
) {
    (*rows)[row] = ((*rows)[row] + first * y0) + second * y1;
}

fn add(rows: ptr<function, Rows>, first: f32, second: f32, y0: vec4<f32>, y1: vec4<f32>) {
    let x0 = spread(first);
    let x1 = spread(second);
    add_row(rows, 0u, x0[0].x, x1[0].x, y0, y1);
    add_row(rows, 1u, x0[0].y, x1[0].y, y0, y1);
    add_row(rows, 2u, x0[0].z, x1[0].z, y0, y1);
    add_row(rows, 3u, x0[0].w, x1[0].w, y0, y1);
    add_row(rows, 4u, x0[1].x, x1[1].x, y0, y1);
    add_row(rows, 5u, x0[1].y, x1[1].y, y0, y1);
    add_row(rows, 6u, x0[1].z, x1[1].z, y0, y1);
    add_row(rows, 7u, x0[1].w, x1[1].w, y0, y1);
}

fn next_row(rows: Rows, last: vec4<f32>) -> Rows {
    return Rows(rows[1], rows[2], rows[3], rows[4], rows[5], rows[6], rows[7], last);
}

@compute @workgroup_size(8)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    read_shape();
    let group = tile_of(workgroup, groups);
    let batch = group.z;
    let count = places(batch);
    let row = group.y * 32u;
    let column = group.x * 32u;
    var rows0 = Rows();
    var rows1 = Rows();
    var rows2 = Rows();
    var rows3 = Rows();
    var sums = vec4<f32>();
    for (var k = 0u; k < count; k += 2u) {
        let left = b_sixteen(batch, column, lane, k);
        var right = vec4<f32>();
        if (MANY_COLUMNS) {
            right = b_sixteen(batch, column + 16u, lane, k);
        }
        let y0 = vec4<f32>(left.xy, right.xy);
        let y1 = vec4<f32>(left.zw, right.zw);
        let upper = a_sixteen(batch, row, lane, k);
        add(&rows0, upper.x, upper.z, y0, y1);
        add(&rows1, upper.y, upper.w, y0, y1);
        if (MANY_ROWS) {
            let lower = a_sixteen(batch, row + 16u, lane, k);
            add(&rows2, lower.x, lower.z, y0, y1);
            add(&rows3, lower.y, lower.w, y0, y1);
        }
        if (COLUMN_SUMS) {
            sums = (sums + y0) + y1;
        }
    }
    // Which columns the lane has, and how far apart its rows lie.
    let own = select(column + lane, column + 2u * lane, B_ALONG_N);
    let next = select(8u, 1u, B_ALONG_N);
    let columns = own + vec4<u32>(0u, next, 16u, 16u + next);
    let step = select(2u, 1u, A_ALONG_K);
    let half = select(1u, 8u, A_ALONG_K);
    // Stores take long to compile, so there is one, and what is to be stored moves past it. How often
    // each loop goes round is not known when the kernel is compiled, or it would be unrolled: fewer
    // rows or columns are left at the edge. Where rows are across pairs, all even ones of sixteen come
    // before the odd ones.
    let left = select((M - row + 15u) / 16u * 16u, M - row, A_ALONG_K);
    for (var stored = 0u; stored < min(select(16u, 32u, MANY_ROWS), left); stored++) {
        let at = row + (stored >> 4u) * 16u + (stored >> 3u & 1u) * half + (stored & 7u) * step;
        var value = rows0[0];
        var place = columns;
        for (var i = 0u; i < min(4u, N - column); i++) {
            store(batch, at, place.x, value.x);
            value = value.yzwx;
            place = place.yzwx;
        }
        rows0 = next_row(rows0, rows1[0]);
        rows1 = next_row(rows1, rows2[0]);
        rows2 = next_row(rows2, rows3[0]);
        rows3 = next_row(rows3, vec4<f32>());
    }
    if (COLUMN_SUMS && group.y == 0u) {
        var place = columns;
        for (var i = 0u; i < min(4u, N - column); i++) {
            if (place.x < N) {
                store_column_sum(batch, place.x, sums.x);
            }
            sums = sums.yzwx;
            place = place.yzwx;
        }
    }
}
