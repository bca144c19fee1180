// The section `accumulators` of optimizer.wgsl: sums of gradients that wait for the last batch of an update.

const ACCUMULATES = true;

@group(0) @binding(6) var<storage, read_write> accumulators: array<Stored>;

fn accumulate(place: u32, sum: Numbers) {
    accumulators[place] = stored(sum);
}
