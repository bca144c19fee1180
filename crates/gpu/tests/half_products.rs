//! Every product kernel with operands stored as `f16`, on devices that have it and as on others, or as `bf16`.

#[path = "../../graph/tests/cases/mod.rs"]
mod cases;
mod common;
#[path = "common/product.rs"]
mod product;

use cases::Random;
use half::{bf16, f16};
use product::{Kernel, Product, run_kernel};
use warmstart_gpu::{CooperativeMatrix, Gpu, GpuOptions};
use warmstart_shaders::{self as shaders, Cooperative, Elements};

/// Numbers that are `f16`, of very different sizes, subnormal ones and zeros included; if so asked
/// those that are `bf16` too.
fn halves(random: &mut Random, count: usize, short: bool) -> Vec<f32> {
    let number = |random: &mut Random| match random.below(8) {
        0 => 0.0,
        1 => random.number(-6e-5, 6e-5),
        _ => random.number(-1.0, 1.0),
    };
    let round = |x| if short { bf16::from_f32(x).to_f32() } else { x };
    (0..count).map(|_| round(f16::from_f32(number(random)).to_f32())).collect()
}

/// What a kernel may read operands as: both alike, in pairs where that is possible, or one of them; a
/// tile four at a time, too.
fn kinds(
    has_f16: bool,
    pairs: Option<[bool; 2]>,
    fours: Option<[bool; 2]>,
    round: usize,
) -> Vec<[Elements; 2]> {
    use Elements::{Bf16Fours, Bf16Pairs, Bf16Words, F16, F16Fours, F16Pairs, F16WordFours};
    use Elements::{F16Words, F32};
    let is_short = round % 2 == 1;
    if let Some(pairs) = pairs {
        let all = |paired, single| pairs.map(|pair| if pair { paired } else { single });
        let mut kinds = vec![all(F16Pairs, F16Words)];
        kinds.extend(is_short.then(|| all(Bf16Pairs, Bf16Words)));
        return kinds;
    }
    let mixed = [[F32, F16Words], [F16Words, F32], [F16, F32], [F32, F16]];
    let mut kinds = vec![[F16Words, F16Words], mixed[round % if has_f16 { 4 } else { 2 }]];
    kinds.extend(has_f16.then_some([F16, F16]));
    kinds.extend(is_short.then_some([Bf16Words, Bf16Words]));
    if let Some(fours) = fours.filter(|fours| fours.contains(&true)) {
        let all = |four, single| fours.map(|can| if can { four } else { single });
        kinds.push(all(F16WordFours, F16Words));
        kinds.extend(has_f16.then(|| all(F16Fours, F16)));
        kinds.extend(is_short.then(|| all(Bf16Fours, Bf16Words)));
    }
    kinds
}

#[test]
fn every_product_kernel_reads_halves() {
    let gpu = common::gpu();
    let has_f16 = gpu.features().contains(wgpu::Features::SHADER_F16);
    // Software Vulkan has them, so that no kernel is left out there.
    assert!(has_f16 || !gpu.summary().name.contains("llvmpipe"), "{:?}", gpu.features());
    let has_subgroup = gpu.subgroup_size() == Some(8);
    let small = &[("ROWS", 32.0), ("COLUMNS", 32.0)];
    let tall = &[("ROWS", 128.0), ("COLUMNS", 64.0), ("HEIGHT", 8.0)];
    let large = &[("TALL", 1.0)];
    let mut kernels: Vec<(_, _, _, &'static [(&'static str, f64)])> = vec![
        (shaders::MATMUL_NAIVE, 8, 8, &[]),
        (shaders::MATMUL_REGISTER, 64, 8, &[]),
        (shaders::MATMUL_TILE, 64, 64, &[]),
        (shaders::MATMUL_TILE, 32, 32, small),
        (shaders::MATMUL_TILE, 128, 64, tall),
    ];
    if has_subgroup {
        kernels.push((shaders::MATMUL_SMALL, 32, 32, &[]));
        kernels.push((shaders::MATMUL_SUBGROUP, 64, 64, large));
    } else {
        common::left_out(
            "kernels of products of halves by subgroups",
            "this adapter has no subgroups of 8",
        );
    }
    let mut random = Random(11);
    let products = [
        (1, 1, 1, false, false),
        (67, 37, 101, false, true),
        (129, 66, 64, true, false),
        (34, 98, 66, false, false),
        (13, 70, 130, true, true),
        (68, 36, 100, false, false),
        (36, 68, 44, true, true),
        (40, 37, 36, false, true),
    ];
    for (round, (m, n, k, transpose_a, transpose_b)) in products.into_iter().enumerate() {
        let (batch, shared_b) = (1 + m % 2, m % 3 == 0);
        let product = Product { batch, m, n, k, transpose_a, transpose_b, shared_b };
        let a = halves(&mut random, batch * m * k, round % 2 == 1);
        let b = halves(&mut random, product.b_batches() * k * n, round % 2 == 1);
        let bias = Product::numbers(&mut random, n);
        let expected = product.expected(&a, &b, &bias);
        let mut first: Option<Vec<u32>> = None;
        for (source, rows, columns, constants) in &kernels {
            let (source, rows, columns) = (*source, *rows, *columns);
            let lanes = [shaders::MATMUL_SMALL, shaders::MATMUL_SUBGROUP].contains(&source);
            let pairs = lanes.then(|| product.can_pair());
            let shared = source == shaders::MATMUL_SMALL && round > 1;
            let fours = (source == shaders::MATMUL_TILE).then(|| product.can_four());
            for operands in kinds(has_f16, pairs, fours, round) {
                let matrices = None;
                let kernel =
                    Kernel { source, rows, columns, operands, lanes, shared, constants, matrices };
                let what = format!("{rows} x {columns} of {operands:?}");
                let [found, sums] = run_kernel(&gpu, kernel, &product, [&a, &b, &bias]);
                product.check(&what, &found, &expected);
                if batch == 1 {
                    product.check(&what, &sums, &product.column_sums(&b));
                }
                // As with `f32`, but that products are exact: fusing them with the sum changes nothing.
                if gpu.is_cpu() && k >= 64 {
                    let bits: Vec<u32> = found.iter().map(|x| x.to_bits()).collect();
                    let same = *first.get_or_insert_with(|| bits.clone()) == bits;
                    assert!(same, "{what} {product:?}: other bits");
                }
            }
        }
    }
}

/// Where there are such: software Vulkan has them since Mesa 25 or 26, of 8 x 8; others have 16 x 16.
#[test]
fn cooperative_matrices_multiply_halves() {
    let options =
        GpuOptions { cooperative_matrix: Some(CooperativeMatrix::Force), ..Default::default() };
    let gpu = Gpu::with(&options).unwrap();
    let Some(size) = gpu.cooperative_matrix_size() else {
        return common::left_out(
            "the kernel of products by cooperative matrices",
            "this adapter has none",
        );
    };
    let mut random = Random(12);
    for round in 0..8 {
        let mut product = Product::draw(&mut random);
        if round % 2 == 1 {
            // So that both are read four at a time.
            [product.m, product.n, product.k] =
                [product.m, product.n, product.k].map(|extent| extent.next_multiple_of(4));
        }
        let a = halves(&mut random, product.batch * product.m * product.k, false);
        let b = halves(&mut random, product.b_batches() * product.k * product.n, false);
        let bias = Product::numbers(&mut random, product.n);
        let expected = product.expected(&a, &b, &bias);
        let fours = product.can_four();
        let operands = fours.map(|can| if can { Elements::F16Fours } else { Elements::F16 });
        // The large tile takes software Vulkan seconds to compile.
        let blocks = if round < 6 { 16 / size } else { 32 / size };
        for operands in [operands, [Elements::F16; 2]] {
            let matrices = Cooperative { size, blocks };
            let tile = matrices.tile() as usize;
            let kernel = Kernel {
                source: shaders::MATMUL_COOPERATIVE,
                rows: tile,
                columns: tile,
                operands,
                lanes: false,
                shared: false,
                constants: &[],
                matrices: Some(matrices),
            };
            let what = format!("{matrices:?} of {operands:?}");
            let [found, sums] = run_kernel(&gpu, kernel, &product, [&a, &b, &bias]);
            product.check(&what, &found, &expected);
            if product.batch == 1 {
                product.check(&what, &sums, &product.column_sums(&b));
            }
        }
    }
}
