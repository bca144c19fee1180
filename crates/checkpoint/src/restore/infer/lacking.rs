//! Whose names are taken: a tensor that by its name belongs to one variable is not another's because
//! its shape coincides.

use super::names::bare;
use crate::restore::rules::SEPARATORS;
use foldhash::{HashMap, HashSet};

/// The names of variables that lack a value, as a tree of their parts from the last to the first: to keep
/// every ending of a name would take as much as the square of its length, and a file may have names as long
/// as itself.
#[derive(Debug, Default)]
pub(super) struct Lacking<'a> {
    /// The node that a part leads to from another; 0 is where names end.
    next: HashMap<(usize, &'a str), usize>,
    /// Nodes at which names begin.
    whole: HashSet<usize>,
}

impl<'a> Lacking<'a> {
    pub fn of(names: impl Iterator<Item = &'a str>) -> Lacking<'a> {
        let mut lacking = Lacking::default();
        for name in names {
            let mut node = 0;
            for part in from_the_end(name) {
                let new = lacking.next.len() + 1;
                node = *lacking.next.entry((node, part)).or_insert(new);
            }
            lacking.whole.insert(node);
        }
        lacking
    }

    /// Whether a tensor's name is that of a variable, within another scope or none, but not that of the
    /// one given. Names that have only their last part in common are not each other's.
    pub fn has_another(&self, tensor: &str, variable: &str) -> bool {
        if is_end(tensor, variable) || is_end(variable, tensor) {
            return false;
        }
        let mut node = 0;
        for (before, part) in from_the_end(tensor).enumerate() {
            let Some(&next) = self.next.get(&(node, part)) else { return false };
            if before > 0 && self.whole.contains(&next) {
                return true;
            }
            node = next;
        }
        from_the_end(tensor).nth(1).is_some()
    }
}

/// Whether a name ends with all parts of another, if those are two or more.
fn is_end(name: &str, end: &str) -> bool {
    let mut parts = from_the_end(name);
    from_the_end(end).nth(1).is_some() && from_the_end(end).all(|part| parts.next() == Some(part))
}

fn from_the_end(name: &str) -> impl Iterator<Item = &str> {
    bare(name).rsplit(SEPARATORS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_within_another_scope_is_another_variables() {
        let lacking = Lacking::of(["encoder/fc1/w", "head.b", "top"].into_iter());
        for (tensor, expected) in [
            // As it is, without a scope, and within one.
            ("encoder/fc1/w", true),
            ("fc1/w", true),
            ("model.encoder.fc1.w", true),
            ("model/head/b", true),
            // A part of a part, the last part alone, or too little.
            ("c1/w", false),
            ("w", false),
            ("top", false),
            ("model/top", false),
            ("other/fc1/w", false),
            ("", false),
        ] {
            assert_eq!(lacking.has_another(tensor, "tail/w"), expected, "{tensor}");
        }
        // Its own.
        for variable in ["encoder/fc1/w", "fc1.w", "body/encoder/fc1/w"] {
            assert!(!lacking.has_another("encoder/fc1/w", variable), "{variable}");
        }
    }

    /// Every ending of this name together would be 500 GB.
    #[test]
    fn a_name_of_very_many_parts_takes_no_more_than_it_has() {
        let name = "a/".repeat(500_000) + "w";
        let lacking = Lacking::of([&*name].into_iter());
        assert_eq!(lacking.next.len(), 500_001);
        assert!(lacking.has_another(&format!("b/{name}"), "b/w"));
        assert!(!lacking.has_another(&format!("b/{name}"), &name));
    }
}
