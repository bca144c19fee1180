// What happens between two steps of one submission: rows of a data set become the next step's
// batch, and scalars of the last step are kept. Each invocation does what `between` says.

//{bindings
//}

//{between
fn between(i: u32) {
}
//}

@compute @workgroup_size(64)
fn main(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    between(id.x + id.y * groups.x * 64u);
}
