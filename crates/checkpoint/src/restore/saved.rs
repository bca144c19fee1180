//! What a checkpoint says about the variables it holds, beyond dtype and shape.
//!
//! It is read only when a report or inference asks for it, and until then stays the text that it
//! was (`bytes/text.rs`).

use crate::entries::Entries;
use crate::restore::slots::roles_by_name;
use crate::tensor::TensorEntry;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use warmstart_graph::{Initializer, Role, Variable};

/// What a checkpoint says about a tensor: ours in its metadata, those of other programs by its name.
#[derive(Clone, Debug)]
pub(crate) struct Saved {
    /// Only ours say it.
    pub initializer: Option<Initializer>,
    pub role: Role,
}

/// The same of all tensors, by their names. It is read when somebody asks: it takes longer than all
/// else about a plan, and is spoken of only where one does not close, or is printed.
#[derive(Clone, Debug)]
pub(crate) struct SavedVariables {
    entries: Arc<Entries>,
    tensors: Arc<Vec<TensorEntry>>,
    read: Arc<OnceLock<BTreeMap<String, Saved>>>,
}

impl SavedVariables {
    pub fn new(entries: Arc<Entries>, tensors: &Arc<Vec<TensorEntry>>) -> SavedVariables {
        SavedVariables { entries, tensors: tensors.clone(), read: Arc::default() }
    }

    /// All of it; the first time, it is read.
    pub fn all(&self) -> &BTreeMap<String, Saved> {
        self.read.get_or_init(|| read(&self.entries, &self.tensors))
    }

    /// Of which checkpoint it is read.
    pub fn tensors(&self) -> &[TensorEntry] {
        &self.tensors
    }

    pub fn get(&self, tensor: &str) -> Option<&Saved> {
        self.all().get(tensor)
    }
}

/// Only a report speaks of it: a checkpoint whose description of its variables is malformed restores
/// all the same.
fn read(entries: &Entries, tensors: &[TensorEntry]) -> BTreeMap<String, Saved> {
    if let Some(variables) = entries.variables().ok().flatten() {
        let saved =
            |v: Variable| (v.name, Saved { initializer: Some(v.initializer), role: v.role });
        return variables.into_iter().map(saved).collect();
    }
    let names = || tensors.iter().map(|tensor| (tensor.name.as_str(), &tensor.shape));
    let roles = names().zip(roles_by_name(names()));
    let saved = |((name, _), role): ((&str, _), Option<Role>)| {
        Some((name.to_owned(), Saved { initializer: None, role: role? }))
    };
    roles.filter_map(saved).collect()
}

#[cfg(test)]
mod tests {
    use crate::{Checkpoint, RestoreOptions};
    use std::fs;

    #[test]
    fn a_plan_that_lacks_nothing_does_not_read_it() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a.safetensors");
        let header = r#"{"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}"#;
        let length = (header.len() as u64).to_le_bytes();
        fs::write(&file, [&length[..], header.as_bytes(), &[0; 4]].concat()).unwrap();
        let checkpoint = Checkpoint::open(&file).unwrap();
        let variables = checkpoint.variables().unwrap();
        let is_read = |options| {
            let plan = checkpoint.plan_for(&variables, &options);
            plan.report.saved.read.get().is_some()
        };
        assert!(!is_read(RestoreOptions::new()));
        assert!(!is_read(RestoreOptions::new().ignore("**")));
        assert!(is_read(RestoreOptions::new().strip_prefix("b").add_prefix("x/")));
    }
}
