//! What people can write who read a report of this command: flags, or keys of a file.

use crate::flags::flag_of;
use crate::plan::flags_of;
use crate::rules::toml_of;
use warmstart_checkpoint::{Allowance, Rule, Suggestion, Wording};
use warmstart_graph::Initializer;

/// Flags of `plan`.
pub struct Flags {
    /// Whether the model declares its variables, and is not only the tensors of a file.
    pub declares: bool,
}

impl Wording for Flags {
    fn rule(&self, rule: &Rule) -> Option<String> {
        flag_of(rule)
    }

    fn allow(&self, what: &[Allowance]) -> Option<String> {
        Some(what.iter().map(flag_allowing).collect::<Vec<_>>().join(" "))
    }

    fn in_one_line(&self, suggestion: &Suggestion) -> Option<String> {
        // What does not fit with it is told with the flags below the report.
        suggestion.allow.as_ref()?;
        Some(flags_of(suggestion).join(" ")).filter(|flags| !flags.is_empty())
    }

    fn fill(&self) -> Option<String> {
        None
    }

    fn initializer(&self, variable: &str, initializer: &Initializer) -> Option<String> {
        self.declares.then(|| match is_scaling(variable, initializer) {
            true => "the scaling learned from the rows to train on".to_owned(),
            false => initializer.to_string(),
        })
    }

    fn is_of_restore(&self) -> bool {
        false
    }
}

/// The flag of `plan` that allows something.
pub fn flag_allowing(what: &Allowance) -> String {
    format!("--{}", what.key().replace('_', "-"))
}

/// Whether a variable is the scaling of a model that `warmstart train` made.
fn is_scaling(variable: &str, initializer: &Initializer) -> bool {
    let names = ["input/offset", "input/scale", "output/offset", "output/scale"];
    matches!(initializer, Initializer::Values(_)) && names.contains(&variable)
}

/// Keys under `[warm_start]` of a training file.
#[derive(Default)]
pub struct Keys {
    /// What a training file has to allow beside suggestions, where less does than a program has to.
    pub beside: Vec<(Vec<Rule>, Vec<Allowance>)>,
}

impl Wording for Keys {
    fn rule(&self, rule: &Rule) -> Option<String> {
        Some(toml_of(rule))
    }

    fn allow(&self, what: &[Allowance]) -> Option<String> {
        // A warm start has no slots.
        let has_key = !what.contains(&Allowance::SlotsAlone);
        let keys = what.iter().map(|what| format!("{} = true", what.key()));
        has_key.then(|| keys.collect::<Vec<_>>().join("`, `"))
    }

    fn allow_beside(&self, suggestion: &Suggestion) -> Option<String> {
        let known = self.beside.iter().find(|(rules, _)| *rules == suggestion.rules);
        let allow = known.map_or(suggestion.allow.as_deref(), |(_, asked)| Some(asked))?;
        if allow.is_empty() { None } else { self.allow(allow) }
    }

    fn fill(&self) -> Option<String> {
        Some("training".to_owned())
    }

    fn asks_to_fill(&self) -> bool {
        false
    }

    /// A warm start has a note of its own about scaling.
    fn initializer(&self, variable: &str, initializer: &Initializer) -> Option<String> {
        (!is_scaling(variable, initializer)).then(|| initializer.to_string())
    }
}

/// Nothing: where the command takes no rules.
pub struct Nothing;

impl Wording for Nothing {
    fn rule(&self, _rule: &Rule) -> Option<String> {
        None
    }

    fn allow(&self, _what: &[Allowance]) -> Option<String> {
        None
    }

    fn fill(&self) -> Option<String> {
        None
    }

    /// A run that goes on has a note of its own about what it keeps.
    fn initializer(&self, variable: &str, initializer: &Initializer) -> Option<String> {
        Keys::default().initializer(variable, initializer)
    }
}
