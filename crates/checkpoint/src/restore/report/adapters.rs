//! What a [`RestoreReport`] says of adapters that stay in the file, while the weights are restored that they
//! were trained beside.

use crate::restore::infer::is_adapter;
use crate::restore::report::{RestoreReport, is_weight};

impl RestoreReport {
    /// That what adapters (LoRA) learned is left behind. A model that has some takes them by name, or by rules.
    pub(crate) fn note_of_adapters(&self) -> Option<String> {
        let mut adapters = self.weights_left().filter(|tensor| is_adapter(&tensor.name));
        let first = adapters.next()?;
        let has_adapters = self.variables.iter().any(|v| is_adapter(&v.variable.name));
        if has_adapters || !self.restored().any(is_weight) {
            return None;
        }
        let (others, are, they) = match adapters.count() {
            0 => (String::new(), "is by its name a factor", "it"),
            n => (format!(" and {n} more"), "are by their names factors", "them"),
        };
        Some(format!(
            "`{}`{others} {are} of what an adapter (LoRA) adds to weights, and without {they} the weights are \
             those from before the fine-tuning: merge adapters into their model before it is saved, with \
             `merge_and_unload()` where PEFT wrote the file",
            first.name
        ))
    }
}
