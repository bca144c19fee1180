//! Products to try, and the kernels that compute them, run directly.
#![allow(dead_code)] // Each test binary uses its own part.

use crate::cases::Random;
use half::{bf16, f16};
use warmstart_gpu::Gpu;
use warmstart_shaders::{self as shaders, Cooperative, Elements};

/// Extents at the edges of tiles of 8, 16, 32 and 64.
pub const EXTENTS: [usize; 17] = [1, 2, 3, 7, 8, 9, 16, 17, 18, 31, 32, 34, 64, 65, 66, 100, 129];

/// A kernel to try.
#[derive(Clone, Copy, Debug)]
pub struct Kernel {
    pub source: &'static str,
    /// Rows and columns of a workgroup.
    pub rows: usize,
    pub columns: usize,
    /// How it reads its operands.
    pub operands: [Elements; 2],
    /// Whether it is one of those whose lanes hand each other what they load.
    pub lanes: bool,
    /// Whether it reads the product's shape, rather than being compiled for it.
    pub shared: bool,
    /// Its own constants.
    pub constants: &'static [(&'static str, f64)],
    /// Its cooperative matrices, if it has such.
    pub matrices: Option<Cooperative>,
}

/// A product to try: `c[batch, m, n]`, either operand perhaps stored transposed.
#[derive(Clone, Copy, Debug)]
pub struct Product {
    pub batch: usize,
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub transpose_a: bool,
    pub transpose_b: bool,
    /// Whether one matrix serves all batches.
    pub shared_b: bool,
}

impl Product {
    pub fn draw(random: &mut Random) -> Product {
        let mut extent = || EXTENTS[random.below(EXTENTS.len())];
        let (m, n, k) = (extent(), extent(), extent());
        let mut coin = || random.below(2) == 1;
        let (transpose_a, transpose_b, shared_b) = (coin(), coin(), coin());
        Product { batch: 1 + random.below(3), m, n, k, transpose_a, transpose_b, shared_b }
    }

    pub fn b_batches(&self) -> usize {
        if self.shared_b { 1 } else { self.batch }
    }

    pub fn numbers(random: &mut Random, count: usize) -> Vec<f32> {
        (0..count).map(|_| random.number(-1.0, 1.0)).collect()
    }

    pub fn operands(&self, random: &mut Random) -> (Vec<f32>, Vec<f32>) {
        let a = Product::numbers(random, self.batch * self.m * self.k);
        (a, Product::numbers(random, self.b_batches() * self.k * self.n))
    }

    /// Row and column strides of the operands.
    pub fn strides(&self) -> [usize; 4] {
        let Product { m, n, k, .. } = *self;
        let (a_row, a_column) = if self.transpose_a { (1, m) } else { (k, 1) };
        let (b_row, b_column) = if self.transpose_b { (1, k) } else { (n, 1) };
        [a_row, a_column, b_row, b_column]
    }

    /// Whether each operand's elements can be read as pairs along the axis that is contiguous.
    pub fn can_pair(&self) -> [bool; 2] {
        let [a_row, a_column, b_row, b_column] = self.strides();
        let b_batch = if self.shared_b { 0 } else { self.k * self.n };
        [(a_row.max(a_column), self.m * self.k), (b_row.max(b_column), b_batch)]
            .map(|(stride, batch)| stride % 2 == 0 && batch % 2 == 0)
    }

    /// Whether each operand's elements can be read four at a time along the axis that is contiguous.
    pub fn can_four(&self) -> [bool; 2] {
        let Product { m, n, k, transpose_a, transpose_b, .. } = *self;
        // Of a matrix as it lies in memory; a batch then is a multiple of four, too.
        let fours = |columns: usize| columns > 0 && columns.is_multiple_of(4);
        [fours(if transpose_a { m } else { k }), fours(if transpose_b { k } else { n })]
    }

    /// `relu(a b + bias)` in `f64`.
    pub fn expected(&self, a: &[f32], b: &[f32], bias: &[f32]) -> Vec<f64> {
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
    pub fn column_sums(&self, b: &[f32]) -> Vec<f64> {
        let [.., b_row, b_column] = self.strides();
        let sum = |column| (0..self.k).map(|at| f64::from(b[at * b_row + column * b_column])).sum();
        (0..self.n).map(sum).collect()
    }

    /// The first element that is off by more than the rounding of a sum of `k` products below 1:
    /// at most k + 1 roundings of numbers below k + 1, which random signs keep far below that.
    pub fn check(&self, what: &str, found: &[f32], expected: &[f64]) {
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
pub fn run_kernel(
    gpu: &Gpu,
    kernel: Kernel,
    product: &Product,
    [a, b, bias]: [&[f32]; 3],
) -> [Vec<f32>; 2] {
    let Kernel { source, rows, columns, operands, lanes, shared, constants: own, matrices } =
        kernel;
    let [a_stored, b_stored] = operands.map(Elements::stored);
    let bindings = format!(
        "@group(0) @binding(0) var<storage, read> a: array<{a_stored}>;\n\
        @group(0) @binding(1) var<storage, read> b: array<{b_stored}>;\n\
        @group(0) @binding(2) var<storage, read_write> result: array<f32>;\n\
        @group(0) @binding(3) var<storage, read> bias: array<f32>;\n\
        @group(0) @binding(4) var<storage, read_write> sums: array<f32>;\n"
    );
    let shape_binding = "@group(0) @binding(5) var<storage, read> shape: array<u32>;\n";
    let bindings = if shared { bindings + shape_binding } else { bindings };
    let epilogue = "fn epilogue(anchor: f32, i: u32, row: u32, column: u32) -> f32 {\n    \
        return relu(anchor + select(bias[column], bias[i % N], row % 2u == 0u));\n}\n";
    let store = "fn store_column_sum(batch: u32, column: u32, total: f32) {\n    sums[column] = total;\n}\n";
    let mut sections = vec![
        ("bindings", bindings),
        ("epilogue", epilogue.to_owned()),
        ("store_column_sum", store.to_owned()),
    ];
    for (name, elements) in ["a", "b"].into_iter().zip(operands) {
        let read = elements.sections(name, "").into_iter();
        sections.extend(read.filter_map(|(section, text)| Some((section, text?))));
    }
    if shared {
        sections.push(("shape", shaders::read_shape()));
    }
    let operand_reads = match source {
        shaders::MATMUL_TILE | shaders::MATMUL_COOPERATIVE => shaders::MATMUL_FILL,
        _ if lanes => shaders::MATMUL_LANES,
        _ => "",
    };
    sections.extend(matrices.map(Cooperative::sections).unwrap_or_default());
    let parts = [shaders::FUNCTIONS, shaders::MATMUL, operand_reads, source];
    let source = shaders::fill(&parts.concat(), &sections);
    let enable = match matrices {
        Some(_) => shaders::ENABLE_COOPERATIVE_MATRIX,
        None if operands.into_iter().any(Elements::is_f16) => shaders::ENABLE_F16,
        None => "",
    };
    let source = [enable, &source].concat();
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
        ("TOTAL", k),
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
    for (name, elements) in ["A_FOURS", "B_FOURS"].into_iter().zip(operands) {
        constants.extend(elements.is_fours().then_some((name, 1.0)));
    }
    if matrices.is_some() {
        constants.push(("SUBGROUP", gpu.subgroup_size().unwrap().into()));
    }
    constants.extend(own);
    let shape = shape.map(|(_, value)| value as u32);
    let pipeline = gpu.pipeline("a product", &source, &constants).unwrap();
    let (device, queue) = (gpu.device(), gpu.queue());
    // What lies behind the result must stay as it is.
    let guard = vec![-7.0f32; 64];
    let result = [&vec![f32::NAN; batch * m * n][..], &guard].concat();
    let sums = [&vec![f32::NAN; n][..], &guard].concat();
    let [a, b] = [(a, operands[0]), (b, operands[1])].map(|(values, elements)| {
        let round: fn(f32) -> u16 = match elements {
            Elements::F32 | Elements::F32Pairs | Elements::F32Fours => {
                return bytemuck::cast_slice(values).to_vec();
            }
            Elements::Bf16Words | Elements::Bf16Pairs | Elements::Bf16Fours => {
                |x| bf16::from_f32(x).to_bits()
            }
            _ => |x| f16::from_f32(x).to_bits(),
        };
        let halves: Vec<u16> = values.iter().map(|&x| round(x)).collect();
        // Padded to a word.
        [bytemuck::cast_slice(&halves), &[0xff; 2][..(values.len() % 2) * 2]].concat()
    });
    let [result, bias, sums] = [&result[..], bias, &sums].map(bytemuck::cast_slice);
    let buffers =
        [&a[..], &b[..], result, bias, sums, bytemuck::cast_slice(&shape)].map(|bytes: &[u8]| {
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
