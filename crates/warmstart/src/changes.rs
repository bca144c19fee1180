//! What a run that goes on does otherwise than the run that saved its checkpoint.
//!
//! Neither the optimizer's settings nor the graph decide whether weights fit, and changing a
//! learning rate between two runs is ordinary. So a change is no error; but it is said, since a
//! change that nobody meant looks like training that has gone wrong.

use serde_json::Value;
use warmstart_checkpoint::Checkpoint;
use warmstart_graph::{GraphDef, Location, Node, NodeId, Op};

/// A sentence for the optimizer and one for the graph, if they are not as in the checkpoint.
/// `graph` is the checkpoint's graph and `optimizer` the run's optimizer as JSON.
pub(crate) fn changes(
    checkpoint: &Checkpoint,
    graph: Option<&GraphDef>,
    def: &GraphDef,
    optimizer: &str,
) -> Vec<String> {
    let mut told = Vec::new();
    let before = checkpoint.metadata().optimizer().and_then(|text| serde_json::from_str(text).ok());
    let now = serde_json::from_str(optimizer).ok();
    if let (Some(before), Some(now)) = (before, now) {
        let mut settings = Vec::new();
        compare("", &before, &now, &mut settings);
        if !settings.is_empty() {
            let settings = settings.join("; ");
            told.push(format!("the optimizer differs from the checkpoint's: {settings}"));
        }
    }
    // The optimizer's settings are in its nodes too, and need not be said twice.
    let known = !told.is_empty();
    told.extend(graph.and_then(|before| first_difference(before, def, known)));
    told
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

/// The first node that is not as it was, if there is one; lines that have moved are no difference.
fn first_difference(before: &GraphDef, now: &GraphDef, skip_updates: bool) -> Option<String> {
    let lines: Vec<&Location> =
        now.nodes.iter().filter(|node| node.op.is_update()).map(|node| &node.location).collect();
    let places = 0..before.nodes.len().max(now.nodes.len());
    for (at, id) in places.map(|at| (at, NodeId(at))) {
        let difference = match (before.nodes.get(at), now.nodes.get(at)) {
            (Some(old), Some(new)) if same(before, old, now, new) => continue,
            (_, Some(new)) if skip_updates && lines.contains(&&new.location) => continue,
            (Some(old), Some(new)) if old.op.name() != new.op.name() => {
                format!("{} was `{}`", now.describe(id), old.op.name())
            }
            (Some(old), Some(new)) if (&old.shape, old.dtype) != (&new.shape, new.dtype) => {
                let (old, was) = (format!("{} {}", new.dtype, new.shape), old);
                format!("{} is {old}, and was {} {}", now.describe(id), was.dtype, was.shape)
            }
            (Some(_), Some(_)) => format!("{} has other operands or settings", now.describe(id)),
            (None, Some(_)) => format!("{} is new", now.describe(id)),
            (Some(_), None) if skip_updates => return None,
            (Some(_), None) => format!("{} is gone", before.describe(id)),
            (None, None) => return None,
        };
        return Some(format!("the graph differs from the checkpoint's: {difference}"));
    }
    None
}

fn same(before: &GraphDef, old: &Node, now: &GraphDef, new: &Node) -> bool {
    let op = match (&old.op, &new.op) {
        // Indices follow the order of declaration, which means nothing.
        (Op::Variable(old), Op::Variable(new)) | (Op::Assign(old), Op::Assign(new)) => {
            let name = |def: &GraphDef, at: usize| def.variables.get(at).map(|v| v.name.clone());
            name(before, old.0) == name(now, new.0)
        }
        // NaN is the same constant as before.
        (Op::Constant(old), Op::Constant(new)) => old.to_le_bytes() == new.to_le_bytes(),
        (old, new) => old == new,
    };
    op && old.inputs == new.inputs && old.shape == new.shape && old.dtype == new.dtype
}

#[cfg(test)]
mod tests {
    use super::*;
    use warmstart_graph::{DType, Graph, LossScaling, Optimizer, Schedule, Tensor};

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
    }

    fn graph(rate: f32, layer: impl for<'g> Fn(Tensor<'g>) -> Tensor<'g>) -> GraphDef {
        let graph = Graph::new();
        let input = graph.placeholder("input", [4, 2], DType::F32);
        let hidden = layer(graph.scope("fc1").linear(input, 3));
        let loss = graph.scope("fc2").linear(hidden, 1).square().mean_all();
        Optimizer::sgd(rate).minimize(loss);
        graph.finish().expect("it fits together")
    }

    #[test]
    fn the_first_operation_that_differs_is_named_with_its_line() {
        let before = graph(0.1, |x| x.relu());
        // The same operation at another line.
        assert_eq!(first_difference(&before, &graph(0.1, |x| x.relu()), false), None);
        let told = first_difference(&before, &graph(0.1, |x| x.tanh()), false).expect("it differs");
        assert!(told.contains("`tanh` in scope `fc1` at "), "{told}");
        assert!(told.contains("changes.rs:") && told.ends_with(" was `relu`"), "{told}");
        let told = first_difference(&before, &graph(0.1, |x| x.relu().relu()), false);
        assert!(told.is_some());
    }

    #[test]
    fn an_optimizer_that_was_told_of_is_not_told_of_again() {
        let (before, now) = (graph(0.1, |x| x.relu()), graph(0.2, |x| x.relu()));
        assert!(first_difference(&before, &now, false).is_some());
        assert_eq!(first_difference(&before, &now, true), None);
        assert!(first_difference(&before, &graph(0.2, |x| x.tanh()), true).is_some());
    }
}
