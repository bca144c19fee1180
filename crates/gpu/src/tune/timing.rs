//! The time that one run of a kernel takes, on a device that has to be waited for.

use crate::error::GpuError;
use std::time::Duration;

/// How often a kernel is measured, and for how long each time, unless one run takes longer.
const TIMES: u32 = 3;
const AT_LEAST: Duration = Duration::from_millis(1);
/// The most runs of a kernel that are submitted together.
const MOST_RUNS: u32 = 2000;

/// The time of one run, at its best, by a function that makes so many and waits for them. To submit and to
/// wait takes tens of runs of a small kernel, and on some systems longer than a large one: what it takes to
/// submit nothing counts for no kernel, and of small ones as many are run together as take long enough beside
/// that. Of one that is far from the fastest kernel so far a single run counts, since slow kernels would take
/// the time that there is for all.
///
/// How long the host waits changes with what else the machine does, so that it is measured in turn with the
/// runs. The shortest wait and the shortest runs count, each for itself, as both are of a quiet moment: were
/// each wait taken off the runs beside it, one long wait would make of a kernel the fastest of all.
pub(super) fn time_of_one(
    fastest: Duration,
    run: &mut dyn FnMut(u32) -> Result<Duration, GpuError>,
) -> Result<Duration, GpuError> {
    let mut waiting = run(0)?.min(run(0)?);
    let (mut runs, mut took) = (1, run(1)?);
    let mut kernels = took.saturating_sub(waiting).max(Duration::from_micros(1));
    if kernels > fastest.saturating_mul(4).max(AT_LEAST) {
        return Ok(kernels);
    }
    while kernels < AT_LEAST && runs < MOST_RUNS {
        // The first guess, by a single run, may be of waiting more than of kernels.
        let each = kernels / runs;
        let wanted = AT_LEAST.as_nanos() / each.as_nanos().max(100) + 1;
        runs = (wanted as u32).clamp(runs + 1, MOST_RUNS.min(16 * runs));
        took = run(runs)?;
        kernels = took.saturating_sub(waiting);
    }
    for _ in 1..TIMES {
        waiting = waiting.min(run(0)?);
        took = took.min(run(runs)?);
    }
    Ok(took.saturating_sub(waiting) / runs)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What it takes to time a kernel, where to be asked and to answer takes the device as many microseconds
    /// as `waiting` says for each time: what comes out, how often the kernel ran in all, and how often it was
    /// waited for.
    fn timed(kernel: f64, waiting: impl Fn(u32) -> f64, fastest: u64) -> (f64, u32, u32) {
        let (mut ran, mut waited) = (0, 0);
        let mut run = |runs: u32| {
            let took = waiting(waited) + f64::from(runs) * kernel;
            (ran, waited) = (ran + runs, waited + 1);
            Ok(Duration::from_secs_f64(took / 1e6))
        };
        let time = time_of_one(Duration::from_micros(fastest), &mut run).unwrap();
        (time.as_secs_f64() * 1e6, ran, waited)
    }

    /// Which of two kernels of two and three microseconds is faster must not be a matter of how long the host
    /// waits.
    #[test]
    fn small_kernels_are_timed_without_the_way_there_and_back() {
        for waiting in [0.0, 20.0, 100.0, 300.0, 2_000.0, 50_000.0] {
            for kernel in [1.0, 2.0, 3.0, 50.0, 400.0, 3000.0] {
                let (time, ran, waited) = timed(kernel, |_| waiting, 10_000);
                assert!((time - kernel).abs() <= 0.01 * kernel, "{kernel} and {waiting}: {time}");
                // A few milliseconds of it, however long the host waits: less than a hundredth of the half
                // second.
                let most = 5_000.0_f64.max(5.0 * kernel);
                assert!(f64::from(ran) * kernel < most, "{kernel}: {ran}");
                assert!(waited <= 10, "{kernel} and {waiting}: {waited}");
            }
        }
        // Slow ones run once, however long the host waits.
        for waiting in [100.0, 50_000.0] {
            assert_eq!(timed(3000.0, |_| waiting, 500), (3000.0, 1, 3));
        }
    }

    /// Nor of whether the machine was busy meanwhile, whenever that was.
    #[test]
    fn kernels_are_timed_by_the_quiet_moments() {
        for kernel in [2.0, 3.0, 50.0, 400.0] {
            for begun in 0..12 {
                let busy = begun..begun + 3;
                let waiting = |at| if busy.contains(&at) { 1_000.0 } else { 20.0 };
                let (time, ..) = timed(kernel, waiting, 10_000);
                assert!((time - kernel).abs() <= 0.01 * kernel, "{kernel}, {busy:?}: {time}");
            }
        }
    }

    /// A clock that stands still, as that of a processor may between two ticks, ends all the same.
    #[test]
    fn a_kernel_that_takes_no_time_is_timed_in_bounded_runs() {
        let (time, ran, _) = timed(0.0, |_| 0.0, 10_000);
        assert_eq!(time, 0.0);
        assert!(ran <= 4 * MOST_RUNS, "{ran}");
    }
}
