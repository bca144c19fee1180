//! The WGSL kernels of warmstart, one file per kernel family.
