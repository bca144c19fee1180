// Counts the elements of variables that are NaN or infinite: those whose exponent is all ones. By
// their bits, because a compiler may assume that every float is finite.
//
// A workgroup looks at one chunk of one variable.

struct Chunk {
    // The word of the arena at which it begins.
    first: u32,
    elements: u32,
    // Whose count it adds to.
    variable: u32,
    // 1 if there are two elements to a word.
    half: u32,
    // The bits of their exponent.
    exponent: u32,
}

@group(0) @binding(0) var<storage, read> chunks: array<Chunk>;
@group(0) @binding(1) var<storage, read> arena: array<u32>;
@group(0) @binding(2) var<storage, read_write> counts: array<atomic<u32>>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = group.y * groups.x + group.x;
    // The last row of groups may reach beyond the chunks.
    if at >= arrayLength(&chunks) { return; }
    let chunk = chunks[at];
    var found = 0u;
    for (var element = local; element < chunk.elements; element += 64u) {
        let word = arena[chunk.first + (element >> chunk.half)];
        let bits = word >> (16u * (element & chunk.half));
        if (bits & chunk.exponent) == chunk.exponent { found += 1u; }
    }
    if found > 0u { atomicAdd(&counts[chunk.variable], found); }
}
