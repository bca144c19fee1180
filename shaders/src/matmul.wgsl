// What all products share: C = A B of M x K and K x N, batch by batch. Operands are read through
// strides, so that transposition costs no copy.

//{shape
override M: u32 = 1u;
override N: u32 = 1u;
override K: u32 = 1u;
override A_ROW: u32 = 1u;
override A_COLUMN: u32 = 1u;
override A_BATCH: u32 = 0u;
override B_ROW: u32 = 1u;
override B_COLUMN: u32 = 1u;
override B_BATCH: u32 = 0u;
override TOTAL: u32 = 1u;

// Where products of several shapes share a kernel, it reads these first.
fn read_shape() {
}
//}

//{places
// How many places along K a batch has. Where batches are slices of products, of TOTAL places each, the last
// of each may have fewer.
fn places(batch: u32) -> u32 {
    return K;
}
//}

//{starts
// Where a batch begins in each operand.
fn a_start(batch: u32) -> u32 {
    return batch * A_BATCH;
}

fn b_start(batch: u32) -> u32 {
    return batch * B_BATCH;
}
//}

//{tile_of
// Which tile a workgroup computes: which along N, which along M, and of which batch.
fn tile_of(group: vec3<u32>, groups: vec3<u32>) -> vec3<u32> {
    return group;
}
//}

// Whether B, of one batch or of slices of one product, is also added up over K: the gradient of a bias.
override COLUMN_SUMS: bool = false;

//{bindings
@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read_write> result: array<f32>;
//}

// Operands stored as f16 stay so until they are multiplied.
//{a_element
alias ANumber = f32;

fn a_element(i: u32) -> ANumber {
    return a[i];
}
//}

//{b_element
alias BNumber = f32;

fn b_element(i: u32) -> BNumber {
    return b[i];
}
//}

//{epilogue
// What is stored at `i`, or at `row` and `column` of one matrix.
fn epilogue(anchor: f32, i: u32, row: u32, column: u32) -> f32 {
    return anchor;
}
//}

//{store_column_sum
fn store_column_sum(batch: u32, column: u32, total: f32) {
}
//}

// Tiles may reach past the edge; what lies there is not stored.
fn store(batch: u32, row: u32, column: u32, total: f32) {
    if (row < M && column < N) {
        let i = (batch * M + row) * N + column;
        result[i] = epilogue(total, i, row, column);
    }
}
