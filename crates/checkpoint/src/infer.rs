//! Inference: the fewest rules that would restore more of a model.

use crate::rules::Rule;

/// Rules that would restore more variables. They were tried out by planning again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suggestion {
    /// The rules, to be added after those there are, in this order.
    pub rules: Vec<Rule>,
    /// How many variables they would restore that are missing or mismatched now.
    pub restores: usize,
    /// Of how many that are missing or mismatched now.
    pub of: usize,
}
