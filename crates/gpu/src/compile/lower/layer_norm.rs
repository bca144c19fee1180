//! Layer normalization: forward, its gradient, and what that needs of each row.
//!
//! The statistics are 8 bytes a row. The forward kernel writes them on the way (`companions.rs`), and
//! the gradients read them: those of gamma and beta go over columns and need them in memory whoever
//! computes them, and the gradient of the rows then has a pass over each row less.

use super::{Kernel, Lowering, Refused, lanes};
use crate::compile::expression::Index;
use warmstart_shaders as shaders;

impl Lowering<'_> {
    pub(super) fn layer_norm(
        &mut self,
        root: usize,
        id: usize,
        epsilon: f32,
    ) -> Result<(), Refused> {
        let mut kernel = self.row_kernel("layer_norm", shaders::LAYER_NORM, root, id);
        kernel.constants.push(("EPSILON", epsilon.into()));
        self.bind_rows(&mut kernel, root, id, &["value", "gamma", "beta"]);
        self.epilogue(&mut kernel, root, id);
        if self.bind_carried(&mut kernel, root, "statistics").is_some() {
            let store = "fn store_statistics(row: u32, shift: f32, inverse: f32) {\n    \
                statistics[2u * row] = shift;\n    statistics[2u * row + 1u] = inverse;\n}\n";
            kernel.sections.push(("store_statistics", store.to_owned()));
            kernel.constants.push(("STATISTICS", 1.0));
        }
        self.push_rows(root, id, kernel, 8)
    }

    pub(super) fn layer_norm_statistics(
        &mut self,
        root: usize,
        id: usize,
        epsilon: f32,
    ) -> Result<(), Refused> {
        let mut kernel = self.row_kernel("layer_norm", shaders::LAYER_NORM, root, id);
        let all = [("EPSILON", epsilon.into()), ("OUTPUT", 0.0), ("STATISTICS", 1.0)];
        kernel.constants.extend(all);
        self.bind_rows(&mut kernel, root, id, &["value"]);
        self.push_rows(root, id, kernel, 4)
    }

    pub(super) fn layer_norm_gradient(&mut self, root: usize, id: usize) -> Result<(), Refused> {
        let (name, source) = ("layer_norm_gradient", shaders::LAYER_NORM_GRADIENT);
        let mut kernel = self.row_kernel(name, source, root, id);
        self.bind_rows(&mut kernel, root, id, &["value", "gamma", "upstream", "statistic"]);
        self.epilogue(&mut kernel, root, id);
        self.push_rows(root, id, kernel, 10)
    }

    fn row_kernel(&self, name: &'static str, source: &str, root: usize, id: usize) -> Kernel {
        let (rows, width) = self.rows(self.live.node(id).inputs[0].0);
        let mut kernel = Kernel::new(name, &[shaders::FUNCTIONS, lanes(self.target), source]);
        kernel.constants.extend([("TOTAL_ROWS", rows as f64), ("WIDTH", width as f64)]);
        self.bind_result(&mut kernel, root);
        kernel
    }

    /// The function that reads each input by its flat index.
    fn bind_rows(&mut self, kernel: &mut Kernel, root: usize, id: usize, names: &[&'static str]) {
        let inputs = self.live.node(id).inputs.iter().enumerate();
        for (name, (at, input)) in names.iter().zip(inputs) {
            if matches!(*name, "value" | "upstream") {
                // All lanes read the first element of a row.
                self.bind_row(kernel, root, (id, at), name, false);
                continue;
            }
            let index = Index::flat(&self.live.node(input.0).shape, "i");
            let signature = format!("fn {name}(i: u32) -> f32");
            self.function(kernel, root, name, &signature, input.0, &index);
        }
    }

    /// `each` is how many operations an element takes.
    fn push_rows(
        &mut self,
        root: usize,
        id: usize,
        mut kernel: Kernel,
        each: usize,
    ) -> Result<(), Refused> {
        let (rows, width) = self.rows(self.live.node(id).inputs[0].0);
        let workgroups = self.lanes(&mut kernel, root, (rows, width), 4)?;
        self.push(root, kernel, workgroups, (each * rows * width) as u64)
    }
}
