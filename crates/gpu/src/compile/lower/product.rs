//! Matrix products: which kind of kernel computes one, by a rule of its shape and the kind of device.
//!
//! Almost all are one kernel of the ladder in `matmul.rs`. Two kinds add up in another order, and so
//! are never a matter of measuring: products with a vector, and products of few results that each are
//! a long sum, or of sums that are longer than loops may be.
//!
//! A product with a vector is a reduction on GPUs, cut in slices as others are, and long sums are cut in
//! slices along K, a batch of products that a second kernel adds up.
//! Both go to shapes by rule, not by a table either, and so do cooperative matrices: a product of two
//! `f16` operands is computed by them where the device has them.

use super::reduce::{self, Rows};
use super::{Kernel, Lowering, Refused};
use crate::compile::classes::Class;
use crate::compile::expression::Index;
use crate::compile::fuse::Fused;
use crate::compile::matmul::{Operand, Product, Rung};
use crate::compile::operand::OperandLayout;
use crate::compile::simplify::Live;
use crate::compile::wgsl::literal;
use crate::compile::{Access, Alternative, Place, Tuned, Variant};
use warmstart_graph::ops::Reduction;
use warmstart_graph::{DType, Shape};
use warmstart_shaders::{self as shaders, Elements};

/// What follows the bytes of an operand where they are loaded.
fn scaling(layout: &OperandLayout) -> String {
    layout.scale.map_or_else(String::new, |scale| {
        let operator = if scale.divides { "/" } else { "*" };
        format!(" {operator} {}", literal(DType::F32, scale.by.into()))
    })
}

pub(super) fn bind_operands(
    live: &Live,
    fused: &Fused,
    kernel: &mut Kernel,
    layouts: [&OperandLayout; 2],
    operands: [Elements; 2],
) {
    for ((name, layout), elements) in ["a", "b"].into_iter().zip(layouts).zip(operands) {
        let place = fused.place(live, layout.base);
        kernel.bindings.bind(name, place, Access::Read, elements.stored());
        let sections = elements.sections(name, &scaling(layout)).into_iter();
        kernel.sections.extend(sections.filter_map(|(section, text)| Some((section, text?))));
    }
}

impl Lowering<'_> {
    pub(super) fn product(
        &mut self,
        root: usize,
        id: usize,
        transpose_a: bool,
        transpose_b: bool,
    ) -> Result<(), Refused> {
        let shape = &self.live.node(id).shape;
        let rank = shape.rank();
        let batch = Shape::from(&shape[..rank - 2]).elements();
        let read = |input: usize, transpose: bool| {
            let layout = OperandLayout::of(self.live, self.live.node(id).inputs[input].0);
            let transposed = layout.transposed;
            let (&columns, rest) = layout.shape.split_last().unwrap_or((&1, &[]));
            let (&rows, own) = rest.split_last().unwrap_or((&1, &[]));
            let repeated = Shape::from(own).elements() == 1 && batch != 1;
            let step = if repeated { 0 } else { rows * columns };
            let (row, column) = if transposed != transpose { (1, columns) } else { (columns, 1) };
            let inner = if transposed != transpose { rows } else { columns };
            let dtype = self.live.node(layout.base).dtype;
            (layout, Operand { row, column, batch: step, dtype }, inner)
        };
        let (a_layout, a, k) = read(0, transpose_a);
        let (b_layout, b, _) = read(1, transpose_b);
        let (m, n) = (shape[rank - 2], shape[rank - 1]);
        let mut product = Product { batch, m, n, k, a, b, sliced: None };
        // A batch of matrices against one is one tall matrix.
        if batch > 1 && b.batch == 0 && a.column == 1 && a.batch == product.m * a.row {
            product.m *= batch;
            product.batch = 1;
        }
        let layouts = [&a_layout, &b_layout];
        // What these rules go by must be nothing but the product and the kind of device: the same
        // product gives the same bits in every plan.
        if product.is_vector(self.target) {
            return self.vector_product(root, id, &product, layouts);
        }
        if let Some(part) = product.slices(self.target) {
            return self.sliced_product(root, id, &product, layouts, &part);
        }
        let usual = Rung::usual(&product, self.target);
        self.carries_out(root, usual.rounds(&product))?;
        let (mut kernel, workgroups) = self.product_kernel(root, id, &product, layouts, usual);
        let workgroups = workgroups.ok_or(Refused::TooManyWorkgroups { root })?;
        let carried = self.carried.contains_key(&root);
        if self.target.alternatives {
            let fused = match (carried, root == id) {
                (true, _) => "sums",
                (false, false) => "fused",
                (false, true) => "plain",
            };
            let usual = Variant::Product(usual);
            kernel.tuned = Some(Tuned { class: Class::of(&product), fused, usual });
            for rung in Rung::others(&product, self.target) {
                let (other, workgroups) = self.product_kernel(root, id, &product, layouts, rung);
                let Some(workgroups) = workgroups.filter(|_| other.binds_as(&kernel)) else {
                    continue;
                };
                kernel.alternatives.push(Alternative {
                    variant: Variant::Product(rung),
                    kernel: other.name,
                    source: other.source(),
                    constants: other.constants,
                    workgroups,
                });
            }
        }
        let sums = if carried { product.n as u64 * product.k as u64 } else { 0 };
        self.push(root, kernel, workgroups, product.operations() + sums)
    }

    /// A product's kernel of some rung.
    fn product_kernel(
        &mut self,
        root: usize,
        id: usize,
        product: &Product,
        layouts: [&OperandLayout; 2],
        rung: Rung,
    ) -> (Kernel, Option<[u32; 3]>) {
        // Without an epilogue, or with what is accumulated, it is that of all layers' weight gradients.
        let is_common = root == id || self.lowered.packed.contains(root);
        let choice = rung.kernel(product, is_common, self.target);
        let mut kernel = Kernel::new(choice.kernel, &choice.parts);
        kernel.constants = choice.constants;
        kernel.sections = choice.sections;
        bind_operands(self.live, self.fused, &mut kernel, layouts, choice.operands);
        self.bind_result(&mut kernel, root);
        self.product_epilogue(&mut kernel, root, id, product);
        if let Some(carried) = self.bind_carried(&mut kernel, root, "column_sums") {
            kernel.constants.push(("COLUMN_SUMS", 1.0));
            let (finish, total) = self.carried_epilogue(&mut kernel, carried, "column");
            let store = format!(
                "{finish}fn store_column_sum(batch: u32, column: u32, total: f32) {{\n    \
                    column_sums[column] = {total};\n}}\n"
            );
            kernel.sections.push(("store_column_sum", store));
        }
        self.bind_shape(&mut kernel, choice.shape);
        (kernel, choice.workgroups)
    }

    /// What is made of each result. Where results are a matrix, of whatever dimensions its rows are, it goes
    /// by row and column, so that the text has nothing of the shape and products of other shapes have the
    /// same kernel.
    fn product_epilogue(&self, kernel: &mut Kernel, root: usize, id: usize, product: &Product) {
        let shape = &self.live.node(root).shape;
        let is_matrix = product.batch == 1 && shape.rank() > 1 && shape.last() == Some(&product.n);
        let index = match is_matrix {
            true => Index::both(shape, "i", ["row", "column"]),
            false => Index::flat(shape, "i"),
        };
        let signature = "anchor: f32, i: u32, row: u32, column: u32";
        self.epilogue_at(kernel, root, id, signature, &index);
    }

    /// Binds the shape of a product whose kernel is compiled for no one shape.
    pub(super) fn bind_shape(&mut self, kernel: &mut Kernel, shape: Option<Vec<u32>>) {
        let Some(words) = shape else { return };
        self.lowered.tables.push(words);
        let table = Place::Table(self.lowered.tables.len() - 1);
        kernel.bindings.bind("shape", table, Access::Read, "u32");
        kernel.sections.push(("shape", shaders::read_shape()));
    }

    /// A product with a vector reads a matrix once: each result is a row of a reduction.
    fn vector_product(
        &mut self,
        root: usize,
        id: usize,
        product: &Product,
        layouts: [&OperandLayout; 2],
    ) -> Result<(), Refused> {
        let Product { batch, m, n, k, a, b, .. } = *product;
        let results = batch * m * n;
        let operands = [a, b].map(|operand| operand.elements(self.target));
        let at = |operand: Operand, line: String| {
            format!("i / {}u * {}u + {line}", m * n, operand.batch)
        };
        let left = at(a, format!("i / {n}u % {m}u * {}u + k * {}u", a.row, a.column));
        let right = at(b, format!("k * {}u + i % {n}u * {}u", b.row, b.column));
        let (live, fused) = (self.live, self.fused);
        let element = |kernel: &mut Kernel, name: &str| {
            bind_operands(live, fused, kernel, layouts, operands);
            // The multiplications; additions are the reduction's.
            kernel.bindings.operations += (results * k) as u64;
            format!(
                "{}{}fn {name}(i: u32, k: u32) -> f32 {{\n    \
                    return f32(a_element({left})) * f32(b_element({right}));\n}}\n",
                operands[0].element_function("a", &scaling(layouts[0])),
                operands[1].element_function("b", &scaling(layouts[1])),
            )
        };
        // Few results of long sums lie side by side along K.
        if let Some(slices) = reduce::slices(results, k, self.target) {
            let rows = Rows { reduction: Reduction::Sum, results, count: k };
            self.sliced_reduce(root, id, rows, slices, &[&element])?;
            return self.carried_apart(root);
        }
        let mut kernel = reduce::kernel_of(results, k, Reduction::Sum, self.target);
        let value = element(&mut kernel, "value");
        kernel.sections.push(("value", value));
        self.bind_result(&mut kernel, root);
        self.epilogue(&mut kernel, root, id);
        let workgroups = if product.is_along_k() {
            self.lanes(&mut kernel, root, (results, k), 1)?
        } else {
            // Neighbours read neighbours: a result each.
            self.spread(root, (results as u64).div_ceil(64))?
        };
        self.push(root, kernel, workgroups, product.operations() / 2)?;
        self.carried_apart(root)
    }

    /// What a kernel of the ladder would have computed on the way, a bias's gradient, gets a kernel
    /// of its own.
    fn carried_apart(&mut self, root: usize) -> Result<(), Refused> {
        match self.carried.remove(&root) {
            Some(carried) => self.root(carried),
            None => Ok(()),
        }
    }
}
