// The index of the largest element of each row of WIDTH, the first if several. A NaN is passed over, but
// for one that is the row's first: nothing is larger.

override TOTAL_ROWS: u32 = 1u;
override WIDTH: u32 = 1u;

const NONE: u32 = 0xffffffffu;

//{bindings
@group(0) @binding(0) var<storage, read_write> result: array<i32>;
//}

//{value
fn value(i: u32) -> f32 {
    return f32(i);
}
//}

@compute @workgroup_size(LANES * ROWS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
) {
    let lane = invocation % LANES;
    let place = invocation / LANES;
    let row = (group.x + group.y * groups.x) * ROWS + place;
    let start = row * WIDTH;
    // Rows past the end meet the others at the barriers, and read nothing.
    let width = select(0u, rolled(WIDTH, groups.x), row < TOTAL_ROWS);
    let least = from_bits(0xff800000u);
    var best = NONE;
    var own = least;
    for (var k = lane; k < width; k += LANES) {
        let next = value(start + k);
        if (is_nan(next)) {
            if (k == 0u) {
                best = 0u;
                own = from_bits(0x7f800000u);
            }
        } else if (next > own || best == NONE) {
            best = k;
            own = next;
        }
    }
    let largest = max_over_lanes(own, lane, place);
    // The smallest index of those lanes, as one number of 16 bits after the other: lanes hand on `f32`.
    let is_one = best != NONE && own == largest;
    let high = -f32(best >> 16u);
    let first_high = max_over_lanes(select(least, high, is_one), lane, place);
    let low = -f32(best & 0xffffu);
    let is_first = is_one && high == first_high;
    let first_low = max_over_lanes(select(least, low, is_first), lane, place);
    if (row < TOTAL_ROWS && lane == 0u) {
        let is_any = first_low > least;
        let found = (u32(-first_high) << 16u) + u32(-first_low);
        result[row] = i32(select(0u, found, is_any));
    }
}
