//! A restore under way: its threads, what they have read, and who is told.

use crate::cores::cores_for;
use crate::device::gpu::Gpu;
use crate::error::SessionError;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

/// A restore under way, shared by its threads.
pub(crate) struct Job<'a> {
    pub gpu: &'a Gpu,
    progress: &'a (dyn Fn(u64) + Sync),
    /// Bytes that were read, and of how many `progress` knows.
    read: AtomicU64,
    reported: Mutex<u64>,
    failed: AtomicBool,
    submissions: AtomicU64,
}

/// How many bytes one read asks for at most: enough to keep a disk busy, few enough that several
/// threads share one large variable.
pub(crate) const LARGEST_READ: u64 = 8 << 20;

impl Job<'_> {
    pub fn new<'a>(gpu: &'a Gpu, progress: &'a (dyn Fn(u64) + Sync)) -> Job<'a> {
        Job {
            gpu,
            progress,
            read: AtomicU64::new(0),
            reported: Mutex::new(0),
            failed: AtomicBool::new(false),
            submissions: AtomicU64::new(0),
        }
    }

    /// Counts bytes that were read, and reports.
    pub fn has_read(&self, bytes: u64) {
        self.read.fetch_add(bytes, Ordering::Relaxed);
        // While another thread reports, this one reads on: thousands of small variables would
        // otherwise spend a quarter of their time waiting here.
        if let Ok(reported) = self.reported.try_lock() {
            self.report(reported);
        }
    }

    /// Tells how much was read, under the lock, so that reports come in order.
    fn report(&self, mut reported: MutexGuard<'_, u64>) {
        let read = self.read.load(Ordering::Relaxed);
        if read > *reported {
            *reported = read;
            (self.progress)(read);
        }
    }

    /// Notes that work was submitted.
    pub fn submitted(&self) {
        self.submissions.fetch_add(1, Ordering::Relaxed);
    }

    /// How many times work was submitted.
    pub fn submissions(self) -> u64 {
        self.submissions.into_inner()
    }

    /// How many threads `tasks` tasks deserve.
    pub fn threads(&self, tasks: usize) -> usize {
        threads_of(cores_for(tasks), tasks)
    }

    /// Runs a worker on each of several threads. A worker asks for the next of `tasks` task numbers
    /// until there is none or any worker failed. The first error is returned.
    pub fn work(
        &self,
        threads: usize,
        tasks: usize,
        worker: impl Fn(&dyn Fn() -> Option<usize>) -> Result<(), SessionError> + Sync,
    ) -> Result<(), SessionError> {
        let next = AtomicUsize::new(0);
        let take = || {
            if self.failed.load(Ordering::Relaxed) {
                return None;
            }
            let task = next.fetch_add(1, Ordering::Relaxed);
            (task < tasks).then_some(task)
        };
        let run = || {
            let result = catch_unwind(AssertUnwindSafe(|| worker(&take)));
            if !matches!(result, Ok(Ok(()))) {
                self.failed.store(true, Ordering::Relaxed);
            }
            result
        };
        let results: Vec<thread::Result<Result<(), SessionError>>> = thread::scope(|scope| {
            // A system short of threads does with the ones it has: this thread always works.
            let others: Vec<_> = (1..threads)
                .map_while(|_| thread::Builder::new().spawn_scoped(scope, run).ok())
                .collect();
            let mut results = vec![run()];
            results.extend(others.into_iter().map(|other| match other.join() {
                Ok(result) => result,
                Err(panic) => Err(panic),
            }));
            results
        });
        // What was read while another thread reported.
        if !self.failed.load(Ordering::Relaxed) {
            self.report(self.reported.lock().unwrap_or_else(PoisonError::into_inner));
        }
        results.into_iter().try_for_each(|result| match result {
            Ok(result) => result,
            Err(panic) => resume_unwind(panic),
        })
    }
}

/// More than eight threads read no faster.
fn threads_of(cores: usize, tasks: usize) -> usize {
    cores.min(8).min(tasks).max(1)
}

#[cfg(test)]
mod tests {
    use super::threads_of;

    #[test]
    fn as_many_threads_as_cores_and_tasks_up_to_eight() {
        for (cores, tasks, threads) in
            [(2, 100, 2), (4, 3, 3), (8, 8, 8), (64, 1000, 8), (64, 7, 7), (1, 0, 1), (16, 0, 1)]
        {
            assert_eq!(threads_of(cores, tasks), threads, "{cores} cores, {tasks} tasks");
        }
    }
}
