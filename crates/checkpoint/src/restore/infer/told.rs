//! Notes that say the same of several variables, told as one: the first in full, and of the others the names,
//! so that none is picked that nothing names.

use crate::restore::rules::SEPARATORS;
use std::collections::BTreeSet;

/// What follows the first of several notes that say the same of other variables.
pub(super) const SO_IT_IS: &str = "so it is with";

/// Scopes whose variables are named after the first note; of more only the number is told.
const LISTED: usize = 16;

/// A note and the variables that it is about.
pub(super) struct Told {
    pub text: String,
    pub variables: Vec<String>,
}

impl Told {
    pub fn of(variable: &str, text: String) -> Told {
        Told { text, variables: vec![variable.to_owned()] }
    }
}

/// The first of them, and what else they are about: `fc/{bias,weight}` for two variables of one scope.
pub(super) fn together(notes: impl IntoIterator<Item = Told>, more: &str) -> Option<String> {
    let mut notes = notes.into_iter();
    let Told { text, variables } = notes.next()?;
    let mut named: BTreeSet<String> = variables.into_iter().collect();
    let mut scopes: Vec<(String, Vec<String>)> = Vec::new();
    let mut rest = 0;
    for variable in notes.flat_map(|note| note.variables) {
        if !named.insert(variable.clone()) {
            continue;
        }
        let (scope, end) = variable.split_at(variable.rfind(SEPARATORS).map_or(0, |at| at + 1));
        let is_full = scopes.len() == LISTED;
        match scopes.iter_mut().find(|(known, _)| known == scope && !scope.is_empty()) {
            Some((_, ends)) => ends.push(end.to_owned()),
            None if is_full => rest += 1,
            None => scopes.push((scope.to_owned(), vec![end.to_owned()])),
        }
    }
    let mut others: Vec<String> = scopes.iter().map(|(scope, ends)| braced(scope, ends)).collect();
    others.extend((rest > 0).then(|| format!("{rest} more")));
    Some(match others.split_last() {
        None => text,
        Some((last, [])) => format!("{text}; {more} {last}"),
        Some((last, others)) => format!("{text}; {more} {} and {last}", others.join(", ")),
    })
}

fn braced(scope: &str, ends: &[String]) -> String {
    match ends {
        [end] => format!("`{scope}{end}`"),
        ends => format!("`{scope}{{{}}}`", ends.join(",")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_notes_are_about_is_named() {
        let told = |names: &[&[&str]]| {
            let note = |names: &&[&str]| Told {
                text: "first".to_owned(),
                variables: names.iter().map(|name| (*name).to_owned()).collect(),
            };
            together(names.iter().map(note), SO_IT_IS)
        };
        assert_eq!(told(&[]), None);
        assert_eq!(told(&[&["a"], &["a"]]).as_deref(), Some("first"));
        assert_eq!(told(&[&["a"], &["b"]]).as_deref(), Some("first; so it is with `b`"));
        let several: [&[&str]; 4] = [&["a/w", "b/w"], &["a/w", "c/b"], &["c/w"], &["d.w"]];
        let expected = "first; so it is with `c/{b,w}` and `d.w`";
        assert_eq!(told(&several).as_deref(), Some(expected));
        let flat: [&[&str]; 4] = [&["a"], &["b"], &["c"], &["d"]];
        assert_eq!(told(&flat).as_deref(), Some("first; so it is with `b`, `c` and `d`"));
        // Only of very many is the number told.
        let names: Vec<String> = (0..LISTED + 3).map(|n| format!("{n}/w")).collect();
        let names: Vec<[&str; 1]> = names.iter().map(|name| [name.as_str()]).collect();
        let names: Vec<&[&str]> = names.iter().map(|name| &name[..]).collect();
        let all = told(&names).unwrap_or_default();
        assert!(all.ends_with(&format!("`{LISTED}/w` and 2 more")), "{all}");
    }
}
