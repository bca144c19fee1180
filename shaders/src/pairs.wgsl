// Two elements of an array as an integer of 64 bits, for software adapters: each load or store of a
// component is a loop over the lanes there. That is so for what all lanes load alike too, so that a
// workgroup is no more than runs as one vector.

alias Stored = u64;
alias Numbers = vec2<f32>;

const TOGETHER = 2u;
const INVOCATIONS = 8u;

fn numbers(stored: Stored) -> Numbers {
    return bitcast<vec2<f32>>(vec2<u32>(u32(stored), u32(stored >> 32u)));
}

fn stored(numbers: Numbers) -> Stored {
    let bits = bitcast<vec2<u32>>(numbers);
    return u64(bits.x) | (u64(bits.y) << 32u);
}

fn first_of(numbers: Numbers, count: u32) -> Numbers {
    return select(Numbers(0.0), numbers, vec2<u32>(0u, 1u) < vec2<u32>(count));
}

fn sum_of(numbers: Numbers) -> f32 {
    return numbers.x + numbers.y;
}
