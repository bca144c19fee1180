//! What rides in a checkpoint beside the weights, as strings under `__metadata__`.
//!
//! All of it is optional: a file that another program wrote has none of our keys and restores all
//! the same. Keys that begin with `warmstart.` are ours; all others are the user's.

use crate::bytes::text::Text;
use crate::entries::{
    Entries, FORMAT_VERSION, GRAPH, METRIC, OPTIMIZER, PREFIX, RULES, SEED, STEP, TIME, VARIABLES,
    VERSION,
};
use crate::error::CheckpointError;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use warmstart_graph::Variable;

/// The strings of a checkpoint, read.
#[derive(Clone, Debug)]
pub struct Metadata {
    file: PathBuf,
    entries: Arc<Entries>,
    step: Option<u64>,
    seed: Option<u64>,
    time: Option<SystemTime>,
    metrics: BTreeMap<String, f64>,
}

impl Metadata {
    /// Reads the entries that restoring needs; those that need a longer look wait until asked for.
    pub(crate) fn read(
        file: &Path,
        entries: BTreeMap<String, Text>,
    ) -> Result<Metadata, CheckpointError> {
        let entries = Arc::new(Entries(entries));
        if let Some(found) = number::<u32>(file, &entries, VERSION)? {
            let (file, known) = (file.to_owned(), FORMAT_VERSION);
            match found.cmp(&known) {
                Ordering::Greater => {
                    return Err(CheckpointError::NewerVersion { file, found, known });
                }
                Ordering::Less => {
                    return Err(CheckpointError::OlderVersion { file, found, known });
                }
                Ordering::Equal => {}
            }
        }
        let step = number(file, &entries, STEP)?;
        let seed = number(file, &entries, SEED)?;
        let time = match number(file, &entries, TIME)? {
            None => None,
            Some(after) => match SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(after)) {
                None => return Err(not_a_number(file, TIME, &after.to_string())),
                time => time,
            },
        };
        let mut metrics = BTreeMap::new();
        for (key, text) in entries.0.range(METRIC.to_owned()..) {
            let Some(name) = key.strip_prefix(METRIC) else { break };
            let text = text.as_str();
            let value = text.parse().map_err(|_| not_a_number(file, key, text))?;
            metrics.insert(name.to_owned(), value);
        }
        Ok(Metadata { file: file.to_owned(), entries, step, seed, time, metrics })
    }

    /// The training step at which the checkpoint was saved.
    pub fn step(&self) -> Option<u64> {
        self.step
    }

    /// The seed of the run, or of the session, that saved it.
    pub fn seed(&self) -> Option<u64> {
        self.seed
    }

    /// When it was saved, to the millisecond. A [`Saver`](crate::Saver) records it, [`save`](crate::save) by
    /// itself does not. What [`Checkpoint::convert`](crate::Checkpoint::convert) writes has the time of what
    /// it was made of.
    pub fn time(&self) -> Option<SystemTime> {
        self.time
    }

    /// The value of a metric that was recorded when saving; it may be NaN.
    pub fn metric(&self, name: &str) -> Option<f64> {
        self.metrics.get(name).copied()
    }

    /// All metrics that were recorded when saving, by name.
    pub fn metrics(&self) -> impl Iterator<Item = (&str, f64)> {
        self.metrics.iter().map(|(name, value)| (name.as_str(), *value))
    }

    /// The graph, in the form that was given when saving.
    pub fn graph(&self) -> Option<&str> {
        self.get(GRAPH)
    }

    /// The optimizer's settings, in the form that was given when saving.
    pub fn optimizer(&self) -> Option<&str> {
        self.get(OPTIMIZER)
    }

    /// The rules of restoring that whoever saved it follows with checkpoints of others, as code, a
    /// line for each: [`SaveOptions::rules`](crate::SaveOptions::rules).
    pub fn rules(&self) -> Option<&str> {
        self.get(RULES)
    }

    /// The variables that were saved, with initializers and roles.
    ///
    /// # Errors
    /// [`CheckpointError::Metadata`] if the entry is malformed.
    pub fn variables(&self) -> Result<Option<Vec<Variable>>, CheckpointError> {
        self.entries.variables().map_err(|error| {
            let problem = format!("it does not describe variables: {error}");
            CheckpointError::Metadata { file: self.file.clone(), key: VARIABLES.into(), problem }
        })
    }

    /// The entries that are not warmstart's, by key.
    pub fn extra(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries().filter(|(key, _)| !key.starts_with(PREFIX))
    }

    /// All entries by key.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// The same as they are, for whoever reads some of them later.
    pub(crate) fn shared(&self) -> Arc<Entries> {
        self.entries.clone()
    }

    /// Any entry by its whole key, ours too.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.entries.get(key)
    }
}

fn number<T: FromStr>(
    file: &Path,
    entries: &Entries,
    key: &str,
) -> Result<Option<T>, CheckpointError> {
    let Some(text) = entries.get(key) else { return Ok(None) };
    text.parse().map(Some).map_err(|_| not_a_number(file, key, text))
}

fn not_a_number(file: &Path, key: &str, text: &str) -> CheckpointError {
    let shown: String = text.chars().take(40).collect();
    let kind = if key.starts_with(METRIC) { "number" } else { "whole number in range" };
    let problem = format!("`{shown}` is not a {kind}");
    CheckpointError::Metadata { file: file.to_owned(), key: key.to_owned(), problem }
}

#[cfg(test)]
mod tests {
    use super::*;
    use warmstart_graph::{DType, Initializer, Location, Role, Shape};

    fn read(entries: &[(&str, &str)]) -> Result<Metadata, CheckpointError> {
        let entries = entries.iter().map(|(k, v)| (k.to_string(), v.to_string().into())).collect();
        Metadata::read(Path::new("a.safetensors"), entries)
    }

    #[test]
    fn a_file_from_elsewhere_has_none_of_our_entries() {
        let metadata = read(&[("format", "pt")]).unwrap();
        assert_eq!((metadata.step(), metadata.seed()), (None, None));
        assert_eq!(metadata.variables().unwrap(), None);
        assert_eq!(metadata.extra().collect::<Vec<_>>(), [("format", "pt")]);
    }

    #[test]
    fn a_malformed_entry_names_file_and_key() {
        for (key, value) in [
            (STEP, "-1"),
            (SEED, "seven"),
            (VERSION, ""),
            (TIME, "18446744073709551616"),
            (TIME, "noon"),
            ("warmstart.metric.loss", "low"),
        ] {
            let message = read(&[(key, value)]).unwrap_err().to_string();
            assert!(message.contains("a.safetensors") && message.contains(key), "{message}");
            assert!(message.contains(&format!("`{value}`")), "{message}");
        }
        let message = read(&[(VARIABLES, "[{]")]).unwrap().variables().unwrap_err().to_string();
        assert!(message.contains(VARIABLES) && message.contains("describe variables"), "{message}");
        let message = read(&[(VERSION, "4")]).unwrap_err().to_string();
        assert!(message.contains("format 4") && message.contains("update warmstart"), "{message}");
        let message = read(&[(VERSION, "2")]).unwrap_err().to_string();
        let told = "has warmstart's format 2, which no release wrote, and this version reads 3: save it again";
        assert!(message.contains(told), "{message}");
    }

    #[test]
    fn time_and_metrics_are_read() {
        let metadata = read(&[
            (TIME, "1500"),
            ("warmstart.metric.loss", "0.25"),
            ("warmstart.metric.", "NaN"),
            ("warmstart.metrics", "other"),
        ])
        .unwrap();
        assert_eq!(metadata.time(), Some(SystemTime::UNIX_EPOCH + Duration::from_millis(1500)));
        assert_eq!(metadata.metric("loss"), Some(0.25));
        assert!(metadata.metric("").unwrap().is_nan());
        assert_eq!(metadata.metric("accuracy"), None);
        assert_eq!(metadata.metrics().map(|(name, _)| name).collect::<Vec<_>>(), ["", "loss"]);
    }

    #[test]
    fn variables_come_back_with_every_bit_of_their_initializers() {
        let variable = |name: &str, initializer| Variable {
            name: name.into(),
            shape: Shape::from([2]),
            dtype: DType::F32,
            initializer,
            role: Role::Trainable,
            location: Location::caller(),
        };
        let variables = vec![
            variable("a", Initializer::Constant(0.1 + 0.2)),
            variable("b", Initializer::Values(vec![f32::MIN_POSITIVE, 1.0 / 3.0])),
            variable("c", Initializer::Uniform { low: -0.1, high: 1e-45 }),
        ];
        let text = serde_json::to_string(&variables).unwrap();
        assert_eq!(read(&[(VARIABLES, &text)]).unwrap().variables().unwrap(), Some(variables));
    }
}
