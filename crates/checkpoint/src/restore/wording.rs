//! What the reader of a report can say: lines of code, or the flags of a command.

use crate::printable::printable;
use crate::restore::rules::Rule;
use crate::restore::suggestion::{Allowance, Suggestion};
use warmstart_graph::{Glob, Initializer};

/// Names of what stands alone that are listed.
pub(crate) const SHOWN: usize = 5;

/// How whoever reads a [`RestoreReport`](crate::RestoreReport) writes what it asks for. What cannot
/// be written is left out of the advice. [`InCode`] is how programs write it.
pub trait Wording {
    /// A rule, to be pasted.
    fn rule(&self, rule: &Rule) -> Option<String>;
    /// That all of these are allowed.
    fn allow(&self, what: &[Allowance]) -> Option<String>;
    /// That what a suggestion leaves out is allowed: some of it may go without saying.
    fn allow_beside(&self, suggestion: &Suggestion) -> Option<String> {
        let allow = suggestion.allow.as_deref().filter(|allow| !allow.is_empty())?;
        self.allow(allow)
    }
    /// All of a suggestion in one line, to be pasted, where several are told and each has to be short. Nothing
    /// where rules are pasted as they are told: each on a line of its own, and what is to be allowed after.
    fn in_one_line(&self, _suggestion: &Suggestion) -> Option<String> {
        None
    }
    /// What gives a value to variables that have none, as the subject of a sentence.
    fn fill(&self) -> Option<String>;
    /// Whether [`Wording::fill`] is something to call, and does not happen anyway.
    fn asks_to_fill(&self) -> bool {
        true
    }
    /// How an initializer is called that a variable is declared with, where a note says that restored
    /// values win over it; nothing where the variable only seems to be declared so.
    fn initializer(&self, _variable: &str, initializer: &Initializer) -> Option<String> {
        Some(initializer.to_string())
    }
    /// Whether a restore is told of, done or refused, and not only what one would do.
    fn is_of_restore(&self) -> bool {
        true
    }
}

/// The methods of [`RestoreOptions`](crate::RestoreOptions), as a report is displayed.
#[derive(Clone, Copy, Debug, Default)]
pub struct InCode;

impl Wording for InCode {
    fn rule(&self, rule: &Rule) -> Option<String> {
        Some(rule.to_string())
    }

    fn allow(&self, what: &[Allowance]) -> Option<String> {
        Some(what.iter().map(|what| format!(".{}()", what.key())).collect())
    }

    fn fill(&self) -> Option<String> {
        Some("`session.initialize_missing(seed)`".to_owned())
    }
}

/// As [`InCode`], of a restore that was not made yet.
pub(crate) struct Planned;

impl Wording for Planned {
    fn rule(&self, rule: &Rule) -> Option<String> {
        InCode.rule(rule)
    }

    fn allow(&self, what: &[Allowance]) -> Option<String> {
        InCode.allow(what)
    }

    fn fill(&self) -> Option<String> {
        InCode.fill()
    }

    fn is_of_restore(&self) -> bool {
        false
    }
}

/// A rule that has to be told, even to those who cannot write it.
pub(crate) fn rule_text(words: &dyn Wording, rule: &Rule) -> String {
    words.rule(rule).unwrap_or_else(|| rule.to_string())
}

/// What a rule does, as the subject of a sentence.
pub(crate) fn deed(rule: &Rule) -> String {
    let deed = match rule {
        Rule::Rename { from, to } => format!("renaming `{from}` to `{to}`"),
        Rule::RenameScope { from, to } if from.is_empty() => format!("adding scope `{to}`"),
        Rule::RenameScope { from, to } if to.is_empty() => format!("taking away scope `{from}`"),
        Rule::RenameScope { from, to } => format!("renaming scope `{from}` to `{to}`"),
        Rule::RenameComponent { from, to } => format!("renaming `{from}` to `{to}` everywhere"),
        Rule::StripPrefix(prefix) => format!("taking away the prefix `{prefix}`"),
        Rule::AddPrefix(prefix) => format!("adding the prefix `{prefix}`"),
        Rule::Separator { from, to } => format!("writing `{to}` for `{from}`"),
        Rule::Transpose(glob) => format!("transposing `{glob}`"),
        Rule::Cast(glob) => format!("casting `{glob}`"),
        Rule::Reshape(glob) => format!("reshaping `{glob}`"),
        _ => "this rule".to_owned(),
    };
    printable(&deed).into_owned()
}

/// The glob of these names.
pub(crate) fn one_of(names: &[&str]) -> String {
    let escaped: Vec<String> = names.iter().map(|name| Glob::escape(name)).collect();
    match escaped.as_slice() {
        [one] => one.clone(),
        many => format!("{{{}}}", many.join(",")),
    }
}
