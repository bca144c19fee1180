//! Which kernel computes a matrix product, and with which constants.

use super::Target;

/// A product as its kernel sees it. Strides are in elements.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Product {
    pub batch: usize,
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub a: Operand,
    pub b: Operand,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Operand {
    pub row: usize,
    pub column: usize,
    /// 0 if one matrix serves all batches.
    pub batch: usize,
}

impl Operand {
    /// Whether its elements can be read two at a time: pairs along the axis that is contiguous
    /// begin at even places.
    fn has_pairs(&self) -> bool {
        self.row.max(self.column).is_multiple_of(2) && self.batch.is_multiple_of(2)
    }
}

/// A kernel with its workgroups.
pub(crate) struct Choice {
    pub kernel: &'static str,
    pub source: &'static str,
    pub workgroups: [u32; 3],
    pub constants: Vec<(&'static str, f64)>,
    /// Whether it reads each operand as pairs of elements.
    pub pairs: [bool; 2],
}

/// Picks the kernel.
pub(crate) fn choose(product: &Product, target: Target) -> Choice {
    let Product { batch, m, n, k, a, b } = *product;
    let constants = vec![
        ("M", m as f64),
        ("N", n as f64),
        ("K", k as f64),
        ("A_ROW", a.row as f64),
        ("A_COLUMN", a.column as f64),
        ("A_BATCH", a.batch as f64),
        ("B_ROW", b.row as f64),
        ("B_COLUMN", b.column as f64),
        ("B_BATCH", b.batch as f64),
    ];
    let groups = |rows: usize, columns: usize| {
        [n.div_ceil(columns) as u32, m.div_ceil(rows) as u32, batch as u32]
    };
    let (kernel, source, workgroups) = match target {
        Target { is_cpu: true, subgroup_size: Some(8), .. } => {
            ("matmul_subgroup", warmstart_shaders::MATMUL_SUBGROUP, groups(32, 32))
        }
        Target { is_cpu: true, .. } => {
            ("matmul_register", warmstart_shaders::MATMUL_REGISTER, groups(8 * 8, 8))
        }
        _ => ("matmul_tile", warmstart_shaders::MATMUL_TILE, groups(64, 64)),
    };
    let can_pair = kernel == "matmul_subgroup" && target.has_int64 && k > 0;
    let pairs = [a, b].map(|operand| can_pair && operand.has_pairs());
    Choice { kernel, source, workgroups, constants, pairs }
}
