// What an adapter can do at best at arithmetic: eight chains of multiply-adds that do not wait for each
// other, in registers.

@group(0) @binding(0) var<storage, read> source: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> result: array<vec4<f32>>;

override ROUNDS: u32 = 1u;
// Invocations of one row of workgroups, as one dimension does not have as many as needed.
override ROW: u32 = 64u;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let at = id.y * ROW + id.x;
    let factor = source[0].x;
    let term = source[0].y;
    var a = f32(at);
    var b = a + 1.0;
    var c = a + 2.0;
    var d = a + 3.0;
    var e = a + 4.0;
    var f = a + 5.0;
    var g = a + 6.0;
    var h = a + 7.0;
    for (var round = 0u; round < ROUNDS; round += 1u) {
        //{chains
        a = fma(a, factor, term);
        b = fma(b, factor, term);
        c = fma(c, factor, term);
        d = fma(d, factor, term);
        e = fma(e, factor, term);
        f = fma(f, factor, term);
        g = fma(g, factor, term);
        h = fma(h, factor, term);
        //}
    }
    if (at < arrayLength(&result)) {
        result[at] = vec4(a + b, c + d, e + f, g + h);
    }
}
