// f16 without the device's feature, and bf16. `pack2x16float` may round either way.

// The nearest f16 to the f32 of these bits, ties to even, as bits.
fn half_of_float(bits: u32) -> u32 {
    let sign = (bits >> 16u) & 0x8000u;
    let magnitude = bits & 0x7fffffffu;
    if magnitude > 0x7f800000u { return sign | 0x7e00u | ((magnitude >> 13u) & 0x3ffu); }
    // Below 2^-25, and the tie at 2^-25 itself, to zero.
    if magnitude <= 0x33000000u { return sign; }
    // From 65520 on, to infinity.
    if magnitude >= 0x477ff000u { return sign | 0x7c00u; }
    var shift = 13u;
    var significand = magnitude - 0x38000000u;
    if magnitude < 0x38800000u {
        // Subnormal: units of 2^-24.
        shift = 126u - (magnitude >> 23u);
        significand = (magnitude & 0x7fffffu) | 0x800000u;
    }
    let kept = significand >> shift;
    let rest = significand & ((1u << shift) - 1u);
    let tie = 1u << (shift - 1u);
    let up = rest > tie || (rest == tie && (kept & 1u) == 1u);
    return sign | (kept + select(0u, 1u, up));
}

// The nearest bf16, ties to even, as bits: the upper half of an f32.
fn bfloat_of_float(bits: u32) -> u32 {
    if (bits & 0x7fffffffu) > 0x7f800000u { return (bits >> 16u) | 0x40u; }
    return (bits + 0x7fffu + ((bits >> 16u) & 1u)) >> 16u;
}
