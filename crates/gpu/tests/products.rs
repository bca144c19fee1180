//! Every product kernel at the edges of its tiles, and what a session makes of products.

#[path = "../../graph/tests/cases/mod.rs"]
mod cases;
mod common;

use cases::Random;
use warmstart_gpu::{Gpu, Session};
use warmstart_graph::{DType, Graph, Tensor};
use warmstart_shaders as shaders;

/// Extents at the edges of tiles of 8, 16, 32 and 64.
const EXTENTS: [usize; 17] = [1, 2, 3, 7, 8, 9, 16, 17, 18, 31, 32, 34, 64, 65, 66, 100, 129];

/// A kernel to try.
#[derive(Clone, Copy, Debug)]
struct Kernel {
    source: &'static str,
    /// Rows and columns of a workgroup.
    rows: usize,
    columns: usize,
    /// Whether it reads each operand as pairs of elements.
    pairs: [bool; 2],
    /// Whether it is one of those whose lanes hand each other what they load.
    lanes: bool,
    /// Whether it reads the product's shape, rather than being compiled for it.
    shared: bool,
    /// Its own constants.
    constants: &'static [(&'static str, f64)],
}

/// A product to try: `c[batch, m, n]`, either operand perhaps stored transposed.
#[derive(Clone, Copy, Debug)]
struct Product {
    batch: usize,
    m: usize,
    n: usize,
    k: usize,
    transpose_a: bool,
    transpose_b: bool,
    /// Whether one matrix serves all batches.
    shared_b: bool,
}

impl Product {
    fn draw(random: &mut Random) -> Product {
        let mut extent = || EXTENTS[random.below(EXTENTS.len())];
        let (m, n, k) = (extent(), extent(), extent());
        let mut coin = || random.below(2) == 1;
        let (transpose_a, transpose_b, shared_b) = (coin(), coin(), coin());
        Product { batch: 1 + random.below(3), m, n, k, transpose_a, transpose_b, shared_b }
    }

    fn b_batches(&self) -> usize {
        if self.shared_b { 1 } else { self.batch }
    }

    fn numbers(random: &mut Random, count: usize) -> Vec<f32> {
        (0..count).map(|_| random.number(-1.0, 1.0)).collect()
    }

    fn operands(&self, random: &mut Random) -> (Vec<f32>, Vec<f32>) {
        let a = Product::numbers(random, self.batch * self.m * self.k);
        (a, Product::numbers(random, self.b_batches() * self.k * self.n))
    }

    /// Row and column strides of the operands.
    fn strides(&self) -> [usize; 4] {
        let Product { m, n, k, .. } = *self;
        let (a_row, a_column) = if self.transpose_a { (1, m) } else { (k, 1) };
        let (b_row, b_column) = if self.transpose_b { (1, k) } else { (n, 1) };
        [a_row, a_column, b_row, b_column]
    }

    /// Whether each operand's elements can be read as pairs along the axis that is contiguous.
    fn can_pair(&self) -> [bool; 2] {
        let [a_row, a_column, b_row, b_column] = self.strides();
        let b_batch = if self.shared_b { 0 } else { self.k * self.n };
        [(a_row.max(a_column), self.m * self.k), (b_row.max(b_column), b_batch)]
            .map(|(stride, batch)| stride % 2 == 0 && batch % 2 == 0)
    }

    /// `relu(a b + bias)` in `f64`.
    fn expected(&self, a: &[f32], b: &[f32], bias: &[f32]) -> Vec<f64> {
        let Product { batch, m, n, k, .. } = *self;
        let [a_row, a_column, b_row, b_column] = self.strides();
        let b_step = if self.shared_b { 0 } else { k * n };
        let mut c = Vec::with_capacity(batch * m * n);
        for i in 0..batch * m * n {
            let (which, row, column) = (i / (m * n), i / n % m, i % n);
            let products = (0..k).map(|at| {
                let x = a[which * m * k + row * a_row + at * a_column];
                let y = b[which * b_step + at * b_row + column * b_column];
                f64::from(x) * f64::from(y)
            });
            c.push((products.sum::<f64>() + f64::from(bias[column])).max(0.0));
        }
        c
    }

    /// Each column of `b` added up, in `f64`.
    fn column_sums(&self, b: &[f32]) -> Vec<f64> {
        let [.., b_row, b_column] = self.strides();
        let sum = |column| (0..self.k).map(|at| f64::from(b[at * b_row + column * b_column])).sum();
        (0..self.n).map(sum).collect()
    }

    /// The first element that is off by more than the rounding of a sum of `k` products below 1:
    /// at most k + 1 roundings of numbers below k + 1, which random signs keep far below that.
    fn check(&self, what: &str, found: &[f32], expected: &[f64]) {
        let allowed = 1e-5 * (self.k as f64).sqrt();
        assert_eq!(found.len(), expected.len(), "{what} {self:?}");
        for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
            let off = (f64::from(*found) - expected).abs();
            assert!(off <= allowed, "{what} {self:?}: element {at} is {found}, not {expected}");
        }
    }
}

/// Runs a kernel directly, since a session picks the one that suits the adapter: its result, and
/// the sums of the columns of `b`, which it makes if there is one batch.
fn run_kernel(
    gpu: &Gpu,
    kernel: Kernel,
    product: &Product,
    [a, b, bias]: [&[f32]; 3],
) -> [Vec<f32>; 2] {
    let Kernel { source, rows, columns, pairs, lanes, shared, constants: own } = kernel;
    let [a_element, b_element] = pairs.map(|paired| if paired { "u64" } else { "f32" });
    let bindings = format!(
        "@group(0) @binding(0) var<storage, read> a: array<{a_element}>;\n\
        @group(0) @binding(1) var<storage, read> b: array<{b_element}>;\n\
        @group(0) @binding(2) var<storage, read_write> result: array<f32>;\n\
        @group(0) @binding(3) var<storage, read> bias: array<f32>;\n\
        @group(0) @binding(4) var<storage, read_write> sums: array<f32>;\n"
    );
    let shape_binding = "@group(0) @binding(5) var<storage, read> shape: array<u32>;\n";
    let bindings = if shared { bindings + shape_binding } else { bindings };
    let epilogue = "fn epilogue(anchor: f32, i: u32, row: u32, column: u32) -> f32 {\n    \
        return relu(anchor + select(bias[column], bias[i % N], row % 2u == 0u));\n}\n";
    let store = "fn store_column_sum(column: u32, total: f32) {\n    sums[column] = total;\n}\n";
    let mut sections = vec![
        ("bindings", bindings),
        ("epilogue", epilogue.to_owned()),
        ("store_column_sum", store.to_owned()),
    ];
    let names = [("a", "a_pair"), ("b", "b_pair")];
    for ((operand, section), _) in names.into_iter().zip(pairs).filter(|(_, paired)| *paired) {
        sections.push((section, shaders::read_pair(operand)));
    }
    if shared {
        sections.push(("shape", shaders::read_shape()));
    }
    let operands = if lanes { shaders::MATMUL_LANES } else { "" };
    let parts = [shaders::FUNCTIONS, shaders::MATMUL, operands, source];
    let source = shaders::fill(&parts.concat(), &sections);
    let Product { batch, m, n, k, .. } = *product;
    let [a_row, a_column, b_row, b_column] = product.strides();
    let b_batch = if product.shared_b { 0 } else { k * n };
    let shape = [
        ("M", m),
        ("N", n),
        ("K", k),
        ("A_ROW", a_row),
        ("A_COLUMN", a_column),
        ("A_BATCH", m * k),
        ("B_ROW", b_row),
        ("B_COLUMN", b_column),
        ("B_BATCH", b_batch),
    ];
    assert_eq!(shape.map(|(name, _)| name), shaders::MATMUL_SHAPE);
    let mut constants = vec![("COLUMN_SUMS", f64::from(u8::from(batch == 1)))];
    if !shared {
        constants.extend(shape.map(|(name, value)| (name, value as f64)));
    }
    if lanes {
        let known =
            [("A_ALONG_K", a_column == 1), ("B_ALONG_N", b_column == 1), ("ODD", k % 2 == 1)];
        constants.extend(known.map(|(name, known)| (name, f64::from(u8::from(known)))));
    }
    constants.extend(own);
    let shape = shape.map(|(_, value)| f32::from_bits(value as u32));
    let pipeline = gpu.pipeline("a product", &source, &constants).unwrap();
    let (device, queue) = (gpu.device(), gpu.queue());
    // What lies behind the result must stay as it is.
    let guard = vec![-7.0f32; 64];
    let result = [&vec![f32::NAN; batch * m * n][..], &guard].concat();
    let sums = [&vec![f32::NAN; n][..], &guard].concat();
    let buffers = [a, b, &result, bias, &sums, &shape].map(|elements| {
        let bytes: &[u8] = bytemuck::cast_slice(elements);
        let usage = wgpu::BufferUsages::STORAGE
            | wgpu::BufferUsages::COPY_DST
            | wgpu::BufferUsages::COPY_SRC;
        let size = bytes.len() as u64;
        let buffer = device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size,
            usage,
            mapped_at_creation: false,
        });
        queue.write_buffer(&buffer, 0, bytes);
        buffer
    });
    let entries: Vec<wgpu::BindGroupEntry<'_>> = buffers
        .iter()
        .enumerate()
        .take(if shared { 6 } else { 5 })
        .map(|(at, buffer)| wgpu::BindGroupEntry {
            binding: at as u32,
            resource: buffer.as_entire_binding(),
        })
        .collect();
    let layout = pipeline.get_bind_group_layout(0);
    let bind_group = device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: None,
        layout: &layout,
        entries: &entries,
    });
    let readbacks = [&buffers[2], &buffers[4]].map(|buffer| {
        device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: buffer.size(),
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        })
    });
    let mut encoder = device.create_command_encoder(&Default::default());
    {
        let mut pass = encoder.begin_compute_pass(&Default::default());
        pass.set_pipeline(&pipeline);
        pass.set_bind_group(0, &bind_group, &[]);
        let groups = [n.div_ceil(columns), m.div_ceil(rows), batch].map(|groups| groups as u32);
        pass.dispatch_workgroups(groups[0], groups[1], groups[2]);
    }
    for (buffer, readback) in [&buffers[2], &buffers[4]].into_iter().zip(&readbacks) {
        encoder.copy_buffer_to_buffer(buffer, 0, readback, 0, readback.size());
    }
    let submission = queue.submit([encoder.finish()]);
    for readback in &readbacks {
        readback.map_async(wgpu::MapMode::Read, .., |outcome| outcome.unwrap());
    }
    gpu.wait(submission).unwrap();
    gpu.healthy().unwrap();
    [(&readbacks[0], batch * m * n), (&readbacks[1], n)].map(|(readback, count)| {
        let bytes = readback.get_mapped_range(..).unwrap().to_vec();
        let mut found: Vec<f32> = bytemuck::pod_collect_to_vec(&bytes);
        assert_eq!(found.split_off(count), guard, "{product:?} wrote past its result");
        found
    })
}

#[test]
fn every_product_kernel_is_right_at_the_edges_of_its_tiles() {
    let gpu = common::gpu();
    let kernel = |source, rows, columns, constants| {
        let (pairs, lanes, shared) = ([false, false], false, false);
        Kernel { source, rows, columns, pairs, lanes, shared, constants }
    };
    let lanes = |kernel: Kernel| Kernel { lanes: true, ..kernel };
    let few = lanes(kernel(shaders::MATMUL_SMALL, 32, 32, &[]));
    let wide = lanes(kernel(shaders::MATMUL_SUBGROUP, 32, 64, &[]));
    let large = lanes(kernel(shaders::MATMUL_SUBGROUP, 64, 64, &[("TALL", 1.0)]));
    let small = &[("ROWS", 32.0), ("COLUMNS", 32.0)];
    let tall = &[("ROWS", 128.0), ("COLUMNS", 64.0), ("HEIGHT", 8.0)];
    let has_subgroup = gpu.subgroup_size() == Some(8);
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
    for (at, product) in products.into_iter().enumerate() {
        let mut kernels = vec![("matmul_naive", kernel(shaders::MATMUL_NAIVE, 8, 8, &[]))];
        if at < all_kernels {
            kernels.push(("matmul_register", kernel(shaders::MATMUL_REGISTER, 64, 8, &[])));
            kernels.push(("matmul_tile", kernel(shaders::MATMUL_TILE, 64, 64, &[])));
            kernels.push(("matmul_tile, small", kernel(shaders::MATMUL_TILE, 32, 32, small)));
            kernels.push(("matmul_tile, tall", kernel(shaders::MATMUL_TILE, 128, 64, tall)));
        }
        // Its lanes are those of a subgroup.
        if has_subgroup && at < all_kernels {
            kernels.push(("matmul_small", few));
        }
        let pairs = product.can_pair();
        if has_pairs && pairs != [false, false] {
            // Half of it left out, where no more is asked for.
            let constants: &[(&str, f64)] = match (product.m > 16, product.n > 16) {
                (true, true) => &[],
                (true, false) => &[("MANY_COLUMNS", 0.0)],
                (false, true) => &[("MANY_ROWS", 0.0)],
                (false, false) => &[("MANY_ROWS", 0.0), ("MANY_COLUMNS", 0.0)],
            };
            kernels.push(("matmul_small in pairs", Kernel { pairs, constants, ..few }));
            let shared = true;
            kernels.push(("matmul_small of any shape", Kernel { pairs, shared, ..few }));
        }
        // They are for large products, and take long to compile.
        if has_subgroup && at < 6 {
            let pairs = pairs.map(|can| can && has_pairs);
            kernels.push(("matmul_subgroup, wide", Kernel { pairs, ..wide }));
            kernels.push(("matmul_subgroup, tall and wide", Kernel { pairs, ..large }));
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
