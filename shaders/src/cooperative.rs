//! What the kernel of products by cooperative matrices has of one text for each matrix: no driver is
//! left to guess that a loop over them is to be unrolled, since a matrix in an array that is indexed as
//! the kernel runs would lie in memory.

use std::fmt::Write as _;

/// How a subgroup's results are laid out: `blocks` x `blocks` cooperative matrices, of `size` x `size`
/// elements each.
///
/// ```
/// let large = warmstart_shaders::Cooperative { size: 16, blocks: 2 };
/// assert_eq!(large.tile(), 64);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cooperative {
    /// 8 or 16.
    pub size: u32,
    /// At least 1.
    pub blocks: u32,
}

impl Cooperative {
    /// Rows, and columns, of the results of a workgroup: four subgroups, two by two.
    pub fn tile(self) -> u32 {
        2 * self.blocks * self.size
    }

    /// The sections of [`MATMUL_COOPERATIVE`](crate::MATMUL_COOPERATIVE).
    pub fn sections(self) -> Vec<(&'static str, String)> {
        let Cooperative { size, blocks } = self;
        let mut matrices = String::new();
        for (role, element) in [("A", "f16"), ("B", "f16"), ("C", "f32")] {
            let _ = writeln!(
                matrices,
                "alias {role}Matrix = coop_mat{size}x{size}<{element}, {role}>;"
            );
        }
        let _ = writeln!(matrices, "\nconst SIZE: u32 = {size}u;\nconst BLOCKS: u32 = {blocks}u;");
        let [mut totals, mut multiply, mut store] = [const { String::new() }; 3];
        for at in 0..blocks {
            let place = at * size;
            for (operand, load) in [("a", "coopLoad<AMatrix>"), ("b", "coopLoadT<BMatrix>")] {
                let _ = writeln!(
                    multiply,
                    "            let {operand}_{at} = \
                        {load}(&{operand}_tile[{operand}_at + {place}u], PITCH);"
                );
            }
        }
        for (row, column) in (0..blocks).flat_map(|row| (0..blocks).map(move |c| (row, c))) {
            let total = format!("c_{row}_{column}");
            let _ = writeln!(totals, "    var {total} = zeros;");
            let _ = writeln!(
                multiply,
                "            {total} = coopMultiplyAdd(a_{row}, b_{column}, {total});"
            );
            let (down, right) = (row * size, column * size);
            let _ = writeln!(
                store,
                "    coopStoreT({total}, &c_tile[own], SIZE);\n    \
                    workgroupBarrier();\n    \
                    store_block(batch, first_row + {down}u, first_column + {right}u, own, lane);\n    \
                    workgroupBarrier();"
            );
        }
        vec![
            ("matrices", matrices),
            ("totals", totals),
            ("multiply", multiply),
            ("store_totals", store),
        ]
    }
}
