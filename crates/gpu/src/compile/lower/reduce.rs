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
pub(super) fn slices(rows: usize, count: usize, target: Target) -> Option<usize> {
    let (enough, shortest) = if target.is_cpu { (8, 16_384) } else { (256, 4096) };
    // Rows that long have a workgroup each.
    let slices = (enough / rows.max(1)).min(count / shortest);
    // Of rows that are longer than loops of their lanes may be, as many as that takes. They have 256 lanes
    // each: those of fewer are so many that, with 2^32 elements in all at most, they are short enough.
    let needed = count / target.most_rounds().saturating_mul(256) + 1;
    (slices >= 4 || needed > 1).then_some(slices.max(needed))
}

/// Rows of so many elements, each of which is reduced to one result.
pub(super) struct Rows {
    pub reduction: Reduction,
    pub results: usize,
    pub count: usize,
}

/// Writes the function of a name that finds the element `k` of those that make the result `i`.
pub(super) type Element<'a> = &'a dyn Fn(&mut Kernel, &str) -> String;

pub(super) fn kernel_of(
    results: usize,
    count: usize,
    reduction: Reduction,
    target: Target,
) -> Kernel {
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
        let extents: Vec<usize> = axes.iter().map(|&axis| shape[axis]).collect();
        let count = Shape::from(extents).elements();
        let index = index_of(&shape, axes, results, count);
        let (live, fused) = (self.live, self.fused);
        let write = |kernel: &mut Kernel, name: &str, input: usize| {
            if shape.elements() == 0 {
                // It is never called. Strides beside an extent of 0 may be more than an index holds.
                return format!("fn {name}(i: u32, k: u32) -> f32 {{\n    return 0.0;\n}}\n");
            }
            let function = Function::new(live, fused, &mut kernel.bindings, root, None);
            function.write(&format!("fn {name}(i: u32, k: u32) -> f32"), input, &index)
        };
        let first = |kernel: &mut Kernel, name: &str| write(kernel, name, input);
        let carried = self.carried.get(&root).copied();
        let other = carried.and_then(|carried| live.inputs(fused.anchor[carried]?).next());
        let second =
            other.map(|input| move |kernel: &mut Kernel, name: &str| write(kernel, name, input));
        let second = second.as_ref().map(|second| second as Element<'_>);
        if let Some(slices) = slices(results, count, self.target) {
            let rows = Rows { reduction, results, count };
            let elements: Vec<Element<'_>> =
                [&first as Element<'_>].into_iter().chain(second).collect();
            return self.sliced_reduce(root, id, rows, slices, &elements);
        }
        let mut kernel = kernel_of(results, count, reduction, self.target);
        self.bind_result(&mut kernel, root);
        let value = first(&mut kernel, "value");
        kernel.sections.push(("value", value));
        self.epilogue(&mut kernel, root, id);
        if let Some(second) = second {
            let store = self.store_second(&mut kernel, root);
            let text = second(&mut kernel, "second");
            kernel.sections.push(("second", text + &store));
        }
        let workgroups = self.lanes(&mut kernel, root, (results, count), 1)?;
        let sums = if carried.is_some() { 2 } else { 1 };
        self.push(root, kernel, workgroups, sums * shape.elements() as u64)
    }

    /// Has a kernel write a second sum, and gives the function that does.
    fn store_second(&self, kernel: &mut Kernel, root: usize) -> String {
        let Some(carried) = self.bind_carried(kernel, root, "second_result") else {
            return String::new();
        };
        kernel.constants.push(("SECOND", 1.0));
        let (finish, total) = self.carried_epilogue(kernel, carried, "i");
        format!(
            "{finish}fn store_second(i: u32, total: f32) {{\n    \
                second_result[i] = {total};\n}}\n"
        )
    }

    /// Few results of many elements each: slices of a row are rows of their own, and a second kernel
    /// reduces what they come to. So it does with a sum that is made on the way, which is the second of the
    /// `elements`.
    pub(super) fn sliced_reduce(
        &mut self,
        root: usize,
        id: usize,
        rows: Rows,
        slices: usize,
        elements: &[Element<'_>],
    ) -> Result<(), Refused> {
        let Rows { reduction, results, count } = rows;
        let length = count.div_ceil(slices);
        let nothing = match reduction {
            Reduction::Max => "from_bits(0xff800000u)",
            Reduction::Sum => "0.0",
        };
        let mut kernel = kernel_of(results * slices, length, reduction, self.target);
        kernel.label = Some(format!("{} of slices", self.live.node(id).op.name()));
        let mut parts = Vec::new();
        let names = [("value", "result"), ("second", "second_result")];
        for ((name, result), element) in names.into_iter().zip(elements) {
            let part = self.scratch((results * slices * 4) as u64);
            kernel.bindings.bind(result, part, Access::Write, "f32");
            let own = format!("{name}_of_row");
            // The last slice may be shorter.
            let mut text = element(&mut kernel, &own);
            text.push_str(&format!(
                "fn {name}(i: u32, k: u32) -> f32 {{\n    \
                    let at = i % {slices}u * {length}u + k;\n    \
                    if (at >= {count}u) {{\n        return {nothing};\n    }}\n    \
                    return {own}(i / {slices}u, at);\n}}\n"
            ));
            if !parts.is_empty() {
                kernel.constants.push(("SECOND", 1.0));
                text.push_str(
                    "fn store_second(i: u32, total: f32) {\n    second_result[i] = total;\n}\n",
                );
            }
            kernel.sections.push((name, text));
            parts.push(part);
        }
        let operations = (results * count * parts.len()) as u64;
        let workgroups = self.lanes(&mut kernel, root, (results * slices, length), 1)?;
        self.push(root, kernel, workgroups, operations)?;

        let mut kernel = kernel_of(results, slices, reduction, self.target);
        self.bind_result(&mut kernel, root);
        for ((name, _), (at, part)) in names.into_iter().zip(parts.iter().enumerate()) {
            let buffer = format!("parts{at}");
            kernel.bindings.bind(&buffer, *part, Access::Read, "f32");
            let mut text = format!(
                "fn {name}(i: u32, k: u32) -> f32 {{\n    \
                    return {buffer}[i * {slices}u + k];\n}}\n"
            );
            if at > 0 {
                text.push_str(&self.store_second(&mut kernel, root));
            }
            kernel.sections.push((name, text));
        }
        self.epilogue(&mut kernel, root, id);
        let workgroups = self.lanes(&mut kernel, root, (results, slices), 1)?;
        self.push(root, kernel, workgroups, (results * slices * parts.len()) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::super::anchors::lanes_of;
    use super::*;

    /// Whatever the rows of a tensor, which has fewer than 2^32 elements, each loop of the kernel is one
    /// that a software driver carries out, and so is that of the kernel that reduces slices.
    #[test]
    fn no_row_is_longer_than_loops_may_be() {
        let target = Target { is_cpu: true, ..Target::GPU };
        let most = target.most_rounds();
        let mut longest = 0;
        for rows in (0..32).flat_map(|bits| [(1 << bits) - 1, 1 << bits, (1 << bits) + 1]) {
            let largest = (u32::MAX as usize).checked_div(rows).unwrap_or(0);
            let limit = most * 256;
            let edges = [1, 2, 3, 7, 100, 279].map(|times| [times * limit - 1, times * limit]);
            let widths = (0..32).map(|bits| largest >> bits).chain(edges.into_iter().flatten());
            for width in widths.filter(|&width| (1..=largest).contains(&width)) {
                let rounds = |rows, width: usize| width.div_ceil(lanes_of(rows, width, target));
                let rounds = match slices(rows, width, target) {
                    Some(slices) => {
                        let sliced = rounds(rows * slices, width.div_ceil(slices));
                        sliced.max(rounds(rows, slices))
                    }
                    None => rounds(rows, width),
                };
                assert!(rounds <= most, "{rows} rows of {width}: {rounds}");
                longest = longest.max(rounds);
            }
        }
        assert!(longest * 10 > most * 9, "none of these is long: {longest}");
    }
}
