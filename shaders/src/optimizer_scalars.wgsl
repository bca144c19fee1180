// What an optimizer's update needs once per step, as far as the gradients' norm has no part in it, by one
// invocation: Adam's corrections 1 - beta^t, and values of the graph, the learning rate first. It reads
// the counters; the update's kernel raises them.

override LOG_BETA1: f32 = -0.1;
override LOG_BETA2: f32 = -0.001;

//{bindings
@group(0) @binding(0) var<storage, read_write> result: array<f32>;
@group(0) @binding(1) var<storage, read> step: array<u32>;
//}

//{values
fn store_values() {
    result[2] = 0.0;
}
//}

fn store_scalars() {
    let t = f32(next_count(step[0], true));
    // 1 - beta^t = -expm1(t ln beta): the difference itself would lose most of its digits.
    result[0] = -expm1(t * LOG_BETA1);
    result[1] = -expm1(t * LOG_BETA2);
    store_values();
}

//{main
@compute @workgroup_size(1)
fn main() {
    store_scalars();
}
//}
