// One generated expression for each element of the result.

override ELEMENTS: u32 = 1u;

//{bindings
@group(0) @binding(0) var<storage, read_write> result: array<f32>;
//}

//{value
fn value(i: u32) -> f32 {
    return f32(i);
}
//}

//{write
fn write(i: u32) {
    result[i] = value(i);
}
//}

@compute @workgroup_size(64)
fn main(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let i = id.x + id.y * groups.x * 64u;
    if (i < ELEMENTS) {
        write(i);
    }
}
