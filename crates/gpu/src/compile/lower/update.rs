//! What ends a training step: the packed gradients, their global norm, and the optimizer.

use super::{Kernel, Lowering, Refused};
use crate::compile::expression::Index;
use crate::compile::simplify::Live;
use crate::compile::{Access, Place, Step};
use std::collections::BTreeMap;
use warmstart_graph::ops::{OptimizerUpdate, Rule};
use warmstart_graph::{Op, Shape};
use warmstart_shaders as shaders;

/// Elements of a packed value begin at multiples of this many bytes.
const PACK_ALIGNMENT: u64 = 256;
/// Elements that one workgroup of the norm or the optimizer works on.
pub(crate) const BLOCK: u64 = 1024;

/// Places the inputs of norms and optimizers one after the other.
pub(super) fn pack(live: &Live) -> BTreeMap<usize, (u64, u64)> {
    let mut packed = BTreeMap::new();
    let mut offset = 0;
    for node in &live.nodes {
        let skip = match &node.op {
            Op::GlobalNorm => 0,
            Op::OptimizerUpdate(update) => update.scalars(),
            _ => continue,
        };
        for input in &node.inputs[skip..] {
            packed.entry(input.0).or_insert_with(|| {
                let bytes = live.elements(input.0) as u64 * 4;
                let start = offset;
                offset += bytes.max(1).next_multiple_of(PACK_ALIGNMENT);
                (start, bytes)
            });
        }
    }
    packed
}

impl Lowering<'_> {
    pub(super) fn global_norm(&mut self, root: usize, id: usize) -> Result<(), Refused> {
        let mut blocks: Vec<u32> = Vec::new();
        for input in self.live.inputs(id) {
            let (offset, bytes) = self.lowered.packed[&input];
            let (start, length) = (offset / 4, bytes / 4);
            for block in 0..length.div_ceil(BLOCK) {
                let done = block * BLOCK;
                blocks.extend([(start + done) as u32, (length - done).min(BLOCK) as u32]);
            }
        }
        let count = blocks.len() / 2;
        // Even of nothing there is a norm, and no table can be empty.
        let sums = self.scratch(count.max(1) as u64 * 4);
        if count > 0 {
            self.lowered.tables.push(blocks);
            let table = Place::Table(self.lowered.tables.len() - 1);
            let parts = [shaders::FUNCTIONS, shaders::LANES, shaders::SQUARES];
            let mut kernel = Kernel::new("squares", &parts);
            kernel.label = Some(format!("squares of {}", self.live.node(id).op.name()));
            kernel.constants.extend([("BLOCKS", count as f64), ("LANES", 64.0), ("ROWS", 1.0)]);
            kernel.bindings.bind("blocks", table, Access::Read, "vec2<u32>");
            kernel.bindings.bind("values", Place::Packed, Access::Read, "f32");
            kernel.bindings.bind("sums", sums, Access::Write, "f32");
            let workgroups = self.spread(root, count as u64)?;
            let elements: usize = self.live.inputs(id).map(|input| self.live.elements(input)).sum();
            self.push(root, kernel, workgroups, 2 * elements as u64)?;
        }
        let parts = [shaders::FUNCTIONS, shaders::LANES, shaders::REDUCE];
        let mut kernel = Kernel::new("reduce", &parts);
        kernel.constants.extend([("RESULTS", 1.0), ("COUNT", count as f64), ("MAXIMUM", 0.0)]);
        self.bind_result(&mut kernel, root);
        kernel.bindings.bind("sums", sums, Access::Read, "f32");
        let value = "fn value(i: u32, k: u32) -> f32 {\n    return sums[k];\n}\n";
        kernel.sections.push(("value", value.to_owned()));
        let finish = "fn finish(total: f32) -> f32 {\n    return sqrt(total);\n}\n";
        kernel.sections.push(("finish", finish.to_owned()));
        self.epilogue(&mut kernel, root, id);
        let workgroups = self.lanes(&mut kernel, root, 1, count)?;
        self.push(root, kernel, workgroups, count as u64)
    }

    pub(super) fn optimizer(
        &mut self,
        root: usize,
        id: usize,
        update: &OptimizerUpdate,
    ) -> Result<(), Refused> {
        let inputs = self.live.node(id).inputs.clone();
        let parts = [shaders::FUNCTIONS, shaders::LOSS_SCALE, shaders::OPTIMIZER_SCALARS];
        let mut kernel = Kernel::new("optimizer_scalars", &parts);
        if let Rule::Adam { beta1, beta2, .. } = update.rule {
            // The logarithm of 0 is not finite, and constants must be; of this, too, e^x is 0.
            let log = |beta: f64| beta.ln().max(-1e4);
            kernel.constants.extend([("LOG_BETA1", log(beta1)), ("LOG_BETA2", log(beta2))]);
        }
        // Optimizers that share a global step raise it by one together. None of them reads it after
        // that: where there are several updates, learning rates are values of their own.
        let counts = self.counted.insert(update.global_step);
        kernel.constants.push(("COUNTS", f64::from(u8::from(counts))));
        let scalars = self.scratch(20);
        let (step, global_step) =
            (Place::Variable(update.step), Place::Variable(update.global_step));
        kernel.bindings.bind("result", scalars, Access::Write, "f32");
        kernel.bindings.bind("step", step, Access::Write, "u32");
        // A schedule inside this kernel reads the global step through this binding, too.
        kernel.bindings.bind("global_step", global_step, Access::Write, "u32");
        if let Some(loss_scale) = &update.loss_scale {
            let (growth, backoff, interval) = loss_scale.scaling.numbers();
            kernel.constants.extend([
                ("GROWTH_FACTOR", growth.into()),
                ("BACKOFF_FACTOR", backoff.into()),
                ("GROWTH_INTERVAL", interval.into()),
            ]);
            // The factor reads the scale through this binding.
            let [scale, good_steps] =
                [loss_scale.scale, loss_scale.good_steps].map(Place::Variable);
            kernel.bindings.bind("loss_scale", scale, Access::Write, "f32");
            kernel.bindings.bind("good_steps", good_steps, Access::Write, "u32");
            let count = "fn count_scale(applied: bool) {\n    \
                let next = next_loss_scale(loss_scale[0], good_steps[0], applied);\n    \
                loss_scale[0] = next.scale;\n    good_steps[0] = next.good_steps;\n}\n";
            kernel.sections.push(("count_scale", count.to_owned()));
        }
        let sections = ["learning_rate", "gradient_factor", "gradient_norm"];
        for (at, section) in sections.into_iter().take(update.scalars()).enumerate() {
            let index = Index::flat(&Shape::scalar(), "0u");
            let signature = format!("fn {section}(i: u32) -> f32");
            self.function(&mut kernel, root, section, &signature, inputs[at].0, &index);
        }
        self.push(root, kernel, [1, 1, 1], 0)?;
        let gradients = inputs[update.scalars()..]
            .iter()
            .map(|input| self.lowered.packed[&input.0].0 / 4)
            .collect();
        let update = update.clone();
        self.lowered.steps.push(Step::Optimizer { update, scalars, gradients });
        Ok(())
    }
}
