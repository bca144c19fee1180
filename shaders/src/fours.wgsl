// Four elements of an array at once. What is stored so begins at multiples of four elements, and the last
// four may reach past its end.

alias Stored = vec4<f32>;
alias Numbers = vec4<f32>;

const TOGETHER = 4u;
// How many invocations the optimizer's workgroups have.
const INVOCATIONS = 64u;

fn numbers(stored: Stored) -> Numbers {
    return stored;
}

fn stored(numbers: Numbers) -> Stored {
    return numbers;
}

// The first so many of them, and 0 for the others.
fn first_of(numbers: Numbers, count: u32) -> Numbers {
    return select(Numbers(0.0), numbers, vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(count));
}

fn sum_of(numbers: Numbers) -> f32 {
    return (numbers.x + numbers.y) + (numbers.z + numbers.w);
}
