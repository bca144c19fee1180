//! Every kernel on the adapter of this machine against the CPU twin.

#[path = "../../graph/tests/cases/mod.rs"]
mod cases;
mod common;

use cases::{Built, Case, Random};
use warmstart_gpu::{Feed, Gpu, Session};
use warmstart_graph::reference::{Reference, Value};
use warmstart_graph::{DType, Graph, NodeId, Op, Tensor, TensorData};
use warmstart_shaders as shaders;

/// Seeds of each case. A case's shapes are new with each, and so are its pipelines.
const SEEDS: u64 = 4;

/// Relative to the largest magnitude in the tensor.
///
/// The twin's `f64` is exact in comparison, so this is the kernels' rounding: a result passes
/// through sums of some hundred terms at most, each off by up to 2⁻²⁴ ≈ 6·10⁻⁸ of the sum's
/// largest part, that is 6·10⁻⁶ if all had one sign; and through functions, of which WGSL
/// promises a few units in the last place (3 + 2|x| for an exponential).
const RELATIVE: f64 = 1e-5;

/// For tensors that are small all over because larger numbers cancelled.
const ABSOLUTE: f64 = 2e-6;

/// How far a case may be off, where not [`RELATIVE`].
fn relative(case: &str) -> f64 {
    match case {
        // WGSL's pow is exp2(b log2 a): the logarithm's error counts b times, and its gradient
        // multiplies that by the logarithm again.
        "pow" => 2e-5,
        _ => RELATIVE,
    }
}

/// The first element that differs: NaN must meet NaN, infinities themselves, integers be equal.
fn first_difference(
    found: &TensorData,
    expected: &Value,
    relative: f64,
) -> Option<(usize, f64, f64)> {
    let finite = expected.elements.iter().filter(|x| x.is_finite());
    let largest = finite.fold(0.0, |most: f64, x| most.max(x.abs()));
    let allowed = match found.dtype() {
        DType::F32 => relative * largest + ABSOLUTE,
        _ => 0.0,
    };
    let found = found.to_f64();
    assert_eq!(found.len(), expected.elements.len());
    let pairs = found.into_iter().zip(expected.elements.iter().copied()).enumerate();
    let agree = |a: f64, b: f64| match (a.is_nan(), b.is_nan()) {
        (false, false) => a == b || (a - b).abs() <= allowed,
        (a, b) => a && b,
    };
    pairs.map(|(at, (a, b))| (at, a, b)).find(|&(_, a, b)| !agree(a, b))
}

/// Checks one tensor, and says all that is needed to see the failure again.
fn difference(
    what: &str,
    seed: u64,
    found: &TensorData,
    expected: &Value,
    relative: f64,
) -> Option<String> {
    if found.shape() != &expected.shape {
        return Some(format!(
            "{what}, seed {seed}: shape {}, the twin has {}",
            found.shape(),
            expected.shape
        ));
    }
    let (at, found, expected) = first_difference(found, expected, relative)?;
    Some(format!("{what}, seed {seed}: element {at} is {found}, the twin has {expected}"))
}

/// Runs a case on the device and on the twin, and gives what differs.
fn differences(gpu: &Gpu, case: &Case, seed: u64) -> Vec<String> {
    let Built { def, fetches, gradients, feeds, variables, .. } = case.build(seed);
    let mut asked: Vec<(String, NodeId)> =
        fetches.iter().enumerate().map(|(at, &id)| (format!("fetch {at}"), id)).collect();
    asked.extend(gradients.into_iter().map(|(name, id)| (format!("gradient of {name}"), id)));

    let mut reference = Reference::new(&def);
    for (name, value) in &feeds {
        reference.feed(name, value);
    }
    for (name, value) in &variables {
        reference.assign(name, value);
    }
    let ids: Vec<NodeId> = asked.iter().map(|(_, id)| *id).collect();
    let expected = reference.run(&ids).unwrap();

    let graph = Graph::from_def(def.clone()).unwrap();
    let tensors: Vec<Tensor<'_>> = ids.iter().map(|&id| graph.tensor(id).unwrap()).collect();
    let mut session = Session::new(gpu);
    let plan = match session.compile(&graph, &tensors, &[]) {
        Ok(plan) => plan,
        Err(error) => return vec![format!("{}, seed {seed}: {error}", case.name)],
    };
    for (name, value) in &variables {
        // A graph may have variables that no fetch reads.
        if session.variable(name).is_ok() {
            session.assign(name, value).unwrap();
        }
    }
    // What no fetch depends on is no part of the plan, and cannot be fed.
    let mut needed = vec![false; def.nodes.len()];
    let mut pending = ids.clone();
    while let Some(id) = pending.pop() {
        if !std::mem::replace(&mut needed[id.0], true) {
            pending.extend(&def.node(id).inputs);
        }
    }
    let used = |name: &str| {
        def.nodes.iter().zip(&needed).any(|(node, needed)| {
            *needed && matches!(&node.op, Op::Placeholder { name: own, .. } if own == name)
        })
    };
    let feeds: Vec<(&str, Feed<'_>)> = feeds
        .iter()
        .filter(|(name, _)| used(name))
        .map(|(name, value)| (name.as_str(), value.into()))
        .collect();
    let outputs = match session.run(&plan, &feeds) {
        Ok(outputs) => outputs,
        Err(error) => return vec![format!("{}, seed {seed}: {error}", case.name)],
    };
    let mut failures = Vec::new();
    for (((what, _), tensor), expected) in asked.iter().zip(&tensors).zip(&expected) {
        let what = format!("{} {what}", case.name);
        failures.extend(match outputs.tensor(*tensor) {
            Ok(found) => difference(&what, seed, &found, expected, relative(case.name)),
            Err(error) => Some(format!("{what}, seed {seed}: {error}")),
        });
    }
    failures
}

#[test]
fn every_operation_and_gradient_is_as_on_the_twin() {
    let gpu = common::gpu();
    let mut failures = Vec::new();
    for case in cases::all() {
        for seed in 0..SEEDS {
            failures.extend(differences(&gpu, &case, seed));
        }
    }
    assert!(failures.is_empty(), "{} differ:\n{}", failures.len(), failures.join("\n"));
}

/// Extents at the edges of tiles of 8, 16 and 64.
const EXTENTS: [usize; 13] = [1, 2, 3, 7, 8, 9, 16, 17, 31, 64, 65, 100, 129];

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

/// Runs a kernel directly, since a session picks the one that suits the adapter.
fn run_kernel(
    gpu: &Gpu,
    source: &str,
    rows: usize,
    columns: usize,
    product: &Product,
    [a, b, bias]: [&[f32]; 3],
) -> Vec<f32> {
    let bindings = "@group(0) @binding(0) var<storage, read> a: array<f32>;\n\
        @group(0) @binding(1) var<storage, read> b: array<f32>;\n\
        @group(0) @binding(2) var<storage, read_write> result: array<f32>;\n\
        @group(0) @binding(3) var<storage, read> bias: array<f32>;\n";
    let epilogue =
        "fn epilogue(anchor: f32, i: u32) -> f32 {\n    return relu(anchor + bias[i % N]);\n}\n";
    let sections = [("bindings", bindings.to_owned()), ("epilogue", epilogue.to_owned())];
    let source = shaders::fill(&[shaders::FUNCTIONS, shaders::MATMUL, source].concat(), &sections);
    let Product { batch, m, n, k, .. } = *product;
    let [a_row, a_column, b_row, b_column] = product.strides();
    let b_batch = if product.shared_b { 0 } else { k * n };
    let constants = [
        ("M", m),
        ("N", n),
        ("K", k),
        ("A_ROW", a_row),
        ("A_COLUMN", a_column),
        ("A_BATCH", m * k),
        ("B_ROW", b_row),
        ("B_COLUMN", b_column),
        ("B_BATCH", b_batch),
    ]
    .map(|(name, value)| (name, value as f64));
    let pipeline = gpu.pipeline("a product", &source, &constants).unwrap();
    let (device, queue) = (gpu.device(), gpu.queue());
    // What lies behind the result must stay as it is.
    let guard = vec![-7.0f32; 64];
    let result = [&vec![f32::NAN; batch * m * n][..], &guard].concat();
    let buffers = [a, b, &result, bias].map(|elements| {
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
    let readback = device.create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size: buffers[2].size(),
        usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    let mut encoder = device.create_command_encoder(&Default::default());
    {
        let mut pass = encoder.begin_compute_pass(&Default::default());
        pass.set_pipeline(&pipeline);
        pass.set_bind_group(0, &bind_group, &[]);
        let groups = [n.div_ceil(columns), m.div_ceil(rows), batch].map(|groups| groups as u32);
        pass.dispatch_workgroups(groups[0], groups[1], groups[2]);
    }
    encoder.copy_buffer_to_buffer(&buffers[2], 0, &readback, 0, readback.size());
    let submission = queue.submit([encoder.finish()]);
    readback.map_async(wgpu::MapMode::Read, .., |outcome| outcome.unwrap());
    gpu.wait(submission).unwrap();
    gpu.healthy().unwrap();
    let bytes = readback.get_mapped_range(..).unwrap().to_vec();
    let mut found: Vec<f32> = bytemuck::pod_collect_to_vec(&bytes);
    assert_eq!(found.split_off(batch * m * n), guard, "{product:?} wrote past its result");
    found
}

#[test]
fn every_product_kernel_is_right_at_the_edges_of_its_tiles() {
    let gpu = common::gpu();
    // Rows and columns of a workgroup.
    let kernels = [
        ("matmul_naive", shaders::MATMUL_NAIVE, 8, 8),
        ("matmul_register", shaders::MATMUL_REGISTER, 64, 8),
        ("matmul_tile", shaders::MATMUL_TILE, 64, 64),
    ];
    let mut random = Random(3);
    let mut products: Vec<Product> = (0..10).map(|_| Product::draw(&mut random)).collect();
    // The largest, in each of the four layouts.
    products.extend([(false, false), (false, true), (true, false), (true, true)].map(
        |(transpose_a, transpose_b)| Product {
            batch: 2,
            m: 129,
            n: 129,
            k: 129,
            transpose_a,
            transpose_b,
            shared_b: transpose_b,
        },
    ));
    for product in products {
        let (a, b) = product.operands(&mut random);
        let bias = Product::numbers(&mut random, product.n);
        let expected = product.expected(&a, &b, &bias);
        for (name, source, rows, columns) in kernels {
            let found = run_kernel(&gpu, source, rows, columns, &product, [&a, &b, &bias]);
            product.check(name, &found, &expected);
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

#[test]
fn a_million_elements_are_reduced_to_one() {
    let gpu = common::gpu();
    let count = 1 << 20;
    let mut random = Random(6);
    let x: Vec<f32> = (0..count).map(|_| random.number(0.0, 1.0)).collect();
    let graph = Graph::new();
    let input = graph.placeholder("x", [1024, count / 1024], DType::F32);
    let results = [input.sum_all(), input.mean_all(), input.reduce_max(&[0, 1])];
    let mut session = Session::new(&gpu);
    let plan = session.compile(&graph, &results, &[]).unwrap();
    let outputs = session.run(&plan, &[("x", (&x).into())]).unwrap();
    let sum: f64 = x.iter().copied().map(f64::from).sum();
    let largest = x.iter().copied().fold(0.0f32, f32::max);
    let [found, mean, most] = results.map(|result| f64::from(outputs.scalar(result).unwrap()));
    // 256 lanes add 4096 elements each: with rounding of random sign off by some
    // √4096 · 2⁻²⁴ ≈ 4·10⁻⁶ of the sum.
    assert!((found - sum).abs() < 1e-5 * sum, "{found}, not {sum}");
    assert!((mean - sum / count as f64).abs() < 1e-5, "{mean}, not {}", sum / count as f64);
    assert_eq!(most, f64::from(largest));
}

#[test]
fn three_long_rows_are_reduced() {
    let gpu = common::gpu();
    let (rows, width) = (3, 100_000);
    let mut random = Random(7);
    let x: Vec<f32> = (0..rows * width).map(|_| random.number(0.0, 4.0)).collect();
    let graph = Graph::new();
    let input = graph.placeholder("x", [rows, width], DType::F32);
    let labels = graph.constant(TensorData::new([rows], vec![0, 77_777, 99_999]).unwrap());
    let fetches = [
        input.sum(&[1]),
        input.sum(&[0]),
        input.reduce_max(&[1]),
        input.argmax(),
        input.softmax(),
        input.log_softmax(),
        input.softmax_cross_entropy(labels),
    ];
    let mut session = Session::new(&gpu);
    let plan = session.compile(&graph, &fetches, &[]).unwrap();
    let outputs = session.run(&plan, &[("x", (&x).into())]).unwrap();
    let def = graph.finish().unwrap();
    let mut reference = Reference::new(&def);
    reference.feed("x", &TensorData::new([rows, width], x).unwrap());
    let expected = reference.run(&fetches.map(Tensor::id)).unwrap();
    for (at, (fetch, expected)) in fetches.iter().zip(&expected).enumerate() {
        let found = outputs.tensor(*fetch).unwrap();
        let what = format!("long rows, fetch {at}");
        if let Some(failure) = difference(&what, 7, &found, expected, RELATIVE) {
            panic!("{failure}");
        }
    }
    // The softmax's elements are smaller than the absolute part of the tolerance.
    let softmax = outputs.tensor(fetches[4]).unwrap();
    for (at, (&found, &expected)) in
        softmax.as_f32().unwrap().iter().zip(&expected[4].elements).enumerate()
    {
        let off = (f64::from(found) - expected).abs() / expected;
        assert!(off < RELATIVE, "softmax: element {at} is {found}, the twin has {expected}");
    }
}

/// Launches along one dimension end at 65,535 workgroups.
#[test]
fn five_million_elements_are_computed_each() {
    let gpu = common::gpu();
    let count = 5_000_001;
    assert!(count / 64 > 65_535);
    let x: Vec<f32> = (0..count).map(|i| i as f32).collect();
    let graph = Graph::new();
    let input = graph.placeholder("x", [count], DType::F32);
    let result = input * 2.0 + 1.0;
    let mut session = Session::new(&gpu);
    let plan = session.compile(&graph, &[result], &[]).unwrap();
    assert_eq!(plan.dispatches().len(), 1);
    let found = session.run(&plan, &[("x", (&x).into())]).unwrap().tensor(result).unwrap();
    let found = found.as_f32().unwrap();
    assert_eq!(found.len(), count);
    // Whole numbers below 2²⁴ are exact.
    let wrong = found.iter().zip(&x).position(|(y, x)| *y != x * 2.0 + 1.0);
    assert_eq!(wrong, None);
}

/// What is not a number must not look like one: a loss that fell apart has to be seen.
#[test]
fn nothing_hides_what_is_not_finite() {
    let gpu = common::gpu();
    let x = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1.0, 0.0, -1.0, 1e38, -1e38];
    let graph = Graph::new();
    let input = graph.placeholder("x", [x.len()], DType::F32);
    let fetches = [
        input.relu(),
        input.leaky_relu(0.5),
        -input,
        input + 1.0,
        input * 10.0,
        input.square(),
        input.exp(),
        input.expm1(),
        input.tanh(),
        input.sigmoid(),
        input.erf(),
        input.abs(),
        input.sum_all(),
        input.slice(0, 1, 3).sum_all(),
        input.slice(0, 1, 2).sum_all(),
        input
            .reshape([x.len(), 1])
            .matmul(graph.constant(TensorData::from(2.0f32)).reshape([1, 1])),
    ];
    let mut session = Session::new(&gpu);
    let plan = session.compile(&graph, &fetches, &[]).unwrap();
    let outputs = session.run(&plan, &[("x", (&x).into())]).unwrap();
    let def = graph.finish().unwrap();
    let mut reference = Reference::new(&def);
    reference.feed("x", &TensorData::new([x.len()], x).unwrap());
    let expected = reference.run(&fetches.map(Tensor::id)).unwrap();
    for ((fetch, expected), at) in fetches.iter().zip(&expected).zip(0..) {
        // What is beyond `f32` in the twin's `f64` is infinite on the device.
        let elements = expected.elements.iter().map(|&x| f64::from(x as f32)).collect();
        let expected = Value { shape: expected.shape.clone(), elements };
        let operation = def.node(fetch.id()).op.name();
        let found = outputs.tensor(*fetch).unwrap();
        let what = format!("not finite, fetch {at} ({operation})");
        if let Some(failure) = difference(&what, 0, &found, &expected, RELATIVE) {
            panic!("{failure}");
        }
    }
}
