//! What inference is asked.

use crate::restore::matching::Outcome;
use crate::restore::rules::Rule;
use crate::restore::saved::Saved;
use crate::tensor::TensorEntry;
use std::collections::BTreeMap;
use warmstart_graph::Variable;

/// A checkpoint, a model, and what the user's rules make of them.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub tensors: &'a [TensorEntry],
    pub variables: &'a [&'a Variable],
    /// The user's rules.
    pub rules: &'a [Rule],
    /// What they come to, for each variable.
    pub outcomes: &'a [Outcome],
    /// What the checkpoint says of its tensors, by their names.
    pub saved: &'a BTreeMap<String, Saved>,
    /// Whether the file is PyTorch's.
    pub pytorch: bool,
}
