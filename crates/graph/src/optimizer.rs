//! Optimizers: builders of graphs whose slots are variables like any other.

mod accumulate;
mod check;
mod slots;

use crate::ops::update::{OptimizerUpdate, Parameter};
use crate::ops::{Op, Rule};
use crate::{
    Accumulation, GLOBAL_STEP, Glob, Graph, GraphDef, Location, LossScale, LossScaling, Problem,
    Role, Schedule, Tensor, Update, Variable, VariableId, gradients,
};
use accumulate::Accumulated;
use check::excepts;
use serde::{Deserialize, Serialize};
use slots::variable_of;

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
    #[serde(default)]
    loss_scaling: Option<LossScaling>,
    /// Unless it is the usual one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    global_step: Option<String>,
    /// How many runs make an update, unless each does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gradient_accumulation_steps: Option<u32>,
    /// Settings that were given and are the other rule's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    foreign: Vec<String>,
}

/// What [`Optimizer::minimize`] built.
#[derive(Clone, Debug)]
pub struct TrainStep<'g> {
    /// The update; a plan that runs it trains.
    pub update: Update<'g>,
    /// The learning rate of the step, a scalar.
    pub learning_rate: Tensor<'g>,
    /// √(Σ g²) over all gradients before clipping, a scalar. It costs nothing unless it is
    /// fetched, or clipping or loss scaling is on. Under loss scaling a step is left out if it is not
    /// finite. Under [accumulation](Optimizer::gradient_accumulation_steps) it is that of the mean
    /// gradient of all batches since the last update.
    pub gradient_norm: Tensor<'g>,
    /// The trained variables' names, each with its gradient before clipping; under accumulation with
    /// the mean gradient of all batches since the last update.
    pub gradients: Vec<(String, Tensor<'g>)>,
    /// The scale of the loss in this step, a scalar, under [loss scaling](Optimizer::loss_scaling).
    pub loss_scale: Option<Tensor<'g>>,
}

impl Optimizer {
    fn new(rule: Rule, learning_rate: impl Into<Schedule>) -> Optimizer {
        let name = rule.name().to_owned();
        let learning_rate = learning_rate.into();
        Optimizer {
            rule,
            learning_rate,
            clip_global_norm: None,
            name,
            no_decay: Vec::new(),
            loss_scaling: None,
            global_step: None,
            gradient_accumulation_steps: None,
            foreign: Vec::new(),
        }
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

    /// Momentum of SGD. With Adam the graph is refused, as with all that is not the optimizer's.
    #[must_use]
    pub fn momentum(mut self, value: f32) -> Optimizer {
        match &mut self.rule {
            Rule::Sgd { momentum, .. } => *momentum = value,
            Rule::Adam { .. } => self.foreign.push("momentum".to_owned()),
        }
        self
    }

    /// Nesterov's variant of momentum, of SGD.
    #[must_use]
    pub fn nesterov(mut self) -> Optimizer {
        match &mut self.rule {
            Rule::Sgd { nesterov, .. } => *nesterov = true,
            Rule::Adam { .. } => self.foreign.push("nesterov".to_owned()),
        }
        self
    }

    /// Adam's decays of the two moments.
    #[must_use]
    pub fn betas(mut self, first: f64, second: f64) -> Optimizer {
        match &mut self.rule {
            Rule::Adam { beta1, beta2, .. } => (*beta1, *beta2) = (first, second),
            Rule::Sgd { .. } => self.foreign.push("betas".to_owned()),
        }
        self
    }

    /// Adam's ε.
    #[must_use]
    pub fn epsilon(mut self, value: f32) -> Optimizer {
        match &mut self.rule {
            Rule::Adam { epsilon, .. } => *epsilon = value,
            Rule::Sgd { .. } => self.foreign.push("epsilon".to_owned()),
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

    /// Excludes variables from weight decay: those that one of these [globs](Glob) matches, by the whole
    /// name, such as `**/norm*/weight`, or by what follows its last `/`; or, if the glob is of a single
    /// part, such as `bias`, by the last part. The graph is refused where one matches no trainable variable of it.
    ///
    /// ```
    /// use warmstart_graph::{DType, Graph, Optimizer};
    /// let graph = Graph::new();
    /// let x = graph.placeholder("x", [8, 4], DType::F32);
    /// let hidden = graph.scope("norm_1").layer_norm(x, 1e-5);
    /// let loss = graph.scope("fc").linear(hidden, 1).square().mean_all();
    /// // Of these variables `fc/weight` alone decays.
    /// let step = Optimizer::adamw(1e-3).no_decay(&["bias", "**/norm_*/weight"]).minimize(loss);
    /// # let _ = step;
    /// # assert!(graph.finish().is_ok());
    /// ```
    ///
    /// It is held against the variables that are there when `minimize` is called.
    #[must_use]
    pub fn no_decay(mut self, globs: &[&str]) -> Optimizer {
        self.no_decay = globs.iter().map(|&glob| glob.to_owned()).collect();
        self
    }

    /// Scales all gradients so that their common norm is at most `limit` (Pascanu et al. 2012):
    /// by `min(1, limit / (norm + 10⁻⁶))`, as `torch.nn.utils.clip_grad_norm_`.
    #[must_use]
    pub fn clip_global_norm(mut self, limit: f32) -> Optimizer {
        self.clip_global_norm = Some(limit);
        self
    }

    /// Takes the gradients of the loss times a scale, and divides them by it again: so small ones
    /// survive products of `f16`. The scale follows from the gradients, and a step whose gradients
    /// are not all finite is left out but for the global step, on the device; the rule is
    /// [`LossScaling`]'s. The fetched loss, norm and gradients are those of the loss itself. A norm
    /// beyond the range of `f32` counts as gradients that are not finite.
    ///
    /// ```
    /// use warmstart_graph::{DType, Graph, LossScaling, Optimizer};
    /// let graph = Graph::new();
    /// let x = graph.placeholder("x", [64, 8], DType::F32);
    /// let loss = graph.scope("fc").linear(x, 1).square().mean_all();
    /// let scaling = LossScaling::new().initial_scale(1024.0);
    /// let step = Optimizer::adam(1e-3).loss_scaling(scaling).minimize(loss);
    /// let def = graph.finish().unwrap();
    /// assert!(def.variables.iter().any(|variable| variable.name == "adam/loss_scale"));
    /// assert!(step.loss_scale.is_some());
    /// ```
    #[must_use]
    pub fn loss_scaling(mut self, scaling: LossScaling) -> Optimizer {
        self.loss_scaling = Some(scaling);
        self
    }

    /// Makes one update of so many runs, each with a batch of its own: what a run would make of all
    /// their examples at once, to rounding, where the loss is a mean over the batch. So the batch that an
    /// update is of may be larger than memory holds. (PyTorch: `loss / steps`, `backward` in each run,
    /// clipping and the optimizer's step after the last one.)
    ///
    /// Each run adds its gradients to a slot of each parameter, `fc1/weight/adam/gradient_accumulator`.
    /// The last of `steps` runs updates by their mean, and the slots begin again at 0. How many batches
    /// they hold is in `adam/accumulated_batches`. All of it is in a checkpoint, so a run that goes on
    /// in between goes on with what it had. If it goes on with fewer steps than are accumulated already,
    /// its first run makes the update, by the mean of them all.
    ///
    /// - What the optimizer itself counts is updates: the learning rate follows those that were made
    ///   (`adam/step`), as Adam's corrections do, and so do loss scaling's intervals. A schedule for one
    ///   large batch stays as it is.
    /// - All else counts runs: [`GLOBAL_STEP`](crate::GLOBAL_STEP) rises by one in each, so that
    ///   dropout differs from batch to batch, and so do a training loop's steps. Their number should be
    ///   a multiple of `steps`: what is accumulated when training ends is in no weight.
    /// - Clipping is of the mean gradient. Under [loss scaling](Optimizer::loss_scaling), an update is
    ///   left out if the mean is not finite, so one batch spoils the others too, as in PyTorch.
    ///
    /// A run has as many dispatches as without: gradients are added where they are computed. (Where a
    /// device binds few buffers, counters have one more; a plan prints it.) 1 is no accumulation, 0 or
    /// more than 2²⁴ is refused.
    ///
    /// ```
    /// use warmstart_graph::reference::{Reference, Value};
    /// use warmstart_graph::{DType, Graph, Initializer, Optimizer, TensorData};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let graph = Graph::new();
    /// let x = graph.placeholder("x", [2], DType::F32);
    /// let weight = graph.variable("weight", [2], Initializer::Zeros);
    /// let loss = (weight * x).sum_all(); // Its gradient is x.
    /// let step = Optimizer::sgd(0.1).gradient_accumulation_steps(2).minimize(loss);
    ///
    /// let def = graph.finish()?;
    /// let mut session = Reference::new(&def);
    /// for variable in &def.variables {
    ///     let elements = vec![0.0; variable.shape.elements()];
    ///     session.assign(&variable.name, Value { shape: variable.shape.clone(), elements });
    /// }
    /// let mut run = |x: [f32; 2]| -> Result<Vec<f64>, Box<dyn std::error::Error>> {
    ///     session.feed("x", &TensorData::new([2], x).ok_or("not two numbers")?);
    ///     session.run(&[step.update.id()])?;
    ///     Ok(session.variable("weight").map(|value| value.elements.clone()).unwrap_or_default())
    /// };
    /// assert_eq!(run([10.0, 20.0])?, [0.0, 0.0]); // Accumulated.
    /// let weight = run([30.0, 0.0])?; // The mean gradient is [20, 10].
    /// assert!((weight[0] + 2.0).abs() < 1e-6 && (weight[1] + 1.0).abs() < 1e-6);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn gradient_accumulation_steps(mut self, steps: u32) -> Optimizer {
        self.gradient_accumulation_steps = Some(steps).filter(|&steps| steps != 1);
        self
    }

    /// The name that is part of its slots' names, in place of the rule's (`adam`). Two optimizers
    /// in one graph need two names.
    #[must_use]
    pub fn named(mut self, name: &str) -> Optimizer {
        self.name = name.to_owned();
        self
    }

    /// The variable that counts its steps and that its schedule follows (unless gradients are accumulated:
    /// then the schedule follows the optimizer's count of updates), in place of
    /// [`GLOBAL_STEP`](crate::GLOBAL_STEP). Each run of a plan that trains raises the count by one. So
    /// where a step of training is runs of several plans, as of a generator and a discriminator in
    /// turn, all but one of the optimizers need a count of their own, or each schedule would go
    /// forward several steps at once. (Dropout follows the usual one, whatever is said here.)
    ///
    /// ```
    /// use warmstart_graph::{DType, Graph, Optimizer, Schedule};
    /// let graph = Graph::new();
    /// let x = graph.placeholder("x", [64, 8], DType::F32);
    /// let loss = graph.scope("discriminator").linear(x, 1).square().mean_all();
    /// Optimizer::adam(Schedule::cosine(1e-3, 0.0, 10_000))
    ///     .named("discriminator_adam")
    ///     .global_step("discriminator_step")
    ///     .minimize(loss);
    /// let def = graph.finish().unwrap();
    /// assert!(def.variables.iter().any(|variable| variable.name == "discriminator_step"));
    /// assert!(def.variables.iter().all(|variable| variable.name != "global_step"));
    /// ```
    #[must_use]
    pub fn global_step(mut self, name: &str) -> Optimizer {
        self.global_step = Some(name.to_owned()).filter(|name| name != GLOBAL_STEP);
        self
    }

    /// Whether an update of a graph is one that this optimizer has built, or one of its name, its rule with all
    /// settings, its accumulation and its loss scaling. The learning rate, clipping, what weight decay leaves
    /// out and the name of the global step are not looked at.
    ///
    /// ```
    /// use warmstart_graph::{DType, Graph, Op, Optimizer};
    ///
    /// let graph = Graph::new();
    /// let x = graph.placeholder("x", [4, 2], DType::F32);
    /// let adam = Optimizer::adam(0.1);
    /// adam.minimize(graph.scope("fc").linear(x, 1).square().mean_all());
    /// let def = graph.finish().unwrap();
    /// let update = def.nodes.iter().find_map(|node| match &node.op {
    ///     Op::OptimizerUpdate(update) => Some(update),
    ///     _ => None,
    /// });
    /// assert!(adam.built(&def, update.unwrap()));
    /// assert!(!Optimizer::sgd(0.1).built(&def, update.unwrap()));
    /// ```
    pub fn built(&self, def: &GraphDef, update: &OptimizerUpdate) -> bool {
        let step = def.variables.get(update.step.0).map(|step| &step.role);
        let is_named =
            matches!(step, Some(Role::Slot { optimizer, .. }) if *optimizer == self.name);
        let accumulates = |accumulation: &Accumulation| Some(accumulation.steps);
        let scaling = update.loss_scale.as_ref().map(|loss_scale| loss_scale.scaling);
        is_named
            && self.rule == update.rule
            && self.loss_scaling == scaling
            && self.gradient_accumulation_steps
                == update.accumulation.as_ref().and_then(accumulates)
    }

    /// Builds the training of every trainable variable that the loss depends on.
    #[track_caller]
    pub fn minimize<'g>(&self, loss: Tensor<'g>) -> TrainStep<'g> {
        loss.graph().at_line(Location::caller(), || self.build(loss, |_| true))
    }

    /// As [`Optimizer::minimize`], of those variables alone that are chosen, by name for instance.
    /// Several optimizers, each with its own variables, may train in one plan: all of them read the
    /// same global step, which one run raises by one. (In plans of their own they raise it once each:
    /// see [`Optimizer::global_step`].)
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
        for problem in self.unsuitable() {
            graph.record("minimize", "", problem);
        }
        let mut trainable: Vec<(VariableId, Variable)> = graph.with_def(|def| {
            let all = def.variables.iter().enumerate();
            all.filter(|(_, variable)| variable.role == Role::Trainable)
                .map(|(at, variable)| (VariableId(at), variable.clone()))
                .collect()
        });
        let unmatched = self.unmatched(&trainable);
        // The caller's function may look at the graph, which is not borrowed here.
        trainable.retain(|(_, variable)| chosen(variable));
        let reads: Vec<Tensor<'g>> =
            trainable.iter().map(|(id, _)| graph.add(Op::Variable(*id), &[], &self.name)).collect();
        let scaling = self.loss_scaling.and_then(|scaling| self.loss_scale(graph, scaling));
        // The optimizer's name was refused, which is said once.
        let refused = self.loss_scaling.is_some() && scaling.is_none();
        let loss_scale = scaling.as_ref().map(|&(_, scale)| scale);
        let scaled = loss_scale.map_or(loss, |scale| loss * scale);
        let trained: Vec<(VariableId, Variable, Tensor<'g>)> = trainable
            .into_iter()
            .zip(gradients(scaled, &reads))
            .filter_map(|((id, variable), gradient)| Some((id, variable, gradient?)))
            .collect();
        // A loss without gradients is no second mistake.
        if trained.is_empty() && !loss.is_invalid() && graph.mistakes() == mistakes {
            graph.record("minimize", "", Problem::NothingToTrain);
        }
        // What is wrong with a loss may also be why a variable is not there.
        let unmatched = unmatched.into_iter().filter(|_| !loss.is_invalid() && !trained.is_empty());
        unmatched.for_each(|problem| graph.record("minimize", "", problem));

        let global_step = graph.step_count(self.global_step.as_deref().unwrap_or(GLOBAL_STEP));
        let minimized = Minimized { loss, trained, scaling, refused, mistakes };
        // What follows is of no layer, wherever the gradients come from.
        graph.in_scope(Location::caller(), &self.name, || self.update(minimized, global_step))
    }

    /// The learning rate, the clipping and the update, from gradients.
    fn update<'g>(&self, minimized: Minimized<'g>, global_step: Tensor<'g>) -> TrainStep<'g> {
        let Minimized { loss, trained, scaling, refused, mistakes } = minimized;
        let graph = loss.graph();
        let loss_scale = scaling.as_ref().map(|&(_, scale)| scale);
        let accumulated = self.accumulate(&trained, loss_scale, refused);
        let count = accumulated.as_ref().map_or(global_step, |accumulated| accumulated.step);
        let learning_rate = self.learning_rate.build(count);
        // The gradients, and what makes those of the loss itself of them, or their mean.
        let (all, share): (Vec<Tensor<'g>>, _) = match &accumulated {
            None => {
                let all = trained.iter().map(|(_, _, gradient)| *gradient);
                (all.collect(), loss_scale.map(|scale| 1.0 / scale))
            }
            Some(Accumulated { sums, batches, .. }) => (sums.clone(), Some(1.0 / *batches)),
        };
        let shared = |x: Tensor<'g>| share.map_or(x, |share| x * share);
        let gradient_norm = shared(global_norm(graph, &all));
        let factor = match self.clip_global_norm {
            Some(limit) => shared((limit / (gradient_norm + 1e-6)).min(learning_rate.number(1.0))),
            None => share.unwrap_or_else(|| learning_rate.number(1.0)),
        };

        let refused =
            refused || self.gradient_accumulation_steps.is_some() && accumulated.is_none();
        let step = match &accumulated {
            Some(accumulated) => variable_of(accumulated.step),
            None => (!refused).then(|| self.step(graph)).and_then(variable_of),
        };
        // One that is none was refused.
        let no_decay: Vec<Glob> =
            self.no_decay.iter().filter_map(|glob| Glob::new(glob).ok()).collect();
        let parameters = trained.iter().enumerate().map(|(at, (id, variable, _))| {
            // One refusal is enough: with the step, the optimizer's name was refused.
            let slots = self.rule.slots().iter().filter(|_| step.is_some());
            let slots = slots.map(|slot| self.slot_of(graph, variable, slot));
            let accumulator = accumulated.iter().map(|accumulated| accumulated.accumulators[at]);
            let slots = slots.chain(accumulator).filter_map(variable_of).collect();
            let decays = !no_decay.iter().any(|glob| excepts(glob, &variable.name));
            Parameter { variable: *id, slots, decays }
        });
        let parameters: Vec<Parameter> = parameters.collect();
        let update = match (step, variable_of(global_step)) {
            (Some(step), Some(global_step)) if graph.mistakes() == mistakes => {
                let (rule, norm) = (self.rule, scaling.is_some().then_some(gradient_norm));
                let loss_scale = scaling.map(|(loss_scale, _)| loss_scale);
                let batches = accumulated.as_ref().map(|accumulated| accumulated.batches);
                let accumulation = accumulated.map(|accumulated| accumulated.accumulation);
                let update = OptimizerUpdate {
                    rule,
                    parameters,
                    step,
                    global_step,
                    loss_scale,
                    accumulation,
                };
                let scalars: Vec<Tensor<'g>> =
                    [factor].into_iter().chain(norm).chain(batches).collect();
                learning_rate.apply(Op::OptimizerUpdate(update), &[&scalars[..], &all].concat())
            }
            // Something above was refused; the graph holds the error.
            _ => graph.add(Op::Invalid, &[], ""),
        };
        let names = trained.into_iter().map(|(_, variable, _)| variable.name);
        let gradients = names.zip(all.into_iter().map(shared)).collect();
        let update = Update { tensor: update };
        TrainStep { update, learning_rate, gradient_norm, gradients, loss_scale }
    }
}

/// A loss with its gradients.
struct Minimized<'g> {
    loss: Tensor<'g>,
    trained: Vec<(VariableId, Variable, Tensor<'g>)>,
    scaling: Option<(LossScale, Tensor<'g>)>,
    /// Whether the optimizer's name was.
    refused: bool,
    /// How many mistakes the graph had before.
    mistakes: usize,
}

/// √(Σ x²) over all elements of all tensors, a scalar; 0 for none.
#[track_caller]
pub fn global_norm<'g>(graph: &'g Graph, tensors: &[Tensor<'g>]) -> Tensor<'g> {
    match tensors {
        [] => graph.constant(0.0f32),
        [first, others @ ..] => first.apply(Op::GlobalNorm, others),
    }
}
