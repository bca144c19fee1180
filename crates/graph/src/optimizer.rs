//! Optimizers: builders of graphs whose slots are variables like any other.

use crate::ops::update::{OptimizerUpdate, Parameter};
use crate::ops::{Op, Rule};
use crate::{
    DType, Graph, Initializer, Location, Problem, Role, Schedule, Tensor, Update, Variable,
    VariableId, gradients,
};
use serde::{Deserialize, Serialize};

/// An optimizer: a rule, a learning rate and what is done to gradients before.
///
/// ```
/// use warmstart_graph::{DType, Graph, Optimizer, Schedule};
/// let graph = Graph::new();
/// let x = graph.placeholder("x", [64, 784], DType::F32);
/// let labels = graph.placeholder("labels", [64], DType::I32);
/// let loss = graph.scope("fc1").linear(x, 10).softmax_cross_entropy(labels);
/// let step = Optimizer::adam(Schedule::cosine(1e-3, 0.0, 10_000).warm_up(100))
///     .clip_global_norm(1.0)
///     .minimize(loss);
/// let def = graph.finish().unwrap();
/// let names: Vec<&str> = def.variables.iter().map(|v| v.name.as_str()).collect();
/// assert!(names.contains(&"fc1/weight/adam/m"));
/// # let _ = step;
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Optimizer {
    rule: Rule,
    learning_rate: Schedule,
    clip_global_norm: Option<f32>,
    name: String,
    no_decay: Vec<String>,
}

/// What [`Optimizer::minimize`] built.
#[derive(Clone, Debug)]
pub struct TrainStep<'g> {
    /// The update; a plan that runs it trains.
    pub update: Update<'g>,
    /// The learning rate of the step, a scalar.
    pub learning_rate: Tensor<'g>,
    /// √(Σ g²) over all gradients before clipping, a scalar. It costs nothing unless it is
    /// fetched or clipping is on.
    pub gradient_norm: Tensor<'g>,
    /// The trained variables' names, each with its gradient before clipping.
    pub gradients: Vec<(String, Tensor<'g>)>,
}

impl Optimizer {
    fn new(rule: Rule, learning_rate: impl Into<Schedule>) -> Optimizer {
        let name = rule.name().to_owned();
        let learning_rate = learning_rate.into();
        Optimizer { rule, learning_rate, clip_global_norm: None, name, no_decay: Vec::new() }
    }

    /// Plain stochastic gradient descent.
    pub fn sgd(learning_rate: impl Into<Schedule>) -> Optimizer {
        let rule = Rule::Sgd { momentum: 0.0, nesterov: false, weight_decay: 0.0 };
        Optimizer::new(rule, learning_rate)
    }

    /// Adam with β₁ = 0.9, β₂ = 0.999, ε = 10⁻⁸.
    pub fn adam(learning_rate: impl Into<Schedule>) -> Optimizer {
        let (beta1, beta2, epsilon) = (0.9, 0.999, 1e-8);
        let rule = Rule::Adam { beta1, beta2, epsilon, weight_decay: 0.0, decoupled: false };
        Optimizer::new(rule, learning_rate)
    }

    /// Adam with decoupled weight decay, 0.01 unless [set](Optimizer::weight_decay).
    pub fn adamw(learning_rate: impl Into<Schedule>) -> Optimizer {
        let (beta1, beta2, epsilon) = (0.9, 0.999, 1e-8);
        let rule = Rule::Adam { beta1, beta2, epsilon, weight_decay: 0.01, decoupled: true };
        Optimizer::new(rule, learning_rate)
    }

    /// Momentum of SGD; no effect on Adam.
    #[must_use]
    pub fn momentum(mut self, value: f32) -> Optimizer {
        if let Rule::Sgd { momentum, .. } = &mut self.rule {
            *momentum = value;
        }
        self
    }

    /// Nesterov's variant of momentum; no effect on Adam.
    #[must_use]
    pub fn nesterov(mut self) -> Optimizer {
        if let Rule::Sgd { nesterov, .. } = &mut self.rule {
            *nesterov = true;
        }
        self
    }

    /// Adam's decays of the two moments; no effect on SGD.
    #[must_use]
    pub fn betas(mut self, first: f64, second: f64) -> Optimizer {
        if let Rule::Adam { beta1, beta2, .. } = &mut self.rule {
            (*beta1, *beta2) = (first, second);
        }
        self
    }

    /// Adam's ε; no effect on SGD.
    #[must_use]
    pub fn epsilon(mut self, value: f32) -> Optimizer {
        if let Rule::Adam { epsilon, .. } = &mut self.rule {
            *epsilon = value;
        }
        self
    }

    /// Weight decay: an L2 penalty added to the gradient, or with AdamW acting on the weights.
    #[must_use]
    pub fn weight_decay(mut self, value: f32) -> Optimizer {
        match &mut self.rule {
            Rule::Sgd { weight_decay, .. } | Rule::Adam { weight_decay, .. } => {
                *weight_decay = value;
            }
        }
        self
    }

    /// Excludes variables from weight decay whose last name part is one of these, such as `bias`.
    #[must_use]
    pub fn no_decay(mut self, names: &[&str]) -> Optimizer {
        self.no_decay = names.iter().map(|&name| name.to_owned()).collect();
        self
    }

    /// Scales all gradients so that their common norm is at most `limit` (Pascanu et al. 2012):
    /// by `min(1, limit / (norm + 10⁻⁶))`, as `torch.nn.utils.clip_grad_norm_`.
    #[must_use]
    pub fn clip_global_norm(mut self, limit: f32) -> Optimizer {
        self.clip_global_norm = Some(limit);
        self
    }

    /// The name that is part of its slots' names, in place of the rule's (`adam`). Two optimizers
    /// in one graph need two names.
    #[must_use]
    pub fn named(mut self, name: &str) -> Optimizer {
        self.name = name.to_owned();
        self
    }

    /// Builds the training of every trainable variable that the loss depends on.
    #[track_caller]
    pub fn minimize<'g>(&self, loss: Tensor<'g>) -> TrainStep<'g> {
        loss.graph().at_line(Location::caller(), || self.build(loss, |_| true))
    }

    /// As [`Optimizer::minimize`], of those variables alone that are chosen, by name for instance.
    /// Several optimizers, each with its own variables, may train in one plan: all of them read the
    /// same global step, which one run raises by one.
    ///
    /// ```
    /// use warmstart_graph::{DType, Graph, Optimizer};
    /// let graph = Graph::new();
    /// let x = graph.placeholder("x", [8, 3], DType::F32);
    /// let loss = graph.scope("fc").linear(x, 1).square().mean_all();
    /// let bias = |name: &str| name.ends_with("/bias");
    /// let weights = Optimizer::adamw(1e-3).minimize_where(loss, |v| !bias(&v.name));
    /// let biases = Optimizer::sgd(1e-2).minimize_where(loss, |v| bias(&v.name));
    /// let def = graph.finish().unwrap();
    /// assert!(def.check_updates(&[weights.update.id(), biases.update.id()]).is_ok());
    /// ```
    #[track_caller]
    pub fn minimize_where<'g>(
        &self,
        loss: Tensor<'g>,
        chosen: impl Fn(&Variable) -> bool,
    ) -> TrainStep<'g> {
        loss.graph().at_line(Location::caller(), || self.build(loss, chosen))
    }

    fn build<'g>(&self, loss: Tensor<'g>, chosen: impl Fn(&Variable) -> bool) -> TrainStep<'g> {
        let graph = loss.graph();
        let mistakes = graph.mistakes();
        if let Some(problem) = self.unsuitable() {
            graph.record("minimize", "", problem);
        }
        let mut trainable: Vec<(VariableId, Variable)> = graph.with_def(|def| {
            let all = def.variables.iter().enumerate();
            all.filter(|(_, variable)| variable.role == Role::Trainable)
                .map(|(at, variable)| (VariableId(at), variable.clone()))
                .collect()
        });
        // The caller's function may look at the graph, which is not borrowed here.
        trainable.retain(|(_, variable)| chosen(variable));
        let reads: Vec<Tensor<'g>> =
            trainable.iter().map(|(id, _)| graph.add(Op::Variable(*id), &[], "")).collect();
        let trained: Vec<(VariableId, Variable, Tensor<'g>)> = trainable
            .into_iter()
            .zip(gradients(loss, &reads))
            .filter_map(|((id, variable), gradient)| Some((id, variable, gradient?)))
            .collect();
        // A loss without gradients is no second mistake.
        if trained.is_empty() && !loss.is_invalid() && graph.mistakes() == mistakes {
            graph.record("minimize", "", Problem::NothingToTrain);
        }

        let global_step = graph.global_step();
        let learning_rate = self.learning_rate.build(global_step);
        let all: Vec<Tensor<'g>> = trained.iter().map(|(_, _, gradient)| *gradient).collect();
        let gradient_norm = global_norm(graph, &all);
        let factor = match self.clip_global_norm {
            Some(limit) => (limit / (gradient_norm + 1e-6)).min(learning_rate.number(1.0)),
            None => learning_rate.number(1.0),
        };

        let step = self.slot(graph, None, "step", |role| {
            let name = format!("{}/step", self.name);
            Variable::new(name, [], DType::U32, Initializer::Zeros, role)
        });
        let parameters = trained.iter().map(|(id, variable, _)| {
            // One refusal is enough: with the step, the optimizer's name was refused.
            let slots = self.rule.slots().iter().filter(|_| step.is_some()).filter_map(|slot| {
                self.slot(graph, Some(&variable.name), slot, |role| {
                    let name = format!("{}/{}/{slot}", variable.name, self.name);
                    Variable::new(name, &variable.shape, DType::F32, Initializer::Zeros, role)
                })
            });
            let last = variable.name.rsplit('/').next().unwrap_or_default();
            let decays = !self.no_decay.iter().any(|name| name == last);
            Parameter { variable: *id, slots: slots.collect(), decays }
        });
        let parameters: Vec<Parameter> = parameters.collect();
        let update = match (step, variable_of(global_step)) {
            (Some(step), Some(global_step)) if graph.mistakes() == mistakes => {
                let rule = self.rule;
                let op =
                    Op::OptimizerUpdate(OptimizerUpdate { rule, parameters, step, global_step });
                learning_rate.apply(op, &[&[factor], &all[..]].concat())
            }
            // Something above was refused; the graph holds the error.
            _ => graph.add(Op::Invalid, &[], ""),
        };
        let gradients = trained.into_iter().map(|(_, v, gradient)| (v.name, gradient)).collect();
        TrainStep { update: Update { tensor: update }, learning_rate, gradient_norm, gradients }
    }

    /// What is wrong with the optimizer's numbers.
    fn unsuitable(&self) -> Option<Problem> {
        let limit = self.clip_global_norm.filter(|&limit| limit.is_nan() || limit <= 0.0);
        let limit = limit.map(|limit| Problem::Range {
            what: "the limit of the global norm".to_owned(),
            value: limit.into(),
            range: "above 0".to_owned(),
        });
        self.rule.check().err().or(limit)
    }

    fn slot(
        &self,
        graph: &Graph,
        variable: Option<&str>,
        slot: &str,
        declare: impl FnOnce(Role) -> Variable,
    ) -> Option<VariableId> {
        let role = Role::Slot {
            variable: variable.map(str::to_owned),
            optimizer: self.name.clone(),
            slot: slot.to_owned(),
        };
        variable_of(graph.declare(declare(role), false, ""))
    }
}

fn variable_of(tensor: Tensor<'_>) -> Option<VariableId> {
    tensor.graph().with(tensor.id(), |node| match node.op {
        Op::Variable(id) => Some(id),
        _ => None,
    })
}

/// √(Σ x²) over all elements of all tensors, a scalar; 0 for none.
#[track_caller]
pub fn global_norm<'g>(graph: &'g Graph, tensors: &[Tensor<'g>]) -> Tensor<'g> {
    match tensors {
        [] => graph.constant(0.0f32),
        [first, others @ ..] => first.apply(Op::GlobalNorm, others),
    }
}
