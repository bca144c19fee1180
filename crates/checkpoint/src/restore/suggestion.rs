//! What a report suggests: rules, and what to allow beside them.

use crate::restore::rules::Rule;

/// Alternatives that are suggested at most. Where there are as many there may be more: searches follow no
/// more either.
pub(crate) const ALTERNATIVES: usize = 4;

/// Rules that would restore more variables. They were tried out by planning again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suggestion {
    /// The rules, to be added after those there are, in this order.
    pub rules: Vec<Rule>,
    /// How many variables they would restore that are missing or mismatched now.
    pub restores: usize,
    /// Of how many that are missing or mismatched now.
    pub of: usize,
    /// What the rules take for granted because nothing in the file or the graph shows it.
    pub notes: Vec<String>,
    /// What has to be allowed beside the rules for the checkpoint to fit. `None` if it would not fit
    /// whatever is allowed: then planning again under the rules says what is still wrong.
    pub allow: Option<Vec<Allowance>>,
}

impl Suggestion {
    /// Whether there may be more ways than these suggestions of a report. It tells four at most, and nobody
    /// looked at the others: where it tells as many, there may be more.
    pub fn may_be_more(suggestions: &[Suggestion]) -> bool {
        suggestions.len() >= ALTERNATIVES
    }
}

/// Something that a restore is told to put up with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Allowance {
    /// [`RestoreOptions::allow_missing`](crate::RestoreOptions::allow_missing).
    Missing,
    /// [`RestoreOptions::allow_unexpected`](crate::RestoreOptions::allow_unexpected).
    Unexpected,
    /// [`RestoreOptions::allow_mismatched_shape`](crate::RestoreOptions::allow_mismatched_shape).
    MismatchedShape,
    /// [`RestoreOptions::allow_slots_alone`](crate::RestoreOptions::allow_slots_alone).
    SlotsAlone,
}

impl Allowance {
    /// What it is called by all that ask for it.
    #[doc(hidden)]
    pub fn key(self) -> &'static str {
        match self {
            Allowance::Missing => "allow_missing",
            Allowance::Unexpected => "allow_unexpected",
            Allowance::MismatchedShape => "allow_mismatched_shape",
            Allowance::SlotsAlone => "allow_slots_alone",
        }
    }
}
