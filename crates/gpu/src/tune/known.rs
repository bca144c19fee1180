//! What is known of kernels, and kept on disk: as text, a line for each.

use crate::compile::Variant;
use std::collections::HashMap;
use std::fmt;

/// How many lines of each kind are kept; then all begins anew.
const KEPT: usize = 4096;

/// What is known of the kernels of a device.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Known {
    /// The fastest of each class.
    pub classes: HashMap<String, Variant>,
    /// Whether a kernel gave the same bits as the usual one.
    pub bits: HashMap<String, bool>,
}

impl Known {
    /// What a file says. A line that makes no sense is left out.
    pub fn parsed(text: &str) -> Known {
        let mut known = Known::default();
        for line in text.lines() {
            let Some((kind, (key, value))) =
                line.split_once(' ').and_then(|(kind, rest)| Some((kind, rest.rsplit_once(' ')?)))
            else {
                continue;
            };
            match (kind, value) {
                ("class", name) => {
                    let variant = Variant::named(name).map(|variant| (key.to_owned(), variant));
                    known.classes.extend(variant);
                }
                ("bits", "same") => _ = known.bits.insert(key.to_owned(), true),
                ("bits", "other") => _ = known.bits.insert(key.to_owned(), false),
                _ => (),
            }
        }
        known
    }

    /// Adds what another one knows, which counts where both know something.
    pub fn extend(&mut self, other: &Known) {
        self.classes.extend(other.classes.iter().map(|(class, variant)| (class.clone(), *variant)));
        self.bits.extend(other.bits.iter().map(|(name, same)| (name.clone(), *same)));
    }

    /// Whether there are too many lines.
    pub fn is_full(&self) -> bool {
        self.classes.len().max(self.bits.len()) >= KEPT
    }

    /// Begins anew where there are too many.
    pub fn make_room(&mut self) {
        if self.is_full() {
            *self = Known::default();
        }
    }
}

impl fmt::Display for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (class, variant) in &self.classes {
            writeln!(f, "class {class} {}", variant.name())?;
        }
        for (name, same) in &self.bits {
            writeln!(f, "bits {name} {}", if *same { "same" } else { "other" })?;
        }
        Ok(())
    }
}
