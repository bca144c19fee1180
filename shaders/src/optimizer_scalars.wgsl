// What an optimizer's update needs once per step, by one invocation: learning rate, factor for
// gradients, Adam's corrections 1 - beta^t, and whether the step is applied: not if the gradients of
// a scaled loss have no finite norm. It also counts the step, after everything has read it.

override LOG_BETA1: f32 = -0.1;
override LOG_BETA2: f32 = -0.001;
// Whether it is this optimizer that counts the global step: one among those that share it.
override COUNTS: bool = true;

//{bindings
@group(0) @binding(0) var<storage, read_write> result: array<f32>;
@group(0) @binding(1) var<storage, read_write> step: array<u32>;
@group(0) @binding(2) var<storage, read_write> global_step: array<u32>;
//}

//{learning_rate
fn learning_rate(i: u32) -> f32 {
    return 0.0;
}
//}

//{gradient_factor
fn gradient_factor(i: u32) -> f32 {
    return 1.0;
}
//}

// Of a loss that is not scaled every step is applied.
//{gradient_norm
fn gradient_norm(i: u32) -> f32 {
    return 0.0;
}
//}

//{count_scale
fn count_scale(applied: bool) {}
//}

@compute @workgroup_size(1)
fn main() {
    let t = f32(step[0] + 1u);
    result[0] = learning_rate(0u);
    result[1] = gradient_factor(0u);
    // 1 - beta^t = -expm1(t ln beta): the difference itself would lose most of its digits.
    result[2] = -expm1(t * LOG_BETA1);
    result[3] = -expm1(t * LOG_BETA2);
    let applied = is_finite(gradient_norm(0u));
    result[4] = select(0.0, 1.0, applied);
    step[0] += select(0u, 1u, applied);
    count_scale(applied);
    if (COUNTS) {
        global_step[0] += 1u;
    }
}
