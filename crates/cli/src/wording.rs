//! What people can write who read a report of this command: flags, or keys of a file.

use crate::flags::flag_of;
use crate::rules::toml_of;
use warmstart_checkpoint::{Allowance, Rule, Wording};

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
                _ => return None,
            })
        })
        .map(|flags| flags.join(" "))
    }

    fn fill(&self) -> Option<String> {
        None
    }

    fn is_of_restore(&self) -> bool {
        false
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
                _ => return None,
            })
        })
        .map(|keys| keys.join("`, `"))
    }

    fn fill(&self) -> Option<String> {
        Some("training".to_owned())
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
}

fn each(
    what: &[Allowance],
    word: impl Fn(&Allowance) -> Option<&'static str>,
) -> Option<Vec<&'static str>> {
    what.iter().map(word).collect()
}
