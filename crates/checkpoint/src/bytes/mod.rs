//! Bytes in files: reading them at a place, values whose bytes lie in several places or in
//! another order, and sums of them. Nothing here knows of tensors or formats.

pub(crate) mod read_at;
pub(crate) mod sealed;
pub(crate) mod slices;
pub(crate) mod strides;
pub(crate) mod sums;
pub(crate) mod text;
