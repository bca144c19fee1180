//! How the kernels of products read their operands.

/// How a product's kernel reads the elements of an operand. Whatever they are stored as, they come to
/// the arithmetic as `f32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Elements {
    /// `f32`, one by one.
    F32,
    /// `f32`, two neighbours at once, as an integer of 64 bits: they begin at even places.
    F32Pairs,
    /// `f32`, four neighbours at once: they begin at multiples of four.
    F32Fours,
    /// `f16`, one by one, on a device that has it: in workgroup memory too.
    F16,
    /// `f16`, one by one, out of the words that two of them share.
    F16Words,
    /// `f16`, two neighbours at once, on a device that has it: they begin at even places.
    F16Pairs,
    /// `f16`, four neighbours at once, on a device that has it: they begin at multiples of four.
    F16Fours,
    /// `f16`, four neighbours at once, out of the two words that they share.
    F16WordFours,
    /// `bf16`, one by one, out of the words that two of them share.
    Bf16Words,
    /// `bf16`, two neighbours at once: they begin at even places.
    Bf16Pairs,
    /// `bf16`, four neighbours at once: they begin at multiples of four.
    Bf16Fours,
    /// Bytes, one by one, out of the words that four of them share.
    Bytes,
    /// Bytes, two neighbours at once: they begin at even places.
    BytePairs,
    /// Bytes, four neighbours at once, which are a word: they begin at multiples of four.
    ByteFours,
}

impl Elements {
    /// The WGSL type that the operand's buffer is bound as an array of. A kernel that binds `f16`
    /// begins with [`ENABLE_F16`].
    pub fn stored(self) -> &'static str {
        match self {
            Elements::F32 => "f32",
            Elements::F32Pairs => "u64",
            Elements::F32Fours => "vec4<f32>",
            Elements::F16 => "f16",
            Elements::F16Fours => "vec4<f16>",
            Elements::F16Words | Elements::F16Pairs | Elements::Bf16Words | Elements::Bf16Pairs => {
                "u32"
            }
            Elements::Bytes | Elements::BytePairs | Elements::ByteFours => "u32",
            Elements::F16WordFours | Elements::Bf16Fours => "vec2<u32>",
        }
    }

    /// Whether a kernel that binds it begins with [`ENABLE_F16`].
    pub fn is_f16(self) -> bool {
        matches!(self, Elements::F16 | Elements::F16Fours)
    }

    /// Whether four neighbours are read at once.
    pub fn is_fours(self) -> bool {
        use Elements::{Bf16Fours, ByteFours, F16Fours, F16WordFours, F32Fours};
        matches!(self, F32Fours | F16Fours | F16WordFours | Bf16Fours | ByteFours)
    }

    /// The sections of a product's template that read an operand, `a` or `b`, that is bound so. `scaling`
    /// follows each of its numbers if those are bytes: empty, or an operator and a number, as ` / 255.0`.
    pub fn sections(self, operand: &str, scaling: &str) -> [(&'static str, Option<String>); 3] {
        let [element, pair, four] = match operand {
            "a" => ["a_element", "a_pair", "a_four"],
            _ => ["b_element", "b_pair", "b_four"],
        };
        [
            (element, Some(self.element_function(operand, scaling))),
            (pair, self.pair_function(operand, scaling)),
            (four, self.four_function(operand, scaling)),
        ]
    }

    /// The function that reads one element, and the name of its type. None where elements are read in
    /// pairs.
    pub fn element_function(self, operand: &str, scaling: &str) -> String {
        let stored = self.stored();
        let (kind, element) = match self {
            Elements::F32 | Elements::F32Fours => ("f32", float(operand, stored, "i")),
            Elements::F16 => ("f16", format!("{operand}[i]")),
            Elements::F16Fours => ("f16", format!("{operand}[i / 4u][i % 4u]")),
            Elements::F16Words | Elements::F16WordFours => ("f32", half(operand, stored, "i")),
            Elements::Bf16Words | Elements::Bf16Fours => ("f32", bfloat(operand, stored, "i")),
            Elements::Bytes | Elements::ByteFours => {
                ("f32", format!("f32({}){scaling}", byte(operand, "i")))
            }
            Elements::F32Pairs | Elements::F16Pairs | Elements::Bf16Pairs | Elements::BytePairs => {
                return String::new();
            }
        };
        format!(
            "alias {number} = {kind};\n\nfn {operand}_element(i: u32) -> {number} {{\n    \
                return {element};\n}}\n",
            number = operand.to_uppercase() + "Number"
        )
    }

    /// The function that reads two neighbours, unless it is to read one after the other.
    fn pair_function(self, operand: &str, scaling: &str) -> Option<String> {
        let body = match self {
            Elements::F32Pairs => format!(
                "let pair = {operand}[i >> 1u];\n    \
                return bitcast<vec2<f32>>(vec2<u32>(u32(pair), u32(pair >> 32u)));"
            ),
            Elements::F16Pairs => format!("return unpack2x16float({operand}[i >> 1u]);"),
            Elements::Bf16Pairs => format!(
                "let pair = {operand}[i >> 1u];\n    \
                return bitcast<vec2<f32>>(vec2<u32>(pair << 16u, pair & 0xffff0000u));"
            ),
            Elements::BytePairs => format!(
                "let bytes = vec2<u32>({operand}[i >> 2u] >> (8u * (i & 2u))) >> vec2<u32>(0u, 8u);\n    \
                return vec2<f32>(bytes & vec2<u32>(0xffu)){scaling};"
            ),
            _ => return None,
        };
        Some(format!("fn {operand}_pair(i: u32) -> vec2<f32> {{\n    {body}\n}}\n"))
    }

    /// The function that reads four neighbours, unless it is to read one after the other.
    fn four_function(self, operand: &str, scaling: &str) -> Option<String> {
        let (kind, body) = match self {
            Elements::F32Fours => ("f32", format!("return {operand}[i / 4u];")),
            Elements::F16Fours => ("f16", format!("return {operand}[i / 4u];")),
            Elements::F16WordFours => (
                "f32",
                format!(
                    "let pairs = {operand}[i / 4u];\n    return vec4<f32>(\n        \
                        float_of_half(pairs.x),\n        \
                        float_of_half(pairs.x >> 16u),\n        \
                        float_of_half(pairs.y),\n        \
                        float_of_half(pairs.y >> 16u),\n    );"
                ),
            ),
            Elements::Bf16Fours => (
                "f32",
                format!(
                    "let pairs = {operand}[i / 4u].xxyy;\n    \
                        let upper = vec4<u32>(pairs.x << 16u, pairs.y, pairs.z << 16u, pairs.w);\n    \
                        return bitcast<vec4<f32>>(upper & vec4<u32>(0xffff0000u));"
                ),
            ),
            Elements::ByteFours => {
                let word = format!("{operand}[i / 4u]");
                ("f32", format!("return vec4<f32>({}){scaling};", four_bytes(&word)))
            }
            _ => return None,
        };
        Some(format!("fn {operand}_four(i: u32) -> vec4<{kind}> {{\n    {body}\n}}\n"))
    }
}

/// The `f32` at a place of a buffer that is bound as an array of `stored`, which is one of [`FLOATS`], in WGSL.
pub fn float(buffer: &str, stored: &str, at: &str) -> String {
    match stored {
        "vec4<f32>" => format!("{buffer}[({at}) / 4u][({at}) % 4u]"),
        // Its upper half, or its lower one.
        "u64" => format!("bitcast<f32>(u32({buffer}[({at}) / 2u] >> (32u * (({at}) % 2u))))"),
        _ => format!("{buffer}[{at}]"),
    }
}

/// What a buffer of `f32` may be bound as an array of: single ones, two neighbours, or four.
pub const FLOATS: [&str; 3] = ["f32", "u64", "vec4<f32>"];

/// The `bf16` at a place of a buffer that is bound as an array of `stored`, which is one of [`HALVES`], as an
/// `f32` in WGSL: it is one half of a word, and the upper half of the `f32`.
pub fn bfloat(buffer: &str, stored: &str, at: &str) -> String {
    bfloat_of(&word_of_half(buffer, stored, at), at)
}

fn bfloat_of(word: &str, at: &str) -> String {
    format!("bitcast<f32>(({word} >> (16u * ({at} % 2u))) << 16u)")
}

/// The `f16` at a place of a buffer that is bound as an array of `stored`, which is one of [`HALVES`], as an
/// `f32` in WGSL. Needs [`FUNCTIONS`](crate::FUNCTIONS).
pub fn half(buffer: &str, stored: &str, at: &str) -> String {
    match stored {
        "f16" => format!("f32({buffer}[{at}])"),
        "vec4<f16>" => format!("f32({buffer}[{at} / 4u][{at} % 4u])"),
        _ => half_of(&word_of_half(buffer, stored, at), at),
    }
}

fn half_of(word: &str, at: &str) -> String {
    format!("float_of_half({word} >> (16u * ({at} % 2u)))")
}

/// The word that holds the number of 16 bits at a place of a buffer of words, or of pairs of them.
fn word_of_half(buffer: &str, stored: &str, at: &str) -> String {
    match stored {
        "vec2<u32>" => format!("{buffer}[{at} / 4u][{at} / 2u % 2u]"),
        _ => format!("{buffer}[{at} / 2u]"),
    }
}

/// What a buffer of `f16` or `bf16` may be bound as an array of: words that two of them share, pairs of such
/// words, and, of `f16` on a device that has it, single ones and fours.
pub const HALVES: [&str; 4] = ["u32", "vec2<u32>", "f16", "vec4<f16>"];

/// The byte at a place of a buffer of words, as a `u32` in WGSL.
pub fn byte(buffer: &str, at: &str) -> String {
    format!("(({buffer}[({at}) / 4u] >> (8u * (({at}) % 4u))) & 0xffu)")
}

/// The four bytes of a word, as a `vec4<u32>` in WGSL.
pub fn four_bytes(word: &str) -> String {
    format!("((vec4<u32>({word}) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(0xffu))")
}

/// What a kernel begins with that has `f16` in it.
pub const ENABLE_F16: &str = "enable f16;\n";

/// What a kernel with cooperative matrices of `f16` begins with.
pub const ENABLE_COOPERATIVE_MATRIX: &str = "enable f16;\nenable wgpu_cooperative_matrix;\n";

/// The function of [`ROUND_F16`].
pub const ROUND: &str = "f16_of_float";

/// Rounds to `f16`, the nearest, ties to even: a device's own rounding may go either way, so it gets what
/// needs none. Needs [`FUNCTIONS`](crate::FUNCTIONS) and [`HALF`](crate::HALF).
pub const ROUND_F16: &str = "
fn f16_of_float(x: f32) -> f16 {
    return f16(float_of_half(half_of_float(bitcast<u32>(x))));
}
";
