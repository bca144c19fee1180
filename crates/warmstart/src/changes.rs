//! What a run that goes on does otherwise than the run that saved its checkpoint.
//!
//! Neither the optimizer's settings nor the graph decide whether weights fit, and changing a
//! learning rate between two runs is ordinary. So a change is no error; but it is said, since a
//! change that nobody meant looks like training that has gone wrong.

use crate::graph_changes::difference;
use serde_json::Value;
use std::collections::{HashMap, HashSet};
use std::fmt;
use warmstart_checkpoint::{Checkpoint, Outcome, RestorePlan};
use warmstart_graph::GraphDef;
use warmstart_graph::words::printable;

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
    // The optimizer's settings are in its nodes too, and need not be said twice.
    let known = !told.is_empty();
    let difference = graph.and_then(|before| difference(before, def, &renamed(plan), known));
    told.extend(difference.map(Change::Graph));
    told
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
    use warmstart_graph::{DType, Initializer, LossScaling, Optimizer, Role, Schedule, Variable};

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
