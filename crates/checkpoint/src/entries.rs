//! The strings that ride in a checkpoint beside the weights, under `__metadata__`, and the keys of those
//! that are ours. What is wrong with one is told by whoever reads it and knows the file (`metadata.rs`).

use crate::bytes::text::Text;
use std::collections::BTreeMap;
use warmstart_graph::Variable;

/// The format of our entries that this version writes and reads. No release wrote an older one.
pub(crate) const FORMAT_VERSION: u32 = 3;

/// What our keys begin with.
pub(crate) const PREFIX: &str = "warmstart.";
pub(crate) const VERSION: &str = "warmstart.version";
pub(crate) const STEP: &str = "warmstart.step";
pub(crate) const SEED: &str = "warmstart.seed";
pub(crate) const GRAPH: &str = "warmstart.graph";
pub(crate) const VARIABLES: &str = "warmstart.variables";
/// Milliseconds since the beginning of 1970, UTC.
pub(crate) const TIME: &str = "warmstart.time";
/// What the keys of metrics begin with.
pub(crate) const METRIC: &str = "warmstart.metric.";
pub(crate) const OPTIMIZER: &str = "warmstart.optimizer";
pub(crate) const CHECKSUMS: &str = "warmstart.checksums";
pub(crate) const RULES: &str = "warmstart.rules";

/// The strings by their keys.
#[derive(Debug)]
pub(crate) struct Entries(pub BTreeMap<String, Text>);

impl Entries {
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(Text::as_str)
    }

    /// The variables that were saved, if there is an entry for them.
    pub fn variables(&self) -> Result<Option<Vec<Variable>>, serde_json::Error> {
        self.get(VARIABLES).map(serde_json::from_str).transpose()
    }
}
