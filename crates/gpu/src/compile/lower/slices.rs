//! Products of few results that each are a long sum, or of sums that are longer than loops may be: slices
//! along K are products of a batch, which a second kernel adds up.
//!
//! Weights' gradients are such products where batches are large. A bias's gradient comes with them as it does
//! with whole products, a part for each slice. What only norms and updates read, as gradients are, is added
//! up last of all values, that of all layers by one kernel: a step of training has one dispatch more for it,
//! however many layers it has.

use super::product::bind_operands;
use super::{Kernel, Lowering, Refused, lanes, listed};
use crate::compile::fuse::Fused;
use crate::compile::matmul::{Product, Rung};
use crate::compile::operand::OperandLayout;
use crate::compile::simplify::Live;
use crate::compile::{Access, Place};
use std::fmt::Write as _;
use warmstart_graph::Op;
use warmstart_shaders as shaders;

/// Whether each node is read by norms and updates alone, whose kernels come after all others.
pub(super) fn read_last(live: &Live, fused: &Fused) -> Vec<bool> {
    let is_last = |reader: usize| {
        live.node(reader).op.is_update()
            || matches!(live.node(reader).op, Op::GlobalNorm)
                && fused.own_norms.values().any(|own| own.norm == reader)
    };
    let mut last = vec![true; live.nodes.len()];
    for reader in (0..live.nodes.len()).filter(|&reader| !is_last(reader)) {
        live.inputs(reader).for_each(|input| last[input] = false);
    }
    live.fetches.iter().for_each(|&id| last[id] = false);
    last
}

/// The results of a product in slices, which are to be added up.
pub(super) struct PartialSums {
    root: usize,
    slices: usize,
    /// The slices' results, of each product one after the other, and how many each has.
    sums: (Place, usize),
    /// How many products are cut.
    batch: usize,
    /// Likewise of a sum of the second operand's columns that comes with it: its root, and where its parts
    /// are, and how many of each slice.
    carried: Option<(usize, Place, usize)>,
}

impl Lowering<'_> {
    pub(super) fn sliced_product(
        &mut self,
        root: usize,
        id: usize,
        product: &Product,
        layouts: [&OperandLayout; 2],
        part: &Product,
    ) -> Result<(), Refused> {
        let (results, columns) = (product.m * product.n, product.n);
        let choice = Rung::usual(part, self.target).kernel(part, true, self.target);
        let workgroups = choice.workgroups.ok_or(Refused::TooManyWorkgroups { root })?;
        let sums = self.scratch((part.batch * results * 4) as u64);
        let mut kernel = Kernel::new(choice.kernel, &choice.parts);
        kernel.label = Some("matmul of slices".to_owned());
        kernel.constants = choice.constants;
        kernel.sections = choice.sections;
        bind_operands(self.live, self.fused, &mut kernel, layouts, choice.operands);
        kernel.bindings.bind("result", sums, Access::Write, "f32");
        let mut operations = product.operations();
        // Only a product of two matrices carries a sum.
        let carried = self.carried.get(&root).copied().map(|carried| {
            let parts = self.scratch((part.batch * columns * 4) as u64);
            kernel.label = Some("matmul, sum of slices".to_owned());
            kernel.bindings.bind("column_sums", parts, Access::Write, "f32");
            kernel.constants.push(("COLUMN_SUMS", 1.0));
            let store = "fn store_column_sum(batch: u32, column: u32, total: f32) {\n    \
                column_sums[batch * N + column] = total;\n}\n";
            kernel.sections.push(("store_column_sum", store.to_owned()));
            operations += columns as u64 * product.k as u64;
            (carried, parts, columns)
        });
        self.bind_shape(&mut kernel, choice.shape);
        self.push(root, kernel, workgroups, operations)?;

        let (batch, slices) = (product.batch, part.batch / product.batch);
        let partial = PartialSums { root, slices, sums: (sums, results), batch, carried };
        let is_last = |id: usize| {
            self.lowered.packed.contains(id)
                && self.fused.anchor[id] == Some(id)
                && !self.fused.kept.contains_key(&id)
                && self.read_last[id]
        };
        if batch == 1
            && is_last(root)
            && partial.carried.is_none_or(|(carried, ..)| is_last(carried))
        {
            self.partial_sums.push(partial);
            return Ok(());
        }
        self.add_up_one(id, &partial)
    }

    /// Adds up the slices of a product whose result others read, or of which more is computed.
    fn add_up_one(&mut self, id: usize, partial: &PartialSums) -> Result<(), Refused> {
        let &PartialSums { root, slices, sums: (sums, own), batch, carried } = partial;
        let results = batch * own;
        let parts = [shaders::FUNCTIONS, lanes(self.target), shaders::REDUCE];
        let mut kernel = Kernel::new("reduce", &parts);
        kernel.constants.extend([
            ("RESULTS", results as f64),
            ("COUNT", slices as f64),
            ("MAXIMUM", 0.0),
        ]);
        self.bind_result(&mut kernel, root);
        kernel.bindings.bind("sums", sums, Access::Read, "f32");
        let at = match batch {
            1 => format!("k * {own}u + i"),
            _ => format!("(i / {own}u * {slices}u + k) * {own}u + i % {own}u"),
        };
        let value = format!("fn value(i: u32, k: u32) -> f32 {{\n    return sums[{at}];\n}}\n");
        kernel.sections.push(("value", value));
        self.epilogue(&mut kernel, root, id);
        let mut operations = results * slices;
        if let Some((carried, parts, columns)) = carried {
            self.bind_carried(&mut kernel, root, "second_result");
            kernel.bindings.bind("parts", parts, Access::Read, "f32");
            kernel.constants.push(("SECOND", 1.0));
            let (finish, total) = self.carried_epilogue(&mut kernel, carried, "i");
            // Of the results the first ones have a column each.
            let second = format!(
                "{finish}fn second(i: u32, k: u32) -> f32 {{\n    \
                    return parts[k * {columns}u + min(i, {columns}u - 1u)];\n}}\n\
                fn store_second(i: u32, total: f32) {{\n    \
                    if (i < {columns}u) {{\n        second_result[i] = {total};\n    }}\n}}\n"
            );
            kernel.sections.push(("second", second));
            operations += columns * slices;
        }
        let workgroups = self.spread(root, (results as u64).div_ceil(64))?;
        self.push(root, kernel, workgroups, operations as u64)
    }

    /// Adds up the slices of all products that are read last, in as few kernels as their bindings allow.
    pub(super) fn add_up_slices(&mut self) -> Result<(), Refused> {
        let mut pending = std::mem::take(&mut self.partial_sums);
        while !pending.is_empty() {
            let mut bound = 0;
            let fits = pending.iter().take_while(|partial| {
                bound += if partial.carried.is_some() { 4 } else { 2 };
                bound <= self.target.storage_buffers
            });
            let count = fits.count().max(1);
            let together: Vec<PartialSums> = pending.drain(..count).collect();
            self.add_up_together(&together)?;
        }
        Ok(())
    }

    fn add_up_together(&mut self, together: &[PartialSums]) -> Result<(), Refused> {
        let mut kernel = Kernel::new("slices", &[shaders::FUNCTIONS, shaders::ELEMENTWISE]);
        let mut write = "fn write(i: u32) {\n".to_owned();
        let (mut from, mut operations, mut labels) = (0, 0, Vec::new());
        for partial in together {
            let (sums, results) = partial.sums;
            let sums = [(partial.root, sums, results)].into_iter().chain(partial.carried);
            for (root, parts, count) in sums {
                let (at, slices) = (labels.len(), partial.slices);
                kernel.bindings.bind(
                    &format!("result{at}"),
                    self.fused.place(self.live, root),
                    Access::Write,
                    "f32",
                );
                kernel.bindings.bind(&format!("parts{at}"), parts, Access::Read, "f32");
                let end = from + count;
                // In the order of the slices.
                let _ = writeln!(
                    write,
                    "    if (i >= {from}u && i < {end}u) {{\n        \
                        let own = i - {from}u;\n        \
                        var total = 0.0;\n        \
                        for (var k = 0u; k < {slices}u; k++) {{\n            \
                            total += parts{at}[k * {count}u + own];\n        }}\n        \
                        result{at}[own] = total;\n    }}"
                );
                labels.push(self.label(root));
                operations += (count * slices) as u64;
                from = end;
            }
        }
        write += "}\n";
        kernel.label = Some(listed(&labels));
        kernel.constants.push(("ELEMENTS", from as f64));
        kernel.sections.push(("write", write));
        let root = together[0].root;
        let workgroups = self.spread(root, (from as u64).div_ceil(64))?;
        self.push(root, kernel, workgroups, operations)
    }
}
