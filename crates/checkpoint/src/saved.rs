//! What a checkpoint says about the variables it holds, beyond dtype and shape.

use crate::metadata::Metadata;
use crate::slots::roles_by_name;
use crate::tensor::TensorEntry;
use std::collections::BTreeMap;
use std::ops::Deref;
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
    metadata: Arc<Metadata>,
    tensors: Arc<Vec<TensorEntry>>,
    read: Arc<OnceLock<BTreeMap<String, Saved>>>,
}

impl SavedVariables {
    pub fn new(metadata: &Arc<Metadata>, tensors: &Arc<Vec<TensorEntry>>) -> SavedVariables {
        let (metadata, tensors) = (metadata.clone(), tensors.clone());
        SavedVariables { metadata, tensors, read: Arc::default() }
    }
}

impl Deref for SavedVariables {
    type Target = BTreeMap<String, Saved>;
    fn deref(&self) -> &BTreeMap<String, Saved> {
        self.read.get_or_init(|| read(&self.metadata, &self.tensors))
    }
}

/// Only a report speaks of it: a checkpoint whose description of its variables is malformed restores
/// all the same.
fn read(metadata: &Metadata, tensors: &[TensorEntry]) -> BTreeMap<String, Saved> {
    if let Some(variables) = metadata.variables().ok().flatten() {
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
