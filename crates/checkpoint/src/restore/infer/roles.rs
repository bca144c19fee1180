//! Which tensors are slots of an optimizer. A slot's value is never a weight's, nor that of another
//! slot.

use super::names::bare;
use crate::restore::saved::Saved;
use crate::restore::slots::{canonical, is_optimizer, is_slot};
use crate::tensor::TensorEntry;
use std::collections::BTreeMap;
use warmstart_graph::{Role, Variable};

/// What a value is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Kind {
    Weight,
    /// An optimizer, its slot, and whether it belongs to one variable.
    Slot(String, String, bool),
    /// By its name a slot, but nothing says of what.
    UnknownSlot,
}

impl Kind {
    pub fn of_role(role: &Role) -> Kind {
        match role {
            Role::Slot { variable, optimizer, slot } => {
                let (optimizer, slot) = canonical(optimizer, slot);
                Kind::Slot(optimizer, slot, variable.is_some())
            }
            _ => Kind::Weight,
        }
    }
}

/// What each tensor and each variable is for.
pub(super) struct Kinds {
    pub tensors: Vec<Kind>,
    pub variables: Vec<Kind>,
}

impl Kinds {
    /// Whether both are weights, or both the same slot of the same optimizer.
    pub fn agree(&self, tensor: usize, variable: usize) -> bool {
        self.tensors[tensor] == self.variables[variable]
    }
}

/// The ends that the names of slots have, such as `adam/m`, by what stands there.
pub(super) struct SlotNames {
    ends: BTreeMap<String, Kind>,
}

impl SlotNames {
    pub fn of(variables: &[&Variable]) -> SlotNames {
        let mut ends = BTreeMap::new();
        for variable in variables {
            if let Role::Slot { variable: owner, optimizer, slot } = &variable.role {
                let kind = Kind::of_role(&variable.role);
                let end = owner.as_deref().and_then(|owner| variable.name.strip_prefix(owner));
                let end = match end {
                    Some(end) => end.trim_start_matches(['/', '.']).to_owned(),
                    None => format!("{optimizer}/{slot}"),
                };
                ends.insert(end, kind);
            }
        }
        SlotNames { ends }
    }

    /// What a tensor is: as its checkpoint says, or else by its name.
    pub fn kind(&self, tensor: &TensorEntry, saved: &BTreeMap<String, Saved>) -> Kind {
        if let Some(saved) = saved.get(tensor.name.as_str()) {
            return Kind::of_role(&saved.role);
        }
        for (at, _) in tensor.name.rmatch_indices(['/', '.']).take(3) {
            let end = &tensor.name[at + 1..];
            if let Some(kind) = self.ends.get(end).or_else(|| self.ends.get(&end.replace('.', "/")))
            {
                return kind.clone();
            }
        }
        let mut parts = tensor.name.rsplit(['/', '.']);
        let last = bare(parts.next().unwrap_or_default());
        let above = parts.next().unwrap_or_default();
        if is_slot(last) || is_optimizer(above) { Kind::UnknownSlot } else { Kind::Weight }
    }
}
