//! Restore rules: how the names and values of a checkpoint become those of the variables.
//!
//! Rules come in three kinds. *Names*: they rewrite the names of the checkpoint's tensors, one
//! after the other, until they are the names of the variables. *Choice*: they leave tensors and
//! variables out. *Values*: they allow a variable to get a value of another dtype or shape. What they
//! make of the names there are: `rules/applied.rs`.

mod applied;

pub(crate) use applied::{
    Allowed, Applied, Names, apply, other_output, rename_component, rename_scope, without_output,
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

/// An argument of a rule. Prints as code.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Argument<'a> {
    Text(&'a str),
    Character(char),
    Seed(u64),
    Pairs(&'a [(String, String)]),
}

impl fmt::Display for Argument<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Argument::Text(text) => write!(f, "{text:?}"),
            Argument::Character(character) => write!(f, "{character:?}"),
            Argument::Seed(seed) => write!(f, "{seed}"),
            Argument::Pairs(pairs) => write!(f, "{pairs:?}"),
        }
    }
}

impl Rule {
    /// Its name and its arguments, of which code, flags and files are made.
    #[doc(hidden)]
    pub fn parts(&self) -> (&'static str, Vec<Argument<'_>>) {
        use Argument::{Character, Pairs, Seed, Text};
        match self {
            Rule::Rename { from, to } => ("rename", vec![Text(from), Text(to)]),
            Rule::RenameScope { from, to } => ("rename_scope", vec![Text(from), Text(to)]),
            Rule::RenameComponent { from, to } => ("rename_component", vec![Text(from), Text(to)]),
            Rule::RenameRegex { pattern, replacement } => {
                ("rename_regex", vec![Text(pattern), Text(replacement)])
            }
            Rule::StripPrefix(prefix) => ("strip_prefix", vec![Text(prefix)]),
            Rule::AddPrefix(prefix) => ("add_prefix", vec![Text(prefix)]),
            Rule::Separator { from, to } => ("separator", vec![Character(*from), Character(*to)]),
            Rule::AssignmentMap(pairs) => ("assignment_map", vec![Pairs(pairs)]),
            Rule::Only(glob) => ("only", vec![Text(glob)]),
            Rule::Ignore(glob) => ("ignore", vec![Text(glob)]),
            Rule::Transpose(glob) => ("transpose", vec![Text(glob)]),
            Rule::Cast(glob) => ("cast", vec![Text(glob)]),
            Rule::Reshape(glob) => ("reshape", vec![Text(glob)]),
            Rule::ResizeRows { glob, seed } => ("resize_rows", vec![Text(glob), Seed(*seed)]),
        }
    }

    /// Its glob, if it says what takes part or what values may be like.
    pub(crate) fn glob_mut(&mut self) -> Option<&mut String> {
        match self {
            Rule::Only(glob)
            | Rule::Ignore(glob)
            | Rule::Transpose(glob)
            | Rule::Cast(glob)
            | Rule::Reshape(glob)
            | Rule::ResizeRows { glob, .. } => Some(glob),
            _ => None,
        }
    }

    /// Whether it rewrites names of tensors.
    pub(crate) fn is_about_names(&self) -> bool {
        !self.is_about_values() && !matches!(self, Rule::Only(_) | Rule::Ignore(_))
    }

    /// Whether it says what values of variables may be like.
    pub(crate) fn is_about_values(&self) -> bool {
        self.glob_of_values().is_some()
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
        let (name, arguments) = self.parts();
        let arguments: Vec<String> = arguments.iter().map(Argument::to_string).collect();
        write!(f, ".{name}({})", arguments.join(", "))
    }
}

/// A rule that was applied, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleUse {
    /// The rule.
    pub rule: Rule,
    /// How many names it changed, or, for a rule about choice, how many it matched; a tensor and a
    /// variable of one name count once. For a rule about values, how many variables it concerns: a
    /// cast those of another dtype than in the file, and so on. (One that the file does not hold may be
    /// concerned, but for a rule about `**`. Where two checkpoints are paired, the second's tensors are the
    /// variables.)
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
