// Operands of products on software adapters that run eight invocations as one vector. There a load
// costs about as much as eighty multiplications, and workgroup memory no less: it is a loop over the
// lanes, each of which writes its element into the vector in memory and waits for it to come back. So
// each lane loads something else, two neighbours at a time, and hands it to the others, and the more
// results a subgroup computes the better.
//
// Lanes hand each other what they have by `subgroupShuffle` with a constant index, which is one
// instruction; `subgroupBroadcast` is a loop that looks for a lane that is active.
//
// Operands lie contiguous along one of their axes, and pairs are along that one: either along K, two
// products of one result, or across it, one product for each of two rows or columns.

//{a_pair
fn a_pair(i: u32) -> vec2<f32> {
    return vec2<f32>(vec2(a_element(i), a_element(i + 1u)));
}
//}

//{b_pair
fn b_pair(i: u32) -> vec2<f32> {
    return vec2<f32>(vec2(b_element(i), b_element(i + 1u)));
}
//}

// What of the shape a kernel is compiled for, whether or not products of several shapes share it.
// Operands lie contiguous along K and along N; else they do along M and along K.
override A_ALONG_K: bool = true;
override B_ALONG_N: bool = true;
// Whether the places along K are odd in number, of the last slice if there are slices.
override ODD: bool = true;

// Sixteen rows or columns at two places along K: where it is k, one of a lane's two and the other,
// then the same where it is k + 1.
alias Sixteen = vec4<f32>;

// A pair that begins at the last place along K has nothing in its second half.
fn along(pair: vec2<f32>, k: u32, count: u32) -> vec2<f32> {
    return vec2<f32>(pair.x, select(pair.y, 0.0, (ODD) & (k + 1u == count)));
}

fn across(pair: vec2<f32>, k: u32, count: u32) -> vec2<f32> {
    return select(pair, vec2<f32>(), (ODD) & (k == count));
}

// Reads past the edge are of the last row or column: their results are not stored.
fn a_sixteen(batch: u32, row: u32, lane: u32, k: u32) -> Sixteen {
    let at = a_start(batch);
    let count = places(batch);
    if (A_ALONG_K) {
        let low = along(a_pair(at + min(row + lane, M - 1u) * A_ROW + k), k, count);
        let high = along(a_pair(at + min(row + 8u + lane, M - 1u) * A_ROW + k), k, count);
        return vec4<f32>(low.x, high.x, low.y, high.y);
    }
    let own = at + min(row + 2u * lane, M - 1u);
    let first = a_pair(own + k * A_COLUMN);
    let second = across(a_pair(own + (k + 1u) * A_COLUMN), k + 1u, count);
    return vec4<f32>(first, second);
}

fn b_sixteen(batch: u32, column: u32, lane: u32, k: u32) -> Sixteen {
    let at = b_start(batch);
    let count = places(batch);
    if (B_ALONG_N) {
        let own = at + min(column + 2u * lane, N - 1u);
        let first = b_pair(own + k * B_ROW);
        let second = across(b_pair(own + (k + 1u) * B_ROW), k + 1u, count);
        return vec4<f32>(first, second);
    }
    let low = along(b_pair(at + min(column + lane, N - 1u) * B_COLUMN + k), k, count);
    let high = along(b_pair(at + min(column + 8u + lane, N - 1u) * B_COLUMN + k), k, count);
    return vec4<f32>(low.x, high.x, low.y, high.y);
}

// What the eight lanes have.
fn spread(x: f32) -> mat2x4<f32> {
    return mat2x4<f32>(
        subgroupShuffle(x, 0u),
        subgroupShuffle(x, 1u),
        subgroupShuffle(x, 2u),
        subgroupShuffle(x, 3u),
        subgroupShuffle(x, 4u),
        subgroupShuffle(x, 5u),
        subgroupShuffle(x, 6u),
        subgroupShuffle(x, 7u),
    );
}
