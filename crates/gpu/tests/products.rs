//! Every product kernel at the edges of its tiles, and what a session makes of products.

#[path = "../../graph/tests/cases/mod.rs"]
mod cases;
mod common;
#[path = "common/product.rs"]
mod product;

use cases::Random;
use product::{Kernel, Product, run_kernel};
use warmstart_gpu::Session;
use warmstart_graph::{DType, Graph, Tensor};
use warmstart_shaders::{self as shaders, Elements};

#[test]
fn every_product_kernel_is_right_at_the_edges_of_its_tiles() {
    let gpu = common::gpu();
    let kernel = |source, rows, columns, constants| {
        let (operands, lanes, shared) = ([Elements::F32; 2], false, false);
        Kernel { source, rows, columns, operands, lanes, shared, constants, matrices: None }
    };
    let lanes = |kernel: Kernel| Kernel { lanes: true, ..kernel };
    let few = lanes(kernel(shaders::MATMUL_SMALL, 32, 32, &[]));
    let wide = lanes(kernel(shaders::MATMUL_SUBGROUP, 32, 64, &[]));
    let large = lanes(kernel(shaders::MATMUL_SUBGROUP, 64, 64, &[("TALL", 1.0)]));
    let small = &[("ROWS", 32.0), ("COLUMNS", 32.0)];
    let tall = &[("ROWS", 128.0), ("COLUMNS", 64.0), ("HEIGHT", 8.0)];
    let has_subgroup = gpu.subgroup_size() == Some(8);
    if !has_subgroup {
        common::left_out("kernels of products by subgroups", "this adapter has no subgroups of 8");
    }
    let has_pairs = has_subgroup && gpu.features().contains(wgpu::Features::SHADER_INT64);
    let layouts = [(false, false), (false, true), (true, false), (true, true)];
    let in_layouts = |m, n, k| {
        layouts.map(|(transpose_a, transpose_b)| Product {
            batch: 1 + usize::from(transpose_a),
            m,
            n,
            k,
            transpose_a,
            transpose_b,
            shared_b: transpose_b,
        })
    };
    let in_pairs =
        |pairs: [bool; 2]| pairs.map(|can| if can { Elements::F32Pairs } else { Elements::F32 });
    let mut random = Random(3);
    // The largest in each of the four layouts, and some of any shape.
    let mut products = in_layouts(129, 129, 129).to_vec();
    products.extend(&in_layouts(66, 98, 34)[1..3]);
    products.extend((0..10).map(|_| Product::draw(&mut random)));
    let all_kernels = products.len();
    // Those whose operands can be read in pairs, one of them or both.
    for (m, n, k) in [(66, 34, 98), (34, 18, 33), (9, 7, 18), (100, 10, 64)] {
        products.extend(in_layouts(m, n, k));
    }
    let all_pairs = products.len();
    // Those whose operands can be read four at a time, one of them or both.
    for (m, n, k) in [(68, 36, 100), (33, 132, 84), (132, 65, 64)] {
        products.extend(in_layouts(m, n, k));
    }
    for (at, product) in products.into_iter().enumerate() {
        let mut kernels = vec![("matmul_naive", kernel(shaders::MATMUL_NAIVE, 8, 8, &[]))];
        if at < all_kernels {
            kernels.push(("matmul_register", kernel(shaders::MATMUL_REGISTER, 64, 8, &[])));
            kernels.push(("matmul_tile", kernel(shaders::MATMUL_TILE, 64, 64, &[])));
            kernels.push(("matmul_tile, small", kernel(shaders::MATMUL_TILE, 32, 32, small)));
            kernels.push(("matmul_tile, tall", kernel(shaders::MATMUL_TILE, 128, 64, tall)));
        }
        let fours = product.can_four();
        if fours != [false, false] && (at < all_kernels || at >= all_pairs) {
            let (rows, columns, constants) =
                [(64, 64, &[][..]), (32, 32, small), (128, 64, tall)][at % 3];
            let operands = fours.map(|can| if can { Elements::F32Fours } else { Elements::F32 });
            let tile = kernel(shaders::MATMUL_TILE, rows, columns, constants);
            kernels.push(("matmul_tile in fours", Kernel { operands, ..tile }));
        }
        // Its lanes are those of a subgroup.
        if has_subgroup && at < all_kernels {
            kernels.push(("matmul_small", few));
        }
        let pairs = product.can_pair();
        if has_pairs && at < all_pairs && pairs != [false, false] {
            // Half of it left out, where no more is asked for.
            let constants: &[(&str, f64)] = match (product.m > 16, product.n > 16) {
                (true, true) => &[],
                (true, false) => &[("MANY_COLUMNS", 0.0)],
                (false, true) => &[("MANY_ROWS", 0.0)],
                (false, false) => &[("MANY_ROWS", 0.0), ("MANY_COLUMNS", 0.0)],
            };
            let operands = in_pairs(pairs);
            kernels.push(("matmul_small in pairs", Kernel { operands, constants, ..few }));
            let shared = true;
            kernels.push(("matmul_small of any shape", Kernel { operands, shared, ..few }));
        }
        // They are for large products, and take long to compile.
        if has_subgroup && at < 6 {
            let operands = in_pairs(pairs.map(|can| can && has_pairs));
            kernels.push(("matmul_subgroup, wide", Kernel { operands, ..wide }));
            kernels.push(("matmul_subgroup, tall and wide", Kernel { operands, ..large }));
        }
        let (a, b) = product.operands(&mut random);
        let bias = Product::numbers(&mut random, product.n);
        let expected = product.expected(&a, &b, &bias);
        let mut plain: Option<[Vec<f32>; 2]> = None;
        for (name, kernel) in kernels {
            let [found, sums] = run_kernel(&gpu, kernel, &product, [&a, &b, &bias]);
            product.check(name, &found, &expected);
            if product.batch == 1 {
                let what = format!("column sums of {name}");
                product.check(&what, &sums, &product.column_sums(&b));
            } else {
                assert!(sums.iter().all(|sum| sum.is_nan()), "{name} {product:?}");
            }
            // All add up in the same order. But a driver may fuse a product and a sum in one kernel
            // and not in another, and reorder the end of a short sum, which it has unrolled, with the
            // bias after it.
            let [first, first_sums] = plain.get_or_insert_with(|| [found.clone(), sums.clone()]);
            if gpu.is_cpu() && product.k >= 64 {
                let bits = |all: &[f32]| all.iter().map(|x| x.to_bits()).collect::<Vec<u32>>();
                assert!(bits(first) == bits(&found), "{name} {product:?}: other bits");
                assert!(bits(first_sums) == bits(&sums), "{name} {product:?}: other sums");
            }
        }
    }
}

/// An epilogue may read what the product reads as pairs; and the same bits come out each time.
#[test]
fn a_product_and_its_own_operands_give_the_same_bits_each_time() {
    let gpu = common::gpu();
    let mut random = Random(6);
    for extent in [34, 33] {
        let product = Product {
            batch: 1,
            m: extent,
            n: extent,
            k: extent,
            transpose_a: false,
            transpose_b: false,
            shared_b: true,
        };
        let (a, b) = product.operands(&mut random);
        let mut expected = product.expected(&a, &b, &vec![1e3; extent]);
        for (expected, (a, b)) in expected.iter_mut().zip(a.iter().zip(&b)) {
            *expected = *expected - 1e3 + f64::from(*a) * f64::from(*b);
        }
        let graph = Graph::new();
        let x = graph.placeholder("x", [extent, extent], DType::F32);
        let y = graph.placeholder("y", [extent, extent], DType::F32);
        let result = x.matmul(y) + x * y;
        let feeds = [("x", (&a).into()), ("y", (&b).into())];
        let mut first: Option<Vec<u32>> = None;
        for _ in 0..3 {
            let mut session = Session::new(&gpu);
            let plan = session.compile(&graph, &[result], &[]).unwrap();
            assert_eq!(plan.dispatches().len(), 1, "{plan}");
            for _ in 0..2 {
                let found = session.run(&plan, &feeds).unwrap().tensor(result).unwrap();
                let found = found.as_f32().unwrap();
                product.check("with its operands", found, &expected);
                let bits: Vec<u32> = found.iter().map(|x| x.to_bits()).collect();
                assert_eq!(*first.get_or_insert_with(|| bits.clone()), bits);
            }
        }
    }
}

#[test]
fn a_session_multiplies_with_bias_and_relu_in_one_dispatch() {
    let gpu = common::gpu();
    let mut random = Random(4);
    for _ in 0..12 {
        let product = Product::draw(&mut random);
        let Product { batch, m, n, k, transpose_a, transpose_b, .. } = product;
        let (a, b) = product.operands(&mut random);
        let bias = Product::numbers(&mut random, n);
        let expected = product.expected(&a, &b, &bias);
        let graph = Graph::new();
        let a_matrix = if transpose_a { [k, m] } else { [m, k] };
        let b_matrix = if transpose_b { [n, k] } else { [k, n] };
        let b_shape = match product.shared_b {
            true => b_matrix.to_vec(),
            false => [&[batch], &b_matrix[..]].concat(),
        };
        let x = graph.placeholder("a", [&[batch], &a_matrix[..]].concat(), DType::F32);
        let y = graph.placeholder("b", b_shape, DType::F32);
        let offset = graph.placeholder("bias", [n], DType::F32);
        let result = (x.matmul_with(y, transpose_a, transpose_b) + offset).relu();
        let mut session = Session::new(&gpu);
        let plan = session.compile(&graph, &[result], &[]).unwrap();
        let dispatches = plan.dispatches();
        assert_eq!(dispatches.len(), 1, "{product:?}\n{plan}");
        assert_eq!(dispatches[0].operations, "matmul+add+relu", "{product:?}");
        let feeds = [("a", (&a).into()), ("b", (&b).into()), ("bias", (&bias).into())];
        let found = session.run(&plan, &feeds).unwrap().tensor(result).unwrap();
        product.check("session", found.as_f32().unwrap(), &expected);
    }
}

/// A transposition or reshape of an operand is read through strides or as it lies, and is right.
#[test]
fn views_of_a_products_operands_are_right() {
    let gpu = common::gpu();
    let mut random = Random(5);
    let (m, n, k) = (17, 9, 31);
    let plain =
        Product { batch: 1, m, n, k, transpose_a: false, transpose_b: false, shared_b: true };
    let (a, b) = plain.operands(&mut random);
    let expected = plain.expected(&a, &b, &vec![0.0; n]);
    let turned = |elements: &[f32], rows: usize, columns: usize| -> Vec<f32> {
        (0..rows * columns).map(|i| elements[i % rows * columns + i / rows]).collect()
    };
    let graph = Graph::new();
    let x = graph.placeholder("x", [k, m], DType::F32);
    let y = graph.placeholder("y", [k * n], DType::F32);
    let z = graph.placeholder("z", [n, 1, k], DType::F32);
    let w = graph.placeholder("w", [k + 2, n], DType::F32);
    let results = [
        x.transpose(&[1, 0]).matmul(y.reshape([k, n])),
        x.transpose(&[1, 0]).matmul(z.transpose(&[2, 1, 0]).reshape([k, n])),
        x.matmul_with(z.reshape([n, k]).transpose(&[1, 0]), true, false),
        x.matmul_with(z.reshape([n, k]), true, true),
        x.matmul_with(w.slice(0, 1, k + 1), true, false),
        (x * 2.0).transpose(&[1, 0]).matmul(y.reshape([k, n]) * 0.5),
    ]
    .map(Tensor::relu);
    let mut session = Session::new(&gpu);
    let plan = session.compile(&graph, &results, &[]).unwrap();
    let (a_turned, b_turned) = (turned(&a, m, k), turned(&b, k, n));
    let padded = [&vec![9.0f32; n][..], &b, &vec![9.0f32; n]].concat();
    let feeds = [
        ("x", (&a_turned).into()),
        ("y", (&b).into()),
        ("z", (&b_turned).into()),
        ("w", (&padded).into()),
    ];
    let outputs = session.run(&plan, &feeds).unwrap();
    for (at, result) in results.into_iter().enumerate() {
        let found = outputs.tensor(result).unwrap();
        plain.check(&format!("view {at}"), found.as_f32().unwrap(), &expected);
    }
}
