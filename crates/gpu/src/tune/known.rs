//! What is known of kernels, and kept on disk: as text, a line for each.

use super::measure::Outcome;
use crate::compile::Variant;
use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

/// How many lines of each kind are kept; then all begins anew.
const KEPT: usize = 4096;

/// What is known of the kernels of a device.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Known {
    /// The fastest of each class.
    pub classes: HashMap<String, Variant>,
    /// Of each class for which time ran out, what came of those kernels that were tried.
    pub begun: HashMap<String, Begun>,
    /// Whether a kernel gave the same bits as the usual one.
    pub bits: HashMap<String, bool>,
}

/// What came of some kernels of a class.
pub(super) type Begun = HashMap<Variant, Outcome>;

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
                ("tried", outcome) => {
                    let Some((class, name)) = key.rsplit_once(' ') else { continue };
                    let Some((variant, outcome)) = Variant::named(name).zip(outcome_of(outcome))
                    else {
                        continue;
                    };
                    known.begun.entry(class.to_owned()).or_default().insert(variant, outcome);
                }
                ("bits", "same") => _ = known.bits.insert(key.to_owned(), true),
                ("bits", "other") => _ = known.bits.insert(key.to_owned(), false),
                _ => (),
            }
        }
        known.forget_done();
        known
    }

    /// Keeps what is known of a class: the fastest, or what came of some of its kernels.
    pub fn insert(&mut self, class: &str, chosen: Variant, begun: Option<Begun>) {
        match begun {
            Some(begun) => _ = self.begun.insert(class.to_owned(), begun),
            None => {
                self.begun.remove(class);
                self.classes.insert(class.to_owned(), chosen);
            }
        }
    }

    /// A class of which all is known was not only begun.
    fn forget_done(&mut self) {
        self.begun.retain(|class, _| !self.classes.contains_key(class));
    }

    /// Adds what another one knows, which counts where both know something.
    pub fn extend(&mut self, other: &Known) {
        self.classes.extend(other.classes.iter().map(|(class, variant)| (class.clone(), *variant)));
        for (class, tried) in &other.begun {
            self.begun.entry(class.clone()).or_default().extend(tried);
        }
        self.forget_done();
        self.bits.extend(other.bits.iter().map(|(name, same)| (name.clone(), *same)));
    }

    /// Whether there are too many lines.
    pub fn is_full(&self) -> bool {
        self.classes.len().max(self.bits.len()).max(self.begun.len()) >= KEPT
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
        for (class, tried) in &self.begun {
            for (variant, outcome) in tried {
                write!(f, "tried {class} {} ", variant.name())?;
                match outcome {
                    Outcome::Took(time) => writeln!(f, "{}", time.as_nanos())?,
                    Outcome::Unfit => writeln!(f, "unfit")?,
                }
            }
        }
        for (name, same) in &self.bits {
            writeln!(f, "bits {name} {}", if *same { "same" } else { "other" })?;
        }
        Ok(())
    }
}

/// What came of trying a kernel: nanoseconds, or that it is none to take.
fn outcome_of(word: &str) -> Option<Outcome> {
    match word {
        "unfit" => Some(Outcome::Unfit),
        nanos => Some(Outcome::Took(Duration::from_nanos(nanos.parse().ok()?))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::matmul::Rung;

    const NANOS: Duration = Duration::from_nanos(123_456);

    #[test]
    fn what_is_known_is_kept_as_text() {
        let tile = Rung::Tile { rows: 128, columns: 64, fours: true };
        let naive = Variant::Product(Rung::Naive);
        let classes = [
            ("1 2 3 fused naive,register", Variant::Product(tile)),
            ("a class", naive),
            ("softmax 64 256 rows rows,subgroup-rows", Variant::SubgroupRows),
            ("softmax 64 8 rows rows,subgroup-rows", Variant::Rows),
        ];
        let classes = classes.map(|(class, variant)| (class.to_owned(), variant)).into();
        let bits = [("00ff".to_owned(), true), ("ff00".to_owned(), false)].into();
        let tried = [(naive, Outcome::Unfit), (Variant::Product(tile), Outcome::Took(NANOS))];
        let begun = [("a class begun".to_owned(), tried.into())].into();
        let known = Known { classes, begun, bits };
        let text = known.to_string();
        assert!(text.contains("class 1 2 3 fused naive,register tile128x64-fours\n"), "{text}");
        assert!(text.contains("bits 00ff same\n") && text.contains("bits ff00 other\n"), "{text}");
        assert!(text.contains("tried a class begun naive unfit\n"), "{text}");
        assert!(text.contains("tried a class begun tile128x64-fours 123456\n"), "{text}");
        // A class of which all is known was not only begun.
        let done = format!("{text}class a class begun naive\n");
        assert!(Known::parsed(&done).begun.is_empty());
        let nonsense = "tried\ntried one two\ntried a naive soon\ntried a what 12\nclass alone\nclass a b unheard-of\nbits 12 maybe\n\nkind a naive\n\u{fffd}\n";
        assert_eq!(Known::parsed(&format!("{nonsense}{text}{nonsense}")), known);
    }
}
