// How kernels with tiles in workgroup memory fill them: the operands' places DEPTH at a time along K, of
// ROWS rows and COLUMNS columns. A kernel says how large they are, and how many THREADS a workgroup has;
// by `put_a` and `put_b` it keeps four neighbours along a tile.

// Whether an operand is loaded four neighbours at once: along the axis that is contiguous its extent is
// a multiple of four, and so are its other strides, so that no four reach past the edge.
override A_FOURS: bool = false;
override B_FOURS: bool = false;

// Vectors along a tile, and in it.
override A_WIDTH: u32 = ROWS / 4u;
override B_WIDTH: u32 = COLUMNS / 4u;
override A_SIZE: u32 = A_WIDTH * DEPTH;
override B_SIZE: u32 = B_WIDTH * DEPTH;

//{a_four
fn a_four(i: u32) -> vec4<ANumber> {
    return vec4<ANumber>(a_element(i), a_element(i + 1u), a_element(i + 2u), a_element(i + 3u));
}
//}

//{b_four
fn b_four(i: u32) -> vec4<BNumber> {
    return vec4<BNumber>(b_element(i), b_element(i + 1u), b_element(i + 2u), b_element(i + 3u));
}
//}

// Not `ANumber()`: for HLSL, naga writes a function for the zero of each type, and where two names mean one
// type, the same one twice.
fn a_at(batch: u32, row: u32, k: u32) -> ANumber {
    if (row < M && k < places(batch)) {
        return a_element(a_start(batch) + row * A_ROW + k * A_COLUMN);
    }
    return ANumber(0);
}

fn b_at(batch: u32, k: u32, column: u32) -> BNumber {
    if (k < places(batch) && column < N) {
        return b_element(b_start(batch) + k * B_ROW + column * B_COLUMN);
    }
    return BNumber(0);
}

// Four from this place on: neighbours in memory, or else along the tile.
fn a_four_at(batch: u32, row: u32, k: u32) -> vec4<ANumber> {
    if (!A_FOURS) {
        return vec4<ANumber>(
            a_at(batch, row, k),
            a_at(batch, row + 1u, k),
            a_at(batch, row + 2u, k),
            a_at(batch, row + 3u, k),
        );
    }
    if (row < M && k < places(batch)) {
        return a_four(a_start(batch) + row * A_ROW + k * A_COLUMN);
    }
    return vec4<ANumber>();
}

fn b_four_at(batch: u32, k: u32, column: u32) -> vec4<BNumber> {
    if (!B_FOURS) {
        return vec4<BNumber>(
            b_at(batch, k, column),
            b_at(batch, k, column + 1u),
            b_at(batch, k, column + 2u),
            b_at(batch, k, column + 3u),
        );
    }
    if (k < places(batch) && column < N) {
        return b_four(b_start(batch) + k * B_ROW + column * B_COLUMN);
    }
    return vec4<BNumber>();
}

// Four by four that are neighbours along K, turned so that they are along the tile.
fn turn_a(depth: u32, four: u32, batch: u32, row: u32, k: u32) {
    let x = a_four_at(batch, row, k);
    let y = a_four_at(batch, row + 1u, k);
    let z = a_four_at(batch, row + 2u, k);
    let w = a_four_at(batch, row + 3u, k);
    put_a(depth, four, vec4<ANumber>(x.x, y.x, z.x, w.x));
    put_a(depth + 1u, four, vec4<ANumber>(x.y, y.y, z.y, w.y));
    put_a(depth + 2u, four, vec4<ANumber>(x.z, y.z, z.z, w.z));
    put_a(depth + 3u, four, vec4<ANumber>(x.w, y.w, z.w, w.w));
}

fn turn_b(depth: u32, four: u32, batch: u32, k: u32, column: u32) {
    let x = b_four_at(batch, k, column);
    let y = b_four_at(batch, k, column + 1u);
    let z = b_four_at(batch, k, column + 2u);
    let w = b_four_at(batch, k, column + 3u);
    put_b(depth, four, vec4<BNumber>(x.x, y.x, z.x, w.x));
    put_b(depth + 1u, four, vec4<BNumber>(x.y, y.y, z.y, w.y));
    put_b(depth + 2u, four, vec4<BNumber>(x.z, y.z, z.z, w.z));
    put_b(depth + 3u, four, vec4<BNumber>(x.w, y.w, z.w, w.w));
}

// Fills both tiles from this row, column and place along K on.
fn fill_tiles(batch: u32, row: u32, column: u32, start: u32, local: u32) {
    if (A_FOURS && A_COLUMN == 1u) {
        for (var at = local; at < A_SIZE / 4u; at += THREADS) {
            let depth = at / A_WIDTH * 4u;
            let four = at % A_WIDTH;
            turn_a(depth, four, batch, row + four * 4u, start + depth);
        }
    } else {
        for (var at = local; at < A_SIZE; at += THREADS) {
            let depth = at / A_WIDTH;
            let four = at % A_WIDTH;
            put_a(depth, four, a_four_at(batch, row + four * 4u, start + depth));
        }
    }
    if (B_FOURS && B_ROW == 1u) {
        // Where half of the workgroup is enough, the half that has not just loaded A.
        for (var at = (local + THREADS / 2u) % THREADS; at < B_SIZE / 4u; at += THREADS) {
            let depth = at / B_WIDTH * 4u;
            let four = at % B_WIDTH;
            turn_b(depth, four, batch, start + depth, column + four * 4u);
        }
    } else {
        for (var at = local; at < B_SIZE; at += THREADS) {
            let depth = at / B_WIDTH;
            let four = at % B_WIDTH;
            put_b(depth, four, b_four_at(batch, start + depth, column + four * 4u));
        }
    }
}
