// Rows added up into a table of zeros, without atomics on what is added up: in the order of their indices,
// so the same input gives the same bits. A workgroup has TURNS times 64 / LANES rows of the table, and of
// those LANES * COLUMNS columns. Together its invocations look for the indices of these rows and mark them;
// then each goes through the marked ones, for one row after the other.

override TABLE_ROWS: u32 = 1u;
override WIDTH: u32 = 1u;
override COUNT: u32 = 1u;
override LANES: u32 = 64u;
// Of each invocation, LANES apart; 4 at most.
override COLUMNS: u32 = 1u;
// Workgroups side by side for the columns of a row.
override BLOCKS: u32 = 1u;
// More than 1 only where all indices are marked in one go.
override TURNS: u32 = 1u;

// How many indices are marked in one go: a bit for each, and a bit for each 32 of those.
const AT_ONCE: u32 = 16384u;
var<workgroup> marks: array<atomic<u32>, 512>;
var<workgroup> marked: array<atomic<u32>, 16>;

//{bindings
@group(0) @binding(0) var<storage, read_write> result: array<f32>;
//}

//{indices
fn indices(i: u32) -> u32 {
    return i;
}
//}

//{value
fn value(i: u32) -> f32 {
    return f32(i);
}
//}

//{epilogue
fn epilogue(anchor: f32, i: u32) -> f32 {
    return anchor;
}
//}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let rows = 64u / LANES;
    let block = group.x + group.y * groups.x;
    let first_row = block / BLOCKS * (rows * TURNS);
    let first_column = block % BLOCKS * LANES * COLUMNS + local % LANES;
    var totals = vec4<f32>();
    var start = 0u;
    loop {
        let count = min(COUNT - start, AT_ONCE);
        let parts = (count + 1023u) / 1024u;
        for (var word = local; word < parts * 32u; word += 64u) {
            atomicStore(&marks[word], 0u);
        }
        if (local < parts) {
            atomicStore(&marked[local], 0u);
        }
        workgroupBarrier();
        for (var at = local; at < count; at += 64u) {
            // Below the first row this wraps to a large number.
            if (indices(start + at) - first_row < rows * TURNS) {
                atomicOr(&marks[at / 32u], 1u << (at % 32u));
                atomicOr(&marked[at / 1024u], 1u << (at / 32u % 32u));
            }
        }
        workgroupBarrier();
        for (var turn = 0u; turn < TURNS; turn++) {
            let row = first_row + turn * rows + local / LANES;
            totals = add_marked(totals, start, parts, row, first_column);
            if (start + count == COUNT) {
                write(totals, row, first_column);
                totals = vec4<f32>();
            }
        }
        start += count;
        if (start == COUNT) {
            break;
        }
        // Marks are taken away only when everybody has seen them.
        workgroupBarrier();
    }
}

fn add_marked(
    before: vec4<f32>,
    start: u32,
    parts: u32,
    row: u32,
    first_column: u32,
) -> vec4<f32> {
    var totals = before;
    for (var part = 0u; part < parts; part++) {
        var words = atomicLoad(&marked[part]);
        while (words != 0u) {
            let word = part * 32u + firstTrailingBit(words);
            words &= words - 1u;
            var bits = atomicLoad(&marks[word]);
            while (bits != 0u) {
                let n = start + word * 32u + firstTrailingBit(bits);
                bits &= bits - 1u;
                if (indices(n) != row) {
                    continue;
                }
                for (var at = 0u; at < COLUMNS; at++) {
                    let column = first_column + at * LANES;
                    if (column < WIDTH) {
                        totals[at] += value(n * WIDTH + column);
                    }
                }
            }
        }
    }
    return totals;
}

fn write(totals: vec4<f32>, row: u32, first_column: u32) {
    if (row >= TABLE_ROWS) {
        return;
    }
    for (var at = 0u; at < COLUMNS; at++) {
        let column = first_column + at * LANES;
        if (column < WIDTH) {
            let i = row * WIDTH + column;
            result[i] = epilogue(totals[at], i);
        }
    }
}
