//! What a run that goes on does otherwise than the run that saved its checkpoint.
//!
//! Neither the optimizer's settings nor the graph decide whether weights fit, and changing a
//! learning rate between two runs is ordinary. So a change is no error; but it is said, since a
//! change that nobody meant looks like training that has gone wrong.

use crate::graph_changes::difference;
use serde_json::Value;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use warmstart_checkpoint::{Checkpoint, Outcome, RestorePlan};
use warmstart_graph::words::{first_few, printable};
use warmstart_graph::{GraphDef, Op};

/// Variables that are named in one sentence.
const SHOWN: usize = 4;

/// Something that a run does otherwise than the run that saved its checkpoint; a sentence says what.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// The optimizer has other settings.
    Optimizer(String),
    /// The graph computes something else.
    Graph(String),
    /// Rules of [`Training::restore_options`](crate::Training::restore_options) were not followed.
    Rules(String),
    /// Batches that wait in the checkpoint for the rest of their update are not restored.
    Accumulated(String),
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Change::Optimizer(sentence)
        | Change::Graph(sentence)
        | Change::Rules(sentence)
        | Change::Accumulated(sentence)) = self;
        f.write_str(&printable(sentence))
    }
}

/// What the optimizer and the graph do otherwise, if they are not as in the checkpoint.
/// `graph` is the checkpoint's graph, `plan` what is restored from it, and `optimizer` the run's optimizer
/// as JSON.
pub(crate) fn changes(
    checkpoint: &Checkpoint,
    graph: Option<&GraphDef>,
    plan: &RestorePlan,
    def: &GraphDef,
    optimizer: &str,
) -> Vec<Change> {
    let mut told = Vec::new();
    let before = checkpoint.metadata().optimizer().and_then(|text| serde_json::from_str(text).ok());
    let now = serde_json::from_str(optimizer).ok();
    if let (Some(before), Some(now)) = (before, now) {
        let mut settings = Vec::new();
        compare("", &before, &now, &mut settings);
        if !settings.is_empty() {
            let settings = settings.join("; ");
            let sentence = format!("the optimizer differs from the checkpoint's: {settings}");
            told.push(Change::Optimizer(sentence));
        }
    }
    let Some(before) = graph else { return told };
    let renamed = renamed(plan);
    let others = trains_others(before, def, &renamed);
    // The optimizer's settings are in its nodes too, and so is what it trains: neither need be said twice.
    // The gradients of what is trained from here on are nodes of their own, and told below it.
    let known = !told.is_empty() || others.is_some();
    let difference = difference(before, def, &renamed, known);
    told.extend([others, difference].into_iter().flatten().map(Change::Graph));
    told
}

/// That variables which both graphs have are trained in one of them only, as when layers are frozen.
fn trains_others(
    before: &GraphDef,
    now: &GraphDef,
    renamed: &HashMap<&str, &str>,
) -> Option<String> {
    let name = |old: &'_ str| renamed.get(old).map_or(old.to_owned(), |new| (*new).to_owned());
    let own = |name: &str| name.to_owned();
    let (had, has) = (names(before, &name), names(now, &own));
    let (trained_before, trained_now) = (trained(before, &name), trained(now, &own));
    let only = |of: &BTreeSet<String>, other: &BTreeSet<String>, known: &BTreeSet<String>| {
        let only = of.difference(other).filter(|name| known.contains(*name));
        let only: Vec<String> = only.map(|name| format!("`{}`", printable(name))).collect();
        (!only.is_empty()).then(|| first_few(only.iter(), SHOWN))
    };
    let unfrozen = only(&trained_now, &trained_before, &had).map(|names| {
        format!("trains {names}, which the run that saved the checkpoint did not train")
    });
    let frozen = only(&trained_before, &trained_now, &has).map(|names| {
        format!("no longer trains {names}, which the run that saved the checkpoint trained")
    });
    let told: Vec<String> = [unfrozen, frozen].into_iter().flatten().collect();
    (!told.is_empty()).then(|| format!("this run {}", told.join(", and ")))
}

/// The names of all variables.
fn names(def: &GraphDef, name: &impl Fn(&str) -> String) -> BTreeSet<String> {
    def.variables.iter().map(|variable| name(&variable.name)).collect()
}

/// The names of the variables that optimizers train.
fn trained(def: &GraphDef, name: &impl Fn(&str) -> String) -> BTreeSet<String> {
    let updates = def.nodes.iter().filter_map(|node| match &node.op {
        Op::OptimizerUpdate(update) => Some(&update.parameters),
        _ => None,
    });
    updates.flatten().map(|parameter| name(&def.variable(parameter.variable).name)).collect()
}

/// The variables whose tensors have other names in the checkpoint, by these. A tensor that is also the
/// value of the variable of its own name is that one's.
fn renamed(plan: &RestorePlan) -> HashMap<&str, &str> {
    let all = plan.variables().iter().filter_map(|v| match &v.outcome {
        Outcome::Restored { tensor, .. }
        | Outcome::ShapeMismatch { tensor, .. }
        | Outcome::DTypeMismatch { tensor, .. } => {
            Some((tensor.as_str(), v.variable.name.as_str()))
        }
        _ => None,
    });
    let (own, others): (Vec<_>, Vec<_>) = all.partition(|(tensor, name)| tensor == name);
    let own: HashSet<&str> = own.into_iter().map(|(tensor, _)| tensor).collect();
    others.into_iter().filter(|(tensor, _)| !own.contains(tensor)).collect()
}

/// Lists the settings that differ, by name.
fn compare(name: &str, before: &Value, now: &Value, told: &mut Vec<String>) {
    let (Value::Object(old), Value::Object(new)) = (before, now) else {
        if before != now {
            told.push(format!("{name} {}, now {}", plain(before), plain(now)));
        }
        return;
    };
    // A setting that was not there yet was off.
    let mut keys: Vec<&String> = old.keys().chain(new.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    if !name.is_empty() && !old.keys().eq(new.keys()) {
        told.push(format!("{name} {}, now {}", plain(before), plain(now)));
        return;
    }
    for key in keys {
        let inner = match (name, key.as_str()) {
            ("", key) => key.to_owned(),
            // The name of an enum's variant says nothing that its fields do not.
            (name, _) if new.len() == 1 => name.to_owned(),
            (name, key) => format!("{name}.{key}"),
        };
        let value = |settings: &serde_json::Map<String, Value>| {
            settings.get(key).cloned().unwrap_or(Value::Null)
        };
        compare(&inner, &value(old), &value(new), told);
    }
}

/// JSON without what only machines need.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        other => other.to_string().replace(['"', '{', '}'], "").replace([':', ','], " "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use warmstart_checkpoint::RestoreOptions;
    use warmstart_graph::{
        DType, Graph, Initializer, LossScaling, Optimizer, Role, Schedule, Variable,
    };

    #[test]
    fn a_tensor_of_two_variables_is_that_of_its_own_name() {
        let directory = tempfile::tempdir().expect("a folder for the test");
        let file = directory.path().join("m.safetensors");
        let header = r#"{"w":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}"#;
        let length = (header.len() as u64).to_le_bytes();
        std::fs::write(&file, [&length[..], header.as_bytes(), &[0; 4]].concat()).expect("written");
        let checkpoint = Checkpoint::open(&file).expect("it is whole");
        let names = |variables: &[&str]| {
            let variable = |name: &&str| {
                Variable::new(*name, [], DType::F32, Initializer::Zeros, Role::Trainable)
            };
            let variables: Vec<Variable> = variables.iter().map(variable).collect();
            let options = RestoreOptions::new().assignment_map([("w", "w"), ("w", "copy")]);
            let plan = checkpoint.plan_for(&variables, &options);
            assert_eq!(plan.restored().count(), variables.len(), "{plan}");
            let renamed = renamed(&plan);
            renamed.into_iter().map(|(old, new)| (old.to_owned(), new.to_owned())).collect()
        };
        for both in [["w", "copy"], ["copy", "w"]] {
            let renamed: Vec<(String, String)> = names(&both);
            assert!(renamed.is_empty(), "{renamed:?}");
        }
        assert_eq!(names(&["copy"]), [("w".to_owned(), "copy".to_owned())]);
    }

    /// A graph of two layers, of which the first may be frozen, or called otherwise.
    fn two_layers(first: &str, frozen: bool) -> GraphDef {
        let graph = Graph::new();
        let x = graph.placeholder("x", [2, 3], DType::F32);
        let labels = graph.placeholder("labels", [2], DType::I32);
        let scope = graph.scope(first);
        let scope = if frozen { scope.frozen() } else { scope };
        let hidden = scope.linear(x, 4).relu();
        let logits = graph.scope("fc2").linear(hidden, 2);
        Optimizer::sgd(0.1).minimize(logits.softmax_cross_entropy(labels));
        graph.finish().expect("it is whole")
    }

    #[test]
    fn layers_that_are_trained_or_frozen_from_here_on_are_named() {
        let (open, frozen) = (two_layers("fc1", false), two_layers("fc1", true));
        let none = HashMap::new();
        let told = |before: &GraphDef, now: &GraphDef| trains_others(before, now, &none);
        assert_eq!(told(&open, &open), None);
        assert_eq!(
            told(&frozen, &open).expect("it trains others"),
            "this run trains `fc1/bias`, `fc1/weight`, which the run that saved the checkpoint did not train"
        );
        assert_eq!(
            told(&open, &frozen).expect("it trains fewer"),
            "this run no longer trains `fc1/bias`, `fc1/weight`, which the run that saved the checkpoint trained"
        );
        // Other variables are another graph, unless rules rename them.
        let renamed = two_layers("first", false);
        assert_eq!(told(&frozen, &renamed), None);
        let names = HashMap::from([("fc1/weight", "first/weight"), ("fc1/bias", "first/bias")]);
        let told = trains_others(&frozen, &renamed, &names).expect("it trains others");
        assert!(told.starts_with("this run trains `first/bias`, `first/weight`"), "{told}");
    }

    fn settings(before: &Optimizer, now: &Optimizer) -> Vec<String> {
        let value = |optimizer: &Optimizer| {
            let text = serde_json::to_string(optimizer).expect("it has no maps");
            serde_json::from_str(&text).expect("it was just written")
        };
        let mut told = Vec::new();
        compare("", &value(before), &value(now), &mut told);
        told
    }

    #[test]
    fn settings_are_named_with_both_values() {
        let sgd = || Optimizer::sgd(0.01);
        assert!(settings(&sgd(), &sgd()).is_empty());
        assert_eq!(settings(&sgd(), &Optimizer::sgd(10.0)), ["learning_rate 0.01, now 10.0"]);
        assert_eq!(settings(&sgd(), &sgd().momentum(0.9)), ["rule.momentum 0.0, now 0.9"]);
        let clipped = settings(&sgd(), &sgd().clip_global_norm(0.5));
        assert_eq!(clipped, ["clip_global_norm none, now 0.5"]);
        let cosine = |steps| Optimizer::sgd(Schedule::cosine(0.1, 0.0, steps));
        assert_eq!(settings(&cosine(10), &cosine(20)), ["learning_rate.steps 10, now 20"]);
        let other = settings(&sgd(), &cosine(20));
        assert!(other[0].starts_with("learning_rate constant 0.01, now cosine "), "{other:?}");
    }

    #[test]
    fn a_setting_that_an_earlier_version_did_not_have_is_off() {
        let mut before = serde_json::to_value(Optimizer::adam(0.1)).expect("it has no maps");
        before.as_object_mut().expect("settings have names").remove("loss_scaling");
        let told = |now: Optimizer| {
            let now = serde_json::to_value(now).expect("it has no maps");
            let mut told = Vec::new();
            compare("", &before, &now, &mut told);
            told
        };
        assert!(told(Optimizer::adam(0.1)).is_empty());
        let scaled = told(Optimizer::adam(0.1).loss_scaling(LossScaling::new()));
        assert!(scaled[0].starts_with("loss_scaling none, now "), "{scaled:?}");
        let accumulated = told(Optimizer::adam(0.1).gradient_accumulation_steps(4));
        assert_eq!(accumulated, ["gradient_accumulation_steps none, now 4"]);
    }
}
