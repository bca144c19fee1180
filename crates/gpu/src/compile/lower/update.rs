//! What ends a training step: the packed gradients, their global norm, and the optimizer.
//!
//! An optimizer's update is two steps. The first reads all that changes from step to step and is no
//! gradient, and writes scalars; where the update computes a norm itself, it also sums up squares. The
//! second writes parameters, slots and counters. All first steps of a run come before all second ones, so
//! that whatever they share, as several optimizers do the global step, is read before it is written.
//!
//! `squares.wgsl` sums up the squares of all gradients in blocks, at most 1,024 sums, and one more
//! workgroup computes what does not depend on the norm (`optimizer_scalars.wgsl`: the schedule,
//! Adam's corrections); without a norm the first step is that one invocation. Software adapters
//! make 16 sums, or one of every 512 blocks, which each invocation adds up without a barrier.
//! Gradients that one binding does not hold lie in several regions, of which each has a dispatch
//! with as many sums. In the second step, `optimizer.wgsl`, each workgroup adds up all sums in the
//! same order, computes what follows from the norm, as the factor of clipping is and whether the
//! norm is finite, by its bits, and updates its blocks. One invocation of all raises the counters
//! and sets the loss's scale, which nobody else reads in that dispatch.
//!
//! One dispatch would do if a workgroup could wait for all others, which WebGPU does not have; and
//! a dispatch of one workgroup between the two, for the root and the factor, would be mostly
//! waiting. A norm that is fetched is written by the second kernel on the way, and one that other
//! kernels read has kernels of its own, before the update.

use super::{Kernel, Lowering, Refused};
use crate::compile::bindings::Bindings;
use crate::compile::expression::{Function, Index};
use crate::compile::simplify::Live;
use crate::compile::{Access, Gradients, Part, Place, Target};
use crate::device::ALIGNMENT;
use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;
use warmstart_graph::Op;
use warmstart_graph::ops::{OptimizerUpdate, Rule};
use warmstart_shaders as shaders;

/// The most bytes that kernels load at once.
pub(crate) const WIDEST: u64 = 16;
/// Elements that one workgroup of the norm or the optimizer works on at a time.
pub(crate) const BLOCK: u64 = 1024;
/// The most blocks of a sum, or of a workgroup of the optimizer, on software adapters, whose lanes
/// take 64 rounds for each ([`Target::most_rounds`]).
pub(crate) const MOST_BLOCKS: usize = 512;
/// Where the values that an update reads begin among its scalars: Adam's corrections come first.
const VALUES: usize = 2;

/// The second step of an optimizer's update.
#[derive(Clone, Debug)]
pub(crate) struct OptimizerStep {
    pub update: OptimizerUpdate,
    /// What the first step wrote.
    pub scalars: Place,
    /// Where each parameter's gradient lies, which is one of those packed.
    pub gradients: Vec<Part>,
    /// How many sums of squares there are, and what else the kernel has for constants.
    pub constants: Vec<(&'static str, f64)>,
    /// Functions of the norm, and what one invocation writes.
    pub sections: Vec<(&'static str, String)>,
    /// Where that is: counters, the scale of the loss, and what is fetched of what follows from the norm.
    pub counted: Vec<(String, Place, &'static str)>,
}

impl OptimizerStep {
    /// Every place that it uses.
    pub fn uses(&self) -> Vec<(Place, Access)> {
        let regions: BTreeSet<usize> = self.gradients.iter().map(|part| part.region).collect();
        let packed = regions.into_iter().map(Place::Packed);
        let read = [self.scalars].into_iter().chain(packed).map(|place| (place, Access::Read));
        let variables = self.update.written().map(Place::Variable);
        // Counters are variables of the update.
        let kept = self.counted.iter().map(|&(_, place, _)| place);
        let kept = kept.filter(|place| matches!(place, Place::Value(_)));
        let written = variables.chain(kept).map(|place| (place, Access::Write));
        read.chain(written).collect()
    }

    /// How many buffers its kernel binds beside those that it counts in: scalars, table, a region of
    /// gradients, parameters, two slots, and the accumulators if there are any.
    pub fn bound(&self) -> usize {
        6 + usize::from(self.update.accumulation.is_some())
    }

    /// Whether the kernel of the first parameters raises the counters, too, on a device that binds so many
    /// buffers; else that is a dispatch of its own.
    pub fn counts_along(&self, storage_buffers: usize) -> bool {
        self.bound() + self.counted.len() <= storage_buffers
    }

    /// The text of its kernel.
    pub fn source(&self, does: Does, target: Target) -> String {
        let mut sections = self.sections.clone();
        if does == Does::Updates {
            sections.retain(|(name, _)| *name != "count");
        } else {
            let first = if does == Does::Both { self.bound() } else { 1 };
            let mut bindings = String::new();
            for (at, (name, _, element)) in self.counted.iter().enumerate() {
                let _ = writeln!(
                    bindings,
                    "@group(0) @binding({}) var<storage, read_write> {name}: array<{element}>;",
                    first + at
                );
            }
            let count = sections.iter_mut().find(|(name, _)| *name == "count");
            count.into_iter().for_each(|(_, text)| text.insert_str(0, &bindings));
        }
        if does == Does::Counts {
            let nothing = "fn update_blocks(norm: f32, group: u32, groups: u32, lane: u32) {}\n\
                fn keep_blocks(ends: bool, group: u32, groups: u32, lane: u32) {}\n";
            sections.push(("update", nothing.to_owned()));
        } else if self.update.accumulation.is_some() {
            sections.push(("accumulators", shaders::ACCUMULATORS.to_owned()));
        }
        let parts = [
            shaders::FUNCTIONS,
            lanes(target),
            together(target),
            shaders::LOSS_SCALE,
            shaders::OPTIMIZER,
        ];
        shaders::fill(&parts.concat(), &sections)
    }

    /// The constants of its kernel, for so many blocks.
    pub fn constants(&self, blocks: u64) -> Vec<(&'static str, f64)> {
        let flag = |on: bool| f64::from(u8::from(on));
        let mut constants = match self.update.rule {
            Rule::Sgd { momentum, nesterov, weight_decay } => vec![
                ("MOMENTUM", momentum.into()),
                ("NESTEROV", flag(nesterov)),
                ("WEIGHT_DECAY", weight_decay.into()),
            ],
            Rule::Adam { beta1, beta2, epsilon, weight_decay, decoupled } => vec![
                ("ADAM", 1.0),
                ("BETA1", beta1),
                ("REST1", 1.0 - beta1),
                ("BETA2", beta2),
                ("REST2", 1.0 - beta2),
                ("EPSILON", epsilon.into()),
                ("WEIGHT_DECAY", weight_decay.into()),
                ("DECOUPLED", flag(decoupled)),
            ],
        };
        constants.push(("BLOCKS", blocks as f64));
        constants.extend(&self.constants);
        constants
    }
}

/// What a kernel with the optimizer's text does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Does {
    /// Updates parameters.
    Updates,
    /// That, and counts.
    Both,
    /// Counts: the other kernels have no room for that.
    Counts,
}

/// How lanes of a row hand on values on this kind of device.
pub(crate) fn lanes(target: Target) -> &'static str {
    if target.is_cpu { shaders::LANES_SOFTWARE } else { shaders::LANES }
}

/// How this kind of device loads and stores several elements at once.
fn together(target: Target) -> &'static str {
    if target.is_cpu && target.has_int64 { shaders::PAIRS } else { shaders::FOURS }
}

/// Places the inputs of norms and optimizers one after the other, as they are computed: what is not there
/// yet is one piece, in which others may lie (`packed.rs`). Within a region no sum goes by this order. One
/// ends where the next gradient would not fit into `limit` bytes any more; what is larger by itself is
/// refused when memory is planned.
pub(super) fn pack(live: &Live, limit: u64) -> Gradients {
    let inputs = live.nodes.iter().flat_map(|node| match &node.op {
        Op::GlobalNorm => &node.inputs[..],
        Op::OptimizerUpdate(update) => &node.inputs[update.scalars()..],
        _ => &[],
    });
    let inputs: BTreeSet<usize> = inputs.map(|input| input.0).collect();
    let (mut region, mut end) = (0, 0);
    let place = |id: usize| {
        let bytes = live.elements(id) as u64 * 4;
        let room = bytes.max(1).next_multiple_of(ALIGNMENT);
        if end > 0 && end + room > limit {
            (region, end) = (region + 1, 0);
        }
        let part = Part { region, offset: end, bytes };
        end += room;
        (id, part)
    };
    Gradients(inputs.into_iter().map(place).collect())
}

/// How many sums of squares so many blocks of a region are. Each workgroup of an update adds up all of them.
/// A GPU needs many workgroups to read gradients as fast as it can, and an update that large has
/// workgroups that work long; a software adapter has no more threads than cores.
fn sums(blocks: usize, target: Target) -> usize {
    let most = match target.is_cpu {
        true => blocks.div_ceil(MOST_BLOCKS).max(16),
        false => (blocks / 16).clamp(256, 1024),
    };
    blocks.min(most)
}

/// What a norm reads of one region.
struct Blocks {
    region: usize,
    /// Offset and length of each block, in elements.
    table: Vec<u32>,
    elements: u64,
    /// Where the sums of squares begin, and how many there are.
    first: usize,
    sums: usize,
}

impl Lowering<'_> {
    /// The blocks of a norm's inputs in each region that has any. `first` is where their sums begin.
    fn blocks(&self, norm: usize, mut first: usize) -> Vec<Blocks> {
        let packed = &self.lowered.packed;
        let mut all: Vec<Blocks> = (0..packed.regions())
            .map(|region| Blocks { region, table: Vec::new(), elements: 0, first: 0, sums: 0 })
            .collect();
        for Part { region, offset, bytes } in self.live.inputs(norm).map(|input| packed.0[&input]) {
            let (start, length) = (offset / 4, bytes / 4);
            all[region].elements += length;
            for block in 0..length.div_ceil(BLOCK) {
                let done = block * BLOCK;
                let length = (length - done).min(BLOCK);
                all[region].table.extend([(start + done) as u32, length as u32]);
            }
        }
        all.retain(|blocks| !blocks.table.is_empty());
        for blocks in &mut all {
            (blocks.first, blocks.sums) = (first, sums(blocks.table.len() / 2, self.target));
            first += blocks.sums;
        }
        all
    }

    /// A kernel that sums up squares of blocks and writes the sums to `result`.
    fn squares(&self, norm: usize, result: Place) -> Kernel {
        let parts =
            [shaders::FUNCTIONS, lanes(self.target), together(self.target), shaders::SQUARES];
        let mut kernel = Kernel::new("squares", &parts);
        kernel.label = Some(format!("squares of {}", self.live.node(norm).op.name()));
        kernel.bindings.bind("result", result, Access::Write, "f32");
        kernel
    }

    /// Makes a kernel sum up the squares of blocks in its result, beside what it does already, and gives its
    /// workgroups and operations.
    fn sum_squares(&mut self, kernel: &mut Kernel, blocks: Blocks) -> ([u32; 3], u64) {
        let Blocks { region, table: blocks, elements, first, sums } = blocks;
        let count = blocks.len() / 2;
        self.lowered.tables.push(blocks);
        let table = Place::Table(self.lowered.tables.len() - 1);
        // Few lanes on a software adapter, where a workgroup is one vector.
        let lanes = if self.target.is_cpu { 8.0 } else { 256.0 };
        kernel.constants.extend([("BLOCKS", count as f64), ("SUMS", sums as f64)]);
        kernel.constants.extend([("FIRST", first as f64), ("LANES", lanes), ("ROWS", 1.0)]);
        kernel.bindings.bind("blocks", table, Access::Read, "vec2<u32>");
        kernel.bindings.bind_part("values", Place::Packed(region), 4 * elements, "Stored");
        ([sums as u32, 1, 1], 2 * elements)
    }

    pub(super) fn global_norm(&mut self, root: usize, id: usize) -> Result<(), Refused> {
        let all = self.blocks(id, 0);
        let count: usize = all.iter().map(|blocks| blocks.sums).sum();
        // Even of nothing there is a norm, and no buffer can be empty.
        let sums = self.scratch(count.max(1) as u64 * 4);
        for blocks in all {
            let mut kernel = self.squares(id, sums);
            let (workgroups, operations) = self.sum_squares(&mut kernel, blocks);
            self.push(root, kernel, workgroups, operations)?;
        }
        let parts = [shaders::FUNCTIONS, lanes(self.target), shaders::REDUCE];
        let mut kernel = Kernel::new("reduce", &parts);
        kernel.constants.extend([("RESULTS", 1.0), ("COUNT", count as f64), ("MAXIMUM", 0.0)]);
        self.bind_result(&mut kernel, root);
        kernel.bindings.bind("sums", sums, Access::Read, "f32");
        let value = "fn value(i: u32, k: u32) -> f32 {\n    return sums[k];\n}\n";
        kernel.sections.push(("value", value.to_owned()));
        let finish = "fn finish(total: f32) -> f32 {\n    return sqrt(total);\n}\n";
        kernel.sections.push(("finish", finish.to_owned()));
        self.epilogue(&mut kernel, root, id);
        let workgroups = self.lanes(&mut kernel, root, (1, count), 1)?;
        self.push(root, kernel, workgroups, count as u64)
    }

    /// The first step of an update, which writes no variable, and the second, which the caller adds when
    /// all first ones are there.
    pub(super) fn optimizer(
        &mut self,
        id: usize,
        update: &OptimizerUpdate,
    ) -> Result<OptimizerStep, Refused> {
        let inputs: Vec<usize> = self.live.inputs(id).collect();
        let own = self.fused.own_norms.get(&id);
        // What the first step finds out for the second.
        let mut values: Vec<usize> = Vec::new();
        let before = own.into_iter().flat_map(|own| own.before.iter().copied());
        for value in inputs[..update.scalars()].iter().copied().chain(before) {
            if !own.is_some_and(|own| own.computes(value)) && !values.contains(&value) {
                values.push(value);
            }
        }
        let (norm, first) = (own.map(|own| own.norm), VALUES + values.len());
        let all = norm.map(|norm| self.blocks(norm, first)).unwrap_or_default();
        let count: usize = all.iter().map(|blocks| blocks.sums).sum();
        let scalars = self.scratch((first + count) as u64 * 4);
        self.scalars(id, update, &values, norm.map(|norm| (norm, all)), scalars)?;

        let packed = &self.lowered.packed;
        let gradients = inputs[update.scalars()..].iter();
        let gradients = gradients.map(|id| packed.0[id]).collect();
        // One lane: each invocation of a software adapter adds up the few sums by itself, since a barrier
        // would take longer.
        let lanes = if self.target.is_cpu || count == 0 { 1.0 } else { 64.0 };
        let mut step = OptimizerStep {
            update: update.clone(),
            scalars,
            gradients,
            constants: vec![("SUMS", count as f64), ("FIRST", first as f64)],
            sections: Vec::new(),
            counted: Vec::new(),
        };
        step.constants.extend([("LANES", lanes), ("ROWS", 1.0)]);
        let given: HashMap<usize, String> = values
            .iter()
            .enumerate()
            .map(|(at, &value)| (value, format!("scalars[{}]", VALUES + at)))
            .collect();
        // The functions of the optimizer's kernel that give the scalars of an update.
        let scalars = [
            (Some(0), "learning_rate"),
            (Some(1), "gradient_factor"),
            (update.norm_input(), "gradient_norm"),
            (update.batches_input(), "batches"),
        ];
        for (at, section) in scalars {
            let text = at.map(|at| self.of_norm(id, norm, &given, section, inputs[at]));
            step.sections.extend(text.map(|text| (section, text)));
        }
        if let Some(accumulation) = &update.accumulation {
            step.constants.push(("STEPS", accumulation.steps.into()));
        }
        self.count(id, norm, &given, &mut step);
        Ok(step)
    }

    /// The first step: a kernel that computes the scalars of an update. If it has a norm of its own, that
    /// kernel also sums up the squares of the first region, and further ones those of the others.
    fn scalars(
        &mut self,
        id: usize,
        update: &OptimizerUpdate,
        values: &[usize],
        norm: Option<(usize, Vec<Blocks>)>,
        scalars: Place,
    ) -> Result<(), Refused> {
        let mut kernel = Kernel::new("optimizer_scalars", &[]);
        if let Rule::Adam { beta1, beta2, .. } = update.rule {
            // The logarithm of 0 is not finite, and constants must be; of this, too, e^x is 0.
            let log = |beta: f64| beta.ln().max(-1e4);
            kernel.constants.extend([("LOG_BETA1", log(beta1)), ("LOG_BETA2", log(beta2))]);
        }
        kernel.bindings.bind("result", scalars, Access::Write, "f32");
        kernel.bindings.bind("step", Place::Variable(update.step), Access::Read, "u32");
        let (mut functions, mut store) = (String::new(), "fn store_values() {\n".to_owned());
        for (at, value) in values.iter().copied().enumerate() {
            let bindings = &mut kernel.bindings;
            let function = Function::new(self.live, self.fused, bindings, id, None);
            let index = Index::flat(&self.live.node(value).shape, "0u");
            functions += &function.write(&format!("fn value{at}() -> f32"), value, &index);
            let _ = writeln!(store, "    result[{}] = value{at}();", VALUES + at);
        }
        let values_section = ("values", functions + &store + "}\n");
        let norm = norm.and_then(|(norm, all)| {
            let mut all = all.into_iter();
            Some((norm, all.next()?, all))
        });
        match norm {
            Some((norm, blocks, others)) => {
                kernel.name = "squares";
                let (name, rule) = (self.live.node(norm).op.name(), update.rule.name());
                kernel.label = Some(format!("squares of {name}, scalars of {rule}"));
                let alone = ["bindings", "main"].map(|section| (section, String::new()));
                let sections = [&alone[..], &[values_section]].concat();
                kernel.template = [
                    shaders::FUNCTIONS,
                    lanes(self.target),
                    together(self.target),
                    &shaders::fill(shaders::OPTIMIZER_SCALARS, &sections),
                    shaders::SQUARES,
                ]
                .concat();
                let beside = "fn beside() {\n    store_scalars();\n}\n";
                kernel.sections.push(("beside", beside.to_owned()));
                let ([groups, ..], operations) = self.sum_squares(&mut kernel, blocks);
                self.push(id, kernel, [groups + 1, 1, 1], operations)?;
                for blocks in others {
                    let mut kernel = self.squares(norm, scalars);
                    let (workgroups, operations) = self.sum_squares(&mut kernel, blocks);
                    self.push(id, kernel, workgroups, operations)?;
                }
            }
            None => {
                kernel.template = [shaders::FUNCTIONS, shaders::OPTIMIZER_SCALARS].concat();
                kernel.sections.push(values_section);
                self.push(id, kernel, [1, 1, 1], 0)?;
            }
        }
        Ok(())
    }

    /// The function that computes a scalar from the norm and from what is given.
    fn of_norm(
        &self,
        root: usize,
        norm: Option<usize>,
        given: &HashMap<usize, String>,
        name: &str,
        value: usize,
    ) -> String {
        // All that it reads is given.
        let mut none = Bindings::default();
        let function = Function::new(self.live, self.fused, &mut none, root, norm).given(given);
        let index = Index::flat(&self.live.node(value).shape, "0u");
        function.write(&format!("fn {name}(anchor: f32) -> f32"), value, &index)
    }

    /// What one invocation of the second step writes.
    fn count(
        &mut self,
        root: usize,
        norm: Option<usize>,
        given: &HashMap<usize, String>,
        step: &mut OptimizerStep,
    ) {
        let update = &step.update;
        let (mut functions, mut count) = (String::new(), String::new());
        let mut written = |name: &str, place: Place, element: &'static str| {
            step.counted.push((name.to_owned(), place, element));
        };
        written("step", Place::Variable(update.step), "u32");
        count += "    step[0] = next_count(step[0], applied);\n";
        // Optimizers that share a global step raise it by one together.
        if self.counted.insert(update.global_step) {
            written("global_step", Place::Variable(update.global_step), "u32");
            count += "    global_step[0] = next_count(global_step[0], true);\n";
        }
        if let Some(loss_scale) = &update.loss_scale {
            let (growth, backoff, interval) = loss_scale.scaling.numbers();
            step.constants.extend([
                ("GROWTH_FACTOR", growth.into()),
                ("BACKOFF_FACTOR", backoff.into()),
                ("GROWTH_INTERVAL", interval.into()),
            ]);
            written("loss_scale", Place::Variable(loss_scale.scale), "f32");
            written("good_steps", Place::Variable(loss_scale.good_steps), "u32");
            let next = "let next = next_loss_scale(loss_scale[0], good_steps[0], applied);\n        \
                loss_scale[0] = next.scale;\n        good_steps[0] = next.good_steps;";
            let _ = writeln!(count, "    if (ends) {{\n        {next}\n    }}");
        }
        if let Some(accumulation) = &update.accumulation {
            written("accumulated", Place::Variable(accumulation.accumulated), "u32");
            count += "    accumulated[0] = select(accumulated[0] + 1u, 0u, ends);\n";
        }
        let kept = self.fused.own_norms.get(&root).map(|own| own.kept.clone()).unwrap_or_default();
        for (at, id) in kept.into_iter().enumerate() {
            written(&format!("kept{at}"), self.fused.place(self.live, id), "f32");
            functions += &self.of_norm(root, norm, given, &format!("keep{at}"), id);
            let _ = writeln!(count, "    kept{at}[0] = keep{at}(norm);");
        }
        let text =
            format!("{functions}fn count(norm: f32, ends: bool, applied: bool) {{\n{count}}}\n");
        step.sections.push(("count", text));
    }
}
