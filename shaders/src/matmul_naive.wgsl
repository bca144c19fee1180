// C = A B, one result an invocation: the plainest rung, which the others are checked against.

@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let column = id.x;
    let row = id.y;
    if (row >= M || column >= N) {
        return;
    }
    var total = 0.0;
    for (var k = 0u; k < places(id.z); k++) {
        let x = f32(a_element(id.z * A_BATCH + row * A_ROW + k * A_COLUMN));
        total += x * f32(b_element(id.z * B_BATCH + k * B_ROW + column * B_COLUMN));
    }
    store(id.z, row, column, total);
    if (COLUMN_SUMS && row == 0u) {
        var sum = 0.0;
        for (var k = 0u; k < K; k++) {
            sum += f32(b_element(k * B_ROW + column * B_COLUMN));
        }
        store_column_sum(column, sum);
    }
}
