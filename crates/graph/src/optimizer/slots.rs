//! What an optimizer keeps: variables like any other.

use super::Optimizer;
use crate::{
    DType, Graph, Initializer, LossScale, LossScaling, Op, Role, Tensor, Variable, VariableId,
};

impl Optimizer {
    /// The variables of loss scaling, and the scale; none if they were refused.
    pub(super) fn loss_scale<'g>(
        &self,
        graph: &'g Graph,
        scaling: LossScaling,
    ) -> Option<(LossScale, Tensor<'g>)> {
        let initial = Initializer::Constant(scaling.initial().into());
        let tensor = self.counter(graph, "loss_scale", DType::F32, initial);
        let scale = variable_of(tensor)?;
        let good_steps = self.counter(graph, "good_steps", DType::U32, Initializer::Zeros);
        let good_steps = variable_of(good_steps)?;
        Some((LossScale { scale, good_steps, scaling }, tensor))
    }

    /// How often the optimizer has updated.
    pub(super) fn step<'g>(&self, graph: &'g Graph) -> Tensor<'g> {
        self.counter(graph, "step", DType::U32, Initializer::Zeros)
    }

    /// What the optimizer keeps for each element of a variable.
    pub(super) fn slot_of<'g>(
        &self,
        graph: &'g Graph,
        variable: &Variable,
        slot: &str,
    ) -> Tensor<'g> {
        self.slot(graph, Some(&variable.name), slot, |role| {
            let name = format!("{}/{}/{slot}", variable.name, self.name);
            Variable::new(name, &variable.shape, DType::F32, Initializer::Zeros, role)
        })
    }

    /// A scalar that the optimizer keeps for all its variables together.
    pub(super) fn counter<'g>(
        &self,
        graph: &'g Graph,
        slot: &str,
        dtype: DType,
        initializer: Initializer,
    ) -> Tensor<'g> {
        self.slot(graph, None, slot, |role| {
            Variable::new(format!("{}/{slot}", self.name), [], dtype, initializer, role)
        })
    }

    fn slot<'g>(
        &self,
        graph: &'g Graph,
        variable: Option<&str>,
        slot: &str,
        declare: impl FnOnce(Role) -> Variable,
    ) -> Tensor<'g> {
        let role = Role::Slot {
            variable: variable.map(str::to_owned),
            optimizer: self.name.clone(),
            slot: slot.to_owned(),
        };
        graph.declare(declare(role), false, &self.name)
    }
}

/// The variable that a tensor reads, unless it was refused.
pub(super) fn variable_of(tensor: Tensor<'_>) -> Option<VariableId> {
    tensor.graph().with(tensor.id(), |node| match node.op {
        Op::Variable(id) => Some(id),
        _ => None,
    })
}
