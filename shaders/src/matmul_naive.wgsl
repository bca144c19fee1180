// C = A B, one result an invocation: the plainest rung, which the others are checked against.

@compute @workgroup_size(8, 8)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    let group = tile_of(workgroup, groups);
    let batch = group.z;
    let column = group.x * 8u + local.x;
    let row = group.y * 8u + local.y;
    if (row >= M || column >= N) {
        return;
    }
    var total = 0.0;
    for (var k = 0u; k < places(batch); k++) {
        let x = f32(a_element(a_start(batch) + row * A_ROW + k * A_COLUMN));
        total += x * f32(b_element(b_start(batch) + k * B_ROW + column * B_COLUMN));
    }
    store(batch, row, column, total);
    if (COLUMN_SUMS && row == 0u) {
        var sum = 0.0;
        for (var k = 0u; k < places(batch); k++) {
            sum += f32(b_element(b_start(batch) + k * B_ROW + column * B_COLUMN));
        }
        store_column_sum(batch, column, sum);
    }
}
