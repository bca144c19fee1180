//! Which keys of the training file are not what they were when the checkpoint was saved that a run
//! goes on from. They ride in each checkpoint as JSON.
//!
//! They are held against the file where the run itself says that optimizer or graph differ
//! (`Begun::Restored`, `Change`); the metadata's key is `settings`.

use super::Job;
use super::accumulated::updates;
use super::settings::Settings;
use crate::error::Failure;
use crate::text::{self, short};
use serde::Serialize;
use serde_json::{Map, Value, json};
use warmstart::checkpoint::Checkpoint;
use warmstart::graph::{Optimizer, Schedule};
use warmstart::{Begun, Change};

/// The key in the checkpoint's metadata.
pub const KEY: &str = "settings";

/// Keys that change nothing about how weights are trained, or that a run keeps from its beginning.
const LEFT_OUT: [(&str, &[&str]); 3] = [
    ("model", &["hidden", "activation", "initializer"]),
    ("training", &["epochs", "steps", "log_every", "validate_every", "memory_limit"]),
    ("optimizer", &["name"]),
];

/// The keys by table, with a batch of so many rows.
pub fn keys(settings: &Settings, batch: usize) -> Result<Map<String, Value>, Failure> {
    let mut tables = Map::new();
    tables.insert("model".to_owned(), as_written(&settings.model)?);
    tables.insert("training".to_owned(), as_written(&settings.training)?);
    tables.insert("optimizer".to_owned(), as_written(&settings.optimizer)?);
    tables.insert("schedule".to_owned(), as_written(&settings.schedule)?);
    // What holds where nothing is said.
    tables["training"]["batch"] = json!(batch);
    for (table, keys) in LEFT_OUT {
        if let Some(table) = tables[table].as_object_mut() {
            keys.iter().for_each(|key| drop(table.remove(*key)));
        }
    }
    Ok(tables)
}

/// Through text: numbers have the digits that they are written with then.
fn as_written(table: &impl Serialize) -> Result<Value, Failure> {
    Ok(serde_json::from_str(&serde_json::to_string(table)?)?)
}

/// The keys that are not what they were, with both values, among those that are asked about by table
/// and key. One that an earlier version did not have is passed over.
fn differences(
    before: &Value,
    now: &Map<String, Value>,
    asked: impl Fn(&str, &str) -> bool,
) -> Vec<String> {
    let mut told = Vec::new();
    for (table, keys) in now {
        for (key, value) in
            keys.as_object().into_iter().flatten().filter(|(key, _)| asked(table, key))
        {
            if let Some(old) = before[table].get(key).filter(|old| *old != value) {
                told.push(format!("`{table}.{key}` was {}, now {}", said(old), said(value)));
            }
        }
    }
    told
}

/// A value as the file has it.
fn said(value: &Value) -> String {
    match value {
        Value::Null => "not said".to_owned(),
        value => value.to_string(),
    }
}

impl Job {
    /// Notes of what this run does otherwise than the one that saved its checkpoint: by the keys of
    /// the file, or else as the run itself tells it.
    pub fn changed(&self, begun: &Begun, optimizer: &Optimizer) -> Result<Vec<String>, Failure> {
        let Begun::Restored { report, changes, .. } = begun else { return Ok(Vec::new()) };
        if changes.is_empty() {
            return Ok(Vec::new());
        }
        let checkpoint = Checkpoint::open(report.file())?;
        let before =
            checkpoint.metadata().get(KEY).and_then(|text| serde_json::from_str(text).ok());
        let before: Value = before.unwrap_or_default();
        let now = keys(&self.settings, self.shape.batch)?;
        let rate = rate_jumps(&checkpoint, optimizer);
        let rate_tells_all = rate.is_some() && only_rate_differs(&checkpoint, optimizer);
        let (mut of_keys, mut others) = (Vec::new(), Vec::new());
        // Those of an accumulation that is taken away are told with the keys (`resumed.rs`).
        let changes = changes.iter().filter(|change| !matches!(change, Change::Accumulated(_)));
        for change in changes {
            let found = differences(&before, &now, |table, key| match change {
                // Loss scaling follows `compute_f16`, and is in the gradients.
                Change::Optimizer(_) => table != "model",
                Change::Graph(_) => ["model", "training"].contains(&table) || key == "loss_scaling",
                _ => false,
            });
            // Where the file has no other key, only its number of steps can have changed the schedule.
            let of_steps =
                matches!(change, Change::Optimizer(_)) && rate_tells_all && before.is_object();
            if found.is_empty() && !of_steps {
                others.push(change.to_string());
            }
            of_keys.extend(found);
        }
        of_keys.sort();
        of_keys.dedup();
        let mut notes = Vec::new();
        if !of_keys.is_empty() {
            notes.push(format!("changed from here on: {}", of_keys.join("; ")));
        }
        notes.extend(rate);
        notes.extend(others);
        Ok(notes)
    }
}

/// That a schedule of another length, or another schedule, has another learning rate where the run
/// goes on.
fn rate_jumps(checkpoint: &Checkpoint, optimizer: &Optimizer) -> Option<String> {
    let before = schedule_of(checkpoint)?;
    let settings = serde_json::to_value(optimizer).ok()?;
    let now: Schedule = serde_json::from_value(settings.get("learning_rate")?.clone()).ok()?;
    if matches!((&before, &now), (Schedule::Constant(_), Schedule::Constant(_))) {
        return None;
    }
    let step = checkpoint.step()?;
    // Where gradients are accumulated a schedule counts updates, and else steps.
    let (together_before, together_now) =
        (together(&optimizer_of(checkpoint)?), together(&settings));
    let counted = |together: u64| match together {
        1 => Some(("step", step)),
        _ => Some(("update", updates(checkpoint)?)),
    };
    let ((old_unit, old_place), (unit, place)) =
        (counted(together_before)?, counted(together_now)?);
    let (old, new) = (before.at(old_place), now.at(place));
    let changed = together_before != together_now;
    if let Some(last) = end(&now).filter(|&last| changed && place >= last) {
        return Some(format!(
            "the schedule has ended, at {unit} {last} of {place} that are done: the learning rate stays at {}; \
             `schedule.steps` makes it longer",
            short(new)
        ));
    }
    if (old - new).abs() <= 1e-6 * old.abs().max(new.abs()) {
        return None;
    }
    let why = match (end(&before), end(&now)) {
        (Some(old), Some(new)) if (old_unit, old) != (unit, new) => {
            format!("its schedule now ends at {unit} {new}, and not at {old_unit} {old}")
        }
        _ if old_unit != unit => format!("its schedule now counts {unit}s, and not {old_unit}s"),
        _ => "its schedule is another".to_owned(),
    };
    let after = match (old_unit, unit) {
        ("step", "step") => String::new(),
        _ => format!(", after {}", text::counted(updates(checkpoint)? as usize, "update")),
    };
    Some(format!(
        "the learning rate jumps from {} to {} at step {step}{after}: {why}",
        short(old),
        short(new)
    ))
}

/// Whether the optimizer of a checkpoint had all settings of this one but the learning rate.
fn only_rate_differs(checkpoint: &Checkpoint, optimizer: &Optimizer) -> bool {
    match (optimizer_of(checkpoint), as_written(optimizer)) {
        (Some(before), Ok(now)) => without_rate(before) == without_rate(now),
        _ => false,
    }
}

/// The settings of an optimizer but its learning rate. One that is off may be there or not.
fn without_rate(settings: Value) -> Value {
    let Value::Object(mut settings) = settings else { return settings };
    settings.retain(|key, value| key != "learning_rate" && !value.is_null());
    Value::Object(settings)
}

/// The optimizer by which the weights of a checkpoint were trained.
pub fn optimizer_of(checkpoint: &Checkpoint) -> Option<Value> {
    serde_json::from_str(checkpoint.metadata().optimizer()?).ok()
}

/// Of how many batches an optimizer makes an update.
pub fn together(optimizer: &Value) -> u64 {
    optimizer["gradient_accumulation_steps"].as_u64().unwrap_or(1).max(1)
}

/// Its learning rate.
pub fn schedule_of(checkpoint: &Checkpoint) -> Option<Schedule> {
    serde_json::from_value(optimizer_of(checkpoint)?.get("learning_rate")?.clone()).ok()
}

/// The step at which a cosine has come to its end.
fn end(schedule: &Schedule) -> Option<u64> {
    match schedule {
        Schedule::Cosine { steps, .. } => Some(*steps),
        Schedule::WarmUp { steps, then } => steps.checked_add(end(then)?),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(keys: &str) -> Settings {
        toml::from_str(&format!("[data]\nfile = \"a.csv\"\n{keys}")).unwrap()
    }

    #[test]
    fn keys_are_named_with_what_they_were_and_are() {
        let before = keys(&settings(""), 64).unwrap();
        let text = serde_json::to_string(&before).unwrap();
        let before: Value = serde_json::from_str(&text).unwrap();
        let all = |_: &str, _: &str| true;
        let told = |text: &str, batch| {
            differences(&before, &keys(&settings(text), batch).unwrap(), all).join("; ")
        };
        // What is said as it is without being said, and what does not train, is no difference.
        assert_eq!(told("[training]\nbatch = 64\nepochs = 3\nlog_every = 1\n", 64), "");
        assert_eq!(told("[model]\ndropout = 0.2\n", 64), "`model.dropout` was 0.0, now 0.2");
        assert_eq!(
            told("[optimizer]\nlearning_rate = 0.3\nclip_global_norm = 1.0\n", 32),
            "`optimizer.clip_global_norm` was not said, now 1.0; `optimizer.learning_rate` was 0.001, \
             now 0.3; `training.batch` was 64, now 32"
        );
        assert_eq!(
            told("[schedule]\nkind = \"cosine\"\n", 64),
            "`schedule.kind` was \"constant\", now \"cosine\""
        );
        // Of an earlier version, which kept none.
        assert!(differences(&Value::Null, &keys(&settings(""), 8).unwrap(), all).is_empty());
    }

    /// What no key of the file says must not go untold where the rate jumps too.
    #[test]
    fn settings_beside_the_learning_rate_are_seen() {
        let settings = |optimizer: Optimizer| without_rate(as_written(&optimizer).unwrap());
        let cosine = |steps| Optimizer::adam(Schedule::cosine(0.1, 0.0, steps));
        assert_eq!(settings(cosine(20)), settings(cosine(40)));
        assert_ne!(settings(cosine(20)), settings(cosine(40).epsilon(1e-7)));
        assert_ne!(settings(cosine(20)), settings(cosine(40).clip_global_norm(0.5)));
        // An earlier version had no such setting.
        let mut before = as_written(&cosine(20)).unwrap();
        before.as_object_mut().unwrap().remove("loss_scaling");
        assert_eq!(without_rate(before), settings(cosine(40)));
    }

    #[test]
    fn a_cosine_ends_after_its_warm_up() {
        assert_eq!(end(&Schedule::cosine(0.1, 0.0, 30).warm_up(10)), Some(40));
        assert_eq!(end(&Schedule::Constant(0.1)), None);
    }
}
