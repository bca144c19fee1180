//! The training runs in `fixtures/training`, which PyTorch made: read, and built as graphs. Tests
//! of other crates include this file with `#[path]`; it needs `safetensors` and `serde_json`.
#![allow(dead_code)]

use safetensors::SafeTensors;
use serde_json::Value as Json;
use std::path::PathBuf;
use warmstart_graph::{
    DType, Graph, GraphDef, NodeId, Optimizer, Schedule, Shape, Tensor, TensorData,
};

/// The runs.
pub const NAMES: [&str; 9] =
    ["adam", "adam_clip", "adamw", "cosine", "momentum", "mse", "nesterov", "odd_sizes", "sgd"];

/// A training run as PyTorch did it, in `f32`.
pub struct Trajectory {
    /// Its name.
    pub name: String,
    /// The loss of each step.
    pub losses: Vec<f64>,
    /// The gradients' global norm at each step, before clipping.
    pub gradient_norms: Vec<f64>,
    /// The learning rate of each step.
    pub learning_rates: Vec<f64>,
    /// Each variable's first value, in the order of declaration.
    pub initial: Vec<(String, TensorData)>,
    /// Each variable's last value: the sum of its elements, and of their magnitudes.
    pub last: Vec<(String, f64, f64)>,
    /// What is fed at each step, as `x` and `y`.
    pub batches: Vec<(TensorData, TensorData)>,
    settings: Json,
}

/// The graph of a run.
pub struct Training {
    /// The graph.
    pub def: GraphDef,
    /// The loss.
    pub loss: NodeId,
    /// The gradients' global norm, before clipping.
    pub gradient_norm: NodeId,
    /// The learning rate.
    pub learning_rate: NodeId,
    /// What trains.
    pub update: NodeId,
}

fn numbers(json: &Json) -> Vec<f64> {
    let all = json.as_array().expect("a list of numbers");
    all.iter().map(|x| x.as_f64().expect("a number")).collect()
}

impl Trajectory {
    /// Reads a run by name.
    ///
    /// # Panics
    /// If the fixture is not there or not what `make.py` writes.
    pub fn read(name: &str) -> Trajectory {
        let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/training"));
        let text = std::fs::read_to_string(folder.join(format!("{name}.json"))).expect("a run");
        let settings: Json = serde_json::from_str(&text).expect("JSON");
        let bytes = std::fs::read(folder.join(format!("{name}.safetensors"))).expect("its tensors");
        let tensors = SafeTensors::deserialize(&bytes).expect("safetensors");
        let tensor = |name: &str| {
            let view = tensors.tensor(name).expect("the tensor is there");
            let dtype = match view.dtype() {
                safetensors::Dtype::F32 => DType::F32,
                safetensors::Dtype::I32 => DType::I32,
                other => panic!("{name} is {other:?}"),
            };
            TensorData::from_le_bytes(view.shape(), dtype, view.data()).expect("whole elements")
        };
        let layers = settings["sizes"].as_array().expect("a list").len() - 1;
        let names: Vec<String> = (1..=layers)
            .flat_map(|layer| [format!("fc{layer}/weight"), format!("fc{layer}/bias")])
            .collect();
        let last = names.iter().map(|name| {
            let sum = |key: &str| settings["final"][name][key].as_f64().expect("a sum");
            (name.clone(), sum("sum"), sum("abs_sum"))
        });
        Trajectory {
            name: name.to_owned(),
            losses: numbers(&settings["losses"]),
            gradient_norms: numbers(&settings["grad_norms"]),
            learning_rates: numbers(&settings["lr"]),
            last: last.collect(),
            initial: names.iter().map(|name| (name.clone(), tensor(name))).collect(),
            batches: rows(&tensor("x")).into_iter().zip(rows(&tensor("y"))).collect(),
            settings,
        }
    }

    /// The graph of the run.
    ///
    /// # Panics
    /// If the graph does not fit together.
    pub fn build(&self) -> Training {
        self.build_of_parts(1)
    }

    /// The graph of the run, each batch of which is given in so many parts.
    ///
    /// # Panics
    /// If a batch has no such parts.
    pub fn build_of_parts(&self, parts: usize) -> Training {
        let graph = Graph::new();
        let (x, y) = &self.parts(parts)[0];
        let x = graph.placeholder("x", x.shape(), x.dtype());
        let y = graph.placeholder("y", y.shape(), y.dtype());
        let sizes: Vec<usize> =
            numbers(&self.settings["sizes"]).iter().map(|&n| n as usize).collect();
        let mut hidden = x;
        for (layer, &units) in sizes.iter().enumerate().skip(1) {
            hidden = graph.scope(&format!("fc{layer}")).linear(hidden, units);
            if layer + 1 < sizes.len() {
                hidden = self.activation(hidden);
            }
        }
        let loss = match self.settings["loss"].as_str() {
            Some("ce") => hidden.softmax_cross_entropy(y),
            Some("mse") => hidden.mean_squared_error(y),
            other => panic!("no loss {other:?}"),
        };
        let optimizer = self.optimizer().gradient_accumulation_steps(parts as u32);
        let step = optimizer.minimize(loss);
        Training {
            def: graph.finish().expect("the model fits together"),
            loss: loss.id(),
            gradient_norm: step.gradient_norm.id(),
            learning_rate: step.learning_rate.id(),
            update: step.update.id(),
        }
    }

    /// The batches, each cut into so many.
    ///
    /// # Panics
    /// If they have no such parts.
    pub fn parts(&self, parts: usize) -> Vec<(TensorData, TensorData)> {
        let cut = |data: &TensorData| {
            let count = data.shape()[0];
            assert_eq!(count % parts, 0, "{count} rows in {parts} parts");
            let shape = [&[parts, count / parts], &data.shape()[1..]].concat();
            let bytes = data.to_le_bytes();
            rows(&TensorData::from_le_bytes(shape, data.dtype(), &bytes).expect("the same rows"))
        };
        self.batches.iter().flat_map(|(x, y)| cut(x).into_iter().zip(cut(y))).collect()
    }

    fn activation<'g>(&self, x: Tensor<'g>) -> Tensor<'g> {
        match self.settings["activation"].as_str() {
            Some("relu") => x.relu(),
            Some("tanh") => x.tanh(),
            Some("sigmoid") => x.sigmoid(),
            Some("gelu") => x.gelu(),
            Some("gelu_tanh") => x.gelu_tanh(),
            other => panic!("no activation {other:?}"),
        }
    }

    /// The optimizer. A learning rate that changes is `CosineAnnealingLR` over the whole run.
    pub fn optimizer(&self) -> Optimizer {
        let first = self.learning_rates[0];
        let steps = self.learning_rates.len() as u64;
        let changes = self.learning_rates.iter().any(|&rate| rate != first);
        let rate = match changes {
            true => Schedule::cosine(first as f32, 0.0, steps),
            false => Schedule::from(first as f32),
        };
        let settings = &self.settings["optimizer"];
        let number = |key: &str| settings[key].as_f64().unwrap_or_default() as f32;
        let optimizer = match settings["name"].as_str() {
            Some("SGD") => Optimizer::sgd(rate).momentum(number("momentum")),
            Some("Adam") => Optimizer::adam(rate),
            Some("AdamW") => Optimizer::adamw(rate),
            other => panic!("no optimizer {other:?}"),
        };
        let optimizer = optimizer.weight_decay(number("weight_decay"));
        let optimizer = match settings["nesterov"].as_bool() {
            Some(true) => optimizer.nesterov(),
            _ => optimizer,
        };
        let optimizer = match settings["betas"].as_array() {
            Some(_) => {
                let betas = numbers(&settings["betas"]);
                optimizer.betas(betas[0], betas[1]).epsilon(number("eps"))
            }
            None => optimizer,
        };
        match self.settings["clip_global_norm"].as_f64() {
            Some(limit) => optimizer.clip_global_norm(limit as f32),
            None => optimizer,
        }
    }
}

/// The parts of a tensor along its first axis.
fn rows(data: &TensorData) -> Vec<TensorData> {
    let shape = Shape::from(&data.shape()[1..]);
    let bytes = data.to_le_bytes();
    let size = shape.elements() * data.dtype().size();
    let part = |bytes| TensorData::from_le_bytes(&shape, data.dtype(), bytes).expect("a whole row");
    bytes.chunks_exact(size).map(part).collect()
}
