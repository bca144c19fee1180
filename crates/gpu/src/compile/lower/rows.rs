//! How kernels get at the rows that they read several times.
//!
//! Where rows are held (`fuse/rows.rs`), the kernel has two functions for them: `hold` computes an element
//! and stores it, and the one that later passes call loads it. Each lane calls both for its own elements
//! alone, so that there is no barrier between them. The same lane writes these elements of the result, so
//! that the epilogue loads them, too, where it reads the rows.

use super::{Kernel, Lowering};
use crate::compile::Access;
use crate::compile::expression::{Function, Index, Keep};
use crate::compile::fuse::base;
use warmstart_graph::{DType, Op};

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
        let signature = format!("fn {name}(i: u32) -> f32");
        let index = Index::flat(&self.live.node(input).shape, "i");
        if self.fused.held.contains(&(id, at)) {
            return self.bind_held(kernel, root, (id, input), name, &index);
        }
        let function = Function::new(self.live, self.fused, &mut kernel.bindings, root, None);
        let text = function.of_own_element(is_own).write(&signature, input, &index);
        kernel.sections.push((name, text));
    }

    /// The functions `hold` and `name` for the rows `input` of the anchor `id`, which are held.
    fn bind_held(
        &mut self,
        kernel: &mut Kernel,
        root: usize,
        (id, input): (usize, usize),
        name: &'static str,
        index: &Index,
    ) {
        // Whether the lane that has an element of the rows writes that of the result.
        let gives_rows = !matches!(
            self.live.node(id).op,
            Op::SoftmaxCrossEntropy { .. } | Op::LayerNormStatistics { .. }
        );
        let keeps = self.bind_kept(kernel, root);
        let base = base(self.live, input);
        let kept = keeps.iter().find(|keep| keep.node == base && !keep.rounds);
        let kept = kept.map(|keep| keep.name.clone());
        // What is kept its function stores itself.
        let is_kept = kept.is_some();
        let store = kept.unwrap_or_else(|| self.own_store(kernel, root, input, gives_rows));
        let function = Function::new(self.live, self.fused, &mut kernel.bindings, root, None);
        let function = function.of_own_element(gives_rows).keeping(keeps.clone());
        let (mut text, rest) = function.write_with_rest("fn computed(i: u32) -> f32", input, index);
        text += &format!("fn {name}(i: u32) -> f32 {{\n    return {store}[i];\n}}\n");
        kernel.sections.push((name, text));
        let to = if is_kept { "_".to_owned() } else { format!("{store}[i]") };
        let hold = format!("fn hold(i: u32) {{\n    {to} = computed(i);\n}}\n");
        kernel.sections.push(("hold", hold));
        if gives_rows {
            let is_stored = |keep: &&Keep| !rest.iter().any(|other| other.name == keep.name);
            for keep in keeps.iter().filter(is_stored).filter(|keep| !keep.rounds) {
                kernel.stored.insert(keep.node, format!("{}[i]", keep.name));
            }
            let mut id = input;
            kernel.stored.insert(id, format!("{store}[i]"));
            while matches!(self.live.node(id).op, Op::Reshape(_)) {
                id = self.live.node(id).inputs[0].0;
                kernel.stored.insert(id, format!("{store}[i]"));
            }
        }
        kernel.keeps = Some(rest);
        kernel.held_in = Some(store);
    }

    /// Where a kernel holds rows that nobody else reads: in its result, if it is of their shape, or in memory
    /// of its own.
    fn own_store(
        &mut self,
        kernel: &mut Kernel,
        root: usize,
        input: usize,
        gives_rows: bool,
    ) -> String {
        if gives_rows && self.live.node(root).dtype == DType::F32 {
            return "result".to_owned();
        }
        let place = self.scratch(self.live.elements(input) as u64 * 4);
        kernel.bindings.bind("held", place, Access::Write, "f32");
        "held".to_owned()
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
