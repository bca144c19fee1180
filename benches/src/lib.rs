//! Criterion benchmarks of warmstart.
