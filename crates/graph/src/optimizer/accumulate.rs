//! Gradients added up over several batches, as nodes of the graph: where a gradient is computed, what
//! was accumulated before is added to it.
//!
//! So it takes no dispatch more: the kernel of the gradient adds the slot `gradient_accumulator`
//! where it writes, and the norm, and what is fetched, is that of the sums. The update is by them
//! where the last batch of an update is in, and sets the slots to 0; else the sums are copied there
//! (`accumulators.wgsl`).
//!
//! Slots hold gradients that are not scaled, and are divided by how many batches they are of when
//! they are used: a run may go on in between with other steps or another scale. `global_step`
//! counts runs, as dropout and a loop's batches need, and whatever the optimizer itself counts is
//! updates; the learning rate follows `adam/step` then.

use super::{Optimizer, variable_of};
use crate::{Accumulation, DType, Initializer, Tensor, Variable, VariableId};

/// Gradients summed up since the last update.
pub(super) struct Accumulated<'g> {
    pub accumulation: Accumulation,
    /// Of how many batches the sums are, this run's included.
    pub batches: Tensor<'g>,
    /// How many updates were made.
    pub step: Tensor<'g>,
    /// What the runs before have left.
    pub accumulators: Vec<Tensor<'g>>,
    /// That and this run's gradients.
    pub sums: Vec<Tensor<'g>>,
}

impl Optimizer {
    /// The sums of gradients since the last update; none if there is no accumulation, or its variables
    /// were refused.
    pub(super) fn accumulate<'g>(
        &self,
        trained: &[(VariableId, Variable, Tensor<'g>)],
        loss_scale: Option<Tensor<'g>>,
        refused: bool,
    ) -> Option<Accumulated<'g>> {
        let steps = self.gradient_accumulation_steps.filter(|_| !refused)?;
        let graph = trained.first()?.2.graph();
        let count = self.counter(graph, Accumulation::COUNT, DType::U32, Initializer::Zeros);
        let accumulation = Accumulation { steps, accumulated: variable_of(count)? };
        let step = self.step(graph);
        let slot =
            |(_, variable, _): &(_, Variable, _)| self.slot_of(graph, variable, Accumulation::SLOT);
        let accumulators: Vec<Tensor<'g>> = trained.iter().map(slot).collect();
        // Unscaled, so that a scale may change in between; by the scale itself, which is there before the
        // run, where 1 / scale would have to be computed first.
        let unscaled = |x: Tensor<'g>| loss_scale.map_or(x, |scale| x / scale);
        let own = trained.iter().map(|&(_, _, gradient)| unscaled(gradient));
        let sums = accumulators.iter().zip(own).map(|(&sum, gradient)| sum + gradient).collect();
        let batches = count.cast(DType::F32) + 1.0;
        Some(Accumulated { accumulation, batches, step, accumulators, sums })
    }
}
