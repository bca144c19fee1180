//! Bytes in files: reading them at a place, values whose bytes lie in several places or in
//! another order, sums of them, and text that is read late. Nothing here opens
//! a format.

pub(crate) mod read_at;
pub(crate) mod sealed;
pub(crate) mod slices;
pub(crate) mod strides;
pub(crate) mod sums;
pub(crate) mod text;
