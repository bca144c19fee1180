// The gradient of a layer normalization with respect to its rows of WIDTH: with the row h as it was
// before gamma, d = gradient * gamma, and r = 1 / √(variance + ε), it is r (d − mean d − h mean(d h)).

override TOTAL_ROWS: u32 = 1u;
override WIDTH: u32 = 1u;
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

//{upstream
fn upstream(i: u32) -> f32 {
    return f32(i);
}
//}

//{statistic
// Two for each row: by how much its mean is above its first element, and r.
fn statistic(i: u32) -> f32 {
    return f32(i);
}
//}

//{hold
// Where HELD: computes an element of what comes from above, and stores it for `upstream` to read. That
// each lane does for its own elements, so that it waits for nobody.
fn hold(i: u32) {
}
//}

//{epilogue
fn epilogue(anchor: f32, i: u32) -> f32 {
    return anchor;
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
    let global_row = (group.x + group.y * groups.x) * ROWS + place;
    let row = min(global_row, TOTAL_ROWS - 1u);
    let start = row * WIDTH;
    // Rows past the end only meet the others at the barriers.
    let width = select(0u, rolled(WIDTH, groups.x), global_row < TOTAL_ROWS);
    var first = 0.0;
    if (HELD) {
        for (var k = lane; k < width; k += LANES) {
            hold(start + k);
        }
        if (lane == 0u && global_row < TOTAL_ROWS) {
            first = value(start);
        }
        first = of_first_lane(first, lane, place);
    } else {
        first = value(start);
    }
    let shift = statistic(2u * row);
    let inverse = statistic(2u * row + 1u);
    var own = 0.0;
    var own_along = 0.0;
    for (var k = lane; k < width; k += LANES) {
        let d = upstream(start + k) * gamma(k);
        own += d;
        own_along += d * ((value(start + k) - first - shift) * inverse);
    }
    let mean = sum_over_lanes(own, lane, place) / f32(WIDTH);
    let along = sum_over_lanes(own_along, lane, place) / f32(WIDTH);
    if (global_row >= TOTAL_ROWS) {
        return;
    }
    for (var k = lane; k < width; k += LANES) {
        let d = upstream(start + k) * gamma(k);
        let h = (value(start + k) - first - shift) * inverse;
        result[start + k] = epilogue(inverse * (d - mean - h * along), start + k);
    }
}
