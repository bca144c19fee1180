//! From a checkpoint to variables: options and rules, matching, inference of missing rules, the plan
//! with its report, and carrying it out.

pub(crate) mod accumulated;
pub(crate) mod carry_out;
pub(crate) mod close_names;
pub(crate) mod collapse;
pub(crate) mod infer;
pub(crate) mod matching;
pub(crate) mod near_globs;
pub(crate) mod options;
pub(crate) mod pairs;
pub(crate) mod plan;
pub(crate) mod report;
pub(crate) mod rules;
pub(crate) mod saved;
pub(crate) mod slots;
pub(crate) mod suggestion;
pub(crate) mod wording;
