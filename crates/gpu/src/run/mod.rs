//! Running plans: feeds in, one submission of one step or of several, fetches out, and how long each
//! kernel takes, beside what the adapter can do at best.

pub(crate) mod ceilings;
#[cfg(test)]
mod counted_tests;
pub(crate) mod dataset;
pub(crate) mod feed;
pub(crate) mod once;
pub(crate) mod outputs;
pub(crate) mod profile;
pub(crate) mod readback;
pub(crate) mod roof;
pub(crate) mod steps;
pub(crate) mod trace;
pub(crate) mod upload;
