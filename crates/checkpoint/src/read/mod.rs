//! Reading values on the host, summing up what was read, and holding it against the checksums that
//! are kept.

pub(crate) mod checksums;
pub(crate) mod number;
pub(crate) mod reader;
pub(crate) mod summed;
pub(crate) mod transposed;
pub(crate) mod verify;
