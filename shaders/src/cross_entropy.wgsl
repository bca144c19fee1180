// Cross-entropy between the softmax of rows of logits and class indices: the loss of each row, its
// gradient with respect to the logits, or both. A label outside the classes gives NaN.

override TOTAL_ROWS: u32 = 1u;
override WIDTH: u32 = 1u;
override SMOOTHING: f32 = 0.0;
override LOSS: bool = true;
override GRADIENT: bool = false;

//{bindings
@group(0) @binding(0) var<storage, read_write> result: array<f32>;
//}

//{logits
fn logits(i: u32) -> f32 {
    return f32(i);
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

@compute @workgroup_size(LANES, ROWS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    let global_row = (group.x + group.y * groups.x) * ROWS + local.y;
    let row = min(global_row, TOTAL_ROWS - 1u);
    let start = row * WIDTH;
    let width = rolled(WIDTH, groups.x);
    var own = from_bits(0xff800000u);
    for (var k = local.x; k < width; k += LANES) {
        own = larger(own, logits(start + k));
    }
    let largest = max_over_lanes(own, local.x, local.y);
    own = 0.0;
    var sum = 0.0;
    for (var k = local.x; k < width; k += LANES) {
        let below = logits(start + k) - largest;
        own += exp(below);
        sum += below;
    }
    let total = sum_over_lanes(own, local.x, local.y);
    // With smoothing, the target also asks for the mean of all logits. As elsewhere, what they are
    // below the largest, since large numbers would swallow a small loss.
    var mean = 0.0;
    if (SMOOTHING != 0.0) {
        mean = sum_over_lanes(sum, local.x, local.y) / f32(max(WIDTH, 1u));
    }
    let label = labels(row);
    let known = label >= 0 && label < i32(WIDTH);
    if (global_row >= TOTAL_ROWS) {
        return;
    }
    if (GRADIENT) {
        let factor = upstream(row);
        for (var k = local.x; k < width; k += LANES) {
            let hit = select(0.0, 1.0 - SMOOTHING, i32(k) == label);
            let probability = exp(logits(start + k) - largest) / total;
            let anchor = (probability - hit - SMOOTHING / f32(max(WIDTH, 1u))) * factor;
            store_gradient(start + k, select(not_a_number(), anchor, known));
        }
    }
    if (LOSS && local.x == 0u) {
        let at_label = logits(start + select(0u, u32(label), known)) - largest;
        let anchor = log(total) - (1.0 - SMOOTHING) * at_label - SMOOTHING * mean;
        result[row] = epilogue(select(not_a_number(), anchor, known), row);
    }
}
