//! The WGSL kernels of warmstart, one file per kernel family.
//!
//! A kernel's source is one or more of these files, one after the other. Parts between `//{name`
//! and `//}` are defaults, which [`fill`] replaces with what the compiler generates; every file is
//! also valid as it stands, and a test has naga say so.

mod cooperative;
mod elements;

pub use cooperative::Cooperative;
pub use elements::{
    ENABLE_COOPERATIVE_MATRIX, ENABLE_F16, Elements, FLOATS, HALVES, ROUND, ROUND_F16, bfloat,
    byte, float, four_bytes, half,
};

macro_rules! shaders {
    ($($(#[$doc:meta])* $name:ident = $file:literal;)*) => {
        $($(#[$doc])* pub const $name: &str = include_str!($file);)*
    };
}

shaders! {
    /// Random words by counter and key.
    PHILOX = "philox.wgsl";
    /// Sums and maxima over the lanes of a row. Needs [`FUNCTIONS`].
    LANES = "lanes.wgsl";
    /// The same for software adapters, in place of [`LANES`].
    LANES_SOFTWARE = "lanes_software.wgsl";
    /// First values of variables. Needs [`PHILOX`] and [`HALF`].
    INITIALIZE = "initialize.wgsl";
    /// Rounding to `f16` and `bf16` on any device.
    HALF = "half.wgsl";
    /// All `f16` as the `f32` that the device makes of them.
    WIDEN = "widen.wgsl";
    /// How many elements of variables are NaN or infinite.
    NON_FINITE = "non_finite.wgsl";
    /// Bytes of a checkpoint into variables of another dtype, transposed or not. Needs [`HALF`].
    CONVERT = "convert.wgsl";
    /// One generated expression for each element.
    ELEMENTWISE = "elementwise.wgsl";
    /// Gathering a batch and keeping scalars, between the steps of one submission.
    /// Needs [`FUNCTIONS`].
    BETWEEN = "between.wgsl";
    /// Sums and maxima over axes. Needs [`FUNCTIONS`] and [`LANES`].
    REDUCE = "reduce.wgsl";
    /// Softmax and its logarithm. Needs [`FUNCTIONS`] and [`LANES`].
    SOFTMAX = "softmax.wgsl";
    /// Softmax cross-entropy and its gradient. Needs [`FUNCTIONS`] and [`LANES`].
    CROSS_ENTROPY = "cross_entropy.wgsl";
    /// Layer normalization. Needs [`FUNCTIONS`] and [`LANES`].
    LAYER_NORM = "layer_norm.wgsl";
    /// The gradient of a layer normalization. Needs [`FUNCTIONS`] and [`LANES`].
    LAYER_NORM_GRADIENT = "layer_norm_gradient.wgsl";
    /// The index of the largest element of each row. Needs [`FUNCTIONS`] and [`LANES`].
    ARGMAX = "argmax.wgsl";
    /// Rows added up into a table. Needs [`FUNCTIONS`].
    SCATTER = "scatter.wgsl";
    /// Four elements loaded and stored at once.
    FOURS = "fours.wgsl";
    /// Two elements loaded and stored at once, for software adapters, in place of [`FOURS`].
    PAIRS = "pairs.wgsl";
    /// Sums of squares of blocks. Needs [`LANES`] and [`FOURS`].
    SQUARES = "squares.wgsl";
    /// The next scale of the loss. Needs [`FUNCTIONS`].
    LOSS_SCALE = "loss_scale.wgsl";
    /// What an update needs once per step. Needs [`FUNCTIONS`].
    OPTIMIZER_SCALARS = "optimizer_scalars.wgsl";
    /// The update of all parameters. Needs [`FUNCTIONS`], [`LANES`], [`FOURS`] and [`LOSS_SCALE`].
    OPTIMIZER = "optimizer.wgsl";
    /// The section `accumulators` of [`OPTIMIZER`] where gradients are accumulated.
    ACCUMULATORS = "accumulators.wgsl";
    /// Operands and result of matrix products. Needs [`FUNCTIONS`].
    MATMUL = "matmul.wgsl";
    /// Matrix product, one result an invocation. Needs [`MATMUL`], as the others do.
    MATMUL_NAIVE = "matmul_naive.wgsl";
    /// Matrix product with a tile of results in registers, for software adapters.
    MATMUL_REGISTER = "matmul_register.wgsl";
    /// Operands of products whose lanes hand each other what they load, for software adapters with
    /// subgroups of eight.
    MATMUL_LANES = "matmul_lanes.wgsl";
    /// Large matrix product. Needs [`MATMUL_LANES`].
    MATMUL_SUBGROUP = "matmul_subgroup.wgsl";
    /// Small matrix product. Needs [`MATMUL_LANES`].
    MATMUL_SMALL = "matmul_small.wgsl";
    /// How tiles in workgroup memory are filled.
    MATMUL_FILL = "matmul_fill.wgsl";
    /// Matrix product with tiles in workgroup memory, for GPUs. Needs [`MATMUL_FILL`].
    MATMUL_TILE = "matmul_tile.wgsl";
    /// Matrix product by cooperative matrices. Needs [`MATMUL_FILL`], [`ENABLE_COOPERATIVE_MATRIX`]
    /// and, for more than one small matrix, [`Cooperative`].
    MATMUL_COOPERATIVE = "matmul_cooperative.wgsl";
    /// What an adapter can do at best at moving bytes.
    COPY = "copy.wgsl";
    /// What an adapter can do at best at arithmetic.
    MULTIPLY_ADD = "multiply_add.wgsl";
}

/// The section `other_lane` of [`LANES`] for devices with subgroups.
pub const OTHER_LANE: &str = "fn other_lane(own: f32, bit: u32) -> f32 {\n    \
    return subgroupShuffleXor(own, bit);\n}\n";

/// Functions of one element, for generated expressions, with [`PHILOX`].
pub const FUNCTIONS: &str = concat!(include_str!("philox.wgsl"), include_str!("functions.wgsl"));

/// Every complete kernel by name, as the files it consists of.
pub const ALL: &[(&str, &[&str])] = &[
    ("initialize", &[PHILOX, HALF, INITIALIZE]),
    ("widen", &[WIDEN]),
    ("non_finite", &[NON_FINITE]),
    ("convert", &[HALF, CONVERT]),
    ("elementwise", &[FUNCTIONS, ELEMENTWISE]),
    ("between", &[FUNCTIONS, BETWEEN]),
    ("reduce", &[FUNCTIONS, LANES, REDUCE]),
    ("reduce of software", &[FUNCTIONS, LANES_SOFTWARE, REDUCE]),
    ("softmax", &[FUNCTIONS, LANES, SOFTMAX]),
    ("cross_entropy", &[FUNCTIONS, LANES, CROSS_ENTROPY]),
    ("layer_norm", &[FUNCTIONS, LANES, LAYER_NORM]),
    ("layer_norm_gradient", &[FUNCTIONS, LANES, LAYER_NORM_GRADIENT]),
    ("argmax", &[FUNCTIONS, LANES, ARGMAX]),
    ("scatter", &[FUNCTIONS, SCATTER]),
    ("squares", &[FUNCTIONS, LANES, FOURS, SQUARES]),
    ("squares of pairs", &[FUNCTIONS, LANES, PAIRS, SQUARES]),
    ("optimizer_scalars", &[FUNCTIONS, OPTIMIZER_SCALARS]),
    ("optimizer", &[FUNCTIONS, LANES, FOURS, LOSS_SCALE, OPTIMIZER]),
    ("optimizer of pairs", &[FUNCTIONS, LANES, PAIRS, LOSS_SCALE, OPTIMIZER]),
    ("matmul_naive", &[FUNCTIONS, MATMUL, MATMUL_NAIVE]),
    ("matmul_register", &[FUNCTIONS, MATMUL, MATMUL_REGISTER]),
    ("matmul_subgroup", &[FUNCTIONS, MATMUL, MATMUL_LANES, MATMUL_SUBGROUP]),
    ("matmul_small", &[FUNCTIONS, MATMUL, MATMUL_LANES, MATMUL_SMALL]),
    ("matmul_tile", &[FUNCTIONS, MATMUL, MATMUL_FILL, MATMUL_TILE]),
    ("matmul_cooperative", &[FUNCTIONS, MATMUL, MATMUL_FILL, MATMUL_COOPERATIVE]),
    ("copy", &[COPY]),
    ("multiply_add", &[MULTIPLY_ADD]),
];

/// What the section `shape` of [`MATMUL`] reads from a buffer that is bound as `shape`, in this order:
/// what else are constants. It is no uniform buffer, since software Vulkan compiles a kernel anew for
/// each value that a uniform buffer has in the condition of a loop.
pub const MATMUL_SHAPE: [&str; 10] =
    ["M", "N", "K", "A_ROW", "A_COLUMN", "A_BATCH", "B_ROW", "B_COLUMN", "B_BATCH", "TOTAL"];

/// The section `places` of [`MATMUL`] for slices of products, so many of each, of which the last is shorter.
pub fn last_slice_is_shorter(slices: usize) -> String {
    format!(
        "fn places(batch: u32) -> u32 {{\n    \
            return min(K, TOTAL - batch % {slices}u * K);\n}}\n"
    )
}

/// The section `starts` of [`MATMUL`] for slices of several products, so many of each: how far the
/// operands of two products are apart.
pub fn slices_of_batches(slices: usize, [a, b]: [usize; 2]) -> String {
    let start = |name: &str, operand: &str, apart: usize| {
        format!(
            "fn {name}(batch: u32) -> u32 {{\n    \
                return batch / {slices}u * {apart}u + batch % {slices}u * {operand};\n}}\n"
        )
    };
    start("a_start", "A_BATCH", a) + &start("b_start", "B_BATCH", b)
}

/// The section `tile_of` of [`MATMUL`] where there are so many tiles along N, along M, and batches, and
/// workgroups are numbered through, since one dimension of a dispatch cannot have so many. Those past the
/// last one have a tile past all edges.
pub fn numbered_tiles([along_n, along_m, batches]: [u64; 3]) -> String {
    let (of_batch, all) = (along_n * along_m, along_n * along_m * batches);
    format!(
        "fn tile_of(group: vec3<u32>, groups: vec3<u32>) -> vec3<u32> {{\n    \
            let at = group.x + group.y * groups.x;\n    \
            if (at >= {all}u) {{\n        return vec3<u32>({along_n}u, {along_m}u, 0u);\n    }}\n    \
            return vec3<u32>(at % {along_n}u, at / {along_n}u % {along_m}u, at / {of_batch}u);\n}}\n"
    )
}

/// The section `shape` of [`MATMUL`] for a kernel that products of several shapes share.
pub fn read_shape() -> String {
    let mut declared = String::new();
    let mut read = "\nfn read_shape() {\n".to_owned();
    for (word, name) in MATMUL_SHAPE.iter().enumerate() {
        declared.push_str(&format!("var<private> {name}: u32;\n"));
        read.push_str(&format!("    {name} = shape[{word}];\n"));
    }
    declared + &read + "}\n"
}

/// Replaces the parts of a template that are named; the others keep their defaults.
///
/// ```
/// let template = "//{value\nfn value() -> f32 { return 0.0; }\n//}\n";
/// let filled = warmstart_shaders::fill(template, &[("value", "// mine\n".to_owned())]);
/// assert_eq!(filled, "// mine\n");
/// ```
pub fn fill(template: &str, sections: &[(&str, String)]) -> String {
    let mut filled = String::with_capacity(template.len());
    let mut skipping = false;
    for line in template.split_inclusive('\n') {
        let text = line.trim();
        if let Some(name) = text.strip_prefix("//{") {
            if let Some((_, section)) = sections.iter().find(|(section, _)| *section == name) {
                filled.push_str(section);
                skipping = true;
            }
        } else if text == "//}" {
            skipping = false;
        } else if !skipping {
            filled.push_str(line);
        }
    }
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shader_is_valid() {
        for (name, parts) in ALL {
            check(name, &fill(&parts.concat(), &[]));
        }
    }

    #[test]
    fn updates_are_valid_with_accumulation() {
        let sections = [("accumulators", ACCUMULATORS.to_owned())];
        for together in [FOURS, PAIRS] {
            let parts = [FUNCTIONS, LANES, together, LOSS_SCALE, OPTIMIZER];
            check("optimizer with accumulators", &fill(&parts.concat(), &sections));
        }
    }

    /// Operands of all kinds, as far as a kernel takes them.
    #[test]
    fn every_product_is_valid_with_operands_of_all_kinds() {
        use Elements::{Bf16Fours, F16, F16Fours, F16WordFours, F16Words, F32, F32Fours};
        use Elements::{Bf16Pairs, Bf16Words, ByteFours, BytePairs, Bytes, F16Pairs, F32Pairs};
        for (name, parts) in ALL.iter().filter(|(name, _)| name.starts_with("matmul")) {
            let in_pairs = if parts.contains(&MATMUL_LANES) {
                &[F32Pairs, F16Pairs, Bf16Pairs, BytePairs][..]
            } else {
                &[]
            };
            let fours = [F32Fours, F16Fours, F16WordFours, Bf16Fours, ByteFours];
            let kinds = [&[F32, F16, F16Words, Bf16Words, Bytes], &fours[..], in_pairs].concat();
            for (a, b) in kinds.iter().flat_map(|a| kinds.iter().map(move |b| (a, b))) {
                let bindings = format!(
                    "@group(0) @binding(0) var<storage, read> a: array<{}>;\n\
                    @group(0) @binding(1) var<storage, read> b: array<{}>;\n\
                    @group(0) @binding(2) var<storage, read_write> result: array<f32>;\n",
                    a.stored(),
                    b.stored()
                );
                let read =
                    [(a, "a"), (b, "b")].map(|(kind, operand)| kind.sections(operand, " / 255.0"));
                let read = read.into_iter().flatten();
                let mut sections: Vec<_> =
                    read.filter_map(|(section, text)| Some((section, text?))).collect();
                sections.push(("bindings", bindings));
                let source = fill(&parts.concat(), &sections);
                check(&format!("{name} of {a:?} and {b:?}"), &source);
            }
        }
    }

    #[test]
    fn cooperative_matrices_of_all_sizes_are_valid() {
        let (_, parts) = ALL.iter().find(|(name, _)| *name == "matmul_cooperative").unwrap();
        for (size, blocks) in [(8, 1), (8, 2), (8, 4), (16, 1), (16, 2)] {
            let sections = Cooperative { size, blocks }.sections();
            check(&format!("{size} {blocks}"), &fill(&parts.concat(), &sections));
        }
    }

    fn check(name: &str, source: &str) {
        use naga::valid::Capabilities;
        let enable = match (source.contains("coop_mat"), source.contains("<f16>")) {
            (true, _) => ENABLE_COOPERATIVE_MATRIX,
            (_, true) => ENABLE_F16,
            _ => "",
        };
        let source = &[enable, source].concat();
        let module = naga::front::wgsl::parse_str(source)
            .unwrap_or_else(|error| panic!("{name}: {}", error.emit_to_string(source)));
        let capabilities = Capabilities::default()
            | Capabilities::SUBGROUP
            | Capabilities::SHADER_FLOAT16
            | Capabilities::SHADER_FLOAT16_IN_FLOAT32
            | Capabilities::SHADER_INT64
            | Capabilities::COOPERATIVE_MATRIX;
        naga::valid::Validator::new(naga::valid::ValidationFlags::all(), capabilities)
            .subgroup_stages(naga::valid::ShaderStages::COMPUTE)
            .subgroup_operations(naga::valid::SubgroupOperationSet::all())
            .validate(&module)
            .unwrap_or_else(|error| panic!("{name}: {}", error.emit_to_string(source)));
    }

    #[test]
    fn parts_are_closed() {
        for (name, parts) in ALL {
            let source = parts.concat();
            let marks = |mark: &str| source.lines().filter(|l| l.trim().starts_with(mark)).count();
            assert_eq!(marks("//{"), marks("//}"), "{name}");
        }
    }
}
