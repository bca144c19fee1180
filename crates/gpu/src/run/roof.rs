//! How near a kernel comes to what its adapter can do at best.

use crate::plan::DispatchInfo;
use std::fmt;
use std::time::Duration;

/// What an adapter was measured to do at best: its ceilings, under which no kernel can take less time
/// than the bytes it moves and the operations it does take there (the roofline of
/// [Williams, Waterman and Patterson, 2009](https://doi.org/10.1145/1498765.1498785)).
///
/// [`Gpu::measure_ceilings`](crate::Gpu::measure_ceilings) measures them, by a copy and by multiply-adds in
/// registers, and so does `warmstart bench train --profile`. Who knows them from elsewhere gives them to a
/// [`Profile`](crate::Profile) as its `roof`.
///
/// ```
/// use std::time::Duration;
/// use warmstart_gpu::{Bound, DispatchInfo, Roof};
/// // 100 GB and 1000 GFLOP in a second.
/// let roof = Roof { bytes_per_second: 100e9, operations_per_second: 1000e9 };
/// let sum = DispatchInfo {
///     operations: "sum".to_owned(),
///     kernel: "reduce",
///     workgroups: [64, 1, 1],
///     bytes: 4_000_000,
///     arithmetic: 1_000_000,
/// };
/// // Its bytes alone take 40 µs, its additions 1 µs.
/// assert_eq!(roof.least_seconds(&sum), (40e-6, Bound::Memory));
/// assert_eq!(roof.share(&sum, Duration::from_micros(80)), Some(0.5));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Roof {
    /// Bytes read and written in a second.
    pub bytes_per_second: f64,
    /// Arithmetic operations in a second, of which a multiply-add is two.
    pub operations_per_second: f64,
}

/// What keeps a kernel from being faster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// The bytes it moves.
    Memory,
    /// Its arithmetic.
    Arithmetic,
}

impl Bound {
    /// `memory` or `arithmetic`.
    pub fn name(self) -> &'static str {
        match self {
            Bound::Memory => "memory",
            Bound::Arithmetic => "arithmetic",
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Roof {
    /// The least time that a dispatch could take under this roof, and what it would be busy with.
    pub fn least_seconds(&self, dispatch: &DispatchInfo) -> (f64, Bound) {
        let memory = dispatch.bytes as f64 / self.bytes_per_second;
        let arithmetic = dispatch.arithmetic as f64 / self.operations_per_second;
        if memory >= arithmetic { (memory, Bound::Memory) } else { (arithmetic, Bound::Arithmetic) }
    }

    /// The share of its ceiling that a dispatch reaches which took so long: 1 is as fast as can be. None
    /// if it took no time, or the roof is none.
    pub fn share(&self, dispatch: &DispatchInfo, time: Duration) -> Option<f64> {
        let (least, _) = self.least_seconds(dispatch);
        Some(least / time.as_secs_f64()).filter(|share| share.is_finite())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dispatch_is_bound_by_what_takes_longest() {
        let roof = Roof { bytes_per_second: 10.0, operations_per_second: 100.0 };
        let dispatch = |bytes, arithmetic| DispatchInfo {
            operations: "matmul".to_owned(),
            kernel: "matmul",
            workgroups: [1; 3],
            bytes,
            arithmetic,
        };
        let seconds = Duration::from_secs;
        assert_eq!(roof.least_seconds(&dispatch(20, 100)), (2.0, Bound::Memory));
        assert_eq!(roof.least_seconds(&dispatch(20, 500)), (5.0, Bound::Arithmetic));
        assert_eq!(roof.share(&dispatch(20, 500), seconds(20)), Some(0.25));
        assert_eq!(roof.share(&dispatch(20, 500), seconds(0)), None);
        let nothing = Roof { bytes_per_second: 0.0, operations_per_second: 0.0 };
        assert_eq!(nothing.share(&dispatch(20, 500), seconds(1)), None);
    }
}
