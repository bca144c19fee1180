//! Products by cooperative matrices (tensor cores, matrix cores), which `wgpu` has as an experimental
//! feature: whether to ask for them, and whether what they compute is right.
//!
//! They multiply `f16` and add up in `f32`, in an order of the device's own: on one device results
//! are the same each time, and on another one, or without, they differ in their last bits.
//! `matmul_cooperative.wgsl` fills its tiles as `matmul_tile.wgsl` does (`matmul_fill.wgsl`), so
//! that strides, edges and epilogues are the same. Matrices are of 16 x 16 x 16 (most GPUs) or 8 x
//! 8 x 8 (software Vulkan of Mesa 26), and subgroups of one fixed size: NVIDIA's GPUs, some of
//! AMD's, and not Apple's, of which `wgpu` does not tell it.
//!
//! Before the first plan with an `f16` in it uses them, eight products with exact sums are tried
//! out, in each way in which plans read operands and lay out tiles: with edges, as they lie and transposed,
//! one element and four at a time, with subnormal operands of either side, and larger than `f16` could
//! add up. A device that has any of them wrong counts as one without.
//! `WARMSTART_COOPERATIVE_MATRIX=off` leaves them alone; `force` takes them on software adapters
//! too, where the tests do.

use crate::device::compute_once::Dispatch;
use crate::device::gpu::Gpu;
use crate::device::switch::{said, switch};
use crate::error::GpuError;
use half::f16;
use warmstart_shaders::{self as shaders, Cooperative, Elements};

/// Whether products of two `f16` operands ([`Scope::compute_f16`](warmstart_graph::Scope::compute_f16))
/// are computed by cooperative matrices, where the device has those that add up in `f32`. They add up in
/// an order of the device's own, and round as it does: results differ in their last bits from those
/// without, and are the same each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CooperativeMatrix {
    /// Never.
    Off,
    /// On GPUs, if products that are tried out first come out right.
    On,
    /// On software adapters as well, where nothing is gained.
    Force,
}

impl CooperativeMatrix {
    /// What `WARMSTART_COOPERATIVE_MATRIX` says.
    pub(crate) fn from_env() -> Result<CooperativeMatrix, GpuError> {
        CooperativeMatrix::said(said(CooperativeMatrix::VARIABLE).as_deref())
    }

    const VARIABLE: &str = "WARMSTART_COOPERATIVE_MATRIX";

    /// What it means if it says this.
    pub(crate) fn said(value: Option<&str>) -> Result<CooperativeMatrix, GpuError> {
        use CooperativeMatrix::{Force, Off, On};
        switch(CooperativeMatrix::VARIABLE, value, [Off, On, Force])
    }
}

/// The size of the matrices to use on an adapter: the largest that it has.
fn offered(adapter: &wgpu::Adapter, choice: CooperativeMatrix) -> Option<u32> {
    let info = adapter.get_info();
    let asked = match choice {
        CooperativeMatrix::Off => false,
        CooperativeMatrix::On => info.device_type != wgpu::DeviceType::Cpu,
        CooperativeMatrix::Force => true,
    };
    let needed = wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX
        | wgpu::Features::SHADER_F16
        | wgpu::Features::SUBGROUP;
    // A workgroup is four subgroups, of a size that must be known.
    let is_fixed = info.subgroup_min_size == info.subgroup_max_size;
    if !asked || !is_fixed || !adapter.features().contains(needed) {
        return None;
    }
    let all = adapter.cooperative_matrix_properties();
    [16, 8].into_iter().find(|&size| all.iter().any(|matrices| is_such(matrices, size)))
}

/// Whether they are `size` x `size` x `size`, and add up products of `f16` in `f32`.
fn is_such(matrices: &wgpu::CooperativeMatrixProperties, size: u32) -> bool {
    let sizes = [matrices.m_size, matrices.n_size, matrices.k_size];
    let types = [matrices.ab_type, matrices.cr_type];
    sizes == [size; 3]
        && types == [wgpu::CooperativeScalarType::F16, wgpu::CooperativeScalarType::F32]
        && !matrices.saturating_accumulation
}

/// Opens a device, and says of which size the matrices are that its shaders may have.
#[allow(unsafe_code)]
pub(crate) fn request_device(
    adapter: &wgpu::Adapter,
    plain: wgpu::DeviceDescriptor<'_>,
    choice: CooperativeMatrix,
) -> Result<((wgpu::Device, wgpu::Queue), Option<u32>), wgpu::RequestDeviceError> {
    let Some(size) = offered(adapter, choice) else {
        return Ok((pollster::block_on(adapter.request_device(&plain))?, None));
    };
    // SAFETY: `wgpu` asks whoever enables an experimental feature to accept that its implementation may
    // have undefined behaviour. It is used by one kernel of ours, which loads and stores matrices in
    // workgroup memory only and within its arrays, and whose results are tried out on the device first.
    let experimental = unsafe { wgpu::ExperimentalFeatures::enabled() };
    let with = wgpu::DeviceDescriptor {
        required_features: plain.required_features
            | wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX,
        experimental_features: experimental,
        ..plain.clone()
    };
    match pollster::block_on(adapter.request_device(&with)) {
        Ok(opened) => Ok((opened, Some(size))),
        // A device that cannot be had with them may be had without.
        Err(_) => Ok((pollster::block_on(adapter.request_device(&plain))?, None)),
    }
}

impl Gpu {
    /// Whether products by matrices of this size are right. Tried the first time: eight dispatches, for
    /// which the host waits. A device that cannot compile or run them counts as one without.
    ///
    /// # Errors
    /// What may be otherwise the next time, as results would be then: that memory ran out, time ran
    /// out, or the device was lost.
    pub(crate) fn multiplies_by_matrices(&self, size: u32) -> Result<bool, GpuError> {
        if let Some(&tried) = self.tried_matrices().get() {
            return Ok(tried);
        }
        let right = all_right(size, |trial, matrices| trial.run(self, matrices))?;
        Ok(*self.tried_matrices().get_or_init(|| right))
    }
}

/// All that is tried of matrices of a size.
fn trials(size: u32) -> impl Iterator<Item = (Trial, Cooperative)> {
    let ways = [16, 32].into_iter().flat_map(|tile| {
        [ODD, FOURS].into_iter().flat_map(move |trial| {
            [false, true].map(|transposed| (Trial { transposed, ..trial }, tile))
        })
    });
    ways.map(move |(trial, tile)| (trial, Cooperative { size, blocks: tile / size }))
}

/// Whether all trials come out right when they are run so. What this device cannot compile or run is wrong.
fn all_right(
    size: u32,
    mut run: impl FnMut(&Trial, Cooperative) -> Result<Vec<u32>, GpuError>,
) -> Result<bool, GpuError> {
    for (trial, matrices) in trials(size) {
        let right = match run(&trial, matrices) {
            Ok(found) => trial.is_right(&found),
            Err(GpuError::Validation { .. } | GpuError::Internal { .. }) => false,
            Err(error) => return Err(error),
        };
        if !right {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A product whose sums are exact in `f32`, in whichever order, and neither exact nor finite in `f16`.
/// No extent is a multiple of a tile's. The second half of A's rows, and of B's columns, are subnormal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Trial {
    m: usize,
    n: usize,
    k: usize,
    /// Whether both operands are stored transposed.
    transposed: bool,
}

/// Operands that are read one element at a time.
const ODD: Trial = Trial { m: 67, n: 75, k: 93, transposed: false };

/// Operands that are read four elements at a time.
const FOURS: Trial = Trial { m: 68, n: 76, k: 92, transposed: false };

/// The smallest number that is an `f16`.
const SMALLEST: f32 = 1.0 / (1 << 24) as f32;

impl Trial {
    /// At most 255 either way, in units of the row.
    fn a(&self, row: usize, k: usize) -> i32 {
        (row * 37 + k * 101 + row * k * 13) as i32 % 511 - 255
    }

    /// At most 127 either way, in units of the column.
    fn b(&self, k: usize, column: usize) -> i32 {
        (k * 59 + column * 83 + k * column * 7) as i32 % 255 - 127
    }

    fn row_unit(&self, row: usize) -> f32 {
        if row >= self.m / 2 { SMALLEST } else { 1.0 }
    }

    fn column_unit(&self, column: usize) -> f32 {
        if column >= self.n / 2 { SMALLEST } else { 1.0 }
    }

    /// Whether these, the bits of `f32`, are the right results.
    fn is_right(&self, found: &[u32]) -> bool {
        // Not by their bits: a zero may be one of either sign.
        let mut expected = (0..self.m).flat_map(|row| {
            (0..self.n).map(move |column| {
                let products = (0..self.k).map(|k| self.a(row, k) * self.b(k, column));
                products.sum::<i32>() as f32 * self.row_unit(row) * self.column_unit(column)
            })
        });
        found.len() == self.m * self.n
            && found.iter().all(|&bits| expected.next() == Some(f32::from_bits(bits)))
    }

    /// An operand as it is stored, padded to a word.
    fn stored(&self, extents: [usize; 2], element: impl Fn(usize, usize) -> f32) -> Vec<u16> {
        let [rows, columns] = extents;
        let number = |at: usize| match self.transposed {
            true => element(at % rows, at / rows),
            false => element(at / columns, at % columns),
        };
        let mut halves: Vec<u16> =
            (0..rows * columns).map(|at| f16::from_f32(number(at)).to_bits()).collect();
        halves.resize(halves.len().next_multiple_of(2), 0);
        halves
    }

    /// Whether its operands can be read four elements at a time: as plans do it then.
    fn has_fours(&self) -> bool {
        [self.m, self.n, self.k].iter().all(|extent| extent.is_multiple_of(4))
    }

    /// How a kernel reads its operands.
    fn elements(&self) -> Elements {
        if self.has_fours() { Elements::F16Fours } else { Elements::F16 }
    }

    /// The bits of what the device makes of it.
    fn run(&self, gpu: &Gpu, matrices: Cooperative) -> Result<Vec<u32>, GpuError> {
        let what = "trying out cooperative matrices";
        let Trial { m, n, k, transposed } = *self;
        let parts = [
            shaders::FUNCTIONS,
            shaders::MATMUL,
            shaders::MATMUL_FILL,
            shaders::MATMUL_COOPERATIVE,
        ];
        let mut sections = matrices.sections();
        let elements = self.elements();
        let stored = elements.stored();
        let bindings = format!(
            "@group(0) @binding(0) var<storage, read> a: array<{stored}>;\n\
            @group(0) @binding(1) var<storage, read> b: array<{stored}>;\n\
            @group(0) @binding(2) var<storage, read_write> result: array<f32>;\n"
        );
        sections.push(("bindings", bindings));
        for operand in ["a", "b"] {
            let own = elements.sections(operand, "").into_iter();
            sections.extend(own.filter_map(|(section, text)| Some((section, text?))));
        }
        let source = shaders::fill(&parts.concat(), &sections);
        let source = [shaders::ENABLE_COOPERATIVE_MATRIX, &source].concat();
        let stride = |rows, columns| if transposed { [1, rows] } else { [columns, 1] };
        let ([a_row, a_column], [b_row, b_column]) = (stride(m, k), stride(k, n));
        let shape = [m, n, k, a_row, a_column, 0, b_row, b_column, 0, k];
        let mut constants: Vec<(&str, f64)> =
            shaders::MATMUL_SHAPE.into_iter().zip(shape.map(|x| x as f64)).collect();
        let fours = f64::from(u8::from(self.has_fours()));
        constants.extend([("A_FOURS", fours), ("B_FOURS", fours)]);
        constants.push(("SUBGROUP", gpu.subgroup_size().unwrap_or(0).into()));
        let pipeline = gpu.pipeline("matmul_cooperative", &source, &constants)?;
        let a = self.stored([m, k], |row, k| self.a(row, k) as f32 * self.row_unit(row));
        let b =
            self.stored([k, n], |k, column| self.b(k, column) as f32 * self.column_unit(column));
        let (storage, copied) = (wgpu::BufferUsages::STORAGE, wgpu::BufferUsages::COPY_DST);
        let operand = |name: &str, halves: &[u16]| {
            let buffer = gpu.buffer(name, size_of_val(halves) as u64, storage | copied)?;
            let bytes = bytemuck::cast_slice(halves);
            gpu.checked(what, |_| gpu.queue().write_buffer(&buffer, 0, bytes))?;
            Ok::<_, GpuError>(buffer)
        };
        let (a, b) = (operand("a tried matrix", &a)?, operand("another tried matrix", &b)?);
        let bytes = (m * n * size_of::<f32>()) as u64;
        let result =
            gpu.buffer("a tried product", bytes, storage | wgpu::BufferUsages::COPY_SRC)?;
        let tile = matrices.tile();
        let workgroups = [n, m].map(|extent| (extent as u32).div_ceil(tile));
        let dispatch = Dispatch { buffers: [&a, &b, &result], workgroups };
        gpu.compute_once(what, &pipeline, &[dispatch], &result, Gpu::wait_alone)
    }
}

#[cfg(test)]
#[path = "cooperative_tests.rs"]
mod tests;
