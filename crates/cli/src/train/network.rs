//! The graph of a run: a multilayer perceptron that takes data as it is in the file.
//!
//! One graph holds the part that trains, with dropout, and the part that predicts, in batches of
//! its own size; variables are shared by name (`Scope::reuse`). It has the lines of the training
//! file (`Graph::at_line`), those of the tables that each part is from: whoever looks at the model
//! later does not have the command's source. The optimizer is built last, so that another one moves
//! no other node.

use super::scaling::Scale;
use super::settings::{
    Activation, Loss, OptimizerName, OptimizerSettings, ScheduleKind, ScheduleSettings, Settings,
    WeightInitializer,
};
use warmstart::graph::{
    DType, Graph, Initializer, Location, LossScaling, Optimizer, Schedule, Scope, Tensor, Update,
};

/// Rows that the model is given at once when it is not trained, if they fit.
pub const ROWS_AT_ONCE: usize = 256;

/// What a model is made for.
#[derive(Clone)]
pub struct Shape {
    pub inputs: usize,
    /// Classes, or values to predict.
    pub outputs: usize,
    /// Rows of a step.
    pub batch: usize,
    /// Rows at once where nothing is trained.
    pub rows_at_once: usize,
    /// Of the inputs.
    pub scale: Scale,
    /// Of the targets of a regression; none of classes.
    pub target_scale: Option<Scale>,
}

/// The parts of the graph that are run.
pub struct Network<'g> {
    pub loss: Tensor<'g>,
    pub update: Update<'g>,
    /// Logits of classes, or values: what is validated.
    pub output: Tensor<'g>,
}

/// Placeholders of a step.
pub const BATCH_INPUT: &str = "batch/input";
pub const BATCH_TARGET: &str = "batch/target";

/// Names of what the model gives.
pub const LOGITS: &str = "logits";
pub const PROBABILITIES: &str = "probabilities";
pub const PREDICTION: &str = "prediction";

impl<'g> Network<'g> {
    /// One graph both to train and to predict with: whoever opens the checkpoint finds both.
    pub fn build(
        graph: &'g Graph,
        settings: &Settings,
        optimizer: &Optimizer,
        shape: &Shape,
        line: &dyn Fn(&str) -> Location,
    ) -> Network<'g> {
        graph.set_seed(settings.seed);
        let builder = Builder { graph, settings, shape, line };
        let input = builder.input("input", shape.rows_at_once);
        let output = builder.layers(input, false);
        let output = match &shape.target_scale {
            None => {
                graph.at_line(line("model"), || output.softmax()).named(PROBABILITIES);
                output.named(LOGITS)
            }
            Some(scale) => {
                let scaled = graph.at_line(line("data"), || {
                    let (offset, scale) = builder.scaling("output", scale);
                    output * scale + offset
                });
                scaled.named(PREDICTION)
            }
        };

        // Last, so that another optimizer moves no other node.
        let input = builder.input(BATCH_INPUT, shape.batch);
        let trained = builder.layers(input, true);
        let loss = graph.at_line(line("training"), || builder.loss(trained));
        let update = graph.at_line(line("optimizer"), || optimizer.minimize(loss).update);
        Network { loss: loss.named("loss"), update, output }
    }
}

struct Builder<'g, 'a> {
    graph: &'g Graph,
    settings: &'a Settings,
    shape: &'a Shape,
    /// The line of a table of the file that all this is built from.
    line: &'a dyn Fn(&str) -> Location,
}

impl<'g> Builder<'g, '_> {
    /// The scope in which the part that trains and the part that predicts share their variables.
    fn scope(&self, name: &str) -> Scope<'g> {
        self.graph.root().reuse().scope(name)
    }

    /// Offset and scale as variables that are not trained, so that they are in the checkpoint.
    fn scaling(&self, name: &str, scale: &Scale) -> (Tensor<'g>, Tensor<'g>) {
        let variable = |name_of: &str, values: &[f32]| {
            let initializer = Initializer::Values(values.to_vec());
            self.scope(name).state_of(name_of, [values.len()], DType::F32, initializer)
        };
        (variable("offset", &scale.offset), variable("scale", &scale.scale))
    }

    /// So many rows as they are in the file.
    fn input(&self, name: &str, rows: usize) -> Tensor<'g> {
        let shape = [rows, self.shape.inputs];
        self.graph.at_line((self.line)("data"), || self.graph.placeholder(name, shape, DType::F32))
    }

    /// To train, or to predict: then nothing is dropped, and all is `f32`.
    fn layers(&self, input: Tensor<'g>, trains: bool) -> Tensor<'g> {
        let scaled = self.graph.at_line((self.line)("data"), || {
            let (offset, scale) = self.scaling("input", &self.shape.scale);
            (input - offset) / scale
        });
        self.graph.at_line((self.line)("model"), || self.perceptron(scaled, trains))
    }

    fn perceptron(&self, mut hidden: Tensor<'g>, trains: bool) -> Tensor<'g> {
        let model = &self.settings.model;
        let dropout = if trains { model.dropout } else { 0.0 };
        for (at, &units) in model.hidden.iter().enumerate() {
            let name = format!("fc{}", at + 1);
            let layer = || {
                let hidden = activate(self.linear(&name, hidden, units), model.activation);
                hidden.dropout(&name, dropout)
            };
            hidden = if trains { self.hidden(layer) } else { layer() };
        }
        let name = format!("fc{}", model.hidden.len() + 1);
        let last = || self.linear(&name, hidden, self.shape.outputs);
        if trains { self.computed(last) } else { last() }
    }

    /// A hidden layer of the part that trains.
    fn hidden(&self, layer: impl FnOnce() -> Tensor<'g>) -> Tensor<'g> {
        let (training, root) = (&self.settings.training, self.graph.root());
        self.computed(|| match (training.keep_f16, training.recompute) {
            (false, false) => layer(),
            (true, false) => root.keep_f16(|_| layer()),
            (false, true) => root.recompute(|_| layer()),
            (true, true) => root.keep_f16(|scope| scope.recompute(|_| layer())),
        })
    }

    /// Any layer of the part that trains.
    fn computed(&self, layer: impl FnOnce() -> Tensor<'g>) -> Tensor<'g> {
        match self.settings.training.compute_f16 {
            true => self.graph.root().compute_f16(|_| layer()),
            false => layer(),
        }
    }

    fn linear(&self, name: &str, input: Tensor<'g>, units: usize) -> Tensor<'g> {
        let weight = match self.settings.model.initializer {
            WeightInitializer::GlorotUniform => Initializer::GlorotUniform,
            WeightInitializer::GlorotNormal => Initializer::GlorotNormal,
            WeightInitializer::HeUniform => Initializer::HeUniform,
            WeightInitializer::HeNormal => Initializer::HeNormal,
            WeightInitializer::Orthogonal => Initializer::Orthogonal { gain: 1.0 },
        };
        self.scope(name).linear_with(input, units, weight, Initializer::Zeros)
    }

    fn loss(&self, output: Tensor<'g>) -> Tensor<'g> {
        let training = &self.settings.training;
        let batch = self.shape.batch;
        let Some(scale) = &self.shape.target_scale else {
            let labels = self.graph.placeholder(BATCH_TARGET, [batch], DType::I32);
            return output.softmax_cross_entropy_smoothed(labels, training.label_smoothing);
        };
        let targets = self.graph.placeholder(BATCH_TARGET, [batch, self.shape.outputs], DType::F32);
        let (offset, scale) = self.scaling("output", scale);
        let targets = (targets - offset) / scale;
        match training.loss {
            Some(Loss::Huber) => output.huber(targets, training.huber_delta),
            _ => output.mean_squared_error(targets),
        }
    }
}

fn activate(tensor: Tensor<'_>, activation: Activation) -> Tensor<'_> {
    match activation {
        Activation::Relu => tensor.relu(),
        // The slope that PyTorch has.
        Activation::LeakyRelu => tensor.leaky_relu(0.01),
        Activation::Gelu => tensor.gelu(),
        Activation::Silu => tensor.silu(),
        Activation::Tanh => tensor.tanh(),
        Activation::Sigmoid => tensor.sigmoid(),
        Activation::Softplus => tensor.softplus(),
    }
}

/// The optimizer of a run, with a schedule for so many updates.
pub fn optimizer(settings: &Settings, updates: u64) -> Optimizer {
    let OptimizerSettings {
        name,
        learning_rate,
        momentum,
        nesterov,
        betas,
        epsilon,
        weight_decay,
        no_decay,
        clip_global_norm,
        loss_scaling,
    } = &settings.optimizer;
    let together = settings.training.gradient_accumulation_steps;
    let rate = schedule(&settings.schedule, *learning_rate, updates);
    let mut optimizer = match name {
        OptimizerName::Adam => Optimizer::adam(rate),
        OptimizerName::Adamw => Optimizer::adamw(rate),
        OptimizerName::Sgd => Optimizer::sgd(rate),
    };
    if let Some(momentum) = momentum {
        optimizer = optimizer.momentum(*momentum);
    }
    if *nesterov == Some(true) {
        optimizer = optimizer.nesterov();
    }
    if let Some([first, second]) = betas {
        optimizer = optimizer.betas(*first, *second);
    }
    if let Some(epsilon) = epsilon {
        optimizer = optimizer.epsilon(*epsilon);
    }
    if let Some(decay) = weight_decay {
        optimizer = optimizer.weight_decay(*decay);
    }
    if let Some(limit) = clip_global_norm {
        optimizer = optimizer.clip_global_norm(*limit);
    }
    if loss_scaling.unwrap_or(settings.training.compute_f16) {
        optimizer = optimizer.loss_scaling(LossScaling::new());
    }
    let no_decay: Vec<&str> = no_decay.iter().map(String::as_str).collect();
    optimizer.no_decay(&no_decay).gradient_accumulation_steps(together)
}

fn schedule(settings: &ScheduleSettings, rate: f32, updates: u64) -> Schedule {
    let ScheduleSettings { kind, warm_up, last, every, factor, .. } = *settings;
    let (every, factor) = (every.unwrap_or(1), factor.unwrap_or(1.0));
    let schedule = match kind {
        ScheduleKind::Constant => Schedule::Constant(rate),
        ScheduleKind::Cosine => {
            let after = updates.saturating_sub(warm_up.into()).max(1);
            let steps = settings.steps.unwrap_or(u32::try_from(after).unwrap_or(u32::MAX));
            Schedule::cosine(rate, last.unwrap_or(0.0), steps.into())
        }
        ScheduleKind::Step => Schedule::step(rate, every.into(), factor),
        ScheduleKind::Exponential => Schedule::exponential(rate, every.into(), factor),
    };
    if warm_up > 0 { schedule.warm_up(warm_up.into()) } else { schedule }
}
