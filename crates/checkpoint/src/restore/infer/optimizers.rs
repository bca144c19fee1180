//! An optimizer that is called otherwise on the two sides, and keeps the same: its slots are the other's.
//!
//! Adam's two moments are AdamW's. Of other optimizers of two kinds, slots that are called the same need
//! not mean the same.

use super::roles::Kind;
use crate::restore::rules::{Rule, SEPARATORS};
use crate::restore::saved::Saved;
use crate::restore::slots::{UNNAMED, canonical, is_optimizer};
use crate::tensor::TensorEntry;
use std::collections::{BTreeMap, BTreeSet};
use warmstart_graph::{Accumulation, Role, Variable};

/// The only optimizer that one of the sides lacks, and the only one that the other lacks.
pub(super) struct Renamed {
    from: String,
    to: String,
}

impl Renamed {
    /// If a checkpoint says of its slots which they are, and a model has the same of an optimizer of
    /// another name.
    pub fn of(
        tensors: &[TensorEntry],
        saved: &BTreeMap<String, Saved>,
        variables: &[&Variable],
    ) -> Option<Renamed> {
        type Slots<'a> = BTreeMap<&'a str, BTreeSet<(&'a str, bool)>>;
        fn add<'a>(all: &mut Slots<'a>, name: &str, role: &'a Role) {
            if let Role::Slot { variable, optimizer, slot } = role
                && name.split(SEPARATORS).any(|part| part == optimizer.as_str())
            {
                all.entry(optimizer.as_str())
                    .or_default()
                    .insert((slot.as_str(), variable.is_some()));
            }
        }
        let (mut file, mut model) = (Slots::new(), Slots::new());
        for tensor in tensors {
            if let Some(saved) = saved.get(tensor.name.as_str()) {
                add(&mut file, &tensor.name, &saved.role);
            }
        }
        variables.iter().for_each(|variable| add(&mut model, &variable.name, &variable.role));
        let kinds = |slots: &Slots<'_>| -> BTreeSet<String> {
            slots.keys().map(|optimizer| canonical(optimizer, "").0).collect()
        };
        let (in_file, in_model) = (kinds(&file), kinds(&model));
        file.retain(|optimizer, _| !in_model.contains(&canonical(optimizer, "").0));
        model.retain(|optimizer, _| !in_file.contains(&canonical(optimizer, "").0));
        let ((from, kept), (to, wanted)) = (file.first_key_value()?, model.first_key_value()?);
        let each = |slots: &BTreeSet<(&str, bool)>| -> BTreeSet<String> {
            let each = slots.iter().filter(|(slot, each)| *each && *slot != Accumulation::SLOT);
            each.map(|(slot, _)| (*slot).to_owned()).collect()
        };
        let alone = file.len() == 1 && model.len() == 1;
        let same = !each(kept).is_empty() && each(kept) == each(wanted);
        let renamed = Renamed { from: (*from).to_owned(), to: (*to).to_owned() };
        let other_kind = is_optimizer(from) && is_optimizer(to) && !renamed.is_adam();
        let unnamed = in_file.contains(UNNAMED);
        (alone && same && !other_kind && !unnamed).then_some(renamed)
    }

    /// Whether both keep Adam's moments.
    fn is_adam(&self) -> bool {
        let adam = |name: &str| matches!(canonical(name, "").0.as_str(), "adam" | "adamw");
        adam(&self.from) && adam(&self.to)
    }

    /// The rule that does it.
    pub fn rule(&self) -> Rule {
        Rule::RenameComponent { from: self.from.clone(), to: self.to.clone() }
    }

    /// What a tensor is under the other name.
    pub fn kind(&self, kind: Kind) -> Kind {
        match kind {
            Kind::Slot(optimizer, slot, each) if optimizer == canonical(&self.from, "").0 => {
                let (optimizer, slot) = canonical(&self.to, &slot);
                Kind::Slot(optimizer, slot, each)
            }
            other => other,
        }
    }

    /// What is taken for granted then.
    pub fn note(&self) -> String {
        let Renamed { from, to } = self;
        match self.is_adam() {
            true => format!(
                "the slots of {from} are taken for those of {to}: both keep the same moments, and differ \
                 only in how weights decay"
            ),
            false => format!(
                "the slots of {from} are taken for those of {to}, since they have the same names; whether \
                 they mean the same, nothing says"
            ),
        }
    }
}
