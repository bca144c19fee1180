// Softmax, or its logarithm, over rows of WIDTH.

override TOTAL_ROWS: u32 = 1u;
override WIDTH: u32 = 1u;
override LOGARITHM: bool = false;
override HELD: bool = false;

//{bindings
@group(0) @binding(0) var<storage, read_write> result: array<f32>;
//}

//{value
fn value(i: u32) -> f32 {
    return f32(i);
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
    // Rows past the end meet the others at the barriers, and read nothing: the result may be written
    // over what is read.
    let width = select(0u, rolled(WIDTH, groups.x), row < TOTAL_ROWS);
    var own = from_bits(0xff800000u);
    for (var k = lane; k < width; k += LANES) {
        if (HELD) {
            hold(start + k);
        }
        own = larger(own, value(start + k));
    }
    let largest = max_over_lanes(own, lane, place);
    own = 0.0;
    for (var k = lane; k < width; k += LANES) {
        own += exp(value(start + k) - largest);
    }
    let total = sum_over_lanes(own, lane, place);
    let log_total = log(total);
    for (var k = lane; k < width; k += LANES) {
        let x = value(start + k) - largest;
        let anchor = select(exp(x) / total, x - log_total, LOGARITHM);
        result[start + k] = epilogue(anchor, start + k);
    }
}
