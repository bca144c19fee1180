// Rows shared by lanes: a workgroup holds ROWS rows, each worked on by LANES invocations, a power of
// two. What a row comes to is a tree of fixed shape, so that the same input gives the same bits: lanes
// that lie LANES / 2 apart are joined first, and neighbours last. All lanes get the result.
//
// Lanes hand values on through workgroup memory, where at each barrier eight become one, and within
// SUBGROUP lanes without it. That only changes who adds, not which numbers are added in which order: it
// gives the same bits.

override LANES: u32 = 1u;
override ROWS: u32 = 64u;
// Within how many lanes values are handed on by the subgroup: the fewest invocations that a subgroup has.
// Where subgroups are larger, more of them lie in one. Rows of no more lanes need no barrier. 1 is none.
override SUBGROUP: u32 = 1u;

// Two halves in turn: who writes the next values has met everybody at the barrier of those between, and
// so all have read those before.
var<workgroup> partial: array<f32, 512>;
var<private> turn: u32;

//{other_lane
// The value of the lane whose number differs in this bit.
fn other_lane(own: f32, bit: u32) -> f32 {
    return own;
}
//}

fn joined(a: f32, b: f32, maximum: bool) -> f32 {
    if (maximum) {
        return larger(a, b);
    }
    return a + b;
}

fn joined_pair(at: u32, apart: u32, maximum: bool) -> f32 {
    return joined(partial[at], partial[at + apart], maximum);
}

// Two, four or eight values, `step` apart.
fn joined_values(at: u32, step: u32, count: u32, maximum: bool) -> f32 {
    let apart = count / 2u * step;
    var even = joined_pair(at, apart, maximum);
    if (count == 2u) {
        return even;
    }
    var odd = joined_pair(at + step, apart, maximum);
    if (count == 8u) {
        even = joined(even, joined_pair(at + 2u * step, apart, maximum), maximum);
        odd = joined(odd, joined_pair(at + 3u * step, apart, maximum), maximum);
    }
    return joined(even, odd, maximum);
}

fn over_lanes(own: f32, lane: u32, row: u32, maximum: bool) -> f32 {
    var total = own;
    // Lanes that lie this far apart, or a multiple of it, are joined already.
    var width = LANES;
    while (width > SUBGROUP) {
        let step = max(width / 8u, SUBGROUP);
        let first = turn + row * LANES;
        if (lane < width) {
            partial[first + lane] = total;
        }
        workgroupBarrier();
        turn = 256u - turn;
        // Only the last time everybody needs what comes out.
        if (lane < step || step == SUBGROUP) {
            total = joined_values(first + lane % step, step, width / step, maximum);
        }
        width = step;
    }
    for (var bit = width / 2u; bit > 0u; bit /= 2u) {
        total = joined(total, other_lane(total, bit), maximum);
    }
    return total;
}

fn sum_over_lanes(own: f32, lane: u32, row: u32) -> f32 {
    return over_lanes(own, lane, row, false);
}

fn max_over_lanes(own: f32, lane: u32, row: u32) -> f32 {
    return over_lanes(own, lane, row, true);
}

// What the first lane of a row has, for all of its lanes.
fn of_first_lane(own: f32, lane: u32, row: u32) -> f32 {
    if (LANES == 1u) {
        return own;
    }
    let at = turn + row * LANES;
    if (lane == 0u) {
        partial[at] = own;
    }
    workgroupBarrier();
    turn = 256u - turn;
    return partial[at];
}

// A number of elements, as one that no compiler knows: a driver that unrolls loops over short rows takes
// long to compile them. There is a first workgroup, so the count of workgroups is not 0.
fn rolled(count: u32, groups: u32) -> u32 {
    return select(count, 0u, groups == 0u);
}
