// Rows added up into a table of zeros. Each element of the table looks at all indices in order: no
// atomics, so the same input gives the same bits.

override ELEMENTS: u32 = 1u;
override WIDTH: u32 = 1u;
override COUNT: u32 = 1u;

//{bindings
@group(0) @binding(0) var<storage, read_write> result: array<f32>;
//}

//{indices
fn indices(i: u32) -> u32 {
    return i;
}
//}

//{value
fn value(i: u32) -> f32 {
    return f32(i);
}
//}

//{epilogue
fn epilogue(anchor: f32, i: u32) -> f32 {
    return anchor;
}
//}

@compute @workgroup_size(64)
fn main(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let i = id.x + id.y * groups.x * 64u;
    if (i >= ELEMENTS) {
        return;
    }
    let row = i / WIDTH;
    let column = i % WIDTH;
    var total = 0.0;
    for (var n = 0u; n < COUNT; n++) {
        if (indices(n) == row) {
            total += value(n * WIDTH + column);
        }
    }
    result[i] = epilogue(total, i);
}
