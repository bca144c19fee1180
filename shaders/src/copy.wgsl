// What an adapter can do at best at moving bytes: every element is read once and written once.

@group(0) @binding(0) var<storage, read> source: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> result: array<vec4<f32>>;

// Invocations of one row of workgroups, as one dimension does not have as many as needed.
override ROW: u32 = 64u;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let at = id.y * ROW + id.x;
    if (at < arrayLength(&result)) {
        result[at] = source[at];
    }
}
