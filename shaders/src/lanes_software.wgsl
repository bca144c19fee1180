// Rows shared by lanes, on software adapters: in place of lanes.wgsl, whose lanes load more to wait less. A
// workgroup holds ROWS rows, each worked on by LANES invocations. The sum over lanes is the same tree, so
// that the same input gives the same bits. Workgroups have one dimension: Mesa's driver computes eight
// invocations at once, but only of one x after the other, so that of rows of one lane it would be one.

override LANES: u32 = 1u;
override ROWS: u32 = 64u;

var<workgroup> partial: array<f32, 256>;

fn sum_over_lanes(own: f32, lane: u32, row: u32) -> f32 {
    if (LANES == 1u) {
        return own;
    }
    let at = row * LANES + lane;
    partial[at] = own;
    workgroupBarrier();
    for (var width = LANES / 2u; width > 0u; width /= 2u) {
        if (lane < width) {
            partial[at] += partial[at + width];
        }
        workgroupBarrier();
    }
    let total = partial[row * LANES];
    // Nobody may write its next value before everybody has read this one.
    workgroupBarrier();
    return total;
}

// What the first lane of a row has, for all of its lanes.
fn of_first_lane(own: f32, lane: u32, row: u32) -> f32 {
    if (LANES == 1u) {
        return own;
    }
    if (lane == 0u) {
        partial[row * LANES] = own;
    }
    workgroupBarrier();
    let first = partial[row * LANES];
    // Nobody may write its next value before everybody has read this one.
    workgroupBarrier();
    return first;
}

// A number of elements, as one that no compiler knows: a driver that unrolls loops over short rows takes
// long to compile them. There is a first workgroup, so the count of workgroups is not 0.
fn rolled(count: u32, groups: u32) -> u32 {
    return select(count, 0u, groups == 0u);
}

fn max_over_lanes(own: f32, lane: u32, row: u32) -> f32 {
    if (LANES == 1u) {
        return own;
    }
    let at = row * LANES + lane;
    partial[at] = own;
    workgroupBarrier();
    for (var width = LANES / 2u; width > 0u; width /= 2u) {
        if (lane < width) {
            partial[at] = larger(partial[at], partial[at + width]);
        }
        workgroupBarrier();
    }
    let total = partial[row * LANES];
    workgroupBarrier();
    return total;
}
