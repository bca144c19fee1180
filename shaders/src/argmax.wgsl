// The index of the largest element of each row of WIDTH, the first if several.

override TOTAL_ROWS: u32 = 1u;
override WIDTH: u32 = 1u;

//{bindings
@group(0) @binding(0) var<storage, read_write> result: array<i32>;
//}

//{value
fn value(i: u32) -> f32 {
    return f32(i);
}
//}

@compute @workgroup_size(64)
fn main(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let row = id.x + id.y * groups.x * 64u;
    if (row >= TOTAL_ROWS) {
        return;
    }
    var best = 0u;
    var largest = value(row * WIDTH);
    for (var k = 1u; k < WIDTH; k++) {
        let next = value(row * WIDTH + k);
        if (next > largest) {
            best = k;
            largest = next;
        }
    }
    result[row] = i32(best);
}
