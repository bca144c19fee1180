//! What people can write who read a report of this command: flags, or keys of a file.

use crate::flags::flag_of;
use crate::rules::toml_of;
use warmstart_checkpoint::{Allowance, Rule, Wording};
use warmstart_graph::Initializer;

/// Flags of `plan`.
pub struct Flags;

impl Wording for Flags {
    fn rule(&self, rule: &Rule) -> Option<String> {
        flag_of(rule)
    }

    fn allow(&self, what: &[Allowance]) -> Option<String> {
        each(what, |what| {
            Some(match what {
                Allowance::Missing => "--allow-missing",
                Allowance::Unexpected => "--allow-unexpected",
                Allowance::MismatchedShape => "--allow-mismatched-shape",
                Allowance::SlotsAlone => "--allow-slots-alone",
                _ => return None,
            })
        })
        .map(|flags| flags.join(" "))
    }

    fn fill(&self) -> Option<String> {
        None
    }

    fn initializer(&self, variable: &str, initializer: &Initializer) -> Option<String> {
        Some(match is_scaling(variable, initializer) {
            true => "the scaling learned from the rows to train on".to_owned(),
            false => initializer.to_string(),
        })
    }

    fn is_of_restore(&self) -> bool {
        false
    }
}

/// Whether a variable is the scaling of a model that `warmstart train` made.
fn is_scaling(variable: &str, initializer: &Initializer) -> bool {
    let names = ["input/offset", "input/scale", "output/offset", "output/scale"];
    matches!(initializer, Initializer::Values(_)) && names.contains(&variable)
}

/// Flags of `plan`, for a model that is the tensors of a file, which declares nothing.
pub struct UndeclaredFlags;

impl Wording for UndeclaredFlags {
    fn rule(&self, rule: &Rule) -> Option<String> {
        Flags.rule(rule)
    }

    fn allow(&self, what: &[Allowance]) -> Option<String> {
        Flags.allow(what)
    }

    fn fill(&self) -> Option<String> {
        Flags.fill()
    }

    fn initializer(&self, _variable: &str, _initializer: &Initializer) -> Option<String> {
        None
    }

    fn is_of_restore(&self) -> bool {
        Flags.is_of_restore()
    }
}

/// Keys under `[warm_start]` of a training file.
pub struct Keys;

impl Wording for Keys {
    fn rule(&self, rule: &Rule) -> Option<String> {
        toml_of(rule)
    }

    fn allow(&self, what: &[Allowance]) -> Option<String> {
        each(what, |what| {
            Some(match what {
                Allowance::Missing => "allow_missing = true",
                Allowance::Unexpected => "allow_unexpected = true",
                Allowance::MismatchedShape => "allow_mismatched_shape = true",
                // A warm start has no slots.
                _ => return None,
            })
        })
        .map(|keys| keys.join("`, `"))
    }

    fn fill(&self) -> Option<String> {
        Some("training".to_owned())
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
        Keys.initializer(variable, initializer)
    }
}

fn each(
    what: &[Allowance],
    word: impl Fn(&Allowance) -> Option<&'static str>,
) -> Option<Vec<&'static str>> {
    what.iter().map(word).collect()
}
