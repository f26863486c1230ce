//! The system's allocator, with its allocations counted: the global allocator of the programs that include
//! this.

#![allow(unsafe_code, reason = "counting allocations takes a global allocator, which is unsafe to write")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fs;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::thread;
use std::time::{Duration, Instant};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static IN_USE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static ALLOCATED_HERE: Cell<u64> = const { Cell::new(0) };
}

fn count(n_bytes: usize) {
    ALLOCATIONS.fetch_add(1, Relaxed);
    ALLOCATED_HERE.set(ALLOCATED_HERE.get() + n_bytes as u64);
    let in_use = IN_USE.fetch_add(n_bytes, Relaxed) + n_bytes;
    PEAK.fetch_max(in_use, Relaxed);
}

// SAFETY: every call is passed on unchanged to the system's allocator, which keeps the contract.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller keeps the contract of `dealloc`; the block came from `System`.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        IN_USE.fetch_sub(layout.size(), Relaxed);
        count(new_size);
        // SAFETY: the caller keeps the contract of `realloc`; the block came from `System`.
        unsafe { System.realloc(block, layout, new_size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bytes that this thread has allocated so far, all allocations added up.
pub(crate) fn allocated_here() -> u64 {
    ALLOCATED_HERE.get()
}

/// How often all threads together allocate during `work`.
pub(crate) fn allocations_of(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.load(Relaxed);
    work();
    ALLOCATIONS.load(Relaxed) - before
}

/// Does `work` and waits until the threads that it started have ended, where the system tells. Those of rayon's pools end
/// behind its back, and what they allocate in doing so would count elsewhere.
pub(crate) fn until_its_threads_end<T>(work: impl FnOnce() -> T) -> T {
    let n_threads = || fs::read_dir("/proc/self/task").map_or(0, Iterator::count);
    let before = n_threads();
    let done = work();
    let start = Instant::now();
    while n_threads() > before {
        assert!(start.elapsed() < Duration::from_secs(60), "a thread that was started does not end");
        thread::sleep(Duration::from_millis(1));
    }
    done
}

/// The most bytes that all threads together have allocated and not given back at once during `work`, beyond
/// those of before.
pub(crate) fn peak_of(work: impl FnOnce()) -> usize {
    let before = IN_USE.load(Relaxed);
    PEAK.store(before, Relaxed);
    work();
    PEAK.load(Relaxed) - before
}
