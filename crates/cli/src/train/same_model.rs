//! Whether the model of a file is that of a checkpoint. Weights fit a model of the same shapes, but
//! what they say in it is of no run.
//!
//! Old weights in another network of the same shapes (tanh for relu) would get a score that is of
//! no checkpoint, so this is refused. What only trains (dropout, loss, the optimizer's settings,
//! schedule, steps) may change. So may loss scaling and gradient accumulation: their slots, and no
//! others, may be missing in the checkpoint or left out (`Job::tolerated`), with a note.

use super::network::{PREDICTION, PROBABILITIES};
use std::collections::{BTreeMap, HashSet};
use std::iter;
use warmstart::graph::ops::OptimizerUpdate;
use warmstart::graph::{GraphDef, Node, NodeId, Op, Shape, Variable};
use warmstart::is_computed_alike;

/// What makes two models predict otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference {
    Hidden,
    Activation,
}

impl Difference {
    /// The key under [model].
    pub fn key(self) -> &'static str {
        match self {
            Difference::Hidden => "hidden",
            Difference::Activation => "activation",
        }
    }

    pub fn described(self) -> &'static str {
        match self {
            Difference::Hidden => "other layers",
            Difference::Activation => "another activation",
        }
    }
}

fn prediction(def: &GraphDef) -> Option<NodeId> {
    [PROBABILITIES, PREDICTION].iter().find_map(|&name| def.names.get(name).copied())
}

/// How many rows at once the part of a graph takes that predicts. It is that of the device that a run
/// began on, and nothing by which models differ.
pub fn rows_at_once(def: &GraphDef) -> Option<usize> {
    nodes(def, prediction(def)?).find_map(|node| match &node.op {
        Op::Placeholder { shape, .. } => shape.first().copied(),
        _ => None,
    })
}

/// How the parts of two graphs that predict differ. What only trains, such as dropout, the loss and
/// the optimizer, is left out. A graph that names no prediction is not ours to judge.
pub fn difference(before: &GraphDef, now: &GraphDef) -> Option<Difference> {
    let (first, second) = (prediction(before)?, prediction(now)?);
    if variables(before, first) != variables(now, second) {
        return Some(Difference::Hidden);
    }
    let alike = is_computed_alike((before, first), (now, second));
    (!alike).then_some(Difference::Activation)
}

/// The units of each hidden layer of a model that was trained here.
pub fn hidden(def: &GraphDef) -> Vec<usize> {
    let units = |layer: usize| {
        let name = format!("fc{layer}/weight");
        let variable = def.variables.iter().find(|variable| variable.name == name)?;
        variable.shape.get(1).copied()
    };
    let mut layers: Vec<usize> = (1..).map_while(units).collect();
    // The last gives the output.
    layers.pop();
    layers
}

/// What a run that goes on keeps from when it began, although the file says otherwise now: keys, and
/// what they are about.
pub fn kept(before: &[Variable], now: &[Variable]) -> Vec<(&'static str, &'static str)> {
    let mut keys = Vec::new();
    for variable in now {
        let differs =
            |old: &&Variable| old.name == variable.name && old.initializer != variable.initializer;
        if before.iter().any(|old| differs(&old)) {
            keys.push(match variable.name.split('/').next() {
                Some("input") => ("data.scaling", "inputs are scaled as they were then"),
                Some("output") => ("data.scale_targets", "targets are scaled as they were then"),
                _ => ("model.initializer", "the weights are there already"),
            });
        }
    }
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// The variables that the optimizers of a graph keep for loss scaling.
pub fn loss_scaling(def: &GraphDef) -> Vec<&str> {
    let kept = updates(def).filter_map(|update| update.loss_scale.as_ref());
    let variables = kept.flat_map(|scaling| [scaling.scale, scaling.good_steps]);
    variables.map(|variable| def.variable(variable).name.as_str()).collect()
}

/// Those that they keep for gradient accumulation.
pub fn accumulation(def: &GraphDef) -> Vec<&str> {
    let kept = updates(def).filter_map(|update| Some((update, update.accumulation.as_ref()?)));
    let variables = kept.flat_map(|(update, accumulation)| {
        let last = update.parameters.iter().filter_map(|parameter| parameter.slots.last());
        last.copied().chain([accumulation.accumulated])
    });
    variables.map(|variable| def.variable(variable).name.as_str()).collect()
}

fn updates(def: &GraphDef) -> impl Iterator<Item = &OptimizerUpdate> {
    def.nodes.iter().filter_map(|node| match &node.op {
        Op::OptimizerUpdate(update) => Some(update),
        _ => None,
    })
}

/// The variables that a tensor depends on.
fn variables(def: &GraphDef, output: NodeId) -> BTreeMap<&str, &Shape> {
    let variables = nodes(def, output).filter_map(|node| match node.op {
        Op::Variable(variable) => Some((def.variable(variable).name.as_str(), &node.shape)),
        _ => None,
    });
    variables.collect()
}

/// The nodes that a tensor depends on, each once, itself first.
fn nodes(def: &GraphDef, output: NodeId) -> impl Iterator<Item = &Node> {
    let (mut open, mut seen) = (vec![output], HashSet::new());
    iter::from_fn(move || {
        while let Some(id) = open.pop() {
            if seen.insert(id) {
                let node = def.node(id);
                open.extend(&node.inputs);
                return Some(node);
            }
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use super::super::network::{self, Network, Shape};
    use super::super::scaling::Scale;
    use super::super::settings::{Scaling, Settings};
    use super::*;
    use warmstart::graph::{Graph, Location};

    fn model(keys: &str) -> GraphDef {
        model_of(256, keys)
    }

    fn model_of(rows_at_once: usize, keys: &str) -> GraphDef {
        let text = format!("[data]\nfile = \"a.csv\"\n{keys}");
        let settings: Settings = toml::from_str(&text).unwrap();
        let scale = Scale::learn(&[0.0, 1.0, 2.0, 3.0], 2, Scaling::None);
        let shape =
            Shape { inputs: 2, outputs: 3, batch: 2, rows_at_once, scale, target_scale: None };
        let graph = Graph::new();
        let line = |_: &str| Location::caller();
        Network::build(&graph, &settings, &network::optimizer(&settings, 10), &shape, &line);
        graph.finish().unwrap()
    }

    #[test]
    fn models_are_the_same_if_they_predict_the_same() {
        let all = ["relu", "leaky_relu", "gelu", "silu", "tanh", "sigmoid", "softplus"];
        let models = all.map(|name| model(&format!("[model]\nactivation = \"{name}\"\n")));
        for (at, before) in models.iter().enumerate() {
            // As it comes out of a checkpoint.
            let text = serde_json::to_string(before).unwrap();
            let before = serde_json::from_str(&text).unwrap();
            for (other, now) in models.iter().enumerate() {
                let expected = (at != other).then_some(Difference::Activation);
                assert_eq!(difference(&before, now), expected, "{} {}", all[at], all[other]);
            }
        }
        let before = &models[0];
        assert_eq!(rows_at_once(before), Some(256));
        assert_eq!(rows_at_once(&model_of(64, "")), Some(64));
        for trains in [
            "[model]\ndropout = 0.5\ninitializer = \"orthogonal\"\n",
            "[training]\nlabel_smoothing = 0.1\n",
            "[training]\ncompute_f16 = true\nkeep_f16 = true\nrecompute = true\n",
            "[optimizer]\nname = \"sgd\"\nlearning_rate = 0.5\nclip_global_norm = 1.0\n",
            "[schedule]\nkind = \"cosine\"\n",
        ] {
            assert_eq!(difference(before, &model(trains)), None, "{trains}");
        }
        for hidden in ["[64, 32]", "[64]", "[64, 64, 64]", "[]"] {
            let now = model(&format!("[model]\nhidden = {hidden}\n"));
            assert_eq!(format!("{:?}", super::hidden(&now)), hidden);
            assert_eq!(difference(before, &now), Some(Difference::Hidden), "{hidden}");
        }
    }
}
