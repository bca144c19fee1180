//! How like names are, remembered: one trial after another asks for the same pairs.

use super::names::{Name, parts_alike, parts_same};
use std::cell::RefCell;
use std::collections::HashMap;

/// How like two names are.
#[derive(Clone, Copy)]
pub(super) struct Alike {
    /// Parts they have in common; those that are like count as less than one.
    pub parts: f64,
    /// Parts that are the same, in the same order.
    pub same: usize,
    /// The parts in common, of all parts: from 0 to 1.
    pub share: f64,
}

/// Pairs of names that were compared.
#[derive(Default)]
pub(super) struct Comparisons(RefCell<HashMap<String, HashMap<String, Alike>>>);

impl Comparisons {
    pub fn of(&self, from: &str, to: &str) -> Alike {
        let mut all = self.0.borrow_mut();
        if let Some(known) = all.get(from).and_then(|known| known.get(to)) {
            return *known;
        }
        let (a, b) = (Name::new(from.to_owned()), Name::new(to.to_owned()));
        let parts = parts_alike(&a, &b);
        let share = parts / a.len().max(b.len()).max(1) as f64;
        let alike = Alike { parts, same: parts_same(&a, &b), share };
        all.entry(from.to_owned()).or_default().insert(to.to_owned(), alike);
        alike
    }
}
