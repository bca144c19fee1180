// Layer normalization of rows of WIDTH, what its gradients need of each row, or both. The mean is that
// of the distances from the row's first element, and the variance that of distances from the mean: of
// large numbers that vary little, neither is lost in rounding.

override TOTAL_ROWS: u32 = 1u;
override WIDTH: u32 = 1u;
override EPSILON: f32 = 0.00001;
override OUTPUT: bool = true;
override STATISTICS: bool = false;

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

@compute @workgroup_size(LANES, ROWS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    let row = (group.x + group.y * groups.x) * ROWS + local.y;
    // Rows past the end do the last row's work: all invocations must meet at the barriers.
    let start = min(row, TOTAL_ROWS - 1u) * WIDTH;
    let width = rolled(WIDTH, groups.x);
    let first = value(start);
    var own = 0.0;
    for (var k = local.x; k < width; k += LANES) {
        own += value(start + k) - first;
    }
    let shift = sum_over_lanes(own, local.x, local.y) / f32(WIDTH);
    own = 0.0;
    for (var k = local.x; k < width; k += LANES) {
        let off = value(start + k) - first - shift;
        own += off * off;
    }
    let variance = sum_over_lanes(own, local.x, local.y) / f32(WIDTH);
    let inverse = inverseSqrt(variance + EPSILON);
    if (row >= TOTAL_ROWS) {
        return;
    }
    if (STATISTICS && local.x == 0u) {
        store_statistics(row, shift, inverse);
    }
    if (OUTPUT) {
        for (var k = local.x; k < width; k += LANES) {
            let anchor = (value(start + k) - first - shift) * inverse * gamma(k) + beta(k);
            result[start + k] = epilogue(anchor, start + k);
        }
    }
}
