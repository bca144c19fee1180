//! How kernels get at the rows that they read several times.
//!
//! Where rows are held (`fuse/rows.rs`), the kernel has two functions for them: `hold` computes an element
//! and stores it, and the one that later passes call loads it. Each lane calls both for its own elements
//! alone, so that there is no barrier between them.

use super::{Kernel, Lowering};
use crate::compile::Access;
use crate::compile::expression::{Function, Index, Keep};
use crate::compile::fuse::base;
use warmstart_graph::{DType, Op};

impl Kernel {
    /// Has it hold its rows, if it does.
    pub(super) fn hold(&mut self) {
        if self.holds.is_empty() {
            return;
        }
        let calls = self.holds.iter().map(|name| format!("    {name}(i);\n"));
        let text = format!("fn hold(i: u32) {{\n{}}}\n", calls.collect::<String>());
        self.sections.push(("hold", text));
        self.constants.push(("HELD", 1.0));
    }
}

impl Lowering<'_> {
    /// The function `name`, which reads an element of the rows that are an anchor's input number `at`, by
    /// its flat index. `is_own` says whether the lane that writes an element of the result is the only one
    /// that reads it.
    pub(super) fn bind_row(
        &mut self,
        kernel: &mut Kernel,
        root: usize,
        (id, at): (usize, usize),
        name: &'static str,
        is_own: bool,
    ) {
        let input = self.live.node(id).inputs[at].0;
        let index = Index::flat(&self.live.node(input).shape, "i");
        let is_held = self.fused.held.contains(&(id, at));
        // What is held is computed by the lane that has the element.
        let gives_rows = !matches!(
            self.live.node(id).op,
            Op::SoftmaxCrossEntropy { .. } | Op::LayerNormStatistics { .. }
        );
        let is_own = is_own || is_held && gives_rows;
        let keeps = if is_held { self.bind_kept(kernel, root) } else { Vec::new() };
        let base = base(self.live, input);
        let kept = keeps.iter().find(|keep| keep.node == base && !keep.rounds);
        let store = match kept {
            _ if !is_held => None,
            Some(keep) => Some(keep.name.clone()),
            None => Some(self.own_store(kernel, root, input, gives_rows)),
        };
        let computed = if is_held { format!("computed_{name}") } else { name.to_owned() };
        let is_stored = kept.is_some();
        let function = Function::new(self.live, self.fused, &mut kernel.bindings, root, None);
        let function = function.of_own_element(is_own).keeping(keeps);
        let mut text = function.write(&format!("fn {computed}(i: u32) -> f32"), input, &index);
        if let Some(store) = store {
            let hold = format!("hold_{name}");
            // What is kept its function stores itself.
            let to = if is_stored { "_".to_owned() } else { format!("{store}[i]") };
            text += &format!("fn {hold}(i: u32) {{\n    {to} = {computed}(i);\n}}\n");
            text += &format!("fn {name}(i: u32) -> f32 {{\n    return {store}[i];\n}}\n");
            kernel.holds.push(hold);
        }
        kernel.sections.push((name, text));
    }

    /// Where a kernel holds rows that nobody else reads: in its result, if it is of their shape and no
    /// others are there, or in memory of its own.
    fn own_store(
        &mut self,
        kernel: &mut Kernel,
        root: usize,
        input: usize,
        gives_rows: bool,
    ) -> String {
        let is_float = self.live.node(root).dtype == DType::F32;
        if gives_rows && is_float && !kernel.holds_in_result {
            kernel.holds_in_result = true;
            return "result".to_owned();
        }
        let place = self.scratch(self.live.elements(input) as u64 * 4);
        let name = format!("held{}", kernel.holds.len());
        kernel.bindings.bind(&name, place, Access::Write, "f32");
        name
    }

    /// Binds what a kernel stores beside the value of its root.
    pub(super) fn bind_kept(&self, kernel: &mut Kernel, root: usize) -> Vec<Keep> {
        if let Some(keeps) = &kernel.keeps {
            return keeps.clone();
        }
        let kept = self.fused.kept.get(&root).into_iter().flatten();
        let keeps = kept.enumerate().map(|(at, &id)| {
            let node = self.live.node(id);
            let rounds = node.dtype.is_half();
            let element = if rounds { "f16" } else { super::stored_type(node.dtype) };
            let name = format!("kept{at}");
            kernel.bindings.bind(&name, self.fused.place(self.live, id), Access::Write, element);
            Keep { node: if rounds { node.inputs[0].0 } else { id }, name, rounds }
        });
        let keeps: Vec<Keep> = keeps.collect();
        kernel.keeps = Some(keeps.clone());
        keeps
    }
}
