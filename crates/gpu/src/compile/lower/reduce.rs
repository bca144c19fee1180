//! Sums and maxima over axes.
//!
//! Few results that each are reduced from many elements, as the mean of all is, are cut in slices,
//! which are rows of their own for the same kernel; a second dispatch of it reduces what those come
//! to, in order.

use super::{Kernel, Lowering, Refused, lanes};
use crate::compile::expression::{Function, Index};
use crate::compile::{Access, Target};
use warmstart_graph::Shape;
use warmstart_graph::ops::Reduction;
use warmstart_shaders as shaders;

/// Into how many slices to cut rows whose workgroups are too few to keep a device busy: that many
/// workgroups in all, or slices that are still worth the second dispatch.
fn slices(rows: usize, count: usize, target: Target) -> Option<usize> {
    let (enough, shortest) = if target.is_cpu { (8, 16_384) } else { (256, 4096) };
    // Rows that long have a workgroup each.
    let slices = (enough / rows.max(1)).min(count / shortest);
    (slices >= 4).then_some(slices)
}

fn kernel_of(results: usize, count: usize, reduction: Reduction, target: Target) -> Kernel {
    let parts = [shaders::FUNCTIONS, lanes(target), shaders::REDUCE];
    let mut kernel = Kernel::new("reduce", &parts);
    kernel.constants.extend([
        ("RESULTS", results as f64),
        ("COUNT", count as f64),
        ("MAXIMUM", f64::from(u8::from(reduction == Reduction::Max))),
    ]);
    kernel
}

/// The element of a tensor that is number `k` of those that make the result `i`.
fn index_of(shape: &Shape, axes: &[usize], results: usize, count: usize) -> Index {
    let kept: Vec<usize> = (0..shape.rank()).filter(|axis| !axes.contains(axis)).collect();
    let trailing = kept.iter().enumerate().all(|(at, &axis)| at == axis);
    let leading = axes.iter().enumerate().all(|(at, &axis)| at == axis);
    if trailing {
        return Index::flat(shape, &format!("(i * {count}u + k)"));
    }
    if leading {
        return Index::flat(shape, &format!("(k * {results}u + i)"));
    }
    let mut coordinates = vec![String::new(); shape.rank()];
    for (axes, offset) in [(&kept[..], "i"), (axes, "k")] {
        let own = Shape::from(axes.iter().map(|&axis| shape[axis]).collect::<Vec<_>>());
        for ((&axis, stride), &extent) in axes.iter().zip(own.strides()).zip(own.iter()) {
            // Of nothing, nothing is read.
            let (stride, extent) = (stride.max(1), extent.max(1));
            coordinates[axis] = format!("({offset} / {stride}u % {extent}u)");
        }
    }
    Index::at(shape, coordinates)
}

impl Lowering<'_> {
    pub(super) fn reduce(
        &mut self,
        root: usize,
        id: usize,
        reduction: Reduction,
        axes: &[usize],
    ) -> Result<(), Refused> {
        let input = self.live.node(id).inputs[0].0;
        let shape = self.live.node(input).shape.clone();
        let results = self.live.elements(id);
        let count: usize = axes.iter().map(|&axis| shape[axis]).product();
        let index = index_of(&shape, axes, results, count);
        if let Some(slices) =
            slices(results, count, self.target).filter(|_| !self.carried.contains_key(&root))
        {
            return self.sliced_reduce(root, id, reduction, [results, count, slices], &index);
        }
        let mut kernel = kernel_of(results, count, reduction, self.target);
        self.bind_result(&mut kernel, root);
        let signature = "fn value(i: u32, k: u32) -> f32";
        self.function(&mut kernel, root, "value", signature, input, &index);
        self.epilogue(&mut kernel, root, id);
        if let Some(carried) = self.bind_carried(&mut kernel, root, "second_result") {
            let anchor = self.fused.anchor[carried].unwrap_or(carried);
            let second = self.live.node(anchor).inputs[0].0;
            let bindings = &mut kernel.bindings;
            let function = Function::new(self.live, self.fused, bindings, root, None);
            let mut text = function.write("fn second(i: u32, k: u32) -> f32", second, &index);
            let (finish, total) = self.carried_epilogue(&mut kernel, carried, "i");
            text.push_str(&finish);
            text.push_str("fn store_second(i: u32, total: f32) {\n    ");
            text.push_str(&format!("second_result[i] = {total};\n}}\n"));
            kernel.sections.push(("second", text));
            kernel.constants.push(("SECOND", 1.0));
        }
        let workgroups = self.lanes(&mut kernel, root, results, count)?;
        self.push(root, kernel, workgroups, shape.elements() as u64)
    }

    /// Few results of many elements each: slices of a row are rows of their own, and a second kernel
    /// reduces what they come to.
    fn sliced_reduce(
        &mut self,
        root: usize,
        id: usize,
        reduction: Reduction,
        [results, count, slices]: [usize; 3],
        index: &Index,
    ) -> Result<(), Refused> {
        let input = self.live.node(id).inputs[0].0;
        let length = count.div_ceil(slices);
        let parts = self.scratch((results * slices * 4) as u64);
        let mut kernel = kernel_of(results * slices, length, reduction, self.target);
        kernel.label = Some(format!("{} of slices", self.live.node(id).op.name()));
        kernel.bindings.bind("result", parts, Access::Write, "f32");
        let bindings = &mut kernel.bindings;
        let function = Function::new(self.live, self.fused, bindings, root, None);
        let element = function.write("fn element(i: u32, k: u32) -> f32", input, index);
        let nothing = match reduction {
            Reduction::Max => "from_bits(0xff800000u)",
            Reduction::Sum => "0.0",
        };
        // The last slice may be shorter.
        let value = format!(
            "{element}fn value(i: u32, k: u32) -> f32 {{\n    \
                let at = i % {slices}u * {length}u + k;\n    \
                if (at >= {count}u) {{\n        return {nothing};\n    }}\n    \
                return element(i / {slices}u, at);\n}}\n"
        );
        kernel.sections.push(("value", value));
        let workgroups = self.lanes(&mut kernel, root, results * slices, length)?;
        self.push(root, kernel, workgroups, (results * count) as u64)?;

        let mut kernel = kernel_of(results, slices, reduction, self.target);
        self.bind_result(&mut kernel, root);
        kernel.bindings.bind("parts", parts, Access::Read, "f32");
        let value = format!(
            "fn value(i: u32, k: u32) -> f32 {{\n    return parts[i * {slices}u + k];\n}}\n"
        );
        kernel.sections.push(("value", value));
        self.epilogue(&mut kernel, root, id);
        let workgroups = self.lanes(&mut kernel, root, results, slices)?;
        self.push(root, kernel, workgroups, (results * slices) as u64)
    }
}
