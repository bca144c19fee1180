// C = A B, one result an invocation: the plainest rung, which the others are checked against.
// Operands are read through strides, so that transposition costs no copy.

override M: u32 = 1u;
override N: u32 = 1u;
override K: u32 = 1u;
override A_ROW: u32 = 1u;
override A_COLUMN: u32 = 1u;
override A_BATCH: u32 = 0u;
override B_ROW: u32 = 1u;
override B_COLUMN: u32 = 1u;
override B_BATCH: u32 = 0u;

//{bindings
@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read_write> result: array<f32>;
//}

//{epilogue
fn epilogue(anchor: f32, i: u32) -> f32 {
    return anchor;
}
//}

@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let column = id.x;
    let row = id.y;
    if (row >= M || column >= N) {
        return;
    }
    var total = 0.0;
    for (var k = 0u; k < K; k++) {
        total += a[id.z * A_BATCH + row * A_ROW + k * A_COLUMN]
            * b[id.z * B_BATCH + k * B_ROW + column * B_COLUMN];
    }
    let i = (id.z * M + row) * N + column;
    result[i] = epilogue(total, i);
}
