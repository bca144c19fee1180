// Random numbers: words that depend on a counter and a key alone.

// The high half of a product of two words, by halves: WGSL has no 64-bit integers.
fn multiply_high(a: u32, b: u32) -> u32 {
    let a_low = a & 0xffffu;
    let a_high = a >> 16u;
    let b_low = b & 0xffffu;
    let b_high = b >> 16u;
    let low = a_low * b_low;
    let middle = a_high * b_low + (low >> 16u);
    let other = a_low * b_high + (middle & 0xffffu);
    return a_high * b_high + (middle >> 16u) + (other >> 16u);
}

// Philox 4x32-10: Salmon, Moraes, Dror and Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3".
fn philox(start: vec4<u32>, seed: vec2<u32>) -> vec4<u32> {
    var counter = start;
    var key = seed;
    for (var round = 0u; round < 10u; round++) {
        let high_0 = multiply_high(counter.x, 0xD2511F53u);
        let high_1 = multiply_high(counter.z, 0xCD9E8D57u);
        counter = vec4<u32>(
            high_1 ^ counter.y ^ key.x,
            counter.z * 0xCD9E8D57u,
            high_0 ^ counter.w ^ key.y,
            counter.x * 0xD2511F53u,
        );
        key += vec2<u32>(0x9E3779B9u, 0xBB67AE85u);
    }
    return counter;
}
