//! What ends a training step: the gradients' global norm, and writes into variables.

use crate::reference::Value;
use crate::{
    Accumulation, DType, GraphDef, GraphError, GraphErrors, LossScale, Node, NodeId, Op, Problem,
    Shape, Tensor, Variable, VariableId,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// One operation that updates all parameters of an optimizer.
///
/// Its inputs are the learning rate, the factor for gradients (from clipping, loss scaling and
/// accumulation), with loss scaling the norm that must be finite, with accumulation of how many batches
/// the gradients are, then the gradient of each parameter in order. With accumulation that is the sum of
/// the run's own and the accumulator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OptimizerUpdate {
    /// How a parameter follows from its gradient.
    pub rule: Rule,
    /// What is updated, with its slots in the order of [`OptimizerUpdate::slots`].
    pub parameters: Vec<Parameter>,
    /// How often this optimizer has updated, a `u32` scalar: read, then incremented.
    pub step: VariableId,
    /// The global step, a `u32` scalar: incremented once in a run, however many optimizers share it.
    pub global_step: VariableId,
    /// The scale of the loss. With one, a step whose norm is not finite changes nothing but the
    /// global step and the scale.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_scale: Option<LossScale>,
    /// With it only some runs make an update, and the others keep their gradients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accumulation: Option<Accumulation>,
}

/// A parameter of an [`OptimizerUpdate`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Parameter {
    /// The variable that is trained.
    pub variable: VariableId,
    /// Its slots.
    pub slots: Vec<VariableId>,
    /// Whether weight decay applies to it.
    pub decays: bool,
}

/// How a parameter follows from its gradient. Weight decay applies to parameters whose
/// [`Parameter::decays`] is set.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// Stochastic gradient descent, as `torch.optim.SGD` (dampening 0).
    Sgd {
        /// 0 for none; then there is no slot.
        momentum: f32,
        /// Look ahead (Sutskever et al. 2013).
        nesterov: bool,
        /// L2 penalty, added to the gradient.
        weight_decay: f32,
    },
    /// Adam (Kingma and Ba 2014), as `torch.optim.Adam`; with decoupled weight decay AdamW
    /// (Loshchilov and Hutter 2017), as `torch.optim.AdamW`.
    Adam {
        /// Decay of the first moment. In `f64`, because 1 − β₂ loses digits in `f32`.
        beta1: f64,
        /// Decay of the second moment.
        beta2: f64,
        /// Added to the root of the second moment.
        epsilon: f32,
        /// Weight decay.
        weight_decay: f32,
        /// Whether weight decay acts on the parameter (AdamW) rather than the gradient.
        decoupled: bool,
    },
}

impl Rule {
    /// The optimizer's name, which is part of its slots' names.
    pub fn name(&self) -> &'static str {
        match self {
            Rule::Sgd { .. } => "sgd",
            Rule::Adam { decoupled: false, .. } => "adam",
            Rule::Adam { decoupled: true, .. } => "adamw",
        }
    }

    /// The names of the slots that each parameter has.
    pub fn slots(&self) -> &'static [&'static str] {
        match self {
            Rule::Sgd { momentum: 0.0, .. } => &[],
            Rule::Sgd { .. } => &["momentum"],
            Rule::Adam { .. } => &["m", "v"],
        }
    }

    /// That every number is one the rule is defined for.
    ///
    /// # Errors
    /// The first that is not.
    pub fn check(&self) -> Result<(), Problem> {
        let within = |what: &str, value: f64, fits: bool, range: &str| {
            let problem = Problem::Range { what: what.to_owned(), value, range: range.to_owned() };
            if fits { Ok(()) } else { Err(problem) }
        };
        let not_negative = |what: &str, value: f32| {
            within(what, value.into(), value.is_finite() && value >= 0.0, "finite and at least 0")
        };
        match *self {
            Rule::Sgd { momentum, weight_decay, .. } => {
                not_negative("momentum", momentum)?;
                not_negative("weight decay", weight_decay)
            }
            Rule::Adam { beta1, beta2, epsilon, weight_decay, .. } => {
                for (what, beta) in [("beta1", beta1), ("beta2", beta2)] {
                    within(what, beta, (0.0..1.0).contains(&beta), "at least 0 and below 1")?;
                }
                not_negative("epsilon", epsilon)?;
                not_negative("weight decay", weight_decay)
            }
        }
    }

    /// The plain CPU twin of the update of one element: parameter and slots are changed in place.
    /// `step` counts from 1.
    pub fn evaluate(
        &self,
        step: f64,
        learning_rate: f64,
        decays: bool,
        gradient: f64,
        parameter: &mut f64,
        slots: &mut [f64],
    ) {
        let decay = |weight_decay: f32| if decays { f64::from(weight_decay) } else { 0.0 };
        match *self {
            Rule::Sgd { momentum, nesterov, weight_decay } => {
                let gradient = gradient + decay(weight_decay) * *parameter;
                let mut direction = gradient;
                if let [velocity] = slots {
                    *velocity = f64::from(momentum) * *velocity + gradient;
                    direction = if nesterov {
                        gradient + f64::from(momentum) * *velocity
                    } else {
                        *velocity
                    };
                }
                *parameter -= learning_rate * direction;
            }
            Rule::Adam { beta1, beta2, epsilon, weight_decay, decoupled } => {
                let [m, v] = slots else { return };
                let decay = decay(weight_decay);
                let mut gradient = gradient;
                if decoupled {
                    *parameter -= learning_rate * decay * *parameter;
                } else {
                    gradient += decay * *parameter;
                }
                *m = beta1 * *m + (1.0 - beta1) * gradient;
                *v = beta2 * *v + (1.0 - beta2) * gradient * gradient;
                let m_hat = *m / (1.0 - beta1.powf(step));
                let v_hat = *v / (1.0 - beta2.powf(step));
                *parameter -= learning_rate * m_hat / (v_hat.sqrt() + f64::from(epsilon));
            }
        }
    }
}

impl GraphDef {
    /// The variables that nodes write, by those nodes: each as the last node before that stands for
    /// it, in the order of the graph. Writing reads them first, and they are no inputs.
    pub fn written(&self) -> BTreeMap<NodeId, Vec<NodeId>> {
        let mut last: BTreeMap<VariableId, NodeId> = BTreeMap::new();
        let mut all = BTreeMap::new();
        for (at, node) in self.nodes.iter().enumerate() {
            let mut written: Vec<NodeId> = match &node.op {
                Op::Variable(variable) => {
                    last.insert(*variable, NodeId(at));
                    continue;
                }
                Op::Assign(variable) => last.get(variable).copied().into_iter().collect(),
                Op::OptimizerUpdate(update) => {
                    update.written().filter_map(|variable| last.get(&variable).copied()).collect()
                }
                _ => continue,
            };
            written.sort_unstable();
            written.dedup();
            all.insert(NodeId(at), written);
        }
        all
    }
}

impl OptimizerUpdate {
    /// How many of its inputs come before the gradients, all of them `f32` scalars.
    pub fn scalars(&self) -> usize {
        2 + usize::from(self.loss_scale.is_some()) + usize::from(self.accumulation.is_some())
    }

    /// Which of its inputs is the norm that must be finite.
    pub fn norm_input(&self) -> Option<usize> {
        self.loss_scale.is_some().then_some(2)
    }

    /// Which of its inputs says of how many batches the gradients are.
    pub fn batches_input(&self) -> Option<usize> {
        self.accumulation.is_some().then(|| self.scalars() - 1)
    }

    /// The names of the slots that each parameter has: those of the rule, and after them the accumulator,
    /// if there is one.
    pub fn slots(&self) -> Vec<&'static str> {
        let accumulator = self.accumulation.iter().map(|_| Accumulation::SLOT);
        self.rule.slots().iter().copied().chain(accumulator).collect()
    }

    /// Every variable it writes.
    pub fn written(&self) -> impl Iterator<Item = VariableId> + '_ {
        let parameters = self.parameters.iter();
        parameters
            .flat_map(|p| std::iter::once(p.variable).chain(p.slots.iter().copied()))
            .chain([self.step, self.global_step])
            .chain(self.loss_scale.iter().flat_map(|scale| [scale.scale, scale.good_steps]))
            .chain(self.accumulation.iter().map(|accumulation| accumulation.accumulated))
    }

    pub(super) fn infer(
        &self,
        inputs: &[&Node],
        variables: &[Variable],
    ) -> Result<(Shape, DType), Problem> {
        let damaged = |why: String| Err(Problem::Damaged { why });
        let scalars = self.scalars();
        if inputs.len() != self.parameters.len() + scalars {
            return damaged("an optimizer update needs one gradient for each parameter".to_owned());
        }
        if inputs[..scalars].iter().any(|x| x.shape.rank() != 0 || x.dtype != DType::F32) {
            return damaged(
                "what an optimizer update has before its gradients must be f32 scalars".to_owned(),
            );
        }
        self.rule.check()?;
        if self.written().any(|id| id.0 >= variables.len()) {
            return damaged("an optimizer update names a variable that is not there".to_owned());
        }
        let mut written: Vec<VariableId> = self.written().collect();
        written.sort_unstable();
        if let Some(pair) = written.windows(2).find(|pair| pair[0] == pair[1]) {
            let name = &variables[pair[0].0].name;
            return damaged(format!("an optimizer update writes variable `{name}` twice"));
        }
        let mut counters = vec![(self.step, DType::U32), (self.global_step, DType::U32)];
        if let Some(LossScale { scale, good_steps, scaling }) = &self.loss_scale {
            scaling.check()?;
            counters.extend([(*scale, DType::F32), (*good_steps, DType::U32)]);
        }
        if let Some(Accumulation { steps, accumulated }) = &self.accumulation {
            Accumulation::check(*steps)?;
            counters.push((*accumulated, DType::U32));
        }
        let slots = self.slots().len();
        for (id, dtype) in counters {
            let variable = &variables[id.0];
            if variable.dtype != dtype || variable.shape.rank() != 0 {
                return damaged(format!("`{}` must be a {dtype} scalar", variable.name));
            }
        }
        for (parameter, gradient) in self.parameters.iter().zip(&inputs[scalars..]) {
            if parameter.slots.len() != slots {
                return damaged("a parameter of an optimizer update lacks slots".to_owned());
            }
            if gradient.dtype != DType::F32 {
                let expected = "a gradient of f32".to_owned();
                return Err(Problem::DType { expected, found: gradient.dtype });
            }
            let ids = std::iter::once(parameter.variable).chain(parameter.slots.iter().copied());
            for variable in ids.map(|id| &variables[id.0]) {
                if variable.dtype != DType::F32 {
                    let expected = format!("`{}` as f32", variable.name);
                    return Err(Problem::DType { expected, found: variable.dtype });
                }
                if variable.shape != gradient.shape {
                    return Err(Problem::Shape {
                        what: format!("a gradient for variable `{}`", variable.name),
                        expected: variable.shape.clone(),
                        found: gradient.shape.clone(),
                    });
                }
            }
        }
        Ok((Shape::from([0]), DType::F32))
    }
}

impl GraphDef {
    /// Checks that updates can be made in one run: that no variable is written by two of them. Only
    /// a global step may be shared by optimizers; a run raises it by one. Naming an update twice
    /// changes nothing.
    ///
    /// # Errors
    /// [`Problem::WrittenTwice`] for each update that writes what an earlier one writes.
    pub fn check_updates(&self, updates: &[NodeId]) -> Result<(), GraphErrors> {
        // For each variable who writes it, and whether as the global step.
        let mut writers: BTreeMap<VariableId, (NodeId, bool)> = BTreeMap::new();
        let mut errors = Vec::new();
        let mut seen = BTreeSet::new();
        for &id in updates.iter().filter(|id| seen.insert(**id)) {
            let Some(node) = self.nodes.get(id.0) else { continue };
            let (written, global_step) = match &node.op {
                Op::Assign(variable) => (vec![*variable], None),
                Op::OptimizerUpdate(update) => {
                    (update.written().collect(), Some(update.global_step))
                }
                _ => continue,
            };
            let mut taken: BTreeMap<NodeId, Vec<String>> = BTreeMap::new();
            for variable in written {
                let counts = global_step == Some(variable);
                let &mut (first, shared) = writers.entry(variable).or_insert((id, counts));
                if first != id && !(shared && counts) {
                    taken.entry(first).or_default().push(self.variable(variable).name.clone());
                }
            }
            errors.extend(taken.into_iter().map(|(first, variables)| {
                let first = self.node(first);
                let (operation, first) = (first.op.name().to_owned(), first.location.clone());
                GraphError {
                    operation: node.op.name().to_owned(),
                    scope: node.scope.clone(),
                    location: node.location.clone(),
                    problem: Problem::WrittenTwice { variables, operation, first },
                }
            }));
        }
        if errors.is_empty() { Ok(()) } else { Err(GraphErrors(errors)) }
    }
}

pub(super) fn infer_assign(variable: &Variable, value: &Node) -> Result<(Shape, DType), Problem> {
    if variable.dtype != value.dtype {
        let expected = format!("{} for variable `{}`", variable.dtype, variable.name);
        return Err(Problem::DType { expected, found: value.dtype });
    }
    if variable.shape != value.shape {
        return Err(Problem::Shape {
            what: format!("a value for variable `{}`", variable.name),
            expected: variable.shape.clone(),
            found: value.shape.clone(),
        });
    }
    Ok((Shape::from([0]), DType::F32))
}

pub(super) fn infer_global_norm(inputs: &[&Node]) -> Result<(Shape, DType), Problem> {
    match inputs.iter().find(|x| x.dtype != DType::F32) {
        Some(x) => Err(Problem::DType { expected: "f32".to_owned(), found: x.dtype }),
        None => Ok((Shape::scalar(), DType::F32)),
    }
}

pub(super) fn evaluate_global_norm(inputs: &[&Value]) -> Vec<f64> {
    let squares = inputs.iter().flat_map(|x| x.elements.iter().map(|x| x * x));
    vec![squares.sum::<f64>().sqrt()]
}

/// d‖x‖ = x / ‖x‖, and 0 where the norm is 0.
pub(super) fn global_norm_gradient<'g>(
    norm: Tensor<'g>,
    inputs: &[Tensor<'g>],
    dy: Tensor<'g>,
) -> Vec<Option<Tensor<'g>>> {
    let zero = norm.number(0.0);
    let scale = norm.equal(zero).select(zero, dy / norm);
    inputs.iter().map(|&x| Some(x * scale)).collect()
}
