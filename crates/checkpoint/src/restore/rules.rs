//! Restore rules: how the names and values of a checkpoint become those of the variables.
//!
//! Rules come in three kinds. *Names*: they rewrite the names of the checkpoint's tensors, one
//! after the other, until they are the names of the variables. *Choice*: they leave tensors and
//! variables out. *Values*: they allow a variable to get a value of another dtype or shape. What they
//! make of the names there are: `rules/applied.rs`.

mod applied;

pub(crate) use applied::{
    Allowed, Applied, apply, other_output, rename_component, rename_scope, without_output,
};
use std::fmt;
pub(crate) use warmstart_graph::SEPARATORS;

/// One restore rule. Prints as the code that asks for it, such as
/// `.rename_scope("encoder", "model/encoder")`; the methods of
/// [`RestoreOptions`](crate::RestoreOptions) of the same names say what each does.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rule {
    /// One tensor gets another name.
    Rename {
        /// Its name.
        from: String,
        /// The name it gets.
        to: String,
    },
    /// All tensors under a scope move to another.
    RenameScope {
        /// The scope in the checkpoint; empty for the top.
        from: String,
        /// The scope of the variables; empty for the top.
        to: String,
    },
    /// One part of the path changes wherever it occurs.
    RenameComponent {
        /// The part, between separators.
        from: String,
        /// What stands there instead.
        to: String,
    },
    /// What a regular expression matches is replaced.
    RenameRegex {
        /// The expression.
        pattern: String,
        /// The replacement, which may name captures: `$1`, `${layer}`.
        replacement: String,
    },
    /// Names lose what they begin with.
    StripPrefix(
        /// The prefix.
        String,
    ),
    /// Names get a beginning.
    AddPrefix(
        /// The prefix.
        String,
    ),
    /// One separator becomes another.
    Separator {
        /// The separator of the checkpoint's names.
        from: char,
        /// The separator of the variables' names.
        to: char,
    },
    /// Scopes or names of the checkpoint, each with that of the variables.
    AssignmentMap(
        /// Pairs: from, to.
        Vec<(String, String)>,
    ),
    /// Only these names are restored.
    Only(
        /// A glob of names.
        String,
    ),
    /// These names are left out.
    Ignore(
        /// A glob of names.
        String,
    ),
    /// Matrices are stored transposed.
    Transpose(
        /// A glob of variables.
        String,
    ),
    /// Values may be cast to the variable's dtype.
    Cast(
        /// A glob of variables.
        String,
    ),
    /// Values may have another shape with as many elements.
    Reshape(
        /// A glob of variables.
        String,
    ),
    /// Values may have more or fewer rows.
    ResizeRows {
        /// A glob of variables.
        glob: String,
        /// The seed that rows without a value are initialized with.
        seed: u64,
    },
}

impl Rule {
    /// Whether it rewrites names of tensors.
    pub(crate) fn is_about_names(&self) -> bool {
        match self {
            Rule::Rename { .. }
            | Rule::RenameScope { .. }
            | Rule::RenameComponent { .. }
            | Rule::RenameRegex { .. }
            | Rule::StripPrefix(_)
            | Rule::AddPrefix(_)
            | Rule::Separator { .. }
            | Rule::AssignmentMap(_) => true,
            Rule::Only(_)
            | Rule::Ignore(_)
            | Rule::Transpose(_)
            | Rule::Cast(_)
            | Rule::Reshape(_)
            | Rule::ResizeRows { .. } => false,
        }
    }
}

impl Rule {
    /// Whether it says what values of variables may be like.
    pub(crate) fn is_about_values(&self) -> bool {
        let about_choice = matches!(self, Rule::Only(_) | Rule::Ignore(_));
        !about_choice && !self.is_about_names()
    }

    /// The glob of a rule that says what values of variables may be like.
    pub(crate) fn glob_of_values(&self) -> Option<&str> {
        match self {
            Rule::Transpose(glob)
            | Rule::Cast(glob)
            | Rule::Reshape(glob)
            | Rule::ResizeRows { glob, .. } => Some(glob),
            _ => None,
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rule::Rename { from, to } => write!(f, ".rename({from:?}, {to:?})"),
            Rule::RenameScope { from, to } => write!(f, ".rename_scope({from:?}, {to:?})"),
            Rule::RenameComponent { from, to } => write!(f, ".rename_component({from:?}, {to:?})"),
            Rule::RenameRegex { pattern, replacement } => {
                write!(f, ".rename_regex({pattern:?}, {replacement:?})")
            }
            Rule::StripPrefix(prefix) => write!(f, ".strip_prefix({prefix:?})"),
            Rule::AddPrefix(prefix) => write!(f, ".add_prefix({prefix:?})"),
            Rule::Separator { from, to } => write!(f, ".separator({from:?}, {to:?})"),
            Rule::AssignmentMap(pairs) => {
                let pairs: Vec<String> = pairs.iter().map(|pair| format!("{pair:?}")).collect();
                write!(f, ".assignment_map([{}])", pairs.join(", "))
            }
            Rule::Only(glob) => write!(f, ".only({glob:?})"),
            Rule::Ignore(glob) => write!(f, ".ignore({glob:?})"),
            Rule::Transpose(glob) => write!(f, ".transpose({glob:?})"),
            Rule::Cast(glob) => write!(f, ".cast({glob:?})"),
            Rule::Reshape(glob) => write!(f, ".reshape({glob:?})"),
            Rule::ResizeRows { glob, seed } => write!(f, ".resize_rows({glob:?}, {seed})"),
        }
    }
}

/// A rule that was applied, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleUse {
    /// The rule.
    pub rule: Rule,
    /// How many names it changed, or, for a rule about choice, how many it matched; a tensor and a
    /// variable of one name count once. For a rule about values, how many variables it concerns: a
    /// cast those of another dtype than in the file, and so on. (One that the file does not hold may
    /// be concerned. Where two checkpoints are paired, the second's tensors are the variables.)
    pub touched: usize,
    /// How many names its glob matched, if it is a rule about values: more than it concerns, perhaps.
    pub matched: usize,
    /// Why the rule cannot be applied as it is written: its glob or regular expression is malformed,
    /// or a pair of its assignment map speaks of nothing.
    pub problem: Option<String>,
}

impl RuleUse {
    /// Whether the rule does nothing that it was written for. One about the values of `**`, which is
    /// whatever there is, was written for what needs it, and may find nothing.
    pub fn does_nothing(&self) -> bool {
        let wherever = self.matched > 0 && self.rule.glob_of_values() == Some(EVERYTHING);
        self.touched == 0 && self.problem.is_none() && !wherever
    }
}

/// The glob that matches all names.
pub(crate) const EVERYTHING: &str = "**";

#[cfg(test)]
mod tests;
