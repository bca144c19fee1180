// Sums and maxima. Each result is a row of COUNT inputs, which the generated functions find.

override RESULTS: u32 = 1u;
override COUNT: u32 = 1u;
override MAXIMUM: bool = false;
// Whether a second sum over the same elements is made on the way.
override SECOND: bool = false;

//{bindings
@group(0) @binding(0) var<storage, read_write> result: array<f32>;
//}

//{value
// The input numbered `k` of the result `i`.
fn value(i: u32, k: u32) -> f32 {
    return f32(i + k);
}
//}

//{second
fn second(i: u32, k: u32) -> f32 {
    return 0.0;
}

fn store_second(i: u32, total: f32) {
}
//}

//{finish
// What is made of a sum or maximum before anything else.
fn finish(total: f32) -> f32 {
    return total;
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
    let row = (group.x + group.y * groups.x) * ROWS + place;
    let inside = row < RESULTS;
    // Rows past the end do the last row's work: all invocations must meet at the barriers.
    let i = min(row, RESULTS - 1u);
    let count = rolled(COUNT, groups.x);
    var total = select(0.0, from_bits(0xff800000u), MAXIMUM);
    var second_total = 0.0;
    for (var k = lane; k < count; k += LANES) {
        let next = value(i, k);
        if (MAXIMUM) {
            total = larger(total, next);
        } else {
            total += next;
        }
        if (SECOND) {
            second_total += second(i, k);
        }
    }
    if (MAXIMUM) {
        total = max_over_lanes(total, lane, place);
    } else {
        total = sum_over_lanes(total, lane, place);
    }
    if (SECOND) {
        second_total = sum_over_lanes(second_total, lane, place);
    }
    if (inside && lane == 0u) {
        result[i] = epilogue(finish(total), i);
        if (SECOND) {
            store_second(i, second_total);
        }
    }
}
