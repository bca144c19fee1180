// The update of all parameters of an optimizer. A workgroup works on one block: a run of elements
// of one parameter, its gradient and its slots, at offsets into the buffers that hold them all. The
// offsets are multiples of 64 elements, and so is the room that each has: its last vector may reach
// past its end.
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
override BLOCKS: u32 = 1u;
// Whether a step may be left out, because the gradients of a scaled loss are not finite.
override SCALED: bool = false;

struct Block {
    parameter: u32,
    gradient: u32,
    slot0: u32,
    slot1: u32,
    length: u32,
    decays: u32,
}

// See optimizer_scalars.wgsl.
struct Scalars {
    learning_rate: f32,
    gradient_factor: f32,
    correction1: f32,
    correction2: f32,
    applied: f32,
}

//{stored
// As many elements as are loaded and stored at once.
alias Stored = vec4<f32>;
alias Numbers = vec4<f32>;

const TOGETHER = 4u;
const LANES = 64u;

fn numbers(stored: Stored) -> Numbers {
    return stored;
}

fn stored(numbers: Numbers) -> Stored {
    return numbers;
}
//}

@group(0) @binding(0) var<storage, read> blocks: array<Block>;
@group(0) @binding(1) var<storage, read> scalars: Scalars;
@group(0) @binding(2) var<storage, read> gradients: array<Stored>;
@group(0) @binding(3) var<storage, read_write> parameters: array<Stored>;
@group(0) @binding(4) var<storage, read_write> slots0: array<Stored>;
@group(0) @binding(5) var<storage, read_write> slots1: array<Stored>;

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    let index = group.x + group.y * groups.x;
    if (index >= BLOCKS) {
        return;
    }
    if (SCALED && scalars.applied == 0.0) {
        return;
    }
    let block = blocks[index];
    let rate = scalars.learning_rate;
    let decay = select(0.0, WEIGHT_DECAY, block.decays != 0u);
    // Read once, not for each element.
    let factor = scalars.gradient_factor;
    let correction1 = scalars.correction1;
    let correction2 = scalars.correction2;
    for (var k = local.x; k * TOGETHER < block.length; k += LANES) {
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
    }
}
