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
    /// `bf16`, one by one, out of the words that two of them share.
    Bf16Words,
    /// `bf16`, two neighbours at once: they begin at even places.
    Bf16Pairs,
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
            Elements::F16Words | Elements::F16Pairs | Elements::Bf16Words | Elements::Bf16Pairs => {
                "u32"
            }
        }
    }

    /// The sections of a product's template that read an operand, `a` or `b`, that is bound so.
    pub fn sections(self, operand: &str) -> [(&'static str, Option<String>); 3] {
        let [element, pair, four] = match operand {
            "a" => ["a_element", "a_pair", "a_four"],
            _ => ["b_element", "b_pair", "b_four"],
        };
        [
            (element, Some(self.element_function(operand))),
            (pair, self.pair_function(operand)),
            (four, self.four_function(operand)),
        ]
    }

    /// The function that reads one element, and the name of its type. None where elements are read in
    /// pairs.
    pub fn element_function(self, operand: &str) -> String {
        let (kind, element) = match self {
            Elements::F32 => ("f32", format!("{operand}[i]")),
            Elements::F32Fours => ("f32", format!("{operand}[i / 4u][i % 4u]")),
            Elements::F16 => ("f16", format!("{operand}[i]")),
            Elements::F16Words => ("f32", half(operand, "i")),
            Elements::Bf16Words => ("f32", bfloat(operand, "i")),
            Elements::F32Pairs | Elements::F16Pairs | Elements::Bf16Pairs => return String::new(),
        };
        format!(
            "alias {number} = {kind};\n\nfn {operand}_element(i: u32) -> {number} {{\n    \
                return {element};\n}}\n",
            number = operand.to_uppercase() + "Number"
        )
    }

    /// The function that reads two neighbours, unless it is to read one after the other.
    fn pair_function(self, operand: &str) -> Option<String> {
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
            Elements::F32
            | Elements::F32Fours
            | Elements::F16
            | Elements::F16Words
            | Elements::Bf16Words => return None,
        };
        Some(format!("fn {operand}_pair(i: u32) -> vec2<f32> {{\n    {body}\n}}\n"))
    }

    /// The function that reads four neighbours, unless it is to read one after the other.
    fn four_function(self, operand: &str) -> Option<String> {
        (self == Elements::F32Fours).then(|| {
            format!(
                "fn {operand}_four(i: u32) -> vec4<f32> {{\n    return {operand}[i / 4u];\n}}\n"
            )
        })
    }
}

/// The `bf16` at a place of a buffer of words, as an `f32` in WGSL: it is the upper half of one.
pub fn bfloat(buffer: &str, at: &str) -> String {
    format!("bitcast<f32>(({buffer}[{at} / 2u] >> (16u * ({at} % 2u))) << 16u)")
}

/// The `f16` at a place of a buffer of words, as an `f32` in WGSL. Needs [`FUNCTIONS`](crate::FUNCTIONS).
pub fn half(buffer: &str, at: &str) -> String {
    format!("float_of_half({buffer}[{at} / 2u] >> (16u * ({at} % 2u)))")
}

/// What a kernel begins with that has `f16` in it.
pub const ENABLE_F16: &str = "enable f16;\n";
