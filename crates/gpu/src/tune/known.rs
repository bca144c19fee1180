//! What is known of kernels, and kept on disk: as text, a line for each.

use super::measure::{Bits, Outcome, TooLong};
use crate::compile::Variant;
use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

/// How many entries of a kind are too many to keep: then that kind begins anew. (A class that was begun is
/// one entry, and a line for each kernel that was tried.)
const KEPT: usize = 4096;

/// What is known of the kernels of a device.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Known {
    /// The fastest of each class.
    pub classes: HashMap<String, Variant>,
    /// Of each class for which time ran out, what came of those kernels that were tried. It stays here if
    /// one took too long: under another budget it is tried again.
    pub begun: HashMap<String, Begun>,
    /// Whether a kernel gave the same bits as the usual one.
    pub bits: HashMap<String, Bits>,
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
                ("bits", bits) => {
                    known.bits.extend(bits_of(bits).map(|bits| (key.to_owned(), bits)));
                }
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

    /// Adds what another one knows, which counts where both know something. But that time was too short
    /// says nothing where somebody had enough, or has tried more often.
    pub fn extend(&mut self, other: &Known) {
        self.classes.extend(other.classes.iter().map(|(class, variant)| (class.clone(), *variant)));
        for (class, tried) in &other.begun {
            let own = self.begun.entry(class.clone()).or_default();
            for (&variant, &outcome) in tried {
                if says_more(own.get(&variant), outcome, Outcome::too_long) {
                    own.insert(variant, outcome);
                }
            }
        }
        self.forget_done();
        for (name, &bits) in &other.bits {
            if says_more(self.bits.get(name), bits, Bits::too_long) {
                self.bits.insert(name.clone(), bits);
            }
        }
    }

    /// Begins anew with each kind of which there are too many.
    pub fn make_room(&mut self) {
        self.fall_back_to(&Known::default());
    }

    /// Of each kind of which there are too many, keeps what another one knows instead.
    pub fn fall_back_to(&mut self, other: &Known) {
        let Known { classes, begun, bits } = self;
        if classes.len() >= KEPT {
            classes.clone_from(&other.classes);
        }
        if begun.len() >= KEPT {
            begun.clone_from(&other.begun);
        }
        if bits.len() >= KEPT {
            bits.clone_from(&other.bits);
        }
    }
}

/// Whether another one's word counts beside this one, by whether, and for what, the time was too short.
fn says_more<T: Copy>(own: Option<&T>, other: T, too_long: impl Fn(T) -> Option<TooLong>) -> bool {
    match (own.map(|&own| too_long(own)), too_long(other)) {
        (None, _) | (_, None) => true,
        (Some(None), Some(_)) => false,
        (Some(Some(own)), Some(other)) => (other.budget, other.tries) >= (own.budget, own.tries),
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
                    Outcome::TooLong(too_long) => writeln!(f, "{}", word(too_long))?,
                }
            }
        }
        for (name, bits) in &self.bits {
            write!(f, "bits {name} ")?;
            match bits {
                Bits::Same => writeln!(f, "same")?,
                Bits::Other => writeln!(f, "other")?,
                Bits::TooLong(too_long) => writeln!(f, "{}", word(too_long))?,
            }
        }
        Ok(())
    }
}

/// What came of trying a kernel: nanoseconds, or why it is none to take.
fn outcome_of(word: &str) -> Option<Outcome> {
    match (word, too_long_of(word)) {
        ("unfit", _) => Some(Outcome::Unfit),
        (_, Some(too_long)) => Some(Outcome::TooLong(too_long)),
        (nanos, None) => Some(Outcome::Took(Duration::from_nanos(nanos.parse().ok()?))),
    }
}

fn bits_of(word: &str) -> Option<Bits> {
    match word {
        "same" => Some(Bits::Same),
        "other" => Some(Bits::Other),
        word => too_long_of(word).map(Bits::TooLong),
    }
}

/// So many tries, with a budget of so many nanoseconds each.
fn word(TooLong { tries, budget }: &TooLong) -> String {
    format!("too-long:{tries}:{}", budget.as_nanos())
}

fn too_long_of(word: &str) -> Option<TooLong> {
    let (tries, nanos) = word.strip_prefix("too-long:")?.split_once(':')?;
    let (tries, nanos) = (tries.parse().ok()?, nanos.parse().ok()?);
    Some(TooLong { tries, budget: Duration::from_nanos(nanos) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::matmul::Rung;

    /// Bits are compared for each shape, and may be many: classes are kept all the same.
    #[test]
    fn what_is_too_much_begins_anew_by_itself() {
        let bits = |count: usize| {
            let bits = (0..count).map(|at| (at.to_string(), Bits::Same)).collect();
            let classes = [("a class".to_owned(), Variant::Rows)].into();
            let begun = [("another".to_owned(), [(Variant::Rows, Outcome::Unfit)].into())].into();
            Known { classes, begun, bits }
        };
        for (count, kept) in [(KEPT - 1, KEPT - 1), (KEPT, 0)] {
            let mut known = bits(count);
            known.make_room();
            assert_eq!((known.bits.len(), known.classes.len(), known.begun.len()), (kept, 1, 1));
        }
        // With what others have written there may be too many: then own ones are kept.
        let mut all = bits(KEPT + 1);
        all.fall_back_to(&bits(3));
        assert_eq!((all.bits.len(), all.classes.len(), all.begun.len()), (3, 1, 1));
    }

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
        let too_long = TooLong { budget: NANOS, tries: 2 };
        let bits = [("00ff", Bits::Same), ("ff00", Bits::Other), ("0f", Bits::TooLong(too_long))];
        let bits = bits.map(|(name, bits)| (name.to_owned(), bits)).into();
        let tried = [
            (naive, Outcome::Unfit),
            (Variant::Product(tile), Outcome::Took(NANOS)),
            (Variant::Product(Rung::Register), Outcome::TooLong(too_long)),
        ];
        let begun = [("a class begun".to_owned(), tried.into())].into();
        let known = Known { classes, begun, bits };
        let text = known.to_string();
        assert!(text.contains("class 1 2 3 fused naive,register tile128x64-fours\n"), "{text}");
        assert!(text.contains("bits 00ff same\n") && text.contains("bits ff00 other\n"), "{text}");
        assert!(text.contains("bits 0f too-long:2:123456\n"), "{text}");
        assert!(text.contains("tried a class begun register too-long:2:123456\n"), "{text}");
        assert!(text.contains("tried a class begun naive unfit\n"), "{text}");
        assert!(text.contains("tried a class begun tile128x64-fours 123456\n"), "{text}");
        // A class of which all is known was not only begun.
        let done = format!("{text}class a class begun naive\n");
        assert!(Known::parsed(&done).begun.is_empty());
        let nonsense = "tried\ntried one two\ntried a naive soon\ntried a what 12\ntried a naive too-long:1\ntried a naive too-long:1:soon\nclass alone\nclass a b unheard-of\nbits 12 maybe\nbits 12 too-long:1:\n\nkind a naive\n\u{fffd}\n";
        assert_eq!(Known::parsed(&format!("{nonsense}{text}{nonsense}")), known);
    }

    /// What a process read at its start may be less than what others have found since.
    #[test]
    fn that_time_was_too_short_replaces_no_result() {
        let short = |tries| TooLong { budget: NANOS, tries };
        let (naive, register) = (Variant::Product(Rung::Naive), Variant::Product(Rung::Register));
        let known = |bits: [Bits; 2], tried: [Outcome; 2]| {
            let bits = [("0a".to_owned(), bits[0]), ("0b".to_owned(), bits[1])].into();
            let begun = [(naive, tried[0]), (register, tried[1])].into();
            let begun = [("a class".to_owned(), begun)].into();
            Known { classes: HashMap::new(), begun, bits }
        };
        let found = || {
            let tried = [Outcome::Took(NANOS), Outcome::TooLong(short(2))];
            known([Bits::Same, Bits::TooLong(short(2))], tried)
        };
        let stale = || {
            let tried = [Outcome::TooLong(short(1)), Outcome::TooLong(short(1))];
            known([Bits::TooLong(short(1)), Bits::TooLong(short(1))], tried)
        };
        for (mut on_disk, own) in [(found(), stale()), (stale(), found())] {
            on_disk.extend(&own);
            assert_eq!(on_disk, found());
        }
    }
}
