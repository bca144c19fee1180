//! The bytes' way into device memory and out of it: restores, casts and transposes on the way,
//! downloads, and copies beside the session.

pub(crate) mod backup;
pub(crate) mod cast;
pub(crate) mod convert;
pub(crate) mod download;
pub(crate) mod fill;
#[cfg_attr(not(target_os = "linux"), path = "no_huge_pages.rs")]
pub(crate) mod huge_pages;
pub(crate) mod job;
pub(crate) mod mapped;
pub(crate) mod neighbours;
pub(crate) mod plain;
pub(crate) mod restore;
pub(crate) mod snapshot;
pub(crate) mod staging;
