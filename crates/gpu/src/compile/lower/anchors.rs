//! Softmax, cross-entropy, scatter and their like: kernels with an anchor whose loops are
//! written by hand.
//!
//! Rows are shared by up to 256 lanes, whose results are joined in a tree of fixed shape
//! (`lanes.wgsl`). Lanes hand values on through workgroup memory, where at each barrier eight
//! become one, so that 256 lanes meet three times, and not once for each of the tree's eight
//! levels. Where shaders may use subgroups, there is a second way: lanes of a subgroup hand values
//! on by `subgroupShuffleXor`, which takes no barrier, and 256 lanes of subgroups of 32 meet once.
//! It goes by the fewest invocations that a subgroup may have, so that it is right for subgroups of
//! several sizes too. Software adapters keep a text that waits more often and loads less
//! (`lanes_software.wgsl`), since there each load takes time.
//!
//! On GPUs both ways are one text with other constants, and add the same numbers in the same order.
//! So they give the same bits (but for which NaN a NaN is), and the second one is an alternative to
//! the tuner like any other: taken where it is clearly faster, and where the bits show that the
//! device numbers the invocations of a subgroup as is supposed.

use super::{Kernel, Lowering, Refused, lanes};
use crate::compile::classes::Class;
use crate::compile::expression::{Function, Index};
use crate::compile::wgsl::scalar_type;
use crate::compile::{Alternative, Target, Tuned, Variant};
use warmstart_graph::Shape;
use warmstart_shaders as shaders;

/// How many lanes share a row, of so many rows of a width.
pub(super) fn lanes_of(rows: usize, width: usize, target: Target) -> usize {
    // A lane for every eight elements, unless there are rows enough to keep a device busy.
    let wanted = (width / 8).max(1).next_power_of_two().min(256);
    match rows {
        // Barriers take a software adapter longer to compile than few elements to add up.
        _ if target.is_cpu && rows.saturating_mul(width) <= 1024 => 1,
        16_384.. => wanted.min(8),
        _ => wanted,
    }
}

impl Lowering<'_> {
    /// Lanes and rows of a workgroup for rows of a width, each of which is gone through so many times, and
    /// how many workgroups that takes. The kernel is whole but for that.
    pub(super) fn lanes(
        &self,
        kernel: &mut Kernel,
        root: usize,
        (rows, width): (usize, usize),
        times: usize,
    ) -> Result<[u32; 3], Refused> {
        let lanes = lanes_of(rows, width, self.target);
        let together = (64 / lanes).max(1).min(rows.max(1).next_power_of_two());
        self.carries_out(root, width.div_ceil(lanes).saturating_mul(times))?;
        kernel.constants.push(("LANES", lanes as f64));
        kernel.constants.push(("ROWS", together as f64));
        if kernel.held_in.is_some() {
            kernel.constants.push(("HELD", 1.0));
        }
        let workgroups = self.spread(root, (rows as u64).div_ceil(together as u64))?;
        let class = Class::of_rows(kernel.name, rows, width, lanes);
        self.by_subgroups(kernel, lanes, workgroups, class);
        Ok(workgroups)
    }

    /// The same kernel with lanes that hand on values by their subgroup, where there are such: fewer
    /// barriers, or none. It gives the same bits, if the device numbers the invocations of a subgroup as
    /// all known ones do. So it is one to measure, which is taken only where it is faster and does.
    fn by_subgroups(&self, kernel: &mut Kernel, lanes: usize, workgroups: [u32; 3], class: Class) {
        let size = self.target.least_subgroup.filter(|&size| size > 1 && size.is_power_of_two());
        let size = size.filter(|_| !self.target.is_cpu);
        let Some(size) = size.filter(|_| lanes > 1) else { return };
        let by_subgroup = [("other_lane", shaders::OTHER_LANE.to_owned())];
        let constant = ("SUBGROUP", f64::from(size));
        if self.target.subgroup_rows {
            kernel.sections.extend(by_subgroup);
            kernel.constants.push(constant);
        } else if self.target.alternatives {
            let source = kernel.source_with(&by_subgroup);
            let constants = [&kernel.constants[..], &[constant]].concat();
            let variant = Variant::SubgroupRows;
            let name = kernel.name;
            let other = Alternative { variant, kernel: name, source, constants, workgroups };
            kernel.alternatives.push(other);
            kernel.tuned = Some(Tuned { class, fused: "rows", usual: Variant::Rows });
        }
    }

    /// Rows and width of a tensor seen as rows of its last axis.
    pub(super) fn rows(&self, id: usize) -> (usize, usize) {
        let shape = &self.live.node(id).shape;
        match shape.split_last() {
            Some((&width, rest)) => (Shape::from(rest).elements(), width),
            None => (1, 1),
        }
    }

    pub(super) fn argmax(&mut self, root: usize, id: usize) -> Result<(), Refused> {
        let input = self.live.node(id).inputs[0].0;
        let (rows, width) = self.rows(input);
        let parts = [shaders::FUNCTIONS, lanes(self.target), shaders::ARGMAX];
        let mut kernel = Kernel::new("argmax", &parts);
        kernel.constants.extend([("TOTAL_ROWS", rows as f64), ("WIDTH", width as f64)]);
        self.bind_result(&mut kernel, root);
        let index = Index::flat(&self.live.node(input).shape, "i");
        self.function(&mut kernel, root, "value", "fn value(i: u32) -> f32", input, &index);
        let workgroups = self.lanes(&mut kernel, root, (rows, width), 1)?;
        self.push(root, kernel, workgroups, (rows * width) as u64)
    }

    pub(super) fn softmax(
        &mut self,
        root: usize,
        id: usize,
        logarithm: bool,
    ) -> Result<(), Refused> {
        let input = self.live.node(id).inputs[0].0;
        let (rows, width) = self.rows(input);
        let parts = [shaders::FUNCTIONS, lanes(self.target), shaders::SOFTMAX];
        let mut kernel = Kernel::new("softmax", &parts);
        kernel.constants.extend([
            ("TOTAL_ROWS", rows as f64),
            ("WIDTH", width as f64),
            ("LOGARITHM", f64::from(u8::from(logarithm))),
        ]);
        self.bind_result(&mut kernel, root);
        // The lane that writes an element is also the only one that reads it.
        self.bind_row(&mut kernel, root, (id, 0), "value", true);
        self.epilogue(&mut kernel, root, id);
        let workgroups = self.lanes(&mut kernel, root, (rows, width), 3)?;
        self.push(root, kernel, workgroups, 4 * (rows * width) as u64)
    }

    pub(super) fn cross_entropy(
        &mut self,
        root: usize,
        id: usize,
        smoothing: f32,
        gradient: bool,
    ) -> Result<(), Refused> {
        let mut inputs = self.live.node(id).inputs.clone();
        let (rows, width) = self.rows(inputs[0].0);
        let parts = [shaders::FUNCTIONS, lanes(self.target), shaders::CROSS_ENTROPY];
        let mut kernel = Kernel::new("cross_entropy", &parts);
        kernel.constants.extend([
            ("TOTAL_ROWS", rows as f64),
            ("WIDTH", width as f64),
            ("SMOOTHING", smoothing.into()),
            ("LOSS", f64::from(u8::from(!gradient))),
        ]);
        self.bind_result(&mut kernel, root);
        let carried = self.bind_carried(&mut kernel, root, "gradient");
        if let Some(carried) = carried {
            inputs.push(self.live.node(carried).inputs[2]);
            let store = "fn store_gradient(i: u32, value: f32) {\n    gradient[i] = value;\n}\n";
            kernel.sections.push(("store_gradient", store.to_owned()));
        }
        let both = gradient || carried.is_some();
        kernel.constants.push(("GRADIENT", f64::from(u8::from(both))));
        self.bind_row(&mut kernel, root, (id, 0), "logits", false);
        let signatures =
            [("labels", "fn labels(i: u32) -> i32"), ("upstream", "fn upstream(i: u32) -> f32")];
        for (input, (section, signature)) in inputs[1..].iter().zip(signatures) {
            let index = Index::flat(&self.live.node(input.0).shape, "i");
            // What the gradient's own kernel would compute.
            let owner = carried.filter(|_| section == "upstream").unwrap_or(root);
            self.function(&mut kernel, owner, section, signature, input.0, &index);
        }
        self.epilogue(&mut kernel, root, id);
        let workgroups = self.lanes(&mut kernel, root, (rows, width), 3)?;
        self.push(root, kernel, workgroups, 4 * (rows * width) as u64)
    }

    pub(super) fn scatter(&mut self, root: usize, id: usize) -> Result<(), Refused> {
        let inputs = self.live.node(id).inputs.clone();
        let elements = self.live.elements(id);
        let rows = self.live.node(id).shape[0];
        let width = elements / rows.max(1);
        let count = self.live.elements(inputs[0].0);
        // Each workgroup looks at all indices: where there are many, they are wider.
        let lanes = width.next_power_of_two().min(64);
        let is_small = elements < 65_536 || self.target.is_cpu;
        let columns = if is_small { 1 } else { width.div_ceil(lanes).clamp(1, 4) };
        let blocks = width.div_ceil(lanes * columns).max(1);
        // For each row that a workgroup has more, it goes through the marks of all its rows.
        let most = if count > 16_384 { 1 } else { (rows / 64).isqrt().clamp(1, 16) };
        // All indices may be of one row: then each is gone through in all turns.
        let turns = (self.target.most_rounds() / count.max(1)).clamp(1, most);
        self.carries_out(root, count.saturating_mul(turns))?;
        let groups = rows.div_ceil(64 / lanes * turns).saturating_mul(blocks);
        let mut kernel = Kernel::new("scatter", &[shaders::FUNCTIONS, shaders::SCATTER]);
        kernel.constants.extend([
            ("TABLE_ROWS", rows as f64),
            ("WIDTH", width as f64),
            ("COUNT", count as f64),
            ("LANES", lanes as f64),
            ("COLUMNS", columns as f64),
            ("BLOCKS", blocks as f64),
            ("TURNS", turns as f64),
        ]);
        self.bind_result(&mut kernel, root);
        let indices = inputs[0].0;
        let index = Index::flat(&self.live.node(indices).shape, "i");
        // A negative index becomes a large one, which is no row.
        let from = scalar_type(self.live.node(indices).dtype);
        let signature = format!("fn index_of(i: u32) -> {from}");
        let function = Function::new(self.live, self.fused, &mut kernel.bindings, root, None);
        let mut text = function.write(&signature, indices, &index);
        text.push_str("fn indices(i: u32) -> u32 {\n    return u32(index_of(i));\n}\n");
        kernel.sections.push(("indices", text));
        let values = inputs[1].0;
        let index = Index::flat(&self.live.node(values).shape, "i");
        self.function(&mut kernel, root, "value", "fn value(i: u32) -> f32", values, &index);
        self.epilogue(&mut kernel, root, id);
        let workgroups = self.spread(root, groups as u64)?;
        self.push(root, kernel, workgroups, count as u64 * (groups + width) as u64)
    }
}
