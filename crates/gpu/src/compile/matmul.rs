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

/// A kernel with its workgroups.
pub(crate) struct Choice {
    pub kernel: &'static str,
    pub source: &'static str,
    pub workgroups: [u32; 3],
    pub constants: Vec<(&'static str, f64)>,
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
    if target.is_cpu {
        let (kernel, source, workgroups) =
            ("matmul_register", warmstart_shaders::MATMUL_REGISTER, groups(8 * 8, 8));
        Choice { kernel, source, workgroups, constants }
    } else {
        let (kernel, source, workgroups) =
            ("matmul_tile", warmstart_shaders::MATMUL_TILE, groups(64, 64));
        Choice { kernel, source, workgroups, constants }
    }
}
