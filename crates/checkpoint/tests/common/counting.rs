//! An allocator that counts what the current thread allocates.
#![allow(dead_code)] // Each test binary uses its own part.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

pub struct Counting;

thread_local! {
    static LARGEST: Cell<usize> = const { Cell::new(0) };
    static ALLOCATED: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator as it came; the counters are plain cells
// without destructors, which may be used at any time in a thread's life.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST.set(LARGEST.get().max(layout.size()));
        ALLOCATED.set(ALLOCATED.get().saturating_add(layout.size()));
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from `alloc` above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// The largest allocation of this thread while `work` runs, and all of them together.
pub fn counted<T>(work: impl FnOnce() -> T) -> (T, usize, usize) {
    LARGEST.set(0);
    ALLOCATED.set(0);
    let done = work();
    (done, LARGEST.get(), ALLOCATED.get())
}
