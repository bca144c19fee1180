// Cross-entropy between the softmax of rows of logits and class indices: the loss of each row, its
// gradient with respect to the logits, or both. A label outside the classes gives NaN.

override TOTAL_ROWS: u32 = 1u;
override WIDTH: u32 = 1u;
override SMOOTHING: f32 = 0.0;
override LOSS: bool = true;
override GRADIENT: bool = false;
override HELD: bool = false;

//{bindings
@group(0) @binding(0) var<storage, read_write> result: array<f32>;
//}

//{logits
fn logits(i: u32) -> f32 {
    return f32(i);
}
//}

//{hold
// Where HELD: computes a logit, and stores it for `logits` to read. That each lane does for its own
// elements, so that it waits for nobody.
fn hold(i: u32) {
}
//}

//{labels
fn labels(i: u32) -> i32 {
    return i32(i);
}
//}

//{upstream
// The gradient of each row's loss.
fn upstream(i: u32) -> f32 {
    return 1.0;
}
//}

//{epilogue
fn epilogue(anchor: f32, i: u32) -> f32 {
    return anchor;
}
//}

//{store_gradient
// Where the gradient is the kernel's only result.
fn store_gradient(i: u32, value: f32) {
    result[i] = epilogue(value, i);
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
    var own = from_bits(0xff800000u);
    for (var k = lane; k < width; k += LANES) {
        if (HELD) {
            hold(start + k);
        }
        own = larger(own, logits(start + k));
    }
    let largest = max_over_lanes(own, lane, place);
    own = 0.0;
    var sum = 0.0;
    for (var k = lane; k < width; k += LANES) {
        let below = logits(start + k) - largest;
        own += exp(below);
        sum += below;
    }
    let total = sum_over_lanes(own, lane, place);
    // With smoothing, the target also asks for the mean of all logits. As elsewhere, what they are
    // below the largest, since large numbers would swallow a small loss.
    var mean = 0.0;
    if (SMOOTHING != 0.0) {
        mean = sum_over_lanes(sum, lane, place) / f32(max(WIDTH, 1u));
    }
    let label = labels(row);
    let known = label >= 0 && label < i32(WIDTH);
    if (global_row >= TOTAL_ROWS) {
        return;
    }
    // The lane that has read the label's logit, before a gradient may take its place.
    let of_label = select(0u, u32(label), known);
    if (LOSS && lane == of_label % LANES) {
        let at_label = logits(start + of_label) - largest;
        let anchor = log(total) - (1.0 - SMOOTHING) * at_label - SMOOTHING * mean;
        result[row] = epilogue(select(not_a_number(), anchor, known), row);
    }
    if (GRADIENT) {
        let factor = upstream(row);
        for (var k = lane; k < width; k += LANES) {
            let hit = select(0.0, 1.0 - SMOOTHING, i32(k) == label);
            let probability = exp(logits(start + k) - largest) / total;
            let anchor = (probability - hit - SMOOTHING / f32(max(WIDTH, 1u))) * factor;
            store_gradient(start + k, select(not_a_number(), anchor, known));
        }
    }
}
