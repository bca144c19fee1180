//! How many threads share work.

use std::sync::OnceLock;
use std::thread;

/// The cores that this many tasks can use. The system is asked once, and for one task not at all: Linux is
/// asked by opening a handful of files, which is a quarter of the time that a restore of 1 MiB takes.
pub(crate) fn cores_for(tasks: usize) -> usize {
    static CORES: OnceLock<usize> = OnceLock::new();
    match tasks {
        0 | 1 => 1,
        _ => *CORES.get_or_init(|| thread::available_parallelism().map_or(1, |cores| cores.get())),
    }
}

/// Does the same on as many threads as there are cores, or tasks, until all are done.
pub(crate) fn on_all_cores(tasks: usize, work: impl Fn() + Sync) {
    thread::scope(|scope| {
        // A system short of threads does with the ones it has: this one always works.
        let others = 1..cores_for(tasks).min(tasks);
        let _others: Vec<_> =
            others.map_while(|_| thread::Builder::new().spawn_scoped(scope, &work).ok()).collect();
        work();
    });
}
