//! Small weights and inputs that are rounded to 16 bits: several in one dispatch.
//!
//! In mixed precision each layer's product reads its weight rounded, which no kernel before has computed. A
//! dispatch for each would take longer to begin than to do. They are there before the run, so several are
//! rounded where the first of them is wanted; large ones are not, nor too many, which would only lie in
//! memory for longer.

use super::kernel::{Kernel, write_together};
use super::{Lowering, Refused, listed};
use crate::compile::expression::{Function, Index};
use crate::compile::fuse::Fused;
use crate::compile::simplify::Live;
use crate::compile::wgsl::stored_type;
use crate::compile::{Access, Target};
use warmstart_graph::{DType, Op};
use warmstart_shaders as shaders;

/// The most elements of one that is rounded with others.
const MOST_ELEMENTS: usize = 1 << 19;

/// The most elements of all that are rounded together: they lie in memory from the first on.
const MOST_TOGETHER: usize = 1 << 21;

/// The most that are rounded together: each invocation looks for its own.
const MOST_CASTS: usize = 16;

/// Groups of at least two casts whose inputs are there before the run, each of as many as one kernel binds.
pub(super) fn groups(live: &Live, fused: &Fused, target: Target) -> Vec<Vec<usize>> {
    let is_cast = |&id: &usize| match live.node(id).op {
        Op::Cast(dtype) => {
            let input = live.node(id).inputs[0].0;
            fused.kernel[id] == Some(id)
                && fused.anchor[id].is_none()
                && !fused.kept.contains_key(&id)
                && dtype.is_half()
                && live.node(input).dtype == DType::F32
                && live.is_leaf(input)
                && (1..=MOST_ELEMENTS).contains(&live.elements(id))
        }
        _ => false,
    };
    let casts: Vec<usize> = (0..live.nodes.len()).filter(is_cast).collect();
    let most = (target.storage_buffers / 2).clamp(1, MOST_CASTS);
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut elements = 0;
    for id in casts {
        elements += live.elements(id);
        match groups.last_mut().filter(|group| group.len() < most && elements <= MOST_TOGETHER) {
            Some(group) => group.push(id),
            None => {
                elements = live.elements(id);
                groups.push(vec![id]);
            }
        }
    }
    groups.retain(|group| group.len() > 1);
    groups
}

impl Lowering<'_> {
    pub(super) fn cast_together(&mut self, casts: &[usize]) -> Result<(), Refused> {
        let parts = [shaders::FUNCTIONS, shaders::HALF, shaders::ELEMENTWISE];
        let mut kernel = Kernel::new("elementwise", &parts);
        let (mut values, mut write) = (String::new(), "fn write(i: u32) {\n".to_owned());
        let mut from = 0;
        for (at, &id) in casts.iter().enumerate() {
            let node = self.live.node(id);
            let (result, value) = (format!("result{at}"), format!("value{at}"));
            let place = self.fused.place(self.live, id);
            kernel.bindings.bind(&result, place, Access::Write, stored_type(node.dtype));
            let index = Index::flat(&node.shape, "i");
            let function = Function::new(self.live, self.fused, &mut kernel.bindings, id, None);
            values += &function.write(&format!("fn {value}(i: u32) -> f32"), id, &index);
            let elements = self.live.elements(id);
            let (own, words) =
                write_together(node.dtype, elements, [&format!("write{at}"), &value, &result]);
            values += &own;
            let end = from + words;
            write += &format!(
                "    if (i >= {from}u && i < {end}u) {{\n        write{at}(i - {from}u);\n    }}\n"
            );
            from = end;
        }
        kernel.sections.push(("value", values));
        kernel.sections.push(("write", write + "}\n"));
        kernel.constants.push(("ELEMENTS", from as f64));
        kernel.label = Some(listed(&vec!["cast".to_owned(); casts.len()]));
        let workgroups = self.spread(casts[0], (from as u64).div_ceil(64))?;
        self.push(casts[0], kernel, workgroups, 0)
    }
}
