//! The second step of an optimizer's update, once it is known which buffers its variables are in.
//!
//! It is one kernel for all parameters that share arenas and a region. With loss scaling it binds up to ten
//! buffers beside what is fetched, and with gradient accumulation up to twelve: where a device
//! binds fewer, or a weight lies in the same arena as the counters, these have a third dispatch.
//! Gradients lie in regions that one binding holds, and each kernel reads one.
//!
//! Parameters, slots and gradients begin at multiples of 256 bytes and have room up to the next, so
//! four elements are loaded and stored at once, of which the last may be padding (two on software
//! adapters, by `pairs.wgsl`, which halves the processor time there).

use super::DispatchInfo;
use super::build::{Builder, PendingLaunch, STORAGE};
use super::memory::{BLOCK_WORDS, words};
use crate::compile::{Access, BLOCK, Does, MOST_BLOCKS, OptimizerStep, Place, WIDEST};
use crate::plan_error::CompileError;
use crate::store::VariableSlice;

/// The most workgroups of an update. One works on several blocks then, and adds up the sums of squares
/// once for all of them. On software adapters, where that takes longer, there are fewer.
const MOST_WORKGROUPS: [u64; 2] = [4096, 64];

/// Parameters that share buffers with each other, as their slots and gradients do.
struct Group {
    /// The region of their gradients.
    region: usize,
    /// Those of the first: of their buffers it is what they have in common.
    slices: Vec<VariableSlice>,
    table: Vec<u32>,
    variables: usize,
    elements: u64,
}

impl Builder<'_> {
    /// One dispatch for all parameters that share buffers with each other, and so do their slots and
    /// gradients: all of them, unless a model is larger than one binding. The first also raises the
    /// counters, if the device binds as many buffers and they do not lie where its parameters do.
    pub fn optimizer(
        &self,
        step: &OptimizerStep,
    ) -> Result<Vec<PendingLaunch<'static>>, CompileError> {
        let (mut counted, mut counted_bytes) = (Vec::new(), 0);
        for &(_, place, _) in &step.counted {
            let slice = self.place(place)?;
            // A counter is read and written; what is fetched, a norm say, is written.
            let times = if matches!(place, Place::Variable(_)) { 2 } else { 1 };
            counted_bytes += times * slice.2;
            counted.push(slice);
        }
        let fits = step.counts_along(self.target.storage_buffers);
        let mut pending: Vec<PendingLaunch<'static>> = Vec::new();
        for group in self.groups(step)? {
            // Two bindings that are written must not overlap, and parameters are bound with all that lies
            // in their buffer.
            let holds =
                |buffer: &wgpu::Buffer| group.slices.iter().any(|slice| slice.buffer == *buffer);
            let is_apart = !counted.iter().any(|(buffer, ..)| holds(buffer));
            let counts = fits && is_apart && !counted.is_empty();
            let does = if counts { Does::Both } else { Does::Updates };
            let mut launch = self.update(step, group, does)?;
            if counts {
                launch.info.bytes += counted_bytes;
                launch.bindings.append(&mut counted);
                launch.accesses.resize(launch.bindings.len(), Access::Write);
            }
            pending.push(launch);
        }
        if !counted.is_empty() {
            let scalars = self.place(step.scalars)?;
            let bytes = scalars.2 + counted_bytes;
            let mut bindings = vec![scalars];
            bindings.append(&mut counted);
            let mut accesses = vec![Access::Write; bindings.len()];
            accesses[0] = Access::Read;
            let info = DispatchInfo {
                operations: format!("counters of {}", step.update.rule.name()),
                kernel: "optimizer_counters",
                workgroups: [1, 1, 1],
                bytes,
                arithmetic: 0,
            };
            let source = step.source(Does::Counts, self.target).into();
            let constants = step.constants(0);
            pending.push(PendingLaunch { source, constants, bindings, accesses, info });
        }
        Ok(pending)
    }

    fn groups(&self, step: &OptimizerStep) -> Result<Vec<Group>, CompileError> {
        let mut groups: Vec<Group> = Vec::new();
        // Parameters come first, and the accumulators last.
        let accumulator = step.update.slots().len();
        for (parameter, gradient) in step.update.parameters.iter().zip(&step.gradients) {
            let mut slices = vec![self.variable(parameter.variable)?.clone()];
            for &slot in &parameter.slots {
                slices.push(self.variable(slot)?.clone());
            }
            let elements = slices[0].bytes / 4;
            if elements == 0 {
                continue;
            }
            let same = |group: &Group| {
                group.region == gradient.region
                    && group.slices.iter().zip(&slices).all(|(a, b)| a.arena == b.arena)
            };
            let at = groups.iter().position(same).unwrap_or(groups.len());
            if at == groups.len() {
                let (region, slices) = (gradient.region, slices.clone());
                groups.push(Group { region, slices, table: Vec::new(), variables: 0, elements: 0 });
            }
            let group = &mut groups[at];
            group.variables += 1;
            group.elements += elements;
            let start = |at: usize| slices.get(at).map_or(0, |slice| slice.offset / 4);
            let mut done = 0;
            while done < elements {
                let length = (elements - done).min(BLOCK);
                let places =
                    [start(0), gradient.offset / 4, start(1), start(2), start(accumulator)];
                group.table.extend(places.map(|place| (place + done) as u32));
                group.table.extend([length as u32, u32::from(parameter.decays)]);
                done += length;
            }
        }
        Ok(groups)
    }

    fn update(
        &self,
        step: &OptimizerStep,
        group: Group,
        does: Does,
    ) -> Result<PendingLaunch<'static>, CompileError> {
        let Group { region, slices, table: blocks, variables, elements } = group;
        let count = blocks.len() as u64 / BLOCK_WORDS;
        let bytes: &[u8] = bytemuck::cast_slice(&blocks);
        let table = self.gpu.buffer("optimizer blocks", words(bytes.len() as u64), STORAGE)?;
        self.gpu.checked("the optimizer's table", |_| {
            self.gpu.queue().write_buffer(&table, 0, bytes);
        })?;
        let mut bindings = vec![
            self.place(step.scalars)?,
            (table, 0, bytes.len() as u64),
            self.place(Place::Packed(region))?,
        ];
        let update = &step.update;
        let (own, accumulators) = slices.split_at(1 + update.rule.slots().len());
        let whole = |slice: &VariableSlice| (slice.buffer.clone(), 0, slice.buffer.size());
        for at in 0..3 {
            bindings.push(match own.get(at) {
                Some(slice) => whole(slice),
                // A rule without this slot leaves the binding alone.
                None => (self.gpu.buffer("no slot", WIDEST, STORAGE)?, 0, WIDEST),
            });
        }
        bindings.extend(accumulators.iter().map(whole));
        // Parameters and slots are written; scalars, table and gradients only read.
        let written = bindings.len() - 3;
        let accesses = [vec![Access::Read; 3], vec![Access::Write; written]].concat();
        let [most, most_of_software] = MOST_WORKGROUPS;
        // No more rounds than such an adapter's driver carries out, as for sums of squares.
        let enough = count.div_ceil(MOST_BLOCKS as u64);
        let most = if self.target.is_cpu { most_of_software.max(enough) } else { most };
        let most = most.min(u64::from(self.target.workgroups));
        // Gradients are read, parameters and slots read and written, accumulators written.
        let each = 3 + 2 * update.rule.slots().len() + accumulators.len();
        let read: u64 = bindings[..2].iter().map(|&(.., bytes)| bytes).sum();
        let info = DispatchInfo {
            operations: format!("{} of {variables} variables", update.rule.name()),
            kernel: "optimizer",
            workgroups: [count.min(most) as u32, 1, 1],
            bytes: read + elements * 4 * each as u64,
            arithmetic: elements * 12,
        };
        let source = step.source(does, self.target).into();
        let constants = step.constants(count);
        Ok(PendingLaunch { source, constants, bindings, accesses, info })
    }
}
