// The update of all parameters of an optimizer. A workgroup works on blocks: each is a run of elements
// of one parameter, its gradient and its slots, at offsets into the buffers that hold them all. The
// offsets are multiples of 64 elements, and so is the room that each has: its last vector may reach
// past its end.
//
// Where the update depends on the gradients' norm, each workgroup adds up the same few sums of squares
// in the same order. One invocation of all raises the counters, which no other reads in this dispatch.
//
// SGD: torch.optim.SGD. Adam: Kingma and Ba 2014; AdamW: Loshchilov and Hutter 2017.

override ADAM: bool = false;
override MOMENTUM: f32 = 0.0;
override NESTEROV: bool = false;
// A beta and 1 - beta: the difference is taken in f64 on the host, where no digits are lost.
override BETA1: f32 = 0.9;
override REST1: f32 = 0.1;
override BETA2: f32 = 0.999;
override REST2: f32 = 0.001;
override EPSILON: f32 = 1e-8;
override WEIGHT_DECAY: f32 = 0.0;
override DECOUPLED: bool = false;
override BLOCKS: u32 = 0u;
// How many sums of squares there are, and where.
override SUMS: u32 = 0u;
override FIRST: u32 = 0u;
// Of how many batches an update is made.
override STEPS: f32 = 1.0;

struct Block {
    parameter: u32,
    gradient: u32,
    slot0: u32,
    slot1: u32,
    accumulator: u32,
    length: u32,
    decays: u32,
}

// What optimizer_scalars.wgsl stored, then the sums.
@group(0) @binding(0) var<storage, read> scalars: array<f32>;

//{learning_rate
fn learning_rate(anchor: f32) -> f32 {
    return scalars[2];
}
//}

//{gradient_factor
fn gradient_factor(anchor: f32) -> f32 {
    return 1.0;
}
//}

// Of a loss that is not scaled every step is applied.
//{gradient_norm
fn gradient_norm(anchor: f32) -> f32 {
    return 0.0;
}
//}

// Of how many batches the gradients are.
//{batches
fn batches(anchor: f32) -> f32 {
    return 1.0;
}
//}

// What is written once, by this kernel or by another of the same text.
//{count
fn count(norm: f32, ends: bool, applied: bool) {}
//}

// Without accumulation every run makes an update, of its own gradients. See accumulators.wgsl.
//{accumulators
const ACCUMULATES = false;

fn accumulate(place: u32, sum: Numbers) {}
//}

//{update
@group(0) @binding(1) var<storage, read> blocks: array<Block>;
@group(0) @binding(2) var<storage, read> gradients: array<Stored>;
@group(0) @binding(3) var<storage, read_write> parameters: array<Stored>;
@group(0) @binding(4) var<storage, read_write> slots0: array<Stored>;
@group(0) @binding(5) var<storage, read_write> slots1: array<Stored>;

fn update(block: Block, lane: u32, rate: f32, factor: f32, correction1: f32, correction2: f32) {
    let decay = select(0.0, WEIGHT_DECAY, block.decays != 0u);
    for (var k = lane; k * TOGETHER < block.length; k += INVOCATIONS) {
        let place = block.parameter / TOGETHER + k;
        let place0 = block.slot0 / TOGETHER + k;
        let place1 = block.slot1 / TOGETHER + k;
        var parameter = numbers(parameters[place]);
        var gradient = numbers(gradients[block.gradient / TOGETHER + k]) * factor;
        if (ADAM && DECOUPLED) {
            parameter -= rate * decay * parameter;
        } else {
            gradient += decay * parameter;
        }
        var direction = gradient;
        if (ADAM) {
            let m = BETA1 * numbers(slots0[place0]) + REST1 * gradient;
            let v = BETA2 * numbers(slots1[place1]) + REST2 * gradient * gradient;
            slots0[place0] = stored(m);
            slots1[place1] = stored(v);
            direction = (m / correction1) / (sqrt(v / correction2) + EPSILON);
        } else if (MOMENTUM != 0.0) {
            let velocity = MOMENTUM * numbers(slots0[place0]) + gradient;
            slots0[place0] = stored(velocity);
            direction = select(velocity, gradient + MOMENTUM * velocity, NESTEROV);
        }
        parameters[place] = stored(parameter - rate * direction);
        if (ACCUMULATES) {
            accumulate(block.accumulator / TOGETHER + k, Numbers(0.0));
        }
    }
}

// What a run does that makes no update: it keeps the gradients, which are sums already, or with the last
// batch, of an update that is left out, drops them.
fn keep_blocks(ends: bool, group: u32, groups: u32, lane: u32) {
    for (var at = group; at < BLOCKS; at += groups) {
        let block = blocks[at];
        for (var k = lane; k * TOGETHER < block.length; k += INVOCATIONS) {
            var sum = Numbers(0.0);
            if (!ends) {
                sum = numbers(gradients[block.gradient / TOGETHER + k]);
            }
            accumulate(block.accumulator / TOGETHER + k, sum);
        }
    }
}

fn update_blocks(norm: f32, group: u32, groups: u32, lane: u32) {
    // Read once, not for each element.
    let rate = learning_rate(norm);
    let factor = gradient_factor(norm);
    let correction1 = scalars[0];
    let correction2 = scalars[1];
    for (var at = group; at < BLOCKS; at += groups) {
        update(blocks[at], lane, rate, factor, correction1, correction2);
    }
}
//}

@compute @workgroup_size(INVOCATIONS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    // With one lane, each invocation adds up all of them by itself.
    let lane = local.x % LANES;
    var own = 0.0;
    for (var k = lane; k < SUMS; k += LANES) {
        own += scalars[FIRST + k];
    }
    let norm = sqrt(sum_over_lanes(own, lane, 0u));
    let ends = batches(norm) >= STEPS;
    let applied = ends && is_finite(gradient_norm(norm));
    let index = group.x + group.y * groups.x;
    if (index == 0u && local.x == 0u) {
        count(norm, ends, applied);
    }
    if (applied) {
        update_blocks(norm, index, groups.x * groups.y, local.x);
    } else if (ACCUMULATES) {
        keep_blocks(ends, index, groups.x * groups.y, local.x);
    }
}
