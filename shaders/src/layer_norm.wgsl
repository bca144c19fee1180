// Layer normalization of rows of WIDTH, what its gradients need of each row, or both. The mean is that
// of the distances from the row's first element, and the variance that of distances from the mean: of
// large numbers that vary little, neither is lost in rounding.

override TOTAL_ROWS: u32 = 1u;
override WIDTH: u32 = 1u;
override EPSILON: f32 = 0.00001;
override OUTPUT: bool = true;
override STATISTICS: bool = false;
override HELD: bool = false;

//{bindings
@group(0) @binding(0) var<storage, read_write> result: array<f32>;
//}

//{value
fn value(i: u32) -> f32 {
    return f32(i);
}
//}

//{gamma
fn gamma(i: u32) -> f32 {
    return 1.0;
}
//}

//{beta
fn beta(i: u32) -> f32 {
    return 0.0;
}
//}

//{hold
// Where HELD: computes an element of a row, and stores it for `value` to read. That each lane does for
// its own elements, so that it waits for nobody.
fn hold(i: u32) {
}
//}

//{epilogue
fn epilogue(anchor: f32, i: u32) -> f32 {
    return anchor;
}
//}

//{store_statistics
// By how much the row's mean is above its first element, and 1 / √(variance + ε): where they are the
// kernel's only result.
fn store_statistics(row: u32, shift: f32, inverse: f32) {
    result[2u * row] = shift;
    result[2u * row + 1u] = inverse;
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
    let start = min(row, TOTAL_ROWS - 1u) * WIDTH;
    // Rows past the end only meet the others at the barriers.
    let width = select(0u, rolled(WIDTH, groups.x), row < TOTAL_ROWS);
    var first = 0.0;
    if (HELD) {
        for (var k = lane; k < width; k += LANES) {
            hold(start + k);
        }
        if (lane == 0u && row < TOTAL_ROWS) {
            first = value(start);
        }
        first = of_first_lane(first, lane, place);
    } else {
        first = value(start);
    }
    var own = 0.0;
    for (var k = lane; k < width; k += LANES) {
        own += value(start + k) - first;
    }
    let shift = sum_over_lanes(own, lane, place) / f32(WIDTH);
    own = 0.0;
    for (var k = lane; k < width; k += LANES) {
        let off = value(start + k) - first - shift;
        own += off * off;
    }
    let variance = sum_over_lanes(own, lane, place) / f32(WIDTH);
    let inverse = inverseSqrt(variance + EPSILON);
    if (row >= TOTAL_ROWS) {
        return;
    }
    if (STATISTICS && lane == 0u) {
        store_statistics(row, shift, inverse);
    }
    if (OUTPUT) {
        for (var k = lane; k < width; k += LANES) {
            let anchor = (value(start + k) - first - shift) * inverse * gamma(k) + beta(k);
            result[start + k] = epilogue(anchor, start + k);
        }
    }
}
